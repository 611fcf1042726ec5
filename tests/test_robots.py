"""The robot against its published facts: kinematics by a second route, names, limits, servos, contacts and looks."""

from __future__ import annotations

import math
import time

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from robots.allegro import FINGER_TORQUE_LIMIT_NM, FINGERS
from robots.arm import ARM_LINKS
from robots.arm_hand import ARM_HAND, make_arm_hand_spec
from robots.collision import COLLISION_GROUP, VISUAL_GROUP
from robots.objects import BOTTLES, add_bottle, bottle_distance
from robots.scene import CAMERAS, add_scenery, wood_texture

FloatArray = NDArray[np.float64]
RADIUS_TIP_M, RADIUS_LINK_M = 0.012, 0.0098

# The facts page, typed again: joint frames (offset m, quaternion wxyz) with the joint's axis, in the order of the joints.
ROOT_HALF = 0.7071067811865476
NO_TURN, TURN_BACK, TURN_FORTH = (1, 0, 0, 0), (ROOT_HALF, -ROOT_HALF, 0, 0), (ROOT_HALF, ROOT_HALF, 0, 0)
ARM_TABLE = [
    ((0, 0, 0.267), NO_TURN),
    ((0, 0, 0), TURN_BACK),
    ((0, -0.293, 0), TURN_FORTH),
    ((0.0525, 0, 0), TURN_FORTH),
    ((0.0775, -0.3425, 0), TURN_FORTH),
    ((0, 0, 0), TURN_FORTH),
    ((0.076, 0.097, 0), TURN_BACK),
]
FINGER_BASES = {
    "index": ((0, 0.0435, -0.001542), (0.999048, -0.0436194, 0, 0)),
    "middle": ((0, 0, 0.0007), NO_TURN),
    "ring": ((0, -0.0435, -0.001542), (0.999048, 0.0436194, 0, 0)),
    "thumb": ((-0.0182, 0.019333, -0.045987), (0.477714, -0.521334, -0.521334, -0.477714)),
}
FINGER_JOINTS = [((0, 0, 0), "z"), ((0, 0, 0.0164), "y"), ((0, 0, 0.054), "y"), ((0, 0, 0.0384), "y")]
THUMB_JOINTS = [((0, 0, 0), "-x"), ((-0.027, 0.005, 0.0399), "z"), ((0, 0, 0.0177), "y"), ((0, 0, 0.0514), "y")]
TIP_HEIGHT = {"index": 0.0267, "middle": 0.0267, "ring": 0.0267, "thumb": 0.0423}
PALM_ON_FLANGE = (0, 0, 0.095)

# Ranges and torques of the facts page.
ARM_RANGES = [(-6.28319, 6.28319), (-2.059, 2.0944), (-6.28319, 6.28319), (-0.19198, 3.927)]
ARM_RANGES += [(-6.28319, 6.28319), (-1.69297, 3.14159), (-6.28319, 6.28319)]
FINGER_RANGES = [(-0.47, 0.47), (-0.196, 1.61), (-0.174, 1.709), (-0.227, 1.618)]
THUMB_RANGES = [(0.263, 1.396), (-0.105, 1.163), (-0.189, 1.644), (-0.162, 1.719)]
TORQUES_NM = [50, 50, 30, 30, 30, 20, 20] + [0.7] * 16


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return make_arm_hand_spec().compile()


@pytest.fixture
def home(model: mujoco.MjModel) -> mujoco.MjData:
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    return data


def transform(offset: tuple[float, ...], quat_wxyz: tuple[float, ...]) -> FloatArray:
    """(4, 4) from an offset and a quaternion, by the textbook formula."""
    w, x, y, z = np.array(quat_wxyz) / np.linalg.norm(quat_wxyz)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = offset
    return matrix


def turn(axis: str, angle: float) -> FloatArray:
    """(4, 4) rotation about a coordinate axis."""
    c, s = math.cos(angle), math.sin(angle)
    matrix = np.eye(4)
    if axis == "z":
        matrix[:2, :2] = [[c, -s], [s, c]]
    elif axis == "y":
        matrix[0, 0], matrix[0, 2], matrix[2, 0], matrix[2, 2] = c, s, -s, c
    elif axis == "-x":
        matrix[1:3, 1:3] = [[c, s], [-s, c]]
    else:
        raise ValueError(axis)
    return matrix


