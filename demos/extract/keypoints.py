"""Contact between hand and object, the object's depth and rigid pose, and the named task-relevant points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from demos.camera import fit_rigid, transform, unproject
from demos.extract.hands import hand_size_px
from demos.interaction import FINGERTIPS, WRIST, HandTrack, ObjectTrack

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

KEYPOINT_NAMES = ("wrist", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip", "object_centroid")
_NEAR_HAND_SIZES = 0.45  # a fingertip hidden behind the object is seen this far from its nearest tracked point
_REACH_HAND_SIZES = 1.5
_GRASP_SLACK_HAND_SIZES = 0.3  # the hand settles this much between closing and lifting
_MOVING_HAND_SIZES_S = 0.6  # slower than this, apparent motion is noise
_MIN_CONTACT_S = 0.2
_GRASP_GAP_S = 0.3  # shorter interruptions of a contact are noise
_MAX_RESIDUAL_M = 0.03  # a worse rigid fit is none
_MIN_RIGID_POINTS = 4
_POSE_SMOOTHING_S = 0.06  # videos often repeat frames, which makes paths step


def find_contact(hand_px: FloatArray, pixels: FloatArray, outline: list[FloatArray], fps: float) -> BoolArray:
    """Frames (T,) in which the hand touches the object: it is near, moves alike, and takes the object along at some time.

    Args:
        hand_px: (T, 21, 2) px.
        pixels: (T, P, 2) px of the object's points; NaN where unseen.
        outline: T polygons (N, 2) px of the object.
        fps: frames a second.
    """
    frames = len(hand_px)
    if pixels.shape[1] == 0:
        return np.zeros(frames, bool)
    size = hand_size_px(hand_px)
    gap = np.full(frames, np.inf)
    for frame in range(frames):
        points = np.concatenate([pixels[frame][np.isfinite(pixels[frame, :, 0])], outline[frame]])
        if len(points):
            touching = hand_px[frame, [*FINGERTIPS, 3, 7, 11, 6, 10]]
            gap[frame] = np.linalg.norm(touching[:, None] - points[None], axis=-1).min() / size[frame]
    hand_speed = _velocity(hand_px.mean(axis=1), fps) / size[:, None]
    object_speed = object_velocity(pixels, fps) / size[:, None]
    fast = np.maximum(np.linalg.norm(hand_speed, axis=-1), np.linalg.norm(object_speed, axis=-1))
    alike = np.linalg.norm(hand_speed - object_speed, axis=-1) < 0.5 * fast + _MOVING_HAND_SIZES_S
    moves_along = alike & (np.linalg.norm(object_speed, axis=-1) > _MOVING_HAND_SIZES_S)
    # the hand may hold a part on which no point is tracked: what moves along shows how far apart they then seem
    held = moves_along & (gap < _REACH_HAND_SIZES)
    near = max(_NEAR_HAND_SIZES, float(np.percentile(gap[held], 75)) + 0.2 if held.any() else 0.0)
    touching = held | ((gap < near) & alike & _as_when_held(hand_px.mean(axis=1), outline, held, size))
    touching = _close_gaps(touching, round(_GRASP_GAP_S * fps))
    contact = np.zeros(frames, bool)
    for start, end in runs(touching):
        if moves_along[start:end].sum() >= _MIN_CONTACT_S * fps:
            contact[start:end] = True
    return contact


def _as_when_held(hand_middle: FloatArray, outline: list[FloatArray], held: BoolArray, size: FloatArray) -> BoolArray:
    """Frames (T,) in which the hand (T, 2) px is placed to the object as in the nearest frame in which it moves it along.

    A hand that waits beside an object at rest seems to "move alike" as well; this tells the two apart.
    """
    if not held.any():
        return held
    offset = hand_middle - np.array([polygon.mean(axis=0) if len(polygon) else (np.nan, np.nan) for polygon in outline])
    frames, at = np.arange(len(held)), np.flatnonzero(held)
    nearest = at[np.argmin(np.abs(frames[:, None] - at[None]), axis=1)]
    return np.linalg.norm(offset - offset[nearest], axis=-1) < _GRASP_SLACK_HAND_SIZES * size


def object_velocity(pixels: FloatArray, fps: float) -> FloatArray:
    """Smoothed velocity (T, 2) px/s of the points (T, P, 2): median over those seen in neighbouring frames."""
    step = np.zeros((len(pixels), 2))
    for frame in range(1, len(pixels)):
        moved = pixels[frame] - pixels[frame - 1]
        seen = np.isfinite(moved[:, 0])
        if seen.any():
            step[frame] = np.median(moved[seen], axis=0)
    return gaussian_filter1d(step * fps, 0.1 * fps, axis=0)


def _velocity(positions: FloatArray, fps: float) -> FloatArray:
    return gaussian_filter1d(np.gradient(positions, axis=0) * fps, 0.1 * fps, axis=0)


def runs(flags: BoolArray) -> list[tuple[int, int]]:
    """Half-open ranges (start, end) in which the flags (T,) are set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _close_gaps(flags: BoolArray, length: int) -> BoolArray:
    closed = flags.copy()
    for start, end in runs(~flags):
        if end - start <= length and start > 0 and end < len(flags):
            closed[start:end] = True
    return closed


