"""Pick up a standing bottle and place it upright on a target: the task of the paper that ended in zero success."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from dexvid_envs.kernels import all_within, compiled
from dexvid_envs.observations import ObservationField, Sources, memory_source
from dexvid_envs.randomization import Randomization
from dexvid_envs.rewards import Tolerances
from dexvid_envs.rows import lengths
from dexvid_envs.simulation import Rows, Simulation
from dexvid_envs.tasks.object_task import ObjectTask, ObjectTaskConfig
from dexvid_envs.tasks.task import BoolArray, FloatArray, drawn_in_box, vector_option
from robots.allegro import FINGERTIP_RADIUS_M, PALM_CENTRE_M, PALM_SIZE_M
from robots.collision import ROLLING_CONTACT_DIMENSIONS, make_visual
from robots.everyday_bottles import bottle_object
from robots.objects import BOTTLES, bottle_distance


@dataclasses.dataclass(frozen=True)
class BottlePickPlaceConfig(ObjectTaskConfig):
    """Geometry, success and reward weights of the task.

    Attributes:
        bottle: "pet" (round, 65 x 210 mm, 0.30 kg) or "mustard" (58 x 95 x 190 mm, 0.603 kg); its filling is randomised by
            `randomization={"mass": ...}`, its size by `{"size": ...}`.
        target_centre_m, target_half_extent_m: box of targets on the table (x, y).
        target_apart_m: least horizontal distance at which a target is drawn from the bottle's start.
        success_distance_m: largest horizontal distance of bottle and target.
        success_tilt_rad: largest angle between the bottle's axis and the vertical.
        success_height_m: largest height of the base above the table.
        success_speed_m_per_s: the bottle counts as standing still below this speed.
        release_clearance_m: the hand has let go when every part of it is this far from the bottle.
    """

    start_centre_m: tuple[float, float] = (0.46, -0.20)
    start_half_extent_m: tuple[float, float] = (0.08, 0.08)
    weights: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"reach": 0.1, "lift": 0.2, "carry": 0.3, "place": 0.4, "release": 0.5, "success": 1.5}
    )
    bottle: str = "pet"
    target_centre_m: tuple[float, float] = (0.46, 0.12)
    target_half_extent_m: tuple[float, float] = (0.08, 0.08)
    target_apart_m: float = 0.0
    success_distance_m: float = 0.03
    success_tilt_rad: float = 0.15
    success_height_m: float = 0.01
    success_speed_m_per_s: float = 0.05
    release_clearance_m: float = 0.005


# Points that stand for the hand in the release test: links with the radius around each, and the palm's box as points of it.
_HAND_LINKS = tuple(
    (f"{finger}_{link}_link", 0.010)
    for finger in ("index", "middle", "ring", "thumb")
    for link in ("proximal", "medial", "distal")
)
_PALM_GRID = np.stack(np.meshgrid([0.0, 1.0], [-1.0, -0.5, 0.0, 0.5, 1.0], [-1.0, -0.5, 0.0, 0.5, 1.0]), axis=-1).reshape(-1, 3)
_PALM_POINTS_M = np.array(PALM_CENTRE_M) + _PALM_GRID * np.array(PALM_SIZE_M) / 2  # in the palm's frame, back half left out

_ALL = slice(None)


class BottlePickPlace(ObjectTask):
    """A bottle standing at a random place has to stand, released, upright and at rest, on a random target.

    Reset options:
        bottle_position: (x, y) of the standing bottle, m.
        bottle_yaw: its turn about the vertical, rad.
        bottle_pose: (x, y, z, qw, qx, qy, qz) in place of both: centre, m, and unit quaternion; lying or in the air, too.
        target_position: (x, y) of the target on the table, m.
    """

    noun = "bottle"
    moved_body: ClassVar[str] = "bottle"
    reset_options: ClassVar[tuple[str, ...]] = ("bottle_position", "bottle_yaw", "bottle_pose", "target_position")
    summary: ClassVar[str] = "Pick up a standing bottle, place it upright on a target, let go of it, and leave it at rest."
    start: ClassVar[str] = (
        "The robot starts at home, within `home_noise_rad`. The bottle stands on the table; its place and the target are drawn "
        "uniformly from their boxes, its yaw within `start_yaw_rad`."
    )
    end: ClassVar[str] = "The bottle lies on its side or has left the table."

    def __init__(self, config: BottlePickPlaceConfig | None = None, randomization: Randomization | None = None) -> None:
        config = config or BottlePickPlaceConfig()
        if config.bottle not in BOTTLES:
            raise OptionError(f"unknown bottle {config.bottle!r}: expected one of {', '.join(BOTTLES)}")
        self.shape = BOTTLES[config.bottle]
        super().__init__(config, [bottle_object(config.bottle, self.shape)], randomization)
        self.settings = config

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """The bottle, and the target as a coloured ring on the table; the table resists rolling."""
        super().add_objects(spec)
        spec.geom("table").condim = ROLLING_CONTACT_DIMENSIONS  # else a bottle let go of askew rolls on its rim for ever
        target = spec.worldbody.add_body(name="target", mocap=True)
        for radius, height, rgba in ((0.055, 0.0006, (0.2, 0.75, 0.35, 1)), (0.045, 0.0008, (0.93, 0.93, 0.90, 1))):
            make_visual(target.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(radius, height, 0), rgba=rgba))

    def bind(self, simulation: Simulation) -> None:
        """See `Task`."""
        super().bind(simulation)
        model = simulation.model
        self._target_mocap = int(model.body("target").mocapid[0])
        self._hand_body_ids = np.array([model.body(name).id for name, _ in _HAND_LINKS])
        self._palm_body_id = model.body(self.robot.palm_body).id
        self._hand_radii_m = np.array(
            [radius for _, radius in _HAND_LINKS]
            + [FINGERTIP_RADIUS_M] * len(self.robot.fingertip_sites)
            + [0.0] * len(_PALM_POINTS_M)
        )
        self.bottle_axis_world = simulation.xmat[:, self.object_body_id, 2::3]  # (N, 3), live
        self._half_axis_m = np.zeros((self.num_envs, len(self._hand_site_ids), 3))  # of the bar from base to cap
        self._lying_height_m = np.zeros(self.num_envs)
        scales = self.variant_extents[:, 2] / self.shape.height_m
        # With its centre in this box, no bottle has failed; it begins above where the largest one lies.
        self._safe_low_m = np.array([-0.4, -0.8, _LYING_HEIGHT_M * max(1.0, scales.max())])
        self._safe_high_m = np.array([1.2, 0.8, 2.0])
        self._radius_m = np.zeros(self.num_envs)  # of bar and fingertip together
        self._near_m = max(_NEAR_M, self.settings.success_distance_m)
        self.memory |= {"target": np.zeros((self.num_envs, 2))}

    def use_variant(self, row: int, variant: int) -> None:
        """See `ObjectTask`."""
        super().use_variant(row, variant)
        height = self.variant_extents[variant, 2]
        radius = (self.shape.half_width_m + self.shape.half_depth_m) / 2
        self._half_axis_m[row, :, 2] = height / 2
        self._lying_height_m[row] = _LYING_HEIGHT_M * height / self.shape.height_m
        self._radius_m[row] = height / self.shape.height_m * radius + FINGERTIP_RADIUS_M

    def place(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """See `Task`."""
        self.place_object(row, rng, options)
        given = vector_option(options, "target_position", 2)
        self.memory["target"][row] = self._drawn_target(rng, self.object_pos_world[row, :2], given)
        self.simulation.mocap_pos[row, self._target_mocap, :2] = self.memory["target"][row]

    def _drawn_target(self, rng: np.random.Generator, start: FloatArray, given: FloatArray | None) -> FloatArray:
        """(2,) m the given target, or one at least `target_apart_m` from the bottle's start (2,) m; one is drawn either way."""
        settings = self.settings
        for _ in range(_MOST_TARGET_DRAWS):
            target = drawn_in_box(rng, settings.target_centre_m, settings.target_half_extent_m)
            if given is not None:
                return given
            if np.linalg.norm(target - start) >= settings.target_apart_m:
                return target
        raise OptionError(
            f"target_apart_m={settings.target_apart_m:g}: no target within {settings.target_half_extent_m} m of "
            f"{settings.target_centre_m} was that far from the bottle at ({start[0]:.2f}, {start[1]:.2f}); lower it, or move "
            "or widen the box of targets"
        )

    def refresh(self) -> None:
        """See `Task`."""
        self.target_distance, self.base_height, near = _situation(  # (N,) m, m, flags
            self.memory["target"], self.object_pos_world, self.bottle_axis_world, self.half_height_m, self._near_m
        )
        self._hand_clearance: FloatArray | None = None
        self.arrived = near  # (N,) within `success_distance_m`
        released = near  # (N,) it stands still near its target and no part of the hand is close to it
        if np.count_nonzero(near):  # else none has arrived or is released; the dearer tests come last
            settings = self.settings
            self.arrived = self.target_distance <= settings.success_distance_m
            upright = self.bottle_axis_world[:, 2] >= np.cos(settings.success_tilt_rad)
            released = near & upright & (self.base_height <= settings.success_height_m)
            released &= lengths(self.object_vel_world) <= settings.success_speed_m_per_s
        rows = np.flatnonzero(released)
        if len(rows):  # hardly ever all of them
            released[rows] = self._clearance(rows) >= self.settings.release_clearance_m
        self.released = released

    def hand_in_bottle(self, rows: Rows | slice = _ALL) -> FloatArray:
        """(N, 66, 3) m centres of the hand's links and tips, and points of the palm, in the bottle's frame; of some rows."""
        simulation, palm = self.simulation, self._palm_body_id
        bodies = simulation.xpos[rows]
        axes = simulation.xmat[rows, palm].reshape(-1, 3, 3)
        palm_points = bodies[:, palm, None] + np.einsum("nij,pj->npi", axes, _PALM_POINTS_M)
        hand = np.concatenate([bodies.take(self._hand_body_ids, axis=1), self.hand_pos_world[rows, :-1], palm_points], axis=1)
        hand -= self.object_pos_world[rows, None]
        return hand @ self._object_rotation[rows]  # one small product per row

    def _clearance(self, rows: Rows | slice) -> FloatArray:
        """(N,) m distance of the hand's nearest part from the bottle, in some rows."""
        scale = self.memory["object_size"][rows, None, 2] / self.shape.height_m
        distance = bottle_distance(self.shape, self.hand_in_bottle(rows) / scale[..., None]) * scale
        return np.minimum.reduce(distance - self._hand_radii_m, axis=-1)

    @property
    def hand_clearance(self) -> FloatArray:
        """(N,) m distance of the hand's nearest part from the bottle; computed when it is first asked for in a step."""
        clearance = self._hand_clearance
        if clearance is None:
            clearance = self._hand_clearance = self._clearance(_ALL)
        return clearance

    def task_fields(self, find: Sources) -> tuple[ObservationField, ...]:
        """See `Task`."""
        target, bottle = memory_source("target", 2), find.body_position("bottle")
        planar = dataclasses.replace(bottle, indices=bottle.indices[:2])
        return (
            *self.object_fields(find, "zx"),
            ObservationField("bottle_to_target", -2.0, 2.0, "horizontal way to its target, world, m", "object", target, planar),
            ObservationField("target_position", -2.0, 2.0, "target on the table, world, m", "goal", target),
        )

    def reward_terms(self) -> FloatArray:
        """Stages that only add up, so that no stage is worth leaving: reach, lift, carry, place, release, success.

        All but release and success are multiplied by how upright the bottle is (1 within 0.1 rad, falling over 0.5 of cosine).
        reach: the fingertips' gaps to the bottle, taken as a round bar (1 within 5 mm, falling over 15 cm), or 1 within
            `success_distance_m`.
        lift: the base 4 cm above the table (falling over 4 cm), or 1 within `success_distance_m`.
        carry: lift x the distance to the target (1 within 2 cm, falling over 35 cm).
        place: the distance (falling over 8 cm) x the base within 1 cm of the table (falling over 5 cm).
        release: the distance (falling over 8 cm), where the bottle stands still near the target and the hand has let go.
        success: 1 while the task's success holds.
        """
        hand = self.object_distance(self._half_axis_m)
        measures = _measures(hand, self._radius_m, self.bottle_axis_world, self.base_height, self.target_distance)
        return _terms(_SHAPES(measures), self.arrived, self.released, self.success())

    def holds(self) -> BoolArray:
        """Within 3 cm of the target, upright, standing on the table, still and released."""
        return self.released & self.arrived

    def failed(self) -> BoolArray:
        """The bottle has left the table or lies on its side."""
        position = self.object_pos_world
        if all_within(position, self._safe_low_m, self._safe_high_m):
            return np.zeros(self.num_envs, dtype=bool)
        lying = (self.bottle_axis_world[:, 2] < _LYING_COSINE) & (position[:, 2] < self._lying_height_m)
        return lying | self.lost()

    def metrics(self) -> dict[str, NDArray[Any]]:
        """Where the bottle is, and whether it has been let go.

        target_distance_m: horizontal distance from the bottle's centre to the target.
        base_height_m: height of the middle of the bottle's base above the table.
        released: whether it stands still near the target with the hand off.
        """
        return {
            "target_distance_m": self.target_distance,
            "base_height_m": self.base_height,
            "released": self.released,
        }


