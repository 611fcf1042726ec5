"""What the scripted policies that pick something up share: plan a grasp, reach, approach, close, carry."""

from __future__ import annotations

import abc
from typing import ClassVar, TypeVar

import numpy as np
from scipy.spatial.transform import Rotation

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.scripted.grasps import Grasp, nearest_yaw, palm_rotations
from dexvid_envs.scripted.object_grasps import object_grasp
from dexvid_envs.scripted.scripted import BoolArray, FloatArray, Rows, ScriptedPolicy
from dexvid_envs.tasks.object_task import ObjectTask
from robots.everyday import EverydayObject

REACH_RAD_PER_S = 1.7
APPROACH_M_PER_S = 0.30
OPEN_RAD_PER_S = 1.5
CLOSE_STEPS = 24
_ARRIVED_M = 0.002
_PATIENCE_STEPS = 40  # a phase that cannot arrive exactly goes on after this
_STRAINED = 0.1  # from here on, other yaws are tried


ObjectTaskT = TypeVar("ObjectTaskT", bound=ObjectTask)


class PickingPolicy(ScriptedPolicy[ObjectTaskT]):
    """Reaches for the task's object and closes the hand around it; subclasses say what follows.

    Attributes:
        other_yaws_rad: of the palm, tried for a round object where the arm would be strained with the usual one.
    """

    other_yaws_rad: ClassVar[tuple[float, ...]] = ()

    def __init__(self, core: EnvironmentCore) -> None:
        assert isinstance(core.task, ObjectTask)
        count, self.object_body_id = core.num_envs, core.task.object_body_id
        self.grasps = [self.grasp_of(variant) for variant in core.task.variants]
        self.roll, self.pitch, self.yaw = np.zeros(count), np.zeros(count), np.zeros(count)  # (N,) rad of the palm
        self.point_object, self.point_palm = np.zeros((count, 3)), np.zeros((count, 3))  # (N, 3) m
        self.standoff, self.grip = np.zeros(count), np.zeros((count, 1))  # (N,) m, (N, 1) rad
        self.open_rad, self.closed_rad = np.zeros((count, 16)), np.zeros((count, 16))
        self.any_yaw = np.zeros(count, dtype=bool)  # (N,) the grasp suits the object from all sides
        self.reach_arm = np.zeros((count, core.task.robot.arm_joints))
        super().__init__(core)

    def grasp_of(self, shape: EverydayObject) -> Grasp:
        """The grasp of one of the task's objects."""
        return object_grasp(shape)

    @abc.abstractmethod
    def destination(self, rows: Rows) -> FloatArray:
        """(R, 3) m where the object's frame has to go, so that the arm can be posed for it from the beginning."""

    def plan(self, rows: Rows) -> None:
        """Chooses the palm's yaw, and an arm posture that reaches the object and can carry it to its destination."""
        for row in rows:
            grasp = self.grasps[int(self.task.memory["variant"][row])]
            self.roll[row], self.pitch[row] = grasp.roll_rad, grasp.pitch_rad
            self.point_object[row], self.point_palm[row] = grasp.point_object_m, grasp.point_palm_m
            self.standoff[row], self.grip[row] = grasp.standoff_m, grasp.grip_rad
            self.open_rad[row], self.closed_rad[row] = grasp.open_rad, grasp.closed_rad
            rotation = self.simulation.xmat[row, self.object_body_id].reshape(3, 3)
            self.yaw[row] = nearest_yaw(float(np.arctan2(rotation[1, 0], rotation[0, 0])), grasp.yaws_rad)
            self.any_yaw[row] = not grasp.yaws_rad
        self.reach_arm[rows], strain = self.plan_arm(rows)
        for yaw in self.other_yaws_rad:  # a round object can be taken from where the arm has more room
            again = np.flatnonzero((strain > _STRAINED) & self.any_yaw[rows])
            if not len(again):
                break
            trying = rows[again]
            before = self.yaw[trying]
            self.yaw[trying] = yaw
            arm, other = self.plan_arm(trying)
            better = other < strain[again]
            self.yaw[trying] = np.where(better, yaw, before)
            self.reach_arm[trying] = np.where(better[:, None], arm, self.reach_arm[trying])
            strain[again] = np.minimum(strain[again], other)

    def plan_arm(self, rows: Rows) -> tuple[FloatArray, FloatArray]:
        """Arm angles (R, 7) rad in front of the object, and how strained (R,) the arm gets on the way from there."""
        pose = self.body_pose(rows, self.object_body_id)
        grasp_pose = self.grasp_pose(rows)
        way = np.zeros((len(rows), 4, 4))
        way[:, :3, 3] = self.destination(rows) - pose[:, :3, 3]
        followed = [grasp_pose + share * way for share in (0.0, 0.5, 1.0)]
        return self.solve_arm(self.backed(rows, grasp_pose), followed)

    def grasp_pose(self, rows: Rows) -> FloatArray:
        """(R, 4, 4) palm pose of the grasp at the object's present place."""
        pose = np.tile(np.eye(4), (len(rows), 1, 1))
        pose[:, :3, :3] = palm_rotations(self.roll[rows], self.pitch[rows], self.yaw[rows])
        T_world_object = self.body_pose(rows, self.object_body_id)
        point = _apply(T_world_object, self.point_object[rows])
        pose[:, :3, 3] = point - _rotate(pose, self.point_palm[rows])
        return pose

    def backed(self, rows: Rows, T_world_palm: FloatArray) -> FloatArray:
        """(R, 4, 4) the pose in front of a grasp (R, 4, 4), further back along the palm's normal."""
        pose = T_world_palm.copy()
        pose[:, :3, 3] -= self.standoff[rows, None] * pose[:, :3, 0]
        return pose

    # ---- phases ------------------------------------------------------------------------------------------------------

    def reach(self, rows: Rows) -> BoolArray:
        """To the place in front of the object, opening the hand."""
        remaining = self.move_arm(rows, self.reach_arm[rows], REACH_RAD_PER_S)
        self.move_hand(rows, self.open_rad[rows], OPEN_RAD_PER_S)
        return remaining < 0.02

    def approach(self, rows: Rows) -> BoolArray:
        """Straight along the palm's normal to the object, wherever it is now."""
        remaining = self.move_palm(rows, self.grasp_pose(rows), APPROACH_M_PER_S)
        self.move_hand(rows, self.open_rad[rows], OPEN_RAD_PER_S)
        return (remaining < _ARRIVED_M) | (self.phase_steps[rows] >= _PATIENCE_STEPS)

    def close(self, rows: Rows) -> BoolArray:
        """Closes until the object stops the fingers."""
        done = np.minimum((self.phase_steps[rows, None] + 1) / CLOSE_STEPS, 1.0)
        wanted = self.open_rad[rows] + done * (self.closed_rad[rows] - self.open_rad[rows])
        self.grip_hand(rows, wanted, self.grip[rows])
        return self.phase_steps[rows] >= CLOSE_STEPS

    def carry(self, rows: Rows, position: FloatArray, speed_m_per_s: float, *, upright: bool = False) -> FloatArray:
        """Moves the hand so that the object's frame goes to `position` (R, 3) m; returns what remains (R,) m.

        The way is measured from where the object is now, so that what slipped while grasping is made good; `upright` also
        turns its z axis to the vertical.
        """
        T_world_object, T_world_palm = self.body_pose(rows, self.object_body_id), self.body_pose(rows, self.palm_body_id)
        wanted = T_world_palm.copy()
        arm = T_world_palm[:, :3, 3] - T_world_object[:, :3, 3]
        if upright:
            turn = _upright_turn(T_world_object[:, :3, 2])
            wanted[:, :3, :3] = turn @ T_world_palm[:, :3, :3]
            arm = (turn @ arm[..., None])[..., 0]
        wanted[:, :3, 3] = position + arm
        self.move_palm(rows, wanted, speed_m_per_s, turn_rad_per_s=0.5)
        return np.linalg.norm(position - T_world_object[:, :3, 3], axis=-1)


def _upright_turn(axis_world: FloatArray) -> FloatArray:
    """(R, 3, 3) the smallest rotation that turns an axis (R, 3) to the vertical."""
    vertical = np.array([0.0, 0.0, 1.0])
    normal = np.cross(axis_world, vertical)
    sine = np.linalg.norm(normal, axis=-1, keepdims=True)
    angle = np.arctan2(sine, axis_world[:, 2:])
    return Rotation.from_rotvec(normal / np.maximum(sine, 1e-9) * angle).as_matrix()


def _rotate(T: FloatArray, vectors: FloatArray) -> FloatArray:
    """Vectors (R, 3) turned by poses (R, 4, 4)."""
    return (T[:, :3, :3] @ vectors[..., None])[..., 0]


def _apply(T: FloatArray, points: FloatArray) -> FloatArray:
    """Points (R, 3) moved by poses (R, 4, 4)."""
    return _rotate(T, points) + T[:, :3, 3]
