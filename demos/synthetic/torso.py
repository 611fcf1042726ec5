"""The rest of the person, mostly outside the picture: elbow, upper arm and chest in the cloth of the sleeve."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.synthetic.drawing import add_visual
from robots.human_hand_skin import ELBOW_BEHIND_WRIST_M

FloatArray = NDArray[np.float64]

#: Of the right arm in the world frame; the person leans a little with the arm. A left arm's is mirrored in y.
SHOULDER_M = (-0.13, -0.26, 0.42)
_CHEST_M = (-0.26, -0.11, 0.12)


def add_torso(spec: mujoco.MjSpec, *, left: bool = False) -> None:
    """Adds chest and upper arm to a scene with a hand and its sleeve; `follow_with_upper_arm` moves the arm."""
    forearm = next(geom for geom in spec.body("forearm").geoms if geom.name == "sleeve")
    spec.body("forearm").add_site(name="elbow", pos=[0.0, 0.0, -ELBOW_BEHIND_WRIST_M], group=3)
    sphere, capsule = mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE
    upper_arm = spec.worldbody.add_body(name="upper_arm", mocap=True)
    add_visual(upper_arm, "elbow", geom_type=sphere, size=[0.050, 0.0, 0.0], material=forearm.material)
    add_visual(
        upper_arm,
        "upper_arm",
        geom_type=capsule,
        fromto=[0.0, 0.0, 0.0, 0.0, 0.0, 0.36],
        size=[0.052, 0.0, 0.0],
        material=forearm.material,
    )
    chest = mujoco.mjtGeom.mjGEOM_ELLIPSOID
    x, y, z = _CHEST_M
    position = [x, -y if left else y, z]
    add_visual(spec.worldbody, "chest", geom_type=chest, size=[0.14, 0.23, 0.50], pos=position, material=forearm.material)


def follow_with_upper_arm(
    model: mujoco.MjModel, data: mujoco.MjData, *, left: bool = False, reach_shoulder: bool = False
) -> None:
    """Puts the upper arm between the elbow and the shoulder; with `reach_shoulder` it is as long as that takes."""
    mujoco.mj_kinematics(model, data)
    elbow = data.site("elbow").xpos
    upwards = np.array(SHOULDER_M) * np.array([1.0, -1.0 if left else 1.0, 1.0]) - elbow
    length = float(np.linalg.norm(upwards))
    upwards /= length
    if reach_shoulder:
        arm = model.geom("upper_arm").id
        model.geom_size[arm, 1] = model.geom_pos[arm, 2] = 0.5 * length
    sideways = np.cross(upwards, [0.0, 1.0, 0.0])
    sideways /= np.linalg.norm(sideways)
    rotation = np.column_stack([sideways, np.cross(upwards, sideways), upwards])
    mocap = int(model.body("upper_arm").mocapid[0])
    data.mocap_pos[mocap] = elbow
    mujoco.mju_mat2Quat(data.mocap_quat[mocap], np.ascontiguousarray(rotation).reshape(9))
