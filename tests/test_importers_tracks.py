"""Point trackers, masks and depth: files in exactly their layout, written from known points, give these points back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from benchmarks.foreign_layouts import (
    IMAGE_SIZE,
    P,
    T,
    moving_camera,
    six,
    tapvid_content,
    truth,
    v2_content,
    write_shape_of_motion,
)
from demos.importers.cotracker import read_cotracker
from demos.importers.shape_of_motion import move_points, read_shape_of_motion, rotation_of_6d
from demos.importers.spatialtracker import read_spatialtracker
from demos.importers.spatialtracker_v2 import read_spatialtracker_v2, read_spatialtracker_v2_depth
from demos.importers.tapir import read_disparity, read_tapir
from demos.importers.tapvid3d import read_tapvid3d
from demos.interaction import FloatArray, ObjectTrack
from demos.parts import (
    to_first_camera,
)
from dexvid_envs.errors import InputFileError, OptionError


def assert_motion_is_true(track: ObjectTrack, atol: float = 1e-5) -> None:
    """The points are the true ones, and the pose moves as the true one does."""
    np.testing.assert_allclose(track.points_camera[track.visible], truth().points[track.visible], atol=atol)
    first = int(np.argmax(track.visible.sum(axis=1)))
    moved = track.pose_camera @ np.linalg.inv(track.pose_camera[first])
    expected = truth().pose @ np.linalg.inv(truth().pose[first])
    np.testing.assert_allclose(moved, expected, atol=50 * atol)
    assert np.nanmax(track.residual_m) < 5 * atol + 1e-4


# ---------------------------------------------------------------- Shape-of-Motion


def nearest(points: FloatArray, truth_points: FloatArray) -> float:
    """How far the points (G, 3) are off the true ones at most."""
    return float(np.linalg.norm(points[:, None] - truth_points[None], axis=-1).min(axis=1).max())


def test_shape_of_motion(tmp_path: Path) -> None:
    """Trap 4: the normalisation is undone, for the camera too; faint Gaussians are left out."""
    write_shape_of_motion(tmp_path / "work")
    read = read_shape_of_motion(tmp_path / "work", max_points=P)
    assert read.metric
    assert read.track.points_camera.shape == (T, P, 3)
    assert_motion_is_true(read.track, atol=1e-4)
    np.testing.assert_allclose(read.track.points_image, truth().pixels, atol=0.2)
    np.testing.assert_allclose(read.camera.T_world_camera, moving_camera().T_world_camera, atol=1e-5)
    assert read.camera.moves_m() == pytest.approx(0.03, abs=1e-4)
    few = read_shape_of_motion(tmp_path / "work" / "checkpoints" / "last.ckpt", max_points=20)
    assert few.metric
    assert max(nearest(few.track.points_camera[t], truth().points[t]) for t in range(T)) < 1e-4


def test_shape_of_motion_without_normalisation(tmp_path: Path) -> None:
    write_shape_of_motion(tmp_path / "work", normalised=False)
    read = read_shape_of_motion(tmp_path / "work", max_points=P)
    assert not read.metric
    assert_motion_is_true(read.track, atol=1e-4)


def test_shape_of_motion_weights_vectors_and_not_matrices() -> None:
    """Trap 4: half of two bases turned by 0 and 120 degrees about z, one of them with vectors of length 3."""
    about_z = Rotation.from_rotvec(np.radians([[0.0, 0, 0], [0, 0, 120]])).as_matrix()
    vectors = six(about_z) * np.array([[1.0], [3.0]])
    mean = np.array([[1.0, 0.0, 0.0]])
    moved = move_points(mean, np.zeros((1, 2)), vectors[:, None], np.array([[[0, 0, 2.0]], [[0, 0, 4.0]]]))[0, 0]
    # first column: (1 + 3 cos 120, 3 sin 120) / 2 = (-0.25, 1.299), of length 1.3229
    np.testing.assert_allclose(moved, [-0.25 / 1.3229, 1.29904 / 1.3229, 3.0], atol=1e-4)
    random = Rotation.from_rotvec(np.random.default_rng(0).normal(size=(20, 3))).as_matrix()
    np.testing.assert_allclose(rotation_of_6d(six(random)), random, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"motion_bases.params.rots": None}, r"model lacks motion_bases\.params\.rots"),
        ({"motion_bases.params.transls": np.zeros((2, 5, 3))}, r"transls has shape \(2, 5, 3\), expected \(2, 35, 3\)"),
        ({"fg.params.motion_coefs": np.zeros((P, 2))}, r"motion_coefs has shape \(128, 2\), expected \(168, 2\)"),
        ({"fg.params.opacities": np.full(P + 40, -9.0)}, "no foreground Gaussian with an opacity"),
        ({"w2cs": np.zeros((T, 4, 4))}, "no rotation"),
        ({"Ks": np.zeros((T, 3, 3))}, "focal length that is not positive"),
    ],
)
def test_shape_of_motion_errors(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_shape_of_motion(tmp_path / "work", **change)
    with pytest.raises(InputFileError, match=message):
        read_shape_of_motion(tmp_path / "work")
    with pytest.raises(InputFileError, match=r"no file .*last\.ckpt"):
        read_shape_of_motion(tmp_path)


def test_shape_of_motion_scene_norm_errors(tmp_path: Path) -> None:
    write_shape_of_motion(tmp_path / "work")
    norm = tmp_path / "work" / "cache" / "scene_norm_dict.pth"
    for content, message in (({"scale": 1.0}, "lacks transfm"), ({"scale": -1.0, "transfm": torch.eye(4)}, "scale is -1")):
        torch.save(content, norm)
        with pytest.raises(InputFileError, match=message):
            read_shape_of_motion(tmp_path / "work")
    torch.save({"model": {}}, tmp_path / "work" / "checkpoints" / "last.ckpt")
    with pytest.raises(InputFileError, match="model lacks"):
        read_shape_of_motion(tmp_path / "work")


# ---------------------------------------------------------------- TAPIR and disparity


def test_tapir(tmp_path: Path) -> None:
    """Logits: seen where (1 - sigmoid(occlusion)) (1 - sigmoid(expected distance)) is above a half."""
    occlusion, distance = np.full((T, P), -4.0), np.full((T, P), -4.0)
    occlusion[:, 0], distance[:, 1] = 2.0, 2.0
    for query in (0, 10):
        for t in range(T):
            rows = np.column_stack([truth().pixels[t] + query, occlusion[t], distance[t]]).astype(np.float32)
            np.save(tmp_path / f"frame_{query:05d}_frame_{t:05d}.npy", rows)
    tracks = read_tapir(tmp_path)
    np.testing.assert_allclose(tracks.pixels, truth().pixels, atol=1e-3)
    assert not tracks.visible[:, :2].any()
    assert tracks.visible[:, 2:].all()
    np.testing.assert_allclose(tracks.confidence[0, 2], (1 / (1 + np.exp(-4))) ** 2, atol=1e-6)
    np.testing.assert_allclose(read_tapir(tmp_path, "frame_00010").pixels, truth().pixels + 10, atol=1e-3)
    with pytest.raises(OptionError, match=r"no query frame '7'; expected one of frame_00000, frame_00010"):
        read_tapir(tmp_path, "7")
    np.save(tmp_path / "frame_00000_frame_00004.npy", np.zeros((P - 1, 4)))
    with pytest.raises(InputFileError, match=r"frame_00004\.npy: the tracks has shape \(127, 4\), expected \(128, 4\)"):
        read_tapir(tmp_path)
    (tmp_path / "frame_00000_frame_00004.npy").unlink()
    with pytest.raises(InputFileError, match=r"lacks frame_00000_frame_00004\.npy"):
        read_tapir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFileError, match=r"holds no \.npy files"):
        read_tapir(tmp_path / "empty")


@pytest.mark.parametrize("suffix", [".npy", ".png"])
def test_disparity_is_not_depth(tmp_path: Path, suffix: str) -> None:
    disparity = np.linspace(0.2, 0.9, 48).reshape(6, 8)
    disparity[0, 0] = 0
    for t in (1, 2, 10):
        if suffix == ".npy":
            np.save(tmp_path / f"{t}.npy", (disparity / t).astype(np.float32))
        else:
            Image.fromarray(np.round(disparity / t * 65535).astype(np.uint16)).save(tmp_path / f"{t}.png")
    depth = read_disparity(tmp_path)
    assert depth.count == 3
    assert not depth.metric
    with np.errstate(divide="ignore"):
        expected = np.where(disparity > 0, 1 / disparity, np.nan)
    np.testing.assert_allclose(depth.read_m(2), 10 * expected, rtol=1e-3)  # frame 10 comes after frame 2


# ---------------------------------------------------------------- CoTracker


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
@pytest.mark.parametrize("shape", [(1, T, P), (1, T, P, 1), (T, P)])
def test_cotracker(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    visible = np.random.default_rng(0).random((T, P)) > 0.3
    tracks = truth().pixels if len(shape) == 2 else truth().pixels[None]
    path = tmp_path / f"tracks{suffix}"
    content = {"pred_tracks": tracks.astype(np.float32), "pred_visibility": visible.reshape(shape)}
    if suffix == ".npz":
        np.savez(path, **content)
    else:
        torch.save({name: torch.from_numpy(value) for name, value in content.items()}, path)
    read = read_cotracker(path)
    np.testing.assert_allclose(read.pixels, truth().pixels, atol=1e-3)
    np.testing.assert_array_equal(read.visible, visible)
    with pytest.raises(OptionError, match="batch is 1, but"):
        read_cotracker(path, batch=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pred_tracks": np.zeros((1, 3, 4, 2))}, "lacks pred_visibility"),
        ({"pred_tracks": np.zeros((1, 3, 4, 3)), "pred_visibility": np.zeros((1, 3, 4))}, "expected .any, any, any, 2."),
        (
            {"pred_tracks": np.zeros((1, 3, 4, 2)), "pred_visibility": np.zeros((1, 4, 3))},
            r"pred_visibility has shape \(1, 4, 3\)",
        ),
        (
            {"pred_tracks": np.zeros((1, 3, 4, 2)), "pred_visibility": np.zeros((1, 3, 5))},
            r"pred_visibility has shape \(1, 3, 5\)",
        ),
    ],
)
def test_cotracker_errors(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "tracks.npz", **content)
    with pytest.raises(InputFileError, match=message):
        read_cotracker(tmp_path / "tracks.npz")


# ---------------------------------------------------------------- SpatialTracker 1 and 2


def test_spatialtracker_v1(tmp_path: Path) -> None:
    depth = truth().points[..., 2:]
    shrunk = np.concatenate([(truth().pixels + 0.5) * 0.8 - 0.5, depth], axis=-1)
    np.save(tmp_path / "clip_spatracker_tracks.npy", shrunk.astype(np.float32))
    assert_motion_is_true(read_spatialtracker(tmp_path, truth().K, pixel_scale=1.25), atol=1e-4)
    np.save(tmp_path / "other_spatracker_tracks.npy", shrunk)
    with pytest.raises(InputFileError, match=r"holds 2 recordings \(clip_spatracker_tracks\.npy, other"):
        read_spatialtracker(tmp_path, truth().K)


def test_spatialtracker_v1_made_up_camera_is_undone(tmp_path: Path) -> None:
    """The 3-D file was lifted with focal = width: read as it stands it would be off by the ratio of the focal lengths."""
    width, height = IMAGE_SIZE
    depth = truth().points[..., 2:]
    fake = np.concatenate([(truth().pixels - [width // 2, height // 2]) / width * depth, depth, np.zeros((T, P, 3))], axis=-1)
    np.save(tmp_path / "clip_3d.npy", fake)
    assert np.abs(fake[..., :2] - truth().points[..., :2]).max() > 0.01
    assert_motion_is_true(read_spatialtracker(tmp_path, truth().K, IMAGE_SIZE), atol=1e-5)
    with pytest.raises(OptionError, match="give image_size"):
        read_spatialtracker(tmp_path, truth().K)
    np.save(tmp_path / "clip_3d.npy", fake[0])
    with pytest.raises(InputFileError, match=r"expected \(any, any, 3\)"):
        read_spatialtracker(tmp_path, truth().K, IMAGE_SIZE)


def test_spatialtracker_v2(tmp_path: Path) -> None:
    content = v2_content()
    np.savez(tmp_path / "result.npz", **content)
    read = read_spatialtracker_v2(tmp_path)
    np.testing.assert_array_equal(read.track.visible, content["visibs"][..., 0] > 0.5)
    assert_motion_is_true(read.track, atol=1e-5)
    np.testing.assert_allclose(read.camera.T_world_camera, moving_camera().T_world_camera, atol=1e-6)
    expected = to_first_camera(truth().points, moving_camera())
    moved = to_first_camera(read.track.points_camera, read.camera)
    np.testing.assert_allclose(moved[read.track.visible], expected[read.track.visible], atol=1e-5)
    depth = read_spatialtracker_v2_depth(tmp_path)
    assert depth.count == T
    assert np.isnan(depth.read_m(3)[0, 0])
    assert depth.read_m(3)[5, 5] == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extrinsics": None}, "lacks extrinsics"),
        ({"visibs": np.ones((T, P - 1))}, r"visibs has shape \(35, 127\), expected \(35, 128\)"),
        ({"visibs": np.ones((T, 128, 0))}, r"visibs has shape \(35, 128, 0\)"),
        ({"coords": np.full((T, 128, 3), 1e300), "extrinsics": np.full((T, 4, 4), 1e300)}, "not finite or beyond 1e.12"),
        ({"intrinsics": np.ones((T, 4))}, r"intrinsics has shape \(35, 4\), expected \(35, 3, 3\)"),
        ({"coords": np.array([{"a": 1}], dtype=object)}, "holds a list, expected|is an array of object|coords is"),
    ],
)
def test_spatialtracker_v2_errors(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "result.npz", **v2_content(**change))
    with pytest.raises(InputFileError, match=message):
        read_spatialtracker_v2(tmp_path)


# ---------------------------------------------------------------- TAPVid-3D


def test_tapvid3d(tmp_path: Path) -> None:
    content = tapvid_content()
    np.savez(tmp_path / "clip.npz", **content)
    read = read_tapvid3d(tmp_path / "clip.npz")
    np.testing.assert_array_equal(read.track.visible, content["visibility"])
    assert_motion_is_true(read.track, atol=1e-5)
    np.testing.assert_allclose(
        read.track.points_image[3, read.track.visible[3]], read.queries_xyt[read.track.visible[3], :2], atol=0.01
    )
    np.testing.assert_allclose(read.camera.K[0], truth().K)
    np.savez(tmp_path / "moving.npz", **tapvid_content(extrinsics_w2c=np.linalg.inv(moving_camera().T_world_camera)))
    moving = read_tapvid3d(tmp_path / "moving.npz").camera
    np.testing.assert_allclose(moving.T_world_camera, moving_camera().T_world_camera, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intrinsics": None}, "lacks intrinsics"),
        ({"intrinsics": np.zeros((0, 4))}, r"intrinsics has shape \(0, 4\), expected fx, fy, cx, cy"),
        ({"queries_xyt": np.full((P, 3), 99.0)}, "names frames outside the 35"),
        ({"tracks_XYZ": np.zeros((T, P, 2))}, r"tracks_XYZ has shape \(35, 128, 2\)"),
        ({"visibility": np.ones((P, T), bool)}, r"visibility has shape \(128, 35\), expected \(35, 128\)"),
    ],
)
def test_tapvid3d_errors(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "clip.npz", **tapvid_content(**change))
    with pytest.raises(InputFileError, match=message):
        read_tapvid3d(tmp_path / "clip.npz")
