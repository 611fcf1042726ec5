"""The policy protocol that everything trained, scripted or brought by a user follows, and how one is found by name.

Networks live elsewhere (`baselines.mlp`); this file needs no torch until a checkpoint is loaded.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError

BoolArray = NDArray[np.bool_]
#: (N, D) in the `state` mode, else such arrays by name.
ObservationArray = Any
ActionArray = NDArray[np.float32]


@runtime_checkable
class Policy(Protocol):
    """N controllers side by side, one for each environment of a batch."""

    def reset(self, mask: BoolArray) -> None:
        """Forgets the past of the rows where `mask` (N,) is true: their environments start a new episode."""
        ...

    def act(self, observation: ObservationArray) -> ActionArray:
        """Actions (N, A) in [-1, 1] for the observations, one control step after the last call.

        Observations are (N, D) in the `state` mode of the environments, and mappings of arrays (N, ...) by name in the others.
        """
        ...


class ZeroPolicy:
    """Always acts 0; with `joint_delta` control the robot holds its pose."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Box) -> None:
        self._size = int(np.prod(action_space.shape))

    def reset(self, mask: BoolArray) -> None:
        """Nothing to forget."""

    def act(self, observation: ObservationArray) -> ActionArray:
        """See `Policy`."""
        return np.zeros((count_rows(observation), self._size), dtype=np.float32)


class RandomPolicy:
    """Uniform actions from one seeded stream (shared by the rows, so the batch size changes who gets which)."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Box, seed: int = 0) -> None:
        self._low, self._high = action_space.low, action_space.high
        self._rng = np.random.default_rng(seed)

    def reset(self, mask: BoolArray) -> None:
        """The stream goes on."""

    def act(self, observation: ObservationArray) -> ActionArray:
        """See `Policy`."""
        return self._rng.uniform(self._low, self._high, (count_rows(observation), len(self._low))).astype(np.float32)


class ReplayPolicy:
    """Plays one action sequence (T, A) open loop in every row, then `after` (A,) for ever (zeros by default)."""

    def __init__(self, actions: NDArray[Any], after: NDArray[Any] | None = None) -> None:
        sequence = np.asarray(actions, dtype=np.float32)
        if sequence.ndim != 2 or len(sequence) == 0:
            raise OptionError(f"the actions to replay have shape {sequence.shape}, expected (steps, action size)")
        last = np.zeros(sequence.shape[1], dtype=np.float32) if after is None else np.asarray(after, dtype=np.float32)
        self._sequence = np.concatenate([sequence, last[None]])
        self._step: NDArray[np.int64] | None = None  # (N,) next action of each row

    def reset(self, mask: BoolArray) -> None:
        """Rewinds the rows."""
        if self._step is None or len(self._step) != len(mask):
            self._step = np.zeros(len(mask), dtype=np.int64)
        self._step[mask] = 0

    def act(self, observation: ObservationArray) -> ActionArray:
        """See `Policy`."""
        count = count_rows(observation)
        if self._step is None or len(self._step) != count:
            self._step = np.zeros(count, dtype=np.int64)
        actions = self._sequence[self._step]
        self._step = np.minimum(self._step + 1, len(self._sequence) - 1)
        return actions


SCRIPTED = "scripted"
BUILT_IN: dict[str, type[Any]] = {"zero": ZeroPolicy, "random": RandomPolicy}


def load_policy(spec: str, env: Any) -> Policy:
    """The policy named by `spec`, fitting `env`.

    Args:
        spec: a checkpoint folder (or a run's folder that holds `checkpoint/`), `module:Class` of anyone's class, which is made
            with `(observation_space, action_space)` if it takes them and with nothing otherwise, or "zero", "random" or
            "scripted". A module is also looked for in the current folder.
        env: a single or a vector environment; its spaces are those of one environment. A scripted policy looks into it.

    Raises:
        InputFileError: the checkpoint is missing or damaged.
        OptionError: the class cannot be found or made, or the policy does not fit the environment.
    """
    if spec in BUILT_IN:
        return BUILT_IN[spec](*single_spaces(env))
    if spec == SCRIPTED:
        from dexvid_envs.scripted import make_scripted_policy

        return make_scripted_policy(env)
    if ":" in spec and not Path(spec).exists():
        return _make_from_class(spec, env)
    from baselines.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(Path(spec))
    checkpoint.check_env(env)
    return checkpoint.policy()


def count_rows(observation: ObservationArray) -> int:
    """N of an observation."""
    return len(next(iter(observation.values()))) if isinstance(observation, Mapping) else len(observation)


def single_spaces(env: Any) -> tuple[spaces.Box | spaces.Dict, spaces.Box]:
    """Observation and action space of one environment, for a single as for a vector environment.

    Raises:
        OptionError: observations are neither a flat box nor a Dict of arrays, or actions are no flat box.
    """
    if hasattr(env, "single_observation_space"):
        observation, action = env.single_observation_space, env.single_action_space
    else:
        observation, action = env.observation_space, env.action_space
    flat = isinstance(observation, spaces.Box) and len(observation.shape) == 1
    if not (flat or isinstance(observation, spaces.Dict)):
        raise OptionError(f"the environment has the space {observation}; expected a flat box or a Dict for observations")
    if not isinstance(action, spaces.Box) or len(action.shape) != 1:
        raise OptionError(f"the environment has the space {action}; expected a flat box for actions")
    return observation, action


def _make_from_class(spec: str, env: Any) -> Policy:
    module_name, _, class_name = spec.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # the installed command does not search the current folder by itself
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises is the user's to read, in one line
        raise OptionError(
            f"policy {spec!r}: importing {module_name!r} failed with {type(error).__name__}: {error}; expected "
            "'module:Class' with the module installed or in the current folder, or a checkpoint folder"
        ) from error
    factory = getattr(module, class_name, None)
    if factory is None:
        classes = [name for name, value in vars(module).items() if inspect.isclass(value)]
        raise OptionError(
            f"policy {spec!r}: {module_name!r} has no {class_name!r}; its classes are {', '.join(classes) or 'none'}"
        )
    observation_space, action_space = single_spaces(env)
    try:
        signature = inspect.signature(factory)
        arguments = (observation_space, action_space) if _takes(signature, 2) else ()
        policy = factory(*arguments)
    except Exception as error:
        raise OptionError(f"policy {spec!r}: making it failed with {type(error).__name__}: {error}") from error
    if not isinstance(policy, Policy):
        raise OptionError(f"policy {spec!r} is no policy: expected the methods reset(mask) and act(observation)")
    return policy


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
