"""Layouts that hold a whole interaction, or give one when joined: HOLD, SPIDER, MCC-HO and `combined`; and the list of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from benchmarks.foreign_layouts import hold_content, spider_content, truth, write_hold, write_mano, write_points
from demos.camera import transform
from demos.importers import guess_importer
from demos.importers.hold import HoldConfig, load_hold, read_hold_object, split_projection
from demos.importers.mcc_ho import read_mcc_ho
from demos.importers.spider import SpiderConfig, load_spider, read_spider_robot
from demos.interaction import FINGERTIPS, Interaction
from demos.source import load_interaction
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import sha256_of_files

T = 35

# ---------------------------------------------------------------- HOLD


def test_hold(tmp_path: Path) -> None:
    mano = write_mano(tmp_path / "mano_right.npz")
    content = hold_content()
    write_hold(tmp_path / "data.npy", content)
    target = read_hold_object(tmp_path)
    np.testing.assert_allclose(target.points_camera, truth().points, atol=1e-6)
    np.testing.assert_allclose(target.points_image, truth().pixels, atol=0.01)
    np.testing.assert_allclose(target.pose_camera[:, :3, :3], truth().pose[:, :3, :3], atol=1e-6)
    # the hand's parameters give MANO's key points in HOLD's world; the camera is turned by 180 degrees about x and shifted
    right = content["entities"]["right"]
    keypoints = mano.keypoints_of_pose(right["hand_poses"].astype(np.float64), right["mean_shape"])
    expected = (keypoints + right["hand_trans"][:, None] - content["normalize_shift"]) * [1, -1, -1]
    interaction = load_hold(tmp_path, HoldConfig(fps=20.0, object_name="bottle", camera_pitch_deg=25.0))
    assert interaction.object_names == ("bottle",)
    np.testing.assert_allclose(interaction.K, truth().K, atol=1e-3)
    back = transform(np.linalg.inv(interaction.T_world_camera), interaction.object_points_world)
    np.testing.assert_allclose(back, truth().points, atol=1e-6)
    back = transform(np.linalg.inv(interaction.T_world_camera), interaction.hand_keypoints_world)
    np.testing.assert_allclose(back, expected, atol=1e-6)
    assert guess_importer(tmp_path) == "hold"
    assert load_interaction(tmp_path).num_frames == T


def test_hold_camera_of_a_projection_up_to_its_sign() -> None:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0.4, 2.0, -1.0]).as_matrix()
    pose[:3, 3] = [0.1, 0.2, 1.3]
    K = np.eye(4)
    K[:3, :3] = truth().K
    for factor in (1.0, -1.0):
        read_K, read_pose = split_projection(factor * (K @ pose), "P", Path("data.npy"))
        np.testing.assert_allclose(read_K, truth().K, atol=1e-9)
        np.testing.assert_allclose(read_pose, pose, atol=1e-12)


def without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without(hold_content(), "cameras", "world_mat_7"), "cameras lack world_mat_7"),
        (without(hold_content(), "entities", "right"), "entities lack a hand; found object"),
        (without(hold_content(), "entities", "object", "pts.cano"), r"entities\['object'\] lacks pts\.cano"),
        (without(hold_content(), "entities", "right", "hand_trans"), r"entities\['right'\] lacks hand_trans"),
        (without(hold_content(), "entities"), "lacks entities"),
        (hold_content(cameras=[1]), "expected to be dicts"),
    ],
)
def test_hold_errors(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    write_mano(tmp_path / "mano_right.npz")
    write_hold(tmp_path / "data.npy", content)
    with pytest.raises(InputFileError, match=message):
        load_hold(tmp_path)


def test_hold_without_mano_says_where_to_get_it(tmp_path: Path) -> None:
    write_hold(tmp_path / "data.npy", hold_content())
    with pytest.raises(InputFileError, match=r"no file .*mano_right\.npz: HOLD stores the hand as parameters of MANO"):
        load_hold(tmp_path)
    assert np.isfinite(read_hold_object(tmp_path, max_points=5).points_camera).all()


# ---------------------------------------------------------------- SPIDER


def check_spider(read: Interaction, sample: Interaction) -> None:
    used = [0, *FINGERTIPS]
    np.testing.assert_allclose(read.hand_keypoints_world[:, used], sample.hand_keypoints_world[:, used], atol=1e-12)
    np.testing.assert_allclose(read.object_pose_world, sample.object_pose_world, atol=1e-9)
    assert np.isfinite(read.hand_keypoints_world).all()
    assert read.hand_side == "right"


def test_spider_before_ik(tmp_path: Path) -> None:
    content, sample = spider_content()
    np.savez(tmp_path / "trajectory_keypoints.npz", **content)
    read = load_spider(tmp_path)
    check_spider(read, sample)
    np.testing.assert_array_equal(read.contact, sample.contact)
    assert read.fps == 50.0
    assert guess_importer(tmp_path) == guess_importer(tmp_path / "trajectory_keypoints.npz") == "spider"
    trimesh.creation.box((0.05, 0.05, 0.2)).export(tmp_path / "visual.obj")
    meshed = load_spider(tmp_path, SpiderConfig(fps=20.0, surface_points=64))
    assert meshed.object_points_world.shape == (sample.num_frames, 64, 3)
    assert meshed.fps == 20.0


def test_spider_names_may_vary(tmp_path: Path) -> None:
    content, sample = spider_content()
    renamed = {
        "wrist_qpos_right": content["qpos_wrist_right"],
        "right_fingertips_pos": content["qpos_finger_right"][..., :3],
        "object_qpos": content["qpos_obj_right"],
        "frequency": np.array(20.0),
    }
    np.savez(tmp_path / "trajectory_kinematic.npz", **renamed)
    read = load_spider(tmp_path / "trajectory_kinematic.npz")
    check_spider(read, sample)
    assert read.fps == 20.0
    left = {name.replace("right", "left"): value for name, value in renamed.items()}
    np.savez(tmp_path / "trajectory_kinematic.npz", **left)
    assert load_spider(tmp_path).hand_side == "left"


def test_spider_after_ik_is_a_robot(tmp_path: Path) -> None:
    content, sample = spider_content()
    frames = sample.num_frames
    qpos = np.concatenate([np.zeros((frames, 22)), content["qpos_obj_right"]], axis=1)
    np.savez(
        tmp_path / "trajectory_kinematic.npz",
        qpos=qpos,
        qvel=np.zeros((frames, 28)),
        contact=np.zeros((frames, 5)),
        frequency=50,
    )
    with pytest.raises(InputFileError, match=r"robot hand after IK.*trajectory_keypoints\.npz"):
        load_spider(tmp_path)
    read = read_spider_robot(tmp_path)
    np.testing.assert_allclose(read.object_pose_world, sample.object_pose_world, atol=1e-9)
    assert read.qpos.shape == (frames, 29)
    assert read.fps == 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qpos_finger_right": None, "qpos_finger_left": None}, "lacks qpos_finger_right.*found qpos_wrist_right"),
        ({"qpos_obj_right": None, "qpos_obj_left": None}, "lacks qpos_obj"),
        ({"qpos_obj_right": np.ones((140, 7))}, "quaternion of length 2 in frame 0, expected 1"),
        ({"qpos_wrist_right": np.ones((140, 6))}, r"shape \(140, 6\), expected \(any, 7\)"),
        ({"qpos_finger_right": np.ones((140, 4, 7))}, r"shape \(140, 4, 7\), expected \(140, 5, 7\)"),
    ],
)
def test_spider_errors(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = {name: value for name, value in (spider_content()[0] | change).items() if value is not None}
    np.savez(tmp_path / "trajectory_keypoints.npz", **content)
    with pytest.raises(InputFileError, match=message):
        load_spider(tmp_path, SpiderConfig(side="right"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFileError, match="holds no trajectory_keypoints"):
        load_spider(tmp_path / "empty")


# ---------------------------------------------------------------- MCC-HO


@pytest.mark.parametrize("demo", [False, True], ids=["flat", "one folder a frame"])
def test_mcc_ho(tmp_path: Path, demo: bool) -> None:
    """Trap 5: PyTorch3D's frame is x-left, y-up, z-forward."""
    for t in (3, 4, 11):
        prefix = tmp_path / f"frame{t}" / "output" if demo else tmp_path / f"clip2_frame{t:06d}"
        points = truth().points[t][: 50 + t] * [-1, -1, 1]
        write_points(Path(f"{prefix}_0.1_obj.obj"), points)
        write_points(Path(f"{prefix}_0.1_hand.obj"), points[:9])
        write_points(Path(f"{prefix}_0.1.obj"), points)
    sets = read_mcc_ho(tmp_path)
    assert len(sets.points_camera) == 9
    for row, t in ((0, 3), (1, 4), (8, 11)):
        np.testing.assert_allclose(sets.points_camera[row], truth().points[t][: 50 + t], atol=1e-6)
    assert len(sets.points_camera[4]) == 0
    assert len(read_mcc_ho(tmp_path, "hand").points_camera[0]) == 9
    whole = read_mcc_ho(tmp_path, first_frame=0, num_frames=20)
    assert len(whole.points_camera) == 20
    np.testing.assert_allclose(whole.points_camera[11], truth().points[11][:61], atol=1e-6)


