"""Playing demonstrations in the simulator: recording actions as a demonstration, and replaying one to see whether it holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from demos.demonstration import Demonstration, Tier
from demos.environment import make_env, moved_body
from demos.provenance import build_differences, model_hash, recorded_again, to_json, versions
from demos.rescore import rescore
from dexvid_envs.env import DexVidEnv
from dexvid_envs.errors import DexVidError
from dexvid_envs.simulation import STATE_SPEC

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


#: A replayable demonstration keeps its outcome where its object stays this near to the stored path on average, m.
OUTCOME_DEVIATION_M = 0.03


class ClosedLoopPolicy(Protocol):
    """What `replay` asks of a policy: that of `baselines`, for a batch of one."""

    def reset(self, mask: BoolArray) -> None:
        """A new episode begins in the rows where `mask` (N,) is true."""
        ...

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Actions (N, A) in [-1, 1] for the observations (N, D)."""
        ...


@dataclasses.dataclass(frozen=True)
class ReplayOutcome:
    """What a replay gave, beside what was stored.

    Attributes:
        tier: of the demonstration.
        num_steps: T.
        success: the task's success after the last step.
        success_ever: the task's success after any step.
        stored_success: success after the last step as stored.
        rescored_success: the same from the stored states by independent code; None for a task that has none yet.
        object_distance_m: of the moved object to its target at the end; None where the task gives no distance.
        state_deviation: largest absolute difference of any number of any state; None in closed loop.
        object_deviation_mean_m, object_deviation_max_m: distance of the moved object to its stored path.
        build_differences: what of the recording's build is not the same here, in words; None where its provenance does not say.
    """

    tier: Tier
    num_steps: int
    success: bool
    success_ever: bool
    stored_success: bool
    rescored_success: bool | None
    object_distance_m: float | None
    state_deviation: float | None
    object_deviation_mean_m: float
    object_deviation_max_m: float
    build_differences: tuple[str, ...] | None

    @property
    def same_build(self) -> bool | None:
        """Whether model and versions are those of the recording; None where its provenance does not say."""
        return None if self.build_differences is None else not self.build_differences

    @property
    def keeps_contract(self) -> bool:
        """See `broken_promise`."""
        return not self.broken_promise

    @property
    def broken_promise(self) -> str:
        """What of its tier's contract the demonstration breaks, in words; empty where it holds.

        In open loop on the same build the stored states come again exactly; on any build the stored outcome does: the task's
        success, for successful ones by the independent code too, and of replayable ones the object's path. Nothing is asked of
        kinematic ones.
        """
        if self.tier == "kinematic":
            return ""
        if self.state_deviation and self.same_build is not False:
            return f"the states differ by up to {self.state_deviation:.1g} on the build of the recording"
        if self.success != self.stored_success:
            return f"it ends {_in_words(self.success)}, the recording {_in_words(self.stored_success)}"
        if self.tier == "successful" and not self.success:
            return "its tier is successful, and it ends without success"
        if self.tier == "successful" and self.rescored_success is False:
            return "the independent scoring of its states finds no success"
        open_loop = self.state_deviation is not None
        if self.tier == "replayable" and open_loop and self.object_deviation_mean_m > OUTCOME_DEVIATION_M:
            return f"the object is {1000 * self.object_deviation_mean_m:.0f} mm from its stored path on average"
        return ""


def _in_words(success: bool) -> str:
    return "in success" if success else "without success"


