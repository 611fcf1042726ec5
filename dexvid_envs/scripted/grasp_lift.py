"""The scripted policy of GraspLift: reach, close, lift, bring to the goal and stay there."""

from __future__ import annotations

import numpy as np

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.scripted.picking import PickingPolicy
from dexvid_envs.scripted.scripted import BoolArray, FloatArray, Phase, Rows
from dexvid_envs.tasks.grasp_lift import GraspLift

LIFT_M = 0.06
LIFT_M_PER_S = 0.20
CARRY_M_PER_S = 0.30


class ScriptedGraspLift(PickingPolicy[GraspLift]):
    """Chooses the grasp by the object's shape."""

    task_type = GraspLift

    def __init__(self, core: EnvironmentCore) -> None:
        self.lift_from = np.zeros((core.num_envs, 3))  # (N, 3) m, object's place when the lift begins
        super().__init__(core)

    def make_phases(self) -> tuple[Phase, ...]:
        """See `ScriptedPolicy`."""
        return (self.reach, self.approach, self.close, self.lift, self.hold)

    def destination(self, rows: Rows) -> FloatArray:
        """See `PickingPolicy`."""
        return self.task.memory["goal"][rows]

    def lift(self, rows: Rows) -> BoolArray:
        """Straight up, clear of the table."""
        begins = self.phase_steps[rows] == 0
        self.lift_from[rows] = np.where(begins[:, None], self.task.object_pos_world[rows], self.lift_from[rows])
        remaining = self.carry(rows, self.lift_from[rows] + np.array([0.0, 0.0, LIFT_M]), LIFT_M_PER_S)
        return (remaining < 0.01) | (self.phase_steps[rows] >= 20)

    def hold(self, rows: Rows) -> BoolArray:
        """To the goal, and there for ever."""
        self.carry(rows, self.destination(rows), CARRY_M_PER_S)
        return np.zeros(len(rows), dtype=bool)
