"""A video that ffmpeg could not write whole is never taken for one."""

from __future__ import annotations

from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest

from dexvid_envs.errors import OptionError
from dexvid_envs.playback import video_writer
from dexvid_envs.video_file import whole_video

PICTURE = np.zeros((48, 64, 3), np.uint8)


class Writer:
    """Takes pictures and loses them."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error, self.closed = error, False

    def append_data(self, picture: np.ndarray) -> None:
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True


def test_pictures_that_are_not_there_in_the_end_are_missed(tmp_path: Path) -> None:
    writer = Writer()
    message = r"film.mp4 was not written whole \(0 of 1 pictures\); make room"
    with pytest.raises(OptionError, match=message), whole_video(tmp_path / "film.mp4", writer) as add:
        add(PICTURE)
    assert writer.closed


def test_an_ffmpeg_that_has_gone_is_told_of_plainly(tmp_path: Path) -> None:
    writer = Writer(OSError("[Errno 32] Broken pipe\n\nFFMPEG COMMAND:\nffmpeg -y\n\nav_interleaved_write_frame(): no room"))
    message = r"film.mp4 cannot be written \(av_interleaved_write_frame\(\): no room\); make room"
    with pytest.raises(OptionError, match=message), whole_video(tmp_path / "film.mp4", writer) as add:
        add(PICTURE)
    assert writer.closed


def test_a_film_of_episodes_that_is_not_whole_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.mp4"
    with video_writer(path, 20.0) as add:
        add(PICTURE)
    older = path.read_bytes()
    monkeypatch.setattr(imageio, "get_writer", lambda *_, **__: Writer())
    with pytest.raises(OptionError, match="0 of 1 pictures"), video_writer(path, 20.0) as add:
        add(PICTURE)
    assert path.read_bytes() == older
    assert [one.name for one in tmp_path.iterdir()] == ["film.mp4"]
