"""What the extraction is told of a synthetic clip in each variant of the benchmark, and one run of it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray

from benchmarks.reconstruction_score import Score, World, score
from benchmarks.reconstruction_truth import Clip
from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract
from demos.interaction import HAND_BONES, Interaction
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import DexVidError
from dexvid_envs.files import atomic_folder, atomic_path, sha256_of_files

_ROOT = Path(__file__).parents[1]
_PALM = HAND_BONES.index((0, 9))  # wrist to the base of the middle finger
_SILHOUETTE = "silhouette-shape"
_FAILED = "failed.json"


@dataclasses.dataclass(frozen=True)
class Variant:
    """What is given besides the video and K.

    Attributes:
        name: of the rows.
        length: a known length is given.
        extrinsics: the camera's pose is given.
        depth: depth pictures are given: the true depth in whole millimetres.
        tracks: backend of the object's points.
    """

    name: str
    length: bool = True
    extrinsics: bool = True
    depth: bool = False
    tracks: str = "optical-flow"

    @property
    def world(self) -> World:
        """How the result is compared."""
        return "given" if self.extrinsics else "estimated"

    @property
    def correspondence(self) -> bool:
        """Whether an object point is the same point in all frames."""
        return self.tracks != _SILHOUETTE


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("rgb_known_length"),
        Variant("rgb", length=False),
        Variant("rgb_estimated_world", extrinsics=False),
        Variant("depth", length=False, depth=True),
        Variant("silhouette", tracks=_SILHOUETTE),
    )
}


@dataclasses.dataclass(frozen=True)
class Telling:
    """How lengths and objects are told, alike in all variants.

    Attributes:
        known_length: which length is given: wrist to base of the middle finger, or the object's longest side.
        click: a click on the object is given; otherwise the extraction finds it by itself.
        focal_factor: by which the given K's focal length is wrong.
    """

    known_length: Literal["hand", "object"] = "hand"
    click: bool = False
    focal_factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class Run:
    """One extraction.

    Attributes:
        interaction: what was extracted, in the world in which it is compared; None where the extraction failed.
        quality: its quality figures; empty where it failed.
        failed: why there is none.
        seconds: that it took.
    """

    interaction: Interaction | None
    quality: dict[str, Any]
    failed: str
    seconds: float


def run_variant(
    variant: Variant, clip: Clip, work: Path, telling: Telling, video: Path | None = None, *, share_stages: bool = True
) -> Run:
    """Extracts a clip, or takes what an earlier run of the same code left in the folder `work`.

    Args:
        variant: what is given.
        clip: the clip.
        work: folder for extractions of all variants and clips.
        telling: of length and object.
        video: other pictures of the same scene; the clip's own by default.
        share_stages: what does not depend on the variant is kept for the clip's other variants. Not for variants of one clip
            that run at the same time.
    """
    video = video or clip.folder / "video.mp4"
    out = work / run_key(variant, clip, telling, video) / variant.name / clip.folder.name
    if not (out / "interaction.npz").is_file() and not (out / _FAILED).is_file():
        began = time.perf_counter()
        try:
            with given_files(variant, clip.truth, out.with_name(out.name + "_given"), telling.focal_factor) as given:
                config = make_config(variant, clip, video, out, given, telling)
                if share_stages:
                    config = dataclasses.replace(config, keep_work=work / "stages" / code_sha256()[:8] / clip.folder.name)
                extract(config)
        except Exception as error:  # whatever stops a clip must not stop the others; it is told in the clip's row
            known = isinstance(error, DexVidError)
            with atomic_folder(out) as folder:
                (folder / _FAILED).write_text(json.dumps(str(error) if known else f"{type(error).__name__}: {error}"))
        with atomic_path(out / "seconds.txt") as temporary:
            temporary.write_text(f"{time.perf_counter() - began:.2f}\n")
    seconds = float((out / "seconds.txt").read_text()) if (out / "seconds.txt").is_file() else math.nan
    if (out / _FAILED).is_file():
        return Run(None, {}, str(json.loads((out / _FAILED).read_text())), seconds)
    interaction = Interaction.load(out / "interaction.npz")
    return Run(interaction, json.loads((out / "quality.json").read_text()), "", seconds)


def score_run(run: Run, variant: Variant, clip: Clip) -> Score | None:
    """The run's score; None where there is nothing to score."""
    if run.interaction is None:
        return None
    return score(run.interaction, clip, correspondence=variant.correspondence, world=variant.world)


def run_key(variant: Variant, clip: Clip, telling: Telling, video: Path) -> str:
    """Changes with everything that a run depends on: settings, clip, and the code of the extraction."""
    parts = [json.dumps(dataclasses.asdict(variant) | dataclasses.asdict(telling), sort_keys=True)]
    parts += [sha256_of_files([clip.folder / "clip.json", video]), code_sha256()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@functools.cache
def code_sha256() -> str:
    """Hash of the code that extracts, and of the samples that it has learnt from."""
    found = [path for pattern in ("*.py", "extract/**/*.npz") for path in (_ROOT / "demos").rglob(pattern)]
    files = sorted(path for path in found if "synthetic" not in path.parts)
    return sha256_of_files(files)


def make_config(variant: Variant, clip: Clip, video: Path, out: Path, given: Path, telling: Telling) -> ExtractConfig:
    """The settings, with those files of the folder `given` that belong to the variant."""
    hand = variant.length and telling.known_length == "hand"
    click, frame = click_on_object(clip) if telling.click else (None, 0)
    return ExtractConfig(
        video=video,
        out=out,
        object_point=click,
        object_frame=frame,
        tracks=variant.tracks,
        camera_matrix=given / "cam_K.txt",
        camera_pose=given / "camera_pose.txt" if variant.extrinsics else None,
        depth=given / "depth" if variant.depth else None,
        hand_length_m=float(clip.truth.bone_lengths_m[_PALM]) if hand else ExtractConfig.hand_length_m,
        object_length_m=float(np.ptp(clip.surface_object, axis=0).max()) if variant.length and not hand else None,
        overlay=False,
        report=False,
    )


def click_on_object(clip: Clip) -> tuple[tuple[float, float], int]:
    """A pixel (x, y) well inside the handled object in the first picture that shows it, and the picture's number."""
    from scipy.ndimage import distance_transform_edt

    frame = int(np.argmax(clip.seen[list(clip.handled)].any(axis=0)))
    mask = clip.truth.labels[frame] == clip.truth.label_names.index(clip.truth.object_names[0])
    depth: NDArray[np.float64] = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return (float(column), float(row)), frame


@contextlib.contextmanager
def given_files(variant: Variant, truth: ClipTruth, folder: Path, focal_factor: float = 1.0) -> Iterator[Path]:
    """A folder with what is given beside the video; removed afterwards, as depth pictures are large."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        np.savetxt(folder / "cam_K.txt", truth.K * [[focal_factor, 1.0, 1.0], [1.0, focal_factor, 1.0], [1.0, 1.0, 1.0]])
        np.savetxt(folder / "camera_pose.txt", truth.T_world_camera)
        if variant.depth:
            write_depth(truth, folder / "depth")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_depth(truth: ClipTruth, folder: Path) -> None:
    """The true depth as 16-bit PNG in millimetres, as RGB-D recordings hold it."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(truth.num_frames):
        depth_mm = np.rint(1e3 * truth.depth_m(frame))
        picture = np.where(depth_mm <= np.iinfo(np.uint16).max, depth_mm, 0).astype(np.uint16)
        imageio.imwrite(folder / f"{frame:06d}.png", picture)
