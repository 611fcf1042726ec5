"""Shape and motion of a rigid thing from its points in the picture of a static camera, by robust least squares.

`adjust` finds points and poses together on a few key frames; `fit_path` finds the pose of every frame when the points are
known. Both take depths of single points where there are any. What is expected of the shape, and metres, are left to `lift`.

Images are given as rays (x / z, y / z). A pose is a turn (3, 3) and a place (3,) of the thing in the camera frame; its small
changes are (w, v): turn about the thing's own origin, then shift, both in the camera frame.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solveh_banded
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_ROBUST_RAY = 2.5  # sigmas; beyond this a sighting loses its say (Cauchy)
_ROBUST_DEPTH = 2.0
_NEAREST = 0.02  # as a share of the unit of length; points are never taken nearer to the camera
_CHUNK = 100_000  # sightings linearised at once, which bounds the memory


@dataclasses.dataclass(frozen=True)
class Sightings:
    """M sightings of points in frames.

    Attributes:
        frame: (M,) index of the pose, ascending.
        point: (M,) index of the point; no pair comes twice.
        ray: (M, 2) x / z and y / z.
        ray_sigma: (M,) its standard deviation.
        depth: (M,) z; NaN where unknown.
        depth_sigma: (M,) its standard deviation.
        weight: (M,) how much it counts; below 1 where many sightings err alike.
    """

    frame: IntArray
    point: IntArray
    ray: FloatArray
    ray_sigma: FloatArray
    depth: FloatArray
    depth_sigma: FloatArray
    weight: FloatArray

    def __len__(self) -> int:
        return len(self.frame)

    def pick(self, keep: BoolArray) -> Sightings:
        """Those that are kept (M,)."""
        return Sightings(*(getattr(self, field.name)[keep] for field in dataclasses.fields(self)))

    def part(self, start: int, end: int) -> Sightings:
        """A range of them, without copying."""
        return Sightings(*(getattr(self, field.name)[start:end] for field in dataclasses.fields(self)))


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


@dataclasses.dataclass
class _Linear:
    """Whitened errors (M, 3) of sightings with their derivatives by pose (M, 3, 6) and point (M, 3, 3), and the robust cost."""

    error: FloatArray
    by_pose: FloatArray
    by_point: FloatArray
    cost: float


def project_points(turn: FloatArray, place: FloatArray, points: FloatArray, sightings: Sightings) -> FloatArray:
    """Sighted points (M, 3) in the camera frame."""
    return np.einsum("mij,mj->mi", turn[sightings.frame], points[sightings.point]) + place[sightings.frame]


def ray_errors(turn: FloatArray, place: FloatArray, points: FloatArray, sightings: Sightings) -> FloatArray:
    """Distance (M,) of the sightings from where their points should be seen, in the unit of rays."""
    seen = project_points(turn, place, points, sightings)
    return np.linalg.norm(seen[:, :2] / np.maximum(seen[:, 2:], _NEAREST) - sightings.ray, axis=-1)


def _linearise(turn: FloatArray, place: FloatArray, points: FloatArray, sightings: Sightings) -> _Linear:
    turned = np.einsum("mij,mj->mi", turn[sightings.frame], points[sightings.point])
    camera = turned + place[sightings.frame]
    z = np.maximum(camera[:, 2], _NEAREST)
    x, y = camera[:, 0] / z, camera[:, 1] / z
    known = np.isfinite(sightings.depth)
    ray_scale = 1.0 / sightings.ray_sigma
    depth_scale = np.where(known, 1.0 / sightings.depth_sigma, 0.0)
    error = np.stack([(x - sightings.ray[:, 0]) * ray_scale, (y - sightings.ray[:, 1]) * ray_scale, np.zeros(len(z))], axis=-1)
    error[known, 2] = (z - sightings.depth)[known] * depth_scale[known]
    # Cauchy: cost c^2/2 log(1 + e^2/c^2), weight 1 / (1 + e^2/c^2), separately for the ray and the depth
    ray_excess = (error[:, :2] ** 2).sum(axis=-1) / _ROBUST_RAY**2
    depth_excess = error[:, 2] ** 2 / _ROBUST_DEPTH**2
    cost = 0.5 * _ROBUST_RAY**2 * np.log1p(ray_excess) + 0.5 * _ROBUST_DEPTH**2 * np.log1p(depth_excess)
    root = np.sqrt(sightings.weight)
    ray_root, depth_root = root / np.sqrt(1.0 + ray_excess), root / np.sqrt(1.0 + depth_excess)
    by_camera = np.zeros((len(z), 3, 3))
    by_camera[:, 0, 0] = by_camera[:, 1, 1] = ray_scale * ray_root / z
    by_camera[:, 0, 2], by_camera[:, 1, 2] = -x * by_camera[:, 0, 0], -y * by_camera[:, 1, 1]
    by_camera[:, 2, 2] = depth_scale * depth_root
    error[:, :2] *= ray_root[:, None]
    error[:, 2] *= depth_root
    by_turn = np.cross(turned[:, None, :], by_camera, axis=-1)  # d(w x p) along g is w . (p x g)
    by_pose = np.concatenate([by_turn, by_camera], axis=-1)
    return _Linear(error, by_pose, by_camera @ turn[sightings.frame], float(sightings.weight @ cost))


def _as_rotvec(turn: FloatArray) -> FloatArray:
    """Rotation vectors (..., 3) of turns (..., 3, 3)."""
    return Rotation.from_matrix(turn).as_rotvec()


def _moved(turn: FloatArray, place: FloatArray, step: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Poses (n, 3, 3) and (n, 3) after small changes (n, 6)."""
    return Rotation.from_rotvec(step[:, :3]).as_matrix() @ turn, place + step[:, 3:]


