"""Control modes: how an action in [-1, 1] becomes the next target of the position servos."""

from __future__ import annotations

import abc
import dataclasses

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import ActionError, OptionError
from robots.arm_hand import RobotModel

FloatArray = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ControlConfig:
    """Scales of the control modes.

    Attributes:
        control_hz: control steps a second.
        arm_delta_rad: largest change of an arm target in one step of `joint_delta`.
        hand_delta_rad: the same for the hand.
        arm_range_rad: `joint_target` reaches this far from home on each side, within the joint's limits; the full +-2 pi of
            some arm joints would make small actions large motions.
    """

    control_hz: float = 20.0
    arm_delta_rad: float = 0.10
    hand_delta_rad: float = 0.20
    arm_range_rad: float = 2.2


class ControlMode(abc.ABC):
    """Maps actions to servo targets, row by row; targets never leave the joint limits nor outrun the speed limits."""

    name: str

    def __init__(self, robot: RobotModel, config: ControlConfig) -> None:
        self.robot, self.config = robot, config
        self.max_step_rad = robot.speed_limit_rad_per_s / config.control_hz  # (J,)

    @property
    def action_size(self) -> int:
        """Length of one action."""
        return self.robot.num_joints

    @abc.abstractmethod
    def next_target(self, action: FloatArray, target: FloatArray) -> FloatArray:
        """The next servo targets (N, J) rad from actions (N, A) in [-1, 1] and the previous targets (N, J) rad."""

    @abc.abstractmethod
    def action_for(self, next_target: FloatArray, target: FloatArray) -> FloatArray:
        """The action (N, A), clipped to [-1, 1], that leads from `target` as near as possible to `next_target`."""

    def _limit(self, wanted: FloatArray, target: FloatArray) -> FloatArray:
        step = np.clip(wanted - target, -self.max_step_rad, self.max_step_rad)
        return np.clip(target + step, self.robot.lower_rad, self.robot.upper_rad)


class JointDelta(ControlMode):
    """target[t] = clip(target[t-1] + scale * action[t], limits), with one scale for the arm and one for the hand."""

    name = "joint_delta"

    def __init__(self, robot: RobotModel, config: ControlConfig) -> None:
        super().__init__(robot, config)
        self.scale_rad = np.array([config.arm_delta_rad] * robot.arm_joints + [config.hand_delta_rad] * robot.hand_joints)

    def next_target(self, action: FloatArray, target: FloatArray) -> FloatArray:
        """See `ControlMode`."""
        return self._limit(target + self.scale_rad * action, target)

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

    def next_target(self, action: FloatArray, target: FloatArray) -> FloatArray:
        """See `ControlMode`."""
        return self._limit(self.centre_rad + self.half_range_rad * action, target)

    def action_for(self, next_target: FloatArray, target: FloatArray) -> FloatArray:
        """See `ControlMode`."""
        return np.clip((next_target - self.centre_rad) / self.half_range_rad, -1.0, 1.0)


CONTROL_MODES: dict[str, type[ControlMode]] = {mode.name: mode for mode in (JointDelta, JointTarget)}


def make_control_mode(name: str, robot: RobotModel, config: ControlConfig) -> ControlMode:
    """The control mode of that name.

    Raises:
        OptionError: there is no such mode.
    """
    if name not in CONTROL_MODES:
        raise OptionError(f"unknown control_mode {name!r}: expected one of {', '.join(CONTROL_MODES)}")
    return CONTROL_MODES[name](robot, config)


def check_actions(actions: object, shape: tuple[int, ...]) -> FloatArray:
    """Actions as float64 of the given shape, clipped to [-1, 1].

    Raises:
        ActionError: wrong shape, or an element is NaN or infinite; nothing has been simulated then.
    """
    array = np.asarray(actions, dtype=np.float64)
    if array.shape != shape:
        raise ActionError(f"the action has shape {array.shape}, expected {shape}; see env.action_space")
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(index) for index in np.argwhere(~finite)[0])
        raise ActionError(
            f"the action holds {array[place]} at index {place}, expected finite numbers in [-1, 1]; "
            "check the policy's output and its observation normalisation"
        )
    return np.clip(array, -1.0, 1.0)
