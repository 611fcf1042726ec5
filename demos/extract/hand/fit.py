"""Fits the hand model to what was seen: key points in the picture, the detector's 3D shape, a depth camera's surface points.

Robust Gauss-Newton over whole stretches of video. Consecutive frames are coupled by how fast a hand can move, so the
equations are banded and cost the same for every frame.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from demos.camera import project, solve_translation
from demos.extract.hand.model import (
    ANGLE_RANGES_RAD,
    MARK_RATIOS,
    NUM_ANGLES,
    NUM_PARAMETERS,
    PALM_SIGMA,
    PHALANX_SIGMA,
    RADIUS_RATIOS,
    RELAXED_RAD,
    SPREAD_RAD,
    HandShape,
    Posture,
    cross_matrix,
    hand_points,
    hand_points_and_jacobians,
    parts,
)
from demos.interaction import HAND_BONES

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_LIMIT_SIGMA_RAD = 0.05  # beyond the end of a hinge's range
_PALM = np.array([0, 1, 5, 9, 13, 17])
_TIPPED_BETTER = 0.7  # the tipped-over posture has to explain a frame this much better
_SURFACE_SIGMA_M = 0.004
_SURFACE_REACH_M = 0.025  # a point farther from the hand belongs to something else
_SURFACE_TRUST = 0.2  # neighbouring points of a depth picture err together
_TABLE_SIGMA_M = 0.01
_SIZES = np.array([0.88, 0.94, 1.0, 1.06, 1.12])  # of a hand, among which its own is found
_SIZE_SIGMA = 0.06  # of the logarithm
_SIZE_FRAMES, _SIZE_POINTS = (5, 24), 60  # frames at least and at most; surface points of each at least
_SIZE_EVIDENCE = 3.0  # frames of one clip err together: they count as so many
_WINDOW, _OVERLAP = 512, 32  # frames solved together; what lies farther back hardly matters


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """How much each kind of evidence is trusted.

    Attributes:
        pixel_sigma: of a detected key point, in apparent hand sizes.
        shape_sigma_m: of a key point of the detector's own 3D shape.
        turn_sigma_rad: of the direction in which the detector's shape is turned.
        angle_sigma_rad: of the angles of the hinges that the detector's shape has.
        speed_m_s: usual speed of the wrist across and along the view.
        turn_rad_s: usual rate of turning.
        bend_rad_s: usual rate of the hinges.
        reach_sigma: how far a hand goes from its usual distance in a clip, in parts of it.
    """

    pixel_sigma: float = 0.07
    shape_sigma_m: float = 0.01
    turn_sigma_rad: float = 0.5
    angle_sigma_rad: float = 0.6
    speed_m_s: tuple[float, float] = (1.0, 0.2)
    turn_rad_s: float = 3.0
    bend_rad_s: float = 4.0
    reach_sigma: float = 0.15


@dataclasses.dataclass(frozen=True)
class Seen:
    """What is known of a right hand in T frames (a left hand is mirrored before).

    Attributes:
        pixels: (T, 21, 2) px; NaN where unknown.
        size_px: (T,) apparent size of the hand.
        weight: (T,) in [0, 1], trust in the pixels of a frame; 0 where there are none.
        prior: the posture by the detector's 3D shape alone.
        K: (3, 3) px.
        fps: frames a second.
        distance_m: usual distance of the hand in the clip; None where that is not known.
        surface: (T, M, 3) m, points that a depth camera saw on or about the hand; NaN where there are fewer.
        table: (4,) upward direction in the camera frame and height of the camera above the table in m; no hand is below it.
    """

    pixels: FloatArray
    size_px: FloatArray
    weight: FloatArray
    prior: Posture
    K: FloatArray
    fps: float
    distance_m: float | None = None
    surface: FloatArray | None = None
    table: FloatArray | None = None

    def __getitem__(self, frames: slice | NDArray) -> Seen:
        return dataclasses.replace(
            self,
            pixels=self.pixels[frames],
            size_px=self.size_px[frames],
            weight=self.weight[frames],
            prior=self.prior[frames],
            surface=None if self.surface is None else self.surface[frames],
        )


@dataclasses.dataclass
class _Equations:
    """Normal equations of one Gauss-Newton step: frame by frame, with the shape's part beside it."""

    normal: FloatArray  # (T, 27, 27)
    gradient: FloatArray  # (T, 27)
    mixed: FloatArray  # (T, 27, 30)
    shape_normal: FloatArray  # (30, 30)
    shape_gradient: FloatArray  # (30,)


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
        now, by_step, _ = hand_points_and_jacobians(posture, shape)
        arms = _mark_arms(posture, shape)
        by_step[..., :3] -= cross_matrix(arms)
        error = (now + arms - points) / options.shape_sigma_m
        weight = 1.0 / np.maximum(1.0, np.linalg.norm(error, axis=-1) / 2.0)
        jacobian = by_step.reshape(len(points), 63, NUM_PARAMETERS) / options.shape_sigma_m
        weighted = jacobian * np.repeat(weight, 3, axis=1)[..., None]
        normal = weighted.swapaxes(-1, -2) @ jacobian
        gradient = np.einsum("tkp,tk->tp", weighted, error.reshape(len(points), 63))
        _add_anatomy(normal, gradient, posture.angles)
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
        equations = _equations(seen, posture, shape, options)
        posture = posture.moved(-np.linalg.solve(equations.normal, equations.gradient[..., None])[..., 0])
    return posture, misfit(seen, posture, shape, options)


