"""The benchmark of real clips: what counts as found, met and on the object; tracks from both files; a run from end to end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.labels import FORMAT, LABELLED_KEYPOINTS, POINT_NAMES, ClipLabels, FrameLabel
from benchmarks.real_clips import RealClips, main
from benchmarks.real_clips_score import NOTHING, FrameTracks, pooled, read_tracks, score_frame, summary
from demos.interaction import Interaction
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import OptionError
from dexvid_envs.files import sha256_of_files

CLIP = Path(__file__).parent.parent / "demos" / "data" / "synthetic_clips"
SQUARE = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]])
POINTS = np.array([[100.0, 200.0], [140.0, 150.0], [120.0, 100.0], [100.0, 90.0], [80.0, 100.0], [60.0, 120.0]])


def _label(hand: str = "visible", hidden: tuple[int, ...] = ()) -> FrameLabel:
    points = POINTS.copy() if hand == "visible" else np.full((6, 2), np.nan)
    points[list(hidden)] = np.nan
    states = tuple("visible" if np.isfinite(point).all() else "occluded" for point in points)
    return FrameLabel(0, hand, points, states, (SQUARE,))


def _tracks(offset_px: float) -> FrameTracks:
    hand = np.zeros((21, 2))
    hand[list(LABELLED_KEYPOINTS)] = POINTS + np.array([offset_px, 0.0])
    return FrameTracks(True, hand, hand, np.array([[20.0, 20.0], [33.0, 20.0], [60.0, 20.0]]))


def _clip(*frames: FrameLabel) -> ClipLabels:
    numbered = tuple(dataclasses.replace(frame, frame=10 * number) for number, frame in enumerate(frames))
    return ClipLabels("clip", "0" * 64, 640, 360, 100, "right", "box", "", numbered)


def test_errors_are_those_of_the_points_that_are_seen() -> None:
    score = score_frame(_label(hidden=(4,)), _tracks(12.0), 110.0)
    np.testing.assert_allclose(score.errors_px, [12.0, 12.0, 12.0, 12.0, np.nan, 12.0])
    assert score.on_the_hand
    np.testing.assert_allclose(score.outside_px, [0.0, 3.0, 30.0])


def test_another_hand_is_present_but_not_found() -> None:
    score = score_frame(_label(), _tracks(300.0), 110.0)
    assert score.present
    assert not score.on_the_hand


def test_what_is_missing_counts_as_wrong() -> None:
    labels = [_label(), _label(), _label("outside"), _label("partial")]
    tracks = [_tracks(5.0), NOTHING, _tracks(0.0), _tracks(0.0)]
    scores = [score_frame(label, track, 110.0) for label, track in zip(labels, tracks, strict=True)]
    clip = _clip(*labels)
    row = summary("clip", clip, scores)
    assert (row["hand visible"], row["present"], row["found"]) == (2, 0.5, 0.5)
    assert (row["points"], row["within 20 px"], row["within 20 px where found"]) == (12, 0.5, 1.0)
    assert row["present though away"] == "1 of 1"
    assert row["object points on it"] == pytest.approx(2 / 3, abs=1e-3)  # 3 px outside is within the outline's exactness
    assert row["object tracked"] == 0.0  # three points do not make a pose
    every = pooled([row], [clip], [scores])
    assert {name: every[name] for name in ("found", "within 20 px")} == {"found": 0.5, "within 20 px": 0.5}


def _save_tracks(path: Path, frames: list[int], hands: np.ndarray, origin: list[int], points: np.ndarray) -> None:
    visible = np.ones(points.shape[:2], bool)
    visible[:, -1] = False
    np.savez(
        path,
        frame_index=np.array(frames),
        hand_image=hands,
        hand_origin=np.array(origin),
        object_names=np.array(["cup"]),
        object_0_image=points,
        object_0_visible=visible,
    )


def test_tracks_are_read_by_source_frame(tmp_path: Path) -> None:
    hands = np.arange(3 * 21 * 2, dtype=np.float64).reshape(3, 21, 2)
    points = np.arange(3 * 4 * 2, dtype=np.float64).reshape(3, 4, 2)
    _save_tracks(tmp_path / "tracks.npz", [0, 2, 4], hands, [0, 3, 2], points)
    none, lost, flow = read_tracks(tmp_path, 30.0, [1, 2, 4])
    assert [tracks.present for tracks in (none, lost, flow)] == [False, False, True]
    np.testing.assert_allclose(flow.hand_image, hands[2])
    np.testing.assert_allclose(flow.object_image, points[2, :3])  # the last is not visible


def _interaction(truth: ClipTruth) -> Interaction:
    """The hand of a synthetic clip at twice the clip's rate."""
    hand = np.repeat(truth.hand_keypoints_world, 2, axis=0)
    hand[1:-1:2] = 0.5 * (hand[:-2:2] + hand[2::2])
    frames = len(hand)
    return Interaction(
        fps=2.0 * truth.fps,
        hand_keypoints_world=hand,
        hand_confidence=np.ones(frames),
        hand_side="right",
        object_names=(),
        object_points_world=np.zeros((frames, 0, 3)),
        object_visible=np.zeros((frames, 0), bool),
        object_pose_world=np.full((frames, 4, 4), np.nan),
        keypoints_world=np.zeros((frames, 0, 3)),
        keypoint_visible=np.zeros((frames, 0), bool),
        keypoint_names=(),
        contact=np.zeros(frames, bool),
        flagged=np.zeros(frames, bool),
        frame_index=np.repeat(np.arange(truth.num_frames), 2),
        K=truth.K,
        T_world_camera=truth.T_world_camera,
        source_sha256="",
    )


