"""Cores and memory: what a container allows counts, and a system that tells nothing stops nobody."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from dexvid_envs import machine


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group without limits, on a machine of eight cores that tells 2 GB of free memory."""
    monkeypatch.setattr(machine, "_CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(machine, "_MEMORY_FILE", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 2000000 kB\n")
    (tmp_path / "memory.current").write_text("900000000\n")
    (tmp_path / "memory.stat").write_text("anon 600000000\ninactive_file 300000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    return tmp_path


def test_without_a_limit_all_of_the_machine_counts(container: Path) -> None:
    assert machine.usable_cores() == 8.0
    assert machine.whole_cores() == 8
    assert machine.free_memory_bytes() == 1024.0 * 2_000_000


@pytest.mark.parametrize(("quota", "cores", "whole"), [("250000", 2.5, 2), ("50000", 0.5, 1), ("1600000", 8.0, 8)])
def test_a_quota_limits_the_cores(container: Path, quota: str, cores: float, whole: int) -> None:
    (container / "cpu.max").write_text(f"{quota} 100000\n")
    assert machine.usable_cores() == cores
    assert machine.whole_cores() == whole


def test_a_limit_of_memory_counts_without_what_can_be_dropped(container: Path) -> None:
    (container / "memory.max").write_text("1000000000\n")
    assert machine.memory_bytes() == 1_000_000_000
    assert machine.free_memory_bytes() == 1_000_000_000 - (900_000_000 - 300_000_000)


def test_a_system_that_tells_nothing_has_memory_enough(container: Path) -> None:
    for file in container.iterdir():
        file.unlink()
    assert machine.free_memory_bytes() == math.inf
    assert machine.whole_cores() == 8
