"""Finds the moved object by points that go along with the hand: the second way, where nothing rests in full view.

Drawers are found so: their fronts are of the cabinet's colour, and the hand never leaves them. Arm and shadow go along with the
hand as well; the arm is known by its colours, a shadow by those of what it falls on. Coordinates are px of the kept pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from demos.extract.flow import track_points
from demos.extract.hand.follow import hand_size_px
from demos.extract.objects.cut_out import grab_cut, largest_piece, outline_of
from demos.extract.objects.masks import ObjectSeed, good_points, hand_mask, inside_mask, similar_motion
from demos.extract.objects.scene import StaticScene, colour_distance
from demos.extract.objects.segment import ColourModel, colour_index
from demos.extract.objects.shadows import explained_by_scene
from demos.interaction import FINGERTIPS
from demos.video import FrameCache

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Picture = NDArray[np.uint8]

_KNUCKLES = (5, 9, 13, 17)
_WINDOW_S = 0.33  # long enough for a motion to rise above the noise, short enough for points to be followed
_MAX_STEPS = 6  # from picture to picture in a window
_MAX_WINDOWS = 20
_MIN_MOTION = 0.35  # hand sizes within a window
_REACH = 3.5  # the object is looked for within so many hand sizes
_MIN_POINTS = 6
_MAX_CANDIDATES = 4
_LOOK_STRIDE = 2  # frames; every second is enough to see what stands still
_LOOK_AROUND_S = 6.0  # how far around a candidate its being let go is looked for
_FAR = 1.2  # hand sizes between fingertips and the nearest point of an object
_GAP = 2.0  # hand sizes between neighbouring points of an object
_MIN_AREA = 60  # px
_CHANGED = 22.0  # levels
_INSIDE = 0.1  # of its size, how far from the rim of their hull the points' thing is sure
_ASIDE_PX, _ASIDE = 0.7, 0.02  # px, and share of the way, that points of one thing leave their common motion
_AROUND = 0.8  # hand sizes around the points in which the object's other parts are looked for


@dataclasses.dataclass(frozen=True)
class Comoving:
    """Points that go along with the hand from one picture to another.

    Attributes:
        start: number of the first picture.
        end: number of the other one.
        first: (N, 2) px in the first.
        last: (N, 2) px in the other.
    """

    start: int
    end: int
    first: FloatArray
    last: FloatArray


Accept = Callable[[Comoving], BoolArray]


def find_comoving(
    cache: FrameCache, hand: FloatArray, known: BoolArray, fps: float, accept: Accept | None = None
) -> Comoving | None:
    """The object by itself: points near the hand, off hand and forearm, that move as the hand does.

    Args:
        cache: T pictures.
        hand: (T, 21, 2) px.
        known: (T,) frames in which the hand was really seen.
        fps: of the T frames.
        accept: says which points may lie on an object at all (N,).

    Returns:
        The points where the evidence is clearest, or None where nothing moves along.
    """
    length = max(2, round(_WINDOW_S * fps))
    parts = [
        part for start in _moving_windows(hand, known, length) for part in _comoving_parts(cache, hand, start, length, accept)
    ]
    if len({part.start for part in parts}) < 2:
        return None
    candidates = sorted(parts, key=lambda part: -len(part.first))[:_MAX_CANDIDATES]
    # a sleeve moves with the hand as well, but it never lets go of it
    around = round(_LOOK_AROUND_S * fps)
    free = [int(_free_points(cache, hand, part, length, around).sum()) for part in candidates]
    best = max(range(len(free)), key=lambda i: (free[i] >= _MIN_POINTS, len(candidates[i].first) + free[i]))
    return candidates[best]


@dataclasses.dataclass(frozen=True)
class ArmColours:
    """Colours of hand and arm, beside those of what stands still.

    Attributes:
        arm: of hand, skin and sleeve; where the hand holds something, of that as well.
        still: of the scene.
    """

    arm: ColourModel
    still: ColourModel

    @classmethod
    def of_clip(cls, cache: FrameCache, hand: FloatArray, scene: StaticScene) -> ArmColours:
        """From what differs from the scene where hand and forearm (T, 21, 2) px are."""
        arm, still = ColourModel(), ColourModel()
        seen: list[Picture] = []
        for frame in scene.frames[::2].tolist():
            picture = cache.rgb(frame)
            moved = np.minimum(colour_distance(picture, scene.early), colour_distance(picture, scene.late)) > _CHANGED
            seen.append(picture[(hand_mask(scene.shape, hand[frame], 0.08) > 0) & moved][::7])
        arm.learn(np.concatenate(seen), 1.0)
        still.learn(np.concatenate([scene.early[::3, ::2].reshape(-1, 3), scene.late[::3, ::2].reshape(-1, 3)]), 1.0)
        return cls(arm, still)

    def most_of(self, picture: Picture) -> Picture:
        """Where much of the surroundings in a picture (h, w, 3) has rather the arm's colours (h, w)."""
        index = colour_index(picture)
        return _most(self.arm.density(index) > self.still.density(index), 7, 0.35)


