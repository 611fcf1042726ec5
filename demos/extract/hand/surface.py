"""Surface points of a hand from depth pictures, and how far along its ray a hand has to move to lie under them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demos.camera import project, unproject
from demos.extract.hand.model import RADIUS_RATIOS
from demos.interaction import HAND_BONES
from demos.parts import DepthFrames
from dexvid_envs.errors import InputFileError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_POINTS = 240  # a frame
_REACH_M = 0.03  # about the key points
_COVERED_SIGMA_M, _BEFORE_SIGMA_M = 0.02, 0.01  # of a key point behind and before the surface that is seen there
_SHIFTS_M = np.arange(-0.30, 0.301, 0.01)  # in which a hand is looked for along its ray


def collect_surface(
    depth: DepthFrames, points: FloatArray, pixels: FloatArray, known: BoolArray, K: FloatArray, hand_length_m: float
) -> tuple[FloatArray, FloatArray]:
    """Reads every depth picture once and keeps the points about the hand.

    Args:
        depth: T frames, pixels as the video's.
        points: (T, 21, 3) m, the hand by the video alone.
        pixels: (T, 21, 2) px, the detected key points.
        known: (T,) where there are some.
        K: (3, 3) px.
        hand_length_m: wrist to base of the middle finger.

    Returns:
        (T, M, 3) m surface points, NaN where there are fewer; and (T,) m, how much farther the hand is than `points` say, NaN
        where the picture does not tell.

    Raises:
        InputFileError: the numbers of frames differ.
    """
    if depth.count != len(points):
        raise InputFileError(f"{len(points)} frames of video and {depth.count} of depth; expected as many of each")
    surface, shift = np.full((len(points), _POINTS, 3), np.nan), np.full(len(points), np.nan)
    for frame in np.flatnonzero(known):
        picture = np.where(np.isfinite(picture := depth.read_m(int(frame))), picture, 0.0)
        seen = pixels[frame] if np.isfinite(pixels[frame]).all() else project(points[frame], K)
        shift[frame] = _shift(picture, points[frame], seen, hand_length_m)
        if np.isfinite(shift[frame]):
            moved = points[frame] * (1.0 + shift[frame] / points[frame, :, 2].mean())
            near = _near_points(picture, moved, seen, K)
            surface[frame, : len(near)] = near
    return surface, shift


def _shift(picture: FloatArray, points: FloatArray, pixels: FloatArray, hand_length_m: float) -> float:
    """The shift along the view at which most key points lie a finger's radius behind what is seen; NaN where few do.

    It is looked up half-way between key points of the palm too. What covers the hand is nearer and what is behind it farther:
    neither agrees with itself as well as the hand does.
    """
    parents = np.array([0, 0, 0, 0, 5, 9, 13, 17])
    children = np.array([5, 9, 13, 17, 9, 13, 17, 5])
    at = np.concatenate([pixels, 0.5 * (pixels[parents] + pixels[children])])
    z = np.concatenate([points[:, 2], 0.5 * (points[parents, 2] + points[children, 2])])
    radius = np.concatenate([RADIUS_RATIOS, 0.5 * (RADIUS_RATIOS[parents] + RADIUS_RATIOS[children])]) * hand_length_m
    column, row = np.round(at).astype(int).T
    height, width = picture.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    seen = np.zeros(len(at))
    seen[inside] = picture[row[inside], column[inside]]
    apart = (seen + radius - z)[seen > 0.0]
    if len(apart) < 8:
        return np.nan
    votes = np.exp(-(((_SHIFTS_M[:, None] - apart) / 0.015) ** 2)).sum(axis=1)
    best = _SHIFTS_M[np.argmax(votes)]
    near = np.abs(apart - best) < 0.02
    return float(np.mean(apart[near])) if near.sum() >= 5 else np.nan


def depth_misfit(
    depth: DepthFrames, frames: NDArray[np.int64], points: FloatArray, K: FloatArray, hand_length_m: float
) -> FloatArray:
    """How badly (N,) key points (N, 21, 3) m of a hand suit the depth pictures of their frames (N,), at whatever distance.

    A key point lies a finger's radius behind what is seen, or farther where something covers it; before it nothing can be.
    """
    misfit = np.zeros(len(frames))
    for number, frame in enumerate(frames):
        picture = depth.read_m(int(frame))
        column, row = np.round(project(points[number], K)).astype(int).T
        height, width = picture.shape
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        surface = picture[row[inside], column[inside]]
        hidden = (points[number, inside, 2] - RADIUS_RATIOS[inside] * hand_length_m - surface)[surface > 0.0]  # NaN is not
        if len(hidden) < 8:
            continue
        sigma = np.where(hidden - _SHIFTS_M[:, None] > 0.0, _COVERED_SIGMA_M, _BEFORE_SIGMA_M)
        cost = 4.5 * np.log1p(((hidden - _SHIFTS_M[:, None]) / (3.0 * sigma)) ** 2)
        misfit[number] = cost.sum(axis=1).min() * 21.0 / len(hidden)
    return misfit


def _near_points(picture: FloatArray, points: FloatArray, pixels: FloatArray, K: FloatArray) -> FloatArray:
    """At most `_POINTS` surface points (M, 3) m near the key points."""
    height, width = picture.shape
    margin = 0.02 * K[0, 0] / points[:, 2].mean()
    low = np.maximum(np.floor(pixels.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(pixels.max(axis=0) + margin), [width - 1, height - 1]).astype(int)
    if (high <= low).any():
        return np.zeros((0, 3))
    stride = max(1, int(np.sqrt((high - low).prod() / (3.0 * _POINTS))))
    rows, columns = np.mgrid[low[1] : high[1] + 1 : stride, low[0] : high[0] + 1 : stride]
    z = picture[rows, columns].ravel()
    near_z = (z > points[:, 2].min() - _REACH_M) & (z < points[:, 2].max() + _REACH_M)
    cloud = unproject(np.stack([columns.ravel(), rows.ravel()], axis=-1)[near_z].astype(float), z[near_z], K)
    targets = np.concatenate([points, points[np.array(HAND_BONES)].mean(axis=1)])  # key points and the middles of bones
    apart = np.linalg.norm(cloud[:, None] - targets, axis=-1).min(axis=1) if len(cloud) else np.zeros(0)
    cloud = cloud[apart < _REACH_M]
    chosen = np.unique(np.linspace(0, len(cloud) - 1, _POINTS).round().astype(int)) if len(cloud) else np.zeros(0, int)
    return cloud[chosen]
