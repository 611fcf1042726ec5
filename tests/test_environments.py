"""Options, actions and errors of everything registered; observations, states, rewards and many at once have their own files."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from environment_cases import CONTROL_MODES, IDS, make, make_vec, same
from environment_cases import random_actions as actions
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.transform import Rotation

from dexvid_envs.control import ControlConfig
from dexvid_envs.errors import ActionError, DexVidError, OptionError
from dexvid_envs.options import EnvironmentOptions, overridden
from dexvid_envs.registration import REGISTRATIONS, register_environments
from dexvid_envs.rewards import Tolerances, tolerance
from robots.arm_hand import ARM_HAND

GRASP, BOTTLE, CABINET = "DexVid-GraspLift-v0", "DexVid-BottlePickPlace-v0", "DexVid-OpenCabinet-v0"


def test_everything_is_registered_once_with_a_time_limit() -> None:
    register_environments()
    for entry in REGISTRATIONS:
        spec = gymnasium.spec(entry.id)
        assert spec.max_episode_steps == entry.max_episode_steps
        assert 200 <= entry.max_episode_steps <= 400
        assert isinstance(spec.entry_point, str)
        assert isinstance(spec.vector_entry_point, str)


@pytest.mark.parametrize("env_id", IDS)
def test_observation_matches_its_fields(env_id: str) -> None:
    env = make(env_id)
    observation, _ = env.reset(seed=0)
    fields = env.unwrapped.core.fields
    assert observation.shape == (sum(field.size for field in fields),)
    assert observation.dtype == np.float32
    assert len({field.name for field in fields}) == len(fields)
    assert env.observation_space.shape == observation.shape


@pytest.mark.parametrize("env_id", IDS)
def test_observation_describes_the_state_after_the_last_substep(env_id: str) -> None:
    env = make(env_id).unwrapped
    env.reset(seed=0)
    observation = env.step(actions(1)[0])[0]
    names = [field.name for field in env.core.fields for _ in range(field.size)]
    seen = observation[[name == "fingertip_position" for name in names]].reshape(4, 3)
    model, fresh = env.model, mujoco.MjData(env.model)
    fresh.qpos[:] = env.data.qpos
    mujoco.mj_kinematics(model, fresh)
    tips = np.stack([fresh.site(name).xpos for name in env.task.robot.fingertip_sites])
    assert np.allclose(seen, tips, atol=1e-6)


@pytest.mark.parametrize("control_mode", CONTROL_MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_actions_are_clipped_to_their_space(env_id: str, control_mode: str) -> None:
    env, other = make(env_id, control_mode=control_mode), make(env_id, control_mode=control_mode)
    env.reset(seed=0)
    other.reset(seed=0)
    action = actions(1, env.action_space.shape[0])[0] * 7
    assert same(env.step(action)[0], other.step(np.clip(action, -1, 1))[0])
    assert same(env.step(action.tolist())[0], other.step(np.clip(action, -1, 1).astype(np.float64))[0])


@pytest.mark.parametrize("env_id", IDS)
def test_zero_actions_hold_the_pose(env_id: str) -> None:
    for control_mode in ("joint_delta", "wrist_delta"):
        env = make(env_id, control_mode=control_mode).unwrapped
        env.reset(seed=0)
        target = env.data.ctrl.copy()
        for _ in range(20):
            env.step(np.zeros(env.action_space.shape))
        assert np.array_equal(env.data.ctrl, target)


@pytest.mark.parametrize("seed", range(4))
def test_wrist_delta_moves_the_palm_as_its_equation_says(seed: int) -> None:
    env = make(BOTTLE, control_mode="wrist_delta").unwrapped
    env.reset(seed=seed)
    twist = np.random.default_rng(seed).uniform(-0.5, 0.5, 22)
    twist[6:] = 0.0
    poses = []
    for action in (np.zeros(22), twist):
        env.step(action)
        for _ in range(30):  # the servos settle
            env.step(np.zeros(22))
        palm = env.data.body(ARM_HAND.palm_body)
        poses.append((palm.xpos.copy(), palm.xmat.reshape(3, 3).copy()))
    (position, rotation), (moved, turned) = poses
    scales = ControlConfig()
    assert np.allclose(moved - position, scales.wrist_delta_m * twist[:3], atol=1e-4)
    expected = Rotation.from_rotvec(scales.wrist_delta_rad * twist[3:6]).as_matrix() @ rotation
    assert Rotation.from_matrix(turned @ expected.T).magnitude() < 1e-3
    assert np.linalg.norm(moved - position) > 0.005  # more than the tolerance


WILD_ACTIONS = st.one_of(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_, np.float16]),
        st.sampled_from([(23,), (22,), (1, 23), (), (0,), (23, 1)]),
    ),
    st.lists(st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=2)), min_size=22, max_size=24),
    st.text(max_size=3),
    st.none(),
    st.just(np.full(23, 1 + 2j)),
    st.just([[1.0], [1.0, 2.0]]),
    st.just([10**400] * 23),
    st.just({"arm": 1}),
)


@pytest.fixture(scope="module")
def cabinet() -> Any:
    env = make(CABINET, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    return env


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(action=WILD_ACTIONS)
def test_any_action_moves_the_robot_or_is_refused(cabinet: Any, action: Any) -> None:
    before = cabinet.state()
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, about sums of numbers near its largest
        try:
            observation, reward, terminated, _, info = cabinet.step(action)
        except ActionError:
            assert same(cabinet.state(), before)
            return
    assert np.asarray(action).shape == (23,)
    assert np.isfinite(np.asarray(action, dtype=np.float64)).all()
    assert cabinet.observation_space.contains(observation)
    assert np.isfinite(reward)
    assert not terminated
    assert not info["unstable"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full(23, np.nan), r"holds nan at index .*expected finite numbers in \[-1, 1\]"),
        (np.full(23, np.inf), "holds inf at index"),
        (np.zeros(22), r"expected \(1, 23\); see env.action_space"),
        (np.zeros((1, 23)), "has shape"),
        ("left", "expected numbers; see env.action_space"),
        (None, "expected numbers"),
    ],
)
def test_bad_action_is_refused_and_nothing_moves(bad: Any, message: str) -> None:
    env = make(GRASP, disable_env_checker=True, randomization="full").unwrapped
    env.reset(seed=0)
    before = env.state()
    with pytest.raises(ActionError, match=message):
        env.step(bad)
    assert same(env.state(), before)


PARTIAL = {"observation_mode": "pointcloud", "points": "partial"}
PICTURES = {"observation_mode": "rgbd"}
WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"control_mode": "telepathy"}, "unknown control_mode 'telepathy'.*joint_delta, joint_target, wrist_delta"),
    ({"control_mode": 3}, "unknown control_mode 3"),
    ({"reward_mode": "x"}, "unknown reward_mode 'x'.*dense, sparse"),
    ({"observation_mode": "smell"}, "unknown observation_mode 'smell'.*state, pointcloud, keypoints, rgbd"),
    ({"observation_mode": ["state"]}, "unknown observation_mode"),
    ({"points": "some"}, "unknown points 'some'.*full, partial"),
    ({**PARTIAL, "point_camera": "roof"}, "unknown camera 'roof': expected one of .*front"),
    ({**PARTIAL, "point_camera": np.zeros(2)}, r"point_camera=array.*: expected a camera's name, such as 'front'"),
    ({**PICTURES, "cameras": ("roof",)}, "unknown camera 'roof': expected one of .*front"),
    ({"cameras": "front"}, r"cameras='front': expected one or more camera names"),
    ({"cameras": 5}, r"cameras=5: expected one or more camera names"),
    ({**PICTURES, "cameras": ("side", "side")}, r"cameras=\('side', 'side'\): expected each camera once; leave out"),
    ({"image_width": 0}, "image_width=0: expected a whole number of pixels"),
    ({"image_height": 2.5}, "image_height=2.5: expected a whole number of pixels"),
    (
        {"points": "partial"},
        r"points='partial' changes nothing with observation_mode='state': expected observation_mode='pointcloud', "
        r"or points left out or at its default 'full'",
    ),
    ({**PICTURES, "points": "partial"}, "points='partial' changes nothing with observation_mode='rgbd'"),
    ({"point_camera": "side"}, "point_camera='side' changes nothing with observation_mode='state'.*default 'front'"),
    ({**PARTIAL, "points": "full", "point_camera": "side"}, "changes nothing with points='full': expected points='partial'"),
    ({"cameras": ("side",)}, r"cameras=\('side',\) changes nothing with observation_mode='state': .*'rgbd'"),
    ({**PARTIAL, "cameras": ["side"]}, "changes nothing with observation_mode='pointcloud': expected observation_mode='rgbd'"),
    ({"image_width": 64}, "image_width=64 changes nothing with observation_mode='state'.*'rgbd'.*default 96"),
    ({"observation_mode": "keypoints", "image_height": 64}, "image_height=64 changes nothing with .*'keypoints'"),
    ({"relative": True, "observation_mode": "keypoints"}, "relative=True adds to the state vector: .*not 'keypoints'"),
    ({"privileged": "yes"}, "privileged='yes': expected True or False"),
    ({"nan_folder": 5}, "nan_folder=5: expected a folder"),
    ({"randomization": "wild"}, "unknown randomization 'wild': expected one of none, physics, full, disturbance"),
    ({"bottle": "amphora"}, "unknown bottle 'amphora'.*pet"),
    ({"bottle": ["pet"]}, "unknown bottle .*pet"),
    ({"colour": "red"}, "unknown environment option 'colour'.*bottle"),
    ({"obervation_mode": "state"}, r"did you mean 'observation_mode'\?"),
    ({"hold_steps": 0}, "hold_steps=0: expected a whole number, 1 or more"),
    ({"hold_steps": "long"}, "hold_steps='long'"),
    ({"num_points": 2.5}, "num_points=2.5"),
    ({"home_noise_rad": -1.0}, "home_noise_rad=-1.0: expected a finite number, 0 or more"),
    ({"home_noise_rad": float("nan")}, "home_noise_rad=nan"),
    ({"start_centre_m": (0.5,)}, r"start_centre_m=\(0.5,\): expected 2 finite numbers"),
    ({"start_centre_m": "ab"}, "start_centre_m='ab'"),
    ({"weights": {"beauty": 1.0}}, "weights=.*expected a mapping of reach, .*success to finite numbers, 0 or more"),
    ({"weights": {"reach": -0.1}}, "weights={'reach': -0.1}: expected .* to finite numbers, 0 or more"),
    ({"weights": {"reach": "much"}}, "weights="),
    ({"weights": 3}, "weights=3"),
    ({"camera": "roof"}, "unknown camera 'roof': expected one of .*overview"),
    ({"width": 0}, "width=0: expected a whole number of pixels"),
    ({"height": "tall"}, "height='tall'"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS, ids=lambda value: str(value)[:40])
def test_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make(BOTTLE, **options)
    with pytest.raises(OptionError, match=message):
        make_vec(BOTTLE, 2, **options)


def test_another_observation_mode_comes_without_the_options_of_the_old_one() -> None:
    seen = {**PARTIAL, "point_camera": "side", "bottle": "pet"}
    assert overridden(seen, {"observation_mode": "keypoints"}) == {"observation_mode": "keypoints", "bottle": "pet"}
    assert overridden(seen, {"observation_mode": "pointcloud", "hold_steps": 5}) == seen | {"hold_steps": 5}
    assert overridden({}, {"observation_mode": "state"}) == {"observation_mode": "state"}
    mistaken = overridden({"bottle": "pet"}, {"observation_mode": "rgbd", "points": "partial"})  # given, and so still refused
    with pytest.raises(OptionError, match="points='partial' changes nothing"):
        make(BOTTLE, **mistaken)


@pytest.mark.filterwarnings("ignore:.*render_mode")  # Gymnasium's own, before the environment says which there are
@pytest.mark.parametrize("env_id", IDS)
def test_wrong_render_mode_is_named_with_the_right_ones(env_id: str) -> None:
    with pytest.raises(OptionError, match="unknown render_mode 'hologram': expected one of human, rgb_array"):
        make(env_id, render_mode="hologram")
    for wrong in ("hologram", "human"):
        with pytest.raises(OptionError, match=f"unknown render_mode '{wrong}' of a vector env.*: expected None or rgb_array"):
            make_vec(env_id, 2, render_mode=wrong)


@pytest.mark.parametrize("objects", ["mug", (), ("anvil",), ("mug", 3), 5, None, ({},)])
def test_unknown_objects_are_named(objects: Any) -> None:
    for env_id in (GRASP, "DexVid-LiftThrow-v0"):
        with pytest.raises(OptionError, match=r"objects=.*expected one or more of .*mug"):
            make(env_id, objects=objects)


FIELDS = [field.name for field in dataclasses.fields(EnvironmentOptions)]
OWN = ["bottle", "hold_steps", "home_noise_rad", "num_points", "weights", "start_yaw_rad", "target_centre_m", "camera", "width"]
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.one_of(st.floats(), st.text(max_size=2)), max_size=3),
    st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
    st.just({"reach": 1.0}),
    st.just("front"),
)


NAMES = st.sampled_from(FIELDS + OWN) | st.text(st.characters(categories=["L"]), min_size=1)


@settings(max_examples=60, deadline=None)
@example(options={"bottle": {"reach": 1.0}})
@given(options=st.dictionaries(NAMES, ANYTHING, max_size=2))
def test_any_options_make_an_environment_or_are_refused(options: dict[str, Any]) -> None:
    points = options.get("num_points", 0)
    if isinstance(points, int) and points > 2000:
        return  # makes sense, and takes long
    options = {name: value for name, value in options.items() if name != "render_mode"}
    try:
        env = make(BOTTLE, **options)
    except OptionError:
        return
    except TypeError:
        assert set(options) & {"id", "task", "vector", "disable_env_checker"}, options
        return
    if env.unwrapped.core.options.observation_mode != "rgbd":
        env.reset(seed=0)


def test_options_may_be_lists_and_arrays() -> None:
    env = make(BOTTLE, start_centre_m=np.array([0.5, -0.1]), start_half_extent_m=[0.0, 0.0]).unwrapped
    env.reset(seed=0)
    assert np.allclose(env.task.object_pos_world[0, :2], (0.5, -0.1))
    assert {"rgb_side", "depth_side"} < set(make(BOTTLE, **PICTURES, cameras=["side"]).observation_space)


@pytest.mark.parametrize("env_id", IDS)
def test_render_needs_its_mode(env_id: str) -> None:
    env = make(env_id).unwrapped
    env.reset(seed=0)
    with pytest.raises(DexVidError, match="render_mode='rgb_array'"):
        env.render()


def test_tolerance_equals_dm_control() -> None:
    from dm_control.utils import rewards

    x = np.linspace(-2, 2, 401)
    for bounds, margin in [((0.0, 0.0), 0.5), ((-0.3, 0.4), 1.0), ((0.1, np.inf), 0.2), ((0.0, 0.5), 0.0)]:
        expected = rewards.tolerance(x, bounds, margin)
        assert np.allclose(tolerance(x, bounds, margin), expected, atol=1e-12)
        if margin:
            assert np.allclose(Tolerances((*bounds, margin))(x[:, None])[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize(("bounds", "margin"), [((1.0, 0.0), 0.1), ((0.0, 1.0), -0.1)])
def test_tolerance_refuses_nonsense(bounds: tuple[float, float], margin: float) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        tolerance(np.zeros(1), bounds, margin)
    with pytest.raises(ValueError, match="tolerances"):
        Tolerances((*bounds, margin))
