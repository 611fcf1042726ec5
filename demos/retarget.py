"""Retargeting: the robot configuration whose fingertips are where the person's are, frame by frame.

Per frame it minimises  1/2 ||x_h - f(a)||^2 + lambda ||a - a_prev||^2  within the joint limits, where x_h are the person's
fingertips and f the robot's forward kinematics, extended by weak terms for the wrist and by clearance of every link from the
table.
"""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.interaction import Interaction
from robots.arm_hand import ARM_HAND, make_arm_hand_spec
from robots.threads import single_threaded_blas

FloatArray = NDArray[np.float64]
#: Human key points of the robot's fingertips (index, middle, ring, thumb) in the 21-point order.
FINGERTIP_KEYPOINTS = (8, 12, 16, 4)
_WRIST = 0
#: Gauss-Newton steps at most for the first frame, which starts far away; they end where the motion ends.
_FIRST_ITERATIONS = 200
_CONVERGED_RAD = 1e-4


@dataclasses.dataclass(frozen=True)
class RetargetConfig:
    """Weights of the per-frame problem.

    Attributes:
        control_hz: rate of the resulting motion.
        max_duration_s: a longer recording is played faster, to this duration.
        previous_weight: lambda of the previous-pose term, m^2/rad^2.
        wrist_weight: weight of the palm's mount against the person's wrist, relative to one fingertip.
        wrist_offset_m: the robot's wrist is kept this far behind the person's, away from the fingertips (its hand is larger).
        arm_posture_weight: pull of the arm's joints towards home, which settles its redundancy, m^2/rad^2.
        posture_weight: pull of the finger joints towards a half-closed posture, m^2/rad^2.
        clearance_m: distance kept between the table and the hand's links.
        clearance_weight: weight of the clearance, relative to one fingertip.
        iterations: Gauss-Newton steps of a frame at most (more for the first one).
    """

    control_hz: float = 20.0
    max_duration_s: float = 6.0
    previous_weight: float = 2e-5
    wrist_weight: float = 0.03
    wrist_offset_m: float = 0.04
    arm_posture_weight: float = 1e-5
    posture_weight: float = 1e-5
    clearance_m: float = 0.02
    clearance_weight: float = 4.0
    iterations: int = 8


@dataclasses.dataclass(frozen=True)
class RobotMotion:
    """A motion of the robot at the control rate.

    Attributes:
        qpos: (T, 23) rad.
        targets: (T, 23) rad servo targets; equal to `qpos` before refinement.
        error_m: (T, 4) m distance of each fingertip (index, middle, ring, thumb) from the person's.
        source_frame: (T,) int frame of the source behind each step.
        object_pos_world: (T, 3) m recorded path of the object's centre.
    """

    qpos: FloatArray
    targets: FloatArray
    error_m: FloatArray
    source_frame: NDArray[np.int64]
    object_pos_world: FloatArray


