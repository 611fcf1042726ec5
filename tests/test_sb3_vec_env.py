"""The adapter for stable-baselines3 gives the vector environment's transitions, and learns from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from environment_cases import IDS, STRONG, make_vec, needs_rendering, observation_cases, row_of, same

GRASP = "DexVid-GraspLift-v0"
COUNT, STEPS, LIMIT = 3, 26, 8  # short episodes, so that their ends and resets are in the trace


@needs_rendering
def test_stable_baselines3_gets_pictures() -> None:
    from baselines.sb3_vec_env import Sb3VecEnv

    adapter = Sb3VecEnv(make_vec(GRASP, 2, render_mode="rgb_array", width=64, height=48))
    adapter.reset()
    assert [picture.shape for picture in adapter.get_images() if picture is not None] == [(48, 64, 3)] * 2
    assert adapter.render(mode="rgb_array") is not None
    adapter.close()


@pytest.mark.parametrize("observation", observation_cases("state", "full+"))
@pytest.mark.parametrize("env_id", IDS)
def test_stable_baselines3_adapter_gives_the_same_transitions(env_id: str, observation: dict[str, Any]) -> None:
    from baselines.sb3_vec_env import Sb3VecEnv

    options = {"max_episode_steps": LIMIT, "randomization": STRONG, **observation}
    vector, adapter = make_vec(env_id, COUNT, **options), Sb3VecEnv(make_vec(env_id, COUNT, **options))
    adapter.seed(11)
    observations = adapter.reset()
    assert same(observations, vector.reset(seed=11)[0])
    for action in np.random.default_rng(1).uniform(-1, 1, (STEPS, COUNT, 23)).astype(np.float32):
        adapter.step_async(action)
        observations, rewards, done, row_infos = adapter.step_wait()
        expected, their_rewards, terminated, truncated, infos = vector.step(action)
        assert same(observations, expected)
        assert np.array_equal(rewards, their_rewards.astype(np.float32))
        assert np.array_equal(done, terminated | truncated)
        for row in np.flatnonzero(done):
            assert same(row_infos[row]["terminal_observation"], row_of(infos["final_obs"], row))
            assert row_infos[row]["TimeLimit.truncated"] == (truncated[row] and not terminated[row])
            assert row_infos[row]["episode"]["l"] == LIMIT
    assert adapter.observation_space == vector.single_observation_space
    adapter.close()


def test_stable_baselines3_learns_from_dict_observations() -> None:
    from stable_baselines3 import PPO

    from baselines.sb3_vec_env import Sb3VecEnv

    envs = Sb3VecEnv(make_vec(GRASP, 2, max_episode_steps=LIMIT, observation_mode="pointcloud", privileged=True))
    algorithm = PPO("MultiInputPolicy", envs, n_steps=16, batch_size=16, n_epochs=1, device="cpu")
    algorithm.learn(32)
    assert algorithm.num_timesteps == 32
