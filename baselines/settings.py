"""The settings of all trainings, apart from what trains: the command line is made from them, and `--help` loads no torch."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from dexvid_envs.errors import OptionError

#: Of the transformer; `baselines.transformer.SIZES` has their numbers.
Size = Literal["small", "hop"]


@dataclasses.dataclass(frozen=True)
class CloneConfig:
    """Settings of behaviour cloning; change `max_seconds` or `max_steps` first, then `input_noise`.

    Attributes:
        policy: "mlp" (reads the `state` observation) or "transformer" (reads any, see `baselines.tokens`).
        size: of the transformer: "small" for two cores, "hop" as published.
        window_steps: of the transformer's training windows; beyond its context, so that later steps have a full history.
        max_steps: gradient steps; with `max_seconds` unset the run is repeatable bit for bit on one machine.
        max_seconds: ends earlier after this wall time, the learning rate's schedule fitted to it; None for steps alone.
        batch_size: transitions of a gradient step.
        learning_rate: peak of a cosine schedule that falls to 1 % after a linear warm-up; None takes 1e-3, for `hop` 1e-4.
        warmup_fraction: part of the run that the warm-up takes.
        weight_decay: of AdamW.
        gradient_clip: largest norm of the gradient.
        hidden: widths of the MLP's hidden layers.
        input_noise: standard deviation of Gaussian noise on observations, in their own standard deviations; pictures have none.
        std_floor: smallest standard deviation of the normalisation, in the observation's unit (m, rad, m/s, rad/s).
        ema_decay: decay a step of the averaged weights, which become the policy.
        hold_steps: every demonstration is extended by this many steps of holding still in its last state.
        held_out_fraction: part of the episodes kept for the held-out loss; never fewer than one where there are two or more.
        report_every_steps: steps between reports.
        save_every_s: wall time between savings of the training state (with a run folder).
        commit: the actor chooses once an episode from which side it takes the object, of those that the demonstrations are
            known to take, and stays with it (`baselines.committed`).
        threads: torch threads; -1 takes whichever of one and all cores is faster at the start, 0 does so in runs by wall time
            and else takes one, with which a run repeats to the last bit.
    """

    policy: Literal["mlp", "transformer"] = "mlp"
    size: Size = "small"
    window_steps: int = 32
    max_steps: int = 6000
    max_seconds: float | None = None
    batch_size: int = 1024
    learning_rate: float | None = None
    warmup_fraction: float = 0.03
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    hidden: tuple[int, ...] = (512, 512, 256)
    input_noise: float = 0.05
    std_floor: float = 0.01
    ema_decay: float = 0.998
    hold_steps: int = 10
    held_out_fraction: float = 0.03
    report_every_steps: int = 100
    save_every_s: float = 20.0
    commit: bool = False
    threads: int = 0

    def __post_init__(self) -> None:
        positive = {"max_steps": self.max_steps, "batch_size": self.batch_size, "report_every_steps": self.report_every_steps}
        positive |= {"learning_rate": self.peak_rate, "gradient_clip": self.gradient_clip, "std_floor": self.std_floor}
        positive |= {"window_steps": self.window_steps}
        positive |= {} if self.max_seconds is None else {"max_seconds": self.max_seconds}
        for name, value in positive.items():
            if not value > 0:
                raise OptionError(f"{name} has to be positive, got {value}")
        for name, value in {"held_out_fraction": self.held_out_fraction, "ema_decay": self.ema_decay}.items():
            if not 0 <= value < 1:
                raise OptionError(f"{name} has to be at least 0 and less than 1, got {value}")
        if min(self.input_noise, self.hold_steps, self.weight_decay, self.warmup_fraction) < 0:
            raise OptionError("input_noise, hold_steps, weight_decay and warmup_fraction must not be negative")
        if self.policy not in ("mlp", "transformer") or self.size not in get_args(Size):
            raise OptionError(
                f"unknown policy {self.policy!r} or size {self.size!r}: expected mlp or transformer, and "
                + " or ".join(get_args(Size))
            )
        if self.policy == "transformer" and self.batch_size % self.window_steps:
            raise OptionError(f"batch_size={self.batch_size} has to be a multiple of window_steps={self.window_steps}")

    @property
    def peak_rate(self) -> float:
        """Learning rate after the warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-4 if self.policy == "transformer" and self.size == "hop" else 1e-3


