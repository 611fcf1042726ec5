"""The whole way from a video (or another extractor's output) to `interaction.npz` and its report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.camera import intrinsics_from_fov
from demos.extract.config import ExtractConfig
from demos.extract.hand_pose import lift_hand
from demos.extract.hands import LOST, HandFollower, MediaPipeHands, RawHand
from demos.extract.keypoints import find_contact, lift_object
from demos.extract.masks import ObjectSeed, find_moved_object, seed_from_box, seed_from_click
from demos.extract.overlay import OverlayData, write_overlay
from demos.extract.quality import (
    find_warnings,
    hand_quality,
    object_quality,
    result_quality,
    video_quality,
    write_quality,
)
from demos.extract.report import write_report
from demos.extract.stage import write_stage_video
from demos.extract.tracks import PointTracks, follow_object
from demos.extract.world import place_world, to_interaction
from demos.interaction import Interaction
from demos.video import FrameCache, VideoInfo, frame_stride, probe_video, read_frames
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import atomic_folder

FloatArray = NDArray[np.float64]

#: Called with the name of a stage, the steps done and the steps in all.
Progress = Callable[[str, int, int], None]

_TRACKING_SIDE_PX = 640  # longer side of the pictures that optical flow works on
_DETECTION_SIDE_PX = 1280  # MediaPipe shrinks to 192 px to find and 224 px to read a hand anyway
_MIN_FRAMES = 5


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What `extract` made: the interaction and its quality figures, as in the files."""

    interaction: Interaction
    quality: dict[str, Any]


def extract(config: ExtractConfig, progress: Progress = lambda stage, done, total: None) -> Extraction:
    """Extracts and writes the folder `config.out`; after an error nothing is written.

    Raises:
        InputFileError: the source cannot be read.
        NoHandFoundError: no hand was found.
        OptionError: an option does not fit, such as an object point outside the frame.
        MissingExtraError: mediapipe is not installed.
    """
    config.validate()
    if config.out.exists() and not config.out.is_dir():
        raise OptionError(
            f"--out {config.out} is a file, expected a folder to write to; choose another name or remove the file"
        )
    if config.importer is not None:
        return _import(config, config.importer)
    info = probe_video(config.video)
    _check_object_options(config, info)
    stage = _Stages(progress)
    cache = FrameCache()
    try:
        return _extract_video(config, info, cache, stage)
    finally:
        cache.close()


