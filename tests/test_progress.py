"""Progress: lines in a log now and then, with the time left, and nothing on standard output."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from dexvid_envs import progress
from dexvid_envs.progress import progress_bar, progress_over, stage_bars


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("refine") as report:
        for second in range(1, 41):
            clock.now += 1.0
            report(second / 40, f"round {second}")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "refine:  25%, 10 s, 30 s left  round 10",
        "refine:  50%, 20 s, 20 s left  round 20",
        "refine:  75%, 30 s, 10 s left  round 30",
        "refine: 100%, 40 s  round 40",
    ]


def test_what_an_earlier_run_has_done_does_not_count_for_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar("multiply") as report:
        for second in range(1, 22):
            clock.now += 1.0
            report(0.5 + second / 400, "")
    assert "multiply:  55%, 20 s, 180 s left" in capsys.readouterr().err


def test_a_log_hears_nothing_of_what_takes_a_moment(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_over(range(5), "read", "episodes")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


def test_every_stage_has_its_own_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with stage_bars() as bars:
        bars("finding the hand", 0.0, "")
        clock.now += 12.0
        bars("finding the hand", 1.0, "30 of 30")
        bars("finding the hand", 1.0, "30 of 30")
        bars("measuring", None, "")
        clock.now += 11.0
        bars("measuring", None, "")
    assert capsys.readouterr().err.splitlines() == ["finding the hand: 100%, 12 s  30 of 30", "measuring: 11 s"]


def test_a_terminal_gets_bars() -> None:
    code = """
from dexvid_envs.progress import progress_over, stage_bars
assert list(progress_over(range(3), "replay", "episodes")) == [0, 1, 2]
with stage_bars() as bars:
    bars("observe", None, "")
    bars("clone", 0.5, "loss 0.1 [of 1]")
"""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "160"}
    done = subprocess.run([sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE, env=environment, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert done.stdout == b""
    for part in ("replay", "100%", "3 of 3 episodes", "observe", "clone", "loss 0.1 [of 1]", "left"):
        assert part in shown
