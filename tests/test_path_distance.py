"""The distance of a held object along its path, and how the front of an object leans."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from demos.extract.objects.grip import Grip
from demos.extract.objects.path_distance import steady_distance
from demos.extract.objects.rigid_motion import RigidMotion
from demos.extract.objects.rigid_sightings import Sightings
from demos.extract.objects.rigid_start import Body
from demos.extract.objects.rigid_structure import PointPrior
from demos.extract.objects.rigid_surface import lean
from demos.extract.objects.views import Outlines, Views

FPS, VIEWS, POINTS = 15.0, 40, 12
HELD = slice(5, 35)
TRUE_Z = 0.8


def seen(count: int) -> Views:
    """All points in every frame, held in most."""
    every = np.arange(count)
    contact = np.zeros(count, bool)
    contact[HELD] = True
    nothing = np.full(count, np.nan)
    two = np.full((count, 2), np.nan)
    outlines = Outlines(two, nothing, two, nothing, two, np.full((count, 3), np.nan))
    shown, rays = np.ones((count, POINTS), bool), np.zeros((count, POINTS, 2))
    return Views(
        every, every, np.ones(count, int), rays, shown, np.full((count, POINTS), np.nan), np.ones(count), contact, outlines
    )


def motion_with(z: np.ndarray, turn_rad: float = 0.0) -> RigidMotion:
    """An object at distances (n,) that turns evenly while it is held."""
    points = np.concatenate([np.random.default_rng(0).uniform(-0.02, 0.02, (POINTS, 3)), np.zeros((1, 3))])
    nobody = np.zeros(0)
    sightings = Sightings(nobody.astype(int), nobody.astype(int), np.zeros((0, 2)), nobody, nobody, nobody, nobody)
    prior = PointPrior(points, np.tile([0.0, 0.0, 1.0], (POINTS + 1, 1)), np.ones(POINTS + 1), np.ones(POINTS + 1))
    place = np.stack([np.zeros(len(z)), np.zeros(len(z)), z], axis=-1)
    share = np.clip((np.arange(len(z)) - HELD.start) / (HELD.stop - HELD.start), 0.0, 1.0)
    return RigidMotion(
        Rotation.from_euler("y", turn_rad * share[:, None]).as_matrix(),
        place,
        points,
        Body(np.eye(3), np.full(3, 0.03)),
        sightings,
        prior,
        np.arange(2),
        0,
    )


def grip_at(z: np.ndarray) -> Grip:
    return Grip(np.stack([np.zeros(len(z)), np.zeros(len(z)), z], axis=-1), np.full(len(z), 0.06))


def rest_at_first(count: int) -> np.ndarray:
    off = np.full(count, np.nan)
    off[:5] = 0.0
    return off


@pytest.mark.parametrize("hand_off", [0.9, 1.0, 1.1])
def test_a_distance_that_drifts_with_turns_is_put_right_by_a_hand_of_whatever_size(hand_off: float) -> None:
    drifted = TRUE_Z * np.concatenate([np.ones(5), np.linspace(1.0, 0.75, 30), np.full(5, 0.75)])
    noise = np.random.default_rng(1).normal(1.0, 0.03, VIEWS)
    factor = steady_distance(
        motion_with(drifted, 1.0), seen(VIEWS), grip_at(hand_off * TRUE_Z * noise), rest_at_first(VIEWS), FPS
    )
    error = np.abs(drifted * factor / TRUE_Z - 1.0)
    assert error[:5].max() < 0.02
    assert error[HELD].max() < 0.18
    assert error[HELD].mean() < 0.7 * np.abs(drifted[HELD] / TRUE_Z - 1.0).mean()


def test_a_single_mistaken_look_at_the_hand_changes_little() -> None:
    z = np.full(VIEWS, TRUE_Z)
    hand = z.copy()
    hand[20:22] *= 1.4
    factor = steady_distance(motion_with(z), seen(VIEWS), grip_at(hand), rest_at_first(VIEWS), FPS)
    assert np.abs(factor - 1.0).max() < 0.03


def test_a_jump_at_the_grasp_is_put_right() -> None:
    z = TRUE_Z * np.where(np.arange(VIEWS) < 5, 1.0, 0.65)
    factor = steady_distance(motion_with(z), seen(VIEWS), grip_at(np.full(VIEWS, TRUE_Z)), rest_at_first(VIEWS), FPS)
    assert np.abs(z * factor / TRUE_Z - 1.0)[HELD].mean() < 0.1


def test_without_rest_and_contact_nothing_changes() -> None:
    views = dataclasses.replace(seen(VIEWS), contact=np.zeros(VIEWS, bool))
    z = np.full(VIEWS, TRUE_Z)
    factor = steady_distance(motion_with(z), views, grip_at(z), np.full(VIEWS, np.nan), FPS)
    np.testing.assert_array_equal(factor, np.ones(VIEWS))


def test_points_seen_for_a_moment_lie_on_the_slant_that_the_others_show() -> None:
    rng = np.random.default_rng(2)
    count, slant, half = 30, 0.8, 0.1
    beside = rng.uniform(-half, half, (count, 2))
    true = np.column_stack([beside, slant * beside[:, 0]])
    prior_places = np.column_stack([beside, np.zeros(count)])
    followed = np.arange(count) < 15
    found = np.where(followed[:, None], true + rng.normal(0.0, 0.003, (count, 3)), prior_places)
    found, prior_places = (np.concatenate([points, np.zeros((1, 3))]) for points in (found, prior_places))
    ahead = np.tile([0.0, 0.0, 1.0], (count + 1, 1))
    prior = PointPrior(prior_places, ahead, np.full(count + 1, 0.05), np.ones(count + 1))
    # those that are followed move by half the object's extent, the others stay
    frame, point = np.repeat([0, 1], count), np.tile(np.arange(count), 2)
    ray = np.concatenate([beside, beside + np.where(followed, half, 0.0)[:, None] * [1.0, 0.0]]) / TRUE_Z
    one = np.ones(2 * count)
    sightings = Sightings(frame, point, ray, 1e-3 * one, np.nan * one, np.nan * one, one)
    leaned = lean(prior, found, sightings, Body(np.eye(3), np.array([half, half, 0.03])), TRUE_Z)
    np.testing.assert_allclose(leaned.place[:count, 2], true[:, 2], atol=0.02)
    np.testing.assert_array_equal(leaned.place[-1], np.zeros(3))
    few = sightings.pick(point < 3)
    np.testing.assert_array_equal(lean(prior, found, few, Body(np.eye(3), np.full(3, half)), TRUE_Z).place, prior.place)
