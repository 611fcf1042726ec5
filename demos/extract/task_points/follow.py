"""Follows task-relevant points through all pictures, from the one in which each was asked for, forwards and backwards.

A point of the hand goes with the hand's key points, a point on an object with the object's point tracks around it, and
anything else stands still. Where no track is seen, a point keeps its place in the object's mask, then its place to the hand
that holds it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from demos.extract.hand.follow import hand_size_px
from demos.extract.objects.masks import hand_mask, similar_motion
from demos.extract.objects.object_masks import SEEN
from demos.extract.task_points.task_points import HAND, HAND_POINTS, TaskPointQuery, TrackedObject, at_pixel, check_queries
from demos.interaction import BoolArray, FloatArray
from demos.parts import PixelTracks
from demos.video import FrameCache

ComplexArray = NDArray[np.complex128]

_MIN_TRACKS = 4
_KEPT_SHARE = 0.5  # a reference frame serves as long as so many of its tracks are still seen
_STIFFNESS_PX = 5.0  # spread of the tracks below which their stretching is not believed
_OUTLIER_PX = 1.5
_PAIRED = 32  # nearest neighbours whose pairs tell the first turn
_HELD_HAND_SIZES = 1.5
_NEAR_MASK_PX = 3
_PATCH_PX = 17
_ALIKE = 0.5  # correlation of a patch that still shows the same
_PLAIN_GREY_LEVELS = 5.0  # standard deviation below which a patch has no texture to correlate
_SAME_GREY_LEVELS = 25.0

# confidence, by what a point's place rests on
_BY_TRACKS, _BY_MASK, _BY_HAND, _BY_NOTHING = 1.0, 0.5, 0.3, 0.1


def follow_points(
    pictures: FrameCache,
    queries: Sequence[TaskPointQuery],
    objects: Sequence[TrackedObject],
    hand_px: FloatArray,
    fps: float,
    progress: Callable[[], None] = lambda: None,
) -> PixelTracks:
    """Places (T, K, 2) of the K queries in all T pictures, also where they are hidden, with what is visible.

    Args:
        pictures: T kept pictures.
        queries: the points; `carriers` says on what each rides.
        objects: with masks and tracks in px of the kept pictures.
        hand_px: (T, 21, 2) px of the kept pictures; NaN where unknown.
        fps: of the T frames.
        progress: called after each frame.

    Raises:
        OptionError: a name occurs twice, or a query's frame does not exist.
    """
    frames = len(pictures)
    check_queries(queries, frames)
    pixels = np.full((frames, len(queries), 2), np.nan)
    confidence = np.zeros((frames, len(queries)))
    on = carriers(queries, objects)
    known = np.isfinite(hand_px).all(axis=(1, 2))
    for number, (query, carrier) in enumerate(zip(queries, on, strict=True)):
        if carrier == HAND:
            pixels[:, number], confidence[:, number] = _on_hand(query, hand_px), known
        elif carrier is None:
            pixels[:, number], confidence[:, number] = query.pixel, _BY_TRACKS
    for carried in objects:
        numbers = [number for number, carrier in enumerate(on) if carrier == carried.name]
        if numbers:
            ride = _Ride(carried, hand_px)
            for number in numbers:
                pixels[:, number], confidence[:, number] = ride.follow(queries[number])
    visible = _visible(pictures, queries, on, objects, hand_px, pixels, progress)
    return PixelTracks(pixels, visible, np.where(visible, confidence, np.minimum(confidence, _BY_MASK)))


def carriers(queries: Sequence[TaskPointQuery], objects: Sequence[TrackedObject]) -> list[str | None]:
    """On what each query rides: "hand", an object's name, or None for what stands still.

    A part that is no tracked object rides on the object in whose mask it lies: the handle on the drawer.
    """
    names = {carried.name for carried in objects}
    found: list[str | None] = []
    for query in queries:
        if query.part == HAND or query.part in names:
            found.append(query.part)
        else:
            on = [carried.name for carried in objects if at_pixel(carried.masks[query.frame], query.pixel)]
            found.append(on[0] if on else None)
    return found


def _on_hand(query: TaskPointQuery, hand_px: FloatArray) -> FloatArray:
    """A point of the hand (T, 2) px: a key point, or what keeps its place to all of them."""
    if query.name in HAND_POINTS:
        return hand_px[:, HAND_POINTS[query.name]]
    known = np.flatnonzero(np.isfinite(hand_px).all(axis=(1, 2)))
    path = np.full((len(hand_px), 2), np.nan)
    if len(known):
        start = known[np.argmin(np.abs(known - query.frame))]
        for frame in known:
            path[frame] = query.pixel + similar_motion(hand_px[start], hand_px[frame], query.pixel[None])[0]
    return path


def object_path(carried: TrackedObject, hand_px: FloatArray, query: TaskPointQuery) -> FloatArray:
    """Way (T, 2) px of one point on an object, also where the object is hidden."""
    return _Ride(carried, hand_px).follow(query)[0]


class _Ride:
    """Carries points along with one object."""

    def __init__(self, carried: TrackedObject, hand_px: FloatArray) -> None:
        tracks = carried.tracks
        self._pixels, self._hand = tracks.pixels, hand_px
        self._seen = tracks.visible & np.isfinite(tracks.pixels).all(axis=-1)
        self._middle = mask_middles(carried)

    def follow(self, query: TaskPointQuery) -> tuple[FloatArray, FloatArray]:
        """Places (T, 2) px and how far to trust them (T,)."""
        frames = len(self._pixels)
        path, trust = np.full((frames, 2), np.nan), np.zeros(frames)
        path[query.frame], trust[query.frame] = query.pixel, _BY_TRACKS
        for order in (range(query.frame + 1, frames), range(query.frame - 1, -1, -1)):
            self._follow(order, query.frame, path, trust)
        return path, trust

    def _follow(self, order: Iterable[int], start: int, path: FloatArray, trust: FloatArray) -> None:
        reference = previous = masked = start
        for frame in order:
            both = self._seen[reference] & self._seen[frame]
            if both.sum() < max(_MIN_TRACKS, _KEPT_SHARE * self._seen[reference].sum()):
                reference = previous
                both = self._seen[reference] & self._seen[frame]
            if both.sum() >= _MIN_TRACKS:
                path[frame] = carried_by(self._pixels[reference, both], self._pixels[frame, both], path[reference])
                trust[frame] = _BY_TRACKS
            else:
                path[frame], trust[frame] = self._without_tracks(frame, previous, masked, path)
            if np.isfinite(self._middle[frame, 0]):
                masked = frame
            previous = frame

    def _without_tracks(self, frame: int, previous: int, masked: int, path: FloatArray) -> tuple[FloatArray, float]:
        """The place by the mask, by the hand that holds the object, or where it was."""
        shift = self._middle[frame] - self._middle[masked]
        if np.isfinite(shift).all():
            return path[masked] + shift, _BY_MASK
        before, after, at = self._hand[previous], self._hand[frame], path[previous]
        if np.isfinite(before).all() and np.isfinite(after).all():
            reach = _HELD_HAND_SIZES * float(hand_size_px(before))
            if np.linalg.norm(before - at, axis=-1).min() < reach:
                return at + similar_motion(before, after, at[None])[0], _BY_HAND
        return at, _BY_NOTHING


def mask_middles(carried: TrackedObject) -> FloatArray:
    """Middle (T, 2) px of what is seen of the object; NaN where nothing is."""
    middle = np.full((len(carried.masks), 2), np.nan)
    for frame in np.flatnonzero(carried.masks.origin == SEEN):
        (x, y), mask = carried.masks.cut_out(int(frame))
        rows, columns = np.nonzero(mask)
        if len(rows):
            middle[frame] = x + columns.mean(), y + rows.mean()
    return middle


def carried_by(before: FloatArray, after: FloatArray, point: FloatArray, rounds: int = 4) -> FloatArray:
    """Where a point (2,) px gets to that moves as its neighbours do, from (N, 2) to (N, 2) px.

    A robust fit whose weights fall with the distance from the point: shift, turn and zoom, and on top of it as much
    stretching as the spread of the neighbours supports. The stretching is what a turn out of the picture's plane looks like.
    """
    a, b, here = _as_complex(before), _as_complex(after), complex(*point)
    spread = max(float(np.sqrt(before.var(axis=0).sum())), 1.0)
    near = np.exp(-0.5 * np.abs(a - here) ** 2 / spread**2) + 1e-3
    weights = near / (1.0 + _first_misfit(a, b, near) ** 2)
    moved = here
    for _ in range(rounds):
        total = weights.sum()
        middle, target = weights @ a / total, weights @ b / total
        from_middle, to_target = a - middle, b - target
        weighted = weights * from_middle.conj()
        factor = (weighted @ to_target) / max((weighted @ from_middle).real, 1e-9)  # turn and zoom
        rest = to_target - factor * from_middle
        flat = from_middle.view(np.float64).reshape(-1, 2)
        weighted = (weights[:, None] * flat).T
        normal = weighted @ flat + total * _STIFFNESS_PX**2 * np.eye(2)
        stretch = np.linalg.solve(normal, weighted @ rest.view(np.float64).reshape(-1, 2))  # rows of points times this
        away = here - middle
        moved = target + factor * away + complex(*(np.array([away.real, away.imag]) @ stretch))
        error = np.abs(rest - _as_complex(flat @ stretch))
        weights = near / (1.0 + (error / max(_OUTLIER_PX, float(np.median(error)))) ** 2)
    return np.array([moved.real, moved.imag])


def _as_complex(places: FloatArray) -> ComplexArray:
    """Places (N, 2) as x + iy (N,), so that turn and zoom are a factor."""
    return np.ascontiguousarray(places, np.float64).view(np.complex128)[:, 0]


def _first_misfit(a: ComplexArray, b: ComplexArray, near: FloatArray) -> FloatArray:
    """(N,) how far each neighbour is off the median motion (turn, zoom and shift), in units of an outlier's error.

    Turn and zoom are medians over pairs of the nearest neighbours, nearer ones counting more, so that wrong ones cannot pull
    the fit to them.
    """
    near = near**0.65  # a wider neighbourhood than the fit's, in which wrong ones close by are a minority
    nearest = np.argsort(-near, kind="stable")[:_PAIRED]
    first, second = _pairs(len(nearest))
    apart = a[nearest[first]] - a[nearest[second]]
    far = np.abs(apart) > 1e-6
    factor = complex(1.0)
    if far.any():
        turns = (b[nearest[first]] - b[nearest[second]])[far] / apart[far]
        factor = _median(turns, (near[nearest[first]] * near[nearest[second]])[far])
    rest = b - factor * a
    error = np.abs(rest - _median(rest, near))
    return error / max(_OUTLIER_PX, float(np.median(error)))


@functools.cache
def _pairs(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the first and the second of all pairs."""
    first, second = np.triu_indices(count, 1)
    return first, second


