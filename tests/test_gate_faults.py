"""The benchmark of gates: faults are where they are said to be, and results and gates are counted by both ways to be wrong."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gate_faults import FAULTS, make_faulty
from benchmarks.gates import Verdict, is_bad, named_share
from benchmarks.gates import tables as gate_tables
from benchmarks.reconstruction_score import score
from benchmarks.reconstruction_variants import Run
from demos.video import probe_video, read_frames
from tests.test_reconstruction_score import SHIPPED, clip, perfect


@functools.cache
def pictures(name: str) -> list[np.ndarray]:
    return [frame.rgb for frame in read_frames(probe_video(SHIPPED / name / "video.mp4"))][: clip(name).truth.num_frames]


@pytest.mark.parametrize("name", FAULTS)
def test_faults_keep_the_number_of_pictures_and_say_where_they_are(name: str) -> None:
    before = pictures("training-00001-place")
    faulty = FAULTS[name](clip(), list(before), np.random.default_rng(0), pictures("training-00002-drawer"))
    assert len(faulty.pictures) == len(faulty.frames) == len(faulty.shown) == len(before)
    change = np.array([np.abs(a.astype(int) - b).mean() for a, b in zip(faulty.pictures, before, strict=True)])
    if name in ("clean", "wrong_K", "compressed"):  # what is wrong is not in these pictures
        assert change.max() == 0.0
    elif name != "jump":
        assert faulty.frames.any()
        assert change[faulty.frames].mean() > 0.1
        assert change[~faulty.frames].sum() == 0.0
    assert (faulty.focal_factor != 1.0) == (name == "wrong_K")


@pytest.mark.parametrize("name", ["frozen", "compressed"])
def test_a_faulty_video_is_made_once_and_is_as_long_as_the_clip(name: str, tmp_path: Path) -> None:
    faulty = make_faulty(name, clip(), clip("training-00002-drawer"), tmp_path)
    info = probe_video(faulty.video)
    assert sum(1 for _ in read_frames(info)) == pytest.approx(clip().truth.num_frames, abs=1)
    assert info.fps == pytest.approx(clip().truth.fps, rel=1e-3)
    made = faulty.video.stat().st_mtime_ns
    again = make_faulty(name, clip(), clip("training-00002-drawer"), tmp_path)
    np.testing.assert_array_equal(again.frames, faulty.frames)
    assert again.video.stat().st_mtime_ns == made


def test_after_a_jump_the_result_is_compared_with_what_is_shown() -> None:
    one = perfect(clip())
    faulty = FAULTS["jump"](clip(), pictures("training-00001-place"), np.random.default_rng(0), [])
    jumped = dataclasses.replace(
        one,
        hand_keypoints_world=one.hand_keypoints_world[faulty.shown],
        object_points_world=one.object_points_world[faulty.shown],
        object_visible=one.object_visible[faulty.shown],
        object_pose_world=one.object_pose_world[faulty.shown],
    )
    found = score(jumped, clip(), shown=faulty.shown)
    assert found.figures["fingertips_mm"] < 0.01
    assert not is_bad(found, one.flagged)[0]


def test_a_bad_stretch_is_bad_unless_it_is_flagged_and_good_frames_remain() -> None:
    one = perfect(clip())
    stretch = np.arange(one.num_frames) < one.num_frames // 5
    hand = one.hand_keypoints_world.copy()
    hand[stretch] += 0.2
    found = score(dataclasses.replace(one, hand_keypoints_world=hand), clip())
    assert is_bad(found, np.zeros(one.num_frames, bool))[0]
    assert not is_bad(found, stretch)[0]
    everything = score(dataclasses.replace(one, hand_keypoints_world=one.hand_keypoints_world + 0.2), clip())
    assert is_bad(everything, np.ones(one.num_frames, bool))[0]


def test_gates_are_counted_by_both_ways_to_be_wrong() -> None:
    verdicts = [
        Verdict("dark", "a", True, (), np.nan, {}),
        Verdict("dark", "b", True, ("hand found",), 0.5, {}),
        Verdict("clean", "a", False, (), np.nan, {}),
        Verdict("clean", "b", False, ("hand found",), np.nan, {}),
        Verdict("clean", "c", False, (), np.nan, {}),
    ]
    rows, checks = gate_tables(verdicts)
    assert [row["fault"] for row in rows] == ["dark", "clean", "all"]
    assert rows[0]["bad and passed"] == 1
    assert rows[0]["faulty frames named"] == "50%"
    assert rows[2]["gates that failed"] == "hand found 2"
    assert [check.value for check in checks] == pytest.approx([1 / 2, 1 / 3])
    one = perfect(clip())
    frames = np.zeros(one.num_frames, bool)
    frames[10:20] = True
    flagged = dataclasses.replace(one, flagged=np.arange(one.num_frames) == 10)
    assert named_share([{"frames": [11, 12]}], Run(flagged, {}, "", 0.0), frames) == pytest.approx(0.3)
