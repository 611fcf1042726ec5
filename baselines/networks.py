"""The actors that a checkpoint may hold, by kind, and what all of them can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, cast

from torch import Tensor, nn

from baselines.committed import CommittedActor, CommittedConfig
from baselines.mlp import MlpActor, MlpConfig
from baselines.policy import Policy
from baselines.residual import ResidualActor, ResidualConfig
from baselines.tokens import Parts
from baselines.transformer import TransformerActor, TransformerConfig
from dexvid_envs.errors import OptionError

KINDS: dict[str, type[nn.Module]] = {
    "mlp": MlpActor,
    "transformer": TransformerActor,
    "committed": CommittedActor,
    "residual": ResidualActor,
}


class ActorConfig(Protocol):
    """Shape of an actor."""

    @property
    def observation(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every part of an observation that it reads, by key; "state" stands for a flat one."""
        ...

    @property
    def action_size(self) -> int:
        """A."""
        ...


class Actor(Protocol):
    """What all of `KINDS` have in common, beside being modules.

    Rollouts and updates call the same `act`, with one step or with sequences of them; what is remembered in between is the
    actor's own (None where it has no memory), is never written to, and has `rows` for a part of the batch.
    """

    @property
    def config(self) -> ActorConfig:
        """Its shape."""
        ...

    @property
    def feature_size(self) -> int:
        """Size of what `features` gives."""
        ...

    def act(self, parts: Parts, starts: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        """Mean actions (B, T, A) of observations (B, T, ...), and the memory after them; starts (B, T) begin an episode."""
        ...

    def features(self, parts: Parts, starts: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        """What `head` computes the actions from, (B, T, F); else as `act`."""
        ...

    def head(self, features: Tensor) -> Tensor:
        """Mean actions (B, T, A) from `features` (B, T, F)."""
        ...

    def initial_memory(self, count: int) -> Any:
        """Of `count` sequences that have not begun."""
        ...

    def fit(self, parts: Parts, std_floor: float) -> None:
        """Takes the normalisation from data (M, ...)."""
        ...

    def deviations(self) -> dict[str, Tensor]:
        """Standard deviation in the training data by part, in shapes that broadcast with the parts; pictures have none."""
        ...

    def policy(self) -> Policy:
        """A copy of it for rollouts outside of training."""
        ...


def module_of(actor: Actor) -> nn.Module:
    """The actor as what it also is."""
    return cast("nn.Module", actor)


def describe_network(actor: Actor) -> dict[str, Any]:
    """Kind and config as JSON values."""
    kind = next(name for name, made in KINDS.items() if type(actor) is made)
    if isinstance(actor, ResidualActor | CommittedActor):
        return {"kind": kind, **dataclasses.asdict(actor.config.own), "base": describe_network(actor.base)}
    return {"kind": kind, **dataclasses.asdict(cast("Any", actor.config))}


def network_from(description: Mapping[str, Any]) -> Actor:
    """An actor with untrained weights from what `describe_network` gave.

    Raises:
        OptionError: the kind or a size is not known.
        KeyError, TypeError, ValueError: the description is none.
    """
    settings = dict(description)
    kind = settings.pop("kind")
    if kind == "mlp":
        hidden = tuple(int(width) for width in settings.pop("hidden"))
        return MlpActor(MlpConfig(hidden=hidden, **settings))
    if kind == "transformer":
        observation = {str(name): tuple(int(size) for size in shape) for name, shape in settings.pop("observation").items()}
        return TransformerActor(TransformerConfig(observation, **settings))
    if kind == "committed":
        base = settings.pop("base")
        if base["kind"] not in ("mlp", "transformer"):
            raise OptionError(f"a choice of the way for a {base['kind']} network is not known")
        hidden = tuple(int(width) for width in settings.pop("hidden"))
        return CommittedActor(network_from(base), CommittedConfig(hidden=hidden, **settings))
    if kind == "residual":
        base = settings.pop("base")
        if base["kind"] == "residual":
            raise OptionError("a residual on a residual is not known")
        hidden = tuple(int(width) for width in settings.pop("hidden"))
        return ResidualActor(network_from(base), ResidualConfig(hidden=hidden, **settings))
    raise OptionError(f"network kind {kind!r} is not known to this version; expected one of {', '.join(KINDS)}")
