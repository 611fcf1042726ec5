"""`dexvid extract` on bad input: a clear error or a stated degradation, and nothing run from a file."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from extract_runs import (
    assert_same_interaction,
    expect_one_message,
    failed,
    ffmpeg,
    keypoint_px,
    quality_of,
    quick,
    write_pictures,
)
from made_up_film import DISTANCE_M, FPS, FRAMES, HEIGHT, WIDTH, Film

from demos.interaction import Interaction
from demos.video import frame_stride, probe_video, read_frames, video_writer
from dexvid_envs.cli import main
from dexvid_envs.errors import MissingExtraError

pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')


# files that are no videos, and options that fit nothing


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every bad kind, and one healthy video without a hand."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    with video_writer(folder / "no_hand.mp4", (160, 120), 25.0) as writer:
        for _ in range(40):
            writer.send(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
    data = (folder / "no_hand.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    (folder / "headless.mp4").write_bytes(data[len(data) // 2 :])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("not a video " * 50)
    (folder / "text.txt").write_text("not a video " * 50)
    for name, count in (("one.mp4", 1), ("short.mp4", 2)):
        with video_writer(folder / name, (160, 120), 25.0) as writer:
            for _ in range(count):
                writer.send(np.zeros((120, 160, 3), np.uint8))
    imageio.imwrite(folder / "picture.png", np.zeros((120, 160, 3), np.uint8))
    blank = [np.zeros((120, 160), np.uint8)] * 40
    write_pictures(folder / "blank_masks", blank)
    write_pictures(folder / "few_masks", [picture + 255 for picture in blank[:9]])
    write_pictures(folder / "colour_depth", [np.zeros((120, 160, 3), np.uint8)] * 40)
    write_pictures(folder / "few_depth", [np.full((120, 160), 700, np.uint16)] * 9)
    write_pictures(folder / "metres_depth", [np.full((120, 160), 1, np.uint16)] * 40)
    (folder / "empty_folder").mkdir()
    (folder / "K_4k.txt").write_text("3000 0 1920\n0 3000 1080\n0 0 1\n")
    (folder / "K_words.txt").write_text("focal length: long")
    (folder / "K_nan.txt").write_text("nan 0 80\n0 nan 60\n0 0 1\n")
    (folder / "K_mirror.txt").write_text("-150 0 80\n0 150 60\n0 0 1\n")
    (folder / "pose_zero.txt").write_text("0 " * 16)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.mp4"], "no file at"),
        (["empty.mp4"], "is empty (0 bytes)"),
        (["text.mp4"], "cannot read"),
        (["text.txt"], "cannot read"),
        (["headless.mp4"], "cannot read"),
        (["cut.mp4"], "is truncated"),
        (["one.mp4"], "has only 1 frames"),
        (["picture.png"], "has only 1 frames"),
        (["short.mp4"], "has only 2 frames"),
        (["no_hand.mp4"], "no hand was found"),
        (["no_hand.mp4", "--object-point", "500", "10"], "lies outside the 160x120 frame"),
        (["no_hand.mp4", "--object-point", "nan", "10"], "lies outside the 160x120 frame"),
        (["no_hand.mp4", "--object-box", "50", "50", "20", "90"], "is not inside the 160x120 frame"),
        (["no_hand.mp4", "--object-frame", "99"], "has 40 frames"),
        (["no_hand.mp4", "--object-point", "5", "5", "--object-box", "1", "1", "9", "9"], "expected at most one"),
        (["no_hand.mp4", "--hands", "magic"], "unknown hand backend (--hands) 'magic', expected one of: mediapipe"),
        (["no_hand.mp4", "--tracks", "magic"], "expected one of: optical-flow"),
        (["no_hand.mp4", "--side", "middle"], "expected one of: auto, right, left"),
        (["no_hand.mp4", "--fov-deg", "500"], "--fov-deg is 500.0, expected 10.0 to 150.0"),
        (["no_hand.mp4", "--fov-deg", "nan"], "--fov-deg is nan"),
        (["no_hand.mp4", "--camera-matrix", "{}/K_4k.txt"], "does not fit pictures of 160x120 px"),
        (["no_hand.mp4", "--camera-matrix", "{}/K_words.txt"], "something else than numbers"),
        (["no_hand.mp4", "--camera-matrix", "{}/K_nan.txt"], "expected a camera matrix"),
        (["no_hand.mp4", "--camera-matrix", "{}/K_mirror.txt"], "focal"),
        (["no_hand.mp4", "--camera-matrix", "{}/missing.txt"], "missing.txt"),
        (["no_hand.mp4", "--camera-pose", "{}/pose_zero.txt"], "is no camera pose"),
        (["no_hand.mp4", "--masks", "{}/missing"], "missing"),
        (["no_hand.mp4", "--masks", "{}/empty_folder"], "empty_folder"),
        (["no_hand.mp4", "--masks", "{}/blank_masks"], "show no object"),
        (["no_hand.mp4", "--masks", "{}/few_masks"], "has 9 masks, expected one for each of the video's 40 frames"),
        (["no_hand.mp4", "--masks", "{}/few_masks", "--mask-id", "7"], "has no object 7"),
        (["no_hand.mp4", "--depth", "{}/empty_folder"], "empty_folder"),
        (["no_hand.mp4", "--depth", "{}/colour_depth"], "colour_depth"),
        (["no_hand.mp4", "--depth", "{}/few_depth"], "has 9 depth pictures"),
        (["no_hand.mp4", "--depth", "{}/metres_depth"], "16-bit PNG in millimetres"),
        (["no_hand.mp4", "--importer", "magic"], "magic"),
    ],
    ids=lambda value: "-".join(Path(word).name for word in value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_clear_message(
    small_files: Path, tmp_path: Path, capfd: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    if message in ("is truncated", "has only 1 frames", "has only 2 frames", "no hand was found"):
        pytest.importorskip("mediapipe", reason='needs mediapipe: pip install "dexvid-envs[video]"')
    video, *options = (argument.format(small_files) for argument in arguments)
    assert main(["extract", str(small_files / video), "--out", str(tmp_path / "out"), *options]) == 2
    expect_one_message(capfd.readouterr().err, message)
    assert list(tmp_path.iterdir()) == []


def test_missing_mediapipe_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from demos.extract.hand.follow import MediaPipeHands

    for name in [name for name in sys.modules if name.split(".")[0] == "mediapipe"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(MissingExtraError, match=r"pip install -c constraints.txt -e '\.\[video\]'"):
        MediaPipeHands(0.2, mirrored=False)


@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
def test_damage_within_a_video_is_an_error_or_survived(
    films: Callable[..., Path], tmp_path: Path, marked: type, capfd: pytest.CaptureFixture, part: float
) -> None:
    data = bytearray(films().read_bytes())
    start = data.index(b"mdat")
    at = start + round(part * (len(data) - start))
    data[at : at + 4000] = np.random.default_rng(0).integers(0, 256, len(data[at : at + 4000]), np.uint8).tobytes()
    (tmp_path / "damaged.mp4").write_bytes(bytes(data))
    code = quick(tmp_path / "damaged.mp4", tmp_path / "out")
    error = capfd.readouterr().err
    assert "Traceback" not in error
    if code == 0:
        assert np.isfinite(Interaction.load(tmp_path / "out" / "interaction.npz").hand_keypoints_world).all()
    else:
        assert code == 2
        assert not (tmp_path / "out").exists()


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self._trace}",)


@pytest.mark.parametrize("importer", ["dexmv", "interaction", "combined", "hold", "spider"])
def test_nothing_in_an_import_folder_is_run(tmp_path: Path, capfd: pytest.CaptureFixture, importer: str) -> None:
    recording, trace = tmp_path / "recording", tmp_path / "trace"
    for folder in ("", "object_pose", "hand_pose", "build", "wilor"):
        (recording / folder).mkdir(exist_ok=True, parents=True)
        for name in ("0.npy", "hands.npy", "data.npz", "interaction.npz", "data.pkl", "data.pt", "trajectory_kinematic.npz"):
            array = np.array([Evil(trace)], dtype=object)
            if name.endswith(".npz"):
                np.savez(recording / folder / name, a=array)
            elif name.endswith(".npy"):
                np.save(recording / folder / name, array, allow_pickle=True)
            else:
                (recording / folder / name).write_bytes(pickle.dumps(Evil(trace)))
    for source in (recording, *(path for path in recording.iterdir() if path.is_file())):
        assert quick(source, tmp_path / "out", "--importer", importer) == 2
        expect_one_message(capfd.readouterr().err, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recording"]


# time and turn of videos


def test_frames_are_limited(small_files: Path) -> None:
    info = probe_video(small_files / "no_hand.mp4")
    assert (info.width, info.height, info.fps, info.num_frames) == (160, 120, 25.0, 40)
    assert not info.varying_rate
    assert [frame_stride(info, limit) for limit in (30.0, 25.0, 24.0, 12.5, 5.0)] == [1, 1, 2, 2, 5]
    assert [frame.index for frame in read_frames(info, 10)] == [0, 10, 20, 30]


@pytest.fixture(scope="module")
def clock_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures whose brightness is 40 + 40 t for the times t = 0 to 1 s in steps of 1/30, then to 4 s in steps of 1/10."""
    path = tmp_path_factory.mktemp("clock") / "clock.mp4"
    with video_writer(path, (160, 120), 30.0, quality=9) as writer:
        for frame in range(60):
            time = frame / 30 if frame < 30 else 1.0 + (frame - 30) / 10
            writer.send(np.full((120, 160, 3), round(40 + 40 * time), np.uint8))
    return path


