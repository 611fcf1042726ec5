"""Camera geometry: intrinsics, projection, pose from points (PnP) and rigid fits, all on batches of frames.

Camera frames are OpenCV's (x right, y down, z forward), pixels count from the centre of the upper left one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexvid_envs.errors import OptionError

FloatArray = NDArray[np.float64]


def intrinsics_from_fov(width: int, height: int, fov_deg: float) -> FloatArray:
    """Camera matrix (3, 3) in px of a pinhole camera whose longer image side spans `fov_deg` degrees.

    Raises:
        OptionError: the field of view is not between 10 and 150 degrees.
    """
    if not 10.0 <= fov_deg <= 150.0:
        raise OptionError(f"the field of view is {fov_deg} degrees, expected 10 to 150 across the longer side of the image")
    focal = 0.5 * max(width, height) / math.tan(0.5 * math.radians(fov_deg))
    return np.array([[focal, 0.0, 0.5 * (width - 1)], [0.0, focal, 0.5 * (height - 1)], [0.0, 0.0, 1.0]])


def project(points_camera: FloatArray, K: FloatArray) -> FloatArray:
    """Pixels (..., 2) of points (..., 3) in metres in front of the camera."""
    homogeneous = points_camera @ K.T
    return homogeneous[..., :2] / homogeneous[..., 2:]


def unproject(pixels: FloatArray, depth: FloatArray, K: FloatArray) -> FloatArray:
    """Points (..., 3) in metres in the camera frame behind pixels (..., 2) at depths (...) along z."""
    rays = (pixels - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])
    return np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1) * np.asarray(depth)[..., None]


def transform(T_a_b: FloatArray, points_b: FloatArray) -> FloatArray:
    """Points (..., 3) in frame a of points in frame b."""
    return points_b @ T_a_b[..., :3, :3].swapaxes(-1, -2) + T_a_b[..., None, :3, 3]


def solve_translation(points: FloatArray, pixels: FloatArray, K: FloatArray, weights: FloatArray) -> FloatArray:
    """Translation (T, 3) m that brings points (T, N, 3) m, already turned as the camera, onto their pixels (T, N, 2).

    Linear least squares of x + t_x = u (z + t_z), weights (T, N).
    """
    u = (pixels - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])  # (T, N, 2)
    rows = np.zeros((*points.shape[:2], 2, 3))
    rows[..., 0, 0] = rows[..., 1, 1] = 1.0
    rows[..., :, 2] = -u
    right = u * points[..., 2:] - points[..., :2]  # (T, N, 2)
    weighted = rows * weights[..., None, None]
    normal = np.einsum("tnki,tnkj->tij", weighted, rows)
    return np.linalg.solve(normal, np.einsum("tnki,tnk->ti", weighted, right)[..., None])[..., 0]


def solve_pnp(
    points: FloatArray, pixels: FloatArray, K: FloatArray, rotation_sigma_rad: float = 0.3, iterations: int = 12
) -> tuple[FloatArray, FloatArray]:
    """Pose of known shapes from their pixels, frame by frame, by robust Gauss-Newton.

    The shapes are expected to be turned roughly as the camera already (MediaPipe's world landmarks are); a prior of
    `rotation_sigma_rad` around no turn keeps a nearly flat hand from tipping over to its mirror solution.

    Args:
        points: (T, N, 3) m.
        pixels: (T, N, 2) px.
        K: (3, 3) px.
        rotation_sigma_rad: standard deviation of the prior.
        iterations: Gauss-Newton steps.

    Returns:
        Rotations (T, 3, 3) and translations (T, 3) m.
    """
    translation = solve_translation(points, pixels, K, np.ones(points.shape[:2]))
    rotation = np.tile(np.eye(3), (len(points), 1, 1))
    size_px = np.linalg.norm(np.nanstd(pixels, axis=1), axis=-1)  # (T,)
    sigma_px = np.maximum(0.05 * size_px, 0.5)
    for _ in range(iterations):
        turned = points @ rotation.swapaxes(-1, -2)
        error, jacobian = _reprojection(turned, translation, pixels, K)
        error, jacobian = error / sigma_px[:, None, None], jacobian / sigma_px[:, None, None, None]
        weight = 1.0 / np.maximum(1.0, np.linalg.norm(error, axis=-1))  # Huber, (T, N)
        normal = np.einsum("tn,tnki,tnkj->tij", weight, jacobian, jacobian)
        gradient = np.einsum("tn,tnki,tnk->ti", weight, jacobian, error)
        turn = Rotation.from_matrix(rotation).as_rotvec()
        normal[:, range(3), range(3)] += rotation_sigma_rad**-2
        gradient[:, :3] += turn * rotation_sigma_rad**-2
        normal[:, range(6), range(6)] += 1e-6
        step = -np.linalg.solve(normal, gradient[..., None])[..., 0]
        rotation = Rotation.from_rotvec(step[:, :3]).as_matrix() @ rotation
        translation = translation + step[:, 3:]
        translation[:, 2] = np.maximum(translation[:, 2], 0.05)  # a hand is never nearer than 5 cm
    return rotation, translation


def _reprojection(
    turned: FloatArray, translation: FloatArray, pixels: FloatArray, K: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Pixel errors (T, N, 2) and their derivatives (T, N, 2, 6) by a small turn about the shape's origin and a shift."""
    points = turned + translation[:, None]
    x, y, z = np.moveaxis(points, -1, 0)
    z = np.maximum(z, 0.02)
    by_point = np.zeros((*points.shape[:2], 2, 3))
    by_point[..., 0, 0], by_point[..., 0, 2] = K[0, 0] / z, -K[0, 0] * x / z**2
    by_point[..., 1, 1], by_point[..., 1, 2] = K[1, 1] / z, -K[1, 1] * y / z**2
    by_turn = np.cross(turned[..., None, :], by_point, axis=-1)  # d(w x p) along g is w . (p x g)
    error = np.stack([K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]], axis=-1) - pixels
    return error, np.concatenate([by_turn, by_point], axis=-1)


def fit_rigid(source: FloatArray, target: FloatArray, iterations: int = 5) -> tuple[FloatArray, float]:
    """Robust rigid fit (Kabsch, reweighted): `T` with target = T source.

    Args:
        source: (N, 3) m, N >= 3.
        target: (N, 3) m.
        iterations: rounds of reweighting.

    Returns:
        The transform (4, 4) and the weighted root mean square distance in metres.
    """
    weights = np.ones(len(source))
    pose = np.eye(4)
    distance = np.zeros(len(source))
    for _ in range(iterations):
        total = weights.sum()
        source_mean = weights @ source / total
        target_mean = weights @ target / total
        u, _, vt = np.linalg.svd((source - source_mean).T @ (weights[:, None] * (target - target_mean)))
        handed = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T)) or 1.0])
        pose[:3, :3] = vt.T @ handed @ u.T
        pose[:3, 3] = target_mean - pose[:3, :3] @ source_mean
        distance = np.linalg.norm(transform(pose, source) - target, axis=-1)
        scale = max(1.5 * float(np.median(distance)), 1e-4)
        weights = 1.0 / (1.0 + (distance / scale) ** 2)
    return pose, float(np.sqrt(weights @ distance**2 / weights.sum()))
