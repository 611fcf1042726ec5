"""PPO of actors with memory, asymmetric critics and residuals; what earlier work got wrong, each with its test."""

from __future__ import annotations

import dataclasses
import resource
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from point_env import (
    LEARN,
    QUICK,
    Killed,
    algorithm_on,
    check_log_probabilities,
    collect,
    flat,
    make_algorithm,
    make_clone,
    make_transformer_clone,
)

from baselines.actor_critic import RunningNormalizer
from baselines.checkpoint import Checkpoint, load_checkpoint
from baselines.committed import CommittedActor, CommittedConfig, with_way
from baselines.curriculum import CurriculumConfig
from baselines.evaluate import evaluate
from baselines.fine_tune import FineTuneResult, fine_tune
from baselines.mlp import MlpActor, MlpConfig
from baselines.policy import ReplayPolicy
from baselines.ppo import FineTuneConfig, FineTunePPO
from baselines.progress import TrainProgress
from baselines.residual import ResidualActor
from baselines.tokens import part_shapes
from baselines.training_state import load_training_state, save_training_state
from baselines.transformer import TransformerActor, TransformerConfig
from demos.dataset import read_dataset
from demos.demonstration import Demonstration
from dexvid_envs.cli import main
from dexvid_envs.control import CONTROL_MODES
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.vector_env import DexVidVectorEnv
from robots.arm_hand import ARM_HAND

BOTTLE, BOTTLE_TASK = "DexVid-BottlePickPlace-v0", "dexvid_envs.tasks.bottle_pick_place:BottlePickPlace"
CLOUD: dict[str, Any] = {"observation_mode": "pointcloud", "points": "partial"}
CONFIG = FineTuneConfig(
    total_steps=128,
    num_envs=4,
    rollout_steps=8,
    minibatch_size=16,
    critic_hidden=(16,),
    warmup_iterations=1,
    warmup_epochs=1,
    actor_learning_rate=1e-3,
    evaluations=0,
    update_threads=1,
)


def make_envs(count: int = 4, limit: int | None = 5, **options: Any) -> DexVidVectorEnv:
    chosen: dict[str, Any] = {"privileged": True, **CLOUD, **options}
    return DexVidVectorEnv(BOTTLE_TASK, count, limit, num_threads=1, **chosen)


def cloud_clone() -> Checkpoint:
    """An untrained transformer that reads point clouds."""
    shapes = part_shapes(make_envs(1).single_observation_space)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        actor = TransformerActor(TransformerConfig(shapes, 23, width=8, heads=2, num_points=8, context_steps=4))
    return Checkpoint(actor, BOTTLE, CLOUD, "joint_delta")


