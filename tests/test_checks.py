"""Bad recordings are refused with reason and frame, or marked; good ones pass; nothing wild gets through or crashes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.checks import check_interaction, inspect_interaction
from demos.interaction import Interaction
from demos.kinematic import check_motion, kinematic_motion
from demos.source import load_interaction, shipped_sample
from demos.synthetic.truth import ClipTruth
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError
from tests.true_interactions import true_interaction

PLACE, DRAWER = "DexVid-BottlePickPlace-v0", "DexVid-OpenCabinet-v0"
LIFT, THROW = "DexVid-GraspLift-v0", "DexVid-LiftThrow-v0"
CLIPS = Path(__file__).parents[1] / "demos/data/synthetic_clips"


@pytest.fixture(scope="module")
def sample() -> Interaction:
    """140 frames at 20 Hz, numbered from 0; the bottle is held from frame 36 to 98."""
    return load_interaction(shipped_sample())


@pytest.fixture(scope="module")
def drawer() -> Interaction:
    return true_interaction(ClipTruth.load(CLIPS / "training-00002-drawer/truth.npz"))


def test_good_recordings_pass(sample: Interaction, drawer: Interaction) -> None:
    assert check_interaction(sample, PLACE) == []
    assert check_interaction(drawer, DRAWER) == []
    assert check_interaction(true_interaction(ClipTruth.load(CLIPS / "training-00001-place/truth.npz")), PLACE) == []


# ---- each fault, with its reason and frame ----------------------------------------------------------------------------------


def with_rows(interaction: Interaction, field: str, rows: slice, value: float) -> Interaction:
    values = getattr(interaction, field).copy()
    values[rows] = value
    return dataclasses.replace(interaction, **{field: values})


def moved(interaction: Interaction, scale: float = 1.0, up_m: float = 0.0) -> Interaction:
    """Everything larger about the origin, then shifted upwards."""
    shift = np.array([0.0, 0.0, up_m])
    pose = interaction.object_pose_world.copy()
    pose[:, :3, 3] = scale * pose[:, :3, 3] + shift
    return dataclasses.replace(
        interaction,
        hand_keypoints_world=scale * interaction.hand_keypoints_world + shift,
        object_points_world=scale * interaction.object_points_world + shift,
        object_pose_world=pose,
    )


def still(interaction: Interaction) -> Interaction:
    pose = np.repeat(interaction.object_pose_world[:1], interaction.num_frames, axis=0)
    points = np.repeat(interaction.object_points_world[:1], interaction.num_frames, axis=0)
    return dataclasses.replace(interaction, object_pose_world=pose, object_points_world=points)


def far_hand(interaction: Interaction) -> Interaction:
    return dataclasses.replace(interaction, hand_keypoints_world=interaction.hand_keypoints_world + np.array([0.0, 0.0, 0.3]))


def without_object(interaction: Interaction) -> Interaction:
    pose, points = interaction.object_pose_world, interaction.object_points_world
    return dataclasses.replace(interaction, object_pose_world=pose * np.nan, object_points_world=points * np.nan)


def first_frames(interaction: Interaction, count: int) -> Interaction:
    fields = ("hand_keypoints_world", "hand_confidence", "object_points_world", "object_visible", "object_pose_world")
    fields += ("keypoints_world", "keypoint_visible", "contact", "flagged", "frame_index")
    return dataclasses.replace(interaction, **{name: getattr(interaction, name)[:count] for name in fields})


REFUSED: dict[str, tuple[Callable[[Interaction], Interaction], str]] = {
    "hand lost for long": (
        lambda one: with_rows(one, "hand_keypoints_world", slice(40, 60), np.nan),
        r"hand key points are unknown for 1\.00 s.*\(source frames 40, 41, 42, 43, 44, \.\.\.\)",
    ),
    "hand mostly unknown": (
        lambda one: with_rows(one, "hand_keypoints_world", slice(0, None, 2), np.nan),
        r"hand key points are known in 50% of the frames, expected 60% or more",
    ),
    "infinite hand": (
        lambda one: with_rows(one, "hand_keypoints_world", slice(40, 60), np.inf),
        "hand key points are unknown for",
    ),
    "no object": (without_object, "the object is known in 0% of the frames"),
    "poses that are no rotations": (
        lambda one: with_rows(one, "object_pose_world", slice(70, 71), 0.5),
        r"no rotations with a shift \(source frame 70\)",
    ),
    "never touched": (lambda one: with_rows(one, "contact", slice(None), 0), "the hand never touches the object"),
    "touched in name only": (far_hand, r"is said to touch the object, but stays \d+ cm away"),
    "never moved": (still, "the object moves by 0 mm"),
    "millimetres": (lambda one: moved(one, 1000.0), "the hand measures .* cm from wrist to middle finger"),
    "too far apart": (lambda one: stretched(one), "the robot reaches over"),
    "too high": (lambda one: moved(one, up_m=1.5), r"the hand holds the object 1\.\d+ m above the table"),
    "below the table": (lambda one: moved(one, up_m=-0.5), "m below the table top"),
    "too short": (lambda one: first_frames(one, 5), r"it lasts 0\.20 s"),
}


def stretched(interaction: Interaction) -> Interaction:
    """The same hand and object carried over 1.6 m."""
    way = np.linspace(0.0, 1.6, interaction.num_frames)[:, None] * np.array([1.0, 0.0, 0.0])
    pose = interaction.object_pose_world.copy()
    pose[:, :3, 3] += 2 * way
    return dataclasses.replace(
        interaction,
        hand_keypoints_world=interaction.hand_keypoints_world + 2 * way[:, None],
        object_points_world=interaction.object_points_world + 2 * way[:, None],
        object_pose_world=pose,
    )


@pytest.mark.parametrize("fault", REFUSED)
def test_faults_are_refused(sample: Interaction, fault: str) -> None:
    change, message = REFUSED[fault]
    with pytest.raises(DexVidError, match=message):
        check_interaction(change(sample), PLACE)


@pytest.mark.parametrize("fault", REFUSED)
def test_faults_make_no_motion_either(
    sample: Interaction, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither `dexvid retarget` nor a kinematic motion comes of what refinement refuses; gaps are cut off for the latter."""
    change, message = REFUSED[fault]
    changed = change(sample)
    changed.save(tmp_path / "interaction.npz")
    assert main(["retarget", str(tmp_path / "interaction.npz"), "--out", str(tmp_path / "motion.npz")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["interaction.npz"]
    if fault != "hand lost for long" and fault != "infinite hand":
        with pytest.raises(DexVidError):
            kinematic_motion(changed, tmp_path)


def test_a_doubtful_motion_says_so(sample: Interaction, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_rows(sample, "flagged", slice(0, 100), 1).save(tmp_path / "interaction.npz")
    out = tmp_path / "motion.npz"
    assert main(["retarget", str(tmp_path / "interaction.npz"), "--env", LIFT, "--out", str(out), "--json"]) == 0
    shown = capsys.readouterr()
    assert "doubts 71% of its frames" in shown.err
    told = json.loads(shown.out)
    assert (told["environment"], told["steps"] > 20, len(told["doubts"])) == (LIFT, True, 1)
    with np.load(out) as arrays:
        assert ["doubts 71%" in line for line in arrays["doubts"].tolist()] == [True]
    motion = kinematic_motion(with_rows(sample, "flagged", slice(0, 100), 1), tmp_path)
    assert ["doubts 71%" in line for line in motion.provenance["doubts"]] == [True]


def test_a_motion_through_the_table_or_out_of_reach_is_refused(sample: Interaction, tmp_path: Path) -> None:
    motion = kinematic_motion(sample, tmp_path)
    for axis, way_m, message in ((2, -0.5, "below the table top"), (0, 1.5, r"goes 1\.\d+ m far")):
        path = motion.object_path.copy()
        path[100:, axis] += way_m
        with pytest.raises(DexVidError, match=message + r".*source frames 1?\d\d"):
            check_motion(dataclasses.replace(motion, object_path=path))


def test_doubts_are_marked(sample: Interaction) -> None:
    """A short gap, a jump of one frame, and an extraction that doubts itself."""
    gap = with_rows(sample, "hand_keypoints_world", slice(100, 103), np.nan)
    (finding,) = check_interaction(gap, PLACE)
    assert finding.source_frames == (100, 101, 102)
    assert "hand key points are unknown in 3 frames" in str(finding)

    hand = sample.hand_keypoints_world.copy()
    hand[20] += 1.5
    (finding,) = check_interaction(dataclasses.replace(sample, hand_keypoints_world=hand))
    assert finding.source_frames == (20, 21)
    assert "the hand jumps" in finding.reason

    (finding,) = check_interaction(with_rows(sample, "flagged", slice(0, 100), 1))
    assert "doubts 71% of its frames" in finding.reason


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (DRAWER, f"no recording for {DRAWER}: the object rises by 1. cm"),
        (THROW, f"no recording for {THROW}: .* so that it is not thrown"),
    ],
)
def test_a_placed_bottle_is_no_other_task(sample: Interaction, environment: str, message: str) -> None:
    with pytest.raises(DexVidError, match=message):
        check_interaction(sample, environment)


@pytest.mark.parametrize(
    ("environment", "message"), [(LIFT, "never lifted"), (PLACE, "pushed or drawn, not placed"), (THROW, "not thrown")]
)
def test_a_drawn_drawer_is_no_other_task(drawer: Interaction, environment: str, message: str) -> None:
    with pytest.raises(DexVidError, match=message):
        check_interaction(drawer, environment)


def test_every_reason_is_given_at_once(sample: Interaction) -> None:
    bad = with_rows(without_object(sample), "contact", slice(None), 0)
    with pytest.raises(DexVidError, match=r"known in 0% .*; also: the hand never touches"):
        check_interaction(bad)


# ---- wild inputs ------------------------------------------------------------------------------------------------------------

_FIELDS = ("hand_keypoints_world", "object_points_world", "object_pose_world")
_VALUES = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e-30, 1e300, -5.0])


