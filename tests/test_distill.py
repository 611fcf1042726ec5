"""Distillation: a pupil that sees points learns from a teacher that sees the truth of the same simulations."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from baselines.bc import CloneConfig
from baselines.checkpoint import Checkpoint, load_checkpoint
from baselines.distill import ROUNDS_NAME, DistillConfig, DistillResult, distill
from baselines.evaluate import make_vector_env
from baselines.networks import module_of
from baselines.progress import TrainProgress
from baselines.training_state import STATE_NAME
from dexvid_envs.cli import main
from dexvid_envs.errors import InputFileError, OptionError

CHECKPOINTS = Path(__file__).parents[1] / "baselines" / "checkpoints"
POINTS: dict[str, Any] = {"observation_mode": "pointcloud", "max_episode_steps": 10}
SMALL = CloneConfig(policy="transformer", max_steps=12, batch_size=64, window_steps=8, report_every_steps=4)
QUICK = DistillConfig(rounds=2, num_envs=4, clone=SMALL)


@pytest.fixture(scope="module")
def teacher() -> Checkpoint:
    return load_checkpoint(CHECKPOINTS / "lift_throw")


def weights(result: DistillResult) -> list[torch.Tensor]:
    return [parameter.detach() for parameter in module_of(result.checkpoint.actor).parameters()]


def test_the_teacher_sees_the_truth_of_simulations_that_the_pupil_sees_noisily() -> None:
    noise = {"object_noise_m": 0.01, "joint_noise_rad": 0.02, "object_delay_steps": (1, 3)}
    noisy: Any = make_vector_env("DexVid-LiftThrow-v0", 3, {"observation_mode": "pointcloud", "randomization": noise})
    plain: Any = make_vector_env("DexVid-LiftThrow-v0", 3, {"relative": True})
    view = noisy.unwrapped.core.true_view(relative=True)
    assert view.space == plain.single_observation_space
    rng = np.random.default_rng(0)
    shown, _ = noisy.reset(seed=5)
    expected, _ = plain.reset(seed=5)
    for _ in range(12):
        view.see()
        np.testing.assert_array_equal(view.observe(), expected)
        assert np.abs(shown["proprioception"][:, :23] - expected[:, :23]).max() > 1e-3
        action = rng.uniform(-1, 1, (3, 23)).astype(np.float32)
        shown, expected = noisy.step(action)[0], plain.step(action)[0]
    noisy.close()
    plain.close()


def test_a_second_view_leaves_the_environment_as_it_is() -> None:
    options = {"observation_mode": "pointcloud", "points": "partial", "randomization": "full"}
    envs: list[Any] = [make_vector_env("DexVid-GraspLift-v0", 2, options) for _ in range(2)]
    watched, alone = envs
    view = watched.unwrapped.core.true_view()
    action = np.full((2, 23), 0.3, dtype=np.float32)
    seen = [one.reset(seed=1)[0] for one in envs]
    for _ in range(5):
        view.see()
        view.observe()
        for name, part in seen[0].items():
            np.testing.assert_array_equal(part, seen[1][name])
        seen = [one.step(action)[0] for one in envs]
    watched.close()
    alone.close()


@pytest.mark.parametrize("view", [{"privileged": True}, {"randomization": "full"}, {"colour": 1}])
def test_a_view_that_is_none_is_refused(view: dict[str, Any]) -> None:
    envs: Any = gymnasium.make_vec("DexVid-LiftThrow-v0", num_envs=1)
    with pytest.raises(OptionError, match="no option of a true view: expected some of observation_mode"):
        envs.unwrapped.core.true_view(**view)
    envs.close()


def test_a_pupil_comes_to_do_what_its_teacher_does(teacher: Checkpoint) -> None:
    clone = CloneConfig(max_steps=500, batch_size=256, hidden=(128, 128))
    result = distill(teacher, {"max_episode_steps": 40}, DistillConfig(rounds=5, num_envs=16, clone=clone))
    assert len(result.success) == 5
    assert result.checkpoint.training["algorithm"] == "distill"
    envs = make_vector_env(teacher.env_id, 8, result.checkpoint.make_options())
    pupil, expert = result.checkpoint.policy(), teacher.policy()
    seen, _ = envs.reset(seed=77)
    error, size = [], []
    for _ in range(40):
        told = np.clip(expert.act(seen), -1, 1)
        played = pupil.act(seen)
        error.append(np.abs(played - told).mean())
        size.append(np.abs(told).mean())
        seen = envs.step(played)[0]
    envs.close()
    assert np.mean(error) < 0.6 * np.mean(size)


def test_a_pupil_sees_what_it_is_given_and_the_rest_is_the_teachers(teacher: Checkpoint) -> None:
    pupil = distill(teacher, POINTS | {"points": "partial", "randomization": {"object_noise_m": 0.003}}, QUICK).checkpoint
    assert set(pupil.actor.config.observation) == {"proprioception", "goal", "points"}
    assert pupil.env_options["objects"] == teacher.env_options["objects"]
    assert pupil.control_mode == teacher.control_mode
    assert pupil.env_options["points"] == "partial"


def test_a_pupil_to_begin_with_plays_the_first_round(teacher: Checkpoint) -> None:
    first = distill(teacher, POINTS, QUICK)
    second = distill(teacher, POINTS, QUICK, initial=first.checkpoint)
    assert len(second.success) == 2
    with pytest.raises(OptionError, match="the checkpoint takes"):
        distill(teacher, {"max_episode_steps": 10}, QUICK, initial=first.checkpoint)


class Killed(Exception):
    pass


@pytest.mark.parametrize("kill_at", [0, 4, 8])
def test_a_resumed_run_equals_an_unbroken_one(teacher: Checkpoint, tmp_path: Path, kill_at: int) -> None:
    config = dataclasses.replace(QUICK, clone=dataclasses.replace(SMALL, save_every_s=0.0))
    unbroken = distill(teacher, POINTS, config, run_folder=tmp_path / "unbroken")
    assert not (tmp_path / "unbroken" / ROUNDS_NAME).exists()

    def stop(report: TrainProgress) -> None:
        if report.step >= kill_at and "loss" in report.figures:
            raise Killed

    with pytest.raises(Killed):
        distill(teacher, POINTS, config, run_folder=tmp_path / "killed", progress=stop)
    resumed = distill(teacher, POINTS, config, run_folder=tmp_path / "killed", resume=True)
    assert resumed.success == unbroken.success
    again = distill(teacher, POINTS, config, run_folder=tmp_path / "killed", resume=True)  # it is over, and stays as it is
    assert (again.success, again.history, again.seconds) == (resumed.success, resumed.history, resumed.seconds)
    for one, *others in zip(weights(unbroken), weights(resumed), weights(again), strict=True):
        assert all(torch.equal(one, other) for other in others)


def test_what_cannot_be_resumed_is_refused(teacher: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="nothing to resume"):
        distill(teacher, POINTS, QUICK, run_folder=tmp_path, resume=True)

    def stop(report: TrainProgress) -> None:
        if report.step >= 8:
            raise Killed

    with pytest.raises(Killed):
        distill(teacher, POINTS, QUICK, run_folder=tmp_path, progress=stop)
    with pytest.raises(OptionError, match="another run"):
        distill(teacher, POINTS, QUICK, seed=1, run_folder=tmp_path, resume=True)
    with pytest.raises(OptionError, match="another run"):
        distill(teacher, POINTS | {"points": "partial"}, QUICK, run_folder=tmp_path, resume=True)
    damaged = tmp_path / ROUNDS_NAME / "000.npz"
    damaged.write_bytes(damaged.read_bytes()[:200])
    before = (tmp_path / STATE_NAME).read_bytes()
    with pytest.raises(InputFileError, match="cannot be read as a round"):
        distill(teacher, POINTS, QUICK, run_folder=tmp_path, resume=True)
    assert (tmp_path / STATE_NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("view", "message"), [({"control_mode": "joint_target"}, "control_mode is the teacher's own"), ({"bottle": "x"}, "bottle")]
)
def test_wrong_options_are_refused(teacher: Checkpoint, view: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        distill(teacher, view, QUICK)


def test_wrong_settings_are_refused() -> None:
    cases: list[dict[str, Any]] = [{"rounds": 0}, {"num_envs": 0}, {"played_until": 1.5}]
    for wrong in cases:
        with pytest.raises(OptionError, match="at least 1 round"):
            DistillConfig(**wrong)
    with pytest.raises(OptionError, match="makes no choice"):
        DistillConfig(clone=CloneConfig(commit=True))


def test_a_teacher_of_other_observations_is_refused(teacher: Checkpoint) -> None:
    other = dataclasses.replace(teacher, env_options={**teacher.env_options, "relative": True})
    with pytest.raises(OptionError, match="the teacher sees"):
        distill(other, POINTS, QUICK)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"train distill --teacher {CHECKPOINTS / 'lift_throw'} --out {tmp_path / 'run'} --rounds 2 --num-envs 4"
    words += " --clone.max-steps 4 --clone.batch-size 64 --clone.window-steps 8 --clone.report-every-steps 2"
    options = [f"--env-option={name}={value}" for name, value in POINTS.items()]
    assert main([*words.split(), *options]) == 0
    assert "2 rounds in" in capsys.readouterr().out
    assert set(load_checkpoint(tmp_path / "run").actor.config.observation) == {"proprioception", "goal", "points"}
    assert main([*words.split(), *options]) == 2
    assert "already holds a run" in capsys.readouterr().err
