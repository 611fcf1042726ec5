"""Places in the picture that something left or came to: their colours change for good while the hand is there.

Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.extract.hand.follow import hand_size_px
from demos.extract.objects.cut_out import solidity
from demos.extract.objects.masks import hand_mask, rim_of, slope_of
from demos.extract.objects.scene import StaticScene
from demos.extract.objects.shadows import shade_like
from demos.interaction import FINGERTIPS

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_MIN_AREA = 60  # px
_MAX_AREA = 0.25  # of the picture
_TOUCH = 0.8  # hand sizes between fingertips and a place while it changes
_AWAY = 0.5  # hand sizes between them in the frame that shows the place undisturbed
_SLACK_S = (0.2, 0.5, 1.0)  # how long a place takes to change
_MAX_CANDIDATES = 4
_SOLID_PIECE = 0.9  # of it, by what changes but not at once
_WHOLE_WORTH = 2.5  # times that of its parts


@dataclasses.dataclass(frozen=True)
class Place:
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


def find_places(hand: FloatArray, scene: StaticScene, fps: float) -> list[Place]:
    """Places that change while the hand (T, 21, 2) px is there, the most telling first."""
    found: list[tuple[float, Place]] = []
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
    kept: list[Place] = []
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
    return [piece for piece in (parts == part for part in large) if solidity(piece) > _SOLID_PIECE]


def _places_at(
    hand: FloatArray,
    scene: StaticScene,
    here: BoolArray,
    moment: int,
    slack: int,
    clearer: NDArray[np.float32],
    looked_at: set[tuple[int, ...]],
) -> list[tuple[float, Place]]:
    """Places among the pixels (h, w) that change within `slack` frames of a moment, each with how telling it is.

    `clearer` (h, w) says by how much the early picture's gradient exceeds the late one's; `looked_at` takes note of the places
    that were accepted, which neighbouring moments show again.
    """
    import cv2

    tips = hand[max(0, moment - slack) : moment + slack + 1, list(FINGERTIPS)]
    size = float(np.median(hand_size_px(hand)))
    near = cv2.morphologyEx(here.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(near)
    found: list[tuple[float, Place]] = []
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
        found.append((abs(clear) * np.sqrt(area), Place(mask, frame, middle, bool(clear > 0), abs(clear))))
    return found


def _to_box(points: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Distances (...,) px of points (..., 2) to an upright box."""
    return np.linalg.norm(np.maximum(np.maximum(low - points, points - high), 0.0), axis=-1)


def _overlap(a: BoolArray, b: BoolArray) -> float:
    """Common part of two masks over the smaller one."""
    return float((a & b).sum()) / max(1, min(int(a.sum()), int(b.sum())))
