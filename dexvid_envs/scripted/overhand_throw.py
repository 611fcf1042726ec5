"""A scripted policy of LiftThrow: grasp, lift, raise the arm over the shoulder, and throw overhand into the bucket.

With targets that move 2 rad/s at most, a throw needs every joint that can help: joints 2, 4 and 6 turn the same way, in the
vertical plane that joint 1 turns towards the bucket. The palm faces where the object flies, and fingers and thumb, which hold
it from above and below, open out of its way. Needs `joint_delta`: `joint_target` does not stretch the elbow so far.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.rows import lengths
from dexvid_envs.scripted.clearance import arm_clearance
from dexvid_envs.scripted.grasps import Grasp
from dexvid_envs.scripted.picking import PickingPolicy
from dexvid_envs.scripted.scripted import BoolArray, FloatArray, Phase, Rows
from dexvid_envs.tasks.lift_throw import LiftThrow
from robots.arm_kinematics import palm_pose, solve_palm_pose
from robots.everyday import EverydayObject

LIFT_M = 0.10
LIFT_M_PER_S = 0.30
RAISE_RAD_PER_S = 1.8  # at its fastest
REST_STEPS = 4  # before the swing
RAMP_STEPS, STEADY_STEPS, FOLLOW_STEPS = 6, 4, 6  # of the swing: speeding up, full speed, slowing down
OPEN_STEP = 8  # of the swing, at which the hand begins to open: 2 steps before the nominal release, what the servos lag
OPEN_RAD_PER_S = 8.0
DEEPER_M = 0.010  # than a grasp for lifting: a ball held at its equator rolls out of the fingers while the arm is raised
_LOWEST_TIP_M = 0.019  # height of a fingertip's centre above the table

#: Arm at the nominal release at a bucket straight ahead, and its joint rates. Found by a grid over joints 2, 4 and 6 (steps of
#: 0.15 rad, palm facing forward) and flights of 0.2 to 0.6 s: the least largest rate that still throws 1.2 m far.
_RELEASE_RAD = np.array([0.0, 0.35, 0.0, 3.10, 0.0, -0.20, -math.pi])
_SWING_RAD_PER_S = np.array([0.0, 1.75, 0.0, -1.70, 0.0, 1.75, 0.0])
_TURNS = (2, 4, 6)  # joints that reach the release from either side of a full turn
#: Arm in the same plane, the palm facing the table.
_PICK_RAD = np.array([0.0, 0.48, 0.0, 0.60, 0.0, -1.25, -math.pi])
_OBJECT_PALM_M = np.array([0.085, 0.0, 0.015])  # the object in the hand, about
_GRAVITY_M_PER_S2 = 9.81

#: How far beyond the bucket's axis to aim so that the object comes down on it, m. Set by hand in a few rounds of 40 throws of
#: each (seeds 200 to 239, reset option `object`) from the mean error at the height of the rim, which stays within 3 cm. Only
#: the gelatin box is aimed 7 cm long: where it comes down on the bucket's thin floor first, it may pass through it.
AIM_M: dict[str, float] = {
    "tennis_ball": -0.070,
    "baseball": -0.080,
    "foam_brick": -0.050,
    "gelatin_box": 0.000,
    "potted_meat_can": -0.050,
    "tomato_soup_can": -0.072,
}
_AIM_M = -0.060  # anything else


class OverhandThrow(PickingPolicy[LiftThrow]):
    """The swing is planned when the object is in the air: its speed follows from the bucket's distance."""

    task_type = LiftThrow

    def __init__(self, core: EnvironmentCore) -> None:
        count, joints = core.num_envs, core.task.robot.arm_joints
        self.lift_from = np.zeros((count, 3))  # (N, 3) m, object's place when the lift begins
        self.raise_from, self.swing_from = np.zeros((count, joints)), np.zeros((count, joints))  # (N, 7) rad
        self.swing_rate = np.zeros((count, joints))  # (N, 7) rad/s
        super().__init__(core)

    def make_phases(self) -> tuple[Phase, ...]:
        """See `ScriptedPolicy`."""
        return (self.reach, self.approach, self.close, self.lift, self.raise_arm, self.swing)

    def grasp_of(self, shape: EverydayObject) -> Grasp:
        """See `PickingPolicy`: the fingertips a little beyond the middle, as far as the table lets them."""
        grasp = super().grasp_of(shape)
        height = float(grasp.point_object_m[2]) + shape.extents_m[2] / 2
        deeper = min(DEEPER_M, max(height - _LOWEST_TIP_M, 0.0))
        return dataclasses.replace(grasp, point_palm_m=grasp.point_palm_m - np.array([deeper, 0.0, 0.0]))

    def destination(self, rows: Rows) -> FloatArray:
        """See `PickingPolicy`: as high as it is lifted before the arm is raised."""
        return self.task.object_pos_world[rows] + np.array([0.0, 0.0, LIFT_M])

    def plan(self, rows: Rows) -> None:
        """See `PickingPolicy`; takes a posture near the plane of the throw where there is one."""
        super().plan(rows)
        grasp_pose = self.grasp_pose(rows)
        near = np.tile(_PICK_RAD, (len(rows), 1))
        near[:, 0] = np.arctan2(grasp_pose[:, 1, 3], grasp_pose[:, 0, 3])
        angles, error = solve_palm_pose(self.backed(rows, grasp_pose), near, iterations=60)
        at_object, further = solve_palm_pose(grasp_pose, angles, iterations=15)
        clearance = np.minimum(arm_clearance().lowest(angles), arm_clearance().lowest(at_object))
        good = (np.maximum(error, further) < 0.002) & (clearance > 0.02) & (np.abs(angles - near).max(axis=-1) < 1.3)
        self.reach_arm[rows[good]] = angles[good]

    def lift(self, rows: Rows) -> BoolArray:
        """Straight up; at its end the throw is planned."""
        begins = self.phase_steps[rows] == 0
        self.lift_from[rows] = np.where(begins[:, None], self.task.object_pos_world[rows], self.lift_from[rows])
        remaining = self.carry(rows, self.lift_from[rows] + np.array([0.0, 0.0, LIFT_M]), LIFT_M_PER_S)
        done = (remaining < 0.015) | (self.phase_steps[rows] >= 24)
        self.plan_throw(rows[done])
        return done

    def plan_throw(self, rows: Rows) -> None:
        """From where to swing, and how fast."""
        bucket = self.task.memory["bucket"][rows]
        names = self.task.objects_in(self.task.memory["variant"][rows])
        aim = np.array([AIM_M.get(name, _AIM_M) for name in names])
        speed = _speed_for(lengths(bucket[:, :2]) + aim, bucket[:, 2] + self.task.bucket.height_m)
        self.swing_rate[rows] = speed[:, None] * _SWING_RAD_PER_S
        release = np.tile(_RELEASE_RAD, (len(rows), 1))
        release[:, 0] = np.arctan2(bucket[:, 1], bucket[:, 0])
        for joint in _TURNS:
            release[:, joint] += 2 * np.pi * np.round((self.arm_ref[rows, joint] - release[:, joint]) / (2 * np.pi))
        self.swing_from[rows] = release - self.swing_rate[rows] * (RAMP_STEPS / 2 + STEADY_STEPS) * self.dt_s
        self.raise_from[rows] = self.arm_ref[rows]

    def raise_arm(self, rows: Rows) -> BoolArray:
        """Over the shoulder, gently: the object is held by three fingertips."""
        way = self.swing_from[rows] - self.raise_from[rows]
        steps = np.ceil(np.abs(way).max(axis=-1) * _PEAK_OF_SMOOTH / (RAISE_RAD_PER_S * self.dt_s))
        share = np.minimum((self.phase_steps[rows] + 1) / np.maximum(steps, 1.0), 1.0)
        self.arm_ref[rows] = self.raise_from[rows] + _smooth(share)[:, None] * way
        return self.phase_steps[rows] >= steps + REST_STEPS

    def swing(self, rows: Rows) -> BoolArray:
        """Speeds up, lets go and comes to rest."""
        step = self.phase_steps[rows] + 1
        ending = RAMP_STEPS + STEADY_STEPS + FOLLOW_STEPS
        share = np.minimum(step / RAMP_STEPS, 1.0) * np.clip((ending - step) / FOLLOW_STEPS, 0.0, 1.0)
        self.arm_ref[rows] += share[:, None] * self.swing_rate[rows] * self.dt_s
        opening = rows[step > OPEN_STEP]
        wide = self.open_rad[opening].copy()
        wide[:, [1, 5, 9]] -= 0.6  # proximal joints of the fingers
        wide[:, 13] += 0.5  # turns the thumb aside
        self.move_hand(opening, wide, OPEN_RAD_PER_S)
        return np.zeros(len(rows), dtype=bool)


