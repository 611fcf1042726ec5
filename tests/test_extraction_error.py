"""The benchmark of injected errors: what is injected, and that every level says how far it came."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.extraction_error import ExtractionErrorArguments, Level, levels, row, tabulate
from benchmarks.injected_errors import with_errors
from demos.interaction import FINGERTIPS, WRIST, Interaction
from demos.source import load_interaction, shipped_sample


@pytest.fixture(scope="module")
def recording() -> Interaction:
    return load_interaction(shipped_sample())


def rms_m(offsets: np.ndarray) -> float:
    return float(np.sqrt((offsets**2).sum(axis=-1).mean()))


def test_the_errors_are_as_large_as_asked_for(recording: Interaction) -> None:
    tips, places = [], []
    for seed in range(60):
        wrong = with_errors(recording, 0.02, 0.0, seed)
        tips.append((wrong.hand_keypoints_world - recording.hand_keypoints_world)[:, FINGERTIPS])
        places.append((wrong.object_pose_world - recording.object_pose_world)[:, :3, 3])
        assert np.allclose(wrong.object_pose_world[:, :3, :3], recording.object_pose_world[:, :3, :3])
    assert rms_m(np.stack(tips)) == pytest.approx(0.02, rel=0.15)
    assert rms_m(np.stack(places)) == pytest.approx(0.02, rel=0.15)


def test_an_object_moves_with_its_points_and_another_size_in_the_same_direction(recording: Interaction) -> None:
    small, large = (with_errors(recording, size, 0.0, 3) for size in (0.01, 0.03))
    shift = (small.object_pose_world - recording.object_pose_world)[:, :3, 3]
    assert np.allclose(np.nanmax(np.abs(small.object_points_world - recording.object_points_world - shift[:, None])), 0.0)
    assert np.allclose((large.object_pose_world - recording.object_pose_world)[:, :3, 3], 3.0 * shift)
    wrist = small.hand_keypoints_world[:, WRIST] - recording.hand_keypoints_world[:, WRIST]
    assert rms_m(np.diff(wrist, axis=0) * recording.fps) < 0.05  # m/s: it wanders, it does not shake


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_lost_frames_are_filled_between_the_others(recording: Interaction, share: float) -> None:
    wrong = with_errors(recording, 0.0, share, 1)
    lost = wrong.hand_confidence == 0.0
    assert lost.mean() == pytest.approx(share, abs=1.0 / recording.num_frames)
    assert not lost[0]
    assert not lost[-1]
    assert not wrong.object_visible[lost].any()
    assert np.allclose(wrong.hand_keypoints_world[~lost], recording.hand_keypoints_world[~lost])
    assert np.allclose(wrong.object_pose_world[~lost], recording.object_pose_world[~lost])
    turn = wrong.object_pose_world[:, :3, :3]
    assert np.allclose(turn @ turn.transpose(0, 2, 1), np.eye(3), atol=1e-9)


def test_without_errors_nothing_changes(recording: Interaction) -> None:
    same = with_errors(recording, 0.0, 0.0, 5)
    for name in ("hand_keypoints_world", "object_points_world", "object_pose_world", "hand_confidence", "object_visible"):
        assert np.array_equal(getattr(same, name), getattr(recording, name), equal_nan=True)


def test_draws_of_no_error_are_one_level() -> None:
    found = levels(ExtractionErrorArguments(errors_mm=(0.0, 20.0), dropouts=(0.0, 0.5), draws=2))
    assert found == [Level(0.0, 0.0, 0), Level(20.0, 0.0, 0), Level(0.0, 0.5, 0), Level(20.0, 0.0, 1), Level(0.0, 0.5, 1)]


def test_a_level_that_leads_nowhere_says_so(tmp_path: Path) -> None:
    given = ExtractionErrorArguments(copies=2, clone_steps=2, episodes=1, work=tmp_path, quick=True)
    line = row(Level(1e5, 0.0, 0), given)  # hand and bottle are a hundred metres apart
    assert line["successes"] == 0
    assert line["ended"] not in ("", "policy")
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "one.json").write_text(json.dumps({"commit": "0123456789"} | line))
    tabulate(logs, ExtractionErrorArguments(out=tmp_path / "result.json"))
    assert line["ended"] in (tmp_path / "result.md").read_text()
    assert (tmp_path / "result.png").stat().st_size > 1000
