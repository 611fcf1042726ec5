"""The extraction: geometry against known answers, the whole command on cuts of real videos, messages for bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from demos.camera import fit_rigid, intrinsics_from_fov, project, transform, unproject
from demos.extract.gravity import up_from
from demos.extract.hand.follow import DETECTED, LOST, RawHand
from demos.extract.hand.pose import bone_lengths, find_stalls, lift_hand
from demos.extract.objects.comoving import ArmColours, find_comoving, seed_of_points
from demos.extract.objects.contact import find_contact_px
from demos.extract.objects.masks import seed_from_click
from demos.extract.objects.scene import observe_scene
from demos.extract.objects.tracks import follow_object
from demos.extract.task_points.task_points import HAND_POINTS, OBJECT_CENTROID
from demos.interaction import HAND_BONES, Interaction
from demos.runs import longest_run, runs
from demos.video import FrameCache, probe_video, read_frames, video_writer
from dexvid_envs.cli import main
from dexvid_envs.errors import OptionError
from robots.human_hand import JOINT_NAMES, HandDimensions, HumanHand

SHARED = Path(os.environ.get("DEXVID_SHARED", Path(__file__).parents[2] / "shared")) / "data"
K = intrinsics_from_fov(640, 360, 60.0)


def open_hand() -> np.ndarray:
    """A flat open hand (21, 3) m as a camera sees it from above: wrist at the origin, fingers up in the picture."""
    hand = np.zeros((21, 3))
    for finger, (angle, length) in enumerate(zip((-50, -15, 0, 15, 30), (0.04, 0.090, 0.092, 0.088, 0.082), strict=True)):
        direction = np.array([np.sin(np.radians(angle)), -np.cos(np.radians(angle)), 0.0])
        for part in range(4):
            reach = length + 0.028 * part
            hand[1 + 4 * finger + part] = direction * reach + [0.0, 0.0, -0.004 * part**2]
    return hand


# geometry


def test_unproject_inverts_project() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.5, -0.3, 0.4], [0.5, 0.3, 2.0], size=(7, 5, 3))
    np.testing.assert_allclose(unproject(project(points, K), points[..., 2], K), points, atol=1e-12)


def test_field_of_view_spans_the_longer_side() -> None:
    edge = unproject(np.array([[-0.5, 179.5], [639.5, 179.5]]), np.ones(2), K)
    cosine = edge[0] @ edge[1] / np.linalg.norm(edge[0]) / np.linalg.norm(edge[1])
    assert np.degrees(np.arccos(cosine)) == pytest.approx(60.0, abs=1e-6)
    with pytest.raises(OptionError, match="expected 10 to 150"):
        intrinsics_from_fov(640, 360, 500.0)


def test_rigid_fit_ignores_outliers() -> None:
    rng = np.random.default_rng(2)
    source = rng.normal(scale=0.1, size=(30, 3))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec([0.3, -0.8, 0.2]).as_matrix(), [0.1, 0.2, 0.9]
    target = transform(pose, source)
    target[:4] += 0.2
    fitted, residual = fit_rigid(source, target, iterations=20)
    np.testing.assert_allclose(fitted, pose, atol=1e-3)
    assert residual < 0.02


def test_up_is_up_in_the_picture_and_towards_a_camera_that_looks_down() -> None:
    up = up_from(np.radians(30.0), 0.0)
    np.testing.assert_allclose(up, [0.0, -np.cos(np.pi / 6), -0.5])  # against the view: it looks down
    rolled = up_from(np.radians(30.0), np.radians(10.0))
    assert rolled[0] > 0.1
    assert np.linalg.norm(rolled) == pytest.approx(1.0)


# the hand


def bent_hand() -> np.ndarray:
    """A right hand (21, 3) m of usual proportions seen from its back: wrist at the origin, fingers up in the picture."""
    hand, T_camera_hand = HumanHand(HandDimensions()), np.eye(4)
    T_camera_hand[:3, :3] = [[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]
    hand.pose(T_camera_hand, np.where([name.endswith("flexion") for name in JOINT_NAMES], 0.3, 0.0))
    return hand.keypoints_world().copy()


def moving_hand(frames: int = 60) -> tuple[np.ndarray, RawHand]:
    """True key points (T, 21, 3) in the camera frame, and what a detector with drifting scale reports of them."""
    time = np.linspace(0.0, 1.0, frames)
    shift = np.stack([-0.15 + 0.3 * time, 0.05 * np.sin(4 * time), 0.7 + 0.1 * time], axis=-1)
    true = bent_hand() + shift[:, None]
    shape = bent_hand() * (0.7 + 0.5 * time)[:, None, None]
    ones = np.ones(frames)
    return true, RawHand(project(true, K), shape, 0.9 * ones, np.full(frames, DETECTED), "right", 1.0)


def test_lifted_hand_is_metric_and_keeps_its_bones() -> None:
    true, raw = moving_hand()
    track, figures = lift_hand(raw, K, 30.0, 0.092)
    assert np.linalg.norm(track.keypoints_camera - true, axis=-1).mean() < 0.012
    parents, children = np.array(HAND_BONES).T
    lengths = np.linalg.norm(track.keypoints_camera[:, children] - track.keypoints_camera[:, parents], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-9)
    assert lengths[0, HAND_BONES.index((0, 9))] == pytest.approx(0.092)
    assert figures.bone_spread > 0.1  # the detector's own lengths did drift
    assert np.nanmedian(figures.reprojection_px) < 1.5
    assert not track.flagged.any()


def test_bone_lengths_follow_the_hand_length() -> None:
    lengths, spread = bone_lengths(np.tile(open_hand(), (5, 1, 1)), np.ones(5), 0.1)
    assert lengths[HAND_BONES.index((0, 9))] == pytest.approx(0.1)
    assert spread == pytest.approx(0.0, abs=1e-12)


def test_lost_frames_are_interpolated_and_flagged() -> None:
    _, raw = moving_hand()
    raw.image[20:30], raw.shape[20:30], raw.confidence[20:30], raw.origin[20:30] = np.nan, np.nan, 0.0, LOST
    track, _ = lift_hand(raw, K, 30.0, 0.092)
    assert np.isfinite(track.keypoints_camera).all()
    np.testing.assert_array_equal(track.confidence[20:30], 0.0)
    np.testing.assert_array_equal(np.flatnonzero(track.flagged), np.arange(20, 30))


def test_jumps_and_stalls_are_flagged() -> None:
    _, raw = moving_hand()
    raw.image[40:] += [60.0, 0.0]
    raw.image[10:22] = raw.image[10]
    track, figures = lift_hand(raw, K, 30.0, 0.092)
    assert figures.jumps[40]
    assert figures.stalls[10:22].all()
    assert track.flagged[[12, 40]].all()
    trembling = np.random.default_rng(0).normal(scale=0.1, size=(30, 21, 2))
    assert not find_stalls(trembling, 30.0).any()


# the object


@pytest.fixture(scope="module")
def pushed_patch() -> tuple[FrameCache, np.ndarray, np.ndarray]:
    """A textured patch that a (not drawn) hand comes to, pushes and leaves; hand (T, 21, 2) px, patch middle (T, 2) px."""
    cv2 = pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')
    rng = np.random.default_rng(3)
    background = cv2.GaussianBlur(rng.integers(90, 150, (240, 320, 3), dtype=np.uint8), (0, 0), 1.5)
    patch = cv2.GaussianBlur(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8), (0, 0), 1.0)
    shift = np.interp(np.arange(75), [25, 50], [0.0, 100.0])  # px
    come = np.interp(np.arange(75), [0, 25, 50, 75], [-70.0, 0.0, 100.0, 30.0])
    hand = (project(open_hand() + np.array([0, 0, 1.0]), K)[None] - project(np.array([0.0, 0, 1.0]), K)) * 0.6
    hand = (
        hand @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + [58.0, 130.0] + np.stack([come, 0 * come], axis=-1)[:, None]
    )  # points right
    cache = FrameCache()
    for x in shift:
        picture = background.copy()
        left = 120 + round(float(x))
        picture[100:160, left : left + 60] = patch
        cache.append(picture)
    return cache, hand, np.stack([150.0 + np.round(shift), np.full(75, 130.0)], axis=-1)


def test_object_is_found_followed_and_in_contact(pushed_patch: tuple) -> None:
    cache, hand, middle = pushed_patch
    moving = find_comoving(cache, hand, np.ones(75, bool), 25.0)
    assert moving is not None
    assert (np.abs(moving.last - middle[moving.end]) < 30 + 17 // 2 + 1).all()  # on the patch, within a flow window
    scene = observe_scene(cache, hand)
    seed = seed_of_points(cache, moving, hand, scene, ArmColours.of_clip(cache, hand, scene))
    assert seed.mask is not None
    rows, columns = np.nonzero(seed.mask)
    assert np.abs(np.array([columns.mean(), rows.mean()]) - middle[seed.frame]).max() < 4
    tracks = follow_object(cache, seed, hand, 25.0, 200, lambda: None)
    seen = np.isfinite(tracks.pixels[..., 0])
    assert (seen.sum(axis=1) >= 4).mean() > 0.95
    place = tracks.pixels - middle[:, None]  # on the patch: constant for each point
    assert np.nanmax(np.nanstd(place[:, seen.sum(axis=0) > 10], axis=0)) < 1.0
    contact = find_contact_px(hand, tracks.pixels, tracks.outline, 25.0)
    assert contact[30:46].all()
    assert not contact[:15].any()
    assert not contact[62:].any()


def test_click_grows_to_the_object(pushed_patch: tuple) -> None:
    _, hand, middle = pushed_patch
    flat = np.full((240, 320, 3), 120, np.uint8)
    flat[100:160, 120:180] = (200, 40, 40)
    seed = seed_from_click(flat, middle[0], hand[0], 0)
    low, high = seed.polygon.min(axis=0), seed.polygon.max(axis=0)
    assert np.abs(np.concatenate([low, high]) - [120, 100, 179, 159]).max() < 8


def test_runs() -> None:
    assert runs(np.array([1, 1, 0, 0, 1], bool)) == [(0, 2), (4, 5)]
    assert longest_run(np.array([1, 1, 0, 1, 1, 0, 1], bool)) == (0, 2)
    assert longest_run(np.zeros(3, bool)) == (0, 0)


# the command on real videos


def cut(name: str, folder: Path, frames: slice, every: int) -> Path:
    """A shorter copy of a shared video."""
    source = SHARED / "real_videos" / name
    if not source.is_file():
        pytest.skip(f"needs the shared recordings, {name} (set DEXVID_SHARED to the folder that holds data/)")
    pytest.importorskip("mediapipe", reason='needs mediapipe: pip install "dexvid-envs[video]"')
    info = probe_video(source)
    path = folder / name
    with video_writer(path, (info.width, info.height), info.fps / every, quality=8) as writer:
        for frame in read_frames(info):
            if frame.index in range(frames.start, frames.stop, every):
                writer.send(frame.rgb)
    return path


def test_command_on_a_handled_object(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    video = cut("vid_wc_pour.mp4", tmp_path, slice(30, 200), 3)
    assert main(["extract", str(video), "--out", str(tmp_path / "out"), "--object-name", "pitcher"]) == 0
    assert "Traceback" not in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "interaction.npz",
        "overlay.mp4",
        "quality.json",
        "report.html",
        "tracks.npz",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "vid_wc_pour.mp4"]  # nothing temporary stays
    interaction = Interaction.load(tmp_path / "out" / "interaction.npz")
    quality = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert (interaction.fps, interaction.hand_side, interaction.object_names) == (20.0, "right", ("pitcher",))
    assert {*HAND_POINTS, OBJECT_CENTROID} <= set(interaction.keypoint_names)
    assert np.isfinite(interaction.hand_keypoints_world).all()
    assert quality["hand"]["found_fraction"] > 0.95
    assert quality["object"]["found"]
    assert quality["object"]["tracked_fraction"] > 0.8
    assert interaction.contact[-20:].all()  # it is held at the end of the cut
    assert not interaction.contact[:15].any()
    assert quality["result"]["object_travel_m"] > 0.05
    assert quality["config"]["object_name"] == "pitcher"
    assert probe_video(tmp_path / "out" / "overlay.mp4").num_frames == pytest.approx(57, abs=2)
    report = (tmp_path / "out" / "report.html").read_text()
    assert "data:video/mp4;base64," in report
    for outside in ('src="http', "<link", "<script", "url(http", "@import"):
        assert outside not in report  # it loads nothing


def test_command_on_an_empty_hand(tmp_path: Path) -> None:
    video = cut("human_hand_video.mp4", tmp_path, slice(0, 120), 6)
    assert main(["extract", str(video), "--out", str(tmp_path / "out")]) == 0
    interaction = Interaction.load(tmp_path / "out" / "interaction.npz")
    quality = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert interaction.hand_side == "right"
    assert interaction.object_points_world.shape[1] == 0
    assert interaction.object_names == ()
    assert not interaction.contact.any()
    assert quality["object"]["object"] == "not found"
    assert any("No object" in text for text in quality["warnings"])
