"""Multiplication: what is called successful is so in physics, repeatably, and failures are never kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from demos.dataset import dataset_length, read_dataset
from demos.demonstration import Demonstration
from demos.multiply import MultiplyConfig, MultiplyReport, multiply
from demos.replay import replay
from demos.source import load_interaction, shipped_demonstration, shipped_sample
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError


@pytest.fixture(scope="module")
def shipped() -> Demonstration:
    return read_dataset(shipped_demonstration())[0]


def test_shipped_demonstration_keeps_its_contract(shipped: Demonstration) -> None:
    assert shipped.tier == "successful"
    outcome = replay(shipped)
    assert outcome.success
    assert outcome.rescored_success
    if outcome.same_build:
        assert outcome.state_deviation == 0.0
    assert shipped.provenance["source_sha256"] == load_interaction(shipped_sample()).source_sha256
    frames = shipped.source_frame[shipped.source_frame >= 0]
    assert (np.diff(frames) >= 0).all()


def test_copies_succeed_start_elsewhere_and_replay(shipped: Demonstration) -> None:
    report = MultiplyReport()
    copies = list(multiply(shipped, MultiplyConfig(count=6, batch=8), report=report))
    assert len(copies) == 6
    assert report.accepted <= report.attempts
    starts = np.array([copy.object_pos_world[0, :2] for copy in copies])
    assert np.ptp(starts, axis=0).min() > 0.03
    for copy in copies:
        assert copy.tier == "successful"
        assert copy.successes[-1]
    outcome = replay(copies[-1])
    assert outcome.success
    assert outcome.rescored_success
    assert sum(report.start_cells.values()) == report.accepted


def test_multiplication_goes_on_where_it_stopped(shipped: Demonstration) -> None:
    config = MultiplyConfig(count=4, batch=4)
    assert len(list(multiply(shipped, config, first_index=3))) == 1


def test_only_successful_demonstrations_are_multiplied(shipped: Demonstration) -> None:
    kinematic = dataclasses.replace(shipped, tier="kinematic")
    with pytest.raises(DexVidError, match="refine it first"):
        list(multiply(kinematic, MultiplyConfig(count=1)))


def test_hopeless_multiplication_gives_up_with_advice(shipped: Demonstration) -> None:
    config = MultiplyConfig(count=4, batch=4, noise_rad=1.0, noise_free_fraction=0.0, max_attempts_factor=1.0)
    with pytest.raises(DexVidError, match=r"copies succeeded.*lower noise_rad"):
        list(multiply(shipped, config))


def test_multiply_command_writes_a_dataset_and_its_coverage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, figures = tmp_path / "copies", tmp_path / "coverage.json"
    arguments = ["multiply", str(shipped_demonstration()), "--count", "3", "--out", str(out), "--json", str(figures)]
    assert main(arguments) == 0
    assert dataset_length(out) == 3
    assert figures.is_file()
    assert "accepted" in capsys.readouterr().out


def test_multiply_command_refuses_what_is_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["multiply", str(tmp_path), "--count", "3", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("error:") == 1
    assert not (tmp_path / "out").exists()
