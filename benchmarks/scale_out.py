"""Scale-out: what a killed node of a Ray cluster costs, and how much faster two workers of one thread are than one.

    python -m benchmarks.scale_out [--kinds extraction refinement multiplication seeds] [--jobs N]

The cluster is Ray's own for tests: two nodes of one core each on this machine, which listen on the loopback interface alone.
When a quarter of the jobs is done, one node is killed; then every job has to have its result, and none may have been made a
second time. For the speed the same jobs are run by one and by two workers, on worker processes and on Ray. A machine with
other work says little on the speed.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro

from benchmarks.result import RESULTS, Check, write_result
from benchmarks.scale_jobs import KINDS
from demos.scale import Job, RunSummary, ScaleOptions, run_jobs
from demos.scale.job import read_record
from demos.scale.ray_tasks import import_ray
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.progress import progress_bar

SPEED_UP = 1.6
_KILL_AFTER = 0.25  # of the jobs


@dataclasses.dataclass(frozen=True)
class ScaleOutArguments:
    """Settings of the benchmark.

    Attributes:
        kinds: what is done: extraction, refinement, multiplication, seeds.
        jobs: of each kind.
        rounds: turns of one and of two workers; the figure is the median of the ratios.
        out: result file; with --quick in the current folder.
        quick: a few extractions, and no speed.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    jobs: int = 12  # so that the start of the workers does not count for much
    rounds: int = 3
    out: Path | None = None
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class KilledNode:
    """What became of the jobs of a cluster of which a node was killed.

    Attributes:
        jobs: how many there were.
        lost: without a result.
        twice: of which a result took the place of another.
        done_before: when the node was killed.
        attempts_lost: that the kill cost.
        seconds: of the whole run.
    """

    jobs: int
    lost: int
    twice: int
    done_before: int
    attempts_lost: int
    seconds: float


def main(arguments: ScaleOutArguments) -> dict[str, Any]:
    """Measures, prints and writes."""
    if unknown := sorted(set(arguments.kinds) - set(KINDS)):
        raise OptionError(f"unknown kinds {', '.join(unknown)}; expected some of {', '.join(KINDS)}")
    kinds, count, rounds = (("extraction",), 4, 0) if arguments.quick else (arguments.kinds, arguments.jobs, arguments.rounds)
    rows: list[dict[str, Any]] = []
    checks: list[Check] = []
    out = arguments.out or (Path("scale_out.json") if arguments.quick else RESULTS / "scale_out.json")
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="dexvid-scale-") as name:
            killed = kill_a_node(KINDS[kind](count), Path(name))
            row = {"kind": kind, **dataclasses.asdict(killed)}
            checks += [Check(f"{kind}: lost with a killed node", killed.lost, 0, "lower")]
            checks += [Check(f"{kind}: done twice with a killed node", killed.twice, 0, "lower")]
            checks += [Check(f"{kind}: attempts that the kill cost", killed.attempts_lost, 1, "higher")]
            for engine, clock in (("processes", seconds_on_processes), ("ray", seconds_on_ray)):
                pairs = [[clock(KINDS[kind](count), workers, Path(name)) for workers in (1, 2)] for _ in range(rounds)]
                if pairs:
                    speed_up = statistics.median(one / two for one, two in pairs)
                    row |= {f"{engine}: seconds of 1, 2 workers": "; ".join(f"{one:.0f}, {two:.0f}" for one, two in pairs)}
                    checks.append(Check(f"{kind}: two workers / one, {engine}", round(speed_up, 3), SPEED_UP, "higher"))
        rows.append(row)
        print(row, flush=True)
        write_result(out, "scale_out", {"jobs": count, "rounds": rounds}, rows, checks)
    print(out.with_suffix(".md").read_text())
    return {"rows": rows, "checks": [check.to_json() for check in checks]}


def kill_a_node(jobs: Sequence[Job], folder: Path) -> KilledNode:
    """Runs the jobs on two nodes and kills one of them in the middle."""
    out, began = folder / "killed", time.monotonic()
    results: dict[str, set[tuple[int, int]]] = collections.defaultdict(set)  # what was seen under each name
    done_before: list[int] = []
    over = threading.Event()

    def watch(kill: Callable[[], None]) -> None:
        while not over.wait(0.05):
            _look(out, results)
            if not done_before and len(results) >= max(1, round(_KILL_AFTER * len(jobs))):
                time.sleep(0.5)  # into the next jobs
                done_before.append(len(results))
                kill()

    with ray_cluster(nodes=2) as kill:
        watcher = threading.Thread(target=watch, args=(kill,), daemon=True)
        watcher.start()
        try:
            summary = _run(jobs, out, ScaleOptions("ray"))
        finally:
            over.set()
            watcher.join()
    _look(out, results)
    return KilledNode(
        jobs=len(jobs),
        lost=sum(read_record(out / job.name) is None for job in jobs),
        twice=sum(len(versions) > 1 for versions in results.values()),
        done_before=done_before[0] if done_before else len(jobs),
        attempts_lost=summary.retried,
        seconds=round(time.monotonic() - began, 1),
    )


def _look(out: Path, results: dict[str, set[tuple[int, int]]]) -> None:
    """Notes which results are there; one that took another's place is another file."""
    for record in out.glob("*/job.json"):
        stat = record.stat()
        results[record.parent.name].add((stat.st_ino, stat.st_mtime_ns))


def seconds_on_processes(jobs: Sequence[Job], workers: int, folder: Path) -> float:
    """Wall time of the jobs on so many worker processes, their start included."""
    return _seconds(jobs, folder, ScaleOptions("processes", workers))


def seconds_on_ray(jobs: Sequence[Job], workers: int, folder: Path) -> float:
    """The same on so many nodes of a cluster; without the start of the nodes, which a cluster has behind it."""
    with ray_cluster(nodes=workers):
        return _seconds(jobs, folder, ScaleOptions("ray"))


def _seconds(jobs: Sequence[Job], folder: Path, options: ScaleOptions) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as out:
        began = time.monotonic()
        summary = _run(jobs, Path(out) / "out", options)
        if summary.failed:
            raise DexVidError(f"{len(summary.failed)} jobs failed, such as: {next(iter(summary.failed.values())).reason}")
        return time.monotonic() - began


def _run(jobs: Sequence[Job], out: Path, options: ScaleOptions) -> RunSummary:
    with progress_bar("scale out") as bar:
        return run_jobs(jobs, out, options, report=bar)


@contextlib.contextmanager
def ray_cluster(nodes: int) -> Iterator[Callable[[], None]]:
    """A cluster on this machine, of nodes of one core; yields a function that kills one of them."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    ray = import_ray()
    cluster = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        added = [cluster.add_node(num_cpus=1) for _ in range(nodes)]
        ray.init(address=cluster.address, log_to_driver=False)
        yield lambda: cluster.remove_node(added[-1], allow_graceful=False)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(tyro.cli(ScaleOutArguments, description=__doc__))
