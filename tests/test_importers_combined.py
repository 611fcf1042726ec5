"""A hand of one system and an object of another joined by `import.json`; and the list of all importers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.foreign_layouts import IMAGE_SIZE, object_array, truth, v2_content, wilor_frame, write_combined, write_points
from demos.camera import transform
from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract
from demos.importers import IMPORTERS, find_importer, guess_importer
from demos.importers.assemble import AssembleConfig, assemble
from demos.interaction import HandTrack, Interaction
from demos.parts import object_track
from demos.source import load_interaction, shipped_sample
from dexvid_envs.errors import InputFileError, OptionError

T = 35

# ---------------------------------------------------------------- combined


def check_combined(folder: Path, atol: float = 1e-4, posed: bool = True) -> Interaction:
    interaction = load_interaction(folder)
    to_world = truth().T_world_camera
    np.testing.assert_allclose(interaction.hand_keypoints_world, transform(to_world, truth().hand), atol=2e-4)
    sample = load_interaction(shipped_sample())
    seen = interaction.object_visible
    if posed:
        expected = transform(to_world, truth().points)
        np.testing.assert_allclose(interaction.object_points_world[seen], expected[seen], atol=atol)
        held = np.flatnonzero(sample.contact[::4])
        assert interaction.contact[held[1] : held[-1]].mean() > 0.8
        assert not interaction.contact[: held[0] - 4].any()  # points within 3 cm count, before anything touches
    assert interaction.object_names == ("bottle",)
    return interaction


def test_combined_with_spatialtracker_v2(tmp_path: Path) -> None:
    still = v2_content(
        coords=truth().points, extrinsics=np.tile(np.eye(4), (T, 1, 1)), visibs=np.ones((T, truth().points.shape[1]))
    )
    write_combined(tmp_path / "a", {"format": "spatialtracker-v2", "path": "result.npz"})
    np.savez(tmp_path / "a" / "result.npz", **still)
    interaction = check_combined(tmp_path / "a")
    assert guess_importer(tmp_path / "a") == "combined"
    first = interaction.object_pose_world[0]
    moved = interaction.object_pose_world @ np.linalg.inv(first)
    sample = load_interaction(shipped_sample()).object_pose_world[::4]
    np.testing.assert_allclose(moved, sample @ np.linalg.inv(sample[0]), atol=2e-3)


def test_combined_with_pixel_tracks_depth_and_mask(tmp_path: Path) -> None:
    """CoTracker's pixels get their depth from RGB-D; points beside the object are dropped by the mask."""
    folder = tmp_path / "a"
    write_combined(
        folder,
        {"format": "cotracker", "path": "tracks.npz"},
        depth={"format": "rgbd", "path": "rgbd"},
        mask={"path": "masks", "object_id": 3},
        intrinsics=None,
    )
    (folder / "rgbd" / "depth").mkdir(parents=True)
    (folder / "masks").mkdir()
    np.savetxt(folder / "rgbd" / "cam_K.txt", truth().K)
    width, height = IMAGE_SIZE
    beside = np.array([[5.0, 5.0], [630.0, 350.0]])
    pixels = np.round(truth().pixels)
    for t in range(T):
        depth = np.full((height, width), 2000, np.uint16)
        mask = np.zeros((height, width), np.uint8)
        order = np.argsort(-truth().points[t, :, 2])  # of points on one pixel the nearest is seen
        column, row = pixels[t, order].astype(int).T
        depth[row, column] = np.round(truth().points[t, order, 2] * 1000)
        mask[row, column] = 3
        Image.fromarray(depth).save(folder / "rgbd" / "depth" / f"{t:04d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{t:04d}.png")
    tracks = np.concatenate([pixels, np.tile(beside, (T, 1, 1))], axis=1)
    np.savez(folder / "tracks.npz", pred_tracks=tracks[None], pred_visibility=np.ones((1, *tracks.shape[:2]), bool))
    interaction = load_interaction(folder)
    assert interaction.object_points_world.shape[1] == truth().points.shape[1]  # the two beside are gone
    expected = transform(truth().T_world_camera, truth().points)
    distance = np.linalg.norm(interaction.object_points_world - expected, axis=-1)
    assert np.nanmedian(distance) < 0.003
    np.testing.assert_allclose(
        interaction.hand_keypoints_world[:, 0], transform(truth().T_world_camera, truth().hand)[:, 0], atol=0.02
    )


