"""Shape and motion of a rigid thing from its points in the picture of a static camera, by robust least squares.

`adjust` finds points and poses together on a few key frames; `place_points` finds points when the poses are known, `rigid_path`
poses when the points are. All take depths of single points where there are any. What is expected of the shape, and metres, are
left to `lift`; what sightings and poses are stands in `rigid_sightings`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from demos.extract.objects.rigid_sightings import (
    CHUNK,
    FloatArray,
    IntArray,
    Sightings,
    as_rotvec,
    linearise,
    moved_poses,
    sums_of,
)


@dataclasses.dataclass(frozen=True)
class PointPrior:
    """What is expected of the points (P, 3): their distance along a direction, and everywhere a little.

    Attributes:
        place: (P, 3) expected, in the thing's frame.
        direction: (P, 3) unit vector along which `sigma` counts.
        sigma: (P,) standard deviation along it.
        across_sigma: (P,) standard deviation in all directions.
    """

    place: FloatArray
    direction: FloatArray
    sigma: FloatArray
    across_sigma: FloatArray


@dataclasses.dataclass(frozen=True)
class Links:
    """How poses that follow each other may differ, for L pairs.

    Attributes:
        before: (L,) index of the pose.
        after: (L,) index of the pose.
        turn: (L, 3, 3) expected, in the camera frame, from the one to the other.
        turn_sigma: (L,) rad.
        shift_sigma: (L, 3) in the unit of length, along the camera's axes.
    """

    before: IntArray
    after: IntArray
    turn: FloatArray
    turn_sigma: FloatArray
    shift_sigma: FloatArray


def adjust(
    turn: FloatArray,
    place: FloatArray,
    points: FloatArray,
    sightings: Sightings,
    prior: PointPrior,
    links: Links,
    fixed: int,
    iterations: int = 12,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bundle adjustment: poses (n, 3, 3), (n, 3) and points (P, 3) that explain the sightings best; pose `fixed` stays.

    Levenberg-Marquardt; the points are eliminated first (Schur complement).
    """
    frames, count = len(turn), len(points)
    by_frame, by_point = sums_of(sightings.frame, frames), sums_of(sightings.point, count)
    free = np.delete(np.arange(6 * frames).reshape(frames, 6), fixed, axis=0).ravel()
    damping, cost = 1e-3, np.inf
    linear = linearise(turn, place, points, sightings)
    cost = linear.cost + _prior_cost(points, prior) + _link_cost(turn, place, links)
    for _ in range(iterations):
        A = (by_frame @ np.einsum("mki,mkj->mij", linear.by_pose, linear.by_pose).reshape(-1, 36)).reshape(-1, 6, 6)
        a = by_frame @ np.einsum("mki,mk->mi", linear.by_pose, linear.error)
        B = (by_point @ np.einsum("mki,mkj->mij", linear.by_point, linear.by_point).reshape(-1, 9)).reshape(-1, 3, 3)
        b = by_point @ np.einsum("mki,mk->mi", linear.by_point, linear.error)
        cross = np.zeros((frames, 6, count, 3))
        cross[sightings.frame, :, sightings.point, :] = np.einsum("mki,mkj->mij", linear.by_pose, linear.by_point)
        _add_prior(B, b, points, prior)
        H = np.zeros((frames, 6, frames, 6))
        H[np.arange(frames), :, np.arange(frames), :] = A
        _add_links(H, a, turn, place, links)
        H, cross = H.reshape(6 * frames, 6 * frames)[np.ix_(free, free)], cross.reshape(6 * frames, 3 * count)[free]
        improved = False
        while damping < 1e6:
            inverse = np.linalg.inv(B * (1.0 + damping * np.eye(3)) + 1e-9 * np.eye(3))
            reduced = np.einsum("fpi,pij->fpj", cross.reshape(-1, count, 3), inverse).reshape(-1, 3 * count)
            S = H + damping * np.diag(np.diag(H)) + 1e-9 * np.eye(len(H)) - reduced @ cross.T
            step = np.zeros(6 * frames)
            try:
                step[free] = -cho_solve(cho_factor(S), a.ravel()[free] - reduced @ b.ravel())
            except LinAlgError:
                damping *= 10.0
                continue
            shift = -np.einsum("pij,pj->pi", inverse, b + (cross.T @ step[free]).reshape(-1, 3))
            new_turn, new_place = moved_poses(turn, place, step.reshape(-1, 6))
            new_points = points + shift
            new = linearise(new_turn, new_place, new_points, sightings)
            new_cost = new.cost + _prior_cost(new_points, prior) + _link_cost(new_turn, new_place, links)
            if new_cost < cost:
                improved = cost - new_cost > 1e-4 * cost
                turn, place, points, linear, cost = new_turn, new_place, new_points, new, new_cost
                damping = max(damping / 10.0, 1e-7)
                break
            damping *= 10.0
        if not improved:
            break
    return turn, place, points


