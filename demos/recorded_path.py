"""The recording behind a demonstration, put where the robot handled its object: for videos and plots that show both.

The recording is moved as a whole (turned about the vertical and shifted), so that its object follows the demonstration's as
nearly as a rigid motion allows; what still lies between them is the demonstration's error against the video.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demos.align import mirror, transformed
from demos.demonstration import Demonstration
from demos.interaction import FloatArray, Interaction
from demos.provenance import first_provenance
from demos.source import load_interaction, shipped_source
from demos.video import probe_video
from dexvid_envs.errors import DexVidError, InputFileError
from robots.cabinet import Cabinet

#: From the moved body's frame to the place on it that the hand takes, where that is elsewhere, m; and how the names of its key
#: points begin.
_HANDLED_M = {"DexVid-OpenCabinet-v0": (np.array(Cabinet().handle_position_m), "handle")}
_FILM_NAMES = ("source.mp4", "video.mp4")


@dataclasses.dataclass(frozen=True)
class SourceRecording:
    """What a demonstration was made from.

    Attributes:
        interaction: as recorded, at its own place.
        film: the video, or None where it is not at hand.
    """

    interaction: Interaction
    film: Path | None


def find_source(demonstration: Demonstration, source: Path | None = None, film: Path | None = None) -> SourceRecording | None:
    """The recording behind a demonstration: the one given, or the one that comes with the project; None where there is none.

    Args:
        demonstration: with the source's hash in its provenance.
        source: an extraction's folder, its `interaction.npz`, or a folder in another extractor's layout.
        film: the video; else one is looked for in the folder.

    Raises:
        InputFileError: the source is not readable, or source or film are another's than this demonstration's.
    """
    wanted = source_hash(demonstration)
    if source is None:
        source = shipped_source(wanted) if wanted else None
        if source is None:
            return None
    interaction = load_interaction(source)
    if wanted and interaction.source_sha256 and interaction.source_sha256 != wanted:
        raise InputFileError(
            f"{source} is of the source {interaction.source_sha256[:12]}, the demonstration of {wanted[:12]}: expected the "
            "extraction that it was made from"
        )
    folder = source if source.is_dir() else source.parent
    known = interaction.source_sha256 or wanted
    if film is None:
        films = (folder / name for name in _FILM_NAMES)
        film = next((one for one in films if one.is_file() and known and probe_video(one).sha256 == known), None)
    elif known and (given := probe_video(film).sha256) != known:
        raise InputFileError(
            f"{film} has the hash {given[:12]}, the demonstration's source {known[:12]}: give the film behind it"
        )
    return SourceRecording(interaction, film)


def source_hash(demonstration: Demonstration) -> str:
    """Hash of the source in the provenance, that of the parents included; empty where there is none."""
    return str(first_provenance(demonstration.provenance).get("source_sha256", ""))


def object_path(interaction: Interaction) -> FloatArray:
    """(T, 3) m of the recorded object: by its pose, else the middle of its known points; NaN where neither is known."""
    pose = interaction.object_pose_world[:, :3, 3]
    if np.isfinite(pose).all(axis=1).any():
        return pose
    points = interaction.object_points_world
    known = np.isfinite(points).all(axis=-1)
    count = known.sum(axis=1)[:, None]
    middle = np.where(known[..., None], points, 0.0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, middle, np.nan)


def place_on(interaction: Interaction, demonstration: Demonstration) -> Interaction:
    """The recording moved onto the demonstration's object path; mirrored before, where that was done for the demonstration.

    Raises:
        DexVidError: fewer than two steps of the demonstration have a frame in which the recorded object is known.
    """
    if was_mirrored(demonstration):
        interaction = mirror(interaction)
    path, made_path = _paths(interaction, demonstration)
    rows = {int(frame): row for row, frame in enumerate(interaction.frame_index) if np.isfinite(path[row]).all()}
    pairs = np.array([(step, rows[frame]) for step, frame in enumerate(demonstration.source_frame.tolist()) if frame in rows])
    if len(pairs) < 2:
        raise DexVidError(
            f"the demonstration refers to {len(pairs)} frames of this interaction in which the object is known, expected two "
            "or more: give the interaction that it was made from"
        )
    return transformed(interaction, rigid_placement(path[pairs[:, 1]], made_path[pairs[:, 0]]))


def rigid_placement(recorded: FloatArray, made: FloatArray) -> FloatArray:
    """(4, 4) `T_made_recorded`, a turn about the vertical and a shift, that brings points (N, 3) m nearest to others (N, 3) m.

    The sum of the squared distances is least.
    """
    a, b = (points[:, :2] - points[:, :2].mean(axis=0) for points in (recorded, made))
    yaw = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
    T_made_recorded = np.eye(4)
    T_made_recorded[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    T_made_recorded[:3, 3] = made.mean(axis=0) - T_made_recorded[:3, :3] @ recorded.mean(axis=0)
    return T_made_recorded


def was_mirrored(demonstration: Demonstration) -> bool:
    """Whether a left hand's recording was mirrored for the demonstration, as its provenance says."""
    return bool(retarget_settings(demonstration).get("mirrored", False))


def retarget_settings(demonstration: Demonstration) -> Mapping[str, Any]:
    """Settings and figures of the retargeting behind a demonstration; empty where its provenance has none."""
    settings = first_provenance(demonstration.provenance).get("retarget")
    return settings if isinstance(settings, Mapping) else {}


def path_error(interaction: Interaction, demonstration: Demonstration) -> FloatArray:
    """(T + 1,) m from the demonstration's object to the placed recording's; NaN where the recording has none.

    A step's frame is a whole number: what the recorded object did within half a frame of it is no error.
    """
    path, made_path = _paths(interaction, demonstration)
    rows = {int(frame): row for row, frame in enumerate(interaction.frame_index)}
    error = np.full(demonstration.num_steps + 1, np.nan)
    for step, frame in enumerate(demonstration.source_frame.tolist()):
        if (row := rows.get(frame)) is not None and np.isfinite(path[row]).all():
            neighbours = path[[max(row - 1, 0), min(row + 1, len(path) - 1)]]
            ends = np.where(np.isfinite(neighbours), (neighbours + path[row]) / 2, path[row])
            error[step] = min(_to_segment(made_path[step], path[row], one) for one in ends)
    return error


def _paths(interaction: Interaction, demonstration: Demonstration) -> tuple[FloatArray, FloatArray]:
    """(T, 3) and (T + 1, 3) m of the same point, as recorded and as the robot moved it."""
    path, made = object_path(interaction), demonstration.object_pos_world
    if demonstration.env_id not in _HANDLED_M:
        return path, made
    offset, beginning = _HANDLED_M[demonstration.env_id]
    columns = [index for index, name in enumerate(interaction.keypoint_names) if name.startswith(beginning)]
    seen = interaction.keypoints_world[:, columns].mean(axis=1) if columns else path
    return seen if np.isfinite(seen).all(axis=1).any() else path, made + offset


def _to_segment(point: FloatArray, start: FloatArray, end: FloatArray) -> float:
    """Distance of a point from the line between two others, m."""
    way = end - start
    share = np.clip((point - start) @ way / max(float(way @ way), 1e-12), 0.0, 1.0)
    return float(np.linalg.norm(point - start - share * way))