def test_mcc_ho_errors(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"holds no \{prefix\}_0\.1_obj\.obj"):
        read_mcc_ho(tmp_path)
    write_points(tmp_path / "a1_0.1_obj.obj", np.ones((3, 3)))
    write_points(tmp_path / "b1_0.1_obj.obj", np.ones((3, 3)))
    with pytest.raises(InputFileError, match="two files of one frame"):
        read_mcc_ho(tmp_path)
    (tmp_path / "b1_0.1_obj.obj").rename(tmp_path / "a2_0.1_obj.obj")
    (tmp_path / "a2_0.1_obj.obj").write_text("v 1 2\n")
    with pytest.raises(InputFileError, match="not three numbers"):
        read_mcc_ho(tmp_path)
    with pytest.raises(OptionError, match="unknown part 'face'"):
        read_mcc_ho(tmp_path, "face")


def test_synthetic_truth(tmp_path: Path) -> None:
    clip = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips" / "training-00001-place"
    assert guess_importer(clip) == "synthetic-truth"
    interaction = load_interaction(clip)
    exact = ClipTruth.load(clip / "truth.npz")
    np.testing.assert_array_equal(interaction.hand_keypoints_world, exact.hand_keypoints_world)
    np.testing.assert_array_equal(interaction.object_pose_world, exact.object_pose_world[0])
    assert interaction.source_sha256 == sha256_of_files([clip / "video.mp4"])
    (tmp_path / "clip.json").write_text("{}")
    (tmp_path / "truth.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputFileError, match=r"no video\.mp4 .*dexvid synthesize"):
        load_interaction(tmp_path)
    (tmp_path / "video.mp4").write_bytes(b"film")
    with pytest.raises(InputFileError, match="cannot be read as the truth of a synthetic clip"):
        load_interaction(tmp_path)
