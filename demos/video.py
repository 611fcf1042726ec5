"""Reading a video as a stream and writing one; knows nothing of hands or objects.

Frames pass one at a time, so the length of a video does not matter for memory. ffmpeg delivers them upright and at a constant
rate, repeating and dropping frames where that of the file varies; therefore frame i is at i / fps seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import re
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import InputFileError
from dexvid_envs.files import sha256_of_files
from dexvid_envs.video_file import expect_pictures, ffmpeg_reason, plain_ffmpeg_errors

RgbImage = NDArray[np.uint8]

#: Codecs by which ffmpeg "plays" text files as videos.
_TEXT_CODECS = ("ansi", "bintext", "xbin", "idf")
#: A container may announce a little more than it holds; more than this part missing means that the file was cut.
_MISSING_PART_ALLOWED = 0.1
#: The finest rate a file of varying rate is read at, as a multiple of its average; beyond, most frames would be repetitions.
_FINEST_RATE = 2.0
_HEADER_TIMEOUT_S = 20.0


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself.

    Attributes:
        path: the file.
        width: px, after the rotation that phones write beside the picture.
        height: px.
        fps: frames a second, as they are read.
        num_frames: as announced by the container; 0 where it announces none.
        sha256: hash of the file.
        varying_rate: whether the file's own rate varies; frames are counted after they were brought to `fps`.
    """

    path: Path
    width: int
    height: int
    fps: float
    num_frames: int
    sha256: str
    varying_rate: bool = False


def probe_video(path: Path) -> VideoInfo:
    """Opens a video and reads its first frame.

    Raises:
        InputFileError: the path is missing, is a folder, is empty, is no video or has no readable frame.
    """
    if not path.exists():
        raise InputFileError(f"no file at {path}: expected a video such as an .mp4; check the path")
    if path.is_dir():
        raise InputFileError(f"{path} is a folder, expected a video file; for another extractor's output add --importer NAME")
    if path.stat().st_size == 0:
        raise InputFileError(f"{path} is empty (0 bytes), expected a video; copy or record it again")
    stream = _open_stream(path)
    try:
        meta = next(stream)
        if str(meta.get("codec", "")).strip(", ") in _TEXT_CODECS:
            raise InputFileError(_not_a_video(path, "it holds text"))
        next(stream)
    except StopIteration:
        raise InputFileError(_not_a_video(path, "it has no readable frame")) from None
    except (OSError, RuntimeError, KeyError, IndexError, AssertionError, ZeroDivisionError) as error:
        raise InputFileError(_not_a_video(path, ffmpeg_reason(error))) from error
    finally:
        stream.close()
    width, height = meta["size"]
    mean_fps, duration_s = float(meta.get("fps") or 0.0), float(meta.get("duration") or 0.0)
    if not (0.0 < mean_fps < 10_000.0) or width <= 0 or height <= 0:
        raise InputFileError(_not_a_video(path, f"it has size {width}x{height} and {mean_fps} frames a second"))
    finest_fps = _finest_rate(path) or mean_fps
    fps = finest_fps if finest_fps <= _FINEST_RATE * mean_fps else mean_fps
    num_frames = round(duration_s * fps) if math.isfinite(duration_s) else 0
    return VideoInfo(path, int(width), int(height), fps, num_frames, sha256_of_files([path]), finest_fps != mean_fps)


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture: `index` counts the source's frames, `rgb` is (H, W, 3)."""

    index: int
    rgb: RgbImage


def frame_stride(info: VideoInfo, fps_limit: float) -> int:
    """Every how many source frames one is used, so that at most `fps_limit` frames a second remain."""
    return max(1, math.ceil(info.fps / fps_limit - 1e-3))


def read_frames(info: VideoInfo, stride: int = 1) -> Iterator[Frame]:
    """Yields every `stride`-th frame.

    Raises:
        InputFileError: the video ends long before the length that it announces.
    """
    stream = _open_stream(info.path, info.fps if info.varying_rate else None)
    count = 0
    try:
        next(stream)
        for data in stream:
            if count % stride == 0:
                yield Frame(count, np.frombuffer(data, np.uint8).reshape(info.height, info.width, 3))
            count += 1
    except RuntimeError as error:
        raise InputFileError(_truncated(info, count)) from error
    finally:
        stream.close()
    if count < (1.0 - _MISSING_PART_ALLOWED) * info.num_frames - 2:
        raise InputFileError(_truncated(info, count))


