"""Fits the hand model to what was seen: key points in the picture, the detector's 3D shape, a depth camera's surface points.

Robust Gauss-Newton over whole stretches of video. Consecutive frames are coupled by how fast a hand can move, so the
equations are banded and cost the same for every frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from demos.camera import solve_translation
from demos.extract.hand.evidence import (
    Equations,
    FitOptions,
    Seen,
    ShapeEquations,
    add_anatomy,
    find_equations,
    mark_arms,
    misfit,
)
from demos.extract.hand.flesh import SURFACE_REACH_M, SURFACE_SIGMA_M, SURFACE_TRUST, surface_distances
from demos.extract.hand.model import (
    MARK_RATIOS,
    NUM_ANGLES,
    NUM_PARAMETERS,
    PALM_SIGMA,
    PHALANX_SIGMA,
    RELAXED_RAD,
    HandShape,
    Posture,
    cross_matrix,
    hand_points,
    hand_points_and_jacobians,
    parts,
)

FloatArray = NDArray[np.float64]

_PALM = np.array([0, 1, 5, 9, 13, 17])
_TIPPED_BETTER = 0.7  # the tipped-over posture has to explain a frame this much better
_SIZES = np.array([0.88, 0.94, 1.0, 1.06, 1.12])  # of a hand, among which its own is found
_SIZE_SIGMA = 0.06  # of the logarithm
_SIZE_FRAMES, _SIZE_POINTS = (5, 24), 60  # frames at least and at most; surface points of each at least
_SIZE_EVIDENCE = 3.0  # frames of one clip err together: they count as so many
_WINDOW, _OVERLAP = 512, 32  # frames solved together; what lies farther back hardly matters


def posture_of_shape(points: FloatArray, shape: HandShape, options: FitOptions, iterations: int = 8) -> Posture:
    """The posture whose key points meet points (T, 21, 3) m, such as the detector's shape; each frame by itself."""
    return Posture.joined([_posture_of_part(points[part], shape, options, iterations) for part in parts(len(points))])


def _posture_of_part(points: FloatArray, shape: HandShape, options: FitOptions, iterations: int) -> Posture:
    marks = MARK_RATIOS * float(np.linalg.norm(shape.palm_m[2]))
    template = (hand_points(_still(1), shape)[0] + marks)[_PALM]
    origin = points[:, _PALM].mean(axis=1)
    rotation = _turn_onto(template - template.mean(axis=0), points[:, _PALM] - origin[:, None])
    posture = Posture(
        rotation,
        origin - rotation @ template.mean(axis=0),
        np.tile(RELAXED_RAD, (len(points), 1)),
    )
    for _ in range(iterations):
        now, by_step, _ = hand_points_and_jacobians(posture, shape, of_shape=False)
        arms = mark_arms(posture, shape)
        by_step[..., :3] -= cross_matrix(arms)
        error = (now + arms - points) / options.shape_sigma_m
        weight = 1.0 / np.maximum(1.0, np.linalg.norm(error, axis=-1) / 2.0)
        jacobian = by_step.reshape(len(points), 63, NUM_PARAMETERS) / options.shape_sigma_m
        weighted = jacobian * np.repeat(weight, 3, axis=1)[..., None]
        normal = weighted.swapaxes(-1, -2) @ jacobian
        gradient = np.einsum("tkp,tk->tp", weighted, error.reshape(len(points), 63))
        add_anatomy(normal, gradient, posture.angles)
        posture = posture.moved(-np.linalg.solve(normal, gradient[..., None])[..., 0])
    return posture


def settle(
    seen: Seen, start: Posture, shape: HandShape, options: FitOptions, iterations: int = 8
) -> tuple[Posture, FloatArray]:
    """The postures that each frame by itself leads to from a start, and their misfit (T,)."""
    settled = [_settle_part(seen[part], start[part], shape, options, iterations) for part in parts(len(start))]
    return Posture.joined([posture for posture, _ in settled]), np.concatenate([cost for _, cost in settled])


def _settle_part(
    seen: Seen, start: Posture, shape: HandShape, options: FitOptions, iterations: int
) -> tuple[Posture, FloatArray]:
    posture = start
    for _ in range(iterations):
        equations = find_equations(seen, posture, shape, options)
        posture = posture.moved(-np.linalg.solve(equations.normal, equations.gradient[..., None])[..., 0])
    return posture, misfit(seen, posture, shape, options)


