"""`dexvid extract` on bad input, and when it is interrupted: a clear error or a stated degradation, and nothing lost."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from made_up_film import DISTANCE_M, FPS, FRAMES, HEIGHT, WIDTH, Film, MarkedHands

from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract
from demos.extract.work_folder import OUTPUT_FILES, write_alone
from demos.interaction import Interaction
from demos.video import FrameCache, frame_stride, probe_video, read_frames, video_writer
from dexvid_envs.cli import main
from dexvid_envs.errors import MissingExtraError, OptionError

pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> type[MarkedHands]:
    """The detector of the made-up films in the place of MediaPipe."""
    monkeypatch.setattr("demos.extract.sight.MediaPipeHands", MarkedHands)
    MarkedHands.asked = 0
    return MarkedHands


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the video of a film; each is made once."""
    folder, made = tmp_path_factory.mktemp("films"), {}

    def give(**what: Any) -> Path:
        film = Film(**what)
        if film not in made:
            made[film] = film.write(folder / f"film_{len(made)}.mp4")
        return made[film]

    return give


@pytest.fixture(scope="module")
def unbroken(films: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of an extraction that nobody disturbed."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demos.extract.sight.MediaPipeHands", MarkedHands)
        extract(ExtractConfig(films(), out, overlay=False, report=False))
    return out


def ffmpeg(*arguments: str) -> None:
    """Runs the program that reads the videos."""
    import imageio_ffmpeg

    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *arguments], check=True)


def quick(video: Path, out: Path, *options: str) -> int:
    """The command without pictures for people."""
    return main(["extract", str(video), "--out", str(out), "--no-overlay", "--no-report", *options])


def quality_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "quality.json").read_text())


def failed(out: Path) -> dict[str, list[int]]:
    """Names and frames of the gates that failed."""
    return {gate["name"]: gate["frames"] for gate in quality_of(out)["gates"] if not gate["ok"]}


def expect_one_message(error: str, message: str) -> None:
    assert error.count("error: ") == 1
    assert message in " ".join(error.split())
    assert "Traceback" not in error


def keypoint_px(out: Path, name: str) -> np.ndarray:
    """A named key point (T, 2) px of the film."""
    with np.load(out / "tracks.npz") as tracks:
        return tracks["keypoint_image"][:, list(tracks["keypoint_names"]).index(name)]


def write_pictures(folder: Path, pictures: list[np.ndarray]) -> Path:
    folder.mkdir()
    for number, picture in enumerate(pictures):
        imageio.imwrite(folder / f"{number:05d}.png", picture)
    return folder


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
        (["."], "is a folder, expected a video"),
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
    with pytest.raises(MissingExtraError, match=r'pip install "dexvid-envs\[video\]"'):
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


# where it is written


def test_out_must_not_be_a_file(films: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "out").write_text("mine")
    assert quick(films(), tmp_path / "out") == 2
    expect_one_message(capfd.readouterr().err, "is a file, expected a folder")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("out", [".", "/", "..", "videos"])
def test_a_folder_with_other_files_is_not_replaced(
    films: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "mine.mp4").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert quick(films(), Path(out)) == 2
    expect_one_message(capfd.readouterr().err, "replaced as a whole")
    assert (tmp_path / "videos" / "mine.mp4").read_text() == "mine"


