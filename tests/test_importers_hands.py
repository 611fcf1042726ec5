"""HaMeR and WiLoR: files in exactly their layout, written from a known hand, give that hand back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.foreign_layouts import FOCAL, IMAGE_SIZE, MIRROR, network_view, object_array, tensors, truth, wilor_frame
from demos.camera import project
from demos.importers.hamer import assumed_focal, read_hamer
from demos.importers.hand_detections import HandDetection, join_detections
from demos.importers.wilor import read_wilor
from dexvid_envs.errors import InputFileError, OptionError

# ---------------------------------------------------------------- HaMeR


def test_hamer_tensors_of_a_clip(tmp_path: Path) -> None:
    np.savez(tmp_path / "hands.npz", **tensors())
    seen = truth()
    track = read_hamer(tmp_path / "hands.npz", IMAGE_SIZE, seen.K)
    np.testing.assert_allclose(track.keypoints_camera, seen.hand, atol=2e-4)
    assert track.side == "right"
    assert (track.confidence == 1).all()
    assert not track.flagged.any()
    # the network's own pixels stand for what it saw; the true camera sees the same to within the hand's own depth
    assert np.abs(track.keypoints_image - seen.hand_pixels).max() < 20


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
def test_hamer_one_file_a_frame(tmp_path: Path, suffix: str) -> None:
    """Files of single frames, two hands in each, a gap where no hand was found; numbers sort by value."""
    right, left = tensors(), tensors(left=True)
    for t in range(truth().frames):
        both = {name: np.stack([right[name][t], left[name][t]]) for name in ("pred_keypoints_3d", "pred_cam_t_full", "right")}
        path = tmp_path / f"frame_{t + 8}{suffix}"
        if t in (3, 4):
            continue
        if suffix == ".npz":
            np.savez(path, **both)
        elif suffix == ".npy":
            np.save(path, np.array(both, dtype=object), allow_pickle=True)
        else:
            torch.save({name: torch.from_numpy(value) for name, value in both.items()}, path)
    seen = truth()
    for side, expected in (("right", seen.hand), ("left", seen.hand * MIRROR)):
        track = read_hamer(tmp_path, IMAGE_SIZE, seen.K, side=side)
        good = np.isfinite(track.keypoints_camera[:, 0, 0])
        assert set(np.flatnonzero(~good)) == {3, 4}
        np.testing.assert_allclose(track.keypoints_camera[good], expected[good], atol=2e-4)
        assert (track.confidence == good).all()
        assert (track.flagged == ~good).all()
    whole = read_hamer(tmp_path, IMAGE_SIZE, seen.K, side="right", first_frame=0, num_frames=50)
    assert len(whole.confidence) == 50
    np.testing.assert_allclose(whole.keypoints_camera[8], seen.hand[0], atol=2e-4)


def test_hamer_focal_length_sets_the_distance_and_nothing_else(tmp_path: Path) -> None:
    """Trap 2: t_z is multiplied by f_true / f_assumed, t_x and t_y stay (the principal point is the picture's middle)."""
    np.savez(tmp_path / "hands.npz", **tensors())
    K = np.array([[500.0, 0, 320], [0, 500.0, 180], [0, 0, 1]])
    assumed = read_hamer(tmp_path / "hands.npz", IMAGE_SIZE).keypoints_camera
    true = read_hamer(tmp_path / "hands.npz", IMAGE_SIZE, K).keypoints_camera
    place = network_view()[1]
    np.testing.assert_allclose((true - assumed)[..., :2], 0.0, atol=1e-6)
    np.testing.assert_allclose((true - assumed)[..., 2], np.tile(place[:, 2:] * (500 / FOCAL - 1), 21), rtol=1e-5)
    assert assumed_focal(IMAGE_SIZE) == FOCAL == assumed_focal((360, 640))
    # with the principal point elsewhere the hand moves sideways, so that its middle stays on its pixel
    K[0, 2], K[1, 2] = 350.0, 170.0
    moved = read_hamer(tmp_path / "hands.npz", IMAGE_SIZE, K)
    np.testing.assert_allclose(project(moved.keypoints_camera, K).mean(axis=1), moved.keypoints_image.mean(axis=1), atol=2.0)


def test_hamer_place_from_the_crop(tmp_path: Path) -> None:
    """`pred_cam` with the box says the same as `pred_cam_t_full`; of a left hand the crop was mirrored."""
    for left in (False, True):
        content = tensors(left)
        place = content.pop("pred_cam_t_full").astype(np.float64)
        frames = len(place)
        box = np.full(frames, 200.0)
        centre = FOCAL * place[:, :2] / place[:, 2:] + np.array(IMAGE_SIZE) / 2 + [3.0, -5.0]
        scale = 2 * FOCAL / (box * place[:, 2])
        shift = place[:, :2] - 2 * (centre - np.array(IMAGE_SIZE) / 2) / (box * scale)[:, None]
        x = -shift[:, 0] if left else shift[:, 0]
        content["pred_cam"] = np.stack([scale, x, shift[:, 1]], axis=1)
        content |= {"box_center": centre, "box_size": box, "img_size": np.tile(IMAGE_SIZE, (frames, 1))}
        np.savez(tmp_path / "hands.npz", **content)
        track = read_hamer(tmp_path / "hands.npz", IMAGE_SIZE, truth().K)
        np.testing.assert_allclose(track.keypoints_camera, truth().hand * (MIRROR if left else 1.0), atol=2e-4)


def test_hamer_crop_camera_alone_is_flagged(tmp_path: Path) -> None:
    content = tensors()
    content["pred_cam_t"] = content.pop("pred_cam_t_full")
    np.savez(tmp_path / "hands.npz", **content)
    assert read_hamer(tmp_path / "hands.npz", IMAGE_SIZE, truth().K).flagged.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pred_keypoints_3d": np.zeros((35, 20, 3))}, r"pred_keypoints_3d has shape \(35, 20, 3\), expected \(any, 21, 3\)"),
        ({"pred_cam_t_full": np.zeros((34, 3))}, r"pred_cam_t_full has shape \(34, 3\), expected \(35, 3\)"),
        ({"pred_cam_t_full": None}, "lacks pred_cam_t_full"),
        ({"pred_keypoints_3d": None}, "lacks pred_keypoints_3d"),
        ({"pred_keypoints_3d": np.full((35, 21, 3), np.nan)}, "not finite"),
        ({"pred_keypoints_3d": np.array(["a"])}, "refused"),
        ({"right": np.ones(3)}, "right has shape"),
    ],
)
def test_hamer_wrong_tensors_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = {name: value for name, value in (tensors() | change).items() if value is not None}
    np.savez(tmp_path / "hands.npz", **content)
    with pytest.raises(InputFileError, match=message):
        read_hamer(tmp_path / "hands.npz", IMAGE_SIZE)