class Player:
    """One environment in which demonstrations are recorded and replayed one after the other.

    Attributes:
        env: the environment, without wrappers.
        model_sha256: hash of its model before the first reset.
    """

    def __init__(self, env_id: str, env_options: Mapping[str, Any], control_mode: str) -> None:
        """Raises: OptionError: the environment or an option is unknown."""
        self.env_id, self.env_options, self.control_mode = env_id, dict(env_options), control_mode
        self.env = make_env(env_id, self.env_options, control_mode)
        self.model_sha256 = model_hash(self.env.model)
        self._object_body_id = moved_body(self.env)

    def fits(self, demonstration: Demonstration) -> bool:
        """Whether the demonstration belongs to this environment with these options."""
        mine = (self.env_id, to_json(self.env_options), self.control_mode)
        return mine == (demonstration.env_id, to_json(demonstration.env_options), demonstration.control_mode)

    def close(self) -> None:
        """Frees the renderer, if there is one."""
        self.env.close()

    def record(
        self,
        actions: ArrayLike,
        *,
        reset_options: Mapping[str, Any] | None = None,
        seed: int | None = None,
        tier: Tier = "kinematic",
        source_frame: ArrayLike | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Demonstration:
        """Plays (T, A) actions from a reset and keeps everything.

        Args:
            actions: (T, A); those outside [-1, 1] are kept as the environment plays them, clipped.
            reset_options: options of the reset; `{"state": ...}` goes on from a saved state.
            seed: of the reset.
            tier: of the result.
            source_frame: (T + 1,) frame of the source video behind each step; by default -1, none.
            provenance: JSON values; model hash, versions and reset are added where it does not have them.

        Raises:
            ActionError: an action has a wrong size or is not finite.
            DexVidError: the simulation became unstable, or tier "successful" is claimed without success after the last step.
        """
        played = np.clip(np.array(actions, dtype=np.float32), -1.0, 1.0)
        if played.ndim != 2 or not len(played):
            raise DexVidError(f"the actions have shape {played.shape}; expected (steps, action size) with at least one step")
        steps = len(played)
        frames = np.full(steps + 1, -1) if source_frame is None else source_frame
        trace = _Trace(self.env, self._object_body_id)
        observation, _ = self.env.reset(seed=seed, options=dict(reset_options or {}))
        trace.add_frame(observation)
        for step, action in enumerate(played):
            observation, reward, _, _, info = self.env.step(action)
            if info["unstable"]:
                raise DexVidError(f"the simulation became unstable at step {step} of {steps}; give smaller or smoother actions")
            trace.add_frame(observation)
            trace.rewards.append(reward)
            trace.successes.append(info["success"])
        if tier == "successful" and not trace.successes[-1]:
            raise DexVidError("this episode does not end in the task's success: expected tier 'kinematic' or 'replayable'")
        started = {"seed": seed, "options": "state" if "state" in (reset_options or {}) else to_json(reset_options or {})}
        facts = {"model_sha256": self.model_sha256, "versions": versions(), "reset": started}
        return Demonstration(
            env_id=self.env_id,
            env_options=self.env_options,
            control_mode=self.control_mode,
            observations=np.stack(trace.observations),
            actions=played,
            rewards=np.array(trace.rewards, dtype=np.float64),
            successes=np.array(trace.successes, dtype=bool),
            states=np.stack(trace.states),
            memory=trace.stacked("memory"),
            randomization=trace.stacked("randomization"),
            object_pos_world=np.stack(trace.object_pos_world),
            source_frame=np.array(frames, dtype=np.int64),
            tier=tier,
            provenance=facts | dict(provenance or {}),
        )

    def record_again(self, demonstration: Demonstration) -> Demonstration:
        """The demonstration's actions from its first state, as they come out on this build; see `record` for errors."""
        self._expect_fitting(demonstration)
        recorded = self.record(
            demonstration.actions,
            reset_options=demonstration.reset_options(0),
            tier=demonstration.tier,
            source_frame=demonstration.source_frame,
            provenance=recorded_again(demonstration.provenance),
        )
        off_path = np.linalg.norm(recorded.object_pos_world - demonstration.object_pos_world, axis=-1)  # (T + 1,) m
        before = recorded.provenance["recorded_before"] | {"object_deviation_mean_m": float(off_path.mean())}
        # The servo targets follow from the actions alone, so that what was intended is what it was.
        intended = demonstration.intended_actions
        facts = dict(recorded.provenance) | {"recorded_before": before}
        return dataclasses.replace(recorded, intended_actions=intended, provenance=facts)

    def replay(
        self,
        demonstration: Demonstration,
        policy: ClosedLoopPolicy | None = None,
        on_frame: Callable[[DexVidEnv], None] | None = None,
    ) -> ReplayOutcome:
        """Starts in the first stored state and plays the stored actions, or those of a policy, for as many steps.

        Args:
            demonstration: of this environment (`fits`).
            policy: acts in closed loop instead of the stored actions.
            on_frame: called after the reset and after each step, for rendering.

        Raises:
            DexVidError: the demonstration was made in an environment of another build, whose states do not fit.
        """
        self._expect_fitting(demonstration)
        env = self.env
        trace = _Trace(env, self._object_body_id)
        observation, info = env.reset(options=demonstration.reset_options(0))
        trace.add_frame(observation)
        if policy is not None:
            policy.reset(np.ones(1, dtype=bool))
        for action in demonstration.actions:
            if on_frame is not None:
                on_frame(env)
            chosen = action if policy is None else policy.act(observation[None])[0]
            observation, _, _, _, info = env.step(chosen)
            trace.add_frame(observation)
            trace.successes.append(info["success"])
        if on_frame is not None:
            on_frame(env)
        off_path = np.linalg.norm(np.stack(trace.object_pos_world) - demonstration.object_pos_world, axis=-1)  # (T + 1,) m
        rescored = rescore(demonstration, env.model)
        differences = build_differences(demonstration.provenance, self.model_sha256)
        return ReplayOutcome(
            tier=demonstration.tier,
            num_steps=demonstration.num_steps,
            success=trace.successes[-1],
            success_ever=any(trace.successes),
            stored_success=bool(demonstration.successes[-1]),
            rescored_success=None if rescored is None else bool(rescored[-1]),
            object_distance_m=next((value for name, value in info.items() if name.endswith("_distance_m")), None),
            state_deviation=float(np.abs(np.stack(trace.states) - demonstration.states).max()) if policy is None else None,
            object_deviation_mean_m=float(off_path.mean()),
            object_deviation_max_m=float(off_path.max()),
            build_differences=None if differences is None else tuple(differences),
        )

    def _expect_fitting(self, demonstration: Demonstration) -> None:
        if not self.fits(demonstration):
            raise DexVidError(
                f"the demonstration is of {demonstration.env_id} {dict(demonstration.env_options)} "
                f"({demonstration.control_mode}); this player has {self.env_id} {self.env_options} ({self.control_mode}); "
                "make a Player for it"
            )
        acted, size = demonstration.actions.shape[1], self.env.core.control.action_size
        if acted != size:
            raise DexVidError(
                f"the demonstration's actions have {acted} numbers, {self.env_id} with {self.control_mode} takes {size}: it is "
                "of another robot or control mode; retarget and refine its recording for this one"
            )
        stored, expected = demonstration.states.shape[1:], (mujoco.mj_stateSize(self.env.model, STATE_SPEC),)
        if stored != expected:
            made_with = demonstration.provenance.get("versions", "unknown versions")
            raise DexVidError(
                f"the demonstration's states have shape {stored}, those of {self.env_id} {expected}: it was made with another "
                f"build ({made_with}); install that one or make the demonstration again"
            )


def record(
    env_id: str, env_options: Mapping[str, Any], control_mode: str, actions: ArrayLike, **arguments: Any
) -> Demonstration:
    """Plays actions (T, A) in a fresh environment; further arguments as in `Player.record`, which is quicker for many."""
    player = Player(env_id, env_options, control_mode)
    try:
        return player.record(actions, **arguments)
    finally:
        player.close()


def replay(demonstration: Demonstration, policy: ClosedLoopPolicy | None = None) -> ReplayOutcome:
    """Replays one demonstration in a fresh environment; see `Player.replay`, which is quicker for many."""
    player = Player(demonstration.env_id, demonstration.env_options, demonstration.control_mode)
    try:
        return player.replay(demonstration, policy)
    finally:
        player.close()


# ---- parts of the player ----------------------------------------------------------------------------------------------------


class _Trace:
    """What is kept of an episode while it runs."""

    def __init__(self, env: DexVidEnv, object_body_id: int) -> None:
        self._env, self._object_body_id = env, object_body_id
        self.observations: list[NDArray[np.float32]] = []
        self.states: list[FloatArray] = []
        self._drawn: list[Mapping[str, Mapping[str, NDArray[Any]]]] = []
        self.object_pos_world: list[FloatArray] = []
        self.rewards: list[float] = []
        self.successes: list[bool] = []

    def add_frame(self, observation: NDArray[np.float32]) -> None:
        state = self._env.state()
        self.observations.append(observation)
        self.states.append(state["simulation"])
        self._drawn.append(state)
        self.object_pos_world.append(self._env.data.xpos[self._object_body_id].copy())

    def stacked(self, part: str) -> dict[str, NDArray[Any]]:
        """(T + 1, ...) arrays of a part of the states, "memory" or "randomization"; empty where they have none."""
        frames = [state.get(part, {}) for state in self._drawn]
        return {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
