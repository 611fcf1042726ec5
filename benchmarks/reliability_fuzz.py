"""Damaged files and command lines by the thousand, each read in a process that may neither hang nor grow.

A case is good when its reader returns, or raises one of the project's own errors. It is bad when anything else escapes, when
the process dies or does not answer in time, when it needs too much memory, or when a canary says that something was run.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import math
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability_cli import command_line, run_command_line
from benchmarks.reliability_damage import damage_bytes, replace_file
from benchmarks.reliability_readers import Reader
from benchmarks.reliability_row import Row
from dexvid_envs.errors import DexVidError
from dexvid_envs.progress import Report

CASE_LIMIT_S = 30.0
PREPARE_LIMIT_S = 600.0  # an archive of zeros takes a while on a busy machine
GROWTH_LIMIT_MIB = 1024.0
_ADDRESS_SPACE_BYTES = 6 * 2**30  # on top of what the process has at the start
_CLI = "command lines"
_MIB = 2**20


@dataclasses.dataclass
class Findings:
    """What the cases of one reader showed."""

    reader: str
    cases: int = 0
    returned: int = 0
    refused: int = 0
    bad: int = 0
    slowest_s: float = 0.0
    growth_mib: float = 0.0
    examples: dict[str, int] = dataclasses.field(default_factory=lambda: collections.defaultdict[str, int](int))

    def add(self, outcome: str, detail: str, seconds: float, growth_mib: float) -> None:
        """Counts one case."""
        if growth_mib > GROWTH_LIMIT_MIB and outcome in ("returned", "refused"):
            outcome, detail = "bad", f"{growth_mib:.0f} MiB"
        self.cases += 1
        self.slowest_s, self.growth_mib = max(self.slowest_s, seconds), max(self.growth_mib, growth_mib)
        if outcome == "returned":
            self.returned += 1
        elif outcome == "refused":
            self.refused += 1
        else:
            self.bad += 1
            self.examples[detail[:200]] += 1

    def row(self) -> Row:
        """For the table."""
        told = f"{self.returned} read, {self.refused} refused; slowest {self.slowest_s:.1f} s, grew {self.growth_mib:.0f} MiB"
        return Row("fuzz", self.reader, self.cases, self.bad, told, dict(self.examples))


def fuzz(
    readers: Sequence[Reader], cases: int, names: Sequence[str] = (), *, seed: int = 0, report: Report | None = None
) -> Iterator[Findings]:
    """Runs about so many cases over all readers and the command lines (a tenth of them); yields what became of each reader.

    Args:
        readers: what is fuzzed.
        cases: over all; shared out by `Reader.share`.
        names: runs only the cases of these readers; "command lines" is one too.
        seed: of the damage; a case is known by seed, reader and number alone.
        report: called after every case.
    """
    whole = sum(reader.share for reader in readers) / 0.9
    jobs: list[tuple[str, Callable[[Path], _Case], int]] = []
    for reader in readers:
        count = math.ceil(cases * reader.share / whole)
        jobs.append((reader.name, functools.partial(_ReaderCase, reader, seed), count))
    jobs.append((_CLI, functools.partial(_CommandLineCase, seed), math.ceil(cases / 10)))
    jobs = [job for job in jobs if not names or job[0] in names]
    total, done = sum(count for _, _, count in jobs), 0
    for name, make, count in jobs:
        findings = Findings(name)
        with tempfile.TemporaryDirectory(prefix="dexvid-fuzz-") as folder:
            for outcome in _in_workers(make, Path(folder), count):
                findings.add(*outcome)
                done += 1
                if report:
                    report(done / total, f"{name}: {findings.bad} bad of {findings.cases}")
        yield findings


class _ReaderCase:
    """Damages the good example of a reader anew for every case."""

    def __init__(self, reader: Reader, seed: int, folder: Path) -> None:
        self.reader, self.seed, self.folder = reader, seed, folder / "example"
        self.canary = folder / "canary"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.path = reader.write(self.folder)
        reader.read(self.path)  # the example is good
        self.good = self.path.read_bytes()
        self.others = [path for path in self.folder.rglob("*") if path.is_file() and path != self.path][:5]

    def prepare(self, index: int) -> None:
        """Damages the file for the case with this number."""
        rng = np.random.default_rng([self.seed, zlib.crc32(self.reader.name.encode()), index])
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(self.good)
        if rng.random() < 0.15:
            replace_file(self.path, rng, self.others, self.canary)
        else:
            damage = self.reader.damage if rng.random() < 0.6 else damage_bytes
            damage(self.path, rng)

    def run(self) -> None:
        """Reads it."""
        self.reader.read(self.path)


class _CommandLineCase:
    """Runs a command line for every case."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder, self.canary = seed, folder / "commands", folder / "canary"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        os.chdir(self.folder)
        self.words: list[str] = []

    def prepare(self, index: int) -> None:
        """Draws the command line with this number."""
        self.words = command_line(self.folder, np.random.default_rng([self.seed, 1, index]))

    def run(self) -> None:
        """Runs it."""
        run_command_line(self.words)


_Case = _ReaderCase | _CommandLineCase


def _in_workers(make: Callable[[Path], _Case], folder: Path, count: int) -> Any:
    """Yields (outcome, detail, seconds, growth in MiB) of each case; a process that dies or hangs is replaced."""
    context = multiprocessing.get_context("fork")  # the readers are imported once
    next_case = 0
    while next_case < count:
        here, there = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(make, folder, next_case, count, there))
        worker.start()
        there.close()
        while next_case < count:
            begin = time.monotonic()
            try:
                if not here.poll(PREPARE_LIMIT_S):
                    raise RuntimeError(f"case {next_case} could not be prepared in {PREPARE_LIMIT_S} s")
                here.recv()
                outcome = here.recv() if here.poll(CASE_LIMIT_S) else ("bad", f"case {next_case}: no answer", CASE_LIMIT_S, 0.0)
            except EOFError:
                worker.join()
                outcome = ("bad", f"case {next_case}: the process died ({worker.exitcode})", time.monotonic() - begin, 0.0)
            next_case += 1
            yield outcome
            if "no answer" in outcome[1] or "the process died" in outcome[1]:
                break
        worker.kill()
        worker.join()


def _work(make: Callable[[Path], _Case], folder: Path, first: int, count: int, answers: Connection) -> None:
    """The process: runs cases and sends what became of each."""
    os.setpgid(0, 0)
    warnings.simplefilter("ignore")  # of numpy and Pillow about absurd numbers
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)  # libraries in C complain there
    case = make(folder)
    limit = _memory_kib("VmSize") * 1024 + _ADDRESS_SPACE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for index in range(first, count):
        case.prepare(index)
        answers.send("prepared")
        before, begin = _reset_peak(), time.monotonic()
        outcome, detail = "returned", ""
        try:
            case.run()
        except DexVidError as error:
            outcome, detail = "refused", str(error)
        except BaseException as error:  # what escapes a reader is what is looked for
            outcome, detail = "bad", f"case {index}: {type(error).__name__}: {error}"
        seconds = time.monotonic() - begin
        if case.canary.exists():
            outcome, detail = "bad", f"case {index}: the canary was written"
            case.canary.unlink()
        answers.send((outcome, detail, seconds, max(_memory_kib("VmHWM") - before, 0) / 1024))


def _reset_peak() -> int:
    """Sets the peak of this process' memory to what it holds now, KiB; where that cannot be set, growth is seen once only."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _memory_kib("VmHWM")


def _memory_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
