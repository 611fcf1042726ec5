"""Committed actors: they choose a way at the start of an episode and stay with it, in rollouts as in sequences."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.bc import CloneConfig, train_clone
from baselines.checkpoint import Checkpoint, load_checkpoint
from baselines.committed import WAY, CommittedActor, CommittedConfig, with_way
from baselines.mlp import MlpActor, MlpConfig
from baselines.transformer import TransformerActor, TransformerConfig
from demos.demonstration import Demonstration
from demos.provenance import side_taken
from dexvid_envs.errors import InputFileError, OptionError

STEPS, WAYS = 12, 2
CONFIG = CloneConfig(
    max_steps=600,
    batch_size=256,
    hidden=(64, 64),
    hold_steps=0,
    report_every_steps=200,
    learning_rate=3e-3,
    held_out_fraction=0.0,
)


def detour(start: float, side: int | None, rng: np.random.Generator) -> Demonstration:
    """Past an obstacle: at first there is nothing to see but the start, and the action leads to one side or the other.

    Starts below -0.5 are passed on side 0, above 0.5 on side 1, in between on either.
    """
    direction = 1.0 if side == 1 else -1.0
    place = np.zeros(STEPS + 1)
    noise = rng.normal(scale=0.3, size=STEPS)
    for step in range(STEPS):
        place[step + 1] = place[step] + 0.1 * (direction + noise[step])
    observations = np.stack([np.full(STEPS + 1, start), place], axis=1).astype(np.float32)
    return Demonstration(
        env_id="DexVid-BottlePickPlace-v0",
        env_options={},
        control_mode="joint_delta",
        observations=observations,
        actions=np.full((STEPS, 1), 0.8 * direction, dtype=np.float32),
        rewards=np.zeros(STEPS),
        successes=np.ones(STEPS, dtype=bool),
        states=np.zeros((STEPS + 1, 1)),
        memory={},
        object_pos_world=np.zeros((STEPS + 1, 3)),
        source_frame=np.full(STEPS + 1, -1),
        tier="successful",
        provenance={} if side is None else {"copy": {"side": side}},
    )


def detours(count: int = 120) -> list[Demonstration]:
    rng = np.random.default_rng(0)
    starts = rng.uniform(-1.5, 1.5, count)
    sides = np.where(starts > 0.5, 1, np.where(starts < -0.5, 0, rng.integers(2, size=count)))
    return [detour(float(start), int(side), rng) for start, side in zip(starts, sides, strict=True)]


def first_actions(checkpoint: Checkpoint, starts: np.ndarray) -> np.ndarray:
    policy = checkpoint.policy()
    policy.reset(np.ones(len(starts), dtype=bool))
    return policy.act(np.stack([starts, np.zeros_like(starts)], axis=1).astype(np.float32))[:, 0]


@pytest.fixture(scope="module")
def committed() -> Checkpoint:
    return train_clone(detours(), dataclasses.replace(CONFIG, commit=True)).checkpoint


def test_halfway_between_two_ways_a_committed_clone_takes_one_of_them(committed):
    halfway = np.linspace(-0.4, 0.4, 41)
    plain = first_actions(train_clone(detours(), CONFIG).checkpoint, halfway)
    assert (np.abs(plain) < 0.4).any()  # what commitment is for: neither way
    decided = first_actions(committed, halfway)
    assert (np.abs(decided) > 0.6).all()
    np.testing.assert_array_equal(first_actions(committed, np.array([-1.2, 1.2])) > 0, [False, True])


def test_the_way_stays_whatever_is_seen_later_and_is_chosen_anew_after_a_reset(committed):
    policy = committed.policy()
    policy.reset(np.ones(2, dtype=bool))
    start = np.array([[-1.2, 0.0], [1.2, 0.0]], dtype=np.float32)
    assert (policy.act(start)[:, 0] > 0).tolist() == [False, True]
    crossed = start[::-1].copy()  # each now sees the other's start
    assert (policy.act(crossed)[:, 0] > 0).tolist() == [False, True]
    policy.reset(np.array([True, False]))
    assert (policy.act(crossed)[:, 0] > 0).tolist() == [True, True]


def test_told_ways_are_followed(committed):
    policy = committed.policy()
    policy.reset(np.ones(2, dtype=bool))
    start = np.array([[-1.2, 0.0], [1.2, 0.0]], dtype=np.float32)
    policy.follow(np.array([1, 0]))
    assert (policy.act(start)[:, 0] > 0).tolist() == [True, False]
    policy.follow(None)
    policy.reset(np.ones(2, dtype=bool))
    assert (policy.act(start)[:, 0] > 0).tolist() == [False, True]


def make_actor(kind: str) -> CommittedActor:
    torch.manual_seed(0)
    if kind == "mlp":
        shapes = with_way({"state": (5,)}, WAYS)
        return CommittedActor(MlpActor(MlpConfig(shapes["state"][0], 3, (16,))), CommittedConfig(WAYS, (8,)))
    shapes = with_way({"proprioception": (5,), "goal": (2,), "points": (6, 3)}, WAYS)
    base = TransformerActor(TransformerConfig(shapes, 3, width=8, layers=1, heads=2, num_points=4, context_steps=4))
    return CommittedActor(base, CommittedConfig(WAYS, (8,)))


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_step_by_step_equals_sequences_with_several_episodes(kind):
    actor = make_actor(kind)
    generator = torch.Generator().manual_seed(1)
    parts = {name: torch.randn((6, 9, *shape), generator=generator) for name, shape in actor.config.observation.items()}
    starts = torch.zeros((6, 9), dtype=torch.bool)
    starts[:3, 0] = starts[1, 4] = starts[2, 5] = starts[2, 8] = True
    memory = actor.initial_memory(6)
    memory = memory._replace(way=torch.tensor([0, 0, 0, 1, 0, 1]))
    whole, after = actor.act(parts, starts, memory)
    steps, stepped = [], memory
    for t in range(9):
        action, stepped = actor.act({name: part[:, t : t + 1] for name, part in parts.items()}, starts[:, t : t + 1], stepped)
        steps.append(action)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole)
    assert torch.equal(after.way, stepped.way)
    some = torch.tensor([4, 1])
    torch.testing.assert_close(
        actor.act({name: part[some] for name, part in parts.items()}, starts[some], memory.rows(some))[0], whole[some]
    )


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_round_trip_as_checkpoint(kind, tmp_path):
    actor = make_actor(kind)
    Checkpoint(actor, "DexVid-BottlePickPlace-v0", {}, "joint_delta").save(tmp_path / "saved")
    again = load_checkpoint(tmp_path / "saved").actor
    assert isinstance(again, CommittedActor)
    parts = {name: torch.randn(4, 1, *shape) for name, shape in actor.config.observation.items()}
    starts = torch.ones((4, 1), dtype=torch.bool)
    torch.testing.assert_close(actor.act(parts, starts)[0], again.act(parts, starts)[0], rtol=0, atol=0)


def test_hostile_description_is_refused(tmp_path):
    actor = make_actor("mlp")
    folder = tmp_path / "saved"
    Checkpoint(actor, "DexVid-BottlePickPlace-v0", {}, "joint_delta").save(folder)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"ways": 2', '"ways": 1000000'))
    with pytest.raises((InputFileError, OptionError), match="ways"):
        load_checkpoint(folder)


def test_goes_on_with_more_demonstrations_of_the_same_ways_alone(committed):
    config = dataclasses.replace(CONFIG, commit=True, max_steps=20)
    on_the_way = dataclasses.replace(detours(1)[0], provenance={"parent": {"copy": {"side": 1}}, "correction": {"of": 0}})
    train_clone([*detours(20), on_the_way], config, initial=committed)
    with pytest.raises(OptionError, match="chooses among 2 ways"):
        train_clone(detours(20), CONFIG, initial=committed)
    with pytest.raises(OptionError, match="chooses among 2 ways, the demonstrations need 3"):
        train_clone([detour(0.0, 2, np.random.default_rng(0))], config, initial=committed)


def test_demonstrations_that_do_not_tell_their_side_are_refused():
    with pytest.raises(OptionError, match="demonstration 1 does not say from which side"):
        train_clone([detours(1)[0], detour(0.0, None, np.random.default_rng(0))], dataclasses.replace(CONFIG, commit=True))


def test_side_of_a_correction_is_that_of_its_copy():
    assert side_taken({"correction": {}, "parent": {"copy": {"side": 3}, "parent": {"refine": {}}}}) == 3
    assert side_taken({"copy": {"draw": 1}}) is None
    assert side_taken({"refine": {}}) is None
    assert WAY not in make_actor("mlp").config.observation
