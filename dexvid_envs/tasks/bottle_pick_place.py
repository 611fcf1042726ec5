"""Pick up a standing bottle and place it upright on a target: the task of the paper that ended in zero success."""

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
from robots.collision import make_visual
from robots.objects import BOTTLES, add_bottle, bottle_distance


@dataclasses.dataclass(frozen=True)
class BottlePickPlaceConfig(TaskConfig):
    """Geometry, success and reward weights of the task.

    Attributes:
        bottle: "pet" (round, 65 x 210 mm, 0.30 kg) or "mustard" (58 x 95 x 190 mm, 0.603 kg).
        start_centre_m, start_half_extent_m: box of bottle starts on the table (x, y).
        start_yaw_rad: the bottle's yaw is drawn within this distance of 0; invisible for the round bottle.
        target_centre_m, target_half_extent_m: box of targets on the table (x, y).
        success_distance_m: largest horizontal distance of bottle and target.
        success_tilt_rad: largest angle between the bottle's axis and the vertical.
        success_height_m: largest height of the base above the table.
        success_speed_m_per_s: the bottle counts as standing still below this speed.
        release_clearance_m: the hand has let go when every part of it is this far from the bottle.
        hold_steps: consecutive control steps (20 a second) for which all of it has to hold.
        weights: of the dense reward terms.
    """

    bottle: str = "pet"
    start_centre_m: tuple[float, float] = (0.46, -0.20)
    start_half_extent_m: tuple[float, float] = (0.08, 0.08)
    start_yaw_rad: float = 0.0
    target_centre_m: tuple[float, float] = (0.46, 0.12)
    target_half_extent_m: tuple[float, float] = (0.08, 0.08)
    success_distance_m: float = 0.03
    success_tilt_rad: float = 0.15
    success_height_m: float = 0.01
    success_speed_m_per_s: float = 0.05
    release_clearance_m: float = 0.005
    hold_steps: int = 10
    weights: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"reach": 0.1, "lift": 0.2, "carry": 0.3, "place": 0.4, "release": 0.5, "success": 1.5}
    )


# Points that stand for the hand in the release test, with the radius of the link around each.
_HAND_LINKS = tuple(
    (f"{finger}_{link}_link", 0.010) for finger in ("index", "middle", "ring", "thumb") for link in ("medial", "distal")
)