def chain(angles: FloatArray) -> dict[str, FloatArray]:
    """Palm (4, 4) and fingertip (3,) positions in the world for 23 joint angles, from the tables above alone."""
    pose = np.eye(4)
    for (offset, quat), angle in zip(ARM_TABLE, angles[:7], strict=True):
        pose = pose @ transform(offset, quat) @ turn("z", angle)
    palm = pose @ transform(PALM_ON_FLANGE, NO_TURN)
    result = {"palm": palm}
    for number, (finger, (offset, quat)) in enumerate(FINGER_BASES.items()):
        pose = palm @ transform(offset, quat)
        joints = THUMB_JOINTS if finger == "thumb" else FINGER_JOINTS
        for (step, axis), angle in zip(joints, angles[7 + 4 * number : 11 + 4 * number], strict=True):
            pose = pose @ transform(step, NO_TURN) @ turn(axis, angle)
        result[f"{finger}_tip"] = (pose @ np.array([0, 0, TIP_HEIGHT[finger], 1]))[:3]
    return result


def random_angles(rng: np.random.Generator) -> FloatArray:
    return rng.uniform(ARM_HAND.lower_rad, ARM_HAND.upper_rad)


def visual_points(model: mujoco.MjModel, geom: int) -> FloatArray:
    """(V, 3) vertices of a mesh geom in its body's frame."""
    mesh = model.geom_dataid[geom]
    start = model.mesh_vertadr[mesh]
    vertices = model.mesh_vert[start : start + model.mesh_vertnum[mesh]].astype(np.float64)
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    return vertices @ rotation.reshape(3, 3).T + model.geom_pos[geom]


def capsule_distance(points: FloatArray, top: float, radius: float) -> FloatArray:
    """Signed distance of points in a link's frame to the collision capsule between 0.004 and `top` on its z axis."""
    nearest = np.zeros_like(points)
    nearest[:, 2] = np.clip(points[:, 2], 0.004, top)
    return np.linalg.norm(points - nearest, axis=-1) - radius


# ---- kinematics, names, limits ---------------------------------------------------------------------------------------


def test_forward_kinematics_agrees_with_the_facts_at_random_angles(model: mujoco.MjModel):
    rng, data = np.random.default_rng(0), mujoco.MjData(model)
    for _ in range(200):
        data.qpos[:] = random_angles(rng)
        mujoco.mj_kinematics(model, data)
        expected = chain(data.qpos)
        np.testing.assert_allclose(data.body("palm").xpos, expected["palm"][:3, 3], atol=1e-4)
        np.testing.assert_allclose(data.body("palm").xmat.reshape(3, 3), expected["palm"][:3, :3], atol=1e-4)
        for site in ARM_HAND.fingertip_sites:
            np.testing.assert_allclose(data.site(site).xpos, expected[site], atol=1e-4, err_msg=site)


def test_every_named_element_exists_in_the_declared_order(model: mujoco.MjModel):
    joints = [model.joint(i).name for i in range(model.njnt)]
    actuators = [model.actuator(i).name for i in range(model.nu)]
    assert joints == actuators == list(ARM_HAND.joint_names)
    assert ARM_HAND.num_joints == model.nq == 23
    assert (ARM_HAND.arm_joints, ARM_HAND.hand_joints) == (7, 16)
    assert ARM_HAND.fingertip_sites == ("index_tip", "middle_tip", "ring_tip", "thumb_tip")
    assert [model.site(name).id >= 0 for name in (*ARM_HAND.fingertip_sites, "palm")]
    assert model.body(ARM_HAND.palm_body).id > 0
    for number, name in enumerate(ARM_HAND.joint_names):
        assert model.actuator_trnid[number, 0] == model.joint(name).id


def test_ranges_torques_and_speeds_are_those_of_the_facts(model: mujoco.MjModel):
    ranges = np.array(ARM_RANGES + 3 * FINGER_RANGES + THUMB_RANGES)
    np.testing.assert_allclose(model.jnt_range, ranges, atol=1e-5)
    np.testing.assert_allclose(model.actuator_ctrlrange, ranges, atol=1e-5)
    np.testing.assert_allclose(np.stack([ARM_HAND.lower_rad, ARM_HAND.upper_rad], -1), ranges, atol=1e-5)
    assert model.jnt_limited.all()
    assert model.actuator_ctrllimited.all()
    assert model.actuator_forcelimited.all()
    np.testing.assert_allclose(model.actuator_forcerange, np.outer(TORQUES_NM, [-1, 1]))
    np.testing.assert_allclose(ARM_HAND.speed_limit_rad_per_s, [math.pi] * 7 + [7.5] * 16)


