"""Actor and critic of the fine-tuning, as stable-baselines3 asks for them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from baselines.mlp import MlpActor, Normalizer, make_layers
from baselines.networks import Actor
from dexvid_envs.errors import OptionError


class RunningNormalizer(Normalizer):
    """A `Normalizer` whose figures follow all data seen so far, for inputs of which no demonstrations tell."""

    count: Tensor
    variance: Tensor

    def __init__(self, size: int, clip: float = 8.0, std_floor: float = 0.01) -> None:
        super().__init__(size, clip)
        self.std_floor = std_floor
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("variance", torch.zeros(size, dtype=torch.float64))

    def update(self, inputs: Tensor) -> None:
        """Takes in (M, D) new data, by the pairwise formula of Chan et al. 1979."""
        new_mean, new_variance, new = inputs.double().mean(dim=0), inputs.double().var(dim=0, unbiased=False), len(inputs)
        share = new / (self.count + new)  # of the new data in all
        shift = new_mean - self.mean
        self.variance.copy_((1 - share) * self.variance + share * new_variance + share * (1 - share) * shift**2)
        self.mean.copy_(self.mean + share * shift)
        self.std.copy_(self.variance.sqrt().clamp_min(self.std_floor))
        self.count += new


class FineTunePolicy(ActorCriticPolicy):
    """The clone's network as mean of a Gaussian, with a state-independent standard deviation, and a separate critic.

    Actor and critic share nothing, the input normalisation included; each has its own optimiser group.

    Args:
        observation_space, action_space, lr_schedule, use_sde: as stable-baselines3 gives them; the schedule is not used.
        actor: the clone, or a correction on top of it; copied.
        action_std: at the start.
        critic_hidden: widths of the critic's hidden layers.
        learning_rates: of actor and critic.

    Attributes:
        critic_norm: first layer of the critic.
        memory: the actor's, of the environments that are stepped; each call of `forward` is one step of all of them.
        episode_starts: gives (N,) bool, which environments begin an episode with the next `forward`.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        lr_schedule: Any,
        use_sde: bool = False,
        *,
        actor: Actor,
        action_std: float,
        critic_hidden: tuple[int, ...],
        learning_rates: tuple[float, float],
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, net_arch=[], ortho_init=False, use_sde=use_sde)
        self.actor: Any = copy.deepcopy(actor)
        self.actor.requires_grad_(True)
        self.log_std = nn.Parameter(torch.full((actor.config.action_size,), math.log(action_std)))
        self.critic_key, size = _critic_part(observation_space)
        flat = self.critic_key == "state"
        own = copy.deepcopy(actor.normalizer) if isinstance(actor, MlpActor) and flat else RunningNormalizer(size)
        self.critic_norm: Normalizer = own
        self.critic = nn.Sequential(own, make_layers((size, *critic_hidden, 1)))
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.actor_parameters(), "lr": learning_rates[0]},
                {"params": list(self.critic.parameters()), "lr": learning_rates[1]},
            ],
            eps=1e-5,
        )
        self.memory: Any = None
        self.episode_starts: Callable[[], NDArray[np.bool_]] = lambda: np.zeros(0, dtype=bool)

    def _build(self, lr_schedule: Any) -> None:
        """Nothing of the base class's networks is used."""

    def actor_parameters(self) -> list[nn.Parameter]:
        """Everything that decides about actions."""
        return [*self.actor.parameters(), self.log_std]

    def parts(self, obs: Any) -> dict[str, Tensor]:
        """What the actor reads of an observation with any leading axes."""
        named = obs if isinstance(obs, Mapping) else {"state": obs}
        return {name: named[name] for name in self.actor.config.observation}

    def critic_input(self, obs: Any) -> Tensor:
        """What the critic reads, (..., D)."""
        return obs[self.critic_key] if isinstance(obs, Mapping) else obs

    def gaussian(self, means: Tensor) -> DiagGaussianDistribution:
        """The distribution over actions around means (M, A)."""
        assert isinstance(self.action_dist, DiagGaussianDistribution)
        return self.action_dist.proba_distribution(means, self.log_std)

    def get_distribution(self, obs: Any) -> DiagGaussianDistribution:
        """The Gaussian over actions (N, A) of observations (N, ...) without a past."""
        parts = {name: part[:, None] for name, part in self.parts(obs).items()}
        starts = torch.ones((len(next(iter(parts.values()))), 1), dtype=torch.bool)
        return self.gaussian(self.actor.act(parts, starts)[0][:, 0])

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values (N, 1), log-probabilities (N,) and entropies (N,) of observations without a past."""
        distribution = self.get_distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()

    def predict_values(self, obs: Any) -> Tensor:
        """(N, 1) values."""
        return self.critic(self.critic_input(obs))

    def forward(self, obs: Any, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """One step of all environments: actions (N, A), values (N, 1) and log-probabilities (N,)."""
        parts = {name: part[:, None] for name, part in self.parts(obs).items()}
        starts = torch.as_tensor(self.episode_starts(), dtype=torch.bool)[:, None]
        means, self.memory = self.actor.act(parts, starts, self.memory)
        distribution = self.gaussian(means[:, 0])
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.predict_values(obs), distribution.log_prob(actions)


def _critic_part(space: gymnasium.Space[Any]) -> tuple[str, int]:
    """Key and size of the vector that the critic reads.

    Raises:
        OptionError: there is none.
    """
    named = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {"state": space}
    for key in ("privileged", "state"):
        if key in named and len(named[key].shape or ()) == 1:
            return key, int(np.prod(named[key].shape or ()))
    raise OptionError(f"the critic needs a vector, but the observation holds {sorted(named)}; add privileged=True")