def committed_clone(kind: str) -> Checkpoint:
    """An untrained actor that chooses one of three ways."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "committed mlp":
            actor = CommittedActor(MlpActor(MlpConfig(127 + 3, 23, (8,))), CommittedConfig(3, (8,)))
            return Checkpoint(actor, BOTTLE, {}, "joint_delta")
        shapes = with_way(part_shapes(make_envs(1).single_observation_space), 3)
        base = TransformerActor(TransformerConfig(shapes, 23, width=8, heads=2, num_points=8, context_steps=4))
        return Checkpoint(CommittedActor(base, CommittedConfig(3, (8,))), BOTTLE, CLOUD, "joint_delta")


def cloud_algorithm(
    config: FineTuneConfig = CONFIG, reward_scale: float = 1.0, clone: Checkpoint | None = None, **options: Any
) -> FineTunePPO:
    algorithm = algorithm_on(make_envs(config.num_envs, **options), clone or cloud_clone(), config, reward_scale)
    assert algorithm.env is not None
    algorithm.env.seed(3)
    return algorithm


# ---- actors with memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual_scale", [0.0, 0.2])
@pytest.mark.parametrize("committed", [False, True])
def test_log_probabilities_of_rollout_and_update_agree(residual_scale, committed):
    """Over several rollouts, in which episodes end at different steps and go on from one rollout to the next."""
    clone = committed_clone("committed transformer") if committed else cloud_clone()
    algorithm = cloud_algorithm(dataclasses.replace(CONFIG, residual_scale=residual_scale), clone=clone)
    collect(algorithm)
    assert algorithm.env is not None
    algorithm.env.envs.elapsed_steps[:] = [0, 1, 2, 3]  # type: ignore[attr-defined]
    for _ in range(3):
        collect(algorithm)
        assert 0 < algorithm.rollout_buffer.episode_starts[1:].mean() < 1
        check_log_probabilities(algorithm)
        algorithm.train()


@pytest.mark.parametrize("residual_scale", [0.0, 0.2])
def test_warmup_leaves_the_whole_actor_untouched_and_the_clone_of_a_residual_for_ever(residual_scale):
    config = dataclasses.replace(CONFIG, residual_scale=residual_scale, warmup_iterations=2, target_kl=10.0)
    algorithm = cloud_algorithm(config)
    networks = algorithm.networks
    before = flat(networks.actor)
    for _ in range(2):
        collect(algorithm)
        algorithm.train()
        assert torch.equal(flat(networks.actor), before)
        rates = [group["lr"] for group in networks.optimizer.param_groups]
        assert rates == list(algorithm.learning_rates)  # no rate climbs while the measured KL of a frozen actor is 0
    collect(algorithm)
    algorithm.train()
    assert not torch.equal(flat(networks.actor), before)
    if residual_scale:
        assert torch.equal(flat(networks.actor.base), flat(cloud_clone().actor))  # type: ignore[arg-type]


def test_residual_begins_as_the_clone_and_stays_within_its_scale():
    clone: Any = make_clone().actor
    residual = ResidualActor(clone)
    observations = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    np.testing.assert_array_equal(residual.policy().act(observations), clone.policy().act(observations))
    with torch.no_grad():
        for parameter in residual.correction.parameters():
            parameter.mul_(0.0).add_(torch.randn_like(parameter) * 5)
        parts, starts = {"state": torch.from_numpy(observations)[:, None]}, torch.ones((50, 1), dtype=torch.bool)
        difference = (residual.act(parts, starts)[0] - clone.act(parts, starts)[0]).abs()
    assert 0.1 < difference.max() <= residual.config.own.scale + 1e-6
    with pytest.raises(OptionError, match="a frozen clone with a correction already"):
        make_algorithm(dataclasses.replace(QUICK, residual_scale=0.1), clone=Checkpoint(residual, "Point-v0", {}, ""))


@pytest.mark.parametrize("kind", ["transformer", "residual"])
def test_learns_to_reach(tmp_path, kind):
    clone = make_transformer_clone() if kind == "transformer" else make_clone()
    scale = 1.0 if kind == "residual" else 0.0
    config = dataclasses.replace(LEARN, residual_scale=scale, residual_learning_rate=3e-3, actor_learning_rate=3e-3)
    result = fine_tune("Point-v0", {}, clone, config, seed=1, run_folder=tmp_path)
    (_, start), (_, end) = result.evaluations
    assert start.success.rate < 0.2
    assert end.success.rate > 0.7
    again = evaluate(load_checkpoint(tmp_path).policy(), "Point-v0", episodes=50, num_envs=50)
    assert again.success == end.success


def test_memory_needs_whole_rollouts():
    with pytest.raises(OptionError, match=r"minibatch_size=24 has to be a multiple of rollout_steps=16"):
        make_algorithm(dataclasses.replace(QUICK, minibatch_size=24, num_envs=3), clone=make_transformer_clone())


# ---- resuming -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Demonstration:
    return read_dataset(Path(__file__).parents[1] / "demos" / "data" / "refined_pick_place")[0]


@pytest.mark.parametrize("kind", ["transformer", "mlp", "committed transformer", "committed mlp"])
def test_killed_and_resumed_run_equals_an_unbroken_one(tmp_path, shipped, kind):
    """With running episodes, sensor noise and delay, memory, a running normaliser, a pull, a curriculum and random states."""
    committed = kind.startswith("committed")
    if kind.endswith("transformer"):
        clone = committed_clone(kind) if committed else cloud_clone()
        drawn = {"mass": (0.7, 1.3), "object_noise_m": 0.003, "object_delay_steps": (0, 2)}
        options = {**CLOUD, "bottle": "pet", "randomization": drawn, "max_episode_steps": 12}
        config = dataclasses.replace(CONFIG, curriculum=CurriculumConfig(share=0.5, steps_left=10), save_every_s=1e-9)
    else:
        plain = Checkpoint(MlpActor(MlpConfig(127, 23, (8,))), BOTTLE, {}, "joint_delta")
        clone = committed_clone(kind) if committed else plain
        options, config = {"bottle": "pet"}, dataclasses.replace(CONFIG, save_every_s=1e-9)

    def run(name: str, **changes: Any) -> FineTuneResult:
        return fine_tune(
            BOTTLE, options, clone, config, seed=1, demonstrations=[shipped], run_folder=tmp_path / name, **changes
        )

    def kill(report: TrainProgress) -> None:
        if report.step == 96:  # after the state of step 64 was saved, before that of step 96
            raise Killed

    unbroken = run("unbroken")
    with pytest.raises(Killed):
        run("broken", progress=kill)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 (whatever another process has there)
    reports: list[TrainProgress] = []
    resumed = run("broken", progress=reports.append, resume=True)
    assert reports[0].step == 96
    assert len(resumed.history) == 4
    for name, value in flat_states(unbroken).items():
        torch.testing.assert_close(flat_states(resumed)[name], value, rtol=0, atol=0)
    times = {"time/elapsed_s"}
    for one, other in zip(resumed.history, unbroken.history, strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {k: v for k, v in other.items() if k not in times}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run's folder with its training state."""
    folder = tmp_path_factory.mktemp("finished")
    clone = Checkpoint(MlpActor(MlpConfig(127, 23, (8,))), BOTTLE, {}, "joint_delta")
    clone.save(folder / "clone")
    fine_tune(BOTTLE, {}, clone, dataclasses.replace(CONFIG, total_steps=32), run_folder=folder / "run")
    return folder


