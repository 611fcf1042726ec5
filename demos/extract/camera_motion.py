"""Whether the camera stands still: everything that follows takes it for granted.

Points of the background are followed from an anchor picture. The camera stands still where a good part of them stays in place,
however much moves besides; otherwise the similarity that most of them agree on says how far the picture has moved.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from demos.extract.flow import track_points

FloatArray = NDArray[np.float64]
Gray = NDArray[np.uint8]

_LOOKS_PER_S = 5.0
_POINTS = 160
_GRID = (8, 6)  # points are taken from all over the picture, not where the texture is best
_MIN_POINTS = 12
_STILL_PART = 0.15  # a moving camera leaves nothing in place; a person close by may hide most of the background
_STILL_PX = 0.7
_KEEP_PART = 0.6  # with fewer points left, a new anchor is taken
_FLOW_ERROR_PX = 1.0
_CUT_PART = 0.1
_RANSAC_PX = 1.5
_MIN_AGREEMENT = 0.4


@dataclasses.dataclass(frozen=True)
class CameraMotion:
    """How the picture moved as a whole.

    Attributes:
        frames: (N,) numbers of the frames that were looked at.
        shift: (N,) how far the picture's corners have moved since the first one (mean), as a part of its diagonal; NaN where
            the background shows nothing to hold on to.
        cuts: frames at which the whole picture changed at once.
    """

    frames: NDArray[np.int64]
    shift: FloatArray
    cuts: tuple[int, ...]

    @property
    def largest_shift(self) -> float:
        """Largest shift as a part of the diagonal; NaN where nothing is known."""
        known = self.shift[np.isfinite(self.shift)]
        return float(known.max()) if len(known) else math.nan

    def moved_frames(self, limit: float) -> list[int]:
        """Frames whose shift exceeds the limit."""
        return self.frames[np.nan_to_num(self.shift) > limit].tolist()


class CameraWatch:
    """Takes the pictures of a running video one by one."""

    def __init__(self, fps: float) -> None:
        self._every = max(1, round(fps / _LOOKS_PER_S))
        self._count = 0
        self._frames: list[int] = []
        self._shift: list[float] = []
        self._cuts: list[int] = []
        self._anchor: Gray | None = None
        self._points: FloatArray = np.zeros((0, 2))
        self._to_first = np.eye(3)  # from the anchor's pixels to the first picture's

    def update(self, gray: Gray) -> None:
        """Takes the next picture (h, w)."""
        number, self._count = self._count, self._count + 1
        if number % self._every:
            return
        if self._anchor is None:
            self._take_anchor(gray)
            self._note(number, 0.0 if len(self._points) >= _MIN_POINTS else math.nan)
            return
        if len(self._points) < _MIN_POINTS:
            self._take_anchor(gray)
            self._note(number, math.nan)
            return
        moved, error = track_points(self._anchor, gray, self._points, window_px=21)
        good = error < _FLOW_ERROR_PX
        motion = _common_motion(self._points[good], moved[good]) if good.sum() >= _MIN_POINTS else None
        if motion is None:
            if good.mean() < _CUT_PART:  # nothing of the anchor is found again
                self._cuts.append(number)
            self._take_anchor(gray)
            self._note(number, math.nan)
            return
        total = self._to_first @ np.linalg.inv(motion)
        self._note(number, _corner_shift(total, gray.shape))
        if good.mean() < _KEEP_PART:
            self._take_anchor(gray)
            self._to_first = total

    def result(self) -> CameraMotion:
        """What was seen so far."""
        return CameraMotion(np.array(self._frames, np.int64), np.array(self._shift), tuple(self._cuts))

    def _note(self, number: int, shift: float) -> None:
        self._frames.append(number)
        self._shift.append(shift)

    def _take_anchor(self, gray: Gray) -> None:
        self._anchor, self._points = gray, _spread_points(gray)


def _spread_points(gray: Gray) -> FloatArray:
    """The points (N, 2) px that flow can best hold on to, from each cell of a grid alike."""
    import cv2

    height, width = gray.shape
    found: list[FloatArray] = []
    for row in range(_GRID[1]):
        for column in range(_GRID[0]):
            y0, y1 = row * height // _GRID[1], (row + 1) * height // _GRID[1]
            x0, x1 = column * width // _GRID[0], (column + 1) * width // _GRID[0]
            each = -(-_POINTS // (_GRID[0] * _GRID[1]))
            points = cv2.goodFeaturesToTrack(gray[y0:y1, x0:x1], each, 0.02, 6, blockSize=5)
            if points is not None:
                found.append(points.reshape(-1, 2) + np.array([x0, y0], np.float64))
    return np.concatenate(found) if found else np.zeros((0, 2))


def _common_motion(before: FloatArray, after: FloatArray) -> FloatArray | None:
    """The similarity (3, 3) that the background follows; None where the points do not agree."""
    import cv2

    if (np.linalg.norm(after - before, axis=-1) < _STILL_PX).mean() >= _STILL_PART:
        return np.eye(3)
    cv2.setRNGSeed(0)
    motion, inlier = cv2.estimateAffinePartial2D(before, after, ransacReprojThreshold=_RANSAC_PX)
    if motion is None or inlier.mean() < _MIN_AGREEMENT:
        return None
    return np.vstack([motion, [0.0, 0.0, 1.0]])


def _corner_shift(motion: FloatArray, shape: tuple[int, ...]) -> float:
    height, width = shape[:2]
    corners = np.array([(0, 0, 1), (width, 0, 1), (0, height, 1), (width, height, 1)], float)
    moved = corners @ motion.T
    return float(np.linalg.norm(moved[:, :2] - corners[:, :2], axis=-1).mean() / math.hypot(width, height))
