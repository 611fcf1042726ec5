"""The servos keep their limits, and the actuator benchmark measures what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from benchmarks.actuator_response import ServoBench, Trace, bandwidth_hz, step_figures
from benchmarks.actuators import CONTROL_HZ, CONTROL_MODES, ENV_ID, drive, run
from robots.arm_hand import ARM_HAND


@pytest.fixture(scope="module")
def bench() -> ServoBench:
    return ServoBench(ENV_ID, CONTROL_HZ)


@pytest.mark.parametrize("control_mode", CONTROL_MODES)
def test_targets_and_torques_stay_within_their_limits(control_mode: str) -> None:
    worst = drive(control_mode, steps=60, seed=1)
    assert 0.99 < worst["torque"] <= 1.0 + 1e-9
    assert worst["target_rate"] <= 1.0 + 1e-6
    assert worst["target_excess_rad"] <= 1e-9


def test_joint_target_asks_for_the_speed_limit_and_no_more() -> None:
    env = gymnasium.make(ENV_ID, control_mode="joint_target")
    env.reset(seed=0)
    inner: Any = env.unwrapped
    ids = [inner.model.actuator(name).id for name in ARM_HAND.joint_names]
    before = inner.data.ctrl[ids].copy()
    away = np.where(before < (ARM_HAND.lower_rad + ARM_HAND.upper_rad) / 2, 1.0, -1.0).astype(np.float32)
    env.step(away)
    moved = np.abs(inner.data.ctrl[ids] - before)
    room = np.where(away > 0, ARM_HAND.upper_rad - before, before - ARM_HAND.lower_rad)
    np.testing.assert_allclose(moved, np.minimum(ARM_HAND.speed_limit_rad_per_s / CONTROL_HZ, room), rtol=1e-9)
    env.close()


@pytest.mark.parametrize("joint", [1, 3, 8, 19])
def test_joint_stays_in_its_range_at_full_target_speed(bench: ServoBench, joint: int) -> None:
    lower, upper = ARM_HAND.lower_rad[joint], ARM_HAND.upper_rad[joint]
    corners = (ARM_HAND.home_rad[joint], upper, lower)
    trace = bench.play(joint, bench.ramp(joint, corners, hold_s=0.5), ARM_HAND.home_rad)
    assert trace.target_rad.max() == pytest.approx(upper)
    assert trace.position_rad.max() < upper + 0.01
    assert trace.position_rad.min() > lower - 0.01
    assert np.abs(trace.position_rad[-1] - lower) < 0.01
    assert np.abs(trace.torque_nm).max() <= bench.torque_limit_nm[joint]


def test_ramp_goes_at_the_speed_limit_and_holds_each_target_for_a_control_step(bench: ServoBench) -> None:
    targets = bench.ramp(0, (0.0, 0.4), hold_s=0.1)
    step = np.pi / CONTROL_HZ
    np.testing.assert_allclose(targets[:: bench.substeps], [step, 2 * step, 0.4, 0.4, 0.4])
    assert (targets.reshape(-1, bench.substeps) == targets[:: bench.substeps, None]).all()


def test_step_figures_of_a_first_order_lag() -> None:
    """A lag of time constant T rises in T ln 9 and settles to 2 % in T ln 50."""
    time = (1e-3 * np.arange(1, 4001)).astype(np.float64)
    constant = 0.2
    position = 0.5 * (1 - np.exp(-time / constant))
    figures = step_figures(Trace(time, np.full(4000, 0.5), position, position, position), 0.0)
    assert figures.rise_s == pytest.approx(constant * np.log(9), abs=2e-3)
    assert figures.settling_s == pytest.approx(constant * np.log(50), abs=2e-3)
    assert figures.overshoot == 0.0
    assert figures.steady_error_rad < 1e-8


def test_step_figures_of_an_oscillation_that_never_settles() -> None:
    time = (1e-3 * np.arange(1, 2001)).astype(np.float64)
    position = np.cos(2 * np.pi * 5 * time) - 1.0  # a step downwards
    figures = step_figures(Trace(time, np.full(2000, -1.0), position, position, position), 0.0)
    assert figures.overshoot == pytest.approx(1.0, abs=1e-3)
    assert figures.settling_s == np.inf


def test_bandwidth_of_a_first_order_lag() -> None:
    frequencies = np.geomspace(0.5, 20, 30)
    gains = 1 / np.sqrt(1 + (frequencies / 4.0) ** 2)  # -3.01 dB at 4 Hz
    assert bandwidth_hz(frequencies, gains) == pytest.approx(4.0, rel=0.01)
    assert bandwidth_hz(frequencies, np.ones(30)) == np.inf
    assert bandwidth_hz(frequencies, np.full(30, 0.1)) == 0.0


def test_quick_benchmark_writes_table_figure_and_checks(tmp_path: Path) -> None:
    path = tmp_path / "actuators.json"
    run(path, quick=True)
    content = json.loads(path.read_text())
    assert [row["joint"] for row in content["rows"]] == ["arm_1", "arm_7", "index_proximal"]
    assert "| index_proximal |" in path.with_suffix(".md").read_text()
    assert path.with_suffix(".png").stat().st_size > 50_000
    checks = {check["name"]: check["ok"] for check in content["checks"]}
    assert all(ok for name, ok in checks.items() if "random: joints beyond" not in name), checks
