"""Where the hand, its forearm and the moved object are in a picture, as crude regions; following them is left to `tracks`.

All coordinates here are pixels of the (smaller) pictures that are kept for tracking.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.extract.hand.follow import hand_size_px
from demos.extract.objects.cut_out import grab_cut
from demos.interaction import HAND_BONES
from dexvid_envs.errors import OptionError

FloatArray = NDArray[np.float64]
Mask = NDArray[np.uint8]

_ON = (255,)
_KNUCKLES = (5, 9, 13, 17)
_CLICK_RADII = (0.25, 0.5, 0.8, 1.3)  # hand sizes
_MIN_FILLED = 0.15  # of a box; less, and its object was not told from its surroundings


@dataclasses.dataclass(frozen=True)
class ObjectSeed:
    """The object in one frame.

    Attributes:
        frame: number among the tracked frames.
        polygon: (N, 2) px, its outline.
        points: (M, 2) px known to lie on it; may be empty.
        found_by: "click", "box", "mask" or "motion".
        mask: (h, w) bool, its pixels; None where only the outline is known.
    """

    frame: int
    polygon: FloatArray
    points: FloatArray
    found_by: str
    mask: NDArray[np.bool_] | None = None


def hand_mask(shape: tuple[int, int], hand: FloatArray, margin: float = 0.16, forearm: bool = True) -> Mask:
    """Region (h, w) of 0 and 255 that the hand (21, 2) px and its forearm cover, widened by `margin` hand sizes."""
    import cv2

    mask = np.zeros(shape, np.uint8)
    if not np.isfinite(hand).all():
        return mask
    size = float(hand_size_px(hand))
    corner = np.round(hand).astype(np.int32)
    for parent, child in HAND_BONES:
        cv2.line(mask, corner[parent].tolist(), corner[child].tolist(), _ON, max(1, round(2 * margin * size)))
    cv2.fillConvexPoly(mask, cv2.convexHull(corner[[0, 1, *_KNUCKLES]]), _ON)
    if forearm:
        cv2.fillPoly(mask, [np.round(forearm_outline(hand)).astype(np.int32)], _ON)
    return mask


def forearm_outline(hand: FloatArray) -> FloatArray:
    """Outline (4, 2) px of where the forearm must be: it leaves the wrist away from the knuckles, and sleeves are wide."""
    size = float(hand_size_px(hand))
    back = hand[0] - hand[list(_KNUCKLES)].mean(axis=0)
    back = back / max(float(np.linalg.norm(back)), 1e-6)
    side = np.array([-back[1], back[0]])
    far = hand[0] + 4.0 * size * back
    return np.stack(
        [hand[0] + 0.45 * size * side, far + 1.6 * size * side, far - 1.6 * size * side, hand[0] - 0.45 * size * side]
    )


def polygon_mask(shape: tuple[int, int], polygon: FloatArray) -> Mask:
    """Region (h, w) of 0 and 255 inside a polygon (N, 2) px."""
    import cv2

    mask = np.zeros(shape, np.uint8)
    if len(polygon) >= 3:
        cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)], _ON)
    return mask


def good_points(gray: Mask, region: Mask, count: int, apart_px: float = 4.0) -> FloatArray:
    """Up to `count` points (N, 2) px in the region that optical flow can hold on to."""
    import cv2

    if count <= 0 or not region.any():
        return np.zeros((0, 2))
    found = cv2.goodFeaturesToTrack(gray, count, 0.004, apart_px, mask=region, blockSize=5)
    return np.zeros((0, 2)) if found is None else found.reshape(-1, 2).astype(np.float64)


def seed_from_box(box: FloatArray, frame: int, size: tuple[int, int]) -> ObjectSeed:
    """The object is what a box (x0, y0, x1, y1) px holds, in a picture of `size` = (width, height).

    Raises:
        OptionError: the box is empty or not inside the picture.
    """
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]):
        raise OptionError(
            f"the object box {x0:g} {y0:g} {x1:g} {y1:g} is not inside the {size[0]}x{size[1]} frame, "
            "expected X0 < X1 and Y0 < Y1 in px from the upper left corner"
        )
    return ObjectSeed(frame, np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float), np.zeros((0, 2)), "box")


def seed_from_click(rgb: Mask, click: FloatArray, hand: FloatArray, frame: int) -> ObjectSeed:
    """Grows the object from a click (2,) px: GrabCut in discs of several sizes, without the hand; the clearest outline wins."""
    import cv2

    shape = (rgb.shape[0], rgb.shape[1])
    size = float(hand_size_px(hand)) if np.isfinite(hand).all() else 0.08 * max(shape)
    covered = hand_mask(shape, hand) > 0
    best, clearest = np.zeros(shape, bool), -1.0
    for radius in _CLICK_RADII:
        mask = grown_from_click(rgb, click, radius * size, covered)
        clear = outline_contrast(rgb, mask)
        if clear > clearest:
            best, clearest = mask, clear
    outlines, _ = cv2.findContours(best.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(outlines, key=cv2.contourArea)
    return ObjectSeed(frame, cv2.convexHull(outline).reshape(-1, 2).astype(float), np.zeros((0, 2)), "click", best)


def grown_from_click(rgb: Mask, click: FloatArray, radius: float, covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is at the click (2,) px and probably within `radius` px of it (h, w)."""
    import cv2

    shape = covered.shape
    x, y = (round(float(value)) for value in click)
    label = np.full(shape, cv2.GC_BGD, np.uint8)
    cv2.circle(label, (x, y), round(2.2 * radius), (cv2.GC_PR_BGD,), -1)
    cv2.circle(label, (x, y), round(radius), (cv2.GC_PR_FGD,), -1)
    label[covered] = cv2.GC_BGD
    cv2.circle(label, (x, y), max(2, round(0.2 * radius)), (cv2.GC_FGD,), -1)
    reach = round(2.2 * radius) + 15
    box = (slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1))
    inside = np.zeros(shape, np.uint8)
    inside[box] = grab_cut(rgb[box], label[box], 4)
    opened = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) | (label == cv2.GC_FGD)
    _, parts = cv2.connectedComponents(opened.astype(np.uint8))
    return parts == parts[y, x]