def test_servo_gains_are_the_constants(model: mujoco.MjModel):
    for number, link in enumerate(ARM_LINKS):
        kp, kv = link.stiffness_nm_per_rad, link.damping_nms_per_rad
        assert model.actuator_gainprm[number, 0] == kp
        np.testing.assert_array_equal(model.actuator_biasprm[number, :3], [0, -kp, -kv])
    hand = slice(ARM_HAND.arm_joints, None)
    assert len(set(model.actuator_gainprm[hand, 0])) == 1
    np.testing.assert_array_equal(model.actuator_gainprm[hand, 0], -model.actuator_biasprm[hand, 1])
    assert (model.actuator_biasprm[hand, 2] < 0).all()
    np.testing.assert_array_equal(model.actuator_forcerange[hand, 1], FINGER_TORQUE_LIMIT_NM)


def test_home_keyframe_is_the_constant_and_within_the_limits(model: mujoco.MjModel):
    np.testing.assert_array_equal(model.key("home").qpos, ARM_HAND.home_rad)
    np.testing.assert_array_equal(model.key("home").ctrl, ARM_HAND.home_rad)
    assert (ARM_HAND.home_rad >= ARM_HAND.lower_rad).all()
    assert (ARM_HAND.home_rad <= ARM_HAND.upper_rad).all()


def test_masses_are_those_of_the_facts(model: mujoco.MjModel):
    arm = [2.382, 1.869, 1.6383, 1.7269, 1.3203, 1.325, 0.17]
    np.testing.assert_allclose([model.body(f"arm_{n}_link").mass[0] for n in range(1, 8)], arm)
    assert model.body("palm").mass[0] == pytest.approx(0.4154)
    finger = [0.0119, 0.065, 0.0355, 0.0096 + 0.01]
    thumb = [0.0176, 0.0119, 0.038, 0.0168 + 0.01]
    for chain_of in FINGERS:
        masses = [model.body(f"{chain_of.name}_{link}_link").mass[0] for link in ("base", "proximal", "medial", "distal")]
        np.testing.assert_allclose(masses, thumb if chain_of.name == "thumb" else finger, err_msg=chain_of.name)
    assert mujoco.mj_getTotalmass(model) == pytest.approx(sum(arm) + 0.4154 + 3 * sum(finger) + sum(thumb))


# ---- dynamics and contacts -------------------------------------------------------------------------------------------


def test_gravity_is_compensated_at_home(model: mujoco.MjModel, home: mujoco.MjData):
    while home.time < 1.0:
        mujoco.mj_step(model, home)
    np.testing.assert_allclose(home.qpos, ARM_HAND.home_rad, atol=1e-3)


def test_torque_limits_hold_under_a_step_command(model: mujoco.MjModel, home: mujoco.MjData):
    home.ctrl[:] = np.where(ARM_HAND.home_rad > 0.5, ARM_HAND.lower_rad, ARM_HAND.upper_rad)
    peak = np.zeros(model.nu)
    while home.time < 0.5:
        mujoco.mj_step(model, home)
        peak = np.maximum(peak, np.abs(home.actuator_force))
    assert (peak <= np.array(TORQUES_NM) + 1e-9).all()
    assert (peak >= 0.99 * np.array(TORQUES_NM)).all(), "the command is large enough for every motor to reach its limit"


def test_robot_links_touch_only_as_thumb_against_finger(model: mujoco.MjModel, home: mujoco.MjData):
    assert home.ncon == 0
    rng, touching = np.random.default_rng(1), 0
    for _ in range(200):
        home.qpos[:] = random_angles(rng)
        mujoco.mj_forward(model, home)
        for contact in home.contact:
            names = sorted(model.geom(int(geom)).name.split("_")[0] for geom in contact.geom)
            assert names[1] == "thumb"
            assert names[0] in ("index", "middle", "ring")
        touching += home.ncon > 0
    assert 0 < touching < 100


# ---- what is seen ----------------------------------------------------------------------------------------------------


def test_model_compiles_fast_and_light():
    make_arm_hand_spec().compile()  # the shapes are made once
    start = time.process_time()
    model = make_arm_hand_spec().compile()
    assert time.process_time() - start < 1.0
    assert model.nmeshface < 26_000


def test_visual_geometry_neither_weighs_nor_touches(model: mujoco.MjModel):
    visual = model.geom_group == VISUAL_GROUP
    assert visual.sum() > 30
    np.testing.assert_array_equal(model.geom_contype[visual], 0)
    np.testing.assert_array_equal(model.geom_conaffinity[visual], 0)
    np.testing.assert_array_equal(model.geom_group[~visual], COLLISION_GROUP)
    assert (model.geom_contype[~visual] > 0).all()
    spec = make_arm_hand_spec()
    for geom in list(spec.geoms):
        if geom.group == VISUAL_GROUP:
            spec.delete(geom)
    bare = spec.compile()
    np.testing.assert_array_equal(bare.body_mass, model.body_mass)
    np.testing.assert_array_equal(bare.body_inertia, model.body_inertia)


