"""How much memory the whole extraction of a long 720p video takes, with overlay and report, and how long each stage.

    python -m benchmarks.extraction_memory [--minutes M] [--quick]

The shipped synthetic clip is scaled up to 720p and played to and fro at 30 frames a second for so long; the extraction runs
in a process of its own. The memory is the largest resident size of that process and of the ffmpegs that it runs, together.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tyro

from benchmarks.extraction_speed import scaled_up
from benchmarks.result import RESULTS, Check, write_result
from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract
from demos.video import probe_video
from dexvid_envs.errors import OptionError

_SHIPPED = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips" / "training-00001-place" / "video.mp4"
_FPS = 30.0
_PERIOD_FRAMES = 122  # of the shipped clip, to and fro
TARGET_GIB = 2.0
_MIB = 2**20
_LOOK_EVERY = 50  # steps


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """Settings of the benchmark.

    Attributes:
        minutes: length of the video; the target is for ten.
        out: result file; with --quick in the current folder.
        quick: a video of twenty seconds.
    """

    minutes: float = 10.0
    out: Path | None = None
    quick: bool = False


def main(config: MemoryConfig) -> dict[str, Any]:
    """Measures, prints and writes."""
    if not 0.05 <= config.minutes <= 24 * 60:
        raise OptionError(f"--minutes is {config.minutes}, expected 0.05 to {24 * 60}")
    seconds = 20.0 if config.quick else 60.0 * config.minutes
    with tempfile.TemporaryDirectory(prefix="dexvid-memory-") as name:
        folder = Path(name)
        video = long_video(folder / "long.mp4", round(seconds * _FPS))
        frames = probe_video(video).num_frames
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured = pool.apply(measure, (video, folder / "out"))
    rows = [
        {
            "stage": stage,
            "seconds": round(taken, 1),
            "ms a frame": round(1e3 * taken / frames, 2),
            "peak until its end, MiB": round(measured["peak_after_mib"].get(stage, measured["peak_mib"])),
        }
        for stage, taken in measured["timings_s"].items()
    ]
    gib = (measured["peak_mib"] + measured["peak_ffmpeg_mib"]) / 1024
    print(rows, flush=True)
    checks = [
        Check(f"peak resident memory for {seconds / 60.0:.3g} minutes, with ffmpeg, GiB", round(gib, 3), TARGET_GIB, "lower")
    ]
    settings = {
        "video": "shipped synthetic clip, scaled up to 720p, to and fro",
        "minutes": round(seconds / 60.0, 2),
        "frames": frames,
        "fps": _FPS,
        "overlay_and_report": True,
        "peak_python_mib": round(measured["peak_mib"]),
        "peak_ffmpeg_mib": round(measured["peak_ffmpeg_mib"]),
        "after_imports_mib": round(measured["start_mib"]),
    }
    out = config.out or (Path("extraction_memory.json") if config.quick else RESULTS / "extraction_memory.json")
    write_result(out, "extraction_memory", settings, rows, checks)
    print(out.with_suffix(".md").read_text())
    return {"config": settings, "rows": rows, "checks": [check.to_json() for check in checks]}


def long_video(path: Path, frames: int) -> Path:
    """A video of 1280x720 at 30 frames a second with so many frames: one period, repeated without encoding it again."""
    import imageio_ffmpeg

    period = scaled_up(_SHIPPED, path.with_name("period.mp4"), _PERIOD_FRAMES)
    rate = probe_video(period).fps
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-stream_loop", "-1"]
    command += ["-itsscale", str(rate / _FPS), "-i", str(period), "-c", "copy", "-frames:v", str(frames), str(path)]
    subprocess.run(command, check=True)
    return path


def measure(video: Path, out: Path) -> dict[str, Any]:
    """Extracts in this process: what it took, and how much memory it had needed at the end of each stage."""
    peak_after: dict[str, float] = {}
    start, ffmpeg = _peak_mib(), 0.0

    def note(stage: str, done: int, total: int) -> None:
        nonlocal ffmpeg
        peak_after[stage] = _peak_mib()
        if done % _LOOK_EVERY == 1:
            ffmpeg = max(ffmpeg, _children_peak_mib())

    result = extract(ExtractConfig(video=video, out=out), note)
    return {
        "timings_s": result.quality["timings_s"],
        "peak_after_mib": peak_after,
        "peak_mib": _peak_mib(),
        "peak_ffmpeg_mib": ffmpeg,
        "start_mib": start,
    }


def _peak_mib() -> float:
    """Largest resident size of this process so far; the system counts in KiB, macOS in bytes."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / _MIB if sys.platform == "darwin" else largest * 1024 / _MIB


def _children_peak_mib() -> float:
    """Largest resident sizes of the processes that this one runs now, added up; 0 where the system (no Linux) does not tell.

    What `getrusage` says of children will not do: it counts the copy of this process that each of them begins as.
    """
    total_kib = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for number in children.read_text().split():
            try:
                status = Path(f"/proc/{number}/status").read_text()
            except OSError:  # it has just ended
                continue
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            total_kib += int(found[1]) if found else 0
    return total_kib * 1024 / _MIB


if __name__ == "__main__":
    main(tyro.cli(MemoryConfig, description=__doc__))