def misfit(seen: Seen, posture: Posture, shape: HandShape, options: FitOptions) -> FloatArray:
    """How badly (T,) postures explain pixels and table, and how unusual they are."""
    sigma = np.maximum(options.pixel_sigma * seen.size_px, 0.7)[:, None, None]
    points = hand_points(posture, shape)
    marks = points + _mark_arms(posture, shape)
    squared = np.nan_to_num(((project(marks, seen.K) - seen.pixels) / sigma) ** 2).sum(axis=-1)
    beyond = posture.angles - np.clip(posture.angles, *ANGLE_RANGES_RAD.T)
    bent = ((posture.angles - RELAXED_RAD) / SPREAD_RAD) ** 2 + (beyond / _LIMIT_SIGMA_RAD) ** 2
    cost = 4.5 * np.log1p(squared / 9.0).sum(axis=1) + 0.5 * bent.sum(axis=1)
    if seen.table is not None:
        cost += 0.5 * ((_below_table(points, seen.table, shape) / _TABLE_SIGMA_M) ** 2).sum(axis=1)
    return cost


def best_start(seen: Seen, shape: HandShape, options: FitOptions) -> tuple[Seen, Posture]:
    """Tries the detector's 3D shape as it is and tipped over to the far side, which looks nearly the same in a picture.

    Returns:
        What was seen with the better prior in each frame, and the posture to start from.
    """
    tries: list[tuple[Posture, Posture, FloatArray]] = []
    for prior in (seen.prior, _tipped(seen.prior)):
        candidate = dataclasses.replace(seen, prior=prior)
        posture, cost = settle(candidate, start_of(prior, seen.pixels, shape, seen.K), shape, options)
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
    return dataclasses.replace(seen, prior=prior), posture


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
        equations = _equations(seen[chosen], posture, fitted, options)
        if iteration < 4:
            posture = posture.moved(-np.linalg.solve(equations.normal, equations.gradient[..., None])[..., 0])
        else:
            posture, fitted = _joint_step(equations, posture, fitted, shape)
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
        far = np.minimum(np.abs(distance), _SURFACE_REACH_M) / _SURFACE_SIGMA_M
        cost = cost + 0.5 * _SURFACE_TRUST * (np.log1p(far**2) * np.isfinite(surface[chosen, :, 0])).sum(axis=1)
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
            equations = _equations(seen[low:high], posture, shape, options)
            posture = posture.moved(-_banded_step(equations, posture, seen.fps, options))
        inner = slice(first - low, first - low + min(_WINDOW, len(start) - first))
        outer = slice(first, first + _WINDOW)
        rotation[outer], translation[outer] = posture.rotation[inner], posture.translation[inner]
        angles[outer] = posture.angles[inner]
    return Posture(rotation, translation, angles)


