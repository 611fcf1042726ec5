"""Grey pictures, and sparse optical flow between them with a forward-backward check, shared by the hand and the object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def to_gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture (h, w, 3) in grey, (h, w)."""
    import cv2

    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def track_points(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: FloatArray, window_px: int = 17
) -> tuple[FloatArray, FloatArray]:
    """Follows points from one grey picture (h, w) to the next by Lucas-Kanade, and back again.

    Args:
        before: first picture.
        after: second picture.
        points: (N, 2) px in the first.
        window_px: side of the window.

    Returns:
        Points (N, 2) px in the second picture and the forward-backward error (N,) px; infinite where a point was lost.
    """
    if len(points) == 0:
        return np.zeros((0, 2)), np.zeros(0)
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)
    options = {"winSize": (window_px, window_px), "maxLevel": 3, "criteria": criteria}
    start = np.ascontiguousarray(points, np.float32).reshape(-1, 1, 2)
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, **options)  # pyright: ignore[reportCallIssue,reportArgumentType]
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **options)  # pyright: ignore[reportCallIssue,reportArgumentType]
    moved = there.reshape(-1, 2).astype(np.float64)
    error = np.linalg.norm((back - start).reshape(-1, 2), axis=-1).astype(np.float64)
    height, width = after.shape
    inside = (moved >= 0).all(axis=-1) & (moved[:, 0] <= width - 1) & (moved[:, 1] <= height - 1)
    error[(found.ravel() == 0) | (found_back.ravel() == 0) | ~inside] = np.inf
    return moved, error
