"""The base of all tasks: what a task says of its scene, reset, observation, reward and success, always on batches of N rows.

Subclasses read top to bottom: config, scene, reset distribution, observation fields, reward terms, success, failure. They use
per-row arithmetic only (no matrix product over the batch), so that one environment and many agree bit for bit.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from dexvid_envs.simulation import Rows, Simulation
from robots.arm_hand import ARM_HAND, add_arm_hand
from robots.collision import TABLE_CONTACT
from robots.scene import add_scenery

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class ObservationField:
    """One named part of the state observation.

    Attributes:
        name: its key.
        size: number of values.
        low, high: bounds; values outside are clipped.
        meaning: what it is, with unit and frame, for the documentation.
    """

    name: str
    size: int
    low: float
    high: float
    meaning: str


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What every task has.

    Attributes:
        home_noise_rad: the robot starts within this distance of home, joint by joint.
    """

    home_noise_rad: float = 0.02


_PROPRIOCEPTION = (
    ObservationField("joint_position", 23, -6.5, 6.5, "joint angles, rad"),
    ObservationField("joint_velocity", 23, -20.0, 20.0, "joint velocities, rad/s"),
    ObservationField("joint_error", 23, -6.5, 6.5, "servo target minus joint angle, rad; shows the grip"),
    ObservationField("palm_position", 3, -2.0, 2.0, "palm in the world, m"),
    ObservationField("palm_axes", 6, -1.0, 1.0, "palm's x and z axes in the world"),
    ObservationField("fingertip_position", 12, -2.0, 2.0, "index, middle, ring, thumb tips in the world, m"),
)


