"""Success scored anew from a demonstration's saved states, by code that shares nothing with the tasks' own: MuJoCo alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration

BoolArray = NDArray[np.bool_]
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


def rescore(demonstration: Demonstration, model: mujoco.MjModel) -> BoolArray | None:
    """(T,) success after each step from the stored states by independent code; None for a task that has none yet.

    Args:
        demonstration: of a known task.
        model: the environment's, on which the states were recorded.
    """
    rescorer = _RESCORERS.get(demonstration.env_id)
    return None if rescorer is None else rescorer(demonstration, model)


def rescore_bottle_pick_place(demonstration: Demonstration, model: mujoco.MjModel) -> BoolArray:
    """(T,) whether the bottle has stood on its target, upright, still and untouched, for 10 control steps up to each step.

    At most 0.03 m from the target horizontally, 0.15 rad from the vertical, base at most 0.01 m above the table, slower than
    0.05 m/s, and no part of the robot at a distance of 0 or less. Steps are counted from the first one stored.
    """
    data = mujoco.MjData(model)
    bottle = model.body("bottle").id
    geoms = [i for i in range(model.ngeom) if model.geom_contype[i] or model.geom_conaffinity[i]]
    bottle_geoms = [i for i in geoms if model.geom_bodyid[i] == bottle]
    robot_geoms = [i for i in geoms if model.geom_bodyid[i] not in (0, bottle)]
    base_in_bottle = np.array([0.0, 0.0, min(_lowest_point(model, i) for i in bottle_geoms)])  # m
    velocity = np.zeros(6)  # angular rad/s, linear m/s, of the bottle's frame in the world
    run, success = 0, np.zeros(demonstration.num_steps, dtype=bool)
    for step in range(demonstration.num_steps):
        mujoco.mj_setState(model, data, demonstration.states[step + 1], _STATE)
        mujoco.mj_forward(model, data)
        rotation, position = data.xmat[bottle].reshape(3, 3), data.xpos[bottle]
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, bottle, velocity, 0)
        offset = position[:2] - demonstration.memory["target"][step + 1]
        placed = (
            np.hypot(offset[0], offset[1]) <= 0.03
            and np.arccos(np.clip(rotation[2, 2], -1.0, 1.0)) <= 0.15
            and (position + rotation @ base_in_bottle)[2] <= 0.01
            and np.linalg.norm(velocity[3:]) <= 0.05
            and not _touching(model, data, bottle_geoms, robot_geoms)
        )
        run = run + 1 if placed else 0
        success[step] = run >= 10
    return success


_RESCORERS: dict[str, Callable[[Demonstration, mujoco.MjModel], BoolArray]] = {
    "DexVid-BottlePickPlace-v0": rescore_bottle_pick_place,
}


def _lowest_point(model: mujoco.MjModel, geom: int) -> float:
    """Lowest z, in the body's frame, of a geom's bounding box, m."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    z_row = rotation.reshape(3, 3)[2]
    return float(model.geom_pos[geom, 2] + z_row @ centre - np.abs(z_row) @ half)


def _touching(model: mujoco.MjModel, data: mujoco.MjData, some: Sequence[int], others: Sequence[int]) -> bool:
    """Whether any geom of the one kind touches any of the other: by MuJoCo's contacts and by their distance."""
    one, other = np.isin(data.contact.geom, some), np.isin(data.contact.geom, others)  # (C, 2)
    if ((one[:, 0] & other[:, 1]) | (one[:, 1] & other[:, 0])).any():
        return True
    return any(mujoco.mj_geomDistance(model, data, a, b, 0.01, None) <= 0.0 for a in some for b in others)
