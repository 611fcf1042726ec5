"""Copies are played no faster than the arm can follow, and otherwise as they were planned."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.multiplication.pace import paced
from robots.arm_hand import ARM_HAND

ARM, JOINTS = ARM_HAND.arm_joints, ARM_HAND.num_joints
STEP = np.full(JOINTS, 0.1)


def _ramps(speeds: list[float], steps: int = 40) -> np.ndarray:
    """(N, T, 23) first joint ramps between a fifth and three fifths of the time, at `speeds` rad a step."""
    targets = np.zeros((len(speeds), steps, JOINTS))
    moving = np.clip(np.arange(steps) - steps // 5, 0, 2 * steps // 5)
    targets[..., 0] = np.array(speeds)[:, None] * moving
    return targets


def test_what_is_slow_enough_is_left_as_it_is() -> None:
    targets = _ramps([0.05, 0.08])
    own = paced(targets, ARM, STEP, 40, 200)
    assert np.array_equal(own.servo_targets, targets)
    assert np.array_equal(own.source_step, np.tile(np.arange(40.0), (2, 1)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.0, 0.4), min_size=1, max_size=4))
def test_no_step_of_the_arm_is_too_large_and_the_end_is_the_same(speeds: list[float]) -> None:
    targets = _ramps(speeds)
    own = paced(targets, ARM, STEP, 40, 400)
    assert np.abs(np.diff(own.servo_targets[..., :ARM], axis=1)).max(initial=0.0) <= 0.1
    assert np.allclose(own.servo_targets[:, -1], targets[:, -1])
    assert np.allclose(own.servo_targets[:, 0], targets[:, 0])
    assert (np.diff(own.source_step, axis=1) >= 0).all()


def test_slow_copies_hold_their_last_target_beside_a_slower_one() -> None:
    targets = _ramps([0.05, 0.3])
    own = paced(targets, ARM, STEP, 40, 400)
    assert own.servo_targets.shape[1] > 60
    assert np.array_equal(own.servo_targets[0, :40], targets[0])
    assert (own.servo_targets[0, 40:] == targets[0, -1]).all()


def test_a_throw_keeps_its_pace_and_no_copy_is_longer_than_an_episode() -> None:
    targets = _ramps([0.3])
    assert np.array_equal(paced(targets, ARM, STEP, 0, 200).servo_targets, targets)
    assert paced(targets, ARM, STEP, 40, 50).servo_targets.shape[1] == 50
