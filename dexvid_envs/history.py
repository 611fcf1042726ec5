"""The last L observations as one, for single and vector environments; every frame is stored once.

Frames are written one after the other onto a tape, and an observation is a read-only view of its last L frames. A view stays
as it was for as long as somebody holds it: the tape is only ever written ahead of it, and a new one is begun where it ends or
where an episode starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from dexvid_envs.observations import Observation

#: Frames on a tape for each frame of history: one frame in this many is copied once more, when the next tape begins.
_TAPE_LENGTHS = 16


class _Tape:
    """The frames of N environments: (N, capacity, ...)."""

    def __init__(self, count: int, length: int, shape: tuple[int, ...], dtype: Any) -> None:
        self._length, self._capacity = length, _TAPE_LENGTHS * length
        self._shape, self._dtype = (count, self._capacity, *shape), dtype
        self._frames = self._new_tape()
        self._end = 0

    def _new_tape(self) -> NDArray[Any]:
        return np.empty(self._shape, dtype=self._dtype)

    def view(self) -> NDArray[Any]:
        """(N, L, ...) the last L frames, read-only."""
        view = self._frames[:, self._end - self._length : self._end]
        view.flags.writeable = False
        return view

    def push(self, frame: NDArray[Any], started: NDArray[np.int64]) -> None:
        """Adds (N, ...) frames; rows in `started` begin an episode, so that their whole history is this frame."""
        kept = self._length - 1
        if self._end == 0 or self._end == self._capacity or len(started):
            before = self._frames[:, max(self._end - kept, 0) : self._end]
            self._frames = self._new_tape()
            self._frames[:, kept - before.shape[1] : kept] = before
            self._frames[started, :kept] = frame[started, None]
            self._end = kept
        self._frames[:, self._end] = frame
        self._end += 1

    def replace(self, frame: NDArray[Any], started: NDArray[np.int64]) -> None:
        """Fills the history of `started` rows with their frame and leaves the other rows as they are."""
        before = self._frames[:, self._end - self._length : self._end]
        self._frames = self._new_tape()
        self._frames[:, : self._length] = before
        self._frames[started, : self._length] = frame[started, None]
        self._end = self._length

    def with_frame(self, frame: NDArray[Any]) -> NDArray[Any]:
        """(N, L, ...) a copy of what `view` would be after a push of a last frame that does not belong on the tape."""
        return np.concatenate([self._frames[:, self._end - self._length + 1 : self._end], frame[:, None]], axis=1)


class _Tapes:
    """One tape for an array observation, one for each key of a Dict."""

    def __init__(self, space: spaces.Space[Any], count: int, length: int, keys: Sequence[str] | None) -> None:
        if not (isinstance(length, int) and length >= 1):
            raise OptionError(f"history length {length!r}: expected a whole number, 1 or more")
        parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        chosen = list(parts) if keys is None else list(keys)
        for key in chosen:
            if key not in parts or not isinstance(parts[key], spaces.Box | spaces.MultiBinary):
                raise OptionError(f"history of {key!r}: expected some of {', '.join(parts) or 'an array observation'}")
        self._tapes = {key: _Tape(count, length, parts[key].shape or (), parts[key].dtype) for key in chosen}
        stacked = {key: _stacked(part, length) if key in chosen else part for key, part in parts.items()}
        self.space: spaces.Space[Any] = spaces.Dict(stacked) if isinstance(space, spaces.Dict) else stacked[""]
        self._nothing = np.zeros(0, dtype=np.int64)

    def push(self, observations: Observation, started: NDArray[np.int64] | None = None) -> Observation:
        """The histories (N, L, ...) after these observations (N, ...)."""
        parts = observations if isinstance(observations, dict) else {"": observations}
        for key, tape in self._tapes.items():
            tape.push(parts[key], self._nothing if started is None else started)
        histories = {key: self._tapes[key].view() if key in self._tapes else part for key, part in parts.items()}
        return histories if isinstance(observations, dict) else histories[""]

    def replace(self, observations: Observation, started: NDArray[np.int64]) -> Observation:
        """The histories after a reset of the `started` rows alone."""
        parts = observations if isinstance(observations, dict) else {"": observations}
        for key, tape in self._tapes.items():
            tape.replace(parts[key], started)
        histories = {key: self._tapes[key].view() if key in self._tapes else part for key, part in parts.items()}
        return histories if isinstance(observations, dict) else histories[""]

    def with_last(self, observations: Observation) -> Observation:
        """The histories with last observations of ended episodes, without keeping these."""
        parts = observations if isinstance(observations, dict) else {"": observations}
        histories = {key: self._tapes[key].with_frame(part) if key in self._tapes else part for key, part in parts.items()}
        return histories if isinstance(observations, dict) else histories[""]


def _stacked(space: spaces.Space[Any], length: int) -> spaces.Space[Any]:
    """The space of `length` frames."""
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiBinary((length, *(space.shape or ())))
    assert isinstance(space, spaces.Box)
    low, high = (np.repeat(bound[None], length, axis=0) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=space.dtype)  # type: ignore[arg-type]


class HistoryObservation(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Observations are the last `length` ones, oldest first, (L, ...) each; an episode begins with its first one L times.

    Args:
        env: any environment with array observations or a Dict of them.
        length: L.
        keys: of a Dict, those that get a history; None for all.

    Raises:
        OptionError: the length or a key is wrong.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], length: int, keys: Sequence[str] | None = None) -> None:
        RecordConstructorArgs.__init__(self, length=length, keys=keys)  # by which its spec can be made again
        gymnasium.Wrapper.__init__(self, env)
        self._tapes = _Tapes(env.observation_space, 1, length, keys)
        self.observation_space = self._tapes.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        observation, info = self.env.reset(seed=seed, options=options)
        return _unbatched(self._tapes.push(_batched(observation), np.zeros(1, dtype=np.int64))), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return _unbatched(self._tapes.push(_batched(observation))), float(reward), terminated, truncated, info


class VectorHistoryObservation(VectorWrapper):
    """`HistoryObservation` for vector environments, (N, L, ...), in every autoreset mode; `final_obs` holds histories, too."""

    def __init__(self, env: VectorEnv[Any, Any, Any], length: int, keys: Sequence[str] | None = None) -> None:
        super().__init__(env)
        self._tapes = _Tapes(env.single_observation_space, env.num_envs, length, keys)
        self.single_observation_space = self._tapes.space
        self.observation_space = batch_space(self._tapes.space, env.num_envs)
        self._mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._done = np.zeros(env.num_envs, dtype=bool)

    def reset(  # type: ignore[override]
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.vector.VectorEnv.reset`."""
        mask = (options or {}).get("reset_mask")
        started = np.arange(self.env.num_envs) if mask is None else np.flatnonzero(mask)
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        self._done[started] = False
        return self._restarted(observations, started), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """See `gymnasium.vector.VectorEnv.step`."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        done = np.logical_or(terminated, truncated)
        started = np.flatnonzero(done if self._mode == AutoresetMode.SAME_STEP else self._done)
        if self._mode == AutoresetMode.SAME_STEP and "final_obs" in infos:
            infos["final_obs"] = self._tapes.with_last(infos["final_obs"])
        self._done = done
        if self._mode == AutoresetMode.DISABLED:
            started = started[:0]
        return self._tapes.push(observations, started), rewards, terminated, truncated, infos

    def _restarted(self, observations: Any, started: NDArray[np.int64]) -> Any:
        """Histories after a reset of some rows; the others saw nothing new, and keep what they have."""
        if len(started) == self.env.num_envs:
            return self._tapes.push(observations, started)
        return self._tapes.replace(observations, started)


def _batched(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: np.asarray(part)[None] for key, part in observation.items()}
    return np.asarray(observation)[None]


def _unbatched(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: part[0] for key, part in observation.items()}
    return observation[0]