#: The release is looked at within this distance of the target; beyond it the reward for it has vanished.
_NEAR_M = 0.2
_MOST_TARGET_DRAWS = 10_000
#: The bottle lies with its axis and its centre below these; the height is that of a bottle of the usual size.
_LYING_COSINE, _LYING_HEIGHT_M = np.array([0.35]), 0.07


@compiled
def _situation(
    target: FloatArray, position: FloatArray, axis: FloatArray, half_height: FloatArray, near_m: float
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Horizontal distances (N,) m from targets (N, 2), heights (N,) m of the bases, and which bottles are near."""
    distance, base_height, near = np.empty(len(target)), np.empty(len(target)), np.empty(len(target), np.bool_)
    for n in range(len(target)):
        distance[n] = math.hypot(target[n, 0] - position[n, 0], target[n, 1] - position[n, 1])
        base_height[n] = position[n, 2] - half_height[n] * axis[n, 2]
        near[n] = distance[n] <= near_m
    return distance, base_height, near


@compiled
def _measures(
    hand: FloatArray, radius: FloatArray, axis: FloatArray, base_height: FloatArray, target_distance: FloatArray
) -> FloatArray:
    """(N, 9) what `_SHAPES` shapes, from distances (N, 5) of the hand and the bottle's axes (N, 3) and figures (N,)."""
    measures = np.empty((len(hand), 9))
    for n in range(len(hand)):
        for k in range(4):
            measures[n, k] = hand[n, k] - radius[n]
        measures[n, 4] = axis[n, 2]
        measures[n, 5] = measures[n, 6] = base_height[n]
        measures[n, 7] = measures[n, 8] = target_distance[n]
    return measures


@compiled
def _terms(shaped: FloatArray, arrived: BoolArray, released: BoolArray, success: BoolArray) -> FloatArray:
    """(6, N) reward terms from shaped measures (N, 9) and flags (N,)."""
    terms = np.empty((6, len(shaped)))
    for n in range(len(shaped)):
        reach, lift = (shaped[n, 0] + shaped[n, 1] + shaped[n, 2] + shaped[n, 3]) / 4, shaped[n, 5]
        if arrived[n]:
            reach = lift = 1.0
        upright, near = shaped[n, 4], shaped[n, 7]
        terms[0, n], terms[1, n], terms[2, n] = reach * upright, lift * upright, lift * upright * shaped[n, 8]
        terms[3, n], terms[4, n], terms[5, n] = near * shaped[n, 6] * upright, near * released[n], success[n]
    return terms


# Gaps of four fingertips m, cosine of the tilt, height of the base m (twice), distance to the target m (twice).
_SHAPES = Tolerances(
    *[(-np.inf, 0.005, 0.15)] * 4,
    (float(np.cos(0.1)), np.inf, 0.5),
    (0.04, np.inf, 0.04),
    (-0.01, 0.01, 0.05),
    (-np.inf, 0.02, 0.08),
    (-np.inf, 0.02, 0.35),
)
