"""A small learned correction on top of a frozen clone: action = clone's action + scale * tanh(correction).

Frozen cloning plus a bounded residual often learns quicker and safer than tuning the clone itself (Ankile et al. 2024, "From
Imitation to Refinement"). The correction sees what the clone's last layer sees and the clone's action; it begins at zero, so
that the first rollouts are the clone's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from baselines.mlp import make_layers
from baselines.tokens import Parts
from baselines.transformer import TransformerPolicy
from dexvid_envs.errors import OptionError

if TYPE_CHECKING:
    from baselines.networks import Actor


@dataclasses.dataclass(frozen=True)
class ResidualConfig:
    """Shape of the correction.

    Attributes:
        hidden: widths of its hidden layers.
        scale: the largest correction, in units of the action range [-1, 1].
    """

    hidden: tuple[int, ...] = (128, 128)
    scale: float = 0.2

    def __post_init__(self) -> None:
        if min(self.hidden, default=0) < 1 or not 0 < self.scale <= 2:
            raise OptionError(f"a residual needs positive widths and a scale in (0, 2], got {self}")


@dataclasses.dataclass(frozen=True)
class _WholeConfig:
    """Config of the clone and of the correction, as one actor's."""

    own: ResidualConfig
    observation: Mapping[str, tuple[int, ...]]
    action_size: int


class ResidualActor(nn.Module):
    """The frozen clone and its correction, as one actor."""

    base: Any  # an `Actor`

    def __init__(self, base: Actor, config: ResidualConfig | None = None) -> None:
        super().__init__()
        own, actions = config or ResidualConfig(), base.config.action_size
        self.config = _WholeConfig(own, base.config.observation, actions)
        self.base = base
        last = nn.Linear(own.hidden[-1], actions)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.correction = nn.Sequential(make_layers((base.feature_size + actions, *own.hidden)), nn.ELU(), last)

    @property
    def feature_size(self) -> int:
        """Size of what `features` gives."""
        return self.base.feature_size + self.config.action_size

    def features(self, parts: Parts, starts: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        """The clone's features and its action, (B, T, F + A); no gradient passes into the clone."""
        with torch.no_grad():
            features, memory = self.base.features(parts, starts, memory)
            return torch.cat([features, self.base.head(features)], dim=-1), memory

    def head(self, features: Tensor) -> Tensor:
        """Mean actions (B, T, A) from `features` (B, T, F + A)."""
        base_action = features[..., -self.config.action_size :]
        return base_action + self.config.own.scale * torch.tanh(self.correction(features))

    def act(self, parts: Parts, starts: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        """See `baselines.networks.Actor`."""
        features, memory = self.features(parts, starts, memory)
        return self.head(features), memory

    def initial_memory(self, count: int) -> Any:
        """The clone's."""
        return self.base.initial_memory(count)

    def fit(self, parts: Parts, std_floor: float) -> None:
        """Nothing: the clone's normalisation stays."""

    def deviations(self) -> dict[str, Tensor]:
        """The clone's."""
        return self.base.deviations()

    def policy(self) -> TransformerPolicy:
        """For rollouts outside of training."""
        return TransformerPolicy(self)