def _equations(seen: Seen, posture: Posture, shape: HandShape, options: FitOptions) -> _Equations:
    frames = len(posture)
    points, by_step, by_shape = hand_points_and_jacobians(posture, shape)
    arms = _mark_arms(posture, shape)
    x, y, z = np.moveaxis(points + arms, -1, 0)
    z = np.maximum(z, 0.05)
    fx, fy = seen.K[0, 0], seen.K[1, 1]
    by_point = np.zeros((frames, 21, 2, 3))
    by_point[..., 0, 0], by_point[..., 0, 2] = fx / z, -fx * x / z**2
    by_point[..., 1, 1], by_point[..., 1, 2] = fy / z, -fy * y / z**2
    sigma = np.maximum(options.pixel_sigma * seen.size_px, 0.7)[:, None, None]
    projected = np.stack([fx * x / z + seen.K[0, 2], fy * y / z + seen.K[1, 2]], axis=-1)
    error = np.nan_to_num((projected - seen.pixels) / sigma)
    squared = (error**2).sum(axis=-1)
    weight = seen.weight[:, None] / (1.0 + squared / 9.0)  # Cauchy's: an outlier pulls ever less
    by_point /= sigma[..., None]
    mark_by_step = by_step.copy()
    mark_by_step[..., :3] -= cross_matrix(arms)
    jacobian = (by_point @ mark_by_step).reshape(frames, 42, NUM_PARAMETERS)
    jacobian_shape = (by_point @ by_shape).reshape(frames, 42, 30)
    flat_weight = np.repeat(weight, 2, axis=1)
    weighted = jacobian * flat_weight[..., None]
    flat_error = error.reshape(frames, 42)
    normal = weighted.swapaxes(-1, -2) @ jacobian
    gradient = np.einsum("tkp,tk->tp", weighted, flat_error)
    mixed = weighted.swapaxes(-1, -2) @ jacobian_shape
    weighted_shape = jacobian_shape * flat_weight[..., None]
    shape_normal = np.einsum("tkp,tkq->pq", weighted_shape, jacobian_shape)
    shape_gradient = np.einsum("tkp,tk->p", weighted_shape, flat_error)
    _add_anatomy(normal, gradient, posture.angles)
    diagonal = np.arange(NUM_PARAMETERS)
    turn = Rotation.from_matrix(posture.rotation @ seen.prior.rotation.swapaxes(-1, -2)).as_rotvec()
    sure = (seen.weight > 0.0)[:, None]
    normal[:, diagonal[:3], diagonal[:3]] += sure * options.turn_sigma_rad**-2
    gradient[:, :3] += sure * turn * options.turn_sigma_rad**-2
    normal[:, diagonal[6:], diagonal[6:]] += sure * options.angle_sigma_rad**-2
    gradient[:, 6:] += sure * (posture.angles - seen.prior.angles) * options.angle_sigma_rad**-2
    normal[:, diagonal, diagonal] += 1e-6
    if seen.distance_m is not None:
        normal[:, 5, 5] += (options.reach_sigma * seen.distance_m) ** -2
        gradient[:, 5] += (posture.translation[:, 2] - seen.distance_m) * (options.reach_sigma * seen.distance_m) ** -2
    if seen.surface is not None:
        _add_surface(normal, gradient, points, by_step, seen.surface, shape)
    if seen.table is not None:
        below = _below_table(points, seen.table, shape) / _TABLE_SIGMA_M
        rising = np.einsum("i,tkip->tkp", seen.table[:3], by_step) * (below > 0.0)[..., None] / _TABLE_SIGMA_M
        normal += rising.swapaxes(-1, -2) @ rising
        gradient -= np.einsum("tkp,tk->tp", rising, below)
    return _Equations(normal, gradient, mixed, shape_normal, shape_gradient)


