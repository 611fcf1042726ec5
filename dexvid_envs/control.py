"""Control modes: how an action in [-1, 1] becomes the next target of the position servos."""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexvid_envs.errors import ActionError, OptionError
from dexvid_envs.kernels import clip_finite, shifted_within
from robots.arm_hand import RobotModel
from robots.arm_kinematics import palm_pose, solve_palm_pose

FloatArray = NDArray[np.float64]
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


@dataclasses.dataclass(frozen=True)
class ControlConfig:
    """Scales of the control modes.

    Attributes:
        control_hz: control steps a second.
        arm_delta_rad: largest change of an arm target in one step of `joint_delta`.
        hand_delta_rad: the same for the hand.
        arm_range_rad: `joint_target` reaches this far from home on each side, within the joint's limits; the full +-2 pi of
            some arm joints would make small actions large motions.
        wrist_delta_m: largest shift of the palm's target along each world axis in one step of `wrist_delta`.
        wrist_delta_rad: the same for turning about each world axis.
    """

    control_hz: float = 20.0
    arm_delta_rad: float = 0.10
    hand_delta_rad: float = 0.20
    arm_range_rad: float = math.pi
    wrist_delta_m: float = 0.03
    wrist_delta_rad: float = 0.15


class ActionMeaning(NamedTuple):
    """What one number of an action does: its name, what -1 and +1 stand for, and their unit."""

    name: str
    meaning: str
    low: float
    high: float
    unit: str


