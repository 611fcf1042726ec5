"""Reads the motion that `dexvid retarget` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demos.retarget import RobotMotion
from dexvid_envs.errors import InputFileError
from dexvid_envs.npz_file import read_npz
from robots.arm_hand import ARM_HAND

_KEYS = ("qpos", "targets", "error_m", "source_frame")
_ADVICE = "retarget again"


def read_motion(path: Path) -> RobotMotion:
    """The motion in a file; the object's path is not kept there, so that it is NaN.

    Raises:
        InputFileError: the file is damaged, or holds another thing.
    """
    arrays = read_npz(path, "a motion", _ADVICE)
    missing = [name for name in _KEYS if name not in arrays]
    if missing:
        raise InputFileError(f"{path} lacks {', '.join(missing)}; expected what `dexvid retarget` writes; {_ADVICE}")
    steps = len(np.atleast_1d(arrays["qpos"]))
    shapes = ((steps, ARM_HAND.num_joints), (steps, ARM_HAND.num_joints), (steps, 4), (steps,))
    for name, shape in zip(_KEYS, shapes, strict=True):
        if arrays[name].shape != shape or arrays[name].dtype.kind not in "fiu" or not np.isfinite(arrays[name]).all():
            raise InputFileError(
                f"{path}: {name} has shape {arrays[name].shape}, or values that are no numbers; expected {shape}; {_ADVICE}"
            )
    if steps == 0:
        raise InputFileError(f"{path} holds a motion without a step; {_ADVICE}")
    qpos, targets, error = (arrays[name].astype(np.float64) for name in _KEYS[:3])
    return RobotMotion(qpos, targets, error, arrays["source_frame"].astype(np.int64), np.full((steps, 3), np.nan))
