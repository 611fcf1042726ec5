"""Finds the moved object by what belongs to the resting scene and then goes along with the hand, or goes along to its rest.

Arm, sleeve and shadow go along with the hand as well, but where they are the scene is covered: only what is seen as it rests,
and then leaves with the hand, is taken by it. That finds things of the arm's colours, whole things where only a part stands
out, and drawers of their cabinet's colours. Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.extract.hand.follow import hand_size_px
from demos.extract.objects.cut_out import grab_cut, largest_piece, outline_of
from demos.extract.objects.masks import ObjectSeed, hand_mask
from demos.extract.objects.scene import StaticScene, colour_distance, dot_colours
from demos.interaction import FINGERTIPS
from demos.video import FrameCache

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Picture = NDArray[np.uint8]

_PALM = (0, 5, 9, 13, 17)
_LONGEST_S = 0.8  # in which a motion begins and rises above the noise
_STILL_S = 0.2  # before it, in which the hand closes
_MIN_MOTION = 0.35  # hand sizes
_MOST_WINDOWS = 8  # that begin with the hand at rest, and that end so
_ELSEWHERE = 0.8  # hand sizes
_UNCHANGED = 24.0  # levels from the colour that the scene has there
_ALIKE, _ALIKE_PX = 0.35, 1.5  # share of the way, and px, that a pixel's motion differs from the hand's
_ASIDE, _ASIDE_PX = 0.04, 1.0  # share of the way, and px, that it differs from the thing's
_MOST_FITTED = 2000  # pixels to which a thing's motion is fitted
_SHADES = (0.35, 1.3)  # of a surface's own brightness, that shadows which come and go leave it
_SAME = 18.0  # levels; a nearer colour is found again
_CLEARER = 8.0  # levels by which one explanation of a pixel is better than the other
_REACH = 2.5  # hand sizes around the fingertips in which the object is looked for
_NEAR = 0.6  # hand sizes between fingertips and the object
_TAKEN_WORTH = 1.5  # a thing that is put down brings its shadow along
_TOGETHER = 0.5  # hand sizes between parts of a thing
_AROUND = 0.6  # hand sizes around what surely moved, in which the object's other parts are looked for
_LEAST = 0.03  # of a squared hand size, that surely moved
_MIN_AREA = 60  # px


@dataclasses.dataclass(frozen=True)
class Departing:
    """What rests in one picture and has gone along with the hand in another, earlier or later one.

    Attributes:
        rest: number of the picture in which it rests.
        away: of the other one.
        sure: (h, w) bool, pixels of the first that surely went along.
        likely: (h, w) bool, pixels that may have.
        stays: (h, w) bool, pixels that surely stayed.
        share: of a squared hand size that surely went along.
    """

    rest: int
    away: int
    sure: BoolArray
    likely: BoolArray
    stays: BoolArray
    share: float

    @property
    def taken(self) -> bool:
        """Whether it is taken away, not brought."""
        return self.away > self.rest


def find_departing(cache: FrameCache, hand: FloatArray, known: BoolArray, fps: float, scene: StaticScene) -> Departing | None:
    """What goes along with the hand from its rest, or to it, where that is clearest; None where hardly anything does.

    Args:
        cache: T pictures.
        hand: (T, 21, 2) px.
        known: (T,) frames in which the hand was really seen.
        fps: of the T frames.
        scene: of this clip.
    """
    import cv2

    found = [_gone_along(cache, hand, scene, rest, away) for rest, away in _windows(hand, known, fps)]
    parts = [part for part in found if part is not None]
    if not parts:
        return None
    best = max(parts, key=lambda part: part.share * (_TAKEN_WORTH if part.taken else 1.0))
    # other pictures show more of the same thing while it rests
    reach = 2 * max(1, round(_TOGETHER * float(hand_size_px(hand[best.rest])))) + 1
    near = cv2.dilate(best.sure.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    same = [part for part in parts if part.taken == best.taken and near[part.sure].mean() > 0.5]
    sure, likely = (np.any([getattr(part, name) for part in same], axis=0) for name in ("sure", "likely"))
    stays = np.mean([part.stays for part in same], axis=0) > 0.5
    return dataclasses.replace(best, sure=sure, likely=likely, stays=stays & ~likely)


def seed_of_departing(cache: FrameCache, part: Departing, hand: FloatArray, scene: StaticScene) -> ObjectSeed | None:
    """The thing that went along, in a frame in which it rests and the hand (T, 21, 2) px hides least of it."""
    import cv2

    scenery, size = scene.early if part.taken else scene.late, float(hand_size_px(hand[part.rest]))
    reach = 2 * max(1, round(_AROUND * size)) + 1
    near = cv2.dilate(part.sure.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0
    label = np.full(scene.shape, cv2.GC_BGD, np.uint8)
    label[near] = cv2.GC_PR_BGD
    label[near & part.likely] = cv2.GC_PR_FGD
    label[near & part.stays] = cv2.GC_BGD
    label[part.sure | (_between(part.sure) & part.likely)] = cv2.GC_FGD  # a plain front shows its motion at the rim alone
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    box = (slice(max(0, rows[0] - 6), rows[-1] + 7), slice(max(0, columns[0] - 6), columns[-1] + 7))
    whole = np.zeros(scene.shape, bool)
    whole[box] = grab_cut(scenery[box], label[box], 3)
    whole = largest_piece(whole)
    best, mask = part.rest, np.zeros(scene.shape, bool)
    for frame in scene.frames[scene.frames <= part.rest if part.taken else scene.frames >= part.rest].tolist():
        free = whole & (colour_distance(cache.rgb(frame), scenery) < _UNCHANGED) & (hand_mask(scene.shape, hand[frame]) == 0)
        if free.sum() > mask.sum():
            best, mask = frame, free
    mask = largest_piece(mask)
    return ObjectSeed(best, outline_of(mask), np.zeros((0, 2)), "motion", mask) if mask.sum() >= _MIN_AREA else None


def _between(mask: BoolArray) -> BoolArray:
    """The convex hull (h, w) of a mask."""
    import cv2

    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.stack(np.nonzero(mask)[::-1], axis=-1).astype(np.int32)), (1,))
    return hull > 0


def _windows(hand: FloatArray, known: BoolArray, fps: float) -> list[tuple[int, int]]:
    """Pairs of frames (rest, away) between which the hand begins to move, or, the later frame first, comes to rest.

    They are no farther apart than the motion takes to rise above the noise: optical flow follows small things no farther.
    """
    longest, still = max(2, round(_LONGEST_S * fps)), max(1, round(_STILL_S * fps))
    palm, size = hand[:, _PALM].mean(axis=1), float(np.median(hand_size_px(hand)))
    found: list[tuple[int, int]] = []
    for sign in (1, -1):
        way, seen = palm[::sign], known[::sign]  # backwards in time, what comes to rest begins to move
        away, restless = np.zeros(len(way), int), np.full(len(way), np.inf)
        for rest in np.flatnonzero(seen):
            ahead = np.linalg.norm(way[rest : rest + longest + 1] - way[rest], axis=-1) / size
            if ahead.max() > _MIN_MOTION:
                away[rest] = rest + int(np.argmax(ahead > _MIN_MOTION))
                behind = np.linalg.norm(way[max(0, rest - still) : rest + 1] - way[rest], axis=-1) / size
                restless[rest] = behind.max() if seen[away[rest]] else np.inf
        for _ in range(_MOST_WINDOWS):
            if not np.isfinite(restless).any():
                break
            rest = int(np.argmin(restless))
            pair = (rest, int(away[rest]))
            found.append(pair if sign > 0 else (len(way) - 1 - pair[0], len(way) - 1 - pair[1]))
            restless[max(0, rest - still + 1) : rest + still] = np.inf
    return found


def _gone_along(cache: FrameCache, hand: FloatArray, scene: StaticScene, rest: int, away: int) -> Departing | None:
    """What the hand takes along between two pictures; None where it is next to nothing."""
    import cv2

    before, after = cache.rgb(rest), cache.rgb(away)
    scenery, size = (scene.early if away > rest else scene.late), float(hand_size_px(hand[rest]))
    region = np.zeros(scene.shape, np.uint8)
    tips = np.round(hand[rest, list(FINGERTIPS)]).astype(int)
    x, y = tips.mean(axis=0).astype(int)
    cv2.circle(region, (int(x), int(y)), round(_REACH * size), (1,), -1)
    rests = (region > 0) & (colour_distance(before, scenery) < _UNCHANGED)
    rests &= hand_mask(scene.shape, hand[rest], forearm=False) == 0
    if rests.sum() < _MIN_AREA:
        return None
    rests &= _rested(cache, hand, scene, rest, away, scenery)
    if rests.sum() < _MIN_AREA:
        return None
    dense = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    start = np.zeros((*scene.shape, 2), np.float32)
    flow = np.asarray(dense.calc(cache.gray(rest), cache.gray(away), start), np.float32)
    way = hand[away].mean(axis=0) - hand[rest].mean(axis=0)
    distance = float(np.linalg.norm(way))
    along = rests & (np.linalg.norm(flow - way, axis=-1) < _ALIKE * distance + _ALIKE_PX)
    as_still = cv2.GaussianBlur(_beside_shadows(after, scenery), (0, 0), 1.5)
    covered = hand_mask(scene.shape, hand[away]) > 0
    motion = _common_motion(along & (as_still > _CLEARER) & ~covered, flow, _ASIDE * distance + _ASIDE_PX)
    if motion is None:
        return None

    def back(picture: Any) -> Any:
        """What lies where the motion leads."""
        return cv2.warpAffine(picture, motion, scene.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

    as_moved = cv2.GaussianBlur(colour_distance(scenery, back(after)), (0, 0), 1.5)
    hidden = covered | (back(covered.astype(np.uint8)) > 0)
    likely = (along | ~rests) & (as_moved < _SAME) & (as_still > as_moved - _CLEARER)
    # the object may have come before what stays; then the place to which that should have gone has not changed
    sure = likely & along & ~hidden & (as_moved < as_still - _CLEARER) & (back(as_still) > _CLEARER)
    sure = _at_fingertips(sure, likely, tips, size)
    stays = ~hidden & (as_still < as_moved - _CLEARER) & (as_moved > _SAME)
    share = float(sure.sum()) / size**2
    return Departing(rest, away, sure, likely, stays, share) if share > _LEAST else None


def _rested(cache: FrameCache, hand: FloatArray, scene: StaticScene, rest: int, away: int, scenery: Picture) -> BoolArray:
    """Pixels (h, w) that looked the same while the hand was elsewhere; none where it never was.

    A clip may begin with arm and shadow in the picture, which then seem to belong to the scene.
    """
    frames = scene.frames[scene.frames < rest if away > rest else scene.frames > rest]
    palm = hand[:, _PALM].mean(axis=1)
    apart = np.linalg.norm(palm[frames] - palm[rest], axis=-1)
    if apart.max(initial=0.0) < _ELSEWHERE * float(hand_size_px(hand[rest])):
        return np.zeros(scene.shape, bool)
    frame = int(frames[np.argmax(apart)])
    alike = _beside_shadows(cache.rgb(frame), scenery) < _UNCHANGED
    return alike | (hand_mask(scene.shape, hand[frame], forearm=False) > 0)


def _common_motion(along: BoolArray, flow: NDArray[np.float32], limit_px: float) -> FloatArray | None:
    """The motion (2, 3) that most pixels (h, w) with their flow (h, w, 2) agree on."""
    import cv2

    row, column = np.nonzero(along)
    if len(row) < _MIN_AREA:
        return None
    chosen = np.unique(np.linspace(0, len(row) - 1, _MOST_FITTED).round().astype(int))
    first = np.stack([column[chosen], row[chosen]], axis=-1).astype(np.float64)
    cv2.setRNGSeed(0)
    motion, _ = cv2.estimateAffine2D(first, first + flow[row[chosen], column[chosen]], ransacReprojThreshold=limit_px)
    return None if motion is None else np.asarray(motion, np.float64)


def _beside_shadows(picture: Picture, scenery: Picture) -> NDArray[np.float32]:
    """Distance (h, w) of a picture's colours from those of the scene as they are, darker, or lighter where shade is gone."""
    seen, behind = picture.astype(np.float32) + 1.0, scenery.astype(np.float32) + 1.0
    ratio = np.clip(dot_colours(seen, behind) / dot_colours(behind, behind), *_SHADES)
    difference = seen - ratio[..., None] * behind
    return np.sqrt(dot_colours(difference, difference))


def _at_fingertips(sure: BoolArray, likely: BoolArray, tips: NDArray[np.int64], size: float) -> BoolArray:
    """The part of `sure` (h, w) that hangs together, by what is likely too, with something near the fingertips (5, 2) px."""
    import cv2

    reach = np.zeros(sure.shape, np.uint8)
    for x, y in tips.tolist():
        cv2.circle(reach, (x, y), round(_NEAR * size), (1,), -1)
    opened = cv2.morphologyEx(sure.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    whole = cv2.morphologyEx((opened | likely).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(whole)
    near = np.unique(parts[(reach > 0) & (whole > 0)])
    return opened & np.isin(parts, near[near > 0])
