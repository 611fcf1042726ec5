"""Lift an object and throw it into a bucket that the arm cannot reach."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.kernels import all_within, compiled
from dexvid_envs.observations import ObservationField, Sources, memory_source
from dexvid_envs.randomization import Randomization
from dexvid_envs.rewards import Tolerances
from dexvid_envs.rows import lengths
from dexvid_envs.simulation import Rows, Simulation
from dexvid_envs.tasks.object_task import ObjectTask, ObjectTaskConfig, check_names
from dexvid_envs.tasks.task import BoolArray, FloatArray, drawn_in_box, vector_option
from robots.bucket import Bucket, add_bucket, inside_bucket
from robots.everyday import ALL_OBJECTS
from robots.scene import ScenicCamera, TableTop

_GRAVITY_M_PER_S2 = 9.81
_CONTROL_STEP_S = 0.05
_UNKNOWN = -1.0  # NaN would make two equal infos unequal


@dataclasses.dataclass(frozen=True)
class LiftThrowConfig(ObjectTaskConfig):
    """Geometry, success and reward weights of the task.

    Attributes:
        objects: names from `robots.everyday.ALL_OBJECTS`; every episode draws one.
        bucket_centre_m, bucket_half_extent_m: box of places of the bucket (x, y), out of the arm's reach.
        lifted_m: the object counts as lifted with its underside this far above the table.
        release_clearance_m: the hand has let go when fingertips and palm are this far from the object's bounding box.
        reach_m: an object that lies on the table farther than this from the robot's base is lost.
    """

    weights: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"reach": 0.2, "lift": 0.4, "aim": 0.9, "success": 1.5}
    )
    start_yaw_rad: float = 0.8
    objects: tuple[str, ...] = ("tennis_ball", "baseball", "foam_brick", "gelatin_box", "potted_meat_can", "tomato_soup_can")
    bucket_centre_m: tuple[float, float] = (1.24, 0.0)
    bucket_half_extent_m: tuple[float, float] = (0.04, 0.06)
    lifted_m: float = 0.05
    release_clearance_m: float = 0.02
    reach_m: float = 0.95


class LiftThrow(ObjectTask):
    """An object on the table has to end in a bucket beyond the arm's reach.

    Reset options:
        object: one of `objects`, by name.
        object_position: (x, y) of its centre on the table, m.
        object_yaw: its turn about the vertical, rad.
        object_pose: (x, y, z, qw, qx, qy, qz) in place of both: centre, m, and unit quaternion; lying or in the air, too.
        bucket_position: (x, y) of the bucket's axis, m.
    """

    noun = "object"
    moved_body: ClassVar[str] = "object"
    noslip_iterations: ClassVar[int] = 20  # light objects of all shapes: with 10 a mug turns by a degree in ten seconds
    reset_options: ClassVar[tuple[str, ...]] = ("object", "object_position", "object_yaw", "object_pose", "bucket_position")
    cameras: ClassVar[tuple[ScenicCamera, ...]] = (
        ScenicCamera("overview", (1.55, -1.62, 1.00), (0.58, 0.0, 0.22), 40.0),
        ScenicCamera("front", (2.45, -0.02, 1.25), (0.66, -0.02, 0.13), 37.0),
        ScenicCamera("side", (0.58, -2.10, 0.62), (0.58, 0.0, 0.30), 40.0),
    )
    table: ClassVar[TableTop] = TableTop((0.62, 0.0), (0.84, 0.66))
    summary: ClassVar[str] = "Lift an everyday object and throw it into a bucket that the arm cannot reach."
    start: ClassVar[str] = (
        "The robot starts at home, within `home_noise_rad`. One of `objects` rests on the table; its place and yaw and the "
        "bucket's place are drawn uniformly."
    )
    end: ClassVar[str] = "The object lies out of reach beside the bucket, or has left the table."

    def __init__(self, config: LiftThrowConfig | None = None, randomization: Randomization | None = None) -> None:
        config = config or LiftThrowConfig()
        check_names("objects", config.objects, ALL_OBJECTS)
        super().__init__(config, [ALL_OBJECTS[name] for name in config.objects], randomization)
        self.settings = config
        self.bucket = Bucket()

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """The object and the bucket."""
        super().add_objects(spec)
        add_bucket(spec, self.bucket)

    def bind(self, simulation: Simulation) -> None:
        """See `Task`."""
        super().bind(simulation)
        self._bucket_mocap = int(simulation.model.body("bucket").mocapid[0])
        bucket, settings, count = self.bucket, self.settings, self.num_envs
        self._beside_m = 0.01 + max(bucket.floor_radius_m, bucket.floor_radius_m + bucket.slope * bucket.height_m)
        # An object in this box has not failed: the square in the circle of the arm's reach, above the table.
        square = min(settings.reach_m / 1.4143, 1.2)
        self._safe_low_m, self._safe_high_m = np.array([-square, -square, -0.05]), np.array([square, square, np.inf])
        self._moving = np.ones(count, dtype=np.int64)
        self._nowhere = np.zeros(count, dtype=bool)
        self._nowhere.flags.writeable = False
        self.memory |= {
            "bucket": np.zeros((count, 3)),
            "step": np.zeros(count, dtype=np.int64),
            "lifted": np.zeros(count, dtype=bool),
            "release_time_s": np.full(count, _UNKNOWN),
            "above_rim": np.zeros(count, dtype=bool),
            "landing_error_m": np.full(count, _UNKNOWN),
            "previous_position": np.zeros((count, 3)),
        }

    def place(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """See `Task`."""
        self.place_object(row, rng, options)
        drawn = drawn_in_box(rng, self.settings.bucket_centre_m, self.settings.bucket_half_extent_m)
        given = vector_option(options, "bucket_position", 2)
        memory = self.memory
        memory["bucket"][row, :2] = drawn if given is None else given
        memory["bucket"][row, 2] = self.simulation.mocap_pos[row, self._bucket_mocap, 2]
        self.simulation.mocap_pos[row, self._bucket_mocap] = memory["bucket"][row]
        memory["step"][row], memory["lifted"][row], memory["above_rim"][row] = 0, False, False
        memory["release_time_s"][row] = memory["landing_error_m"][row] = _UNKNOWN
        adr = self.object_qposadr
        memory["previous_position"][row] = self.simulation.qpos[row, adr : adr + 3]

    def refresh(self) -> None:
        """See `Task`."""
        bucket, position = self.memory["bucket"], self.object_pos_world
        # (N, 3) m from the bucket's foot to the object; (N,) m of the underside; (N,) flags
        self.from_bucket, self.height, self.raised, beside = _situation(
            bucket, position, self.half_height_m, self.settings.lifted_m, self._beside_m
        )
        self.inside = self._nowhere if beside else inside_bucket(self.bucket, bucket, position)  # (N,)
        self._hand_gap: FloatArray | None = None

    @property
    def hand_gap(self) -> FloatArray:
        """(N, 5) m from fingertips and palm to the object's bounding box; computed when it is first asked for in a step."""
        if self._hand_gap is None:
            self._hand_gap = self.box_gap()
        return self._hand_gap

    def flying(self) -> BoolArray:
        """(N,) whether the object has been lifted and is off the table with no part of the hand close to it."""
        if not np.count_nonzero(self.raised):
            return self.raised
        flying = self.raised & self.memory["lifted"]
        if np.count_nonzero(flying):
            flying &= np.minimum.reduce(self.hand_gap, axis=-1) > self.settings.release_clearance_m
        return flying

    def remember(self, rows: Rows | None) -> None:
        """Follows the flight: lifted, then released, then above the rim, then down to the rim or the table."""
        memory, moving = self.memory, self._moving
        if rows is not None:
            moving = np.zeros_like(moving)
            moving[rows] = 1
        before = memory["previous_position"]
        memory["step"] = memory["step"] + moving
        memory["previous_position"] = self.object_pos_world.copy()
        if rows is not None:
            memory["previous_position"] = np.where(moving[:, None], self.object_pos_world, before)
        if np.count_nonzero(memory["lifted"] | self.raised):  # else nothing is under way in any row
            self._follow_flight(moving.astype(bool), before)

    def _follow_flight(self, moving: BoolArray, before: FloatArray) -> None:
        """`remember` for objects that have left the table; `before` is where they were a step ago, (N, 3) m."""
        memory, position, bucket = self.memory, self.object_pos_world, self.memory["bucket"]
        released_before = memory["release_time_s"] >= 0
        releases = moving & ~released_before & self.flying()
        memory["release_time_s"] = np.where(releases, memory["step"] * _CONTROL_STEP_S, memory["release_time_s"])
        memory["lifted"] = memory["lifted"] | (moving & self.raised)
        rim = bucket[:, 2] + self.bucket.height_m
        falling = moving & released_before & (memory["landing_error_m"] < 0)
        through_rim = falling & memory["above_rim"] & (position[:, 2] <= rim)
        on_table = falling & (self.height < 0.01) & ~self.inside
        lands = through_rim | on_table
        if lands.any():
            drop = np.maximum(before[:, 2] - position[:, 2], 1e-9)
            share = np.where(through_rim, np.clip((before[:, 2] - rim) / drop, 0.0, 1.0), 1.0)[:, None]
            offset = (before + share * (position - before) - bucket)[:, :2]
            memory["landing_error_m"] = np.where(lands, lengths(offset), memory["landing_error_m"])
        memory["above_rim"] = memory["above_rim"] | (moving & released_before & (position[:, 2] > rim))

    def task_fields(self, find: Sources) -> tuple[ObservationField, ...]:
        """See `Task`."""
        bucket, place = memory_source("bucket", 3), find.body_position("object")
        return (
            *self.object_fields(find, "zx"),
            ObservationField(
                "object_to_bucket", -3.0, 3.0, "from its centre to the bucket's foot, world, m", "object", bucket, place
            ),
            ObservationField("bucket_position", -3.0, 3.0, "the bucket's foot in the world, m", "goal", bucket),
        )

    def expected_landing_error(self) -> FloatArray:
        """(N,) m horizontal distance from the bucket at which the object, let go now, would fall to the height of the rim.

        Objects that would not rise to the rim are taken at the top of their flight.
        """
        return _landing_error(self.from_bucket, self.object_vel_world, self.bucket.height_m)

    def reward_terms(self) -> FloatArray:
        """Reach, lift, aim; every term is largest with the object in the bucket.

        reach: the gaps of fingertips and palm to the object's bounding box (1 within 2 cm, falling over 20 cm), the mean of
            them; 1 for an object in flight or in the bucket.
        lift: reach x (the underside 10 cm above the table, falling over 10 cm), or 1 in the bucket.
        aim: lift x (the expected landing place within 8 cm of the bucket's axis, falling over 80 cm), or 1 in the bucket.
        success: 1 while the task's success holds.
        """
        measures = _measures(self.hand_gap, self.height, self.expected_landing_error())
        return _terms(_SHAPES(measures), self.inside, self.flying(), self.success())

    def holds(self) -> BoolArray:
        """The object's centre is in the bucket, below its rim."""
        return self.inside

    def failed(self) -> BoolArray:
        """The object lies out of reach beside the bucket, or has left the table."""
        position = self.object_pos_world
        if all_within(position, self._safe_low_m, self._safe_high_m):
            return np.zeros(self.num_envs, dtype=bool)
        x, y, z = position.T
        out_of_reach = (np.sqrt(x * x + y * y) > self.settings.reach_m) & (self.height < 0.02)
        return (out_of_reach | (z < -0.05) | (x > 2.0) | (np.abs(y) > 1.2)) & ~self.inside

    def metrics(self) -> dict[str, NDArray[Any]]:
        """Release and landing.

        release_time_s: time into the episode at which the hand let go of the lifted object, -1 before.
        landing_error_m: distance from the bucket's axis at which the object came down to the rim or the table, -1 before.
        in_bucket: whether the object is in the bucket now.
        """
        return {
            "release_time_s": self.memory["release_time_s"],
            "landing_error_m": self.memory["landing_error_m"],
            "in_bucket": self.inside,
        }


