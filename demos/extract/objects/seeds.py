"""Finds the handled object by itself: where did something rest before the hand took it, or stay when the hand left it?

A place whose colours change for good while the hand is there outlines what was taken from it or put on it. Where nothing rests
in view, points that move along with the hand are the second way (`masks.find_moved_object`). Each candidate is then followed
for a while: the object is what goes along with the hand. Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.extract.hand.follow import hand_size_px
from demos.extract.objects.masks import (
    ObjectSeed,
    find_moved_object,
    grown_from_click,
    hand_mask,
    inside_mask,
    outline_contrast,
    polygon_mask,
    rim_of,
    seed_from_click,
    slope_of,
)
from demos.extract.objects.scene import StaticScene, dot_colours
from demos.extract.objects.tracks import trail_of
from demos.interaction import FINGERTIPS
from demos.video import FrameCache

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Picture = NDArray[np.uint8]

_MIN_AREA = 60  # px
_LARGE_AREA = 6000  # px; a larger thing is cut out at half size
_MAX_AREA = 0.25  # of the picture
_TOUCH = 0.8  # hand sizes between fingertips and a place while it changes
_AWAY = 0.5  # hand sizes between them in the frame that shows the place undisturbed
_SLACK_S = (0.2, 0.5, 1.0)  # how long a place takes to change
_MAX_CANDIDATES = 4
_LOOK_S = 1.2  # how long before and after the change a candidate is followed
_LOOK_HZ = 15.0
_SHADOW_WEIGHT = 0.8
_CLEAN_CUT = 0.65  # the cut without shadow is taken if its outline is at least so clear beside the best
_CLEAR_TRAVEL = 1.5  # hand sizes; then no other way of finding the object is tried
_SOLID = 0.75  # part of their convex hull that things fill at least
_MIN_CUT = 0.3  # of a place; less is a detail of it or of what is around
_SOLID_PIECE = 0.9  # of it, by what changes but not at once
_WHOLE_WORTH = 2.5  # times that of its parts
_WHOLE_RADII = (0.3, 0.6, 1.2)  # hand sizes
_NO_DETAIL = 0.4  # hand sizes across; something smaller may be a detail
_GOES_ON = 0.2  # of what surrounds a part, that changed as well
_CHANGED_PART = 0.6  # of what is added to a part, that changed and is no shadow
_AS_CLEAR = 0.8  # of the outline of a part, that of the whole thing is at least
_LARGER = (1.25, 20.0)  # times its part
_MIN_SCORE = 0.7  # hand sizes, less the part that may be a shadow; below it nothing is better than a wrong object
_AT_BORDER = 0.25  # of a thing's size, that the border of the picture cuts off at most
_MIN_TRAVEL = 0.5  # hand sizes that the object goes along with the hand


@dataclasses.dataclass(frozen=True)
class _Place:
    """A place that something left (`taken`) or came to.

    Attributes:
        mask: (h, w) bool.
        frame: the object rests there undisturbed.
        moment: frame in which the place changes.
        taken: left, not come to.
        edge: how much clearer the outline is with the object than without.
    """

    mask: BoolArray
    frame: int
    moment: int
    taken: bool
    edge: float


def find_object(cache: FrameCache, hand: FloatArray, known: BoolArray, fps: float, scene: StaticScene) -> ObjectSeed | None:
    """The object that the hand moves, or None where nothing moves along.

    Args:
        cache: T pictures.
        hand: (T, 21, 2) px; NaN where it is lost.
        known: (T,) frames in which the hand was really seen.
        fps: of the T frames.
        scene: of this clip.
    """
    hand = _without_gaps(hand)
    if not np.isfinite(hand).all():  # there is no hand at all
        return None
    best, best_score, best_worth = None, 0.0, 0.0
    size = float(np.median(hand_size_px(hand)))
    places = _places(hand, scene, fps)
    for strict in (True, False):  # the second time where the first one leads to nothing
        for place in places:
            seed = _whole_seed(cache, place, _seed_of_place(cache, place, scene), scene, size, strict)
            if seed is None or seed.mask is None or _is_cut_off(seed.mask):
                continue
            frames = _frames_around(place, round(_LOOK_S * fps), len(cache))
            score = _goes_along(cache, seed, hand, known, fps, scene, frames)
            score *= 1.0 - _SHADOW_WEIGHT * shadow_part(scene, seed.mask, place.taken)
            score *= min(1.0, _solidity(seed.mask) / _SOLID)
            if score >= _CLEAR_TRAVEL and seed.mask.sum() > (_NO_DETAIL * size) ** 2:
                return seed
            worth = min(score, _CLEAR_TRAVEL) * float(np.sqrt(seed.mask.sum()))  # a detail of a thing goes along as well
            if worth > best_worth:
                best, best_score, best_worth = seed, score, worth
        if best_score >= _MIN_SCORE:
            break
    moving = find_moved_object(cache, hand, known, fps, lambda frame, points: _is_no_shadow(cache, scene, frame, points))
    if best_score < _MIN_SCORE:
        best, best_score = None, 0.0
    if moving is None:
        return best
    grown = _grown_seed(cache, moving, hand, scene)
    frames = range(moving.frame, min(moving.frame + round(_LOOK_S * fps), len(cache)))
    score = _goes_along(cache, grown, hand, known, fps, scene, frames)
    return grown if score > best_score else best


def _is_cut_off(mask: BoolArray) -> bool:
    """Whether the picture's border cuts a thing off: then it is rather a person, who moves with the hand as well."""
    at_border = int(mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum())
    return at_border > _AT_BORDER * float(np.sqrt(mask.sum()))


