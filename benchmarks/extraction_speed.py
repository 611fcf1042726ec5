"""How long the whole extraction takes, without overlay and report, against MediaPipe alone on the same 720p video.

    python -m benchmarks.extraction_speed [VIDEO] [--rounds N] [--threads N] [--quick]

Both take turns in one process that is held to the same cores, so that a busy machine slows both. MediaPipe alone reads the
video and finds and follows two hands, as its own examples do. Without a video, the shipped synthetic clip is scaled up to 720p
and played to and fro.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.result import RESULTS, Check, write_result
from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract
from demos.video import RgbImage, VideoInfo, frame_stride, probe_video, read_frames, video_writer
from dexvid_envs.errors import OptionError

_SHIPPED = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips" / "training-00001-place" / "video.mp4"
_SIZE = (1280, 720)
_FRAMES = 300
TARGET_RATIO = 2.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class SpeedConfig:
    """Settings of the benchmark.

    Attributes:
        video: a video of 1280x720; another size is measured as well, but is not what the target is for.
        out: result file; with --quick in the current folder.
        rounds: turns of each; the figure is the median of the ratios.
        threads: cores that the process is held to, and so the threads of both.
        quick: one round of a few frames.
    """

    video: tyro.conf.Positional[Path | None] = None
    out: Path | None = None
    rounds: int = 3
    threads: int = 1
    quick: bool = False


def main(config: SpeedConfig) -> dict[str, Any]:
    """Measures, prints and writes."""
    if config.threads < 1 or config.rounds < 1:
        raise OptionError(f"expected at least one round and thread, got {config.rounds} and {config.threads}")
    cores = hold_to_cores(config.threads)
    rounds, frames = (1, 24) if config.quick else (config.rounds, _FRAMES)
    with tempfile.TemporaryDirectory(prefix="dexvid-speed-") as name:
        folder = Path(name)
        video = config.video or scaled_up(_SHIPPED, folder / "video.mp4", frames)
        info = probe_video(video)
        rows = []
        for number in range(rounds):
            alone_s, looked_at = mediapipe_alone_s(info)
            whole_s, stages_s = extraction_s(video, folder / f"round_{number}")
            row = {
                "round": number + 1,
                "frames": looked_at,
                "MediaPipe alone, ms a frame": round(1e3 * alone_s / looked_at, 2),
                "extraction, ms a frame": round(1e3 * whole_s / looked_at, 2),
                "ratio": round(whole_s / alone_s, 3),
                **{f"{stage}, ms a frame": round(1e3 * value / looked_at, 2) for stage, value in stages_s.items()},
            }
            rows.append(row)
            print(row, flush=True)
    ratio = statistics.median(row["ratio"] for row in rows)
    checks = [Check("extraction without overlay and report / MediaPipe alone", ratio, TARGET_RATIO, "lower")]
    shown = config.video.name if config.video else "shipped synthetic clip, scaled up to 720p, to and fro"
    settings = {
        "video": shown,
        "size": [info.width, info.height],
        "fps": info.fps,
        "rounds": rounds,
        "threads": config.threads,
        "held_to_cores": cores,
    }
    out = config.out or (Path("extraction_speed.json") if config.quick else RESULTS / "extraction_speed.json")
    write_result(out, "extraction_speed", settings, rows, checks)
    print(out.with_suffix(".md").read_text())
    return {"rows": rows, "checks": [check.to_json() for check in checks]}


def begin_with_threads(count: int) -> None:
    """Begins this program again with so many threads of linear algebra, unless that is how it was begun.

    More threads than cores wait for each other in a busy loop, and neither side would be measured but the waiting.
    """
    wanted = dict.fromkeys(_THREADS, str(count))
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.extraction_speed", *sys.argv[1:]], os.environ | wanted)


def hold_to_cores(count: int) -> bool:
    """Holds this process and the threads it starts to so many cores; False where the system cannot.

    The threads of linear algebra are as many as `begin_with_threads` says: they were made when numpy was imported.
    """
    import cv2

    cv2.setNumThreads(count)
    if not hasattr(os, "sched_setaffinity"):
        return False
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[:count])
    return count <= len(allowed)


def mediapipe_alone_s(info: VideoInfo) -> tuple[float, int]:
    """Time in which MediaPipe's own pipeline finds the hands in the frames that the extraction looks at, and their number."""
    from mediapipe.python.solutions import hands as solution

    made: Any = solution.Hands(
        static_image_mode=False,
        max_num_hands=2,
        min_detection_confidence=ExtractConfig.min_confidence,
        min_tracking_confidence=ExtractConfig.min_confidence,
    )
    count = 0
    try:
        made.process(np.zeros((64, 64, 3), np.uint8))  # the models are loaded with the first picture
        began = time.perf_counter()
        for frame in read_frames(info, frame_stride(info, ExtractConfig.fps_limit)):
            made.process(np.ascontiguousarray(frame.rgb))
            count += 1
        return time.perf_counter() - began, count
    finally:
        made.close()


def extraction_s(video: Path, out: Path) -> tuple[float, dict[str, float]]:
    """Time of the whole extraction without overlay and report, and of each of its stages."""
    began = time.perf_counter()
    done = extract(ExtractConfig(video=video, out=out, overlay=False, report=False))
    return time.perf_counter() - began, done.quality["timings_s"]


def scaled_up(source: Path, target: Path, frames: int) -> Path:
    """A video of 1280x720 from a smaller one: as high, its sides filled with the border's colours, played to and fro."""
    info = probe_video(source)
    pictures = [_fitted(frame.rgb) for frame in read_frames(info)]
    with video_writer(target, _SIZE, info.fps, quality=8) as writer:
        for number in _to_and_fro(len(pictures), frames):
            writer.send(pictures[number])
    return target


def _to_and_fro(length: int, count: int) -> Iterator[int]:
    period = max(2 * (length - 1), 1)
    for number in range(count):
        place = number % period
        yield min(place, period - place)


def _fitted(rgb: RgbImage) -> RgbImage:
    import cv2

    width, height = _SIZE
    scale = min(width / rgb.shape[1], height / rgb.shape[0])
    larger = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    x, y = width - larger.shape[1], height - larger.shape[0]
    filled = cv2.copyMakeBorder(larger, y // 2, y - y // 2, x // 2, x - x // 2, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(filled, np.uint8)


if __name__ == "__main__":
    settings = tyro.cli(SpeedConfig, description=__doc__)
    begin_with_threads(settings.threads)
    main(settings)