def _median(values: ComplexArray, weights: FloatArray) -> complex:
    """Weighted median of real and imaginary parts."""
    parts = []
    for part in (values.real, values.imag):
        order = np.argsort(part)
        share = np.cumsum(weights[order])
        parts.append(float(part[order[np.searchsorted(share, 0.5 * share[-1])]]))
    return complex(*parts)


def _visible(
    pictures: FrameCache,
    queries: Sequence[TaskPointQuery],
    on: Sequence[str | None],
    objects: Sequence[TrackedObject],
    hand_px: FloatArray,
    pixels: FloatArray,
    progress: Callable[[], None],
) -> BoolArray:
    """Which points (T, K) nothing covers: an object's mask shows its points; what stands still must look as it did."""
    frames = len(pictures)
    shape = pictures.gray(0).shape[:2] if frames else (0, 0)
    standing = [number for number, carrier in enumerate(on) if carrier is None]
    patches = {number: _patch(pictures.gray(queries[number].frame), queries[number].pixel) for number in standing}
    visible = np.zeros(pixels.shape[:2], bool)
    for frame in range(frames):
        masks = {
            carried.name: carried.masks[frame] if carried.masks.origin[frame] == SEEN else np.zeros(carried.masks.shape, bool)
            for carried in objects
        }
        gray = pictures.gray(frame) if standing else np.zeros(shape, np.uint8)
        hand = hand_mask((shape[0], shape[1]), hand_px[frame], forearm=False)
        for number, carrier in enumerate(on):
            pixel = pixels[frame, number]
            if not np.isfinite(pixel).all() or not ((pixel >= 0) & (pixel <= np.array(shape[::-1]) - 1)).all():
                continue
            if carrier == HAND:
                visible[frame, number] = not any(_around(mask, pixel).all() for mask in masks.values())
            elif carrier is not None:
                visible[frame, number] = bool(_around(masks[carrier], pixel).any())
            else:
                covered = at_pixel(hand, pixel) or any(at_pixel(mask, pixel) for mask in masks.values())
                visible[frame, number] = not covered and _looks_alike(patches[number], _patch(gray, pixel))
        progress()
    return visible


