"""Forward and inverse kinematics of the arm for many configurations at once, in plain array arithmetic.

MuJoCo solves one configuration at a time; the refinement and the multiplication need ten thousand at once.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from robots.allegro import MOUNT_TO_PALM_M
from robots.arm import ARM_LINKS
from robots.threads import single_threaded_blas

FloatArray = NDArray[np.float64]


def _link_offsets() -> FloatArray:
    """(7, 4, 4) transforms from each link's frame (at joint angle 0) to its parent's."""
    offsets = np.tile(np.eye(4), (len(ARM_LINKS), 1, 1))
    for offset, link in zip(offsets, ARM_LINKS, strict=True):
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, np.asarray(link.quat_wxyz, dtype=np.float64))
        offset[:3, :3], offset[:3, 3] = matrix.reshape(3, 3), link.offset_m
    return offsets


_OFFSETS = _link_offsets()
_LOWER, _UPPER = np.array([link.range_rad for link in ARM_LINKS]).T


def palm_pose(arm_qpos: FloatArray) -> FloatArray:
    """Palm frames `T_world_palm` (B, 4, 4) of arm angles (B, 7) rad."""
    return _chain(arm_qpos)[0]


def _chain(arm_qpos: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Palm frames (B, 4, 4), joint origins (B, 7, 3) and joint axes (B, 7, 3) in the world."""
    count = len(arm_qpos)
    pose = np.tile(np.eye(4), (count, 1, 1))
    origins, axes = np.empty((count, 7, 3)), np.empty((count, 7, 3))
    for joint in range(7):
        pose = pose @ _OFFSETS[joint]
        origins[:, joint], axes[:, joint] = pose[:, :3, 3], pose[:, :3, 2]
        cos, sin = np.cos(arm_qpos[:, joint, None]), np.sin(arm_qpos[:, joint, None])
        x, y = pose[:, :3, 0].copy(), pose[:, :3, 1].copy()
        pose[:, :3, 0], pose[:, :3, 1] = cos * x + sin * y, cos * y - sin * x
    pose[:, :3, 3] += np.einsum("bij,j->bi", pose[:, :3, :3], np.asarray(MOUNT_TO_PALM_M))
    return pose, origins, axes


def solve_palm_pose(
    T_world_palm: FloatArray, initial: FloatArray, iterations: int = 12, damping: float = 0.02, rotation_weight_m: float = 0.15
) -> tuple[FloatArray, FloatArray]:
    """Arm angles that bring the palm to the given poses, by damped least squares from a nearby start.

    Args:
        T_world_palm: (B, 4, 4) wanted palm frames.
        initial: (B, 7) rad start of the iteration; the solution stays near it.
        iterations: number of steps.
        damping: of the least squares, m/rad.
        rotation_weight_m: metres that one radian of orientation error counts for.

    Returns:
        (B, 7) rad angles within the joint limits, and (B,) m remaining errors.
    """
    angles = np.clip(initial, _LOWER, _UPPER)
    regulariser = damping**2 * np.eye(7)
    for _ in range(iterations):
        pose, origins, axes = _chain(angles)
        error = _pose_error(T_world_palm, pose, rotation_weight_m)
        linear = np.cross(axes, pose[:, None, :3, 3] - origins)
        jacobian = np.concatenate([linear, rotation_weight_m * axes], axis=-1)  # (B, 7, 6), transposed
        gradient = np.einsum("bji,bi->bj", jacobian, error)
        pressed = ((angles <= _LOWER) & (gradient < 0)) | ((angles >= _UPPER) & (gradient > 0))
        jacobian[pressed] = 0.0  # the other joints do the work of one that is held by its limit
        gradient[pressed] = 0.0
        normal = jacobian @ jacobian.transpose(0, 2, 1) + regulariser
        with single_threaded_blas():
            step = np.linalg.solve(normal, gradient[..., None])[..., 0]
        angles = np.clip(angles + np.clip(step, -0.3, 0.3), _LOWER, _UPPER)
    residual = _pose_error(T_world_palm, _chain(angles)[0], rotation_weight_m)
    return angles, np.linalg.norm(residual, axis=-1)


def _pose_error(wanted: FloatArray, pose: FloatArray, rotation_weight_m: float) -> FloatArray:
    """(B, 6) translation m and weighted rotation vector from `pose` to `wanted`, in the world."""
    rotation = wanted[:, :3, :3] @ pose[:, :3, :3].transpose(0, 2, 1)
    vector = Rotation.from_matrix(rotation).as_rotvec()
    return np.concatenate([wanted[:, :3, 3] - pose[:, :3, 3], rotation_weight_m * vector], axis=-1)
