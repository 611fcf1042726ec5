"""GraspLift for refinement: the object's path up to a goal in the air, where it is held."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from demos.refinement.task import Ending, FloatArray, TaskPlace, TrackedObjectTask
from dexvid_envs.tasks.grasp_lift import GraspLift


class TrackedGraspLift(TrackedObjectTask):
    """Of an environment with one object; the goal is where the video's object ends, within the task's goals."""

    task_name: ClassVar[str] = GraspLift.__name__
    ending: ClassVar[Ending] = "hold"

    def place(self, displacement_m: FloatArray) -> TaskPlace:
        """From the middle of the starts, to where the displacement leads or the nearest goal to it."""
        settings, start = self.settings, self.start_m()
        centre, half = np.asarray(settings.goal_centre_m), np.asarray(settings.goal_half_extent_m)
        goal = np.clip(start + displacement_m, centre - half, centre + half)
        return TaskPlace(
            start_m=start,
            end_m=goal,
            goal_m=goal,
            start_half_extent_m=np.asarray(settings.start_half_extent_m),
            goal_half_extent_m=half[:2],
            largest_yaw_rad=settings.start_yaw_rad,
        )

    def reset_options(self, start_xy: FloatArray, goal_m: FloatArray, yaw_rad: float) -> dict[str, Any]:
        """See `TrackedTask`."""
        return {
            "object": self.settings.objects[0],
            "object_position": start_xy,
            "object_yaw": float(yaw_rad),
            "goal_position": goal_m,
        }

    def goal_distance(self, task: GraspLift) -> FloatArray:
        """See `TrackedTask`."""
        return task.goal_distance
