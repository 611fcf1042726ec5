"""Grasps of the scripted policies: where the palm goes relative to an object, how the hand opens and how it closes.

Fingers and thumb oppose each other along the palm's z axis. From above, the palm faces down; from the side, the thumb is
towards the robot. All grasps are one family: the palm rolls about its z axis. A wrap closes the whole hand around the object, a
pinch closes the fingertips; what a pinch needs is computed from points on the object's surface.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.scripted.fingertips import fingertip_kinematics
from robots.allegro import FINGER_STIFFNESS_NM_PER_RAD, FINGERTIP_RADIUS_M

FloatArray = NDArray[np.float64]

FROM_THE_SIDE_RAD, FROM_ABOVE_RAD = 0.0, math.pi / 2  # roll of the palm
_SIDE_PITCH_RAD, _ABOVE_PITCH_RAD = 0.30, 0.15  # fingers point down a little: the wrist stays clear of the table
_PALM_SURFACE_M = 0.0112  # x of the palm's surface in the palm frame
_CLEARANCE_M = 0.008  # between palm and object
_TIP_DEPTH_M = 0.085  # of the fingertips in front of the palm, where they reach best
_LEAST_SIDE_DEPTH_M, _MOST_SIDE_DEPTH_M = 0.068, 0.090  # the same from the side
_LOWEST_TIP_M = 0.019  # height of a fingertip's centre above the table
_SPREAD_M = 0.0435  # y of the outer fingers' bases
_OPENING_M = 0.030  # between fingertip and surface before the hand closes
_GRAVITY_M_PER_S2 = 9.81
#: Force of the thumb, and of the three fingers together: three times what friction 1 needs, and a little for light things.
_LEAST_FORCE_N, MOST_FORCE_N, _FORCE_PER_WEIGHT = 4.0, 12.0, 1.5

#: Hand joints rad: index, middle, ring (base, proximal, medial, distal), thumb.
_OPEN_WRAP = np.array([0.0, 0.25, 0.45, 0.40] * 3 + [1.10, 0.45, 0.05, 0.05])
_CLOSED_WRAP = np.array([0.0, 1.40, 1.30, 0.90] * 3 + [1.25, 0.45, 1.20, 1.10])


@dataclasses.dataclass(frozen=True, eq=False)
class Grasp:
    """One grasp of one object, whose frame has z up while it rests on the table.

    Attributes:
        roll_rad: of the palm about its z axis: 0 palm facing left (seen from the robot), pi/2 palm facing down.
        pitch_rad: how far the fingers point down.
        yaws_rad: directions in which the fingers may point, in the object's frame (about z, 0 along its x axis); none: any.
        point_object_m: (3,) where on the object, in its frame.
        point_palm_m: (3,) where that point is in the palm frame when the fingers close.
        standoff_m: distance in front of the grasp, along the palm's normal, from which the hand comes.
        open_rad, closed_rad: (16,) servo targets of the hand before and after closing.
        grip_rad: how far targets may lead a joint that the object stops; 0.23 rad is the full torque.
    """

    roll_rad: float
    pitch_rad: float
    yaws_rad: tuple[float, ...]
    point_object_m: FloatArray
    point_palm_m: FloatArray
    standoff_m: float
    open_rad: FloatArray
    closed_rad: FloatArray
    grip_rad: float


def wrap_grasp(
    extents_m: tuple[float, float, float], mass_kg: float, yaws_rad: tuple[float, ...], height_m: float = 0.105
) -> Grasp:
    """A power grasp from the side, the palm on the object, `height_m` above the table."""
    depth = _extent_along(extents_m, yaws_rad[0] + math.pi / 2 if yaws_rad else 0.0)
    width = _extent_along(extents_m, yaws_rad[0] if yaws_rad else 0.0)
    forward = max(0.5 * (width - 0.065), 0.0)  # the thumb reaches less far back than the fingers reach forward
    point_palm = np.array([_PALM_SURFACE_M + 0.006 + depth / 2, 0.0, forward])
    point_object = np.array([0.0, 0.0, height_m - extents_m[2] / 2])
    grip = 0.10 + 0.20 * min(mass_kg / 0.5, 1.0)
    return Grasp(FROM_THE_SIDE_RAD, _SIDE_PITCH_RAD, yaws_rad, point_object, point_palm, 0.12, _OPEN_WRAP, _CLOSED_WRAP, grip)


def pinch_grasp(
    surface_m: FloatArray,
    mass_kg: float,
    yaws_rad: tuple[float, ...],
    *,
    roll_rad: float = FROM_ABOVE_RAD,
    height_m: float | None = None,
    point_xy_m: tuple[float, float] = (0.0, 0.0),
    firmness: float = 1.0,
    most_force_n: float = MOST_FORCE_N,
) -> Grasp:
    """Fingertips against thumb, computed from surface points (P, 3) in the object's frame.

    Args:
        surface_m: points all over the surface.
        mass_kg: decides the force.
        yaws_rad: as in `Grasp`; the grasp is computed for the first.
        roll_rad: from above or from the side.
        height_m: of the fingertips above the table; where they reach best by default.
        point_xy_m: where on the object, in its frame.
        firmness: factor on the force that the weight asks for.
        most_force_n: upper bound of that force.
    """
    above = roll_rad > math.pi / 4
    pitch = _ABOVE_PITCH_RAD if above else _SIDE_PITCH_RAD
    yaw = yaws_rad[0] if yaws_rad else 0.0
    rotation = _rotation(roll_rad, pitch, yaw)
    level = _rotation(roll_rad, 0.0 if above else pitch, yaw)  # from above the fingertips close in a horizontal plane
    bottom, top = surface_m[:, 2].min(), surface_m[:, 2].max()
    size = top - bottom
    default = max(0.45 * size, _LOWEST_TIP_M) if above else min(max(0.5 * size, 0.085), 0.105)
    height = default if height_m is None else height_m
    reach = _PALM_SURFACE_M + _CLEARANCE_M
    if above:  # the palm stays above the object, the fingertips as low as they reach
        height = max(height, size + reach - 0.100) if height_m is None else height
        depth = max(_TIP_DEPTH_M, size + reach - height)
        point_object = np.array([*point_xy_m, bottom + height])
    else:
        towards_palm = rotation[:, 0] * np.array([1.0, 1.0, 0.0])
        face = ((surface_m - np.array([*point_xy_m, 0.0])) @ towards_palm).min()
        depth = min(max(_LEAST_SIDE_DEPTH_M, reach - face), _MOST_SIDE_DEPTH_M)
        short = max(reach - face - depth, 0.0)  # what is too deep for the hand is held nearer to its side
        point_object = np.array([*point_xy_m, bottom + height]) - short * towards_palm
    local = (surface_m - point_object) @ level  # (P, 3) m from the grasp point, x away from the palm, z along the closing
    near = np.abs(local[:, 0]) < 0.02
    wide = local[near] if near.any() else local
    half_width_y = min(wide[:, 1].max(), -wide[:, 1].min())
    spread = min(_SPREAD_M, 0.62 * half_width_y)
    middle = [_first_touch(local, lateral, sign) for lateral, sign in ((spread, 1), (0.0, 1), (-spread, 1), (0.0, -1))]
    width = middle[1] - middle[3] - 2 * FINGERTIP_RADIUS_M
    centre = min(max(0.015 + 0.25 * (width - 0.05), 0.008), 0.03)
    to_palm = rotation.T @ level
    point_palm = np.array([depth, 0.0, centre]) - to_palm @ np.array([0.0, 0.0, (middle[1] + middle[3]) / 2])
    tips = np.array([[0.0, lateral, z] for lateral, z in zip((spread, 0.0, -spread, 0.0), middle, strict=True)])
    inward = np.array([-1.0, -1.0, -1.0, 1.0])[:, None] * to_palm[:, 2]
    touch = tips @ to_palm.T + point_palm
    kinematics = fingertip_kinematics()
    open_rad = kinematics.solve(touch - _OPENING_M * inward)[0]
    touch_rad = kinematics.solve(touch)[0]
    force = min(firmness * (_LEAST_FORCE_N + _FORCE_PER_WEIGHT * mass_kg * _GRAVITY_M_PER_S2), most_force_n)
    forces = force * inward * np.array([1, 1, 1, 3])[:, None] / 3
    closed_rad = touch_rad + kinematics.torques(touch_rad, forces) / FINGER_STIFFNESS_NM_PER_RAD
    standoff = 0.10 if above else 0.12
    return Grasp(roll_rad, pitch, yaws_rad, point_object, point_palm, standoff, open_rad, closed_rad, 0.25)


def palm_rotations(roll_rad: FloatArray, pitch_rad: FloatArray, yaw_rad: FloatArray) -> FloatArray:
    """Palm rotations (R, 3, 3) in the world from roll, pitch and the yaw of the fingers' direction, (R,) each."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    cp, sp = np.cos(pitch_rad), np.sin(pitch_rad)
    z = np.stack([c * cp, s * cp, -sp], axis=-1)
    left = np.stack([-s, c, np.zeros_like(c)], axis=-1)
    down = np.stack([-c * sp, -s * sp, -cp], axis=-1)
    x = np.cos(roll_rad)[:, None] * left + np.sin(roll_rad)[:, None] * down
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _rotation(roll_rad: float, pitch_rad: float, yaw_rad: float) -> FloatArray:
    """One palm rotation (3, 3)."""
    return palm_rotations(np.array([roll_rad]), np.array([pitch_rad]), np.array([yaw_rad]))[0]


