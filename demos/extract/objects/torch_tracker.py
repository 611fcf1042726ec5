"""Points on one object followed by a torch network (`torch_networks`) that sees a window of the video at a time.

The windows overlap, so a video's length does not matter for memory; a point that is seen in the overlap is asked for again in
the next window and stays the same point. Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demos.extract.objects.masks import ObjectSeed, inside_mask
from demos.extract.objects.object_masks import ObjectMasks
from demos.extract.objects.torch_networks import Answer, Pictures, PointNetwork, open_network
from demos.parts import PixelTracks
from demos.runs import runs
from demos.video import FrameCache

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_WINDOW = 60  # pictures at a time; CoTracker 3 has learnt on no more
_OVERLAP = 12  # pictures that two windows share
_LIVE_POINTS = 100  # asked for in a window
_ROUNDS = 4  # in which a window's points are asked for; the later ones for pictures in which few are seen
_MIN_SIGHTINGS = 3  # of a track
_PART = 12  # pictures, in which tracks are counted; more where a video has
_MAX_PARTS = 200  # of these
_LEAST_CONFIDENCE = 1e-3  # of a point that is seen
_RIM_PX = 2  # new points keep away from the mask's edge
_FAR_SIZES, _FAR_PX = 0.1, 4.0  # a point this far off the mask is not on the object


def open_tracker(kind: str, weights: Path) -> TorchTracker:
    """The tracker with local weights; arguments and errors as of `open_network`."""
    return TorchTracker(open_network(kind, weights))


class TorchTracker:
    """Follows an object's points through a video of any length by a network that sees a window of it at a time."""

    def __init__(self, network: PointNetwork, window: int = _WINDOW, overlap: int = _OVERLAP) -> None:
        if not 0 < 2 * overlap <= window:
            raise ValueError(f"windows of {window} pictures cannot share {overlap}")
        self._network, self._window, self._overlap = network, window, overlap

    def follow(self, pictures: FrameCache, seed: ObjectSeed, masks: ObjectMasks, max_points: int) -> PixelTracks:
        """Points on the object in all T pictures.

        Points are taken up in the mask of the seed's picture, at the beginning of each further window and where few are left.
        A sighting far off the mask is none, and a point that is mostly off it is given up.

        Args:
            pictures: T pictures.
            seed: the object in one of them.
            masks: the object in all of them.
            max_points: at most so many tracks are kept; all of the video keeps some.
        """
        tracks = _Tracks(len(pictures))
        live = min(max_points, _LIVE_POINTS)
        for window in self._windows(len(pictures), seed.frame):
            images = np.stack([pictures.rgb(frame) for frame in range(window.start, window.stop)])
            shown = np.array([masks[frame].any() for frame in range(window.start, window.stop)])
            rows, queries = tracks.last_seen(window, live)
            frame = window.nearest_to_entry(shown)
            for _ in range(_ROUNDS):
                if frame is not None:
                    new = _new_points(masks[frame], tracks.seen_at(frame), live)
                    rows = np.concatenate([rows, tracks.add(len(new))])
                    queries = np.concatenate([queries, np.insert(new, 0, frame, axis=1)])
                if len(rows):
                    local = queries - (window.start, 0.0, 0.0)
                    tracks.write(window, rows, queries, _on_object(self._ask(images, local), masks, window))
                frame = tracks.barest(window, shown, live // 4)
                if frame is None:
                    break
                rows, queries = rows[:0], queries[:0]
        return tracks.result(max_points)

    def _ask(self, images: Pictures, queries: FloatArray) -> Answer:
        if len(images) > 1:
            return self._network.track(images, queries)
        seen = np.ones((1, len(queries)))
        return Answer(queries[None, :, 1:], seen > 0, seen)

    def _windows(self, frames: int, seed: int) -> Iterator[_Window]:
        """The seed's window, those after it in order, and those before it in reverse order."""
        start = max(0, min(seed - self._overlap, frames - self._window))
        stop = min(start + self._window, frames)
        yield _Window(start, stop, seed, 0)
        while stop < frames:
            begin = stop - self._overlap
            stop = min(begin + self._window, frames)
            yield _Window(begin, stop, begin + self._overlap // 2, 1)
        while start > 0:
            end = start + self._overlap
            start = max(end - self._window, 0)
            yield _Window(start, end, end - self._overlap // 2, -1)


@dataclasses.dataclass(frozen=True)
class _Window:
    """Pictures `start` to `stop`; `entry` is the one where it is taken up, going on in `direction` (0: in both)."""

    start: int
    stop: int
    entry: int
    direction: int

    def nearest_to_entry(self, shown: BoolArray) -> int | None:
        """The picture nearest to the entry of those (F,) in which the object is to be seen."""
        frames = self.start + np.flatnonzero(shown)
        return int(frames[np.abs(frames - self.entry).argmin()]) if len(frames) else None

    def further(self, frame: FloatArray) -> BoolArray:
        """(F, Q) the window's pictures that lie in its direction from pictures (Q,), these included."""
        here = np.arange(self.start, self.stop)[:, None]
        return (here - frame) * self.direction >= 0


@dataclasses.dataclass(frozen=True)
class _Block:
    """What one answer says of Q points in F pictures.

    Attributes:
        start: the first picture.
        rows: (Q,) the points.
        taken: (F, Q) bool, where the answer counts.
        pixels: (F, Q, 2) px, float32; NaN where a point is not seen.
        confidence: (F, Q), float32; 0 where it is not seen.
    """

    start: int
    rows: NDArray[np.int64]
    taken: BoolArray
    pixels: NDArray[np.float32]
    confidence: NDArray[np.float32]

    @property
    def stop(self) -> int:
        """Behind the last picture."""
        return self.start + len(self.taken)

    def sightings(self) -> BoolArray:
        """(F, Q)"""
        return self.taken & (self.confidence > 0.0)


class _Tracks:
    """What is known of all points so far, as blocks of which the later ones count; a row stays the same point."""

    def __init__(self, frames: int) -> None:
        self._frames, self._rows = frames, 0
        self._blocks: list[_Block] = []

    def last_seen(self, window: _Window, most: int) -> tuple[NDArray[np.int64], FloatArray]:
        """Rows (Q,) of the points that earlier windows have seen in this one, and queries (Q, 3): picture, x, y.

        Each is asked for where both windows know most of its past and future: as near to the entry as it is seen.
        """
        rows, pixels = self._between(window.start, window.stop)
        seen = np.isfinite(pixels[..., 0])
        often = np.argsort(-seen.sum(axis=0), kind="stable")[:most]
        often = often[seen[:, often].any(axis=0)]
        away = np.abs(np.arange(window.start, window.stop) - window.entry)[:, None]
        at = np.where(seen[:, often], away, self._frames).argmin(axis=0)
        return rows[often], np.column_stack([window.start + at, pixels[at, often]]).reshape(-1, 3)

    def seen_at(self, frame: int) -> FloatArray:
        """Places (M, 2) px of the points that are seen in a picture."""
        _, pixels = self._between(frame, frame + 1)
        return pixels[0, np.isfinite(pixels[0, :, 0])]

    def barest(self, window: _Window, shown: BoolArray, few: int) -> int | None:
        """The middle of the longest run of pictures in which the object shows (F,), but less than a few points are seen."""
        _, pixels = self._between(window.start, window.stop)
        bare = runs(shown & (np.isfinite(pixels[..., 0]).sum(axis=1) < few))
        longest = max(bare, key=lambda run: run[1] - run[0], default=None)
        return None if longest is None else window.start + sum(longest) // 2

    def add(self, count: int) -> NDArray[np.int64]:
        """Rows (count,) for new points."""
        self._rows += count
        return np.arange(self._rows - count, self._rows)

    def write(self, window: _Window, rows: NDArray[np.int64], queries: FloatArray, answer: Answer) -> None:
        """Takes over an answer: for known points from the query on in the window's direction, for new ones everywhere."""
        known, _ = self._between(window.start, window.stop)
        taken = window.further(queries[:, 0]) | ~np.isin(rows, known)
        pixels = np.where(answer.visible[..., None], answer.pixels, np.nan).astype(np.float32)
        confidence = np.where(answer.visible, np.clip(answer.confidence, _LEAST_CONFIDENCE, 1.0), 0.0).astype(np.float32)
        self._blocks.append(_Block(window.start, rows, taken, pixels, confidence))

    def result(self, most: int) -> PixelTracks:
        """At most so many tracks: long ones, and such that every part of the video keeps some."""
        length = max(_PART, -(-self._frames // _MAX_PARTS))
        parts = np.zeros((-(-self._frames // length), self._rows))  # sightings in each part of the video
        for block in self._blocks:
            of_part = np.arange(block.start, block.stop) // length
            for part in np.unique(of_part):
                parts[part, block.rows] += block.sightings()[of_part == part].sum(axis=0)
        kept = np.flatnonzero(parts.sum(axis=0) >= min(_MIN_SIGHTINGS, self._frames))
        if len(kept) > most:
            parts = parts[:, kept] / length
            points = np.zeros(len(parts))  # chosen so far, in each part
            chosen: list[int] = []
            for _ in range(most):
                worth = (1.0 / (1.0 + points)) @ parts
                worth[chosen] = -1.0
                chosen.append(int(worth.argmax()))
                points += parts[:, chosen[-1]]
            kept = np.sort(kept[chosen])
        pixels, confidence = np.full((self._frames, len(kept), 2), np.nan), np.zeros((self._frames, len(kept)))
        for block in self._blocks:
            _put(block, kept, 0, pixels, confidence)
        return PixelTracks(pixels, np.isfinite(pixels[..., 0]), confidence)

    def _between(self, start: int, stop: int) -> tuple[NDArray[np.int64], FloatArray]:
        """The points (R,) of which anything is known in some pictures, and their places (F, R, 2) px there."""
        blocks = [block for block in self._blocks if block.start < stop and start < block.stop]
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *(block.rows for block in blocks)]))
        pixels, confidence = np.full((stop - start, len(rows), 2), np.nan), np.zeros((stop - start, len(rows)))
        for block in blocks:
            _put(block, rows, start, pixels, confidence)
        return rows, pixels


def _put(block: _Block, rows: NDArray[np.int64], start: int, pixels: FloatArray, confidence: FloatArray) -> None:
    """Writes what a block says of rows (R,), in order, into arrays (F, R, ...) that begin with a picture."""
    first, last = max(block.start, start), min(block.stop, start + len(pixels))
    wanted = np.isin(block.rows, rows)
    if first >= last or not wanted.any():
        return
    to = np.ix_(np.arange(first, last) - start, np.searchsorted(rows, block.rows[wanted]))
    of = slice(first - block.start, last - block.start)
    taken = block.taken[of][:, wanted]
    pixels[to] = np.where(taken[..., None], block.pixels[of][:, wanted], pixels[to])
    confidence[to] = np.where(taken, block.confidence[of][:, wanted], confidence[to])


def _new_points(mask: BoolArray, known: FloatArray, wanted: int) -> FloatArray:
    """Points (N, 2) px evenly spread over a mask (h, w), away from known ones (M, 2) px, so many as are wanted with these."""
    import cv2

    count = wanted - len(known)
    if count <= 0:
        return np.zeros((0, 2))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)) > 0
    free = inner if inner.any() else mask
    apart = max(2.0, float(np.sqrt(free.sum() / wanted)))
    rows, columns = np.nonzero(free)
    x = np.arange(columns.min(), columns.max() + 1, apart)
    y = np.arange(rows.min(), rows.max() + 1, apart)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    grid = grid[inside_mask((free * 255).astype(np.uint8), grid)]
    if len(known):
        grid = grid[np.linalg.norm(grid[:, None] - known, axis=-1).min(axis=1) > 0.7 * apart]
    return grid[np.unique(np.linspace(0, len(grid) - 1, min(count, len(grid))).round().astype(int))]


def _on_object(answer: Answer, masks: ObjectMasks, window: _Window) -> Answer:
    """Without the sightings far off the mask; a point of which most are is not seen at all."""
    import cv2

    near = np.zeros_like(answer.visible)
    for number, frame in enumerate(range(window.start, window.stop)):
        mask = masks[frame]
        if mask.any():
            off = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
            close = off <= max(_FAR_PX, _FAR_SIZES * float(np.sqrt(mask.sum())))
            near[number] = inside_mask((close * 255).astype(np.uint8), answer.pixels[number])
    inside = (answer.pixels >= -0.5) & (answer.pixels < np.array(masks.shape[::-1]) - 0.5)  # NaN is not
    visible = answer.visible & inside.all(axis=-1)
    astray = (visible & near).sum(axis=0) < 0.5 * visible.sum(axis=0)
    return answer._replace(visible=visible & near & ~astray)