class Retargeter:
    """Solves one frame at a time, each from the solution of the one before."""

    def __init__(self, config: RetargetConfig | None = None) -> None:
        self.config = config or RetargetConfig()
        self.model = make_arm_hand_spec().compile()
        self.data = mujoco.MjData(self.model)
        self._tips = [self.model.site(name).id for name in ARM_HAND.fingertip_sites]
        self._palm = self.model.body(ARM_HAND.palm_body).id
        self._clearance_bodies = [
            body
            for body in range(self.model.nbody)
            if self.model.body_rootid[body] and body >= self.model.body("arm_7_link").id
        ]
        arm = np.arange(ARM_HAND.num_joints) < ARM_HAND.arm_joints
        self._posture_weight = np.where(arm, self.config.arm_posture_weight, self.config.posture_weight)
        self._posture = np.where(arm, ARM_HAND.home_rad, (ARM_HAND.lower_rad + ARM_HAND.upper_rad) / 3)
        self._jacobian = np.zeros((3, self.model.nv))
        self.reset(ARM_HAND.home_rad)

    def reset(self, qpos: FloatArray) -> None:
        """Sets the configuration (23,) rad from which the next frame starts."""
        self.previous = np.array(qpos, dtype=np.float64)

    def solve(
        self, keypoints_world: FloatArray, iterations: int | None = None, previous_weight: float | None = None
    ) -> FloatArray:
        """The configuration (23,) rad for one frame of key points (21, 3) m; becomes the start of the next frame."""
        config = self.config
        weight = config.previous_weight if previous_weight is None else previous_weight
        tips = keypoints_world[list(FINGERTIP_KEYPOINTS)]
        wrist = keypoints_world[_WRIST]
        back = wrist - tips.mean(axis=0)
        wrist = wrist + config.wrist_offset_m * back / max(float(np.linalg.norm(back)), 1e-6)
        qpos = self.previous.copy()
        for _ in range(iterations or config.iterations):
            normal = np.diag(np.full(ARM_HAND.num_joints, 2 * weight) + self._posture_weight + 1e-8)
            gradient = 2 * weight * (self.previous - qpos) + self._posture_weight * (self._posture - qpos)
            self._add_point_terms(qpos, tips, wrist, normal, gradient)
            following = self._bounded_step(qpos, normal, gradient)
            moved = np.abs(following - qpos).max()
            qpos = following
            if moved < _CONVERGED_RAD:
                break
        self.previous = qpos
        return qpos

    def fingertips(self, qpos: FloatArray) -> FloatArray:
        """(4, 3) m fingertips in the world at a configuration (23,) rad."""
        self._kinematics(qpos)
        return self.data.site_xpos[self._tips].copy()

    def _kinematics(self, qpos: FloatArray) -> None:
        self.data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)

    def _add_point_terms(
        self, qpos: FloatArray, tips: FloatArray, wrist: FloatArray, normal: FloatArray, gradient: FloatArray
    ) -> None:
        """Adds fingertips, wrist and table clearance to the Gauss-Newton system, in place."""
        config, model, data, jacobian = self.config, self.model, self.data, self._jacobian
        self._kinematics(qpos)
        for site, wanted in zip(self._tips, tips, strict=True):
            mujoco.mj_jacSite(model, data, jacobian, None, site)
            normal += jacobian.T @ jacobian
            gradient += jacobian.T @ (wanted - data.site_xpos[site])
        mount = data.xpos[self._palm] - 0.095 * data.xmat[self._palm].reshape(3, 3)[:, 2]
        mujoco.mj_jac(model, data, jacobian, None, mount, self._palm)
        normal += config.wrist_weight * jacobian.T @ jacobian
        gradient += config.wrist_weight * (jacobian.T @ (wrist - mount))
        for body in self._clearance_bodies:
            margin = config.clearance_m + (0.035 if body <= self._palm else 0.0)
            depth = margin - data.xpos[body, 2]
            if depth > 0:
                mujoco.mj_jacBody(model, data, jacobian, None, body)
                row = jacobian[2]
                normal += config.clearance_weight * np.outer(row, row)
                gradient += config.clearance_weight * row * depth
        depth = 0.055 - mount[2]  # the wrist end of the palm is 5.6 cm wide on each side
        if depth > 0:
            mujoco.mj_jac(model, data, jacobian, None, mount, self._palm)
            normal += config.clearance_weight * np.outer(jacobian[2], jacobian[2])
            gradient += config.clearance_weight * jacobian[2] * depth

    @staticmethod
    def _bounded_step(qpos: FloatArray, normal: FloatArray, gradient: FloatArray) -> FloatArray:
        """One step within the joint limits: joints pressed against a limit are held and the rest solved again."""
        free, step = np.ones(len(qpos), dtype=bool), np.zeros(len(qpos))
        for _ in range(3):
            step = np.zeros(len(qpos))
            step[free] = np.linalg.solve(normal[np.ix_(free, free)], gradient[free])
            wanted = qpos + step
            outside = free & ((wanted < ARM_HAND.lower_rad) | (wanted > ARM_HAND.upper_rad))
            pressed = outside & ((qpos <= ARM_HAND.lower_rad + 1e-9) | (qpos >= ARM_HAND.upper_rad - 1e-9))
            if not pressed.any():
                break
            free &= ~pressed
        largest = np.abs(step).max()
        step = step * min(1.0, 0.5 / max(largest, 1e-9))
        return np.clip(qpos + step, ARM_HAND.lower_rad, ARM_HAND.upper_rad)


def retarget(interaction: Interaction, config: RetargetConfig | None = None, initial: FloatArray | None = None) -> RobotMotion:
    """Retargets a whole interaction, whose key points are in the robot's world, at its own frame rate.

    Args:
        interaction: at the control rate (see `resample`), without NaN in the hand's key points.
        config: weights.
        initial: (23,) rad configuration to start from; home if None.
    """
    retargeter = Retargeter(config)
    if initial is not None:
        retargeter.reset(initial)
    keypoints = interaction.hand_keypoints_world
    with single_threaded_blas():
        retargeter.solve(keypoints[0], iterations=_FIRST_ITERATIONS, previous_weight=0.0)
        qpos = np.stack([retargeter.solve(frame) for frame in keypoints])
    reached = np.stack([retargeter.fingertips(row) for row in qpos])
    error = np.linalg.norm(reached - keypoints[:, list(FINGERTIP_KEYPOINTS)], axis=-1)
    return RobotMotion(qpos, qpos.copy(), error, interaction.frame_index.copy(), interaction.object_pose_world[:, :3, 3].copy())
