"""Behaviour cloning: learns, repeats, resumes exactly after a kill, refuses what does not fit."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
import torch

from baselines.bc import CloneConfig, check_same_kind, train_clone
from baselines.checkpoint import load_checkpoint
from baselines.progress import RunLog, TrainProgress
from demos.dataset import write_dataset
from demos.demonstration import Demonstration
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError, InputFileError, OptionError

QUICK = CloneConfig(max_steps=150, batch_size=128, hidden=(32, 32), hold_steps=3, report_every_steps=50, held_out_fraction=0.2)


def make_demonstrations(count: int = 10, steps: int = 30, seed: int = 0, **changes) -> list[Demonstration]:
    """Actions are a fixed smooth function of observations, with units that differ a thousandfold."""
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(7).normal(size=(5, 2))
    unit = np.array([1e-1, 1.0, 10.0, 1.0, 100.0])
    demonstrations = []
    for _ in range(count):
        normal = rng.normal(size=(steps + 1, 5))
        fields = {
            "env_id": "DexVid-BottlePickPlace-v0",
            "env_options": {"bottle": "pet"},
            "control_mode": "joint_delta",
            "observations": (normal * unit + 3.0).astype(np.float32),
            "actions": np.tanh(normal[:-1] @ weights).astype(np.float32),
            "rewards": np.zeros(steps),
            "successes": np.ones(steps, dtype=bool),
            "states": np.zeros((steps + 1, 1)),
            "memory": {},
            "object_pos_world": np.zeros((steps + 1, 3)),
            "source_frame": np.full(steps + 1, -1),
            "tier": "successful",
            "provenance": {},
        }
        demonstrations.append(Demonstration(**(fields | changes)))
    return demonstrations


def parameters(result) -> torch.Tensor:
    return torch.cat([value.flatten() for value in result.checkpoint.actor.state_dict().values()])


def test_learns_the_mapping_and_repeats():
    demonstrations = make_demonstrations(count=40)
    config = dataclasses.replace(QUICK, max_steps=500, hold_steps=0, learning_rate=3e-3)
    first = train_clone(demonstrations, config, seed=3)
    assert first.held_out_loss is not None
    constant = np.abs(np.concatenate([one.actions for one in demonstrations])).mean()  # what the action 0 would cost
    assert first.held_out_loss < 0.25 * constant
    assert first.history[-1]["loss"] < 0.5 * first.history[0]["loss"]
    torch.testing.assert_close(parameters(first), parameters(train_clone(demonstrations, config, seed=3)), rtol=0, atol=0)
    assert not torch.equal(parameters(first), parameters(train_clone(demonstrations, config, seed=4)))


def test_normalisation_is_that_of_the_training_episodes():
    result = train_clone(make_demonstrations(), dataclasses.replace(QUICK, max_steps=1, held_out_fraction=0.0, hold_steps=0))
    observations = np.concatenate([one.observations[:-1] for one in make_demonstrations()]).astype(np.float64)
    normalizer = result.checkpoint.actor.normalizer
    np.testing.assert_allclose(normalizer.mean.numpy(), observations.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.std.numpy(), observations.std(axis=0), rtol=1e-5)
    assert result.held_out_loss is None
    assert result.transitions == 300


def test_hold_steps_teach_to_stand_still():
    config = dataclasses.replace(QUICK, hold_steps=300, max_steps=300)
    demonstrations = make_demonstrations(count=1)
    action = train_clone(demonstrations, config).checkpoint.policy().act(demonstrations[0].observations[-1:])
    assert np.abs(action).max() < 0.05


class Killed(Exception):
    pass


def test_killed_and_resumed_run_equals_an_unbroken_one(tmp_path):
    demonstrations = make_demonstrations()
    config = dataclasses.replace(QUICK, save_every_s=1e-9)
    unbroken = train_clone(demonstrations, config, seed=1, run_folder=tmp_path / "unbroken")

    def kill(report: TrainProgress) -> None:
        if report.step == 100:  # after the state of step 50 was saved, before that of step 100
            raise Killed

    with pytest.raises(Killed):
        train_clone(demonstrations, config, seed=1, run_folder=tmp_path / "broken", progress=kill)
    assert not (tmp_path / "broken" / "checkpoint").exists()
    resumed = train_clone(demonstrations, config, seed=1, run_folder=tmp_path / "broken", resume=True)
    torch.testing.assert_close(parameters(resumed), parameters(unbroken), rtol=0, atol=0)
    saved = load_checkpoint(tmp_path / "broken")
    observations = demonstrations[0].observations
    np.testing.assert_array_equal(saved.policy().act(observations), unbroken.checkpoint.policy().act(observations))
    logs = [list(csv.DictReader((tmp_path / name / "progress.csv").open())) for name in ("broken", "unbroken")]
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]] == ["50.0", "100.0", "150.0"]
    assert [row["held_out_loss"] for row in logs[0]] == [row["held_out_loss"] for row in logs[1]]


def test_resume_refuses_another_run(tmp_path):
    demonstrations = make_demonstrations()
    with pytest.raises(InputFileError, match="nothing to resume"):
        train_clone(demonstrations, QUICK, run_folder=tmp_path, resume=True)
    train_clone(demonstrations, QUICK, run_folder=tmp_path)
    with pytest.raises(OptionError, match="another config and another seed"):
        train_clone(demonstrations, dataclasses.replace(QUICK, input_noise=0.1), seed=5, run_folder=tmp_path, resume=True)
    state = tmp_path / "training_state.safetensors"
    state.write_bytes(state.read_bytes()[:50])
    with pytest.raises(InputFileError, match="is damaged"):
        train_clone(demonstrations, QUICK, run_folder=tmp_path, resume=True)


def test_wall_time_budget_ends_the_run():
    config = dataclasses.replace(QUICK, max_steps=10**9, max_seconds=0.5, report_every_steps=10)
    reports: list[TrainProgress] = []
    result = train_clone(make_demonstrations(), config, progress=reports.append)
    assert 0.5 <= result.seconds < 3.0
    assert reports[-1].fraction == 1.0
    assert reports[-1].figures["learning_rate"] < 0.05 * config.learning_rate


def test_demonstrations_that_do_not_fit():
    good = make_demonstrations(2)
    with pytest.raises(DexVidError, match="the dataset is empty"):
        train_clone([], QUICK)
    with pytest.raises(DexVidError, match=r"do not fit together.*joint_delta.*joint_target"):
        check_same_kind(good + make_demonstrations(1, control_mode="joint_target"))
    bad = make_demonstrations(2)
    bad[1].actions[3, 0] = np.nan
    with pytest.raises(DexVidError, match="demonstration 1 holds NaN"):
        train_clone(bad, QUICK)


@pytest.mark.parametrize(
    "change", [{"max_steps": 0}, {"held_out_fraction": 1.0}, {"input_noise": -1.0}, {"learning_rate": 0.0}]
)
def test_impossible_settings(change):
    with pytest.raises(OptionError, match=next(iter(change))):
        CloneConfig(**change)


def test_log_takes_new_columns(tmp_path):
    with RunLog(tmp_path) as log:
        log.write(1, {"a": 1})
        log.write(2, {"a": 2, "b": 3})
    assert (tmp_path / "progress.csv").read_text().split() == ["step,a,b", "1.0,1.0,", "2.0,2.0,3.0"]
    with RunLog(tmp_path, resume_step=1) as log:
        log.write(2, {"b": 4})
    assert (tmp_path / "progress.csv").read_text().split() == ["step,a,b", "1.0,1.0,", "2.0,,4.0"]


def test_command(tmp_path, capsys):
    write_dataset(tmp_path / "data", make_demonstrations(4))
    arguments = ["train", "bc", "--dataset", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--max-steps", "20"]
    assert main([*arguments, "--hidden", "8", "--batch-size", "16"]) == 0
    assert {"checkpoint", "config.json", "progress.csv", "tensorboard"} <= {one.name for one in (tmp_path / "run").iterdir()}
    assert "cloned 4 demonstrations" in capsys.readouterr().out
    assert main(arguments) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err
    assert main(["train", "bc", "--dataset", str(tmp_path / "none"), "--out", str(tmp_path / "other")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "other").exists()
