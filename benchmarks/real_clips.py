"""The extraction of real videos against labels made by hand: is the hand found, its key points right, the object tracked?

    python -m benchmarks.real_clips --videos DIR [--clips NAME ...] [--work DIR] [--out DIR]

The videos are no part of the project; they are known by their contents, and those that the folder lacks are named. Written are
a table (benchmarks/results/real_clips.{json,md}) and a contact sheet (.jpg). The object is left for the extraction to find.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import tyro

from benchmarks.labels import REAL_VIDEOS, ClipLabels, find_labelled_videos, load_labels
from benchmarks.real_clips_figure import Picture, chosen_frames, sheet, tile
from benchmarks.real_clips_score import (
    NOTHING,
    OUTLINE_PART,
    FrameScore,
    FrameTracks,
    pooled,
    read_tracks,
    score_frame,
    summary,
)
from benchmarks.result import RESULTS, Check, write_result
from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract
from demos.video import probe_video, read_frames
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import progress_bar

FOUND_SHARE = 0.95
KEYPOINT_SHARE = 0.9
OBJECT_SHARE = 0.95


@dataclasses.dataclass(frozen=True)
class RealClips:
    """Arguments of the benchmark.

    Attributes:
        videos: folder with the labelled videos, whatever they are called.
        clips: only these, by the names in the label file; their results go to the work folder.
        labels: the label file.
        work: folder for the extractions.
        out: folder for table and contact sheet.
        keep: score extractions that are in the work folder already, without asking whether they are of today's code.
    """

    videos: Path
    clips: tuple[str, ...] = ()
    labels: Path = REAL_VIDEOS
    work: Path = Path("runs/real_clips")
    out: Path = RESULTS
    keep: bool = False


def main(arguments: RealClips) -> dict[str, Any]:
    """Extracts, scores and writes the table and the contact sheet."""
    clips = _chosen(arguments)
    videos = find_labelled_videos(arguments.videos, clips)
    missing = [clip.name for clip in clips if clip.name not in videos]
    for name in missing:
        print(f"{name}: no video of this content in {arguments.videos}; left out", file=sys.stderr)
    clips = [clip for clip in clips if clip.name in videos]
    if not clips:
        raise OptionError(f"--videos {arguments.videos} holds none of the labelled videos; give the folder that holds them")
    rows, scores, tiles, began = [], [], [], time.monotonic()
    with progress_bar("clips") as report:
        for number, clip in enumerate(clips):
            row, clip_scores, pictures = run_clip(clip, videos[clip.name], arguments)
            rows.append(row)
            scores.append(clip_scores)
            tiles.append(pictures)
            report((number + 1) / len(clips), clip.name)
    rows.append(pooled(rows, clips, scores))
    every = rows[-1]
    targets = (
        ("hand found or tracked, of the frames in which it is visible", "found", FOUND_SHARE),
        ("key points within 20 px, of those labelled", "within 20 px", KEYPOINT_SHARE),
        ("tracked object points that are on the object", "object points on it", OBJECT_SHARE),
        ("frames in which the object is tracked", "object tracked", OBJECT_SHARE),
    )
    checks = [Check(name, every[column], target, "higher") for name, column, target in targets if every[column] != ""]
    checks.append(Check("labelled videos that were not at hand", len(missing), 0, "lower"))
    out = arguments.work if arguments.clips else arguments.out
    out.mkdir(parents=True, exist_ok=True)
    write_result(out / "real_clips.json", "real_clips", {"labels": arguments.labels.name, "missing": missing}, rows, checks)
    with atomic_path(out / "real_clips.jpg") as temporary:
        imageio.imwrite(temporary, sheet(tiles), quality=80)
    print((out / "real_clips.md").read_text())
    print(f"{time.monotonic() - began:.0f} s; look at {out / 'real_clips.jpg'}")
    return json.loads((out / "real_clips.json").read_text())


def run_clip(clip: ClipLabels, video: Path, arguments: RealClips) -> tuple[dict[str, Any], list[FrameScore], list[Picture]]:
    """One clip: its row, the scores of its labelled frames and the tiles of the contact sheet."""
    folder = arguments.work / clip.name
    info = probe_video(video)
    failure = ""
    if not (arguments.keep and (folder / "interaction.npz").is_file()):
        try:
            extract(ExtractConfig(video=video, out=folder))
        except DexVidError as error:  # such as no hand found: everything counts as missed
            failure = str(error)
            print(f"{clip.name}: {failure}", file=sys.stderr)
    numbers = [label.frame for label in clip.frames]
    tracks = [NOTHING] * len(numbers) if failure else read_tracks(folder, info.fps, numbers)
    scores = [score_frame(label, track, clip.hand_length_px) for label, track in zip(clip.frames, tracks, strict=True)]
    row = summary(clip.name, clip, scores) | {"failure": failure}
    return row, scores, _tiles(clip, video, tracks, scores)


def _chosen(arguments: RealClips) -> list[ClipLabels]:
    clips = load_labels(arguments.labels)
    names = [clip.name for clip in clips]
    for name in arguments.clips:
        if name not in names:
            raise OptionError(f"--clips names {name!r}, expected some of: {', '.join(names)}")
    return [clip for clip in clips if not arguments.clips or clip.name in arguments.clips]


def _tiles(clip: ClipLabels, video: Path, tracks: list[FrameTracks], scores: list[FrameScore]) -> list[Picture]:
    shown = {clip.frames[place].frame: place for place in chosen_frames(len(clip.frames))}
    pictures = []
    for frame in read_frames(probe_video(video)):
        place = shown.get(frame.index)
        if place is not None:
            title, tolerance_px = f"{clip.name} {frame.index}", clip.width * OUTLINE_PART
            pictures.append(tile(frame.rgb, clip.frames[place], tracks[place], scores[place], title, tolerance_px))
    return pictures


if __name__ == "__main__":
    try:
        main(tyro.cli(RealClips))
    except DexVidError as error:
        sys.exit(f"error: {error}")
