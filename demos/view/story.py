"""What the viewer shows, on one time line: a recording, a retargeted motion, or a demonstration with what lies behind it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration
from demos.interaction import Interaction
from demos.motion_file import read_motion
from demos.provenance import generation
from demos.recorded_path import find_source, place_on, retarget_settings
from demos.source import load_interaction
from demos.video import FrameCache, probe_video, read_frames
from demos.view.stages import (
    KINEMATIC,
    OPEN_LOOP,
    PHYSICS,
    RETARGETED,
    Curve,
    Stage,
    place_on_motion,
    retargeted_stage,
    simulated_curves,
    simulated_stage,
)
from dexvid_envs.errors import InputFileError
from dexvid_envs.progress import Report

FloatArray = NDArray[np.float64]
_CONTROL_HZ = 20.0
_OVERLAY, _FILM_NAMES = "overlay.mp4", ("source.mp4", "video.mp4")


@dataclasses.dataclass(frozen=True)
class Story:
    """S steps at one rate.

    Attributes:
        title: what is shown.
        rate_hz: steps a second.
        interaction: the recording, in the world that is shown; None where it is not at hand.
        frame: (S,) row of the interaction behind each step; -1 where there is none.
        stages: of the robot, the latest one last; none for a recording alone.
        world: a demonstration whose environment is drawn around the robot; None for a recording, or a motion, alone.
        film: pictures by number, None where there is no film.
        picture: (S,) number of the picture beside each step; -1 where there is none.
        curves: to be plotted.
    """

    title: str
    rate_hz: float
    interaction: Interaction | None
    frame: NDArray[np.int64]
    stages: tuple[Stage, ...]
    world: Demonstration | None
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
    film = film or _film_in(folder)
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
    return Story(title, interaction.fps, interaction, steps, (), None, cache, picture, curves)


def motion_story(
    path: Path, source: Path | None = None, film: Path | None = None, *, report: Report = lambda share, state: None
) -> Story:
    """The motion that `dexvid retarget` wrote, with the person beside the robot where the extraction is given.

    Args:
        path: the .npz.
        source: the extraction's folder, its `interaction.npz`, or a folder in another extractor's layout.
        film: the video; else one is looked for in the source's folder.
        report: told how far the reading of the film is.

    Raises:
        InputFileError: a file cannot be read, or the source is another's than this motion's.
    """
    motion = read_motion(path)
    steps = len(motion.qpos)
    interaction, frame, cache, picture = None, np.full(steps, -1), None, np.full(steps, -1)
    if source is not None:
        interaction, frame = place_on_motion(load_interaction(source), motion)
        film = film or _film_in(source if source.is_dir() else source.parent)
    if film is not None:
        cache, picture = _pictures(film, motion.source_frame, report)
    speed = np.abs(np.gradient(motion.qpos, axis=0)).max(axis=1) * _CONTROL_HZ if steps > 1 else np.zeros(steps)
    curves = (
        Curve("fingertips to the person's, mm", 1000.0 * motion.error_m.mean(axis=1)),
        Curve("fastest joint, rad/s", speed),
    )
    title = f"{path.name}: a retargeted motion, {steps} steps, nothing simulated"
    stages = (Stage(RETARGETED, qpos=motion.qpos),)
    return Story(title, _CONTROL_HZ, interaction, frame, stages, None, cache, picture, curves)


def demonstration_story(
    demonstration: Demonstration,
    source: Path | None = None,
    film: Path | None = None,
    open_loop: Demonstration | None = None,
    *,
    report: Report = lambda share, state: None,
) -> Story:
    """A demonstration, with the recording behind it where that is given or known.

    Args:
        demonstration: what the robot did in the end.
        source: the extraction behind it; that of the shipped ones is found.
        film: the video; else one is looked for in the source's folder.
        open_loop: what the same plan did before the search.
        report: told how far the reading of the film is.

    Raises:
        InputFileError: the source is another's, or a file cannot be read.
    """
    steps = demonstration.num_steps + 1
    frame, picture, cache, interaction = np.full(steps, -1), np.full(steps, -1), None, None
    stages: list[Stage] = []
    curves: list[Curve] = []
    recording = find_source(demonstration, source, film)
    if recording is not None:
        interaction = place_on(recording.interaction, demonstration)
        rows = {int(number): row for row, number in enumerate(interaction.frame_index)}
        frame = np.array([rows.get(int(number), -1) for number in demonstration.source_frame])
        if recording.film is not None:
            cache, picture = _pictures(recording.film, demonstration.source_frame, report)
        retargeted = retargeted_stage(interaction, frame, retarget_settings(demonstration))
        if retargeted is not None:
            stages.append(retargeted[0])
            curves.append(retargeted[1])
    if open_loop is not None:
        stages.append(simulated_stage(OPEN_LOOP, open_loop))
        before = simulated_curves("open loop: ", open_loop, interaction)
        curves += [Curve(curve.name, _of_length(curve.values, steps)) for curve in before]
    stages.append(simulated_stage(KINEMATIC if generation(demonstration) == "kinematic" else PHYSICS, demonstration))
    curves += simulated_curves("", demonstration, interaction)
    title = f"{demonstration.env_id}, {demonstration.tier}, {demonstration.num_steps} steps"
    return Story(title, _CONTROL_HZ, interaction, frame, tuple(stages), demonstration, cache, picture, tuple(curves))


def _of_length(values: FloatArray, steps: int) -> FloatArray:
    """The first `steps` values, NaN where there are fewer."""
    return np.concatenate([values, np.full(max(0, steps - len(values)), np.nan)])[:steps]


def _film_in(folder: Path) -> Path | None:
    return next((folder / name for name in _FILM_NAMES if (folder / name).is_file()), None)


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
