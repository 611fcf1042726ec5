"""The scripted policy of BottlePickPlace: wrap the bottle from the side, set it down on the target, let go and draw back."""

from __future__ import annotations

import math

import numpy as np

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.scripted.grasps import Grasp, wrap_grasp
from dexvid_envs.scripted.picking import OPEN_RAD_PER_S, PickingPolicy
from dexvid_envs.scripted.scripted import BoolArray, FloatArray, Phase, Rows
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlace
from robots.everyday import EverydayObject

LIFT_M = 0.05
CARRY_M_PER_S = 0.30
LOWER_M_PER_S = 0.10
OPEN_STEPS = 16
RETREAT_M_PER_S = 0.25


class ScriptedBottlePickPlace(PickingPolicy[BottlePickPlace]):
    """Side wrap, carried upright."""

    task_type = BottlePickPlace
    margin_rad = 0.4  # to set upright what tilted in the hand takes half of it
    other_yaws_rad = (0.3, -0.3, 0.6, -0.6)

    def __init__(self, core: EnvironmentCore) -> None:
        self.lift_from = np.zeros((core.num_envs, 3))  # (N, 3) m, bottle's place when the lift begins
        self.retreat_from = np.zeros((core.num_envs, 4, 4))  # palm pose at the release
        super().__init__(core)

    def make_phases(self) -> tuple[Phase, ...]:
        """See `ScriptedPolicy`."""
        return (self.reach, self.approach, self.close, self.lift, self.transfer, self.lower, self.release, self.retreat)

    def grasp_of(self, shape: EverydayObject) -> Grasp:
        """See `PickingPolicy`: the whole hand around the bottle; a flat one shows the robot its narrow side."""
        x, y, _ = shape.extents_m
        return wrap_grasp(shape.extents_m, shape.mass_kg, () if x == y else (0.0, math.pi))

    def destination(self, rows: Rows) -> FloatArray:
        """See `PickingPolicy`."""
        memory = self.task.memory
        return np.concatenate([memory["target"][rows], memory["object_size"][rows, 2:] / 2], axis=-1)

    def lift(self, rows: Rows) -> BoolArray:
        """Straight up."""
        begins = self.phase_steps[rows] == 0
        self.lift_from[rows] = np.where(begins[:, None], self.task.object_pos_world[rows], self.lift_from[rows])
        remaining = self.carry(rows, self.lift_from[rows] + np.array([0.0, 0.0, LIFT_M]), 0.2, upright=True)
        return (remaining < 0.015) | (self.phase_steps[rows] >= 20)

    def transfer(self, rows: Rows) -> BoolArray:
        """Above the target."""
        remaining = self.carry(rows, self.destination(rows) + np.array([0.0, 0.0, LIFT_M]), CARRY_M_PER_S, upright=True)
        return (remaining < 0.006) | (self.phase_steps[rows] >= 50)

    def lower(self, rows: Rows) -> BoolArray:
        """Down until the table carries it."""
        below = self.destination(rows) - np.array([0.0, 0.0, 0.004])
        self.carry(rows, below, LOWER_M_PER_S, upright=True)
        return (self.task.base_height[rows] < 0.001) | (self.phase_steps[rows] >= 30)

    def release(self, rows: Rows) -> BoolArray:
        """Opens where the hand is."""
        begins = self.phase_steps[rows] == 0
        present = self.body_pose(rows, self.palm_body_id)
        self.retreat_from[rows] = np.where(begins[:, None, None], present, self.retreat_from[rows])
        self.move_hand(rows, self.open_rad[rows], OPEN_RAD_PER_S)
        return self.phase_steps[rows] >= OPEN_STEPS

    def retreat(self, rows: Rows) -> BoolArray:
        """Back along the palm's normal."""
        self.move_palm(rows, self.backed(rows, self.retreat_from[rows]), RETREAT_M_PER_S)
        return np.zeros(len(rows), dtype=bool)
