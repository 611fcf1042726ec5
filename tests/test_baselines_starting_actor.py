"""Actors to begin with: random ones that see sensible numbers, and pretrained ones that keep what they know in another task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from baselines.checkpoint import Checkpoint
from baselines.evaluate import make_vector_env
from baselines.mlp import MlpActor, MlpConfig
from baselines.starting_actor import pretrained_actor, untrained_actor
from baselines.tokens import as_parts
from dexvid_envs.errors import OptionError

POINTS = {"observation_mode": "pointcloud"}


@pytest.fixture(scope="module")
def lifter() -> Checkpoint:
    return untrained_actor("DexVid-GraspLift-v0", POINTS, seed=3)


def test_an_untrained_actor_is_the_same_for_a_seed_and_sees_normalised_numbers(lifter: Checkpoint) -> None:
    again: Any = untrained_actor("DexVid-GraspLift-v0", POINTS, seed=3).actor
    other: Any = untrained_actor("DexVid-GraspLift-v0", POINTS, seed=4).actor
    actor: Any = lifter.actor
    for name, value in actor.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(actor.head.weight, other.head.weight)
    envs = make_vector_env("DexVid-GraspLift-v0", 4, {**POINTS, "control_mode": "joint_delta"})
    lifter.check_env(envs)
    seen, _ = envs.reset(seed=0)
    parts = as_parts(seen, actor.config.observation)
    vector = torch.cat([parts[name] for name in actor.tokens.vector_keys], dim=-1)
    assert actor.tokens.vector_norm(vector).abs().median() < 2.0
    actions = lifter.policy()
    actions.reset(np.ones(4, dtype=bool))
    assert np.abs(actions.act(seen)).max() < 0.5  # random weights begin with small actions
    envs.close()


@pytest.mark.parametrize("env_id", ["DexVid-OpenCabinet-v0", "DexVid-LiftThrow-v0"])
def test_a_pretrained_actor_does_in_another_task_what_it_did_without_a_goal(lifter: Checkpoint, env_id: str) -> None:
    moved = pretrained_actor(lifter, env_id)
    assert moved.env_id == env_id
    assert moved.env_options["observation_mode"] == "pointcloud"
    old: Any = lifter.actor
    new: Any = moved.actor
    rng = np.random.default_rng(0)
    goal_size = new.config.observation["goal"][0]
    parts = {
        "proprioception": torch.from_numpy(rng.normal(size=(2, 5, 90)).astype(np.float32)),
        "points": torch.from_numpy(rng.normal(scale=0.3, size=(2, 5, 100, 3)).astype(np.float32)),
    }
    starts = torch.zeros(2, 5, dtype=torch.bool)
    no_goal = old.tokens.vector_norm.mean[90:].expand(2, 5, 3)  # its normalised value is 0
    expected, _ = old.act({**parts, "goal": no_goal}, starts)
    goals = torch.from_numpy(rng.normal(size=(2, 5, goal_size)).astype(np.float32))
    actions, _ = new.act({**parts, "goal": goals}, starts)
    torch.testing.assert_close(actions, expected, atol=1e-5, rtol=1e-5)
    assert (new.tokens.vector_norm.std[90:] < 1.0).all()  # the goal is normalised, too
    envs = make_vector_env(env_id, 2, moved.make_options())
    moved.check_env(envs)
    envs.close()


def test_what_has_not_enough_in_common_is_refused(lifter: Checkpoint) -> None:
    with pytest.raises(OptionError, match="expected the same but for the goal"):
        pretrained_actor(lifter, "DexVid-OpenCabinet-v0", {"observation_mode": "state"})
    flat = Checkpoint(MlpActor(MlpConfig(10, 23, (8,))), "DexVid-GraspLift-v0", {}, "joint_delta")
    with pytest.raises(OptionError, match="pretrain a plain transformer"):
        pretrained_actor(flat, "DexVid-OpenCabinet-v0")
