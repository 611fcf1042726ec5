"""Where the time of an environment's step goes, measured by clocks around the parts of its core."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

import dexvid_envs  # noqa: F401 (registers)

#: What counts as what: methods of the parts of an `EnvironmentCore`.
PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "reset": (("", "reset"),),
    "control": (("control", "check"), ("control", "next_target")),
    "physics": (("simulation", "step"),),
    "states kept for the NaN guard": (("simulation", "keep_states"),),
    "observation": (("observer", "see"), ("observer", "observe"), ("observer", "all_stable")),
    "reward": (
        ("task", "update"),
        ("task", "success"),
        ("task", "reward_terms"),
        ("task", "failed"),
        ("task", "metrics"),
    ),
}


class _Clocks:
    """Seconds inside of functions by the name of their part; what one of them calls counts as its own."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._inside = False

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with a clock around it."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside, start = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += time.perf_counter() - start
                self._inside = False

        return timed

    def set(self, core: Any) -> None:
        """Puts clocks around the methods of `PARTS`; what is observed after a reset is a part of it."""
        for part, methods in PARTS.items():
            for owner_name, method in methods:
                owner = getattr(core, owner_name) if owner_name else core
                setattr(owner, method, self.around(part, getattr(owner, method)))
        whole, of_some = core.result, self.around("reset", core.result)
        core.result = lambda rows=None: whole() if rows is None else of_some(rows)


def profile(env_id: str, count: int, episode_steps: int, episodes: int) -> dict[str, float]:
    """Where the time of whole episodes under random actions goes, `state` observations and dense rewards.

    Args:
        env_id: id of the environment.
        count: environments side by side; 1 is the single environment.
        episode_steps: time limit.
        episodes: played one after the other.

    Returns:
        Shares of the parts and of the "rest", which sum to 1, and "us" of one environment's step, resets included.
    """
    make: Any = gymnasium.make if count == 1 else gymnasium.make_vec
    options = {} if count == 1 else {"num_envs": count}
    env = make(env_id, max_episode_steps=episode_steps, **options)
    shape, rng = env.action_space.shape, np.random.default_rng(0)
    env.reset(seed=0)
    env.step(np.zeros(shape, dtype=np.float32))  # what is compiled at the first use is compiled now
    env.reset(seed=0)
    clocks = _Clocks()
    clocks.set(env.unwrapped.core)
    total = 0.0
    for action in rng.uniform(-1.0, 1.0, (episodes * episode_steps, *shape)).astype(np.float32):
        start = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        if count == 1 and (terminated or truncated):
            env.reset()
        total += time.perf_counter() - start
    env.close()
    shares = {part: seconds / total for part, seconds in clocks.seconds.items()}
    return {**shares, "rest": 1.0 - sum(shares.values()), "us": 1e6 * total / (episodes * episode_steps * count)}
