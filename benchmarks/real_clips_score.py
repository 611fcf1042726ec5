"""An extraction of a real video against its hand-made labels, in pixels of the video."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.labels import LABELLED_KEYPOINTS, ClipLabels, FrameLabel, distance_to_outline_px
from demos.camera import project, transform
from demos.extract.hand.follow import LOST
from demos.interaction import Interaction

FloatArray = NDArray[np.float64]

#: A labelled key point counts as met within so many px of the video itself.
KEYPOINT_PX = 20.0
#: The hand counts as found where its labelled points are on average nearer than this part of the hand's length.
ON_THE_HAND = 0.5
#: Object points may lie so far outside of the outline, as a part of the image's width: the outlines are that exact.
OUTLINE_PART = 1 / 160
#: An object is tracked in a frame in which at least so many of its points are visible: what a rigid pose needs.
MIN_POINTS = 4


@dataclasses.dataclass(frozen=True)
class FrameTracks:
    """What an extraction says of one frame.

    Attributes:
        present: a hand was detected or followed here, not only interpolated.
        hand_image: (21, 2) px of the metric hand; NaN where there is none.
        detected_image: (21, 2) px as the detector or the tracker saw it; NaN where that is not known.
        object_image: (P, 2) px, points of the moved object that are said to be visible.
    """

    present: bool
    hand_image: FloatArray
    detected_image: FloatArray
    object_image: FloatArray


NOTHING = FrameTracks(False, np.full((21, 2), np.nan), np.full((21, 2), np.nan), np.zeros((0, 2)))


@dataclasses.dataclass(frozen=True)
class FrameScore:
    """One labelled frame.

    Attributes:
        present: the extraction has a hand here.
        on_the_hand: and it is the labelled one.
        errors_px: (6,) of the labelled points; NaN where the label has none, infinite where the extraction has none.
        detector_errors_px: (6,) the same of what the detector saw.
        outside_px: (P,) how far the visible object points are outside of the outline.
    """

    present: bool
    on_the_hand: bool
    errors_px: FloatArray
    detector_errors_px: FloatArray
    outside_px: FloatArray


def read_tracks(folder: Path, video_fps: float, frames: list[int]) -> list[FrameTracks]:
    """The tracks of the given source frames out of an extraction's folder."""
    path = folder / "tracks.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as archive:
            return _from_tracks({name: archive[name] for name in archive.files}, frames)
    return _from_interaction(Interaction.load(folder / "interaction.npz"), video_fps, frames)


def score_frame(label: FrameLabel, tracks: FrameTracks, hand_length_px: float) -> FrameScore:
    """One frame; `hand_length_px` says what is near."""
    seen = np.isfinite(label.points_image).all(axis=1)

    def errors(image: FloatArray) -> FloatArray:
        distance = np.linalg.norm(image[list(LABELLED_KEYPOINTS)] - label.points_image, axis=1)
        missing = np.isnan(distance) | (not tracks.present)
        return np.where(seen, np.where(missing, np.inf, distance), np.nan)

    mine = errors(tracks.hand_image)
    near = bool(seen.any() and mine[seen].mean() < ON_THE_HAND * hand_length_px)
    outside = distance_to_outline_px(tracks.object_image, label.outline)
    return FrameScore(tracks.present, near, mine, errors(tracks.detected_image), outside)


def summary(name: str, clip: ClipLabels, scores: list[FrameScore]) -> dict[str, Any]:
    """A row of the table; shares are of what is labelled, so that what is missing counts as wrong."""
    hands = np.array([frame.hand for frame in clip.frames])
    visible = [score for score, hand in zip(scores, hands, strict=True) if hand == "visible"]
    away = [score for score, hand in zip(scores, hands, strict=True) if hand == "outside"]
    found = [score for score in visible if score.on_the_hand]
    tolerance_px = clip.width * OUTLINE_PART
    with_object = [score for score, frame in zip(scores, clip.frames, strict=True) if frame.outline]
    outside = _joined([score.outside_px for score in with_object])
    errors, on_hand = _joined([score.errors_px for score in visible]), _joined([score.errors_px for score in found])
    tracked = [len(score.outside_px) >= MIN_POINTS for score in with_object]
    row: dict[str, Any] = {
        "clip": name,
        "hand visible": len(visible),
        "present": _share([score.present for score in visible]),
        "found": _share([score.on_the_hand for score in visible]),
        "present though away": f"{sum(score.present for score in away)} of {len(away)}",
        "points": len(errors),
        "within 20 px": _share(errors < KEYPOINT_PX),
        "within 20 px where found": _share(on_hand < KEYPOINT_PX),
        "median px": _rounded(np.median(errors) if len(errors) else np.nan),
        "detector within 20 px": _detector_share(visible),
        "hand length px": _rounded(clip.hand_length_px),
        "within 1/4 hand": _share(errors < 0.25 * clip.hand_length_px),
        "object frames": len(with_object),
        "object tracked": _share(tracked),
        "object points on it": _share(outside <= tolerance_px),
    }
    return row


