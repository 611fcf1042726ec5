"""The arm along a copy's palm path: near the demonstration's posture where that goes, in another one where it does not."""

from __future__ import annotations

import numpy as np
import pytest

from demos.dataset import read_dataset
from demos.interaction import FloatArray
from demos.multiplication.arm import solve_paths
from demos.multiplication.copies import about_vertical
from demos.multiplication.source import read_source
from demos.source import shipped_demonstration
from robots.arm_hand import ARM_HAND
from robots.arm_kinematics import palm_pose, solve_palm_pose


@pytest.fixture(scope="module")
def path() -> tuple[FloatArray, FloatArray]:
    """Palm frames (S, 4, 4) of the shipped demonstration from its approach to its way home, and the arm's angles (S, 7)."""
    source = read_source(read_dataset(shipped_demonstration())[0])
    segment = slice(source.approach, source.homeward)
    return source.palm[segment], source.arm[segment]


def moved(palm: FloatArray, shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0), turn_rad: float = 0.0) -> FloatArray:
    """The path elsewhere, the palm turned about the vertical in each of its places."""
    result = palm.copy()
    result[:, :3, :3] = about_vertical(np.array([turn_rad])) @ palm[:, :3, :3]
    result[:, :3, 3] += shift_m
    return result


def error_m(arm: FloatArray, palm: FloatArray) -> float:
    """The largest distance of the palm from its path."""
    return float(np.linalg.norm(palm_pose(arm)[:, :3, 3] - palm[:, :3, 3], axis=-1).max())


def largest_step_rad(arm: FloatArray, seed: FloatArray) -> float:
    """By which a joint turns from one step to the next beside what it does in the demonstration."""
    return float(np.abs(np.diff(arm - seed, axis=0)).max())


def test_the_demonstrations_own_path_keeps_its_own_angles(path: tuple[FloatArray, FloatArray]) -> None:
    palm, seed = path
    arm, worst = solve_paths(palm[None], seed[None])
    np.testing.assert_allclose(arm[0], seed, atol=1e-9)
    assert worst[0] < 1e-9


def test_paths_within_reach_are_followed_near_the_demonstrations_posture(path: tuple[FloatArray, FloatArray]) -> None:
    palm, seed = path
    palms = np.stack([moved(palm, (0.05, 0.0, 0.0)), moved(palm, (0.1, 0.1, 0.05)), moved(palm, turn_rad=0.5)])
    arm, worst = solve_paths(palms, np.tile(seed, (3, 1, 1)))
    assert worst.max() < 1e-3
    for one, wanted in zip(arm, palms, strict=True):
        assert error_m(one, wanted) < 1e-3
        assert np.abs(one[0] - seed[0]).max() < 1.2
        assert largest_step_rad(one, seed) < 0.08


def test_where_the_demonstrated_posture_comes_to_a_limit_another_is_followed(path: tuple[FloatArray, FloatArray]) -> None:
    palm, seed = path
    wanted = moved(palm, turn_rad=-1.5)
    _, plain = solve_palm_pose(wanted, seed, 10)
    assert plain.max() > 0.03
    arm, worst = solve_paths(wanted[None], seed[None])
    assert worst[0] < 1e-3
    assert error_m(arm[0], wanted) < 1e-3
    assert largest_step_rad(arm[0], seed) < 0.15
    lower, upper = ARM_HAND.lower_rad[: ARM_HAND.arm_joints], ARM_HAND.upper_rad[: ARM_HAND.arm_joints]
    assert (arm >= lower).all()
    assert (arm <= upper).all()


def test_what_is_out_of_reach_is_said_and_disturbs_no_other_path(path: tuple[FloatArray, FloatArray]) -> None:
    palm, seed = path
    near, far = moved(palm, (0.05, 0.0, 0.0)), moved(palm, (0.4, 0.0, 0.0))
    arm, worst = solve_paths(np.stack([near, far]), np.tile(seed, (2, 1, 1)))
    assert worst[1] > 0.1
    assert np.isfinite(arm).all()
    assert error_m(arm[1], far) == pytest.approx(worst[1], rel=0.5)  # which counts turns, too
    alone, worst_alone = solve_paths(near[None], seed[None])
    np.testing.assert_array_equal(arm[0], alone[0])
    assert worst[0] == worst_alone[0]


def test_a_plan_does_not_depend_on_luck(path: tuple[FloatArray, FloatArray]) -> None:
    palm, seed = path
    wanted = moved(palm, turn_rad=-1.5)[None]
    first, second = (solve_paths(wanted, seed[None]) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