@pytest.mark.parametrize("name", ["varying.mp4", "varying.mkv"])
def test_frames_of_a_varying_rate_have_their_true_time(clock_video: Path, tmp_path: Path, name: str) -> None:
    times = "setpts='if(lt(N,30),N/30,1+(N-30)/10)/TB'"
    video = tmp_path / name
    ffmpeg("-i", str(clock_video), "-vf", times, "-fps_mode", "vfr", "-video_track_timescale", "30000", str(video))
    info = probe_video(video)
    frames = list(read_frames(info))
    shown = np.array([(frame.rgb.mean() - 40) / 40 for frame in frames])
    np.testing.assert_allclose(shown, [frame.index / info.fps for frame in frames], atol=0.13)  # a picture may stand for 0.1 s
    assert abs(len(frames) - info.num_frames) < 0.1 * len(frames)


def test_a_varying_rate_is_told(films: Callable[..., Path], tmp_path: Path, marked: type) -> None:
    video = tmp_path / "varying.mp4"
    ffmpeg("-i", str(films()), "-vf", "setpts='if(lt(N,18),N/20,0.9+(N-18)/12)/TB'", "-fps_mode", "vfr", str(video))
    assert quick(video, tmp_path / "out") == 0
    quality = quality_of(tmp_path / "out")
    assert quality["source"]["varying_rate"]
    assert any("frame rate varies" in warning for warning in quality["warnings"])
    interaction = Interaction.load(tmp_path / "out" / "interaction.npz")
    assert interaction.duration_s == pytest.approx(0.9 + 18 / 12, abs=0.3)