class Task(abc.ABC):
    """A task on N simulated robots.

    Attributes:
        memory: per-episode quantities by name, (N, ...) each: goals and counters; saved and restored with the state.
        model_fields: model fields that a reset may change per simulation.
    """

    model_fields: ClassVar[tuple[str, ...]] = ()
    reset_options: ClassVar[tuple[str, ...]] = ()
    config: TaskConfig

    def __init__(self, config: TaskConfig) -> None:
        self.config = config
        self.robot = ARM_HAND
        self.memory: dict[str, NDArray[Any]] = {}

    # ---- scene ------------------------------------------------------------------------------------------------------

    def make_model(self) -> mujoco.MjModel:
        """Compiles the scene: robot, table and the task's objects."""
        spec = mujoco.MjSpec()
        spec.modelname = type(self).__name__
        spec.compiler.degree = False
        option = spec.option
        option.timestep = 0.005
        option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC  # with impratio, the grip does not creep
        option.impratio = 10.0
        option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)  # an instability is reported, not papered over
        add_arm_hand(spec)
        table = spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(2, 2, 0.1), rgba=(0, 0, 0, 0))
        table.friction = (0.8, 0.005, 0.0005)
        TABLE_CONTACT.apply(table)
        add_scenery(spec)
        self.add_objects(spec)
        return spec.compile()

    @abc.abstractmethod
    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """Adds what the task handles to the scene."""

    def bind(self, simulation: Simulation) -> None:
        """Connects the task to N simulations and finds its elements by name, once."""
        self.simulation = simulation
        self.num_envs = simulation.num_envs
        model = simulation.model
        self.joint_qposadr = np.array([model.joint(name).qposadr[0] for name in self.robot.joint_names])
        self.joint_dofadr = np.array([model.joint(name).dofadr[0] for name in self.robot.joint_names])
        self.fingertip_ids = np.array([model.site(name).id for name in self.robot.fingertip_sites])
        self.palm_site_id = model.site("palm").id
        self.palm_body_id = model.body(self.robot.palm_body).id

    # ---- reset ------------------------------------------------------------------------------------------------------

    def reset(self, rows: Rows, rngs: Sequence[np.random.Generator], options: Mapping[str, Any]) -> None:
        """Puts the rows at the start of a new episode, each drawn from its own generator.

        Raises:
            OptionError: an option is unknown or has a wrong value.
        """
        unknown = sorted(set(options) - set(self.reset_options))
        if unknown:
            raise OptionError(
                f"unknown reset option {unknown[0]!r}: expected one of {', '.join(self.reset_options)} or 'state'"
            )
        simulation = self.simulation
        simulation.reset(rows)
        for row, rng in zip(rows, rngs, strict=True):
            noise = rng.uniform(-1.0, 1.0, self.robot.num_joints) * self.config.home_noise_rad
            home = np.clip(self.robot.home_rad + noise, self.robot.lower_rad, self.robot.upper_rad)
            simulation.qpos[row, self.joint_qposadr] = home
            simulation.ctrl[row] = home
            self.reset_row(int(row), rng, options)
        simulation.forward(rows)

    @abc.abstractmethod
    def reset_row(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """Draws object poses and goals of one row."""

    def restore(self, row: int, memory: Mapping[str, Any]) -> None:
        """Restores the memory of one row; tasks that change the model per episode do so here again."""
        for name, value in memory.items():
            self.memory[name][row] = value

    def update(self, *, count: bool) -> None:
        """Computes what observation, reward and success share; `count` advances the hold counters by one step."""
        simulation = self.simulation
        self.fingertip_pos_world = simulation.site_xpos[:, self.fingertip_ids]  # (N, 4, 3) m
        self.palm_pos_world = simulation.site_xpos[:, self.palm_site_id]  # (N, 3) m
        self.refresh(count=count)

    @abc.abstractmethod
    def refresh(self, *, count: bool) -> None:
        """The task's own part of `update`."""

    # ---- observation ------------------------------------------------------------------------------------------------

    def observation_fields(self) -> tuple[ObservationField, ...]:
        """Layout of the state observation: proprioception, then the task's fields."""
        return _PROPRIOCEPTION + self.task_fields()

    @abc.abstractmethod
    def task_fields(self) -> tuple[ObservationField, ...]:
        """The task's own observation fields."""

    def observe(self) -> dict[str, FloatArray]:
        """Every observation field, (N, size) each."""
        simulation = self.simulation
        joint_position = simulation.qpos[:, self.joint_qposadr]
        palm_axes = simulation.xmat[:, self.palm_body_id].reshape(-1, 3, 3)[:, :, [0, 2]]
        proprioception = {
            "joint_position": joint_position,
            "joint_velocity": simulation.qvel[:, self.joint_dofadr],
            "joint_error": simulation.ctrl - joint_position,
            "palm_position": self.palm_pos_world,
            "palm_axes": palm_axes.transpose(0, 2, 1).reshape(-1, 6),
            "fingertip_position": self.fingertip_pos_world.reshape(-1, 12),
        }
        return proprioception | self.observe_task()

    @abc.abstractmethod
    def observe_task(self) -> dict[str, FloatArray]:
        """The task's own observation values."""

    # ---- reward, success, failure -----------------------------------------------------------------------------------

    @abc.abstractmethod
    def reward_terms(self) -> dict[str, FloatArray]:
        """Weighted dense reward terms, (N,) each; they sum to the reward."""

    @abc.abstractmethod
    def success(self) -> BoolArray:
        """(N,) whether the task's criterion holds now, its holding time included."""

    @abc.abstractmethod
    def failed(self) -> BoolArray:
        """(N,) whether the episode can no longer succeed; ends it."""

    def metrics(self) -> dict[str, NDArray[Any]]:
        """Further figures for `info`, (N,) each."""
        return {}


def set_free_pose(simulation: Simulation, row: int, qposadr: int, position: FloatArray, yaw_rad: float) -> None:
    """Writes the pose of a free body that stands upright with the given yaw."""
    simulation.qpos[row, qposadr : qposadr + 3] = position
    simulation.qpos[row, qposadr + 3 : qposadr + 7] = (np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2))


def planar_option(options: Mapping[str, Any], name: str) -> FloatArray | None:
    """The (x, y) option of that name in metres, or None where it is not given.

    Raises:
        OptionError: the value is not two finite numbers.
    """
    if name not in options:
        return None
    value = np.asarray(options[name], dtype=np.float64)
    if value.shape != (2,) or not np.isfinite(value).all():
        raise OptionError(f"reset option {name!r} is {options[name]!r}; expected two finite numbers (x, y) in metres")
    return value


def drawn_in_box(rng: np.random.Generator, centre: tuple[float, ...], half_extent: tuple[float, ...]) -> FloatArray:
    """A uniform draw in an axis-aligned box."""
    return np.asarray(centre) + np.asarray(half_extent) * rng.uniform(-1.0, 1.0, len(centre))
