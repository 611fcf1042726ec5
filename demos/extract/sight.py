"""The one pass over the video: the hand in every picture, the camera's motion, and smaller pictures kept for later."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demos.extract.camera_motion import CameraMotion, CameraWatch
from demos.extract.config import ExtractConfig
from demos.extract.flow import to_gray
from demos.extract.hand.detection import RawHand
from demos.extract.hand.follow import HandFollower
from demos.extract.hand.journal import JournaledHands
from demos.extract.hand.mediapipe_hands import MediaPipeHands
from demos.recording import Recording
from demos.video import FrameCache
from dexvid_envs.errors import InputFileError

TRACKING_SIDE_PX = 640  # longer side of the pictures that optical flow works on
_DETECTION_SIDE_PX = 1280  # MediaPipe shrinks to 192 px to find and 224 px to read a hand anyway
_MIN_FRAMES = 5


@dataclasses.dataclass(frozen=True)
class Sight:
    """What the pass saw in T frames.

    Attributes:
        raw: the hand, px of the video.
        camera: how the picture moved as a whole.
        source_index: (T,) source frame of each frame.
        picture_spans: (T, 2) where each kept picture lies in its file.
        picture_size: (2,) width and height of the kept pictures, px.
    """

    raw: RawHand
    camera: CameraMotion
    source_index: NDArray[np.int64]
    picture_spans: NDArray[np.int64]
    picture_size: NDArray[np.int64]


def watch(recording: Recording, config: ExtractConfig, pictures: Path, detections: Path, step: Callable[[], None]) -> Sight:
    """Goes through the recording once.

    Args:
        recording: the source.
        config: which hand, and how it is looked for.
        pictures: file for the kept pictures.
        detections: journal of the detector's answers, from which an interrupted pass goes on.
        step: called after each frame.

    Raises:
        InputFileError: the video ends early or is too short.
        NoHandFoundError: there is no hand, or none of the wanted side.
        MissingExtraError: mediapipe is not installed.
    """
    mediapipe = MediaPipeHands(config.min_confidence, mirrored=False)  # first: it says what to install
    detector = JournaledHands(mediapipe, detections, f"{config.min_confidence} {config.mirrored}")
    follower = HandFollower(detector, round(config.max_gap_s * recording.fps))
    camera = CameraWatch(recording.fps)
    cache = FrameCache(pictures)
    source_index: list[int] = []
    small = np.zeros((1, 1, 3), np.uint8)
    try:
        for frame in recording.frames():
            small = _shrink(frame.rgb, TRACKING_SIDE_PX)
            cache.append(small)
            gray = to_gray(small)
            follower.update(_shrink(frame.rgb, _DETECTION_SIDE_PX), gray)
            camera.update(gray)
            source_index.append(frame.index)
            step()
        cache.flush()
        if len(source_index) < _MIN_FRAMES:
            raise InputFileError(
                f"{recording.info.path} has only {len(source_index)} frames to look at, expected a video of at least "
                f"{_MIN_FRAMES}; a single picture shows no motion"
            )
        raw = follower.result(config.side, cache.rgb)
    finally:
        detector.close()
        cache.close()
    shrunk = max(1.0, max(recording.info.width, recording.info.height) / _DETECTION_SIDE_PX)
    raw = dataclasses.replace(raw, image=(raw.image + 0.5) * shrunk - 0.5)
    size = np.array([small.shape[1], small.shape[0]], np.int64)
    return Sight(raw, camera.result(), np.array(source_index, np.int64), cache.spans, size)


def _shrink(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    import cv2

    scale = side_px / max(rgb.shape[:2])
    if scale >= 1.0:
        return rgb
    return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
