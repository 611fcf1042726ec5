"""Joins a hand and an object of one camera to an `Interaction`; where they come from is left to the importers.

Nothing in them says where down is: either the camera's pose is given, or the camera is taken as not rolled and as looking down
by a given angle, with the table at the lowest point of the resting object or of the hand.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from demos.camera import transform
from demos.interaction import FINGERTIPS, WRIST, BoolArray, FloatArray, HandTrack, Interaction, ObjectTrack
from dexvid_envs.errors import InputFileError, OptionError

KEYPOINT_NAMES = ("wrist", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip", "object_centroid")
_CONTACT_M = 0.03  # fingertip to the nearest tracked point: points lie a centimetre or two apart
_CONTACT_TIPS = 2
_TABLE_PERCENTILE = 2  # the lowest few points are the tracker's mistakes


@dataclasses.dataclass(frozen=True)
class AssembleConfig:
    """How parts are joined.

    Attributes:
        fps: frames a second.
        object_name: name of the object.
        K: (3, 3) px, or None.
        T_world_camera: (4, 4) m, z up, table at 0; None takes an upright camera.
        camera_pitch_deg: how far an upright camera looks down from the horizontal.
    """

    fps: float
    object_name: str = "object"
    K: FloatArray | None = None
    T_world_camera: FloatArray | None = None
    camera_pitch_deg: float = 25.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise OptionError(f"fps is {self.fps}, expected a positive number of frames a second")
        if not -89.0 <= self.camera_pitch_deg <= 89.0:
            raise OptionError(f"camera_pitch_deg is {self.camera_pitch_deg}, expected -89 to 89")


def assemble(hand: HandTrack, target: ObjectTrack, config: AssembleConfig, first_frame: int, sha256: str) -> Interaction:
    """Joins the two in the world frame.

    Args:
        hand: T frames.
        target: the same T frames.
        config: how.
        first_frame: number of the first frame in the source.
        sha256: of the source files.

    Raises:
        InputFileError: the numbers of frames differ, or the hand is never seen.
    """
    frames = len(hand.confidence)
    if len(target.visible) != frames:
        raise InputFileError(
            f"the hand has {frames} frames and the object {len(target.visible)}; expected as many of each: give both the same"
            " first_frame and num_frames"
        )
    known = np.isfinite(hand.keypoints_camera).all(axis=(1, 2))
    if not known.any():
        raise InputFileError("the hand is seen in no frame; expected at least one")
    keypoints = _interpolated(hand.keypoints_camera, known)
    T_world_camera = config.T_world_camera
    if T_world_camera is None:
        T_world_camera = upright_pose(keypoints, target, config.camera_pitch_deg)
    hand_world = transform(T_world_camera, keypoints)
    points_world = transform(T_world_camera, target.points_camera)
    pose_world = T_world_camera @ target.pose_camera
    centre, centre_known = _centre(points_world, target.visible, pose_world)
    seen = hand.confidence > 0
    return Interaction(
        fps=config.fps,
        hand_keypoints_world=hand_world,
        hand_confidence=np.where(known, hand.confidence, 0.0),
        hand_side=hand.side,
        object_names=(config.object_name,),
        object_points_world=points_world,
        object_visible=target.visible,
        object_pose_world=pose_world,
        keypoints_world=np.concatenate([hand_world[:, [WRIST, *FINGERTIPS]], centre[:, None]], axis=1),
        keypoint_visible=np.stack([*[seen & known] * 6, centre_known], axis=1),
        keypoint_names=KEYPOINT_NAMES,
        contact=find_contact_m(hand_world, points_world, target.visible) & known,
        flagged=hand.flagged | ~known,
        frame_index=np.arange(first_frame, first_frame + frames, dtype=np.int64),
        K=np.full((3, 3), np.nan) if config.K is None else config.K,
        T_world_camera=T_world_camera,
        source_sha256=sha256,
    )


def find_contact_m(hand: FloatArray, points: FloatArray, visible: BoolArray) -> BoolArray:
    """Frames (T,) in which two fingertips of (T, 21, 3) m are near points (T, P, 3) m of the object; gaps of one are closed."""
    contact = np.zeros(len(hand), bool)
    for frame in range(len(hand)):
        cloud = points[frame, visible[frame]]
        if len(cloud):
            gap = np.linalg.norm(hand[frame, list(FINGERTIPS)][:, None] - cloud[None], axis=-1).min(axis=1)
            contact[frame] = (gap < _CONTACT_M).sum() >= _CONTACT_TIPS
    between = np.zeros_like(contact)
    between[1:-1] = contact[:-2] & contact[2:]
    return contact | between


def upright_pose(hand: FloatArray, target: ObjectTrack, pitch_deg: float) -> FloatArray:
    """`T_world_camera` (4, 4) of a camera that is not rolled and looks down by `pitch_deg`.

    The table (z = 0) is as high as the object's lowest points in the first frame that shows it, or as the hand's lowest where
    that is lower; the origin lies below the object's first place.
    """
    pitch = math.radians(pitch_deg)
    ahead, right = np.array([math.cos(pitch), 0.0, -math.sin(pitch)]), np.array([0.0, -1.0, 0.0])
    rotation = np.stack([right, np.cross(ahead, right), ahead], axis=-1)  # columns: camera x, y, z in the world
    lowest = float(np.percentile((hand @ rotation.T)[..., 2].min(axis=1), _TABLE_PERCENTILE))
    middle = np.median(hand[:, WRIST] @ rotation.T, axis=0)
    if target.visible.any():
        first = int(np.argmax(target.visible.any(axis=1)))
        points = target.points_camera[first, target.visible[first]] @ rotation.T
        lowest = min(lowest, float(np.percentile(points[:, 2], _TABLE_PERCENTILE)))
        middle = points.mean(axis=0)
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -np.array([middle[0], middle[1], lowest])
    return pose


def _interpolated(values: FloatArray, known: BoolArray) -> FloatArray:
    """Fills the frames that are not known from those around them; (T, ...) in and out."""
    flat, frames = values.reshape(len(values), -1), np.arange(len(values))
    return np.stack([np.interp(frames, frames[known], column[known]) for column in flat.T], axis=1).reshape(values.shape)


def _centre(points: FloatArray, visible: BoolArray, pose: FloatArray) -> tuple[FloatArray, BoolArray]:
    """The object's middle (T, 3), by the pose or else the mean of the points seen, and whether it is known (T,)."""
    centre = np.full((len(points), 3), np.nan)
    for frame in np.flatnonzero(visible.any(axis=1)):
        centre[frame] = points[frame, visible[frame]].mean(axis=0)
    posed = np.isfinite(pose).all(axis=(1, 2))
    centre[posed] = pose[posed, :3, 3]
    known = np.isfinite(centre).all(axis=1)
    return (_interpolated(centre, known) if known.any() else centre), known
