"""Tells shadows from things: a shadow makes the scene darker and leaves its tone and grain.

Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demos.extract.objects.masks import inside_mask
from demos.extract.objects.scene import StaticScene, dot_colours
from demos.video import FrameCache

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


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


def is_no_shadow(cache: FrameCache, scene: StaticScene, frame: int, points: FloatArray) -> BoolArray:
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
