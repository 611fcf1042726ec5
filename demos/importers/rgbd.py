"""Reads RGB-D recordings: 16-bit depth pictures in millimetres and the camera matrix.

FOLDER/cam_K.txt       3x3 px
FOLDER/depth/*.png     uint16, millimetres, 0 is invalid
FOLDER/rgb/*.png|jpg   the pictures, where they are kept (also `color` or `images`)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from demos.importers.arrays import intrinsics, numbered_files
from demos.importers.pictures import read_picture
from demos.interaction import FloatArray
from demos.number_file import read_matrix
from demos.parts import DepthFrames
from dexvid_envs.errors import InputFileError

_COLOUR_FOLDERS = ("rgb", "color", "colour", "images")


@dataclasses.dataclass(frozen=True)
class RgbdRecording:
    """What is read.

    Attributes:
        K: (3, 3) px.
        depth: metres.
        pictures: paths of the colour pictures, as many as depth frames, or none.
    """

    K: FloatArray
    depth: DepthFrames
    pictures: tuple[Path, ...]


def read_rgbd(folder: Path) -> RgbdRecording:
    """Reads a recording; depth pictures are opened when they are asked for.

    Raises:
        InputFileError: files are missing or damaged, or colour and depth differ in number.
    """
    K = read_camera_matrix(folder / "cam_K.txt")
    files = numbered_files(folder / "depth", (".png",))
    pictures: list[Path] = []
    for name in _COLOUR_FOLDERS:
        if (folder / name).is_dir():
            pictures = numbered_files(folder / name, (".png", ".jpg", ".jpeg"))
            break
    if pictures and len(pictures) != len(files):
        raise InputFileError(f"{folder} has {len(pictures)} colour and {len(files)} depth pictures, expected as many of each")
    return RgbdRecording(K, DepthFrames(len(files), lambda frame: read_depth_mm(files[frame])), tuple(pictures))


def read_depth_mm(path: Path) -> FloatArray:
    """Depth (H, W) m of a 16-bit picture in millimetres; NaN where it is 0.

    Raises:
        InputFileError: it is missing, damaged, or not 16-bit grey.
    """
    picture = read_picture(path)
    if picture.dtype != np.uint16 or picture.ndim != 2:
        raise InputFileError(
            f"{path} is a picture of shape {picture.shape} of {picture.dtype}, expected 16-bit grey in millimetres; 8-bit depth"
            " pictures are for looking at only"
        )
    return np.where(picture > 0, picture.astype(np.float64) / 1000.0, np.nan)


def read_camera_matrix(path: Path) -> FloatArray:
    """Camera matrix (3, 3) px of a text file with nine numbers.

    Raises:
        InputFileError: it is missing, or holds something else.
    """
    K = read_matrix(path, (3, 3), "the camera matrix in px")
    if not np.isfinite(K).all() or np.abs(K[2] - [0.0, 0.0, 1.0]).max() > 1e-6:
        raise InputFileError(f"{path} holds {K.tolist()}, expected a camera matrix with the last row 0 0 1")
    return intrinsics(K, "the camera matrix", path)
