"""What the tasks share that handle one free object: its shapes, its pose, its part of the observation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from dexvid_envs.kernels import all_within
from dexvid_envs.observations import ObservationField, Sources, memory_source
from dexvid_envs.randomization import Randomization
from dexvid_envs.simulation import Simulation
from dexvid_envs.tasks.task import FloatArray, Task, TaskConfig, number_option, pose_option, set_free_pose, vector_option
from robots.everyday_parts import EverydayObject
from robots.object_switch import OBJECT_FIELDS, ObjectTable, add_switchable_object


@dataclasses.dataclass(frozen=True)
class ObjectTaskConfig(TaskConfig):
    """What tasks with a free object have beside the rest.

    Attributes:
        start_centre_m, start_half_extent_m: box of object starts on the table (x, y).
        start_yaw_rad: the object's yaw is drawn within this distance of 0.
    """

    start_centre_m: tuple[float, float] = (0.46, 0.0)
    start_half_extent_m: tuple[float, float] = (0.08, 0.10)
    start_yaw_rad: float = 0.0


class ObjectTask(Task):
    """A task about one free object, drawn for each episode from `objects` and, where the size is randomised, their sizes.

    The body is called `noun`, and so are the observation fields and reset options about it.
    """

    noun: str
    config: ObjectTaskConfig  # type: ignore[override]

    def __init__(
        self, config: ObjectTaskConfig, objects: Sequence[EverydayObject], randomization: Randomization | None = None
    ) -> None:
        super().__init__(config, randomization)
        self.object_names = tuple(one.name for one in objects)
        factors = self.randomization.size_factors
        self._sizes = len(factors)
        self.variants = tuple(one if factor == 1.0 else one.scaled(factor) for one in objects for factor in factors)
        self._points = np.stack([one.surface_points(config.num_points) for one in self.variants])  # (V, P, 3) m
        self.variant_extents = np.array([one.extents_m for one in self.variants])  # (V, 3) m
        self._table: ObjectTable | None = None  # None where all episodes have the same object

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """The object's body, in the shape of the first variant."""
        add_switchable_object(spec, self.noun, self.variants)

    def prepare(self, model: mujoco.MjModel) -> None:
        """See `Task`."""
        if len(self.variants) > 1:
            self._table = ObjectTable(model, self.noun, self.variants)
            self.model_fields = OBJECT_FIELDS

    def bind(self, simulation: Simulation) -> None:
        """See `Task`."""
        super().bind(simulation)
        model = simulation.model
        joint = model.joint(f"{self.noun}_joint")
        self.object_qposadr, self.object_dofadr = int(joint.qposadr[0]), int(joint.dofadr[0])
        self.object_body_id = model.body(self.noun).id
        # Live views, all N rows: centre m, linear velocity m/s, and axes as columns, in the world.
        self.object_pos_world = simulation.qpos[:, self.object_qposadr : self.object_qposadr + 3]
        self.object_vel_world = simulation.qvel[:, self.object_dofadr : self.object_dofadr + 3]
        self._object_rotation = simulation.xmat[:, self.object_body_id].reshape(-1, 3, 3)
        # Of each row's object, for each point of the hand.
        self._half_box_m = np.zeros((self.num_envs, len(self._hand_site_ids), 3))
        self.half_height_m = self._half_box_m[:, 0, 2]  # (N,) m, as it stands; live
        self.memory |= {
            "variant": np.zeros(self.num_envs, dtype=np.int64),
            "object_size": np.tile(self.variant_extents[0], (self.num_envs, 1)),
        }

    def use_variant(self, row: int, variant: int) -> None:
        """Takes note of which object a row has; what depends on its shape alone is kept, not computed at every step."""
        self.memory["variant"][row] = variant
        self.memory["object_size"][row] = self.variant_extents[variant]
        self._half_box_m[row] = self.variant_extents[variant] / 2

    def place_object(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """Draws shape, place and yaw of the object, which stands on the table then.

        Reset options: `<noun>` (a name), `<noun>_position` ((x, y) m) and `<noun>_yaw` (rad), or `<noun>_pose` in place of
        both ((x, y, z) m of its centre and unit quaternion (w, x, y, z)), in which it may lie, or be in the air.
        """
        config = self.config
        index = int(rng.integers(len(self.object_names)))
        size = int(rng.integers(self._sizes))
        position = np.asarray(config.start_centre_m) + np.asarray(config.start_half_extent_m) * rng.uniform(-1.0, 1.0, 2)
        yaw = rng.uniform(-1.0, 1.0) * config.start_yaw_rad
        if self.noun in options:
            name = options[self.noun]
            if not isinstance(name, str) or name not in self.object_names:
                expected = ", ".join(self.object_names)
                raise OptionError(f"reset option {self.noun!r} is {name!r}; expected one of {expected}")
            index = self.object_names.index(name)
        given = vector_option(options, f"{self.noun}_position", 2)
        x, y = position if given is None else given
        yaw = number_option(options, f"{self.noun}_yaw", yaw)
        variant = index * self._sizes + size
        self.use_variant(row, variant)
        standing = np.array([x, y, self.variant_extents[variant, 2] / 2])
        set_free_pose(self.simulation, row, self.object_qposadr, standing, yaw)
        if (pose := self._given_pose(options, variant)) is not None:
            self.simulation.qpos[row, self.object_qposadr : self.object_qposadr + 7] = pose

    def _given_pose(self, options: Mapping[str, Any], variant: int) -> FloatArray | None:
        """(7,) the pose that a reset asks for, if it asks for one.

        Raises:
            OptionError: it is no pose, it is in the table, or it is given twice.
        """
        name = f"{self.noun}_pose"
        pose = pose_option(options, name)
        if pose is None:
            return None
        if twice := [other for other in (f"{self.noun}_position", f"{self.noun}_yaw") if other in options]:
            raise OptionError(
                f"reset options {name!r} and {twice[0]!r} both say where it is; expected one of them, leave one out"
            )
        turn = np.empty(9)
        mujoco.mju_quat2Mat(turn, pose[3:])
        lowest_m = float(pose[2] + (self._points[variant] @ turn.reshape(3, 3)[2]).min())
        if lowest_m < -_IN_TABLE_M:
            raise OptionError(
                f"reset option {name!r} is {options[name]!r}; expected a pose on the table or above it, this one is "
                f"{-1e3 * lowest_m:.0f} mm in it: add that to z"
            )
        return pose

    def restore(self, row: int, memory: Mapping[str, Any]) -> None:
        """See `Task`.

        Raises:
            OptionError: the state was saved with other objects or sizes, for which its variant stands.
        """
        variant = self._variant_of(memory)
        self.use_variant(row, variant)
        super().restore(row, {**memory, "variant": variant})

    def _variant_of(self, memory: Mapping[str, Any]) -> int:
        """Number that a saved object has here: its own, or in a state of an environment with other objects that of its size."""
        variant, size = int(memory["variant"]), np.asarray(memory["object_size"])
        same = np.flatnonzero(np.abs(self.variant_extents - size).max(axis=-1) < 1e-6)
        if variant in same:
            return variant
        if len(same) != 1:
            raise OptionError(
                f"the state's {self.noun} (number {variant}, {size} m) is none of this environment's "
                f"({', '.join(self.object_names)}); make it with the objects and sizes that the state was saved with"
            )
        return int(same[0])

    def write_episode_model(self, row: int, fields: Mapping[str, FloatArray]) -> None:
        """See `Task`; gives the body the shape and mass of the row's variant."""
        if self._table is not None:
            self._table.write(fields, int(self.memory["variant"][row]))

    def object_fields(self, find: Sources, axes: str) -> tuple[ObservationField, ...]:
        """Observation fields about the object itself; `axes` are those of its body's axes that are observed."""
        noun, tips = self.noun, find.site_positions(self.robot.fingertip_sites)
        place, places = find.body_position(noun), find.body_position(noun, repeat=4)
        named = " and ".join(axes)
        rows = (
            (f"{noun}_position", -2.0, 2.0, "its centre in the world, m", place, None),
            (f"{noun}_axes", -1.0, 1.0, f"its {named} axes in the world", find.body_axes(noun, axes), None),
            (
                f"{noun}_velocity",
                -10.0,
                10.0,
                "linear (world, m/s) and angular (its own frame, rad/s) velocity",
                find.free_velocity(f"{noun}_joint"),
                None,
            ),
            (f"{noun}_size", 0.0, 0.5, "full extents at rest, m", memory_source("object_size", 3), None),
            (f"{noun}_to_palm", -2.0, 2.0, "from the palm to its centre, world, m", place, find.site_positions(["palm"])),
            (f"{noun}_to_fingertips", -2.0, 2.0, "from each fingertip to its centre, world, m", places, tips),
        )
        return tuple(ObservationField(name, low, high, text, "object", of, minus) for name, low, high, text, of, minus in rows)

    def surface_points(self) -> FloatArray:
        """See `Task`."""
        return self._points[self.memory["variant"]]

    def objects_in(self, variants: NDArray[np.int64]) -> list[str]:
        """Names of the objects that variants (N,) are of."""
        return [self.object_names[int(variant) // self._sizes] for variant in variants]

    def box_gap(self) -> FloatArray:
        """(N, 5) m distance of the fingertips and the palm from the object's bounding box, 0 inside it."""
        return self.object_distance(self._half_box_m)

    def object_distance(self, half_extents_m: FloatArray) -> FloatArray:
        """(N, 5) m distance of the fingertips and the palm from a box around the object's centre.

        Args:
            half_extents_m: (N, 5, 3) of the box, along the object's axes.
        """
        return self.distance_to_hand(self.object_pos_world, self._object_rotation, half_extents_m)

    def lost(self) -> NDArray[np.bool_]:
        """(N,) whether the object has left the table."""
        position = self.object_pos_world
        if all_within(position, _TABLE_LOW_M, _TABLE_HIGH_M):
            return np.zeros(self.num_envs, dtype=bool)
        return ((position < _TABLE_LOW_M) | (position > _TABLE_HIGH_M)).any(axis=-1)


# The space over the table outside which an object is lost; it reaches 5 cm below the top.
_TABLE_LOW_M, _TABLE_HIGH_M = np.array([-0.4, -0.8, -0.05]), np.array([1.2, 0.8, 9.95])
_IN_TABLE_M = 0.002  # that the lowest point of a given pose may be in the table, as when it was measured


def check_names(option: str, given: Sequence[str], known: Mapping[str, Any]) -> None:
    """Raises OptionError, listing the right names, where one is wrong or none is given."""
    several = isinstance(given, Sequence) and not isinstance(given, str)
    unknown = [name for name in given if not (isinstance(name, str) and name in known)] if several else [given]
    if unknown or not given:
        hint = f"; {unknown[0]!r} is not among them" if several and unknown else ""
        raise OptionError(f"{option}={given!r}: expected one or more of {', '.join(known)}{hint}")
