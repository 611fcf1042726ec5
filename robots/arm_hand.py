"""The robot of all environments: the hand on the arm, with its names, limits and home configuration."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
from numpy.typing import NDArray

from robots.allegro import FINGER_NAMES, FINGER_SPEED_LIMIT_RAD_PER_S, FINGERS, HAND_JOINT_NAMES, add_hand
from robots.arm import ARM_JOINT_NAMES, ARM_LINKS, ARM_SPEED_LIMIT_RAD_PER_S, add_arm


@dataclasses.dataclass(frozen=True)
class RobotModel:
    """Names and limits of a robot, all in the order of `joint_names`.

    Attributes:
        joint_names: every actuated joint; its actuator has the same name.
        arm_joints, hand_joints: number of joints of each; the arm's come first.
        fingertip_sites: site at each fingertip's centre, in the order index, middle, ring, thumb.
        palm_body: body of the palm.
        lower_rad, upper_rad: (J,) joint limits.
        speed_limit_rad_per_s: (J,) joint speed limits.
        home_rad: (J,) configuration of the `home` keyframe.
    """

    joint_names: tuple[str, ...]
    arm_joints: int
    hand_joints: int
    fingertip_sites: tuple[str, ...]
    palm_body: str
    lower_rad: NDArray[np.float64]
    upper_rad: NDArray[np.float64]
    speed_limit_rad_per_s: NDArray[np.float64]
    home_rad: NDArray[np.float64]

    @property
    def num_joints(self) -> int:
        """Number of actuated joints J."""
        return len(self.joint_names)


def _arm_hand() -> RobotModel:
    limits = [link.range_rad for link in ARM_LINKS] + [link.range_rad for finger in FINGERS for link in finger.links]
    lower, upper = np.array(limits).T
    arm_home = [0.020, -1.315, -0.145, 0.139, 0.035, 0.491, -1.784]  # hand held out as for a handshake, above the bottles
    hand_home = [0.0, 0.2, 0.2, 0.2] * 3 + [0.8, 0.3, 0.2, 0.2]
    return RobotModel(
        joint_names=ARM_JOINT_NAMES + HAND_JOINT_NAMES,
        arm_joints=len(ARM_JOINT_NAMES),
        hand_joints=len(HAND_JOINT_NAMES),
        fingertip_sites=tuple(f"{name}_tip" for name in FINGER_NAMES),
        palm_body="palm",
        lower_rad=lower,
        upper_rad=upper,
        speed_limit_rad_per_s=np.array(
            [ARM_SPEED_LIMIT_RAD_PER_S] * len(ARM_JOINT_NAMES) + [FINGER_SPEED_LIMIT_RAD_PER_S] * len(HAND_JOINT_NAMES)
        ),
        home_rad=np.array(arm_home + hand_home),
    )


#: The 7-DoF arm with the 16-joint right hand.
ARM_HAND = _arm_hand()


def add_arm_hand(spec: mujoco.MjSpec) -> mujoco.MjsBody:
    """Adds arm and hand to a scene, the arm's base at the world's origin; returns the palm body."""
    base = spec.worldbody.add_body(name="arm_base")
    return add_hand(spec, add_arm(spec, base))


def make_arm_hand_spec() -> mujoco.MjSpec:
    """The robot alone, with its `home` keyframe."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.modelname = "arm_hand"
    add_arm_hand(spec)
    spec.add_key(name="home", qpos=ARM_HAND.home_rad, ctrl=ARM_HAND.home_rad)
    return spec