class _Stages:
    """Progress and time of each stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}
        self._name, self._done, self._total, self._start = "", 0, 0, 0.0

    def begin(self, name: str, total: int) -> None:
        self.end()
        self._name, self._done, self._total, self._start = name, 0, total, time.perf_counter()
        self._progress(name, 0, total)

    def step(self) -> None:
        self._done += 1
        self._progress(self._name, self._done, max(self._total, self._done))

    def end(self) -> None:
        if self._name:
            self.seconds[self._name] = time.perf_counter() - self._start
            self._progress(self._name, max(self._total, self._done), max(self._total, self._done))
        self._name = ""


def _extract_video(config: ExtractConfig, info: VideoInfo, cache: FrameCache, stage: _Stages) -> Extraction:
    stride = frame_stride(info, config.fps_limit)
    fps = info.fps / stride
    stage.begin("finding the hand", -(-info.num_frames // stride))
    raw, source_index = _read_hands(config, info, cache, stride, stage.step)
    K = intrinsics_from_fov(info.width, info.height, config.fov_deg)
    hand, figures = lift_hand(raw, K, fps, config.hand_length_m)

    scale = max(info.width, info.height) / max(cache.rgb(0).shape[:2])
    small_hand = (hand.keypoints_image + 0.5) / scale - 0.5
    stage.begin("following the object", len(cache))
    seed = _seed(config, cache, small_hand, raw, source_index, scale, fps)
    if seed is None:
        tracks = _no_tracks(len(cache))
    else:
        tracks = follow_object(cache, seed, small_hand, fps, config.max_object_points, stage.step)
    pixels = (tracks.pixels + 0.5) * scale - 0.5
    outline = [(polygon + 0.5) * scale - 0.5 for polygon in tracks.outline]
    contact = find_contact(hand.keypoints_image, pixels, outline, fps)
    target = lift_object(pixels, hand, contact, K, fps)
    T_world_camera = place_world(hand, target, contact, config.camera_pitch_deg)
    interaction = to_interaction(
        hand, target, contact, T_world_camera, K, source_index, fps, config.control_hz, config.object_name, info.sha256
    )
    quality: dict[str, Any] = {
        "source": video_quality(info, fps, len(cache)),
        "hand": hand_quality(raw, hand, figures),
        "object": object_quality(seed, tracks, target, config.object_name, fps, scale),
        "result": result_quality(interaction),
    }
    quality["warnings"] = find_warnings(quality, config)
    with atomic_folder(config.out) as folder:
        stage.begin("drawing the overlay", len(cache))
        data = OverlayData(hand, target, outline, contact, config.object_name)
        write_overlay(folder / "overlay.mp4", info, config.fps_limit, data, stage.step)
        stage.end()
        quality["timings_s"] = stage.seconds
        quality["config"] = dataclasses.asdict(config)
        _write(folder, interaction, quality)
    return Extraction(interaction, quality)


def _read_hands(
    config: ExtractConfig, info: VideoInfo, cache: FrameCache, stride: int, step: Callable[[], None]
) -> tuple[RawHand, NDArray[np.int64]]:
    """The hand over all frames that are looked at, and their numbers in the source; the pictures go into the cache."""
    detector = MediaPipeHands(config.min_confidence, config.mirrored)  # first: it says what to install
    follower = HandFollower(detector, round(config.max_gap_s * info.fps / stride))
    source_index: list[int] = []
    try:
        for frame in read_frames(info, stride):
            small = _shrink(frame.rgb, _TRACKING_SIDE_PX)
            cache.append(small)
            follower.update(_shrink(frame.rgb, _DETECTION_SIDE_PX), _gray(small))
            source_index.append(frame.index)
            step()
    finally:
        detector.close()
    if len(source_index) < _MIN_FRAMES:
        raise InputFileError(
            f"{info.path} has only {len(source_index)} frames to look at, expected a video of at least {_MIN_FRAMES}; "
            "a single picture shows no motion"
        )
    raw = follower.result(config.side)
    shrunk = max(1.0, max(info.width, info.height) / _DETECTION_SIDE_PX)
    return dataclasses.replace(raw, image=(raw.image + 0.5) * shrunk - 0.5), np.array(source_index, np.int64)


def _shrink(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    import cv2

    scale = side_px / max(rgb.shape[:2])
    if scale >= 1.0:
        return rgb
    return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def _check_object_options(config: ExtractConfig, info: VideoInfo) -> None:
    """Refuses what lies outside the video before any work is done."""
    if config.object_point is not None:
        x, y = config.object_point
        if not (0 <= x < info.width and 0 <= y < info.height):
            raise OptionError(
                f"the object point {x:g} {y:g} lies outside the {info.width}x{info.height} frame, "
                "expected X Y in px from the upper left corner; read it off a frame in a picture viewer"
            )
    if config.object_box is not None:
        seed_from_box(np.array(config.object_box), 0, (info.width, info.height))
    if info.num_frames and config.object_frame >= info.num_frames:
        raise OptionError(
            f"--object-frame is {config.object_frame}, but the video has {info.num_frames} frames, counted from 0"
        )


def _seed(
    config: ExtractConfig,
    cache: FrameCache,
    hand: FloatArray,
    raw: RawHand,
    source_index: NDArray[np.int64],
    scale: float,
    fps: float,
) -> ObjectSeed | None:
    """The object in one frame, as the user says or as it is found; `hand` (T, 21, 2) in px of the kept pictures."""
    number = int(np.argmin(np.abs(source_index - config.object_frame)))
    if config.object_point is not None:
        click = (np.array(config.object_point) + 0.5) / scale - 0.5
        return seed_from_click(cache.rgb(number), click, hand[number], number)
    if config.object_box is not None:
        picture = cache.rgb(number)
        box = np.array(config.object_box) / scale
        return seed_from_box(np.minimum(box, np.tile(picture.shape[1::-1], 2)), number, (picture.shape[1], picture.shape[0]))
    return find_moved_object(cache, hand, raw.origin != LOST, fps)


def _no_tracks(frames: int) -> PointTracks:
    unknown = np.full((frames, 2), np.nan)
    return PointTracks(np.zeros((frames, 0, 2)), unknown, [np.zeros((0, 2))] * frames, unknown[:, 0])


def _import(config: ExtractConfig, name: str) -> Extraction:
    """Another extractor's output, with the figures that can be known of it."""
    from demos.importers import find_importer

    interaction = find_importer(name)(config.video)
    quality: dict[str, Any] = {
        "source": {"importer": name, "sha256": interaction.source_sha256},
        "hand": {
            "side": interaction.hand_side,
            "confidence_mean": float(interaction.hand_confidence.mean()),
        },
        "object": {
            "found": bool(interaction.object_visible.any()),
            "object": interaction.object_names[0] if interaction.object_names else "not found",
            "points": interaction.object_points_world.shape[1],
            "tracked_fraction": float((interaction.object_visible.sum(axis=1) >= 4).mean()),
            "rigid_fraction": float(np.isfinite(interaction.object_pose_world[:, 0, 0]).mean()),
        },
        "result": result_quality(interaction),
        "warnings": ["Imported: camera, scale and accuracy are those of the other extractor."],
        "config": dataclasses.asdict(config),
    }
    with atomic_folder(config.out) as folder:
        write_stage_video(folder / "overlay.mp4", interaction)
        _write(folder, interaction, quality)
    return Extraction(interaction, quality)


def _write(folder: Path, interaction: Interaction, quality: dict[str, Any]) -> None:
    interaction.save(folder / "interaction.npz")
    write_quality(folder / "quality.json", quality)
    write_report(folder / "report.html", interaction, quality, folder / "overlay.mp4")
