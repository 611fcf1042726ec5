"""A robot demonstration: what was done, what was seen, every state passed through, and where it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dexvid_envs.errors import DexVidError

Tier = Literal["kinematic", "replayable", "successful"]
TIERS: tuple[Tier, ...] = ("kinematic", "replayable", "successful")


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """One episode of T steps in one environment, from reset to the last step.

    Attributes:
        env_id: Gymnasium id.
        env_options: keyword arguments of `gymnasium.make` that matter for the physics and the task, such as `bottle`.
        control_mode: control mode of `actions`.
        observations: (T + 1, D) float32 state observations; the first is the reset's.
        actions: (T, A) float32 in [-1, 1].
        rewards: (T,) dense rewards.
        successes: (T,) bool, `info["success"]` after each step.
        states: (T + 1, S) float64 full integration states of the simulation.
        memory: the task's memory by name, (T + 1, ...) each; with `states` it makes `reset(options={"state": ...})`.
        randomization: what the episode drew (mass, friction, noise) by name, (T + 1, ...) each; empty where nothing is.
        object_pos_world: (T + 1, 3) m centre of the moved object.
        source_frame: (T + 1,) int frame of the source video behind each step; -1 where there is none (approach, retreat).
        tier: kinematic, replayable or successful; never mixed up.
        intended_actions: (T, A) float32 what the plan asked for in the state before each action, where noise was added to it in
            `actions`; None where none was. Noise visits states beside the plan, and what a learner should do there is free of
            it (Laskey et al., "DART: Noise Injection for Robust Imitation Learning", 2017).
        provenance: source hash, stages' configs and figures, seeds, versions, model hash; JSON values only.
    """

    env_id: str
    env_options: Mapping[str, Any]
    control_mode: str
    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    successes: NDArray[np.bool_]
    states: NDArray[np.float64]
    memory: Mapping[str, NDArray[Any]]
    object_pos_world: NDArray[np.float64]
    source_frame: NDArray[np.int64]
    tier: Tier
    provenance: Mapping[str, Any]
    randomization: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    intended_actions: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if steps == 0:
            raise DexVidError("a demonstration needs at least one step, got 0")
        if self.tier not in TIERS:
            raise DexVidError(f"unknown tier {self.tier!r}: expected one of {', '.join(TIERS)}")
        lengths = {
            "observations": (self.observations, steps + 1),
            "rewards": (self.rewards, steps),
            "successes": (self.successes, steps),
            "states": (self.states, steps + 1),
            "object_pos_world": (self.object_pos_world, steps + 1),
            "source_frame": (self.source_frame, steps + 1),
            **{f"memory[{name!r}]": (values, steps + 1) for name, values in self.memory.items()},
            **{f"randomization[{name!r}]": (values, steps + 1) for name, values in self.randomization.items()},
        }
        if self.intended_actions is not None:
            lengths["intended_actions"] = (self.intended_actions, steps)
        for name, (array, expected) in lengths.items():
            if len(array) != expected:
                raise DexVidError(f"{name} has {len(array)} rows for {steps} actions; expected {expected}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        """Refuses what no simulation can have passed through."""
        numbers = {name: getattr(self, name) for name in ("observations", "actions", "states", "object_pos_world", "rewards")}
        if self.intended_actions is not None:
            numbers["intended_actions"] = self.intended_actions
        for name, values in numbers.items():
            finite = np.isfinite(values)
            if not finite.all():
                step = int(np.argwhere(~finite)[0][0])
                raise DexVidError(f"{name} is not finite at step {step}: expected numbers throughout; make it again")
        if self.object_pos_world.shape[1:] != (3,):
            raise DexVidError(f"object_pos_world has shape {self.object_pos_world.shape}, expected (steps + 1, 3)")
        if self.intended_actions is not None and self.intended_actions.shape != self.actions.shape:
            raise DexVidError(f"intended_actions has shape {self.intended_actions.shape}, actions {self.actions.shape}")
        if np.abs(self.actions).max() > 1.0:
            step = int(np.argwhere(np.abs(self.actions) > 1.0)[0][0])
            raise DexVidError(
                f"the action of step {step} leaves [-1, 1], expected normalised actions; clip them before playing"
            )

    @property
    def num_steps(self) -> int:
        """Number of control steps T."""
        return len(self.actions)

    @property
    def learned_actions(self) -> NDArray[np.float32]:
        """(T, A) what a learner should do in the states before the actions: `intended_actions` where there are any."""
        return self.actions if self.intended_actions is None else self.intended_actions

    def reset_options(self, step: int) -> dict[str, Any]:
        """Options for `env.reset` that put the environment into the state before action `step` (T: after the last).

        Raises:
            DexVidError: there is no such step.
        """
        if not 0 <= step <= self.num_steps:
            raise DexVidError(f"step {step} is outside 0..{self.num_steps} of this demonstration")
        state: dict[str, Any] = {"simulation": self.states[step].copy()}
        state["memory"] = {name: np.array(values[step]) for name, values in self.memory.items()}
        if self.randomization:
            state["randomization"] = {name: np.array(values[step]) for name, values in self.randomization.items()}
        return {"state": state}


def common_options(demonstrations: Sequence[Demonstration]) -> dict[str, Any]:
    """Environment options that all demonstrations (at least one) share."""
    first, *others = (dict(one.env_options) for one in demonstrations)
    return {name: value for name, value in first.items() if all(name in one and one[name] == value for one in others)}


def demonstrations_from_batch(
    batch: Mapping[str, Any],
    rows: Sequence[int],
    lengths: Sequence[int],
    *,
    env_id: str,
    env_options: Mapping[str, Any],
    control_mode: str,
    tier: Tier,
    source_frame: ArrayLike,
    provenance: Sequence[Mapping[str, Any]],
) -> list[Demonstration]:
    """Demonstrations from the arrays of one batched rollout: the chosen rows, each cut after its number of steps.

    Args:
        batch: `observations`, `states`, `object_pos_world` (T + 1, N, ...), `actions`, `rewards`, `successes` (T, N, ...) and
            `memory`, a mapping of (T + 1, N, ...) arrays, and where something is randomised `randomization`, another one; with
            noise on the actions also `intended_actions`.
        rows: R indices below N.
        lengths: R numbers of steps, 1 to T.
        env_id, env_options, control_mode, tier: of all of them.
        source_frame: (T + 1,) or (T + 1, N).
        provenance: R mappings of JSON values.

    Raises:
        DexVidError: tier "successful" is claimed for a row without success after its last step.
    """
    frames = np.asarray(source_frame, dtype=np.int64)
    result = []
    for row, length, facts in zip(rows, lengths, provenance, strict=True):
        if tier == "successful" and not batch["successes"][length - 1, row]:
            raise DexVidError(
                f"row {row} does not end in the task's success after {length} steps: expected another tier or length"
            )
        result.append(
            Demonstration(
                env_id=env_id,
                env_options=dict(env_options),
                control_mode=control_mode,
                observations=batch["observations"][: length + 1, row].astype(np.float32),
                actions=np.clip(batch["actions"][:length, row], -1.0, 1.0).astype(np.float32),
                rewards=batch["rewards"][:length, row].astype(np.float64),
                successes=batch["successes"][:length, row].astype(bool),
                states=batch["states"][: length + 1, row].astype(np.float64),
                memory=_of_row(batch["memory"], row, length),
                randomization=_of_row(batch.get("randomization") or {}, row, length),
                intended_actions=batch["intended_actions"][:length, row] if "intended_actions" in batch else None,
                object_pos_world=batch["object_pos_world"][: length + 1, row].astype(np.float64),
                source_frame=(frames if frames.ndim == 1 else frames[:, row])[: length + 1].copy(),
                tier=tier,
                provenance=dict(facts),
            )
        )
    return result


def _of_row(arrays: Mapping[str, NDArray[Any]], row: int, length: int) -> dict[str, NDArray[Any]]:
    """One row's first frames (length + 1, ...) of arrays (T + 1, N, ...)."""
    return {name: values[: length + 1, row].copy() for name, values in arrays.items()}