def no_arm_and_shadow(cache: FrameCache, scene: StaticScene, colours: ArmColours | None) -> Accept:
    """Refuses points that a shadow explains at both ends of their way, and those that have the arm's colours, if given."""

    def accept(part: Comoving) -> BoolArray:
        before, after = cache.rgb(part.start), cache.rgb(part.end)
        shade = _most(explained_by_scene(scene, before), 9, 0.85), _most(explained_by_scene(scene, after), 9, 0.85)
        shaded = inside_mask(shade[0], part.first) & inside_mask(shade[1], part.last)
        return ~shaded if colours is None else ~shaded & ~inside_mask(colours.most_of(before), part.first)

    return accept


def _most(mask: BoolArray, side_px: int, share: float) -> Picture:
    """Where more than a share of the surroundings belongs to a mask (h, w)."""
    import cv2

    return (cv2.blur(mask.astype(np.float32), (side_px, side_px)) > share).astype(np.uint8)


def seed_of_points(cache: FrameCache, part: Comoving, hand: FloatArray, scene: StaticScene, colours: ArmColours) -> ObjectSeed:
    """The thing to which the points belong: what is between and around them, has their colours and is not the hand.

    Args:
        cache: T kept pictures.
        part: the points that move alike.
        hand: (T, 21, 2) px of the pictures; NaN where unknown.
        scene: behind the hand and the thing.
        colours: of the arm.
    """
    import cv2

    frame, points = part.end, part.last
    picture, size = cache.rgb(frame), float(hand_size_px(hand[frame]))
    corners = np.round(points).astype(np.int32)
    hull = np.zeros(scene.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(corners), (1,))
    near = cv2.dilate(hull, _disc(_AROUND * size))
    covered = hand_mask(scene.shape, hand[frame]) > 0
    changed = (colour_distance(picture, scene.early) > _CHANGED) & ~explained_by_scene(scene, picture)
    changed &= colours.most_of(picture) == 0
    label = np.full(scene.shape, cv2.GC_BGD, np.uint8)
    label[near > 0] = cv2.GC_PR_BGD
    label[(near > 0) & changed | (hull > 0)] = cv2.GC_PR_FGD
    label[cv2.erode(hull, _disc(_INSIDE * float(np.sqrt(hull.sum())))) > 0] = cv2.GC_FGD
    label[covered] = cv2.GC_BGD
    for x, y in corners[~inside_mask(covered.astype(np.uint8), points)].tolist():
        cv2.circle(label, (x, y), 2, (cv2.GC_FGD,), -1)
    box = _box_of(near > 0, 6)
    mask = np.zeros(scene.shape, bool)
    mask[box] = grab_cut(picture[box], label[box], 3)
    mask = largest_piece(mask) & ~covered
    if mask.sum() < _MIN_AREA or inside_mask(mask.astype(np.uint8), points).mean() < 0.3:
        return ObjectSeed(frame, cv2.convexHull(corners).reshape(-1, 2).astype(float), points, "motion")
    return ObjectSeed(frame, outline_of(mask), points, "motion", mask)


def _together(part: Comoving) -> BoolArray:
    """Which points move as one piece (N,): what arm and shadow add to it moves a little differently."""
    import cv2

    if len(part.first) < _MIN_POINTS:
        return np.ones(len(part.first), bool)
    travelled = float(np.median(np.linalg.norm(part.last - part.first, axis=-1)))
    cv2.setRNGSeed(0)
    motion, inlier = cv2.estimateAffine2D(part.first, part.last, ransacReprojThreshold=_ASIDE_PX + _ASIDE * travelled)
    return np.ones(len(part.first), bool) if motion is None else inlier.ravel() > 0