def pooled(rows: list[dict[str, Any]], clips: list[ClipLabels], scores: list[list[FrameScore]]) -> dict[str, Any]:
    """The last row: all clips together; what is in px of different videos is left out."""
    frames = [frame for clip in clips for frame in clip.frames]
    flat = [score for clip_scores in scores for score in clip_scores]
    both = list(zip(frames, flat, strict=True))
    visible = [score for frame, score in both if frame.hand == "visible"]
    errors = _joined([score.errors_px for score in visible])
    near = [
        score.outside_px <= clip.width * OUTLINE_PART
        for clip, clip_scores in zip(clips, scores, strict=True)
        for frame, score in zip(clip.frames, clip_scores, strict=True)
        if frame.outline
    ]
    row = {
        "clip": "all",
        "hand visible": len(visible),
        "present": _share([score.present for score in visible]),
        "found": _share([score.on_the_hand for score in visible]),
        "points": len(errors),
        "within 20 px": _share(errors < KEYPOINT_PX),
        "within 20 px where found": _share(_joined([score.errors_px for score in visible if score.on_the_hand]) < KEYPOINT_PX),
        "detector within 20 px": _detector_share(visible),
        "object frames": len(near),
        "object tracked": _share([len(points) >= MIN_POINTS for points in near]),
        "object points on it": _share(np.concatenate(near) if near else np.zeros(0, bool)),
    }
    return {name: row.get(name, "") for name in rows[0]}


def _from_tracks(arrays: dict[str, NDArray[Any]], frames: list[int]) -> list[FrameTracks]:
    number = {int(frame): row for row, frame in enumerate(arrays["frame_index"])}
    found = []
    for frame in frames:
        row = number.get(frame)
        if row is None:
            found.append(NOTHING)
            continue
        points = np.zeros((0, 2))
        if len(arrays["object_names"]):  # the moved object comes first
            points = arrays["object_0_image"][row][arrays["object_0_visible"][row]]
        found.append(
            FrameTracks(
                present=bool(arrays["hand_origin"][row] != LOST and np.isfinite(arrays["hand_image"][row]).all()),
                hand_image=arrays["hand_image"][row],
                detected_image=arrays.get("hand_detected_image", arrays["hand_image"])[row],
                object_image=points[np.isfinite(points).all(axis=1)],
            )
        )
    return found


def _from_interaction(interaction: Interaction, video_fps: float, frames: list[int]) -> list[FrameTracks]:
    """By projection and interpolation in time: the interaction has another rate and knows points only in the world frame."""
    T_camera_world = np.linalg.inv(interaction.T_world_camera)
    hand = project(transform(T_camera_world, interaction.hand_keypoints_world), interaction.K)
    points = project(transform(T_camera_world, interaction.object_points_world), interaction.K)
    found = []
    for frame in frames:
        position = min(frame / video_fps * interaction.fps, interaction.num_frames - 1.0)
        before, after, nearest = math.floor(position), math.ceil(position), round(position)
        part = position - before
        image = (1.0 - part) * hand[before] + part * hand[after]
        between = (1.0 - part) * points[before] + part * points[after]
        seen = interaction.object_visible[nearest] & np.isfinite(between).all(axis=1)
        present = bool(interaction.hand_confidence[nearest] > 0.0 and np.isfinite(image).all())
        found.append(FrameTracks(present, image, np.full((21, 2), np.nan), between[seen]))
    return found


def _detector_share(scores: list[FrameScore]) -> float | str:
    """Empty where nothing is known of what the detector saw."""
    errors = _joined([score.detector_errors_px for score in scores])
    return _share(errors < KEYPOINT_PX) if np.isfinite(errors).any() else ""


def _joined(errors: list[FloatArray]) -> FloatArray:
    values = np.concatenate(errors) if errors else np.zeros(0)
    return values[~np.isnan(values)]


def _share(values: Any) -> float | str:
    """Of true values; an empty cell where there is nothing to count."""
    values = np.asarray(values, bool)
    return round(float(values.mean()), 4) if len(values) else ""


def _rounded(value: Any) -> float | str:
    return round(float(value), 1) if np.isfinite(value) else ""
