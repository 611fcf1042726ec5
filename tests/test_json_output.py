"""`--json` of every command: a file, or standard output with nothing else on it; never in the way of its other options."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from demos.pseudo_demonstration import OpenLoopOutcome
from demos.source import shipped_demonstration
from dexvid_envs.cli import find_commands, main
from dexvid_envs.completion import words_by_command
from dexvid_envs.json_output import with_json_target


@pytest.mark.parametrize(
    ("given", "complete"),
    [
        ("--json", "--json -"),
        ("--json --out a", "--json - --out a"),
        ("--json - --out a", "--json - --out a"),
        ("--json a --out b", "--json a --out b"),
        ("a --json", "a --json -"),
        ("--out --json", "--out --json -"),
        ("--video a", "--video a"),
    ],
)
def test_json_alone_prints(given: str, complete: str) -> None:
    assert with_json_target(given.split()) == complete.split()


def test_every_command_with_an_outcome_has_it() -> None:
    without = {"completion", "view", "train", "dataset"}  # the last two have it in their subcommands
    for name, words in words_by_command(find_commands()).items():
        if name and name not in without:
            assert "--json" in words, name


@pytest.mark.parametrize("printed", [["--json"], ["--json", "-"]])
def test_standard_output_holds_the_outcome_alone(printed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "info", str(shipped_demonstration()), *printed]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["episodes"] == 1
    assert "1 episodes" in shown.err  # what a person reads goes on being told


def test_a_file_gets_the_outcome_beside_the_usual_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json", str(tmp_path / "list.json")]) == 0
    shown = capsys.readouterr().out
    assert "lift an everyday object" in shown
    assert f"wrote {tmp_path / 'list.json'}" in shown
    assert any(row["id"] == "DexVid-GraspLift-v0" for row in json.loads((tmp_path / "list.json").read_text()))


def test_refine_tells_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = SimpleNamespace(
        succeeded=False,
        seconds=12.0,
        tracking_error_m=0.01,
        end_error_m=0.02,
        acceptance=0.5,
        robustness=0.25,
        hold="usual",
        grip_force_n=8.0,
    )
    result = SimpleNamespace(
        refinement=search,
        open_loop=OpenLoopOutcome(False, 0.01, 0.2, 0.1, toppled=True),
        demonstration=SimpleNamespace(tier="replayable", env_id="DexVid-GraspLift-v0", env_options={"objects": ("banana",)}),
    )
    monkeypatch.setattr("demos.refine_command._refine", lambda config: result)
    assert main(["refine", str(tmp_path / "extraction"), "--json", "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert (told["success"], told["tier"], told["hold"], told["open_loop"]["toppled"]) == (False, "replayable", "usual", True)
    assert told["env_options"] == {"objects": ["banana"]}
    assert "no success" in shown.err
