"""Importers: finding them, bad folders, a made-up recording with known answers, and the recording of the mustard bottle."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from demos.importers import cleaning, find_importer, guess_importer
from demos.importers.dexmv import import_with_quality, load_dexmv
from demos.importers.dexmv import quality as dexmv_quality
from demos.importers.dexmv_recording import DexmvConfig, read_recording
from demos.importers.mesh_files import load_mesh
from demos.interaction import HAND_BONES, Interaction
from dexvid_envs.errors import InputFileError, OptionError

ROOT = Path(__file__).resolve().parents[1]
MUSTARD = Path(os.environ.get("DEXVID_SHARED", ROOT.parent / "shared")) / "data" / "dexmv_mustard"
needs_mustard = pytest.mark.skipif(
    not MUSTARD.is_dir(), reason=f"the recorded mustard bottle is not at {MUSTARD}; set DEXVID_SHARED to the shared folder"
)
FRAMES, LIFT, PLACE = 40, 12, 30
BOX_M = (0.06, 0.10, 0.20)  # wide along y, so that the importer has to turn the object frame
TRUE_TRAVEL_M = np.array([0.30, 0.0, 0.0])


# ---------------------------------------------------------------- a made-up recording


def made_up_world() -> tuple[np.ndarray, np.ndarray]:
    """Base-centre path (T, 3) m of a box on a table z = 0, and a right hand (T, 21, 3) m that holds it from -y."""
    share = np.clip((np.arange(FRAMES) - LIFT + 1) / (PLACE - LIFT), 0, 1)
    path = share[:, None] * TRUE_TRAVEL_M
    path[:, 2] = 0.12 * np.sin(np.pi * share)
    hand = np.zeros((21, 3))
    hand[0] = [0.0, -0.16, 0.10]
    for finger, height in enumerate((0.13, 0.12, 0.10, 0.08, 0.06)):
        side = -1.0 if finger == 0 else 1.0
        for part, (x, y) in enumerate(((0.03, -0.10), (0.055, -0.06), (0.055, -0.02), (0.034, 0.01))):
            hand[1 + 4 * finger + part] = [side * x, y, height]
    away = np.clip((LIFT - 3 - np.arange(FRAMES)) / 6, 0, 1)
    return path, hand + path[:, None] + away[:, None, None] * np.array([0.0, -0.25, 0.0])


def write_recording(folder: Path, first: int = 1) -> Path:
    """Writes the made-up recording in DexMV's layout, seen by two cameras; returns the folder."""
    (folder / "hand_pose").mkdir(parents=True)
    (folder / "object_pose").mkdir()
    path, hand = made_up_world()
    T_handcamera_world = np.eye(4)
    T_handcamera_world[:3, :3] = Rotation.from_euler("xyz", [2.1, 0.3, 0.2]).as_matrix()
    T_handcamera_world[:3, 3] = [0.1, -0.2, 1.0]
    T_objectcamera_world = np.array(DexmvConfig().T_objectcamera_handcamera) @ T_handcamera_world
    mesh = trimesh.creation.box(BOX_M)
    mesh.apply_translation([0.01, 0.02, BOX_M[2] / 2 - 0.03])  # the mesh's own origin is not its centre
    mesh.export(folder / "box.stl")
    for t in range(FRAMES):
        T_world_mesh = np.eye(4)
        T_world_mesh[:3, 3] = path[t] + [-0.01, -0.02, 0.03]
        joints = hand[t] @ T_handcamera_world[:3, :3].T + T_handcamera_world[:3, 3]
        np.save(folder / "hand_pose" / f"joints_{first + t}.npy", joints.astype(np.float32))
        pose = {"5": (T_objectcamera_world @ T_world_mesh)[:3]}
        np.save(folder / "object_pose" / f"{first + t}.npy", np.array(pose, dtype=object), allow_pickle=True)
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "recording")


