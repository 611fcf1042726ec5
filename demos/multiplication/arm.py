"""The arm's angles along the palm's new paths: near the demonstration's where that goes, else in another posture.

The arm has many postures for one palm pose and cannot pass between all of them. Where the demonstrated one comes to a joint's
limit on a copy's path, others are tried, each followed along the whole path; the one that reaches it without folding over wins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robots.arm_hand import ARM_HAND
from robots.arm_kinematics import solve_palm_pose

FloatArray = NDArray[np.float64]
_ITERATIONS, _FIRST_ITERATIONS, _FOLLOWING_ITERATIONS = 10, 40, 4
_POSTURES = 12
_REACHED_M, _FOLD_RAD = 0.001, 0.08  # a path is followed with less error, and with smaller changes beside the demonstration's
_FOLD_COST_M = 0.05  # metres of error that a radian of folding counts for
_FAR_RAD, _FAR_COST_M = 1.2, 0.01  # a posture that begins so far from the demonstration's swings widely to get there
_SPREAD = np.random.default_rng(0).uniform(-0.8, 0.8, (_POSTURES, ARM_HAND.arm_joints))  # fixed: a plan never depends on luck
_SPREAD[0] = 0.0


def solve_paths(palm: FloatArray, seed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Arm angles along palm paths.

    Args:
        palm: (N, S, 4, 4) wanted palm frames.
        seed: (N, S, 7) rad the demonstration's angles.

    Returns:
        (N, S, 7) rad angles within the limits, and (N,) m largest remaining errors.
    """
    count, steps, joints = seed.shape
    solved, error = solve_palm_pose(palm.reshape(-1, 4, 4), seed.reshape(-1, joints), _ITERATIONS)
    arm, worst = solved.reshape(seed.shape), error.reshape(count, steps).max(axis=-1)
    cost = _cost(arm, seed, worst)
    bad = np.flatnonzero(cost > _REACHED_M)
    if len(bad):
        followed, remaining = _best_followed(palm[bad], seed[bad])
        better = _cost(followed, seed[bad], remaining) < cost[bad]
        arm[bad[better]] = followed[better]
        worst[bad[better]] = remaining[better]
    return arm, worst


def _cost(arm: FloatArray, seed: FloatArray, error_m: FloatArray) -> FloatArray:
    """(N,) m of angles (N, S, 7) rad: errors, folding beside the demonstration, and where they begin far from it."""
    folding = np.maximum(_folding(arm, seed) - _FOLD_RAD, 0.0)
    far = np.maximum(np.abs(arm[:, 0] - seed[:, 0]).max(axis=-1) - _FAR_RAD, 0.0)
    return error_m + _FOLD_COST_M * folding + _FAR_COST_M * far


def _best_followed(palm: FloatArray, seed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The best of several postures for each path: angles (N, S, 7) rad and their errors (N,) m."""
    count, steps, joints = seed.shape
    starts = (seed[:, None, 0] + _SPREAD).reshape(-1, joints)
    paths, ahead = np.repeat(palm, _POSTURES, axis=0), np.repeat(np.diff(seed, axis=1), _POSTURES, axis=0)
    arm = np.empty((count * _POSTURES, steps, joints))
    arm[:, 0], worst = solve_palm_pose(paths[:, 0], starts, _FIRST_ITERATIONS)
    for step in range(1, steps):
        following = arm[:, step - 1] + ahead[:, step - 1]
        arm[:, step], error = solve_palm_pose(paths[:, step], following, _FOLLOWING_ITERATIONS)
        worst = np.maximum(worst, error)
    usual = np.repeat(seed, _POSTURES, axis=0)
    cost = _cost(arm, usual, worst) + 1e-4 * np.abs(arm[:, 0] - usual[:, 0]).max(axis=-1)  # of equals, the one that is near
    best = cost.reshape(count, _POSTURES).argmin(axis=-1) + np.arange(count) * _POSTURES
    return arm[best], worst[best]


def _folding(arm: FloatArray, seed: FloatArray) -> FloatArray:
    """(N,) rad by which a joint turns at most from one step to the next beside what it does in the demonstration."""
    return np.abs(np.diff(arm - seed, axis=1)).max(axis=(1, 2))