@pytest.mark.parametrize("finger", FINGERS, ids=lambda finger: finger.name)
def test_rubber_tip_is_the_collision_capsule(model: mujoco.MjModel, finger):
    body = model.body(f"{finger.name}_distal_link").id
    collision = model.geom(f"{finger.name}_distal_collision")
    assert collision.size[0] == RADIUS_TIP_M
    rubber = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body and _mesh_name(model, g).endswith("_rubber")]
    points = visual_points(model, rubber[0])
    points = points[points[:, 2] > 0.0133]  # the flat end below is inside the holder
    assert np.abs(capsule_distance(points, finger.tip_offset_m, RADIUS_TIP_M)).max() < 1e-3
    assert points[:, 2].max() == pytest.approx(finger.tip_offset_m + RADIUS_TIP_M, abs=1e-3)


@pytest.mark.parametrize("name", [f"{f}_proximal" for f in ("index", "middle", "ring")] + [f"{f}_medial" for f in FINGER_BASES])
def test_link_housing_follows_the_collision_capsule(model: mujoco.MjModel, name: str):
    body = model.body(f"{name}_link").id
    length = 2.0 * model.body(body).ipos[2]
    meshes = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body and model.geom_dataid[g] >= 0]
    points = np.concatenate([visual_points(model, geom) for geom in meshes])
    points = points[(points[:, 2] > 0.004) & (points[:, 2] < length)]  # beyond, the neighbours' capsules take over
    assert capsule_distance(points, length, RADIUS_LINK_M).max() < 3.2e-3, "the edges of an upright box around a round capsule"
    # The two sides that grasp and push, +-x, are closer.
    assert np.abs(points[:, 0]).max() == pytest.approx(RADIUS_LINK_M, abs=1e-3)


def test_palm_fills_its_collision_box(model: mujoco.MjModel):
    box = model.geom("palm_collision")
    body = model.body("palm").id
    meshes = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body and model.geom_dataid[g] >= 0]
    points = np.concatenate([visual_points(model, geom) for geom in meshes])
    np.testing.assert_allclose(points.max(axis=0), box.pos + box.size, atol=1.6e-3)
    np.testing.assert_allclose(points.min(axis=0), box.pos - box.size, atol=1.6e-3)


def _mesh_name(model: mujoco.MjModel, geom: int) -> str:
    return model.mesh(int(model.geom_dataid[geom])).name if model.geom_dataid[geom] >= 0 else ""


@pytest.mark.parametrize("name", BOTTLES)
def test_bottle_looks_like_what_is_touched(name: str):
    shape, spec = BOTTLES[name], mujoco.MjSpec()
    add_bottle(spec, "bottle", shape)
    model = spec.compile()
    assert model.body("bottle").mass[0] == pytest.approx(shape.mass_kg)
    surface = next(g for g in range(model.ngeom) if _mesh_name(model, g) == "bottle_surface")
    points = visual_points(model, surface)
    on_body = (points[:, 2] < shape.body_height_m - shape.height_m / 2 - 1e-3) & (points[:, 2] > 0.006 - shape.height_m / 2)
    assert np.abs(bottle_distance(shape, points[on_body])).max() < 1.2e-3
    assert np.abs(points[:, 2]).max() <= shape.height_m / 2 + 1e-6


def test_scenery_touches_nothing_and_has_its_cameras():
    spec = mujoco.MjSpec()
    add_scenery(spec)
    model = spec.compile()
    assert not model.geom_contype.any()
    assert not model.geom_conaffinity.any()
    assert {model.camera(i).name for i in range(model.ncam)} == {camera.name for camera in CAMERAS}
    assert {"overview", "front", "side"} <= {camera.name for camera in CAMERAS}
    np.testing.assert_array_equal(wood_texture(16), wood_texture(16))


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.name)
def test_cameras_see_the_whole_workspace(camera):
    """Projects the corners of the workspace by hand into a 4:3 picture."""
    right, up = np.array(camera.xyaxes()).reshape(2, 3)
    corners = np.array([(x, y, z) for x in (0.25, 0.65) for y in (-0.35, 0.30) for z in (0.0, 0.40)]) - camera.eye_m
    depth = corners @ -np.cross(right, up)
    half = math.tan(math.radians(camera.fovy_deg) / 2)
    assert (depth > 0.1).all()
    assert (np.abs(corners @ up / depth) < half).all()
    assert (np.abs(corners @ right / depth) < half * 4 / 3).all()