@contextlib.contextmanager
def video_writer(path: Path, size: tuple[int, int], fps: float, quality: int = 6) -> Iterator[Generator[None, RgbImage, None]]:
    """Yields a generator whose `send` takes pictures of `size` = (width, height) px; H.264, for browsers.

    Raises:
        OptionError: fewer pictures than were sent are in the file at the end, such as on a full disk.
    """
    import imageio_ffmpeg

    rate: Any = Fraction(fps).limit_denominator(100_000)  # so that 29.97 stays what it is
    options = ["-movflags", "+faststart"]  # the index comes first, so that a browser can start at once
    writer = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=rate,
        quality=quality,
        macro_block_size=2,
        ffmpeg_log_level="error",
        output_params=options,
    )
    writer.send(None)
    counted = _counted(writer)
    sent = next(counted)
    try:
        with plain_ffmpeg_errors(path):
            yield counted
    finally:
        writer.close()
    expect_pictures(path, len(sent))


def _counted(writer: Generator[None, RgbImage, None]) -> Generator[Any, RgbImage, None]:
    """Hands pictures on; yields first a list that grows by an entry with each."""
    sent: list[None] = []
    picture = yield sent
    while True:
        writer.send(picture)
        sent.append(None)
        picture = yield


class FrameCache:
    """Pictures by number, kept as JPEG in one file: random access also backwards, at little memory.

    Without a path the file has no name and is gone when the cache is closed; with one it stays, and `FrameCache(path, spans)`
    reads it again.
    """

    def __init__(self, path: Path | None = None, spans: NDArray[np.int64] | None = None) -> None:
        if path is None:
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="dexvid-")  # noqa: SIM115  (lives as long as the cache)
        else:
            self._file = path.open("w+b" if spans is None else "rb")
        self._spans: list[tuple[int, int]] = [] if spans is None else [(int(start), int(length)) for start, length in spans]

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def spans(self) -> NDArray[np.int64]:
        """(N, 2) start and length in bytes of each picture in the file."""
        return np.array(self._spans, np.int64).reshape(-1, 2)

    def flush(self) -> None:
        """Brings everything to the disk."""
        self._file.flush()

    def append(self, rgb: RgbImage) -> None:
        """Adds a picture (h, w, 3)."""
        import cv2

        ok, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
        if not ok:
            raise RuntimeError(f"OpenCV could not encode a picture of shape {rgb.shape}")
        self._file.seek(0, 2)
        self._spans.append((self._file.tell(), len(data)))
        self._file.write(data.tobytes())

    def rgb(self, number: int) -> RgbImage:
        """The picture (h, w, 3) with this number, counted from 0 in the order of `append`."""
        import cv2

        start, length = self._spans[number]
        self._file.seek(start)
        picture = cv2.imdecode(np.frombuffer(self._file.read(length), np.uint8), cv2.IMREAD_COLOR)
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

    def gray(self, number: int) -> NDArray[np.uint8]:
        """The same in grey, (h, w)."""
        import cv2

        start, length = self._spans[number]
        self._file.seek(start)
        return np.asarray(cv2.imdecode(np.frombuffer(self._file.read(length), np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)

    def close(self) -> None:
        """Closes the file; one without a name is gone."""
        self._file.close()


def _open_stream(path: Path, fps: float | None = None) -> Generator[Any, None, None]:
    """What `imageio_ffmpeg` reads: a description, then the frames' bytes; with `fps` by their time, at that rate."""
    import imageio_ffmpeg

    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of every picture that is put upright
    options = [] if fps is None else ["-r", str(_exact_rate(fps))]
    return imageio_ffmpeg.read_frames(str(path.resolve()), output_params=options)


def _finest_rate(path: Path) -> float | None:
    """The rate at which every frame of a video has a place of its own; None where ffmpeg does not say."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", str(path.resolve())]
    try:
        said = subprocess.run(command, capture_output=True, timeout=_HEADER_TIMEOUT_S, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"Stream #.* Video: .* (\d+\.?\d*)(k?) tbr", said.decode(errors="replace"))
    return float(found[1]) * (1000.0 if found[2] else 1.0) if found else None


def _exact_rate(fps: float) -> Fraction:
    """The rate that ffmpeg shows with two decimals: 29.97 is 30000/1001."""
    television = Fraction(round(fps * 1.001) * 1000, 1001)
    return television if abs(float(television) - fps) < 0.006 and fps % 1 else Fraction(fps).limit_denominator(1000)


def _not_a_video(path: Path, reason: str) -> str:
    return (
        f"cannot read {path} as a video ({reason}): expected a file that ffmpeg can decode, such as an .mp4; "
        "if it was copied or downloaded, it may be cut off: copy it again, or convert it with 'ffmpeg -i INPUT output.mp4'"
    )


def _truncated(info: VideoInfo, count: int) -> str:
    return (
        f"{info.path} is truncated: only {count} of {info.num_frames} announced frames can be read; "
        f"copy it again, or keep the readable part with 'ffmpeg -i {info.path.name} -c copy shorter.mp4'"
    )
