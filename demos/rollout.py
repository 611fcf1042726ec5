"""Plays servo targets in many simulations at once and keeps what happened."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.errors import DexVidError
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlace
from dexvid_envs.vector_env import DexVidVectorEnv

FloatArray = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """N rollouts of T control steps.

    Attributes:
        object_pos_world: (T + 1, N, 3) m.
        object_axis_world: (T + 1, N, 3).
        hand_clearance: (T + 1, N) m distance of the hand from the object.
        success: (N,) bool at the last step.
        ever: (N,) bool at any step.
        target_distance: (N,) m at the last step.
        actions: (T, N, 23); None unless everything was kept.
        observations: (T + 1, N, D) or None.
        rewards, successes: (T, N) or None.
        states: (T + 1, N, S) or None.
        memory: (T + 1, N, ...) by name, or None.
    """

    object_pos_world: FloatArray
    object_axis_world: FloatArray
    hand_clearance: FloatArray
    success: NDArray[np.bool_]
    ever: NDArray[np.bool_]
    target_distance: FloatArray
    actions: NDArray[np.float32] | None = None
    observations: NDArray[np.float32] | None = None
    rewards: FloatArray | None = None
    successes: NDArray[np.bool_] | None = None
    states: FloatArray | None = None
    memory: dict[str, NDArray[Any]] | None = None


class RolloutRunner:
    """N environments of one task that follow given servo targets."""

    def __init__(self, env_id: str, env_options: dict[str, Any], num_envs: int, num_threads: int = 0) -> None:
        env = gymnasium.make_vec(env_id, num_envs=num_envs, num_threads=num_threads, **env_options).unwrapped
        assert isinstance(env, DexVidVectorEnv)
        self.core: EnvironmentCore = env.core
        if not isinstance(self.core.task, BottlePickPlace):
            raise DexVidError(f"rollouts of plans need DexVid-BottlePickPlace-v0, got {env_id}; other tasks follow")
        self.task: BottlePickPlace = self.core.task
        self.num_envs = num_envs

    def run(
        self,
        targets: FloatArray,
        starts_xy: FloatArray,
        targets_xy: FloatArray,
        seeds: Sequence[int],
        *,
        object_shift: FloatArray | None = None,
        target_noise: FloatArray | None = None,
        keep: bool = False,
    ) -> Rollouts:
        """Plays M <= N rollouts of targets (M, T, 23) rad.

        Args:
            targets: servo targets; the control mode's limits hold for them too.
            starts_xy, targets_xy: (M, 2) m where the object starts and has to go.
            seeds: of each episode (M,).
            object_shift: (M, 2) m by which the object really stands elsewhere than the targets assume.
            target_noise: (M, T, 23) rad added to the targets.
            keep: whether observations, actions and states are kept.
        """
        core, task, count, steps = self.core, self.task, len(targets), targets.shape[1]
        wanted = targets if target_noise is None else targets + target_noise
        wanted = self._padded(wanted)
        shift = np.zeros((count, 2)) if object_shift is None else object_shift
        self._reset(starts_xy + shift, targets_xy, seeds)
        trace: dict[str, list[NDArray[Any]]] = {"position": [], "axis": [], "clearance": []}
        kept: dict[str, list[NDArray[Any]]] = {name: [] for name in ("action", "observation", "reward", "success", "state")}
        memory: dict[str, list[NDArray[Any]]] = {name: [] for name in task.memory}
        ever = np.zeros(count, dtype=bool)
        action = np.zeros((self.num_envs, targets.shape[-1]), dtype=np.float32)
        for step in range(steps + 1):
            if step:
                ctrl = core.simulation.ctrl
                action = core.control.action_for(wanted[:, step - 1], ctrl).astype(np.float32)
                core.advance(action)
                ever |= task.success()[:count]
            trace["position"].append(task.object_pos_world[:count].copy())
            trace["axis"].append(task.bottle_axis_world[:count].copy())
            trace["clearance"].append(task.hand_clearance[:count].copy())
            if keep:
                result = core.result()
                kept["observation"].append(result.observations[:count])
                kept["state"].append(core.simulation.get_states()[:count])
                for name, values in task.memory.items():
                    memory[name].append(values[:count].copy())
                if step:
                    kept["action"].append(action[:count])
                    kept["reward"].append(result.rewards[:count])
                    kept["success"].append(result.infos["success"][:count])
        stacked = {name: np.stack(values) for name, values in (trace | kept).items() if values}
        return Rollouts(
            object_pos_world=stacked["position"],
            object_axis_world=stacked["axis"],
            hand_clearance=stacked["clearance"],
            success=task.success()[:count].copy(),
            ever=ever,
            target_distance=task.target_distance[:count].copy(),
            actions=stacked.get("action"),
            observations=stacked.get("observation"),
            rewards=stacked.get("reward"),
            successes=stacked.get("success"),
            states=stacked.get("state"),
            memory={name: np.stack(values) for name, values in memory.items()} if keep else None,
        )

    def _padded(self, values: FloatArray) -> FloatArray:
        """Rows up to N; the spare simulations repeat the last one."""
        missing = self.num_envs - len(values)
        return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values

    def _reset(self, starts_xy: FloatArray, targets_xy: FloatArray, seeds: Sequence[int]) -> None:
        sources = [min(row, len(seeds) - 1) for row in range(self.num_envs)]
        options = [{"bottle_position": starts_xy[source], "target_position": targets_xy[source]} for source in sources]
        self.core.reset(np.arange(self.num_envs), [np.random.default_rng(seeds[source]) for source in sources], options)
