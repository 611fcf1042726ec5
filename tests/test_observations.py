"""Observations of every mode: Gymnasium's contract, their spaces, memory of their own, and what they tell."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from typing import Any

import mujoco
import numpy as np
import pytest
from environment_cases import (
    CONTROL_MODES,
    IDS,
    STRONG,
    digest,
    drive,
    make,
    make_vec,
    needs_rendering,
    observation_cases,
    parts_of,
    write_free_pose,
)
from environment_cases import random_actions as actions
from gymnasium.utils.env_checker import check_env

from dexvid_envs.rendering import make_renderer


def push(env: Any) -> None:
    """Sets the moved body in motion."""
    first = env.model.body(env.task.moved_body).dofadr[0]
    env.data.qvel[first:] = 0.5


@pytest.mark.parametrize("observation", observation_cases())
@pytest.mark.parametrize("control_mode", CONTROL_MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_checker_finds_nothing_and_seeded_runs_are_identical_also_of_a_pickled_copy(
    env_id: str, control_mode: str, observation: dict[str, Any]
) -> None:
    randomization = STRONG if control_mode == "joint_target" else None
    env = make(env_id, control_mode=control_mode, randomization=randomization, **observation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
    twin = pickle.loads(pickle.dumps(env))
    traces = []
    for one in (env, env, twin):
        started = one.reset(seed=7)
        traces.append(digest([started, drive(one, actions(6, env.action_space.shape[0]))]))
    assert traces[0] == traces[1]
    assert traces[0] == traces[2]
    env.close()
    twin.close()


@pytest.mark.parametrize("observation", observation_cases("full", "partial+", "state+", "rgbd+"))
@pytest.mark.parametrize("env_id", IDS)
def test_observations_stay_in_their_space_move_and_share_no_memory(env_id: str, observation: dict[str, Any]) -> None:
    env = make(env_id, randomization=STRONG, **observation)
    seen = [env.reset(seed=3)[0]]
    steps = 12 if observation.get("observation_mode") == "rgbd" else 60
    for step, action in enumerate(actions(steps)):
        if step == steps // 2:
            push(env.unwrapped)
        following, _, terminated, _, _ = env.step(action)
        for name, part in parts_of(following).items():
            assert not np.shares_memory(part, parts_of(seen[-1])[name]), name
            assert not np.shares_memory(part, env.unwrapped.data.qpos), name
        assert env.observation_space.contains(following)
        seen.append(following)
        if terminated:
            break
    for name in parts_of(seen[0]):
        if name != "goal":  # which stays for the episode
            history = np.stack([parts_of(one)[name] for one in seen])
            assert (history != history[0]).any(), f"{name} never changes"
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_every_field_moves_that_should(env_id: str) -> None:
    sizes = {} if "Cabinet" in env_id else {"size": (0.9, 1.1)}  # the cabinet keeps its own
    env = make(env_id, randomization=sizes).unwrapped
    history = []
    for seed in range(6):
        observation, _ = env.reset(seed=seed)
        history.append(observation)
        push(env)
        for action in actions(40, seed=seed):
            history.append(env.step(action)[0])
    values, start = np.stack(history), 0
    for field in env.core.fields:
        part = values[:, start : start + field.size]
        start += field.size
        if field.name != "target_opening":  # the same in all episodes until the travel is randomised
            assert (np.ptp(part, axis=0) > 0).any(), f"{field.name} never changes"
        assert not (part == field.high).all(), f"{field.name} is always clipped"


@pytest.mark.parametrize("env_id", IDS)
def test_points_lie_on_the_object_where_it_is(env_id: str) -> None:
    env = make(env_id, observation_mode="pointcloud").unwrapped
    env.reset(seed=2)
    points = env.step(actions(1)[0])[0]["points"]
    body = env.data.body(env.task.moved_body)
    expected = env.task.surface_points()[0] @ body.xmat.reshape(3, 3).T + body.xpos
    assert points.shape == (100, 3)
    assert np.allclose(points, expected, atol=1e-6)


def state_of(env: Any) -> mujoco.MjData:
    """Data of its own in the state that an unwrapped environment saves, with everything derived from it."""
    data, spec = mujoco.MjData(env.model), mujoco.mjtState.mjSTATE_INTEGRATION
    mujoco.mj_setState(env.model, data, env.state()["simulation"], spec)
    mujoco.mj_forward(env.model, data)
    return data


@pytest.mark.parametrize("env_id", IDS)
def test_points_describe_the_state_after_the_last_substep(env_id: str) -> None:
    whole = make(env_id, observation_mode="pointcloud").unwrapped
    part = make(env_id, observation_mode="pointcloud", points="partial").unwrapped
    for env in (whole, part):
        env.reset(seed=2)
        push(env)
        observation = env.step(actions(1)[0])[0]
        data = state_of(env)
        body = data.body(env.task.moved_body)
        assert np.abs(body.cvel).max() > 0.02  # a substep ago it was elsewhere
        expected = env.task.surface_points()[0] @ body.xmat.reshape(3, 3).T + body.xpos
        shown = observation.get("visible", np.ones(len(expected))) == 1
        assert shown.any()
        np.testing.assert_allclose(observation["points"][shown], expected[shown], atol=1e-6)


@needs_rendering
@pytest.mark.parametrize("env_id", IDS)
def test_a_picture_describes_the_state_after_the_last_substep(env_id: str) -> None:
    env = make(env_id, observation_mode="rgbd", image_width=64, image_height=48, cameras=("front",)).unwrapped
    env.reset(seed=2)
    push(env)
    observation = env.step(actions(1)[0])[0]
    data = state_of(env)
    with contextlib.closing(make_renderer(env.model, 48, 64, fast=True)) as renderer:
        renderer.show(env.model, data, "front")
        colours, depth = renderer.render_rgbd()
    assert np.array_equal(observation["rgb_front"], colours)
    np.testing.assert_allclose(observation["depth_front"], np.minimum(depth, 5.0), atol=1e-6)
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_partial_points_are_those_that_the_camera_sees(env_id: str) -> None:
    env = make(env_id, observation_mode="pointcloud", points="partial").unwrapped
    observation, _ = env.reset(seed=2)
    whole = env.task.surface_points()[0] @ env.data.body(env.task.moved_body).xmat.reshape(3, 3).T
    whole += env.data.body(env.task.moved_body).xpos
    seen = observation["visible"] == 1
    assert 5 < seen.sum() < len(seen)
    assert np.allclose(observation["points"][seen], whole[seen], atol=1e-6)
    kinds = {tuple(point) for point in observation["points"][seen]}
    assert {tuple(point) for point in observation["points"]} == kinds  # unseen ones repeat seen ones
    # A second route: the engine's single ray, for each point.
    eye, groups = env.data.camera("front").xpos, np.array([0, 0, 0, 1, 0, 0], dtype=np.uint8)
    for point, visible in zip(whole, seen, strict=True):
        way = point - eye
        hit = mujoco.mj_ray(env.model, env.data, eye, way / np.linalg.norm(way), groups, 1, -1, np.zeros(1, dtype=np.int32))
        assert visible == (hit < 0 or hit >= np.linalg.norm(way) - 0.008)


def test_in_the_bucket_nothing_is_seen_from_the_side() -> None:
    env = make("DexVid-LiftThrow-v0", observation_mode="pointcloud", points="partial", point_camera="side").unwrapped
    observation, _ = env.reset(seed=0, options={"object": "tennis_ball"})
    assert observation["visible"].any()
    write_free_pose(env, env.task.memory["bucket"][0] + (0.0, 0.0, 0.05))
    env.core.observer.see(np.zeros(0, dtype=np.int64))
    observation = env.core.observer.observe()
    assert not observation["visible"].any()
    assert (observation["points"] == 0).all()


@pytest.mark.parametrize("env_id", IDS)
def test_privileged_vector_holds_the_truth(env_id: str) -> None:
    env = make(env_id, privileged=True, randomization=STRONG).unwrapped
    plain = make(env_id, privileged=False, randomization=STRONG).unwrapped
    observation, _ = env.reset(seed=5)
    assert np.array_equal(plain.reset(seed=5)[0], observation["state"])
    for action in actions(8):
        observation = env.step(action)[0]
    privileged, size = observation["privileged"], len(observation["state"])
    start = 0
    for field in env.core.fields:
        if field.name == "joint_position":
            assert np.allclose(privileged[start : start + 23], env.data.qpos[env.task.joint_qposadr], atol=1e-6)
            assert not np.allclose(observation["state"][start : start + 23], privileged[start : start + 23], atol=1e-4)
        start += field.size
    mass, friction, force, held = privileged[size], privileged[size + 1], privileged[size + 2 : size + 5], privileged[-1]
    body = env.model.body(env.task.moved_body)
    assert mass == pytest.approx(body.mass[0], rel=1e-6)
    assert friction == pytest.approx(env.core.randomizer.memory["friction"][0], rel=1e-6)
    assert np.allclose(force, env.data.xfrc_applied[body.id, :3], rtol=1e-6)
    assert 0 <= held <= 1


def test_privileged_figures_stay_in_their_space_whatever_is_drawn() -> None:
    wild = {"friction": (50.0, 60.0), "mass": (100.0, 110.0), "force_m_per_s2": 1000.0, "force_probability": 1.0}
    env = make("DexVid-BottlePickPlace-v0", privileged=True, randomization=wild)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.observation_space.contains(env.step(actions(1)[0])[0])


@needs_rendering
@pytest.mark.parametrize("env_id", IDS)
def test_pictures_show_the_scene_and_its_depth(env_id: str) -> None:
    env = make(env_id, observation_mode="rgbd", image_width=64, image_height=48, cameras=("front", "overview"))
    observation, _ = env.reset(seed=0)
    assert {"rgb_front", "depth_front", "rgb_overview", "depth_overview"} < set(observation)
    for camera in ("front", "overview"):
        assert observation[f"rgb_{camera}"].std() > 10  # not one colour
        depth = observation[f"depth_{camera}"]
        assert 0.3 < depth.min() < depth.max() <= 5.0
    place = env.unwrapped.data.body(env.unwrapped.task.moved_body).xpos
    eye = env.unwrapped.data.camera("front")
    along = -(place - eye.xpos) @ eye.xmat.reshape(3, 3)[:, 2]  # its axis is -z
    assert np.abs(observation["depth_front"] - along).min() < 0.05  # the object is at its depth, or something beside it
    env.close()


@needs_rendering
def test_pictures_of_many_equal_those_of_one() -> None:
    options = {"observation_mode": "rgbd", "image_width": 32, "image_height": 24, "randomization": STRONG}
    many, one = make_vec("DexVid-GraspLift-v0", 2, **options), make("DexVid-GraspLift-v0", **options)
    moves = actions(4)
    seen = [many.reset(seed=4)[0], *(many.step(np.stack([move, move]))[0] for move in moves)]
    for row in range(2):
        for observations, observation in zip(
            seen, [one.reset(seed=4 + row)[0], *(one.step(move)[0] for move in moves)], strict=True
        ):
            for name in ("rgb_front", "depth_side"):
                limit = 1.0 if name == "rgb_front" else 1e-3
                assert np.abs(observations[name][row].astype(float) - observation[name]).mean() < limit, name
    many.close()
    one.close()


@pytest.mark.parametrize("env_id", IDS)
def test_key_points_are_where_hand_and_object_are(env_id: str) -> None:
    env = make(env_id, observation_mode="keypoints")
    observation, _ = env.reset(seed=3)
    names, core = env.unwrapped.core.observer.keypoint_names, env.unwrapped.core
    points = dict(zip(names, observation["keypoints"], strict=True))
    np.testing.assert_allclose(points["thumb_tip"], core.task.hand_pos_world[0, 3], atol=1e-6)
    np.testing.assert_allclose(points["palm"], core.task.palm_pos_world[0], atol=1e-6)
    if "handle" in names:
        np.testing.assert_allclose(points["handle"], core.task.handle_pos_world[0], atol=1e-6)
        assert np.linalg.norm(points["handle_left"] - points["handle_right"]) == pytest.approx(0.2, abs=1e-5)
    else:
        np.testing.assert_allclose(points["object_centroid"], core.task.object_pos_world[0], atol=1e-6)
        assert points["object_top"][2] > points["object_centroid"][2] > points["object_bottom"][2] > -0.003
    env.close()
