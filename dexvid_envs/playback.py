"""Playing episodes of one environment with any policy, for the eye: who acts, what happens, and a film of it.

The published figures come from `dexvid evaluate`; this is for looking.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import MissingExtraError, OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.video_file import whole_video

#: Finds checkpoints and `module:Class` policies. It stands on a higher floor than this package, which works without it: it is
#: imported when such a policy is asked for, and a clear message says so where it is not installed.
POLICY_LOADER = "baselines.policy:load_policy"
CHECKPOINT_LOADER = "baselines.checkpoint:load_checkpoint"
SCRIPTED_MODULE = "dexvid_envs.scripted"
BUILT_IN = ("random", "zero", "scripted")


class BatchPolicy(Protocol):
    """What acts, for N environments side by side; here N is 1."""

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forgets the past of the rows where `mask` (N,) is true."""
        ...

    def act(self, observation: Any) -> NDArray[Any]:
        """Actions (N, A) for observations with a leading axis N."""
        ...


@dataclasses.dataclass(frozen=True)
class Episode:
    """What became of an episode.

    Attributes:
        seed: it was reset with.
        steps: its length in control steps.
        total_reward: the return.
        success: whether the task's criterion held at the end.
        ever_success: whether it held at any time.
        terminated: whether it ended before its time limit.
        finished: false where the viewer was closed in the middle.
    """

    seed: int
    steps: int
    total_reward: float
    success: bool
    ever_success: bool
    terminated: bool
    finished: bool = True


class RandomPolicy:
    """Uniform actions within the action space."""

    def __init__(self, space: gymnasium.spaces.Box, seed: int) -> None:
        self._space, self._rng = space, np.random.default_rng(seed)

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """The stream goes on."""

    def act(self, observation: Any) -> NDArray[Any]:
        """See `BatchPolicy`."""
        return self._rng.uniform(self._space.low, self._space.high)[None].astype(self._space.dtype)


class ZeroPolicy:
    """Always the action 0."""

    def __init__(self, space: gymnasium.spaces.Box) -> None:
        self._action = np.zeros((1, *space.shape), dtype=space.dtype)

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Nothing to forget."""

    def act(self, observation: Any) -> NDArray[Any]:
        """See `BatchPolicy`."""
        return self._action.copy()


def make_policy(name: str, env: gymnasium.Env[Any, Any], seed: int = 0) -> BatchPolicy:
    """The policy of that name, for an environment that has been reset.

    Args:
        name: one of `BUILT_IN`, a checkpoint's or a run's folder, or `module:Class`.
        env: the environment it is to act in.
        seed: of random actions.

    Raises:
        OptionError: the task has no scripted policy, the name means nothing, or the policy does not fit the environment.
        InputFileError: the checkpoint is damaged.
        MissingExtraError: the package that reads checkpoints is not installed.
    """
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Box):
        raise OptionError(f"the environment has the action space {space}; expected a box")
    if name == "random":
        return RandomPolicy(space, seed)
    if name == "zero":
        return ZeroPolicy(space)
    if name == "scripted":
        if importlib.util.find_spec(SCRIPTED_MODULE) is None:
            raise OptionError(
                "there are no scripted policies in this version; expected --policy random, zero, or a policy's name"
            )
        return importlib.import_module(SCRIPTED_MODULE).make_scripted_policy(env)
    if ":" not in name and not Path(name).exists():
        expected = f"{', '.join(BUILT_IN)}, a checkpoint's or a run's folder, or module:Class"
        raise OptionError(f"policy {name!r}: there is no such file or folder; expected {expected}")
    return _load(POLICY_LOADER, name)(name, env)


def checkpoint_options(name: str) -> dict[str, Any]:
    """The environment options that a checkpoint was trained with; none for any other policy."""
    if name in BUILT_IN or not Path(name).exists():
        return {}
    return dict(_load(CHECKPOINT_LOADER, name)(Path(name)).make_options())


def play_episodes(
    env: gymnasium.Env[Any, Any],
    policy_name: str,
    *,
    episodes: int,
    seed: int,
    show: Callable[[], bool] = lambda: True,
    report: Callable[[int, int], None] = lambda episode, step: None,
) -> list[Episode]:
    """Plays episodes one after the other; episode i is reset with `seed + i`.

    Args:
        env: with a time limit.
        policy_name: see `make_policy`.
        episodes: how many.
        seed: of the first.
        show: called after the reset and after every step; where it returns false, playing ends.
        report: called after every step with the episode's and the step's number, both from 0.
    """
    policy: BatchPolicy | None = None
    played: list[Episode] = []
    for number in range(episodes):
        observation, info = env.reset(seed=seed + number)
        policy = policy or make_policy(policy_name, env, seed)
        policy.reset(np.ones(1, dtype=bool))
        steps, total, ever, terminated, truncated = 0, 0.0, False, False, False
        wanted = show()
        while wanted and not (terminated or truncated):
            action = np.asarray(policy.act(batch_of_one(observation)))[0]
            observation, reward, terminated, truncated, info = env.step(action)
            steps, total = steps + 1, total + float(reward)
            ever = ever or bool(info.get("success", False))
            report(number, steps - 1)
            wanted = show()
        finished = terminated or truncated
        if finished or steps:
            played.append(Episode(seed + number, steps, total, bool(info.get("success", False)), ever, terminated, finished))
        if not wanted:
            break
    return played


@contextlib.contextmanager
def video_writer(path: Path, fps: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Yields a function that adds a picture (H, W, 3), H and W even; the file appears when the block ends without an error.

    Raises:
        OptionError: the name does not end in .mp4, the folder cannot be written to, or the disk is full.
    """
    import imageio.v2 as imageio

    if path.suffix.lower() != ".mp4":
        raise OptionError(f"the video {str(path)!r} is of no known kind: expected a name that ends in .mp4")
    with atomic_path(path) as temporary:
        writer: Any = imageio.get_writer(temporary, fps=fps, codec="libx264", quality=8, macro_block_size=2)
        with whole_video(temporary, writer) as add:
            yield add


def _load(target: str, policy_name: str) -> Any:
    """The function `"module:name"` of the package that reads policies.

    Raises:
        MissingExtraError: it is not installed.
    """
    module_name, _, function_name = target.partition(":")
    package = module_name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(
            f"policy {policy_name!r} needs the package {package!r}, which is not installed; install dexvid-envs as a whole, "
            f"or choose one of {', '.join(BUILT_IN)}"
        )
    return getattr(importlib.import_module(module_name), function_name)


def batch_of_one(observation: Any) -> Any:
    """The observation of one environment, an array or a Dict of arrays, with a leading axis of 1."""
    if isinstance(observation, dict):
        return {name: batch_of_one(value) for name, value in observation.items()}
    return np.asarray(observation)[None]
