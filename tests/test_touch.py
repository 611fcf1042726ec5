"""A hand that holds an object is as far away as the object; elsewhere and otherwise it stays as it was measured."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from demos.camera import project
from demos.extract.objects.grip import hand_turns
from demos.extract.objects.lift_figures import LiftedObject, LiftFigures
from demos.extract.objects.touch import bring_to_object
from demos.interaction import FINGERTIPS, HandTrack, ObjectTrack

FloatArray = NDArray[np.float64]

FRAMES, POINTS, FPS = 60, 30, 15.0
K = np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]])
CONTACT = (np.arange(FRAMES) >= 15) & (np.arange(FRAMES) < 45)


def hand_at(place: FloatArray) -> HandTrack:
    """A hand whose fingertips are around places (T, 3) m."""
    rng = np.random.default_rng(0)
    points = place[:, None] + np.array([0.0, 0.06, 0.05]) + rng.uniform(-0.02, 0.02, (21, 3))
    around = np.array([(-0.04, 0.0, 0.0), (0.04, -0.02, 0.0), (0.04, -0.007, 0.0), (0.04, 0.007, 0.0), (0.04, 0.02, 0.0)])
    points[:, FINGERTIPS] = place[:, None] + around
    return HandTrack(points, project(points, K), np.ones(len(place)), "right", np.zeros(len(place), bool))


def scene(sigma: float = 0.02) -> tuple[HandTrack, LiftedObject, FloatArray]:
    """A hand that grips an object all the time, the object, and where it is (T, 3) m."""
    time = np.linspace(0.0, 1.0, FRAMES)[:, None]
    place = np.array([-0.1, 0.05, 0.7]) + time * np.array([0.2, -0.1, 0.1])
    points = place[:, None] + np.random.default_rng(1).uniform(-0.03, 0.03, (POINTS, 3)) * np.array([1.0, 1.0, 0.1])
    pose = np.tile(np.eye(4), (FRAMES, 1, 1))
    pose[:, :3, 3] = place
    seen = np.ones((FRAMES, POINTS), bool)
    track = ObjectTrack(points, project(points, K), seen, pose, np.zeros(FRAMES))
    return hand_at(place), LiftedObject(track, LiftFigures(True, "table", sigma)), place


def farther(hand: HandTrack, factor: FloatArray) -> HandTrack:
    """The same hand elsewhere along its rays."""
    grip = hand.keypoints_camera[:, FINGERTIPS].mean(axis=1)
    moved = hand.keypoints_camera + (grip * (factor - 1.0)[:, None])[:, None]
    return dataclasses.replace(hand, keypoints_camera=moved, keypoints_image=project(moved, K))


def off_m(hand: HandTrack, true: HandTrack) -> FloatArray:
    """How far (T,) the fingertips are from where they should be."""
    apart = hand.keypoints_camera[:, FINGERTIPS] - true.keypoints_camera[:, FINGERTIPS]
    return np.linalg.norm(apart, axis=-1).mean(axis=1)


def test_a_hand_that_seems_too_far_away_or_drifts_is_brought_to_what_it_holds() -> None:
    true, held, _ = scene()
    wrong = farther(true, 1.08 + 0.06 * np.sin(np.arange(FRAMES) / 8.0))
    put_right = bring_to_object(wrong, held, CONTACT, FPS)
    assert off_m(put_right, true)[CONTACT].mean() < 0.35 * off_m(wrong, true)[CONTACT].mean()
    assert off_m(put_right, true).mean() < 0.6 * off_m(wrong, true).mean()


def test_bones_and_the_picture_stay() -> None:
    true, held, _ = scene()
    wrong = farther(true, np.full(FRAMES, 0.9))
    put_right = bring_to_object(wrong, held, CONTACT, FPS)
    np.testing.assert_allclose(np.diff(put_right.keypoints_camera, axis=1), np.diff(wrong.keypoints_camera, axis=1), atol=1e-12)
    np.testing.assert_array_equal(put_right.keypoints_image, wrong.keypoints_image)
    steps = np.linalg.norm(np.diff(put_right.keypoints_camera - wrong.keypoints_camera, axis=0), axis=-1)
    assert steps.max() < 0.01  # it does not jump where the contact begins


def test_an_object_that_is_nowhere_near_says_nothing_of_the_hand() -> None:
    true, held, _ = scene()
    wrong = farther(true, np.full(FRAMES, 1.6))
    np.testing.assert_array_equal(bring_to_object(wrong, held, CONTACT, FPS).keypoints_camera, wrong.keypoints_camera)
    never = bring_to_object(farther(true, np.full(FRAMES, 1.1)), held, np.zeros(FRAMES, bool), FPS)
    assert off_m(never, true).mean() > 0.06


def test_an_object_whose_distance_came_from_the_hand_moves_the_hand_less() -> None:
    true, sure, _ = scene(0.02)
    _, guessed, _ = scene(0.2)
    wrong = farther(true, np.full(FRAMES, 1.1))
    by_table, by_guess = (off_m(bring_to_object(wrong, held, CONTACT, FPS), wrong).mean() for held in (sure, guessed))
    assert by_guess < 0.3 * by_table


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 1.0]))
def test_wild_input_stays_as_finite_as_it_was(seed: int, lost: float) -> None:
    rng = np.random.default_rng(seed)
    true, held, _ = scene(float(rng.choice([0.0, 0.1, np.nan])))
    points, of_object = true.keypoints_camera.copy(), held.track.points_camera.copy()
    points[rng.random(FRAMES) < lost] = np.nan
    of_object[rng.random((FRAMES, POINTS)) < rng.random()] = np.nan
    of_object *= rng.choice([1.0, -1.0, 0.5], (FRAMES, 1, 1))
    hand = dataclasses.replace(true, keypoints_camera=points)
    held = dataclasses.replace(held, track=dataclasses.replace(held.track, points_camera=of_object))
    found = bring_to_object(hand, held, rng.random(FRAMES) < rng.random(), FPS)
    np.testing.assert_array_equal(np.isfinite(found.keypoints_camera), np.isfinite(points))


@given(st.integers(0, 2**32 - 1))
def test_turns_of_a_hand_are_turns_however_wildly_it_is_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wild = HandTrack(
        rng.normal(size=(FRAMES, 21, 3)), np.zeros((FRAMES, 21, 2)), np.ones(FRAMES), "right", np.zeros(FRAMES, bool)
    )
    turns = hand_turns(wild, CONTACT, FPS)
    assert np.isnan(turns[~CONTACT]).all()
    assert np.allclose(turns[CONTACT] @ turns[CONTACT].swapaxes(1, 2), np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(turns[CONTACT]), 1.0)
