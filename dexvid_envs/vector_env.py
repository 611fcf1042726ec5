"""N environments stepped together on MuJoCo's thread pool; equal to N single ones bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.env import make_task
from dexvid_envs.simulation import BatchSimulation


class DexVidVectorEnv(VectorEnv):
    """The vector form of `DexVidEnv`; finished episodes start anew within the same step (`AutoresetMode.SAME_STEP`).

    A finished episode's last observation and figures are in `infos["final_obs"]` and `infos["final_info"]`, as Gymnasium does.
    Environment i of `reset(seed=s)` equals a single environment after `reset(seed=s + i)`.

    Args:
        task: `"module:Class"` of the task.
        num_envs: N.
        max_episode_steps: the time limit, handled here; None for endless episodes.
        num_threads: physics threads; 0 takes all cores.
        control_mode, reward_mode, observation_mode, options: as in `DexVidEnv`.
    """

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        *,
        num_threads: int = 0,
        control_mode: str = "joint_delta",
        reward_mode: str = "dense",
        observation_mode: str = "state",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self.num_envs, self.max_episode_steps, self.render_mode = num_envs, max_episode_steps, render_mode
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": [], "render_fps": 20}
        self.task = make_task(task, options)
        self.simulation = BatchSimulation(self.task.make_model(), num_envs, num_threads, self.task.model_fields)
        self.core = EnvironmentCore(
            self.task, self.simulation, control_mode=control_mode, reward_mode=reward_mode, observation_mode=observation_mode
        )
        self.single_observation_space = self.core.single_observation_space
        self.single_action_space = self.core.single_action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.elapsed_steps = np.zeros(num_envs, dtype=np.int64)
        self._rngs = [seeding.np_random(None)[0] for _ in range(num_envs)]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts an episode in every environment; the same options hold for all."""
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed or [None] * self.num_envs
        self._rngs = [
            rng if one is None else seeding.np_random(int(one))[0] for rng, one in zip(self._rngs, seeds, strict=True)
        ]
        rows = np.arange(self.num_envs)
        self.core.reset(rows, self._rngs, options or {})
        self.elapsed_steps[:] = 0
        result = self.core.result()
        return result.observations, dict(result.infos)

    def step(
        self, actions: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One control step of every environment, with finished episodes reset."""
        result = self.core.step(actions)
        self.elapsed_steps += 1
        limit = self.max_episode_steps
        truncated = np.zeros(self.num_envs, dtype=bool) if limit is None else self.elapsed_steps >= limit
        done = result.terminated | truncated
        observations = result.observations
        infos: dict[str, Any] = dict(result.infos)
        if done.any():
            rows = np.flatnonzero(done)
            infos["final_obs"] = observations.copy()
            infos["final_info"] = {name: values.copy() for name, values in result.infos.items()}
            infos["_final_obs"] = infos["_final_info"] = done
            self.core.reset(rows, [self._rngs[row] for row in rows], {})
            self.elapsed_steps[rows] = 0
            fresh = self.core.result()
            observations = fresh.observations
            infos |= fresh.infos
        return observations, result.rewards, result.terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing is held open; the thread pool ends with the object."""
