"""The `motion` backend: who touches what, and where it goes, says which points matter.

Hand and moved object always. A thing that follows the hand along a straight line is taken as articulated: it has a handle, and
beside it stands what it slides out of. Anything else goes somewhere: to a target, where it comes to rest, or into or over a
container, where it disappears or is held until the end. Further objects that the user named get their ends and middle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demos.extract.hand.follow import hand_size_px
from demos.extract.objects.masks import good_points, hand_mask
from demos.extract.objects.object_masks import SEEN
from demos.extract.task_points.follow import object_path
from demos.extract.task_points.region import find_container, still_picture
from demos.extract.task_points.task_points import (
    HAND,
    HAND_POINTS,
    OBJECT_CENTROID,
    TARGET,
    TaskPointQuery,
    TrackedObject,
    at_pixel,
)
from demos.interaction import BoolArray, FloatArray
from demos.runs import runs
from demos.video import FrameCache

CONTAINER, HANDLE, FRAME = "container", "handle", "frame"
_LOOKED_AT = 60  # frames in which an object's mask is looked at
_CLEAR_SHARE = 0.9  # of its largest area: nothing covers the object
_GRIP = (4, 8, 12)  # tips of thumb, index and middle finger
_STRAIGHT_SHARE = 0.06  # of its length, that an articulated path leaves the straight line
_MIN_WAY_OBJECTS = 0.25  # a shorter path, in object sizes, says nothing
_VANISHED_SHARE = 0.6  # of the object's area that is left in a container
_END_SHARE = 0.2  # top and base are seen from above: their middles lie this part of the width within the outline
_AT_HAND_SIZES = 0.5  # fingertips that hold an object are so near to what is seen of it
_POUR_HAND_SIZES = (0.4, 1.0)  # how far from an object's end what it pours into is looked for
_NOT_ABOVE = -0.1  # downward part of a direction
_MASK_MARGIN_PX = 9
_SETTLE_S = 0.3
_STILL_OBJECTS = 0.4  # object sizes that a resting object seems to move


@dataclasses.dataclass(frozen=True)
class MotionProposer:
    """Picks the points from motion and contact alone; nothing leaves the machine."""

    def propose(
        self,
        pictures: FrameCache,
        hand_px: FloatArray,
        objects: Sequence[TrackedObject],
        contact: BoolArray,
        fps: float,
        task: str | None,
    ) -> list[TaskPointQuery]:
        """The points, as `Proposer` says; `task` is not used."""
        queries = basic_queries(hand_px, objects, contact)
        if not objects:
            return queries
        moved = objects[0]
        start, end = longest_contact(contact)
        middle = next((query for query in queries if query.name == OBJECT_CENTROID), None)
        if middle is not None:
            path = object_path(moved, hand_px, middle)
            queries += _object_points(moved, middle.frame, _grip_px(hand_px, path, start, fps))
            size = _object_size_px(moved.masks[middle.frame])
            rests = _rests(moved, path, end, fps, size)
            if rests and is_straight(path[start:end], size):
                queries += _articulated_points(pictures, moved, middle, path, hand_px, start, fps)
            else:
                queries += _destination(pictures, moved, path, hand_px, (start, end), rests)
        for further in objects[1:]:
            queries += _further_points(further)
        return queries


def basic_queries(hand_px: FloatArray, objects: Sequence[TrackedObject], contact: BoolArray) -> list[TaskPointQuery]:
    """Wrist, fingertips and the middle of the moved object, which every result has where they are known at all.

    Args:
        hand_px: (T, 21, 2) px; NaN where unknown.
        objects: the moved one first.
        contact: (T,) whether the hand touches it.
    """
    queries = []
    start, _ = longest_contact(contact)
    known = np.flatnonzero(np.isfinite(hand_px).all(axis=(1, 2)))
    if len(known):
        frame = int(known[np.argmin(np.abs(known - start))])
        queries = [TaskPointQuery(name, HAND, frame, hand_px[frame, index]) for name, index in HAND_POINTS.items()]
    if objects:
        frame = clear_frame(objects[0], start)
        if frame is not None:
            rows, columns = np.nonzero(objects[0].masks[frame])
            middle = np.array([columns.mean(), rows.mean()])
            queries.append(TaskPointQuery(OBJECT_CENTROID, objects[0].name, frame, middle, inside=True))
    return queries


def longest_contact(contact: BoolArray) -> tuple[int, int]:
    """The longest stretch (start, end) of contact, half open; without any, the whole clip."""
    return max(runs(contact), key=lambda run: run[1] - run[0], default=(0, len(contact)))


def clear_frame(carried: TrackedObject, start: int) -> int | None:
    """A frame that shows the object whole, as near to frame `start` as can be, better before it than after."""
    seen = np.flatnonzero(carried.masks.origin == SEEN)
    if not len(seen):
        return None
    looked = _some(seen)
    area = np.array([carried.masks[int(frame)].sum() for frame in looked])
    before = looked < start
    if (area[before] > 0.5 * area.max()).any():
        looked, area = looked[before], area[before]
    whole = looked[area >= _CLEAR_SHARE * np.percentile(area, 90)]
    return int(whole[np.argmin(np.abs(whole - start))])


def is_straight(path: FloatArray, size_px: float) -> bool:
    """Whether a path (N, 2) px goes along one line, without turning back, over a way that says something."""
    if len(path) < 3:
        return False
    way = path[-1] - path[0]
    length = float(np.linalg.norm(way))
    if length < _MIN_WAY_OBJECTS * size_px:
        return False
    along = way / length
    aside = np.abs((path - path[0]) @ np.array([-along[1], along[0]]))
    forth = (path - path[0]) @ along
    back = float((np.maximum.accumulate(forth) - forth).max())
    return float(np.percentile(aside, 95)) < _STRAIGHT_SHARE * length and back < _STRAIGHT_SHARE * length


def _object_size_px(mask: BoolArray) -> float:
    return float(np.sqrt(max(int(mask.sum()), 1)))


def _grip_px(hand_px: FloatArray, path: FloatArray, start: int, fps: float) -> tuple[int, FloatArray]:
    """Frame and pixel (2,) of the grip, as the fingertips say once they have settled."""
    last = len(hand_px) - 1
    frame = min(start + round(0.15 * fps), last)
    grip = hand_px[frame, list(_GRIP)].mean(axis=0)
    return frame, grip if np.isfinite(grip).all() else path[frame]


def _object_points(moved: TrackedObject, frame: int, grip: tuple[int, FloatArray]) -> list[TaskPointQuery]:
    """Ends of the moved object and where it is gripped."""
    top, bottom = _top_and_base(moved.masks[frame])
    return [
        TaskPointQuery("object_top", moved.name, frame, top, inside=True),
        TaskPointQuery("object_bottom", moved.name, frame, bottom, inside=True),
        TaskPointQuery("object_grasp", moved.name, *grip),
    ]


def _upper_and_lower(mask: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Highest and lowest pixels (2,) of a mask, the middles of its outermost rows."""
    rows, columns = np.nonzero(mask)
    low, high = np.percentile(rows, (3, 97))
    return (
        np.array([columns[rows <= low].mean(), rows.min()]),
        np.array([columns[rows >= high].mean(), rows.max()]),
    )


