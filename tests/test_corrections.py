"""Corrections: what demonstrations do from where a policy has got to succeeds in physics, and teaches what to do there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from baselines.bc import CloneConfig, train_clone
from baselines.checkpoint import Checkpoint
from baselines.committed import CommittedPolicy
from baselines.corrections import CorrectionConfig, CorrectionReport, corrections
from demos.dataset import DatasetWriter, dataset_length, read_dataset, write_dataset
from demos.demonstration import Demonstration
from demos.multiply import MultiplyConfig, multiply
from demos.provenance import missing_provenance, side_taken
from demos.replay import replay
from demos.source import shipped_demonstration
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError, OptionError

CONFIG = CorrectionConfig(count=4, batch=8, most_policy_steps=25)


@pytest.fixture(scope="module")
def copies() -> list[Demonstration]:
    source = read_dataset(shipped_demonstration())[0]
    return list(multiply(source, MultiplyConfig(count=6, batch=8, mass=(0.8, 1.2))))


@pytest.fixture(scope="module")
def poor_clone(copies: list[Demonstration]) -> Checkpoint:
    return train_clone(copies, CloneConfig(max_steps=60, batch_size=128, hidden=(64,), held_out_fraction=0.0)).checkpoint


def test_corrections_begin_where_the_policy_is_and_end_in_success(copies: list[Demonstration], poor_clone: Checkpoint) -> None:
    report = CorrectionReport()
    made = list(corrections(copies, poor_clone, CONFIG, report=report))
    assert len(made) == 4
    assert 4 <= report.accepted <= report.attempts
    for one in made:
        facts = one.provenance["correction"]
        expert = copies[facts["of"]]
        assert one.successes[-1]
        assert np.abs(one.states[0] - expert.states[0]).max() > 1e-3  # the policy has moved it away from the expert's start
        assert one.num_steps <= expert.num_steps + CONFIG.hold_steps
        assert not missing_provenance(one)
    outcome = replay(made[0])
    assert outcome.success
    assert outcome.rescored_success


def test_corrections_are_repeatable(copies: list[Demonstration], poor_clone: Checkpoint) -> None:
    first, second = (list(corrections(copies, poor_clone, CONFIG)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.states, other.states)


def test_corrections_follow_what_was_intended_and_show_what_the_copies_show() -> None:
    source = read_dataset(shipped_demonstration())[0]
    noisy = MultiplyConfig(count=3, batch=8, noise_rad=0.03, noise_free_fraction=0.0, env_options={"relative": True})
    copies = list(multiply(source, noisy))
    config = CloneConfig(max_steps=20, batch_size=64, hidden=(32,), held_out_fraction=0.0)
    (corrected,) = corrections(copies, train_clone(copies, config).checkpoint, dataclasses.replace(CONFIG, count=1, batch=4))
    assert corrected.observations.shape[1] == copies[0].observations.shape[1] > source.observations.shape[1]
    expert = copies[corrected.provenance["correction"]["of"]]
    rough = [np.abs(np.diff(one.actions[:60, 7:], axis=0)).mean() for one in (corrected, expert)]
    assert rough[0] < 0.5 * rough[1]


def test_a_committed_policy_takes_the_side_of_the_demonstration_that_corrects_it(
    copies: list[Demonstration], monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = [
        dataclasses.replace(one, provenance={**one.provenance, "copy": {**one.provenance["copy"], "side": index % 2}})
        for index, one in enumerate(copies)
    ]
    config = CloneConfig(max_steps=20, batch_size=64, hidden=(32,), held_out_fraction=0.0, commit=True)
    told: list[list[int]] = []
    follow = CommittedPolicy.follow

    def watched(policy: CommittedPolicy, ways: NDArray[np.int64] | None) -> None:
        assert ways is not None
        told.append(ways.tolist())
        follow(policy, ways)

    monkeypatch.setattr(CommittedPolicy, "follow", watched)
    (corrected,) = corrections(sides, train_clone(sides, config).checkpoint, dataclasses.replace(CONFIG, count=1, batch=6))
    chosen = np.random.default_rng([CONFIG.seed, 0]).choice(len(sides), 6, replace=False)
    assert told[0] == [int(index) % 2 for index in chosen]
    assert side_taken(corrected.provenance) == corrected.provenance["correction"]["of"] % 2


def test_a_policy_of_another_environment_is_refused(copies: list[Demonstration], poor_clone: Checkpoint) -> None:
    elsewhere = dataclasses.replace(poor_clone, env_id="DexVid-GraspLift-v0")
    with pytest.raises(DexVidError, match="GraspLift"):
        next(corrections(copies, elsewhere, CONFIG))
    with pytest.raises(OptionError, match="batch"):
        CorrectionConfig(batch=0)


def test_command_and_cloning_again(
    copies: list[Demonstration], poor_clone: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, out = tmp_path / "copies", tmp_path / "clone", tmp_path / "corrections"
    write_dataset(data, copies)
    poor_clone.save(run / "checkpoint")
    arguments = ["correct", str(data), "--policy", str(run), "--count", "2", "--policy-steps", "10", "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    shown = capsys.readouterr()
    assert "2 corrections" in shown.err
    assert json.loads(shown.out)["corrections"] == 2
    assert dataset_length(out) == 2
    again = ["--init", str(run), "--max-steps", "5", "--batch-size", "64", "--out", str(tmp_path / "again")]
    assert main(["train", "bc", "--dataset", str(out), *again]) == 0


def test_a_run_is_not_continued_with_another_policy(
    copies: list[Demonstration], poor_clone: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, out = tmp_path / "copies", tmp_path / "clone", tmp_path / "corrections"
    write_dataset(data, copies)
    poor_clone.save(run / "checkpoint")
    with pytest.raises(KeyboardInterrupt), DatasetWriter(out) as writer:  # noqa: PT012 (stopped in the middle)
        writer.add(copies[0])
        raise KeyboardInterrupt
    assert main(["correct", str(data), "--policy", str(run), "--count", "2", "--out", str(out), "--resume"]) == 2
    assert "another policy or other settings" in capsys.readouterr().err
