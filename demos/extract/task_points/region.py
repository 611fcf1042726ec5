"""Finds the container in the picture at which a moved object arrives, and the points of its rim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from demos.interaction import BoolArray, FloatArray
from demos.video import FrameCache

_STILL_PICTURES = 11
_FIRST_REACH = 2.2  # hand sizes around the arrival in which the container is looked for at first
_WIDENINGS = 2
_WIDER = 1.5
_ROUNDS = 3
_AT_BORDER_SHARE = 0.15  # of a side of the search frame that may belong to the region
_ABOVE, _BELOW = 0.9, 1.2  # extent of the search frame by its half width; what is open above is entered above its middle
_LEAST_HAND_SIZES = 0.5
_LARGEST_SHARE = 0.35  # of the picture
_WORKING_SIDE_PX = 110  # of the cut-out; GrabCut's time grows faster than its accuracy
_LEAST_SCORE = 0.55  # product of outlined share, solidity and size; tablecloths and walls have less
_FULL_HAND_SIZES = 1.4  # a container is so large at least, or it counts for less
_RIM_PART = 0.6  # the rim is in this upper part of the region


class Container(NamedTuple):
    """Points (2,) px of an open container: four of its rim, the middle of the rim, and the lowest of its base."""

    left: FloatArray
    right: FloatArray
    far: FloatArray
    near: FloatArray
    middle: FloatArray
    base: FloatArray


def still_picture(pictures: FrameCache, covered: Callable[[int], BoolArray]) -> NDArray[np.uint8]:
    """What stands still (h, w, 3): the median of a few pictures of the whole clip.

    Args:
        pictures: T kept pictures.
        covered: says where (h, w) hand or moved object hide the scene in a frame; used where another frame shows it.
    """
    frames = np.unique(np.linspace(0, len(pictures) - 1, min(_STILL_PICTURES, len(pictures))).astype(int))
    stack = np.array([pictures.rgb(int(frame)) for frame in frames])
    hidden = np.array([covered(int(frame)) for frame in frames])
    hidden &= ~hidden.all(axis=0)
    stack[hidden] = 255  # what is hidden comes last
    stack.sort(axis=0)
    last = (len(frames) - 1 - hidden.sum(axis=0))[None, :, :, None]
    low, high = (np.take_along_axis(stack, middle, axis=0)[0].astype(np.uint16) for middle in (last // 2, (last + 1) // 2))
    return ((low + high) // 2).astype(np.uint8)


def find_container(still: NDArray[np.uint8], arrivals: Sequence[FloatArray], hand_size_px: float) -> Container | None:
    """The thing with the clearest outline that stands around one of some pixels.

    Args:
        still: picture (h, w, 3) of what stands still.
        arrivals: pixels (2,) where the moved object, or what it pours, may get to.
        hand_size_px: of the hand in the picture, about 9 cm.
    """
    best, best_score = None, _LEAST_SCORE
    for arrival in arrivals:
        region = _region_around(still, arrival, hand_size_px)
        if region is not None:
            large = min(1.0, float(region.sum()) / (_FULL_HAND_SIZES * hand_size_px) ** 2)
            score = _outlined_share(still, region) * _solidity(region) * large
            if score > best_score:
                best, best_score = _rim(region), score
    return best


def _region_around(still: NDArray[np.uint8], arrival: FloatArray, hand_size_px: float) -> BoolArray | None:
    """Region (h, w) of a thing of the size of a container, in the smallest search frame that holds all of one; None without."""
    for widening in range(1 + _WIDENINGS):
        region, at_border = _grow(still, arrival, _FIRST_REACH * hand_size_px * _WIDER**widening)
        fits = (_LEAST_HAND_SIZES * hand_size_px) ** 2 < region.sum() < _LARGEST_SHARE * region.size
        if at_border < _AT_BORDER_SHARE and fits:
            return region
    return None


def _outlined_share(still: NDArray[np.uint8], region: BoolArray) -> float:
    """Which part of a region's outline runs along edges of the picture."""
    import cv2

    gray = cv2.GaussianBlur(cv2.cvtColor(still, cv2.COLOR_RGB2GRAY), (3, 3), 0.0)
    edges = cv2.dilate(cv2.Canny(gray, 30.0, 80.0), np.ones((5, 5), np.uint8)) > 0
    filled = region.astype(np.uint8)
    outline = (filled - cv2.erode(filled, np.ones((3, 3), np.uint8))) > 0
    return float(edges[outline].mean()) if outline.any() else 0.0


