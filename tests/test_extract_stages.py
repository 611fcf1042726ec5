"""The rooms between the stages of the extraction: stored results, camera motion, gravity, recordings, resampling."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.extract.config import ExtractConfig, NamedPlace
from demos.extract.gravity import gravity_from_depth, gravity_from_motion, up_from
from demos.extract.objects.object_masks import CARRIED, LOST, SEEN, ObjectMasks
from demos.extract.stage_store import StageStore
from demos.interaction import Interaction, ObjectTrack, SceneObject
from demos.parts import DepthFrames
from demos.recording import open_recording, read_camera_pose
from demos.resample import resample
from demos.synthetic.truth import ClipTruth
from demos.video import FrameCache, video_writer
from dexvid_envs.errors import DexVidError, InputFileError, OptionError

CLIPS = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"


@pytest.fixture(scope="module")
def truth() -> ClipTruth:
    return ClipTruth.load(CLIPS / "training-00001-place" / "truth.npz")


def true_object(truth: ClipTruth) -> ObjectTrack:
    """The handled object as an extraction without error would give it."""
    T_camera_world = np.linalg.inv(truth.T_world_camera)
    points = truth.object_points_world[0].astype(float) @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
    visible = truth.object_visible[0]
    points = np.where(visible[..., None], points, np.nan)
    pose = T_camera_world @ truth.object_pose_world[0]
    return ObjectTrack(points, np.full((*visible.shape, 2), np.nan), visible, pose, np.zeros(len(pose)))


# stored results


@dataclasses.dataclass(frozen=True)
class Inner:
    flags: np.ndarray
    masks: ObjectMasks | None


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    share: float
    inner: Inner
    outline: list[np.ndarray]
    cuts: tuple[int, ...]
    nothing: Inner | None


def outer() -> Outer:
    masks = ObjectMasks((5, 7), 3)
    masks.put(1, np.arange(35).reshape(5, 7) % 3 == 0, SEEN)
    masks.put(2, np.ones((5, 7), bool), CARRIED)
    return Outer("pour", 0.25, Inner(np.array([True, False]), masks), [np.zeros((0, 2)), np.eye(2)], (3, 9), None)


def test_a_stage_runs_once_for_the_same_inputs_and_again_for_others(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> Outer:
        calls.append(1)
        return outer()

    first = StageStore(tmp_path).run("stage", Outer, {"option": 1}, make)
    again = StageStore(tmp_path).run("stage", Outer, {"option": 1}, make)
    assert len(calls) == 1
    assert (again.name, again.share, again.cuts, again.nothing) == ("pour", 0.25, (3, 9), None)
    np.testing.assert_array_equal(again.inner.flags, first.inner.flags)
    np.testing.assert_array_equal(again.outline[1], np.eye(2))
    assert again.outline[0].shape == (0, 2)
    assert again.inner.masks is not None
    assert first.inner.masks is not None
    assert again.inner.masks.origin.tolist() == [LOST, SEEN, CARRIED]
    for frame in range(3):
        np.testing.assert_array_equal(again.inner.masks[frame], first.inner.masks[frame])
    StageStore(tmp_path).run("stage", Outer, {"option": 2}, make)
    assert len(calls) == 2
    assert len(list(tmp_path.iterdir())) == 1  # what is out of date goes


def test_a_stage_depends_on_the_options_of_those_before_it(tmp_path: Path) -> None:
    keys = []
    for option in (1, 2):
        store = StageStore(tmp_path)
        store.key("first", {"option": option})
        keys.append(store.key("second", {"after": ("first",)}))
    assert keys[0] != keys[1]


def test_a_damaged_result_is_made_again(tmp_path: Path) -> None:
    StageStore(tmp_path).run("stage", Outer, {}, outer)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:200])
    calls: list[int] = []
    StageStore(tmp_path).run("stage", Outer, {}, lambda: (calls.append(1), outer())[1])
    assert calls


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_masks_come_back_as_they_were(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    masks = ObjectMasks((height, width), 2)
    masks.put(1, mask, SEEN)
    back = ObjectMasks.from_arrays(masks.to_arrays())
    np.testing.assert_array_equal(back[1], mask)
    assert not back[0].any()
    with pytest.raises(ValueError, match="expected"):
        masks.put(0, np.zeros((height + 1, width), bool), SEEN)


def test_kept_pictures_can_be_read_again(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')
    cache = FrameCache(tmp_path / "pictures.bin")
    for level in (10, 200):
        cache.append(np.full((8, 12, 3), level, np.uint8))
    spans = cache.spans
    cache.close()
    again = FrameCache(tmp_path / "pictures.bin", spans)
    assert [int(again.gray(number).mean()) for number in (1, 0)] == [200, 10]
    again.close()


# the camera


def textured(shift_px: float, rng_seed: int = 0) -> np.ndarray:
    cv2 = pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')
    rng = np.random.default_rng(rng_seed)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (180, 240), dtype=np.uint8), (0, 0), 2.0)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    return cv2.warpAffine(picture, np.array([[1, 0, shift_px], [0, 1, 0.0]]), (240, 180), borderMode=cv2.BORDER_REFLECT)


def watch_pictures(pictures: list[np.ndarray]):
    from demos.extract.camera_motion import CameraWatch

    camera = CameraWatch(fps=5.0)
    for picture in pictures:
        camera.update(picture)
    return camera.result()


def test_a_moving_camera_is_told_from_a_moving_thing() -> None:
    moved = watch_pictures([textured(1.5 * number) for number in range(12)])
    assert moved.largest_shift == pytest.approx(16.5 / 300.0, rel=0.05)
    assert moved.moved_frames(0.012)[0] == 3  # 3.0 px of 300 are not more than 1.2 %, 4.5 px are
    pictures = []
    for number in range(12):  # a large textured thing passes
        picture = textured(0.0)
        picture[20:160, 5 + 8 * number : 105 + 8 * number] = textured(0.0, 1)[20:160, :100]
        pictures.append(picture)
    assert watch_pictures(pictures).largest_shift == 0.0


def test_a_cut_and_a_blank_background_are_known_as_such() -> None:
    cut = watch_pictures([textured(0.0)] * 4 + [textured(0.0, 7)] * 4)
    assert cut.cuts == (4,)
    blank = watch_pictures([np.full((180, 240), 128, np.uint8)] * 4)
    assert np.isnan(blank.largest_shift)
    assert blank.moved_frames(0.01) == []


# gravity


def test_up_from_depth_is_the_tables_normal(truth: ClipTruth) -> None:
    height, width = truth.depth_background.shape
    depth = DepthFrames(truth.num_frames, lambda frame: truth.depth_m(frame).astype(float))
    gravity = gravity_from_depth(depth, truth.K, (width, height), 35.0)
    assert gravity is not None
    true_up = truth.T_world_camera[2, :3]
    assert np.degrees(np.arccos(min(1.0, gravity.up_camera @ true_up))) < 1.0
    on_table = truth.T_world_camera[:3, :3] @ gravity.table_point_camera + truth.T_world_camera[:3, 3]
    assert abs(on_table[2]) < 0.005


def test_up_from_a_lifted_and_replaced_object_beats_the_assumption(truth: ClipTruth) -> None:
    true_up = truth.T_world_camera[2, :3]

    def off_deg(pitch_deg: float, contact: np.ndarray) -> float:
        gravity = gravity_from_motion(true_object(truth), contact, truth.fps, pitch_deg)
        return float(np.degrees(np.arccos(min(1.0, gravity.up_camera @ true_up))))

    true_pitch = float(np.degrees(np.arcsin(-truth.T_world_camera[2, 2])))
    wrong = true_pitch - 15.0
    assert off_deg(wrong, np.zeros_like(truth.contact)) == pytest.approx(15.0, abs=3.0)
    assert off_deg(wrong, truth.contact) < 8.0


@settings(max_examples=50, deadline=None)
@given(st.floats(-1.5, 1.5), st.floats(-3.0, 3.0))
def test_up_is_a_unit_vector(pitch: float, roll: float) -> None:
    assert np.linalg.norm(up_from(pitch, roll)) == pytest.approx(1.0)


# recordings


def test_a_folder_of_an_rgbd_camera_is_a_recording(tmp_path: Path) -> None:
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    for number in range(6):
        imageio.imwrite(tmp_path / "rgb" / f"{number}.png", np.full((48, 64, 3), 40 * number, np.uint8))
        imageio.imwrite(tmp_path / "depth" / f"{number}.png", np.full((24, 32), 500 + number, np.uint16))
    (tmp_path / "cam_K.txt").write_text("60 0 31.5 0 60 23.5 0 0 1")
    recording = open_recording(tmp_path, fps_limit=15.0, fov_deg=60.0, picture_fps=30.0)
    assert (recording.stride, recording.fps, recording.calibrated) == (2, 15.0, True)
    assert [(frame.index, int(frame.rgb.mean())) for frame in recording.frames()] == [(0, 0), (2, 80), (4, 160)]
    assert recording.depth is not None
    assert recording.depth.count == 3
    assert recording.depth.read_m(1)[0, 0] == pytest.approx(0.502)


def short_video(path: Path) -> Path:
    with video_writer(path, (64, 48), 20.0) as writer:
        for number in range(10):
            writer.send(np.full((48, 64, 3), 20 * number, np.uint8))
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("600 0 320 0 600 240 0 0 1", "does not fit pictures of 64x48"),
        ("60 0 nan 0 60 24 0 0 1", "camera matrix"),
        ("1 2 3", "holds 3 numbers"),
        ("a b c", "something else than numbers"),
    ],
)
def test_a_wrong_camera_matrix_is_refused(tmp_path: Path, text: str, message: str) -> None:
    video, matrix = short_video(tmp_path / "v.mp4"), tmp_path / "K.txt"
    matrix.write_text(text)
    with pytest.raises(InputFileError, match=message):
        open_recording(video, fps_limit=30.0, fov_deg=60.0, picture_fps=30.0, camera_matrix=matrix)


def test_depth_of_another_length_is_refused(tmp_path: Path) -> None:
    video, depth = short_video(tmp_path / "v.mp4"), tmp_path / "depth"
    depth.mkdir()
    imageio.imwrite(depth / "0.png", np.full((48, 64), 500, np.uint16))
    with pytest.raises(InputFileError, match="1 depth pictures and v"):
        open_recording(video, fps_limit=30.0, fov_deg=60.0, picture_fps=30.0, depth=depth)


def test_only_a_pose_is_a_camera_pose(tmp_path: Path) -> None:
    path = tmp_path / "pose.txt"
    path.write_text(" ".join(str(value) for value in np.eye(4).ravel()))
    np.testing.assert_array_equal(read_camera_pose(path), np.eye(4))
    for pose in (np.diag([1.0, 1.0, -1.0, 1.0]), 2.0 * np.eye(4), np.full((4, 4), np.nan)):
        path.write_text(" ".join(str(value) for value in pose.ravel()))
        with pytest.raises(InputFileError, match="is no camera pose"):
            read_camera_pose(path)
    with pytest.raises(InputFileError, match=r"no file .*expected the camera pose"):
        read_camera_pose(tmp_path / "missing.txt")


# options


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"also": ("mug",)}, "expected NAME=X,Y"),
        ({"also": ("mug=1,2,3",)}, "expected NAME=X,Y"),
        ({"also": ("mug=nan,2",)}, "expected NAME=X,Y"),
        ({"also": ("object=1,2",)}, "the same name"),
        ({"mask_id": 3}, "there are no masks"),
        ({"keypoints": "vlm"}, "--vlm-url"),
        ({"tracks": "tapir"}, "--weights"),
        ({"object_name": "../x"}, "--object-name"),
        ({"object_length_m": 40.0}, "--object-length-m is 40.0"),
        ({"rigid": "maybe"}, "auto, yes, no"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_cannot_be_meant_are_refused(change: dict, message: str) -> None:
    config = ExtractConfig(Path("v.mp4"), Path("out"), **change)
    with pytest.raises(OptionError, match=message):
        config.validate()


def test_further_objects_are_named_by_pixel_box_or_mask() -> None:
    config = ExtractConfig(Path("v.mp4"), Path("out"), also=("mug=4,5", "drawer=1,2,3,4", "rack=#7"))
    config.validate()
    mug, drawer, rack = config.further_objects()
    assert (mug.name, mug.pixel, drawer.box, rack.mask_id) == ("mug", (4.0, 5.0), (1.0, 2.0, 3.0, 4.0), 7)


# interactions


def small_interaction(frames: int = 9) -> Interaction:
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 0, 3] = np.arange(frames)
    points = np.zeros((frames, 3, 3)) + np.arange(frames)[:, None, None]
    seen = np.ones((frames, 3), bool)
    return Interaction(
        fps=10.0,
        hand_keypoints_world=np.zeros((frames, 21, 3)) + np.arange(frames)[:, None, None],
        hand_confidence=np.ones(frames),
        hand_side="left",
        object_names=("pitcher", "mug"),
        object_points_world=points,
        object_visible=seen,
        object_pose_world=poses,
        keypoints_world=points[:, :1],
        keypoint_visible=seen[:, :1],
        keypoint_names=("object_centroid",),
        contact=np.arange(frames) > 3,
        flagged=np.arange(frames) == 2,
        frame_index=3 * np.arange(frames),
        K=np.eye(3),
        T_world_camera=np.eye(4),
        source_sha256="",
        further_objects={"mug": SceneObject(points + 1.0, seen, poses)},
    )


def test_resampling_interpolates_everything_and_keeps_doubt() -> None:
    points = small_interaction()
    points.object_points_world[4, 0] = np.nan
    finer = resample(points, 20.0)
    assert (finer.num_frames, finer.fps) == (17, 20.0)
    np.testing.assert_allclose(finer.hand_keypoints_world[3], 1.5)
    np.testing.assert_allclose(finer.object_pose_world[3, 0, 3], 1.5)
    np.testing.assert_allclose(finer.further_objects["mug"].points_world[3], 2.5)
    assert finer.flagged[3:6].all()
    assert not finer.flagged[[2, 6]].any()
    assert not finer.object_visible[8, 0]  # unknown there, and not made up from the neighbours
    assert finer.object_visible[7, 1]
    faster = resample(points, 10.0, max_duration_s=0.4)
    assert faster.num_frames == 5
    np.testing.assert_array_equal(faster.frame_index, 3 * np.array([0, 2, 4, 6, 8]))


def test_further_objects_are_saved_by_name(tmp_path: Path) -> None:
    interaction = small_interaction()
    interaction.save(tmp_path / "interaction.npz")
    with np.load(tmp_path / "interaction.npz") as stored:
        assert "object_points_world_mug" in stored.files
    back = Interaction.load(tmp_path / "interaction.npz")
    np.testing.assert_array_equal(back.further_objects["mug"].points_world, interaction.further_objects["mug"].points_world)
    with pytest.raises(DexVidError, match="expected some of the objects after the first"):
        dataclasses.replace(interaction, object_names=("pitcher",))


def test_a_mirrored_recording_is_put_right(tmp_path: Path) -> None:
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    picture, depth = np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 500, np.uint16)
    picture[:, :8], depth[:, :8] = 200, 900
    imageio.imwrite(tmp_path / "rgb" / "0.png", picture)
    imageio.imwrite(tmp_path / "depth" / "0.png", depth)
    (tmp_path / "cam_K.txt").write_text("60 0 20.0 0 60 23.5 0 0 1")
    recording = open_recording(tmp_path, fps_limit=30.0, fov_deg=60.0, picture_fps=30.0, mirrored=True)
    rgb = next(recording.frames()).rgb
    assert (rgb[:, -8:] == 200).all()
    assert not rgb[:, :8].any()
    assert recording.K[0, 2] == 63 - 20.0
    assert recording.depth is not None
    assert recording.depth.read_m(0)[0, 63] == pytest.approx(0.9)
    place = NamedPlace("mug", box=(0.0, 1.0, 8.0, 9.0)).mirrored(64)
    assert place.box == (56.0, 1.0, 64.0, 9.0)
    assert NamedPlace("mug", pixel=(0.0, 5.0)).mirrored(64).pixel == (63.0, 5.0)