class ControlMode(abc.ABC):
    """Maps actions to servo targets, row by row; targets never leave the joint limits nor outrun the speed limits."""

    name: str

    def __init__(self, robot: RobotModel, config: ControlConfig) -> None:
        self.robot, self.config = robot, config
        self.max_step_rad = robot.speed_limit_rad_per_s / config.control_hz  # (J,)
        self.action_size = len(self.action_names)
        # The robot's are columns of one table, which take twice as long to go through.
        self._lower_rad, self._upper_rad = robot.lower_rad.copy(), robot.upper_rad.copy()

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each number of an action moves: joints by name, or ways of the wrist."""
        return self.robot.joint_names

    @property
    def target_step_rad(self) -> FloatArray:
        """(J,) rad the largest change of each servo target in one control step."""
        return self.max_step_rad

    @abc.abstractmethod
    def action_meanings(self) -> list[ActionMeaning]:
        """What each number of an action does, for the documentation."""

    @abc.abstractmethod
    def next_target(self, action: FloatArray, target: FloatArray) -> FloatArray:
        """The next servo targets (N, J) rad from actions (N, A) in [-1, 1] and the previous targets (N, J) rad."""

    @abc.abstractmethod
    def action_for(self, next_target: FloatArray, target: FloatArray) -> FloatArray:
        """The action (N, A), clipped to [-1, 1], that leads from `target` as near as possible to `next_target`."""

    def check(self, actions: object, count: int) -> FloatArray:
        """Actions (count, A) as float64, clipped to [-1, 1]; a new array.

        Raises:
            ActionError: wrong shape or type, or an element is NaN or infinite.
        """
        array, shape = as_numbers(actions), (count, self.action_size)
        if array.shape != shape:
            raise ActionError(f"the action has shape {array.shape}, expected {shape}; see env.action_space")
        clipped = np.empty(shape)
        if not clip_finite(array, clipped):
            place = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
            raise ActionError(
                f"the action holds {array[place]} at index {place}, expected finite numbers in [-1, 1]; "
                "check the policy's output and its observation normalisation"
            )
        return clipped

    def _limit(self, wanted: FloatArray, target: FloatArray) -> FloatArray:
        step = np.minimum(wanted - target, self.max_step_rad)  # np.clip costs a few microseconds more
        np.maximum(step, -self.max_step_rad, out=step)
        step += target
        np.minimum(step, self._upper_rad, out=step)
        return np.maximum(step, self._lower_rad, out=step)


class JointDelta(ControlMode):
    """target[t] = clip(target[t-1] + scale * action[t], limits), with one scale for the arm and one for the hand."""

    name = "joint_delta"

    def __init__(self, robot: RobotModel, config: ControlConfig) -> None:
        super().__init__(robot, config)
        scale_rad = np.array([config.arm_delta_rad] * robot.arm_joints + [config.hand_delta_rad] * robot.hand_joints)
        self.scale_rad = np.minimum(scale_rad, self.max_step_rad)

    @property
    def target_step_rad(self) -> FloatArray:
        """See `ControlMode`."""
        return self.scale_rad

    def action_meanings(self) -> list[ActionMeaning]:
        """See `ControlMode`."""
        return _meanings(self.action_names, "change of the servo's target", -self.scale_rad, self.scale_rad, "rad")

    def next_target(self, action: FloatArray, target: FloatArray) -> FloatArray:
        """See `ControlMode`."""
        return shifted_within(target, action, self.scale_rad, self._lower_rad, self._upper_rad)

    def action_for(self, next_target: FloatArray, target: FloatArray) -> FloatArray:
        """See `ControlMode`."""
        return np.clip((next_target - target) / self.scale_rad, -1.0, 1.0)


class JointTarget(ControlMode):
    """target[t] = target[t-1] + clip(centre + half_range * action[t] - target[t-1], speed limit per step).

    `centre` and `half_range` span the hand's joint limits and, for the arm, `arm_range_rad` around home within its limits.
    """

    name = "joint_target"

    def __init__(self, robot: RobotModel, config: ControlConfig) -> None:
        super().__init__(robot, config)
        arm = np.arange(robot.num_joints) < robot.arm_joints
        lower = np.where(arm, np.maximum(robot.lower_rad, robot.home_rad - config.arm_range_rad), robot.lower_rad)
        upper = np.where(arm, np.minimum(robot.upper_rad, robot.home_rad + config.arm_range_rad), robot.upper_rad)
        self.centre_rad, self.half_range_rad = (lower + upper) / 2, (upper - lower) / 2

    def action_meanings(self) -> list[ActionMeaning]:
        """See `ControlMode`."""
        low, high = self.centre_rad - self.half_range_rad, self.centre_rad + self.half_range_rad
        return _meanings(self.action_names, "the servo's target", low, high, "rad")

    def next_target(self, action: FloatArray, target: FloatArray) -> FloatArray:
        """See `ControlMode`."""
        return self._limit(self.centre_rad + self.half_range_rad * action, target)

    def action_for(self, next_target: FloatArray, target: FloatArray) -> FloatArray:
        """See `ControlMode`."""
        return np.clip((next_target - self.centre_rad) / self.half_range_rad, -1.0, 1.0)


class WristDelta(ControlMode):
    """Moves the palm's target by a small twist and the hand's targets as `joint_delta` does.

    T[t] = (shift_m * action[0:3] + position(T[t-1]), exp(turn_rad * action[3:6]) rotation(T[t-1])), both along the world's
    axes, where T[t-1] is the pose of the body `palm` at the previous arm targets (the observed `palm_position` is a point of
    the palm's surface, 5 cm from that body's origin). The arm's next targets come from damped least squares,
    started at the previous ones, so that an unreachable pose leaves the palm where it can be and nothing winds up.
    """

    name = "wrist_delta"
    _WRIST_NAMES = ("shift_x", "shift_y", "shift_z", "turn_x", "turn_y", "turn_z")
    _IK_ITERATIONS = 4

    def __init__(self, robot: RobotModel, config: ControlConfig) -> None:
        super().__init__(robot, config)
        self.hand_scale_rad = config.hand_delta_rad

    @property
    def action_names(self) -> tuple[str, ...]:
        """See `ControlMode`."""
        return self._WRIST_NAMES + self.robot.joint_names[self.robot.arm_joints :]

    def action_meanings(self) -> list[ActionMeaning]:
        """See `ControlMode`."""
        names, shift, turn = self.action_names, np.full(3, self.config.wrist_delta_m), np.full(3, self.config.wrist_delta_rad)
        hand = np.minimum(self.hand_scale_rad, self.max_step_rad[self.robot.arm_joints :])
        return [
            *_meanings(names[:3], "change of the palm's target along a world axis", -shift, shift, "m"),
            *_meanings(names[3:6], "turn of the palm's target about a world axis", -turn, turn, "rad"),
            *_meanings(names[6:], "change of the servo's target", -hand, hand, "rad"),
        ]

    def next_target(self, action: FloatArray, target: FloatArray) -> FloatArray:
        """See `ControlMode`."""
        arm = self.robot.arm_joints
        pose = palm_pose(target[:, :arm])
        pose[:, :3, 3] += self.config.wrist_delta_m * action[:, :3]
        turn = Rotation.from_rotvec(self.config.wrist_delta_rad * action[:, 3:6]).as_matrix()
        pose[:, :3, :3] = turn @ pose[:, :3, :3]
        angles, _ = solve_palm_pose(pose, target[:, :arm], iterations=self._IK_ITERATIONS)
        still = ~action[:, :6].any(axis=-1)
        angles[still] = target[still, :arm]  # no creeping by the solver's last digits
        hand = target[:, arm:] + self.hand_scale_rad * action[:, 6:]
        return self._limit(np.concatenate([angles, hand], axis=-1), target)

    def action_for(self, next_target: FloatArray, target: FloatArray) -> FloatArray:
        """See `ControlMode`; exact for the hand, and for the palm's pose where it is reachable, not for the elbow's place."""
        arm = self.robot.arm_joints
        now, wanted = palm_pose(target[:, :arm]), palm_pose(next_target[:, :arm])
        shift = (wanted[:, :3, 3] - now[:, :3, 3]) / self.config.wrist_delta_m
        rotation = wanted[:, :3, :3] @ now[:, :3, :3].transpose(0, 2, 1)
        turn = Rotation.from_matrix(rotation).as_rotvec() / self.config.wrist_delta_rad
        hand = (next_target[:, arm:] - target[:, arm:]) / self.hand_scale_rad
        return np.clip(np.concatenate([shift, turn, hand], axis=-1), -1.0, 1.0)


def _meanings(names: tuple[str, ...], meaning: str, low: FloatArray, high: FloatArray, unit: str) -> list[ActionMeaning]:
    return [ActionMeaning(name, meaning, float(a), float(b), unit) for name, a, b in zip(names, low, high, strict=True)]


CONTROL_MODES: dict[str, type[ControlMode]] = {mode.name: mode for mode in (JointDelta, JointTarget, WristDelta)}


def make_control_mode(name: str, robot: RobotModel, config: ControlConfig) -> ControlMode:
    """The control mode of that name.

    Raises:
        OptionError: there is no such mode.
    """
    if name not in CONTROL_MODES:
        raise OptionError(f"unknown control_mode {name!r}: expected one of {', '.join(CONTROL_MODES)}")
    return CONTROL_MODES[name](robot, config)


def as_numbers(actions: object) -> NDArray[np.floating[Any]]:
    """Actions of any shape as float64, or as they are where they are float32.

    Raises:
        ActionError: they are no array of real numbers.
    """
    if isinstance(actions, np.ndarray) and (actions.dtype is _FLOAT32 or actions.dtype is _FLOAT64):
        return actions
    try:
        array = np.asarray(actions)
    except ValueError:  # ragged
        array = np.zeros(0, dtype=object)
    if array.dtype.kind not in "fiub":
        raise ActionError(f"the action has the type {array.dtype}, expected numbers; see env.action_space")
    return array.astype(np.float64, copy=False)
