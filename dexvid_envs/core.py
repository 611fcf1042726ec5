"""One control step of N environments: action to servo targets to physics to observation, reward and success.

The single and the vector environment are thin covers of this class; what an episode is stands here once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dexvid_envs.control import ControlConfig, make_control_mode
from dexvid_envs.errors import OptionError
from dexvid_envs.kernels import weigh
from dexvid_envs.nan_guard import NanGuard
from dexvid_envs.observations import Observation, ObservationField
from dexvid_envs.observer import Observer
from dexvid_envs.options import VIEW_OPTIONS, EnvironmentOptions
from dexvid_envs.randomization import PICTURED, Randomizer, make_randomization
from dexvid_envs.relative import RelativePart
from dexvid_envs.simulation import BatchSimulation, Rows, SingleSimulation
from dexvid_envs.tasks.task import BoolArray, FloatArray, Task
from robots.collision import ROBOT

_NO_ROWS: Rows = np.zeros(0, dtype=np.int64)


class StepResult(NamedTuple):
    """What a control step gives, with leading axis N: observations, rewards and flags, and (N,) arrays of figures by name.

    `reward_terms` are the weighted terms (terms, N), which sum to the rewards, in the order of `EnvironmentCore.term_names`.
    """

    observations: Observation
    rewards: FloatArray
    terminated: BoolArray
    figures: dict[str, NDArray[Any]]
    reward_terms: FloatArray


class EnvironmentCore:
    """N environments of one task, stepped together.

    Attributes:
        task, simulation, control, randomizer: the parts, live.
        term_names: of the reward terms, as `info` has them.
        substeps: physics steps in a control step.
        nominal: model fields that episodes change, as they are without it.
        single_observation_space, single_action_space: of one environment.
    """

    def __init__(
        self,
        task: Task,
        simulation: SingleSimulation | BatchSimulation,
        options: EnvironmentOptions | None = None,
        control: ControlConfig | None = None,
    ) -> None:
        options = options or EnvironmentOptions()
        self.task, self.simulation, self.options = task, simulation, options
        self.reward_mode = options.reward_mode
        self.control_config = control or ControlConfig()
        self.control = make_control_mode(options.control_mode, task.robot, self.control_config)
        model = simulation.model
        substeps = 1.0 / (self.control_config.control_hz * model.opt.timestep)
        self.substeps = round(substeps)
        if abs(substeps - self.substeps) > 1e-6:
            raise OptionError(
                f"control_hz={self.control_config.control_hz} does not divide the physics rate "
                f"{1 / model.opt.timestep:g} Hz; choose a divisor of it"
            )
        task.bind(simulation)
        self.randomizer = make_randomizer(task, model, options)
        self.observer = Observer(task, simulation, self.randomizer, options)
        self.randomizer.bind(simulation.num_envs, {name: len(held) for name, held in self.observer.delayed_columns.items()})
        self._model_fields = (*task.model_fields, *self.randomizer.model_fields)
        self.nominal = {name: np.array(getattr(model, name)) for name in self._model_fields}
        weights = dict(task.config.weights) if options.reward_mode == "dense" else {"success": 1.0}
        self.term_names = tuple(f"reward/{name}" for name in weights)
        self._weights = np.array(list(weights.values()))  # (terms,)
        self._terms_shape = len(weights), simulation.num_envs
        self._guard = NanGuard(type(task).__name__, options.nan_folder)
        # Steps of a row since it was made: those that all have taken together, and its own.
        self._common_steps, self._own_steps = 0, np.zeros(simulation.num_envs, dtype=np.int64)
        # The task's memory, the randomizer's, and the actions of the last step; the simulation keeps its own states.
        self._before: tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], NDArray[Any]] | None = None
        self._restarted = _NO_ROWS  # rows that have been reset since the last step
        self._no_row = np.zeros(simulation.num_envs, dtype=bool)
        self._no_row.flags.writeable = False
        self._all_rows = np.arange(simulation.num_envs)
        self.single_observation_space = self.observer.space
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.control.action_size,), dtype=np.float32)

    @property
    def num_envs(self) -> int:
        """N."""
        return self.simulation.num_envs

    @property
    def fields(self) -> tuple[ObservationField | RelativePart, ...]:
        """The named parts of observations, in the order of the `state` observation."""
        relative = self.observer.relative
        return self.observer.fields if relative is None else (*self.observer.fields, *relative.parts)

    def true_view(self, **view: Any) -> Observer:
        """Another look at the same simulations, without noise or delay: what a teacher sees while its pupil sees less.

        After every reset and step, `see()` and then `observe()` give it, with leading axis N.

        Args:
            view: some of `dexvid_envs.options.VIEW_OPTIONS`, not `privileged`; what is not given is as by default.

        Raises:
            OptionError: an option changes more than what is seen, is unknown, or has a wrong value.
        """
        if odd := set(view) - set(VIEW_OPTIONS) | ({"privileged"} & set(view)):
            known = ", ".join(name for name in VIEW_OPTIONS if name != "privileged")
            raise OptionError(f"{', '.join(sorted(odd))} is no option of a true view: expected some of {known}")
        options = EnvironmentOptions(control_mode=self.options.control_mode, **view)
        truthful = make_randomizer(self.task, self.simulation.model, options)
        truthful.bind(self.num_envs, {})
        return Observer(self.task, self.simulation, truthful, options)

    # ---- reset ------------------------------------------------------------------------------------------------------

    def reset(
        self, rows: Rows, rngs: Sequence[np.random.Generator], options: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> None:
        """Starts new episodes in the rows, each drawn from its own generator.

        Args:
            rows: which.
            rngs: one for each of them.
            options: the reset options of all of them, or one mapping for each; `{"state": state}` continues from a saved state.

        Raises:
            OptionError: an option is unknown or has a wrong value; the episodes go on as they were then.
        """
        each = [options] * len(rows) if isinstance(options, Mapping) else list(options)
        if len(each) != len(rows):
            raise OptionError(f"got reset options for {len(each)} environments, expected {len(rows)}")
        for one in each:
            if not isinstance(one, Mapping):
                raise OptionError(f"reset options are {one!r}; expected a mapping of {self._reset_option_names()} to values")
        self._restarted = np.union1d(self._restarted, rows)
        kept = []
        if any(each):  # nothing else can be refused
            kept = [(int(row), self.state(int(row)), rng, rng.bit_generator.state) for row, rng in zip(rows, rngs, strict=True)]
        try:
            self._start(rows, rngs, each)
        except Exception:  # whatever it is goes on to the caller, and the episodes as they were
            for row, state, rng, before in kept:
                self._restore(row, state)
                rng.bit_generator.state = before
            self.task.update(_NO_ROWS)
            self.observer.see(_NO_ROWS)
            raise

    def _reset_option_names(self) -> str:
        return ", ".join((*self.task.reset_options, "state"))

    def _start(self, rows: Rows, rngs: Sequence[np.random.Generator], each: Sequence[Mapping[str, Any]]) -> None:
        drawn = [index for index, one in enumerate(each) if "state" not in one]
        fresh = rows[drawn]
        if len(fresh):
            self.simulation.reset(fresh)
            for index in drawn:
                self.task.reset_row(int(rows[index]), rngs[index], each[index])
                self.randomizer.draw(int(rows[index]), rngs[index])
                self._write_model(int(rows[index]))
            self.simulation.forward(fresh)
        for row, one in zip(rows, each, strict=True):
            if "state" in one:
                if set(one) != {"state"}:
                    raise OptionError(f"reset option 'state' holds the whole state; got also {sorted(set(one) - {'state'})}")
                self._restore(int(row), one["state"])
        self.task.update(_NO_ROWS)
        self.observer.see(fresh)

    def _write_model(self, row: int) -> None:
        """Gives a row's simulation the model of its episode."""
        if not self._model_fields:
            return
        fields = {name: values.copy() for name, values in self.nominal.items()}
        self.task.write_episode_model(row, fields)
        self.randomizer.apply(row, fields)
        self.simulation.write_model(row, fields)

    # ---- step -------------------------------------------------------------------------------------------------------

    def step(self, actions: object) -> StepResult:
        """Advances every environment by one control step.

        Raises:
            ActionError: an action has a wrong shape or is not finite; nothing has moved then.
        """
        self.advance(actions)
        return self.result()

    def advance(self, actions: object, rows: Rows | None = None) -> None:
        """`step` of `rows` (None: all) without computing observation and reward; actions (N, A) count for those rows only."""
        simulation = self.simulation
        checked = self.control.check(actions, simulation.num_envs)
        self._restarted = _NO_ROWS
        # The task replaces entries of its memory in a step, the randomizer writes into its own.
        drawn = {name: values.copy() for name, values in self.randomizer.memory.items()} if self.randomizer.active else {}
        simulation.keep_states()
        self._before = self.task.memory.copy(), drawn, checked
        targets = self.control.next_target(checked, simulation.ctrl)
        if rows is None:
            simulation.ctrl[:] = targets
            self._common_steps += 1
        else:
            simulation.ctrl[rows] = targets[rows]
            self._own_steps[rows] += 1
        if drawn:
            moving = self._all_rows if rows is None else rows
            self.randomizer.disturb(simulation, moving)
            self.randomizer.advance(moving)
        simulation.step(self.substeps, rows)
        self.task.update(rows)
        self.observer.see(rows)

    def result(self, rows: Rows | None = None) -> StepResult:
        """Observation, reward and success of the present state; of `rows` only where only theirs is wanted."""
        task = self.task
        success = task.success()
        if self.reward_mode == "dense":
            weighted = task.reward_terms()
            if weighted.shape != self._terms_shape:
                raise ValueError(
                    f"{type(task).__name__}.reward_terms() has shape {weighted.shape}, expected {self._terms_shape}: "
                    "one row for each of the config's weights"
                )
            rewards = weigh(weighted, self._weights)
        else:
            rewards = success.astype(np.float64)
            weighted = rewards[None].copy()
        terminated, unstable = task.failed(), self._no_row
        observations = self.observer.observe(rows)
        if not self.observer.all_stable():
            unstable = ~self.observer.stable()
            self._report(np.flatnonzero(unstable))
            rewards, terminated = np.where(unstable, 0.0, rewards), terminated | unstable
            weighted = np.where(unstable, 0.0, weighted)
            observations = _finite(observations)
        figures: dict[str, NDArray[Any]] = {"success": success, "is_success": success, "unstable": unstable}
        figures.update(task.metrics())
        if rows is None:
            return StepResult(observations, rewards, terminated, figures, weighted)
        figures = {name: value[rows] for name, value in figures.items()}
        return StepResult(observations, rewards[rows], terminated[rows], figures, weighted[:, rows])

    def infos(self, result: StepResult) -> dict[str, NDArray[Any]]:
        """Figures and reward terms of a result by name, (N,) each, the caller's own."""
        own = {name: values.copy() for name, values in result.figures.items()}
        own.update(zip(self.term_names, result.reward_terms, strict=True))
        return own

    def first_info(self, result: StepResult) -> dict[str, Any]:
        """`infos` of the first row as plain numbers, at a lower cost."""
        info = {name: values.item(0) for name, values in result.figures.items()}
        info.update(zip(self.term_names, result.reward_terms[:, 0].tolist(), strict=True))
        return info

    def _report(self, rows: Rows) -> None:
        if self._before is None:
            return
        memory, drawn, actions = self._before
        states = self.simulation.kept_states()
        for row in np.setdiff1d(rows, self._restarted):
            state: dict[str, Any] = {"simulation": states[row]}
            for part, entries in (("memory", memory), ("randomization", drawn)):
                state[part] = {name: values[row] for name, values in entries.items()}
            self._guard.report(int(row), self._common_steps + int(self._own_steps[row]), state, actions[row])
        self._before = None  # one report for one step

    # ---- state ------------------------------------------------------------------------------------------------------

    def state(self, row: int) -> dict[str, Any]:
        """Everything the future of one environment depends on: simulation, task's memory, and what was randomised."""
        state: dict[str, Any] = {
            "simulation": self.simulation.get_state(row),
            "memory": {name: np.array(values[row]) for name, values in self.task.memory.items()},
        }
        if self.randomizer.active:
            state["randomization"] = {name: np.array(values[row]) for name, values in self.randomizer.memory.items()}
        return state

    def set_state(self, row: int, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned, also into another environment of the same task.

        Raises:
            OptionError: the state does not belong to this task.
        """
        self._restore(row, state)
        self.task.update(_NO_ROWS)
        self.observer.see(_NO_ROWS)

    def _restore(self, row: int, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping) or set(state) - {"randomization"} != {"simulation", "memory"}:
            raise OptionError(f"this is no state of {type(self.task).__name__}: expected what env.unwrapped.state() returned")
        simulation = _array_like("simulation", state["simulation"], self.simulation.get_state(row))
        memory = _entries_like("memory", state["memory"], self.task.memory)
        drawn: dict[str, NDArray[Any]] = {}
        if "randomization" in state:
            drawn = _entries_like("randomization", state["randomization"], self.randomizer.memory, optional=PICTURED)
        self.task.restore(row, memory)  # refuses before it changes anything
        self.randomizer.forget(row)  # what the state does not tell: it was saved without randomisation, or without pictures
        for name, value in drawn.items():
            self.randomizer.memory[name][row] = value
        self._write_model(row)
        self.simulation.set_state(row, simulation)

    def close(self) -> None:
        """Frees what rendering holds."""
        self.observer.close()


def make_randomizer(task: Task, model: Any, options: EnvironmentOptions) -> Randomizer:
    """The randomizer of a task; `task` need not be bound yet."""
    robot_geoms = np.flatnonzero(model.geom_contype & ROBOT)
    return Randomizer(make_randomization(options.randomization), model, task.moved_body, robot_geoms)


def _entries_like(
    part: str, given: Any, memory: Mapping[str, NDArray[Any]], optional: str | None = None
) -> dict[str, NDArray[Any]]:
    """A part of a state, checked against the memory (N, ...) that it is for; either may lack the entry `optional`."""
    if isinstance(given, Mapping) and (optional in given) != (optional in memory):
        given = {name: value for name, value in given.items() if name != optional}
        memory = {name: value for name, value in memory.items() if name != optional}
    if not isinstance(given, Mapping) or set(given) != set(memory):
        held = sorted(map(str, given)) if isinstance(given, Mapping) else repr(given)
        raise OptionError(f"the state's {part} holds {held}; expected {sorted(memory)}: was it saved with other options?")
    return {name: _array_like(f"{part} {name!r}", value, memory[name][0]) for name, value in given.items()}


def _array_like(what: str, given: Any, expected: NDArray[Any]) -> NDArray[Any]:
    """A part of a state as an array of the expected shape and type."""
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.zeros(0, dtype=object)
    if array.shape != expected.shape or array.dtype.kind not in "fiub":
        raise OptionError(
            f"the state's {what} has shape {array.shape} and type {array.dtype}; expected {expected.shape} and {expected.dtype}"
        )
    return array.astype(expected.dtype)


def _finite(observations: Observation) -> Observation:
    """Zeros in place of what is not finite, so that a learner survives an instability."""
    if isinstance(observations, dict):
        return {name: np.nan_to_num(part) for name, part in observations.items()}
    return np.nan_to_num(observations)
