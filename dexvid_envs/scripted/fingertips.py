"""Inverse kinematics of the hand: joint angles that bring the fingertips to points, and joint torques of fingertip forces."""

from __future__ import annotations

import functools

import mujoco
import numpy as np
from numpy.typing import NDArray

from robots.arm_hand import ARM_HAND, make_arm_hand_spec
from robots.threads import single_threaded_blas

FloatArray = NDArray[np.float64]

#: A relaxed hand, rad; of the many postures for the same fingertips the nearest to it is taken.
RELAXED_RAD = np.array([0.0, 0.6, 0.6, 0.5] * 3 + [1.30, 0.50, 0.50, 0.40])
_RELAXATION = 0.004  # m/rad: how much fingertip error a radian from the relaxed posture is worth
_ITERATIONS = 60
_JOINTS_PER_FINGER = 4


class FingertipKinematics:
    """The hand alone; points and forces are in the palm frame, in the order index, middle, ring, thumb."""

    def __init__(self) -> None:
        self._model = make_arm_hand_spec().compile()
        self._data = mujoco.MjData(self._model)
        self._palm_id = self._model.body(ARM_HAND.palm_body).id
        self._site_ids = [self._model.site(name).id for name in ARM_HAND.fingertip_sites]
        hand = ARM_HAND.joint_names[ARM_HAND.arm_joints :]
        self._qposadr = np.array([self._model.joint(name).qposadr[0] for name in hand])
        self._dofadr = np.array([self._model.joint(name).dofadr[0] for name in hand])
        self._lower, self._upper = ARM_HAND.lower_rad[ARM_HAND.arm_joints :], ARM_HAND.upper_rad[ARM_HAND.arm_joints :]

    def forward(self, hand_rad: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Fingertip centres (4, 3) m and their Jacobians (4, 3, 4) m/rad with respect to each finger's own joints."""
        model, data = self._model, self._data
        data.qpos[self._qposadr] = hand_rad
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        rotation = data.xmat[self._palm_id].reshape(3, 3)
        points, jacobians, full = np.empty((4, 3)), np.empty((4, 3, 4)), np.empty((3, model.nv))
        for finger, site in enumerate(self._site_ids):
            mujoco.mj_jacSite(model, data, full, None, site)
            dofs = self._dofadr[finger * _JOINTS_PER_FINGER : (finger + 1) * _JOINTS_PER_FINGER]
            points[finger] = rotation.T @ (data.site_xpos[site] - data.xpos[self._palm_id])
            jacobians[finger] = rotation.T @ full[:, dofs]
        return points, jacobians

    def solve(self, tips_palm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Hand angles (16,) rad for fingertip centres (4, 3) m, and the remaining errors (4,) m."""
        angles = RELAXED_RAD.copy()
        for _ in range(_ITERATIONS):
            points, jacobians = self.forward(angles)
            away = (RELAXED_RAD - angles).reshape(4, _JOINTS_PER_FINGER)
            error = tips_palm - points
            transposed = jacobians.transpose(0, 2, 1)
            normal = transposed @ jacobians + _RELAXATION**2 * np.eye(_JOINTS_PER_FINGER)
            gradient = (transposed @ error[..., None])[..., 0] + _RELAXATION**2 * away
            with single_threaded_blas():
                step = np.linalg.solve(normal, gradient[..., None])[..., 0]
            angles = np.clip(angles + np.clip(step, -0.2, 0.2).ravel(), self._lower, self._upper)
        return angles, np.linalg.norm(tips_palm - self.forward(angles)[0], axis=-1)

    def torques(self, hand_rad: FloatArray, forces_palm: FloatArray) -> FloatArray:
        """(16,) N m joint torques that press with forces (4, 3) N at the fingertips."""
        jacobians = self.forward(hand_rad)[1]
        return (jacobians.transpose(0, 2, 1) @ forces_palm[..., None])[..., 0].ravel()


@functools.cache
def fingertip_kinematics() -> FingertipKinematics:
    """The one instance; compiling its model takes a tenth of a second."""
    return FingertipKinematics()
