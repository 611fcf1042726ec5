"""Progress and time of the stages of an extraction."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Called with the name of a stage, the steps done and the steps in all.
Progress = Callable[[str, int, int], None]


class StageClock:
    """Progress and time of each stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}
        self._name, self._done, self._total, self._start = "", 0, 0, 0.0

    def begin(self, name: str, total: int) -> None:
        """Ends the stage that runs and begins another of `total` steps; 0 where nobody knows."""
        self.end()
        self._name, self._done, self._total, self._start = name, 0, total, time.perf_counter()
        self._progress(name, 0, total)

    def step(self) -> None:
        """One step is done."""
        self._done += 1
        self._progress(self._name, self._done, max(self._total, self._done))

    def end(self) -> None:
        """Ends the stage that runs."""
        if self._name:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + time.perf_counter() - self._start
            steps = max(self._total, self._done, 1)  # one where nobody knew how many there would be
            self._progress(self._name, steps, steps)
        self._name = ""