def _is_no_shadow(cache: FrameCache, scene: StaticScene, frame: int, points: FloatArray) -> BoolArray:
    """Which points (N, 2) of a picture show more than the scene, as it is or darker, around them (N,)."""
    import cv2

    picture = cache.rgb(frame).astype(np.float32) + 1.0
    explained = np.zeros(scene.shape, bool)
    for colours in (scene.early, scene.late):
        behind = colours.astype(np.float32) + 1.0
        ratio = dot_colours(picture, behind) / dot_colours(behind, behind)
        tone = dot_colours(picture, picture) - ratio * dot_colours(picture, behind)
        explained |= (ratio > 0.3) & (ratio < 1.08) & (tone < 12.0**2)
    share = cv2.blur(explained.astype(np.float32), (9, 9))
    return ~inside_mask((share > 0.8).astype(np.uint8), points)


def seed_at_click(
    cache: FrameCache, click: FloatArray, hand: FloatArray, fps: float, frame: int, scene: StaticScene
) -> ObjectSeed:
    """The object at a click (2,) px: what rests there for a time if it was taken or put there, else by the picture alone."""
    at = click[None]
    whole = _without_gaps(hand)
    for place in _places(whole, scene, fps) if np.isfinite(whole).all() else []:
        rests = frame <= place.moment if place.taken else frame >= place.moment
        if rests and inside_mask(place.mask.astype(np.uint8), at)[0]:
            seed = _seed_of_place(cache, place, scene)
            if seed is not None and seed.mask is not None and inside_mask(seed.mask.astype(np.uint8), at)[0]:
                return dataclasses.replace(seed, found_by="click")
    return seed_from_click(cache.rgb(frame), click, hand[frame], frame)


def _grown_seed(cache: FrameCache, seed: ObjectSeed, hand: FloatArray, scene: StaticScene) -> ObjectSeed:
    """A seed of points alone gets a mask: what is around them, has their colours and is not the hand."""
    import cv2

    size = float(hand_size_px(hand[seed.frame]))
    region = np.zeros(scene.shape, np.uint8)
    for x, y in np.round(seed.points).astype(int).tolist():
        cv2.circle(region, (x, y), max(3, round(0.3 * size)), (255,), -1)
    region[polygon_mask(scene.shape, seed.polygon) > 0] = 255
    region[hand_mask(scene.shape, hand[seed.frame]) > 0] = 0
    if (region > 0).sum() < _MIN_AREA:
        return seed
    mask = cut_out(cache.rgb(seed.frame), region > 0, np.zeros(scene.shape, bool))
    if mask.sum() < _MIN_AREA or inside_mask(mask.astype(np.uint8), seed.points).mean() < 0.3:
        return seed
    return ObjectSeed(seed.frame, outline_of(mask), seed.points, seed.found_by, mask)


def _solidity(mask: BoolArray) -> float:
    """Part of its convex hull that a mask (h, w) fills; what several things left behind fills little."""
    import cv2

    points = np.stack(np.nonzero(mask)[::-1], axis=-1).astype(np.int32)
    return float(mask.sum()) / max(cv2.contourArea(cv2.convexHull(points)), 1.0)


def _frames_around(place: _Place, look: int, count: int) -> range:
    """Frames in which what rested leaves, or, backwards, in which what came had come."""
    if place.taken:
        return range(max(place.moment - look, place.frame), min(place.moment + look, count))
    return range(min(place.moment + look, place.frame), max(place.moment - look, -1), -1)


