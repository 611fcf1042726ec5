"""Evaluation: Wilson intervals, published seeds, independence of the batch, the command."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest

from baselines.evaluate import EvaluationResult, Rate, evaluate, wilson_interval
from baselines.policy import RandomPolicy, ZeroPolicy, single_spaces
from dexvid_envs.cli import main
from dexvid_envs.errors import ActionError, OptionError

ENV_ID = "DexVid-BottlePickPlace-v0"


class Wave:
    """Deterministic, row by row: swings the joints depending on the bottle's place and on the time since the row's reset."""

    def __init__(self) -> None:
        self.time = np.zeros(0)

    def reset(self, mask):
        if len(self.time) != len(mask):
            self.time = np.zeros(len(mask))
        self.time[mask] = 0.0

    def act(self, observation):
        self.time += 1.0
        return np.sin(self.time[:, None] / 7 + observation[:, :23] + 3 * observation[:, 90:91]).astype(np.float32)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.27754),  # Newcombe 1998 and statsmodels' proportion_confint(method="wilson")
        (10, 10, 0.72246, 1.0),
        (81, 263, 0.25529, 0.36621),  # Newcombe 1998, table I
        (15, 148, 0.06236, 0.16047),
        (29, 29, 0.88303, 1.0),
    ],
)
def test_wilson_interval(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)


def test_wilson_interval_without_trials():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert str(Rate(9, 10)).startswith("90.0 % (9 of 10; 95 % interval 59.6 to 98.2)")


def test_evaluation_does_not_depend_on_the_batch_and_equals_single_environments():
    options = {"control_mode": "joint_target"}  # large motions: some bottles fall over, so episodes end at different times
    results = [evaluate(Wave(), ENV_ID, episodes=5, seed=70, env_options=options, num_envs=count) for count in (5, 2)]
    assert results[0] == results[1]
    lengths = {one.length for one in results[0].episodes}
    assert len(lengths) > 1
    env = gymnasium.make(ENV_ID, control_mode="joint_target")
    for index in (0, 3):
        policy, total, steps, ended = Wave(), 0.0, 0, False
        observation, _ = env.reset(seed=70 + index)
        policy.reset(np.ones(1, dtype=bool))
        info = {}
        while not ended:
            observation, reward, terminated, truncated, info = env.step(policy.act(observation[None])[0])
            total, steps, ended = total + float(reward), steps + 1, terminated or truncated
        episode = results[0].episodes[index]
        assert (episode.total_reward, episode.length, episode.seed) == (total, steps, 70 + index)
        assert episode.metrics["target_distance_m"] == info["target_distance_m"]


class Flicker(gymnasium.Env):
    """Succeeds at every step but, where the first observation is positive, the last one."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start, self.steps = self.np_random.uniform(-1, 1), 0
        return np.array([self.start], dtype=np.float32), {"success": False}

    def step(self, action):
        self.steps += 1
        observation = np.array([self.start], dtype=np.float32)
        return observation, 1.0, False, False, {"success": self.steps < 5 or self.start <= 0}


class NoSuccess(Flicker):
    def step(self, action):
        return *super().step(action)[:4], {}


@pytest.fixture(scope="module", autouse=True)
def register_tiny():
    gymnasium.register("Flicker-v0", lambda **_: Flicker(), max_episode_steps=5)
    gymnasium.register("NoSuccess-v0", lambda **_: NoSuccess(), max_episode_steps=5)
    yield
    del gymnasium.registry["Flicker-v0"], gymnasium.registry["NoSuccess-v0"]


