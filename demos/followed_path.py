"""How far the path that the robot's object followed is from the one in the video.

The search compares with the *placed* path, which is re-aimed from the task's start to its goal, and stretched to the opening
that is asked for where it is a drawer's. Here the video's own path is compared, which may be turned about the vertical and
shifted as a whole, and nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from demos.align import find_carry, mirror
from demos.demonstration import Demonstration
from demos.interaction import FloatArray, Interaction
from demos.recorded_path import object_path, retarget_settings, rigid_placement, was_mirrored
from demos.resample import resample
from demos.retarget import RetargetConfig
from dexvid_envs.errors import DexVidError

_LEAST_STEPS = 4  # of the carry, to compare


def video_path_distance(interaction: Interaction, demonstration: Demonstration) -> float:
    """Mean distance (m) of the demonstration's object from the video's path while the person carries it.

    The video's path is brought to the control rate as the retargeting does it, and mirrored where a left hand's was; then it is
    turned about the vertical and shifted so that the sum of the squared distances is least. Each frame of the carry is compared
    with the step that shows it. Heights count, orientations do not. Of a throw, the carry counts up to the swing, from where
    on the demonstration shows no frame any more.

    Args:
        interaction: what the demonstration was made from, as it was recorded.
        demonstration: with the source frame behind each step.

    Raises:
        DexVidError: the object is never moved, or fewer than four steps show a frame of its carry in which it is known.
    """
    settings, usual = retarget_settings(demonstration), RetargetConfig()
    rate_hz, longest_s = (settings.get(name, getattr(usual, name)) for name in ("control_hz", "max_duration_s"))
    video = resample(mirror(interaction) if was_mirrored(demonstration) else interaction, rate_hz, longest_s)
    path = object_path(video)
    known = np.isfinite(path).all(axis=-1)
    steps, rows = _carried_steps(video.frame_index, _carry(path, known), demonstration.source_frame)
    steps, rows = steps[known[rows]], rows[known[rows]]
    if len(steps) < _LEAST_STEPS:
        raise DexVidError(
            f"{len(steps)} steps of the demonstration show frames of this interaction in which the object is carried, expected "
            f"{_LEAST_STEPS} or more: give the interaction that it was made from"
        )
    recorded, made = path[rows], demonstration.object_pos_world[steps]
    T_new_old = rigid_placement(recorded, made)
    placed = recorded @ T_new_old[:3, :3].T + T_new_old[:3, 3]
    return float(np.linalg.norm(placed - made, axis=-1).mean())


def _carry(path: FloatArray, known: NDArray[np.bool_]) -> slice:
    """The frames of a path (T, 3) m in which the object is carried, by those in which it is known (T,)."""
    at = np.flatnonzero(known)
    if not len(at):
        return slice(0, 0)
    phases = find_carry(path[at], spatial=True)
    return slice(int(at[phases.lift]), int(at[phases.place]) + 1)


def _carried_steps(
    frame_index: NDArray[np.int64], carry: slice, source_frame: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The steps of a demonstration that show the carry, one for each frame, and the rows of the video that they show.

    A frame of the source may stand behind several rows and steps. Plans play a carry without rests or leaps, so that its rows
    are found where most of them fit in a row.

    Args:
        frame_index: (T,) source frame of each row of the video at the control rate.
        carry: rows of the carry.
        source_frame: (S,) source frame of each step; -1 where there is none.
    """
    rows = np.arange(len(frame_index))[carry]
    count = len(rows)
    if not count:
        return rows, rows
    padded = np.pad(source_frame, count, constant_values=-1)
    fits = sliding_window_view(padded, count) == frame_index[rows]
    first = int(fits.sum(axis=-1).argmax())
    shown = np.flatnonzero(fits[first])
    return shown + first - count, rows[shown]
