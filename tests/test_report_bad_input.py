"""`dexvid report` on what is damaged, unknown or hostile: one message, nothing half-written, and everything shown as text."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_cases import CHECKPOINTS, listing, made_up_run, page_at, report

from baselines.evaluate import Episode, EvaluationResult
from demos.dataset import read_dataset, write_dataset
from demos.source import shipped_demonstration

HOSTILE = "<script>alert('x')</script><img src=x onerror=\"alert(1)\">"


@pytest.fixture
def own_run(tmp_path: Path) -> Path:
    return made_up_run(tmp_path / "clone")


# ---- what is refused -------------------------------------------------------------------------------------------------------


def expect_one_message(code: int, shown: str, *parts: str) -> None:
    assert code == 2
    assert shown.count("error: ") == 1
    assert len(shown.splitlines()) == 1
    for part in parts:
        assert part in shown, shown


def test_paths_that_are_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for path, what in (
        (tmp_path / "nowhere", "nothing at"),
        (tmp_path / "notes.txt", "is a file that no report is made of"),
        (tmp_path / "empty", "it holds nothing"),
        (tmp_path, "it holds empty, notes.txt"),
    ):
        code = report(path)
        expect_one_message(code, capsys.readouterr().err, str(path), what, "expected the folder of a training run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "notes.txt"]


def test_pages_that_cannot_be_written(own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder.html").mkdir()
    for out in (own_run / "progress.csv", tmp_path / "folder.html", tmp_path):
        code = report(own_run, "--out", out)
        expect_one_message(code, capsys.readouterr().err, str(out), "expected a file that ends in .html")
    code = report(own_run, "--out", own_run / "progress.csv" / "page.html")
    expect_one_message(code, capsys.readouterr().err, "cannot be written")


def damage_rows(text: str) -> Callable[[Path], object]:
    return lambda run: (run / "progress.csv").write_text(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage_rows("step,loss\n1,two\n"), "progress.csv is damaged"),
        (damage_rows("step,loss\n1,2,3\n"), "progress.csv is damaged"),
        (damage_rows("loss\n1\n"), "progress.csv is damaged"),
        (damage_rows("step,loss\nnan,1\n"), "a step is no count"),
        (lambda run: (run / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda run: (run / "config.json").write_text("[1]"), "holds no JSON object"),
        (lambda run: (run / "checkpoint" / "config.json").write_text('{"format": 1}'), "is no dexvid-checkpoint"),
        (lambda run: (run / "evaluation.json").write_text('{"env_id": "x"}'), "is no evaluation, 'env_options'"),
    ],
    ids=range(8),
)
def test_damaged_run_leaves_the_older_page(
    own_run: Path, change: Callable[[Path], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(own_run) == 0
    before = listing(own_run)["report.html"]
    change(own_run)
    capsys.readouterr()
    expect_one_message(report(own_run), capsys.readouterr().err, message)
    assert listing(own_run)["report.html"] == before
    assert not list(own_run.glob(".report*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "one"}, "'seed'"),
        ({"success": "yes"}, "'success'"),
        ({"total_reward": None}, "'total_reward'"),
        ({"total_reward": 10**400}, "too large"),
        ({"metrics": {"x": "y"}}, "a metric is no number"),
        ({"object": ["a"]}, "'object'"),
    ],
    ids=["seed", "success", "reward", "huge", "metric", "object"],
)
def test_damaged_episode_is_named(
    change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((CHECKPOINTS / "open_cabinet" / "evaluation.json").read_text())
    content["episodes"][3] |= change
    (tmp_path / "odd.json").write_text(json.dumps(content))
    expect_one_message(report(tmp_path / "odd.json"), capsys.readouterr().err, "odd.json, episode 3", message)


@pytest.mark.parametrize("text", ["[]", "{}", "1", "{", "\x00\xff", '{"episodes": []}', "[" * 100_000], ids=range(7))
def test_json_that_is_no_evaluation(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text(text)
    expect_one_message(report(tmp_path / "other.json"), capsys.readouterr().err, "other.json", "dexvid evaluate --json")


def test_settings_nested_too_deeply(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((own_run / "config.json").read_text())
    deep = "[" * 985 + "]" * 985
    (own_run / "config.json").write_text(json.dumps(content)[:-1] + f', "env_options": {{"a": {deep}}}}}')
    for arguments in ((), ("--json",)):
        assert report(own_run, *arguments) in (0, 2)  # as deep as this interpreter goes
        assert "Traceback" not in capsys.readouterr().err


# ---- what somebody may put in ----------------------------------------------------------------------------------------------


def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "<script>alert('x')<" / "img src=x onerror=alert(1)>")
    rows = (folder / "progress.csv").read_text().splitlines()
    rows = [f'"{HOSTILE.replace(chr(34), chr(34) * 2)}",{rows[0]}', *(f"{i},{row}" for i, row in enumerate(rows[1:]))]
    (folder / "progress.csv").write_text("\n".join(rows))
    config = json.loads((folder / "config.json").read_text()) | {"algorithm": HOSTILE, "seed": HOSTILE, "env_id": HOSTILE}
    (folder / "config.json").write_text(json.dumps(config | {"clone": {"config": {HOSTILE: HOSTILE}, "seed": HOSTILE}}))
    episodes = tuple(Episode(i, i == 0, True, 1.0, 9, False, HOSTILE, {HOSTILE: 1.0}) for i in range(4))
    result = EvaluationResult(HOSTILE, {HOSTILE: HOSTILE}, 0, episodes)
    result.save(folder / "evaluation.json", policy=HOSTILE)
    assert report(folder) == 0
    assert page_at(folder / "report.html").text.count(HOSTILE) > 10
    assert report(folder / "evaluation.json", "--out", tmp_path / "evaluation.html") == 0
    assert page_at(tmp_path / "evaluation.html").text.count(HOSTILE) > 5

    (shipped,) = read_dataset(shipped_demonstration())
    facts = {"source_sha256": HOSTILE, "versions": {"mujoco": HOSTILE}}
    odd = dataclasses.replace(shipped, env_id=HOSTILE, env_options={HOSTILE: HOSTILE}, control_mode=HOSTILE, provenance=facts)
    odd = dataclasses.replace(odd, memory=dict(odd.memory) | {"target": np.full_like(odd.memory["target"], np.nan)})
    write_dataset(tmp_path / "set", [odd, odd])
    assert report(tmp_path / "set") == 0
    assert page_at(tmp_path / "set.report.html").text.count(HOSTILE) >= 4


def test_numbers_that_no_chart_can_show(own_run: Path) -> None:
    numbers = ("1e308", "-1e308", "inf", "nan", "1e-320", "0")
    rows = [f"{step},{number},{number},{number}" for step, number in enumerate(numbers)]
    (own_run / "progress.csv").write_text("step,loss,odd,elapsed_s\n" + "\n".join(rows))
    assert report(own_run) == 0
    content = (own_run / "report.html").read_text()
    assert not re.search(r'(d|x1|y1|cx|cy|points)="[^"]*(nan|inf)', content)
    assert len(content) < 60_000
