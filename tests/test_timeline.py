"""The timing of demonstrations: one who sees a moment and no clock can tell from it what comes next."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from demos.dataset import read_dataset
from demos.multiplication.source import read_source
from demos.source import shipped_demonstration
from demos.timeline import PlanConfig, make_timeline

CONFIG = PlanConfig()
HZ = 20.0
FloatArray = NDArray[np.float64]


def reach_and_carry(reach: int, rest: int, carry: int, away: int, jitter_m: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """A palm (F, 3) m that reaches 0.2 m, rests, carries 0.3 m, and rests again; fingers (F, 16) rad that do not move."""
    x = np.concatenate([np.linspace(-0.2, 0.0, reach), np.zeros(rest), np.linspace(0.0, 0.3, carry), np.full(away, 0.3)])
    palm = np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=-1)
    palm += jitter_m * np.random.default_rng(0).uniform(-1, 1, palm.shape)
    return palm, np.zeros((len(x), 16))


@pytest.mark.parametrize("rest", [0, 10, 60])
@pytest.mark.parametrize("jitter_m", [0.0, 0.001])
def test_a_persons_rest_before_the_object_is_passed_over(rest: int, jitter_m: float) -> None:
    palm, fingers = reach_and_carry(20, rest, 30, 20, jitter_m)
    lift, place = 20 + rest, 20 + rest + 29
    time = make_timeline(palm, fingers, lift, place, CONFIG, releases=True)
    assert time.lift - CONFIG.approach_steps <= 20 + CONFIG.grasp_steps
    assert time.order[time.lift] == lift
    assert time.order[time.place] == place
    assert (np.diff(time.order) >= 0).all()


def test_the_hand_closes_little_by_little_up_to_the_lift_and_opens_at_once_where_the_object_is_placed() -> None:
    palm, fingers = reach_and_carry(20, 10, 30, 20)
    time = make_timeline(palm, fingers, 30, 59, CONFIG, releases=True)
    change = np.diff(time.held)
    begin = int(np.flatnonzero(change > 0).min())
    assert (change[begin : time.lift - 1] > 0).all()
    assert change[begin] < 0.01
    assert np.abs(np.diff(change[: time.lift - 1])).max() < 0.03  # no step closes all of a sudden
    assert (time.held[time.lift : time.place + 1] == 1.0).all()
    assert (change[time.place : time.opened] < 0).all()
    assert time.held[time.opened] == 0.0


def test_a_motion_that_holds_on_never_opens() -> None:
    palm, fingers = reach_and_carry(20, 10, 30, 20)
    time = make_timeline(palm, fingers, 30, 59, CONFIG, releases=False)
    assert (time.held[time.lift :] == 1.0).all()
    assert len(time.order) == time.place + 1 + CONFIG.hold_steps


def test_the_shipped_demonstration_never_waits_and_closes_gently() -> None:
    """What was cloned from one that waited in front of the bottle stood there for ever, in 9 of 10 episodes."""
    source = read_source(read_dataset(shipped_demonstration())[0])
    arm = HZ * np.abs(np.diff(source.arm, axis=0)).max(axis=-1)  # (T - 1,) rad/s of the fastest joint's target
    hand = HZ * np.abs(np.diff(source.fingers, axis=0)).max(axis=-1)
    still = ((arm < 0.12) & (hand < 0.4))[1 : source.homeward]
    before = 1 + np.flatnonzero(still[1:] & still[:-1])  # 0.1 s; where a motion turns it may be slow
    assert not (before < source.quiet).any(), f"rests at steps {before}, lets go at {source.quiet}"
    rests = 1 + np.flatnonzero(still[2:] & still[1:-1] & still[:-2])  # the retreat sets out more slowly: 0.15 s
    assert not len(rests), f"rests at steps {rests}"
    assert np.diff(hand[: source.quiet - 1]).max() < 1.0  # before the release, no joint of the hand is suddenly faster
