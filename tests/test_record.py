"""Recorded episodes are demonstrations: they replay exactly, begin and end as asked, and an interrupted recording goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from baselines.episode_recorder import RecordConfig, RecordReport, record_episodes
from demos.dataset import DatasetWriter, read_dataset
from demos.replay import Player
from dexvid_envs.cli import main

ENV_ID = "DexVid-OpenCabinet-v0"


def test_scripted_episodes_replay_exactly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "recorded"
    arguments = ["record", "OpenCabinet", "--policy", "scripted", "--count", "2", "--seed", "7", "--out", str(out), "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    demonstrations = read_dataset(out)
    assert len(demonstrations) == told["kept"] == 2
    for one in demonstrations:
        assert one.tier == "successful"
        assert one.successes[-11:].all()
        assert not one.successes[-12]  # ten steps after its success came to stay
        player = Player(one.env_id, one.env_options, one.control_mode)
        outcome = player.replay(one)
        player.close()
        assert outcome.state_deviation == 0.0
        assert outcome.keeps_contract


def test_what_the_policy_sees_is_not_what_is_kept() -> None:
    options = {"observation_mode": "pointcloud", "reward_mode": "sparse", "control_mode": "joint_target"}
    config = RecordConfig(count=1, failures=True, rest_steps=None)
    (one,) = record_episodes(ENV_ID, "random", options, config)
    assert one.observations.ndim == 2
    assert one.control_mode == "joint_target"
    assert not set(one.env_options) & {"observation_mode", "reward_mode"}
    assert one.tier == "replayable"
    assert one.num_steps > 50


def test_an_interrupted_recording_goes_on_with_the_next_episode(tmp_path: Path) -> None:
    config = RecordConfig(count=2, failures=True, rest_steps=None)
    whole = list(record_episodes(ENV_ID, "zero", {}, config))
    out = tmp_path / "recorded"
    writer = DatasetWriter(out)
    writer.add(whole[0])
    writer._alone.close()  # as a killed process leaves it
    arguments = ["record", ENV_ID, "--policy", "zero", "--count", "2", "--failures", "--rest-steps", "None", "--out", str(out)]
    assert main([*arguments, "--resume"]) == 0
    again = read_dataset(out)
    for one, other in zip(whole, again, strict=True):
        assert np.array_equal(one.states, other.states)


def test_another_policy_does_not_go_on_where_one_was_interrupted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "recorded"
    writer = DatasetWriter(out)
    writer.add(next(record_episodes(ENV_ID, "zero", {}, RecordConfig(count=1, failures=True))))
    writer._alone.close()
    assert main(["record", ENV_ID, "--policy", "random", "--count", "2", "--out", str(out), "--resume"]) == 2
    assert "another policy" in capsys.readouterr().err


def test_a_policy_that_never_succeeds_is_given_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = RecordReport(attempts=9)
    with pytest.raises(Exception, match="only 0 of 10 episodes of 'zero' end in success"):
        list(record_episodes(ENV_ID, "zero", {}, RecordConfig(count=1), report=report))
    assert main(["record", ENV_ID, "--policy", "zero", "--count", "0", "--out", str(tmp_path / "no")]) == 2
    assert "at least 1" in capsys.readouterr().err
