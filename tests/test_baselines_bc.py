"""Behaviour cloning: learns, repeats, resumes exactly after a kill, refuses what does not fit."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.bc import CloneConfig, train_clone
from baselines.checkpoint import load_checkpoint
from baselines.episodes import Episode, EpisodeData, check_same_kind, make_episodes
from baselines.evaluate import evaluate
from baselines.networks import module_of
from baselines.progress import RunLog, TrainProgress
from demos.dataset import read_dataset, write_dataset
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


TRANSFORMER = dataclasses.replace(QUICK, policy="transformer", window_steps=16, max_steps=20, report_every_steps=10)
CLOUD: dict[str, Any] = {"observation_mode": "pointcloud", "points": "partial"}


@pytest.fixture(scope="module")
def shipped() -> Demonstration:
    return read_dataset(Path(__file__).parents[1] / "demos" / "data" / "refined_pick_place")[0]


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
    actor: Any = result.checkpoint.actor
    np.testing.assert_allclose(actor.normalizer.mean.numpy(), observations.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(actor.normalizer.std.numpy(), observations.std(axis=0), rtol=1e-5)
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


# ---- sequences ----------------------------------------------------------------------------------------------------------


def numbered(lengths: list[int]) -> EpisodeData:
    """Episodes whose observations are (episode, step)."""
    episodes = []
    for index, length in enumerate(lengths):
        state = np.stack([np.full(length + 1, index), np.arange(length + 1)], axis=-1).astype(np.float32)
        episodes.append(Episode({"state": state}, state[:-1].copy(), np.full(2, -1, dtype=np.float32)))
    return EpisodeData(episodes, hold_steps=0)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5), steps=st.integers(1, 20), seed=st.integers(0, 1000))
def test_windows_are_stretches_of_one_episode(lengths, steps, seed):
    data = numbered(lengths)
    parts, actions, valid = data.draw(40, steps, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(parts["state"], actions, rtol=0, atol=0)
    for window, used in zip(parts["state"], valid, strict=True):
        count = int(used.sum())
        assert count >= 1
        assert used[:count].all()  # padding comes last
        episode, first = int(window[0, 0]), int(window[0, 1])
        assert window[:count].tolist() == [[episode, first + i] for i in range(count)]
        assert first + count <= lengths[episode]
        assert count == steps or first == 0 or first + count == lengths[episode]


def test_every_step_is_drawn_as_often_as_any_other():
    lengths = [3, 20]
    parts, _, valid = numbered(lengths).draw(40_000, 8, torch.Generator().manual_seed(0))
    drawn = parts["state"][valid]
    for episode, length in enumerate(lengths):
        counts = torch.bincount(drawn[drawn[:, 0] == episode][:, 1].long(), minlength=length)
        np.testing.assert_allclose(counts / len(drawn), 1 / sum(lengths), rtol=0.05)


def test_transformer_learns_what_only_memory_can_tell():
    """The action is the observation of three steps ago, which the present one does not show."""
    rng = np.random.default_rng(0)
    demonstrations = []
    for one in make_demonstrations(40, control_mode="joint_target"):
        shown = rng.uniform(-1, 1, one.observations.shape).astype(np.float32)
        actions = np.zeros_like(one.actions)
        actions[3:] = shown[: len(actions) - 3, :2]
        demonstrations.append(dataclasses.replace(one, observations=shown, actions=actions))
    settings = {"max_steps": 180, "hold_steps": 0, "batch_size": 512, "learning_rate": 3e-3, "input_noise": 0.0}
    memoryless = train_clone(demonstrations, dataclasses.replace(QUICK, **settings)).held_out_loss
    remembering = train_clone(demonstrations, dataclasses.replace(TRANSFORMER, **settings)).held_out_loss
    assert memoryless is not None
    assert remembering is not None
    assert remembering < 0.7 * memoryless, (remembering, memoryless)


def test_padding_teaches_nothing():
    """Episodes of 5 steps in windows of 16: only valid steps count, so garbage beyond the end could not matter."""
    _, _, valid = numbered([5]).draw(8, 16, torch.Generator().manual_seed(0))
    result = train_clone(make_demonstrations(4, steps=5), dataclasses.replace(TRANSFORMER, hold_steps=0))
    actor = result.checkpoint.actor
    shown = torch.randn(8, 16, 5)
    starts = torch.zeros((8, 16), dtype=torch.bool)
    garbage = torch.where(valid[..., None], shown, 1e3)
    with torch.no_grad():
        one, other = actor.act({"state": shown}, starts)[0], actor.act({"state": garbage}, starts)[0]
    torch.testing.assert_close(one[valid], other[valid], rtol=0, atol=0)


def test_killed_and_resumed_transformer_equals_an_unbroken_one(tmp_path):
    config = dataclasses.replace(TRANSFORMER, save_every_s=1e-9)
    unbroken = train_clone(make_demonstrations(), config, seed=1)

    def kill(report: TrainProgress) -> None:
        if report.step == 20:
            raise Killed

    with pytest.raises(Killed):
        train_clone(make_demonstrations(), config, seed=1, run_folder=tmp_path, progress=kill)
    resumed = train_clone(make_demonstrations(), config, seed=1, run_folder=tmp_path, resume=True)
    torch.testing.assert_close(parameters(resumed), parameters(unbroken), rtol=0, atol=0)


def test_states_are_observed_again_as_the_environment_shows_them(shipped):
    seen = make_episodes([shipped], CLOUD)[0].parts
    assert set(seen) == {"goal", "points", "proprioception"}
    env = gymnasium.make(shipped.env_id, **shipped.env_options, **CLOUD)
    for step in (0, 40, 100, shipped.num_steps):
        expected, _ = env.reset(options=shipped.reset_options(step))
        for name, part in seen.items():
            np.testing.assert_array_equal(part[step], expected[name])
    np.testing.assert_array_equal(make_episodes([shipped])[0].parts["state"], shipped.observations)
    again = make_episodes([shipped], {"observation_mode": "state"})[0].parts["state"]
    np.testing.assert_allclose(again, shipped.observations, atol=1e-5)
    # One that was recorded among points shows the state without the points' options.
    cloudy = dataclasses.replace(shipped, env_options={**shipped.env_options, **CLOUD})
    np.testing.assert_array_equal(make_episodes([cloudy], {"observation_mode": "state"})[0].parts["state"], again)


def test_each_demonstration_is_observed_among_its_own_objects():
    folder = Path(__file__).parents[1] / "demos" / "data" / "refined_wild"
    several = [read_dataset(path)[0] for path in sorted(folder.iterdir())[:3]]
    several.append(several[0])
    assert len({str(one.env_options) for one in several}) > 1
    shares: list[float] = []
    seen = make_episodes(several, CLOUD, progress=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]
    for one, episode in zip(several, seen, strict=True):
        env = gymnasium.make(one.env_id, **one.env_options, **CLOUD)
        expected, _ = env.reset(options=one.reset_options(50))
        for name, part in episode.parts.items():
            np.testing.assert_array_equal(part[50], expected[name])
        env.close()


def test_demonstrations_that_show_different_things_are_refused(shipped):
    other = dataclasses.replace(shipped, env_options={**shipped.env_options, "relative": True})
    with pytest.raises(DexVidError, match=r"demonstration 1 shows .* expected the same of all"):
        make_episodes([shipped, other], {"observation_mode": "state"})


def test_point_cloud_clone_from_dataset_to_evaluation(tmp_path, shipped, capsys):
    write_dataset(tmp_path / "data", [shipped, shipped])
    options = [word for name, value in CLOUD.items() for word in ("--env-option", f"{name}={value}")]
    arguments = ["train", "bc", "--dataset", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--policy", "transformer"]
    assert main([*arguments, "--size", "small", "--max-steps", "3", "--batch-size", "64", *options]) == 0
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.make_options() == {"bottle": "pet", "control_mode": "joint_delta", **CLOUD}
    results = [
        evaluate(checkpoint.policy(), checkpoint.env_id, episodes=2, env_options=checkpoint.make_options(), num_envs=count)
        for count in (1, 2)
    ]
    assert results[0].episodes == results[1].episodes
    capsys.readouterr()
    assert main(["evaluate", "--policy", str(tmp_path / "run"), "--episodes", "1"]) == 0
    assert "success at the end" in capsys.readouterr().out
    assert main(["evaluate", "--policy", str(tmp_path / "run"), "--env-option", "observation_mode=keypoints"]) == 2
    assert "use the version and options it was trained with" in capsys.readouterr().err


def test_observation_options_that_do_not_fit(shipped):
    with pytest.raises(OptionError, match="an mlp reads the state observation alone"):
        train_clone([shipped], QUICK, observation=CLOUD)
    with pytest.raises(OptionError, match="control_mode is the demonstrations' own"):
        train_clone([shipped], QUICK, observation={"control_mode": "joint_target"})
    with pytest.raises(OptionError, match="unknown observation_mode 'smell'"):
        train_clone([shipped], TRANSFORMER, observation={"observation_mode": "smell"})


def test_wall_time_budget_ends_the_run():
    config = dataclasses.replace(QUICK, max_steps=10**9, max_seconds=0.5, report_every_steps=10)
    reports: list[TrainProgress] = []
    result = train_clone(make_demonstrations(), config, progress=reports.append)
    assert 0.5 <= result.seconds < 3.0
    assert reports[-1].fraction == 1.0
    assert reports[-1].figures["learning_rate"] < 0.05 * config.peak_rate


def test_training_begins_with_an_earlier_actor():
    demonstrations = make_demonstrations()
    earlier = train_clone(demonstrations, QUICK).checkpoint
    before = torch.cat([value.flatten() for value in module_of(earlier.actor).state_dict().values()])
    still = dataclasses.replace(QUICK, max_steps=1, learning_rate=1e-9)
    torch.testing.assert_close(parameters(train_clone(demonstrations, still, initial=earlier)), before)
    further = train_clone(demonstrations, QUICK, initial=earlier)
    assert further.history[0]["loss"] < train_clone(demonstrations, QUICK).history[0]["loss"]
    other = make_demonstrations(observations=np.zeros((31, 6), dtype=np.float32))
    with pytest.raises(OptionError, match="the initial actor sees"):
        train_clone(other, QUICK, initial=earlier)


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
    "change",
    [
        {"max_steps": 0},
        {"held_out_fraction": 1.0},
        {"input_noise": -1.0},
        {"learning_rate": 0.0},
        {"size": "vast"},
        {"batch_size": 100, "policy": "transformer"},
    ],
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
    assert main([*arguments, "--hidden", "8", "--batch-size", "16", "--json", str(tmp_path / "told.json")]) == 0
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["demonstrations"], told["steps"], told["out"]) == (4, 20, str(tmp_path / "run"))
    assert {"checkpoint", "config.json", "progress.csv", "tensorboard"} <= {one.name for one in (tmp_path / "run").iterdir()}
    assert "cloned 4 demonstrations" in capsys.readouterr().out
    assert main(arguments) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err
    assert main(["train", "bc", "--dataset", str(tmp_path / "none"), "--out", str(tmp_path / "other")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "other").exists()
