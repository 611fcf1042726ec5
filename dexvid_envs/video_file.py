"""Whether a video that is written comes out whole: ffmpeg, which writes it, keeps a full disk to itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError


@contextlib.contextmanager
def whole_video(path: Path, writer: Any) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Yields a function that adds a picture (H, W, 3); at the end the video is closed, and holds all that were added.

    Args:
        path: of the video.
        writer: of imageio, to that file (`append_data`, `close`).

    Raises:
        OptionError: it does not hold them, such as on a full disk.
    """
    added = 0

    def add(picture: NDArray[np.uint8]) -> None:
        nonlocal added
        writer.append_data(picture)
        added += 1

    try:
        with plain_ffmpeg_errors(path):
            yield add
    finally:  # used as a context, imageio's writer would leave ffmpeg running, and writing, after an error
        writer.close()
    expect_pictures(path, added)


@contextlib.contextmanager
def plain_ffmpeg_errors(path: Path) -> Iterator[None]:
    """Says in one line what ffmpeg said where it has gone while the video `path` was written.

    Raises:
        OptionError: it has gone.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # imageio's own, with all that ffmpeg said
            raise OptionError(f"the video {path} cannot be written ({ffmpeg_reason(error)}); make room on the disk") from error
        raise


def expect_pictures(path: Path, count: int) -> None:
    """Looks whether a video that was just written holds so many pictures.

    Raises:
        OptionError: it does not.
    """
    import imageio_ffmpeg

    try:
        written = (imageio_ffmpeg.count_frames_and_secs(str(path))[0] or 0) if count else 0
    except (OSError, RuntimeError):
        written = 0
    if written < count:
        raise OptionError(f"the video {path} was not written whole ({written} of {count} pictures); make room on the disk")


def ffmpeg_reason(error: BaseException) -> str:
    """The last telling line of ffmpeg's complaint."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "===" not in line]
    telling = [line for line in lines if "Invalid data" in line or "moov atom" in line or "could not find" in line.lower()]
    return (telling or lines or [type(error).__name__])[-1].split("] ")[-1][:160]
