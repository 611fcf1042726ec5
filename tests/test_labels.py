"""The hand-made labels: the shipped file is sound, a wrong one is refused by name, outlines know what lies on them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.labels import (
    FORMAT,
    LABELLED_KEYPOINTS,
    POINT_NAMES,
    REAL_VIDEOS,
    distance_to_outline_px,
    find_labelled_videos,
    load_labels,
)
from dexvid_envs.errors import InputFileError

SQUARE = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]])


def _content() -> dict[str, Any]:
    points: dict[str, Any] = {name: [20.0 + number, 30.0] for number, name in enumerate(POINT_NAMES)}
    frames = [
        {"frame": 0, "hand": "visible", "points": points | {"ring_tip": "occluded"}, "outline": [SQUARE.tolist()]},
        {"frame": 10, "hand": "outside", "points": {}, "outline": []},
    ]
    clip = {"name": "clip", "sha256": "0" * 64, "width": 64, "height": 48, "num_frames": 20, "hand_side": "left"}
    return {"format": FORMAT, "clips": [clip | {"object": "cup", "note": "", "frames": frames}]}


def _written(content: object, folder: Path) -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return path


def test_every_tenth_frame_of_five_real_videos_is_labelled() -> None:
    clips = load_labels()
    assert len(clips) == 5
    for clip in clips:
        assert [frame.frame for frame in clip.frames] == list(range(0, clip.num_frames, 10))
        seen = [frame for frame in clip.frames if frame.hand == "visible"]
        assert seen
        assert all("visible" in frame.point_states for frame in seen)
        if clip.object_name is not None:
            assert all(frame.outline for frame in clip.frames), "the object is in the image throughout"


def test_labelled_points_of_real_videos_make_a_hand() -> None:
    for clip in load_labels():
        for frame in clip.frames:
            spread = frame.points_image[:, None] - frame.points_image[None]
            assert not (np.linalg.norm(spread, axis=-1) > 0.5 * clip.width).any(), f"{clip.name} {frame.frame}"
        assert 0.05 * clip.width < clip.hand_length_px < 0.35 * clip.width


def test_points_come_in_the_order_of_the_key_points(tmp_path: Path) -> None:
    (clip,) = load_labels(_written(_content(), tmp_path))
    first, second = clip.frames
    assert POINT_NAMES[0] == "wrist"
    assert LABELLED_KEYPOINTS == (0, 4, 8, 12, 16, 20)
    np.testing.assert_allclose(first.points_image[[0, 1, 5]], [[20.0, 30.0], [21.0, 30.0], [25.0, 30.0]])
    assert np.isnan(first.points_image[4]).all()
    assert first.point_states == ("visible",) * 4 + ("occluded", "visible")
    assert np.isnan(second.points_image).all()
    assert clip.hand_length_px == pytest.approx(5.0)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no labels at"):
        load_labels(tmp_path / "none.json")
    with pytest.raises(InputFileError, match="not marked as"):
        load_labels(_written({"clips": []}, tmp_path))
    (tmp_path / "half.json").write_text(REAL_VIDEOS.read_text()[:5000])
    with pytest.raises(InputFileError, match="no JSON file"):
        load_labels(tmp_path / "half.json")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hand", "seen", "clip clip, frame 0: hand is 'seen', expected one of: visible, partial, outside"),
        ("hand", "outside", "a hand that is outside has the points wrist"),
        ("points", {"wrist": [1, 2]}, "has the points wrist, expected: wrist, thumb_tip"),
        ("points", dict.fromkeys(POINT_NAMES, "lost"), "wrist is 'lost', expected x and y or one of: occluded, outside"),
        ("points", {name: [70, 2] for name in POINT_NAMES}, "wrist lies outside the 64x48 image"),
        ("points", {name: [1] for name in POINT_NAMES}, "expected x and y in px"),
        ("points", {name: [1, float("nan")] for name in POINT_NAMES}, "expected x and y in px"),
        ("outline", [[[1, 2], [3, 4]]], "fewer than three corners"),
        ("outline", [[]], "expected x and y in px"),
        ("frame", 10, "frame numbers must ascend"),
    ],
)
def test_a_wrong_label_is_named(key: str, value: object, message: str, tmp_path: Path) -> None:
    content = _content()
    content["clips"][0]["frames"][0][key] = value
    with pytest.raises(InputFileError, match=message):
        load_labels(_written(content, tmp_path))


@given(
    where=st.sampled_from(["clip", "frame"]),
    key=st.integers(0, 9),
    value=st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists, max_leaves=4),
)
def test_wild_values_never_end_in_a_traceback(
    where: str, key: int, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = _content()
    entry = content["clips"][0] if where == "clip" else content["clips"][0]["frames"][0]
    entry[list(entry)[key % len(entry)]] = value
    with contextlib.suppress(InputFileError):
        load_labels(_written(content, tmp_path_factory.mktemp("wild")))


def test_videos_are_found_by_their_contents(tmp_path: Path) -> None:
    content = _content()
    content["clips"][0]["sha256"] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc"
    clips = load_labels(_written(content, tmp_path))
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(b"another video of this name")
    assert find_labelled_videos(folder, clips) == {}
    (folder / "renamed.mp4").write_bytes(b"abc")
    assert find_labelled_videos(folder, clips) == {"clip": folder / "renamed.mp4"}
    with pytest.raises(InputFileError, match="no folder at"):
        find_labelled_videos(tmp_path / "none", clips)


def test_distance_to_an_outline() -> None:
    points = np.array([[20.0, 20.0], [10.0, 12.0], [34.0, 20.0], [33.0, 34.0], [0.0, 20.0]])
    np.testing.assert_allclose(distance_to_outline_px(points, [SQUARE]), [0.0, 0.0, 4.0, 5.0, 10.0], atol=1e-9)
    np.testing.assert_allclose(distance_to_outline_px(points, [SQUARE, SQUARE - 10.0])[[0, 4]], [0.0, 0.0], atol=1e-9)
    assert np.isinf(distance_to_outline_px(points, [])).all()
    assert distance_to_outline_px(np.zeros((0, 2)), [SQUARE]).shape == (0,)
