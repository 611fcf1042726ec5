"""Finds the handled object by itself: where did something rest before the hand took it, or stay when the hand left it?

A place whose colours change for good while the hand is there outlines what was taken from it or put on it. Each candidate is
followed for a while: the object is what goes along with the hand. What is seen to leave its place with the hand, or to come to
it (`departing`), says which candidate is a detail, a shadow or something else, and stands in for it. Where neither is found,
points that move along with the hand are the next way (`comoving`). Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from demos.extract.hand.follow import hand_size_px
from demos.extract.objects.comoving import ArmColours, find_comoving, no_arm_and_shadow, seed_of_points
from demos.extract.objects.cut_out import cut_out, largest_piece, outline_of, solidity
from demos.extract.objects.departing import find_departing, seed_of_departing
from demos.extract.objects.masks import (
    ObjectSeed,
    grown_from_click,
    inside_mask,
    outline_contrast,
    seed_from_click,
)
from demos.extract.objects.places import Place, find_places
from demos.extract.objects.scene import StaticScene, colour_distance
from demos.extract.objects.shadows import is_evenly_shaded, shade_like, shadow_part
from demos.extract.objects.tracks import trail_of
from demos.video import FrameCache

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_MIN_AREA = 60  # px
_LOOK_S = 1.2  # how long before and after the change a candidate is followed
_LOOK_HZ = 15.0
_SHADOW_WEIGHT = 0.8
_CLEAN_CUT = 0.65  # the cut without shadow is taken if its outline is at least so clear beside the best
_CLEAR_TRAVEL = 1.5  # hand sizes; then no other way of finding the object is tried
_CLEAR_SHARE = 0.05  # of a squared hand size that leaves its place with the hand; then a place that shows none of it is wrong
_SOLID = 0.75  # part of their convex hull that things fill at least
_MIN_CUT = 0.3  # of a place; less is a detail of it or of what is around
_WHOLE_RADII = (0.3, 0.6, 1.2)  # hand sizes
_NO_DETAIL = 0.4  # hand sizes across; something smaller may be a detail
_GOES_ON = 0.2  # of what surrounds a part, that changed as well
_CHANGED_PART = 0.6  # of what is added to a part, that changed and is no shadow
_AS_CLEAR = 0.8  # of the outline of a part, that of the whole thing is at least
_LARGER = (1.25, 20.0)  # times its part
_MIN_SCORE = 0.7  # hand sizes, less the part that may be a shadow; below it nothing is better than a wrong object
_AT_BORDER = 0.25  # of a thing's size, that the border of the picture cuts off at most
_MANY_POINTS = 10  # that go along are an object
_PART_INSIDE = 0.5  # of a part, that lies in its whole
_PIECE = 0.08  # of a cut, by which it is put right at least
_MOST_ADDED, _LESS_SOLID = 3.0, 0.08  # times a cut, and by how much its solidity may fall, with what is added to it
_STILL_CLEAR = 0.6  # of the outline of a cut, that with what is added to it is at least
_PIECE_REACH = 0.8  # of its size
_AS_SOLID = 0.03  # by which the solidity of a thing may fall when its shadow is taken off
_ADDED = 1.05  # times the larger of two parts, that both together are at least
_SAME_LEVELS, _LOOKS_SAME = 22.0, 0.9  # distance of colours, and the part of a thing in which it is less in two pictures
_SURE_SHADOW, _NO_SHADOW = 0.45, 0.3  # part of a piece that may be one
_HIDDEN_SIZES = (0.2, 0.8)  # hand sizes across, of what a hand can hide
_HIDDEN_SHADOW = 0.1  # part of it that may be a shadow
_MIN_TRAVEL = 0.5  # hand sizes that the object goes along with the hand


def find_object(cache: FrameCache, hand: FloatArray, known: BoolArray, fps: float, scene: StaticScene) -> ObjectSeed | None:
    """The object that the hand moves, or None where nothing moves along.

    Args:
        cache: T pictures.
        hand: (T, 21, 2) px; NaN where it is lost.
        known: (T,) frames in which the hand was really seen.
        fps: of the T frames.
        scene: of this clip.
    """
    hand = without_gaps(hand)
    if not np.isfinite(hand).all():  # there is no hand at all
        return None
    part = find_departing(cache, hand, known, fps, scene)
    seen = None if part is None else seed_of_departing(cache, part, hand, scene)
    best, best_score = _resting_seed(cache, hand, known, fps, scene)
    if part is not None and seen is not None:
        shown = best is not None and best.mask is not None and float(best.mask[part.sure].mean()) > _PART_INSIDE
        if best is not None and (whole := _as_one(cache, best, seen)) is not None:
            return whole
        if shown or part.share > _CLEAR_SHARE or best is None:
            return best if shown else seen
    if best is not None and best_score >= _CLEAR_TRAVEL:
        return best
    moving, score = _moving_seed(cache, hand, known, fps, scene)
    if moving is None and best is None:
        return hidden_seed(cache, hand, fps, scene)
    if moving is None or best is None or score > best_score:
        return moving or best
    larger = moving.mask is not None and best.mask is not None and moving.mask.sum() > _LARGER[0] * best.mask.sum()
    return moving if larger and _is_part_of(cache, best, moving, hand, fps, scene) else best


def _as_one(cache: FrameCache, one: ObjectSeed, other: ObjectSeed) -> ObjectSeed | None:
    """The thing of which two seeds show different parts, such as the label and the lid of a can; None where they do not.

    Both look the same in the pictures of both, overlap or touch, and fill their hull as well together as the better alone.
    """
    import cv2

    if one.mask is None or other.mask is None:
        return None
    both = one.mask | other.mask
    whole = largest_piece(cv2.morphologyEx(both.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0)
    larger = max(one.mask.sum(), other.mask.sum())
    if (both & ~whole).sum() > 0.05 * both.sum() or not _ADDED < whole.sum() / larger < _MOST_ADDED:
        return None
    if solidity(whole) < max(_SOLID, solidity(one.mask), solidity(other.mask)) - _AS_SOLID:
        return None
    alike = colour_distance(cache.rgb(one.frame), cache.rgb(other.frame)) < _SAME_LEVELS
    if alike[whole].mean() < _LOOKS_SAME:
        return None
    return dataclasses.replace(other, polygon=outline_of(whole), mask=whole)


def _resting_seed(
    cache: FrameCache, hand: FloatArray, known: BoolArray, fps: float, scene: StaticScene
) -> tuple[ObjectSeed | None, float]:
    """The object by a place that it left or came to, and how far it goes along with the hand (hand sizes)."""
    best, best_score, best_worth = None, 0.0, 0.0
    size = float(np.median(hand_size_px(hand)))
    places = find_places(hand, scene, fps)
    for strict in (True, False):  # the second time where the first one leads to nothing
        for place in places:
            seed = _whole_seed(cache, place, _seed_of_place(cache, place, scene), scene, size, strict)
            if seed is None or seed.mask is None or _is_cut_off(seed.mask):
                continue
            frames = _frames_around(place, round(_LOOK_S * fps), len(cache))
            score = _goes_along(cache, seed, hand, known, fps, scene, frames)
            score *= 1.0 - _SHADOW_WEIGHT * shadow_part(scene, seed.mask)
            solid = solidity(seed.mask)
            score *= min(1.0, solid / _SOLID)
            if score >= _CLEAR_TRAVEL and seed.mask.sum() > (_NO_DETAIL * size) ** 2 and solid > _SOLID:
                return _righted(cache, seed, seed.mask, place, scene), score
            worth = min(score, _CLEAR_TRAVEL) * float(np.sqrt(seed.mask.sum()))  # a detail of a thing goes along as well
            if worth > best_worth:
                best = _righted(cache, seed, seed.mask, place, scene)
                best_score, best_worth = score, worth
        if best_score >= _MIN_SCORE:
            return best, best_score
    return None, 0.0


def hidden_seed(cache: FrameCache, hand: FloatArray, fps: float, scene: StaticScene) -> ObjectSeed | None:
    """What is gone when the hand (T, 21, 2) px leaves its place: a small thing that the hand hides while it carries it."""
    size = float(np.median(hand_size_px(hand)))
    for place in find_places(hand, scene, fps):
        seed = _seed_of_place(cache, place, scene) if place.taken else None
        if seed is None or seed.mask is None or _is_cut_off(seed.mask):
            continue
        large = _HIDDEN_SIZES[0] < float(np.sqrt(seed.mask.sum())) / size < _HIDDEN_SIZES[1]
        if large and solidity(seed.mask) > _SOLID and shadow_part(scene, seed.mask) < _HIDDEN_SHADOW:
            return seed
    return None


def _moving_seed(
    cache: FrameCache, hand: FloatArray, known: BoolArray, fps: float, scene: StaticScene
) -> tuple[ObjectSeed | None, float]:
    """The object by points that go along with the hand, and how far it does so (hand sizes)."""
    colours, look = ArmColours.of_clip(cache, hand, scene), round(_LOOK_S * fps)
    for arm in (colours, None):  # what the hand always holds has the arm's colours
        part = find_comoving(cache, hand, known, fps, no_arm_and_shadow(cache, scene, arm))
        if part is None:
            continue
        seed = seed_of_points(cache, part, hand, scene, colours)
        if seed.mask is not None and _is_cut_off(seed.mask):
            continue
        ways = range(seed.frame, min(seed.frame + look, len(cache))), range(seed.frame, max(seed.frame - look, -1), -1)
        score = max(_goes_along(cache, seed, hand, known, fps, scene, frames) for frames in ways)
        if arm is not None and len(part.first) >= _MANY_POINTS:  # these do go along, whatever its colours say
            score = max(score, _MIN_SCORE)
        if score >= _MIN_SCORE:
            return seed, score
    return None, 0.0


def _is_part_of(
    cache: FrameCache, part: ObjectSeed, whole: ObjectSeed, hand: FloatArray, fps: float, scene: StaticScene
) -> bool:
    """Whether a thing is where another one is in the frame that shows the other: a drawer's handle."""
    look = round(_LOOK_S * fps)
    if part.frame <= whole.frame:
        frames = range(max(part.frame, whole.frame - look), whole.frame + 1)
    else:
        frames = range(min(part.frame, whole.frame + look), whole.frame - 1, -1)
    there = trail_of(cache, part, hand, fps, scene, frames).masks[whole.frame]
    return whole.mask is not None and bool(there.any()) and float(whole.mask[there].mean()) > _PART_INSIDE