@pytest.mark.parametrize(
    "name", ["policy.log_std", "optimizer.", "snapshot.state.simulation", "snapshot.torch_random", "snapshot.returns"]
)
@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_damaged_training_states_are_refused(finished, tmp_path, name, damage):
    state = finished / "run" / "training_state.safetensors"
    tensors, meta = load_training_state(state)
    name = next(full for full in sorted(tensors) if full.startswith(name))
    whole = tensors.pop(name)
    if damage == "shape":
        tensors[name] = torch.zeros((*whole.shape, 7), dtype=whole.dtype)
    save_training_state(tmp_path / state.name, tensors, meta)
    config = dataclasses.replace(CONFIG, total_steps=32)
    clone = load_checkpoint(finished / "clone")
    with pytest.raises(InputFileError, match=r"training_state\.safetensors"):
        fine_tune(BOTTLE, {}, clone, config, run_folder=tmp_path, resume=True)


def test_full_disk_leaves_the_older_training_state(finished):
    state = finished / "run" / "training_state.safetensors"
    before, limits = state.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    tensors, meta = load_training_state(state)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        with pytest.raises(OptionError, match="an older one there is as it was"):
            save_training_state(state, tensors, meta)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert state.read_bytes() == before


def test_command_with_residual_curriculum_and_privileged_critic(finished, tmp_path, capsys):
    data = Path(__file__).parents[1] / "demos" / "data" / "refined_pick_place"
    arguments = ["train", "ppo", "--init", str(finished / "clone"), "--out", str(tmp_path / "run"), "--total-steps", "32"]
    sizes = ["--num-envs", "4", "--rollout-steps", "8", "--minibatch-size", "32", "--evaluations", "0"]
    more = ["--residual-scale", "0.1", "--privileged", "--curriculum.share", "0.5", "--env-option", "bottle=pet"]
    assert main([*arguments, *sizes, *more]) == 2
    assert "curriculum share 0.5 needs demonstrations" in capsys.readouterr().err
    assert main([*arguments, *sizes, *more, "--demonstrations", str(data)]) == 0
    assert isinstance(load_checkpoint(tmp_path / "run").actor, ResidualActor)


def flat_states(result: FineTuneResult) -> dict[str, torch.Tensor]:
    actor: Any = result.checkpoint.actor
    return actor.state_dict()


# ---- what earlier work got wrong ------------------------------------------------------------------------------------------


