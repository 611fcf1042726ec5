"""The conditions in which a candidate is tried: as the video has it, or moved and disturbed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demos.plan import Plan
from robots.arm_hand import ARM_HAND

FloatArray = NDArray[np.float64]
Rows = slice | Sequence[int] | NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class ConditionRange:
    """How far conditions differ.

    Attributes:
        start_half_extent_m, target_half_extent_m: (2,) m over which starts and targets of moved copies lie.
        object_shift_m: the object stands up to this far from where it is expected, along each axis.
        noise_rad: standard deviation of the noise on the finger targets; the arm's is a quarter.
    """

    start_half_extent_m: FloatArray
    target_half_extent_m: FloatArray
    object_shift_m: float
    noise_rad: float


@dataclasses.dataclass(frozen=True)
class Conditions:
    """N conditions.

    Attributes:
        starts_xy, targets_xy: (N, 2) m where the object is expected and has to go.
        object_shift_m: (N, 2) m by which it stands elsewhere.
        seeds: (N,) of each episode.
        moved: (N,) bool, whether start and target are others than the video's.
        noise: (N, T, 23) rad on the servo targets, or None.
    """

    starts_xy: FloatArray
    targets_xy: FloatArray
    object_shift_m: FloatArray
    seeds: list[int]
    moved: NDArray[np.bool_]
    noise: FloatArray | None

    def rows(self, rows: Rows) -> Conditions:
        """Some of them."""
        seeds = np.array(self.seeds)[rows].tolist()
        noise = None if self.noise is None else self.noise[rows]
        return Conditions(
            self.starts_xy[rows], self.targets_xy[rows], self.object_shift_m[rows], seeds, self.moved[rows], noise
        )

    def repeated(self, times: int) -> Conditions:
        """All of them again and again."""
        return self.rows(np.tile(np.arange(len(self.seeds)), times))


def nominal_conditions(plan: Plan, count: int) -> Conditions:
    """The video's own start and target, `count` times, with nothing to disturb."""
    return Conditions(
        np.tile(plan.start_xy, (count, 1)),
        np.tile(plan.target_xy, (count, 1)),
        np.zeros((count, 2)),
        [0] * count,
        np.zeros(count, dtype=bool),
        None,
    )


def draw_conditions(
    rng: np.random.Generator,
    plan: Plan,
    within: ConditionRange,
    count: int,
    goal_follows_start: bool = False,
    moved_share: float = 0.5,
) -> Conditions:
    """Disturbed conditions, a share of them moved as well."""
    moved = (np.arange(count) + 1) * moved_share % 1.0 < moved_share
    start = moved[:, None] * rng.uniform(-1, 1, (count, 2)) * within.start_half_extent_m
    target = moved[:, None] * rng.uniform(-1, 1, (count, 2)) * within.target_half_extent_m
    if goal_follows_start:
        target = start
    return Conditions(
        plan.start_xy + start,
        plan.target_xy + target,
        rng.uniform(-1, 1, (count, 2)) * within.object_shift_m,
        rng.integers(2**31, size=count).tolist(),
        moved,
        servo_noise(rng, count, plan.num_steps, within.noise_rad),
    )


def servo_noise(rng: np.random.Generator, count: int, steps: int, noise_rad: float) -> FloatArray:
    """(count, steps, 23) rad white noise on servo targets; the arm's is a quarter of the fingers'."""
    scale = np.where(np.arange(ARM_HAND.num_joints) < ARM_HAND.arm_joints, 0.25 * noise_rad, noise_rad)
    return scale * rng.standard_normal((count, steps, ARM_HAND.num_joints))
