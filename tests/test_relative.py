"""`relative=True`: poses in the frames of palm and object, checked against the engine's own arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from environment_cases import IDS, drive, make, make_vec
from environment_cases import random_actions as actions
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError

BOTTLE = "DexVid-BottlePickPlace-v0"


def relative_parts(env: Any, observation: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The named parts that follow the world's."""
    parts, start = {}, 0
    for field in env.unwrapped.core.fields:
        parts[field.name] = observation[start : start + field.size]
        start += field.size
    assert start == len(observation)
    return {name: part for name, part in parts.items() if name.endswith(("_in_palm", "_in_object", "_line"))}


@pytest.mark.parametrize("env_id", IDS)
def test_parts_are_what_the_engine_says(env_id: str) -> None:
    env: Any = make(env_id, relative=True)
    plain: Any = make(env_id)
    observation, _ = env.reset(seed=4)
    world, _ = plain.reset(seed=4)
    for action in actions(20):
        observation, *_ = env.step(action)
        world, *_ = plain.step(action)
    np.testing.assert_array_equal(observation[: len(world)], world)
    assert env.observation_space.contains(observation)
    parts, data, robot = relative_parts(env, observation), env.unwrapped.data, env.unwrapped.task.robot
    body = data.body(env.unwrapped.task.moved_body)
    palm, turned = data.site("palm").xpos, data.body(robot.palm_body).xmat.reshape(3, 3)
    rotation = body.xmat.reshape(3, 3)
    tips = np.stack([data.site(name).xpos for name in robot.fingertip_sites]) - body.xpos
    expected = {
        "object_in_palm": turned.T @ (body.xpos - palm),
        "object_axes_in_palm": (turned.T @ rotation)[:, [2, 0]].T.ravel(),
        "up_in_palm": turned[2],
        "fingertips_in_palm": (tips @ turned).ravel(),
        "fingertips_in_object": (tips @ rotation).ravel(),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(parts[name], values, atol=1e-5, err_msg=name)


def test_half_a_turn_of_a_bottle_leaves_its_line_as_it_is() -> None:
    env: Any = make(BOTTLE, relative=True, start_yaw_rad=np.pi)
    lines = []
    for yaw in (0.4, 0.4 - np.pi):
        observation, _ = env.reset(seed=0, options={"bottle_yaw": yaw})
        lines.append(relative_parts(env, observation)["object_line"])
    np.testing.assert_allclose(lines[0], lines[1], atol=1e-5)
    np.testing.assert_allclose(lines[0], [np.cos(0.8), np.sin(0.8)], atol=1e-5)


def test_the_goal_is_seen_from_the_palm() -> None:
    env: Any = make(BOTTLE, relative=True)
    observation, _ = env.reset(seed=1)
    parts = relative_parts(env, observation)
    data = env.unwrapped.data
    way = np.append(env.unwrapped.task.memory["target"][0] - data.body("bottle").xpos[:2], 0.0)
    turned = data.body(env.unwrapped.task.robot.palm_body).xmat.reshape(3, 3)
    np.testing.assert_allclose(parts["target_position_in_palm"], turned.T @ way, atol=1e-5)


def test_many_environments_see_what_single_ones_see() -> None:
    envs, env = make_vec(BOTTLE, 3, relative=True, randomization="full"), make(BOTTLE, relative=True, randomization="full")
    seen, _ = envs.reset(seed=[5, 6, 7])
    single, _ = env.reset(seed=6)
    np.testing.assert_array_equal(seen[1], single)


def test_it_belongs_to_the_state_vector() -> None:
    with pytest.raises(OptionError, match="observation_mode='state'"):
        make(BOTTLE, relative=True, observation_mode="pointcloud")
    with pytest.raises(OptionError, match="expected True or False"):
        make(BOTTLE, relative="yes")
    env = make(BOTTLE, relative=True, privileged=True)
    observation, _ = env.reset(seed=0)
    assert observation["state"].shape == (168,)
    drive(env, actions(2))