def test_made_up_recording_is_recovered(recording: Path) -> None:
    interaction, figures = import_with_quality(recording, DexmvConfig(smooth=False, upright=False))
    path, hand = made_up_world()
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # the travel along x becomes +y
    centre = path @ turn.T + [0.0, 0.0, BOX_M[2] / 2]
    np.testing.assert_allclose(interaction.object_pose_world[:, :3, 3], centre, atol=2e-4)
    np.testing.assert_allclose(interaction.hand_keypoints_world, hand @ turn.T, atol=5e-4)
    assert interaction.hand_side == "right"
    assert figures["travel_m"] == pytest.approx(0.30, abs=1e-3)
    local = interaction.object_points_world[0] - interaction.object_pose_world[0, :3, 3]
    extents = np.ptp(local @ interaction.object_pose_world[0, :3, :3], axis=0)
    np.testing.assert_allclose(extents, [0.10, 0.06, 0.20], atol=0.01)  # x along the wide side
    assert not interaction.contact[:4].any()
    assert interaction.contact[LIFT + 2 : PLACE - 2].all()
    assert not interaction.flagged.any()


def test_smoothing_leaves_good_data_where_they_are(recording: Path) -> None:
    smooth, raw = load_dexmv(recording), load_dexmv(recording, DexmvConfig(smooth=False))
    assert np.abs(smooth.hand_keypoints_world - raw.hand_keypoints_world).max() < 0.015
    assert np.abs(smooth.object_pose_world - raw.object_pose_world).max() < 0.02
    assert smooth.object_points_world[..., 2].min() > -1e-3


def test_import_is_deterministic_and_survives_saving(recording: Path, tmp_path: Path) -> None:
    first, second = load_dexmv(recording), find_importer("dexmv")(recording)
    first.save(tmp_path / "out" / "interaction.npz")
    for loaded in (second, find_importer("interaction")(tmp_path / "out")):
        np.testing.assert_array_equal(loaded.object_points_world, first.object_points_world)
        assert loaded.source_sha256 == first.source_sha256
    assert guess_importer(tmp_path / "out") == "interaction"
    assert guess_importer(tmp_path / "out" / "interaction.npz") == "interaction"
    assert guess_importer(recording) == "dexmv"


def test_stalls_and_spikes_are_flagged_and_filled(recording: Path) -> None:
    hand, centre = made_up_world()[1], made_up_world()[0]
    broken = hand.copy()
    broken[20:22] = broken[19]  # a stall while the object moves
    broken[26] += [0.0, 0.08, 0.0]  # one wrong frame
    clean = cleaning.clean_hand(broken, centre, replace=True)
    assert set(np.flatnonzero(clean.stale | clean.spike)) == {20, 21, 26}
    assert (clean.confidence[[20, 21, 26]] == 0).all()
    assert np.abs(clean.keypoints - hand)[15:30].max() < 0.01
    marked = cleaning.clean_hand(broken, centre, replace=False)
    np.testing.assert_array_equal(marked.keypoints, broken)
    assert (marked.confidence[[20, 21, 26]] < 0.5).all()


def test_drift_of_the_grasp_is_taken_out() -> None:
    path, hand = made_up_world()
    slide = np.zeros((FRAMES, 3))
    slide[22:] = [0.0, 0.0, -0.05]
    rests = cleaning.find_rests(path)
    drift = cleaning.grasp_drift(hand.mean(axis=1) + slide, path, rests)
    np.testing.assert_allclose(drift[-1], [0.0, 0.0, -0.05], atol=1e-6)
    assert np.abs(drift[: rests.lift - cleaning.SMOOTHING_FRAMES]).max() == 0


def test_left_hand_is_told_from_right() -> None:
    hand = made_up_world()[1]
    assert cleaning.hand_side(hand) == "right"
    assert cleaning.hand_side(hand * [-1, 1, 1]) == "left"


def test_heading_splits_and_joins() -> None:
    rotation = Rotation.from_rotvec(np.random.default_rng(0).normal(size=(50, 3)) * 0.7).as_matrix()
    np.testing.assert_allclose(cleaning.join_heading(*cleaning.split_heading(rotation)), rotation, atol=1e-9)


# ---------------------------------------------------------------- bad folders


def test_unknown_importer_lists_the_names() -> None:
    with pytest.raises(OptionError, match=r"no importer 'nope'.*dexmv, interaction"):
        find_importer("nope")


