"""What the viewer shows, on one time line: the steps of a demonstration with the recording behind it, or a recording alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration
from demos.interaction import Interaction
from demos.recorded_path import find_source, path_error, place_on
from demos.replay import Player
from demos.replay_plot import measure_forces
from demos.source import load_interaction
from demos.video import FrameCache, probe_video, read_frames
from dexvid_envs.errors import InputFileError
from dexvid_envs.progress import Report

FloatArray = NDArray[np.float64]
_OVERLAY, _FILM_NAMES = "overlay.mp4", ("source.mp4", "video.mp4")


@dataclasses.dataclass(frozen=True)
class Curve:
    """Something over time.

    Attributes:
        name: with its unit.
        values: (S,) one for each step of the story; NaN where it is not known.
    """

    name: str
    values: FloatArray


@dataclasses.dataclass(frozen=True)
class Story:
    """S steps at one rate.

    Attributes:
        title: what is shown.
        rate_hz: steps a second.
        interaction: the recording, in the world that is shown; None where it is not at hand.
        frame: (S,) row of the interaction behind each step; -1 where there is none.
        demonstration: what the robot did; None for a recording alone.
        film: pictures by number, None where there is no film.
        picture: (S,) number of the picture beside each step; -1 where there is none.
        curves: to be plotted.
    """

    title: str
    rate_hz: float
    interaction: Interaction | None
    frame: NDArray[np.int64]
    demonstration: Demonstration | None
    film: FrameCache | None
    picture: NDArray[np.int64]
    curves: tuple[Curve, ...]

    @property
    def num_steps(self) -> int:
        """S."""
        return len(self.frame)

    def close(self) -> None:
        """Frees the pictures."""
        if self.film is not None:
            self.film.close()


def recording_story(source: Path, film: Path | None = None, *, report: Report = lambda share, state: None) -> Story:
    """An extraction, or another extractor's output.

    Args:
        source: an extraction's folder, its `interaction.npz`, or a folder in another extractor's layout.
        film: the video; else one is looked for in the folder.
        report: called with the finished share and a line on the state.

    Raises:
        InputFileError: the source or the film cannot be read.
    """
    interaction = load_interaction(source)
    folder = source if source.is_dir() else source.parent
    steps = np.arange(interaction.num_frames)
    film = film or next((folder / name for name in _FILM_NAMES if (folder / name).is_file()), None)
    cache, picture = None, np.full(len(steps), -1)
    if film is not None:
        cache, picture = _pictures(film, interaction.frame_index, report)
    elif (folder / _OVERLAY).is_file():  # it holds the pictures that were looked at, one after the other
        cache, picture = _pictures(folder / _OVERLAY, interaction.frame_index // _stride(folder), report)
    tips = interaction.hand_keypoints_world[:, 4::4].mean(axis=1)
    centre = np.where(interaction.object_visible[..., None], interaction.object_points_world, np.nan)
    with np.errstate(all="ignore"):
        apart = np.linalg.norm(tips - np.array([_mean(points) for points in centre]), axis=-1)
    curves = (
        Curve("fingertips to object, mm", 1000.0 * apart),
        Curve("contact", interaction.contact.astype(np.float64)),
        Curve("confidence of the hand", np.asarray(interaction.hand_confidence, dtype=np.float64)),
    )
    title = f"{folder.name}: {', '.join(interaction.object_names)}, {interaction.hand_side} hand"
    return Story(title, interaction.fps, interaction, steps, None, cache, picture, curves)


def demonstration_story(
    demonstration: Demonstration,
    source: Path | None = None,
    film: Path | None = None,
    *,
    report: Report = lambda share, state: None,
) -> Story:
    """A demonstration, with the recording behind it where that is given or known; see `recording_story`.

    Raises:
        InputFileError: the source is another's, or a file cannot be read.
    """
    steps = demonstration.num_steps + 1
    frame, picture, cache, interaction = np.full(steps, -1), np.full(steps, -1), None, None
    curves: list[Curve] = []
    recording = find_source(demonstration, source, film)
    if recording is not None:
        interaction = place_on(recording.interaction, demonstration)
        rows = {int(number): row for row, number in enumerate(interaction.frame_index)}
        frame = np.array([rows.get(int(number), -1) for number in demonstration.source_frame])
        curves.append(Curve("object to the video's path, mm", 1000.0 * path_error(interaction, demonstration)))
        if recording.film is not None:
            cache, picture = _pictures(recording.film, demonstration.source_frame, report)
    player = Player(demonstration.env_id, demonstration.env_options, demonstration.control_mode)
    try:
        curves.append(Curve("grip on the object, N", measure_forces(player, demonstration).total_n))
    finally:
        player.close()
    title = f"{demonstration.env_id}, {demonstration.tier}, {demonstration.num_steps} steps"
    return Story(title, 20.0, interaction, frame, demonstration, cache, picture, tuple(curves))


def _pictures(film: Path, wanted: NDArray[np.int64], report: Report) -> tuple[FrameCache, NDArray[np.int64]]:
    """The film's pictures with the wanted numbers, and which of them stands beside each.

    Raises:
        InputFileError: the film has none of them.
    """
    needed = {int(number) for number in wanted if number >= 0}
    cache, kept = FrameCache(), {}
    for one in read_frames(probe_video(film)):
        if one.index in needed:
            kept[one.index] = len(cache)
            cache.append(one.rgb)
            report(0.9 * len(kept) / len(needed), f"{len(kept)} of {len(needed)} pictures of the film")
    if not kept:
        cache.close()
        raise InputFileError(f"{film} has none of the frames {min(needed)} to {max(needed)}; give the film of this recording")
    return cache, np.array([kept.get(int(number), -1) for number in wanted])


def _stride(folder: Path) -> int:
    """Every how many frames of the video one was looked at."""
    try:
        source = json.loads((folder / "quality.json").read_text(encoding="utf-8"))["source"]
        return max(1, round(float(source["fps"]) / float(source["fps_used"])))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return 1


def _mean(points: FloatArray) -> FloatArray:
    known = points[np.isfinite(points).all(axis=-1)]
    return known.mean(axis=0) if len(known) else np.full(3, np.nan)
