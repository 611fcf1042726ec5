"""How well masks and point tracks of the handled object fit the truth of synthetic clips.

    python -m benchmarks.object_in_picture [--corpus DIR] [--seeds auto click box] [--quick]

The hand is the true one, so that only this stage is measured. A seed counts as right where most of the tracked points lie on
the handled object or its handle. A point's error is its distance from where the true motion takes the surface point that it
first lay on.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.result import RESULTS, Check, write_result
from demos.camera import transform, unproject
from demos.extract.objects.masks import ObjectSeed, seed_from_box
from demos.extract.objects.scene import StaticScene, observe_scene
from demos.extract.objects.seeds import find_object, seed_at_click
from demos.extract.objects.tracks import ObjectInPicture, follow_object
from demos.parts import PixelTracks
from demos.synthetic.corpus import clip_folders
from demos.synthetic.truth import ClipTruth
from demos.video import FrameCache, probe_video, read_frames
from dexvid_envs.progress import progress_bar

SHIPPED = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"
#: Figures of a clip without a point on anything.
NO_TRACKS = {"on_object": 0.0, "points": 0.0, "error_px": np.nan, "jitter_px": np.nan, "life_frames": 0.0}
_MIN_AREA = 20  # px; a frame that shows less of the object says nothing about masks


@dataclasses.dataclass(frozen=True)
class ObjectBenchmark:
    """Arguments of the benchmark.

    Attributes:
        corpus: folder of synthetic clips, as dexvid synthesize makes them.
        seeds: how the object is named: auto, click or box, the latter two from the truth of the first frame.
        out: where the results go; by default benchmarks/results.
        quick: the shipped clips and automatic seeds only; the results go to `out`, or nowhere.
    """

    corpus: Path = Path("synthetic_evaluation")
    seeds: tuple[str, ...] = ("auto", "click", "box")
    out: Path | None = None
    quick: bool = False


def main(arguments: ObjectBenchmark) -> list[dict[str, Any]]:
    """Measures every clip with every kind of seed and writes the table."""
    folders = clip_folders(SHIPPED if arguments.quick else arguments.corpus)
    kinds = ("auto",) if arguments.quick else arguments.seeds
    rows: list[dict[str, Any]] = []
    with progress_bar("clips") as report:
        for number, folder in enumerate(folders):
            rows += [clip_row(folder, kind) for kind in kinds]
            report((number + 1) / len(folders), folder.name)
    out = RESULTS if arguments.out is None and not arguments.quick else arguments.out
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        config = {"seeds": list(kinds), "clips": len(folders)}
        write_result(out / "object_in_picture.json", "object_in_picture", config, rows, checks(rows, kinds))
    return rows


def checks(rows: list[dict[str, Any]], kinds: tuple[str, ...]) -> list[Check]:
    """The targets, for each kind of seed."""
    found: list[Check] = []
    for kind in kinds:
        own = [row for row in rows if row["seed"] == kind]
        right = float(np.mean([row["right"] for row in own]))
        overlap, on, error = (float(np.nanmedian([row[name] for row in own])) for name in ("iou", "on_object", "error_px"))
        found += [
            Check(f"{kind}: seeds on the right object", right, 0.9, "higher"),
            Check(f"{kind}: median overlap of masks (IoU)", overlap, 0.8, "higher"),
            Check(f"{kind}: points on the object", on, 0.95, "higher"),
            Check(f"{kind}: median error of points, px", error, 3.0, "lower"),
        ]
    return found


def clip_row(folder: Path, kind: str) -> dict[str, Any]:
    """One line of the table."""
    truth, pictures = ClipTruth.load(folder / "truth.npz"), FrameCache()
    try:
        for frame in read_frames(probe_video(folder / "video.mp4")):
            pictures.append(frame.rgb)
        began = time.process_time()
        scene = observe_scene(pictures, truth.hand_keypoints_image)
        seed = _seed(kind, truth, pictures, scene)
        seeded = time.process_time()
        row: dict[str, Any] = {"clip": folder.name, "seed": kind, "right": False, "iou": 0.0, "iou_10th": 0.0, "over_half": 0.0}
        if seed is None:
            return row | NO_TRACKS
        seen = follow_object(pictures, seed, truth.hand_keypoints_image, truth.fps, 200, lambda: None, scene=scene)
        followed = time.process_time()
    finally:
        pictures.close()
    overlap = mask_overlap(seen, truth)
    row |= {
        "iou": round(float(np.median(overlap)), 3),
        "iou_10th": round(float(np.percentile(overlap, 10)), 3),
        "over_half": round(float((overlap > 0.5).mean()), 3),
    }
    row |= track_figures(seen.tracks, truth)
    row["right"] = bool(row["on_object"] > 0.5)
    row |= {
        "seed_ms_a_frame": round(1000.0 * (seeded - began) / len(pictures), 1),
        "follow_ms_a_frame": round(1000.0 * (followed - seeded) / len(pictures), 1),
    }
    return row


def _seed(kind: str, truth: ClipTruth, pictures: FrameCache, scene: StaticScene) -> ObjectSeed | None:
    import cv2

    hand = truth.hand_keypoints_image
    if kind == "auto":
        return find_object(pictures, hand, np.ones(len(pictures), bool), truth.fps, scene)
    mask = truth.mask(truth.object_names[0])[0]
    if kind == "box":
        row, column = np.nonzero(mask)
        box = np.array([column.min(), row.min(), column.max() + 1, row.max() + 1], float)
        return seed_from_box(box, 0, (mask.shape[1], mask.shape[0]))
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return seed_at_click(pictures, np.array([column, row], float), hand, truth.fps, 0, scene)


def mask_overlap(seen: ObjectInPicture, truth: ClipTruth) -> np.ndarray:
    """(F,) intersection over union of the masks in each frame that shows the object."""
    right = truth.mask(truth.object_names[0])
    frames = np.flatnonzero(right.sum(axis=(1, 2)) >= _MIN_AREA)
    pairs = ((seen.masks[int(frame)], right[frame]) for frame in frames)
    return np.array([(mask & true).sum() / max(int((mask | true).sum()), 1) for mask, true in pairs])


def track_figures(tracks: PixelTracks, truth: ClipTruth) -> dict[str, float]:
    """Share of the points on the object, their error and its jitter (second difference), and how long they live."""
    names = [name for name in (truth.object_names[0], "handle") if name in truth.label_names]
    own = np.isin(truth.labels, [truth.label_names.index(name) for name in names])
    if not tracks.visible.any():
        return NO_TRACKS
    size = np.array(own.shape[2:0:-1])
    column, row = np.moveaxis(np.clip(np.nan_to_num(np.round(tracks.pixels)), 0, size - 1).astype(int), -1, 0)
    on = own[np.arange(len(own))[:, None], row, column] & tracks.visible  # (T, N)
    pose = truth.object_pose_world[0]
    wrong = np.full(tracks.pixels.shape, np.nan)
    for number in np.flatnonzero(on.any(axis=0)):
        first = int(np.argmax(on[:, number]))
        z = np.array([truth.depth_m(first)[row[first, number], column[first, number]]], np.float64)
        world = transform(truth.T_world_camera, unproject(tracks.pixels[first, number][None], z, truth.K))
        home = transform(np.linalg.inv(pose[first]), world)[0]
        wrong[:, number] = tracks.pixels[:, number] - truth.to_image(pose[:, :3, :3] @ home + pose[:, :3, 3])
    error, jitter = (np.linalg.norm(values, axis=-1) for values in (wrong, np.diff(wrong, 2, axis=0)))
    return {
        "on_object": round(float(on.sum() / tracks.visible.sum()), 3),
        "points": round(float(tracks.visible.sum(axis=1).mean()), 1),
        "error_px": round(float(np.nanmedian(error)), 2) if np.isfinite(error).any() else np.nan,
        "jitter_px": round(float(np.sqrt(np.nanmean(jitter**2))), 2) if np.isfinite(jitter).any() else np.nan,
        "life_frames": float(np.median(tracks.visible.sum(axis=0))),
    }


if __name__ == "__main__":
    main(tyro.cli(ObjectBenchmark))
