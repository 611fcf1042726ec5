"""Reads object masks that any segmentation system wrote as one PNG a frame (Track-Anything, SAM 2, XMem, ...).

    FOLDER/{frame}.png   grey or palette: 0 is background, the value is the object's number; or binary (0 and 255); or colours,
                         of which black is background and each other one an object

Masks may be of any size; `MaskFrames.read_sized` brings them to the video's by the nearest pixel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demos.importers.arrays import numbered_files
from demos.importers.pictures import read_picture
from demos.interaction import BoolArray
from demos.parts import MaskFrames
from dexvid_envs.errors import InputFileError, OptionError


def read_masks(folder: Path, object_id: int | None = None) -> MaskFrames:
    """Masks of one object.

    Args:
        folder: of one PNG a frame; the order is that of the numbers in their names.
        object_id: value of the object's pixels (of colours: red + 256 green + 65536 blue); None takes all but
            the background.

    Raises:
        InputFileError: there are no masks; when a frame is read, that it is damaged.
        OptionError: the first ten frames hold other objects, but not this one.
    """
    files = numbered_files(folder, (".png",))
    if object_id is not None:
        _expect_object(files[:: max(1, len(files) // 10)][:10], object_id, folder)

    def read(frame: int) -> BoolArray:
        labels = read_labels(files[frame])
        return labels != 0 if object_id is None else labels == object_id

    return MaskFrames(len(files), read)


def read_labels(path: Path) -> np.ndarray:
    """The object's number at each pixel of one mask (H, W), 0 for background.

    Raises:
        InputFileError: the picture is missing or damaged, or no mask.
    """
    picture = read_picture(path)
    if picture.dtype.kind not in "bu" or picture.ndim not in (2, 3):
        raise InputFileError(
            f"{path} is a picture of shape {picture.shape} of {picture.dtype}, expected a mask of whole numbers"
        )
    if picture.ndim == 2:
        return picture.astype(np.int64)
    if picture.shape[2] == 2:  # grey with transparency
        return picture[..., 0].astype(np.int64)
    red, green, blue = np.moveaxis(picture[..., :3].astype(np.int64), -1, 0)
    return red + 256 * green + 65536 * blue


def _expect_object(files: list[Path], object_id: int, folder: Path) -> None:
    if object_id <= 0:
        raise OptionError(f"object_id is {object_id}, expected the value of an object's pixels; 0 is background")
    present: set[int] = set()
    for path in files:
        present |= {int(value) for value in np.unique(read_labels(path))} - {0}
        if object_id in present:
            return
    if present:
        names = ", ".join(str(value) for value in sorted(present)[:12])
        raise OptionError(f"{folder} has no object {object_id} in {len(files)} frames looked at; found {names}")