@pytest.mark.parametrize("turn", [90, -90, 180])
def test_a_video_filmed_upright_is_turned(
    films: Callable[..., Path], tmp_path: Path, marked: type, capfd: pytest.CaptureFixture, turn: int
) -> None:
    lying, upright = tmp_path / "lying.mp4", tmp_path / "upright.mp4"
    undo = {90: "transpose=clock", -90: "transpose=cclock", 180: "hflip,vflip"}[turn]
    ffmpeg("-i", str(films()), "-vf", undo, "-crf", "10", str(lying))
    ffmpeg("-display_rotation", str(turn), "-i", str(lying), "-c", "copy", str(upright))
    info = probe_video(upright)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    difference = next(read_frames(info)).rgb.astype(int) - next(read_frames(probe_video(films()))).rgb
    assert abs(difference).mean() < 6.0
    assert capfd.readouterr().err == ""


def test_an_hour_with_long_waits_between_the_pictures(
    films: Callable[..., Path], tmp_path: Path, marked: type, capfd: pytest.CaptureFixture
) -> None:
    video = tmp_path / "hour.mp4"
    ffmpeg("-stream_loop", "1", "-i", str(films()), "-vf", "setpts=N*50/TB", "-r", "0.02", str(video))
    assert quick(video, tmp_path / "out") == 0
    assert "Traceback" not in capfd.readouterr().err
    assert Interaction.load(tmp_path / "out" / "interaction.npz").duration_s == pytest.approx(3600, rel=0.05)


