"""The native vector environment as stable-baselines3's `VecEnv`: the same transitions, in the other library's words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from dexvid_envs.errors import OptionError

#: Of all environments: (N, ...), or such arrays by name.
Observations = NDArray[Any] | dict[str, NDArray[Any]]


class Sb3VecEnv(VecEnv):
    """N environments of a `gymnasium.vector.VectorEnv` that starts finished episodes anew within the same step.

    An ended episode's info holds `terminal_observation`, `TimeLimit.truncated` (true only where the time limit alone ended it,
    so that the learner bootstraps from the value of the terminal observation), `episode` (return "r", length "l", seconds "t")
    and all figures of its last step. Infos of the other rows are empty, which saves thousands of small dicts a second.

    Args:
        envs: the vector environment.
        reward_scale: rewards are multiplied by this for the learner; `episode` keeps the environment's own.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any], reward_scale: float = 1.0) -> None:
        if envs.metadata.get("autoreset_mode") != AutoresetMode.SAME_STEP:
            raise OptionError(
                f"{envs} resets in mode {envs.metadata.get('autoreset_mode')}, expected {AutoresetMode.SAME_STEP}"
            )
        self.envs, self.reward_scale = envs, reward_scale
        observation_space, action_space = envs.single_observation_space, envs.single_action_space
        if not isinstance(action_space, spaces.Box) or not isinstance(observation_space, spaces.Box | spaces.Dict):
            raise OptionError(
                f"{envs} has the spaces {observation_space} and {action_space}; expected a Box or a Dict of boxes for "
                "observations, and a Box for actions"
            )
        super().__init__(envs.num_envs, observation_space, action_space)
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._shortened = np.zeros(self.num_envs, dtype=bool)  # (N,) episodes that `stagger` cuts short
        self._actions: NDArray[Any] = np.zeros((self.num_envs, *action_space.shape), dtype=np.float32)
        self._started = time.perf_counter()

    def reset(self) -> Observations:
        """Starts an episode in every environment, with the seeds given to `seed`."""
        seeds = list(self._seeds) if any(one is not None for one in self._seeds) else None
        observations, _ = self.envs.reset(seed=seeds)  # type: ignore[arg-type]  # a list is allowed, one seed each
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:], self._shortened[:] = 0.0, 0, False
        return observations

    def stagger(self, rng: np.random.Generator) -> None:
        """Advances the clocks of the first episodes by random amounts, so that rollouts hold all phases of an episode.

        The shortened first episodes bootstrap like any truncated one, but report no success and no return.

        Raises:
            OptionError: the environment has no clocks that can be set.
        """
        elapsed, limit = getattr(self.envs, "elapsed_steps", None), getattr(self.envs, "max_episode_steps", None)
        if elapsed is None or limit is None:
            raise OptionError(f"{self.envs} has no elapsed_steps and max_episode_steps; train with stagger=False")
        elapsed[:] = rng.integers(0, limit, self.num_envs)
        self._shortened[:] = elapsed > 0

    def bookkeeping(self) -> dict[str, NDArray[Any]]:
        """What is counted of the running episodes, live, (N,) each: returns, lengths in steps, whether shortened."""
        return {"returns": self._returns, "lengths": self._lengths, "shortened": self._shortened}

    def restore_bookkeeping(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Puts back what `bookkeeping` gave."""
        for name, array in self.bookkeeping().items():
            array[:] = arrays[name]

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions (N, A) in [-1, 1] for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """One control step of every environment.

        Returns:
            Observations (N, ...), of a new episode where one has ended; rewards (N,), scaled; whether an episode ended, (N,);
            and an info for each, with `terminal_observation`, `TimeLimit.truncated` and `episode` where one has.
        """
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        done = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        row_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(done):
            info = row_infos[row]
            info |= {name: values[row] for name, values in infos["final_info"].items() if not name.startswith("_")}
            info["terminal_observation"] = _row(infos["final_obs"], row)
            info["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
            if self._shortened[row] or info.get("from_demonstration", False):
                info.pop("is_success", None)
            else:
                seconds = time.perf_counter() - self._started
                info["episode"] = {"r": float(self._returns[row]), "l": int(self._lengths[row]), "t": round(seconds, 6)}
        self._returns[done], self._lengths[done], self._shortened[done] = 0.0, 0, False
        return observations, (rewards * self.reward_scale).astype(np.float32), done, row_infos

    def close(self) -> None:
        """Closes the vector environment."""
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A picture (H, W, 3) of each environment, where the vector environment renders."""
        return cast("Sequence[NDArray[np.uint8] | None]", self.envs.render() or ())

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The vector environment's attribute, once for each index."""
        return [getattr(self.envs, attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Sets an attribute of the vector environment, which all rows share.

        Raises:
            OptionError: it is to be set for some rows alone.
        """
        if len(self._rows(indices)) != self.num_envs:
            raise OptionError(f"attribute {attr_name!r} is shared by all environments; set it for all of them")
        setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Refuses: the rows are no environments of their own."""
        raise OptionError(f"cannot call {method_name!r} of one environment: the rows are stepped together; use `envs` instead")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """No row is wrapped."""
        return [False] * len(self._rows(indices))

    def _rows(self, indices: int | Sequence[int] | None) -> list[int]:
        if indices is None:
            return list(range(self.num_envs))
        return [indices] if isinstance(indices, int) else list(indices)


def _row(observations: Observations, row: int) -> Any:
    """A copy of one environment's observation, which does not keep those of the others alive."""
    if isinstance(observations, dict):
        return {name: part[row].copy() for name, part in observations.items()}
    return observations[row].copy()