def _disc(radius: float) -> Picture:
    import cv2

    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _box_of(mask: BoolArray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of a mask (h, w) that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


def _moving_windows(hand: FloatArray, known: BoolArray, length: int) -> list[int]:
    """First frames of the windows in which the hand moves most, not overlapping by more than half."""
    starts = np.arange(0, max(len(hand) - length, 0), max(1, length // 2))
    palm = hand[:, [0, *_KNUCKLES]].mean(axis=1)
    motion = np.linalg.norm(palm[starts + length] - palm[starts], axis=-1) / hand_size_px(hand[starts])
    usable = (motion > _MIN_MOTION) & known[starts] & known[starts + length]
    order = starts[usable][np.argsort(-motion[usable])]
    return sorted(order[:_MAX_WINDOWS].tolist())


def _comoving_parts(cache: FrameCache, hand: FloatArray, start: int, length: int, accept: Accept | None) -> list[Comoving]:
    """Groups of points next to the hand that follow its motion over the window."""
    gray = cache.gray(start)
    size = float(hand_size_px(hand[start]))
    first = good_points(gray, _reach_mask((gray.shape[0], gray.shape[1]), hand[start], size), 300, max(3.0, 0.08 * size))
    points, alive = first, np.ones(len(first), bool)
    for frame in np.unique(np.linspace(start, start + length, min(length, _MAX_STEPS) + 1).round().astype(int))[1:].tolist():
        after = cache.gray(frame)
        points, error = track_points(gray, after, points)
        covered = hand_mask((after.shape[0], after.shape[1]), hand[frame], forearm=False)
        alive &= (error < 1.0) & ~inside_mask(covered, points)
        gray = after
    moved = points - first
    expected = similar_motion(hand[start], hand[start + length], first)
    travelled = np.linalg.norm(expected, axis=-1)
    along = alive & (np.linalg.norm(moved - expected, axis=-1) < 0.3 * travelled + 1.0) & (travelled > 3.0)
    found = Comoving(start, start + length, first[along], points[along])
    if accept is not None and along.any():
        good = accept(found)
        found = Comoving(start, start + length, found.first[good], found.last[good])
    return _parts_at_fingertips(found, hand[start], size)


def _reach_mask(shape: tuple[int, int], hand: FloatArray, size: float) -> Picture:
    import cv2

    region = np.zeros(shape, np.uint8)
    x, y = np.round(hand[list(FINGERTIPS)].mean(axis=0)).astype(int)
    cv2.circle(region, (int(x), int(y)), round(_REACH * size), (255,), -1)
    region[hand_mask(shape, hand) > 0] = 0
    return region


def _parts_at_fingertips(found: Comoving, hand: FloatArray, size: float) -> list[Comoving]:
    """The connected groups (gaps below `_GAP` hand sizes) of points that come near the fingertips."""
    points = found.first
    near = np.linalg.norm(points[:, None] - points[None], axis=-1) < _GAP * size
    to_tips = np.linalg.norm(points[:, None] - hand[list(FINGERTIPS)][None], axis=-1).min(axis=1)
    left, parts = np.ones(len(points), bool), []
    while left.any():
        group = np.zeros(len(points), bool)
        group[np.flatnonzero(left)[0]] = True
        while (grown := near[group].any(axis=0)).sum() > group.sum():
            group = grown
        left &= ~group
        part = Comoving(found.start, found.end, points[group], found.last[group])
        one = _together(part)
        if one.sum() >= _MIN_POINTS and to_tips[group][one].min() < _FAR * size:
            parts.append(Comoving(found.start, found.end, part.first[one], part.last[one]))
    return parts


def _free_points(cache: FrameCache, hand: FloatArray, part: Comoving, length: int, around: int) -> BoolArray:
    """Which of the points stand still at some time within `around` frames of the start while the hand moves (N,)."""
    still = np.zeros(len(part.first), int)
    steps = max(1, length // _LOOK_STRIDE)
    for sign in (-1, 1):
        points, past, alive, gray = part.first, [part.first], np.ones(len(part.first), bool), cache.gray(part.start)
        for count in range(1, around // _LOOK_STRIDE):
            frame = part.start + sign * count * _LOOK_STRIDE
            if not 0 <= frame < len(hand):
                break
            after = cache.gray(frame)
            points, error = track_points(gray, after, points)
            covered = hand_mask((after.shape[0], after.shape[1]), hand[frame], forearm=False)
            alive &= (error < 1.0) & ~inside_mask(covered, points)
            if alive.sum() < 4 or (still >= 3).sum() > 0.8 * alive.sum():
                break
            past, gray = [*past[-steps:], points], after
            old = frame - sign * steps * _LOOK_STRIDE
            if len(past) <= steps or not 0 <= old < len(hand):
                continue
            travelled = np.linalg.norm(hand[frame].mean(axis=0) - hand[old].mean(axis=0))
            if travelled > _MIN_MOTION * hand_size_px(hand[frame]):
                still += alive & (np.linalg.norm(points - past[0], axis=-1) < 0.1 * travelled)
    return still >= 3
