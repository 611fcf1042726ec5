"""What is known of a hand before its postures are found, and how well postures agree with it: errors and their equations."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from demos.camera import project
from demos.extract.hand.flesh import add_surface, below_table
from demos.extract.hand.model import (
    ANGLE_RANGES_RAD,
    MARK_RATIOS,
    NUM_ANGLES,
    NUM_PARAMETERS,
    RELAXED_RAD,
    SPREAD_RAD,
    HandShape,
    Posture,
    cross_matrix,
    hand_points,
    hand_points_and_jacobians,
)
from demos.extract.hand.usual import Usual

FloatArray = NDArray[np.float64]

_LIMIT_SIGMA_RAD = 0.05  # beyond the end of a hinge's range
_TABLE_SIGMA_M = 0.01
#: Who handles things on a table holds the hand about level or fingers down, the palm facing down or sideways: height that the
#: palm gains towards the fingers, and that the direction in which it faces has, as shares of their lengths.
_USUAL_RISE, _RISE_SIGMA = -0.1, 0.4
_HIGHEST_FACING, _FACING_SIGMA = 0.2, 0.3


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """How much each kind of evidence is trusted.

    Attributes:
        pixel_sigma: of a detected key point, in apparent hand sizes.
        shape_sigma_m: of a key point of the detector's own 3D shape.
        turn_sigma_rad: of the direction in which the detector's shape is turned.
        angle_sigma_rad: of the angles of the hinges that the detector's shape has.
        usual_turn_sigma_rad: of the direction in which a hand usually is when the detector answers so.
        usual_angle_sigma_rad: of its hinges, where the answer is like no known one, and where it is like many.
        usual_pixel_sigma: as `pixel_sigma`, where the answer is like many known ones, of which most hide a part of the hand.
        usual_range_sigma: of how far away a hand usually is that looks so large, in parts of it, where the answer is like many.
        speed_m_s: usual speed of the wrist across and along the view.
        turn_rad_s: usual rate of turning.
        bend_rad_s: usual rate of the hinges.
        reach_sigma: how far a hand goes from its usual distance in a clip, in parts of it.
    """

    pixel_sigma: float = 0.07
    shape_sigma_m: float = 0.01
    turn_sigma_rad: float = 0.5
    angle_sigma_rad: float = 0.6
    usual_turn_sigma_rad: float = 0.25
    usual_angle_sigma_rad: tuple[float, float] = (0.4, 0.25)
    usual_pixel_sigma: float = 0.14
    usual_range_sigma: float = 0.1
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
        usual: how hands usually are when the detector answers so; where it is given, the prior is its posture and not the
            detector's shape.
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
    usual: Usual | None = None

    def __getitem__(self, frames: slice | NDArray) -> Seen:
        return dataclasses.replace(
            self,
            pixels=self.pixels[frames],
            size_px=self.size_px[frames],
            weight=self.weight[frames],
            prior=self.prior[frames],
            surface=None if self.surface is None else self.surface[frames],
            usual=None if self.usual is None else self.usual[frames],
        )


@dataclasses.dataclass
class ShapeEquations:
    """The shape's part of the normal equations: how it is tied to the postures, and its own."""

    mixed: FloatArray  # (T, 27, 30)
    normal: FloatArray  # (30, 30)
    gradient: FloatArray  # (30,)


@dataclasses.dataclass
class Equations:
    """Normal equations of one Gauss-Newton step, frame by frame; with the shape's part where it was asked for."""

    normal: FloatArray  # (T, 27, 27)
    gradient: FloatArray  # (T, 27)
    shape: ShapeEquations | None = None


