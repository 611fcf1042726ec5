"""Multiplication: one successful demonstration carried to new starts and targets, each copy verified in physics.

The palm's path is moved with the object: with its start before the lift, with its target after the placing, in between by the
progress of the carry; the arm is solved anew and the approach planned anew from home. Noise on the servo targets shows the
learner how to come back: since the targets are part of the observation, the actions that follow a disturbed target lead back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.align import find_carry
from demos.demonstration import Demonstration
from demos.plan import Plan, PlanConfig, plan_targets
from demos.provenance import model_hash, to_json, versions
from demos.refine import end_miss, servo_noise, typical_miss
from demos.replay import demonstrations_from_batch
from demos.rollout import RolloutRunner
from dexvid_envs.errors import DexVidError
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlaceConfig
from robots.arm_hand import ARM_HAND
from robots.arm_kinematics import palm_pose

FloatArray = NDArray[np.float64]
CELL_M = 0.04


@dataclasses.dataclass(frozen=True)
class MultiplyConfig:
    """Settings of the multiplication.

    Attributes:
        count: successful demonstrations wanted.
        seed: of starts, targets, noise and the environments.
        batch: simulations at once.
        noise_rad: standard deviation of the white noise on the finger targets; the arm's is a quarter of it.
        noise_free_fraction: share of copies without noise.
        max_attempts_factor: gives up after this many times `count` attempts.
    """

    count: int = 1200
    seed: int = 0
    batch: int = 64
    noise_rad: float = 0.02
    noise_free_fraction: float = 0.1
    max_attempts_factor: float = 8.0


@dataclasses.dataclass
class MultiplyReport:
    """How the multiplication went; grows while it runs.

    Attributes:
        attempts, accepted: number of copies played and kept.
        start_cells: accepted copies by 4 cm cell of the start, as "ix,iy".
        target_cells: the same of the target.
        missing_start_cells, missing_target_cells: cells of the task's distribution without any accepted copy.
    """

    attempts: int = 0
    accepted: int = 0
    start_cells: dict[str, int] = dataclasses.field(default_factory=dict)
    target_cells: dict[str, int] = dataclasses.field(default_factory=dict)
    missing_start_cells: int = 0
    missing_target_cells: int = 0

    @property
    def acceptance(self) -> float:
        """Accepted share of the attempts."""
        return self.accepted / max(self.attempts, 1)


def plan_from_demonstration(demonstration: Demonstration) -> Plan:
    """The plan behind any successful demonstration, read from its servo targets and the object's path.

    Raises:
        DexVidError: it is not of tier "successful", or lacks what a plan needs.
    """
    if demonstration.tier != "successful":
        raise DexVidError(
            f"only demonstrations of tier 'successful' can be multiplied, this one is {demonstration.tier!r}; refine it first"
        )
    runner = RolloutRunner(demonstration.env_id, dict(demonstration.env_options), 1)
    targets = _servo_targets(runner, demonstration)
    path = demonstration.object_pos_world
    phases = find_carry(path)
    timing = demonstration.provenance.get("plan", {})
    arm = targets[:, : ARM_HAND.arm_joints]
    return Plan(
        palm=palm_pose(arm),
        arm=arm,
        fingers=targets[:, ARM_HAND.arm_joints :],
        progress=phases.progress[1:],
        held=np.zeros(len(targets)),
        object_pos_world=path[1:],
        source_frame=demonstration.source_frame[1:],
        start_xy=path[0, :2],
        target_xy=path[-1, :2],  # where the bottle really ended, a little off its target
        approach_steps=int(timing.get("approach_steps", PlanConfig().approach_steps)),
        return_steps=int(timing.get("return_steps", 0)),
        rest_steps=int(timing.get("rest_steps", 0)),
        lift=phases.lift,
        place=min(phases.place, len(targets) - 1),
        release=min(phases.place, len(targets) - 1),
        knots=2,
    )


def _servo_targets(runner: RolloutRunner, demonstration: Demonstration) -> FloatArray:
    """(T, 23) rad servo target after each action."""
    core = runner.core
    core.set_state(0, demonstration.reset_options(0)["state"])
    target = core.simulation.ctrl.copy()
    targets = []
    for action in demonstration.actions:
        target = core.control.next_target(action[None].astype(np.float64), target)
        targets.append(target[0].copy())
    return np.stack(targets)


def multiply(
    demonstration: Demonstration,
    config: MultiplyConfig | None = None,
    *,
    first_index: int = 0,
    report: MultiplyReport | None = None,
    progress: Callable[[int, MultiplyReport], None] | None = None,
) -> Iterator[Demonstration]:
    """Yields successful copies until `count` are made; failures are never kept.

    Args:
        demonstration: successful, of DexVid-BottlePickPlace-v0.
        config: settings.
        first_index: copies made in an earlier sitting; the draws go on after theirs.
        report: filled while it runs.
        progress: called after each batch with the number made and the report.

    Raises:
        DexVidError: too few copies succeed within the allowed attempts.
    """
    config, report = config or MultiplyConfig(), report or MultiplyReport()
    plan = plan_from_demonstration(demonstration)
    runner = RolloutRunner(demonstration.env_id, dict(demonstration.env_options), config.batch)
    settings = runner.task.settings
    facts = _provenance(demonstration, runner, config)
    made, batch_index = first_index, first_index
    aim = np.zeros(2)  # where the bottles end off their targets on average, the next ones are aimed the other way
    while made < config.count:
        if report.attempts > config.max_attempts_factor * config.count:
            raise DexVidError(
                f"only {report.accepted} of {report.attempts} copies succeeded, expected {config.count}; "
                "refine the demonstration further or lower noise_rad"
            )
        rng = np.random.default_rng([config.seed, batch_index])
        batch_index += 1
        starts = _drawn(rng, settings.start_centre_m, settings.start_half_extent_m, config.batch)
        targets_xy = _drawn(rng, settings.target_centre_m, settings.target_half_extent_m, config.batch)
        noise = servo_noise(rng, config.batch, plan.num_steps, config.noise_rad)
        noise[rng.random(config.batch) < config.noise_free_fraction] = 0.0
        servo, _ = plan_targets(plan, np.zeros((config.batch, *plan.bend_shape())), starts, targets_xy + aim)
        seeds = rng.integers(2**31, size=config.batch).tolist()
        rollouts = runner.run(servo, starts, targets_xy, seeds, target_noise=noise, keep=True)
        aim = aim - 0.5 * typical_miss(end_miss(rollouts, targets_xy))
        kept = np.flatnonzero(rollouts.success)[: config.count - made]
        report.attempts += config.batch
        report.accepted += int(rollouts.success.sum())
        _count_cells(report, starts[rollouts.success], targets_xy[rollouts.success], settings)
        batch = {name: getattr(rollouts, name) for name in _KEPT}
        yield from demonstrations_from_batch(
            batch,
            kept.tolist(),
            [plan.num_steps] * len(kept),
            env_id=demonstration.env_id,
            env_options=demonstration.env_options,
            control_mode=demonstration.control_mode,
            tier="successful",
            source_frame=np.concatenate([[-1], plan.source_frame]),
            provenance=[facts | {"copy": {"batch": batch_index - 1, "row": int(row), "seed": seeds[row]}} for row in kept],
        )
        made += len(kept)
        if progress:
            progress(made, report)


_KEPT = ("observations", "states", "object_pos_world", "actions", "rewards", "successes", "memory")


def _provenance(demonstration: Demonstration, runner: RolloutRunner, config: MultiplyConfig) -> dict[str, Any]:
    return {
        "parent": dict(demonstration.provenance),
        "multiply": to_json(config),
        "model_sha256": model_hash(runner.core.simulation.model),
        "versions": versions(),
    }


def _drawn(rng: np.random.Generator, centre: tuple[float, float], half_extent: tuple[float, float], count: int) -> FloatArray:
    return np.asarray(centre) + np.asarray(half_extent) * rng.uniform(-1.0, 1.0, (count, 2))


def _count_cells(report: MultiplyReport, starts: FloatArray, targets: FloatArray, settings: BottlePickPlaceConfig) -> None:
    """Adds accepted starts and targets to the coverage map and counts the cells still empty."""
    places = (
        ("start", starts, settings.start_centre_m, settings.start_half_extent_m),
        ("target", targets, settings.target_centre_m, settings.target_half_extent_m),
    )
    for name, points, centre, half_extent in places:
        cells: dict[str, int] = getattr(report, f"{name}_cells")
        low = np.asarray(centre) - np.asarray(half_extent)
        shape = np.maximum(np.ceil(2 * np.asarray(half_extent) / CELL_M - 1e-9).astype(int), 1)
        for ix, iy in np.minimum(((points - low) / CELL_M).astype(int), shape - 1):
            key = f"{ix},{iy}"
            cells[key] = cells.get(key, 0) + 1
        setattr(report, f"missing_{name}_cells", int(shape.prod()) - len(cells))
