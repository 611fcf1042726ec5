"""How near extracted motion is to the truth, over the synthetic evaluation corpus and with more or less given beside the video.

    python -m benchmarks.reconstruction [--corpus DIR] [--clips N] [--variants NAME ...] [--work DIR] [--quick]

Writes a table (benchmarks/results/reconstruction.{json,md}) and a figure (.png) with point tracks and silhouette shapes side by
side. Clips that are not there yet are made first; extractions are kept in the work folder, so that a run which was stopped goes
on where it was, as long as the extraction's code, the clip and the settings are the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks.reconstruction_figure import draw
from benchmarks.reconstruction_truth import Clip
from benchmarks.reconstruction_variants import VARIANTS, Run, Telling, Variant, run_variant, score_run
from benchmarks.result import RESULTS, Check, write_result
from demos.synthetic.corpus import EVALUATION_CLIPS, Pictures, clip_folders, make_corpus
from dexvid_envs.errors import OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import Report, progress_bar

#: Columns of the table, in its order; those that begin with "scaled_" are after one scale per clip.
COLUMNS: tuple[str, ...] = (
    *("fingertips_mm", "fingertips_to_wrist_mm", "hand_px"),
    *("points_mm", "surface_mm", "uncovered_mm", "middle_mm", "position_mm", "path_mm", "rotation_deg", "jitter_mm"),
    *("hand_keypoints_px", "hand_keypoints_mm", "object_keypoints_px", "object_keypoints_mm"),
    *("parts_share", "object_share", "pose_share", "contact_precision", "contact_recall"),
    *("gravity_deg", "height_mm", "scale"),
    *("scaled_fingertips_mm", "scaled_fingertips_to_wrist_mm", "scaled_points_mm", "scaled_position_mm", "scaled_rotation_deg"),
    *("scaled_hand_keypoints_mm", "scaled_object_keypoints_mm"),
)
_SHARES = ("parts_share", "object_share", "pose_share", "contact_precision", "contact_recall")
_RGB = {
    "fingertips_mm": 30.0,
    "fingertips_to_wrist_mm": 18.0,
    "points_mm": 25.0,
    "position_mm": 20.0,
    "rotation_deg": 10.0,
    "hand_keypoints_mm": 25.0,
    "object_keypoints_mm": 25.0,
}
_IN_PICTURE = {"hand_keypoints_px": 8.0, "object_keypoints_px": 8.0}
#: What the medians over the clips are measured against.
TARGETS: dict[str, dict[str, float]] = {
    "rgb_known_length": _RGB | _IN_PICTURE,
    "rgb": {f"scaled_{name}": target for name, target in _RGB.items()} | _IN_PICTURE,
    "depth": {"fingertips_mm": 15.0, "points_mm": 10.0, "position_mm": 10.0, "rotation_deg": 6.0},
}
#: Columns in which point tracks are to be closer than silhouette shapes, given the same. Of these, `points_mm` asks more of the
#: tracks: their own places, not the nearest surface.
COMPARED: tuple[str, ...] = (
    *("points_mm", "surface_mm", "uncovered_mm", "middle_mm", "path_mm", "rotation_deg"),
    *("object_keypoints_px", "object_keypoints_mm"),
)
_TRACKS, _SHAPES = "rgb_known_length", "silhouette"
_JITTER_RATIO = 0.5
_QUICK = Pictures(320, 240, fps=12.0)


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Arguments of the benchmark.

    Attributes:
        corpus: folder of the clips; those of the evaluation corpus are made there where they are missing.
        as_is: measure the clips that are in the folder and make none, such as a training corpus to develop on.
        clips: how many.
        variants: what is given beside the video, see `benchmarks.reconstruction_variants`.
        telling: how length and object are told.
        pictures: size and rate of clips that are made.
        work: folder in which extractions are kept.
        out: result file; with --quick or --as-is it is in the work folder and replaces no published result.
        processes: extractions at the same time.
        quick: two small clips.
    """

    corpus: Path = Path("synthetic_evaluation")
    as_is: bool = False
    clips: int = EVALUATION_CLIPS
    variants: tuple[str, ...] = tuple(VARIANTS)
    telling: Annotated[Telling, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Telling)
    pictures: Annotated[Pictures, tyro.conf.arg(name="")] = dataclasses.field(default_factory=lambda: Pictures(fps=15.0))
    work: Path = Path("runs/reconstruction")
    out: Path | None = None
    processes: int = 1
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
    """One clip in one variant.

    Attributes:
        figures: see `benchmarks.reconstruction_score`; all inf where the extraction failed.
        failed: why.
        seconds: that the extraction took.
    """

    clip: str
    kind: str
    object_name: str
    figures: dict[str, float]
    failed: str
    seconds: float


