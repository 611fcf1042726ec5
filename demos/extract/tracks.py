"""The `optical-flow` backend: follows points on the object from one frame forwards and backwards through the clip.

A point that slips (forward-backward check), leaves the common motion or disappears behind the hand ends; new ones are taken up
inside the object's outline, which is carried along by the points' shift, turn and zoom. Coordinates are pixels of
the kept pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from demos.extract.flow import track_points
from demos.extract.hands import hand_size_px
from demos.extract.masks import ObjectSeed, good_points, hand_mask, inside_mask, polygon_mask, similar_motion
from demos.video import FrameCache

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_WANTED_POINTS = 60
_MAX_ERROR_PX = 0.8  # forward-backward
_INLIER_PX = 1.5  # from the common motion between neighbouring frames
_MEMORY_S = 0.25  # over which a point that stays behind is noticed
_MIN_TRACK_S = 0.2


@dataclasses.dataclass(frozen=True)
class PointTracks:
    """Points on the object in the picture.

    Attributes:
        pixels: (T, P, 2) px; NaN where a point is not seen.
        centre: (T, 2) px, middle of the carried outline; NaN before anything was seen.
        outline: T polygons (N, 2) px.
        error_px: (T,) median forward-backward error; NaN where nothing was followed.
    """

    pixels: FloatArray
    centre: FloatArray
    outline: list[FloatArray]
    error_px: FloatArray


def follow_object(
    cache: FrameCache, seed: ObjectSeed, hand: FloatArray, fps: float, max_points: int, progress: Callable[[], None]
) -> PointTracks:
    """Tracks the object through all T frames.

    Args:
        cache: T pictures.
        seed: the object in one frame.
        hand: (T, 21, 2) px.
        fps: of the T frames.
        max_points: the longest so many tracks are kept.
        progress: called after each frame.
    """
    tracks: dict[int, dict[int, FloatArray]] = {}
    outline = [np.zeros((0, 2))] * len(cache)
    error_px = np.full(len(cache), np.nan)
    for frames in (range(seed.frame, len(cache)), range(seed.frame, -1, -1)):
        run = _Run(cache, seed, hand, fps, tracks, outline, error_px)
        run.follow(frames, progress)
    kept = [track for track in tracks.values() if len(track) >= max(3, _MIN_TRACK_S * fps)]
    kept = sorted(kept, key=len, reverse=True)[:max_points]
    pixels = np.full((len(cache), len(kept), 2), np.nan)
    for number, track in enumerate(kept):
        for frame, point in track.items():
            pixels[frame, number] = point
    centre = np.array([polygon.mean(axis=0) if len(polygon) else (np.nan, np.nan) for polygon in outline])
    return PointTracks(pixels, centre, outline, error_px)


class _Run:
    """One direction of time."""

    def __init__(
        self,
        cache: FrameCache,
        seed: ObjectSeed,
        hand: FloatArray,
        fps: float,
        tracks: dict[int, dict[int, FloatArray]],
        outline: list[FloatArray],
        error_px: FloatArray,
    ) -> None:
        self._cache, self._hand, self._tracks = cache, hand, tracks
        self._outlines, self._error_px = outline, error_px
        self._memory = max(2, round(_MEMORY_S * fps))
        self._polygon = seed.polygon
        self._points = np.zeros((0, 2))
        self._ids = np.zeros(0, int)
        self._seed_points = seed.points

    def follow(self, frames: Sequence[int], progress: Callable[[], None]) -> None:
        """Goes through the frames in the given order."""
        before, previous = None, None
        for frame in frames:
            gray = self._cache.gray(frame)
            if before is not None and previous is not None:
                self._step(before, gray, previous, frame)
                self._drop_stragglers(frame, frames.index(frame), frames)
            self._outlines[frame] = self._polygon
            if len(self._points) < _WANTED_POINTS and (before is None or frame % 3 == 0 or len(self._points) < 12):
                self._reseed(gray, frame)
            for number, point in zip(self._ids, self._points, strict=True):
                self._tracks[number][frame] = point
            before, previous = gray, frame
            progress()

    def _step(self, before: NDArray[np.uint8], gray: NDArray[np.uint8], previous: int, frame: int) -> None:
        import cv2

        moved, error = track_points(before, gray, self._points)
        covered = hand_mask((gray.shape[0], gray.shape[1]), self._hand[frame], forearm=False)
        good = (error < _MAX_ERROR_PX) & ~inside_mask(covered, moved)
        motion = None
        if good.sum() >= 4:
            cv2.setRNGSeed(0)
            motion, inlier = cv2.estimateAffinePartial2D(self._points[good], moved[good], ransacReprojThreshold=_INLIER_PX)
            if motion is not None:
                good[np.flatnonzero(good)[inlier.ravel() == 0]] = False
        if motion is not None:
            zoom = float(np.hypot(motion[0, 0], motion[1, 0]))
            if 0.9 < zoom < 1.1:
                self._polygon = self._polygon @ motion[:, :2].T + motion[:, 2]
        elif self._held(previous):  # out of sight in the hand: it goes where the hand goes
            self._polygon = self._polygon + similar_motion(self._hand[previous], self._hand[frame], self._polygon)
        if good.any():
            self._error_px[frame] = float(np.median(error[good]))
        self._points, self._ids = moved[good], self._ids[good]

    def _held(self, frame: int) -> bool:
        size = float(hand_size_px(self._hand[frame]))
        middle = self._hand[frame, 5:].mean(axis=0)
        return bool(np.linalg.norm(self._polygon - middle, axis=-1).min() < size)

    def _drop_stragglers(self, frame: int, step: int, frames: Sequence[int]) -> None:
        """While the object moves with the hand, points that stand still lie on the background."""
        if step < self._memory or len(self._points) < 6:
            return
        past = frames[step - self._memory]
        old = np.array([self._tracks[number].get(past, (np.nan, np.nan)) for number in self._ids])
        moved = np.linalg.norm(self._points - old, axis=-1)
        expected = similar_motion(self._hand[past], self._hand[frame], np.nan_to_num(old))
        along = np.linalg.norm(self._points - old - expected, axis=-1) < 0.4 * np.linalg.norm(expected, axis=-1)
        travelled = float(np.median(np.linalg.norm(expected, axis=-1)))
        if travelled > 3.0 and along.sum() >= 4:
            stays = ~(moved < 0.3 * travelled)  # NaN, a young point, stays
            self._points, self._ids = self._points[stays], self._ids[stays]

    def _reseed(self, gray: NDArray[np.uint8], frame: int) -> None:
        region = polygon_mask((gray.shape[0], gray.shape[1]), self._polygon)
        region[hand_mask((gray.shape[0], gray.shape[1]), self._hand[frame]) > 0] = 0
        size = float(hand_size_px(self._hand[frame]))
        apart = max(3.0, 0.07 * size)
        for x, y in np.round(self._points).astype(int):
            radius = int(apart)
            region[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = 0
        if len(self._seed_points):
            new, self._seed_points = self._seed_points, self._seed_points[:0]
        else:
            new = good_points(gray, region, _WANTED_POINTS - len(self._points), apart)
        first = len(self._tracks)
        numbers = np.arange(first, first + len(new))
        self._tracks.update({int(number): {} for number in numbers})
        self._points = np.concatenate([self._points, new])
        self._ids = np.concatenate([self._ids, numbers])