_PEAK_OF_SMOOTH = 1.875  # largest speed of `_smooth`


def _smooth(share: FloatArray) -> FloatArray:
    """Minimum-jerk course from 0 to 1."""
    return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)


def _speed_for(distance_m: FloatArray, height_m: FloatArray) -> FloatArray:
    """(R,) factor of the joint rates with which the object passes a height at a distance from the robot's axis, (R,) each."""
    step = 1e-4
    pose = palm_pose(np.stack([_RELEASE_RAD, _RELEASE_RAD + step * _SWING_RAD_PER_S]))
    points = pose[:, :3, :3] @ _OBJECT_PALM_M + pose[:, :3, 3]
    (forward, _, upward), (x, _, z) = (points[1] - points[0]) / step, points[0]
    low, high = np.full_like(distance_m, 0.5), np.full_like(distance_m, 1.14)  # joint_delta follows no more
    for _ in range(30):  # the distance grows with the speed
        middle = (low + high) / 2
        vertical = middle * upward
        drop = np.maximum(vertical * vertical + 2 * _GRAVITY_M_PER_S2 * (z - height_m), 0.0)
        flight_s = (vertical + np.sqrt(drop)) / _GRAVITY_M_PER_S2
        short = x + middle * forward * flight_s < distance_m
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return low