def main(arguments: Reconstruction) -> dict[str, Any]:
    """Extracts what is missing, measures everything and writes table and figure."""
    unknown = [name for name in arguments.variants if name not in VARIANTS]
    if unknown or arguments.clips < 1 or arguments.processes < 1:
        raise OptionError(
            f"expected variants out of {', '.join(VARIANTS)} and at least one clip and process, got "
            f"{', '.join(arguments.variants)}, {arguments.clips} and {arguments.processes}"
        )
    folders = _clips(arguments)
    variants = [VARIANTS[name] for name in arguments.variants]
    results: dict[str, list[Result]] = {variant.name: [] for variant in variants}
    with progress_bar("extraction") as report:
        for found in _measure_all(folders, variants, arguments, report):
            for variant, result in zip(variants, found, strict=True):
                results[variant.name].append(result)
    rows, checks = tables(results)
    sentence = mesh_sentence({name: medians(found) for name, found in results.items()})
    config = {
        "clips": len(folders),
        "corpus": "as it is" if arguments.as_is else "evaluation",
        "pictures": dataclasses.asdict(_QUICK if arguments.quick else arguments.pictures) if not arguments.as_is else None,
        "told": dataclasses.asdict(arguments.telling),
        "mesh_method": sentence,
    }
    unpublished = arguments.quick or arguments.as_is
    out = arguments.out or (arguments.work if unpublished else RESULTS) / "reconstruction.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_result(out, "reconstruction", config, rows, checks)
    with atomic_path(out.with_suffix(".md")) as temporary:
        temporary.write_text(out.with_suffix(".md").read_text() + "\n" + sentence + "\n")
    _draw_some(folders, variants, arguments, out.with_suffix(".png"))
    print(out.with_suffix(".md").read_text())
    return {"rows": rows, "checks": [check.to_json() for check in checks], "config": config}


def _clips(arguments: Reconstruction) -> list[Path]:
    if arguments.as_is:
        return clip_folders(arguments.corpus)[: arguments.clips]
    count, pictures = (2, _QUICK) if arguments.quick else (arguments.clips, arguments.pictures)
    with progress_bar("clips") as report:
        return list(make_corpus("evaluation", count, arguments.corpus, pictures=pictures, report=report).folders)


def _measure_all(
    folders: Sequence[Path], variants: Sequence[Variant], arguments: Reconstruction, report: Report
) -> Iterator[list[Result]]:
    """Every clip in every variant, clip by clip, so that a stopped run has whole clips."""
    begin = functools.partial(measure_clip, variants=variants, work=arguments.work, telling=arguments.telling)
    with contextlib.ExitStack() as stack:
        if arguments.processes > 1:
            found = stack.enter_context(ProcessPoolExecutor(arguments.processes)).map(begin, folders)
        else:
            found = map(begin, folders)
        for done, results in enumerate(found, start=1):
            report(done / len(folders), results[0].clip)
            yield results


def measure_clip(folder: Path, variants: Sequence[Variant], work: Path, telling: Telling) -> list[Result]:
    """Extracts and scores a clip in each variant."""
    clip = Clip.load(folder)
    results: list[Result] = []
    for variant in variants:
        run = run_variant(variant, clip, work, telling)
        found = score_run(run, variant, clip)
        figures = found.figures if found is not None else {name: 0.0 if name in _SHARES else math.inf for name in COLUMNS}
        results.append(Result(folder.name, clip.truth.kind, clip.truth.object_names[0], figures, run.failed, run.seconds))
    return results


def medians(results: Sequence[Result]) -> dict[str, float]:
    """Of each column over the clips; what could not be measured in a clip does not count there."""
    found = {}
    for name in COLUMNS:
        values = np.array([result.figures.get(name, math.nan) for result in results])
        values = values[~np.isnan(values)]
        found[name] = float(np.median(values)) if len(values) else math.nan
    return found