def best_start(
    seen: Seen, shape: HandShape, options: FitOptions, further: Callable[[FloatArray], FloatArray] | None = None
) -> tuple[Seen, Posture, FloatArray]:
    """Tries the detector's 3D shape as it is and tipped over to the far side, which looks nearly the same in a picture.

    Args:
        seen: the evidence, T frames.
        shape: of the hand.
        options: how much each kind of evidence is trusted.
        further: what else speaks against key points (T, 21, 3) m, as (T,).

    Returns:
        What was seen with the better prior in each frame, the posture to start from, and its misfit (T,).
    """
    tries: list[tuple[Posture, Posture, FloatArray]] = []
    for prior in (seen.prior, _tipped(seen.prior)):
        candidate = dataclasses.replace(seen, prior=prior)
        posture, cost = settle(candidate, start_of(prior, seen.pixels, shape, seen.K), shape, options)
        if further is not None:
            cost = cost + further(hand_points(posture, shape))
        tries.append((prior, posture, gaussian_filter1d(cost, 0.3 * seen.fps, mode="nearest")))
    tip = tries[1][2] < _TIPPED_BETTER * tries[0][2]
    prior, posture = (
        Posture(
            np.where(tip[:, None, None], b.rotation, a.rotation),
            np.where(tip[:, None], b.translation, a.translation),
            np.where(tip[:, None], b.angles, a.angles),
        )
        for a, b in ((tries[0][0], tries[1][0]), (tries[0][1], tries[1][1]))
    )
    return dataclasses.replace(seen, prior=prior), posture, np.where(tip, tries[1][2], tries[0][2])


def _tipped(posture: Posture) -> Posture:
    """The hand mirrored in depth and then turned so that it is a right hand again."""
    side, along = posture.rotation[..., 1] * [1.0, 1.0, -1.0], posture.rotation[..., 2] * [1.0, 1.0, -1.0]
    return dataclasses.replace(posture, rotation=np.stack([np.cross(side, along), side, along], axis=-1))


def fit_clip(
    seen: Seen, start: Posture, shape: HandShape, options: FitOptions, shape_frames: int = 150
) -> tuple[Posture, HandShape]:
    """The postures of all frames and the proportions of the hand.

    The proportions are found on up to `shape_frames` frames spread over the clip, then kept.
    """
    chosen = np.flatnonzero(seen.weight >= np.median(seen.weight[seen.weight > 0.0]))
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, shape_frames).round().astype(int))]
    posture, fitted = start[chosen], shape
    for iteration in range(10):
        equations = find_equations(seen[chosen], posture, fitted, options, of_shape=iteration >= 4)
        if equations.shape is None:
            posture = posture.moved(-np.linalg.solve(equations.normal, equations.gradient[..., None])[..., 0])
        else:
            posture, fitted = _joint_step(equations, equations.shape, posture, fitted, shape)
    distance_m = float(np.median(posture.translation[:, 2]))
    return follow(dataclasses.replace(seen, distance_m=distance_m), start, fitted, options), fitted


def size_by_surface(seen: Seen, surface: FloatArray, posture: Posture, shape: HandShape, options: FitOptions) -> float:
    """The factor by which a hand has to be larger to fit both pixels and surface points; near 1, as people's hands are.

    Each of some frames is fitted by itself with hands of several sizes; what they cost together is a parabola near its least.

    Args:
        seen: the evidence, T frames.
        surface: (T, M, 3) m, points that a depth camera saw on or about the hand; NaN where there are fewer.
        posture: to start from.
        shape: the hand with which it was found.
        options: how much each kind of evidence is trusted.
    """
    seen = dataclasses.replace(seen, surface=surface)
    chosen = np.flatnonzero((seen.weight > 0.3) & (np.isfinite(surface[..., 0]).sum(axis=1) >= _SIZE_POINTS))
    if len(chosen) < _SIZE_FRAMES[0]:
        return 1.0
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, _SIZE_FRAMES[1]).round().astype(int))]
    costs: list[float] = []
    for factor in _SIZES:
        scaled = HandShape(factor * shape.palm_m, factor * shape.phalanges_m)
        settled, cost = settle(seen[chosen], posture[chosen], scaled, options)
        distance, *_ = surface_distances(hand_points(settled, scaled), surface[chosen], scaled)
        far = np.minimum(np.abs(distance), SURFACE_REACH_M) / SURFACE_SIGMA_M
        cost = cost + 0.5 * SURFACE_TRUST * (np.log1p(far**2) * np.isfinite(surface[chosen, :, 0])).sum(axis=1)
        costs.append(_SIZE_EVIDENCE * float(np.median(cost)) + 0.5 * float(np.log(factor) / _SIZE_SIGMA) ** 2)
    curve = np.polyfit(np.log(_SIZES), costs, 2)
    least = -0.5 * curve[1] / curve[0] if curve[0] > 0.0 else np.log(_SIZES[int(np.argmin(costs))])
    return float(np.exp(np.clip(least, np.log(_SIZES[0]), np.log(_SIZES[-1]))))


