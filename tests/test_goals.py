"""What a recording was for, read from key points and contact."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from demos.goals import ENVIRONMENTS, find_goal, lifting_part
from demos.synthetic.truth import ClipTruth
from dexvid_envs.environment_ids import find_environment_id
from dexvid_envs.errors import DexVidError
from tests.true_interactions import true_interaction

CLIPS = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"


@pytest.mark.parametrize(("clip", "kind"), [("training-00001-place", "place"), ("training-00002-drawer", "open")])
def test_the_goal_of_a_true_recording_is_found(clip: str, kind: str) -> None:
    truth = ClipTruth.load(CLIPS / clip / "truth.npz")
    goal = find_goal(true_interaction(truth))
    assert goal.kind == kind
    assert find_environment_id(goal.environment) == goal.environment
    way = truth.object_pose_world[0, -1, :3, 3] - truth.object_pose_world[0, 0, :3, 3]
    assert goal.travel_m == pytest.approx(np.linalg.norm(way), abs=0.02)
    turned = goal.T_world_task[:3, :3]
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(turned[:, 2], [0.0, 0.0, 1.0], atol=1e-9)
    assert goal.direction_world @ turned[:, 0] == pytest.approx(1.0)


def scripted(path: np.ndarray, contact: np.ndarray, **points: np.ndarray):
    """The shipped recording with another path of the object's middle (T, 3), and standing key points."""
    truth = ClipTruth.load(CLIPS / "training-00001-place" / "truth.npz")
    whole = true_interaction(truth)
    frames = len(whole.contact)
    at = np.linspace(0, len(path) - 1, frames)
    moved = np.stack([np.interp(at, np.arange(len(path)), column) for column in path.T], axis=-1)
    named = {"object_centroid": moved, **{name: np.tile(point, (frames, 1)) for name, point in points.items()}}
    touching = np.interp(at, np.arange(len(contact)), contact.astype(float)) > 0.5
    return dataclasses.replace(
        whole,
        keypoints_world=np.stack(list(named.values()), axis=1),
        keypoint_visible=np.ones((frames, len(named)), bool),
        keypoint_names=tuple(named),
        contact=touching,
    )


def test_what_is_held_up_at_the_end_was_lifted() -> None:
    path = np.array([[0, 0, 0.05]] * 4 + [[0, 0, 0.15]] * 2 + [[0.02, 0, 0.25]] * 4, float)
    goal = find_goal(scripted(path, np.arange(10) >= 3))
    assert (goal.kind, goal.environment) == ("lift", ENVIRONMENTS["lift"])
    assert goal.direction_world[2] > 0.9


def test_what_is_put_back_is_a_lift_until_it_is_highest() -> None:
    path = np.array([[0, 0, 0.05]] * 4 + [[0, 0, 0.15], [0, 0, 0.25]] + [[0, 0, 0.05]] * 4, float)
    whole = scripted(path, (np.arange(10) >= 3) & (np.arange(10) < 8))
    assert find_goal(whole).kind == "place"
    part = lifting_part(whole)
    goal = find_goal(part)
    assert (goal.kind, part.contact[-1]) == ("lift", True)
    assert goal.travel_m == pytest.approx(0.2, abs=0.05)
    with pytest.raises(DexVidError, match="lifts the object by 0 cm"):
        lifting_part(scripted(np.tile([0.0, 0.0, 0.05], (10, 1)), np.ones(10, bool)))


def test_what_flies_on_was_thrown_and_aims_at_the_container() -> None:
    up = np.linspace(0, 1, 6)[:, None]
    path = np.concatenate(
        [np.tile([0, 0, 0.05], (3, 1)), [0, 0, 0.05] + up * [0.2, 0, 0.2], [[0.4, 0, 0.2], [0.6, 0, 0.02]] * 1]
    )
    path = np.concatenate([path, np.tile([0.62, 0, 0.02], (3, 1))])
    bucket = np.array([0.7, 0.0, 0.1])
    goal = find_goal(scripted(path, np.arange(len(path)) < 9, container_rim=bucket))
    assert goal.kind == "throw"
    np.testing.assert_allclose(goal.goal_world, bucket)
    assert "container_rim" in goal.keypoints


def test_a_recording_without_a_purpose_is_refused() -> None:
    still = np.tile([0.0, 0.0, 0.05], (10, 1))
    with pytest.raises(DexVidError, match="moves by less than 5 cm"):
        find_goal(scripted(still, np.ones(10, bool)))
    with pytest.raises(DexVidError, match="never touches"):
        find_goal(scripted(still, np.zeros(10, bool)))
