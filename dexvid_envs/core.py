"""One control step of N environments: action to servo targets to physics to observation, reward and success.

The single and the vector environment are thin covers of this class; what an episode is stands here once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dexvid_envs.control import ControlConfig, check_actions, make_control_mode
from dexvid_envs.errors import OptionError
from dexvid_envs.simulation import BatchSimulation, Rows, SingleSimulation
from dexvid_envs.tasks.task import BoolArray, FloatArray, Task

REWARD_MODES = ("dense", "sparse")
OBSERVATION_MODES = ("state",)


@dataclasses.dataclass(frozen=True)
class StepResult:
    """What a control step gives: (N, D) float32 observations, (N,) rewards and flags, and (N,) arrays of figures by name."""

    observations: NDArray[np.float32]
    rewards: FloatArray
    terminated: BoolArray
    infos: dict[str, NDArray[Any]]


class EnvironmentCore:
    """N environments of one task, stepped together."""

    def __init__(
        self,
        task: Task,
        simulation: SingleSimulation | BatchSimulation,
        *,
        control_mode: str,
        reward_mode: str,
        observation_mode: str,
        control: ControlConfig | None = None,
    ) -> None:
        _expect_option("reward_mode", reward_mode, REWARD_MODES)
        _expect_option("observation_mode", observation_mode, OBSERVATION_MODES)
        self.task, self.simulation, self.reward_mode = task, simulation, reward_mode
        self.control_config = control or ControlConfig()
        self.control = make_control_mode(control_mode, task.robot, self.control_config)
        substeps = 1.0 / (self.control_config.control_hz * simulation.model.opt.timestep)
        self.substeps = round(substeps)
        if abs(substeps - self.substeps) > 1e-6:
            raise OptionError(
                f"control_hz={self.control_config.control_hz} does not divide the physics rate "
                f"{1 / simulation.model.opt.timestep:g} Hz; choose a divisor of it"
            )
        task.bind(simulation)
        self.fields = task.observation_fields()
        self._low = np.concatenate([np.full(field.size, field.low, dtype=np.float32) for field in self.fields])
        self._high = np.concatenate([np.full(field.size, field.high, dtype=np.float32) for field in self.fields])
        self.single_observation_space = spaces.Box(self._low, self._high, dtype=np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.control.action_size,), dtype=np.float32)

    @property
    def num_envs(self) -> int:
        """N."""
        return self.simulation.num_envs

    def reset(self, rows: Rows, rngs: Sequence[np.random.Generator], options: Mapping[str, Any]) -> None:
        """Starts new episodes in the rows; `options={"state": state}` continues from a saved state instead.

        Raises:
            OptionError: an option is unknown or has a wrong value.
        """
        if "state" in options:
            if set(options) != {"state"}:
                raise OptionError(f"reset option 'state' holds the whole state; got also {sorted(set(options) - {'state'})}")
            for row in rows:
                self.set_state(int(row), options["state"])
        else:
            self.task.reset(rows, rngs, options)
        self.task.update(count=False)

    def step(self, actions: object) -> StepResult:
        """Advances every environment by one control step.

        Raises:
            ActionError: an action has a wrong shape or is not finite; nothing has moved then.
        """
        self.advance(actions)
        return self.result()

    def advance(self, actions: object) -> None:
        """`step` without computing observation and reward."""
        checked = check_actions(actions, (self.num_envs, self.control.action_size))
        self.simulation.ctrl[:] = self.control.next_target(checked, self.simulation.ctrl)
        self.simulation.step(self.substeps)
        self.task.update(count=True)

    def result(self) -> StepResult:
        """Observation, reward and success of the present state."""
        task = self.task
        unstable = ~(np.isfinite(self.simulation.qpos).all(axis=-1) & np.isfinite(self.simulation.qvel).all(axis=-1))
        success = task.success()
        terms = task.reward_terms() if self.reward_mode == "dense" else {"success": success.astype(np.float64)}
        rewards = np.zeros(self.num_envs)
        for term in terms.values():
            rewards = rewards + term
        infos: dict[str, NDArray[Any]] = {"success": success, "is_success": success, "unstable": unstable}
        infos |= task.metrics()
        infos |= {f"reward/{name}": term for name, term in terms.items()}
        return StepResult(self.observe(), np.where(unstable, 0.0, rewards), task.failed() | unstable, infos)

    def observe(self) -> NDArray[np.float32]:
        """(N, D) the state observation, clipped to its bounds."""
        values = self.task.observe()
        flat = np.concatenate([values[field.name] for field in self.fields], axis=-1).astype(np.float32)
        return np.clip(np.nan_to_num(flat), self._low, self._high)

    def state(self, row: int) -> dict[str, Any]:
        """Everything the future of one environment depends on: the simulation's state and the task's memory."""
        memory = {name: np.array(values[row]) for name, values in self.task.memory.items()}
        return {"simulation": self.simulation.get_state(row), "memory": memory}

    def set_state(self, row: int, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned, also into another environment of the same task.

        Raises:
            OptionError: the state does not belong to this task.
        """
        size = len(self.simulation.get_state(row))
        if not isinstance(state, Mapping) or set(state) != {"simulation", "memory"} or np.shape(state["simulation"]) != (size,):
            raise OptionError(f"this is no state of {type(self.task).__name__}: expected what env.unwrapped.state() returned")
        if set(state["memory"]) != set(self.task.memory):
            raise OptionError(f"the state's memory holds {sorted(state['memory'])}; expected {sorted(self.task.memory)}")
        self.task.restore(row, state["memory"])
        self.simulation.set_state(row, np.asarray(state["simulation"], dtype=np.float64))


def _expect_option(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise OptionError(f"unknown {name} {value!r}: expected one of {', '.join(allowed)}")
