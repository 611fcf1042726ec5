"""The single Gymnasium environment: a batch of one on MjModel and MjData, which stay live."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.errors import OptionError
from dexvid_envs.simulation import SingleSimulation
from dexvid_envs.tasks.task import Task

_ROW = np.zeros(1, dtype=np.int64)
RENDER_MODES = ("rgb_array",)


def make_task(task: str, options: dict[str, Any]) -> Task:
    """The task named `"module:Class"`, with `options` as fields of its config.

    Raises:
        OptionError: the config has no such field.
    """
    module_name, class_name = task.split(":")
    module = importlib.import_module(module_name)
    task_type, config_type = getattr(module, class_name), getattr(module, f"{class_name}Config")
    known = [name for name in config_type.__dataclass_fields__]
    unknown = sorted(set(options) - set(known))
    if unknown:
        general = "control_mode, reward_mode, observation_mode, render_mode, camera, width, height"
        raise OptionError(f"unknown environment option {unknown[0]!r}: expected one of {', '.join(known)}; or {general}")
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return task_type(config_type(**frozen))


class DexVidEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """A dexterous hand on a 7-DoF arm, with one task.

    Actions are in [-1, 1] (23 joints: 7 arm, then index, middle, ring, thumb); see `dexvid_envs.control` for the modes.
    Observations are flat float32 vectors; `env.unwrapped.core.fields` describes their parts.

    Args:
        task: `"module:Class"` of the task.
        control_mode: `"joint_delta"` or `"joint_target"`.
        reward_mode: `"dense"` or `"sparse"` (1 while the task's success holds).
        observation_mode: `"state"`.
        render_mode: None or `"rgb_array"`.
        camera: `"overview"`, `"front"` or `"side"`.
        width, height: size of rendered pictures, px.
        options: fields of the task's config, such as `bottle="mustard"` or `objects=("mug",)`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's own annotation)
        "render_modes": list(RENDER_MODES),
        "render_fps": 20,
    }

    def __init__(
        self,
        task: str,
        *,
        control_mode: str = "joint_delta",
        reward_mode: str = "dense",
        observation_mode: str = "state",
        render_mode: str | None = None,
        camera: str = "overview",
        width: int = 640,
        height: int = 480,
        **options: Any,
    ) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise OptionError(f"unknown render_mode {render_mode!r}: expected None or one of {', '.join(RENDER_MODES)}")
        self.render_mode, self.camera, self.width, self.height = render_mode, camera, width, height
        self.task = make_task(task, options)
        self.simulation = SingleSimulation(self.task.make_model())
        self.core = EnvironmentCore(
            self.task,
            self.simulation,
            control_mode=control_mode,
            reward_mode=reward_mode,
            observation_mode=observation_mode,
        )
        self.observation_space = self.core.single_observation_space
        self.action_space = self.core.single_action_space
        self._renderer: Any = None

    @property
    def model(self) -> mujoco.MjModel:
        """The live MuJoCo model."""
        return self.simulation.model

    @property
    def data(self) -> mujoco.MjData:
        """The live MuJoCo data."""
        return self.simulation.data

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts an episode; `options` sets what is otherwise drawn, or restores a `state()`."""
        super().reset(seed=seed)
        self.core.reset(_ROW, [self.np_random], options or {})
        result = self.core.result()
        return result.observations[0], _first(result.infos)

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One control step of 50 ms; raises ActionError for an action that is not finite or has a wrong shape."""
        result = self.core.step(np.asarray(action)[None])
        return result.observations[0], float(result.rewards[0]), bool(result.terminated[0]), False, _first(result.infos)

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """An (height, width, 3) picture of the present state.

        Raises:
            RenderingUnavailableError: no off-screen OpenGL library was found.
        """
        if self.render_mode is None:
            raise OptionError("render() needs a render mode; make the environment with render_mode='rgb_array'")
        if self._renderer is None:
            from dexvid_envs.rendering import make_renderer

            self._renderer = make_renderer(self.model, self.height, self.width)
        self._renderer.update_scene(self.data, camera=self.camera)
        return self._renderer.render()

    def state(self) -> dict[str, Any]:
        """A copy of everything the episode's future depends on; restore it with `reset(options={"state": ...})`."""
        return self.core.state(0)

    def close(self) -> None:
        """Frees the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _first(infos: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return {name: values[0].item() for name, values in infos.items()}
