"""Frames in which a hand track cannot be right: it stands still while the hand moves on, or jumps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_JUMP_SPEED_M_S = 1.5  # faster than a hand that handles things
_JUMP_BASE_M = 0.012
_REPEATED_M = 2e-6  # a detected hand always trembles by more
_STALL_S = 0.25
_SUDDEN = 2.5  # steps this many times those around them are no motion of a hand


def find_jumps(points: FloatArray, fps: float) -> BoolArray:
    """Frames (T,) into which the hand moved further than a hand can, or far further than before and after.

    Args:
        points: (T, N, D) m, NaN where unknown.
        fps: frames a second.
    """
    step, around, _ = _steps(points)
    jumps = np.zeros(len(points), bool)
    too_fast = step > _JUMP_BASE_M + _JUMP_SPEED_M_S / fps
    jumps[1:] = too_fast | ((step > _JUMP_BASE_M + 0.03 / fps) & (step > _SUDDEN * around))
    return jumps


def find_stalls(points: FloatArray, fps: float) -> BoolArray:
    """Frames (T,) in which the points stand still although the hand does not.

    Either they repeat exactly for 0.25 s, or they hardly move between frames that go on the same way.

    Args:
        points: (T, N, D) m, NaN where unknown.
        fps: frames a second.
    """
    step, _, same_way = _steps(points)
    stalls = np.zeros(len(points), bool)
    if len(step) > 2:
        beside = np.minimum(step[:-2], step[2:])
        stalls[2:-1] = (beside > 0.003 + 0.02 / fps) & (step[1:-1] < 0.25 * beside) & same_way[1:-1]
    same = np.zeros(len(points) + 1, bool)
    same[1:-1] = step < _REPEATED_M  # NaN compares as different
    run = 0
    for frame in range(len(same)):
        if same[frame]:
            run += 1
            continue
        if run >= max(2, _STALL_S * fps):
            stalls[frame - run - 1 : frame] = True
        run = 0
    return stalls


def _steps(points: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Each step (T-1,) of the points, the usual one of the four steps around it, and whether those lead the same way."""
    change = np.diff(points, axis=0)
    step = np.median(np.linalg.norm(change, axis=-1), axis=-1) if len(change) else np.zeros(0)
    padded = np.pad(step, 2, mode="edge") if len(step) else np.zeros(4)
    count = len(step)
    around = np.median([padded[i : i + count] for i in (0, 1, 3, 4)], axis=0)
    middle = np.nan_to_num(np.median(change, axis=1)) if count else np.zeros((0, points.shape[-1]))
    wide = np.pad(middle, ((1, 1), (0, 0)), mode="edge") if count else np.zeros((2, points.shape[-1]))
    before, after = wide[:count], wide[2 : count + 2]
    return step, around, (before * after).sum(axis=-1) > 0.0
