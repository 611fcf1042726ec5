"""Grasp an everyday object from the table and hold it at a goal in the air."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from dexvid_envs.rewards import tolerance
from dexvid_envs.simulation import Simulation
from dexvid_envs.tasks.task import (
    BoolArray,
    FloatArray,
    ObservationField,
    Task,
    TaskConfig,
    drawn_in_box,
    planar_option,
    set_free_pose,
)
from robots.collision import OBJECT_CONTACT, make_visual
from robots.objects import OBJECT_FRICTION, PRIMITIVE_OBJECTS


@dataclasses.dataclass(frozen=True)
class GraspLiftConfig(TaskConfig):
    """Geometry, success and reward weights of the task.

    Attributes:
        objects: names from `robots.objects.PRIMITIVE_OBJECTS`; every episode draws one.
        start_centre_m, start_half_extent_m: box of object starts on the table (x, y).
        start_yaw_rad: the object's yaw is drawn within this distance of 0.
        goal_centre_m, goal_half_extent_m: box of goals of the object's centre (x, y, z); at least 0.15 m above the table.
        success_distance_m: largest distance between the object's centre and the goal.
        hold_steps: consecutive control steps (20 a second) for which it has to hold.
        hop_distance_m, hop_hold_steps: HOP's own criterion, reported beside ours.
        weights: of the dense reward terms.
    """

    objects: tuple[str, ...] = tuple(PRIMITIVE_OBJECTS)
    start_centre_m: tuple[float, float] = (0.46, 0.0)
    start_half_extent_m: tuple[float, float] = (0.08, 0.10)
    start_yaw_rad: float = 0.8
    goal_centre_m: tuple[float, float, float] = (0.46, 0.0, 0.24)
    goal_half_extent_m: tuple[float, float, float] = (0.08, 0.12, 0.05)
    success_distance_m: float = 0.05
    hold_steps: int = 20
    hop_distance_m: float = 0.1125
    hop_hold_steps: int = 50
    weights: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"reach": 0.2, "lift": 0.3, "goal": 0.5, "hold": 0.5, "success": 1.0}
    )


class GraspLift(Task):
    """An object on the table has to be lifted to a goal in the air and held there."""

    reset_options: ClassVar[tuple[str, ...]] = ("object", "object_position", "object_yaw", "goal_position")
    model_fields: ClassVar[tuple[str, ...]] = (
        "geom_type",
        "geom_size",
        "geom_rbound",
        "geom_aabb",
        "geom_rgba",
        "body_mass",
        "body_inertia",
    )

    def __init__(self, config: GraspLiftConfig | None = None) -> None:
        config = config or GraspLiftConfig()
        unknown = [name for name in config.objects if name not in PRIMITIVE_OBJECTS]
        if unknown or not config.objects:
            raise OptionError(
                f"objects={config.objects!r}: expected one or more of {', '.join(PRIMITIVE_OBJECTS)}"
                + (f"; {unknown[0]!r} is not among them" if unknown else "")
            )
        super().__init__(config)
        self.settings = config

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """One free body, whose geom takes the shape of the episode's object, and the goal as a translucent ball."""
        body = spec.worldbody.add_body(name="object")
        body.add_freejoint(name="object_joint")
        first = PRIMITIVE_OBJECTS[self.settings.objects[0]]
        geom = body.add_geom(
            name="object_geom",
            type=first.geom_type,
            size=first.geom_size,
            mass=first.mass_kg,
            friction=OBJECT_FRICTION,
            condim=4,
            rgba=first.rgba,
        )
        OBJECT_CONTACT.apply(geom)
        geom.group = 2  # contact geometry and picture are the same here
        goal = spec.worldbody.add_body(name="goal", mocap=True)
        make_visual(goal.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.02, 0, 0), rgba=(0.2, 0.75, 0.35, 0.55)))

    def bind(self, simulation: Simulation) -> None:
        """See `Task`."""
        super().bind(simulation)
        model = simulation.model
        joint = model.joint("object_joint")
        self.object_qposadr, self.object_dofadr = int(joint.qposadr[0]), int(joint.dofadr[0])
        self.object_body_id, self.object_geom_id = model.body("object").id, model.geom("object_geom").id
        self.nominal = {name: np.array(getattr(model, name), dtype=np.float64) for name in self.model_fields}
        count = self.num_envs
        self.memory = {
            "object": np.full(count, -1, dtype=np.int64),
            "goal": np.zeros((count, 3)),
            "held_steps": np.zeros(count, dtype=np.int64),
            "hop_held_steps": np.zeros(count, dtype=np.int64),
        }

    def reset_row(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """See `Task`."""
        settings = self.settings
        index = int(rng.integers(len(settings.objects)))
        position = drawn_in_box(rng, settings.start_centre_m, settings.start_half_extent_m)
        yaw = rng.uniform(-1.0, 1.0) * settings.start_yaw_rad
        goal = drawn_in_box(rng, settings.goal_centre_m, settings.goal_half_extent_m)
        if "object" in options:
            if options["object"] not in settings.objects:
                raise OptionError(
                    f"reset option 'object' is {options['object']!r}; expected one of {', '.join(settings.objects)}"
                )
            index = settings.objects.index(options["object"])
        given = planar_option(options, "object_position")
        position = position if given is None else given
        yaw = float(options.get("object_yaw", yaw))
        goal = np.asarray(options.get("goal_position", goal), dtype=np.float64)
        if goal.shape != (3,) or not np.isfinite(goal).all():
            raise OptionError(f"reset option 'goal_position' is {goal!r}; expected three finite numbers (x, y, z) in metres")
        self.use_object(row, index)
        height = PRIMITIVE_OBJECTS[settings.objects[index]].size_m[2] / 2
        set_free_pose(self.simulation, row, self.object_qposadr, np.array([position[0], position[1], height]), yaw)
        self.memory["goal"][row] = goal
        self.memory["held_steps"][row] = self.memory["hop_held_steps"][row] = 0
        self.show_goal(row)

    def show_goal(self, row: int) -> None:
        """Puts the ball where the goal is."""
        self.simulation.mocap_pos[row, 0] = self.memory["goal"][row]

    def restore(self, row: int, memory: Mapping[str, Any]) -> None:
        """See `Task`; gives the object back its shape first."""
        self.use_object(row, int(memory["object"]))
        super().restore(row, memory)

    def use_object(self, row: int, index: int) -> None:
        """Gives the object body of a row the shape, mass and colour of `objects[index]`."""
        if self.memory["object"][row] == index:
            return
        self.memory["object"][row] = index
        chosen = PRIMITIVE_OBJECTS[self.settings.objects[index]]
        half = np.asarray(chosen.size_m) / 2
        values = {
            "geom_type": chosen.geom_type,
            "geom_size": chosen.geom_size,
            "geom_rbound": half[0] if chosen.kind == "sphere" else np.linalg.norm(half if chosen.kind == "box" else half[1:]),
            "geom_aabb": np.concatenate([np.zeros(3), half]),
            "geom_rgba": chosen.rgba,
            "body_mass": chosen.mass_kg,
            "body_inertia": chosen.inertia_kg_m2,
        }
        fields = {}
        for name, value in values.items():
            field = self.nominal[name].copy()
            field[self.object_geom_id if name.startswith("geom") else self.object_body_id] = value
            fields[name] = field[None]
        self.simulation.write_model(np.array([row]), fields)

    def refresh(self, *, count: bool) -> None:
        """See `Task`."""
        simulation, settings = self.simulation, self.settings
        adr, dof = self.object_qposadr, self.object_dofadr
        self.object_pos_world = simulation.qpos[:, adr : adr + 3]  # (N, 3) m
        self.object_vel_world = simulation.qvel[:, dof : dof + 3]  # (N, 3) m/s
        self.goal_offset_world = self.memory["goal"] - self.object_pos_world  # (N, 3) m
        self.goal_distance = np.sqrt((self.goal_offset_world**2).sum(axis=-1))  # (N,) m
        sizes = np.array([PRIMITIVE_OBJECTS[name].size_m for name in settings.objects])[self.memory["object"]]
        self.object_size = sizes  # (N, 3) m
        tips = self.fingertip_pos_world - self.object_pos_world[:, None]
        self.fingertip_distance = np.sqrt((tips**2).sum(axis=-1))  # (N, 4) m
        if count:
            for name, distance in (("held_steps", settings.success_distance_m), ("hop_held_steps", settings.hop_distance_m)):
                self.memory[name] = np.where(self.goal_distance <= distance, self.memory[name] + 1, 0)

    def task_fields(self) -> tuple[ObservationField, ...]:
        """See `Task`."""
        return (
            ObservationField("object_position", 3, -2.0, 2.0, "object's centre in the world, m"),
            ObservationField("object_axes", 6, -1.0, 1.0, "object's z and x axes in the world"),
            ObservationField("object_velocity", 6, -10.0, 10.0, "linear (world, m/s) and angular (object, rad/s) velocity"),
            ObservationField("object_size", 3, 0.0, 0.5, "object's full extents, m"),
            ObservationField("object_to_palm", 3, -2.0, 2.0, "from the palm to the object's centre, world, m"),
            ObservationField("object_to_fingertips", 12, -2.0, 2.0, "from each fingertip to the object's centre, world, m"),
            ObservationField("object_to_goal", 3, -2.0, 2.0, "from the object's centre to the goal, world, m"),
            ObservationField("goal_position", 3, -2.0, 2.0, "goal in the world, m"),
        )

    def observe_task(self) -> dict[str, FloatArray]:
        """See `Task`."""
        dof = self.object_dofadr
        rotation = self.simulation.xmat[:, self.object_body_id].reshape(-1, 3, 3)
        to_tips = self.object_pos_world[:, None] - self.fingertip_pos_world
        return {
            "object_position": self.object_pos_world,
            "object_axes": rotation[:, :, [2, 0]].transpose(0, 2, 1).reshape(-1, 6),
            "object_velocity": self.simulation.qvel[:, dof : dof + 6],
            "object_size": self.object_size,
            "object_to_palm": self.object_pos_world - self.palm_pos_world,
            "object_to_fingertips": to_tips.reshape(-1, 12),
            "object_to_goal": self.goal_offset_world,
            "goal_position": self.memory["goal"],
        }

    def reward_terms(self) -> dict[str, FloatArray]:
        """Reach with the fingertips, lift, bring to the goal, hold; every term is largest at the goal."""
        weights = self.settings.weights
        near = tolerance(self.fingertip_distance, (0.0, 0.05), margin=0.2).mean(axis=-1)
        height = self.object_pos_world[:, 2] - self.object_size[:, 2] / 2
        lift = tolerance(height, (0.08, np.inf), margin=0.08) * near
        goal = lift * tolerance(self.goal_distance, (0.0, 0.02), margin=0.25)
        terms = {
            "reach": near,
            "lift": lift,
            "goal": goal,
            "hold": (self.goal_distance <= self.settings.success_distance_m).astype(np.float64),
            "success": self.success().astype(np.float64),
        }
        return {name: weights[name] * value for name, value in terms.items()}

    def success(self) -> BoolArray:
        """The object's centre has been within 5 cm of the goal for 1 s."""
        return self.memory["held_steps"] >= self.settings.hold_steps

    def failed(self) -> BoolArray:
        """The object has left the table."""
        lost = (np.abs(self.object_pos_world[:, :2] - np.array([0.4, 0.0])) > 0.8).any(axis=-1)
        return lost | (self.object_pos_world[:, 2] < -0.05)

    def metrics(self) -> dict[str, NDArray[Any]]:
        """Distance to the goal and HOP's own success criterion (0.1125 m for 50 consecutive steps)."""
        return {
            "goal_distance_m": self.goal_distance,
            "hop_success": self.memory["hop_held_steps"] >= self.settings.hop_hold_steps,
        }
