"""Multiplication of one demonstration on all four tasks: how many copies succeed, how fast, and which cells they cover.

    python -m benchmarks.multiplication [--tasks bottle_pick_place ...] [--count N] [--quick]

The pick-and-place demonstration is the shipped one, refined from a video, with bottles of 85 to 115 % size, 0.05 to 0.6 kg and
friction changed by a fifth. The other tasks multiply a scripted episode from the middle of their starts, and the shipped
demonstrations that were refined from videos (`refined_...`). Copies are written as a dataset, and some of them replayed.
`mended_by_retry` counts copies whose draw had failed before.
`seconds` is the wall time and `cpu_seconds` what both cores spent on it: on a machine with other work, the time that two free
cores would need lies between half of the latter and the former. Tasks that are not run keep their rows from the last run.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import demos
from benchmarks.result import RESULTS, Check, write_result
from demos.dataset import DatasetWriter, read_dataset
from demos.demonstration import Demonstration
from demos.multiplication.report import draw_coverage
from demos.multiply import JOURNAL_NAME, MultiplyConfig, MultiplyReport, multiply
from demos.replay import Player
from dexvid_envs.progress import progress_bar
from dexvid_envs.scripted import make_scripted_policy

Pair = tuple[float, float]
MINUTES_TARGET, ACCEPTANCE_TARGET = 10.0, 0.8
_SUBSTEPS = 10


@dataclasses.dataclass(frozen=True)
class Case:
    """One task's multiplication.

    Attributes:
        env_id, env_options: of the scripted episode.
        reset: its reset options: the middle of what the task draws.
        steps: its length.
        count: copies wanted.
        size, mass, friction: what the copies differ in.
        dataset: of a shipped demonstration, which is taken instead of a scripted episode.
    """

    env_id: str
    env_options: Mapping[str, Any]
    reset: Mapping[str, Any]
    steps: int
    count: int
    size: Pair | None
    mass: Pair
    friction: Pair = (0.8, 1.2)
    dataset: str | None = None


_DATA = Path(demos.__file__).parent / "data"
_LIFTED = {"object_position": (0.46, 0.0), "object_yaw": 0.0, "goal_position": (0.46, 0.0, 0.24)}
CASES: dict[str, Case] = {
    "bottle_pick_place": Case(
        "DexVid-BottlePickPlace-v0", {}, {}, 0, 2000, (0.85, 1.15), (1 / 6, 2.0), dataset="refined_pick_place"
    ),
    "grasp_lift": Case("DexVid-GraspLift-v0", {"objects": ["tomato_soup_can"]}, _LIFTED, 150, 200, (0.85, 1.15), (0.5, 1.5)),
    "grasp_lift_box": Case("DexVid-GraspLift-v0", {"objects": ["sugar_box"]}, _LIFTED, 150, 200, (0.85, 1.15), (0.5, 1.5)),
    "open_cabinet": Case(
        "DexVid-OpenCabinet-v0", {}, {"cabinet_position": (0.78, 0.0), "cabinet_yaw": 0.0}, 120, 300, None, (0.5, 2.0)
    ),
    "lift_throw": Case(
        "DexVid-LiftThrow-v0",
        {"objects": ["tennis_ball"]},
        {"object_position": (0.46, 0.0), "object_yaw": 0.0, "bucket_position": (1.24, 0.0)},
        195,
        200,
        (0.95, 1.05),
        (0.8, 1.2),
    ),
    "refined_grasp_lift": Case("DexVid-GraspLift-v0", {}, {}, 0, 200, (0.85, 1.15), (0.5, 1.5), dataset="refined_grasp_lift"),
    "refined_lift_of_a_mug": Case("DexVid-GraspLift-v0", {}, {}, 0, 200, (0.85, 1.15), (0.5, 1.5), dataset="refined_lifts/mug"),
    "refined_open_cabinet": Case("DexVid-OpenCabinet-v0", {}, {}, 0, 300, None, (0.5, 2.0), dataset="refined_open_cabinet"),
    "refined_lift_throw": Case("DexVid-LiftThrow-v0", {}, {}, 0, 200, (0.95, 1.05), (0.8, 1.2), dataset="refined_lift_throw"),
}


@dataclasses.dataclass(frozen=True)
class MultiplicationConfig:
    """Settings of the benchmark.

    Attributes:
        tasks: which of `CASES`.
        count: copies of each; those of `CASES` if None.
        replayed: copies of each that are replayed.
        seed: of the multiplication.
        batch: simulations at once.
        out: result file; with --quick in the current folder.
        quick: a few copies of the tasks.
    """

    tasks: tuple[str, ...] = tuple(CASES)
    count: int | None = None
    replayed: int = 20
    seed: int = 0
    batch: int = 64
    out: Path | None = None
    quick: bool = False


def run(config: MultiplicationConfig) -> None:
    """Runs the tasks and writes the result after each of them."""
    out = config.out or (Path("multiplication.json") if config.quick else RESULTS / "multiplication.json")
    reports = _last_reports(out)
    for name in config.tasks:
        case = CASES[name]
        count = config.count or (6 if config.quick else case.count)
        settings = MultiplyConfig(
            count=count,
            seed=config.seed,
            batch=min(config.batch, 8) if config.quick else config.batch,
            size=case.size,
            mass=case.mass,
            friction=case.friction,
        )
        source, kind = _source(case)
        row, report = _multiplied(name, source, settings, 2 if config.quick else config.replayed)
        reports[name] = (row | {"demonstration": kind}, report)
        _write(out, config, reports)


def _source(case: Case) -> tuple[Demonstration, str]:
    """The demonstration of a task, and where it is from."""
    if case.dataset is not None:
        return read_dataset(_DATA / case.dataset, [0])[0], "refined"
    player = Player(case.env_id, case.env_options, "joint_delta")
    player.env.reset(seed=0, options=dict(case.reset))
    policy = make_scripted_policy(player.env)
    policy.reset()
    actions = []
    for _ in range(case.steps):
        actions.append(policy.act()[0])
        player.env.step(actions[-1])
    return player.record(np.array(actions), reset_options=case.reset, seed=0, tier="successful"), "scripted"


def _multiplied(
    name: str, source: Demonstration, settings: MultiplyConfig, replayed: int
) -> tuple[dict[str, Any], MultiplyReport]:
    """A row of figures, and the report behind it."""
    report = MultiplyReport()
    with tempfile.TemporaryDirectory() as folder, progress_bar(name) as bar:
        path = Path(folder) / "copies"
        begin, begin_cpu = time.perf_counter(), time.process_time()
        with DatasetWriter(path) as writer:

            def show(made: int, state: MultiplyReport) -> None:
                bar(made / settings.count, f"{made} made, {state.acceptance:.0%} accepted")

            for copy in multiply(source, settings, report=report, progress=show, journal=writer.staging / JOURNAL_NAME):
                writer.add(copy)
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu
        chosen = np.linspace(0, settings.count - 1, min(replayed, settings.count)).astype(int)
        copies = read_dataset(path, [int(index) for index in chosen])
        player = Player(copies[0].env_id, copies[0].env_options, copies[0].control_mode)
        kept = sum(player.replay(copy).keeps_contract for copy in copies)
    starts = len(report.start_cells) + report.missing_start_cells
    targets = len(report.target_cells) + report.missing_target_cells
    row = {
        "task": name,
        "copies": settings.count,
        "attempts": report.attempts,
        "acceptance": round(report.acceptance, 4),
        "mended_by_retry": report.mended,
        "draws_given_up": report.given_up,
        "out_of_reach": report.out_of_reach,
        "start_cells": f"{len(report.start_cells)} of {starts}",
        "target_cells": f"{len(report.target_cells)} of {targets}",
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "physics_steps_per_cpu_second": round(report.attempts * copies[0].num_steps * _SUBSTEPS / cpu_seconds),
        "replays_that_hold": f"{kept} of {len(copies)}",
    }
    return row, report


def _last_reports(out: Path) -> dict[str, tuple[dict[str, Any], MultiplyReport]]:
    """Rows and reports of the last run, by task."""
    try:
        stored = json.loads(out.read_text(encoding="utf-8"))
        reports = stored["config"]["reports"]
        return {row["task"]: (row, MultiplyReport(**reports[row["task"]])) for row in stored["rows"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(out: Path, config: MultiplicationConfig, reports: dict[str, tuple[dict[str, Any], MultiplyReport]]) -> None:
    checks = []
    for name in (name for name in CASES if name in reports):
        row, report = reports[name]
        empty = report.missing_start_cells + report.missing_target_cells
        checks += [
            Check(f"{name}: accepted share of the attempts", report.acceptance, ACCEPTANCE_TARGET, "higher"),
            Check(f"{name}: cells without a copy", float(empty), 0.0, "lower"),
        ]
        if name == "bottle_pick_place":
            minutes = row["cpu_seconds"] / 120 * 2000 / row["copies"]
            checks += [
                Check(f"{name}: copies", float(row["copies"]), 2000.0, "higher"),
                Check(f"{name}: minutes of two cores for 2,000 copies", minutes, MINUTES_TARGET, "lower"),
            ]
    ordered = {name: reports[name] for name in CASES if name in reports}
    settings = dataclasses.asdict(config) | {
        "out": str(out.name),
        "cases": {name: dataclasses.asdict(CASES[name]) for name in ordered},
        "reports": {name: dataclasses.asdict(report) for name, (_, report) in ordered.items()},
    }
    columns = max((list(row) for row, _ in ordered.values()), key=len)  # rows of earlier commits may lack some
    rows = [{name: row.get(name) for name in columns} for row, _ in ordered.values()]
    write_result(out, "multiplication", settings, rows, checks)
    draw_coverage(out.with_suffix(".png"), [(name, report) for name, (_, report) in ordered.items()])


if __name__ == "__main__":
    run(tyro.cli(MultiplicationConfig, description=__doc__))
