"""Multiplication: what is called successful is so in physics, repeatably, and failures are never kept."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.multiplication import MultiplicationConfig, run
from demos.dataset import dataset_length, read_dataset, write_dataset
from demos.demonstration import Demonstration
from demos.multiplication.starts import CELL_RAD, TaskStarts, box_around
from demos.multiply import MultiplyConfig, MultiplyReport, _Run, multiply  # pyright: ignore[reportPrivateUsage]
from demos.multiply_command import main as multiply_main
from demos.provenance import missing_provenance
from demos.replay import replay
from demos.source import load_interaction, shipped_demonstration, shipped_sample
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError, InputFileError
from tests.demonstration_cases import CABINET, LIFT, THROW, scripted_demonstration


@pytest.fixture(scope="module")
def shipped() -> Demonstration:
    return read_dataset(shipped_demonstration())[0]


def test_shipped_demonstration_keeps_its_contract(shipped: Demonstration) -> None:
    assert shipped.tier == "successful"
    outcome = replay(shipped)
    assert outcome.success
    assert outcome.rescored_success
    if outcome.same_build:
        assert outcome.state_deviation == 0.0
    assert shipped.provenance["source_sha256"] == load_interaction(shipped_sample()).source_sha256
    frames = shipped.source_frame[shipped.source_frame >= 0]
    assert (np.diff(frames) >= 0).all()


def test_copies_succeed_start_elsewhere_and_replay(shipped: Demonstration) -> None:
    report = MultiplyReport()
    copies = list(multiply(shipped, MultiplyConfig(count=6, batch=8), report=report))
    assert len(copies) == 6
    assert report.accepted <= report.attempts
    starts = np.array([copy.object_pos_world[0, :2] for copy in copies])
    assert np.ptp(starts, axis=0).min() > 0.03
    for copy in copies:
        assert copy.tier == "successful"
        assert copy.successes[-1]
    outcome = replay(copies[-1])
    assert outcome.success
    assert outcome.rescored_success
    assert (
        sum(report.start_cells.values()) == sum(report.target_cells.values()) == report.kept == 6
    )  # none beside the kept ones
    assert report.accepted > 6  # of the last batch, more succeeded than are wanted


def test_copies_go_to_a_wider_distribution_of_starts(shipped: Demonstration) -> None:
    wider = {"start_half_extent_m": [0.15, 0.15], "target_half_extent_m": [0.15, 0.15], "target_apart_m": 0.15}
    copies = list(multiply(shipped, MultiplyConfig(count=8, batch=16, mass=(0.5, 1.5), env_options=wider)))
    starts = np.array([copy.object_pos_world[0, :2] for copy in copies])
    ends = np.array([copy.object_pos_world[-1, :2] for copy in copies])
    assert np.abs(starts - shipped.object_pos_world[0, :2]).max() > 0.12
    assert np.linalg.norm(starts - ends, axis=-1).min() > 0.15 - 0.03  # of the targets, which are met within 3 cm
    for copy in copies:
        assert copy.env_options["target_apart_m"] == 0.15  # so that a policy is trained and evaluated on what it has seen
    assert replay(copies[0]).success


def test_continued_multiplication_gives_what_an_unbroken_one_gives(shipped: Demonstration, tmp_path: Path) -> None:
    config = MultiplyConfig(count=5, batch=3, size=(0.9, 1.1), mass=(0.5, 1.5))
    whole, report = list(multiply(shipped, config, journal=tmp_path / "whole")), MultiplyReport()
    broken = multiply(shipped, config, journal=tmp_path / "journal")
    begun = list(itertools.islice(broken, 4))  # stops within the second batch
    rest = list(multiply(shipped, config, first_index=4, journal=tmp_path / "journal", report=report))
    assert len(begun) + len(rest) == 5
    assert report.kept == sum(report.start_cells.values()) == 5
    for copy, expected in zip(begun + rest, whole, strict=True):
        np.testing.assert_array_equal(copy.states, expected.states)
        assert copy.provenance == expected.provenance
    assert (tmp_path / "journal").read_text() == (tmp_path / "whole").read_text()


def test_more_copies_than_first_wanted_are_those_of_a_larger_run(shipped: Demonstration, tmp_path: Path) -> None:
    first, more = MultiplyConfig(count=4, batch=3), MultiplyConfig(count=7, batch=3)
    whole = list(multiply(shipped, more, journal=tmp_path / "whole"))
    begun = list(multiply(shipped, first, journal=tmp_path / "journal"))  # its last batch has a success too many
    rest = list(multiply(shipped, more, first_index=len(begun), journal=tmp_path / "journal"))
    for copy, expected in zip(begun + rest, whole, strict=True):
        np.testing.assert_array_equal(copy.states, expected.states)
    assert (tmp_path / "journal").read_text() == (tmp_path / "whole").read_text()


def test_multiplication_is_not_continued_with_other_settings(shipped: Demonstration, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    list(multiply(shipped, MultiplyConfig(count=1, batch=2), journal=journal))
    with pytest.raises(InputFileError, match="other settings"):
        list(multiply(shipped, MultiplyConfig(count=2, batch=2, seed=1), first_index=1, journal=journal))
    journal.write_text("no json\n")
    with pytest.raises(InputFileError, match="damaged"):
        list(multiply(shipped, MultiplyConfig(count=2, batch=2), first_index=1, journal=journal))


def test_copies_differ_in_size_mass_and_friction_and_replay(shipped: Demonstration) -> None:
    config = MultiplyConfig(count=6, batch=8, size=(0.85, 1.15), mass=(1 / 6, 2.0), friction=(0.8, 1.2))
    copies = list(multiply(shipped, config))
    heights = [float(copy.memory["object_size"][0, 2]) for copy in copies]
    assert max(heights) - min(heights) > 0.01
    masses = np.array([copy.randomization["mass"][0] for copy in copies])
    assert masses.min() >= 1 / 6
    assert np.ptp(masses) > 0.2
    assert np.ptp([copy.randomization["friction"][0] for copy in copies]) > 0.05
    outcome = replay(copies[0])
    assert outcome.success
    assert outcome.state_deviation == 0.0
    assert missing_provenance(copies[0]) == missing_provenance(shipped)
    assert len(copies[0].source_frame) == copies[0].num_steps + 1
    assert set(copies[0].source_frame) <= set(shipped.source_frame)


@pytest.mark.parametrize("env_id", [LIFT, CABINET, THROW])
def test_every_task_is_multiplied(env_id: str) -> None:
    report = MultiplyReport()
    source = scripted_demonstration(env_id)
    copies = list(multiply(source, MultiplyConfig(count=2, batch=4, noise_rad=0.005), report=report))
    assert len(copies) == 2
    starts = np.array([copy.object_pos_world[0, :2] for copy in copies])
    assert np.ptp(starts, axis=0).max() > 0.005
    assert all(copy.successes[-1] for copy in copies)
    assert sum(report.start_attempts.values()) == report.attempts
    for copy in copies:  # the object is the one that was demonstrated
        np.testing.assert_array_equal(copy.memory.get("variant", [0])[0], source.memory.get("variant", [0])[0])


def test_draws_visit_every_cell_in_turn() -> None:
    place = box_around("start", "object_position", (0.4, 0.0), (0.08, 0.10))
    yaw = box_around("yaw", "object_yaw", (0.0,), (0.8,), CELL_RAD)
    starts = TaskStarts(place, yaw, None, "start", None)
    cells = int(np.prod(place.shape + yaw.shape))
    values = [starts.drawn([3], draw, 1) for draw in range(cells)]
    visited = {(int(place.cells_of(xy)[0]), int(yaw.cells_of(angle)[0])) for xy, angle in values}
    assert len(visited) == cells
    places = np.concatenate([xy for xy, _ in values])
    assert (np.abs(places - (0.4, 0.0)) <= (0.08, 0.10)).all()


def test_only_successful_demonstrations_are_multiplied(shipped: Demonstration) -> None:
    kinematic = dataclasses.replace(shipped, tier="kinematic")
    with pytest.raises(DexVidError, match="refine it first"):
        list(multiply(kinematic, MultiplyConfig(count=1)))


def test_hopeless_multiplication_gives_up_with_advice(shipped: Demonstration) -> None:
    config = MultiplyConfig(count=4, batch=4, noise_rad=1.0, noise_free_fraction=0.0, max_attempts_factor=1.0)
    with pytest.raises(DexVidError, match=r"copies succeeded.*lower noise_rad"):
        list(multiply(shipped, config))


def test_copies_that_come_too_late_for_an_episode_are_not_kept(shipped: Demonstration) -> None:
    early = int(np.flatnonzero(shipped.successes)[0]) - 20
    config = MultiplyConfig(count=4, batch=4, max_attempts_factor=1.0, env_options={"max_episode_steps": early})
    with pytest.raises(DexVidError, match="copies succeeded"):
        list(multiply(shipped, config))


def test_multiply_command_writes_a_dataset_and_its_coverage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, figures, picture = tmp_path / "copies", tmp_path / "coverage.json", tmp_path / "coverage.png"
    arguments = ["multiply", str(shipped_demonstration()), "--count", "3", "--out", str(out), "--json", str(figures)]
    arguments += ["--figure", str(picture), "--size", "0.95", "1.05"]
    assert main(arguments) == 0
    assert dataset_length(out) == 3
    assert json.loads(figures.read_text())["accepted"] >= 3
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "accepted" in capsys.readouterr().out


def test_multiply_command_refuses_what_is_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["multiply", str(tmp_path), "--count", "3", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("error:") == 1
    assert not (tmp_path / "out").exists()


def test_benchmark_says_what_is_covered(tmp_path: Path) -> None:
    out = tmp_path / "multiplication.json"
    run(MultiplicationConfig(tasks=("open_cabinet",), count=3, out=out, quick=True))
    result = json.loads(out.read_text())
    row, report = result["rows"][0], result["config"]["reports"]["open_cabinet"]
    assert row["copies"] == 3
    assert row["replays_that_hold"] == "2 of 2"
    assert sum(report["start_cells"].values()) == report["kept"] == 3
    assert row["mended_by_retry"] == report["mended"] <= 3
    assert {check["name"] for check in result["checks"]} >= {"open_cabinet: cells without a copy"}
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_copies_show_what_was_intended_beside_what_noise_made_of_it(shipped: Demonstration, tmp_path: Path) -> None:
    config = MultiplyConfig(count=2, batch=4, noise_rad=0.02, noise_free_fraction=0.0)
    write_dataset(tmp_path / "copies", multiply(shipped, config))
    for copy in read_dataset(tmp_path / "copies"):
        assert copy.intended_actions is not None
        assert copy.intended_actions.shape == copy.actions.shape
        np.testing.assert_array_equal(copy.learned_actions, copy.intended_actions)
        fingers = np.abs(copy.actions - copy.intended_actions)[: copy.num_steps // 2, 7:]
        assert 0.02 < fingers.mean() < 0.15  # 0.02 rad of noise, of which 0.2 rad are an action of 1
        # Smoother than what was done: noise on a target is taken back in the next step, and again is new noise.
        assert np.abs(np.diff(copy.intended_actions, axis=0)).mean() < np.abs(np.diff(copy.actions, axis=0)).mean()
    quiet = next(multiply(shipped, dataclasses.replace(config, noise_free_fraction=1.0)))
    np.testing.assert_array_equal(quiet.actions, quiet.learned_actions)


def test_copies_follow_another_demonstration_where_the_first_one_fails(shipped: Demonstration) -> None:
    other = next(multiply(shipped, MultiplyConfig(count=1, batch=2, seed=5)))
    run = _Run([shipped, other], MultiplyConfig(batch=8), MultiplyReport())
    plays, _ = run.next_batch()
    assert {play.source for play in plays} == {0}
    run.take(plays, 8)
    run.followers[0].experience.add([dataclasses.replace(play, success=False) for play in plays] * 20)
    plays, copies = run.next_batch()
    assert {play.source for play in plays} == {1}
    made = list(copies(0, 8))
    assert made
    for copy in made:
        assert copy.provenance["parent"] == other.provenance
        assert missing_provenance(copy) == missing_provenance(shipped)
    assert replay(made[0]).state_deviation == 0.0


def test_a_draw_that_failed_is_tried_again_otherwise_and_its_copy_counted_as_mended(shipped: Demonstration) -> None:
    """As if the second draw had failed, the third past mending, and what was kept had been enough at the end."""
    report = MultiplyReport()
    run = _Run([shipped], MultiplyConfig(batch=4), report)
    plays, _ = run.next_batch()
    assert [(play.draw, play.attempt) for play in plays] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    plays[1] = dataclasses.replace(plays[1], success=False, mendable=True)
    plays[2] = dataclasses.replace(plays[2], success=False, mendable=False)
    run.take(plays, 100)
    assert (report.kept, report.mended, report.given_up) == (2, 0, 1)
    again, copies = run.next_batch()
    assert [(play.draw, play.attempt) for play in again] == [(1, 1), (4, 0), (5, 0), (6, 0)]
    assert again[0].features == plays[1].features  # the same start, goal and object
    assert again[0].correction != plays[1].correction
    assert again[0].success
    mended = next(copies(0, 1))
    assert (mended.provenance["copy"]["draw"], mended.provenance["copy"]["attempt"]) == (1, 1)
    run.take(again, 1)
    assert (report.kept, report.mended) == (3, 1)
    assert report.accepted == 2 + sum(play.success for play in again)
    assert sum(report.start_cells.values()) == 3
    assert sum(report.start_attempts.values()) == report.attempts == 8
    unwanted = MultiplyReport()
    unwanted.take(run.starts, 0, again, retries=2, wanted=0)
    assert (unwanted.accepted, unwanted.kept, unwanted.mended, unwanted.start_cells) == (report.accepted - 2, 0, 0, {})


def test_demonstrations_of_different_things_are_not_multiplied_together(shipped: Demonstration) -> None:
    with pytest.raises(DexVidError, match="one environment, control mode and object"):
        next(multiply([shipped, scripted_demonstration(CABINET)], MultiplyConfig(count=1)))
    with pytest.raises(DexVidError, match="at least one"):
        next(multiply([], MultiplyConfig(count=1)))


def test_the_command_multiplies_several_episodes_together(shipped: Demonstration, tmp_path: Path) -> None:
    write_dataset(tmp_path / "two", [shipped, shipped])
    arguments = ["multiply", str(tmp_path / "two"), "--count", "3", "--episode", "0", "1", "--out", str(tmp_path / "copies")]
    assert main(arguments) == 0
    assert dataset_length(tmp_path / "copies") == 3
    with pytest.raises(DexVidError, match="episodes 0 to 1"):
        multiply_main([*arguments[1:4], "--episode", "2", "--out", str(tmp_path / "none")])