def test_success_is_read_at_the_last_step():
    result = evaluate(lambda envs: ZeroPolicy(*single_spaces(envs)), "Flicker-v0", episodes=20, seed=5, num_envs=7)
    starts = [np.random.default_rng(seed).uniform(-1, 1) for seed in range(5, 25)]  # as Gymnasium seeds an environment
    assert [one.success for one in result.episodes] == [start <= 0 for start in starts]
    assert result.ever_success == Rate(20, 20)
    assert (result.mean_return, result.mean_length) == (5.0, 5.0)
    assert EvaluationResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_success_by_object():
    result = evaluate(lambda envs: ZeroPolicy(*single_spaces(envs)), "DexVid-GraspLift-v0", episodes=6, num_envs=6)
    assert sum(rate.trials for rate in result.per_object.values()) == 6
    env = gymnasium.make("DexVid-GraspLift-v0")
    env.reset(seed=result.episodes[2].seed)
    task = env.unwrapped.task  # type: ignore[attr-defined]
    assert result.episodes[2].object == task.objects_in(task.memory["variant"])[0]


class NanPolicy(ZeroPolicy):
    def act(self, observation):
        actions = super().act(observation)
        actions[1, 3] = np.nan
        return actions


class ShapePolicy(ZeroPolicy):
    def act(self, observation):
        return super().act(observation)[:, :5]


def test_errors():
    def make(kind):
        return lambda envs: kind(*single_spaces(envs))

    with pytest.raises(ActionError, match=r"holds nan at index \(1, 3\)"):
        evaluate(make(NanPolicy), ENV_ID, episodes=2)
    with pytest.raises(ActionError, match=r"has shape \(2, 5\), expected \(2, 23\)"):
        evaluate(make(ShapePolicy), ENV_ID, episodes=2)
    with pytest.raises(OptionError, match=r"cannot make environment 'DexVid-Nothing-v0'.*DexVid-GraspLift-v0"):
        evaluate(make(RandomPolicy), "DexVid-Nothing-v0", episodes=2)
    with pytest.raises(OptionError, match="unknown environment option 'botle'"):
        evaluate(make(RandomPolicy), ENV_ID, episodes=2, env_options={"botle": "pet"})
    with pytest.raises(OptionError, match="at least 1, got 0 and 50"):
        evaluate(make(RandomPolicy), ENV_ID, episodes=0)
    with pytest.raises(OptionError, match=r"reports no info\['success'\]"):
        evaluate(make(RandomPolicy), "NoSuccess-v0", episodes=2)


def test_command(tmp_path, capsys):
    target = tmp_path / "result.json"
    arguments = ["evaluate", "--policy", "zero", "--env", ENV_ID, "--episodes", "2", "--env-option", "bottle=mustard"]
    assert main([*arguments, "--json", str(target)]) == 0
    content = json.loads(target.read_text())
    assert (content["policy"], content["env_options"]) == ("zero", {"bottle": "mustard"})
    assert content["success"]["trials"] == 2
    assert "success at the end:" in capsys.readouterr().out


def test_the_command_takes_short_ids_and_scripted_policies(tmp_path, capsys):
    target = tmp_path / "result.json"
    arguments = ["--policy", "scripted", "--env", "opencabinet", "--episodes", "3", "--num-envs", "2", "--json", str(target)]
    assert main(["evaluate", *arguments]) == 0
    content = json.loads(target.read_text())
    assert content["env_id"] == "DexVid-OpenCabinet-v0"
    assert content["success"]["successes"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "nowhere", "--env", ENV_ID], "checkpoint nowhere does not exist"),
        (["--policy", "zero"], "names no environment of its own; add --env ID"),
        (["--policy", "zero", "--env", "DexVid-Nothing-v0"], "no environment 'DexVid-Nothing-v0'"),
        (["--policy", "scripted"], "names no environment of its own; add --env ID"),
        (["--policy", "scripted", "--env", "Flicker-v0"], "SyncVectorEnv has no scripted policy"),
        (["--policy", "zero", "--env", ENV_ID, "--env-option", "bottle"], "expected NAME=VALUE"),
        (["--policy", "zero", "--env", "CartPole-v1"], "expected a flat box for actions"),
    ],
)
def test_command_errors(arguments, message, capsys):
    assert main(["evaluate", *arguments]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert message in output.err