def test_guess_of_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no known layout"):
        guess_importer(tmp_path)
    with pytest.raises(InputFileError, match="nothing at"):
        guess_importer(tmp_path / "none")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no folder"):
        load_dexmv(tmp_path / "none")


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        (
            "hand_pose/joints_*.npy",
            r"lacks hand_pose/joints_\{i\}\.npy; expected hand_pose/, object_pose/ and a mesh, found box",
        ),
        ("object_pose/*.npy", r"lacks object_pose/\{i\}\.npy"),
        ("box.stl", "lacks the object's mesh"),
        ("hand_pose/joints_17.npy", r"lacks frame 17 \(.*expected .* from 1 to 40"),
        ("object_pose/1*.npy", r"lacks frame 10 \("),
        ("object_pose/4*.npy", r"lacks frame 4 \("),
        ("object_pose/40.npy", ""),
    ],
)
def test_missing_files_are_named(recording: Path, remove: str, message: str) -> None:
    for path in recording.glob(remove):
        path.unlink()
    if not message:  # one frame less at the end, as in the published recording, is no error
        assert load_dexmv(recording).num_frames == FRAMES - 1
        return
    with pytest.raises(InputFileError, match=message):
        load_dexmv(recording)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "hand_pose/joints_3.npy",
            np.zeros((20, 3)),
            r"joints_3\.npy holds shape \(20, 3\).*expected numbers of shape \(21, 3\)",
        ),
        ("hand_pose/joints_3.npy", np.full((21, 3), np.nan), "not finite"),
        ("object_pose/3.npy", np.zeros((3, 4)), "holds a ndarray, expected a dict"),
        ("object_pose/3.npy", {"5": np.zeros((4, 4))}, r"shape \(4, 4\)"),
        ("object_pose/3.npy", {"5": np.zeros((3, 4))}, "no rotation"),
        ("object_pose/3.npy", {"5": "text"}, "holds a str"),
        ("object_pose/3.npy", {"5": np.eye(4)[:3], "6": np.eye(4)[:3]}, "choose one of them with object_key"),
    ],
)
def test_wrong_content_is_named(recording: Path, file: str, content: Any, message: str) -> None:
    np.save(recording / file, np.array(content, dtype=object) if isinstance(content, dict) else content, allow_pickle=True)
    with pytest.raises(InputFileError, match=message):
        load_dexmv(recording)


def test_truncated_files_are_named(recording: Path) -> None:
    mesh = recording / "box.stl"
    mesh.write_bytes(mesh.read_bytes()[:90])
    with pytest.raises(InputFileError, match="cannot read the mesh"):
        load_dexmv(recording)
    joints = recording / "hand_pose" / "joints_5.npy"
    joints.write_bytes(joints.read_bytes()[:-7])
    with pytest.raises(InputFileError, match=r"joints_5\.npy was refused"):
        load_dexmv(recording)


@pytest.mark.parametrize(
    "content", [b"", b"123", struct.pack("<4i", 3, 0, 0, 1) + bytes(10), struct.pack("<4i", -1, 0, 0, 1) + bytes(4)]
)
def test_damaged_msh(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.msh").write_bytes(content)
    with pytest.raises(InputFileError, match="cannot read the mesh"):
        load_mesh(tmp_path / "a.msh")


def test_object_that_stays(recording: Path) -> None:
    for t in range(2, FRAMES + 1):
        (recording / "object_pose" / f"{t}.npy").write_bytes((recording / "object_pose" / "1.npy").read_bytes())
    with pytest.raises(InputFileError, match="ends 0 mm from where it started"):
        load_dexmv(recording)


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match=r"expected \(4, 4\)"):
        DexmvConfig(T_objectcamera_handcamera=((1.0,),))
    with pytest.raises(OptionError, match="surface_points"):
        DexmvConfig(surface_points=0)


# ---------------------------------------------------------------- the real recording


@pytest.fixture(scope="module")
def mustard() -> tuple[Interaction, dict[str, float]]:
    return import_with_quality(MUSTARD)