def _without_gaps(hand: FloatArray) -> FloatArray:
    """The hand (T, 21, 2) px, in frames without it on a straight way between those with it."""
    seen = np.flatnonzero(np.isfinite(hand).all(axis=(1, 2)))
    if len(seen) in (0, len(hand)):
        return hand
    flat = hand.reshape(len(hand), -1)
    return np.stack([np.interp(np.arange(len(hand)), seen, line[seen]) for line in flat.T], axis=-1).reshape(hand.shape)


def _places(hand: FloatArray, scene: StaticScene, fps: float) -> list[_Place]:
    """Places that change while the hand is there, the most telling first."""
    found: list[tuple[float, _Place]] = []
    clearer = slope_of(scene.early) - slope_of(scene.late)
    looked_at: set[tuple[int, ...]] = set()
    lit = scene.changed & ~shade_like(scene, True) & ~shade_like(scene, False)
    for slack_s in _SLACK_S:
        slack = round(slack_s * fps)
        for moment in scene.frames[1:-1:2].tolist():
            then = (scene.last_early <= moment + slack) & (scene.first_late > moment - slack)
            found += _places_at(hand, scene, scene.changed & then, moment, slack, clearer, looked_at)
            found += _places_at(hand, scene, lit & then, moment, slack, clearer, looked_at)
    for changed in (scene.changed, lit):  # what arm and shadow cover part by part changes part by part
        for piece in _solid_pieces(changed):
            moment = int(np.median(0.5 * (scene.last_early[piece] + scene.first_late[piece])))
            whole = _places_at(hand, scene, piece, moment, round(_SLACK_S[-1] * fps), clearer, looked_at)
            found += [(_WHOLE_WORTH * worth, place) for worth, place in whole]
    found.sort(key=lambda scored: -scored[0])
    kept: list[_Place] = []
    for _, place in found:
        if all(_overlap(place.mask, other.mask) < 0.5 or place.taken != other.taken for other in kept):
            kept.append(place)
        if len(kept) == _MAX_CANDIDATES:
            break
    return kept


def _solid_pieces(changed: BoolArray) -> list[BoolArray]:
    """Connected parts (h, w) of a mask that fill their convex hull well, as things do and shadows of arms do not."""
    import cv2

    opened = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(opened)
    large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= _MIN_AREA]
    return [piece for piece in (parts == part for part in large) if _solidity(piece) > _SOLID_PIECE]