def test_hamer_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="nothing at"):
        read_hamer(tmp_path / "none", IMAGE_SIZE)
    with pytest.raises(InputFileError, match="holds none of HaMeR's files"):
        read_hamer(tmp_path, IMAGE_SIZE)
    np.savez(tmp_path / "hands.npz", **tensors())
    with pytest.raises(InputFileError, match="no left hand, only right"):
        read_hamer(tmp_path / "hands.npz", IMAGE_SIZE, side="left")
    with pytest.raises(OptionError, match="unknown side 'both'"):
        read_hamer(tmp_path / "hands.npz", IMAGE_SIZE, side="both")


# ---------------------------------------------------------------- WiLoR


def test_wilor_one_file_a_frame(tmp_path: Path) -> None:
    for t in range(truth().frames):
        found = [] if t == 5 else [wilor_frame(t, left=True), wilor_frame(t)]
        np.save(tmp_path / f"{t}.npy", object_array(found), allow_pickle=True)
    for side, expected in (("right", truth().hand), ("left", truth().hand * MIRROR)):
        track = read_wilor(tmp_path, IMAGE_SIZE, truth().K, side)
        known = np.arange(truth().frames) != 5
        np.testing.assert_allclose(track.keypoints_camera[known], expected[known], atol=2e-4)
        assert not np.isfinite(track.keypoints_camera[5]).any()
        assert track.side == side


def test_wilor_whole_clip_in_one_file(tmp_path: Path) -> None:
    frames = [[] if t == 5 else [wilor_frame(t)] for t in range(truth().frames)]
    as_tensors = [[_with_tensors(d) for d in frame] for frame in frames]
    torch.save(as_tensors, tmp_path / "hands.pt")
    torch.save(frames, tmp_path / "arrays.pt")  # the pipeline gives numpy's arrays
    np.save(tmp_path / "hands.npy", object_array(frames), allow_pickle=True)
    for name in ("hands.pt", "arrays.pt", "hands.npy"):
        track = read_wilor(tmp_path / name, IMAGE_SIZE, truth().K)
        known = np.arange(truth().frames) != 5
        np.testing.assert_allclose(track.keypoints_camera[known], truth().hand[known], atol=2e-4)
        np.testing.assert_allclose(track.keypoints_image[known], truth().hand_pixels[known], atol=20)


def _with_tensors(detection: dict[str, Any]) -> dict[str, Any]:
    def tensor(value: Any) -> Any:
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    return detection | {"wilor_preds": {name: tensor(value) for name, value in detection["wilor_preds"].items()}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pred_cam_t_full": None}, "wilor_preds lacks pred_cam_t_full"),
        ({"pred_keypoints_3d": np.zeros((1, 20, 3))}, r"has shape \(1, 20, 3\)"),
        ({"scaled_focal_length": -1.0}, "scaled_focal_length is"),
        ({"pred_keypoints_3d": "text"}, "is a str, expected numbers"),
    ],
)
def test_wilor_wrong_content_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    detection = wilor_frame(0)
    kept = {name: value for name, value in (detection["wilor_preds"] | change).items() if value is not None}
    np.save(tmp_path / "0.npy", object_array([detection | {"wilor_preds": kept}]), allow_pickle=True)
    with pytest.raises(InputFileError, match=message):
        read_wilor(tmp_path, IMAGE_SIZE)


def test_wilor_detections_of_one_frame_are_no_clip(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", object_array([wilor_frame(0), wilor_frame(0, left=True)]), allow_pickle=True)
    with pytest.raises(InputFileError, match="2 detections of one frame"):
        read_wilor(tmp_path / "a.npy", IMAGE_SIZE)


# ---------------------------------------------------------------- several hands in a frame


def test_of_two_hands_the_surer_and_then_the_nearer_is_taken() -> None:
    hand, pixels = truth().hand[0], truth().hand_pixels[0]
    far = hand + np.array([0.5, 0.0, 0.0])
    found = [
        HandDetection(0, "right", hand, pixels),
        HandDetection(1, "right", far, pixels),
        HandDetection(1, "right", hand, pixels),
        HandDetection(2, "right", far, pixels, confidence=0.9),
        HandDetection(2, "right", hand, pixels, confidence=0.5),
    ]
    track = join_detections(found, "auto", None, None, "here")
    np.testing.assert_allclose(track.keypoints_camera, np.stack([hand, hand, far]), atol=1e-9)
    with pytest.raises(InputFileError, match="holds no hand in the frames 7 to 9"):
        join_detections(found, "auto", 7, 3, "here")
    with pytest.raises(InputFileError, match="holds no hand;"):
        join_detections([], "auto", None, None, "here")