def test_the_frame_rate_of_the_film_is_kept(unbroken: Path) -> None:
    assert quality_of(unbroken)["source"]["fps_used"] == FPS


# what is filmed is not what was hoped for


def test_an_object_that_leaves_is_lost_there(
    films: Callable[..., Path], tmp_path: Path, marked: type, capfd: pytest.CaptureFixture
) -> None:
    assert quick(films(leaves=True), tmp_path / "out") == 0
    frames = failed(tmp_path / "out")["object followed"]
    away = Film(leaves=True).patch_px()[:, 0] > WIDTH
    gone = np.flatnonzero(away)
    assert {*gone[2:]} <= {*frames}
    assert min(frames) > FRAMES // 3
    assert quality_of(tmp_path / "out")["object"]["mask_lost_fraction"] > 0.3 * away.mean()
    assert "gate failed: object followed" in capfd.readouterr().err
    interaction = Interaction.load(tmp_path / "out" / "interaction.npz")
    assert not interaction.object_visible[-3:].any()
    assert np.isfinite(interaction.hand_keypoints_world).all()


def test_a_moving_camera_fails_its_gate(
    films: Callable[..., Path], tmp_path: Path, marked: type, capfd: pytest.CaptureFixture
) -> None:
    assert quick(films(pan_px=60.0), tmp_path / "out") == 0
    frames = failed(tmp_path / "out")["camera shift"]
    assert frames
    assert max(frames) > 0.8 * FRAMES
    error = " ".join(capfd.readouterr().err.split())
    assert "gate failed: camera shift" in error
    assert "tripod" in error


def test_of_two_hands_the_one_that_acts_is_followed_and_the_other_told(
    films: Callable[..., Path], unbroken: Path, tmp_path: Path, marked: type, capfd: pytest.CaptureFixture
) -> None:
    assert quick(films(other_hand=True), tmp_path / "out") == 0
    assert "Two hands: another one is in sight" in " ".join(capfd.readouterr().err.split())
    both, alone = (Interaction.load(out / "interaction.npz") for out in (tmp_path / "out", unbroken))
    assert both.hand_side == "right"
    relative = [one.hand_keypoints_world - one.hand_keypoints_world[0] for one in (both, alone)]
    assert np.linalg.norm(relative[0] - relative[1], axis=-1).max() < 0.03
    assert quality_of(unbroken)["hand"]["other_hand_fraction"] == 0.0
    assert quick(films(other_hand=True), tmp_path / "left", "--side", "left") == 0
    assert Interaction.load(tmp_path / "left" / "interaction.npz").hand_side == "left"


def test_only_the_other_hand_is_an_error(
    films: Callable[..., Path], tmp_path: Path, marked: type, capfd: pytest.CaptureFixture
) -> None:
    assert quick(films(), tmp_path / "out", "--side", "left") == 2
    expect_one_message(capfd.readouterr().err, "only a right hand was found")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_field_of_view_is_noticed(films: Callable[..., Path], tmp_path: Path, marked: type) -> None:
    assert quick(films(), tmp_path / "out", "--fov-deg", "140") == 0
    assert failed(tmp_path / "out").keys() & {"reprojection", "hand at object", "scale", "rigidity"}


