"""The PET bottle of the synthetic recordings: outline, surface points and distance to its surface.

Frame of the object: origin at mid-height, z up along the axis. Lengths in m.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

RADIUS_M = 0.0325
HEIGHT_M = 0.210
BODY_HEIGHT_M = 0.150
NECK_RADIUS_M = 0.0140
CAP_RADIUS_M = 0.0155
CAP_BASE_M = 0.188  # above the bottom of the bottle
#: Outline (radius, height above the bottom) of the solid of revolution, from the centre of the bottom to the centre of the cap.
OUTLINE_M: tuple[tuple[float, float], ...] = (
    (0.0, 0.0),
    (0.0290, 0.0),
    (0.0316, 0.0012),
    (RADIUS_M, 0.0045),
    (RADIUS_M, BODY_HEIGHT_M),
    (0.0315, 0.1560),
    (0.0285, 0.1635),
    (0.0235, 0.1710),
    (0.0180, 0.1770),
    (NECK_RADIUS_M, 0.1815),
    (NECK_RADIUS_M, CAP_BASE_M),
    (CAP_RADIUS_M, CAP_BASE_M),
    (CAP_RADIUS_M, 0.2085),
    (0.0145, HEIGHT_M),
    (0.0, HEIGHT_M),
)


def surface_points(count: int, rng: np.random.Generator) -> FloatArray:
    """(count, 3) m, points spread evenly by area over the surface, in the frame of the object."""
    outline = np.array(OUTLINE_M)
    radii, heights = outline[:, 0], outline[:, 1]
    areas = np.pi * (radii[1:] + radii[:-1]) * np.hypot(np.diff(radii), np.diff(heights))
    # one point in each of `count` strips of equal area; the golden angle spreads them around the axis
    area = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count * areas.sum()
    segment = np.minimum(np.searchsorted(np.cumsum(areas), area), len(areas) - 1)
    share = (area - (np.cumsum(areas) - areas)[segment]) / areas[segment]
    inner, outer = radii[segment], radii[segment + 1]
    # area grows with the square of the radius along a slanted segment
    radius = np.sqrt(inner**2 + share * (outer**2 - inner**2))
    flat = np.isclose(inner, outer)
    along = np.where(flat, share, (radius - inner) / np.where(flat, 1.0, outer - inner))
    angle = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0)) + rng.uniform(0.0, 2.0 * np.pi)
    height = heights[segment] + along * (heights[segment + 1] - heights[segment])
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), height - HEIGHT_M / 2.0])


def body_distance(points_object: FloatArray) -> FloatArray:
    """(...,) signed distance in m of (..., 3) points to the cylindrical body; negative inside.

    Shoulder and neck are left out.
    """
    radial: FloatArray = np.linalg.norm(points_object[..., :2], axis=-1) - RADIUS_M
    middle = BODY_HEIGHT_M / 2.0 - HEIGHT_M / 2.0
    axial = np.abs(points_object[..., 2] - middle) - BODY_HEIGHT_M / 2.0
    outside: FloatArray = np.hypot(np.maximum(radial, 0.0), np.maximum(axial, 0.0))
    inside: FloatArray = np.minimum(np.maximum(radial, axial), 0.0)
    return outside + inside
