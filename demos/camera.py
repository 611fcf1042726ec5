"""Camera geometry: intrinsics, projection, translation from pixels and rigid fits.

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


def view_turns(pixels: FloatArray, K: FloatArray) -> FloatArray:
    """(T, 3, 3) turns from the viewing direction of the image centre to that of pixels (T, 2): a cut-out looks that way."""
    ray = np.concatenate([(pixels - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((len(pixels), 1))], axis=-1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    axis = np.cross([0.0, 0.0, 1.0], ray)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    return Rotation.from_rotvec(axis / np.maximum(sine, 1e-12) * np.arcsin(np.clip(sine, 0.0, 1.0))).as_matrix()
