"""The memory benchmark: its long video, and what a process reports of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.extraction_memory import MemoryConfig, long_video, main
from demos.video import probe_video
from dexvid_envs.errors import OptionError


def test_one_period_is_repeated_at_thirty_frames_a_second(tmp_path: Path) -> None:
    info = probe_video(long_video(tmp_path / "long.mp4", 300))
    assert (info.width, info.height) == (1280, 720)
    assert info.fps == pytest.approx(30.0, abs=0.1)
    assert info.num_frames == pytest.approx(300, abs=8)  # a seam may last a frame longer


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan")])
def test_a_length_that_measures_nothing_is_refused(minutes: float) -> None:
    with pytest.raises(OptionError, match="--minutes"):
        main(MemoryConfig(minutes=minutes))
