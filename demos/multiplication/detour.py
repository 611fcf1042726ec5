"""Detours of the arm on its free way: to where the grasp begins, and home from where the object was left.

Those ways are straight between postures, and moved copies cut other corners than their source: where the hand would pass
through the object, it comes down beside it from above instead, or leaves so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demos.plan import minimum_jerk
from robots.arm_kinematics import palm_pose, solve_palm_pose

FloatArray = NDArray[np.float64]
#: What takes up room, in the palm's frame (m): the wrist, the palm, the straight fingers and the thumb, all of this radius.
_HAND_POINTS = np.array(
    [
        (0.0, 0.0, -0.14),
        (0.0, 0.0, -0.05),
        *[(0.01, y, 0.01) for y in (-0.045, 0.045)],
        *[(0.015, y, 0.06) for y in (-0.045, 0.0, 0.045)],
        *[(0.035, y, 0.11) for y in (-0.045, 0.0, 0.045)],
        (0.06, 0.03, -0.03),
        (0.09, 0.03, 0.01),
    ]
)
_HAND_RADIUS_M = 0.02
_NEARER_M = 0.01  # than the source came to its object: then the way is blocked
_HEIGHTS_M = (0.14, 0.22)
_TOP_AT = 0.65  # of the way, where the hand is above its end
_REACHED_M, _BETTER_M = 0.02, 0.002
_ITERATIONS, _LEAST_STEPS = 30, 4


def clearance(way: FloatArray, T_world_object: FloatArray, extents_m: FloatArray) -> FloatArray:
    """(N,) m the least distance of the hand on ways of the arm (N, S, 7) rad from objects on the table, taken as boxes.

    Args:
        way: arm angles.
        T_world_object: (N, 4, 4) upright objects.
        extents_m: (N, 3) of the objects.
    """
    count, steps, joints = way.shape
    palm = palm_pose(way.reshape(-1, joints)).reshape(count, steps, 4, 4)
    points = np.einsum("nsij,pj->nspi", palm[..., :3, :3], _HAND_POINTS) + palm[..., None, :3, 3]
    inside = np.einsum("nij,nspi->nspj", T_world_object[:, :3, :3], points - T_world_object[:, None, None, :3, 3])
    beyond = np.abs(inside) - 0.5 * extents_m[:, None, None]
    outside = np.linalg.norm(np.maximum(beyond, 0.0), axis=-1)
    return (outside + np.minimum(beyond.max(axis=-1), 0.0) - _HAND_RADIUS_M).min(axis=(1, 2))


def with_detours(way: FloatArray, T_world_object: FloatArray, extents_m: FloatArray, usual_m: float) -> FloatArray:
    """Ways (N, S, 7) rad, blocked ones led over their objects: the first such way that is clear, or the clearest.

    Args:
        way: arm angles; the last ones are those beside the object.
        T_world_object: (N, 4, 4) upright objects on the table.
        extents_m: (N, 3) of the objects.
        usual_m: the source's own clearance.
    """
    best = clearance(way, T_world_object, extents_m)
    way, plain = way.copy(), way
    for height in _HEIGHTS_M:
        rows = np.flatnonzero(best < usual_m - _NEARER_M)
        if not len(rows) or way.shape[1] < _LEAST_STEPS:
            break
        led, error = _led_over(plain[rows], height)
        room = np.where(error <= _REACHED_M, clearance(led, T_world_object[rows], extents_m[rows]), -np.inf)
        better = room > best[rows] + _BETTER_M
        way[rows[better]] = led[better]
        best[rows[better]] = room[better]
    return way


def _led_over(way: FloatArray, height_m: float) -> tuple[FloatArray, FloatArray]:
    """Ways (N, S, 7) rad that pass above their ends before they come down to them, and how far (N,) m that is from possible."""
    last = way.shape[1] - 1
    top = min(max(1, round(_TOP_AT * last)), last - 1)
    raised = palm_pose(way[:, -1])
    raised[:, 2, 3] += height_m
    over, error = solve_palm_pose(raised, way[:, -1], iterations=_ITERATIONS)
    time = np.arange(last + 1, dtype=np.float64)
    up = minimum_jerk(np.minimum(time / top, 1.0))[:, None]
    down = minimum_jerk(np.maximum((time - top) / (last - top), 0.0))[:, None]
    start, end = way[:, None, 0], way[:, None, -1]
    return start + up * (over[:, None] - start) + down * (end - over[:, None]), error
