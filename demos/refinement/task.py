"""What refinement has to know of a task: where its object starts and ends, how rollouts are set up, how far off the goal is.

A task is one subclass, in a file of its own beside this one; `find_tracked_task` finds it by environment.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from demos.interaction import Interaction
from demos.plan import Plan
from dexvid_envs.core import EnvironmentCore
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.registration import REGISTRATIONS, register_environments
from robots.everyday import ALL_OBJECTS
from robots.everyday_parts import EverydayObject

FloatArray = NDArray[np.float64]
#: How a motion ends: let go and draw back, hold on, or swing and let go.
Ending = Literal["release", "hold", "throw"]


@dataclasses.dataclass(frozen=True)
class TaskPlace:
    """Where a recording is brought in a task's world.

    Attributes:
        start_m, end_m: (3,) where the path of the object's frame starts and ends.
        goal_m: (3,) what the task is told as its goal.
        start_half_extent_m, goal_half_extent_m: (2,) how far the task moves both, horizontally.
        largest_yaw_rad: the task turns the object by up to this.
    """

    start_m: FloatArray
    end_m: FloatArray
    goal_m: FloatArray
    start_half_extent_m: FloatArray
    goal_half_extent_m: FloatArray
    largest_yaw_rad: float = 0.0


class TrackedTask(abc.ABC):
    """A task as refinement sees it, made for one environment with its options.

    Attributes:
        ending: how the motion ends.
        upright: the object should not tilt on the way.
        lifted: the object is carried through the air.
        free_yaw: the recording may be turned about the vertical; otherwise its displacement decides.
        goal_follows_start: the goal moves with the start.
        usual_opening_rad: by which the usual hold opens wider than the scripted one, which looks where the object is.
    """

    task_name: ClassVar[str]
    ending: ClassVar[Ending] = "release"
    upright: ClassVar[bool] = False
    lifted: ClassVar[bool] = True
    free_yaw: ClassVar[bool] = False
    goal_follows_start: ClassVar[bool] = False
    usual_opening_rad: ClassVar[float] = 0.0

    def __init__(self, env_id: str, env_options: Mapping[str, Any]) -> None:
        self.env_id, self.env_options = env_id, dict(env_options)
        self.settings: Any = _core(env_id, dict(env_options)).task.config

    @abc.abstractmethod
    def place(self, displacement_m: FloatArray) -> TaskPlace:
        """Where a recording whose object is displaced by `displacement_m` (3,), turned into the task's world, is brought."""

    @abc.abstractmethod
    def reset_options(self, start_xy: FloatArray, goal_m: FloatArray, yaw_rad: float) -> dict[str, Any]:
        """Options of a reset with the object at `start_xy` (2,) m, the goal at `goal_m` (2,) or (3,) m, turned by a yaw."""

    @abc.abstractmethod
    def goal_distance(self, task: Any) -> FloatArray:
        """(N,) m how far the object is from where the task wants it."""

    def aim_correction(self, plan: Plan, object_pos_world: FloatArray, goal_m: FloatArray) -> FloatArray:
        """(T, 6) m and rad by which the palm's path should be led elsewhere for the object to end at its goal.

        Beside what its path says; for tasks in which the object goes on by itself.

        Args:
            plan: T steps.
            object_pos_world: (T + 1, 3) m where the object went.
            goal_m: (3,) m.
        """
        return np.zeros((plan.num_steps, 6))

    def object_shape(self) -> EverydayObject | None:
        """The object's shape at rest; None where it is none of the everyday ones."""
        return None

    @property
    def mass_kg(self) -> float:
        """Of the moved object; 0 where its weight is not carried."""
        task = _core(self.env_id, self.env_options).task
        return float(task.make_model().body(task.moved_body).mass[0]) if self.lifted else 0.0


class TrackedObjectTask(TrackedTask):
    """A task with one everyday object that starts standing on the table, somewhere around a middle."""

    free_yaw: ClassVar[bool] = True

    def object_shape(self) -> EverydayObject:
        """See `TrackedTask`."""
        return ALL_OBJECTS[self.settings.objects[0]]

    def start_m(self) -> FloatArray:
        """(3,) m the middle of the object's starts."""
        return np.array([*self.settings.start_centre_m, self.object_shape().extents_m[2] / 2])


def find_tracked_task(env_id: str, env_options: Mapping[str, Any]) -> TrackedTask:
    """The description of an environment's task.

    Raises:
        OptionError: there is no such environment, or it has no such option.
        DexVidError: nobody has described its task.
    """
    from demos.refinement.drawer import TrackedOpenCabinet
    from demos.refinement.lift import TrackedGraspLift
    from demos.refinement.place import TrackedBottlePickPlace
    from demos.refinement.throw import TrackedLiftThrow

    kinds = {kind.task_name: kind for kind in (TrackedBottlePickPlace, TrackedGraspLift, TrackedOpenCabinet, TrackedLiftThrow)}
    name = type(_core(env_id, dict(env_options)).task).__name__
    if name not in kinds:
        raise DexVidError(f"refinement knows the tasks {', '.join(kinds)}, got {env_id} with {name}")
    return kinds[name](env_id, env_options)


def _core(env_id: str, env_options: dict[str, Any]) -> EnvironmentCore:
    return _cached_core(env_id, repr(sorted(env_options.items())), _Options(env_options))


class _Options:
    """Options that a cache compares by their text alone."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Options)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=4)
def _cached_core(env_id: str, _: str, options: _Options) -> EnvironmentCore:
    register_environments()
    try:
        env = gymnasium.make(env_id, **options.values)
    except gymnasium.error.Error as error:
        known = ", ".join(entry.id for entry in REGISTRATIONS)
        raise OptionError(f"cannot make {env_id!r} ({error}): expected one of {known}") from error
    core: EnvironmentCore = env.unwrapped.core  # type: ignore[attr-defined]
    return core


def recorded_extents_m(interaction: Interaction) -> FloatArray:
    """(3,) m of the recorded object at its start: its narrower and its wider horizontal side, and its height."""
    points = interaction.object_points_world[0]
    points = points[np.isfinite(points).all(axis=-1)]
    if len(points) < 4:
        raise DexVidError("fewer than 4 points of the object are known in the first frame, expected enough to tell its size")
    sides, _ = flat_box(points[:, :2])
    return np.array([*sides, np.ptp(points[:, 2])])


def flat_box(points_xy: FloatArray) -> tuple[FloatArray, float]:
    """The smallest upright box around points (P, 2) m: its sides (2,) m, the narrower first, and the wider one's yaw in rad."""
    angles = np.linspace(0.0, np.pi / 2, 45, endpoint=False)
    along = np.stack([np.cos(angles), np.sin(angles)], axis=-1) @ points_xy.T
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=-1) @ points_xy.T
    wide, deep = np.ptp(along, axis=-1), np.ptp(across, axis=-1)
    best = int(np.argmin(wide * deep))
    turned = deep[best] > wide[best]
    yaw = angles[best] + (np.pi / 2 if turned else 0.0)
    return np.array(sorted((wide[best], deep[best]))), float(yaw)


def nearest_object(interaction: Interaction, shapes: Mapping[str, FloatArray]) -> str:
    """Name of the shape whose full extents (x, y, z) m are nearest to the recorded object's."""
    recorded = recorded_extents_m(interaction)
    sizes = {name: np.array([*sorted(extents[:2]), extents[2]]) for name, extents in shapes.items()}
    return min(sizes, key=lambda name: float(np.linalg.norm(sizes[name] - recorded)))
