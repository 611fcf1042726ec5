"""Every dataset that comes with the project keeps its promises; new ones are found by themselves."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from demos.closed_loop import DemonstrationFollower
from demos.dataset import dataset_length, read_dataset
from demos.demonstration import Demonstration
from demos.provenance import missing_provenance, versions
from demos.recorded_path import source_hash
from demos.replay import Player
from tests.demonstration_cases import SCRIPTED, player_of, scripted_demonstration

DATA = Path(__file__).parents[1] / "demos" / "data"
#: Every dataset in any folder under it, and every episode of each: what is shipped is tested whole.
DATASETS = sorted(path.parents[1] for path in DATA.rglob("data/main_data.hdf5"))
EPISODES = [
    pytest.param((dataset, episode), id=f"{dataset.relative_to(DATA)}-{episode}")
    for dataset in DATASETS
    for episode in range(dataset_length(dataset))
]


@functools.lru_cache(maxsize=4)
def player_for(env_id: str, options: str, control_mode: str) -> Player:
    return Player(env_id, json.loads(options), control_mode)


@pytest.fixture(scope="module", params=EPISODES)
def shipped(request: pytest.FixtureRequest) -> tuple[Player, Demonstration]:
    """Each shipped episode, for all tests of it in a row, with a player for it."""
    dataset, episode = request.param
    (one,) = read_dataset(dataset, [episode])
    return player_for(one.env_id, json.dumps(dict(one.env_options), sort_keys=True), one.control_mode), one


def test_there_are_some() -> None:
    assert DATASETS


def test_open_loop(shipped: tuple[Player, Demonstration]) -> None:
    player, one = shipped
    outcome = player.replay(one)
    assert outcome.broken_promise == ""
    assert outcome.success == outcome.stored_success
    if outcome.same_build and one.tier != "kinematic":
        assert outcome.state_deviation == 0.0
    if one.tier == "successful":
        assert outcome.rescored_success


def test_closed_loop(shipped: tuple[Player, Demonstration]) -> None:
    player, one = shipped
    if one.tier == "successful":
        outcome = player.replay(one, DemonstrationFollower(player.env, one))
        assert outcome.broken_promise == ""
        assert outcome.success


def test_every_tenth_frame_can_be_started_from(shipped: tuple[Player, Demonstration]) -> None:
    player, one = shipped
    for step in range(0, one.num_steps + 1, 10):
        observation, _ = player.env.reset(options=one.reset_options(step))
        np.testing.assert_array_equal(player.env.state()["simulation"], one.states[step])
        if one.provenance.get("versions") == versions():
            np.testing.assert_array_equal(observation, one.observations[step])


def test_success_comes_before_an_episode_is_over(shipped: tuple[Player, Demonstration]) -> None:
    _, one = shipped
    if one.tier == "successful":
        limit = gymnasium.spec(one.env_id).max_episode_steps
        assert limit is not None
        assert one.successes[:limit].any()


def test_provenance(shipped: tuple[Player, Demonstration]) -> None:
    _, one = shipped
    assert missing_provenance(one) == []
    assert len(source_hash(one)) == 64


# ---- of all four tasks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", SCRIPTED)
def test_the_contract_holds_for_every_task(env_id: str) -> None:
    player, one = player_of(env_id), scripted_demonstration(env_id)
    outcome = player.replay(one)
    assert (outcome.state_deviation, outcome.broken_promise) == (0.0, "")
    followed = player.replay(one, DemonstrationFollower(player.env, one))
    assert followed.success
    assert followed.broken_promise == ""


@pytest.mark.parametrize("env_id", SCRIPTED)
def test_any_frame_of_every_task_can_be_started_from(env_id: str) -> None:
    """In a fresh environment, of which the episode's object may be another one; what follows is the same."""
    one = scripted_demonstration(env_id)
    player = Player(env_id, SCRIPTED[env_id][0], "joint_delta")
    for start in np.random.default_rng(0).integers(0, one.num_steps, 6).tolist():
        rest = player.record(one.actions[start : start + 15], reset_options=one.reset_options(start))
        np.testing.assert_array_equal(rest.states, one.states[start : start + 16])
        np.testing.assert_array_equal(rest.observations, one.observations[start : start + 16])
        np.testing.assert_array_equal(rest.successes, one.successes[start : start + 15])
