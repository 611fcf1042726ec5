"""From the camera frame to the world frame and to the control rate.

Nothing in a plain video says where down is. The camera is taken as held upright (not rolled) and as looking down by a known
angle (`camera_pitch_deg`); the table is as high as the lowest point of the resting object or the lowest that the hand reaches,
whichever is lower. The world's x axis is the horizontal part of the viewing direction, its origin lies below the object's (or
hand's) first place. All of this is written into the quality file as what it is: an assumption.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from demos.camera import transform
from demos.extract.keypoints import KEYPOINT_NAMES, named_points, object_centroid
from demos.interaction import WRIST, HandTrack, Interaction, ObjectTrack

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def upright_camera(pitch_deg: float) -> FloatArray:
    """Rotation (3, 3) from the camera to a world with z up and x ahead, for a camera that looks down by `pitch_deg`."""
    pitch = math.radians(pitch_deg)
    ahead = np.array([math.cos(pitch), 0.0, -math.sin(pitch)])
    right = np.array([0.0, -1.0, 0.0])
    return np.stack([right, np.cross(ahead, right), ahead], axis=-1)  # columns: camera x, y and z in the world


def place_world(hand: HandTrack, target: ObjectTrack, contact: BoolArray, pitch_deg: float) -> FloatArray:
    """`T_world_camera` (4, 4), with the table at z = 0 and the origin below the object's first place."""
    rotation = upright_camera(pitch_deg)
    points = target.points_camera @ rotation.T
    reached = float(np.percentile((hand.keypoints_camera @ rotation.T)[..., 2].min(axis=1), 2))
    if target.visible.any():
        rest = np.zeros(len(contact), bool)
        rest[: int(np.argmax(contact)) if contact.any() else len(contact)] = True
        if not target.visible[rest].any():  # held from the start on: its lowest place counts
            rest[:] = True
        table = min(reached, float(np.percentile(points[rest][target.visible[rest]][:, 2], 2)))
        first = int(np.argmax(target.visible.any(axis=1)))
        middle = points[first, target.visible[first]].mean(axis=0)
    else:
        table = reached
        middle = np.median(hand.keypoints_camera[:, WRIST] @ rotation.T, axis=0)
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = rotation
    T_world_camera[:3, 3] = -np.array([middle[0], middle[1], table])
    return T_world_camera


def to_interaction(
    hand: HandTrack,
    target: ObjectTrack,
    contact: BoolArray,
    T_world_camera: FloatArray,
    K: FloatArray,
    source_index: NDArray[np.int64],
    fps: float,
    control_hz: float,
    object_name: str,
    sha256: str,
) -> Interaction:
    """Puts everything into the world frame and samples it at the control rate."""
    flat = transform(T_world_camera, target.points_camera.reshape(-1, 3))
    points = flat.reshape(target.points_camera.shape)
    hand_world = transform(T_world_camera, hand.keypoints_camera.reshape(-1, 3)).reshape(-1, 21, 3)
    poses = T_world_camera @ target.pose_camera
    centre, known = object_centroid(points, target.visible, poses)

    last = len(source_index) - 1
    time = np.arange(0.0, last / fps + 1e-9, 1.0 / control_hz) * fps  # in frames
    low = np.minimum(np.floor(time).astype(int), last)
    high = np.minimum(low + 1, last)
    part = time - low
    nearest = np.minimum(np.round(time).astype(int), last)

    resampled_hand = _blend(hand_world, low, high, part)
    visible = target.visible[low] & target.visible[high] | target.visible[nearest]
    both = (target.visible[low] & target.visible[high])[..., None]
    object_points = np.where(both, _blend(points, low, high, part), points[nearest])
    confidence = np.minimum(hand.confidence[low], hand.confidence[high])
    named, named_visible = named_points(resampled_hand, _blend(centre, low, high, part), known[nearest], confidence)
    return Interaction(
        fps=control_hz,
        hand_keypoints_world=resampled_hand,
        hand_confidence=confidence,
        hand_side=hand.side,
        object_names=(object_name,) if points.shape[1] else (),
        object_points_world=object_points,
        object_visible=visible & np.isfinite(object_points[..., 0]),
        object_pose_world=_blend_poses(poses, low, high, part),
        keypoints_world=named,
        keypoint_visible=named_visible,
        keypoint_names=KEYPOINT_NAMES,
        contact=contact[nearest],
        flagged=hand.flagged[low] | hand.flagged[high],
        frame_index=source_index[nearest],
        K=K,
        T_world_camera=T_world_camera,
        source_sha256=sha256,
    )


def _blend(values: FloatArray, low: NDArray[np.int64], high: NDArray[np.int64], part: FloatArray) -> FloatArray:
    weight = part.reshape(-1, *([1] * (values.ndim - 1)))
    return values[low] * (1.0 - weight) + values[high] * weight


def _blend_poses(poses: FloatArray, low: NDArray[np.int64], high: NDArray[np.int64], part: FloatArray) -> FloatArray:
    """Poses (T, 4, 4) between frames; NaN where either neighbour is."""
    blended = np.full((len(part), 4, 4), np.nan)
    for i, (a, b, weight) in enumerate(zip(low, high, part, strict=True)):
        if not np.isfinite(poses[[a, b]]).all():
            continue
        turn = Slerp([0.0, 1.0], Rotation.from_matrix(poses[[a, b], :3, :3]))
        blended[i] = np.eye(4)
        blended[i, :3, :3] = turn(weight).as_matrix()
        blended[i, :3, 3] = (1.0 - weight) * poses[a, :3, 3] + weight * poses[b, :3, 3]
    return blended
