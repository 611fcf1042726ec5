"""A folder of videos to kinematic motions: every video goes through the extraction, and what cannot be used is named.

The motions of many videos are one small file without pickles; what it takes to play them is made in seconds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demos.extract.config import ExtractConfig
from demos.extract.gates import failed_gates, gate_text
from demos.importers.arrays import read_arrays
from demos.interaction import Interaction
from demos.kinematic import KinematicConfig, KinematicMotion, check_motion, kinematic_motion
from demos.provenance import to_json
from demos.video_folder import known_files, read_click
from dexvid_envs.errors import DexVidError, InputFileError
from dexvid_envs.npz_file import write_npz

_ARRAYS = ("qpos", "object_path", "source_frame")


@dataclasses.dataclass(frozen=True)
class CorpusResult:
    """What became of each video.

    Attributes:
        motions: by name of the video.
        refused: why there is none, by name of the video.
    """

    motions: Mapping[str, KinematicMotion]
    refused: Mapping[str, str]


def corpus_motions(
    videos: Mapping[str, Path],
    work: Path,
    config: KinematicConfig | None = None,
    *,
    extract_options: Mapping[str, Any] | None = None,
    report: Callable[[float, str], None] | None = None,
    extract: Callable[[ExtractConfig], object] | None = None,
) -> CorpusResult:
    """Extracts and retargets each video; extractions that are complete in the folder `work` are taken from there.

    A bad video costs itself alone.

    Args:
        videos: by name.
        work: folder of the extractions, one for each video.
        config: settings of the motions.
        extract_options: further fields of `ExtractConfig`, alike for all videos.
        report: told the share of the work that is done.
        extract: does one extraction; the pipeline's own by default.
    """
    if extract is None:
        from demos.extract.pipeline import extract as pipeline

        extract = pipeline
    motions: dict[str, KinematicMotion] = {}
    refused: dict[str, str] = {}
    for done, (name, video) in enumerate(videos.items()):
        if report is not None:
            report(done / len(videos), f"{name}, {len(motions)} of {done} used")
        out = work / name
        try:
            if not (out / "interaction.npz").is_file():
                extract(
                    ExtractConfig(video, out, overlay=False, report=False, **_known_of(video), **dict(extract_options or {}))
                )
            motions[name] = kinematic_motion(Interaction.load(out / "interaction.npz"), out, config)
        except DexVidError as error:
            refused[name] = str(error)
        except Exception as error:  # a defect of the extraction costs this video and no other
            refused[name] = f"unexpected {type(error).__name__}: {error}"
    return CorpusResult(motions, refused)


def sound_motions(motions: Mapping[str, KinematicMotion]) -> CorpusResult:
    """Motions that were made before, without those in which the object leaves the robot's world, and with their doubts."""
    sound: dict[str, KinematicMotion] = {}
    refused: dict[str, str] = {}
    for name, motion in motions.items():
        try:
            check_motion(motion)
        except DexVidError as error:
            refused[name] = str(error)
        else:
            sound[name] = motion if "doubts" in motion.provenance else _with_doubts(motion)
    return CorpusResult(sound, refused)


def _with_doubts(motion: KinematicMotion) -> KinematicMotion:
    """A motion with the failed gates of the extraction whose quality it carries."""
    quality = dict(motion.provenance.get("extract", {})).get("quality", {})
    doubts = [f"gate failed: {gate_text(gate)}" for gate in failed_gates(quality)] if "gates" in quality else []
    return dataclasses.replace(motion, provenance=dict(motion.provenance) | {"doubts": doubts})


def _known_of(video: Path) -> dict[str, Any]:
    """What the files beside a video say, as options of the extraction."""
    known: dict[str, Any] = dict(known_files(video))
    if "object_point" in known:
        known["object_point"] = read_click(known["object_point"])
    return known


def write_motions(path: Path, motions: Mapping[str, KinematicMotion]) -> None:
    """Writes motions as one .npz; numbers are kept to single precision.

    Raises:
        DexVidError: there are none.
    """
    if not motions:
        raise DexVidError("there is no motion to write; expected at least one video that can be used")
    values = list(motions.values())
    arrays = {name: np.concatenate([getattr(one, name) for one in values]) for name in _ARRAYS}
    about = [
        {"name": name, "object_name": one.object_name, "provenance": to_json(dict(one.provenance))}
        for name, one in motions.items()
    ]
    content = {
        "num_steps": np.array([len(one.qpos) for one in values]),
        "qpos": arrays["qpos"].astype(np.float32),
        "object_path": arrays["object_path"].astype(np.float32),
        "source_frame": arrays["source_frame"].astype(np.int32),
        "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
    }
    write_npz(path, content)


def read_motions(path: Path) -> dict[str, KinematicMotion]:
    """Reads what `write_motions` wrote.

    Raises:
        InputFileError: the file is missing or damaged, or holds something else.
    """
    arrays = read_arrays(path, (*_ARRAYS, "num_steps", "about"))
    try:
        about = json.loads(arrays["about"].tobytes().decode())
        ends = np.cumsum(arrays["num_steps"])
        total = int(ends[-1])
        right = len(about) == len(ends) and all(len(arrays[name]) == total for name in _ARRAYS)
        right = right and arrays["qpos"].shape[1:] == (23,) and arrays["object_path"].shape[1:] == (7,)
        if not right or not all(np.isfinite(arrays[name]).all() for name in _ARRAYS):
            raise ValueError("its arrays do not fit each other")
        return {str(one["name"]): _motion(arrays, one, int(end - count), int(end)) for one, end, count in _rows(arrays, about)}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputFileError(f"{path} is no file of motions or is damaged ({error}); make it again") from error


def _rows(arrays: Mapping[str, np.ndarray], about: Sequence[Any]) -> list[tuple[Any, int, int]]:
    return list(zip(about, np.cumsum(arrays["num_steps"]), arrays["num_steps"], strict=True))


def _motion(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any], begin: int, end: int) -> KinematicMotion:
    path = arrays["object_path"][begin:end].astype(np.float64)
    path[:, 3:] /= np.linalg.norm(path[:, 3:], axis=1, keepdims=True)
    return KinematicMotion(
        qpos=arrays["qpos"][begin:end].astype(np.float64),
        object_path=path,
        object_name=str(about["object_name"]),
        source_frame=arrays["source_frame"][begin:end].astype(np.int64),
        provenance=dict(about["provenance"]),
    )
