"""The grip as physics has it: what the robot's links press on the object with, from the solver's contact forces."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.simulation import Simulation
from robots.collision import ROBOT

FloatArray = NDArray[np.float64]


def grip_force_n(simulation: Simulation, rows: int, body_id: int) -> FloatArray:
    """(rows,) N sum of the normal forces between the robot and a body in the present state of the first rows.

    Works on the engine's copies of the simulations (those of a batch), which it advances to the forces' stage.
    """
    forces = np.zeros(rows)
    wrench = np.zeros(6)
    for row in range(rows):
        model, data = simulation.get_data(row)
        touching = _robot_on_body(model, data, body_id)
        if not len(touching):
            continue
        mujoco.mj_forward(model, data)  # a step ends before the forces of its new state are known
        for contact in touching:
            mujoco.mj_contactForce(model, data, contact, wrench)
            forces[row] += wrench[0]
    return forces


def _robot_on_body(model: mujoco.MjModel, data: mujoco.MjData, body_id: int) -> NDArray[np.int64]:
    """Indices of the contacts between the robot and the body."""
    pairs = data.contact.geom  # (C, 2)
    if not len(pairs):
        return np.zeros(0, dtype=np.int64)
    robot = (model.geom_contype[pairs] & ROBOT).any(axis=-1)
    return np.flatnonzero(robot & (model.geom_bodyid[pairs] == body_id).any(axis=-1))
