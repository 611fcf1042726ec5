"""The environments in the form that users of dm_control and dm_env know: time steps, specs and a physics.

    import dexvid_envs.dm_control_env as dexvid
    env = dexvid.load("DexVid-GraspLift-v0", seed=0)
    time_step = env.reset()
    time_step = env.step(env.action_spec().generate_value())

It is a cover of the Gymnasium environment: the same seed and the same actions give the same transitions. dm_control's viewer
takes it as it is: `dm_control.viewer.launch(env)`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dm_env
import gymnasium
import mujoco
import numpy as np
from dm_env import specs
from gymnasium import spaces
from numpy.typing import NDArray

from dexvid_envs.environment_ids import find_environment_id
from dexvid_envs.errors import OptionError

if TYPE_CHECKING:
    from dm_control.mujoco import Physics

#: One entry of the observation: its spec, and how it is taken from a Gymnasium observation.
_Array = spaces.Box | spaces.MultiBinary
_Entry = tuple[specs.BoundedArray, Callable[[Any], NDArray[Any]]]


def load(environment_id: str, seed: int | None = None, **options: Any) -> DmControlEnv:
    """Makes an environment.

    Args:
        environment_id: as in `gymnasium.make`; the prefix "DexVid-" and the version may be left out.
        seed: of the first reset, from which all others follow; None for a different one each time.
        options: those of the environment, such as `observation_mode="pointcloud"` or `objects=("mug",)`.

    Raises:
        OptionError: there is no such environment, or an option or its value is unknown.
    """
    return DmControlEnv(gymnasium.make(find_environment_id(environment_id), **options), seed=seed)


class DmControlEnv(dm_env.Environment):
    """A Gymnasium environment with boxes for spaces, as a `dm_env.Environment`.

    Observations are dicts of arrays: one entry for every field of a state observation (`joint_position`, ...), or one for
    every key of a dict observation. The discount is 0 where an episode has terminated and 1 everywhere else, also where it was
    cut at its time limit.

    Args:
        env: the environment; it is closed by `close`.
        seed: of the first reset.

    Raises:
        OptionError: a space is neither a box nor a dict of boxes.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int | None = None) -> None:
        self._env = env
        self._seed: int | None = seed
        self._entries = dict(_entries(env))
        if not isinstance(env.action_space, spaces.Box):
            raise OptionError(f"the environment has the action space {env.action_space}; expected a box")
        self._action_spec = _spec(env.action_space, "action")
        self._info: dict[str, Any] = {}
        self._needs_reset = True
        self._physics: Physics | None = None

    # ---- the interface of dm_env --------------------------------------------------------------------------------------

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        observation, self._info = self._env.reset(seed=self._seed)
        self._seed, self._needs_reset = None, False  # later episodes follow from the first
        return dm_env.restart(self._observation(observation))

    def step(self, action: Any) -> dm_env.TimeStep:
        """One control step; starts an episode instead, ignoring the action, where the last has ended or none has begun."""
        if self._needs_reset:
            return self.reset()
        observation, reward, terminated, truncated, self._info = self._env.step(np.asarray(action))
        self._needs_reset = terminated or truncated
        values = self._observation(observation)
        if terminated:
            return dm_env.termination(float(reward), values)
        if truncated:
            return dm_env.truncation(float(reward), values, discount=1.0)
        return dm_env.transition(float(reward), values, discount=1.0)

    def observation_spec(self) -> dict[str, specs.BoundedArray]:  # type: ignore[override] (dm_env's has no types)
        """A bounded array for each entry of an observation."""
        return {name: spec for name, (spec, _) in self._entries.items()}

    def action_spec(self) -> specs.BoundedArray:  # type: ignore[override]
        """The bounds of an action."""
        return self._action_spec

    def reward_spec(self) -> specs.Array:
        """One number."""
        return specs.Array((), float, name="reward")

    def discount_spec(self) -> specs.BoundedArray:
        """0 or 1."""
        return specs.BoundedArray((), float, minimum=0.0, maximum=1.0, name="discount")

    def close(self) -> None:
        """Frees what the environment and the physics hold."""
        if self._physics is not None:
            self._physics.free()
            self._physics = None
        self._env.close()

    # ---- what dm_control's users expect beside it ----------------------------------------------------------------------

    def control_timestep(self) -> float:
        """Duration (s) of a control step."""
        return 1.0 / float(self._env.unwrapped.metadata["render_fps"])

    @property
    def physics(self) -> Physics:
        """dm_control's physics on the live model and data: `physics.named.data.qpos["arm_1"]`, `physics.render()`."""
        data = self._data
        if self._physics is None or self._physics.data.ptr is not data:
            self._physics = _make_physics(data)
        return self._physics

    @property
    def gymnasium_env(self) -> gymnasium.Env[Any, Any]:
        """The environment below, for `state()`, options and rendering; step it only through this class."""
        return self._env

    @property
    def info(self) -> dict[str, Any]:
        """Gymnasium's info of the last time step: `success`, `reward/<term>` and the task's own figures."""
        return dict(self._info)

    @property
    def _data(self) -> mujoco.MjData:
        inner: Any = self._env.unwrapped
        return inner.data

    def _observation(self, observation: Any) -> dict[str, NDArray[Any]]:
        return {name: take(observation) for name, (_, take) in self._entries.items()}