def test_a_folder_that_cannot_be_written(films: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file" / "out", Path("/proc/out")):
        assert quick(films(), out) == 2
        expect_one_message(capfd.readouterr().err, "cannot be written")
    assert quick(films(), tmp_path / "out", "--keep-work", str(tmp_path / "file")) == 2
    expect_one_message(capfd.readouterr().err, "cannot be made")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_told_and_what_is_done_is_kept(
    films: Callable[..., Path],
    unbroken: Path,
    tmp_path: Path,
    marked: type[MarkedHands],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    append = FrameCache.append

    def append_some(self: FrameCache, rgb: np.ndarray) -> None:
        if len(self) == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, rgb)

    with monkeypatch.context() as patch:
        patch.setattr(FrameCache, "append", append_some)
        assert quick(films(), tmp_path / "out") == 2
    expect_one_message(capfd.readouterr().err, "the disk is full")
    before, marked.asked = marked.asked, 0
    assert quick(films(), tmp_path / "out") == 0
    assert before >= 20
    assert marked.asked < FRAMES  # the first 20 frames were not asked about again
    assert_same_interaction(tmp_path / "out", unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_runs_never_write_one_output(
    films: Callable[..., Path], unbroken: Path, tmp_path: Path, marked: type, capfd: pytest.CaptureFixture
) -> None:
    codes: list[int] = []

    def meanwhile(stage: str, done: int, total: int) -> None:
        if done == 5 and not codes:
            codes.append(quick(films(other_hand=True), tmp_path / "out"))

    extract(ExtractConfig(films(), tmp_path / "out", overlay=False, report=False), meanwhile)
    assert codes == [2]
    expect_one_message(capfd.readouterr().err, "is being written by another extraction")
    assert_same_interaction(tmp_path / "out", unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_runs_never_share_kept_work(films: Callable[..., Path], tmp_path: Path, marked: type) -> None:
    work, errors = tmp_path / "work", []

    def meanwhile(stage: str, done: int, total: int) -> None:
        if done == 5 and not errors:
            with pytest.raises(OptionError, match="is being written by another") as caught:
                extract(ExtractConfig(films(), tmp_path / "other", keep_work=work))
            errors.append(caught)

    extract(ExtractConfig(films(), tmp_path / "out", keep_work=work, overlay=False, report=False), meanwhile)
    assert errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "work"]


def test_what_a_killed_run_left_is_put_in_order(tmp_path: Path) -> None:
    (tmp_path / ".out-0123abcd").mkdir()
    (tmp_path / ".out-0123abcd" / "quality.json").write_text("{")
    (tmp_path / ".out-0123abcd-previous").mkdir()
    (tmp_path / ".out-0123abcd-previous" / "quality.json").write_text("{}")
    (tmp_path / ".out-mine").mkdir()
    with write_alone(tmp_path / "out"):
        assert (tmp_path / "out" / "quality.json").read_text() == "{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out-mine", "out"]


# interrupted and repeated


def assert_same_interaction(out: Path, other: Path) -> None:
    """All arrays are equal bit for bit."""
    with np.load(out / "interaction.npz") as a, np.load(other / "interaction.npz") as b:
        assert sorted(a.files) == sorted(b.files)
        for name in a.files:
            assert a[name].tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize(
    ("stage", "done", "asked_again"),
    [("finding the hand", 20, True), ("following object", 30, False), ("naming key points", 10, False)],
)
def test_an_interrupted_run_goes_on_where_it_was(
    films: Callable[..., Path],
    unbroken: Path,
    tmp_path: Path,
    marked: type[MarkedHands],
    stage: str,
    done: int,
    asked_again: bool,
) -> None:
    def stop(name: str, step: int, total: int) -> None:
        if (name, step) == (stage, done):
            raise KeyboardInterrupt

    config = ExtractConfig(films(), tmp_path / "out", overlay=False, report=False)
    with pytest.raises(KeyboardInterrupt):
        extract(config, stop)
    assert not (tmp_path / "out").exists()
    before, marked.asked = marked.asked, 0
    extract(config)
    assert (marked.asked > 0) == asked_again
    assert before + marked.asked <= FRAMES * 1.5 + 5  # no frame was asked about twice
    assert_same_interaction(tmp_path / "out", unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_says_that_it_can_go_on(
    films: Callable[..., Path],
    unbroken: Path,
    tmp_path: Path,
    marked: type[MarkedHands],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    append = FrameCache.append

    def stop(self: FrameCache, rgb: np.ndarray) -> None:
        if len(self) == 20:
            raise KeyboardInterrupt
        append(self, rgb)

    with monkeypatch.context() as patch:
        patch.setattr(FrameCache, "append", stop)
        assert quick(films(), tmp_path / "out") == 130
    error = " ".join(capfd.readouterr().err.split())
    assert "stopped; the same command goes on where it was" in error
    assert "Traceback" not in error
    assert quick(films(), tmp_path / "out") == 0
    assert_same_interaction(tmp_path / "out", unbroken)


_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import made_up_film
import demos.extract.sight
from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract
from pathlib import Path
demos.extract.sight.MediaPipeHands = made_up_film.MarkedHands
def stop(name, done, total):
    if (name, done) == (sys.argv[4], 15):
        os.kill(os.getpid(), signal.SIGKILL)
extract(ExtractConfig(Path(sys.argv[2]), Path(sys.argv[3])), stop)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_process_leaves_nothing_behind_for_long(
    films: Callable[..., Path], unbroken: Path, tmp_path: Path, marked: type[MarkedHands]
) -> None:
    out = tmp_path / "out"
    for stage in ("finding the hand", "drawing the overlay"):
        command = [sys.executable, "-c", _KILLED, str(Path(__file__).parent), str(films()), str(out), stage]
        assert subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode == -signal.SIGKILL
        assert not out.exists()
    assert main(["extract", str(films()), "--out", str(out)]) == 0
    assert marked.asked == 0
    assert tuple(sorted(path.name for path in out.iterdir())) == OUTPUT_FILES
    assert_same_interaction(out, unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_run_leaves_an_older_result_alone(
    films: Callable[..., Path], small_files: Path, unbroken: Path, tmp_path: Path, marked: type
) -> None:
    assert quick(films(), tmp_path / "out") == 0
    assert quick(small_files / "cut.mp4", tmp_path / "out") == 2
    assert_same_interaction(tmp_path / "out", unbroken)


def test_kept_work_is_not_believed_after_another_video_or_setting(
    films: Callable[..., Path], unbroken: Path, tmp_path: Path, marked: type[MarkedHands]
) -> None:
    work = ("--keep-work", str(tmp_path / "work"))

    def stop(name: str, step: int, total: int) -> None:
        if name == "finding the hand" and step == 20:
            raise KeyboardInterrupt

    assert quick(films(), tmp_path / "out", *work) == 0
    with pytest.raises(KeyboardInterrupt):
        extract(ExtractConfig(films(leaves=True), tmp_path / "other", keep_work=tmp_path / "work"), stop)
    assert quick(films(), tmp_path / "out", *work) == 0  # its pictures were overwritten meanwhile
    assert_same_interaction(tmp_path / "out", unbroken)
    marked.asked = 0
    assert quick(films(), tmp_path / "out", *work) == 0
    assert marked.asked == 0
    assert quick(films(), tmp_path / "out", *work, "--min-confidence", "0.3") == 0
    assert marked.asked >= FRAMES


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