def nearest_yaw(heading_rad: float, yaws_rad: tuple[float, ...], preferred_rad: float = 0.0) -> float:
    """The world yaw nearest to the preferred one that a grasp allows for an object with this heading."""
    if not yaws_rad:
        return preferred_rad
    away = [math.remainder(heading_rad + yaw - preferred_rad, 2 * math.pi) for yaw in yaws_rad]
    return preferred_rad + min(away, key=abs)


def _extent_along(extents_m: tuple[float, float, float], yaw_rad: float) -> float:
    """Full extent of the box along a horizontal direction that is one of its axes."""
    return extents_m[0] if abs(math.cos(yaw_rad)) > 0.7 else extents_m[1]


def _first_touch(local: FloatArray, lateral_m: float, sign: int) -> float:
    """z at which the centre of a fingertip touches, coming along z from the side `sign` at y = `lateral_m`, x = 0.

    Args:
        local: (P, 3) m surface points in palm axes.
        lateral_m: y of the fingertip.
        sign: 1 comes from +z, -1 from -z.
    """
    radius = FINGERTIP_RADIUS_M
    off = local[:, 0] ** 2 + (local[:, 1] - lateral_m) ** 2
    near = off < radius**2
    if not near.any():  # nothing there: as if the object's middle ended here
        return 0.0
    return float(sign * (sign * local[near, 2] + np.sqrt(radius**2 - off[near])).max())