@settings(max_examples=80, deadline=None)
@given(
    faults=st.lists(
        st.tuples(st.sampled_from(_FIELDS), st.integers(0, 139), st.integers(1, 140), st.integers(1, 3), _VALUES), max_size=4
    ),
    contact=st.sampled_from(["as it is", "none", "all", "last"]),
    flags=st.booleans(),
)
def test_wild_recordings_are_refused_or_sound(
    sample: Interaction, faults: list[tuple[str, int, int, int, float]], contact: str, flags: bool
) -> None:
    """Whatever is written into a recording, what passes can be used: hand and object are known but for marked gaps."""
    changed = sample
    for field, start, length, step, value in faults:
        changed = with_rows(changed, field, slice(start, start + length, step), value)
    if contact != "as it is":
        touched = np.zeros(sample.num_frames, dtype=bool)
        touched[{"none": slice(0, 0), "all": slice(None), "last": slice(-1, None)}[contact]] = True
        changed = dataclasses.replace(changed, contact=touched)
    changed = dataclasses.replace(changed, flagged=np.full(sample.num_frames, flags))
    findings = inspect_interaction(changed, PLACE)
    frames = set(sample.frame_index.tolist())
    assert all(set(finding.source_frames) <= frames for finding in findings)
    assert all(str(finding) for finding in findings)
    if any(finding.refused for finding in findings):
        with pytest.raises(DexVidError, match="cannot become a demonstration"):
            check_interaction(changed, PLACE)
        return
    assert changed.contact.any()
    hand_known = np.isfinite(changed.hand_keypoints_world).all(axis=(1, 2))
    assert hand_known.mean() >= 0.6
    assert hand_known.all() or any("hand key points" in finding.reason for finding in findings)
