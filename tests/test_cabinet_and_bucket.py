"""Drawer unit and bucket: geometry, how the drawer moves, what stays in the bucket, and that the arm reaches the handle."""

import itertools

import mujoco
import numpy as np
import pytest
from scipy.optimize import minimize

from dexvid_envs.tasks.lift_throw import LiftThrow, LiftThrowConfig
from robots.allegro import FINGERTIP_RADIUS_M
from robots.arm_hand import ARM_HAND, add_arm_hand, make_arm_hand_spec
from robots.arm_kinematics import solve_palm_pose
from robots.bucket import Bucket, add_bucket, inside_bucket
from robots.cabinet import Cabinet, add_cabinet
from robots.collision import OBJECT_CONTACT, TABLE_CONTACT
from robots.everyday import EVERYDAY_OBJECTS
from robots.object_switch import add_switchable_object
from robots.objects import OBJECT_FRICTION
from robots.scene import ScenicCamera, TableTop, add_scenery

# Fingers hooked over the bar from above, palm tilted 0.3 rad down; in the frame of the drawer at the site `drawer_handle`.
T_HANDLE_PALM = np.array(
    [[-0.2955, 0.0, 0.9553, -0.0316], [0.0, 1.0, 0.0, 0.0], [-0.9553, 0.0, -0.2955, 0.0765], [0.0, 0.0, 0.0, 1.0]]
)
HOOKED_FINGER_RAD = (0.0, 0.635, 0.635, 0.35)


def empty_scene() -> mujoco.MjSpec:
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = 0.005
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    TABLE_CONTACT.apply(spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(2, 2, 0.1)))
    return spec


@pytest.fixture(scope="module")
def cabinet_model() -> mujoco.MjModel:
    spec = empty_scene()
    add_cabinet(spec, Cabinet())
    return spec.compile()


@pytest.fixture(scope="module")
def hand_model() -> mujoco.MjModel:
    spec = empty_scene()
    add_arm_hand(spec)
    add_cabinet(spec, Cabinet())
    return spec.compile()


def set_cabinet(data: mujoco.MjData, x: float, y: float, yaw: float) -> None:
    data.mocap_pos[0] = (x, y, 0.0)
    data.mocap_quat[0] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))


def test_handle_geometry(cabinet_model):
    cabinet, data = Cabinet(), mujoco.MjData(cabinet_model)
    mujoco.mj_forward(cabinet_model, data)
    middle, left, right = (data.site(f"drawer_handle{end}").xpos for end in ("", "_left", "_right"))
    np.testing.assert_allclose(middle, (0.78 - 0.044, 0.0, 0.32), atol=1e-12)
    np.testing.assert_allclose(left - right, (0.0, 0.20, 0.0), atol=1e-12)
    bar, front = cabinet_model.geom("drawer_bar"), cabinet_model.geom("drawer_front")
    gap = (front.pos[0] - front.size[0]) - (bar.pos[0] + bar.size[0])
    assert gap == pytest.approx(cabinet.handle_clearance_m)
    assert gap > 2 * 0.012  # a fingertip fits behind the bar
    assert 2 * (bar.size[1] + bar.size[0]) == pytest.approx(cabinet.handle_width_m)
    assert cabinet_model.body("drawer").mass[0] == pytest.approx(cabinet.drawer_mass_kg)


def test_the_cabinets_pose_is_state_and_its_drawer_follows(cabinet_model):
    data = mujoco.MjData(cabinet_model)
    set_cabinet(data, 0.80, 0.05, 0.5)
    data.joint("drawer").qpos = 0.40
    mujoco.mj_forward(cabinet_model, data)
    outward = -np.array([np.cos(0.5), np.sin(0.5)])
    np.testing.assert_allclose(data.site("drawer_handle").xpos[:2], np.array([0.80, 0.05]) + 0.444 * outward, atol=1e-12)


def pulled(model: mujoco.MjModel, force_n: float, duration_s: float, start_m: float = 0.0) -> mujoco.MjData:
    """The drawer after a constant force along its way out."""
    data = mujoco.MjData(model)
    data.joint("drawer").qpos = start_m
    data.joint("drawer").qfrc_applied = force_n
    mujoco.mj_step(model, data, round(duration_s / model.opt.timestep))
    return data


def test_drawer_opens_under_a_plausible_pull_only(cabinet_model):
    assert abs(pulled(cabinet_model, 1.0, 3.0).joint("drawer").qpos[0]) < 0.002
    assert pulled(cabinet_model, 8.0, 3.0).joint("drawer").qpos[0] > 0.39


