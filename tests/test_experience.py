"""What plays so far teach a multiplication: from which side an object is better taken, and where to aim."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from demos.multiplication.copies import CORRECTION_NAMES, CORRECTION_SCALE
from demos.multiplication.experience import Experience, Play
from demos.multiplication.starts import CELL_RAD, TaskStarts, box_around

START = box_around("start", "object_position", (0.4, -0.2), (0.15, 0.15))
YAW = box_around("yaw", "object_yaw", (0.0,), (np.pi,), CELL_RAD)
GOAL = box_around("target", "target_position", (0.4, 0.1), (0.15, 0.15))
STARTS = TaskStarts(START, YAW, GOAL, "place", "target")
PLACE_AND_TURN = np.arange(3)


def _play(features: np.ndarray, *, success: bool, miss: np.ndarray | None = None, mendable: bool = True) -> Play:
    return Play(
        draw=0,
        attempt=0,
        features=features.tolist(),
        aim=[0.0, 0.0, 0.0],
        correction=[0.0] * len(CORRECTION_NAMES),
        miss=(np.zeros(3) if miss is None else miss).tolist(),
        standing=True,
        success=success,
        reached=True,
        mendable=mendable,
    )


def _grips(experience: Experience, attempts: int, seed: int = 0, count: int = 400) -> np.ndarray:
    """(count, C) grips for one scene, in units of their scale."""
    features = np.tile(_features(0.1, seed=7), (count, 1))
    return experience.corrections(features, np.full(count, attempts), np.random.default_rng(seed)) / CORRECTION_SCALE


def _features(turn: float, count: int = 1, seed: int = 0) -> np.ndarray:
    """(count, 8) place, turn, goal, size, mass, friction: everything random but the turn, in half turns."""
    features = np.random.default_rng(seed).uniform(-0.3, 0.3, (count, 8))
    features[:, 2] = turn
    return features


def test_an_untried_side_is_more_promising_than_one_that_fails_and_less_than_one_that_holds() -> None:
    experience = Experience(STARTS)
    failing, untried, holding = _features(-0.45), _features(0.0), _features(0.5)
    before = experience.promise(failing, PLACE_AND_TURN)
    experience.add([_play(one, success=False) for one in _features(-0.45, 20, seed=1)])
    experience.add([_play(one, success=True) for one in _features(0.5, 20, seed=2)])
    bad, unknown, good = (float(experience.promise(one, PLACE_AND_TURN)[0]) for one in (failing, untried, holding))
    assert before[0] == pytest.approx(0.7)
    assert bad < 0.3 < unknown < 0.9 < good
    assert unknown == pytest.approx((20 + 0.7 * 20) / (40 + 20), abs=0.02)  # of all plays, where none was alike


def test_what_no_grip_could_mend_says_nothing_about_a_side() -> None:
    experience = Experience(STARTS)
    experience.add([_play(one, success=False, mendable=False) for one in _features(0.2, 20)])
    assert experience.promise(_features(0.2), PLACE_AND_TURN)[0] == pytest.approx(0.7)


def test_aims_follow_a_miss_that_grows_beyond_where_the_hand_follows_a_turn() -> None:
    experience, rng = Experience(STARTS), np.random.default_rng(3)
    turns = rng.uniform(-0.7, 0.7, 600)
    missed = np.where(np.abs(turns) > 0.35, 0.2 * (turns - 0.35 * np.sign(turns)), 0.0)
    plays = [
        _play(_features(float(turn), seed=index)[0], success=True, miss=np.array([miss, 0.0, 0.0]))
        for index, (turn, miss) in enumerate(zip(turns, missed, strict=True))
    ]
    experience.add(plays)
    aimed = np.array([experience.aims(_features(turn, seed=9))[0, 0] for turn in (-0.6, 0.0, 0.6)])
    assert aimed == pytest.approx([0.05, 0.0, -0.05], abs=0.015)


def test_grips_vary_the_more_the_more_alike_copies_failed_and_with_every_attempt() -> None:
    assert not _grips(Experience(STARTS), attempts=2).any()  # nothing was played: as demonstrated
    spread = {}
    for name, failed in (("none failed", 0), ("half failed", 12), ("all failed", 24)):
        experience = Experience(STARTS)
        experience.add([_play(one, success=index >= failed) for index, one in enumerate(_features(0.1, 24, seed=1))])
        spread[name] = [_grips(experience, attempts).std(axis=0).mean() for attempts in (0, 1, 2, 3)]
    assert spread["none failed"] == pytest.approx([0.0, 0.4, 0.8, 1.2], rel=0.1)
    assert spread["half failed"] == pytest.approx([0.5, 0.5, 0.8, 1.2], rel=0.1)
    assert spread["all failed"] == pytest.approx([1.0, 1.0, 1.0, 1.2], rel=0.1)


def test_grips_are_searched_around_those_that_held() -> None:
    experience, held = Experience(STARTS), 0.5 * CORRECTION_SCALE
    features = _features(0.1, 24, seed=1)
    experience.add([dataclasses.replace(_play(one, success=True), correction=held.tolist()) for one in features[:6]])
    experience.add([dataclasses.replace(_play(one, success=False), correction=(-held).tolist()) for one in features[6:]])
    assert _grips(experience, attempts=0).mean(axis=0) == pytest.approx([0.5] * len(CORRECTION_SCALE), abs=0.15)
