"""Corrections on the policy's own path: what a demonstration does from where a policy has got to, verified in physics.

A clone errs where its demonstrations have never been, and stays there. As in DAgger (Ross, Gordon and Bagnell 2011, "A
Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning") the policy is played for a while and
the expert then says what to do from there. The expert is the demonstration of that very start: it is joined where servo targets
and object come nearest to the present ones, its targets are led to, and what it does from there is kept if the task succeeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.checkpoint import Checkpoint
from baselines.committed import CommittedPolicy
from baselines.episodes import check_same_kind
from demos.demonstration import Demonstration, common_options, demonstrations_from_batch
from demos.multiplication.play import CopyPlayer
from demos.provenance import model_hash, side_taken, to_json, versions
from dexvid_envs.core import EnvironmentCore
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.options import VIEW_OPTIONS, overridden
from robots.arm_hand import ARM_HAND

FloatArray = NDArray[np.float64]
#: What counts as equally far when a demonstration is joined: servo targets (root mean square) and the object's place.
_NEAR_RAD, _NEAR_M = 0.05, 0.01
_LEAST_BATCHES = 12


@dataclasses.dataclass(frozen=True)
class CorrectionConfig:
    """Settings of the corrections.

    Attributes:
        count: successful corrections wanted.
        seed: of the choice of demonstrations and of how long the policy is played.
        batch: simulations at once.
        most_policy_steps: the policy is played for 1 to so many control steps.
        blend_steps: steps in which the demonstration's servo targets are led to from the policy's.
        hold_steps: steps for which the last target is held, so that what stands shakily has failed.
        max_attempts_factor: gives up after so many times `count` attempts, but not before some batches.
    """

    count: int = 600
    seed: int = 0
    batch: int = 64
    most_policy_steps: int = 190
    blend_steps: int = 8
    hold_steps: int = 12
    max_attempts_factor: float = 8.0

    def __post_init__(self) -> None:
        least = {"count": 1, "batch": 1, "most_policy_steps": 1, "blend_steps": 1, "hold_steps": 0}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise OptionError(f"{name} of the corrections has to be at least {limit}, got {getattr(self, name)}")


@dataclasses.dataclass
class CorrectionReport:
    """How many corrections were tried and how many succeeded."""

    attempts: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float:
        """Successful share of the attempts; 0 without any."""
        return self.accepted / self.attempts if self.attempts else 0.0


def corrections(
    demonstrations: Sequence[Demonstration],
    checkpoint: Checkpoint,
    config: CorrectionConfig | None = None,
    *,
    report: CorrectionReport | None = None,
    progress: Callable[[int, CorrectionReport], None] | None = None,
) -> Iterator[Demonstration]:
    """Yields successful corrections, each a demonstration that begins in a state of the policy's, until `count` are made.

    Args:
        demonstrations: successful ones of one environment, with the starts from which the policy is played.
        checkpoint: the policy.
        config: settings.
        report: filled while it runs.
        progress: called after each batch with the number made and the report.

    Raises:
        DexVidError: the demonstrations do not fit together or to the policy, or too few corrections succeed.
    """
    config, report = config or CorrectionConfig(), report or CorrectionReport()
    check_same_kind(demonstrations)
    first = demonstrations[0]
    if (first.env_id, first.control_mode) != (checkpoint.env_id, checkpoint.control_mode):
        raise DexVidError(
            f"the policy is one for {checkpoint.env_id} by {checkpoint.control_mode}, the demonstrations are of {first.env_id} "
            f"by {first.control_mode}; give those that it was cloned from"
        )
    run, made, number = _Run(demonstrations, checkpoint, config), 0, 0
    while made < config.count:
        if report.attempts > max(config.max_attempts_factor * config.count, _LEAST_BATCHES * config.batch):
            raise DexVidError(
                f"only {report.accepted} of {report.attempts} corrections succeeded, expected {config.count}; play the policy "
                "for fewer steps, or give demonstrations that succeed on replay"
            )
        corrected = run.batch(number)
        report.attempts += config.batch
        report.accepted += len(corrected)
        yield from corrected[: config.count - made]
        made, number = min(made + len(corrected), config.count), number + 1
        if progress:
            progress(made, report)


class _Run:
    """Two sets of environments: one as the policy sees it, one that records `state` observations."""

    def __init__(self, demonstrations: Sequence[Demonstration], checkpoint: Checkpoint, config: CorrectionConfig) -> None:
        first = demonstrations[0]
        self.demonstrations, self.config = demonstrations, config
        self.env_id, self.control_mode = first.env_id, first.control_mode
        self.options = common_options(demonstrations)
        own = checkpoint.env_options.items()
        view = {name: value for name, value in own if name in VIEW_OPTIONS or name not in self.options}
        self.watched = CopyPlayer(self.env_id, overridden(self.options, view), self.control_mode, config.batch)
        self.recorded = CopyPlayer(self.env_id, self.options, self.control_mode, config.batch)
        self.policy = checkpoint.policy()
        self.facts = {
            "correct": to_json(config) | {"policy": to_json(checkpoint.training)},
            "model_sha256": model_hash(self.recorded.core.simulation.model),
            "versions": versions(),
        }

    def batch(self, number: int) -> list[Demonstration]:
        """The successful corrections of one batch: the policy for some steps, then each row's demonstration to its end."""
        config = self.config
        rng = np.random.default_rng([config.seed, number])
        chosen = rng.choice(len(self.demonstrations), config.batch, replace=len(self.demonstrations) < config.batch)
        experts = [self.demonstrations[index] for index in chosen]
        steps = int(rng.integers(1, config.most_policy_steps + 1))
        targets = self._servo_targets(experts)
        alive = self._play_policy(experts, steps)
        present = self.recorded.core.simulation.ctrl.copy()
        joined = _nearest_steps(experts, targets, present, self.recorded.object_pose()[:, :3, 3])
        lengths = np.array([one.num_steps for one in experts]) - joined
        ahead = joined[:, None] + np.arange(lengths.max() + config.hold_steps)
        last = np.array([one.num_steps - 1 for one in experts])
        rows = np.arange(config.batch)[:, None]
        wanted = targets[rows, np.minimum(ahead, last[:, None])]
        before = targets[rows[:, 0], np.maximum(joined - 1, 0)]
        left = np.clip(1.0 - (np.arange(wanted.shape[1]) + 1) / config.blend_steps, 0.0, 1.0)
        wanted = wanted + left[None, :, None] * (present - before)[:, None]
        played = self.recorded.play(np.clip(wanted, ARM_HAND.lower_rad, ARM_HAND.upper_rad), np.flatnonzero(alive))
        if not played.batch:
            return []
        lengths = lengths + config.hold_steps
        success = played.batch["successes"][lengths - 1, np.arange(config.batch)] & alive
        kept = np.flatnonzero(success)
        frames = np.stack([one.source_frame[np.minimum(ahead[row], one.num_steps)] for row, one in enumerate(experts)], axis=1)
        facts = [
            self.facts
            | {
                "parent": dict(experts[row].provenance),
                "correction": {"of": int(chosen[row]), "policy_steps": steps, "joined_at": int(joined[row]), "batch": number},
            }
            for row in kept
        ]
        return demonstrations_from_batch(
            played.batch,
            kept.tolist(),
            lengths[kept].tolist(),
            env_id=self.env_id,
            env_options=self.options,
            control_mode=self.control_mode,
            tier="successful",
            source_frame=np.concatenate([frames, frames[-1:]]),
            provenance=facts,
        )

    def _servo_targets(self, experts: Sequence[Demonstration]) -> FloatArray:
        """(N, T, 23) rad servo targets, free of noise, the shorter ones held at their last; puts `recorded` at the starts."""
        core = self.recorded.core
        _put(core, [one.reset_options(0)["state"] for one in experts])
        longest = max(one.num_steps for one in experts)
        actions, intended = np.zeros((2, longest, len(experts), experts[0].actions.shape[1]))
        for row, one in enumerate(experts):
            actions[: one.num_steps, row], intended[: one.num_steps, row] = one.actions, one.learned_actions
        target, targets = core.simulation.ctrl.copy(), [core.simulation.ctrl.copy()]
        lengths = np.array([one.num_steps for one in experts])
        for step, (action, wanted) in enumerate(zip(actions, intended, strict=True)):
            goes_on = (step < lengths)[:, None]
            targets.append(np.where(goes_on, core.control.next_target(wanted, target), targets[-1]))
            target = np.where(goes_on, core.control.next_target(action, target), target)
        return np.stack(targets[1:], axis=1)

    def _play_policy(self, experts: Sequence[Demonstration], steps: int) -> NDArray[np.bool_]:
        """Plays the policy from the experts' starts and puts `recorded` where it gets to; (N,) which have not failed."""
        core = self.watched.core
        count = len(experts)
        _put(core, [one.reset_options(0)["state"] for one in experts])
        self.policy.reset(np.ones(count, dtype=bool))
        if isinstance(self.policy, CommittedPolicy):  # an expert who takes the other side would have to turn back
            self.policy.follow(np.array([side_taken(one.provenance) for one in experts]))
        alive = np.ones(count, dtype=bool)
        result: Any = core.result()
        for _ in range(steps):
            core.advance(self.policy.act(result.observations), None if alive.all() else np.flatnonzero(alive))
            result = core.result()
            alive &= ~result.terminated
            if not alive.any():
                break
        _put(self.recorded.core, [core.state(row) for row in range(count)])
        return alive


def _put(core: EnvironmentCore, states: Sequence[Mapping[str, Any]]) -> None:
    """Puts environments into saved states."""
    rngs = [np.random.default_rng(0) for _ in states]  # nothing is drawn
    core.reset(np.arange(len(states)), rngs, [{"state": state} for state in states])


def _nearest_steps(
    experts: Sequence[Demonstration], targets: FloatArray, present: FloatArray, object_pos_world: FloatArray
) -> NDArray[np.int64]:
    """(N,) the step of each demonstration whose beginning is most like the present.

    Args:
        experts: N demonstrations of T steps or fewer.
        targets: (N, T, 23) rad their servo targets.
        present: (N, 23) rad servo targets now.
        object_pos_world: (N, 3) m of the object now.
    """
    nearest = np.zeros(len(experts), dtype=np.int64)
    for row, one in enumerate(experts):
        servo = np.sqrt(np.square(targets[row, : one.num_steps - 1] - present[row]).mean(axis=-1)) / _NEAR_RAD
        moved = np.linalg.norm(one.object_pos_world[1 : one.num_steps] - object_pos_world[row], axis=-1) / _NEAR_M
        nearest[row] = int(np.argmin(servo**2 + moved**2)) + 1  # what was like the present comes before the step
    return nearest
