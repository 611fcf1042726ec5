"""Where the robot's fingertips should be when the person touches the object: their pads on its surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demos.retargeting.surface import ObjectSurface

FloatArray = NDArray[np.float64]


def touching_fingertips(
    fingertips_world: FloatArray,
    T_world_object: FloatArray,
    surface: ObjectSurface,
    pad_radius_m: float,
    touch_distance_m: float,
    share: float = 1.0,
) -> FloatArray:
    """Fingertips (F, 3) m of the person, those that touch moved to where a pad of that radius lies on the surface.

    Within `touch_distance_m` of the surface a fingertip touches; up to twice as far its shift fades out, so that targets do not
    jump. A surface that is not known near the fingertip moves nothing.

    Args:
        fingertips_world: (F, 3) m.
        T_world_object: (4, 4).
        surface: of the object.
        pad_radius_m: of the robot's fingertips.
        touch_distance_m: distance at which the person touches.
        share: in [0, 1], of the shift; it fades contact in and out over time.
    """
    turn, centre = T_world_object[:3, :3], T_world_object[:3, 3]
    local = (fingertips_world - centre) @ turn
    nearness = surface.nearness(local)
    distance = nearness.distance_m
    touch = np.clip(2.0 - distance / touch_distance_m, 0.0, 1.0) * nearness.beside * share
    wanted = local + ((pad_radius_m - distance) * touch)[:, None] * nearness.outward
    return wanted @ turn.T + centre


def faded(contact: NDArray[np.bool_], frames: int) -> FloatArray:
    """(T,) share in [0, 1] of contact that rises and falls over so many frames on either side of the contact."""
    share = contact.astype(np.float64)
    for distance in range(1, frames):
        level = 1.0 - distance / frames
        share[distance:] = np.maximum(share[distance:], level * contact[:-distance])
        share[:-distance] = np.maximum(share[:-distance], level * contact[distance:])
    return share
