"""An actor that decides once, when an episode begins, in which of several ways it does the task, and stays with it.

Demonstrations that take a bottle from either of two sides teach two motions. Where starts are halfway between them, a clone
that decides anew at every step does a bit of both, and regression gives the mean, which is neither. Here a small network
chooses the way from the first observation of an episode (a latent behaviour as in Shafiullah et al. 2022, "Behavior
Transformers", but fixed for the episode, and known in training from the demonstrations' provenance); any other actor then
sees the chosen way beside its observation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.mlp import make_layers
from baselines.tokens import Parts
from baselines.transformer import TransformerPolicy
from dexvid_envs.errors import OptionError

if TYPE_CHECKING:
    from baselines.networks import Actor

#: Key of the ways in training data, (B, T) int64; no environment shows them.
WAY = "way"
_MOST_WAYS = 64


@dataclasses.dataclass(frozen=True)
class CommittedConfig:
    """Shape of the choice.

    Attributes:
        ways: K, how many there are.
        hidden: widths of the hidden layers of the network that chooses.
    """

    ways: int
    hidden: tuple[int, ...] = (128, 128)

    def __post_init__(self) -> None:
        if not 1 <= self.ways <= _MOST_WAYS or min(self.hidden, default=0) < 1:
            raise OptionError(f"a choice needs 1 to {_MOST_WAYS} ways and positive widths, got {self}")


@dataclasses.dataclass(frozen=True)
class _WholeConfig:
    """Config of the choice and of the actor that follows it, as one actor's."""

    own: CommittedConfig
    observation: Mapping[str, tuple[int, ...]]
    action_size: int


class CommittedMemory(NamedTuple):
    """What is kept of B sequences.

    Attributes:
        way: (B,) int64 that is followed.
        base: memory of the actor that follows it, or None.
    """

    way: Tensor
    base: Any

    def rows(self, rows: Tensor) -> CommittedMemory:
        """Of the sequences `rows` (R,)."""
        return CommittedMemory(self.way[rows], None if self.base is None else self.base.rows(rows))


def with_way(observation: Mapping[str, tuple[int, ...]], ways: int) -> dict[str, tuple[int, ...]]:
    """Shapes of what the following actor reads: the way as K further numbers of the first vector."""
    key = _vector_key(observation)
    return {**observation, key: (observation[key][0] + ways,)}


class CommittedActor(nn.Module):
    """The choice and the actor that follows it, as one actor.

    Args:
        base: made for the observation `with_way`.
        config: shape of the choice.
    """

    base: Any  # an `Actor`

    def __init__(self, base: Actor, config: CommittedConfig) -> None:
        super().__init__()
        observation = dict(base.config.observation)
        self._key = _vector_key(observation)
        observation[self._key] = (observation[self._key][0] - config.ways,)
        if observation[self._key][0] < 1:
            raise OptionError(
                f"the actor reads {base.config.observation[self._key]} values, too few to hold {config.ways} ways"
            )
        self.config = _WholeConfig(config, observation, base.config.action_size)
        self.base = base
        self.choice = make_layers((base.feature_size, *config.hidden, config.ways))

    @property
    def feature_size(self) -> int:
        """Size of what `features` gives."""
        return self.base.feature_size

    def choose(self, parts: Parts) -> Tensor:
        """Logits (B, K) of the ways from first observations (B, ...)."""
        first = {name: part[:, None] for name, part in parts.items() if name != WAY}
        count = len(first[self._key])
        blank = first[self._key].new_zeros((count, 1, self.config.own.ways))
        starts = torch.ones((count, 1), dtype=torch.bool)
        return self.choice(self.base.features(self._beside(first, blank), starts)[0][:, 0])

    def features(self, parts: Parts, starts: Tensor, memory: CommittedMemory | None = None) -> tuple[Tensor, CommittedMemory]:
        """The following actor's (B, T, F); the way is `parts["way"]` (B, T) if given, else chosen where an episode starts."""
        way = parts[WAY] if WAY in parts else self._ways(parts, starts, memory)
        given = {name: part for name, part in parts.items() if name != WAY}
        one_hot = nn.functional.one_hot(way, self.config.own.ways).to(given[self._key].dtype)
        features, base = self.base.features(self._beside(given, one_hot), starts, None if memory is None else memory.base)
        return features, CommittedMemory(way[:, -1], base)

    def head(self, features: Tensor) -> Tensor:
        """Mean actions (B, T, A) from `features` (B, T, F)."""
        return self.base.head(features)

    def act(self, parts: Parts, starts: Tensor, memory: CommittedMemory | None = None) -> tuple[Tensor, CommittedMemory]:
        """See `baselines.networks.Actor`."""
        features, memory = self.features(parts, starts, memory)
        return self.head(features), memory

    def initial_memory(self, count: int) -> CommittedMemory:
        """Of `count` sequences that have not begun."""
        return CommittedMemory(torch.zeros(count, dtype=torch.int64), self.base.initial_memory(count))

    def fit(self, parts: Parts, std_floor: float) -> None:
        """Takes the normalisation from data (M, ...) with its ways (M,)."""
        given = {name: part for name, part in parts.items() if name != WAY}
        self.base.fit(self._beside(given, nn.functional.one_hot(parts[WAY], self.config.own.ways)), std_floor)

    def deviations(self) -> dict[str, Tensor]:
        """Standard deviations of the parts of the observation; the way has none."""
        deviations = dict(self.base.deviations())
        return deviations | {self._key: deviations[self._key][: self.config.observation[self._key][0]]}

    def policy(self) -> CommittedPolicy:
        """For rollouts outside of training."""
        return CommittedPolicy(self)

    def _ways(self, parts: Parts, starts: Tensor, memory: CommittedMemory | None) -> Tensor:
        """(B, T) the way of every step: the one chosen at the last start, or the one remembered."""
        before = (self.initial_memory(len(starts)) if memory is None else memory).way[:, None]
        way = before.expand(starts.shape).clone()
        if starts.any():
            way[starts] = self.choose({name: part[starts] for name, part in parts.items()}).argmax(dim=-1)
        place = torch.arange(starts.shape[1])
        last_start = torch.where(starts, place, -1).cummax(dim=1).values
        return torch.where(last_start >= 0, way.gather(1, last_start.clamp(min=0)), before)

    def _beside(self, parts: Parts, one_hot: Tensor) -> dict[str, Tensor]:
        """The parts with ways (..., K) beside the first vector."""
        return {**parts, self._key: torch.cat([parts[self._key], one_hot], dim=-1)}


class CommittedPolicy(TransformerPolicy):
    """Rollouts of a committed actor, by its own choice or by ways that are told."""

    _told: Tensor | None = None

    def follow(self, ways: NDArray[np.int64] | None) -> None:
        """From now on row n follows `ways[n]`, of (N,); None leaves the choice to the actor."""
        self._told = None if ways is None else torch.from_numpy(np.asarray(ways, dtype=np.int64))[:, None]

    def parts(self, observation: Any) -> dict[str, Tensor]:
        """With the told ways beside what is observed."""
        return super().parts(observation) | ({} if self._told is None else {WAY: self._told})


def choice_loss(actor: CommittedActor, first: Parts) -> Tensor:
    """Cross-entropy of the ways (B,) that demonstrations took, chosen from their first observations (B, ...)."""
    return nn.functional.cross_entropy(actor.choose(first), first[WAY])


def _vector_key(observation: Mapping[str, Any]) -> str:
    return "state" if "state" in observation else "proprioception"
