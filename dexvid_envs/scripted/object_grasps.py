"""Which grasp suits which everyday object: a rule by shape, and what the rule cannot see (handles, bends)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from dexvid_envs.scripted.grasps import FROM_ABOVE_RAD, FROM_THE_SIDE_RAD, MOST_FORCE_N, FloatArray, Grasp, pinch_grasp
from robots.everyday import EverydayObject

_SURFACE_POINTS = 2048  # 2 to 5 mm apart on things of this size
_TALL_M = 0.13  # things at least this tall are held from the side
_ROUND_M = 0.002

_ACROSS_X, _ACROSS_Y = (0.0, math.pi), (math.pi / 2, -math.pi / 2)


@dataclasses.dataclass(frozen=True)
class GraspHint:
    """What is to be known of an object beyond its shape; None leaves it to the rule.

    Attributes:
        yaws_rad: directions of the fingers in the object's frame, the first one the reference.
        point_xy_m: where to hold it, in its frame.
        roll_rad: from above or from the side.
        height_m: of the fingertips above the table.
    """

    yaws_rad: tuple[float, ...] | None = None
    point_xy_m: tuple[float, float] = (0.0, 0.0)
    roll_rad: float | None = None
    height_m: float | None = None


#: The mug's handle points along +x, and its body stands that much off the middle of the box around both.
GRASP_HINTS: dict[str, GraspHint] = {
    "banana": GraspHint(height_m=0.016),
    "master_chef_can": GraspHint(roll_rad=FROM_ABOVE_RAD),
    "mustard_bottle": GraspHint(height_m=0.080),  # all fingers below the shoulder
    "mug": GraspHint(yaws_rad=tuple(side * angle for angle in (1.5, 1.2, 1.8) for side in (1, -1)), point_xy_m=(-0.0173, 0.0)),
}


def object_grasp(shape: EverydayObject, firmness: float = 1.0, most_force_n: float = MOST_FORCE_N) -> Grasp:
    """The grasp of an object as it rests on the table.

    Fingers and thumb close across the narrower side; anything round is taken from where the arm reaches best.
    `firmness` is a factor on the force that the weight asks for, `most_force_n` its upper bound.
    """
    hint = GRASP_HINTS.get(shape.name, GraspHint())
    surface = shape.surface_points(_SURFACE_POINTS)
    yaws = hint.yaws_rad
    if yaws is None:
        x, y, _ = shape.extents_m
        yaws = () if _is_round(surface, x, y) else _ACROSS_X if x <= y else _ACROSS_Y
    roll = hint.roll_rad
    if roll is None:
        roll = FROM_THE_SIDE_RAD if shape.extents_m[2] >= _TALL_M else FROM_ABOVE_RAD
    return pinch_grasp(
        surface,
        shape.mass_kg,
        yaws,
        roll_rad=roll,
        height_m=hint.height_m,
        point_xy_m=hint.point_xy_m,
        firmness=firmness,
        most_force_n=most_force_n,
    )


def _is_round(surface: FloatArray, x_m: float, y_m: float) -> bool:
    """Whether the outline seen from above is a circle around the middle."""
    radius = float(np.hypot(surface[:, 0], surface[:, 1]).max())
    return abs(x_m - y_m) < _ROUND_M and abs(radius - x_m / 2) < _ROUND_M
