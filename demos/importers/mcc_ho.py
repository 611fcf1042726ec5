"""Reads MCC-HO's object points: one set a frame, without correspondence over time.

    FOLDER/{prefix}_0.1_obj.obj        points (colours behind them are passed over) of all that is not hand
    FOLDER/{prefix}_0.1_hand.obj       points of the hand
    FOLDER/{frame}/output_0.1_obj.obj  the same, one folder a frame, as its demo writes them

The frame is PyTorch3D's (x left, y up, z forward) of the input hand, so scale and place are those of the hand it was given.
Its key points are not in here: they come from what made the input hand, usually HaMeR.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from demos.importers.arrays import last_number, natural_key
from demos.importers.mesh_files import load_vertices
from demos.interaction import FloatArray
from demos.parts import PointSets
from dexvid_envs.errors import InputFileError, OptionError

#: PyTorch3D's axes in OpenCV's: x and y change their signs.
OPENCV_FROM_PYTORCH3D = (-1.0, -1.0, 1.0)
_PARTS = ("obj", "hand")
_MAX_FRAMES = 100_000


def read_mcc_ho(
    folder: Path,
    part: str = "obj",
    threshold: str = "0.1",
    first_frame: int | None = None,
    num_frames: int | None = None,
) -> PointSets:
    """Reads the points of each frame in the OpenCV camera frame.

    Args:
        folder: of the files above.
        part: "obj" or "hand".
        threshold: of the occupancy, as in the file names.
        first_frame: number of the frame in row 0; None takes the lowest found.
        num_frames: rows of the result; None ends with the last frame found. A frame without a file has no points.

    Raises:
        InputFileError: there are no such files, or one is damaged.
        OptionError: the part is not known.
    """
    if part not in _PARTS:
        raise OptionError(f"unknown part {part!r}, expected one of: {', '.join(_PARTS)}")
    files = _frames(folder, f"_{threshold}_{part}.obj")
    start = min(files) if first_frame is None else first_frame
    rows = num_frames or max(files) - start + 1
    if not 0 < rows <= _MAX_FRAMES:
        raise InputFileError(
            f"{folder} has frames {min(files)} to {max(files)}, expected at most {_MAX_FRAMES} from {start} on"
        )
    empty = np.zeros((0, 3))
    return PointSets(
        tuple(from_pytorch3d(load_vertices(files[t])) if t in files else empty for t in range(start, start + rows))
    )


def from_pytorch3d(points: FloatArray) -> FloatArray:
    """Points (..., 3) of a PyTorch3D camera frame (x left, y up, z forward) in OpenCV's (x right, y down, z forward)."""
    return points * OPENCV_FROM_PYTORCH3D


def _frames(folder: Path, suffix: str) -> dict[int, Path]:
    """Files by the number of their frame, which stands in their name or in their folder's."""
    if not folder.is_dir():
        raise InputFileError(f"no folder {folder}: expected one with MCC-HO's {{prefix}}{suffix}, one a frame")
    flat = _sorted(folder.glob(f"*{suffix}"))
    files = flat or _sorted(folder.glob(f"*/*{suffix}"))
    if not files:
        present = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
        raise InputFileError(f"{folder} holds no {{prefix}}{suffix}; expected one a frame, found {present}")
    names = [path.name.removesuffix(suffix) if flat else path.parent.name for path in files]
    given = [last_number(re.sub(r"_ep\d+_rank\d+", "", name)) for name in names]
    numbers = [number for number in given if number is not None]
    if len(numbers) != len(files):
        numbers = list(range(len(files)))
    by_number = dict(zip(numbers, files, strict=True))
    if len(by_number) != len(files):
        raise InputFileError(f"{folder} holds two files of one frame ({names[0]} ...); expected one a frame, of one recording")
    return by_number


def _sorted(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: natural_key(str(path)))
