"""Plays copies: resets many simulations as their draws say, says what stands where, and follows servo targets to the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.vector_env import DexVidVectorEnv

FloatArray = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What N episodes begin with, as the environment has drawn it.

    Attributes:
        T_world_object: (N, 4, 4) frame of the moved body.
        goal: (N, 2 or 3) m from the task's memory; (N, 0) where it has none.
        extents_m: (N, 3) of the object; (N, 0) where it is no object.
        mass_kg: (N,) of the moved body.
        friction: (N,) factor.
    """

    T_world_object: FloatArray
    goal: FloatArray
    extents_m: FloatArray
    mass_kg: FloatArray
    friction: FloatArray

    def rows(self, rows: NDArray[np.int64]) -> Scene:
        """The episodes `rows` (R,)."""
        return Scene(**{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)})


@dataclasses.dataclass(frozen=True)
class Played:
    """What N episodes of T steps became.

    Attributes:
        success: (N,) the task's, after the last step, of plays that had it before an episode's time is over.
        batch: arrays for `demonstrations_from_batch`.
        end_pose: (N, 4, 4) of the moved body after the last step.
    """

    success: NDArray[np.bool_]
    batch: dict[str, Any]
    end_pose: FloatArray


class CopyPlayer:
    """N environments for copies of one demonstration.

    Attributes:
        core, task: of the environments.
        time_limit: control steps of an episode; None for no end.
    """

    def __init__(
        self, env_id: str, env_options: Mapping[str, Any], control_mode: str, num_envs: int, num_threads: int = 0
    ) -> None:
        arguments: dict[str, Any] = {"control_mode": control_mode} | dict(env_options)
        env = gymnasium.make_vec(env_id, num_envs=num_envs, num_threads=num_threads, **arguments).unwrapped
        assert isinstance(env, DexVidVectorEnv)
        self.core: EnvironmentCore = env.core
        self.task: Any = env.core.task
        self.num_envs, self.time_limit = num_envs, env.max_episode_steps
        self._body_id = int(self.core.simulation.model.body(self.task.moved_body).id)

    def reset(self, options: Sequence[Mapping[str, Any]], seeds: Sequence[int], memory_goal: str | None) -> Scene:
        """Starts episodes, each from its own options and seed."""
        self.core.reset(np.arange(self.num_envs), [np.random.default_rng(seed) for seed in seeds], options)
        return self.scene(memory_goal)

    def scene(self, memory_goal: str | None) -> Scene:
        """What stands where now; `memory_goal` names the goal in the task's memory."""
        task, simulation = self.task, self.core.simulation
        mass = [simulation.model_values("body_mass", row)[self._body_id] for row in range(self.num_envs)]
        return Scene(
            T_world_object=self.object_pose(),
            goal=np.zeros((self.num_envs, 0)) if memory_goal is None else np.array(task.memory[memory_goal]),
            extents_m=np.array(task.memory.get("object_size", np.zeros((self.num_envs, 0)))),
            mass_kg=np.array(mass),
            friction=np.array(self.core.randomizer.friction),
        )

    def object_pose(self) -> FloatArray:
        """(N, 4, 4) `T_world_object` now."""
        pose = np.tile(np.eye(4), (self.num_envs, 1, 1))
        pose[:, :3, :3] = self.core.simulation.xmat[:, self._body_id].reshape(-1, 3, 3)
        pose[:, :3, 3] = self.core.simulation.xpos[:, self._body_id]
        return pose

    def play(self, servo_targets: FloatArray, rows: NDArray[np.int64] | None = None, noise: FloatArray | None = None) -> Played:
        """Follows servo targets (N, T, 23) rad; an episode that the task calls failed stands still from then on.

        Args:
            servo_targets: within the joint limits; the control mode's limits hold for them too.
            rows: those to play; all by default.
            noise: (N, T, 23) rad on the targets; what would be done without it is kept as `intended_actions`.
        """
        core, task, count = self.core, self.task, self.num_envs
        playing = np.zeros(count, dtype=bool)
        playing[np.arange(count) if rows is None else rows] = True
        kept: dict[str, list[Any]] = {name: [] for name in _KEPT}
        memory: dict[str, list[Any]] = {name: [] for name in task.memory}
        drawn: dict[str, list[Any]] = {name: [] for name in core.randomizer.memory}
        steps = servo_targets.shape[1]
        for step in range(steps + 1):
            if step:
                wanted, ctrl = servo_targets[:, step - 1], core.simulation.ctrl
                if noise is not None:
                    kept["intended_actions"].append(core.control.action_for(wanted, ctrl).astype(np.float32))
                    wanted = wanted + noise[:, step - 1]
                action = core.control.action_for(wanted, ctrl).astype(np.float32)
                core.advance(action, None if playing.all() else np.flatnonzero(playing))
                kept["actions"].append(action)
            result = core.result()
            kept["observations"].append(result.observations)
            kept["states"].append(core.simulation.get_states())
            kept["object_pos_world"].append(core.simulation.xpos[:, self._body_id].copy())
            if step:
                kept["rewards"].append(result.rewards)
                kept["successes"].append(result.figures["success"])
            for part, source in ((memory, task.memory), (drawn, core.randomizer.memory)):
                for name, values in source.items():
                    part[name].append(values.copy())
            playing &= ~result.terminated
            if not playing.any():
                break
        else:
            stacked: dict[str, Any] = {name: np.stack(values) for name, values in kept.items() if values}
            stacked["memory"] = {name: np.stack(values) for name, values in memory.items()}
            stacked["randomization"] = {name: np.stack(values) for name, values in drawn.items()}
            in_time = stacked["successes"][: self.time_limit].any(axis=0)
            return Played(playing & stacked["successes"][-1] & in_time, stacked, self.object_pose())
        return Played(np.zeros(count, dtype=bool), {}, self.object_pose())


_KEPT = ("observations", "states", "object_pos_world", "actions", "intended_actions", "rewards", "successes")
