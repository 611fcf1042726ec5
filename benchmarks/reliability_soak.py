"""An hour of work that must not swell: half of it vector environments stepped at random, half of it a PPO training.

    python -m benchmarks.reliability --parts soak [--minutes 60]

Each half is one process with one thread, whose memory is looked at every ten seconds. Stepping makes its environments anew
all the time, in rotation over the tasks, with control modes, observations and randomizations that take turns, and drives them
as `benchmarks.soak` does; its memory is what it holds between two environments, after the allocator has given back what is
free: what that would keep for the next is no leak, however it grows. The training is `dexvid train ppo` from a shipped
checkpoint, with savings and evaluations in between.
What memory does in the first 15 % of a half is not judged: caches fill and compiled code is loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.reliability_row import Row
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import Report

#: Growth of a half's memory that is still called flat: its robust slope after the warm-up, times the length of the half.
MAX_GROWTH_MIB = 20.0
WARM_UP = 0.15  # of a half
SAMPLE_S = 10.0
_LEAST_S = 300.0  # after the warm-up; before that nothing is said of the growth
_ROOT = Path(__file__).parents[1]
_MIB = 2**20
#: Names of the halves.
HALVES = ("vector stepping", "ppo training")
_STATUS, _STATES = "status.json", "unstable"


@dataclasses.dataclass
class SoakRow(Row):
    """A half of the soak; `tries` are steps of environments.

    Attributes:
        minutes: that it ran.
        growth_mib: of memory over the half, by the slope after the warm-up; None while it is too early to tell.
        rss_mib: memory of the process at equal intervals, of stepping between two environments.
    """

    minutes: float = 0.0
    growth_mib: float | None = None
    rss_mib: list[float] = dataclasses.field(default_factory=list[float])


@dataclasses.dataclass(frozen=True)
class _Half:
    """What runs in a process of its own, and how its files are read.

    Attributes:
        what: for the table.
        words: after the interpreter.
        counts: steps so far, and faults by name, from the half's folder.
        held_mib: memory, from the half's folder and the process's number.
    """

    what: str
    words: list[str]
    counts: Callable[[Path], tuple[int, dict[str, int]]]
    held_mib: Callable[[Path, int], float] = lambda folder, process: rss_mib(process)


def soak_halves(
    minutes: float,
    names: Sequence[str] = (),
    done: Callable[[str], bool] = lambda what: False,
    *,
    report: Report | None = None,
) -> Iterator[SoakRow]:
    """Runs both halves; yields the row of the running one after every look at it.

    Args:
        minutes: of both together.
        names: of the halves to run, some of `HALVES`; both where none is given.
        done: whether a half of this name was run already.
        report: called after every look.

    Raises:
        ValueError: there is no half of such a name.
    """
    if unknown := sorted(set(names) - set(HALVES)):
        raise ValueError(f"no half {', '.join(unknown)}; expected some of {', '.join(HALVES)}")
    seconds = minutes * 30.0
    for number, make in enumerate((_stepping, _training)):
        with tempfile.TemporaryDirectory(prefix="dexvid-soak-") as folder:
            half = make(Path(folder), seconds)
            if (names and half.what not in names) or done(half.what):
                continue
            for row in _watch(half, Path(folder), seconds):
                yield row
                if report:
                    share = (number + min(row.minutes * 60.0 / seconds, 1.0)) / 2.0
                    report(share, f"{half.what}: {row.rss_mib[-1]:.0f} MiB, {row.tries} steps, {row.bad} bad")


def growth_mib(rss_mib: Sequence[float], every_s: float, warm_up_s: float) -> float | None:
    """Growth over all of the time, MiB, by the median slope (Theil and Sen) after the warm-up; None where it is too early.

    Args:
        rss_mib: memory at equal intervals.
        every_s: the interval, s.
        warm_up_s: time at the beginning that is not looked at, s.
    """
    warm = rss_mib[math.ceil(warm_up_s / every_s) :]
    if len(warm) * every_s < _LEAST_S:
        return None
    first, second = np.triu_indices(len(warm), 1)
    values = np.asarray(warm)
    slopes = (values[second] - values[first]) / (second - first)
    return round(float(np.median(slopes)) * len(rss_mib), 2)


def _watch(half: _Half, folder: Path, seconds: float) -> Iterator[SoakRow]:
    """Starts a half and looks at it until it ends."""
    variables = dict.fromkeys(("OMP_NUM_THREADS", "DEXVID_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *half.words], cwd=_ROOT, env=os.environ | variables, stdout=stream, stderr=subprocess.STDOUT
        )
    begin, held_mib, every_s = time.monotonic(), list[float](), min(SAMPLE_S, seconds / 10.0)

    def row_so_far() -> SoakRow:
        return _row(half, folder, time.monotonic() - begin, held_mib, growth_mib(held_mib, every_s, WARM_UP * seconds))

    try:
        while process.poll() is None:
            held_mib.append(half.held_mib(folder, process.pid))
            yield row_so_far()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(begin + len(held_mib) * every_s - time.monotonic(), 0.0))
        row = row_so_far()
        if process.returncode != 0:
            lines = log.read_text(errors="replace").strip().splitlines() or ["nothing said"]
            row.bad += 1
            row.examples[f"ends with {process.returncode}: {lines[-1]}"[:300]] = 1
        yield row
    finally:
        process.kill()
        process.wait()


def _row(half: _Half, folder: Path, elapsed_s: float, rss_mib: Sequence[float], growth: float | None) -> SoakRow:
    """What is known of a half by now."""
    steps, faults = half.counts(folder)
    examples = {name: count for name, count in faults.items() if count}
    if growth is not None and growth > MAX_GROWTH_MIB:
        examples["memory that grows"] = 1
    told = "too early to tell a growth" if growth is None else f"grows by {growth} MiB"
    details = f"{elapsed_s / 60.0:.1f} min, {steps / elapsed_s:.0f} steps/s; at most {max(rss_mib):.0f} MiB, {told}"
    bad, minutes, rss = sum(examples.values()), round(elapsed_s / 60.0, 2), [round(value, 1) for value in rss_mib]
    return SoakRow("soak", half.what, steps, bad, details, examples, minutes=minutes, growth_mib=growth, rss_mib=rss)


def rss_mib(process: int) -> float:
    """Memory that a process holds now; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MIB
    except (OSError, IndexError):
        return 0.0


