"""Plays servo targets in many simulations at once and keeps what happened."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from demos.refinement.grip import grip_force_n
from demos.refinement.task import find_tracked_task
from dexvid_envs.core import EnvironmentCore
from dexvid_envs.vector_env import DexVidVectorEnv

FloatArray = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """N rollouts of T control steps.

    Attributes:
        object_pos_world: (T + 1, N, 3) m of the moved body's frame.
        object_axis_world: (T + 1, N, 3) its z axis.
        palm_pos_world: (T + 1, N, 3) m.
        hand_clearance: (T + 1, N) m distance of the hand from the object.
        success: (N,) bool at the last step, of rollouts that had it before an episode's time is over.
        ever: (N,) bool at any step.
        target_distance: (N,) m at the last step, as the task measures it.
        grip_force_n: (G, N) N at the steps at which it was asked for.
        actions: (T, N, 23); None unless everything was kept.
        observations: (T + 1, N, D) or None.
        rewards, successes: (T, N) or None.
        states: (T + 1, N, S) or None.
        memory: (T + 1, N, ...) by name, or None.
    """

    object_pos_world: FloatArray
    object_axis_world: FloatArray
    palm_pos_world: FloatArray
    hand_clearance: FloatArray
    success: NDArray[np.bool_]
    ever: NDArray[np.bool_]
    target_distance: FloatArray
    grip_force_n: FloatArray
    actions: NDArray[np.float32] | None = None
    observations: NDArray[np.float32] | None = None
    rewards: FloatArray | None = None
    successes: NDArray[np.bool_] | None = None
    states: FloatArray | None = None
    memory: dict[str, NDArray[Any]] | None = None


class RolloutRunner:
    """N environments of one task that follow given servo targets.

    Attributes:
        tracked: what is known of the task.
        core, task, num_envs: the environments.
        time_limit: control steps of an episode; None for no end.
    """

    def __init__(self, env_id: str, env_options: dict[str, Any], num_envs: int, num_threads: int = 0) -> None:
        self.tracked = find_tracked_task(env_id, env_options)
        env = gymnasium.make_vec(env_id, num_envs=num_envs, num_threads=num_threads, **env_options).unwrapped
        assert isinstance(env, DexVidVectorEnv)
        self.core: EnvironmentCore = env.core
        self.task: Any = self.core.task
        self.num_envs, self.time_limit = num_envs, env.max_episode_steps
        self._body_id = int(self.core.simulation.model.body(self.task.moved_body).id)

    def run(
        self,
        targets: FloatArray,
        starts_xy: FloatArray,
        targets_xy: FloatArray,
        seeds: Sequence[int],
        *,
        object_shift: FloatArray | None = None,
        target_noise: FloatArray | None = None,
        yaw_rad: float = 0.0,
        grip_steps: Sequence[int] = (),
        keep: bool = False,
    ) -> Rollouts:
        """Plays M <= N rollouts of targets (M, T, 23) rad.

        Args:
            targets: servo targets; the control mode's limits hold for them too.
            starts_xy: (M, 2) m where the object starts.
            targets_xy: (M, 2) or (M, 3) m where it has to go.
            seeds: of each episode (M,).
            object_shift: (M, 2) m by which the object really stands elsewhere than the targets assume.
            target_noise: (M, T, 23) rad added to the targets.
            yaw_rad: of the object at the start.
            grip_steps: steps after which the grip is measured.
            keep: whether observations, actions and states are kept.
        """
        core, task, count, steps = self.core, self.task, len(targets), targets.shape[1]
        wanted = targets if target_noise is None else targets + target_noise
        wanted = self._padded(wanted)
        shift = np.zeros((count, 2)) if object_shift is None else object_shift
        self._reset(starts_xy + shift, targets_xy, yaw_rad, seeds)
        trace: dict[str, list[NDArray[Any]]] = {"position": [], "axis": [], "palm": [], "clearance": []}
        kept: dict[str, list[NDArray[Any]]] = {name: [] for name in ("action", "observation", "reward", "success", "state")}
        memory: dict[str, list[NDArray[Any]]] = {name: [] for name in task.memory}
        grips = []
        ever = in_time = np.zeros(count, dtype=bool)
        action = np.zeros((self.num_envs, targets.shape[-1]), dtype=np.float32)
        playing = None if count == self.num_envs else np.arange(count)
        for step in range(steps + 1):
            if step:
                ctrl = core.simulation.ctrl
                action = core.control.action_for(wanted[:, step - 1], ctrl).astype(np.float32)
                core.advance(action, playing)
                ever = ever | task.success()[:count]
                in_time = ever if self.time_limit is None or step <= self.time_limit else in_time
            trace["position"].append(core.simulation.xpos[:count, self._body_id].copy())
            trace["axis"].append(core.simulation.xmat[:count, self._body_id, 2::3].copy())
            trace["palm"].append(task.palm_pos_world[:count].copy())
            trace["clearance"].append(self._clearance()[:count].copy())
            if step in grip_steps:
                grips.append(grip_force_n(core.simulation, count, self._body_id))
            if keep:
                result = core.result()
                kept["observation"].append(result.observations[:count])
                kept["state"].append(core.simulation.get_states()[:count])
                for name, values in task.memory.items():
                    memory[name].append(values[:count].copy())
                if step:
                    kept["action"].append(action[:count])
                    kept["reward"].append(result.rewards[:count])
                    kept["success"].append(result.figures["success"][:count])
        stacked = {name: np.stack(values) for name, values in (trace | kept).items() if values}
        return Rollouts(
            object_pos_world=stacked["position"],
            object_axis_world=stacked["axis"],
            palm_pos_world=stacked["palm"],
            hand_clearance=stacked["clearance"],
            success=task.success()[:count] & in_time,
            ever=ever,
            target_distance=self.tracked.goal_distance(task)[:count].copy(),
            grip_force_n=np.array(grips).reshape(len(grips), count),
            actions=stacked.get("action"),
            observations=stacked.get("observation"),
            rewards=stacked.get("reward"),
            successes=stacked.get("success"),
            states=stacked.get("state"),
            memory={name: np.stack(values) for name, values in memory.items()} if keep else None,
        )

    def _clearance(self) -> FloatArray:
        """(N,) m; of tasks that have no measure of their own, that of fingertips and palm from the object's box or handle."""
        if hasattr(self.task, "hand_clearance"):
            return self.task.hand_clearance
        gaps = self.task.box_gap() if hasattr(self.task, "box_gap") else self.task.handle_distance()
        return gaps.min(axis=-1)

    def _padded(self, values: FloatArray) -> FloatArray:
        """Rows up to N; the spare simulations stand still."""
        missing = self.num_envs - len(values)
        return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values

    def _reset(self, starts_xy: FloatArray, targets_xy: FloatArray, yaw_rad: float, seeds: Sequence[int]) -> None:
        sources = [min(row, len(seeds) - 1) for row in range(self.num_envs)]
        each = [self.tracked.reset_options(starts_xy[source], targets_xy[source], yaw_rad) for source in sources]
        self.core.reset(np.arange(self.num_envs), [np.random.default_rng(seeds[source]) for source in sources], each)