def tables(results: dict[str, list[Result]]) -> tuple[list[dict[str, Any]], list[Check]]:
    """Rows (first the medians of each variant, then all clips) and checks."""
    rows: list[dict[str, Any]] = []
    checks: list[Check] = []
    for variant, found in results.items():
        typical = medians(found)
        seconds = float(np.median([one.seconds for one in found]))
        failed = sum(bool(one.failed) for one in found)
        rows.append(_row(variant, f"median of {len(found)}", "", typical, f"{failed} failed" if failed else "", seconds))
        for name, target in TARGETS.get(variant, {}).items():
            checks.append(Check(f"{variant}: {name}", typical[name], target, "lower"))
    for name, found in results.items():
        rows += [_row(name, one.clip, one.object_name, one.figures, one.failed, one.seconds) for one in found]
    if _TRACKS in results and _SHAPES in results:
        tracks, shapes = medians(results[_TRACKS]), medians(results[_SHAPES])
        # silhouette shapes that are not there are no success of the point tracks
        names = ("jitter_mm", *COMPARED)
        ratios = {name: tracks[name] / shapes[name] if 0.0 < shapes[name] < math.inf else math.nan for name in names}
        checks.append(Check("point tracks / silhouette shapes: jitter_mm", ratios["jitter_mm"], _JITTER_RATIO, "lower"))
        checks += [Check(f"point tracks / silhouette shapes: {name}", ratios[name], 1.0, "lower") for name in COMPARED]
    clips = max((len(found) for found in results.values()), default=0)
    return rows, [*checks, Check("clips", clips, 20, "higher")]


def mesh_sentence(typical: dict[str, dict[str, float]]) -> str:
    """What a stronger mesh method in place of the silhouette shapes could change, from the columns alone."""
    if _TRACKS not in typical or not math.isfinite(typical.get(_SHAPES, {}).get("surface_mm", math.nan)):
        return "What a stronger mesh method could change is unknown: point tracks and silhouette shapes are not both measured."
    tracks, shapes = typical[_TRACKS], typical[_SHAPES]
    return (
        "What a stronger mesh method could change: it could take away the silhouette shapes' "
        f"{shapes['uncovered_mm']:.0f} mm of uncovered surface (point tracks: {tracks['uncovered_mm']:.0f} mm) and, of their "
        f"{shapes['surface_mm']:.0f} mm to the surface (point tracks: {tracks['surface_mm']:.0f} mm), what is due to shape; "
        f"but placed by the same hand its middle stays {shapes['middle_mm']:.0f} mm off "
        f"(point tracks: {tracks['middle_mm']:.0f} mm), and without correspondence "
        f"{shapes['jitter_mm']:.1f} mm of jitter and {shapes['rotation_deg']:.1f} degrees of turn remain "
        f"(point tracks: {tracks['jitter_mm']:.1f} mm and {tracks['rotation_deg']:.1f} degrees)."
    )


def _row(variant: str, clip: str, object_name: str, figures: dict[str, float], failed: str, seconds: float) -> dict[str, Any]:
    shown = {name: _shown(figures.get(name, math.nan)) for name in COLUMNS}
    return {"variant": variant, "clip": clip, "object": object_name, **shown, "seconds": _shown(seconds), "failed": failed}


def _shown(value: float) -> float | str:
    """ "none" where the estimate lacks most of what is asked for, "" where nothing could be measured."""
    if math.isnan(value):
        return ""
    return "none" if math.isinf(value) else round(value, 2)


def _draw_some(folders: Sequence[Path], variants: Sequence[Variant], arguments: Reconstruction, path: Path) -> None:
    """The figure, of one clip of each kind."""
    by_kind: dict[str, Clip] = {}
    for folder in folders:
        by_kind.setdefault(folder.name.rsplit("-", 1)[-1], Clip.load(folder))
    compared = [variant for variant in variants if variant.name in (_TRACKS, _SHAPES)]
    panels: list[tuple[Clip, list[tuple[Variant, Run]]]] = [
        (clip, [(variant, run_variant(variant, clip, arguments.work, arguments.telling)) for variant in compared])
        for clip in by_kind.values()
    ]
    if compared:
        draw(panels, path)


if __name__ == "__main__":
    main(tyro.cli(Reconstruction, description=__doc__))
