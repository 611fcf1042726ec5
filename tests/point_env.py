"""A task that PPO learns in seconds, with clones of several kinds to start from."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from stable_baselines3.common.logger import Logger

from baselines.checkpoint import Checkpoint
from baselines.mlp import MlpActor, MlpConfig
from baselines.ppo import FineTuneConfig, FineTunePPO
from baselines.sb3_vec_env import Sb3VecEnv
from baselines.transformer import TransformerActor, TransformerConfig

QUICK = FineTuneConfig(
    total_steps=512,
    num_envs=4,
    rollout_steps=16,
    minibatch_size=32,
    critic_hidden=(16,),
    warmup_iterations=2,
    evaluations=0,
    stagger=False,
    update_threads=1,
)


LEARN = FineTuneConfig(
    total_steps=12_800,
    num_envs=16,
    rollout_steps=40,
    minibatch_size=160,
    epochs=4,
    actor_learning_rate=2e-3,
    critic_learning_rate=3e-3,
    action_std=0.2,
    critic_hidden=(32,),
    warmup_iterations=3,
    pull_weight=0.0,
    gamma=0.9,
    stagger=False,
    update_threads=1,
)


class Killed(Exception):
    pass


class PointEnv(VectorEnv):
    """N points in the plane, moved by 0.2 a step at most; the reward is largest at the origin, which is also the success.

    Args:
        terminate: episodes end by failure, not by the time limit.
    """

    def __init__(self, num_envs: int = 1, max_episode_steps: int = 20, control_mode: str = "", terminate: bool = False) -> None:
        self.num_envs, self.limit, self.terminate = num_envs, max_episode_steps, terminate
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = spaces.Box(-3.0, 3.0, (2,), dtype=np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None):
        seeds = seed if isinstance(seed, list) else [seed] * self.num_envs
        self.rngs = [np.random.default_rng(one) for one in seeds]
        self.points = np.stack([rng.uniform(-1, 1, 2) for rng in self.rngs])
        self.steps = 0
        return self.points.astype(np.float32), {"success": np.zeros(self.num_envs, dtype=bool)}

    def step(self, actions: Any):
        self.steps += 1
        self.points = self.points + 0.2 * np.clip(actions, -1, 1)
        distance = np.linalg.norm(self.points, axis=-1)
        ended = np.full(self.num_envs, self.steps >= self.limit)
        infos: dict[str, Any] = {"success": distance < 0.15, "is_success": distance < 0.15}
        observations = self.points.astype(np.float32)
        if ended.any():
            infos |= {"final_obs": observations, "final_info": dict(infos)}
            self.points = np.stack([rng.uniform(-1, 1, 2) for rng in self.rngs])
            self.steps = 0
        never = np.zeros(self.num_envs, dtype=bool)
        flags = (ended, never) if self.terminate else (never, ended)
        return self.points.astype(np.float32), 1.0 - distance, *flags, infos


if "Point-v0" not in gymnasium.registry:
    gymnasium.register("Point-v0", vector_entry_point=lambda **options: PointEnv(**options), max_episode_steps=20)


def make_transformer_clone() -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        actor = TransformerActor(TransformerConfig({"state": (2,)}, 2, width=16, heads=2, context_steps=4))
        actor.fit({"state": torch.randn(100, 2) * 0.5}, 0.01)
    return Checkpoint(actor, "Point-v0", {}, "joint_delta")


def make_clone(observation_size: int = 2, action_size: int = 2) -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        actor = MlpActor(MlpConfig(observation_size, action_size, (32, 32)))
        actor.normalizer.fit(torch.randn(100, observation_size) * 0.5, 0.01)
    return Checkpoint(actor, "Point-v0", {}, "joint_delta")


def make_algorithm(
    config: FineTuneConfig = QUICK, reward_scale: float = 1.0, clone: Checkpoint | None = None, **env_options: Any
) -> FineTunePPO:
    return algorithm_on(PointEnv(config.num_envs, **env_options), clone or make_clone(), config, reward_scale)


def algorithm_on(
    envs: VectorEnv[Any, Any, Any], clone: Checkpoint, config: FineTuneConfig, reward_scale: float = 1.0
) -> FineTunePPO:
    algorithm = FineTunePPO(Sb3VecEnv(envs, reward_scale), clone.actor, config, seed=0)
    algorithm.set_logger(Logger(None, []))
    return algorithm


def collect(algorithm: FineTunePPO) -> None:
    _, callback = algorithm._setup_learn(algorithm.config.total_steps, None, reset_num_timesteps=False)
    assert algorithm.env is not None
    algorithm.collect_rollouts(algorithm.env, callback, algorithm.rollout_buffer, algorithm.config.rollout_steps)


def check_log_probabilities(algorithm: FineTunePPO) -> None:
    """Those of the rollout equal those that the update begins with, to 1e-5."""
    rollout, seen = algorithm.rollout(), 0
    for batch in algorithm.minibatches(rollout):
        with torch.no_grad():
            log_prob = algorithm.networks.gaussian(algorithm.means(batch)).log_prob(batch.actions)
        torch.testing.assert_close(log_prob, batch.log_prob, rtol=0, atol=1e-5)
        seen += len(log_prob)
    assert seen == algorithm.rollout_buffer.returns.size


def flat(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in module.state_dict().values()]).clone()