def _prior_cost(points: FloatArray, prior: PointPrior) -> float:
    off = points - prior.place
    along = (off * prior.direction).sum(axis=-1) / prior.sigma
    return float(0.5 * (along**2).sum() + 0.5 * ((off / prior.across_sigma[:, None]) ** 2).sum())


def _add_prior(B: FloatArray, b: FloatArray, points: FloatArray, prior: PointPrior) -> None:
    off = points - prior.place
    direction = prior.direction / prior.sigma[:, None]
    weak = prior.across_sigma**-2
    B += direction[:, :, None] * direction[:, None, :] + weak[:, None, None] * np.eye(3)
    b += direction * (off * direction).sum(axis=-1, keepdims=True) + weak[:, None] * off


def _link_errors(turn: FloatArray, place: FloatArray, links: Links) -> tuple[FloatArray, FloatArray]:
    """Whitened differences (L, 6) and what whitens them (L, 6)."""
    turned = turn[links.after] @ turn[links.before].swapaxes(-1, -2) @ links.turn.swapaxes(-1, -2)
    scale = 1.0 / np.concatenate([np.repeat(links.turn_sigma[:, None], 3, axis=1), links.shift_sigma], axis=1)
    return np.concatenate([as_rotvec(turned), place[links.after] - place[links.before]], axis=1) * scale, scale


def _link_cost(turn: FloatArray, place: FloatArray, links: Links) -> float:
    return float(0.5 * (_link_errors(turn, place, links)[0] ** 2).sum()) if len(links.before) else 0.0


def _add_links(H: FloatArray, a: FloatArray, turn: FloatArray, place: FloatArray, links: Links) -> None:
    if not len(links.before):
        return
    error, scale = _link_errors(turn, place, links)
    for first, second, e, s in zip(links.before, links.after, error, scale, strict=True):
        squared = np.diag(s**2)  # a turn's derivative by the two small turns is nearly one
        H[first, :, first, :] += squared
        H[second, :, second, :] += squared
        H[first, :, second, :] -= squared
        H[second, :, first, :] -= squared
        a[first] -= s * e
        a[second] += s * e


def place_points(
    turn: FloatArray,
    place: FloatArray,
    points: FloatArray,
    sightings: Sightings,
    prior: PointPrior,
    iterations: int = 4,
) -> FloatArray:
    """Points (P, 3) from sightings in frames of known pose."""
    for _ in range(iterations):
        B, b = np.zeros((len(points), 9)), np.zeros((len(points), 3))
        for start in range(0, len(sightings), CHUNK):
            part = sightings.part(start, start + CHUNK)
            linear = linearise(turn, place, points, part)
            gather = sums_of(part.point, len(points))
            B += gather @ np.einsum("mki,mkj->mij", linear.by_point, linear.by_point).reshape(-1, 9)
            b += gather @ np.einsum("mki,mk->mi", linear.by_point, linear.error)
        matrix = B.reshape(-1, 3, 3)
        _add_prior(matrix, b, points, prior)
        points = points - np.linalg.solve(matrix, b[..., None])[..., 0]
    return points
