"""One attempt at a job, in a worker: in a folder of its own, which takes the result's name only when it is whole."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import faulthandler
import functools
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from demos.scale.job import RECORD_NAME, Job, read_record
from dexvid_envs.errors import DexVidError, MissingExtraError, OptionError

#: Folder of attempts that are not done, inside the run's output.
UNFINISHED = ".unfinished"
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "DEXVID_NUM_THREADS",
)

Status = Literal["made", "kept", "refused", "broken", "impossible"]


@dataclasses.dataclass(frozen=True)
class Attempt:
    """How an attempt ended.

    Attributes:
        status: "made"; "kept", where the result was there already; "refused", where the input is at fault and another attempt
            would end alike; "broken", where it may not; "impossible", where no job can be done on this machine.
        reason: why there is no result.
        figures: what the function said of its result.
    """

    status: Status
    reason: str = ""
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def attempt(job: Job, out: Path, limit_s: float) -> Attempt:
    """Does a job with one thread, unless its result is there; a process that is still at it after `limit_s` ends itself."""
    one_thread()
    try:
        with _time_limit(limit_s):
            return _attempt(job, out)
    except MissingExtraError as error:
        return Attempt("impossible", str(error))
    except Exception as error:  # whatever a job raises costs that job alone; it is told in the summary
        cause = error if isinstance(error, OSError) else error.__cause__
        of_system = cause.errno if isinstance(cause, OSError) else None  # libraries raise OSError without a number
        if of_system in (errno.ENOSPC, errno.EDQUOT):
            return Attempt("impossible", f"{error}: there is no room left in {out}; the same command goes on when there is")
        if isinstance(error, DexVidError) and of_system is None:
            return Attempt("refused", str(error))
        return Attempt("broken", str(error) if isinstance(error, DexVidError) else f"{type(error).__name__}: {error}")


@functools.cache
def one_thread() -> None:
    """Lets the libraries of this process use one thread: those that are loaded, and those that will be."""
    from threadpoolctl import threadpool_limits

    for name in _THREAD_VARIABLES:
        os.environ[name] = "1"
    threadpool_limits(1)  # OpenBLAS and OpenMP
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


@contextlib.contextmanager
def _time_limit(limit_s: float) -> Iterator[None]:
    """Ends the process after so long; unlike a thread of Python's, this also reaches code that never returns to Python."""
    try:
        faulthandler.dump_traceback_later(limit_s, exit=True)
    except (AttributeError, ValueError, OSError):  # there is no error stream to write to
        yield
        return
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _attempt(job: Job, out: Path) -> Attempt:
    result, identity = out / job.name, job.identity()
    if (record := read_record(result)) is not None and record["identity"] == identity:
        return Attempt("kept", figures=record.get("figures", {}))
    if result.exists() and record is None and (not result.is_dir() or any(result.iterdir())):
        raise OptionError(f"{result} is there but was not made by such a run; move it away, or choose another --out")
    folder = out / UNFINISHED / f"{job.name}-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True)
        begin = time.monotonic()
        figures = dict(job.load()(folder / job.name, job.inputs, **job.settings) or {})
        if not (folder / job.name).is_dir():
            raise TypeError(f"{job.function} made no folder {job.name}")
        record = {"identity": identity, "figures": figures, "seconds": round(time.monotonic() - begin, 2)}
        (folder / job.name / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return Attempt("made" if _move_into_place(folder / job.name, result, identity) else "kept", figures=figures)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move_into_place(made: Path, result: Path, identity: Mapping[str, Any]) -> bool:
    """Renames, which the file system grants to one alone; False where another attempt, believed dead, was first."""
    try:
        made.rename(result)
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    if (record := read_record(result)) is not None and record["identity"] == identity:
        return False
    result.rename(made.with_name("previous"))  # of other inputs or settings
    made.rename(result)
    return True
