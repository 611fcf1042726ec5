"""When the hand touches the object, from what both do in the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from demos.extract.hand.follow import hand_size_px
from demos.interaction import FINGERTIPS
from demos.runs import runs

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_NEAR_HAND_SIZES = 0.45  # a fingertip hidden behind the object is seen this far from its nearest tracked point
_REACH_HAND_SIZES = 1.5
_GRASP_SLACK_HAND_SIZES = 0.15  # the fingertips settle this much between closing and lifting
_LEFT_HAND_SIZES = 0.3  # and are farther away than this once the hand has let go
_GRASP_LOOK_S = 0.2  # over which their place on the object is averaged
_MOVING_HAND_SIZES_S = 0.6  # slower than this, apparent motion is noise
_MIN_CONTACT_S = 0.2
_GRASP_GAP_S = 0.3  # shorter interruptions of a contact are noise


def find_contact_px(hand_px: FloatArray, pixels: FloatArray, outline: list[FloatArray], fps: float) -> BoolArray:
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
    touching = held | ((gap < near) & alike & _as_when_held(hand_px, pixels, outline, held, size, round(_GRASP_LOOK_S * fps)))
    touching = _close_gaps(touching, round(_GRASP_GAP_S * fps))
    contact = np.zeros(frames, bool)
    for start, end in runs(touching):
        if moves_along[start:end].sum() >= _MIN_CONTACT_S * fps:
            contact[start:end] = True
    return contact


def _as_when_held(
    hand_px: FloatArray, pixels: FloatArray, outline: list[FloatArray], held: BoolArray, size: FloatArray, look: int
) -> BoolArray:
    """Frames (T,) in which the fingertips are placed to the object as in the nearest frames in which the hand moves it along.

    A hand that waits beside an object at rest seems to "move alike" as well, and so does one that slowly closes around it; this
    tells them apart.
    """
    if not held.any():
        return held
    offset = hand_px[:, FINGERTIPS] - _object_place(pixels, outline)[:, None]  # (T, 5, 2)
    apart = np.zeros(len(held))
    at = np.flatnonzero(held)
    for frame in range(len(held)):
        nearest = int(at[np.argmin(np.abs(at - frame))])
        typical = np.median(offset[at[np.abs(at - nearest) <= look]], axis=0)
        apart[frame] = np.median(np.linalg.norm(offset[frame] - typical, axis=-1)) / size[frame]
    alike = apart < _GRASP_SLACK_HAND_SIZES
    for start, end in runs(~alike):
        # a hand that lets go gets farther away, errors of its key points do not
        alike[start:end] = apart[start:end].max() < _LEFT_HAND_SIZES
    return alike


def _object_place(pixels: FloatArray, outline: list[FloatArray]) -> FloatArray:
    """Path (T, 2) px of the object: its points' motion, or its outline's where no point is followed; only differences count."""
    middle = np.array([polygon.mean(axis=0) if len(polygon) else (np.nan, np.nan) for polygon in outline])
    step = np.zeros((len(pixels), 2))
    for frame in range(1, len(pixels)):
        moved = pixels[frame] - pixels[frame - 1]
        seen = np.isfinite(moved[:, 0])
        step[frame] = np.median(moved[seen], axis=0) if seen.any() else np.nan_to_num(middle[frame] - middle[frame - 1])
    return np.cumsum(step, axis=0)


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


def _close_gaps(flags: BoolArray, length: int) -> BoolArray:
    closed = flags.copy()
    for start, end in runs(~flags):
        if end - start <= length and start > 0 and end < len(flags):
            closed[start:end] = True
    return closed