def _places_at(
    hand: FloatArray,
    scene: StaticScene,
    here: BoolArray,
    moment: int,
    slack: int,
    clearer: NDArray[np.float32],
    looked_at: set[tuple[int, ...]],
) -> list[tuple[float, _Place]]:
    """Places among the pixels (h, w) that change within `slack` frames of a moment, each with how telling it is.

    `clearer` (h, w) says by how much the early picture's gradient exceeds the late one's; `looked_at` takes note of the places
    that were accepted, which neighbouring moments show again.
    """
    import cv2

    tips = hand[max(0, moment - slack) : moment + slack + 1, list(FINGERTIPS)]
    size = float(np.median(hand_size_px(hand)))
    near = cv2.morphologyEx(here.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(near)
    found: list[tuple[float, _Place]] = []
    for part in range(1, count):
        area = int(stats[part, cv2.CC_STAT_AREA])
        key = tuple(int(value) for value in stats[part])
        if key in looked_at or not _MIN_AREA <= area <= _MAX_AREA * here.size:
            continue
        x, y, wide, high = (int(value) for value in stats[part, :4])
        low, top = np.array([x, y], float), np.array([x + wide, y + high], float)
        if _to_box(tips, low, top).min() > _TOUCH * size:
            continue
        box = (slice(max(0, y - 1), y + high + 1), slice(max(0, x - 1), x + wide + 1))
        clear = float(clearer[box][rim_of(parts[box] == part)].mean())
        before = scene.frames[scene.frames < moment] if clear > 0 else scene.frames[scene.frames > moment]
        gap = _to_box(hand[before], low, top).min(axis=-1, initial=np.inf) if len(before) else np.zeros(0)
        if not len(gap) or gap.max() < _AWAY * size:
            continue
        frame = int(before[np.argmax(gap)])
        mask = parts == part
        looked_at.add(key)
        if (hand_mask(scene.shape, hand[frame]) > 0)[mask].mean() > 0.1:
            continue
        middle = int(np.median(0.5 * (scene.last_early[mask] + scene.first_late[mask])))
        found.append((abs(clear) * np.sqrt(area), _Place(mask, frame, middle, bool(clear > 0), abs(clear))))
    return found


def _to_box(points: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Distances (...,) px of points (..., 2) to an upright box."""
    return np.linalg.norm(np.maximum(np.maximum(low - points, points - high), 0.0), axis=-1)


def _overlap(a: BoolArray, b: BoolArray) -> float:
    """Common part of two masks over the smaller one."""
    return float((a & b).sum()) / max(1, min(int(a.sum()), int(b.sum())))


def _seed_of_place(cache: FrameCache, place: _Place, scene: StaticScene) -> ObjectSeed | None:
    """The object's own pixels in the place, without the shadow that came and went with it."""
    picture, other = cache.rgb(place.frame), scene.late if place.taken else scene.early
    nothing = np.zeros_like(place.mask)
    shade = shade_like(scene, place.taken)
    cuts = [
        place.mask,
        cut_out(picture, place.mask, nothing),
        cut_out(picture, place.mask, nothing, wide=True),
        cut_out(picture, place.mask, shade),
        _largest(place.mask & ~shade),
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


def _whole_seed(
    cache: FrameCache, place: _Place, seed: ObjectSeed | None, scene: StaticScene, size: float, strict: bool
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
        if (whole & part).sum() < 0.7 * part.sum() or _solidity(whole) < _SOLID:
            continue
        clear = outline_contrast(picture, whole) - outline_contrast(other, whole)
        if clear > clearest:
            best, clearest = whole, clear
    return seed if best is None else ObjectSeed(place.frame, outline_of(best), np.zeros((0, 2)), "motion", best)


def shade_like(scene: StaticScene, early: bool) -> BoolArray:
    """Where the scene, early or late, is the other one but darker (h, w)."""
    one, other = (scene.early, scene.late) if early else (scene.late, scene.early)
    a, b = one.astype(np.float32) + 1.0, other.astype(np.float32) + 1.0
    ratio = dot_colours(a, b) / dot_colours(b, b)
    tone = dot_colours(a, a) - ratio * dot_colours(a, b)
    return (ratio > 0.3) & (ratio < 0.97) & (tone < 15.0**2)


def shadow_part(scene: StaticScene, mask: BoolArray, early: bool) -> float:
    """How much of a mask may be a shadow: darker than without, and with the grain of what lies under it."""
    import cv2

    one, other = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in (scene.early, scene.late))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inner.sum() < 30:
        return 0.0
    a, b = ((picture - cv2.GaussianBlur(picture, (0, 0), 3.0))[inner] for picture in (one, other))
    alike = float((a * b).sum() / np.sqrt(max(float((a * a).sum() * (b * b).sum()), 1e-6)))
    return float(shade_like(scene, early)[mask].mean()) * float(np.clip(2.0 * alike, 0.0, 1.0))


def cut_out(picture: Picture, region: BoolArray, doubtful: BoolArray, wide: bool = False) -> BoolArray:
    """The thing (h, w) that fills most of a region, by its colours; `doubtful` pixels count as background at first."""
    import cv2

    row, column = np.nonzero(region)
    reach = round(0.3 * float(np.sqrt(region.sum()))) if wide else 3
    margin = reach + 9
    box = (
        slice(max(0, row.min() - margin), row.max() + margin + 1),
        slice(max(0, column.min() - margin), column.max() + margin + 1),
    )
    inside, unsure = region[box], doubtful[box] & region[box]
    label = np.full(inside.shape, cv2.GC_BGD, np.uint8)
    near = cv2.dilate(inside.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    label[near] = cv2.GC_PR_BGD
    label[inside] = cv2.GC_PR_FGD
    if unsure.sum() < 0.6 * inside.sum():
        label[unsure] = cv2.GC_PR_BGD
    core = cv2.distanceTransform((label == cv2.GC_PR_FGD).astype(np.uint8), cv2.DIST_L2, 3)
    label[(core > 2.0) & (core > 0.6 * core.max())] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # GrabCut draws its first clusters
    models = np.zeros((1, 65)), np.zeros((1, 65))
    part, size = np.ascontiguousarray(picture[box][..., ::-1]), label.shape[::-1]
    if region.sum() > _LARGE_AREA:  # the outline is put right while the object is followed
        part = cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        label = cv2.resize(label, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    cv2.grabCut(part, label, (0, 0, 1, 1), *models, 3, cv2.GC_INIT_WITH_MASK)
    label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    thing = np.isin(label, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    mask = np.zeros(region.shape, bool)
    mask[box] = _largest(thing > 0)
    return mask


def _largest(mask: BoolArray) -> BoolArray:
    """The largest piece of a mask (h, w), without specks and with its holes filled."""
    import cv2

    open_ = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(open_, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(open_)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, (1,), -1)
    return filled > 0


def outline_of(mask: BoolArray) -> FloatArray:
    """The polygon (N, 2) px around the largest part of a mask (h, w) that is not empty."""
    import cv2

    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return max(outlines, key=cv2.contourArea).reshape(-1, 2).astype(float)


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
