"""Refinement and multiplication: what is called successful is so in physics, repeatably, and failures are never kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from demos.align import displacement_yaw
from demos.dataset import dataset_length, read_dataset
from demos.demonstration import Demonstration
from demos.multiply import MultiplyConfig, MultiplyReport, multiply, plan_from_demonstration
from demos.plan import Plan, make_plan
from demos.refine import RefineConfig, Refiner, rollout_cost
from demos.replay import replay
from demos.resample import resample
from demos.rollout import RolloutRunner
from demos.source import load_interaction, shipped_demonstration, shipped_sample
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError

ENV = "DexVid-BottlePickPlace-v0"
START, TARGET = np.array([0.46, -0.20]), np.array([0.46, 0.12])
SMALL = RefineConfig(candidates=12, elites=4, offset_rounds=2, spline_rounds=0)


@pytest.fixture(scope="module")
def plan() -> Plan:
    sample = load_interaction(shipped_sample())
    return make_plan(resample(sample, 20.0, 6.0), displacement_yaw(sample, START, TARGET), START, TARGET)[0]


@pytest.fixture(scope="module")
def shipped() -> Demonstration:
    return read_dataset(shipped_demonstration())[0]


def test_search_is_repeatable_and_its_best_never_gets_worse(plan: Plan) -> None:
    first, second = (Refiner(plan, ENV, {}, SMALL).run() for _ in range(2))
    assert np.array_equal(first.bend, second.bend)
    assert first.tracking_error_m == second.tracking_error_m
    costs = [row["cost"] for row in first.history if row["search"] == "offset"]
    assert costs == sorted(costs, reverse=True)


def test_untouched_bottle_costs_more_than_a_placed_one(plan: Plan, shipped: Demonstration) -> None:
    """The cost must not prefer leaving the bottle alone, the local minimum of plain object tracking."""
    runner = RolloutRunner(ENV, {}, 2)
    own = plan_from_demonstration(shipped)
    idle = np.tile(runner.task.robot.home_rad, (1, plan.num_steps, 1))
    still = runner.run(idle, START[None], TARGET[None], [0])
    assert not still.success[0]
    still_cost = rollout_cost(plan, still, START[None], TARGET[None])[0]
    from demos.plan import plan_targets

    moved, _ = plan_targets(own, np.zeros((1, *own.bend_shape())), own.start_xy[None], own.target_xy[None])
    done = runner.run(moved, own.start_xy[None], own.target_xy[None], [0])
    assert done.success[0]
    assert rollout_cost(own, done, own.start_xy[None], own.target_xy[None])[0] < 0.5 * still_cost


def test_shipped_demonstration_keeps_its_contract(shipped: Demonstration) -> None:
    assert shipped.tier == "successful"
    outcome = replay(shipped)
    assert outcome.success
    assert outcome.rescored_success
    if outcome.same_build:
        assert outcome.state_deviation == 0.0
    assert shipped.provenance["source_sha256"] == load_interaction(shipped_sample()).source_sha256
    frames = shipped.source_frame[shipped.source_frame >= 0]
    assert (np.diff(frames) >= 0).all()


def test_copies_succeed_start_elsewhere_and_replay(shipped: Demonstration) -> None:
    report = MultiplyReport()
    copies = list(multiply(shipped, MultiplyConfig(count=6, batch=8), report=report))
    assert len(copies) == 6
    assert report.accepted <= report.attempts
    starts = np.array([copy.object_pos_world[0, :2] for copy in copies])
    assert np.ptp(starts, axis=0).min() > 0.03
    for copy in copies:
        assert copy.tier == "successful"
        assert copy.successes[-1]
    outcome = replay(copies[-1])
    assert outcome.success
    assert outcome.rescored_success
    assert sum(report.start_cells.values()) == report.accepted


def test_multiplication_goes_on_where_it_stopped(shipped: Demonstration) -> None:
    config = MultiplyConfig(count=4, batch=4)
    assert len(list(multiply(shipped, config, first_index=3))) == 1


def test_only_successful_demonstrations_are_multiplied(shipped: Demonstration) -> None:
    kinematic = dataclasses.replace(shipped, tier="kinematic")
    with pytest.raises(DexVidError, match="refine it first"):
        list(multiply(kinematic, MultiplyConfig(count=1)))


def test_hopeless_multiplication_gives_up_with_advice(shipped: Demonstration) -> None:
    config = MultiplyConfig(count=4, batch=4, noise_rad=1.0, noise_free_fraction=0.0, max_attempts_factor=1.0)
    with pytest.raises(DexVidError, match=r"copies succeeded.*lower noise_rad"):
        list(multiply(shipped, config))


def test_multiply_command_writes_a_dataset_and_its_coverage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, figures = tmp_path / "copies", tmp_path / "coverage.json"
    arguments = ["multiply", str(shipped_demonstration()), "--count", "3", "--out", str(out), "--json", str(figures)]
    assert main(arguments) == 0
    assert dataset_length(out) == 3
    assert figures.is_file()
    assert "accepted" in capsys.readouterr().out


def test_multiply_command_refuses_what_is_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["multiply", str(tmp_path), "--count", "3", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("error:") == 1
    assert not (tmp_path / "out").exists()
