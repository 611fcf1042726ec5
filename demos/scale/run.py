"""A run: jobs through an engine, with retries and a summary; a run that was stopped goes on when it is repeated.

OUT/NAME/           the result of each job, whole or not there, with its record job.json
OUT/summary.json    what was made, what was there already, and what failed and why
OUT/workers.log     what the worker processes said
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from demos.scale.attempt import UNFINISHED, Attempt
from demos.scale.engine import Engine
from demos.scale.job import Job
from demos.scale.options import ScaleOptions
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.files import atomic_path, only_one

SUMMARY_NAME = "summary.json"
_SUMMARY_EVERY_S = 10.0

#: Makes an engine for an output folder.
EngineMaker = Callable[[Path, ScaleOptions], Engine]


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a job has no result, after so many attempts."""

    reason: str
    attempts: int


@dataclasses.dataclass
class RunSummary:
    """What became of the jobs.

    Attributes:
        made: figures of the results that were made, by name.
        kept: figures of those that were there already.
        failed: the others.
        retried: attempts that were made again.
        seconds: duration of the run.
    """

    made: dict[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    kept: dict[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    failed: dict[str, Failure] = dataclasses.field(default_factory=dict)
    retried: int = 0
    seconds: float = 0.0

    def figures(self) -> dict[str, Mapping[str, Any]]:
        """Of all results, by name."""
        return {**self.made, **self.kept}


def run_jobs(
    jobs: Sequence[Job],
    out: Path,
    options: ScaleOptions | None = None,
    report: Callable[[float, str], None] | None = None,
    engine: EngineMaker | None = None,
) -> RunSummary:
    """Does all jobs that have no result in the folder `out`.

    A result is made again where its inputs or settings have changed. A job that fails costs itself alone; a worker that dies
    costs an attempt. With the engine "processes" a script calls this under `if __name__ == "__main__":`.

    Args:
        jobs: with different names.
        out: folder of the results; all workers must see it, and the inputs, under the same path.
        options: where and how.
        report: told the share of the jobs that is done, and a line on the state.
        engine: makes the engine; that of the options by default.

    Raises:
        OptionError: an option does not fit, two jobs have one name, or another run writes to the folder.
        MissingExtraError: the engine is not installed.
        DexVidError: no job can be done, such as for want of disk space or of a package.
    """
    options = options or ScaleOptions()
    options.validate()
    counts = collections.Counter(job.name for job in jobs)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise OptionError(f"several jobs are named {', '.join(twice[:5])}; expected different names, so that none is lost")
    out = out.resolve()
    with only_one(out / ".lock", out):
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)  # of a run that was killed
        run = _Run(out, options, len(jobs), report or (lambda share, state: None))
        workers = (engine or _engine_maker(options))(out, options)
        try:
            run.go(collections.deque(jobs), workers)
        finally:
            workers.close()
            shutil.rmtree(out / UNFINISHED, ignore_errors=True)
            with contextlib.suppress(OSError, OptionError):  # a full disk, which has been told
                run.write_summary()
    return run.summary


def _engine_maker(options: ScaleOptions) -> EngineMaker:
    if options.engine == "ray":
        from demos.scale.ray_tasks import RayEngine

        return RayEngine
    from demos.scale.processes import ProcessEngine

    return ProcessEngine


class _Run:
    """The state of a run."""

    def __init__(self, out: Path, options: ScaleOptions, total: int, report: Callable[[float, str], None]) -> None:
        self._out, self._options, self._total, self._report = out, options, total, report
        self._attempts: collections.Counter[str] = collections.Counter()
        self._begin_s = self._written_s = time.monotonic()
        self.summary = RunSummary()

    def go(self, waiting: collections.deque[Job], engine: Engine) -> None:
        """Keeps the engine busy until every job is done or has failed."""
        running = 0
        while waiting or running:
            while waiting and engine.has_room():
                engine.start(waiting.popleft())
                running += 1
            for job, attempt in engine.wait():
                running -= 1
                if self._is_over(job, attempt):
                    continue
                waiting.append(job)  # behind the others, so that what made it fail may have passed
            self._tell(running)

    def _is_over(self, job: Job, attempt: Attempt) -> bool:
        """Takes an attempt's end down; False if the job should be tried again."""
        summary, name = self.summary, job.name
        self._attempts[name] += 1
        if attempt.status == "impossible":
            raise DexVidError(attempt.reason)
        if attempt.status in ("made", "kept"):
            (summary.made if attempt.status == "made" else summary.kept)[name] = attempt.figures
            return True
        if attempt.status == "broken" and self._attempts[name] <= self._options.retries:
            summary.retried += 1
            return False
        summary.failed[name] = Failure(attempt.reason, self._attempts[name])
        return True

    def _tell(self, running: int) -> None:
        summary = self.summary
        done = len(summary.made) + len(summary.kept) + len(summary.failed)
        words = f"{len(summary.made)} made, {len(summary.kept)} kept, {len(summary.failed)} failed, {running} in work"
        self._report(done / max(self._total, 1), words)
        if time.monotonic() - self._written_s > _SUMMARY_EVERY_S:  # one wants to look before a long run is over
            self.write_summary()

    def write_summary(self) -> None:
        """Writes how far the run is."""
        self._written_s = time.monotonic()
        self.summary.seconds = round(self._written_s - self._begin_s, 1)
        with atomic_path(self._out / SUMMARY_NAME) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self.summary), indent=2) + "\n", encoding="utf-8")
