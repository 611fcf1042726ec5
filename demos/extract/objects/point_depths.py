"""Depths of an object's points from depth pictures."""

from __future__ import annotations

import numpy as np

from demos.camera import FloatArray
from demos.parts import DepthFrames

_WINDOW_PX = 1  # depth is read from the pixels around a point
_DEPTH_RANGE_M = (0.05, 20.0)


def read_depths(pixels: FloatArray, depth: DepthFrames, image_size: tuple[int, int] | None) -> FloatArray:
    """Depth (T, P) m under pixels (T, P, 2): the median around each; NaN over holes and where near and far meet."""
    found = np.full(pixels.shape[:2], np.nan)
    for frame in range(len(pixels)):
        known = np.flatnonzero(np.isfinite(pixels[frame]).all(axis=-1))
        if not len(known):
            continue
        picture = np.asarray(depth.read_m(frame), float)
        height, width = picture.shape
        scale = np.array([width, height]) / np.array(image_size or (width, height))
        x, y = np.round((pixels[frame, known] + 0.5) * scale - 0.5).astype(int).T
        offset = np.arange(-_WINDOW_PX, _WINDOW_PX + 1)
        rows, columns = np.broadcast_arrays(y[:, None, None] + offset[:, None], x[:, None, None] + offset)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        around = picture[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)].reshape(len(known), -1)
        around = np.where(inside.reshape(len(known), -1) & (around > _DEPTH_RANGE_M[0]), around, np.nan)
        around = np.where(around < _DEPTH_RANGE_M[1], around, np.nan)
        around = np.sort(around, axis=1)  # NaN last
        valid = np.isfinite(around).sum(axis=1)
        middle = np.take_along_axis(around, np.maximum(valid - 1, 0)[:, None] // 2, axis=1)[:, 0]
        low, high = (np.take_along_axis(around, (np.maximum(valid - 1, 0) * q // 8)[:, None], axis=1)[:, 0] for q in (1, 7))
        agrees = (valid >= 4) & (high - low < 0.02 + 0.02 * middle)  # across an edge the median may be of either side
        found[frame, known] = np.where(agrees, middle, np.nan)
    return found
