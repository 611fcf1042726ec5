"""Grasp an everyday object from the table and hold it at a goal in the air."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.kernels import compiled, distances
from dexvid_envs.observations import ObservationField, Sources, memory_source
from dexvid_envs.randomization import Randomization
from dexvid_envs.rewards import Tolerances
from dexvid_envs.simulation import Rows, Simulation
from dexvid_envs.tasks.object_task import ObjectTask, ObjectTaskConfig, check_names
from dexvid_envs.tasks.task import BoolArray, FloatArray, drawn_in_box, vector_option
from robots.collision import make_visual
from robots.everyday import ALL_OBJECTS, EVERYDAY_OBJECTS


@dataclasses.dataclass(frozen=True)
class GraspLiftConfig(ObjectTaskConfig):
    """Geometry, success and reward weights of the task.

    Attributes:
        objects: names from `robots.everyday.ALL_OBJECTS`; every episode draws one. The default is the training set; the names
            in `robots.everyday.HELD_OUT_OBJECTS` are kept for generalisation.
        goal_centre_m, goal_half_extent_m: box of goals of the object's centre (x, y, z).
        success_distance_m: largest distance between the object's centre and the goal.
        hop_distance_m, hop_hold_steps: HOP's own criterion, reported beside ours.
    """

    hold_steps: int = 20
    start_yaw_rad: float = 0.8
    weights: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"reach": 0.2, "lift": 0.3, "goal": 0.5, "hold": 0.5, "success": 1.0}
    )
    objects: tuple[str, ...] = tuple(EVERYDAY_OBJECTS)
    goal_centre_m: tuple[float, float, float] = (0.46, 0.0, 0.24)
    goal_half_extent_m: tuple[float, float, float] = (0.08, 0.12, 0.05)
    success_distance_m: float = 0.05
    hop_distance_m: float = 0.1125
    hop_hold_steps: int = 50


class GraspLift(ObjectTask):
    """An object on the table has to be lifted to a goal in the air and held there.

    Reset options:
        object: one of `objects`, by name.
        object_position: (x, y) of its centre on the table, m.
        object_yaw: its turn about the vertical, rad.
        object_pose: (x, y, z, qw, qx, qy, qz) in place of both: centre, m, and unit quaternion; lying or in the air, too.
        goal_position: (x, y, z) of the goal, m.
    """

    noun = "object"
    moved_body: ClassVar[str] = "object"
    noslip_iterations: ClassVar[int] = 20  # light objects of all shapes: with 10 a mug turns by a degree in ten seconds
    reset_options: ClassVar[tuple[str, ...]] = ("object", "object_position", "object_yaw", "object_pose", "goal_position")
    summary: ClassVar[str] = "Lift an everyday object to a goal in the air and hold it there for a second."
    start: ClassVar[str] = (
        "The robot starts at home, within `home_noise_rad`. One of `objects` rests on the table; its place, its yaw and the "
        "goal are drawn uniformly from their boxes."
    )
    end: ClassVar[str] = "The object has left the table."

    def __init__(self, config: GraspLiftConfig | None = None, randomization: Randomization | None = None) -> None:
        config = config or GraspLiftConfig()
        check_names("objects", config.objects, ALL_OBJECTS)
        super().__init__(config, [ALL_OBJECTS[name] for name in config.objects], randomization)
        self.settings = config

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """The object, and the goal as a translucent ball."""
        super().add_objects(spec)
        goal = spec.worldbody.add_body(name="goal", mocap=True)
        make_visual(goal.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.02, 0, 0), rgba=(0.2, 0.75, 0.35, 0.55)))

    def bind(self, simulation: Simulation) -> None:
        """See `Task`."""
        super().bind(simulation)
        self._no_extent_m = np.zeros_like(self._half_box_m)
        self._mean_radius_m = np.zeros(self.num_envs)
        self._success_distance_m = np.array([self.settings.success_distance_m])
        self._hop_distance_m = np.array([self.settings.hop_distance_m])
        self._hop_hold_steps = np.array([self.settings.hop_hold_steps])
        self._goal_mocap = int(simulation.model.body("goal").mocapid[0])
        self.memory |= {
            "goal": np.zeros((self.num_envs, 3)),
            "hop_held_steps": np.zeros(self.num_envs, dtype=np.int64),
        }

    def use_variant(self, row: int, variant: int) -> None:
        """See `ObjectTask`."""
        super().use_variant(row, variant)
        self._mean_radius_m[row] = self.variant_extents[variant].sum() / 6

    def place(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """See `Task`."""
        self.place_object(row, rng, options)
        goal = drawn_in_box(rng, self.settings.goal_centre_m, self.settings.goal_half_extent_m)
        given = vector_option(options, "goal_position", 3)
        self.memory["goal"][row] = goal if given is None else given
        self.memory["hop_held_steps"][row] = 0
        self.simulation.mocap_pos[row, self._goal_mocap] = self.memory["goal"][row]

    def refresh(self) -> None:
        """See `Task`."""
        self.goal_distance = distances(self.memory["goal"], self.object_pos_world)  # (N,) m
        self.held = self.goal_distance <= self._success_distance_m  # (N,)

    def remember(self, rows: Rows | None) -> None:
        """See `Task`."""
        self.count("hop_held_steps", self.goal_distance <= self._hop_distance_m, rows)

    def task_fields(self, find: Sources) -> tuple[ObservationField, ...]:
        """See `Task`."""
        goal, place = memory_source("goal", 3), find.body_position("object")
        return (
            *self.object_fields(find, "zx"),
            ObservationField("object_to_goal", -2.0, 2.0, "from its centre to the goal, world, m", "object", goal, place),
            ObservationField("goal_position", -2.0, 2.0, "goal in the world, m", "goal", goal),
        )

    def reward_terms(self) -> FloatArray:
        """Reach with the fingertips, lift, bring to the goal, hold; every term is largest at the goal.

        reach: the distances of fingertips and palm from the object's surface, taken as a ball of its mean extent (1 within
            2 cm, falling over 20 cm), the mean of them; or 1 within `success_distance_m` of the goal.
        lift: reach x (the underside 8 cm above the table, falling over 8 cm), or 1 within `success_distance_m` of the goal.
        goal: lift x (1 within 2 cm of the goal, falling over 25 cm).
        hold: 1 within `success_distance_m` of the goal.
        success: 1 while the task's success holds.
        """
        hand = self.object_distance(self._no_extent_m)
        measures = _measures(hand, self.object_pos_world, self.goal_distance, self._mean_radius_m, self.half_height_m)
        return _terms(_SHAPES(measures), self.held, self.success())

    def holds(self) -> BoolArray:
        """The object's centre is within 5 cm of the goal."""
        return self.held

    def failed(self) -> BoolArray:
        """The object has left the table."""
        return self.lost()

    def metrics(self) -> dict[str, NDArray[Any]]:
        """Distance to the goal, and HOP's criterion.

        goal_distance_m: from the object's centre to the goal.
        hop_success: HOP's own criterion, within 0.1125 m of the goal for 50 consecutive steps.
        """
        return {
            "goal_distance_m": self.goal_distance,
            "hop_success": self.memory["hop_held_steps"] >= self._hop_hold_steps,
        }