def test_interactions_are_projected_between_their_frames(tmp_path: Path) -> None:
    truth = ClipTruth.load(next(CLIP.glob("*/truth.npz")))
    _interaction(truth).save(tmp_path / "interaction.npz")
    seen = read_tracks(tmp_path, truth.fps, [0, 7])
    for frame, tracks in zip((0, 7), seen, strict=True):
        assert tracks.present
        np.testing.assert_allclose(tracks.hand_image, truth.hand_keypoints_image[frame], atol=0.5)


@pytest.fixture
def kept_run(tmp_path: Path) -> RealClips:
    """A folder with a video, labels of it that are the truth, and an extraction that was right in every frame."""
    folder = next(path.parent for path in CLIP.glob("*/truth.npz"))
    truth = ClipTruth.load(folder / "truth.npz")
    width, height = 384, 288
    frames = []
    for number in range(0, truth.num_frames, 10):
        points = {}
        for name, index in zip(POINT_NAMES, LABELLED_KEYPOINTS, strict=True):
            place = truth.hand_keypoints_image[number, index]
            inside = (place >= 0).all() and (place <= [width - 1, height - 1]).all()
            points[name] = place.tolist() if inside else "outside"
        frames.append({"frame": number, "hand": "visible", "points": points, "outline": [SQUARE.tolist()]})
    clip: dict[str, Any] = {"name": "made", "sha256": sha256_of_files([folder / "video.mp4"]), "width": width, "height": height}
    clip |= {"num_frames": truth.num_frames, "hand_side": truth.hand_side, "object": "square", "note": "", "frames": frames}
    away = clip | {"name": "away", "sha256": "f" * 64}
    (tmp_path / "labels.json").write_text(json.dumps({"format": FORMAT, "clips": [clip, away]}))
    work = tmp_path / "work" / "made"
    work.mkdir(parents=True)
    (work / "interaction.npz").write_bytes(b"")  # tracks.npz is read instead
    points = np.tile(SQUARE + 1.0, (truth.num_frames, 2, 1))
    count = truth.num_frames
    _save_tracks(work / "tracks.npz", list(range(count)), truth.hand_keypoints_image, [0] * count, points)
    return RealClips(folder, labels=tmp_path / "labels.json", work=tmp_path / "work", out=tmp_path / "out", keep=True)


def test_a_run_from_end_to_end(kept_run: RealClips, capsys: pytest.CaptureFixture[str]) -> None:
    result = main(kept_run)
    assert "away: no video of this content" in capsys.readouterr().err
    made, every = result["rows"]
    assert made["clip"] == "made"
    assert made["found"] == made["within 20 px"] == made["object points on it"] == every["found"] == 1.0
    met = {check["name"]: check["ok"] for check in result["checks"]}
    assert met.pop("labelled videos that were not at hand") is False
    assert all(met.values())
    assert (kept_run.out / "real_clips.jpg").stat().st_size < 1_000_000


def test_a_folder_without_the_videos_and_unknown_clips_are_refused(kept_run: RealClips, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="none of the labelled videos"):
        main(dataclasses.replace(kept_run, videos=tmp_path / "empty"))
    with pytest.raises(OptionError, match="'cup', expected some of: made, away"):
        main(dataclasses.replace(kept_run, clips=("cup",)))
