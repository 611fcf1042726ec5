"""BottlePickPlace for refinement: the bottle's path from start to target, upright, let go at the end."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from demos.refinement.task import Ending, FloatArray, TaskPlace, TrackedTask
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlace
from robots.everyday_bottles import bottle_object
from robots.everyday_parts import EverydayObject
from robots.objects import BOTTLES


class TrackedBottlePickPlace(TrackedTask):
    """Goals are targets on the table."""

    task_name: ClassVar[str] = BottlePickPlace.__name__
    ending: ClassVar[Ending] = "release"
    upright: ClassVar[bool] = True
    usual_opening_rad: ClassVar[float] = 0.45

    def object_shape(self) -> EverydayObject:
        """See `TrackedTask`."""
        return bottle_object(self.settings.bottle, BOTTLES[self.settings.bottle])

    def place(self, displacement_m: FloatArray) -> TaskPlace:
        """From the middle of the starts to the middle of the targets."""
        settings, height = self.settings, self.object_shape().extents_m[2] / 2
        goal = np.array([*settings.target_centre_m, height])
        return TaskPlace(
            start_m=np.array([*settings.start_centre_m, height]),
            end_m=goal,
            goal_m=goal,
            start_half_extent_m=np.asarray(settings.start_half_extent_m),
            goal_half_extent_m=np.asarray(settings.target_half_extent_m),
            largest_yaw_rad=settings.start_yaw_rad,
        )

    def reset_options(self, start_xy: FloatArray, goal_m: FloatArray, yaw_rad: float) -> dict[str, Any]:
        """See `TrackedTask`."""
        return {"bottle_position": start_xy, "target_position": goal_m[:2], "bottle_yaw": float(yaw_rad)}

    def goal_distance(self, task: BottlePickPlace) -> FloatArray:
        """See `TrackedTask`: horizontally."""
        return task.target_distance
