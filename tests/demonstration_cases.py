"""Demonstrations for tests: the scripted policies' episodes of all four tasks, recorded once."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration
from demos.replay import Player
from dexvid_envs.scripted import make_scripted_policy

BOTTLE, LIFT = "DexVid-BottlePickPlace-v0", "DexVid-GraspLift-v0"
CABINET, THROW = "DexVid-OpenCabinet-v0", "DexVid-LiftThrow-v0"
#: Options (few objects compile quickly), a seed that the scripted policy solves, and the steps it needs.
SCRIPTED: dict[str, tuple[dict[str, Any], int, int]] = {
    BOTTLE: ({}, 0, 190),
    LIFT: ({"objects": ["mug", "banana"]}, 0, 150),
    CABINET: ({}, 0, 120),
    THROW: ({"objects": ["tennis_ball", "foam_brick"]}, 1, 195),
}


@functools.cache
def player_of(env_id: str) -> Player:
    """A player of the environment, with the options of `SCRIPTED`."""
    return Player(env_id, SCRIPTED[env_id][0], "joint_delta")


@functools.cache
def scripted_actions(env_id: str) -> NDArray[np.float32]:
    """(T, 23) what the scripted policy does."""
    _, seed, steps = SCRIPTED[env_id]
    env = player_of(env_id).env
    env.reset(seed=seed)
    policy = make_scripted_policy(env)
    policy.reset()
    actions = []
    for _ in range(steps):
        actions.append(policy.act()[0])
        env.step(actions[-1])
    return np.array(actions, dtype=np.float32)


@functools.cache
def scripted_demonstration(env_id: str) -> Demonstration:
    """A successful episode."""
    return player_of(env_id).record(scripted_actions(env_id), seed=SCRIPTED[env_id][1], tier="successful")