def follow(seen: Seen, start: Posture, shape: HandShape, options: FitOptions, iterations: int = 10) -> Posture:
    """The postures of all frames of a hand of known shape, smooth over time."""
    rotation, translation, angles = (np.empty_like(part) for part in (start.rotation, start.translation, start.angles))
    for first in range(0, len(start), _WINDOW):
        low, high = max(0, first - _OVERLAP), min(len(start), first + _WINDOW + _OVERLAP)
        posture = start[low:high]
        for _ in range(iterations):
            equations = find_equations(seen[low:high], posture, shape, options)
            posture = posture.moved(-_banded_step(equations, posture, seen.fps, options))
        inner = slice(first - low, first - low + min(_WINDOW, len(start) - first))
        outer = slice(first, first + _WINDOW)
        rotation[outer], translation[outer] = posture.rotation[inner], posture.translation[inner]
        angles[outer] = posture.angles[inner]
    return Posture(rotation, translation, angles)


def _joint_step(
    equations: Equations, of_shape: ShapeEquations, posture: Posture, fitted: HandShape, average: HandShape
) -> tuple[Posture, HandShape]:
    """One step of postures and shape together; the evidence of many frames is not independent, so it counts for fewer."""
    length = float(np.linalg.norm(average.palm_m[2]))
    sigma = np.concatenate([np.full(15, PALM_SIGMA * length), np.full(15, PHALANX_SIGMA)])
    sigma[6:9] = 1e-5  # the base of the middle finger gives the scale
    values = np.concatenate([fitted.palm_m.ravel(), np.log(fitted.phalanges_m).ravel()])
    usual = np.concatenate([average.palm_m.ravel(), np.log(average.phalanges_m).ravel()])
    share = 1.0 / max(1.0, len(posture) / 15.0)
    right = np.concatenate([equations.gradient[..., None], of_shape.mixed], axis=-1)
    solved = np.linalg.solve(equations.normal, right)  # (T, 27, 31)
    mixed = of_shape.mixed.reshape(-1, 30).T
    normal = of_shape.normal - mixed @ solved[..., 1:].reshape(-1, 30)
    gradient = of_shape.gradient - mixed @ solved[..., 0].ravel()
    normal = share * normal + np.diag(sigma**-2)
    gradient = share * gradient + (values - usual) * sigma**-2
    step = -np.linalg.solve(normal, gradient)
    values = values + step
    fitted = HandShape(values[:15].reshape(5, 3), np.exp(values[15:]).reshape(5, 3))
    return posture.moved(-(solved[..., 0] + solved[..., 1:] @ step)), fitted


def _banded_step(equations: Equations, posture: Posture, fps: float, options: FitOptions) -> FloatArray:
    """The Gauss-Newton step (T, 27) with consecutive frames coupled."""
    frames, width = equations.gradient.shape
    rate = np.concatenate(
        [np.full(3, options.turn_rad_s), np.array(options.speed_m_s)[[0, 0, 1]], np.full(NUM_ANGLES, options.bend_rad_s)]
    )
    sigma = rate / fps
    change = np.concatenate(
        [
            Rotation.from_matrix(posture.rotation[1:] @ posture.rotation[:-1].swapaxes(-1, -2)).as_rotvec(),
            np.diff(posture.translation, axis=0),
            np.diff(posture.angles, axis=0),
        ],
        axis=-1,
    )
    sudden = np.maximum(1.0, np.abs(change) / (2.0 * sigma))  # sudden turns are rare, not impossible
    sudden[:, 3:6] = 1.0  # but an arm is heavy
    stiff = sigma**-2 / sudden
    pull = stiff * change
    normal, gradient = equations.normal, equations.gradient
    diagonal = np.arange(width)
    normal[1:, diagonal, diagonal] += stiff
    normal[:-1, diagonal, diagonal] += stiff
    gradient[1:] += pull
    gradient[:-1] -= pull
    band = np.zeros((width + 1, frames, width))  # lower form: row d holds the entries d below the diagonal
    for below in range(width):
        rows = np.arange(width - below)
        band[below, :, : width - below] = normal[:, rows + below, rows]
    band[width, :-1] = -stiff
    return solveh_banded(band.reshape(width + 1, -1), gradient.reshape(-1), lower=True, check_finite=False).reshape(
        frames, width
    )


def start_of(prior: Posture, pixels: FloatArray, shape: HandShape, K: FloatArray) -> Posture:
    """The prior posture moved to where its pixels are."""
    points = hand_points(dataclasses.replace(prior, translation=np.zeros_like(prior.translation)), shape)
    translation = solve_translation(points, pixels, K, np.ones(points.shape[:2]))
    return dataclasses.replace(prior, translation=translation)


def _still(frames: int) -> Posture:
    return Posture(np.tile(np.eye(3), (frames, 1, 1)), np.zeros((frames, 3)), np.tile(RELAXED_RAD, (frames, 1)))


def _turn_onto(template: FloatArray, points: FloatArray) -> FloatArray:
    """Rotations (T, 3, 3) that turn a template (N, 3) best onto points (T, N, 3), both about their mean."""
    u, _, vt = np.linalg.svd(np.einsum("ni,tnj->tij", template, points))
    handed = np.sign(np.linalg.det(u @ vt))
    vt[:, 2] *= handed[:, None]
    return (u @ vt).swapaxes(-1, -2)