@compiled
def _measures(
    hand: FloatArray, position: FloatArray, goal_distance: FloatArray, radius: FloatArray, half_height: FloatArray
) -> FloatArray:
    """(N, 7) m what `_SHAPES` shapes, from distances (N, 5) of the hand, positions (N, 3) and figures (N,) of the object."""
    measures = np.empty((len(hand), 7))
    for n in range(len(hand)):
        for k in range(5):
            measures[n, k] = hand[n, k] - radius[n]
        measures[n, 5] = position[n, 2] - half_height[n]
        measures[n, 6] = goal_distance[n]
    return measures


@compiled
def _terms(shaped: FloatArray, held: BoolArray, success: BoolArray) -> FloatArray:
    """(5, N) reward terms from shaped measures (N, 7) and flags (N,)."""
    terms = np.empty((5, len(shaped)))
    for n in range(len(shaped)):
        reach = (shaped[n, 0] + shaped[n, 1] + shaped[n, 2] + shaped[n, 3] + shaped[n, 4]) / 5
        lift = reach * shaped[n, 5]
        if held[n]:
            reach = lift = 1.0
        terms[0, n], terms[1, n], terms[2, n] = reach, lift, lift * shaped[n, 6]
        terms[3, n], terms[4, n] = held[n], success[n]
    return terms


# Gaps of four fingertips and the palm, height of the underside, distance to the goal: (low, high, margin) m.
_SHAPES = Tolerances(*[(-np.inf, 0.02, 0.2)] * 5, (0.08, np.inf, 0.08), (0.0, 0.02, 0.25))
