"""`dexvid replay --record`: demonstrations of another build recorded on this one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from demos.dataset import read_dataset, write_dataset
from demos.provenance import missing_provenance
from demos.replay import replay
from demos.replay_command import main
from demos.source import shipped_demonstration
from dexvid_envs.errors import DexVidError, OptionError

OTHER = {"model_sha256": "0" * 64, "versions": {"mujoco": "3.0.0"}}


@pytest.fixture
def of_another_build(tmp_path: Path) -> Path:
    """The shipped demonstration as if another model had been there, with bits of its own."""
    shipped = read_dataset(shipped_demonstration())[0]
    states = shipped.states.copy()
    states[1:] += 1e-9
    changed = {"states": states, "provenance": dict(shipped.provenance) | OTHER, "intended_actions": 0.5 * shipped.actions}
    write_dataset(tmp_path / "old", [dataclasses.replace(shipped, **changed)])
    return tmp_path / "old"


def test_what_is_recorded_repeats_exactly_here_and_knows_where_it_came_from(of_another_build: Path, tmp_path: Path) -> None:
    assert main([str(of_another_build), "--record", str(tmp_path / "new")]) == 0
    (old,), (new,) = read_dataset(of_another_build), read_dataset(tmp_path / "new")
    np.testing.assert_array_equal(new.actions, old.actions)
    np.testing.assert_array_equal(new.source_frame, old.source_frame)
    np.testing.assert_array_equal(new.learned_actions, old.learned_actions)
    assert (new.tier, new.env_options) == (old.tier, old.env_options)
    before = new.provenance["recorded_before"]
    assert {name: before[name] for name in OTHER} == OTHER
    assert before["recorded_before"] == old.provenance["recorded_before"]
    assert before["object_deviation_mean_m"] == np.linalg.norm(new.object_pos_world - old.object_pos_world, axis=-1).mean()
    first = old.provenance["recorded_before"]["model_sha256"]  # on which the shipped one was refined
    assert new.provenance["refine"]["measured_on"] == first
    assert new.provenance["refine"]["tracking_error_m"] == old.provenance["tracking_error_m"]
    assert "tracking_error_m" not in new.provenance
    assert not missing_provenance(new)
    outcome = replay(new)
    assert outcome.same_build
    assert outcome.state_deviation == 0.0


def test_an_episode_that_fails_here_is_left_out_and_nothing_is_written_of_none(of_another_build: Path, tmp_path: Path) -> None:
    (good,) = read_dataset(of_another_build)
    still = dataclasses.replace(good, actions=np.zeros_like(good.actions))
    write_dataset(tmp_path / "both", [still, good])
    assert main([str(tmp_path / "both"), "--record", str(tmp_path / "new")]) == 1
    assert len(read_dataset(tmp_path / "new")) == 1
    write_dataset(tmp_path / "none", [still])
    with pytest.raises(DexVidError, match="nothing to record"):
        main([str(tmp_path / "none"), "--record", str(tmp_path / "nothing"), "--json", str(tmp_path / "told.json")])
    assert not (tmp_path / "nothing").exists()
    assert "ends without success" in (tmp_path / "told.json").read_text()


def test_closed_loop_is_not_recorded(of_another_build: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="closed-loop"):
        main([str(of_another_build), "--record", str(tmp_path / "new"), "--closed-loop"])
