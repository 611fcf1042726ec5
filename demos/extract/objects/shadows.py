"""Tells shadows from things: a shadow makes the scene darker and leaves its tone and grain.

Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demos.extract.objects.scene import StaticScene, dot_colours

BoolArray = NDArray[np.bool_]
Picture = NDArray[np.uint8]

_PLAIN = 3.0  # levels, spread of the grain of a surface that has none to speak of
_EVEN_SHADE, _DEEP_SHADE = 0.08, 0.85  # range of the ratio in a shadow without its rim, and the ratio at most
_EVEN = 0.06  # spread of the ratio between lit and shadowed places of one surface


def shade_like(scene: StaticScene, early: bool) -> BoolArray:
    """Where the scene, early or late, is the other one but darker (h, w)."""
    one, other = (scene.early, scene.late) if early else (scene.late, scene.early)
    a, b = one.astype(np.float32) + 1.0, other.astype(np.float32) + 1.0
    ratio = dot_colours(a, b) / dot_colours(b, b)
    tone = dot_colours(a, a) - ratio * dot_colours(a, b)
    return (ratio > 0.3) & (ratio < 0.97) & (tone < 15.0**2)


def is_evenly_shaded(scene: StaticScene, mask: BoolArray, early: bool) -> bool:
    """Whether the scene, early or late, is darker than the other one by the same share nearly everywhere in a mask (h, w).

    The half-shadow at its rim is left out; what has its own colours and its own light is hardly ever so even.
    """
    import cv2

    one, other = (scene.early, scene.late) if early else (scene.late, scene.early)
    bright = [cv2.GaussianBlur(picture, (0, 0), 1.5)[mask].astype(np.float32).sum(axis=-1) + 1.0 for picture in (one, other)]
    low, high = np.percentile(bright[0] / bright[1], (10, 75))
    return bool(high - low < _EVEN_SHADE and high < _DEEP_SHADE)


def shadow_part(scene: StaticScene, mask: BoolArray) -> float:
    """How much of a mask (h, w) may be shadow, or light where it was: one scene is the other but darker, of the same grain."""
    import cv2

    one, other = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in (scene.early, scene.late))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inner.sum() < 30:
        return 0.0
    blurred = [cv2.GaussianBlur(picture, (0, 0), 3.0) for picture in (one, other)]
    alike = _correlation((one - blurred[0])[inner], (other - blurred[1])[inner])
    own = mask.astype(np.float32)  # without what is around the mask
    share = np.maximum(cv2.GaussianBlur(own, (0, 0), 3.0), 1e-3)
    within = [cv2.GaussianBlur(picture * own, (0, 0), 3.0) / share for picture in (one, other)]
    a, b = (one - within[0])[inner], (other - within[1])[inner]
    alike = max(alike, _correlation(a, b))
    if max(float(a.std()), float(b.std())) < _PLAIN:  # little grain to compare; then a shadow is as dark throughout
        ratio = within[0][inner] / np.maximum(within[1][inner], 1.0)
        alike = max(alike, float(np.ptp(np.percentile(ratio, (10, 90))) < _EVEN))
    shaded = max(float(shade_like(scene, early)[mask].mean()) for early in (True, False))
    return shaded * float(np.clip(2.0 * alike, 0.0, 1.0))


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float((a * b).sum() / np.sqrt(max(float((a * a).sum() * (b * b).sum()), 1e-6)))


def explained_by_scene(scene: StaticScene, picture: Picture) -> BoolArray:
    """Where a picture (h, w, 3) shows no more than the scene, early or late, as it is or darker (h, w)."""
    seen = picture.astype(np.float32) + 1.0
    explained = np.zeros(scene.shape, bool)
    for colours in (scene.early, scene.late):
        behind = colours.astype(np.float32) + 1.0
        ratio = dot_colours(seen, behind) / dot_colours(behind, behind)
        tone = dot_colours(seen, seen) - ratio * dot_colours(seen, behind)
        explained |= (ratio > 0.3) & (ratio < 1.08) & (tone < 12.0**2)
    return explained
