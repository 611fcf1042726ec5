"""How near the arm's links come to the table, for choosing among the arm's postures."""

from __future__ import annotations

import functools

import mujoco
import numpy as np
from numpy.typing import NDArray

from robots.arm import ARM_JOINT_NAMES
from robots.arm_hand import ARM_HAND, make_arm_hand_spec

FloatArray = NDArray[np.float64]


class ArmClearance:
    """The lowest points of the arm's collision capsules; the hand, which has to go to the table, is not looked at."""

    def __init__(self) -> None:
        self._model = make_arm_hand_spec().compile()
        self._data = mujoco.MjData(self._model)
        self._data.qpos[:] = ARM_HAND.home_rad
        self._qposadr = np.array([self._model.joint(name).qposadr[0] for name in ARM_JOINT_NAMES])
        bodies = {self._model.body(f"{name}_link").id for name in ARM_JOINT_NAMES}
        self._geom_ids = np.array(
            [
                geom
                for geom in range(self._model.ngeom)
                if self._model.geom_bodyid[geom] in bodies
                and self._model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
                and self._model.geom_contype[geom]
            ]
        )
        self._radius_m, self._half_length_m = self._model.geom_size[self._geom_ids, :2].T

    def lowest(self, arm_rad: FloatArray) -> FloatArray:
        """(B,) m height of the arm's lowest point in configurations (B, 7)."""
        heights = np.empty(len(arm_rad))
        for index, angles in enumerate(arm_rad):
            self._data.qpos[self._qposadr] = angles
            mujoco.mj_kinematics(self._model, self._data)
            steep = np.abs(self._data.geom_xmat[self._geom_ids, 8])  # z component of the capsules' axes
            ends = self._data.geom_xpos[self._geom_ids, 2] - steep * self._half_length_m - self._radius_m
            heights[index] = ends.min()
        return heights


@functools.cache
def arm_clearance() -> ArmClearance:
    """The one instance."""
    return ArmClearance()
