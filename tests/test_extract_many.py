"""`dexvid extract` of a folder of videos: one folder each, a bad video costs itself alone, and nothing is done twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from extract_runs import expect_one_message, quality_of

from demos.extract.config import ExtractConfig
from demos.extract.many import extract_jobs, find_sources
from demos.interaction import Interaction
from demos.scale import ScaleOptions, run_jobs
from demos.video_folder import find_videos
from dexvid_envs.cli import main
from dexvid_envs.errors import OptionError

pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')


@pytest.fixture
def videos(films: Callable[..., Path], tmp_path: Path) -> Path:
    """Two films, one of them with a click beside it, and what is no film."""
    folder = tmp_path / "videos"
    (folder / "clicked").mkdir(parents=True)
    (folder / "plain.mp4").write_bytes(films().read_bytes())
    (folder / "clicked" / "video.mp4").write_bytes(films(other_hand=True).read_bytes())
    (folder / "clicked" / "object_point.txt").write_text("160 130\n")
    (folder / "broken.mp4").write_text("not a video")
    (folder / ".hidden.mp4").write_text("left by another program")
    return folder


def test_a_folder_of_videos(videos: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, config = tmp_path / "out", ExtractConfig(videos, tmp_path / "out", overlay=False, report=False)
    monkeypatch.setattr("demos.extract.many.EXTRACT_JOB", "scale_jobs:extract_marked")  # patches do not reach the workers
    sources = find_sources(config)
    assert sources is not None
    jobs, options = extract_jobs(sources, config), ScaleOptions(workers=2, job_memory_gb=0.0)
    summary = run_jobs(jobs, out, options)
    assert sorted(summary.made) == ["clicked", "plain"]
    assert summary.failed["broken"].attempts == 1
    assert "cannot read" in summary.failed["broken"].reason
    alone, one_of_many = Interaction.load(unbroken / "interaction.npz"), Interaction.load(out / "plain" / "interaction.npz")
    # not to the last bit: sums over several threads round differently
    np.testing.assert_allclose(one_of_many.object_points_world, alone.object_points_world, atol=1e-6)
    assert quality_of(out / "clicked")["config"]["object_point"] == [160.0, 130.0]
    assert summary.made["plain"]["failed_gates"] == [gate["name"] for gate in quality_of(unbroken)["gates"] if not gate["ok"]]
    (videos / "clicked" / "object_point.txt").write_text("161 130\n")
    again = run_jobs(jobs, out, options)
    assert (list(again.made), list(again.kept)) == (["clicked"], ["plain"])


def test_the_command_tells_what_became_of_each(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_text("not a video")
    arguments = ["extract", str(tmp_path / "one.mp4"), str(tmp_path / "two.mp4"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--workers", "1", "--retries", "0"]) == 1
    told = capfd.readouterr()
    assert "0 made, 0 there already, 2 failed; 0 passed all gates" in told.out
    assert "failed: one: cannot read" in told.err
    assert sorted(json.loads((tmp_path / "out" / "summary.json").read_text())["failed"]) == ["one", "two"]


def test_a_single_recording_is_not_many(tmp_path: Path) -> None:
    (tmp_path / "camera" / "depth").mkdir(parents=True)
    for path in (tmp_path / "one.mp4", tmp_path / "camera"):
        assert find_sources(ExtractConfig(path, tmp_path / "out")) is None
    assert find_sources(ExtractConfig(tmp_path, tmp_path / "out", importer="dexmv")) is None


def test_a_folder_without_videos(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert main(["extract", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    expect_one_message(capfd.readouterr().err, f"no videos in {tmp_path}; expected NAME.mp4 or NAME/video.mp4")


@pytest.mark.parametrize("option", ["--masks", "--depth", "--keep-work"])
def test_options_of_one_video(videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture, option: str) -> None:
    assert main(["extract", str(videos), "--out", str(tmp_path / "out"), option, str(tmp_path)]) == 2
    expect_one_message(capfd.readouterr().err, f"{option} is of one source")


def test_no_video_is_lost_to_another_of_its_name(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mov", "b.mp4"):
        (tmp_path / name).touch()
    assert list(find_videos(tmp_path)) == ["a.mov", "a.mp4", "b"]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.mp4").touch()
    with pytest.raises(OptionError, match=r"would both be called a\.mp4"):
        find_sources(ExtractConfig(tmp_path, tmp_path / "out"), [tmp_path / "more"])


def test_ray_that_is_not_installed(tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.mp4").write_text("not a video")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["extract", str(tmp_path), "--out", str(tmp_path / "out"), "--engine", "ray"]) == 2
    expect_one_message(capfd.readouterr().err, "pip install -c constraints.txt -e '.[scale]'")
