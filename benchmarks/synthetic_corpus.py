"""How well MediaPipe finds the hand in the synthetic evaluation corpus, and a picture of every clip to look at.

    python -m benchmarks.synthetic_corpus [--corpus DIR] [--width W --height H --fps F] [--quick]

Clips that are not there yet are made first. A frame counts as found where a detected hand lies on the true one: its 21 points
are on average nearer than half the hand's size.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any

import imageio.v3 as imageio
import numpy as np
import tyro

from benchmarks.result import RESULTS, Check, write_result
from demos.extract.config import ExtractConfig
from demos.extract.hand.follow import MediaPipeHands, hand_size_px
from demos.synthetic.corpus import EVALUATION_CLIPS, Pictures, contact_sheet, make_corpus
from demos.synthetic.truth import ClipTruth
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import progress_bar

TARGET_RATE = 0.8
_ON_THE_HAND = 0.5  # hand sizes


@dataclasses.dataclass(frozen=True)
class CorpusBenchmark:
    """Arguments of the benchmark.

    Attributes:
        corpus: folder of the evaluation corpus; made there where it is missing.
        count: how many clips.
        pictures: their size and rate; smaller ones are faster to make and harder to see hands in.
        quick: two small clips; the results go beside the corpus and replace nothing.
    """

    corpus: Path = Path("synthetic_evaluation")
    count: int = EVALUATION_CLIPS
    pictures: Annotated[Pictures, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Pictures)
    quick: bool = False


def main(arguments: CorpusBenchmark) -> dict[str, Any]:
    """Makes what is missing, runs the detector over every clip and writes the table."""
    count, pictures = (2, Pictures(320, 240, fps=12.0)) if arguments.quick else (arguments.count, arguments.pictures)
    with progress_bar("clips") as report:
        made = make_corpus("evaluation", count, arguments.corpus, pictures=pictures, report=report)
    rows, began = [], time.monotonic()
    with progress_bar("hands") as report:
        for number, folder in enumerate(made.folders):
            rows.append(clip_row(folder))
            report((number + 1) / len(made.folders), folder.name)
    rate = sum(row["found"] for row in rows) / sum(row["frames"] for row in rows)
    checks = [
        Check("frames in which MediaPipe finds the hand, all clips", rate, TARGET_RATE, "higher"),
        Check("clips", len(rows), 20, "higher"),
    ]
    out = arguments.corpus if arguments.quick else RESULTS
    config = {"min_confidence": ExtractConfig.min_confidence, "clips": len(rows), "pictures": dataclasses.asdict(pictures)}
    write_result(out / "synthetic_corpus.json", "synthetic_corpus", config, rows, checks)
    with atomic_path(out / "synthetic_corpus.jpg") as temporary:
        imageio.imwrite(temporary, np.concatenate([contact_sheet(folder, columns=6, width=128) for folder in made.folders]))
    print(f"hand found in {rate:.1%} of the frames of {len(rows)} clips ({time.monotonic() - began:.0f} s of detection)")
    for row in rows:
        print(f"  {row['clip']:<28} {row['found_share']:6.1%}  {row['median_error_px']:5.1f} px  {row['side']}")
    return json.loads((out / "synthetic_corpus.json").read_text())


def clip_row(folder: Path) -> dict[str, Any]:
    """Detection over one clip."""
    truth = ClipTruth.load(folder / "truth.npz")
    detector = MediaPipeHands(ExtractConfig.min_confidence, mirrored=False)
    found, side_known, errors_px = 0, 0, []
    try:
        for frame, picture in enumerate(imageio.imiter(folder / "video.mp4", plugin="FFMPEG")):
            true = truth.hand_keypoints_image[frame]
            for hand in detector.detect(np.asarray(picture)):
                error_px = np.linalg.norm(hand.image - true, axis=-1).mean()
                if error_px < _ON_THE_HAND * hand_size_px(true):
                    found, side_known = found + 1, side_known + (hand.side == truth.hand_side)
                    errors_px.append(error_px)
                    break
    finally:
        detector.close()
    return {
        "clip": truth.clip_id,
        "object": truth.object_names[0],
        "side": truth.hand_side,
        "frames": truth.num_frames,
        "found": found,
        "found_share": round(found / truth.num_frames, 4),
        "side_known_share": round(side_known / max(found, 1), 4),
        "median_error_px": round(float(np.median(errors_px)), 2) if errors_px else float("nan"),
        "hand_size_px": round(float(np.median(hand_size_px(truth.hand_keypoints_image))), 1),
    }


if __name__ == "__main__":
    main(tyro.cli(CorpusBenchmark))