def misfit(seen: Seen, posture: Posture, shape: HandShape, options: FitOptions) -> FloatArray:
    """How badly (T,) postures explain pixels and table, and how unusual they are."""
    sigma = _pixel_sigma(seen, options)
    points = hand_points(posture, shape)
    marks = points + mark_arms(posture, shape)
    squared = np.nan_to_num(((project(marks, seen.K) - seen.pixels) / sigma) ** 2).sum(axis=-1)
    beyond = posture.angles - np.clip(posture.angles, *ANGLE_RANGES_RAD.T)
    bent = ((posture.angles - RELAXED_RAD) / SPREAD_RAD) ** 2 + (beyond / _LIMIT_SIGMA_RAD) ** 2
    cost = 4.5 * np.log1p(squared / 9.0).sum(axis=1) + 0.5 * bent.sum(axis=1)
    if seen.table is not None:
        cost += 0.5 * ((below_table(points, seen.table, shape) / _TABLE_SIGMA_M) ** 2).sum(axis=1)
        cost += 4.5 * np.log1p(_unusual_turn(posture, seen.table[:3])[0] ** 2 / 9.0).sum(axis=1)
    return cost


def find_equations(seen: Seen, posture: Posture, shape: HandShape, options: FitOptions, *, of_shape: bool = False) -> Equations:
    """The normal equations of pixels, detector's shape, anatomy, surface points and table about given postures."""
    frames = len(posture)
    points, by_step, by_shape = hand_points_and_jacobians(posture, shape, of_shape=of_shape)
    arms = mark_arms(posture, shape)
    x, y, z = np.moveaxis(points + arms, -1, 0)
    z = np.maximum(z, 0.05)
    fx, fy = seen.K[0, 0], seen.K[1, 1]
    by_point = np.zeros((frames, 21, 2, 3))
    by_point[..., 0, 0], by_point[..., 0, 2] = fx / z, -fx * x / z**2
    by_point[..., 1, 1], by_point[..., 1, 2] = fy / z, -fy * y / z**2
    sigma = _pixel_sigma(seen, options)
    projected = np.stack([fx * x / z + seen.K[0, 2], fy * y / z + seen.K[1, 2]], axis=-1)
    error = np.nan_to_num((projected - seen.pixels) / sigma)
    squared = (error**2).sum(axis=-1)
    weight = seen.weight[:, None] / (1.0 + squared / 9.0)  # Cauchy's: an outlier pulls ever less
    by_point /= sigma[..., None]
    mark_by_step = by_step.copy()
    mark_by_step[..., :3] -= cross_matrix(arms)
    jacobian = (by_point @ mark_by_step).reshape(frames, 42, NUM_PARAMETERS)
    flat_weight = np.repeat(weight, 2, axis=1)
    weighted = jacobian * flat_weight[..., None]
    flat_error = error.reshape(frames, 42)
    normal = weighted.swapaxes(-1, -2) @ jacobian
    gradient = np.einsum("tkp,tk->tp", weighted, flat_error)
    shape_equations = None
    if of_shape:
        jacobian_shape = (by_point @ by_shape).reshape(frames, 42, 30)
        weighted_shape = (jacobian_shape * flat_weight[..., None]).reshape(-1, 30).T
        shape_equations = ShapeEquations(
            mixed=weighted.swapaxes(-1, -2) @ jacobian_shape,
            normal=weighted_shape @ jacobian_shape.reshape(-1, 30),
            gradient=weighted_shape @ flat_error.ravel(),
        )
    add_anatomy(normal, gradient, posture.angles)
    diagonal = np.arange(NUM_PARAMETERS)
    turn = Rotation.from_matrix(posture.rotation @ seen.prior.rotation.swapaxes(-1, -2)).as_rotvec()
    sure = (seen.weight > 0.0)[:, None]
    turn_sigma, angle_sigma = _prior_sigmas(seen, options)
    normal[:, diagonal[:3], diagonal[:3]] += sure * turn_sigma**-2
    gradient[:, :3] += sure * turn * turn_sigma**-2
    normal[:, diagonal[6:], diagonal[6:]] += sure * angle_sigma**-2
    gradient[:, 6:] += sure * (posture.angles - seen.prior.angles) * angle_sigma**-2
    normal[:, diagonal, diagonal] += 1e-6
    if seen.distance_m is not None:
        normal[:, 5, 5] += (options.reach_sigma * seen.distance_m) ** -2
        gradient[:, 5] += (posture.translation[:, 2] - seen.distance_m) * (options.reach_sigma * seen.distance_m) ** -2
    if seen.usual is not None:
        axis, range_m = seen.usual.axis, seen.usual.range_m
        stiff = seen.weight * seen.usual.familiar * (options.usual_range_sigma * range_m) ** -2
        away = (axis * posture.translation).sum(axis=1) - range_m
        normal[:, 3:6, 3:6] += stiff[:, None, None] * axis[:, :, None] * axis[:, None]
        gradient[:, 3:6] += (stiff * away)[:, None] * axis
    if seen.surface is not None:
        add_surface(normal, gradient, points, by_step, seen.surface, shape)
    if seen.table is not None:
        below = below_table(points, seen.table, shape) / _TABLE_SIGMA_M
        rising = np.einsum("i,tkip->tkp", seen.table[:3], by_step) * (below > 0.0)[..., None] / _TABLE_SIGMA_M
        normal += rising.swapaxes(-1, -2) @ rising
        gradient -= np.einsum("tkp,tk->tp", rising, below)
        _add_usual_turn(normal, gradient, posture, seen.table[:3])
    return Equations(normal, gradient, shape_equations)