class BottlePickPlace(Task):
    """A bottle standing at a random place has to stand, released, upright and at rest, on a random target."""

    reset_options: ClassVar[tuple[str, ...]] = ("bottle_position", "bottle_yaw", "target_position")

    def __init__(self, config: BottlePickPlaceConfig | None = None) -> None:
        config = config or BottlePickPlaceConfig()
        if config.bottle not in BOTTLES:
            raise OptionError(f"unknown bottle {config.bottle!r}: expected one of {', '.join(BOTTLES)}")
        super().__init__(config)
        self.settings = config
        self.shape = BOTTLES[config.bottle]

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """The bottle, and the target as a coloured ring on the table."""
        add_bottle(spec, "bottle", self.shape)
        target = spec.worldbody.add_body(name="target", mocap=True)
        for radius, height, rgba in ((0.055, 0.0006, (0.2, 0.75, 0.35, 1)), (0.045, 0.0008, (0.93, 0.93, 0.90, 1))):
            make_visual(target.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(radius, height, 0), rgba=rgba))

    def bind(self, simulation: Simulation) -> None:
        """See `Task`."""
        super().bind(simulation)
        model = simulation.model
        joint = model.joint("bottle_joint")
        self.bottle_qposadr, self.bottle_dofadr = int(joint.qposadr[0]), int(joint.dofadr[0])
        self.bottle_body_id = model.body("bottle").id
        self.hand_body_ids = np.array([model.body(name).id for name, _ in _HAND_LINKS])
        self.hand_radii_m = np.array([radius for _, radius in _HAND_LINKS] + [0.012] * len(self.fingertip_ids) + [0.002])
        self.memory = {
            "target": np.zeros((self.num_envs, 2)),
            "held_steps": np.zeros(self.num_envs, dtype=np.int64),
        }

    def reset_row(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """See `Task`."""
        settings = self.settings
        start = drawn_in_box(rng, settings.start_centre_m, settings.start_half_extent_m)
        yaw = rng.uniform(-1.0, 1.0) * settings.start_yaw_rad
        target = drawn_in_box(rng, settings.target_centre_m, settings.target_half_extent_m)
        given_start, given_target = planar_option(options, "bottle_position"), planar_option(options, "target_position")
        start = start if given_start is None else given_start
        yaw = float(options.get("bottle_yaw", yaw))
        position = np.array([start[0], start[1], self.shape.height_m / 2])
        set_free_pose(self.simulation, row, self.bottle_qposadr, position, yaw)
        self.memory["target"][row] = target if given_target is None else given_target
        self.memory["held_steps"][row] = 0
        self.show_goal(row)

    def show_goal(self, row: int) -> None:
        """Puts the ring where the target is."""
        self.simulation.mocap_pos[row, 0, :2] = self.memory["target"][row]

    def refresh(self, *, count: bool) -> None:
        """See `Task`."""
        simulation, settings = self.simulation, self.settings
        adr, dof = self.bottle_qposadr, self.bottle_dofadr
        self.bottle_pos_world = simulation.qpos[:, adr : adr + 3]  # (N, 3) m
        self.bottle_vel_world = simulation.qvel[:, dof : dof + 3]  # (N, 3) m/s
        rotation = simulation.xmat[:, self.bottle_body_id].reshape(-1, 3, 3)
        self.bottle_axis_world = rotation[:, :, 2]  # (N, 3)
        self.bottle_heading_world = rotation[:, :, 0]  # (N, 3)
        self.target_offset_world = self.memory["target"] - self.bottle_pos_world[:, :2]  # (N, 2) m
        self.target_distance = np.sqrt((self.target_offset_world**2).sum(axis=-1))  # (N,) m
        half_height = self.shape.height_m / 2
        self.base_height = self.bottle_pos_world[:, 2] - half_height * self.bottle_axis_world[:, 2]  # (N,) m
        hand = np.concatenate(
            [simulation.xpos[:, self.hand_body_ids], self.fingertip_pos_world, self.palm_pos_world[:, None]], axis=1
        )
        relative = ((hand - self.bottle_pos_world[:, None])[:, :, :, None] * rotation[:, None]).sum(axis=2)
        self.hand_clearance = (bottle_distance(self.shape, relative) - self.hand_radii_m).min(axis=-1)  # (N,) m
        tips = relative[:, len(_HAND_LINKS) : -1]
        self.fingertip_gap = np.maximum(bottle_distance(self.shape, tips) - 0.012, 0.0)  # (N, 4) m
        self.standing = (
            (self.bottle_axis_world[:, 2] >= np.cos(settings.success_tilt_rad))
            & (self.base_height <= settings.success_height_m)
            & (np.sqrt((self.bottle_vel_world**2).sum(axis=-1)) <= settings.success_speed_m_per_s)
        )
        self.released = self.hand_clearance >= settings.release_clearance_m
        placed = self.standing & self.released & (self.target_distance <= settings.success_distance_m)
        if count:
            self.memory["held_steps"] = np.where(placed, self.memory["held_steps"] + 1, 0)

    def task_fields(self) -> tuple[ObservationField, ...]:
        """See `Task`."""
        return (
            ObservationField("bottle_position", 3, -2.0, 2.0, "bottle's centre in the world, m"),
            ObservationField("bottle_axes", 6, -1.0, 1.0, "bottle's long axis and x axis in the world"),
            ObservationField("bottle_velocity", 6, -10.0, 10.0, "linear (world, m/s) and angular (bottle, rad/s) velocity"),
            ObservationField("bottle_to_palm", 3, -2.0, 2.0, "from the palm to the bottle's centre, world, m"),
            ObservationField("bottle_to_fingertips", 12, -2.0, 2.0, "from each fingertip to the bottle's centre, world, m"),
            ObservationField("bottle_to_target", 2, -2.0, 2.0, "horizontal way from the bottle to its target, world, m"),
            ObservationField("target_position", 2, -2.0, 2.0, "target on the table, world, m"),
        )

    def observe_task(self) -> dict[str, FloatArray]:
        """See `Task`."""
        dof = self.bottle_dofadr
        to_tips = self.bottle_pos_world[:, None] - self.fingertip_pos_world
        return {
            "bottle_position": self.bottle_pos_world,
            "bottle_axes": np.concatenate([self.bottle_axis_world, self.bottle_heading_world], axis=-1),
            "bottle_velocity": self.simulation.qvel[:, dof : dof + 6],
            "bottle_to_palm": self.bottle_pos_world - self.palm_pos_world,
            "bottle_to_fingertips": to_tips.reshape(-1, 12),
            "bottle_to_target": self.target_offset_world,
            "target_position": self.memory["target"],
        }

    def reward_terms(self) -> dict[str, FloatArray]:
        """Stages that only add up, so that no stage is worth leaving: reach, lift, carry, place, release, success."""
        weights = self.settings.weights
        upright = tolerance(self.bottle_axis_world[:, 2], (np.cos(0.1), 1.0), margin=0.5)
        near = tolerance(self.target_distance, (0.0, 0.02), margin=0.08)
        arrived = self.target_distance <= self.settings.success_distance_m
        reach = np.where(arrived, 1.0, tolerance(self.fingertip_gap, (0.0, 0.005), margin=0.15).mean(axis=-1))
        lift = np.where(arrived, 1.0, tolerance(self.base_height, (0.04, np.inf), margin=0.04))
        carry = lift * tolerance(self.target_distance, (0.0, 0.02), margin=0.35)
        place = near * tolerance(self.base_height, (-0.01, 0.01), margin=0.05)
        release = near * (self.standing & self.released)
        terms = {
            "reach": reach * upright,
            "lift": lift * upright,
            "carry": carry * upright,
            "place": place * upright,
            "release": release,
            "success": self.success().astype(np.float64),
        }
        return {name: weights[name] * value for name, value in terms.items()}

    def success(self) -> BoolArray:
        """Within 3 cm of the target, upright, standing on the table, still and released, for 0.5 s."""
        return self.memory["held_steps"] >= self.settings.hold_steps

    def failed(self) -> BoolArray:
        """The bottle has fallen off the robot's reach or lies on its side."""
        lying = (self.bottle_axis_world[:, 2] < 0.35) & (self.bottle_pos_world[:, 2] < 0.07)
        lost = (np.abs(self.bottle_pos_world[:, :2] - np.array([0.4, 0.0])) > 0.8).any(axis=-1)
        return lying | lost

    def metrics(self) -> dict[str, NDArray[Any]]:
        """Distance to the target, height of the base, release."""
        return {
            "target_distance_m": self.target_distance,
            "base_height_m": self.base_height,
            "released": self.released,
        }
