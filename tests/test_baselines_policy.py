"""Policies by name, checkpoints and their errors."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file, save_file

from baselines.checkpoint import CONFIG_NAME, WEIGHTS_NAME, Checkpoint, load_checkpoint
from baselines.mlp import MlpActor, MlpConfig, MlpPolicy
from baselines.policy import Policy, RandomPolicy, ReplayPolicy, ZeroPolicy, load_policy
from baselines.residual import ResidualActor, ResidualConfig
from baselines.transformer import TransformerActor, TransformerConfig
from dexvid_envs import files
from dexvid_envs.errors import DexVidError, InputFileError, OptionError

ENV_ID = "DexVid-BottlePickPlace-v0"


class SpacesPolicy(ZeroPolicy):
    """Made with the two spaces."""


class PlainPolicy:
    """Made with nothing."""

    def reset(self, mask):
        pass

    def act(self, observation):
        return np.zeros((len(observation), 23), dtype=np.float32)


class BrokenPolicy:
    def __init__(self):
        raise RuntimeError("no weights")


class NoPolicy:
    pass


@pytest.fixture(scope="module")
def env():
    return gymnasium.make(ENV_ID)


@pytest.fixture
def checkpoint(env) -> Checkpoint:
    torch.manual_seed(0)
    actor = MlpActor(MlpConfig(env.observation_space.shape[0], 23, hidden=(16, 8)))
    actor.normalizer.fit(torch.randn(50, env.observation_space.shape[0]), 0.01)
    return Checkpoint(actor, ENV_ID, {"bottle": "pet"}, "joint_delta", {"algorithm": "test"})


def test_checkpoint_round_trip(checkpoint, env, tmp_path):
    checkpoint.save(tmp_path / "run" / "checkpoint")
    loaded = load_checkpoint(tmp_path / "run")
    observations = np.random.default_rng(0).normal(size=(5, 127)).astype(np.float32)
    np.testing.assert_array_equal(loaded.policy().act(observations), checkpoint.policy().act(observations))
    assert (loaded.env_id, loaded.env_options, loaded.control_mode) == (ENV_ID, {"bottle": "pet"}, "joint_delta")
    assert loaded.actor.config == checkpoint.actor.config
    assert isinstance(load_policy(str(tmp_path / "run"), env), MlpPolicy)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint"]


def test_policy_action_does_not_depend_on_batch_size(checkpoint):
    policy = checkpoint.policy()
    observations = np.random.default_rng(1).normal(size=(64, 127)).astype(np.float32)
    alone = np.concatenate([policy.act(one[None]) for one in observations])
    np.testing.assert_array_equal(policy.act(observations), alone)


def test_missing_and_damaged_checkpoints(checkpoint, tmp_path):
    with pytest.raises(InputFileError, match=r"does not exist; expected a folder with config.json"):
        load_checkpoint(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFileError, match=r"is no checkpoint: expected config.json"):
        load_checkpoint(tmp_path / "empty")

    folder = tmp_path / "good"
    checkpoint.save(folder)

    def damaged(change) -> Path:
        copy = tmp_path / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        change(copy)
        return copy

    def edit_config(**changes):
        def change(copy: Path) -> None:
            config = json.loads((copy / CONFIG_NAME).read_text())
            (copy / CONFIG_NAME).write_text(json.dumps(config | changes))

        return change

    def cut_weights(copy: Path) -> None:
        (copy / WEIGHTS_NAME).write_bytes((copy / WEIGHTS_NAME).read_bytes()[:100])

    def nan_weights(copy: Path) -> None:
        tensors = load_file(copy / WEIGHTS_NAME)
        tensors["layers.0.bias"][0] = float("nan")
        save_file(tensors, copy / WEIGHTS_NAME)

    huge = {"kind": "mlp", "observation_size": 127, "action_size": 23, "hidden": [10**12], "input_clip": 8.0}
    cases = [
        (lambda copy: (copy / CONFIG_NAME).write_text("{"), "cannot be read as JSON"),
        (edit_config(format="other"), "is no dexvid-checkpoint"),
        (edit_config(format_version=99), "has format version 99, this version of dexvid-envs reads 1"),
        (edit_config(network={"kind": "cnn"}), "network kind 'cnn' is not known"),
        (edit_config(network={"kind": "mlp"}), "is no valid checkpoint config"),
        (edit_config(network=huge), "belong to its config|has shape"),
        (cut_weights, "is damaged"),
        (nan_weights, "'layers.0.bias' holds NaN or infinity"),
    ]
    for change, message in cases:
        with pytest.raises(InputFileError, match=message):
            load_checkpoint(damaged(change))


def test_failed_saving_leaves_the_older_checkpoint(checkpoint, tmp_path):
    checkpoint.save(tmp_path / "ck")
    before = (tmp_path / "ck" / CONFIG_NAME).read_bytes()
    broken = Checkpoint(checkpoint.actor, ENV_ID, {"bottle": object()}, "joint_delta")
    with pytest.raises(TypeError):
        broken.save(tmp_path / "ck")
    assert (tmp_path / "ck" / CONFIG_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["ck"]


def test_full_disk_leaves_the_older_checkpoint(checkpoint, tmp_path):
    checkpoint.save(tmp_path / "ck")
    before = (tmp_path / "ck" / WEIGHTS_NAME).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))  # as a disk that is full after 500 bytes
        with pytest.raises(OptionError, match=r"cannot be written .*; an older one there is as it was"):
            checkpoint.save(tmp_path / "ck")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "ck" / WEIGHTS_NAME).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["ck"]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("call", [1, 2])
def test_kill_while_saving_leaves_a_whole_checkpoint(checkpoint, tmp_path, monkeypatch, call, exchange):
    """Killed before the first or the second renaming, of an exchange in one step or in two, with nothing that clears up."""
    checkpoint.save(tmp_path / "run" / "checkpoint")
    rename, calls, new = os.rename, [], {"bottle": "new"}

    def killed(*paths):
        calls.append(paths)
        if len(calls) == call:
            raise KeyboardInterrupt
        rename(*paths)

    monkeypatch.setattr(os, "rename", killed)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
    if not exchange:  # as on a system that cannot
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    with contextlib.suppress(KeyboardInterrupt):
        dataclasses.replace(checkpoint, env_options=new).save(tmp_path / "run" / "checkpoint")
    monkeypatch.undo()
    exchanged = len(calls) < 2 and "-previous" in str(calls[0][1]) and exchange
    assert load_checkpoint(tmp_path / "run").env_options == (new if exchanged else {"bottle": "pet"})
    assert load_checkpoint(tmp_path / "run" / "checkpoint").env_options == (new if exchanged else {"bottle": "pet"})


TRANSFORMER = TransformerConfig({"goal": (2,), "points": (100, 3), "proprioception": (90,)}, 23, width=8, heads=2)


@pytest.mark.parametrize("residual", [False, True])
def test_other_networks_round_trip(tmp_path, residual):
    actor = TransformerActor(TRANSFORMER)
    actor = ResidualActor(actor, ResidualConfig(hidden=(8,))) if residual else actor
    saved = Checkpoint(actor, ENV_ID, {"observation_mode": "pointcloud"}, "joint_delta")
    saved.save(tmp_path)
    loaded = load_checkpoint(tmp_path)
    env = gymnasium.make_vec(ENV_ID, num_envs=2, **loaded.make_options())
    loaded.check_env(env)
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(loaded.policy().act(observation), saved.policy().act(observation))
    with pytest.raises(OptionError, match=r"takes .*points \(100, 3\).* has 127 observation values"):
        loaded.check_env(gymnasium.make(ENV_ID))
    config = json.loads((tmp_path / CONFIG_NAME).read_text())
    hostile = [{"width": 10**9}, {"observation": {"points": [10**9, 3]}}, {"observation": "x"}, {"layers": True}, {"evil": 1}]
    for change in hostile:
        network = config["network"]
        inner = network["base"] if residual else network
        changed = network | {"base": inner | change} if residual else inner | change
        (tmp_path / CONFIG_NAME).write_text(json.dumps(config | {"network": changed}))
        with pytest.raises(InputFileError):
            load_checkpoint(tmp_path)


def test_checkpoint_refuses_other_environments(checkpoint, env):
    checkpoint.check_env(env)
    with pytest.raises(OptionError, match=r"trained for DexVid-BottlePickPlace-v0, not for DexVid-GraspLift-v0"):
        checkpoint.check_env(gymnasium.make("DexVid-GraspLift-v0"))
    spec = gymnasium.spec(ENV_ID)
    with pytest.raises(OptionError, match=r"trained for DexVid-BottlePickPlace-v7, not for DexVid-BottlePickPlace-v0"):
        dataclasses.replace(checkpoint, env_id="DexVid-BottlePickPlace-v7").check_env(env)
    gymnasium.register("MyBottle-v3", entry_point=spec.entry_point, kwargs=spec.kwargs)
    try:
        checkpoint.check_env(gymnasium.make("MyBottle-v3"))  # the same task under a name of one's own
    finally:
        del gymnasium.registry["MyBottle-v3"]
    with pytest.raises(OptionError, match=r"make the environment with control_mode='joint_delta'"):
        checkpoint.check_env(gymnasium.make(ENV_ID, control_mode="joint_target"))
    smaller = Checkpoint(MlpActor(MlpConfig(7, 23, (8,))), ENV_ID, {}, "joint_delta")
    with pytest.raises(OptionError, match=r"takes 7 observation values .* has 127 observation values and 23 action values"):
        smaller.check_env(env)


def test_policies_by_name(env):
    for spec in ("zero", "random", f"{__name__}:SpacesPolicy", f"{__name__}:PlainPolicy"):
        policy = load_policy(spec, env)
        assert isinstance(policy, Policy)
        assert policy.act(np.zeros((3, 127), dtype=np.float32)).shape == (3, 23)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module_anywhere:Policy", "importing 'no_such_module_anywhere' failed with ModuleNotFoundError"),
        (f"{__name__}:Missing", "has no 'Missing'; its classes are"),
        (f"{__name__}:BrokenPolicy", "making it failed with RuntimeError: no weights"),
        (f"{__name__}:NoPolicy", r"is no policy: expected the methods reset\(mask\) and act\(observation\)"),
        ("no/such/folder", "does not exist"),
    ],
)
def test_bad_policy_names(env, spec, message):
    with pytest.raises(DexVidError, match=message):
        load_policy(spec, env)


def test_module_in_the_current_folder(env, tmp_path, monkeypatch):
    (tmp_path / "my_local_policy.py").write_text("from baselines.policy import ZeroPolicy as Mine\n")
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_policy("my_local_policy:Mine", env), ZeroPolicy)


def test_replay_policy_rewinds_the_rows_that_start_anew():
    policy = ReplayPolicy(np.arange(6.0).reshape(3, 2))
    observation = np.zeros((2, 1), dtype=np.float32)
    policy.reset(np.array([True, True]))
    assert policy.act(observation).tolist() == [[0, 1], [0, 1]]
    policy.reset(np.array([False, True]))
    assert policy.act(observation).tolist() == [[2, 3], [0, 1]]
    assert policy.act(observation).tolist() == [[4, 5], [2, 3]]
    assert policy.act(observation).tolist() == [[0, 0], [4, 5]]  # zeros after the end
    with pytest.raises(OptionError, match="expected \\(steps, action size\\)"):
        ReplayPolicy(np.zeros(3))


def test_random_policy_stays_in_bounds_and_repeats():
    box, act = spaces.Box(-1, 1, (4,)), spaces.Box(-1, 1, (2,))
    first, second = (RandomPolicy(box, act, seed=3).act(np.zeros((100, 4), dtype=np.float32)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first).max() <= 1.0
