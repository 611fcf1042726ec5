"""The scripted policy of LiftThrow: pick up, wind up, swing, and let go: one side-arm throw, turned towards the bucket.

The throw always looks the same from the arm's first joint on, so its aim, speed and moment of release are measured once; its
turn about the vertical and its speed follow the bucket.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.scripted.grasps import Grasp
from dexvid_envs.scripted.object_grasps import object_grasp
from dexvid_envs.scripted.picking import PickingPolicy
from dexvid_envs.scripted.scripted import BoolArray, FloatArray, Phase, Rows
from dexvid_envs.tasks.lift_throw import LiftThrow
from robots.arm_kinematics import palm_pose
from robots.everyday import EverydayObject

FIRMNESS = 2.0  # of the grip: the swing pulls at the object with three times its weight
MOST_FORCE_N = 10.3  # harder, the edge of a can is pressed 3 mm into a fingertip on the swing
LIFT_M = 0.20
LIFT_M_PER_S = 0.30
WINDUP_RAD_PER_S = 0.9  # gentle: faster, now and then a can or a ball is lost on the way
SWING_RAD_PER_S = 1.9  # fastest joint; `joint_delta` follows 2 rad/s
RAMP_S, STEADY_S = 0.30, 0.10  # speeding up, and full speed before the nominal release
RELEASE_STEPS = 5  # of the swing, until the hand opens; the fingers hold nothing any more two steps later
FOLLOW_S = 0.09  # the arm goes on at full speed
OPENING_RAD, THUMB_OPENING_RAD = 0.45, 0.60  # how far they open to let go, beyond the grasp; alike, lest one pushes
AIM_RAD = 0.62  # turn of the whole throw about the vertical, as measured
#: Share of the full speed for a bucket at 1.24 m, and what a metre of distance adds; as measured.
SPEED_SHARE, SPEED_SHARE_PER_M = 0.96, 0.55

#: Posture of the nominal release at a bucket straight ahead: at the robot's right, the palm facing where the object flies. With
#: the speed limit of the joints only a side-arm throw, in which all of them add up, is fast enough; found by sampling postures.
_RELEASE_ARM_RAD = np.array([-0.21, 0.29, -0.98, 2.16, -1.46, 0.30, -0.52])
_OBJECT_PALM_M = np.array([0.085, 0.0, 0.020])  # the object in the hand, about
_BUCKET_DISTANCE_M, _ELEVATION_RAD = 1.24, -0.1
_FULL_TURN_JOINTS = (0, 2, 4, 6)
_FINGER_PROXIMAL = [1, 5, 9]
_THUMB_BENDING = [14, 15]


class ScriptedLiftThrow(PickingPolicy[LiftThrow]):
    """The swing is straight in joint space."""

    task_type = LiftThrow

    def __init__(self, core: EnvironmentCore) -> None:
        count, joints = core.num_envs, core.task.robot.arm_joints
        self.lift_from = np.zeros((count, 3))  # (N, 3) m, object's place when the lift begins
        self.release_arm = np.zeros((count, joints))  # rad
        self.swing_rate = np.zeros((count, joints))  # rad/s
        self.full_rate = throw_rates()  # (7,) rad/s
        super().__init__(core)

    def make_phases(self) -> tuple[Phase, ...]:
        """See `ScriptedPolicy`."""
        return (self.reach, self.approach, self.close, self.lift, self.wind_up, self.swing, self.let_go)

    def grasp_of(self, shape: EverydayObject) -> Grasp:
        """See `PickingPolicy`."""
        return object_grasp(shape, FIRMNESS, MOST_FORCE_N)

    def destination(self, rows: Rows) -> FloatArray:
        """See `PickingPolicy`: as far as it is lifted before the wind-up."""
        return self.task.object_pos_world[rows] + np.array([0.0, 0.0, LIFT_M])

    def lift(self, rows: Rows) -> BoolArray:
        """Straight up; at its end the throw is planned."""
        begins = self.phase_steps[rows] == 0
        self.lift_from[rows] = np.where(begins[:, None], self.task.object_pos_world[rows], self.lift_from[rows])
        remaining = self.carry(rows, self.lift_from[rows] + np.array([0.0, 0.0, LIFT_M]), LIFT_M_PER_S)
        done = (remaining < 0.015) | (self.phase_steps[rows] >= 30)
        if done.any():
            self.plan_throw(rows[done])
        return done

    def plan_throw(self, rows: Rows) -> None:
        """The one throw, turned about the robot's axis towards the bucket."""
        bucket = self.task.memory["bucket"][rows]
        release = np.tile(_RELEASE_ARM_RAD, (len(rows), 1))
        release[:, 0] += np.arctan2(bucket[:, 1], bucket[:, 0]) + AIM_RAD
        for joint in _FULL_TURN_JOINTS:  # of the same posture, the angle that is nearest
            turns = np.round((self.arm_ref[rows, joint] - release[:, joint]) / (2 * np.pi))
            turned = release[:, joint] + 2 * np.pi * turns
            allowed = np.abs(turned) < self.robot.upper_rad[joint] - 0.6
            release[:, joint] = np.where(allowed, turned, release[:, joint])
        self.release_arm[rows] = release
        share = SPEED_SHARE + SPEED_SHARE_PER_M * (np.hypot(bucket[:, 0], bucket[:, 1]) - _BUCKET_DISTANCE_M)
        self.swing_rate[rows] = np.minimum(share, 1.04)[:, None] * self.full_rate

    def wind_up(self, rows: Rows) -> BoolArray:
        """To where the swing begins."""
        begin = self.release_arm[rows] - self.swing_rate[rows] * (RAMP_S / 2 + STEADY_S)
        return self.move_arm(rows, begin, WINDUP_RAD_PER_S) < 0.01

    def swing(self, rows: Rows) -> BoolArray:
        """Speeds up along the planned joint rates, until it is time to let go."""
        elapsed = (self.phase_steps[rows] + 1) * self.dt_s
        self.arm_ref[rows] += np.minimum(elapsed / RAMP_S, 1.0)[:, None] * self.swing_rate[rows] * self.dt_s
        return self.phase_steps[rows] + 1 >= RELEASE_STEPS

    def let_go(self, rows: Rows) -> BoolArray:
        """Opens the hand while the arm comes to rest."""
        elapsed = (self.phase_steps[rows] + 1) * self.dt_s
        slowing = np.clip(1.0 - (elapsed - FOLLOW_S) / 0.25, 0.0, 1.0)
        self.arm_ref[rows] += slowing[:, None] * self.swing_rate[rows] * self.dt_s
        opened = self.open_rad[rows].copy()
        opened[:, _FINGER_PROXIMAL] -= OPENING_RAD
        opened[:, _THUMB_BENDING] -= THUMB_OPENING_RAD
        self.move_hand(rows, opened, 7.0)
        return np.zeros(len(rows), dtype=bool)


def throw_rates() -> FloatArray:
    """Joint rates (7,) rad/s within the limits that throw fastest towards the bucket from the nominal release."""
    step, joints = 1e-5, len(_RELEASE_ARM_RAD)
    pose = palm_pose(_RELEASE_ARM_RAD + np.concatenate([np.zeros((1, joints)), step * np.eye(joints)]))
    points = pose[:, :3, :3] @ _OBJECT_PALM_M + pose[:, :3, 3]
    jacobian = (points[1:] - points[0]).T / step  # (3, 7) m/rad
    way = np.array([_BUCKET_DISTANCE_M, 0.0]) - points[0, :2]
    out = way / np.linalg.norm(way)
    direction = np.array([*(np.cos(_ELEVATION_RAD) * out), np.sin(_ELEVATION_RAD)])
    result = linprog(
        np.append(np.zeros(joints), -1.0),  # the most speed along the direction, and none across it
        A_eq=np.concatenate([jacobian, -direction[:, None]], axis=-1),
        b_eq=np.zeros(3),
        bounds=[*[(-SWING_RAD_PER_S, SWING_RAD_PER_S)] * joints, (0.0, None)],
    )
    return np.asarray(result.x[:joints])
