"""LiftThrow for refinement: the object's path until the hand swings back, and then the robot's own throw into the bucket."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from demos.plan import Plan
from demos.refinement.task import Ending, FloatArray, TaskPlace, TrackedObjectTask
from dexvid_envs.rows import lengths
from dexvid_envs.tasks.lift_throw import LiftThrow
from robots.bucket import Bucket

_MOST_TURN_RAD, _MOST_SHIFT_M = 0.3, 0.05  # of one correction
_SET_IN_STEPS = 12
_FAR_M = 0.75  # from the robot's axis, beyond which an object was thrown and not dropped


class TrackedLiftThrow(TrackedObjectTask):
    """Of an environment with one object; the goal is the bucket."""

    task_name: ClassVar[str] = LiftThrow.__name__
    ending: ClassVar[Ending] = "throw"

    def place(self, displacement_m: FloatArray) -> TaskPlace:
        """From the middle of the starts to the middle of the bucket's places; the throw is not carried to others."""
        settings, start = self.settings, self.start_m()
        return TaskPlace(
            start_m=start,
            end_m=start + displacement_m,
            goal_m=np.array([*settings.bucket_centre_m, 0.0]),
            start_half_extent_m=np.zeros(2),
            goal_half_extent_m=np.zeros(2),
            largest_yaw_rad=settings.start_yaw_rad,
        )

    def aim_correction(self, plan: Plan, object_pos_world: FloatArray, goal_m: FloatArray) -> FloatArray:
        """The swing turned about the robot's axis, and shifted along its direction, from where the object came down."""
        correction = np.zeros((plan.num_steps, 6))
        landed = landing_xy(object_pos_world, plan.release, Bucket().height_m)
        if landed is None:
            return correction
        angle = np.arctan2(goal_m[1], goal_m[0]) - np.arctan2(landed[1], landed[0])
        angle = float(np.clip(np.remainder(angle + np.pi, 2 * np.pi) - np.pi, -_MOST_TURN_RAD, _MOST_TURN_RAD))
        farther = float(np.clip(np.hypot(*goal_m[:2]) - np.hypot(*landed), -_MOST_SHIFT_M, _MOST_SHIFT_M))
        set_in = np.clip((np.arange(plan.num_steps) - plan.place) / _SET_IN_STEPS, 0.0, 1.0)
        palm_xy = plan.palm[:, :2, 3]
        cos, sin = np.cos(angle * set_in), np.sin(angle * set_in)
        turned = np.stack([cos * palm_xy[:, 0] - sin * palm_xy[:, 1], sin * palm_xy[:, 0] + cos * palm_xy[:, 1]], axis=-1)
        ahead = goal_m[:2] / np.hypot(*goal_m[:2])
        correction[:, :2] = turned - palm_xy + farther * set_in[:, None] * ahead
        correction[:, 5] = angle * set_in
        return correction

    def reset_options(self, start_xy: FloatArray, goal_m: FloatArray, yaw_rad: float) -> dict[str, Any]:
        """See `TrackedTask`."""
        return {
            "object": self.settings.objects[0],
            "object_position": start_xy,
            "object_yaw": float(yaw_rad),
            "bucket_position": goal_m[:2],
        }

    def goal_distance(self, task: LiftThrow) -> FloatArray:
        """See `TrackedTask`: horizontally, from the bucket's axis."""
        return lengths(task.memory["bucket"][:, :2] - task.object_pos_world[:, :2])


def landing_xy(object_pos_world: FloatArray, release: int, height_m: float) -> FloatArray | None:
    """(2,) m where a thrown object (T + 1, 3) m comes down through a height after the release; None where it was not thrown."""
    after = object_pos_world[release:]
    top = int(np.argmax(after[:, 2]))
    below = np.flatnonzero(after[top:, 2] < height_m)
    if not len(below) or np.hypot(*after[top + below[0], :2]) < _FAR_M:
        return None
    return after[top + below[0], :2]
