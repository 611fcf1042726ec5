"""The scripted policies of OpenCabinet and LiftThrow solve their tasks, and act alike in one environment and in many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import dexvid_envs  # noqa: F401 (registers the environments)
from dexvid_envs.core import EnvironmentCore
from dexvid_envs.scripted import ScriptedPolicy
from dexvid_envs.scripted.lift_throw import ScriptedLiftThrow
from dexvid_envs.scripted.open_cabinet import ScriptedOpenCabinet

CABINET, THROW = "DexVid-OpenCabinet-v0", "DexVid-LiftThrow-v0"
MakePolicy = Callable[[EnvironmentCore], ScriptedPolicy[Any]]


def run(env_id: str, make_policy: MakePolicy, seeds: list[int], steps: int) -> dict[str, np.ndarray]:
    """Infos, (N,) each, of the last step; rows that ended early keep their last one."""
    envs: Any = gym.make_vec(env_id, num_envs=len(seeds))
    envs.reset(seed=seeds)
    core: EnvironmentCore = envs.unwrapped.core  # stepped itself: the environment's autoreset would begin new episodes
    policy = make_policy(core)
    policy.reset()
    kept: dict[str, np.ndarray] = {}
    ended = np.zeros(len(seeds), dtype=bool)
    for _ in range(steps):
        result = core.step(policy.act())
        kept = {name: np.where(ended, kept.get(name, value), value) for name, value in core.infos(result).items()}
        ended |= result.terminated
    envs.close()
    return kept


def test_every_drawer_is_opened_and_left_open() -> None:
    infos = run(CABINET, ScriptedOpenCabinet, list(range(8)), 130)  # 100 of seeds 0 to 99; held from step 83 on
    assert infos["success"].all()
    assert (infos["opening_m"] >= 0.8 * 0.40).all()


def test_most_throws_end_in_the_bucket() -> None:
    infos = run(THROW, ScriptedLiftThrow, list(range(6)), 195)  # 118 of seeds 0 to 119
    thrown = infos["success"]
    assert thrown.sum() >= 4
    # Reaching, lifting and winding up take this long, and nothing is let go before.
    assert ((infos["release_time_s"][thrown] > 5.0) & (infos["release_time_s"][thrown] < 9.0)).all()
    # What ended in the bucket passed its rim within the rim's radius.
    assert ((infos["landing_error_m"][thrown] >= 0.0) & (infos["landing_error_m"][thrown] < 0.16)).all()
    assert infos["in_bucket"][thrown].all()


@pytest.mark.parametrize(("env_id", "make_policy"), [(CABINET, ScriptedOpenCabinet), (THROW, ScriptedLiftThrow)])
def test_one_environment_acts_as_one_of_many(env_id: str, make_policy: MakePolicy) -> None:
    seeds = [3, 5]
    envs: Any = gym.make_vec(env_id, num_envs=2)
    env: Any = gym.make(env_id)
    envs.reset(seed=seeds)
    env.reset(seed=seeds[1])
    many, one = (make_policy(each.unwrapped.core) for each in (envs, env))
    many.reset()
    one.reset()
    for _ in range(150):
        actions, action = many.act(), one.act()
        np.testing.assert_array_equal(actions[1:], action)
        envs.step(actions)
        env.step(action[0])
    envs.close()
    env.close()