def _solidity(region: BoolArray) -> float:
    """Area of a region by that of its convex hull."""
    import cv2

    columns_rows = np.argwhere(region)[:, ::-1].astype(np.int32)
    hull = cv2.fillConvexPoly(np.zeros(region.shape, np.uint8), cv2.convexHull(columns_rows), (1,))
    return float(region.sum() / hull.sum())


def _grow(still: NDArray[np.uint8], arrival: FloatArray, reach: float) -> tuple[BoolArray, float]:
    """Region (h, w) around the arrival by GrabCut, and which part of a side of the search frame it takes up at most."""
    import cv2

    x, y = np.clip(arrival, 0, np.array(still.shape[1::-1]) - 1)
    edge = 0.3 * reach  # background that surely is
    left, right = max(0, round(x - reach - edge)), min(still.shape[1], round(x + reach + edge))
    upper, lower = max(0, round(y - _ABOVE * reach - edge)), min(still.shape[0], round(y + _BELOW * reach + edge))
    scale = min(1.0, _WORKING_SIDE_PX / max(right - left, lower - upper))
    cut = cv2.resize(still[upper:lower, left:right], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x, y, reach, edge = (x - left) * scale, (y - upper) * scale, reach * scale, edge * scale
    shape = (cut.shape[0], cut.shape[1])
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    searched = (np.abs(columns - x) <= reach) & (rows >= y - _ABOVE * reach) & (rows <= y + _BELOW * reach)
    here = np.hypot(columns - x, rows - y) <= max(2.0, 0.07 * reach)
    around = np.hypot(columns - x, rows - y - 0.25 * reach) <= 0.5 * reach
    label = np.select([here, around & searched, searched], [cv2.GC_FGD, cv2.GC_PR_FGD, cv2.GC_PR_BGD], cv2.GC_BGD).astype(
        np.uint8
    )
    if not (label == cv2.GC_BGD).any():  # the frame is the whole picture
        return np.ones(still.shape[:2], bool), 1.0
    cv2.setRNGSeed(0)  # GrabCut draws its first clusters
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(cut[..., ::-1]), label, (0, 0, 1, 1), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    inside = np.isin(label, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) | here
    _, parts = cv2.connectedComponents(inside.astype(np.uint8))
    part = parts == parts[min(round(float(y)), shape[0] - 1), min(round(float(x)), shape[1] - 1)]
    framed = part[np.ix_(searched.any(axis=1), searched.any(axis=0))]
    at_border = max(float(side.mean()) for side in (framed[0], framed[-1], framed[:, 0], framed[:, -1]))
    region = np.zeros(still.shape[:2], bool)
    back = cv2.resize(part.astype(np.uint8), (right - left, lower - upper), interpolation=cv2.INTER_NEAREST)
    region[upper:lower, left:right] = back > 0
    return region, at_border


def _rim(region: BoolArray) -> Container:
    """The rim is where the region's upper part is widest; an ellipse's far and near ends lie equally far from there."""
    rows = np.flatnonzero(region.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1])
    upper = rows[rows <= top + _RIM_PART * (bottom - top)]
    widths = region[upper].sum(axis=1)
    widest = int(upper[np.argmax(widths)])
    columns = np.flatnonzero(region[widest])
    left, right = float(columns[0]), float(columns[-1])
    middle = 0.5 * (left + right)
    quarter = 0.25 * (right - left)
    below = np.argwhere(region[:, round(left + quarter) : round(right - quarter) + 1])  # shadows fall to the sides
    lowest = int(below[:, 0].max()) if len(below) else bottom
    return Container(
        left=np.array([left, widest]),
        right=np.array([right, widest]),
        far=np.array([middle, top]),
        near=np.array([middle, min(2 * widest - top, bottom)], np.float64),
        middle=np.array([middle, widest]),
        base=np.array([middle, lowest]),
    )