def test_drawer_stays_where_it_is_left(cabinet_model):
    data = pulled(cabinet_model, 0.0, 3.0, start_m=0.2)
    assert data.joint("drawer").qpos[0] == pytest.approx(0.2, abs=1e-4)
    data.joint("drawer").qvel = 0.3
    mujoco.mj_step(cabinet_model, data, 400)
    resting = data.joint("drawer").qpos[0]
    # 3 kg at 0.3 m/s against 4 N and 6 N s/m: v' = -(4 + 6 v) / 3 stops after m/b (v0 - F/b ln(1 + b v0 / F)) = 26 mm.
    assert resting - 0.2 == pytest.approx(0.0261, abs=0.001)
    mujoco.mj_step(cabinet_model, data, 400)
    assert data.joint("drawer").qpos[0] == pytest.approx(resting, abs=1e-4)


@pytest.mark.parametrize(("force_n", "stop_m"), [(30.0, 0.40), (-30.0, 0.0)])
def test_drawer_hits_its_stops(cabinet_model, force_n, stop_m):
    data = pulled(cabinet_model, force_n, 3.0, start_m=0.2)
    assert data.joint("drawer").qpos[0] == pytest.approx(stop_m, abs=0.005)


def test_cabinet_touches_neither_itself_nor_the_table(cabinet_model):
    data = mujoco.MjData(cabinet_model)
    for opening in (0.0, 0.1, 0.40):
        data.joint("drawer").qpos = opening
        mujoco.mj_forward(cabinet_model, data)
        assert data.ncon == 0


def along_the_pull(x: float, y: float, yaw: float) -> np.ndarray:
    """(9, 4, 4) palm poses in the world that hook the bar from closed to open."""
    cabinet = Cabinet()
    T_world_cabinet = np.eye(4)
    T_world_cabinet[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    T_world_cabinet[:2, 3] = x, y
    T_cabinet_handle = np.tile(np.eye(4), (9, 1, 1))
    T_cabinet_handle[:, :3, 3] = cabinet.handle_position_m
    T_cabinet_handle[:, 0, 3] -= np.linspace(0.0, cabinet.travel_m, 9)
    return T_world_cabinet @ T_cabinet_handle @ T_HANDLE_PALM


@pytest.mark.parametrize(("x", "y", "yaw"), [*itertools.product((0.74, 0.82), (-0.05, 0.05), (-0.087, 0.087)), (0.78, 0, 0)])
def test_the_hooked_hand_reaches_the_handle_all_the_way(hand_model, x, y, yaw):
    poses = along_the_pull(x, y, yaw)
    start, _ = solve_palm_pose(poses[4:5], ARM_HAND.home_rad[None, :7], iterations=60)
    data = mujoco.MjData(hand_model)
    set_cabinet(data, x, y, yaw)
    for way in (range(4, 9), range(4, -1, -1)):
        angles = start
        for number in way:
            angles, error_m = solve_palm_pose(poses[number : number + 1], angles, iterations=20)
            assert error_m[0] < 0.002
            data.qpos[:7] = angles[0]
            data.qpos[7:23] = (*HOOKED_FINGER_RAD * 3, 0.8, 0.2, 0.2, 0.2)
            data.joint("drawer").qpos = number * 0.05
            mujoco.mj_forward(hand_model, data)
            touching = {hand_model.geom(int(geom)).name for contact in data.contact for geom in contact.geom}
            assert {name for name in touching if name.startswith(("cabinet", "drawer", "table"))} <= {"drawer_bar"}


@pytest.fixture(scope="module")
def bucket_scene() -> tuple[mujoco.MjSpec, mujoco.MjsGeom]:
    spec = empty_scene()
    add_bucket(spec, Bucket(), (1.2, 0.0, 0.0))
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint(name="object_joint")
    geom = body.add_geom(name="object_geom", type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.1, 0.1, 0.1), condim=4)
    geom.friction = OBJECT_FRICTION
    OBJECT_CONTACT.apply(geom)
    return spec, geom


def settled(model: mujoco.MjModel, position_m, quat_wxyz=(1, 0, 0, 0), velocity=(0, 0, 0, 0, 0, 0)) -> bool:
    """Whether the object lies in the bucket 2 s after it was let go."""
    data = mujoco.MjData(model)
    data.qpos[:3], data.qpos[3:7], data.qvel[:] = position_m, quat_wxyz, velocity
    mujoco.mj_step(model, data, 400)
    return bool(inside_bucket(Bucket(), data.mocap_pos[0], data.qpos[:3]))


@pytest.mark.parametrize("name", ["tomato_soup_can", "sugar_box", "foam_brick", "gelatin_box", "tennis_ball", "mug"])
def test_objects_thrown_into_the_bucket_stay_in_it(name):
    spec = empty_scene()
    add_bucket(spec, Bucket(), (1.2, 0.0, 0.0))
    add_switchable_object(spec, "object", [EVERYDAY_OBJECTS[name]])
    model = spec.compile()
    rng = np.random.default_rng(3)
    for _ in range(8):
        quat = rng.normal(size=4)
        velocity = (1.0, 0.0, 0.6, *rng.normal(size=3))
        assert settled(model, (0.96, rng.uniform(-0.03, 0.03), 0.45), quat / np.linalg.norm(quat), velocity)
    assert not settled(model, (0.95, 0.0, 0.15))