def _pixel_sigma(seen: Seen, options: FitOptions) -> FloatArray:
    """(T, 1, 1) px, of a detected key point."""
    sigma = options.pixel_sigma * np.ones(len(seen.size_px))
    if seen.usual is not None:
        sigma *= (options.usual_pixel_sigma / options.pixel_sigma) ** seen.usual.familiar
    return np.maximum(sigma * seen.size_px, 0.7)[:, None, None]


def _prior_sigmas(seen: Seen, options: FitOptions) -> tuple[float, FloatArray]:
    """Of the prior's turn, and (T, 1) of its angles."""
    if seen.usual is None:
        return options.turn_sigma_rad, np.full((len(seen.size_px), 1), options.angle_sigma_rad)
    unknown, known = options.usual_angle_sigma_rad
    return options.usual_turn_sigma_rad, unknown * (known / unknown) ** seen.usual.familiar[:, None]


def _unusual_turn(posture: Posture, up: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How unusually (T, 2) a hand rises and faces, and the derivatives (T, 2, 3) by its turn; `up` is the upward direction."""
    facing, along = posture.rotation[..., 0], posture.rotation[..., 2]
    beyond = np.maximum(facing @ up - _HIGHEST_FACING, 0.0) / _FACING_SIGMA
    error = np.stack([(along @ up - _USUAL_RISE) / _RISE_SIGMA, beyond], axis=-1)
    by_facing = np.cross(facing, up) * (beyond > 0.0)[:, None] / _FACING_SIGMA
    return error, np.stack([np.cross(along, up) / _RISE_SIGMA, by_facing], axis=1)


def _add_usual_turn(normal: FloatArray, gradient: FloatArray, posture: Posture, up: FloatArray) -> None:
    error, by_turn = _unusual_turn(posture, up)
    weight = 1.0 / (1.0 + error**2 / 9.0)
    weighted = by_turn * weight[..., None]
    normal[:, :3, :3] += weighted.swapaxes(-1, -2) @ by_turn
    gradient[:, :3] += np.einsum("tkp,tk->tp", weighted, error)


def mark_arms(posture: Posture, shape: HandShape) -> FloatArray:
    """(T, 21, 3) m from the key points to the places that the detector marks."""
    return (MARK_RATIOS * float(np.linalg.norm(shape.palm_m[2]))) @ posture.rotation.swapaxes(-1, -2)


def add_anatomy(normal: FloatArray, gradient: FloatArray, angles: FloatArray) -> None:
    """Hinges are near the relaxed hand and within their range; the outer two of a finger bend together."""
    hinge = 6 + np.arange(NUM_ANGLES)
    normal[:, hinge, hinge] += SPREAD_RAD**-2
    gradient[:, 6:] += (angles - RELAXED_RAD) * SPREAD_RAD**-2
    low, high = ANGLE_RANGES_RAD.T
    beyond = np.where(angles < low, angles - low, np.where(angles > high, angles - high, 0.0))
    normal[:, hinge, hinge] += (beyond != 0.0) * _LIMIT_SIGMA_RAD**-2
    gradient[:, 6:] += beyond * _LIMIT_SIGMA_RAD**-2