@needs_mustard
def test_mustard_stands_on_the_table_at_both_ends(mustard: tuple[Interaction, dict[str, float]]) -> None:
    interaction, figures = mustard
    assert interaction.num_frames == 122
    assert figures["raw_tilt_start_deg"] < 3.0
    assert max(figures["tilt_start_deg"], figures["tilt_end_deg"]) < 3.0
    assert figures["table_residual_m"] < 0.003
    assert interaction.object_points_world[..., 2].min() > -0.002
    base = interaction.keypoints_world[:, interaction.keypoint_names.index("object_base")]
    np.testing.assert_allclose(base[0], 0.0, atol=0.005)
    np.testing.assert_allclose(base[-1], [0.0, 0.351, 0.0], atol=0.01)
    np.testing.assert_allclose(interaction.keypoints_world[0, interaction.keypoint_names.index("target")], base[-1])
    assert 0.10 < figures["lift_height_m"] < 0.16


@needs_mustard
def test_mustard_is_held_while_carried(mustard: tuple[Interaction, dict[str, float]]) -> None:
    interaction, figures = mustard
    assert interaction.hand_side == "right"
    assert figures["fingertip_distance_median_m"] < 0.015
    assert figures["fingertip_distance_max_m"] < 0.03
    frames = interaction.frame_index
    assert not interaction.contact[frames < 55].any()
    assert interaction.contact[(frames >= 72) & (frames <= 118)].all()
    # the hand's palm and its thumb and fingers are on different sides of the bottle's axis
    tips = interaction.hand_keypoints_world[:, [4, 12]] - interaction.object_pose_world[:, None, :3, 3]
    opposed = np.einsum("ti,ti->t", tips[:, 0, :2], tips[:, 1, :2])
    assert (opposed[(frames >= 77) & (frames <= 110)] < 0).mean() > 0.8


@needs_mustard
def test_mustard_stalls_and_jumps_are_noticed(mustard: tuple[Interaction, dict[str, float]]) -> None:
    interaction, _ = mustard
    flagged = set(interaction.frame_index[interaction.flagged])
    assert {101, 102, 103, 106, 109, 111} <= flagged  # read off the raw steps of the wrist
    assert not flagged & set(range(1, 81))
    assert (interaction.hand_confidence[interaction.flagged] < 1).all()


@needs_mustard
def test_mustard_bones_keep_their_length(mustard: tuple[Interaction, dict[str, float]]) -> None:
    """The chains wrist-thumb, wrist-index, ... have constant bones, so the joints stand in the project's order."""
    for interaction in (mustard[0], load_dexmv(MUSTARD, DexmvConfig(smooth=False))):
        parents, children = np.array(HAND_BONES).T
        keypoints = interaction.hand_keypoints_world
        lengths = np.linalg.norm(keypoints[:, children] - keypoints[:, parents], axis=2)
        assert lengths.std(axis=0).max() < 1e-3
        assert (lengths.mean(axis=0)[[4, 8, 12, 16]] > 0.075).all()  # wrist to the bases of the four fingers
        assert 0.03 < lengths.mean(axis=0)[0] < 0.05  # wrist to the thumb's base


@needs_mustard
def test_mustard_options(mustard: tuple[Interaction, dict[str, float]]) -> None:
    raw = dexmv_quality(MUSTARD, DexmvConfig(smooth=False, upright=False))
    assert raw["raw_tilt_end_deg"] == pytest.approx(raw["tilt_end_deg"])
    assert raw["tilt_end_deg"] > 10  # the tracker tilts the bottle that the hand covers: what `upright` mends
    free = dexmv_quality(MUSTARD, DexmvConfig(hold_grasp=False))
    assert free["fingertip_distance_max_m"] > mustard[1]["fingertip_distance_max_m"]
    assert free["grasp_drift_max_m"] > 0.03
    assert load_dexmv(MUSTARD, DexmvConfig(fps=20.0, surface_points=32)).object_points_world.shape == (122, 32, 3)


@needs_mustard
def test_the_transform_between_the_cameras_is_recovered() -> None:
    given = read_recording(MUSTARD, DexmvConfig())
    found = read_recording(MUSTARD, DexmvConfig(T_objectcamera_handcamera=None))
    turn = Rotation.from_matrix(found.pose[:, :3, :3] @ given.pose[:, :3, :3].swapaxes(1, 2)).magnitude()
    assert np.degrees(turn).max() < 10.0
