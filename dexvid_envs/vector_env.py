"""N environments stepped together on MuJoCo's thread pool; equal to N single ones bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import mujoco
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dexvid_envs.control import as_numbers
from dexvid_envs.core import EnvironmentCore, make_randomizer
from dexvid_envs.errors import OptionError
from dexvid_envs.observations import Observation
from dexvid_envs.option_values import PlainSpec, is_count
from dexvid_envs.options import EnvironmentOptions, expect_one_of, expect_pixels, parse_options
from dexvid_envs.simulation import BatchSimulation
from dexvid_envs.tasks.task import Task

StepTuple = tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class DexVidVectorEnv(PlainSpec, VectorEnv):  # pyright: ignore[reportIncompatibleVariableOverride]
    """The vector form of `DexVidEnv`.

    Finished episodes are treated as `autoreset_mode` says, in Gymnasium's words: `SAME_STEP` starts anew within the step (last
    observation and figures in `infos["final_obs"]` and `infos["final_info"]`), `NEXT_STEP` starts anew instead of the next step
    (whose action is ignored, reward 0), `DISABLED` waits for `reset(options={"reset_mask": mask})`.
    Environment i of `reset(seed=s)` equals a single environment after `reset(seed=s + i)`.

    Args:
        task: `"module:Class"` of the task.
        num_envs: N.
        max_episode_steps: the time limit, handled here; None for endless episodes.
        num_threads: physics threads; 0 takes all cores.
        autoreset_mode: an `AutoresetMode` or its name.
        render_mode: None or "rgb_array" (`render` gives one picture for each environment).
        camera, width, height: of `render`.
        options: as in `DexVidEnv`.

    Raises:
        OptionError: an option is unknown or has a wrong value; the message lists what is right.
    """

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        *,
        num_threads: int = 0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        camera: str = "overview",
        width: int = 320,
        height: int = 240,
        **options: Any,
    ) -> None:
        if not is_count(num_envs):
            raise OptionError(f"num_envs={num_envs!r}: expected a whole number, 1 or more")
        if not (max_episode_steps is None or is_count(max_episode_steps)):
            raise OptionError(f"max_episode_steps={max_episode_steps!r}: expected a whole number, 1 or more, or None")
        if num_threads != 0 and not is_count(num_threads):
            raise OptionError(f"num_threads={num_threads!r}: expected a whole number, 0 for all cores")
        if render_mode not in (None, "rgb_array"):
            raise OptionError(f"unknown render_mode {render_mode!r} of a vector environment: expected None or rgb_array")
        expect_pixels(width=width, height=height)
        self.num_envs, self.max_episode_steps, self.render_mode = num_envs, max_episode_steps, render_mode
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": ["rgb_array"], "render_fps": 20}
        self._picture = (camera, height, width)
        self._arguments = task, options, num_threads
        parsed, chosen = parse_options(task, options)
        self._build(parsed.make_model(), parsed, chosen)
        model = self.simulation.model
        expect_one_of("camera", camera, [model.camera(index).name for index in range(model.ncam)])
        self.single_observation_space = self.core.single_observation_space
        self.single_action_space = self.core.single_action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.elapsed_steps = np.zeros(num_envs, dtype=np.int64)
        self._done = np.zeros(num_envs, dtype=bool)  # (N,) ended, and not started anew yet
        self._begun = np.zeros(num_envs, dtype=bool)  # (N,) has been reset at least once
        self._rngs = [seeding.np_random(None)[0] for _ in range(num_envs)]

    def _build(self, model: mujoco.MjModel, task: Task, chosen: EnvironmentOptions) -> None:
        self.task = task
        fields = (*task.model_fields, *make_randomizer(task, model, chosen).model_fields)
        self.simulation = BatchSimulation(model, self.num_envs, self._arguments[2], tuple(dict.fromkeys(fields)))
        self.core = EnvironmentCore(task, self.simulation, chosen)
        self._renderer: Any = None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode in every environment, or in those of `options["reset_mask"]` (N,) bool.

        The other options hold for all, unless `options["each"]` gives one mapping for each environment that is reset.

        Raises:
            OptionError: an option is unknown or has a wrong value, or the seeds are not N.
        """
        if not isinstance(options, Mapping | None):
            raise OptionError(f"reset options are {options!r}; expected a mapping of options to values")
        options = dict(options or {})
        rows = self._rows_to_reset(options.pop("reset_mask", None))
        each = options.pop("each", None)
        if each is not None and options:
            raise OptionError(f"reset option 'each' holds all options; got also {sorted(options)}")
        if each is not None and (isinstance(each, str | Mapping) or not isinstance(each, Sequence)):
            raise OptionError(f"reset option 'each' is {each!r}; expected a list of mappings, one for each environment")
        self._seed(seed, rows)
        self.core.reset(rows, [self._rngs[row] for row in rows], options if each is None else each)
        self.elapsed_steps[rows], self._done[rows], self._begun[rows] = 0, False, True
        result = self.core.result()
        return result.observations, self.core.infos(result)

    def step(self, actions: Any) -> StepTuple:
        """One control step of every environment; finished episodes are treated as the autoreset mode says.

        Raises:
            ActionError: an action has a wrong shape or is not finite; nothing has moved then.
            gymnasium.error.ResetNeeded: some environment has never been reset.
        """
        if not self._begun.all():
            raise ResetNeeded(f"environments {np.flatnonzero(~self._begun).tolist()} have not been started; call reset() first")
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            return self._step_same(actions)
        return self._step_later(actions)

    def _step_same(self, actions: Any) -> StepTuple:
        result = self.core.step(actions)
        self.elapsed_steps += 1
        truncated = self._truncated()
        done = result.terminated | truncated
        observations = result.observations
        infos: dict[str, Any] = self.core.infos(result)
        if done.any():
            rows = np.flatnonzero(done)
            infos["final_info"] = dict(infos)
            infos["final_obs"] = _copied(observations)
            infos["_final_obs"] = infos["_final_info"] = done
            self.core.reset(rows, [self._rngs[row] for row in rows], {})
            self.elapsed_steps[rows] = 0
            fresh = self.core.result(rows)
            _put(observations, rows, fresh.observations)
            for name, values in self.core.infos(fresh).items():
                infos[name] = infos[name].copy()  # the old ones are in final_info
                infos[name][rows] = values
        return observations, result.rewards, result.terminated, truncated, infos

    def _step_later(self, actions: Any) -> StepTuple:
        waiting = np.flatnonzero(self._done)
        if len(waiting) and self.autoreset_mode == AutoresetMode.DISABLED:
            raise OptionError(
                f"environments {waiting.tolist()} have ended; start them anew with reset(options={{'reset_mask': mask}}) first"
            )
        moving = np.flatnonzero(~self._done)
        self.core.advance(self._without(actions, waiting), moving if len(waiting) else None)
        self.elapsed_steps[moving] += 1
        if len(waiting):
            self.core.reset(waiting, [self._rngs[row] for row in waiting], {})
            self.elapsed_steps[waiting] = 0
        result = self.core.result()
        truncated = self._truncated()
        rewards, terminated = result.rewards, result.terminated
        if len(waiting):
            rewards[waiting], terminated[waiting], truncated[waiting] = 0.0, False, False
        self._done = terminated | truncated
        return result.observations, rewards, terminated, truncated, self.core.infos(result)

    def render(self) -> tuple[NDArray[np.uint8], ...]:  # type: ignore[override]
        """A (height, width, 3) picture of each environment.

        Raises:
            RenderingUnavailableError: no off-screen OpenGL library was found.
        """
        if self.render_mode is None:
            raise OptionError("render() needs a render mode; make the environments with render_mode='rgb_array'")
        camera, height, width = self._picture
        if self._renderer is None:
            from dexvid_envs.rendering import make_renderer

            self._renderer = make_renderer(self.simulation.model, height, width)
        pictures = []
        for row in range(self.num_envs):
            self._renderer.show(*self.simulation.get_data(row), camera)
            pictures.append(self._renderer.render())
        return tuple(pictures)

    def state(self, row: int) -> dict[str, Any]:
        """A copy of everything the future of one environment depends on, as `DexVidEnv.state`."""
        return self.core.state(row)

    def close_extras(self, **kwargs: Any) -> None:
        """Frees renderers; the thread pool ends with the object."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self.core.close()

    # ---- copies -----------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """What `copy.deepcopy` and pickling carry: arguments, model, states, generators; no threads and no renderers."""
        left_out = ("task", "simulation", "core", "_renderer")
        others = {name: value for name, value in self.__dict__.items() if name not in left_out}
        nominal = {name: values.copy() for name, values in self.core.nominal.items()}
        states = [self.state(row) for row in range(self.num_envs)]
        return {"others": others, "model": copy.copy(self.simulation.model), "nominal": nominal, "states": states}

    def __setstate__(self, carried: dict[str, Any]) -> None:
        self.__dict__.update(carried["others"])
        task, options, _ = self._arguments
        parsed, chosen = parse_options(task, options)
        parsed.prepare(carried["model"])
        self._build(carried["model"], parsed, chosen)
        self.core.nominal.update(carried["nominal"])
        for row, state in enumerate(carried["states"]):
            self.core.set_state(row, state)

    def _without(self, actions: Any, rows: NDArray[np.int64]) -> Any:
        """The actions with zeros for rows whose action is ignored, so that no value there is refused."""
        if not len(rows):
            return actions
        kept = as_numbers(actions).copy()
        if kept.shape == self.action_space.shape:  # others are refused later, whatever they hold
            kept[rows] = 0.0
        return kept

    def _truncated(self) -> NDArray[np.bool_]:
        limit = self.max_episode_steps
        return np.zeros(self.num_envs, dtype=bool) if limit is None else self.elapsed_steps >= limit

    def _rows_to_reset(self, mask: Any) -> NDArray[np.int64]:
        if mask is None:
            return np.arange(self.num_envs)
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise OptionError(
                f"reset option 'reset_mask' has shape {mask.shape} and type {mask.dtype}; expected {self.num_envs} booleans, "
                "at least one of them true"
            )
        return np.flatnonzero(mask)

    def _seed(self, seed: int | Sequence[int | None] | None, rows: NDArray[np.int64]) -> None:
        if seed is None:
            return
        count = self.num_envs
        seeds = [seed + row for row in range(count)] if isinstance(seed, int | np.integer) else seed
        several = isinstance(seeds, Sequence | np.ndarray) and len(seeds) == count
        if not several or not all(one is None or (isinstance(one, int | np.integer) and one >= 0) for one in seeds):
            raise OptionError(f"seed={seed!r}: expected a whole number, 0 or more, or {count} of them (None: no change)")
        for row in rows:
            if seeds[row] is not None:
                self._rngs[row] = seeding.np_random(int(seeds[row]))[0]


def _autoreset_mode(given: AutoresetMode | str) -> AutoresetMode:
    for mode in AutoresetMode if isinstance(given, AutoresetMode | str) else ():
        if given in (mode, mode.value, mode.name, mode.name.lower()):
            return mode
    raise OptionError(f"unknown autoreset_mode {given!r}: expected one of {', '.join(mode.name for mode in AutoresetMode)}")


def _copied(observations: Observation) -> Observation:
    if isinstance(observations, dict):
        return {name: part.copy() for name, part in observations.items()}
    return observations.copy()


def _put(observations: Observation, rows: NDArray[np.int64], fresh: Observation) -> None:
    """Overwrites some rows in place."""
    if isinstance(observations, dict):
        for name, part in observations.items():
            part[rows] = cast(dict[str, NDArray[Any]], fresh)[name]
    else:
        observations[rows] = cast(NDArray[Any], fresh)