def _around(mask: BoolArray, pixel: FloatArray) -> BoolArray:
    """The part of a mask (h, w) within `_NEAR_MASK_PX` of a pixel inside it."""
    x, y = (round(float(value)) for value in pixel)
    rows = slice(max(0, y - _NEAR_MASK_PX), y + _NEAR_MASK_PX + 1)
    return mask[rows, max(0, x - _NEAR_MASK_PX) : x + _NEAR_MASK_PX + 1]


def _patch(gray: NDArray[np.uint8], pixel: FloatArray) -> FloatArray:
    """The surroundings of a pixel; at the picture's edge its outermost pixels are repeated."""
    half = _PATCH_PX // 2
    x, y = (round(float(value)) for value in pixel)
    rows = np.clip(np.arange(y - half, y + half + 1), 0, gray.shape[0] - 1)
    columns = np.clip(np.arange(x - half, x + half + 1), 0, gray.shape[1] - 1)
    return gray[rows[:, None], columns[None]].astype(np.float64)


def _looks_alike(before: FloatArray, after: FloatArray) -> bool:
    """Whether two patches show the same, in whatever light."""
    if max(before.std(), after.std()) < _PLAIN_GREY_LEVELS:
        return bool(abs(before.mean() - after.mean()) < _SAME_GREY_LEVELS)
    a, b = before - before.mean(), after - after.mean()
    return bool((a * b).sum() > _ALIKE * max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-9))
