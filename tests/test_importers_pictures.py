"""Masks, depth pictures and the joining of parts: what is written is read, in any size, and damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_importers_tracks import assert_motion_is_true

from benchmarks.foreign_layouts import IMAGE_SIZE, P, T, truth, write_rgbd
from demos.importers.masks import read_masks
from demos.importers.rgbd import read_rgbd
from demos.parts import (
    DepthFrames,
    PixelTracks,
    PointSets,
    lift_tracks,
    object_track,
    pick_in_mask,
    pick_some,
)
from dexvid_envs.errors import DexVidError, InputFileError, OptionError

# ---------------------------------------------------------------- masks


def test_masks_of_objects_in_any_size(tmp_path: Path) -> None:
    labels = np.zeros((18, 32), np.uint8)
    labels[4:9, 10:20], labels[12:15, 3:8] = 1, 2
    for t in (1, 2, 10):
        picture = Image.fromarray(np.roll(labels, t, axis=1), mode="P" if t == 2 else "L")
        if t == 2:
            picture.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10] + [0] * 759)
        picture.save(tmp_path / f"{t:d}.png")
    one, both = read_masks(tmp_path, 1), read_masks(tmp_path)
    assert one.count == 3
    np.testing.assert_array_equal(one.read(1), np.roll(labels, 2, axis=1) == 1)  # palette
    np.testing.assert_array_equal(both.read(2), np.roll(labels, 10, axis=1) > 0)
    large = one.read_sized(0, (180, 320))
    np.testing.assert_array_equal(large, np.kron(np.roll(labels, 1, axis=1) == 1, np.ones((10, 10), bool)))
    np.testing.assert_array_equal(resized_back(large), one.read(0))
    with pytest.raises(OptionError, match=r"no object 7 in 3 frames looked at; found 1, 2"):
        read_masks(tmp_path, 7)
    with pytest.raises(OptionError, match="0 is background"):
        read_masks(tmp_path, 0)


def resized_back(mask: np.ndarray) -> np.ndarray:
    return mask[5::10, 5::10]


def test_binary_and_coloured_masks(tmp_path: Path) -> None:
    inside = np.zeros((6, 8), bool)
    inside[2:4, 3:6] = True
    Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).save(tmp_path / "0.png")
    Image.fromarray(inside).save(tmp_path / "1.png")
    Image.fromarray(np.where(inside[..., None], [1, 2, 3], 0).astype(np.uint8)).save(tmp_path / "2.png")
    Image.fromarray(np.where(inside, 300, 0).astype(np.uint16)).save(tmp_path / "3.png")
    masks = read_masks(tmp_path)
    for frame in range(4):
        np.testing.assert_array_equal(masks.read(frame), inside)
    np.testing.assert_array_equal(read_masks(tmp_path, 1 + 256 * 2 + 65536 * 3).read(2), inside)


def test_damaged_masks_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no folder"):
        read_masks(tmp_path / "none")
    (tmp_path / "0.png").write_bytes(b"not a picture")
    with pytest.raises(InputFileError, match=r"cannot read .*0\.png as a picture"):
        read_masks(tmp_path).read(0)


# ---------------------------------------------------------------- RGB-D


def test_rgbd(tmp_path: Path) -> None:
    depth = write_rgbd(tmp_path)
    recording = read_rgbd(tmp_path)
    np.testing.assert_allclose(recording.K, truth().K, atol=1e-5)
    assert recording.depth.count == len(recording.pictures) == 3
    read = recording.depth.read_m(0)
    assert np.isnan(read[0, :5]).all()
    np.testing.assert_allclose(read[1:], depth[1:], atol=0.0006)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 0 0 1 0 0 0", "holds 8 numbers: expected the camera matrix in px, a text file with 3x3 numbers"),
        ("1 0 0 0 1 0 0 0 x", "something else than numbers"),
        ("1 0 0 0 1 0 0 0 2", "last row 0 0 1"),
        ("0 0 0 0 1 0 0 0 1", "focal length that is not positive"),
        ("nan 0 0 0 1 0 0 0 1", "holds"),
    ],
)
def test_wrong_camera_matrix_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_rgbd(tmp_path)
    (tmp_path / "cam_K.txt").write_text(text)
    with pytest.raises(InputFileError, match=message):
        read_rgbd(tmp_path)


def test_rgbd_errors(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"no file .*cam_K\.txt"):
        read_rgbd(tmp_path)
    write_rgbd(tmp_path / "a")
    (tmp_path / "a" / "rgb" / "0.jpg").unlink()
    with pytest.raises(InputFileError, match="2 colour and 3 depth pictures"):
        read_rgbd(tmp_path / "a")
    write_rgbd(tmp_path / "b")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "b" / "depth" / "0.png")
    with pytest.raises(InputFileError, match="expected 16-bit grey in millimetres"):
        read_rgbd(tmp_path / "b").depth.read_m(0)


# ---------------------------------------------------------------- parts


def test_pixel_tracks_are_lifted_by_depth_of_another_size() -> None:
    """A plane one metre away: each point lands on it; outside the picture and over holes points are unseen."""
    K = truth().K
    pixels = np.array([[[100.0, 50.0], [639.0, 359.0], [700.0, 50.0], [np.nan, 0.0], [20.0, 20.0]]])
    picture = np.full((180, 320), 1.0)
    picture[8:12, 8:12] = np.nan
    tracks = PixelTracks(pixels, np.ones((1, 5), bool), np.ones((1, 5)))
    track = lift_tracks(tracks, DepthFrames(1, lambda frame: picture), K, IMAGE_SIZE)
    np.testing.assert_array_equal(track.visible, [[True, True, False, False, False]])
    np.testing.assert_allclose(track.points_camera[0, 0], [(100 - K[0, 2]) / K[0, 0], (50 - K[1, 2]) / K[1, 1], 1.0])
    with pytest.raises(InputFileError, match="1 frames of tracks and 2 of depth"):
        lift_tracks(tracks, DepthFrames(2, lambda frame: picture), K)


def test_points_are_picked_by_a_mask() -> None:
    seen = truth()
    track = object_track(seen.points, np.ones((T, P), bool), seen.pixels)
    mask = np.zeros((90, 160), bool)  # a quarter of the video's size
    left = seen.pixels[0, :, 0] < np.median(seen.pixels[0, :, 0])
    for x, y in seen.pixels[0, left]:
        mask[round((y + 0.5) / 4 - 0.5), round((x + 0.5) / 4 - 0.5)] = True
    picked = pick_in_mask(track, mask, 0, IMAGE_SIZE)
    assert left.sum() <= picked.visible.shape[1] < P
    with pytest.raises(DexVidError, match="none of the 128 tracked points is kept"):
        pick_in_mask(track, np.zeros_like(mask), 0, IMAGE_SIZE)
    assert pick_some(track, 10).visible.shape == (T, 10)


def test_poses_hold_over_points_that_come_and_go() -> None:
    """No point is seen throughout, yet the motion is found, by points that take over from others."""
    visible = np.zeros((T, P), bool)
    for p in range(P):
        visible[max(0, p // 4 - 4) : p // 4 + 8, p] = True
    track = object_track(truth().points, visible, truth().pixels)
    assert np.isfinite(track.pose_camera).all()
    assert_motion_is_true(track, atol=1e-5)


def test_a_deforming_object_has_no_pose() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.2, (6, 30, 3)) + np.array([0.0, 0.0, 1.0])
    track = object_track(points, np.ones((6, 30), bool), np.zeros((6, 30, 2)))
    assert np.isnan(track.pose_camera[track.visible.sum(axis=1).argmax() + 1 :]).all()
    assert np.isnan(object_track(points[:, :3], np.ones((6, 3), bool), np.zeros((6, 3, 2))).pose_camera).all()


def test_point_sets_are_sampled_without_pose() -> None:
    sets = PointSets((np.zeros((0, 3)), np.arange(30.0).reshape(10, 3)))
    track = sets.sampled(4)
    np.testing.assert_array_equal(track.visible, [[False] * 4, [True] * 4])
    assert np.isnan(track.pose_camera).all()
    with pytest.raises(OptionError, match="count is 0"):
        sets.sampled(0)
    with pytest.raises(DexVidError, match=r"expected \(M, 3\)"):
        PointSets((np.zeros((3, 2)),))