@compiled
def _situation(
    bucket: FloatArray, position: FloatArray, half_height: FloatArray, lifted_m: float, beside_m: float
) -> tuple[FloatArray, FloatArray, BoolArray, bool]:
    """Ways (N, 3) m from the bucket's foot, heights (N,) m, what is lifted, and whether nothing is near the bucket."""
    way, height, raised, beside = np.empty(bucket.shape), np.empty(len(bucket)), np.empty(len(bucket), np.bool_), True
    for n in range(len(bucket)):
        for axis in range(3):
            way[n, axis] = position[n, axis] - bucket[n, axis]
        height[n] = position[n, 2] - half_height[n]
        raised[n] = height[n] > lifted_m
        if abs(way[n, 0]) <= beside_m:
            beside = False
    return way, height, raised, beside


@compiled
def _landing_error(position: FloatArray, velocity: FloatArray, rim_m: float) -> FloatArray:
    """(N,) m for positions (N, 3) m from the bucket's foot and velocities (N, 3) m/s; the rim is at the height `rim_m`."""
    error = np.empty(len(position))
    for n in range(len(position)):
        upward = velocity[n, 2]
        reaches = max(upward * upward + 2 * _GRAVITY_M_PER_S2 * (position[n, 2] - rim_m), 0.0)
        flight_s = max(upward + math.sqrt(reaches), 0.0) / _GRAVITY_M_PER_S2
        error[n] = math.hypot(position[n, 0] + velocity[n, 0] * flight_s, position[n, 1] + velocity[n, 1] * flight_s)
    return error


