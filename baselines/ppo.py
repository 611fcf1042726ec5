"""PPO for a cloned actor: stable-baselines3's PPO with a network and an update that keep a good start good.

PPO after Schulman et al. 2017 (eq. 7), with a small action noise, a critic of its own that learns first while the whole actor
stays frozen, a decaying pull to the clone (as DAPG, Rajeswaran et al. 2018, pulls to demonstrations), and a stop of the epochs
where the policy has moved far. The learning rate follows the budget only: a rate adapted to the measured KL would climb to its
cap while a frozen actor shows none. Rollouts and their bootstrapping at time limits are stable-baselines3's.

An actor with memory is updated on whole rollouts of an environment, as one sequence that begins with what it remembered when
the rollout began; one without on single transitions. The critic sees the `privileged` vector where there is one.
The run around it (budget, evaluations, savings) is in `baselines.fine_tune`.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from baselines.actor_critic import FineTunePolicy, RunningNormalizer
from baselines.mlp import faster_thread_count, torch_threads
from baselines.networks import Actor
from baselines.residual import ResidualActor, ResidualConfig
from baselines.settings import FineTuneConfig
from dexvid_envs.errors import OptionError


@dataclasses.dataclass(frozen=True)
class Batch:
    """Transitions of a gradient step, B sequences of T steps; (M, ...) stands for all their steps, M = B T.

    Attributes:
        parts: the actor's observations (B, T, ...) by key.
        starts: (B, T) bool, first steps of episodes.
        memory: the actor's before the sequences, or None.
        critic_input: (M, D).
        actions: (M, A).
        log_prob, advantages, returns: (M,) of the rollout.
        clone_means: (M, A) actions of the clone, or None where it does not pull.
    """

    parts: dict[str, Tensor]
    starts: Tensor
    memory: Any
    critic_input: Tensor
    actions: Tensor
    log_prob: Tensor
    advantages: Tensor
    returns: Tensor
    clone_means: Tensor | None


class FineTunePPO(PPO):
    """stable-baselines3's PPO with its own update: critic warm-up, pull to the clone, separate gradient norms.

    Attributes:
        iteration: updates done.
        fraction: done part of the budget; learning rates and the pull follow it.
        memory_before: the actor's memory when the last rollout began.
        clone_memory: the clone's at that time.
    """

    def __init__(self, env: VecEnv, clone: Actor, config: FineTuneConfig, seed: int) -> None:
        actor = _trained_actor(clone, config, seed)
        actor_rate = config.residual_learning_rate if isinstance(actor, ResidualActor) else config.actor_learning_rate
        self.learning_rates = (actor_rate, config.critic_learning_rate)
        super().__init__(
            FineTunePolicy,
            env,
            n_steps=config.rollout_steps,
            batch_size=config.minibatch_size,
            n_epochs=config.epochs,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            policy_kwargs={
                "actor": actor,
                "action_std": config.action_std,
                "critic_hidden": config.critic_hidden,
                "learning_rates": self.learning_rates,
            },
            seed=seed,  # of torch's and NumPy's global generators, which stable-baselines3 draws from
            device="cpu",
        )
        self.config = config
        self.clone: Any = copy.deepcopy(clone)
        self.clone.requires_grad_(False)
        self.iteration, self.fraction = 0, 0.0
        self.networks.memory = self.memory_before = actor.initial_memory(env.num_envs)
        self.clone_memory = self.clone.initial_memory(env.num_envs)
        self.networks.episode_starts = lambda: self._last_episode_starts  # type: ignore[assignment]
        self.remembers = self.memory_before is not None
        if self.remembers and config.minibatch_size % config.rollout_steps:
            raise OptionError(
                f"minibatch_size={config.minibatch_size} has to be a multiple of rollout_steps={config.rollout_steps}: an "
                "actor with memory is updated on whole rollouts of an environment"
            )
        self.update_threads = config.update_threads or faster_thread_count(self._probe())

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """As it is: pictures keep their axes."""
        return env

    @property
    def networks(self) -> FineTunePolicy:
        """Actor and critic."""
        return cast("FineTunePolicy", self.policy)

    # ---- rollout ----------------------------------------------------------------------------------------------------

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As in the base class, with one torch thread beside the physics pool."""
        self.memory_before = self.networks.memory
        with torch_threads(1):
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def rollout(self) -> Batch:
        """The last rollout, a sequence of every environment."""
        buffer, policy = self.rollout_buffer, self.networks

        def rows_first(array: Any) -> Tensor:  # (T, N, ...) to (N, T, ...)
            return torch.from_numpy(np.ascontiguousarray(np.swapaxes(array, 0, 1)))

        observations: Any = buffer.observations
        named = observations if isinstance(observations, Mapping) else {"state": observations}
        seen = {name: rows_first(array) for name, array in named.items()}
        parts, starts = policy.parts(seen), rows_first(buffer.episode_starts).bool()
        return Batch(
            parts,
            starts,
            self.memory_before,
            policy.critic_input(seen).flatten(0, 1),
            rows_first(buffer.actions).flatten(0, 1),
            rows_first(buffer.log_probs).flatten(),
            rows_first(buffer.advantages).flatten(),
            rows_first(buffer.returns).flatten(),
            None,
        )

    def minibatches(self, rollout: Batch) -> Iterator[Batch]:
        """The rollout in random pieces of `minibatch_size` steps: rows of it with memory, single steps without."""
        steps = self.config.rollout_steps if self.remembers else 1
        rows_of = {name: part.unflatten(0, (-1, 1)) for name, part in _flat(rollout.parts).items()}
        parts = rollout.parts if self.remembers else rows_of
        starts = rollout.starts if self.remembers else rollout.starts.view(-1, 1)
        order = torch.from_numpy(np.random.permutation(len(starts)))  # noqa: NPY002 (the stream of stable-baselines3)
        for rows in order.split(self.config.minibatch_size // steps):
            chosen = (rows[:, None] * steps + torch.arange(steps)).flatten()
            yield Batch(
                {name: part[rows] for name, part in parts.items()},
                starts[rows],
                rollout.memory.rows(rows) if self.remembers else None,
                rollout.critic_input[chosen],
                rollout.actions[chosen],
                rollout.log_prob[chosen],
                rollout.advantages[chosen],
                rollout.returns[chosen],
                None if rollout.clone_means is None else rollout.clone_means[chosen],
            )

    # ---- update -----------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """One update from the rollout buffer."""
        config, policy = self.config, self.networks
        warming = self.iteration < config.warmup_iterations
        epochs = config.warmup_epochs if warming else config.epochs
        rate = 1.0 - 0.9 * min(self.fraction, 1.0)
        rates = self.learning_rates[0] * self.std_share, self.learning_rates[1]
        for group, learning_rate in zip(policy.optimizer.param_groups, rates, strict=True):
            group["lr"] = learning_rate * rate
        policy.set_training_mode(True)
        figures: list[dict[str, float]] = []
        with torch_threads(self.update_threads):
            rollout = self.rollout()
            if self.pull_weight > 0.0:  # it only falls, so that the clone's memory has no gaps while it pulls
                with torch.no_grad():
                    means, self.clone_memory = self.clone.act(rollout.parts, rollout.starts, self.clone_memory)
                rollout = dataclasses.replace(rollout, clone_means=means.flatten(0, 1))
            if isinstance(policy.critic_norm, RunningNormalizer):
                policy.critic_norm.update(rollout.critic_input)
            far = warming
            for _ in range(epochs):
                for batch in self.minibatches(rollout):
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

    def _train_batch(self, batch: Batch, learn_actor: bool) -> dict[str, float]:
        """One gradient step on a minibatch; the critic's alone while the actor is frozen, or where it has moved too far.

        Adam leaves parameters without a gradient as they are, bit for bit.
        """
        config, policy = self.config, self.networks
        value_loss = nn.functional.mse_loss(policy.critic(batch.critic_input).flatten(), batch.returns)
        figures = {"value_loss": float(value_loss.detach())}
        loss = value_loss
        if learn_actor:
            means = self.means(batch)
            log_ratio = policy.gaussian(means).log_prob(batch.actions) - batch.log_prob
            ratio = log_ratio.exp()
            advantages = batch.advantages - batch.advantages.mean()
            advantages = advantages / (advantages.std() + 1e-8)
            clipped = ratio.clamp(1.0 - config.clip_range, 1.0 + config.clip_range)
            loss = loss - torch.min(advantages * ratio, advantages * clipped).mean()
            figures["kl"] = float((ratio - 1.0 - log_ratio).detach().mean())  # Schulman's low-variance estimate
            figures["clip_fraction"] = float(((ratio - 1.0).abs() > config.clip_range).float().mean())
            if batch.clone_means is not None:
                pull = self._clone_divergence(means, batch.clone_means)
                loss = loss + self.pull_weight * pull
                figures["clone_divergence"] = float(pull.detach())
        policy.optimizer.zero_grad()
        loss.backward()
        if learn_actor:
            nn.utils.clip_grad_norm_(policy.actor_parameters(), config.max_grad_norm)
        nn.utils.clip_grad_norm_(policy.critic.parameters(), config.max_grad_norm)
        policy.optimizer.step()
        if learn_actor:
            low, high = config.action_std_bounds
            if config.action_std_at_end is not None:
                low = high = config.action_std * self.std_share
            with torch.no_grad():
                policy.log_std.clamp_(math.log(low), math.log(high))
        return figures

    def means(self, batch: Batch) -> Tensor:
        """Mean actions (M, A) of the present actor."""
        return self.networks.actor.act(batch.parts, batch.starts, batch.memory)[0].flatten(0, 1)

    @property
    def std_share(self) -> float:
        """Present standard deviation of the actions as a share of the first, where it falls with the budget; else 1."""
        if self.config.action_std_at_end is None:
            return 1.0
        return (self.config.action_std_at_end / self.config.action_std) ** min(self.fraction, 1.0)

    @property
    def pull_weight(self) -> float:
        """Present weight of the pull to the clone."""
        return self.config.pull_weight * max(0.0, 1.0 - self.fraction / self.config.pull_until)

    def _clone_divergence(self, means: Tensor, clone_means: Tensor) -> Tensor:
        """Mean over the batch of |mean - clone's mean|^2 / (2 std^2), the KL of two Gaussians of the same (held) std."""
        variance = (2.0 * self.networks.log_std.detach()).exp()
        return ((means - clone_means).square() / (2.0 * variance)).sum(dim=-1).mean()

    def _probe(self) -> Callable[[], object]:
        """A gradient step of a copied actor on an empty minibatch."""
        actor: Any = copy.deepcopy(self.networks.actor)
        steps = self.config.rollout_steps if self.remembers else 1
        count = self.config.minibatch_size // steps
        parts = {name: torch.zeros((count, steps, *shape)) for name, shape in actor.config.observation.items()}
        starts = torch.zeros((count, steps), dtype=torch.bool)
        return lambda: actor.act(parts, starts)[0].sum().backward()


def _flat(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """(N, T, ...) to (N T, ...)."""
    return {name: part.flatten(0, 1) for name, part in parts.items()}


def _trained_actor(clone: Actor, config: FineTuneConfig, seed: int) -> Actor:
    """What is trained: the clone itself, or a correction on top of it."""
    if config.residual_scale == 0.0:
        return clone
    if isinstance(clone, ResidualActor):
        raise OptionError("the actor to start from is a frozen clone with a correction already; use residual_scale=0")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResidualActor(copy.deepcopy(clone), ResidualConfig(scale=config.residual_scale))
