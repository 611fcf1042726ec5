"""Cuts things out of a picture by their colours, inside a region that shows roughly where they are.

Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Picture = NDArray[np.uint8]

_LARGEST_CUT = 10000  # px; GrabCut looks at larger cut-outs shrunk to it, since its time grows faster than its accuracy


def grab_cut(picture: Picture, label: Picture, rounds: int) -> BoolArray:
    """What GrabCut takes for the thing in a cut-out (a, b, 3), from its own labels (a, b) at the start: (a, b) bool."""
    import cv2

    size = label.shape[::-1]
    part, first = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR), label.copy()
    if label.size > _LARGEST_CUT:
        scale = float(np.sqrt(_LARGEST_CUT / label.size))
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        first = cv2.resize(label, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    around, thing = np.isin(first, (cv2.GC_BGD, cv2.GC_PR_BGD)), np.isin(first, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if not around.any() or not thing.any():  # nothing to tell it from
        return np.isin(label, (cv2.GC_FGD, cv2.GC_PR_FGD))
    cv2.setRNGSeed(0)  # GrabCut draws its first clusters
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(part, first, (0, 0, 1, 1), *models, rounds, cv2.GC_INIT_WITH_MASK)
    found = np.isin(first, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    if found.shape != label.shape:
        found = cv2.resize(found, size, interpolation=cv2.INTER_LINEAR)
    return (found > 0.5) & (label != cv2.GC_BGD)


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
    thing = grab_cut(picture[box], label, 3)
    mask = np.zeros(region.shape, bool)
    mask[box] = largest_piece(thing)
    return mask


def largest_piece(mask: BoolArray) -> BoolArray:
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


def solidity(mask: BoolArray) -> float:
    """Part of its convex hull that a mask (h, w) fills; what several things left behind fills little."""
    import cv2

    points = np.stack(np.nonzero(mask)[::-1], axis=-1).astype(np.int32)
    return float(mask.sum()) / max(cv2.contourArea(cv2.convexHull(points)), 1.0)