def test_combined_with_mcc_ho_and_wilor(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_combined(folder, {"format": "mcc-ho", "path": "mcc"}, hand={"format": "wilor", "path": "wilor"}, first_frame=1)
    (folder / "wilor").mkdir()
    for t in range(T):
        if t not in (0, 9):
            np.save(folder / "wilor" / f"{t + 1:05d}.npy", object_array([wilor_frame(t)]), allow_pickle=True)
        write_points(folder / "mcc" / f"{t + 1:05d}_0.1_obj.obj", truth().points[t] * [-1, -1, 1])
    interaction = load_interaction(folder)
    assert interaction.num_frames == T
    assert set(np.flatnonzero(interaction.flagged)) == {0, 9}
    assert (interaction.hand_confidence[[0, 9]] == 0).all()
    assert np.isfinite(interaction.hand_keypoints_world).all()  # interpolated
    assert np.isnan(interaction.object_pose_world).all()  # no correspondence, no pose
    np.testing.assert_array_equal(interaction.frame_index, np.arange(1, T + 1))
    expected = transform(truth().T_world_camera, truth().points)
    for t in (0, 20):
        cloud = interaction.object_points_world[t][interaction.object_visible[t]]
        assert len(cloud) == 128
        assert np.linalg.norm(cloud[:, None] - expected[t], axis=-1).min(axis=1).max() < 1e-5


def test_combined_scale_and_upright_camera(tmp_path: Path) -> None:
    """Without a given pose the camera is taken upright; the table then lies under the resting object."""
    content = v2_content(
        coords=truth().points / 3, extrinsics=np.tile(np.eye(4), (T, 1, 1)), visibs=np.ones((T, truth().points.shape[1]))
    )
    target = {"format": "spatialtracker-v2", "path": "result.npz", "scale": 3.0}
    pitch = float(np.degrees(np.arcsin(-truth().T_world_camera[2, 2])))
    write_combined(tmp_path / "a", target, T_world_camera=None, camera_pitch_deg=pitch)
    np.savez(tmp_path / "a" / "result.npz", **content)
    interaction = load_interaction(tmp_path / "a")
    np.testing.assert_allclose(
        np.ptp(interaction.object_points_world[0], axis=0)[2],
        np.ptp(transform(truth().T_world_camera, truth().points[0])[:, 2]),
        atol=2e-3,
    )
    assert abs(np.nanmin(interaction.object_points_world[0, :, 2])) < 0.01
    up = interaction.T_world_camera[:3, :3] @ truth().T_world_camera[:3, :3].T
    np.testing.assert_allclose(up[2], [0, 0, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": None}, "lacks fps"),
        ({"fps": "fast"}, "fps is 'fast', expected a number"),
        ({"colour": "red"}, "has the unknown colour"),
        ({"hand": {"format": "gloves", "path": "x"}}, "hand has the format 'gloves', expected one of hamer, wilor"),
        ({"object": {"format": "cotracker"}}, "expected an object with a path"),
        ({"object": {"format": "cotracker", "path": "tracks.npz"}}, "lacks depth: these tracks are pixels"),
        ({"object": {"format": "spatialtracker-v2", "path": "../result.npz"}}, "leads out of the folder"),
        ({"image_size": [640]}, r"image_size is \[640\]"),
        ({"image_size": None}, "lacks image_size"),
        ({"intrinsics": [1, 2]}, "intrinsics has shape"),
        ({"T_world_camera": [[1]]}, "T_world_camera has shape"),
        ({"T_world_camera": [[1], [2, 3]]}, "T_world_camera is uneven"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"mask": {"path": "masks", "frame": "first"}}, "frame 'first', expected whole numbers"),
    ],
)
def test_combined_errors(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_combined(tmp_path / "a", {"format": "spatialtracker-v2", "path": "result.npz"}, **change)
    np.savez(tmp_path / "a" / "result.npz", **v2_content())
    np.savez(tmp_path / "a" / "tracks.npz", pred_tracks=np.zeros((1, T, 5, 2)), pred_visibility=np.ones((1, T, 5)))
    with pytest.raises(InputFileError, match=message):
        load_interaction(tmp_path / "a")


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_damaged_description(tmp_path: Path, text: str) -> None:
    (tmp_path / "import.json").write_text(text)
    with pytest.raises(InputFileError, match=r"import\.json"):
        load_interaction(tmp_path)


def test_parts_of_different_length_are_refused() -> None:
    hand = HandTrack(truth().hand, truth().hand_pixels, np.ones(T), "right", np.zeros(T, bool))
    target = object_track(truth().points[:9], np.ones((9, 128), bool), truth().pixels[:9])
    with pytest.raises(InputFileError, match="the hand has 35 frames and the object 9"):
        assemble(hand, target, AssembleConfig(20.0), 0, "")
    with pytest.raises(OptionError, match="fps is 0"):
        AssembleConfig(0.0)


# ---------------------------------------------------------------- the list of all


def test_every_row_of_the_formats_has_an_importer() -> None:
    assert set(IMPORTERS) >= {
        *("hamer", "wilor", "mcc-ho", "shape-of-motion", "tapir", "cotracker", "spatialtracker", "spatialtracker-v2"),
        *("tapvid-3d", "dexmv", "hold", "spider", "masks", "rgbd"),
    }


@pytest.mark.parametrize("name", [name for name, importer in IMPORTERS.items() if importer.load is None])
def test_part_formats_say_what_else_is_needed(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=rf"{name} gives .* only, and .* needed as well: .*combined.* or call demos\.importers\.{name[:3]}"
    ):
        find_importer(name)(tmp_path)
    module, function = IMPORTERS[name].reader.split(".")
    assert callable(getattr(__import__(f"demos.importers.{module}", fromlist=[function]), function))


def test_extract_takes_a_combined_folder(tmp_path: Path) -> None:
    content = v2_content(
        coords=truth().points[:6],
        extrinsics=np.tile(np.eye(4), (6, 1, 1)),
        visibs=np.ones((6, 128)),
        intrinsics=np.tile(truth().K, (6, 1, 1)),
    )
    write_combined(tmp_path / "a", {"format": "spatialtracker-v2", "path": "result.npz"})
    np.savez(tmp_path / "a" / "result.npz", **content)
    result = extract(ExtractConfig(tmp_path / "a", tmp_path / "out", importer="combined"))
    assert result.interaction.num_frames == 6
    loaded = load_interaction(tmp_path / "out")
    np.testing.assert_array_equal(loaded.object_points_world, result.interaction.object_points_world)
    with pytest.raises(
        OptionError, match="no importer 'nope'; expected one of dexmv, interaction, combined, hold, spider, synthetic-truth; or"
    ):
        extract(ExtractConfig(tmp_path / "a", tmp_path / "out", importer="nope"))