def _gather(index: IntArray, count: int) -> csr_matrix:
    """Matrix (count, M) that sums rows with the same index."""
    return csr_matrix((np.ones(len(index)), (index, np.arange(len(index)))), shape=(count, len(index)))


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
    by_frame, by_point = _gather(sightings.frame, frames), _gather(sightings.point, count)
    free = np.delete(np.arange(6 * frames).reshape(frames, 6), fixed, axis=0).ravel()
    damping, cost = 1e-3, np.inf
    linear = _linearise(turn, place, points, sightings)
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
            new_turn, new_place = _moved(turn, place, step.reshape(-1, 6))
            new_points = points + shift
            new = _linearise(new_turn, new_place, new_points, sightings)
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
    return np.concatenate([_as_rotvec(turned), place[links.after] - place[links.before]], axis=1) * scale, scale


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
    for _ in range(iterations):
        linear = _linearise(turn[None], place[None], points, single)
        off = np.concatenate([_as_rotvec(turn @ start_turn.T), place - start_place])
        H = np.einsum("mki,mkj->ij", linear.by_pose, linear.by_pose) + np.diag(scale**2)
        step = -np.linalg.solve(H, np.einsum("mki,mk->i", linear.by_pose, linear.error) + scale**2 * off)
        step[3:] = np.clip(step[3:], -0.5 * abs(place[2]), 0.5 * abs(place[2]))
        new_turn, new_place = _moved(turn[None], place[None], step[None])
        turn, place = new_turn[0], new_place[0]
        if np.abs(step).max() < 1e-5:
            break
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
        weight = 1.0 / (1.0 + off**2 / _ROBUST_DEPTH**2) / prior.depth_sigma[level]
        A[level, 5, 5] += weight / prior.depth_sigma[level]
        a[level, 5] += weight * off
        if facing.any():
            turned = _as_rotvec(turn[facing] @ prior.turn[facing].swapaxes(-1, -2)) / prior.turn_sigma
            weight = 1.0 / (1.0 + (turned**2).sum(axis=1, keepdims=True) / _ROBUST_DEPTH**2) / prior.turn_sigma
            for axis in range(3):
                A[facing, axis, axis] += weight[:, 0] / prior.turn_sigma
            a[facing, :3] += weight * turned
        A[:, range(6), range(6)] += 1e-6 * scale**2
        band = _banded(A)
        if frames > 2:
            speed = np.concatenate([_as_rotvec(turn[1:] @ turn[:-1].swapaxes(-1, -2)), np.diff(place, axis=0)], axis=1)
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
        turn, place = _moved(turn, place, step)
        place[:, 2] = np.maximum(place[:, 2], 2.0 * _NEAREST)
        if longest < 1e-4:
            break
    return turn, place


def _path_normal(
    turn: FloatArray, place: FloatArray, points: FloatArray, sightings: Sightings
) -> tuple[FloatArray, FloatArray]:
    """Normal matrices (n, 6, 6) and gradients (n, 6) of each pose, a bounded number of sightings at a time."""
    A, a = np.zeros((len(turn), 36)), np.zeros((len(turn), 6))
    for start in range(0, len(sightings), _CHUNK):
        part = sightings.part(start, start + _CHUNK)
        linear = _linearise(turn, place, points, part)
        first, last = int(part.frame[0]), int(part.frame[-1]) + 1
        gather = _gather(part.frame - first, last - first)
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
        for start in range(0, len(sightings), _CHUNK):
            part = sightings.part(start, start + _CHUNK)
            linear = _linearise(turn, place, points, part)
            gather = _gather(part.point, len(points))
            B += gather @ np.einsum("mki,mkj->mij", linear.by_point, linear.by_point).reshape(-1, 9)
            b += gather @ np.einsum("mki,mk->mi", linear.by_point, linear.error)
        matrix = B.reshape(-1, 3, 3)
        _add_prior(matrix, b, points, prior)
        points = points - np.linalg.solve(matrix, b[..., None])[..., 0]
    return points
