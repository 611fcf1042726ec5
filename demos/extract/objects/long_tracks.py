"""Points on one object over a clip: followed by optical flow, held to their first look, joined again after they were hidden.

A point keeps the cut-out ("key") in which it was taken up. Laid over the present picture by the object's motion since then, the
key corrects the drift of the points in view and finds those again that a hand or blur had hidden. Coordinates are px.
"""

from __future__ import annotations

import dataclasses
from array import array

import numpy as np
from numpy.typing import NDArray

from demos.extract.flow import track_points
from demos.extract.objects.masks import good_points, inside_mask
from demos.parts import PixelTracks

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Gray = NDArray[np.uint8]
Box = tuple[slice, slice]

_MAX_ERROR_PX = 0.8  # forward-backward
_INLIER_PX = 1.5  # from the common motion between neighbouring frames
_WINDOW_PX = 13  # side of the window that is compared with the key
_HALF = _WINDOW_PX // 2
_MAX_CORRECTION_PX = 2.5
_MAX_RETURN_PX = 6.0  # a point comes back this near to where the others say it is
_LIKE_KEY = 0.6  # correlation with the key at which a point in view still counts as the same
_SURELY_LIKE_KEY = 0.8  # for one that comes back
_PULL = 0.6  # part of the way to the key's match that a correction goes
_KEYS_A_FRAME = 2
_MAX_KEYS = 24


@dataclasses.dataclass
class _Key:
    """A cut-out of the picture in which points were taken up.

    Attributes:
        gray: (a, b).
        corner: (2,) px of its upper left pixel.
        total: (3, 3) motion of the object since the seed.
        ids: points of this key.
        places: id -> (2,) px.
    """

    gray: Gray
    corner: FloatArray
    total: FloatArray
    places: dict[int, FloatArray]