def test_time_limit_is_bootstrapped_and_failure_is_not():
    """Rewards 0 and values 2 everywhere: what stands in the buffer is the bootstrap alone, gamma * 2 at every time limit."""
    algorithm = cloud_algorithm(reward_scale=0.0)
    weight, bias = list(algorithm.networks.critic.parameters())[-2:]
    with torch.no_grad():
        weight.zero_()
        bias.fill_(2.0)
    collect(algorithm)
    expected = np.zeros((8, 4))
    expected[4] = CONFIG.gamma * 2.0  # the limit is 5 steps
    np.testing.assert_allclose(algorithm.rollout_buffer.rewards, expected, rtol=1e-6)


def test_critic_sees_exactly_the_privileged_vector_and_teaches_the_actor_nothing():
    algorithm = cloud_algorithm()
    collect(algorithm)
    networks, buffer = algorithm.networks, algorithm.rollout_buffer
    observations: Any = buffer.observations
    seen = algorithm.rollout().critic_input
    np.testing.assert_array_equal(seen.numpy(), observations["privileged"].swapaxes(0, 1).reshape(32, -1))
    norm = networks.critic_norm
    assert isinstance(norm, RunningNormalizer)
    norm.update(torch.randn(100, seen.shape[1]))
    inputs = {name: torch.randn((2, *part.shape[2:])).requires_grad_() for name, part in observations.items()}
    networks.predict_values(inputs).sum().backward()
    assert all((part.grad is not None) == (name == "privileged") for name, part in inputs.items())
    gradient = inputs["privileged"].grad
    assert gradient is not None
    assert (gradient.abs().sum(dim=0) > 0).all()  # every number of it counts, none is cut off
    assert all(parameter.grad is None for parameter in networks.actor_parameters())
    assert "privileged" not in networks.parts(observations)


def test_running_normalizer_is_mean_and_deviation_of_all():
    norm, data = RunningNormalizer(3), torch.randn(100, 3) * torch.tensor([1.0, 50.0, 0.001]) + torch.tensor([0.0, 1e3, 5.0])
    for piece in data.split([1, 60, 39]):
        norm.update(piece)
    torch.testing.assert_close(norm.mean, data.mean(dim=0), rtol=1e-5, atol=1e-6)
    expected = data.std(dim=0, unbiased=False)
    torch.testing.assert_close(norm.std, expected.clamp_min(0.01), rtol=1e-4, atol=1e-6)


def test_success_does_not_end_the_episode_and_leaving_it_does_not_pay(shipped):
    """Holding still in success earns at least what the way there did, a step, and no end cuts it off."""
    env = gymnasium.make(shipped.env_id, **shipped.env_options)
    env.reset(options=shipped.reset_options(shipped.num_steps - 1))
    rewards, successes = [], []
    for _ in range(20):
        _, reward, terminated, _, info = env.step(np.zeros(23, dtype=np.float32))
        rewards.append(float(reward))
        successes.append(info["success"])
        assert not terminated
    assert all(successes[-10:])
    assert min(rewards[-10:]) >= max(shipped.rewards[: shipped.num_steps - 15])


@pytest.mark.parametrize("mode", list(CONTROL_MODES))
def test_exploration_moves_the_arm_little(mode):
    """The initial noise turns no arm joint's target by more than its speed limit in a step, by 0.02 rad in the default mode."""
    envs = DexVidVectorEnv(BOTTLE_TASK, num_envs=64, control_mode=mode, num_threads=1)
    envs.reset(seed=0)
    control, target = envs.core.control, envs.core.simulation.ctrl.copy()
    rest = control.action_for(target, target)
    noise = FineTuneConfig().action_std * np.random.default_rng(0).normal(size=rest.shape)
    turn = np.abs(control.next_target(rest + noise, target) - target)[:, : ARM_HAND.arm_joints]
    assert turn.max() <= control.max_step_rad[: ARM_HAND.arm_joints].max() + 1e-9
    if mode == "joint_delta":
        assert np.quantile(turn, 0.99) < 0.02


def test_success_is_counted_once_an_episode():
    """An episode with many steps of success counts as one; the rate never passes 1."""
    result = evaluate(ReplayPolicy(np.zeros((1, 2))), "Point-v0", episodes=200, num_envs=20)
    assert result.success.trials == 200
    standing = np.mean([one.ever_success for one in result.episodes])
    assert 0 < result.success.rate == pytest.approx(standing)  # who starts within stays within, 20 steps each
