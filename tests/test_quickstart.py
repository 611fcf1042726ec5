"""The main job in its quick form: everything runs, the report is whole, and an interrupted run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demos.dataset import dataset_length
from dexvid_envs.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quickstart") / "run"
    assert main(["quickstart", "--quick", "--no-video", "--out", str(out)]) == 0
    return out


def test_every_stage_leaves_its_result(run: Path) -> None:
    assert dataset_length(run / "refined") == 1
    assert dataset_length(run / "demonstrations") == 12
    for name in ("clone", "finetuned"):
        assert (run / name / "checkpoint" / "config.json").is_file()
    figures = json.loads((run / "report.json").read_text())
    assert figures["quick"] is True
    text = (run / "report.html").read_text()
    assert "replayed" in text.lower()
    assert "bottle" in text


def test_resuming_a_finished_run_repeats_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.glob("stages/*.json")}
    assert main(["quickstart", "--quick", "--no-video", "--out", str(run), "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "report.json").read_text())
    assert before == {path: path.stat().st_mtime_ns for path in run.glob("stages/*.json")}


def test_a_run_is_not_written_over(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert main(["quickstart", "--quick", "--no-video", "--out", str(run)]) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


@pytest.mark.parametrize("more", [["--resume", "--seed", "5"], ["--seed", "5"]])
def test_a_run_with_other_arguments_is_not_overwritten(more: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--quick", "--no-video", "--out", str(run), *more]) == 2
    assert (run / "report.html").is_file()
    assert "other arguments" in capsys.readouterr().err


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert main(["quickstart", "--quick", "--out", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--source", "nowhere"],
        ["--env-option", "bottle=amphora"],
        ["--env-option", "bottle"],
        ["--env", "DexVid-Nothing-v0"],
        ["--env", "DexVid-GraspLift-v0"],
    ],
)
def test_bad_input_gets_one_error_and_leaves_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["quickstart", "--quick", "--no-video", "--out", str(out), *arguments]) == 2
    message = capsys.readouterr().err
    assert message.count("error:") == 1
    assert "Traceback" not in message
    assert not out.exists()