def seed_at_click(
    cache: FrameCache, click: FloatArray, hand: FloatArray, fps: float, frame: int, scene: StaticScene
) -> ObjectSeed:
    """The object at a click (2,) px: what rests there for a time if it was taken or put there, else by the picture alone."""
    at = click[None]
    whole = without_gaps(hand)
    for place in find_places(whole, scene, fps) if np.isfinite(whole).all() else []:
        rests = frame <= place.moment if place.taken else frame >= place.moment
        if rests and inside_mask(place.mask.astype(np.uint8), at)[0]:
            seed = _seed_of_place(cache, place, scene)
            if seed is not None and seed.mask is not None and inside_mask(seed.mask.astype(np.uint8), at)[0]:
                return dataclasses.replace(seed, found_by="click")
    return seed_from_click(cache.rgb(frame), click, hand[frame], frame)


def _goes_along(
    cache: FrameCache,
    seed: ObjectSeed,
    hand: FloatArray,
    known: BoolArray,
    fps: float,
    scene: StaticScene,
    frames: range,
) -> float:
    """How far (hand sizes) the candidate goes along with the hand in the frames; 0 if too little."""
    frames = frames[:: max(1, round(fps / _LOOK_HZ))]
    if len(frames) < 4:
        return 0.0
    trail = trail_of(cache, seed, hand, fps, scene, frames)
    hand_step = np.diff(hand[list(frames)][:, 5:].mean(axis=1), axis=0)
    own_step = np.diff(trail.middle, axis=0)
    size = float(np.median(hand_size_px(hand[list(frames)])))
    travel = np.linalg.norm(own_step, axis=-1)
    alike = np.linalg.norm(own_step - hand_step, axis=-1) < 0.5 * np.maximum(np.linalg.norm(hand_step, axis=-1), travel) + 1.0
    worth = np.where(known[list(frames)][1:], np.where(alike, 1.0, -0.5), 0.3)
    gained = np.cumsum(travel * worth * trail.seen[1:] * (travel > 0.5))
    score = float(gained.max()) / size  # up to where it goes its own way: it may be let go or thrown
    return score if score > _MIN_TRAVEL else 0.0


