"""The pose of a rigid thing in one frame, or in all of them, from sightings of points that are known, by robust least squares.

What sightings and poses are stands in `rigid_sightings`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg import solveh_banded

from demos.extract.objects.rigid_sightings import (
    CHUNK,
    NEAREST,
    ROBUST_DEPTH,
    FloatArray,
    Sightings,
    as_rotvec,
    linearise,
    moved_poses,
    sums_of,
)


def fit_pose(
    turn: FloatArray,
    place: FloatArray,
    points: FloatArray,
    sightings: Sightings,
    turn_sigma: float,
    shift_sigma: FloatArray,
    iterations: int = 8,
) -> tuple[FloatArray, FloatArray]:
    """One pose (3, 3), (3,) from sightings of known points, expected near the given one."""
    start_turn, start_place = turn, place
    single = dataclasses.replace(sightings, frame=np.zeros(len(sightings), np.int64))
    scale = 1.0 / np.concatenate([np.full(3, turn_sigma), shift_sigma])
    turned_by = np.zeros(3)
    for _ in range(iterations):
        linear = linearise(turn[None], place[None], points, single)
        by_pose = linear.by_pose.reshape(-1, 6)
        off = np.concatenate([turned_by, place - start_place])
        step = -np.linalg.solve(by_pose.T @ by_pose + np.diag(scale**2), by_pose.T @ linear.error.ravel() + scale**2 * off)
        step[3:] = np.clip(step[3:], -0.5 * abs(place[2]), 0.5 * abs(place[2]))
        new_turn, new_place = moved_poses(turn[None], place[None], step[None])
        turn, place = new_turn[0], new_place[0]
        if np.abs(step).max() < 1e-5:
            break
        turned_by = as_rotvec(turn @ start_turn.T)
    return turn, place


@dataclasses.dataclass(frozen=True)
class PathPrior:
    """What is expected of the path in n frames.

    Attributes:
        turn_step: rad; how much the turn may differ from an even one in a step.
        shift_step: in the unit of length; how much the path may differ from an even one in a step.
        depth: (n,) of the thing's origin; NaN where unknown.
        depth_sigma: (n,) its standard deviation.
        turn: (n, 3, 3); NaN where unknown.
        turn_sigma: rad, its standard deviation.
    """

    turn_step: float
    shift_step: float
    depth: FloatArray
    depth_sigma: FloatArray
    turn: FloatArray
    turn_sigma: float


def fit_path(
    turn: FloatArray,
    place: FloatArray,
    points: FloatArray,
    sightings: Sightings,
    prior: PathPrior,
    iterations: int = 8,
) -> tuple[FloatArray, FloatArray]:
    """Poses (n, 3, 3), (n, 3) of all frames from sightings of known points, steady over time.

    Args:
        turn: (n, 3, 3) to start from.
        place: (n, 3) to start from.
        points: (P, 3) in the thing's frame.
        sightings: of the points in the n frames.
        prior: what is expected.
        iterations: Gauss-Newton steps.
    """
    frames = len(turn)
    scale = 1.0 / np.repeat([prior.turn_step, prior.shift_step], 3)
    level, facing = np.isfinite(prior.depth), np.isfinite(prior.turn[:, 0, 0])
    for _ in range(iterations):
        A, a = _path_normal(turn, place, points, sightings)
        off = (place[level, 2] - prior.depth[level]) / prior.depth_sigma[level]
        weight = 1.0 / (1.0 + off**2 / ROBUST_DEPTH**2) / prior.depth_sigma[level]
        A[level, 5, 5] += weight / prior.depth_sigma[level]
        a[level, 5] += weight * off
        if facing.any():
            turned = as_rotvec(turn[facing] @ prior.turn[facing].swapaxes(-1, -2)) / prior.turn_sigma
            weight = 1.0 / (1.0 + (turned**2).sum(axis=1, keepdims=True) / ROBUST_DEPTH**2) / prior.turn_sigma
            for axis in range(3):
                A[facing, axis, axis] += weight[:, 0] / prior.turn_sigma
            a[facing, :3] += weight * turned
        A[:, range(6), range(6)] += 1e-6 * scale**2
        band = _banded(A)
        if frames > 2:
            speed = np.concatenate([as_rotvec(turn[1:] @ turn[:-1].swapaxes(-1, -2)), np.diff(place, axis=0)], axis=1)
            bend = np.diff(speed, axis=0) * scale**2  # (n - 2, 6); its derivative by three poses is 1, -2, 1
            for offset, factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
                a[offset : frames - 2 + offset] += factor * bend
                for other, other_factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
                    if other >= offset:
                        start = np.arange(offset, frames - 2 + offset)
                        for axis in range(6):
                            band[6 * (other - offset), 6 * start + axis] += factor * other_factor * scale[axis] ** 2
        step = -solveh_banded(band, a.ravel(), lower=True, check_finite=False).reshape(-1, 6)
        longest = np.abs(step).max(initial=0.0)
        step[:, :3] = np.clip(step[:, :3], -0.5, 0.5)
        turn, place = moved_poses(turn, place, step)
        place[:, 2] = np.maximum(place[:, 2], 2.0 * NEAREST)
        if longest < 1e-4:
            break
    return turn, place


def _path_normal(
    turn: FloatArray, place: FloatArray, points: FloatArray, sightings: Sightings
) -> tuple[FloatArray, FloatArray]:
    """Normal matrices (n, 6, 6) and gradients (n, 6) of each pose, a bounded number of sightings at a time."""
    A, a = np.zeros((len(turn), 36)), np.zeros((len(turn), 6))
    for start in range(0, len(sightings), CHUNK):
        part = sightings.part(start, start + CHUNK)
        linear = linearise(turn, place, points, part)
        first, last = int(part.frame[0]), int(part.frame[-1]) + 1
        gather = sums_of(part.frame - first, last - first)
        A[first:last] += gather @ np.einsum("mki,mkj->mij", linear.by_pose, linear.by_pose).reshape(-1, 36)
        a[first:last] += gather @ np.einsum("mki,mk->mi", linear.by_pose, linear.error)
    return A.reshape(-1, 6, 6), a


def _banded(A: FloatArray) -> FloatArray:
    """Blocks (n, 6, 6) on the diagonal as a lower band matrix (13, 6 n), with room for the two blocks beside them."""
    frames = len(A)
    band = np.zeros((13, frames, 6))
    for row in range(6):
        for column in range(row + 1):
            band[row - column, :, column] = A[:, row, column]
    return band.reshape(13, 6 * frames)
