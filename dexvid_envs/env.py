"""The single Gymnasium environment: a batch of one on MjModel and MjData, which stay live."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.control import as_numbers
from dexvid_envs.core import EnvironmentCore
from dexvid_envs.errors import OptionError
from dexvid_envs.observations import Observation
from dexvid_envs.option_values import PlainSpec
from dexvid_envs.options import expect_one_of, expect_pixels, parse_options
from dexvid_envs.simulation import SingleSimulation

_ROW = np.zeros(1, dtype=np.int64)
RENDER_MODES = ("human", "rgb_array")


class DexVidEnv(PlainSpec, gymnasium.Env[Any, NDArray[np.float32]]):  # pyright: ignore[reportIncompatibleVariableOverride]
    """A dexterous hand on a 7-DoF arm, with one task.

    Actions are in [-1, 1]; see `dexvid_envs.control` for the modes. Observations are a flat float32 vector (`state`), whose
    parts `env.unwrapped.core.fields` describes, or a Dict; see `dexvid_envs.options.EnvironmentOptions`.

    Args:
        task: `"module:Class"` of the task.
        render_mode: None, `"human"` (a window) or `"rgb_array"`.
        camera: of `render`: `"overview"`, `"front"` or `"side"`.
        width, height: size of rendered pictures, px.
        options: fields of `EnvironmentOptions`, such as `observation_mode="pointcloud"`, and of the task's config, such as
            `bottle="mustard"` or `objects=("mug",)`.

    Raises:
        OptionError: an option is unknown or has a wrong value; the message lists what is right.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's own annotation)
        "render_modes": list(RENDER_MODES),
        "render_fps": 20,
    }

    def __init__(
        self,
        task: str,
        *,
        render_mode: str | None = None,
        camera: str = "overview",
        width: int = 640,
        height: int = 480,
        **options: Any,
    ) -> None:
        if render_mode is not None:
            expect_one_of("render_mode", render_mode, RENDER_MODES)
        expect_pixels(width=width, height=height)
        self.render_mode, self.camera, self.width, self.height = render_mode, camera, width, height
        self._arguments = {"task": task, "camera": camera, "width": width, "height": height} | options
        parsed, chosen = parse_options(task, options)
        self._build(parsed.make_model(), parsed, chosen)
        cameras = [self.model.camera(index).name for index in range(self.model.ncam)]
        expect_one_of("camera", camera, cameras)

    def _build(self, model: mujoco.MjModel, task: Any, chosen: Any) -> None:
        self.task = task
        self.simulation = SingleSimulation(model)
        self.core = EnvironmentCore(task, self.simulation, chosen)
        self.observation_space = self.core.single_observation_space
        self.action_space = self.core.single_action_space
        self._renderer: Any = None
        self._viewer: Any = None

    @property
    def model(self) -> mujoco.MjModel:
        """The live MuJoCo model; call `mujoco.mj_forward(env.model, env.data)` after changing it, so that it counts at once."""
        return self.simulation.model

    @property
    def data(self) -> mujoco.MjData:
        """The live MuJoCo data."""
        return self.simulation.data

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode; `options` sets what is otherwise drawn, or restores a `state()`."""
        super().reset(seed=seed)
        self.core.reset(_ROW, [self.np_random], [{} if options is None else options])
        result = self.core.result()
        if self.render_mode == "human":
            self.render()
        return _first_observation(result.observations), self.core.first_info(result)

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control step of 50 ms; raises ActionError for an action that is not finite or has a wrong shape."""
        result = self.core.step(as_numbers(action)[None])
        if self.render_mode == "human":
            self.render()
        reward, terminated = result.rewards.item(), result.terminated.item()
        return _first_observation(result.observations), reward, terminated, False, self.core.first_info(result)

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """An (height, width, 3) picture of the present state, or None where a window shows it.

        Raises:
            RenderingUnavailableError: no off-screen OpenGL library or no display was found.
        """
        if self.render_mode is None:
            raise OptionError("render() needs a render mode; make the environment with render_mode='rgb_array' or 'human'")
        if self.render_mode == "human":
            if self._viewer is None:
                from dexvid_envs.viewer import HumanViewer

                self._viewer = HumanViewer(self.model, fps=self.metadata["render_fps"], camera=self.camera)
            self._viewer.show(self.data)
            return None
        if self._renderer is None:
            from dexvid_envs.rendering import make_renderer

            self._renderer = make_renderer(self.model, self.height, self.width)
        self._renderer.update_scene(self.data, camera=self.camera)
        return self._renderer.render()

    def state(self) -> dict[str, Any]:
        """A copy of everything the episode's future depends on; restore it with `reset(options={"state": ...})`."""
        return self.core.state(0)

    def close(self) -> None:
        """Frees renderers and closes the window."""
        for shown in (self._renderer, self._viewer):
            if shown is not None:
                shown.close()
        self._renderer = self._viewer = None
        self.core.close()

    # ---- copies -----------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """What `copy.deepcopy` and pickling carry: arguments, model (with the user's changes), state, generator; no windows."""
        others = {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("task", "simulation", "core", "_renderer", "_viewer")
        }
        nominal = {name: values.copy() for name, values in self.core.nominal.items()}
        return {"others": others, "model": copy.copy(self.model), "nominal": nominal, "state": self.state()}

    def __setstate__(self, carried: dict[str, Any]) -> None:
        self._arguments = carried["others"]["_arguments"]
        task = self._arguments["task"]
        options = {name: value for name, value in self._arguments.items() if name not in ("task", "camera", "width", "height")}
        parsed, chosen = parse_options(task, options)
        parsed.prepare(carried["model"])
        self._build(carried["model"], parsed, chosen)
        self.__dict__.update(carried["others"])  # the spaces too, with their generators
        self.core.nominal.update(carried["nominal"])
        self.core.set_state(0, carried["state"])


def _first_observation(observations: Observation) -> Observation:
    if isinstance(observations, dict):
        return {name: part[0] for name, part in observations.items()}
    return observations[0]