@pytest.mark.parametrize("name", ["tennis_ball", "baseball"])
def test_a_fast_ball_does_not_climb_the_far_wall(name):
    task = LiftThrow(LiftThrowConfig(objects=(name,)))  # with the engine's options that grasps need
    model = task.make_model()
    data, joint = mujoco.MjData(model), model.joint("object_joint")
    place, motion = slice(joint.qposadr[0], joint.qposadr[0] + 3), slice(joint.dofadr[0], joint.dofadr[0] + 3)
    for beyond_m in np.linspace(-0.09, 0.09, 10):  # of the bucket's axis, where it passes the rim
        mujoco.mj_resetData(model, data)
        data.qpos[place], data.qvel[motion] = (1.10 + beyond_m, 0.02, 0.39), (2.8, 0.0, -3.4)
        heights_m = []
        for _ in range(100):
            mujoco.mj_step(model, data)
            heights_m.append(data.qpos[place][2])
        lowest = int(np.argmax(np.array(heights_m) < 0.06))
        assert 0 < lowest < 60
        assert max(heights_m[lowest:]) < task.bucket.height_m / 2


def test_what_lies_on_the_rim_is_not_inside(bucket_scene):
    spec, geom = bucket_scene
    geom.type, geom.size, geom.mass = mujoco.mjtGeom.mjGEOM_BOX, (0.2, 0.03, 0.01), 0.2
    assert not settled(spec.compile(), (1.2, 0.0, 0.24))


def test_inside_bucket_is_a_frustum_row_by_row():
    bucket = Bucket()
    points = np.array([[1.2, 0, 0.1], [1.2, 0, 0.221], [1.2, 0, -0.001], [1.34, 0, 0.02], [1.34, 0, 0.15], [1.0, 0, 0.1]])
    position = np.tile([1.2, 0.0, 0.0], (len(points), 1))
    together = inside_bucket(bucket, position, points)
    assert together.tolist() == [True, False, False, False, True, False]
    assert together.tolist() == [bool(inside_bucket(bucket, *row)) for row in zip(position, points, strict=True)]


def test_a_scene_may_bring_its_cameras_and_table():
    spec = mujoco.MjSpec()
    add_scenery(spec, (ScenicCamera("corner", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 40.0),), TableTop((0.6, 0.0), (0.8, 0.7)))
    model = spec.compile()
    assert [model.camera(number).name for number in range(model.ncam)] == ["corner"]
    np.testing.assert_allclose(model.geom("table_top").pos[:2], (0.6, 0.0))
    np.testing.assert_allclose(model.geom("table_top").size[:2], (0.8, 0.7))


def farthest_reach_m(tip: str) -> float:
    """The farthest that a fingertip's centre gets from the base's axis, found uphill from several postures."""
    model = make_arm_hand_spec().compile()
    data, jacobian, site = mujoco.MjData(model), np.empty((3, model.nv)), model.site(tip).id
    qposadr = [model.joint(name).qposadr[0] for name in ARM_HAND.joint_names]
    dofadr = [model.joint(name).dofadr[0] for name in ARM_HAND.joint_names]

    def nearness(angles: np.ndarray) -> tuple[float, np.ndarray]:
        data.qpos[qposadr] = angles
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, jacobian, None, site)
        x, y, _ = data.site_xpos[site]
        distance = np.hypot(x, y)
        return -distance, -(x * jacobian[0] + y * jacobian[1])[dofadr] / distance

    rng, bounds = np.random.default_rng(0), list(zip(ARM_HAND.lower_rad, ARM_HAND.upper_rad, strict=True))
    starts = [rng.uniform(ARM_HAND.lower_rad, ARM_HAND.upper_rad) for _ in range(5)]
    return max(-minimize(nearness, start, jac=True, method="L-BFGS-B", bounds=bounds).fun for start in starts)


def test_no_fingertip_reaches_the_bucket() -> None:
    config, bucket = LiftThrowConfig(), Bucket()
    x, y = (
        max(abs(centre) - half, 0.0) for centre, half in zip(config.bucket_centre_m, config.bucket_half_extent_m, strict=True)
    )
    corners_m = (bucket.rim_radius_m + bucket.wall_m) / np.cos(np.pi / bucket.walls)  # the farthest from its axis
    rim_m = np.hypot(x, y) - corners_m
    reach_m = max(farthest_reach_m(tip) for tip in ARM_HAND.fingertip_sites) + FINGERTIP_RADIUS_M
    assert 0.9 < reach_m < rim_m - 0.005