# depth pictures and masks that do not fit


@pytest.mark.parametrize("content", ["nothing", "specks"])
def test_depth_pictures_that_show_nothing_are_told_and_left_out(
    films: Callable[..., Path], unbroken: Path, tmp_path: Path, marked: type, content: str
) -> None:
    blank = np.zeros((HEIGHT, WIDTH), np.uint16)
    if content == "specks":
        blank[::50, ::50] = 700
    depth = write_pictures(tmp_path / "depth", [blank] * FRAMES)
    assert quick(films(), tmp_path / "out", "--depth", str(depth)) == 0
    quality = quality_of(tmp_path / "out")
    assert any(warning.startswith("Depth: the pictures in depth show next to none") for warning in quality["warnings"])
    assert not quality["source"]["depth"]
    assert_same_interaction(tmp_path / "out", unbroken)


@pytest.mark.parametrize("kind", ["half size", "half of the frames are empty", "one too few"])
def test_depth_of_another_size_or_with_holes_is_used(
    films: Callable[..., Path], tmp_path: Path, marked: type, kind: str
) -> None:
    size = (HEIGHT // 2, WIDTH // 2) if kind == "half size" else (HEIGHT, WIDTH)
    pictures = [np.full(size, round(1000 * DISTANCE_M), np.uint16) for _ in range(FRAMES)]
    if kind == "half of the frames are empty":
        for picture in pictures[::2]:
            picture[:] = 0
    depth = write_pictures(tmp_path / "depth", pictures[: FRAMES - (kind == "one too few")])
    assert quick(films(), tmp_path / "out", "--depth", str(depth), "--object-point", "160", "130") == 0
    quality = quality_of(tmp_path / "out")
    assert quality["source"]["depth"]
    assert quality["scene"]["scale_source"] == "depth"
    interaction = Interaction.load(tmp_path / "out" / "interaction.npz")
    camera = np.linalg.inv(interaction.T_world_camera)
    points = interaction.object_points_world[interaction.object_visible] @ camera[:3, :3].T + camera[:3, 3]
    assert np.median(points[:, 2]) == pytest.approx(DISTANCE_M, abs=0.02)


def patch_masks(scale: float) -> list[np.ndarray]:
    """Masks of the patch in a size of their own."""
    masks = []
    for x, y in Film().patch_px():
        mask = np.zeros((round(scale * HEIGHT), round(scale * WIDTH)), np.uint8)
        low, high = np.round(scale * (np.array([x, y]) - 25)).astype(int), np.round(scale * (np.array([x, y]) + 25)).astype(int)
        mask[low[1] : high[1], low[0] : high[0]] = 255
        masks.append(mask)
    return masks


@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_masks_of_another_size_are_used(films: Callable[..., Path], tmp_path: Path, marked: type, scale: float) -> None:
    masks = write_pictures(tmp_path / "masks", patch_masks(scale))
    assert quick(films(), tmp_path / "out", "--masks", str(masks)) == 0
    quality = quality_of(tmp_path / "out")
    assert quality["object"]["found_by"] == "mask"
    assert quality["object"]["tracked_fraction"] > 0.9
    centre = keypoint_px(tmp_path / "out", "object_centroid")
    assert np.nanmedian(np.linalg.norm(centre - Film().patch_px(), axis=-1)) < 4.0


def test_masks_of_single_frames_may_be_empty(films: Callable[..., Path], tmp_path: Path, marked: type) -> None:
    masks = patch_masks(1.0)
    for mask in masks[24:]:
        mask[:] = 0
    folder = write_pictures(tmp_path / "masks", masks)
    assert quick(films(), tmp_path / "out", "--masks", str(folder)) == 0
    interaction = Interaction.load(tmp_path / "out" / "interaction.npz")
    assert interaction.object_visible[:20].any(axis=1).all()
    assert not interaction.object_visible[28:].any()
    assert {30, 35} <= {*failed(tmp_path / "out")["object followed"]}
