"""The base of all tasks: what a task says of its scene, reset, observation, reward and success, always on batches of N rows.

Subclasses read top to bottom: config, scene, reset distribution, observation fields, reward terms, success, failure. They use
per-row arithmetic only (no matrix product over the batch), so that one environment and many agree bit for bit.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from dexvid_envs.kernels import box_distances, counted
from dexvid_envs.observations import ObservationField, Sources
from dexvid_envs.option_values import check_fields, is_number, numbers
from dexvid_envs.randomization import Randomization
from dexvid_envs.simulation import Rows, Simulation
from robots.arm_hand import ARM_HAND, add_arm_hand
from robots.collision import TABLE_CONTACT
from robots.scene import CAMERAS, TABLE_TOP, ScenicCamera, TableTop, add_scenery

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_UNIT_TOLERANCE = 1e-3  # of the length of a given quaternion


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What every task has.

    Attributes:
        home_noise_rad: the robot starts within this distance of home, joint by joint.
        hold_steps: consecutive control steps (20 a second) for which the criterion has to hold.
        num_points: surface points of the object in the point-cloud observation.
        weights: of the dense reward terms; those that are not named keep their defaults.
    """

    home_noise_rad: float = 0.02
    hold_steps: int = 10
    num_points: int = 100
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)


class Task(abc.ABC):
    """A task on N simulated robots.

    Attributes:
        memory: per-episode quantities by name, (N, ...) each: goals and counters; saved and restored with the state.
        model_fields: model fields that differ from episode to episode.
        moved_body: name of the body that the task is about; its surface points are observed, disturbances push it.
        object_keypoint_names: of the key points of the moved body, named as extraction from videos names them.
        noslip_iterations: of the physics engine; more of them keep an object from turning between fingertips.
        cameras, table: of the scenery.
        summary, start, end, versions: for the documentation: what to do; where episodes start; when they fail; what changed.
    """

    reset_options: ClassVar[tuple[str, ...]] = ()
    moved_body: ClassVar[str]
    object_keypoint_names: ClassVar[tuple[str, ...]] = ("object_centroid", "object_top", "object_bottom")
    noslip_iterations: ClassVar[int] = 10
    cameras: ClassVar[tuple[ScenicCamera, ...]] = CAMERAS
    table: ClassVar[TableTop] = TABLE_TOP
    summary: ClassVar[str] = ""
    start: ClassVar[str] = ""
    end: ClassVar[str] = ""
    versions: ClassVar[tuple[str, ...]] = ("v0: first version.",)
    model_fields: tuple[str, ...] = ()
    config: TaskConfig

    def __init__(self, config: TaskConfig, randomization: Randomization | None = None) -> None:
        self.config = config
        self.randomization = randomization or Randomization()
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
        option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC  # with the no-slip iterations, a grip does not creep
        option.impratio = 30.0
        option.noslip_iterations = self.noslip_iterations
        option.noslip_tolerance = 1e-10  # with the default one they end while an object still turns
        option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)  # an instability is reported, not papered over
        add_arm_hand(spec)
        table = spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(2, 2, 0.1), rgba=(0, 0, 0, 0))
        table.friction = (0.8, 0.005, 0.0005)
        TABLE_CONTACT.apply(table)
        self.add_surroundings(spec)
        self.add_objects(spec)
        model = spec.compile()
        self.prepare(model)
        return model

    def prepare(self, model: mujoco.MjModel) -> None:  # noqa: B027 (most tasks need none)
        """Finds out what episodes change of a model that `make_model` made, before any simulation of it exists."""

    def add_surroundings(self, spec: mujoco.MjSpec) -> None:
        """Adds what is only seen: table top, floor, lights, cameras."""
        add_scenery(spec, self.cameras, self.table)

    @abc.abstractmethod
    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """Adds what the task handles to the scene."""

    def bind(self, simulation: Simulation) -> None:
        """Connects the task to N simulations and finds its elements by name, once."""
        self.simulation = simulation
        self.num_envs = simulation.num_envs
        model = simulation.model
        self.joint_qposadr = np.array([model.joint(name).qposadr[0] for name in self.robot.joint_names])
        self._hand_site_ids = np.array([model.site(name).id for name in (*self.robot.fingertip_sites, "palm")])
        self._hold_steps = np.array([self.config.hold_steps])
        self.memory = {"held_steps": np.zeros(self.num_envs, dtype=np.int64)}
        self._success = np.zeros(self.num_envs, dtype=bool)

    # ---- reset ------------------------------------------------------------------------------------------------------

    def reset_row(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """Puts a row, whose simulation has its default state, at the start of a new episode.

        Raises:
            OptionError: an option is unknown or has a wrong value.
        """
        for name in options:
            if name not in self.reset_options:
                raise OptionError(f"unknown reset option {name!r}: expected one of {', '.join(self.reset_options)} or 'state'")
        noise = rng.uniform(-1.0, 1.0, self.robot.num_joints) * self.config.home_noise_rad
        home = np.clip(self.robot.home_rad + noise, self.robot.lower_rad, self.robot.upper_rad)
        self.simulation.qpos[row, self.joint_qposadr] = home
        self.simulation.ctrl[row] = home
        self.memory["held_steps"][row] = 0
        self.place(row, rng, options)

    @abc.abstractmethod
    def place(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """Draws object poses and goals of one row; everything is drawn, whether an option replaces it or not."""

    def write_episode_model(self, row: int, fields: Mapping[str, FloatArray]) -> None:  # noqa: B027
        """Writes what the row's episode changes of the nominal model into `fields` (whole arrays), in place."""

    def restore(self, row: int, memory: Mapping[str, Any]) -> None:
        """Restores the memory of one row."""
        for name, value in memory.items():
            self.memory[name][row] = value

    def update(self, rows: Rows | None = None) -> None:
        """Computes what observation, reward and success share; the hold counters of `rows` (None: all) advance by one step."""
        self.refresh()
        if rows is None or len(rows):
            self.count("held_steps", self.holds(), rows)
            self.remember(rows)
        self._success = self.memory["held_steps"] >= self._hold_steps

    @property
    def hand_pos_world(self) -> FloatArray:
        """(N, 5, 3) m index, middle, ring and thumb tips, palm; a new array."""
        return self.simulation.site_xpos.take(self._hand_site_ids, axis=1)

    @property
    def palm_pos_world(self) -> FloatArray:
        """(N, 3) m; live."""
        return self.simulation.site_xpos[:, self._hand_site_ids[-1]]

    def distance_to_hand(self, centre_world: FloatArray, axes_world: FloatArray, half_extents_m: FloatArray) -> FloatArray:
        """Distances of fingertips and palm from boxes; a bar is a box of no width, a point a box of no extent.

        Args:
            centre_world: (N, 3) m of the box.
            axes_world: (N, 3, 3) the box's axes as columns.
            half_extents_m: (N, 5, 3) along these axes, for index, middle, ring and thumb tips and palm.

        Returns:
            (N, 5) m, 0 inside.
        """
        return box_distances(self.simulation.site_xpos, self._hand_site_ids, centre_world, axes_world, half_extents_m)

    def count(self, name: str, condition: BoolArray, rows: Rows | None) -> None:
        """Advances a counter in the memory where the condition (N,) holds and zeroes it elsewhere; rows None: in all."""
        before = self.memory[name]
        following = counted(before, condition)
        if rows is not None:
            kept = before.copy()
            kept[rows] = following[rows]
            following = kept
        self.memory[name] = following

    @abc.abstractmethod
    def refresh(self) -> None:
        """The task's own part of `update`: quantities of the present state."""

    def remember(self, rows: Rows | None) -> None:  # noqa: B027
        """Advances further memory of `rows` (None: all) by one step."""

    # ---- observation ------------------------------------------------------------------------------------------------

    def observation_fields(self) -> tuple[ObservationField, ...]:
        """All named parts of observations: proprioception, then the task's own."""
        find, robot = Sources(self.simulation.model), self.robot
        joints, palm, tips = robot.joint_names, find.site_positions(["palm"]), find.site_positions(robot.fingertip_sites)
        position = find.joint_positions(joints)
        own = (
            ("joint_position", -6.5, 6.5, "joint angles, rad", position, None),
            ("joint_velocity", -20.0, 20.0, "joint velocities, rad/s", find.joint_velocities(joints), None),
            ("joint_error", -6.5, 6.5, "servo target minus joint angle, rad; shows the grip", find.targets(joints), position),
            ("palm_position", -2.0, 2.0, "palm in the world, m", palm, None),
            ("palm_axes", -1.0, 1.0, "palm's x and z axes in the world", find.body_axes(robot.palm_body, "xz"), None),
            ("fingertip_position", -2.0, 2.0, "index, middle, ring, thumb tips in the world, m", tips, None),
        )
        proprioception = tuple(
            ObservationField(name, low, high, meaning, "proprioception", of, minus)
            for name, low, high, meaning, of, minus in own
        )
        return proprioception + self.task_fields(find)

    @abc.abstractmethod
    def task_fields(self, find: Sources) -> tuple[ObservationField, ...]:
        """The task's own observation fields."""

    def object_keypoints(self) -> FloatArray:
        """(N, K, 3) m the points of `object_keypoint_names` in the frame of the moved body.

        By default middle, highest and lowest of the surface points of a body that stands on its z axis.
        """
        height = self.surface_points()[..., 2]
        points = np.zeros((self.num_envs, 3, 3))
        points[:, 1, 2], points[:, 2, 2] = height.max(axis=-1), height.min(axis=-1)
        return points

    @abc.abstractmethod
    def surface_points(self) -> FloatArray:
        """(N, P, 3) m points on the surface of the moved body, in its frame."""

    # ---- reward, success, failure -----------------------------------------------------------------------------------

    @abc.abstractmethod
    def reward_terms(self) -> FloatArray:
        """(T, N) unweighted dense reward terms in [0, 1], in the order of the config's weights; a new array."""

    @abc.abstractmethod
    def holds(self) -> BoolArray:
        """(N,) whether the task's criterion holds in this very step."""

    def success(self) -> BoolArray:
        """(N,) whether the criterion has held for `hold_steps` steps."""
        return self._success

    @abc.abstractmethod
    def failed(self) -> BoolArray:
        """(N,) whether the episode can no longer succeed; ends it."""

    def metrics(self) -> dict[str, NDArray[Any]]:
        """Further figures for `info`, (N,) each."""
        return {}


def set_free_pose(simulation: Simulation, row: int, qposadr: int, position: FloatArray, yaw_rad: float) -> None:
    """Writes the pose of a free body that stands upright at a position (3,) m with the given yaw."""
    simulation.qpos[row, qposadr : qposadr + 3] = position
    simulation.qpos[row, qposadr + 3 : qposadr + 7] = (np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2))


def vector_option(options: Mapping[str, Any], name: str, size: int) -> FloatArray | None:
    """The option of that name, (size,) finite numbers in metres, or None where it is not given.

    Raises:
        OptionError: the value is something else.
    """
    if name not in options:
        return None
    given = numbers(options[name])
    if given is None or len(given) != size:
        raise OptionError(
            f"reset option {name!r} is {options[name]!r}; expected {size} finite numbers ({', '.join('xyz'[:size])}) in metres"
        )
    return np.array(given)


def pose_option(options: Mapping[str, Any], name: str) -> FloatArray | None:
    """The option of that name, (7,) position m and unit quaternion (w, x, y, z), or None where it is not given.

    Raises:
        OptionError: the value is something else.
    """
    if name not in options:
        return None
    given = numbers(options[name])
    if given is None or len(given) != 7 or abs(np.linalg.norm(given[3:]) - 1.0) > _UNIT_TOLERANCE:
        raise OptionError(
            f"reset option {name!r} is {options[name]!r}; expected 7 finite numbers: position (x, y, z) in metres and unit "
            "quaternion (w, x, y, z)"
        )
    pose = np.array(given)
    pose[3:] /= np.linalg.norm(pose[3:])
    return pose


def number_option(options: Mapping[str, Any], name: str, drawn: float) -> float:
    """The option of that name, or the drawn value where it is not given.

    Raises:
        OptionError: the value is no finite number.
    """
    if name not in options:
        return drawn
    if not is_number(options[name]):
        raise OptionError(f"reset option {name!r} is {options[name]!r}; expected a finite number")
    return float(options[name])


def drawn_in_box(rng: np.random.Generator, centre: tuple[float, ...], half_extent: tuple[float, ...]) -> FloatArray:
    """(D,) a uniform draw in an axis-aligned box of D dimensions."""
    return np.asarray(centre) + np.asarray(half_extent) * rng.uniform(-1.0, 1.0, len(centre))
