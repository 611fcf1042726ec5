"""The speed benchmark: a 720p video to measure on, and a whole small run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.extraction_speed import SpeedConfig, main, scaled_up
from demos.video import probe_video, read_frames
from dexvid_envs.errors import OptionError

SHIPPED = Path(__file__).parent.parent / "demos" / "data" / "synthetic_clips" / "training-00001-place" / "video.mp4"


def test_the_shipped_clip_is_scaled_up_to_720p_and_played_to_and_fro(tmp_path: Path) -> None:
    length = sum(1 for _ in read_frames(probe_video(SHIPPED)))
    info = probe_video(scaled_up(SHIPPED, tmp_path / "video.mp4", length + 3))
    assert (info.width, info.height) == (1280, 720)
    frames = [frame.rgb.astype(int) for frame in read_frames(info)]
    assert len(frames) == length + 3
    assert abs(frames[length] - frames[length - 2]).mean() < 3.0  # back again


@pytest.mark.parametrize("config", [SpeedConfig(threads=0), SpeedConfig(rounds=0)])
def test_settings_that_measure_nothing_are_refused(config: SpeedConfig) -> None:
    with pytest.raises(OptionError, match="at least one round and thread"):
        main(config)
