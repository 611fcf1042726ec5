"""Responses of the robot's position servos in an environment's own scene, and what control engineering reads from them.

What is measured on which joint, and what is expected, stands in `benchmarks.actuators`.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

import dexvid_envs  # noqa: F401 (registers the environments)
from robots.arm_hand import ARM_HAND, RobotModel

FloatArray = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Trace:
    """One joint during a motion, sampled at every physics step.

    Attributes:
        time_s: (S,) from the first change of the target.
        target_rad, position_rad, velocity_rad_per_s: (S,).
        torque_nm: (S,) of the joint's servo.
    """

    time_s: FloatArray
    target_rad: FloatArray
    position_rad: FloatArray
    velocity_rad_per_s: FloatArray
    torque_nm: FloatArray


@dataclasses.dataclass(frozen=True)
class StepFigures:
    """What a step response shows.

    Attributes:
        rise_s: from 10 % to 90 % of the step; NaN where 90 % is not reached.
        overshoot: largest excursion beyond the target as a share of the step.
        settling_s: until the joint stays within 2 % of the step; infinite where it does not.
        steady_error_rad: absolute mean error over the last 0.1 s.
    """

    rise_s: float
    overshoot: float
    settling_s: float
    steady_error_rad: float


class ServoBench:
    """The robot of an environment, one joint of which is moved while the others hold a pose.

    Contacts are switched off, so that the servo is measured and not what the hand happens to touch. Masses, gravity
    compensation, integrator and physics step are the environment's own.
    """

    def __init__(self, env_id: str, control_hz: float, robot: RobotModel = ARM_HAND) -> None:
        env = gymnasium.make(env_id).unwrapped
        self.model: mujoco.MjModel = copy.copy(env.model)  # type: ignore[attr-defined]
        env.close()
        self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
        self.data = mujoco.MjData(self.model)
        self.robot = robot
        joints = [self.model.joint(name) for name in robot.joint_names]
        self.qposadr = np.array([joint.qposadr[0] for joint in joints])
        self.dofadr = np.array([joint.dofadr[0] for joint in joints])
        self.actuator_ids = np.array([self.model.actuator(name).id for name in robot.joint_names])
        self.torque_limit_nm = self.model.actuator_forcerange[self.actuator_ids, 1]  # (J,)
        self.timestep_s = float(self.model.opt.timestep)
        self.substeps = round(1 / (control_hz * self.timestep_s))
        self.control_s = self.substeps * self.timestep_s

    def play(self, joint: int, targets_rad: FloatArray, pose_rad: FloatArray) -> Trace:
        """Moves one joint by servo targets (S,), one for each physics step, from rest at `pose_rad` (J,)."""
        model, data = self.model, self.data
        mujoco.mj_resetData(model, data)
        data.qpos[self.qposadr] = pose_rad
        data.ctrl[self.actuator_ids] = pose_rad
        mujoco.mj_forward(model, data)
        samples = np.empty((len(targets_rad), 3))
        actuator, qposadr, dofadr = self.actuator_ids[joint], self.qposadr[joint], self.dofadr[joint]
        for sample, target in zip(samples, targets_rad, strict=True):
            data.ctrl[actuator] = target
            mujoco.mj_step(model, data)  # leaves the torque of the step that it made
            sample[:] = data.qpos[qposadr], data.qvel[dofadr], data.actuator_force[actuator]
        time = self.timestep_s * np.arange(1, len(targets_rad) + 1)
        return Trace(time, targets_rad, *samples.T)

    def held(self, targets_rad: FloatArray) -> FloatArray:
        """Targets given at the control rate, (T,), for every physics step."""
        return np.repeat(targets_rad, self.substeps)

    def jump(self, start_rad: float, step_rad: float, duration_s: float) -> FloatArray:
        """Targets (T,) rad for every physics step of a jump by `step_rad`."""
        return np.full(round(duration_s / self.timestep_s), start_rad + step_rad)

    def ramp(self, joint: int, corners_rad: Sequence[float], hold_s: float) -> FloatArray:
        """Targets (T,) rad for every physics step from corner to corner at the joint's speed limit and the control rate.

        At each corner but the first the target rests for `hold_s`.
        """
        step = self.robot.speed_limit_rad_per_s[joint] * self.control_s
        targets: list[float] = []
        at = corners_rad[0]
        for corner in corners_rad[1:]:
            while at != corner:
                at += min(max(corner - at, -step), step)
                targets.append(at)
            targets += [at] * round(hold_s / self.control_s)
        return self.held(np.array(targets))

    def mean_speed(self, trace: Trace) -> float:
        """The largest speed (rad/s) of the joint on average over a control step."""
        return float(np.abs(np.diff(trace.position_rad[:: self.substeps])).max() / self.control_s)

    def gain(self, joint: int, pose_rad: FloatArray, amplitude_rad: float, frequency_hz: float, *, held: bool) -> float:
        """Amplitude of the joint over that of a sine target about `pose_rad` (J,); `held` samples it at the control rate."""
        settle_s = 0.6
        periods = max(3, math.ceil(frequency_hz))
        duration = settle_s + periods / frequency_hz
        count = math.ceil(duration / self.control_s)
        interval = self.control_s if held else self.timestep_s
        times = interval * np.arange(count if held else count * self.substeps)
        targets = pose_rad[joint] + amplitude_rad * np.sin(2 * np.pi * frequency_hz * times)
        trace = self.play(joint, self.held(targets) if held else targets, pose_rad)
        late = trace.time_s > trace.time_s[-1] - periods / frequency_hz
        phase = 2 * np.pi * frequency_hz * trace.time_s[late]
        basis = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], axis=-1)
        sine, cosine, _ = np.linalg.lstsq(basis, trace.position_rad[late], rcond=None)[0]
        return float(np.hypot(sine, cosine) / amplitude_rad)


def step_figures(trace: Trace, start_rad: float) -> StepFigures:
    """The figures of a step from `start_rad` to the trace's last target."""
    goal = float(trace.target_rad[-1])
    share = (trace.position_rad - start_rad) / (goal - start_rad)  # 0 at the start, 1 at the goal
    above_10, above_90 = np.flatnonzero(share >= 0.1), np.flatnonzero(share >= 0.9)
    rise = trace.time_s[above_90[0]] - trace.time_s[above_10[0]] if len(above_90) else math.nan
    outside = np.flatnonzero(np.abs(share - 1) > 0.02)
    settled = len(outside) == 0 or outside[-1] + 1 < len(share)
    settling = (trace.time_s[outside[-1] + 1] if len(outside) else 0.0) if settled else math.inf
    last = trace.time_s > trace.time_s[-1] - 0.1
    error = abs(float(np.mean(trace.position_rad[last])) - goal)
    return StepFigures(float(rise), max(0.0, float(share.max()) - 1.0), float(settling), error)


def bandwidth_hz(frequencies_hz: FloatArray, gains: FloatArray) -> float:
    """Frequency (Hz) at which the gain falls through -3 dB, between samples by straight lines in the Bode plot.

    Args:
        frequencies_hz: (F,) ascending.
        gains: (F,) amplitude over that of the target.

    Returns:
        Infinity where it never falls that far, 0 where it starts below.
    """
    decibels = 20 * np.log10(np.maximum(gains, 1e-12))
    below = np.flatnonzero(decibels < -3.0)
    if len(below) == 0:
        return math.inf
    after = int(below[0])
    if after == 0:
        return 0.0
    share = (decibels[after - 1] + 3.0) / (decibels[after - 1] - decibels[after])
    logs = np.log(frequencies_hz)
    return float(np.exp(logs[after - 1] + share * (logs[after] - logs[after - 1])))
