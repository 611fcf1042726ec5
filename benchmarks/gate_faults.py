"""Faults of recordings, put into a synthetic clip's pictures: what the quality gates are there to find.

Every fault keeps the number of pictures, so that picture i still belongs to the truth's frame i, but after a jump
(`Faulty.shown`).
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from benchmarks.reconstruction_truth import Clip
from demos.video import RgbImage, probe_video, read_frames, video_writer

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_GOOD_QUALITY, _BAD_QUALITY = 8, 1  # of the encoder, 0 to 10
_VERSION = 1  # raised when a fault changes, so that older videos are made again


@dataclasses.dataclass(frozen=True)
class Faulty:
    """Pictures with a fault.

    Attributes:
        pictures: T of them.
        frames: (T,) bool, those in which something is wrong.
        shown: (T,) the truth's frame that each picture is compared with.
        quality: of the encoder.
        focal_factor: by which the camera matrix that comes with the video is wrong.
    """

    pictures: list[RgbImage]
    frames: BoolArray
    shown: IntArray
    quality: int = _GOOD_QUALITY
    focal_factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class FaultyClip:
    """A faulty video on disk.

    Attributes:
        video: the file.
        frames: (T,) bool, those in which something is wrong.
        shown: (T,) the truth's frame that each picture is compared with.
        focal_factor: by which the camera matrix that comes with the video is wrong.
    """

    video: Path
    frames: BoolArray
    shown: IntArray
    focal_factor: float


Fault = Callable[[Clip, list[RgbImage], np.random.Generator, list[RgbImage]], Faulty]


def _clean(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """Only encoded again."""
    return Faulty(pictures, np.zeros(len(pictures), bool), np.arange(len(pictures)))


def _dropped(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """Two of three pictures are lost, at random; the one before is shown instead."""
    kept = rng.random(len(pictures)) < 1.0 / 3.0
    kept[0] = True
    shown = np.maximum.accumulate(np.where(kept, np.arange(len(pictures)), 0))
    return Faulty([pictures[i] for i in shown], ~kept, np.arange(len(pictures)))


def _frozen(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """The picture stands still for a second while the object is carried."""
    return _standing(clip, pictures, 1.0)


def _stall(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """One picture is shown for 0.4 s while the object is carried."""
    return _standing(clip, pictures, 0.4)


def _standing(clip: Clip, pictures: list[RgbImage], duration_s: float) -> Faulty:
    first, last = _while_carried(clip, duration_s)
    shown = np.arange(len(pictures))
    shown[first:last] = first
    frames = shown != np.arange(len(pictures))
    return Faulty([pictures[i] for i in shown], frames, np.arange(len(pictures)))


def _jump(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """0.5 s of the carrying are cut out."""
    first, last = _while_carried(clip, 0.5)
    shown = np.concatenate([np.arange(first), np.arange(last, len(pictures))])
    shown = np.concatenate([shown, np.full(len(pictures) - len(shown), len(pictures) - 1)])
    frames = np.zeros(len(pictures), bool)
    frames[max(first - 1, 0) : first + 1] = True
    return Faulty([pictures[i] for i in shown], frames, shown)


def _hand_blurred(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """The hand is blurred out for a second around the grasp."""
    import cv2

    frames = _around_touch(clip, 1.0)
    width = clip.truth.labels.shape[2]
    hand = clip.truth.mask("hand")
    changed = list(pictures)
    for frame in np.flatnonzero(frames):
        wide = cv2.dilate(hand[frame].astype(np.uint8), np.ones((width // 40, width // 40), np.uint8)) > 0
        blurred = np.asarray(cv2.GaussianBlur(pictures[frame], (0, 0), width / 20.0), np.uint8)
        changed[frame] = np.where(wide[..., None], blurred, pictures[frame])
    return Faulty(changed, frames, np.arange(len(pictures)))


def _object_hidden(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """A grey board is before the object for 1.5 s around the grasp."""
    frames = _around_touch(clip, 1.5)
    truth = clip.truth
    labels = [truth.label_names.index(truth.object_names[o]) for o in clip.handled]
    seen = np.isin(truth.labels[frames], labels).any(axis=0)
    changed = list(pictures)
    if seen.any():
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        for frame in np.flatnonzero(frames):
            changed[frame] = pictures[frame].copy()
            changed[frame][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 128
    return Faulty(changed, frames, np.arange(len(pictures)))


def _wrong_k(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """The given camera matrix is of a lens 30 % longer."""
    return Faulty(pictures, np.ones(len(pictures), bool), np.arange(len(pictures)), focal_factor=1.3)


def _shaken(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """The camera is held in a trembling hand: 3 % of the width and 2 degrees."""
    import cv2

    height, width = pictures[0].shape[:2]
    path = gaussian_filter1d(rng.normal(size=(len(pictures), 3)), 0.15 * clip.truth.fps, axis=0, mode="nearest")
    path *= np.array([0.03 * width, 0.03 * width, 2.0]) / path.std(axis=0)
    changed: list[RgbImage] = []
    for picture, (x, y, turn_deg) in zip(pictures, path, strict=True):
        matrix = cv2.getRotationMatrix2D((0.5 * width, 0.5 * height), float(turn_deg), 1.0)
        matrix[:, 2] += [x, y]
        moved = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        changed.append(np.asarray(moved, np.uint8))
    return Faulty(changed, np.ones(len(pictures), bool), np.arange(len(pictures)))


def _cut(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """From the middle of the carrying on, another scene is shown."""
    first = sum(_while_carried(clip, 0.5)) // 2
    later = [other[min(i, len(other) - 1)] for i in range(len(pictures) - first)]
    frames = np.arange(len(pictures)) >= first
    return Faulty([*pictures[:first], *later], frames, np.arange(len(pictures)))


def _mirrored(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """Left and right are exchanged, as selfie cameras do."""
    changed = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
    return Faulty(changed, np.ones(len(pictures), bool), np.arange(len(pictures)))


def _dark(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """A tenth of the light, and the noise of a camera that does its best."""
    changed: list[RgbImage] = []
    for picture in pictures:
        noisy = 0.1 * picture + rng.normal(scale=4.0, size=picture.shape)
        changed.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return Faulty(changed, np.ones(len(pictures), bool), np.arange(len(pictures)))


def _compressed(clip: Clip, pictures: list[RgbImage], rng: np.random.Generator, other: list[RgbImage]) -> Faulty:
    """Compressed until it falls to pieces."""
    return Faulty(pictures, np.ones(len(pictures), bool), np.arange(len(pictures)), quality=_BAD_QUALITY)


#: By name; "clean" is none.
FAULTS: dict[str, Fault] = {
    "clean": _clean,
    "dropped": _dropped,
    "frozen": _frozen,
    "stall": _stall,
    "jump": _jump,
    "hand_blurred": _hand_blurred,
    "object_hidden": _object_hidden,
    "wrong_K": _wrong_k,
    "shaken": _shaken,
    "cut": _cut,
    "mirrored": _mirrored,
    "dark": _dark,
    "compressed": _compressed,
}


def make_faulty(name: str, clip: Clip, other: Clip, folder: Path) -> FaultyClip:
    """Writes the clip's video with a fault into a folder, unless it is there.

    Args:
        name: of `FAULTS`.
        clip: whose video it is.
        other: another scene, for a cut.
        folder: for the videos.
    """
    video = folder / f"{clip.folder.name}-{name}-{_VERSION}.mp4"
    rng = np.random.default_rng(zlib.crc32(f"{clip.folder.name}/{name}".encode()))
    pictures = _pictures(clip)
    others = _resized(_pictures(other), pictures[0].shape) if name == "cut" else []
    faulty = FAULTS[name](clip, pictures, rng, others)
    if not video.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = video.with_suffix(".part.mp4")
        height, width = pictures[0].shape[:2]
        with video_writer(unfinished, (width, height), clip.truth.fps, quality=faulty.quality) as writer:
            for picture in faulty.pictures:
                writer.send(np.ascontiguousarray(picture))
        unfinished.rename(video)
    return FaultyClip(video, faulty.frames, faulty.shown, faulty.focal_factor)


def _pictures(clip: Clip) -> list[RgbImage]:
    read = [frame.rgb for frame in read_frames(probe_video(clip.folder / "video.mp4"))]
    return [read[min(i, len(read) - 1)] for i in range(clip.truth.num_frames)]


def _resized(pictures: list[RgbImage], shape: tuple[int, ...]) -> list[RgbImage]:
    import cv2

    return [np.asarray(cv2.resize(picture, (shape[1], shape[0])), np.uint8) for picture in pictures]


def _while_carried(clip: Clip, duration_s: float) -> tuple[int, int]:
    """Half-open range of frames in the middle of the carrying."""
    truth = clip.truth
    carried = np.flatnonzero(truth.held) if truth.held.any() else np.arange(truth.num_frames)
    length = max(round(duration_s * truth.fps), 2)
    first = int(np.clip((carried[0] + carried[-1] - length) // 2, 1, truth.num_frames - 2))
    return first, min(first + length, truth.num_frames)


def _around_touch(clip: Clip, duration_s: float) -> BoolArray:
    """(T,) bool, frames around the first touch."""
    truth = clip.truth
    touch = int(np.argmax(truth.contact)) if truth.contact.any() else truth.num_frames // 2
    return np.abs(np.arange(truth.num_frames) - touch) <= 0.5 * duration_s * truth.fps
