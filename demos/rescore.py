"""Success scored anew from a demonstration's saved states, by code that shares nothing with the tasks' own: MuJoCo alone.

Goals, targets, the cabinet and the bucket are read where the state itself has them (mocap bodies), sizes from the geometry of
the compiled model; neither the task's memory of an episode nor any of its functions is looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclasses.dataclass(frozen=True)
class _Scene:
    """One stored state after another, in an `MjData` of the scorer's own.

    Attributes:
        model: on which the states were recorded.
        data: holds the state that is being judged.
        demonstration: whose environment's options may set other bounds than the documented ones.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    demonstration: Demonstration

    def bound(self, option: str, documented: float) -> float:
        """A bound of the criterion: the environment's option of that name, else the documented one."""
        return float(self.demonstration.env_options.get(option, documented))


#: Says whether the state in the scene's data fulfils the criterion; made once for a demonstration.
Judge = Callable[[], bool]


def rescore(demonstration: Demonstration, model: mujoco.MjModel) -> BoolArray | None:
    """(T,) success after each step from the stored states by independent code; None for a task that has none.

    Success is the criterion of the environment's page held for as many control steps as it says, counted from the first step
    that is stored.

    Args:
        demonstration: of a known task.
        model: the environment's, on which the states were recorded.
    """
    if demonstration.env_id not in _JUDGES:
        return None
    make_judge, documented_steps = _JUDGES[demonstration.env_id]
    scene = _Scene(model, mujoco.MjData(model), demonstration)
    judge, hold_steps = make_judge(scene), scene.bound("hold_steps", documented_steps)
    held, success = 0, np.zeros(demonstration.num_steps, dtype=bool)
    for step, state in enumerate(demonstration.states[1:]):
        mujoco.mj_setState(model, scene.data, state, _STATE)
        mujoco.mj_kinematics(model, scene.data)
        held = held + 1 if judge() else 0
        success[step] = held >= hold_steps
    return success


# ---- the four criteria ------------------------------------------------------------------------------------------------------


def _object_at_goal(scene: _Scene) -> Judge:
    """GraspLift: the object's centre is at most 0.05 m from the goal."""
    body, goal = scene.model.body("object").id, scene.model.body("goal").id
    reach_m = scene.bound("success_distance_m", 0.05)

    def judge() -> bool:
        return bool(np.linalg.norm(scene.data.xpos[body] - scene.data.xpos[goal]) <= reach_m)

    return judge


def _drawer_open(scene: _Scene) -> Judge:
    """OpenCabinet: the drawer's body stands out of the cabinet by at least 80 % of its joint's range."""
    model, data = scene.model, scene.data
    cabinet, drawer = model.body("cabinet").id, model.body("drawer").id
    open_m = scene.bound("success_share", 0.8) * model.joint("drawer").range[1]

    def judge() -> bool:
        closed_world = data.xpos[cabinet] + data.xmat[cabinet].reshape(3, 3) @ model.body_pos[drawer]
        outward_world = -data.xmat[cabinet].reshape(3, 3)[:, 0]
        return bool((data.xpos[drawer] - closed_world) @ outward_world >= open_m - _ROUNDING_M)

    return judge


def _object_in_bucket(scene: _Scene) -> Judge:
    """LiftThrow: the object's centre is inside the planes of all the bucket's walls, below their rim, above its foot."""
    model, data = scene.model, scene.data
    body, bucket = model.body("object").id, model.body("bucket").id
    walls = [geom for geom in range(model.ngeom) if model.geom(geom).name.startswith("bucket_wall_")]
    outward, inner_bucket, rim_m = _inner_faces(model, walls)

    def judge() -> bool:
        centre_bucket = data.xmat[bucket].reshape(3, 3).T @ (data.xpos[body] - data.xpos[bucket])
        between = (np.einsum("wi,wi->w", centre_bucket - inner_bucket, outward) < 0.0).all()
        return bool(between and 0.0 < centre_bucket[2] < rim_m)

    return judge


def _bottle_placed(scene: _Scene) -> Judge:
    """BottlePickPlace: the bottle stands on its target, upright, still and untouched.

    At most 0.03 m from the target horizontally, 0.15 rad from the vertical, base at most 0.01 m above the table, slower than
    0.05 m/s, and no part of the robot at a distance of 0 or less.
    """
    model, data = scene.model, scene.data
    bottle, target = model.body("bottle").id, model.body("target").id
    geoms = [i for i in range(model.ngeom) if model.geom_contype[i] or model.geom_conaffinity[i]]
    bottle_geoms = [i for i in geoms if model.geom_bodyid[i] == bottle]
    robot_geoms = [i for i in geoms if model.geom_bodyid[i] not in (0, bottle)]
    base_in_bottle = np.array([0.0, 0.0, min(_lowest_point(model, i) for i in bottle_geoms)])  # m
    velocity = np.zeros(6)  # angular rad/s, linear m/s, of the bottle's frame in the world
    near_m, tilt_rad = scene.bound("success_distance_m", 0.03), scene.bound("success_tilt_rad", 0.15)
    height_m, speed_m_per_s = scene.bound("success_height_m", 0.01), scene.bound("success_speed_m_per_s", 0.05)

    def judge() -> bool:
        rotation, position = data.xmat[bottle].reshape(3, 3), data.xpos[bottle]
        offset = position[:2] - data.xpos[target, :2]
        stands = (
            np.hypot(offset[0], offset[1]) <= near_m
            and np.arccos(np.clip(rotation[2, 2], -1.0, 1.0)) <= tilt_rad
            and (position + rotation @ base_in_bottle)[2] <= height_m
        )
        if not stands:
            return False
        mujoco.mj_forward(model, data)  # velocities and contacts
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, bottle, velocity, 0)
        still = np.linalg.norm(velocity[3:]) <= speed_m_per_s
        return bool(still and not _touching(model, data, bottle_geoms, robot_geoms))

    return judge


#: How each environment is judged, and the control steps for which the criterion has to hold.
_JUDGES: dict[str, tuple[Callable[[_Scene], Judge], int]] = {
    "DexVid-GraspLift-v0": (_object_at_goal, 20),
    "DexVid-OpenCabinet-v0": (_drawer_open, 10),
    "DexVid-LiftThrow-v0": (_object_in_bucket, 10),
    "DexVid-BottlePickPlace-v0": (_bottle_placed, 10),
}
#: A length found by subtracting places in the world is less exact than the joint's own.
_ROUNDING_M = 1e-9


# ---- geometry ---------------------------------------------------------------------------------------------------------------


def _inner_faces(model: mujoco.MjModel, walls: Sequence[int]) -> tuple[FloatArray, FloatArray, float]:
    """Outward normals (W, 3) and points (W, 3) m of the inner faces of wall boxes in their body's frame, and their height m."""
    outward, inner, tops = np.zeros((len(walls), 3)), np.zeros((len(walls), 3)), []
    for row, geom in enumerate(walls):
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
        axes, half = rotation.reshape(3, 3), model.geom_size[geom]
        outward[row] = axes[:, 0]
        inner[row] = model.geom_pos[geom] - half[0] * axes[:, 0]
        tops.append((inner[row] + half[2] * axes[:, 2])[2])
    return outward, inner, float(min(tops))


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
