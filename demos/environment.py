"""The environment that a demonstration is of, made from what stands in its file."""

from __future__ import annotations

from typing import Any, cast

import gymnasium
from gymnasium.envs.registration import load_env_creator

from dexvid_envs.env import DexVidEnv
from dexvid_envs.errors import OptionError
from dexvid_envs.registration import register_environments


def make_env(env_id: str, env_options: dict[str, Any], control_mode: str) -> DexVidEnv:
    """The environment without wrappers; ids and options from a file may name nothing that would be imported."""
    register_environments()
    if env_id not in gymnasium.registry:
        known = ", ".join(sorted(name for name in gymnasium.registry if name.startswith("DexVid-")))
        raise OptionError(f"unknown environment {env_id!r}: expected one of {known}; or import the package that registers it")
    if "task" in env_options:
        raise OptionError("the environment option 'task' belongs to the registered environment; leave it out")
    creator: Any = gymnasium.spec(env_id).entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    if not (isinstance(creator, type) and issubclass(creator, DexVidEnv)):
        raise OptionError(f"{env_id} is made by {creator!r}: expected an environment of dexvid_envs, whose states can be set")
    arguments: dict[str, Any] = {"control_mode": control_mode} | env_options
    return cast(DexVidEnv, gymnasium.make(env_id, **arguments).unwrapped)


def moved_body(env: DexVidEnv) -> int:
    """The body on the first joint that is none of the robot's: the object that the task moves."""
    model = env.model
    for joint in range(model.njnt):
        if model.joint(joint).name not in env.task.robot.joint_names:
            return int(model.jnt_bodyid[joint])
    raise OptionError(f"{type(env.task).__name__} has no object that can be moved; expected a joint that is not the robot's")
