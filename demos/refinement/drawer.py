"""OpenCabinet for refinement: the drawer's path along its rails, stretched to the opening that the task asks for."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from demos.refinement.task import Ending, FloatArray, TaskPlace, TrackedTask
from dexvid_envs.tasks.open_cabinet import OpenCabinet
from robots.cabinet import Cabinet

_BEYOND_M = 0.03  # opened further than is asked


class TrackedOpenCabinet(TrackedTask):
    """The object's frame is the bar of the handle; starts are places of it with the drawer closed."""

    task_name: ClassVar[str] = OpenCabinet.__name__
    ending: ClassVar[Ending] = "release"
    lifted: ClassVar[bool] = False
    goal_follows_start: ClassVar[bool] = True

    def place(self, displacement_m: FloatArray) -> TaskPlace:
        """The cabinet in the middle of its places, facing the robot."""
        settings, cabinet = self.settings, Cabinet()
        start = np.array([*settings.cabinet_centre_m, 0.0]) + cabinet.handle_position_m
        opening = np.array([-(settings.success_share * cabinet.travel_m + _BEYOND_M), 0.0, 0.0])
        half = np.asarray(settings.cabinet_half_extent_m)
        return TaskPlace(start, start + opening, start + opening, half, half)

    def reset_options(self, start_xy: FloatArray, goal_m: FloatArray, yaw_rad: float) -> dict[str, Any]:
        """See `TrackedTask`; the goal follows from the start."""
        return {"cabinet_position": start_xy - np.asarray(Cabinet().handle_position_m)[:2], "cabinet_yaw": 0.0}

    def goal_distance(self, task: OpenCabinet) -> FloatArray:
        """See `TrackedTask`: what is missing of the opening."""
        return np.maximum(task.target_opening - task.opening, 0.0)
