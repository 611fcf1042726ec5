"""The base of the scripted policies: a phase machine for N rows, with references that move the palm and the fingers smoothly.

A scripted policy is privileged: it reads the simulation, never an observation. It acts through the environment's own control
mode, so that what it does any other policy could have done. Which phases there are is the business of each task's file.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.scripted.clearance import arm_clearance
from dexvid_envs.tasks.task import Task
from robots.arm_kinematics import palm_pose, solve_palm_pose

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Rows = NDArray[np.int64]
TaskT = TypeVar("TaskT", bound=Task)
#: A phase moves the references of the rows that are in it and says which of them have finished it.
Phase = Callable[[Rows], BoolArray]

_ACCELERATION_M_PER_S2 = 0.8  # of the palm's reference: gentle enough for an object in the hand
_ACCELERATION_RAD_PER_S2 = 5.0
_TRACKING_ITERATIONS = 4  # the reference moves a centimetre a step, so the last solution is always near
_SEEDS = 24
_STRIDES, _FOLD_RAD = 4, 0.3  # a way is followed in so many strides; a joint that turns further in one is folding over
_RANGE_MARGIN_RAD = 0.25  # from the ends of a joint's range, where it is drawn back
_CLEARANCE_M = 0.025  # of the arm's links above the table


class ScriptedPolicy(abc.ABC, Generic[TaskT]):
    """Batched phase machine; act with `act()`, and call `reset` where an episode has started.

    Attributes:
        task_type: the task that it solves.
        margin_rad: from the ends of the arm joints' ranges, which a posture should keep.
        phase: (N,) index into `phases`; the last phase is never left.
        phase_steps: (N,) control steps spent in it.
        T_world_palm_ref: (N, 4, 4) where the palm is being led.
        arm_ref, hand_ref: (N, 7), (N, 16) rad wanted servo targets.
    """

    task_type: type[TaskT]
    margin_rad: ClassVar[float] = 0.15

    def __init__(self, core: EnvironmentCore) -> None:
        assert isinstance(core.task, self.task_type)
        self.core, self.task, self.simulation = core, core.task, core.simulation
        self.robot = core.task.robot
        self.num_envs, self.dt_s = core.num_envs, 1.0 / core.control_config.control_hz
        self.arm_joints = self.robot.arm_joints
        model = core.simulation.model
        self.palm_body_id = model.body(self.robot.palm_body).id
        self.hand_qposadr = np.array([model.joint(name).qposadr[0] for name in self.robot.joint_names[self.arm_joints :]])
        home, reach = self.robot.home_rad[: self.arm_joints], core.control_config.arm_range_rad  # `joint_target` has this range
        self.arm_lower = np.maximum(self.robot.lower_rad[: self.arm_joints], home - reach)
        self.arm_upper = np.minimum(self.robot.upper_rad[: self.arm_joints], home + reach)
        # Starts of the inverse kinematics around a known posture; fixed, so that a plan never depends on luck.
        self._spread = np.random.default_rng(0).uniform(-1.5, 1.5, (_SEEDS, self.arm_joints))
        self._spread[0] = 0.0
        self.phase = np.zeros(self.num_envs, dtype=np.int64)
        self.phase_steps = np.zeros(self.num_envs, dtype=np.int64)
        self.arm_ref, self.hand_ref = np.split(np.array(core.simulation.ctrl), [self.arm_joints], axis=-1)
        self.T_world_palm_ref = palm_pose(self.arm_ref)
        self.phases = self.make_phases()

    @abc.abstractmethod
    def make_phases(self) -> tuple[Phase, ...]:
        """The phases in their order; called once, at the end of construction."""

    @abc.abstractmethod
    def plan(self, rows: Rows) -> None:
        """Looks at the new episodes of the rows and prepares what their phases need."""

    def reset(self, mask: BoolArray | None = None) -> None:
        """Starts anew in the rows where `mask` (N,) is true (all by default), which have just been reset."""
        rows = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        if not len(rows):
            return
        self.phase[rows] = self.phase_steps[rows] = 0
        target = self.simulation.ctrl[rows]
        self.arm_ref[rows], self.hand_ref[rows] = target[:, : self.arm_joints], target[:, self.arm_joints :]
        self.T_world_palm_ref[rows] = palm_pose(self.arm_ref[rows])
        self.plan(rows)

    def act(self, observation: object = None) -> NDArray[np.float32]:
        """(N, A) actions in [-1, 1] for the present state; the observation, which policies usually get, is not looked at."""
        present = self.phase.copy()
        for index, phase in enumerate(self.phases):
            rows = np.flatnonzero(present == index)
            if not len(rows):
                continue
            done = phase(rows) & (index + 1 < len(self.phases))
            self.phase_steps[rows] = np.where(done, 0, self.phase_steps[rows] + 1)
            self.phase[rows] += done
        wanted = np.concatenate([self.arm_ref, self.hand_ref], axis=-1)
        return self.core.control.action_for(wanted, self.simulation.ctrl).astype(np.float32)

    def phase_name(self, row: int) -> str:
        """What a row is doing, such as "approach"."""
        return self.phases[self.phase[row]].__name__

    # ---- what is the case --------------------------------------------------------------------------------------------

    def body_pose(self, rows: Rows, body_id: int) -> FloatArray:
        """(R, 4, 4) `T_world_body` as simulated."""
        pose = np.tile(np.eye(4), (len(rows), 1, 1))
        pose[:, :3, :3] = self.simulation.xmat[rows, body_id].reshape(-1, 3, 3)
        pose[:, :3, 3] = self.simulation.xpos[rows, body_id]
        return pose

    def hand_qpos(self, rows: Rows) -> FloatArray:
        """(R, 16) rad."""
        return self.simulation.qpos[rows[:, None], self.hand_qposadr]

    # ---- how references move -----------------------------------------------------------------------------------------

    def move_palm(self, rows: Rows, T_world_palm: FloatArray, speed_m_per_s: float, turn_rad_per_s: float = 1.2) -> FloatArray:
        """Leads the palm straight towards a pose (R, 4, 4), speeding up and slowing down; returns what remains (R,) m.

        A radian of remaining turn counts as 0.1 m.
        """
        reference = self.T_world_palm_ref[rows]
        way = T_world_palm[:, :3, 3] - reference[:, :3, 3]
        turn = Rotation.from_matrix(T_world_palm[:, :3, :3] @ reference[:, :3, :3].transpose(0, 2, 1)).as_rotvec()
        elapsed = (self.phase_steps[rows] + 1) * self.dt_s
        stride = _limited(way, speed_m_per_s, _ACCELERATION_M_PER_S2, elapsed, self.dt_s)
        turned = _limited(turn, turn_rad_per_s, _ACCELERATION_RAD_PER_S2, elapsed, self.dt_s)
        reference[:, :3, 3] += stride
        reference[:, :3, :3] = Rotation.from_rotvec(turned).as_matrix() @ reference[:, :3, :3]
        self.T_world_palm_ref[rows] = reference
        self.arm_ref[rows] = self.follow(reference, self.arm_ref[rows])[0]
        return np.linalg.norm(way - stride, axis=-1) + 0.1 * np.linalg.norm(turn - turned, axis=-1)

    def move_arm(self, rows: Rows, arm_rad: FloatArray, speed_rad_per_s: float) -> FloatArray:
        """Leads all arm joints together towards angles (R, 7); returns what remains (R,) rad."""
        way = arm_rad - self.arm_ref[rows]
        longest = np.abs(way).max(axis=-1)
        elapsed = (self.phase_steps[rows] + 1) * self.dt_s
        stride = _speed(longest, speed_rad_per_s, _ACCELERATION_RAD_PER_S2, elapsed) * self.dt_s
        fraction = np.minimum(stride / np.maximum(longest, 1e-9), 1.0)
        self.arm_ref[rows] += fraction[:, None] * way
        self.T_world_palm_ref[rows] = palm_pose(self.arm_ref[rows])
        return (1.0 - fraction) * longest

    def move_hand(self, rows: Rows, hand_rad: FloatArray, speed_rad_per_s: float) -> None:
        """Leads every hand joint towards its angle, (R, 16) or (16,)."""
        stride = speed_rad_per_s * self.dt_s
        self.hand_ref[rows] += np.clip(hand_rad - self.hand_ref[rows], -stride, stride)

    def grip_hand(self, rows: Rows, hand_rad: FloatArray, grip_rad: FloatArray) -> None:
        """Leads the hand to angles (R, 16), but no joint further than `grip_rad` (R, 1) ahead: the grip on what stops it."""
        q = self.hand_qpos(rows)
        lower, upper = self.robot.lower_rad[self.arm_joints :], self.robot.upper_rad[self.arm_joints :]
        self.hand_ref[rows] = np.clip(q + np.clip(hand_rad - q, -grip_rad, grip_rad), lower, upper)

    def follow(self, T_world_palm: FloatArray, arm_rad: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Arm angles (R, 7) rad near `arm_rad` for palm poses (R, 4, 4) that are near its own, and remaining errors (R,) m."""
        # The elbow is free: beginning a little away from a near end of a joint's range, the solution stays within it.
        inward = np.maximum(self.arm_lower + _RANGE_MARGIN_RAD - arm_rad, 0.0) - np.maximum(
            arm_rad - self.arm_upper + _RANGE_MARGIN_RAD, 0.0
        )
        return solve_palm_pose(T_world_palm, arm_rad + 0.3 * inward, _TRACKING_ITERATIONS)

    def solve_arm(
        self, T_world_palm: FloatArray, ways: Sequence[FloatArray] = (), near_rad: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Arm angles (R, 7) for palm poses (R, 4, 4), near `near_rad` (R, 7) or home, from which `ways` can be followed.

        The arm has many postures for one palm pose and cannot pass between all of them; so several are tried, each is led along
        the ways as `move_palm` will lead it, and those that press a joint's limit, have to fold over on the way, or come near
        the table are avoided.

        Args:
            T_world_palm: where the ways begin.
            ways: palm poses (R, 4, 4) to which it goes on, one after the other, without turning.
            near_rad: the arm's posture before; home by default.

        Returns:
            (R, 7) rad angles, and (R,) how strained the arm gets: 0 where it has room everywhere.
        """
        count = len(T_world_palm)
        if near_rad is None:
            near_rad = np.tile(self.robot.home_rad[: self.arm_joints], (count, 1))
        starts = (near_rad[:, None] + self._spread).reshape(-1, self.arm_joints)
        pose = np.repeat(T_world_palm, _SEEDS, axis=0)
        angles, error = solve_palm_pose(pose, starts, iterations=40)
        following, lower, upper = angles, self.arm_lower, self.arm_upper
        margin = np.minimum(angles - lower, upper - angles).min(axis=-1)
        clearance = arm_clearance().lowest(angles)
        fold = np.zeros(len(angles))
        for way in ways:
            begin, end = pose[:, :3, 3], np.repeat(way, _SEEDS, axis=0)
            for share in np.linspace(0.0, 1.0, _STRIDES + 1)[1:, None]:
                pose = end.copy()
                pose[:, :3, 3] = begin + share * (end[:, :3, 3] - begin)
                before = following
                following, further = self.follow(pose, before)
                error, fold = np.maximum(error, further), np.maximum(fold, np.abs(following - before).max(axis=-1))
                clearance = np.minimum(clearance, arm_clearance().lowest(following))
                margin = np.minimum(margin, np.minimum(following - lower, upper - following).min(axis=-1))
        near = np.repeat(near_rad, _SEEDS, axis=0)
        low, folds = np.maximum(_CLEARANCE_M - clearance, 0.0), np.maximum(fold - _FOLD_RAD, 0.0)
        strain = 1000.0 * error + 10.0 * (np.maximum(self.margin_rad - margin, 0.0) + folds) + 100.0 * low
        cost = np.abs(angles - near).max(axis=-1) + strain
        best = cost.reshape(count, _SEEDS).argmin(axis=-1) + np.arange(count) * _SEEDS
        return angles[best], strain[best]


def _speed(distance: FloatArray, limit: float, acceleration: float, elapsed_s: FloatArray) -> FloatArray:
    """Speed (R,) of a reference that starts from rest and comes to rest after `distance`."""
    return np.minimum(np.minimum(limit, acceleration * elapsed_s), np.sqrt(2.0 * acceleration * distance) + 1e-3)


def _limited(way: FloatArray, limit: float, acceleration: float, elapsed_s: FloatArray, dt_s: float) -> FloatArray:
    """The part (R, 3) of a way (R, 3) that is gone in one step."""
    distance = np.linalg.norm(way, axis=-1)
    stride = _speed(distance, limit, acceleration, elapsed_s) * dt_s
    return way * np.minimum(stride / np.maximum(distance, 1e-9), 1.0)[:, None]
