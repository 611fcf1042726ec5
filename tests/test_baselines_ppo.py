"""PPO fine-tuning: the adapter, the loaded actor, warm-up, bootstrapping, and that it learns."""

from __future__ import annotations

import csv
import dataclasses
import json
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from point_env import LEARN, QUICK, Killed, PointEnv, check_log_probabilities, collect, flat, make_algorithm, make_clone

from baselines.checkpoint import load_checkpoint
from baselines.fine_tune import fine_tune
from baselines.ppo import FineTuneConfig
from baselines.progress import TrainProgress
from baselines.sb3_vec_env import Sb3VecEnv
from dexvid_envs.cli import main
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.vector_env import DexVidVectorEnv

BOTTLE_TASK = "dexvid_envs.tasks.bottle_pick_place:BottlePickPlace"


def clone_actor() -> Any:
    return make_clone().actor


# ---- adapter ------------------------------------------------------------------------------------------------------------


def test_adapter_gives_the_transitions_of_the_vector_environment():
    plain, adapted = (DexVidVectorEnv(BOTTLE_TASK, num_envs=3, max_episode_steps=6, num_threads=1) for _ in range(2))
    vec_env = Sb3VecEnv(adapted, reward_scale=0.5)
    vec_env.seed(11)
    expected, _ = plain.reset(seed=11)
    np.testing.assert_array_equal(np.asarray(vec_env.reset()), expected)
    for envs in (plain, adapted):
        envs.elapsed_steps[1] = 3  # rows end at different times
    rng, returns, ends = np.random.default_rng(0), np.zeros(3), 0
    for _ in range(14):
        actions = rng.uniform(-1, 1, (3, 23)).astype(np.float32)
        expected, rewards, terminated, truncated, infos = plain.step(actions)
        observations, scaled, dones, row_infos = vec_env.step(actions)
        np.testing.assert_array_equal(np.asarray(observations), expected)
        np.testing.assert_array_equal(scaled, (0.5 * rewards).astype(np.float32))
        np.testing.assert_array_equal(dones, terminated | truncated)
        returns += rewards
        for row in range(3):
            if not dones[row]:
                assert row_infos[row] == {}
                continue
            ends += 1
            np.testing.assert_array_equal(row_infos[row]["terminal_observation"], infos["final_obs"][row])
            assert row_infos[row]["TimeLimit.truncated"] is True
            assert row_infos[row]["target_distance_m"] == infos["final_info"]["target_distance_m"][row]
            assert row_infos[row]["episode"]["r"] == pytest.approx(returns[row])
            returns[row] = 0.0
    assert ends == 6