# ---- training ---------------------------------------------------------------------------------------------------------------


def _training(folder: Path, seconds: float) -> _Half:
    start = _ROOT / "baselines" / "checkpoints" / "open_cabinet"
    words = f"-m dexvid_envs.cli train ppo --init {start} --out {folder / 'run'} --env-option nan_folder={folder / _STATES}"
    words += f" --total-steps 1000000000 --max-seconds {seconds} --num-envs 8 --rollout-steps 200 --update-threads 1"
    words += " --evaluations 6 --evaluation-episodes 4"
    return _Half(HALVES[1], words.split(), _count_training)


def _count_training(folder: Path) -> tuple[int, dict[str, int]]:
    from baselines.progress import CSV_NAME, read_progress

    path = folder / "run" / CSV_NAME
    rows = read_progress(path) if path.is_file() else []
    not_finite = sum(not math.isfinite(value) for row in rows for value in row.values())
    states = folder / _STATES
    faults = {"not finite": not_finite, "unstable": len(list(states.iterdir())) if states.is_dir() else 0}
    return int(max((row["step"] for row in rows), default=0)), faults


# ---- stepping ---------------------------------------------------------------------------------------------------------------


def _stepping(folder: Path, seconds: float) -> _Half:
    words = ["-m", "benchmarks.reliability_soak", "--folder", str(folder), "--seconds", str(seconds)]
    return _Half(HALVES[0], words, _count_stepping, _held_between_environments)


def _count_stepping(folder: Path) -> tuple[int, dict[str, int]]:
    path = folder / _STATUS
    counts: dict[str, int] = json.loads(path.read_text())["counts"] if path.is_file() else {"steps": 0}
    return counts.pop("steps"), {name.replace("_", " "): count for name, count in counts.items()}


def _held_between_environments(folder: Path, process: int) -> float:
    path = folder / _STATUS
    return float(json.loads(path.read_text())["held_mib"]) if path.is_file() else rss_mib(process)


def _give_back_free_memory() -> None:
    with contextlib.suppress(AttributeError, OSError):  # of the GNU C library alone
        ctypes.CDLL(None).malloc_trim(0)


def step_at_random(folder: Path, seconds: float) -> None:
    """Drives one environment after the other for so long; steps and faults are counted in a file of the folder."""
    from benchmarks.soak import COUNTED, RANDOMIZATIONS, Configuration, Log, soak
    from dexvid_envs.control import CONTROL_MODES
    from dexvid_envs.registration import REGISTRATIONS

    begin, log = time.monotonic(), Log(folder / "log.txt", fresh=True)
    seen = (*COUNTED["state and points"], *COUNTED["key points"])
    turns = [  # few enough that each comes several times within the warm-up
        (entry.id, list(CONTROL_MODES)[turn % 3], seen[(turn + number) % len(seen)], RANDOMIZATIONS[(turn + number) % 2])
        for turn in range(3)
        for number, entry in enumerate(REGISTRATIONS)
    ]
    faults = ("not_finite", "out_of_space", "unstable", "mujoco_warnings", "errors")
    counts = dict.fromkeys(("steps", *faults), 0)
    for seed, modes in enumerate(itertools.cycle(turns)):
        configuration = Configuration(*modes, num_envs=4, steps=400, seed=seed)

        def look(share: float, state: str) -> None:  # too little is done after one turn for a half of seconds
            del share, state

        row: dict[str, Any] = soak(configuration, folder / _STATES, look, log)
        counts = {name: counts[name] + int(row[name]) for name in counts}
        _give_back_free_memory()
        with atomic_path(folder / _STATUS) as temporary:
            temporary.write_text(json.dumps({"counts": counts, "held_mib": rss_mib(os.getpid())}))
        if time.monotonic() - begin > seconds:
            return


if __name__ == "__main__":
    tyro.cli(step_at_random)