def lift_object(pixels: FloatArray, hand: HandTrack, contact: BoolArray, K: FloatArray, fps: float) -> ObjectTrack:
    """Gives the object's points (T, P, 2) px a depth and fits a rigid pose to each frame.

    One camera does not see depth. While the hand holds the object, all its points are taken at the depth of the gripping
    fingertips; at other times at the depth where it was last, or will next be, held; without any contact at the hand's median.
    The pose is therefore true to shifts and to turns about the viewing direction only.
    """
    frames = len(pixels)
    grip = hand.keypoints_camera[:, [4, 8, 12], 2].mean(axis=1)  # (T,) thumb, index and middle tip
    if contact.any():
        held = np.flatnonzero(contact)
        depth = np.interp(np.arange(frames), held, gaussian_filter1d(grip, 0.2 * fps)[held])
    else:
        depth = np.full(frames, float(np.median(grip)))
    points = unproject(pixels, np.broadcast_to(depth[:, None], pixels.shape[:2]), K)
    visible = np.isfinite(pixels[..., 0])
    pose, residual = _rigid_poses(points, visible)
    pose = _smooth_poses(pose, _POSE_SMOOTHING_S * fps)
    return ObjectTrack(points, pixels, visible, pose, residual)


def _rigid_poses(points: FloatArray, visible: BoolArray) -> tuple[FloatArray, FloatArray]:
    """`T_camera_object` (T, 4, 4) and residual (T,) m, from the frame with most points forwards and backwards.

    The object frame sits in the points' middle in that frame, with the camera's axes; a point that appears later gets its
    place in it from the pose of its first frame.
    """
    frames, count = visible.shape
    poses, residual = np.full((frames, 4, 4), np.nan), np.full(frames, np.nan)
    if count < _MIN_RIGID_POINTS or visible.sum(axis=1).max(initial=0) < _MIN_RIGID_POINTS:
        return poses, residual
    first = int(np.argmax(visible.sum(axis=1)))
    place = np.full((count, 3), np.nan)  # in the object frame
    for order in (range(first, frames), range(first - 1, -1, -1)):
        last = np.eye(4)
        last[:3, 3] = points[first, visible[first]].mean(axis=0)
        for frame in order:
            seen = visible[frame] & np.isfinite(place[:, 0])
            if seen.sum() >= _MIN_RIGID_POINTS:
                pose, error = fit_rigid(place[seen], points[frame, seen])
                if error > _MAX_RESIDUAL_M:
                    continue
                poses[frame], residual[frame], last = pose, error, pose
            elif frame != first:
                continue
            new = visible[frame] & ~np.isfinite(place[:, 0])
            place[new] = transform(np.linalg.inv(last), points[frame, new])
    return poses, residual


def _smooth_poses(poses: FloatArray, sigma_frames: float) -> FloatArray:
    """Gaussian smoothing of poses (T, 4, 4) over time, within runs of known ones."""
    smooth = poses.copy()
    for start, end in runs(np.isfinite(poses[:, 0, 0])):
        part = slice(start, end)
        smooth[part, :3, 3] = gaussian_filter1d(poses[part, :3, 3], sigma_frames, axis=0, mode="nearest")
        mean = gaussian_filter1d(poses[part, :3, :3], sigma_frames, axis=0, mode="nearest")
        u, _, vt = np.linalg.svd(mean)  # the rotation nearest to the mean; neighbours are close, so it is proper
        smooth[part, :3, :3] = u @ vt
    return smooth


def object_centroid(points: FloatArray, visible: BoolArray, pose: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Middle of the object (T, 3) and whether it is known (T,): the pose's origin, else the mean of the visible points.

    Unknown frames are interpolated, so that the path is whole; without any point it is NaN.
    """
    seen = visible.any(axis=1)
    centre = np.full((len(points), 3), np.nan)
    for frame in np.flatnonzero(seen):
        centre[frame] = points[frame, visible[frame]].mean(axis=0)
    known_pose = np.isfinite(pose[:, 0, 0])
    centre[known_pose] = pose[known_pose, :3, 3]
    known = seen | known_pose
    if known.any():
        frames = np.arange(len(points))
        centre = np.stack([np.interp(frames, frames[known], centre[known, axis]) for axis in range(3)], axis=-1)
    return centre, known


def named_points(
    hand: FloatArray, centre: FloatArray, known: BoolArray, confidence: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """The points `KEYPOINT_NAMES` (T, 7, 3) and their visibility (T, 7), from the hand (T, 21, 3) and the object's middle."""
    points = np.concatenate([hand[:, [WRIST, *FINGERTIPS]], centre[:, None]], axis=1)
    visible = np.repeat(confidence[:, None] > 0.0, len(KEYPOINT_NAMES), axis=1)
    visible[:, -1] = known
    return points, visible