class Falling(gymnasium.Env):
    """Fails at the third step, which is also the time limit's where `limit` is 3."""

    observation_space = spaces.Box(-10.0, 10.0, (1,), dtype=np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        self.count += 1
        return np.full(1, self.count, dtype=np.float32), 1.0, self.count == 3, False, {}


@pytest.mark.parametrize(("limit", "truncated"), [(2, True), (3, False), (9, False)])
def test_failure_is_not_bootstrapped(limit, truncated):
    def make():
        return gymnasium.wrappers.TimeLimit(Falling(), limit)

    vec_env = Sb3VecEnv(SyncVectorEnv([make, make], autoreset_mode=AutoresetMode.SAME_STEP))
    vec_env.reset()
    dones, infos = np.zeros(2, dtype=bool), [{}]
    while not dones[0]:
        _, _, dones, infos = vec_env.step(np.zeros((2, 1)))
    assert infos[0]["TimeLimit.truncated"] is truncated
    assert infos[0]["terminal_observation"].tolist() == [min(limit, 3)]
    with pytest.raises(OptionError, match=r"expected AutoresetMode\.SAME_STEP"):
        Sb3VecEnv(SyncVectorEnv([make]))


def test_staggered_first_episodes_report_nothing():
    envs = DexVidVectorEnv(BOTTLE_TASK, num_envs=4, max_episode_steps=5, num_threads=1)
    vec_env = Sb3VecEnv(envs)
    vec_env.reset()
    vec_env.stagger(np.random.default_rng(1))
    shortened = envs.elapsed_steps > 0
    assert shortened.any()
    seen = np.zeros(4, dtype=int)
    for _ in range(12):
        _, _, dones, infos = vec_env.step(np.zeros((4, 23)))
        for row in np.flatnonzero(dones):
            assert ("episode" in infos[row]) == ("is_success" in infos[row]) == (seen[row] > 0 or not shortened[row])
            assert infos[row]["TimeLimit.truncated"]
            seen[row] += 1
    assert seen.min() >= 2


# ---- networks and update ------------------------------------------------------------------------------------------------


def test_loaded_actor_is_the_clone():
    algorithm = make_algorithm()
    observations = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    actions, _ = algorithm.predict(observations, deterministic=True)
    np.testing.assert_allclose(actions, make_clone().policy().act(observations), atol=1e-6)
    tensor = torch.from_numpy(observations)
    with torch.no_grad():
        mean = clone_actor()(tensor)
        noisy = mean + 0.05
        _, log_prob, _ = algorithm.networks.evaluate_actions(tensor, noisy)
    std = QUICK.action_std
    by_hand = 2 * (-0.5 * (0.05 / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(log_prob.numpy(), by_hand, rtol=1e-4)


def test_log_probabilities_of_rollout_and_update_agree():
    algorithm = make_algorithm()
    collect(algorithm)
    check_log_probabilities(algorithm)


def test_warmup_leaves_the_whole_actor_untouched():
    algorithm = make_algorithm()
    networks = algorithm.networks
    actor, log_std, critic = flat(networks.actor), networks.log_std.detach().clone(), flat(networks.critic)
    for _ in range(QUICK.warmup_iterations):
        collect(algorithm)
        algorithm.train()
        assert torch.equal(flat(networks.actor), actor)
        assert torch.equal(networks.log_std, log_std)
        moments = algorithm.networks.optimizer.state
        assert not any(parameter in moments for parameter in networks.actor_parameters())
        assert not torch.equal(flat(networks.critic), critic)
    collect(algorithm)
    algorithm.train()
    assert not torch.equal(flat(networks.actor), actor)
    torch.testing.assert_close(flat(networks.actor.normalizer), flat(clone_actor().normalizer), rtol=0, atol=0)


@pytest.mark.parametrize(("terminate", "expected"), [(False, 1 + 0.5 * 1 + 0.25 * (1 + 0.5 * 2)), (True, 1 + 0.5 + 0.25)])
def test_returns_by_hand_at_time_limit_and_at_failure(terminate, expected, monkeypatch):
    """Three steps of reward 1, gamma 0.5, lambda 1, value 2 everywhere: the time limit adds 0.5 * 2 to the last reward."""
    config = dataclasses.replace(QUICK, rollout_steps=3, num_envs=2, minibatch_size=6, gamma=0.5, gae_lambda=1.0)
    algorithm = make_algorithm(config, terminate=terminate, max_episode_steps=3)
    weight, bias = list(algorithm.networks.critic.parameters())[-2:]
    with torch.no_grad():
        weight.zero_()
        bias.fill_(2.0)
    original = PointEnv.step

    def reward_one(self, actions):
        observations, rewards, *rest = original(self, actions)
        return observations, np.ones_like(rewards), *rest

    monkeypatch.setattr(PointEnv, "step", reward_one)
    collect(algorithm)
    np.testing.assert_allclose(algorithm.rollout_buffer.returns[0], expected, rtol=1e-6)


def test_pull_keeps_the_actor_near_the_clone():
    distances = []
    for weight in (0.0, 10.0):
        config = dataclasses.replace(QUICK, pull_weight=weight, warmup_iterations=0, actor_learning_rate=1e-3, target_kl=1.0)
        algorithm = make_algorithm(config)
        for _ in range(4):
            collect(algorithm)
            algorithm.train()
        observations = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            distances.append(float((algorithm.networks.actor(observations) - clone_actor()(observations)).abs().mean()))
    assert distances[1] < 0.5 * distances[0]
    algorithm.fraction = 1.0
    assert algorithm.pull_weight == 0.0


# ---- runs ---------------------------------------------------------------------------------------------------------------


def test_learns_to_reach(tmp_path):
    result = fine_tune("Point-v0", {}, make_clone(), LEARN, seed=1, run_folder=tmp_path)
    (first_step, start), (last_step, end) = result.evaluations
    assert (first_step, last_step) == (0, 12_800)
    assert start.success.rate < 0.2
    assert end.success.rate > 0.8
    assert load_checkpoint(tmp_path).training["steps"] == 12_800
    assert json.loads((tmp_path / "checkpoints" / "step_000012800" / "evaluation.json").read_text()) == end.to_json()
    rows = list(csv.DictReader((tmp_path / "progress.csv").open()))
    assert len(rows) == len(result.history) == 20
    assert [float(row["train/warmup"]) for row in rows[:4]] == [1.0, 1.0, 1.0, 0.0]
    assert {"rollout/success", "rollout/return", "train/kl", "train/explained_variance"} <= set(rows[0])


def test_noise_and_rate_fall_together_where_they_are_told_to():
    config = dataclasses.replace(LEARN, action_std_at_end=0.1)
    result = fine_tune("Point-v0", {}, make_clone(), config, seed=1)
    std = [row["train/action_std"] for row in result.history]
    assert std[:3] == pytest.approx([LEARN.action_std] * 3)  # the critic's warm-up
    assert std[3:] == sorted(std[3:], reverse=True)
    assert std[-1] == pytest.approx(0.2 * 0.5 ** (19 / 20), rel=1e-3)
    assert result.evaluations[-1][1].success.rate > 0.8
    algorithm = make_algorithm(dataclasses.replace(QUICK, action_std_at_end=QUICK.action_std / 10))
    algorithm.iteration, algorithm.fraction = QUICK.warmup_iterations, 0.5
    collect(algorithm)
    algorithm.train()
    rates = [group["lr"] for group in algorithm.networks.optimizer.param_groups]
    assert rates[0] == pytest.approx(QUICK.actor_learning_rate * 0.55 * 0.1**0.5)
    assert rates[1] == pytest.approx(QUICK.critic_learning_rate * 0.55)


def test_a_run_ends_once_it_is_good_enough():
    config = dataclasses.replace(QUICK, evaluations=9, evaluation_episodes=4, enough_times=2, enough_success=0.0)
    result = fine_tune("Point-v0", {}, make_clone(), config)
    assert len(result.evaluations) == 3  # the clone's own does not count
    assert 0 < result.steps < QUICK.total_steps
    never = dataclasses.replace(config, enough_success=1.1)
    assert fine_tune("Point-v0", {}, make_clone(), never).steps == QUICK.total_steps


def test_killed_run_goes_on(tmp_path):
    config = dataclasses.replace(QUICK, save_every_s=1e-9, evaluations=2, evaluation_episodes=4)

    def kill(report: TrainProgress) -> None:
        if report.step == 256:
            raise Killed

    with pytest.raises(Killed):
        fine_tune("Point-v0", {}, make_clone(), config, run_folder=tmp_path, progress=kill)
    reports: list[TrainProgress] = []
    result = fine_tune("Point-v0", {}, make_clone(), config, run_folder=tmp_path, progress=reports.append, resume=True)
    assert reports[0].step == 256  # the saved state was that of step 192
    assert reports[-1].figures == {"evaluated episodes": 4.0}  # an evaluation is no silence
    assert result.steps == 512
    assert [steps for steps, _ in result.evaluations] == [0, 512]
    assert [row["step"] for row in result.history] == [64.0 * (i + 1) for i in range(8)]
    with pytest.raises(OptionError, match="of a run with another seed"):
        fine_tune("Point-v0", {}, make_clone(), config, seed=9, run_folder=tmp_path, resume=True)
    with pytest.raises(InputFileError, match="nothing to resume"):
        fine_tune("Point-v0", {}, make_clone(), config, run_folder=tmp_path / "none", resume=True)


def test_runs_on_the_real_environment(tmp_path, capsys):
    clone = dataclasses.replace(make_clone(127, 23), env_id="DexVid-BottlePickPlace-v0")
    clone.save(tmp_path / "clone" / "checkpoint")
    arguments = ["train", "ppo", "--init", str(tmp_path / "clone"), "--out", str(tmp_path / "run"), "--total-steps", "64"]
    sizes = ["--num-envs", "4", "--rollout-steps", "8", "--minibatch-size", "32", "--warmup-iterations", "1"]
    assert main([*arguments, *sizes, "--evaluation-episodes", "2", "--json", str(tmp_path / "told.json")]) == 0
    assert [row["steps"] for row in json.loads((tmp_path / "told.json").read_text())["evaluations"]] == [0, 64]
    output = capsys.readouterr().out
    assert "after 0 steps: success" in output
    assert "after 64 steps: success" in output
    assert load_checkpoint(tmp_path / "run").env_options == {}
    assert main([*arguments, "--env", "DexVid-Nothing-v0", "--resume"]) == 2
    assert "no environment 'DexVid-Nothing-v0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minibatch_size": 999}, "to divide num_envs"),
        ({"action_std": 0.5}, r"has to lie within action_std_bounds"),
        ({"action_std_at_end": 0.1}, "positive and at most action_std=0.05"),
        ({"total_steps": 0}, "total_steps has to be positive"),
        ({"pull_weight": -1.0}, "pull_weight must not be negative"),
    ],
)
def test_impossible_settings(change, message):
    with pytest.raises(OptionError, match=message):
        FineTuneConfig(**change)
