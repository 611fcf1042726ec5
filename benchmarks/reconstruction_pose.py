"""Errors of an object's pose: its frame may lie anywhere in the object, and turns that its shape does not show are free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.reconstruction_truth import Symmetry
from demos.camera import fit_rigid, transform

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_MOST_CANDIDATES = 60
_ROUNDS = 10  # of reweighting
_MIN_POINTS = 4


def rotation_errors(estimated: FloatArray, true: FloatArray, symmetry: Symmetry) -> FloatArray:
    """Angle (N,) rad between rotations (N, 3, 3), apart from one turn of the object's frame that is the same in all frames.

    That turn is the one of the smallest median error over the clip. Rows with NaN give NaN.
    """
    errors = np.full(len(estimated), np.nan)
    known = np.flatnonzero(np.isfinite(estimated).all(axis=(1, 2)))
    if len(known) == 0:
        return errors
    relative = true[known].swapaxes(-1, -2) @ estimated[known]  # true R_object_estimate; constant where all is well
    errors[known] = {"sphere": _no_errors, "axis": _axis_errors, "finite": _finite_errors}[symmetry.kind](relative, symmetry)
    return errors


def _no_errors(relative: FloatArray, symmetry: Symmetry) -> FloatArray:
    return np.zeros(len(relative))


def _axis_errors(relative: FloatArray, symmetry: Symmetry) -> FloatArray:
    """How far the true axis is from one direction in the estimate's frame."""
    axes = relative[:, 2]  # (N, 3) the true z axis in the estimate's frame

    def angles(axis: FloatArray) -> FloatArray:
        cosine = axes @ axis
        return np.arccos(np.clip(np.abs(cosine) if len(symmetry.turns) > 1 else cosine, -1.0, 1.0))

    best = min(_some(axes), key=lambda axis: float(np.median(angles(axis))))
    for _ in range(_ROUNDS):
        weight = 1.0 / (angles(best) + 1e-3)
        sign = np.where((axes @ best < 0.0) & (len(symmetry.turns) > 1), -1.0, 1.0)
        mean = (weight * sign) @ axes
        best = mean / np.linalg.norm(mean)
    return angles(best)


def _finite_errors(relative: FloatArray, symmetry: Symmetry) -> FloatArray:
    """How far the turn from object to estimate is from one that is the same in all frames, up to the symmetry's turns."""

    def angles(turn: FloatArray) -> FloatArray:
        """(N, S)"""
        differences = np.einsum("nji,sjk,kl->nsil", relative, symmetry.turns, turn)  # relative^T S turn
        cosine = 0.5 * (np.trace(differences, axis1=-2, axis2=-1) - 1.0)
        return np.arccos(np.clip(cosine, -1.0, 1.0))

    best = min(_some(relative), key=lambda turn: float(np.median(angles(turn).min(axis=1))))
    for _ in range(_ROUNDS):
        by_turn = angles(best)
        chosen = symmetry.turns[by_turn.argmin(axis=1)]
        weight = 1.0 / (by_turn.min(axis=1) + 1e-3)
        best = Rotation.from_matrix(chosen.swapaxes(-1, -2) @ relative).mean(weight).as_matrix()
    return angles(best).min(axis=1)


def _some(candidates: FloatArray) -> FloatArray:
    """Evenly spread rows, at most a fixed number."""
    chosen = np.unique(np.linspace(0, len(candidates) - 1, _MOST_CANDIDATES).round().astype(int))
    return candidates[chosen]


def position_errors(
    estimated: FloatArray,
    true: FloatArray,
    points_world: FloatArray,
    visible: BoolArray,
    place_object: FloatArray,
    symmetry: Symmetry,
) -> FloatArray:
    """Distance (N,) m of the object as the estimate places it from where it is, at the middle of the estimate's points.

    Where that middle lies in the true object and in the estimate's own object frame follows from the estimate's points
    (N, P, 3), whose places on the true object (P, 3) are known. A wrong depth of the whole object is therefore not hidden by
    the choice of the frame. On a shape that may turn unseen, the nearest point that does not move by it stands for the middle.
    Without points it is the object's own middle, by the constant offset that suits best.

    Args:
        estimated: (N, 4, 4) in the world; NaN where unknown.
        true: (N, 4, 4).
        points_world: (N, P, 3) m.
        visible: (N, P).
        place_object: (P, 3) m; NaN where unknown.
        symmetry: of the shape.
    """
    known = np.isfinite(estimated).all(axis=(1, 2))
    if not known.any():
        return np.full(len(estimated), np.nan)
    T_estimate_world = np.linalg.inv(estimated[known])
    own = np.where(visible[known][..., None], transform(T_estimate_world, points_world[known]), np.nan)
    usable = np.isfinite(own).all(axis=-1).any(axis=0) & np.isfinite(place_object).all(axis=-1)
    place_true = np.zeros(3)
    if usable.sum() >= _MIN_POINTS:
        T_estimate_true, _ = fit_rigid(place_object[usable], np.nanmedian(own[:, usable], axis=0), iterations=20)
        fixed = {"sphere": (0.0, 0.0, 0.0), "axis": (0.0, 0.0, 1.0), "finite": (1.0, 1.0, 1.0)}[symmetry.kind]
        place_true = np.median(place_object[usable], axis=0) * fixed
        place_estimate = transform(T_estimate_true, place_true[None])[0]
    else:
        place_estimate = np.median(transform(T_estimate_world, true[known, None, :3, 3])[:, 0], axis=0)
    errors = np.full(len(estimated), np.nan)
    difference = transform(estimated[known], place_estimate[None, None]) - transform(true[known], place_true[None, None])
    errors[known] = np.linalg.norm(difference[:, 0], axis=-1)
    return errors
