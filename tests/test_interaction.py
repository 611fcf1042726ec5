"""The data types between the stages: they refuse wrong shapes, and a saved interaction comes back as it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demos.interaction import HAND_BONES, HAND_KEYPOINT_NAMES, HandTrack, Interaction, ObjectTrack
from dexvid_envs.errors import DexVidError, InputFileError


def make_interaction(frames: int = 4, points: int = 3, keypoints: int = 2, seed: int = 0, side: str = "right") -> Interaction:
    rng = np.random.default_rng(seed)
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[0] = np.nan  # no rigid pose is known in the first frame
    return Interaction(
        fps=20.0,
        hand_keypoints_world=rng.normal(size=(frames, 21, 3)),
        hand_confidence=rng.uniform(size=frames),
        hand_side=side,
        object_names=("bottle", "goal") if points else (),
        object_points_world=rng.normal(size=(frames, points, 3)),
        object_visible=rng.uniform(size=(frames, points)) < 0.5,
        object_pose_world=pose,
        keypoints_world=rng.normal(size=(frames, keypoints, 3)),
        keypoint_visible=rng.uniform(size=(frames, keypoints)) < 0.5,
        keypoint_names=tuple(f"point_{i}" for i in range(keypoints)),
        contact=rng.uniform(size=frames) < 0.5,
        flagged=rng.uniform(size=frames) < 0.5,
        frame_index=np.arange(frames) * 3,
        K=np.full((3, 3), np.nan),
        T_world_camera=np.eye(4),
        source_sha256="0" * 64,
    )


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.integers(1, 12),
    points=st.integers(0, 9),
    keypoints=st.integers(0, 5),
    seed=st.integers(0, 99),
    side=st.sampled_from(["right", "left"]),
)
def test_interaction_round_trip(tmp_path: Path, frames: int, points: int, keypoints: int, seed: int, side: str) -> None:
    saved = make_interaction(frames, points, keypoints, seed, side)
    saved.save(tmp_path / "interaction.npz")
    loaded = Interaction.load(tmp_path / "interaction.npz")
    for field in dataclasses.fields(Interaction):
        expected, got = getattr(saved, field.name), getattr(loaded, field.name)
        if isinstance(expected, np.ndarray):
            assert got.dtype == expected.dtype, field.name
            np.testing.assert_array_equal(got, expected, err_msg=field.name)
        else:
            assert got == expected, field.name
    assert not [path for path in tmp_path.iterdir() if path.name != "interaction.npz"]  # no temporary file stays


def test_duration_is_between_first_and_last_frame() -> None:
    assert make_interaction(frames=5).duration_s == pytest.approx(4 / 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hand_side": "both"}, "'right' or 'left'"),
        ({"fps": 0.0}, "fps must be a positive number"),
        ({"contact": np.zeros(7, bool)}, r"contact has shape \(7,\), expected \(4,\)"),
        ({"object_visible": np.zeros((4, 9), bool)}, "object_visible has shape"),
        ({"K": np.eye(4)}, "K has shape"),
        ({"hand_keypoints_world": np.zeros((0, 21, 3))}, "at least one frame"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_interaction_refuses(change: dict, message: str) -> None:
    with pytest.raises(DexVidError, match=message):
        dataclasses.replace(make_interaction(), **change)


def test_tracks_refuse_wrong_shapes() -> None:
    with pytest.raises(DexVidError, match="confidence has shape"):
        HandTrack(np.zeros((3, 21, 3)), np.zeros((3, 21, 2)), np.zeros(2), "right", np.zeros(3, bool))
    with pytest.raises(DexVidError, match="pose_camera has shape"):
        ObjectTrack(np.zeros((3, 5, 3)), np.zeros((3, 5, 2)), np.zeros((3, 5), bool), np.zeros((3, 3, 3)), np.zeros(3))


def test_load_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no interaction at"):
        Interaction.load(tmp_path / "nothing.npz")
    make_interaction().save(tmp_path / "whole.npz")
    with np.load(tmp_path / "whole.npz") as archive:
        np.savez(tmp_path / "part.npz", **{name: archive[name] for name in archive.files if name != "contact"})
    with pytest.raises(InputFileError, match="lacks contact"):
        Interaction.load(tmp_path / "part.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:500])
    with pytest.raises(InputFileError):
        Interaction.load(tmp_path / "cut.npz")
    np.savez(tmp_path / "pickle.npz", contact=np.array([{"a": 1}], object))
    with pytest.raises(InputFileError, match="without pickles"):
        Interaction.load(tmp_path / "pickle.npz")


def test_hand_layout() -> None:
    assert len(HAND_KEYPOINT_NAMES) == 21
    assert HAND_BONES[:4] == ((0, 1), (1, 2), (2, 3), (3, 4))  # the thumb
    assert sorted(child for _, child in HAND_BONES) == list(range(1, 21))  # every point but the wrist hangs on one bone
