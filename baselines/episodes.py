"""Demonstrations as a learner takes them: parts of observations by name, windows of steps with a padding mask, what a task's
environment shows in another observation mode.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.committed import WAY
from baselines.evaluate import TRAINING_SEEDS_START, make_vector_env
from baselines.tokens import part_shapes
from demos.demonstration import Demonstration
from demos.provenance import side_taken, to_json
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.options import overridden

_SIDE_BY_SIDE = 32  # states observed at once


@dataclasses.dataclass(frozen=True)
class Episode:
    """What an actor sees and should do.

    Attributes:
        parts: observations (T + 1, ...) by key; a flat one stands under "state".
        actions: (T, A) in [-1, 1].
        hold: (A,) the action that holds still after the end.
        whole: it begins where the task's episodes do, not somewhere on the way.
    """

    parts: Mapping[str, NDArray[Any]]
    actions: NDArray[np.float32]
    hold: NDArray[np.float32]
    whole: bool = True


class Windows(NamedTuple):
    """B stretches of W steps, each of one episode.

    Attributes:
        parts: observations (B, W, ...) by key.
        actions: (B, W, A).
        valid: (B, W) bool; false where the window reaches past its episode's end and repeats the last step.
    """

    parts: dict[str, Tensor]
    actions: Tensor
    valid: Tensor


class EpisodeData:
    """Episodes one after the other, from which windows are drawn.

    Args:
        episodes: at least one.
        hold_steps: every episode is extended by so many steps of holding still in its last state.
    """

    def __init__(self, episodes: Sequence[Episode], hold_steps: int) -> None:
        actions = [np.concatenate([one.actions, np.repeat(one.hold[None], hold_steps, axis=0)]) for one in episodes]
        self.actions = torch.from_numpy(np.concatenate(actions))
        self.parts: dict[str, Tensor] = {}
        for name in episodes[0].parts:
            rows = [np.concatenate([part[:-1], np.repeat(part[-1:], hold_steps, axis=0)]) for part in _part(episodes, name)]
            self.parts[name] = torch.from_numpy(np.concatenate(rows))
        lengths = torch.tensor([len(one) for one in actions])
        self.ends = lengths.cumsum(0)  # (E,)
        self.begins = self.ends - lengths
        self._first = self.begins[torch.tensor([one.whole for one in episodes])]  # of those that begin where the task does

    def __len__(self) -> int:
        return len(self.actions)

    def draw(self, count: int, steps: int, generator: torch.Generator) -> Windows:
        """`count` windows of `steps` steps, drawn so that every step of the data is as likely as any other."""
        # A window may begin up to steps - 1 before its episode; what lies before is cut off, so that first steps are not rare.
        room = self.ends - self.begins + steps - 1
        last = room.cumsum(0)
        drawn = torch.randint(int(last[-1]), (count,), generator=generator)
        episode = torch.searchsorted(last, drawn, right=True)
        begin = drawn - (last - room)[episode] - (steps - 1)  # in the episode; negative ones hold fewer steps
        place = torch.arange(steps)
        valid = (place < (begin + steps).clamp(max=steps)[:, None]) & (
            begin.clamp(min=0)[:, None] + place < (self.ends - self.begins)[episode][:, None]
        )
        rows = self.begins[episode][:, None] + begin.clamp(min=0)[:, None] + place
        rows = torch.minimum(rows, self.ends[episode][:, None] - 1)
        return Windows({name: part[rows] for name, part in self.parts.items()}, self.actions[rows], valid)

    @property
    def any_whole(self) -> bool:
        """Whether an episode begins where the task's do."""
        return len(self._first) > 0

    def draw_first(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """First observations (count, ...) of episodes that begin where the task's do."""
        rows = self._first[torch.randint(len(self._first), (count,), generator=generator)]
        return {name: part[rows] for name, part in self.parts.items()}

    def in_order(self, steps: int) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
        """Observations (1, S, ...), actions (1, S, A) and starts (1, S) of all episodes, in pieces of at most `steps`."""
        starts = torch.zeros(len(self), dtype=torch.bool)
        starts[self.begins] = True
        for begin in range(0, len(self), steps):
            piece = slice(begin, begin + steps)
            yield {name: part[None, piece] for name, part in self.parts.items()}, self.actions[None, piece], starts[None, piece]


def check_same_kind(demonstrations: Sequence[Demonstration]) -> None:
    """Refuses a mixture that one actor cannot imitate.

    Raises:
        DexVidError: there is none, or environment, control mode or sizes differ.
    """
    if not demonstrations:
        raise DexVidError("there is no demonstration to clone: the dataset is empty")
    kinds = {(one.env_id, one.control_mode, one.observations.shape[1], one.actions.shape[1]) for one in demonstrations}
    if len(kinds) > 1:
        first, second, *_ = sorted(kinds)
        raise DexVidError(
            "the demonstrations do not fit together: (environment, control mode, observation size, action size) is "
            f"{first} in one and {second} in another; clone them separately"
        )
    for index, one in enumerate(demonstrations):
        if not (np.isfinite(one.observations).all() and np.isfinite(one.actions).all()):
            raise DexVidError(f"demonstration {index} holds NaN or infinity in its observations or actions; leave it out")


def make_episodes(
    demonstrations: Sequence[Demonstration],
    observation: Mapping[str, Any] | None = None,
    *,
    ways: bool = False,
    progress: Callable[[float], None] | None = None,
) -> list[Episode]:
    """The demonstrations as episodes.

    Args:
        demonstrations: of one environment and control mode; their environments' options may differ.
        observation: options of the environment that change what is seen, such as `observation_mode`; their states are then
            observed again in it. Empty or None takes the recorded `state` observations.
        ways: parts hold the side from which each takes its object as well, under `baselines.committed.WAY`.
        progress: called with the share of the demonstrations that have been observed again, after each.

    Raises:
        OptionError: an option is not valid, or a demonstration does not say from which side it takes its object.
        DexVidError: the recorded states do not belong to the environment.
    """
    parts = _observe(demonstrations, observation, progress) if observation else _recorded(demonstrations)
    episodes = []
    for index, (one, seen) in enumerate(zip(demonstrations, parts, strict=True)):
        actions = one.learned_actions
        if ways:
            seen[WAY] = np.full(one.num_steps + 1, _way(one, index), dtype=np.int64)
        hold = np.zeros_like(actions[-1]) if one.control_mode.endswith("_delta") else actions[-1]
        episodes.append(
            Episode(seen, actions.astype(np.float32), hold.astype(np.float32), whole="correction" not in one.provenance)
        )
    return episodes


def _way(demonstration: Demonstration, index: int) -> int:
    side = side_taken(demonstration.provenance)
    if side is None:
        raise OptionError(
            f"demonstration {index} does not say from which side it takes its object; expected copies by `dexvid multiply` "
            "and corrections of them: make them again, or clone without committing"
        )
    return side


def _recorded(demonstrations: Sequence[Demonstration]) -> Iterator[dict[str, NDArray[Any]]]:
    for one in demonstrations:
        yield {"state": one.observations.astype(np.float32)}


def _observe(
    demonstrations: Sequence[Demonstration], options: Mapping[str, Any], progress: Callable[[float], None] | None
) -> list[dict[str, NDArray[Any]]]:
    """What each demonstration's environment with these options shows in the recorded states, (T + 1, ...) by key.

    Demonstrations of one task may differ in what lies on the table; those alike share an environment. Sensor noise is drawn
    anew for every state.
    """
    alike: dict[str, list[int]] = {}
    for index, one in enumerate(demonstrations):
        alike.setdefault(json.dumps(to_json(one.env_options), sort_keys=True), []).append(index)
    seen: dict[int, dict[str, NDArray[Any]]] = {}
    for indices in alike.values():
        first = demonstrations[indices[0]]
        every = overridden({**first.env_options, "control_mode": first.control_mode}, options)
        envs = make_vector_env(first.env_id, _SIDE_BY_SIDE, every)
        try:
            envs.reset(seed=TRAINING_SEEDS_START)  # what is randomised is drawn; the states below replace the rest
            for index in indices:
                try:
                    seen[index] = _observe_one(envs, demonstrations[index])
                except DexVidError as error:
                    raise DexVidError(f"demonstration {index} cannot be observed with {dict(options)}: {error}") from error
                if progress is not None:
                    progress(len(seen) / len(demonstrations))
        finally:
            envs.close()
    shapes = [{name: part.shape[1:] for name, part in seen[index].items()} for index in range(len(demonstrations))]
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise DexVidError(
                f"demonstration {index} shows {shape}, the first one {shapes[0]}; expected the same of all: choose another "
                "observation mode, or train on those that are alike"
            )
    return [seen[index] for index in range(len(demonstrations))]


def _observe_one(envs: gymnasium.vector.VectorEnv[Any, Any, Any], demonstration: Demonstration) -> dict[str, NDArray[Any]]:
    """All T + 1 states of a demonstration, seen by an environment of `_SIDE_BY_SIDE` rows."""
    shapes = part_shapes(envs.single_observation_space)
    pieces: list[dict[str, NDArray[Any]]] = []
    for begin in range(0, demonstration.num_steps + 1, _SIDE_BY_SIDE):
        steps = np.minimum(np.arange(begin, begin + _SIDE_BY_SIDE), demonstration.num_steps)
        shown, _ = envs.reset(options={"each": [demonstration.reset_options(int(step)) for step in steps]})
        shown = shown if isinstance(shown, Mapping) else {"state": shown}
        pieces.append({name: np.array(shown[name]) for name in shapes})
    return {name: np.concatenate([piece[name] for piece in pieces])[: demonstration.num_steps + 1] for name in shapes}


def _part(episodes: Sequence[Episode], name: str) -> Iterator[NDArray[Any]]:
    return (one.parts[name] for one in episodes)


def hash_episodes(episodes: Sequence[Episode]) -> str:
    """SHA-256 over all numbers."""
    digest = hashlib.sha256()
    for one in episodes:
        for array in (*one.parts.values(), one.actions):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