def outline_contrast(picture: Mask, mask: NDArray[np.bool_]) -> float:
    """Mean gradient of the picture (h, w, 3) on a mask's outline; 0 where it has none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0
    box = (slice(max(0, rows[0] - 6), rows[-1] + 7), slice(max(0, columns[0] - 6), columns[-1] + 7))
    rim = rim_of(mask[box])
    return float(slope_of(picture[box])[rim].mean()) if rim.any() else 0.0


def slope_of(picture: Mask) -> NDArray[np.float32]:
    """Size (h, w) of the gradient of a picture (h, w, 3), in levels."""
    import cv2

    gray = cv2.GaussianBlur(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    return np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))


def rim_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels (h, w) on both sides of a mask's border."""
    import cv2

    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0


def mask_in_outline(rgb: Mask, polygon: FloatArray, hand: FloatArray) -> NDArray[np.bool_]:
    """What a polygon (N, 2) px around an object holds, (h, w): GrabCut against what is around it, without the hand."""
    import cv2

    shape = (rgb.shape[0], rgb.shape[1])
    inside = polygon_mask(shape, polygon) > 0
    low = np.maximum(np.floor(polygon.min(axis=0)).astype(int) - 20, 0)
    high = np.ceil(polygon.max(axis=0)).astype(int) + 21
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    label = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    label[hand_mask(shape, hand) > 0] = cv2.GC_BGD
    part = label[box]
    if (part == cv2.GC_PR_FGD).sum() < 30 or (part == cv2.GC_BGD).sum() < 30:
        return inside
    found = np.zeros(shape, np.uint8)
    found[box] = grab_cut(rgb[box], part, 4)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return found > 0 if found.sum() > _MIN_FILLED * inside.sum() else inside


def inside_mask(mask: Mask, points: FloatArray) -> NDArray[np.bool_]:
    """Which points (N, 2) px lie on the mask."""
    x, y = np.clip(np.nan_to_num(np.round(points)), 0, np.array(mask.shape[::-1]) - 1).astype(int).T
    return mask[y, x] > 0


def similar_motion(before: FloatArray, after: FloatArray, points: FloatArray) -> FloatArray:
    """How points (N, 2) would move if they were fixed to the hand, which goes from (21, 2) to (21, 2)."""
    middle, target = before.mean(axis=0), after.mean(axis=0)
    a = (before - middle) @ np.array([1.0, 1.0j])
    b = (after - target) @ np.array([1.0, 1.0j])
    factor = np.vdot(a, b) / np.vdot(a, a)
    moved = ((points - middle) @ np.array([1.0, 1.0j])) * factor
    return np.stack([moved.real, moved.imag], axis=-1) + target - points
