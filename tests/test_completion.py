"""The shell's completion offers the commands, their subcommands and their options, and nothing of other commands'."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from dexvid_envs.cli import find_commands, main
from dexvid_envs.completion import completion_script, words_by_command

_COMPLETE = """
complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dexvid; echo "${COMPREPLY[*]}"; }
"""


@pytest.fixture(scope="module")
def words() -> dict[str, list[str]]:
    chosen = ("record", "train", "list", "replay", "dataset")
    return words_by_command({name: command for name, command in find_commands().items() if name in chosen})


def _completed(script: str, *typed: str) -> list[str]:
    line = " ".join(f"'{word}'" for word in typed)
    done = subprocess.run(
        ["bash", "-c", f"{script}{_COMPLETE}complete_words {line}"], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_commands_subcommands_and_options(words: dict[str, list[str]]) -> None:
    script = completion_script(words)
    assert _completed(script, "dexvid", "re") == ["record", "replay"]
    assert {"bc", "ppo", "distill"} <= set(_completed(script, "dexvid", "train", ""))
    assert _completed(script, "dexvid", "train", "bc", "--data") == ["--dataset"]
    assert _completed(script, "dexvid", "record", "GraspLift", "--pol") == ["--policy"]
    assert _completed(script, "dexvid", "record", "GraspLift", "--out", "demo") == []  # left to the shell: file names


def test_options_are_those_of_the_command_alone(words: dict[str, list[str]]) -> None:
    assert words["train"] == ["bc", "ppo", "distill", "--help"]  # its examples show options of its subcommands
    assert "--policy" not in words["dataset merge"]
    assert "--total-steps" in words["train ppo"]


def test_the_command_prints_the_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    listing = find_commands()["list"]
    monkeypatch.setattr("dexvid_envs.completion.find_commands", lambda: {"list": listing})
    assert main(["completion", "zsh"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("autoload")
    assert "list) echo" in shown