def _is_cut_off(mask: BoolArray) -> bool:
    """Whether the picture's border cuts a thing off: then it is rather a person, who moves with the hand as well."""
    at_border = int(mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum())
    return at_border > _AT_BORDER * float(np.sqrt(mask.sum()))


def _seed_of_place(cache: FrameCache, place: Place, scene: StaticScene) -> ObjectSeed | None:
    """The object's own pixels in the place, without the shadow that came and went with it."""
    picture, other = cache.rgb(place.frame), scene.late if place.taken else scene.early
    nothing = np.zeros_like(place.mask)
    shade = shade_like(scene, place.taken)
    cuts = [
        place.mask,
        cut_out(picture, place.mask, nothing),
        cut_out(picture, place.mask, nothing, wide=True),
        cut_out(picture, place.mask, shade),
        largest_piece(place.mask & ~shade),
    ]
    least = max(_MIN_AREA // 2, _MIN_CUT * place.mask.sum())
    clear = [outline_contrast(picture, cut) - outline_contrast(other, cut) if cut.sum() >= least else 0.0 for cut in cuts]
    if max(clear) <= 0.0:
        return None
    best = 3 if clear[3] > _CLEAN_CUT * max(clear) else int(np.argmax(clear))
    # a thing of several colours is cut into pieces, where all of the place that is no shadow keeps it whole
    if cuts[-1].sum() > 1.25 * cuts[best].sum() and clear[-1] > 0.5 * clear[best]:
        best = -1
    mask = cuts[best]
    return ObjectSeed(place.frame, outline_of(mask), np.zeros((0, 2)), "motion", mask)


def _righted(cache: FrameCache, seed: ObjectSeed, mask: BoolArray, place: Place, scene: StaticScene) -> ObjectSeed:
    """The seed with its mask (h, w) put right."""
    picture, other = cache.rgb(place.frame), scene.late if place.taken else scene.early
    mask = _put_right(mask, place, scene, lambda cut: outline_contrast(picture, cut) - outline_contrast(other, cut))
    return dataclasses.replace(seed, polygon=outline_of(mask), mask=mask)


def _put_right(mask: BoolArray, place: Place, scene: StaticScene, contrast: Callable[[BoolArray], float]) -> BoolArray:
    """Takes shadows off a cut (h, w), and adds what is only as dark as a shadow: the lid of a can on a table of its tone.

    `contrast` says how clear an outline is with the object rather than without it.
    """
    import cv2

    area = mask.sum()
    for piece in _pieces(mask & shade_like(scene, place.taken), _PIECE * area):
        left = largest_piece(mask & ~piece)
        sure = shadow_part(scene, piece) > _SURE_SHADOW
        if piece.sum() < 0.6 * area and (
            sure or (is_evenly_shaded(scene, piece, place.taken) and solidity(left) > solidity(mask) - _AS_SOLID)
        ):
            mask = left
    reach = 2 * round(_PIECE_REACH * float(np.sqrt(area))) + 1
    near = cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    for piece in _pieces(scene.changed & near & ~mask, _PIECE * area):
        whole = largest_piece(cv2.morphologyEx((mask | piece).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0)
        grows = mask.sum() < whole.sum() < _MOST_ADDED * area and (mask & ~whole).sum() < 0.05 * area
        inner = cv2.erode(piece.astype(np.uint8), np.ones((5, 5), np.uint8)).sum() > 30
        solid = solidity(whole) > max(_SOLID, solidity(mask) - _LESS_SOLID)
        if (
            inner
            and grows
            and solid
            and shadow_part(scene, piece) < _NO_SHADOW
            and not is_evenly_shaded(scene, piece, place.taken)
            and contrast(whole) > _STILL_CLEAR * contrast(mask)
        ):
            mask = whole
    return mask


def _pieces(mask: BoolArray, least: float) -> list[BoolArray]:
    """Connected parts of a mask (h, w) with so many pixels, the largest first."""
    import cv2

    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(opened)
    large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= max(least, _MIN_AREA)]
    return [parts == part for part in sorted(large, key=lambda part: -stats[part, cv2.CC_STAT_AREA])]


def _whole_seed(
    cache: FrameCache, place: Place, seed: ObjectSeed | None, scene: StaticScene, size: float, strict: bool
) -> ObjectSeed | None:
    """The thing of which a seed shows only a part, if it stands out as clearly; else the seed.

    The other part may have changed at another time or, unless `strict`, look like a shadow that fell there later.
    """
    import cv2

    picture, other = cache.rgb(place.frame), scene.late if place.taken else scene.early
    part = place.mask if seed is None or seed.mask is None else seed.mask
    other_things = scene.changed & ~shade_like(scene, place.taken)
    ring = cv2.dilate(part.astype(np.uint8), np.ones((9, 9), np.uint8)) - cv2.dilate(part.astype(np.uint8), np.ones((3, 3)))
    if strict and other_things[ring > 0].mean() < _GOES_ON:
        return seed
    inside = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    best, clearest = (
        None,
        0.0 if seed is None else _AS_CLEAR * (outline_contrast(picture, part) - outline_contrast(other, part)),
    )
    for radius in _WHOLE_RADII:
        whole = grown_from_click(picture, np.array([column, row], float), radius * size, np.zeros_like(part))
        larger = _LARGER[0] * part.sum() < whole.sum() < _LARGER[1] * part.sum()
        if not larger or (strict and other_things[whole & ~part].mean() < _CHANGED_PART):
            continue
        if (whole & part).sum() < 0.7 * part.sum() or solidity(whole) < _SOLID:
            continue
        clear = outline_contrast(picture, whole) - outline_contrast(other, whole)
        if clear > clearest:
            best, clearest = whole, clear
    return seed if best is None else ObjectSeed(place.frame, outline_of(best), np.zeros((0, 2)), "motion", best)


def _frames_around(place: Place, look: int, count: int) -> range:
    """Frames in which what rested leaves, or, backwards, in which what came had come."""
    if place.taken:
        return range(max(place.moment - look, place.frame), min(place.moment + look, count))
    return range(min(place.moment + look, place.frame), max(place.moment - look, -1), -1)


def without_gaps(hand: FloatArray) -> FloatArray:
    """The hand (T, 21, 2) px, in frames without it on a straight way between those with it."""
    seen = np.flatnonzero(np.isfinite(hand).all(axis=(1, 2)))
    if len(seen) in (0, len(hand)):
        return hand
    flat = hand.reshape(len(hand), -1)
    return np.stack([np.interp(np.arange(len(hand)), seen, line[seen]) for line in flat.T], axis=-1).reshape(hand.shape)