def _add_surface(
    normal: FloatArray, gradient: FloatArray, points: FloatArray, by_step: FloatArray, surface: FloatArray, shape: HandShape
) -> None:
    """Each surface point near the hand lies on the flesh of the bone that is nearest to it."""
    frames = len(points)
    distance, bone, along, outwards = surface_distances(points, surface, shape)
    weight = np.where(np.abs(distance) < _SURFACE_REACH_M, 1.0, 0.0) / (1.0 + (distance / _SURFACE_SIGMA_M) ** 2)
    weight *= _SURFACE_TRUST * _SURFACE_SIGMA_M**-2
    by_point = np.zeros((frames, 21, 3, 21, 3))  # curvature of the error by the key points' places
    pull = np.zeros((frames, 21, 3))
    for number, (parent, child) in enumerate(HAND_BONES):
        own = np.where(bone == number, weight, 0.0)
        for first, share in ((parent, 1.0 - along), (child, along)):
            pull[:, first] -= np.einsum("tm,tmi->ti", own * share * distance, outwards)
            for second, other in ((parent, 1.0 - along), (child, along)):
                by_point[:, first, :, second] += (outwards.swapaxes(-1, -2) * (own * share * other)[:, None]) @ outwards
    jacobian = by_step.reshape(frames, 63, NUM_PARAMETERS)
    normal += jacobian.swapaxes(-1, -2) @ by_point.reshape(frames, 63, 63) @ jacobian
    gradient += np.einsum("tkp,tk->tp", jacobian, pull.reshape(frames, 63))


def _mark_arms(posture: Posture, shape: HandShape) -> FloatArray:
    """(T, 21, 3) m from the key points to the places that the detector marks."""
    return (MARK_RATIOS * float(np.linalg.norm(shape.palm_m[2]))) @ posture.rotation.swapaxes(-1, -2)


def _below_table(points: FloatArray, table: FloatArray, shape: HandShape) -> FloatArray:
    """How far (T, 21) the flesh about key points reaches into the table, m; 0 where it does not."""
    radii = RADIUS_RATIOS * float(np.linalg.norm(shape.palm_m[2]))
    return np.maximum(radii - (points @ table[:3] + table[3]), 0.0)


def surface_distances(
    points: FloatArray, surface: FloatArray, shape: HandShape
) -> tuple[FloatArray, NDArray[np.int64], FloatArray, FloatArray]:
    """Where surface points (T, M, 3) lie on the hand with key points (T, 21, 3).

    Returns:
        (T, M) signed distance from the flesh of the nearest bone in m (infinite where there is no point), the bone's number in
        `HAND_BONES`, the place along the bone in [0, 1], and (T, M, 3) the direction out of the bone.
    """
    radii = RADIUS_RATIOS * float(np.linalg.norm(shape.palm_m[2]))
    best = np.full(surface.shape[:2], np.inf)
    bone, along, outwards = np.zeros(best.shape, np.int64), np.zeros(best.shape), np.zeros(surface.shape)
    for number, (parent, child) in enumerate(HAND_BONES):
        axis = points[:, child] - points[:, parent]  # (T, 3)
        arm = surface - points[:, parent, None]
        share = np.einsum("tmi,ti->tm", arm, axis) / np.maximum((axis**2).sum(axis=-1), 1e-9)[:, None]
        share = np.clip(share, 0.0, 1.0)
        out = arm - share[..., None] * axis[:, None]
        length = np.linalg.norm(out, axis=-1)
        distance = length - (radii[parent] + share * (radii[child] - radii[parent]))
        nearer = np.abs(distance) < np.abs(best)  # NaN compares as farther
        best[nearer], bone[nearer], along[nearer] = distance[nearer], number, share[nearer]
        outwards[nearer] = out[nearer] / np.maximum(length[nearer], 1e-9)[:, None]
    return np.where(np.isfinite(best), best, 1e3), bone, along, outwards


