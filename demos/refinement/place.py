"""BottlePickPlace for refinement: the bottle's path from start to target, upright, let go at the end."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np

from demos.refinement.task import Ending, FloatArray, TaskPlace, TrackedTask
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlace
from robots.everyday_bottles import bottle_object
from robots.everyday_parts import EverydayObject
from robots.objects import BOTTLES

_LEAST_MOVED_M = 0.02  # of copies, even at the rim of a region


@functools.cache
def _bottle(name: str) -> EverydayObject:
    """Asked for at every placement that is tried, and its surfaces take a tenth of a second to make."""
    return bottle_object(name, BOTTLES[name])


class TrackedBottlePickPlace(TrackedTask):
    """Goals are targets on the table."""

    task_name: ClassVar[str] = BottlePickPlace.__name__
    ending: ClassVar[Ending] = "release"
    upright: ClassVar[bool] = True
    usual_opening_rad: ClassVar[float] = 0.45

    def object_shape(self) -> EverydayObject:
        """See `TrackedTask`."""
        return _bottle(self.settings.bottle)

    def place(self, displacement_m: FloatArray) -> TaskPlace:
        """As far apart as the video has it, along the task's own way: start and target give way alike, within their regions.

        Copies of the plan are moved by what is then left of the regions.
        """
        settings, height = self.settings, self.object_shape().extents_m[2] / 2
        centres = np.array([settings.start_centre_m, settings.target_centre_m])
        half = np.array([settings.start_half_extent_m, settings.target_half_extent_m])
        way = centres[1] - centres[0]
        missing = (
            (np.linalg.norm(displacement_m[:2]) / np.linalg.norm(way) - 1.0) * way if displacement_m.any() else np.zeros(2)
        )
        aside = np.clip(np.array([-0.5, 0.5])[:, None] * missing, -half, half)
        # where one region is too small, the other gives way further
        rest = missing - (aside[1] - aside[0])
        aside = np.clip(aside + np.array([-1.0, 1.0])[:, None] * rest, -half, half)
        start, goal = (np.array([*xy, height]) for xy in centres + aside)
        left = np.maximum(half - np.abs(aside), np.minimum(half, _LEAST_MOVED_M))
        return TaskPlace(
            start_m=start,
            end_m=goal,
            goal_m=goal,
            start_half_extent_m=left[0],
            goal_half_extent_m=left[1],
            largest_yaw_rad=settings.start_yaw_rad,
        )

    def reset_options(self, start_xy: FloatArray, goal_m: FloatArray, yaw_rad: float) -> dict[str, Any]:
        """See `TrackedTask`."""
        return {"bottle_position": start_xy, "target_position": goal_m[:2], "bottle_yaw": float(yaw_rad)}

    def goal_distance(self, task: BottlePickPlace) -> FloatArray:
        """See `TrackedTask`: horizontally."""
        return task.target_distance
