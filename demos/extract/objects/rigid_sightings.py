"""Sightings of a rigid thing's points by a static camera, and how far they are from where the points should be seen.

Images are given as rays (x / z, y / z). A pose is a turn (3, 3) and a place (3,) of the thing in the camera frame; its small
changes are (w, v): turn about the thing's own origin, then shift, both in the camera frame.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_ROBUST_RAY = 2.5  # sigmas; beyond this a sighting loses its say (Cauchy)
ROBUST_DEPTH = 2.0
NEAREST = 0.02  # as a share of the unit of length; points are never taken nearer to the camera
CHUNK = 100_000  # sightings linearised at once, which bounds the memory


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


@dataclasses.dataclass
class Linear:
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
    return np.linalg.norm(seen[:, :2] / np.maximum(seen[:, 2:], NEAREST) - sightings.ray, axis=-1)


def linearise(turn: FloatArray, place: FloatArray, points: FloatArray, sightings: Sightings) -> Linear:
    """The errors of M sightings at poses (n, 3, 3), (n, 3) and points (P, 3), and how they change with both."""
    of_frame = turn[sightings.frame]
    turned = (of_frame @ points[sightings.point][:, :, None])[..., 0]
    camera = turned + place[sightings.frame]
    z = np.maximum(camera[:, 2], NEAREST)
    x, y = camera[:, 0] / z, camera[:, 1] / z
    known = np.isfinite(sightings.depth)
    ray_scale = 1.0 / sightings.ray_sigma
    depth_scale = np.where(known, 1.0 / sightings.depth_sigma, 0.0)
    error = np.stack([(x - sightings.ray[:, 0]) * ray_scale, (y - sightings.ray[:, 1]) * ray_scale, np.zeros(len(z))], axis=-1)
    error[known, 2] = (z - sightings.depth)[known] * depth_scale[known]
    # Cauchy: cost c^2/2 log(1 + e^2/c^2), weight 1 / (1 + e^2/c^2), separately for the ray and the depth
    ray_excess = (error[:, :2] ** 2).sum(axis=-1) / _ROBUST_RAY**2
    depth_excess = error[:, 2] ** 2 / ROBUST_DEPTH**2
    cost = 0.5 * _ROBUST_RAY**2 * np.log1p(ray_excess) + 0.5 * ROBUST_DEPTH**2 * np.log1p(depth_excess)
    root = np.sqrt(sightings.weight)
    ray_root, depth_root = root / np.sqrt(1.0 + ray_excess), root / np.sqrt(1.0 + depth_excess)
    by_camera = np.zeros((len(z), 3, 3))
    by_camera[:, 0, 0] = by_camera[:, 1, 1] = ray_scale * ray_root / z
    by_camera[:, 0, 2], by_camera[:, 1, 2] = -x * by_camera[:, 0, 0], -y * by_camera[:, 1, 1]
    by_camera[:, 2, 2] = depth_scale * depth_root
    error[:, :2] *= ray_root[:, None]
    error[:, 2] *= depth_root
    by_pose = np.empty((len(z), 3, 6))
    by_pose[..., 3:] = by_camera
    for axis in range(3):  # d(w x p) along g is w . (p x g)
        one, two = (axis + 1) % 3, (axis + 2) % 3
        by_pose[..., axis] = turned[:, one, None] * by_camera[..., two] - turned[:, two, None] * by_camera[..., one]
    return Linear(error, by_pose, by_camera @ of_frame, float(sightings.weight @ cost))


def as_rotvec(turn: FloatArray) -> FloatArray:
    """Rotation vectors (..., 3) of turns (..., 3, 3)."""
    return Rotation.from_matrix(turn).as_rotvec()


def moved_poses(turn: FloatArray, place: FloatArray, step: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Poses (n, 3, 3) and (n, 3) after small changes (n, 6)."""
    return Rotation.from_rotvec(step[:, :3]).as_matrix() @ turn, place + step[:, 3:]


def sums_of(index: IntArray, count: int) -> csr_matrix:
    """Matrix (count, M) that sums rows with the same index."""
    return csr_matrix((np.ones(len(index)), (index, np.arange(len(index)))), shape=(count, len(index)))
