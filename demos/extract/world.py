"""From the camera frame to the world frame: z up, table at z = 0.

Where the camera's pose is given, it holds. Otherwise up comes from `gravity`, the table lies under the resting object (or
where the depth pictures show it), the world's x axis is the horizontal part of the viewing direction and its origin lies below
the object's, or else the hand's, first place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from demos.camera import transform
from demos.extract.gravity import Gravity, gravity_from_depth, gravity_from_motion, object_middle
from demos.interaction import WRIST, FloatArray, HandTrack, Interaction, KeypointTrack, ObjectTrack, SceneObject
from demos.recording import Recording

BoolArray = NDArray[np.bool_]

_LOWEST_PERCENTILE = 2  # the lowest few points are the tracker's mistakes


@dataclasses.dataclass(frozen=True)
class World:
    """The camera in the world.

    Attributes:
        T_world_camera: (4, 4).
        gravity_sigma_deg: standard deviation of the direction up; 0 where the camera's pose was given.
        found_by: "camera pose", "depth", "rest and lift" or "assumption".
        rest_height_m: height of the lowest points of the resting object, a check where the table was given; NaN without.
    """

    T_world_camera: FloatArray
    gravity_sigma_deg: float
    found_by: str
    rest_height_m: float


def place_world(recording: Recording, hand: HandTrack, target: ObjectTrack, contact: BoolArray, pitch_deg: float) -> World:
    """Places the camera.

    Args:
        recording: with the camera's pose or depth pictures where there are any.
        hand: T frames.
        target: the moved object, the same frames; may have no points.
        contact: (T,).
        pitch_deg: how far a camera looks down of which nothing is known.
    """
    if recording.T_world_camera is not None:
        pose = recording.T_world_camera
        return World(pose, 0.0, "camera pose", _rest_height(pose, target, contact))
    gravity: Gravity | None = None
    if recording.depth is not None:
        size = (recording.info.width, recording.info.height)
        gravity = gravity_from_depth(recording.depth, recording.K, size, pitch_deg)
    gravity = gravity or gravity_from_motion(target, contact, recording.fps, pitch_deg)
    up = gravity.up_camera
    ahead = np.array([0.0, 0.0, 1.0]) - up[2] * up
    ahead /= np.linalg.norm(ahead)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([ahead, np.cross(up, ahead), up])  # rows: the world's axes in the camera frame
    rest = _rest_height(pose, target, contact)
    if np.isfinite(gravity.table_point_camera).all():
        table = float(gravity.table_point_camera @ up)
    else:
        reached = float(np.percentile((hand.keypoints_camera @ up).min(axis=1), _LOWEST_PERCENTILE))
        table = rest if np.isfinite(rest) else reached
    middle = object_middle(target)
    known = np.isfinite(middle[:, 0])
    origin = middle[known][0] if known.any() else np.median(hand.keypoints_camera[:, WRIST], axis=0)
    pose[:3, 3] = -np.append((pose[:3, :3] @ origin)[:2], table)
    return World(pose, gravity.sigma_deg, gravity.found_by, rest - table)


def _rest_height(pose: FloatArray, target: ObjectTrack, contact: BoolArray) -> float:
    """Height of the lowest points of the object before it is taken; of all frames where it always is; NaN without one."""
    visible = target.visible
    if not visible.any():
        return float("nan")
    height = transform(pose, target.points_camera.reshape(-1, 3))[:, 2].reshape(visible.shape)
    free = np.arange(len(contact)) < (np.argmax(contact) if contact.any() else len(contact))
    if not visible[free].any():
        free[:] = True
    return float(np.percentile(height[free][visible[free]], _LOWEST_PERCENTILE))


def to_interaction(
    recording: Recording,
    world: World,
    hand: HandTrack,
    objects: Mapping[str, ObjectTrack],
    keypoints: KeypointTrack,
    contact: BoolArray,
    source_index: NDArray[np.int64],
) -> Interaction:
    """Puts everything into the world frame, at the rate of the frames that were looked at.

    Args:
        recording: where it comes from.
        world: the camera's place.
        hand: T frames.
        objects: by name, the moved one first.
        keypoints: T frames.
        contact: (T,).
        source_index: (T,) source frame of each frame.
    """
    pose = world.T_world_camera

    def moved(points: FloatArray) -> FloatArray:
        return transform(pose, points.reshape(-1, 3)).reshape(points.shape)

    scene = {name: SceneObject(moved(o.points_camera), o.visible, pose @ o.pose_camera) for name, o in objects.items()}
    names, frames = tuple(scene), len(contact)
    if names:
        first = scene.pop(names[0])
    else:
        first = SceneObject(np.zeros((frames, 0, 3)), np.zeros((frames, 0), bool), np.full((frames, 4, 4), np.nan))
    return Interaction(
        fps=recording.fps,
        hand_keypoints_world=moved(hand.keypoints_camera),
        hand_confidence=hand.confidence,
        hand_side=hand.side,
        object_names=names,
        object_points_world=first.points_world,
        object_visible=first.visible,
        object_pose_world=first.pose_world,
        keypoints_world=moved(keypoints.points_camera),
        keypoint_visible=keypoints.visible,
        keypoint_names=keypoints.names,
        contact=contact,
        flagged=hand.flagged,
        frame_index=source_index,
        K=recording.K,
        T_world_camera=pose,
        source_sha256=recording.info.sha256,
        further_objects=scene,
    )
