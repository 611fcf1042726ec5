"""The scripted policy of OpenCabinet: hook the bent fingers over the bar from above, and pull."""

from __future__ import annotations

import numpy as np

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.scripted.grasps import FROM_ABOVE_RAD, palm_rotations
from dexvid_envs.scripted.scripted import BoolArray, FloatArray, Phase, Rows, ScriptedPolicy
from dexvid_envs.tasks.open_cabinet import OpenCabinet

REACH_RAD_PER_S = 1.5
LOWER_M_PER_S = 0.20
PULL_M_PER_S = 0.25
ABOVE_M = 0.12  # the hooked fingers come down from here
BEYOND_M = 0.03  # pulled further than is asked
_PATIENCE_STEPS = 40

#: The last two links of three fingers point straight down from a flat palm; the thumb stays out of the way.
_HOOK_RAD = np.array([0.0, 0.30, 1.27, 0.0] * 3 + [0.90, 0.30, 0.30, 0.30])
_GRIP_RAD = np.array([0.0, 0.40, 1.40, 0.40] * 3 + [0.90, 0.30, 0.30, 0.30])
_BAR_PALM_M = np.array([0.045, 0.0, 0.043])  # the bar's axis in the palm's frame, in front of the hooked links


class ScriptedOpenCabinet(ScriptedPolicy[OpenCabinet]):
    """Follows the cabinet's yaw; the pull is led by how far the drawer still has to go."""

    task_type = OpenCabinet

    def __init__(self, core: EnvironmentCore) -> None:
        self.reach_arm = np.zeros((core.num_envs, core.task.robot.arm_joints))
        super().__init__(core)
        self.drawer_body_id = core.simulation.model.body("drawer").id

    def make_phases(self) -> tuple[Phase, ...]:
        """See `ScriptedPolicy`."""
        return (self.reach, self.hook, self.pull)

    def plan(self, rows: Rows) -> None:
        """See `ScriptedPolicy`."""
        to_go = (self.task.target_opening - self.task.opening)[rows] + BEYOND_M
        hooked = self.palm_at(rows, 0.0)
        pulled = hooked.copy()
        pulled[:, :3, 3] += self.opening_direction(rows) * to_go[:, None]
        self.reach_arm[rows] = self.solve_arm(self.palm_at(rows, ABOVE_M), (hooked, pulled))[0]

    def opening_direction(self, rows: Rows) -> FloatArray:
        """(R, 3) the way the drawer opens, in the world."""
        return -self.simulation.xmat[rows, self.drawer_body_id].reshape(-1, 3, 3)[:, :, 0]

    def palm_at(self, rows: Rows, above_m: float) -> FloatArray:
        """(R, 4, 4) palm facing down, the hook `above_m` over its place behind the bar."""
        direction = -self.opening_direction(rows)
        flat = np.zeros(len(rows))
        pose = np.tile(np.eye(4), (len(rows), 1, 1))
        pose[:, :3, :3] = palm_rotations(flat + FROM_ABOVE_RAD, flat, np.arctan2(direction[:, 1], direction[:, 0]))
        pose[:, :3, 3] = self.task.handle_pos_world[rows] - pose[:, :3, :3] @ _BAR_PALM_M
        pose[:, 2, 3] += above_m
        return pose

    def reach(self, rows: Rows) -> BoolArray:
        """Over the bar, with the fingers hooked."""
        self.move_hand(rows, _HOOK_RAD, 2.0)
        return self.move_arm(rows, self.reach_arm[rows], REACH_RAD_PER_S) < 0.01

    def hook(self, rows: Rows) -> BoolArray:
        """Down, until the fingers are behind the bar."""
        remaining = self.move_palm(rows, self.palm_at(rows, 0.0), LOWER_M_PER_S)
        return (remaining < 0.003) | (self.phase_steps[rows] >= _PATIENCE_STEPS)

    def pull(self, rows: Rows) -> BoolArray:
        """Along the drawer's rails until it is open, then stays."""
        self.move_hand(rows, _GRIP_RAD, 1.0)
        to_go = (self.task.target_opening - self.task.opening)[rows] + BEYOND_M
        wanted = self.palm_at(rows, 0.0)
        wanted[:, :3, 3] += self.opening_direction(rows) * np.maximum(to_go, 0.0)[:, None]
        self.move_palm(rows, wanted, PULL_M_PER_S)
        return np.zeros(len(rows), dtype=bool)