@dataclasses.dataclass(frozen=True)
class CurriculumConfig:
    """Settings of the starts from demonstrations.

    Attributes:
        share: of the episodes that begin in a demonstration's state; 0 is none.
        stride: part of a demonstration by which the frontier moves back.
        success_rate: of episodes that begin at the frontier, at which it moves back.
        episodes: so many of them are looked at, at least.
        steps_left: an episode that begins late still gets so many steps.
    """

    share: float = 0.0
    stride: float = 0.1
    success_rate: float = 0.6
    episodes: int = 30
    steps_left: int = 40

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and 0 < self.stride <= 1 and 0 < self.success_rate <= 1):
            raise OptionError(f"share, stride and success_rate of the curriculum have to lie within 0 and 1, got {self}")
        if min(self.episodes, self.steps_left) < 1:
            raise OptionError(f"episodes and steps_left of the curriculum have to be at least 1, got {self}")


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
        action_std_at_end: it is not learned and falls geometrically with the budget to this, and the actor's learning rate with
            it: wide noise first, which finds better ways, then narrow noise, which learns to be precise. None lets it learn.
        warmup_iterations: first updates in which only the critic learns and nothing of the actor changes.
        warmup_epochs: passes over each rollout of the warm-up.
        pull_weight: initial weight of KL(clone || actor); falls linearly to 0 at `pull_until`.
        pull_until: part of the budget after which the clone pulls no more.
        target_kl: for the rest of an update only the critic learns once the actor's KL to the rollout's policy, on a minibatch,
            has exceeded 1.5 times this.
        max_grad_norm: of actor and critic, each for itself.
        critic_hidden: widths of the critic's hidden layers.
        privileged: the critic sees the true state and the drawn physics, and not the flat observation of the actor; always so
            where the actor's observation is not flat.
        residual_scale: above 0 the clone stays frozen, and a correction of at most this much is learned on top of it.
        residual_learning_rate: of the correction, in place of `actor_learning_rate`.
        curriculum: starts from states of demonstrations (see `baselines.curriculum`).
        reward_scale: rewards are multiplied by this for the learner; None takes 1 - gamma, which makes the value a weighted
            mean of future rewards.
        stagger: first episodes are shortened at random, so that a rollout holds all phases of an episode.
        evaluations: evaluations over the published seeds, spread over the run; 2 are start and end, 0 is none.
        evaluation_episodes: episodes of each.
        enough_success, enough_times: the run ends early after so many evaluations in a row with at least this success rate; 0
            times is never.
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
    action_std_at_end: float | None = None
    warmup_iterations: int = 4
    warmup_epochs: int = 4
    pull_weight: float = 0.01
    pull_until: float = 1.0
    target_kl: float = 0.03
    max_grad_norm: float = 1.0
    critic_hidden: tuple[int, ...] = (256, 256)
    privileged: bool = False
    residual_scale: float = 0.0
    residual_learning_rate: float = 3e-4
    curriculum: CurriculumConfig = dataclasses.field(default_factory=CurriculumConfig)
    reward_scale: float | None = None
    stagger: bool = True
    evaluations: int = 2
    evaluation_episodes: int = 50
    enough_success: float = 0.95
    enough_times: int = 0
    save_every_s: float = 20.0
    update_threads: int = 0

    def __post_init__(self) -> None:
        positive = ("total_steps", "num_envs", "rollout_steps", "epochs", "minibatch_size", "evaluation_episodes")
        positive += ("actor_learning_rate", "critic_learning_rate", "action_std", "clip_range", "target_kl")
        positive += ("pull_until", "max_grad_norm", "residual_learning_rate")
        for name in positive:
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} has to be positive, got {getattr(self, name)}")
        for name in (
            "warmup_iterations",
            "warmup_epochs",
            "pull_weight",
            "evaluations",
            "update_threads",
            "residual_scale",
            "enough_times",
        ):
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
        if self.action_std_at_end is not None and not 0 < self.action_std_at_end <= self.action_std:
            raise OptionError(
                f"action_std_at_end={self.action_std_at_end} has to be positive and at most action_std={self.action_std}"
            )


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Settings of the distillation.

    Attributes:
        rounds: in each the pupil plays an episode in every environment; the first is the teacher's.
        num_envs: environments side by side.
        played_until: part of the training by which all rounds have been played; the rest learns from what there is.
        clone: of the regression; its pupil is a `small` transformer by default. `held_out_fraction`, `hold_steps` and `commit`
            have no meaning here.
    """

    rounds: int = 16
    num_envs: int = 64
    played_until: float = 0.7
    clone: CloneConfig = dataclasses.field(default_factory=lambda: CloneConfig(policy="transformer", max_steps=8000))

    def __post_init__(self) -> None:
        if min(self.rounds, self.num_envs) < 1 or not 0 <= self.played_until <= 1:
            raise OptionError(f"distillation needs at least 1 round and environment and 0 <= played_until <= 1, got {self}")
        if self.clone.commit:
            raise OptionError("a pupil does as its teacher does and makes no choice of its own; leave out commit")
