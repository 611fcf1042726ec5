"""Progress bars with time left, on the terminal's error stream; quiet where there is no terminal but for a line a stage."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

#: Called with the finished share in [0, 1] and a line on the state.
Report = Callable[[float, str], None]


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """A bar titled `title`; yields the function to report with."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    columns = (
        TextColumn("[bold]{task.description:<12}"),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(title, total=1.0, state="")

        def report(share: float, state: str) -> None:
            bars.update(task, completed=min(max(share, 0.0), 1.0), state=state)

        yield report
        bars.update(task, completed=1.0)


def _lines(title: str, every_s: float = 10.0) -> Report:
    """For logs: a line now and then, with the time left."""
    begin = time.monotonic()
    last = begin

    def report(share: float, state: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < every_s and share < 1.0:
            return
        last = now
        left = f", {(now - begin) * (1 - share) / share:.0f} s left" if share > 0 else ""  # nobody knows yet
        print(f"{title}: {share:4.0%}, {now - begin:.0f} s{left}  {state}", file=sys.stderr, flush=True)

    return report
