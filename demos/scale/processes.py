"""The engine that needs nothing installed: worker processes on this machine, each replaced when it dies."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path

from demos.scale.attempt import Attempt, attempt
from demos.scale.job import Job
from demos.scale.options import ScaleOptions
from dexvid_envs.machine import free_memory_bytes, whole_cores

#: A worker is replaced after so many jobs, so that what libraries leak does not add up.
JOBS_PER_WORKER = 50
LOG_NAME = "workers.log"
_SPAWN = multiprocessing.get_context("spawn")


class ProcessEngine:
    """Workers that are spawned when first needed. See `demos.scale.engine.Engine`."""

    def __init__(self, out: Path, options: ScaleOptions) -> None:
        self._out, self._options = out, options
        fits = free_memory_bytes() // (1e9 * options.job_memory_gb) if options.job_memory_gb else math.inf
        self._most = max(min(options.workers or whole_cores(), fits), 1)
        self._workers: list[_Worker] = []

    def has_room(self) -> bool:
        """Whether a worker is free, and memory for it; without memory one job at a time is done all the same."""
        busy = sum(worker.job is not None for worker in self._workers)
        return busy == 0 or (busy < self._most and free_memory_bytes() >= 1e9 * self._options.job_memory_gb)

    def start(self, job: Job) -> None:
        """Gives the job to a free worker."""
        worker = next((worker for worker in self._workers if worker.job is None), None)
        if worker is None:
            worker = _Worker(self._out, self._options.job_limit_s)
            self._workers.append(worker)
        worker.begin(job)

    def wait(self) -> list[tuple[Job, Attempt]]:
        """Attempts that have ended."""
        busy = [worker for worker in self._workers if worker.job is not None]
        ready = set(wait([handle for worker in busy for handle in worker.handles], timeout=1.0))
        ended = []
        for worker in busy:
            if ready.isdisjoint(worker.handles):
                continue
            ended.append(worker.end())
            if worker.is_spent:
                self._workers.remove(worker)
        return ended

    def close(self) -> None:
        """Ends all workers; what they are at is dropped."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()


class _Worker:
    """A process and the job it is at."""

    def __init__(self, out: Path, limit_s: float) -> None:
        self._connection, far = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(far, out, limit_s))
        self._process.start()
        far.close()  # so that the end of the process closes the pipe
        self.handles = (self._connection, self._process.sentinel)
        self.job: Job | None = None
        self.is_spent = False
        self._begun_s, self._count = 0.0, 0

    def begin(self, job: Job) -> None:
        self.job, self._begun_s = job, time.monotonic()
        with contextlib.suppress(OSError):  # it died while it was idle; `end` says so
            self._connection.send(job)

    def end(self) -> tuple[Job, Attempt]:
        """The job and how it ended, once a handle is ready."""
        job, self.job = self.job, None
        assert job is not None
        self._count += 1
        try:
            if not self._connection.poll():  # it is dead, though a process that it began holds the pipe open
                raise EOFError
            result = self._connection.recv()
            self.is_spent = self._count >= JOBS_PER_WORKER
        except (EOFError, OSError):
            self._process.join(10.0)
            result = Attempt("broken", self._cause_of_death())
            self.is_spent = True
        if self.is_spent:
            self.close()
        return job, result

    def _cause_of_death(self) -> str:
        code, after_s = self._process.exitcode, time.monotonic() - self._begun_s
        how = f"was ended by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with code {code}"
        return f"its process {how} after {after_s:.0f} s (out of memory, over --job-limit-s, or killed); see {LOG_NAME}"

    def close(self) -> None:
        if self.job is not None:
            self._process.kill()
        self._connection.close()  # an idle worker ends by itself
        self._process.join(10.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Connection, out: Path, limit_s: float) -> None:
    """What a worker does: jobs, until its pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = os.open(out / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):  # libraries in C write there as well, and would tear the progress bar
        os.dup2(log, stream)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(attempt(job, out, limit_s))


def _end_with_parent() -> None:
    """A killed run leaves no workers that go on writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
