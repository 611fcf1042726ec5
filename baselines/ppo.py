"""PPO for a cloned actor: stable-baselines3's PPO with a network and an update that keep a good start good.

PPO after Schulman et al. 2017 (eq. 7), with a small action noise, a critic of its own that learns first while the whole actor
stays frozen, a decaying pull to the clone (as DAPG, Rajeswaran et al. 2018, pulls to demonstrations), and a stop of the epochs
where the policy has moved far. The learning rate follows the budget only: a rate adapted to the measured KL would climb to its
cap while a frozen actor shows none. Rollouts and their bootstrapping at time limits are stable-baselines3's.
The run around it (budget, evaluations, savings) is in `baselines.fine_tune`.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from baselines.mlp import MlpActor, faster_thread_count, make_layers, torch_threads
from dexvid_envs.errors import OptionError


@dataclasses.dataclass(frozen=True)
class FineTuneConfig:
    """Settings of the fine-tuning; change `total_steps` or `max_seconds` first, then `actor_learning_rate` and `pull_weight`.

    Attributes:
        total_steps: environment steps, all environments together.
        max_seconds: ends earlier after this wall time (evaluations not counted); None for steps alone.
        num_envs: environments side by side.
        rollout_steps: control steps of each environment between updates.
        epochs: passes over a rollout.
        minibatch_size: transitions of a gradient step.
        gamma, gae_lambda: discount, and lambda of the generalised advantage.
        clip_range: of the probability ratio.
        actor_learning_rate, critic_learning_rate: of Adam at the start; both fall linearly to a tenth with the budget.
        action_std: initial standard deviation of the actions, in units of the action range [-1, 1]. Noise costs a precise task
            its success, and the update improves the noisy policy: with 0.15 the noise-free actor of bottle placing got worse.
        action_std_bounds: it learns within these.
        warmup_iterations: first updates in which only the critic learns and nothing of the actor changes.
        warmup_epochs: passes over each rollout of the warm-up.
        pull_weight: initial weight of KL(clone || actor); falls linearly to 0 at `pull_until`.
        pull_until: part of the budget after which the clone pulls no more.
        target_kl: for the rest of an update only the critic learns once the actor's KL to the rollout's policy, on a minibatch,
            has exceeded 1.5 times this.
        max_grad_norm: of actor and critic, each for itself.
        critic_hidden: widths of the critic's hidden layers.
        reward_scale: rewards are multiplied by this for the learner; None takes 1 - gamma, which makes the value a weighted
            mean of future rewards.
        stagger: first episodes are shortened at random, so that a rollout holds all phases of an episode.
        evaluations: evaluations over the published seeds, spread over the run; 2 are start and end, 0 is none.
        evaluation_episodes: episodes of each.
        save_every_s: wall time between savings of the training state (with a run folder).
        update_threads: torch threads of the updates; 0 takes one or all cores, whichever is faster at the start.
    """

    total_steps: int = 160_000
    max_seconds: float | None = None
    num_envs: int = 64
    rollout_steps: int = 100
    epochs: int = 3
    minibatch_size: int = 1600
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    actor_learning_rate: float = 3e-6
    critic_learning_rate: float = 1e-3
    action_std: float = 0.05
    action_std_bounds: tuple[float, float] = (0.01, 0.2)
    warmup_iterations: int = 4
    warmup_epochs: int = 4
    pull_weight: float = 0.01
    pull_until: float = 1.0
    target_kl: float = 0.03
    max_grad_norm: float = 1.0
    critic_hidden: tuple[int, ...] = (256, 256)
    reward_scale: float | None = None
    stagger: bool = True
    evaluations: int = 2
    evaluation_episodes: int = 50
    save_every_s: float = 20.0
    update_threads: int = 0

    def __post_init__(self) -> None:
        positive = ("total_steps", "num_envs", "rollout_steps", "epochs", "minibatch_size", "evaluation_episodes")
        positive += ("actor_learning_rate", "critic_learning_rate", "action_std", "clip_range", "target_kl")
        positive += ("pull_until", "max_grad_norm")
        for name in positive:
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} has to be positive, got {getattr(self, name)}")
        for name in ("warmup_iterations", "warmup_epochs", "pull_weight", "evaluations", "update_threads"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.minibatch_size < 2 or (self.num_envs * self.rollout_steps) % self.minibatch_size:
            raise OptionError(
                f"minibatch_size={self.minibatch_size} has to be at least 2 and to divide num_envs * rollout_steps = "
                f"{self.num_envs * self.rollout_steps}"
            )
        low, high = self.action_std_bounds
        if not 0 < low <= self.action_std <= high:
            raise OptionError(f"action_std={self.action_std} has to lie within action_std_bounds={self.action_std_bounds}")


class FineTunePolicy(ActorCriticPolicy):
    """The clone's network as mean of a Gaussian, with a state-independent standard deviation, and a separate critic.

    Actor and critic share nothing, the input normalisation included; each has its own optimiser group.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        lr_schedule: Any,
        use_sde: bool = False,
        *,
        actor: MlpActor,
        config: FineTuneConfig,
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, net_arch=[], ortho_init=False, use_sde=use_sde)
        self.actor = copy.deepcopy(actor).requires_grad_(True)
        size = actor.config
        self.log_std = nn.Parameter(torch.full((size.action_size,), math.log(config.action_std)))
        self.critic = nn.Sequential(
            copy.deepcopy(actor.normalizer), make_layers((size.observation_size, *config.critic_hidden, 1))
        )
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.actor_parameters(), "lr": config.actor_learning_rate},
                {"params": list(self.critic.parameters()), "lr": config.critic_learning_rate},
            ],
            eps=1e-5,
        )

    def _build(self, lr_schedule: Any) -> None:
        """Nothing of the base class's networks is used."""

    def actor_parameters(self) -> list[nn.Parameter]:
        """Everything that decides about actions."""
        return [*self.actor.parameters(), self.log_std]

    def get_distribution(self, obs: Any) -> DiagGaussianDistribution:
        """The Gaussian over actions (N, A)."""
        assert isinstance(self.action_dist, DiagGaussianDistribution)
        return self.action_dist.proba_distribution(self.actor(obs), self.log_std)

    def predict_values(self, obs: Any) -> Tensor:
        """(N, 1) values."""
        return self.critic(obs)

    def forward(self, obs: Any, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (N, A), values (N, 1) and log-probabilities (N,)."""
        distribution = self.get_distribution(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.predict_values(obs), distribution.log_prob(actions)

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values (N, 1), log-probabilities (N,) and entropies (N,)."""
        distribution = self.get_distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()


class FineTunePPO(PPO):
    """stable-baselines3's PPO with its own update: critic warm-up, pull to the clone, separate gradient norms.

    Attributes:
        iteration: updates done.
        fraction: done part of the budget; learning rates and the pull follow it.
    """

    def __init__(self, env: VecEnv, clone: MlpActor, config: FineTuneConfig, seed: int) -> None:
        super().__init__(
            FineTunePolicy,
            env,
            n_steps=config.rollout_steps,
            batch_size=config.minibatch_size,
            n_epochs=config.epochs,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            policy_kwargs={"actor": clone, "config": config},
            seed=seed,  # of torch's and NumPy's global generators, which stable-baselines3 draws from
            device="cpu",
        )
        self.config = config
        self.clone = copy.deepcopy(clone).requires_grad_(False)
        self.iteration, self.fraction = 0, 0.0
        self.update_threads = config.update_threads or faster_thread_count(clone, config.minibatch_size)

    @property
    def networks(self) -> FineTunePolicy:
        """Actor and critic."""
        return cast("FineTunePolicy", self.policy)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As in the base class, with one torch thread beside the physics pool."""
        with torch_threads(1):
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def train(self) -> None:
        """One update from the rollout buffer."""
        config, policy = self.config, self.networks
        warming = self.iteration < config.warmup_iterations
        epochs = config.warmup_epochs if warming else config.epochs
        rate = 1.0 - 0.9 * min(self.fraction, 1.0)
        for group, learning_rate in zip(
            policy.optimizer.param_groups, (config.actor_learning_rate, config.critic_learning_rate), strict=True
        ):
            group["lr"] = learning_rate * rate
        policy.set_training_mode(True)
        figures: list[dict[str, float]] = []
        with torch_threads(self.update_threads):
            far = warming
            for _ in range(epochs):
                for batch in self.rollout_buffer.get(config.minibatch_size):
                    figures.append(self._train_batch(batch, learn_actor=not far))
                    far = far or figures[-1].get("kl", 0.0) > 1.5 * config.target_kl
        self.iteration += 1
        for name in dict.fromkeys(name for one in figures for name in one):
            self.logger.record(f"train/{name}", float(np.mean([one[name] for one in figures if name in one])))
        values, returns = self.rollout_buffer.values.flatten(), self.rollout_buffer.returns.flatten()
        self.logger.record("train/explained_variance", 1.0 - float(np.var(returns - values) / max(np.var(returns), 1e-12)))
        self.logger.record("train/action_std", float(policy.log_std.detach().exp().mean()))
        actor_steps = sum("clip_fraction" in one for one in figures)
        self.logger.record("train/actor_epochs", actor_steps * config.minibatch_size / self.rollout_buffer.returns.size)
        self.logger.record("train/warmup", float(warming))

    def _train_batch(self, batch: Any, learn_actor: bool) -> dict[str, float]:
        """One gradient step on a minibatch; the critic's alone while the actor is frozen, or where it has moved too far.

        Adam leaves parameters without a gradient as they are, bit for bit.
        """
        config, policy = self.config, self.networks
        value_loss = nn.functional.mse_loss(policy.predict_values(batch.observations).flatten(), batch.returns)
        figures = {"value_loss": float(value_loss.detach())}
        loss = value_loss
        if learn_actor:
            log_prob = policy.get_distribution(batch.observations).log_prob(batch.actions)
            log_ratio = log_prob - batch.old_log_prob
            ratio = log_ratio.exp()
            advantages = batch.advantages - batch.advantages.mean()
            advantages = advantages / (advantages.std() + 1e-8)
            clipped = ratio.clamp(1.0 - config.clip_range, 1.0 + config.clip_range)
            loss = loss - torch.min(advantages * ratio, advantages * clipped).mean()
            figures["kl"] = float((ratio - 1.0 - log_ratio).detach().mean())  # Schulman's low-variance estimate
            figures["clip_fraction"] = float(((ratio - 1.0).abs() > config.clip_range).float().mean())
            if self.pull_weight > 0.0:
                pull = self._clone_divergence(batch.observations)
                loss = loss + self.pull_weight * pull
                figures["clone_divergence"] = float(pull.detach())
        policy.optimizer.zero_grad()
        loss.backward()
        if learn_actor:
            nn.utils.clip_grad_norm_(policy.actor_parameters(), config.max_grad_norm)
        nn.utils.clip_grad_norm_(policy.critic.parameters(), config.max_grad_norm)
        policy.optimizer.step()
        with torch.no_grad():
            policy.log_std.clamp_(*(math.log(bound) for bound in config.action_std_bounds))
        return figures

    @property
    def pull_weight(self) -> float:
        """Present weight of the pull to the clone."""
        return self.config.pull_weight * max(0.0, 1.0 - self.fraction / self.config.pull_until)

    def _clone_divergence(self, observations: Tensor) -> Tensor:
        """Mean over the batch of |mean - clone's mean|^2 / (2 std^2), the KL of two Gaussians of the same (held) std."""
        with torch.no_grad():
            target, variance = self.clone(observations), (2.0 * self.networks.log_std).exp()
        return ((self.networks.actor(observations) - target).square() / (2.0 * variance)).sum(dim=-1).mean()