@compiled
def _measures(hand: FloatArray, height: FloatArray, landing_error: FloatArray) -> FloatArray:
    """(N, 7) m what `_SHAPES` shapes, from gaps (N, 5) of the hand and figures (N,)."""
    measures = np.empty((len(hand), 7))
    for n in range(len(hand)):
        for k in range(5):
            measures[n, k] = hand[n, k]
        measures[n, 5], measures[n, 6] = height[n], landing_error[n]
    return measures


@compiled
def _terms(shaped: FloatArray, inside: BoolArray, flying: BoolArray, success: BoolArray) -> FloatArray:
    """(4, N) reward terms from shaped measures (N, 7) and flags (N,)."""
    terms = np.empty((4, len(shaped)))
    for n in range(len(shaped)):
        reach = (shaped[n, 0] + shaped[n, 1] + shaped[n, 2] + shaped[n, 3] + shaped[n, 4]) / 5
        if flying[n]:
            reach = 1.0
        lift = reach * shaped[n, 5]
        aim = lift * shaped[n, 6]
        if inside[n]:
            reach = lift = aim = 1.0
        terms[0, n], terms[1, n], terms[2, n], terms[3, n] = reach, lift, aim, success[n]
    return terms


# Gaps of four fingertips and the palm, height of the underside, expected landing error: (low, high, margin) m.
_SHAPES = Tolerances(*[(-np.inf, 0.02, 0.2)] * 5, (0.10, np.inf, 0.10), (-np.inf, 0.08, 0.8))