def _entries(env: gymnasium.Env[Any, Any]) -> list[tuple[str, _Entry]]:
    """The entries of an observation by name, in order."""
    space = env.observation_space
    if isinstance(space, spaces.Dict):
        return [(name, (_spec(part, name), _key(path))) for name, path, part in _flattened(space, ())]
    if not isinstance(space, spaces.Box):
        raise OptionError(f"the environment has the observation space {space}; expected a box or a dict of boxes")
    core = getattr(env.unwrapped, "core", None)
    fields = [(field.name, int(field.size)) for field in getattr(core, "fields", ())]
    if space.shape != (sum(size for _, size in fields),):
        return [("observation", (_spec(space, "observation"), np.asarray))]
    found, start = [], 0
    for name, size in fields:
        part = slice(start, start + size)
        box = spaces.Box(space.low[part], space.high[part], dtype=space.dtype.type)  # type: ignore[union-attr]
        found.append((name, (_spec(box, name), _slice(part))))
        start += size
    return found


def _flattened(space: spaces.Dict, path: tuple[str, ...]) -> list[tuple[str, tuple[str, ...], _Array]]:
    """Names ("outer/inner"), paths and boxes of a dict that may hold further dicts."""
    found: list[tuple[str, tuple[str, ...], _Array]] = []
    for key, part in space.spaces.items():
        below = (*path, key)
        if isinstance(part, spaces.Dict):
            found += _flattened(part, below)
        elif isinstance(part, spaces.Box | spaces.MultiBinary):
            found.append(("/".join(below), below, part))
        else:
            raise OptionError(f"the observation {'/'.join(below)!r} has the space {part}; expected a box or a dict of boxes")
    return found


def _key(path: tuple[str, ...]) -> Callable[[Any], NDArray[Any]]:
    def take(observation: Any) -> NDArray[Any]:
        for key in path:
            observation = observation[key]
        return np.asarray(observation)

    return take


def _slice(part: slice) -> Callable[[Any], NDArray[Any]]:
    return lambda observation: observation[part]


def _spec(space: _Array, name: str) -> specs.BoundedArray:
    if isinstance(space, spaces.MultiBinary):
        return specs.BoundedArray(space.shape, space.dtype, minimum=0, maximum=1, name=name)
    return specs.BoundedArray(space.shape, space.dtype, minimum=space.low, maximum=space.high, name=name)


def _make_physics(data: mujoco.MjData) -> Physics:
    """dm_control's physics around live data, which stays exactly as it is.

    Making a physics runs a forward pass with the actuators off; the state that the next step depends on is put back after it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glfw complains at import where there is no display
        from dm_control.mujoco import Physics
        from dm_control.mujoco.wrapper import MjData
    spec = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(data.model, spec))
    mujoco.mj_getState(data.model, data, state, spec)
    physics = Physics(MjData(data))
    mujoco.mj_setState(data.model, data, state, spec)
    mujoco.mj_step1(data.model, data)
    return physics
