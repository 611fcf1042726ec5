"""Step response, bandwidth and saturation of every joint's servo, in the scene of an environment.

    python -m benchmarks.actuators [--quick]

Writes `results/actuators.json`, `.md` and `.png`. The servo alone sees targets that change at every physics step of 5 ms. At
the control rate a target is held for 50 ms and goes no faster than the joint's speed limit, as in the environments. No speed
limit acts on a joint itself: it follows each new target in less than 50 ms, and so moves faster for a moment than on average.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks.actuator_response import ServoBench, Trace, bandwidth_hz, step_figures
from benchmarks.result import RESULTS, Check, write_result
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import progress_bar
from robots.arm_hand import ARM_HAND

FloatArray = NDArray[np.float64]

ENV_ID = "DexVid-GraspLift-v0"
CONTROL_HZ = 20.0
CONTROL_MODES = ("joint_delta", "joint_target", "wrist_delta")
#: The arm with the hand 0.85 m before the base: the largest inertia that joints 1 and 2 meet.
STRETCHED_ARM_RAD = (0.0, 1.20, 0.0, 2.50, 0.0, 0.13, 0.0)
#: Small signals stay below the torque limits, so that the servo is linear there: (arm, hand).
STEP_RAD = (0.02, 0.10)
SINE_RAD = (0.01, 0.05)
#: Large signals: a jump that saturates every servo, and a step at the control rate.
JUMP_RAD = (1.0, 0.9)
CONTROL_STEP_RAD = (0.5, 0.5)
HOLD_S = 0.5

DRIVE_SEEDS = 6
MAX_OVERSHOOT = 0.10
MAX_LIMIT_EXCEEDANCE_RAD = 0.01
MAX_CRUSHED_EXCEEDANCE_RAD = 0.05  # while the arm presses a finger against the table with all its strength
#: A stop acts on what has passed it: a finger that the arm's blow flings at it passes it by its speed times a physics step.
MAX_CRUSHED_STEPS = 1  # control steps in a row with a joint farther beyond its limit than that
MAX_MEAN_SPEED = 1.1  # of the limit, over one control step
MAX_STEADY_ERROR_RAD = 0.002


@dataclasses.dataclass(frozen=True)
class ActuatorArguments:
    """Arguments of the benchmark."""

    out: Path | None = None
    """file for the result (.json); by default the published one"""
    quick: bool = False
    """three joints and few frequencies; needs --out, so that the published results stay"""


def main() -> int:
    """Measures and writes the result."""
    arguments = tyro.cli(ActuatorArguments)
    if arguments.quick and arguments.out is None:
        print("error: --quick would replace the published results; add --out FILE.json", file=sys.stderr)
        return 2
    path = arguments.out or RESULTS / "actuators.json"
    run(path, quick=arguments.quick)
    print(path.with_suffix(".md").read_text())
    return 0


def run(path: Path, *, quick: bool) -> None:
    """Measures every joint (three of them if `quick`) and writes `path` (.json), `.md` and `.png`."""
    from benchmarks.actuator_figure import draw

    bench = ServoBench(ENV_ID, CONTROL_HZ)
    joints = [0, 6, 8] if quick else list(range(ARM_HAND.num_joints))
    frequencies = np.geomspace(0.5, 12.0, 4 if quick else 13)
    rows, curves = [], {}
    with progress_bar("actuators") as report:
        for done, joint in enumerate(joints):
            report(done / len(joints), ARM_HAND.joint_names[joint])
            row, curve = measure(bench, joint, frequencies)
            rows.append(row)
            curves[ARM_HAND.joint_names[joint]] = curve
    driven = {mode: worst_drive(mode, steps=40 if quick else 400, seeds=1 if quick else DRIVE_SEEDS) for mode in CONTROL_MODES}
    config = {
        "environment": ENV_ID,
        "control_hz": CONTROL_HZ,
        "step_rad": STEP_RAD,
        "sine_rad": SINE_RAD,
        "jump_rad": JUMP_RAD,
        "control_step_rad": CONTROL_STEP_RAD,
        "stretched_arm_rad": STRETCHED_ARM_RAD,
        "quick": quick,
    }
    write_result(path, "actuators", config, rows, checks(rows, driven))
    content = json.loads(path.read_text()) | {"curves": curves}  # the figure is made from the file alone
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")
    draw(content, path.with_suffix(".png"))


def measure(bench: ServoBench, joint: int, frequencies_hz: FloatArray) -> tuple[dict[str, Any], dict[str, Any]]:
    """One joint: its row of the table, and the curves of the figure."""
    robot = bench.robot
    part = int(joint >= robot.arm_joints)
    home = robot.home_rad
    start, lower, upper = home[joint], robot.lower_rad[joint], robot.upper_rad[joint]
    sign, room = (1.0, upper - start) if upper - start > start - lower else (-1.0, start - lower)  # away from the nearer limit
    jump, control_jump = (sign * min(wanted[part], 0.9 * room) for wanted in (JUMP_RAD, CONTROL_STEP_RAD))
    stretched = home.copy()
    stretched[: robot.arm_joints] = STRETCHED_ARM_RAD

    small = bench.play(joint, bench.jump(start, sign * STEP_RAD[part], 1.5), home)
    far = bench.play(joint, bench.jump(stretched[joint], sign * STEP_RAD[part], 1.5), stretched)
    large = bench.play(joint, bench.jump(start, jump, 1.5), home)
    paced = bench.play(joint, bench.ramp(joint, (start, start + control_jump), 1.5), home)
    stops = bench.play(joint, bench.ramp(joint, (start, upper, lower), HOLD_S), home)
    fine = np.array([bench.gain(joint, home, SINE_RAD[part], hz, held=False) for hz in frequencies_hz])
    below_nyquist = frequencies_hz[frequencies_hz < 0.45 * CONTROL_HZ]
    held = np.array([bench.gain(joint, home, SINE_RAD[part], hz, held=True) for hz in below_nyquist])

    step, far_step, control_step = (
        step_figures(small, start),
        step_figures(far, stretched[joint]),
        step_figures(paced, start),
    )
    torque_limit, speed_limit = bench.torque_limit_nm[joint], robot.speed_limit_rad_per_s[joint]
    row = {
        "joint": robot.joint_names[joint],
        "rise ms": _rounded(1e3 * step.rise_s),
        "overshoot %": _rounded(100 * step.overshoot, 2),
        "overshoot stretched %": _rounded(100 * far_step.overshoot, 2),
        "settling ms": _rounded(1e3 * step.settling_s),
        "steady error mrad": _rounded(1e3 * step.steady_error_rad, 3),
        "bandwidth Hz": _rounded(bandwidth_hz(frequencies_hz, fine), 2),
        "20 Hz: rise ms": _rounded(1e3 * control_step.rise_s),
        "20 Hz: overshoot %": _rounded(100 * control_step.overshoot, 2),
        "20 Hz: settling ms": _rounded(1e3 * control_step.settling_s),
        "20 Hz: bandwidth Hz": _rounded(bandwidth_hz(below_nyquist, held), 2),
        "jump: torque / limit": _rounded(float(np.abs(large.torque_nm).max() / torque_limit), 6),
        "jump: speed rad/s": _rounded(float(np.abs(large.velocity_rad_per_s).max()), 2),
        "20 Hz: speed / limit": _rounded(float(np.abs(stops.velocity_rad_per_s).max() / speed_limit), 3),
        "20 Hz: mean speed / limit": _rounded(bench.mean_speed(stops) / speed_limit, 3),
        "20 Hz: torque / limit": _rounded(float(np.abs(stops.torque_nm).max() / torque_limit), 3),
        "beyond joint limit mrad": _rounded(1e3 * _exceedance(stops, lower, upper), 3),
    }
    curve = {
        "part": ("arm", "hand")[part],
        "servo": _thin(small, (small.position_rad - start) / (sign * STEP_RAD[part])),
        "control": _thin(paced, (paced.position_rad - start) / control_jump),
        "control_target": _thin(paced, (paced.target_rad - start) / control_jump),
        "torque": _thin(large, sign * large.torque_nm / torque_limit),
        "speed": _thin(large, sign * large.velocity_rad_per_s / speed_limit),
        "frequency_hz": frequencies_hz.round(4).tolist(),
        "gain": fine.round(5).tolist(),
        "held_frequency_hz": below_nyquist.round(4).tolist(),
        "held_gain": held.round(5).tolist(),
    }
    return row, curve


def worst_drive(control_mode: str, steps: int, seeds: int) -> dict[str, float]:
    """The worst of several drives: how hard an arm rams the table is a matter of luck, and one drive says little."""
    driven = [drive(control_mode, steps, seed) for seed in range(seeds)]
    return {name: max(one[name] for one in driven) for name in driven[0]}


def drive(control_mode: str, steps: int, seed: int) -> dict[str, float]:
    """The worst of what full-scale random actions do in the environment itself, contacts included.

    Returns:
        Largest torque and largest change of a target over their limits, largest excess of targets and of joints over the
        joint limits (rad), and the most control steps in a row at whose ends one joint was over its limit by more than
        `MAX_CRUSHED_EXCEEDANCE_RAD`.
    """
    env = gymnasium.make(ENV_ID, control_mode=control_mode, max_episode_steps=steps + 1)
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    inner: Any = env.unwrapped
    model, data = inner.model, inner.data
    actuators = np.array([model.actuator(name).id for name in ARM_HAND.joint_names])
    qposadr = np.array([model.joint(name).qposadr[0] for name in ARM_HAND.joint_names])
    worst = {"torque": 0.0, "target_rate": 0.0, "target_excess_rad": 0.0, "joint_excess_rad": 0.0, "joint_excess_steps": 0.0}
    beyond_steps = np.zeros(ARM_HAND.num_joints)
    size = int(np.prod(env.action_space.shape or (0,)))
    action = np.zeros(size, dtype=np.float32)
    for index in range(steps):
        if index % 10 == 0:  # a direction is kept for half a second, so that limits are reached
            action = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), size)
        before = data.ctrl[actuators].copy()
        _, _, terminated, truncated, _ = env.step(action)
        targets, positions = data.ctrl[actuators], data.qpos[qposadr]
        rate = np.abs(targets - before) * CONTROL_HZ / ARM_HAND.speed_limit_rad_per_s
        force = np.abs(data.actuator_force[actuators]) / model.actuator_forcerange[actuators, 1]
        excess_rad = np.maximum(ARM_HAND.lower_rad - positions, positions - ARM_HAND.upper_rad)
        beyond_steps = np.where(excess_rad > MAX_CRUSHED_EXCEEDANCE_RAD, beyond_steps + 1, 0)
        found = {
            "torque": force.max(),
            "target_rate": rate.max(),
            "target_excess_rad": np.maximum(ARM_HAND.lower_rad - targets, targets - ARM_HAND.upper_rad).max(),
            "joint_excess_rad": excess_rad.max(),
            "joint_excess_steps": beyond_steps.max(),
        }
        worst = {name: max(worst[name], float(value)) for name, value in found.items()}
        if terminated or truncated:
            env.reset()
    env.close()
    return worst


def checks(rows: list[dict[str, Any]], driven: dict[str, dict[str, float]]) -> list[Check]:
    """What must hold of every joint."""

    def worst(name: str) -> float:
        return max(math.inf if row[name] is None else float(row[name]) for row in rows)

    found = [
        Check(
            "torque of a saturated servo / its limit, all joints reach it",
            min(r["jump: torque / limit"] for r in rows),
            0.999,
            "higher",
        ),
        Check(
            "torque of a saturated servo / its limit, no joint exceeds it", worst("jump: torque / limit"), 1.0 + 1e-6, "lower"
        ),
        Check("overshoot of a small step", worst("overshoot %") / 100, MAX_OVERSHOOT, "lower"),
        Check("overshoot of a small step, arm stretched", worst("overshoot stretched %") / 100, MAX_OVERSHOOT, "lower"),
        Check("overshoot of 0.5 rad at the control rate", worst("20 Hz: overshoot %") / 100, MAX_OVERSHOOT, "lower"),
        Check("steady-state error, rad", worst("steady error mrad") / 1e3, MAX_STEADY_ERROR_RAD, "lower"),
        Check("joint beyond its limit, rad", worst("beyond joint limit mrad") / 1e3, MAX_LIMIT_EXCEEDANCE_RAD, "lower"),
        Check("joint speed over a control step / limit", worst("20 Hz: mean speed / limit"), MAX_MEAN_SPEED, "lower"),
    ]
    for mode, figures in driven.items():
        found += [
            Check(f"{mode}, random: torque / limit", figures["torque"], 1.0 + 1e-6, "lower"),
            Check(f"{mode}, random: speed of targets / limit", figures["target_rate"], 1.0 + 1e-6, "lower"),
            Check(f"{mode}, random: targets beyond joint limits, rad", figures["target_excess_rad"], 1e-9, "lower"),
            Check(
                f"{mode}, random: joints beyond their limits, rad",
                figures["joint_excess_rad"],
                MAX_CRUSHED_EXCEEDANCE_RAD,
                "lower",
            ),
            Check(
                f"{mode}, random: control steps in a row with a joint more than {MAX_CRUSHED_EXCEEDANCE_RAD} rad beyond",
                figures["joint_excess_steps"],
                MAX_CRUSHED_STEPS,
                "lower",
            ),
        ]
    return found


def _exceedance(trace: Trace, lower_rad: float, upper_rad: float) -> float:
    """How far the joint went beyond its limits (rad, 0 or more)."""
    return max(0.0, float((trace.position_rad - upper_rad).max()), float((lower_rad - trace.position_rad).max()))


def _rounded(value: float, digits: int = 0) -> float | None:
    """For the table; None (JSON knows no infinity) where the figure does not exist."""
    return round(float(value), digits) if math.isfinite(value) else None


def _thin(trace: Trace, values: FloatArray, until_s: float = 0.6) -> list[list[float]]:
    """Pairs (time in s, value) up to `until_s`, with rest before the step at time 0."""
    keep = trace.time_s <= until_s
    return [[0.0, 0.0], *np.stack([trace.time_s[keep], values[keep]], axis=-1).round(4).tolist()]


if __name__ == "__main__":
    sys.exit(main())
