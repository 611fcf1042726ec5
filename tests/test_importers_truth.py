"""A recording with exact truth in the camera frame, from which the importers' tests write files in each foreign layout."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from demos.camera import project, transform
from demos.interaction import FloatArray
from demos.source import load_interaction, shipped_sample

IMAGE_SIZE = (640, 360)


@dataclasses.dataclass(frozen=True)
class Truth:
    """The shipped synthetic pick-and-place, every fourth frame, as its camera sees it."""

    K: FloatArray
    T_world_camera: FloatArray
    hand: FloatArray  # (T, 21, 3) m
    hand_pixels: FloatArray  # (T, 21, 2)
    points: FloatArray  # (T, P, 3) m
    pixels: FloatArray  # (T, P, 2)
    pose: FloatArray  # (T, 4, 4) T_camera_object

    @property
    def frames(self) -> int:
        return len(self.hand)


@functools.cache
def truth() -> Truth:
    interaction = load_interaction(shipped_sample())
    with np.load(shipped_sample() / "truth.npz") as archive:
        hand, pose, local = (
            archive[name][::4] if name != "object_points_object" else archive[name]
            for name in ("hand_keypoints_world", "T_world_bottle", "object_points_object")
        )
    T_camera_world = np.linalg.inv(interaction.T_world_camera)
    hand_camera = transform(T_camera_world, hand)
    pose_camera = T_camera_world @ pose
    points = transform(pose_camera, np.broadcast_to(local, (len(pose), *local.shape)))
    K = interaction.K
    return Truth(K, interaction.T_world_camera, hand_camera, project(hand_camera, K), points, project(points, K), pose_camera)


def test_the_truth_projects_into_the_picture() -> None:
    seen = truth()
    assert seen.frames == 35
    assert (seen.points[..., 2] > 0.5).all()
    assert (np.abs(seen.pixels - [320, 180]) < [320, 180]).mean() > 0.95
