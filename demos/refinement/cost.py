"""What a rollout is worth: the object's way compared with the video's, the grip, and last the task's success."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demos.plan import Plan
from demos.refinement.task import TrackedTask
from demos.rollout import Rollouts

FloatArray = NDArray[np.float64]
_FARTHEST_M = 0.15  # an object farther off its path is lost, how far does not matter
_EARLY_STEPS = 6  # before the lift, while which the object should still stand where it stood
_WEAK, _STRONG = 2.0, 10.0  # grip, as normal forces over weight; the friction is about 1
_CLEAR_M = 0.01  # of the hand at the end, where it has let go


def tracking_error(plan: Plan, rollouts: Rollouts, starts_xy: FloatArray, targets_xy: FloatArray) -> FloatArray:
    """(T, N) m distance of the object from the video's path, moved with start and target as the plan is.

    The path is compared from where the object stood: heights count from the table, as objects differ in size.
    """
    return np.linalg.norm(tracking_difference(plan, rollouts, starts_xy, targets_xy), axis=-1)


def tracking_difference(plan: Plan, rollouts: Rollouts, starts_xy: FloatArray, targets_xy: FloatArray) -> FloatArray:
    """(T, N, 3) m way from the object to where the video's path has it; see `tracking_error`."""
    steps = len(rollouts.object_pos_world) - 1  # the rollouts may end before the plan does
    moved_start, moved_target = starts_xy - plan.start_xy, targets_xy[:, :2] - plan.target_xy
    wanted = np.repeat((plan.object_pos_world[:steps] - plan.object_pos_world[0])[:, None], len(starts_xy), axis=1)
    wanted[..., :2] += plan.progress[:steps, None, None] * (moved_target - moved_start)
    return wanted - (rollouts.object_pos_world[1:] - rollouts.object_pos_world[0])


def grip_steps(plan: Plan, count: int = 4) -> tuple[int, ...]:
    """Steps of the carry at which the grip is measured."""
    return tuple(int(step) for step in np.linspace(plan.lift + 4, max(plan.place - 2, plan.lift + 4), count))


def rollout_cost(
    plan: Plan, rollouts: Rollouts, starts_xy: FloatArray, targets_xy: FloatArray, tracked: TrackedTask, weight_n: float
) -> FloatArray:
    """(N,) cost: tracking, early disturbance, tilt, missing lift, grip, distance from the goal, and last the task's success.

    Rollouts that end before the plan does are judged by their part, without the end.

    Args:
        plan: the plan.
        rollouts: of it, all of its T steps or the first ones.
        starts_xy, targets_xy: (N, 2) m of each.
        tracked: the task.
        weight_n: of the object, N; 0 where it is not carried.
    """
    steps = len(rollouts.object_pos_world) - 1
    whole = steps == plan.num_steps
    carried = slice(plan.lift, min(plan.place + 1, steps))
    error = tracking_error(plan, rollouts, starts_xy, targets_xy)
    moved = rollouts.object_pos_world[1:]
    early = np.linalg.norm(moved[max(plan.lift - _EARLY_STEPS, 1), :, :2] - moved[0, :, :2], axis=-1)
    upright = np.clip((rollouts.object_axis_world[1:] * rollouts.object_axis_world[0]).sum(axis=-1), -1.0, 1.0)
    tilt = np.arccos(upright)
    cost = 10.0 * np.minimum(error[carried], _FARTHEST_M).mean(axis=0) + 6.0 * np.minimum(early, 0.1)
    if tracked.lifted:
        cost += (4.0 if tracked.upright else 0.5) * tilt[plan.approach_steps : min(plan.release, steps)].mean(axis=0)
        height = moved[carried, :, 2].max(axis=0) - rollouts.object_pos_world[0, :, 2]
        wanted = plan.object_pos_world[carried, 2].max() - plan.object_pos_world[0, 2]
        cost += 1 - np.clip(height / max(wanted, 1e-3), 0.0, 1.0)
    if weight_n > 0 and len(rollouts.grip_force_n):
        grip = rollouts.grip_force_n.min(axis=0) / weight_n
        cost += 0.5 * np.clip(1 - grip / _WEAK, 0.0, 1.0) + 0.3 * np.clip(grip / _STRONG - 1, 0.0, 2.0)
    if whole:
        cost += 4.0 * np.minimum(rollouts.target_distance, 0.25) + (1 - rollouts.success)
        if tracked.upright:
            cost += 0.5 * np.minimum(tilt[-1], 1.0)
        if tracked.ending == "release":
            cost += 5.0 * np.maximum(_CLEAR_M - rollouts.hand_clearance[-1], 0.0)
    return cost
