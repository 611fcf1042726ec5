"""Progress bars with time left, on the terminal's error stream; where there is no terminal, a line now and then instead."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

#: Called with the finished share in [0, 1] and a line on the state.
Report = Callable[[float, str], None]
#: Called with the stage's name, its finished share in [0, 1] (None where nobody knows it), and a line on its state.
StageReport = Callable[[str, float | None, str], None]
_EVERY_S = 10.0  # between lines in a log
_SHORT_S = 2.0  # of a shorter stage a log says nothing

ItemT = TypeVar("ItemT")


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """A bar titled `title`; yields the function to report with."""
    with stage_bars() as bars:
        said = ""

        def report(share: float, state: str) -> None:
            nonlocal said
            said = state
            bars(title, share, state)

        bars(title, 0.0, "")
        yield report
        bars(title, 1.0, said)


@contextlib.contextmanager
def stage_bars() -> Iterator[StageReport]:
    """Bars for stages whose names turn up one after the other; yields the function to report with."""
    if not sys.stderr.isatty():
        lines: dict[str, _Lines] = {}

        def tell(stage: str, share: float | None, state: str) -> None:
            lines.setdefault(stage, _Lines(stage)).tell(share, state)

        yield tell
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskID,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("[bold]{task.description:<16}"),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, share: float | None, state: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=None, state="")  # a bar that only moves, until a share is known
            if share is None:
                bars.update(tasks[stage], state=state)
            else:
                bars.update(tasks[stage], total=1.0, completed=min(max(share, 0.0), 1.0), state=state)

        yield show


def progress_over(items: Sequence[ItemT], title: str, noun: str = "") -> Iterator[ItemT]:
    """The items one after the other, with a bar that counts them."""
    with progress_bar(title) as report:
        for done, item in enumerate(items, start=1):
            yield item
            report(done / len(items), f"{done} of {len(items)} {noun}".rstrip())


class _Lines:
    """What a log gets of one stage: a line every ten seconds with the time left, and one at the end, if it was not short."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._begin = self._last = time.monotonic()
        self._base = self._begin, 0.0  # moves to the first line: what a resumed run finds done took it no time
        self._first, self._ended = True, False

    def tell(self, share: float | None, state: str) -> None:
        now, ends = time.monotonic(), share is not None and share >= 1.0
        told = self._ended or now - self._begin < _SHORT_S if ends else now - self._last < _EVERY_S
        if told:
            return
        self._last, self._ended = now, ends
        text = f"{self.stage}: " + ("" if share is None else f"{share:4.0%}, ") + f"{now - self._begin:.0f} s"
        print(f"{text}{self._left(share, now)}  {state}".rstrip(), file=sys.stderr, flush=True)

    def _left(self, share: float | None, now: float) -> str:
        """The time left by the speed since the first line."""
        if share is None:
            return ""
        (since, before), known = self._base, share > self._base[1]
        if self._first and share < 1.0:
            self._base, self._first = (now, share), False
        return f", {(now - since) * (1.0 - share) / (share - before):.0f} s left" if known and share < 1.0 else ""