def _top_and_base(mask: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Middles (2,) px of the top and of the base of a thing that stands upright; of another one its ends."""
    rows, columns = np.nonzero(mask)
    within = _END_SHARE * min(float(np.ptp(columns)), float(np.ptp(rows)))
    top, base = np.array([columns.mean(), rows.min() + within]), np.array([columns.mean(), rows.max() - within])
    upright = at_pixel(mask, top) and at_pixel(mask, base)
    return (top, base) if upright else _upper_and_lower(mask)


def _articulated_points(
    pictures: FrameCache,
    moved: TrackedObject,
    middle: TaskPointQuery,
    path: FloatArray,
    hand_px: FloatArray,
    start: int,
    fps: float,
) -> list[TaskPointQuery]:
    """The handle where it is gripped, the ends of the moving front across its way, and what stands still beside them."""
    frame, grip = _grip_px(hand_px, path, start, fps)
    queries = [TaskPointQuery(HANDLE, moved.name, frame, grip)]
    mask = moved.masks[middle.frame]
    rows, columns = np.nonzero(mask)
    left, right = columns <= np.percentile(columns, 3), columns >= np.percentile(columns, 97)
    ends = {name: np.array([columns[end].mean(), rows[end].min()]) for name, end in (("left", left), ("right", right))}
    queries += [TaskPointQuery(f"front_{name}", moved.name, middle.frame, pixel) for name, pixel in ends.items()]
    for name, pixel in ends.items():
        beside = _still_corner(pictures, moved, middle.frame, pixel, hand_px)
        if beside is not None:
            queries.append(TaskPointQuery(f"{FRAME}_{name}", FRAME, middle.frame, beside))
    return queries


def _still_corner(
    pictures: FrameCache, moved: TrackedObject, frame: int, end: FloatArray, hand_px: FloatArray
) -> FloatArray | None:
    """The clearest corner (2,) px near an end of the moving front, off the object, that looks the same in the last frame."""
    gray, last = pictures.gray(frame), pictures.gray(len(pictures) - 1)
    shape = (gray.shape[0], gray.shape[1])
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    reach = 0.6 * _object_size_px(moved.masks[frame])
    region = np.where(np.hypot(columns - end[0], rows - end[1]) < reach, 255, 0).astype(np.uint8)
    for shown in (frame, len(pictures) - 1):
        region[moved.masks[shown]] = 0
        region[hand_mask(shape, hand_px[shown]) > 0] = 0
    region[np.abs(gray.astype(int) - last.astype(int)) > 20] = 0
    corners = good_points(gray, region, 1)
    return corners[0] if len(corners) else None


def _destination(
    pictures: FrameCache,
    moved: TrackedObject,
    path: FloatArray,
    hand_px: FloatArray,
    held: tuple[int, int],
    rests: bool,
) -> list[TaskPointQuery]:
    """Where the object goes: the place on which it rests, or the container in or over which it is seen last."""
    start, end = held
    seen = np.flatnonzero(moved.masks.origin == SEEN)
    last = int(seen[-1]) if len(seen) else len(path) - 1
    if rests:
        return [_target(moved, last, start, hand_px)]
    arrival = path[last]
    released = end < len(path) - 1 and not _in_hand(moved.masks[last], hand_px[last])
    if not released and is_straight(path[start:end], 0.0):  # lifted, and held up
        return []
    size = float(np.nanmedian(hand_size_px(hand_px)))
    arrivals = (
        [arrival, _middle_of(moved.masks[last], arrival)] if released else _poured_at(moved.masks[last], hand_px[last], arrival)
    )
    found = find_container(still_picture(pictures, lambda frame: _hidden(moved, hand_px, frame)), arrivals, size)
    frame = _uncovered(moved, hand_px, arrival, start)
    if found is None:
        return [TaskPointQuery(TARGET, TARGET, frame, arrival)] if released else []
    points = {
        TARGET: found.middle,
        f"{CONTAINER}_rim_left": found.left,
        f"{CONTAINER}_rim_right": found.right,
        f"{CONTAINER}_rim_far": found.far,
        f"{CONTAINER}_rim_near": found.near,
        f"{CONTAINER}_base": found.base,
    }
    return [TaskPointQuery(name, CONTAINER, frame, pixel) for name, pixel in points.items()]


def _middle_of(mask: BoolArray, otherwise: FloatArray) -> FloatArray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()]) if len(rows) else otherwise


def _in_hand(mask: BoolArray, hand: FloatArray) -> bool:
    """Whether fingertips of the hand (21, 2) px are at an object (h, w): a turned object may seem to have left the hand."""
    rows, columns = np.nonzero(mask)
    if not len(rows) or not np.isfinite(hand).all():
        return False
    pixels = np.stack([columns, rows], axis=-1)[:: max(1, len(rows) // 500)]
    gap = np.linalg.norm(hand[list(_GRIP)][:, None] - pixels[None], axis=-1).min(axis=1)
    return bool(np.median(gap) < _AT_HAND_SIZES * hand_size_px(hand))


def _poured_at(mask: BoolArray, hand: FloatArray, middle: FloatArray) -> list[FloatArray]:
    """Pixels (2,) around a held object (h, w), away from the hand (21, 2) px and not above it, where it may pour into."""
    rows, columns = np.nonzero(mask)
    if not len(rows) or not np.isfinite(hand).all():
        return [middle]
    pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
    away = np.arctan2(*(middle - hand.mean(axis=0))[::-1])
    found = []
    for angle in away + np.radians([0.0, -30.0, 30.0, -60.0, 60.0]):
        direction = np.array([np.cos(angle), np.sin(angle)])
        if direction[1] > _NOT_ABOVE:
            along = pixels @ direction
            end = pixels[along >= np.percentile(along, 99)].mean(axis=0)
            found += [end + share * float(hand_size_px(hand)) * direction for share in _POUR_HAND_SIZES]
    inside = np.array(mask.shape[::-1]) - 1
    return [pixel for pixel in found if (pixel >= 0).all() and (pixel <= inside).all()] or [middle]


def _hidden(moved: TrackedObject, hand_px: FloatArray, frame: int) -> BoolArray:
    """Where (h, w) hand or moved object hide the scene, with a margin for what their masks leave out."""
    import cv2

    hiding = moved.masks[frame].astype(np.uint8) | hand_mask(moved.masks.shape, hand_px[frame])
    return cv2.dilate(hiding, np.ones((_MASK_MARGIN_PX,) * 2, np.uint8)) > 0


def _rests(moved: TrackedObject, path: FloatArray, end: int, fps: float, size_px: float) -> bool:
    """Whether the object lies still and uncovered by anything at the end of the clip, after it was let go."""
    frames = np.arange(len(path))
    settled = frames >= min(end + round(_SETTLE_S * fps), len(path))
    seen = moved.masks.origin == SEEN
    if (settled & seen).sum() < max(2, 0.5 * settled.sum()):
        return False
    area = {
        late: np.median([moved.masks[int(frame)].sum() for frame in _some(np.flatnonzero(seen & (settled == late)))] or [0.0])
        for late in (False, True)
    }
    moves = float(np.linalg.norm(np.ptp(path[settled & seen], axis=0)))
    return bool(area[True] > _VANISHED_SHARE * area[False]) and moves < _STILL_OBJECTS * size_px


def _some(frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `_LOOKED_AT` of the frames, spread evenly."""
    return frames[np.unique(np.linspace(0, max(len(frames) - 1, 0), min(_LOOKED_AT, len(frames))).astype(int))]


def _target(moved: TrackedObject, frame: int, start: int, hand_px: FloatArray) -> TaskPointQuery:
    """The middle of the place on which the object rests in a frame, asked for while nothing is on it yet."""
    _, pixel = _top_and_base(moved.masks[frame])
    return TaskPointQuery(TARGET, TARGET, _uncovered(moved, hand_px, pixel, start), pixel)


def _uncovered(moved: TrackedObject, hand_px: FloatArray, pixel: FloatArray, start: int) -> int:
    """A frame before the grasp in which neither hand nor object is before a pixel (2,), as early as can be; else the first."""
    x, y = (round(float(value)) for value in pixel)
    for frame in range(start + 1):
        shape = moved.masks.shape
        covering = moved.masks[frame] | (hand_mask(shape, hand_px[frame]) > 0)
        if 0 <= y < shape[0] and 0 <= x < shape[1] and not covering[y, x]:
            return frame
    return 0


def _further_points(further: TrackedObject) -> list[TaskPointQuery]:
    """Middle and outermost points of an object that the user named beside the moved one."""
    frame = clear_frame(further, 0)
    if frame is None:
        return []
    rows, columns = np.nonzero(further.masks[frame])
    top, bottom = _upper_and_lower(further.masks[frame])
    left, right = int(np.argmin(columns)), int(np.argmax(columns))
    places: dict[str, FloatArray | NDArray[np.int64]] = {
        "top": top,
        "bottom": bottom,
        "left": np.array([columns[left], rows[left]]),
        "right": np.array([columns[right], rows[right]]),
    }
    middle = np.array([columns.mean(), rows.mean()])
    queries = [TaskPointQuery(f"{further.name}_centroid", further.name, frame, middle, inside=True)]
    for place, pixel in places.items():
        queries.append(TaskPointQuery(f"{further.name}_{place}", further.name, frame, np.asarray(pixel, np.float64)))
    return queries