class LongTracks:
    """The points of one object; `start` begins at the seed frame, once for each direction of time."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._seen: list[array[float]] = []  # of each point: frame, x, y, confidence of all its sights in a row
        self._first: list[tuple[FloatArray, NDArray[np.int64], list[_Key]]] = []
        self.place: FloatArray = np.zeros((0, 2))
        self._ids = np.zeros(0, np.int64)
        self._likeness = np.zeros(0)
        self._keys: list[_Key] = []
        self._turn = 0
        self._total = np.eye(3)

    def start(self) -> None:
        """Goes back to the points of the seed frame."""
        if self._first:
            self.place, self._ids, self._keys = self._first[0][0].copy(), self._first[0][1].copy(), list(self._first[0][2])
        self._likeness = np.ones(len(self._ids))
        self._total = np.eye(3)

    def keep_start(self) -> None:
        """Remembers the present points as those of the seed frame."""
        if not self._first:
            self._first.append((self.place.copy(), self._ids.copy(), list(self._keys)))

    def step(self, before: Gray, after: Gray, box: Box) -> tuple[FloatArray | None, float]:
        """Follows the points to the next picture.

        Args:
            before: (h, w) picture.
            after: (h, w) next one.
            box: rows and columns that hold the object in both.

        Returns:
            The common motion (2, 3), None where too few points agree on one; and the median forward-backward error in px.
        """
        import cv2

        corner = np.array((box[1].start, box[0].start), float)
        moved, error = track_points(before[box], after[box], self.place - corner, 15)
        moved += corner
        good = error < _MAX_ERROR_PX
        motion = None
        if good.sum() >= 3:
            spread = float(np.ptp(moved[good], axis=0).max())
            cv2.setRNGSeed(0)
            motion, inlier = cv2.estimateAffinePartial2D(
                self.place[good], moved[good], ransacReprojThreshold=_INLIER_PX + 0.01 * spread
            )
            if motion is not None:
                zoom = float(np.hypot(motion[0, 0], motion[1, 0]))
                if inlier.sum() < max(3, 0.4 * good.sum()) or not 0.85 < zoom < 1.18:
                    motion = None
                else:
                    good[np.flatnonzero(good)[inlier.ravel() == 0]] = False
        typical = float(np.median(error[good])) if good.any() else np.nan
        self._select(good, moved)
        return None if motion is None else np.asarray(motion, np.float64), typical

    def moved_by(self, motion: FloatArray) -> None:
        """Takes note of the object's motion (2, 3) to the present picture."""
        self._total = np.vstack([motion, (0.0, 0.0, 1.0)]) @ self._total

    def restrict(self, mask: NDArray[np.uint8]) -> None:
        """Lets the points off the mask (h, w) go."""
        self._select(inside_mask(mask, self.place), self.place)

    def mend(self, gray: Gray, mask: NDArray[np.uint8], box: Box, apart_px: float) -> None:
        """Corrects points by their keys, and joins those that come back into the mask (h, w)."""
        import cv2

        if not self._keys:
            return
        size = (box[1].stop - box[1].start, box[0].stop - box[0].start)
        corner = np.array((box[1].start, box[0].start), float)
        part = np.ascontiguousarray(gray[box])
        for _ in range(min(_KEYS_A_FRAME, len(self._keys))):
            self._turn = (self._turn + 1) % len(self._keys)
            key = self._keys[self._turn]
            motion = self._motion_since(key)
            if motion is None:
                continue
            ids = np.array(list(key.places), np.int64)
            start = np.array(list(key.places.values())) @ motion[:, :2].T + motion[:, 2]
            row = {int(number): i for i, number in enumerate(self._ids)}
            active = np.array([int(number) in row for number in ids])
            expected = start.copy()
            expected[active] = self.place[[row[int(number)] for number in ids[active]]]
            near = active | inside_mask(mask, start)
            if active.any() and (~active & near).any():  # the others tell how far the whole is off
                expected[~active] += np.median((expected - start)[active], axis=0)
            ids, start, expected, active = ids[near], start[near], expected[near], active[near]
            if not len(ids):
                continue
            onto = np.hstack([motion[:, :2], (motion[:, :2] @ key.corner + motion[:, 2] - corner)[:, None]])
            look = cv2.warpAffine(key.gray, onto, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            found, alike = _match(np.asarray(look, np.uint8), part, start - corner, expected - corner)
            found += corner
            off = np.linalg.norm(found - expected, axis=-1)
            mended = active & (alike > _LIKE_KEY) & (off < _MAX_CORRECTION_PX)
            at = np.array([row[int(number)] for number in ids[mended]], np.int64)
            self.place[at] += _PULL * (found[mended] - self.place[at])
            at = np.array([row[int(number)] for number in ids[active]], np.int64)
            self._likeness[at] = alike[active]
            back = ~active & (alike > _SURELY_LIKE_KEY) & (off < _MAX_RETURN_PX) & inside_mask(mask, found)
            for number, place, like in zip(ids[back], found[back], alike[back], strict=True):
                if not len(self.place) or np.linalg.norm(self.place - place, axis=-1).min() > 0.5 * apart_px:
                    self.place = np.concatenate([self.place, place[None]])
                    self._ids = np.append(self._ids, number)
                    self._likeness = np.append(self._likeness, like)

    def take_up(self, gray: Gray, region: NDArray[np.uint8], wanted: int, apart_px: float, box: Box) -> None:
        """Adds points in the region (h, w), away from those that are there."""
        import cv2

        free = region[box].copy()
        corner = np.array((box[1].start, box[0].start), float)
        for x, y in np.round(self.place - corner).astype(int).tolist():
            cv2.circle(free, (x, y), max(1, round(apart_px)), (0,), -1)
        new = good_points(np.ascontiguousarray(gray[box]), free, wanted - len(self.place), apart_px) + corner
        if not len(new):
            return
        ids = np.arange(len(self._seen), len(self._seen) + len(new))
        self._seen += [array("d") for _ in ids]
        places = {int(number): place for number, place in zip(ids, new, strict=True)}
        self._keys.append(_Key(gray[box].copy(), corner, self._total.copy(), places))
        if len(self._keys) > _MAX_KEYS:  # the first one stays: the object often comes back to how it was
            del self._keys[1]
        self.place = np.concatenate([self.place, new])
        self._ids = np.concatenate([self._ids, ids])
        self._likeness = np.concatenate([self._likeness, np.ones(len(ids))])

    def note(self, frame: int) -> None:
        """Writes the present places down."""
        for number, (x, y), like in zip(self._ids, self.place, self._likeness, strict=True):
            self._seen[number].extend((frame, x, y, min(max(like, 0.05), 1.0)))

    def result(self, most: int, shortest: int) -> PixelTracks:
        """At most so many tracks, the longest ones, none shorter than so many frames."""
        sights = [np.array(seen).reshape(-1, 4) for seen in self._seen]
        lengths = [len(np.unique(seen[:, 0])) for seen in sights]  # the seed's frame is passed in both directions
        order = sorted(range(len(sights)), key=lambda number: -lengths[number])[:most]
        kept = [sights[number] for number in order if lengths[number] >= shortest]
        pixels = np.full((self._frames, len(kept), 2), np.nan)
        confidence = np.zeros((self._frames, len(kept)))
        for number, seen in enumerate(kept):
            frames = seen[:, 0].astype(np.int64)
            pixels[frames, number], confidence[frames, number] = seen[:, 1:3], seen[:, 3]
        return PixelTracks(pixels, np.isfinite(pixels[..., 0]), confidence)

    def _select(self, keep: BoolArray, place: FloatArray) -> None:
        self.place, self._ids, self._likeness = place[keep], self._ids[keep], self._likeness[keep]

    def _motion_since(self, key: _Key) -> FloatArray | None:
        """The object's motion (2, 3) since a key, by the points that were followed since then, or by all steps together."""
        import cv2

        both = [
            (key.places[int(number)], place)
            for number, place in zip(self._ids, self.place, strict=True)
            if number in key.places
        ]
        if len(both) >= 5:
            old, new = (np.ascontiguousarray(points) for points in np.array(both).swapaxes(0, 1))
            cv2.setRNGSeed(0)
            motion, inlier = cv2.estimateAffinePartial2D(old, new, ransacReprojThreshold=3.0)
            if motion is not None and inlier.mean() > 0.5:
                return np.asarray(motion, np.float64)
        try:
            return (self._total @ np.linalg.inv(key.total))[:2]
        except np.linalg.LinAlgError:
            return None


def _match(look: Gray, part: Gray, start: FloatArray, expected: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where points (N, 2) of one picture are in another, near `expected`; and how much their surroundings are alike (N,)."""
    import cv2

    first = start.astype(np.float32).reshape(-1, 1, 2)
    guess = expected.astype(np.float32).reshape(-1, 1, 2).copy()
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01)
    there, found, _ = cv2.calcOpticalFlowPyrLK(  # pyright: ignore[reportCallIssue]
        look,
        part,
        first,  # pyright: ignore[reportArgumentType]
        guess,
        winSize=(_WINDOW_PX, _WINDOW_PX),
        maxLevel=1,
        criteria=criteria,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    there = there.reshape(-1, 2).astype(np.float64)
    a, b = _surroundings(look, start), _surroundings(part, there)
    alike = (a * b).sum(axis=-1) / np.sqrt(np.maximum((a * a).sum(axis=-1) * (b * b).sum(axis=-1), 1e-6))
    return there, np.where(found.ravel() > 0, alike, 0.0)


def _surroundings(gray: Gray, points: FloatArray) -> FloatArray:
    """The picture around points (N, 2), as deviations (N, window^2) from its mean."""
    import cv2

    step = np.arange(-_HALF, _HALF + 1, dtype=np.float32)
    x = points[:, :1].astype(np.float32) + np.tile(step, _WINDOW_PX)
    y = points[:, 1:].astype(np.float32) + np.repeat(step, _WINDOW_PX)
    patch = cv2.remap(gray, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
    return patch - patch.mean(axis=-1, keepdims=True)
