"""Disturbed repetitions of a lift: still the lift, turned and off its way, with the way back as what is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demos.dataset import read_dataset
from demos.disturbed import action_noise, disturbed
from demos.provenance import missing_provenance
from demos.replay import Player, replay
from dexvid_envs.cli import main

DATA = Path(__file__).parents[1] / "demos" / "data"


def test_a_lift_holds_when_turned_and_disturbed() -> None:
    (lift,) = read_dataset(DATA / "refined_wild" / "wild-00230-show")
    player = Player(lift.env_id, lift.env_options, lift.control_mode)
    made = [disturbed(player, lift, variant) for variant in (1, 2, 3)]
    again = disturbed(player, lift, 1)
    player.close()
    kept = [one for one in made if one is not None]
    assert len(kept) >= 2
    assert made[0] is not None
    assert again is not None
    np.testing.assert_array_equal(again.states, made[0].states)
    radius, height = np.linalg.norm(lift.object_pos_world[0, :2]), lift.object_pos_world[:, 2].max()
    for one in kept:
        assert one.tier == lift.tier
        assert one.successes[-1]
        assert np.linalg.norm(one.object_pos_world[0, :2]) == pytest.approx(radius, abs=1e-6)
        assert np.linalg.norm(one.object_pos_world[0] - lift.object_pos_world[0]) > 0.005
        assert one.object_pos_world[:, 2].max() == pytest.approx(height, abs=0.03)
        assert one.intended_actions is not None
        assert np.abs(one.actions - one.intended_actions).std() > 0.001
        np.testing.assert_array_equal(one.source_frame, lift.source_frame)
        assert one.provenance["parent"] == lift.provenance  # its figures are the lift's own, not the repetition's
        assert not missing_provenance(one)
        assert replay(one).state_deviation == 0.0  # a demonstration like any other: its own actions repeat it


def test_repetitions_are_recorded_beside_the_demonstrations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lift = DATA / "refined_wild" / "wild-00230-show"
    assert main(["replay", str(lift), "--record", str(tmp_path / "made"), "--variants", "2"]) == 0
    said = capsys.readouterr().out
    made = read_dataset(tmp_path / "made")
    assert f"{len(made) - 1} of 2 disturbed repetitions" in said
    assert [one.provenance.get("disturbed", {}).get("variant") for one in made][:2] == [None, 1]
    assert main(["replay", str(lift), "--variants", "2"]) == 2
    cabinet = DATA / "refined_open_cabinet"
    assert main(["replay", str(cabinet), "--record", str(tmp_path / "turned"), "--variants", "1"]) == 2
    assert "cannot be turned about the arm's base" in capsys.readouterr().err
    assert not (tmp_path / "turned").exists()


def test_noise_is_of_one_strength_an_episode_and_lasts() -> None:
    strengths = []
    for seed in range(40):
        noise = action_noise(np.random.default_rng(seed), 400, 5, most=0.2)
        strengths.append(noise.std())
        together = np.mean(noise[1:] * noise[:-1]) / np.mean(noise**2)
        assert 0.2 < together < 0.6
    assert max(strengths) < 0.25
    assert min(strengths) < 0.05