def _add_anatomy(normal: FloatArray, gradient: FloatArray, angles: FloatArray) -> None:
    """Hinges are near the relaxed hand and within their range; the outer two of a finger bend together."""
    hinge = 6 + np.arange(NUM_ANGLES)
    normal[:, hinge, hinge] += SPREAD_RAD**-2
    gradient[:, 6:] += (angles - RELAXED_RAD) * SPREAD_RAD**-2
    low, high = ANGLE_RANGES_RAD.T
    beyond = np.where(angles < low, angles - low, np.where(angles > high, angles - high, 0.0))
    normal[:, hinge, hinge] += (beyond != 0.0) * _LIMIT_SIGMA_RAD**-2
    gradient[:, 6:] += beyond * _LIMIT_SIGMA_RAD**-2


def _joint_step(equations: _Equations, posture: Posture, fitted: HandShape, average: HandShape) -> tuple[Posture, HandShape]:
    """One step of postures and shape together; the evidence of many frames is not independent, so it counts for fewer."""
    length = float(np.linalg.norm(average.palm_m[2]))
    sigma = np.concatenate([np.full(15, PALM_SIGMA * length), np.full(15, PHALANX_SIGMA)])
    sigma[6:9] = 1e-5  # the base of the middle finger gives the scale
    values = np.concatenate([fitted.palm_m.ravel(), np.log(fitted.phalanges_m).ravel()])
    usual = np.concatenate([average.palm_m.ravel(), np.log(average.phalanges_m).ravel()])
    share = 1.0 / max(1.0, len(posture) / 15.0)
    right = np.concatenate([equations.gradient[..., None], equations.mixed], axis=-1)
    solved = np.linalg.solve(equations.normal, right)  # (T, 27, 31)
    normal = equations.shape_normal - np.einsum("tpq,tpr->qr", equations.mixed, solved[..., 1:])
    gradient = equations.shape_gradient - np.einsum("tpq,tp->q", equations.mixed, solved[..., 0])
    normal = share * normal + np.diag(sigma**-2)
    gradient = share * gradient + (values - usual) * sigma**-2
    step = -np.linalg.solve(normal, gradient)
    values = values + step
    fitted = HandShape(values[:15].reshape(5, 3), np.exp(values[15:]).reshape(5, 3))
    return posture.moved(-(solved[..., 0] + solved[..., 1:] @ step)), fitted


def _banded_step(equations: _Equations, posture: Posture, fps: float, options: FitOptions) -> FloatArray:
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


def view_turns(pixels: FloatArray, K: FloatArray) -> FloatArray:
    """(T, 3, 3) turns from the viewing direction of the image centre to that of pixels (T, 2): a cut-out looks that way."""
    ray = np.concatenate([(pixels - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((len(pixels), 1))], axis=-1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    axis = np.cross([0.0, 0.0, 1.0], ray)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    return Rotation.from_rotvec(axis / np.maximum(sine, 1e-12) * np.arcsin(np.clip(sine, 0.0, 1.0))).as_matrix()


def _still(frames: int) -> Posture:
    return Posture(np.tile(np.eye(3), (frames, 1, 1)), np.zeros((frames, 3)), np.tile(RELAXED_RAD, (frames, 1)))


def _turn_onto(template: FloatArray, points: FloatArray) -> FloatArray:
    """Rotations (T, 3, 3) that turn a template (N, 3) best onto points (T, N, 3), both about their mean."""
    u, _, vt = np.linalg.svd(np.einsum("ni,tnj->tij", template, points))
    handed = np.sign(np.linalg.det(u @ vt))
    vt[:, 2] *= handed[:, None]
    return (u @ vt).swapaxes(-1, -2)
