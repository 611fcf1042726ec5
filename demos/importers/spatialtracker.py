"""Reads SpatialTracker's tracks, version 1.

    {name}_spatracker_tracks.npy   (T, N, 3): u, v px of the (shrunken) video, depth along z
    {name}_3d.npy                  (T, N, 6): x, y, z, red, green, blue by a made-up camera: its focal length is W

Neither says when a point is hidden: every point with a depth counts as seen. Depths are those of the monocular network, metres
only roughly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demos.camera import unproject
from demos.importers.arrays import numbers, read_array
from demos.interaction import FloatArray, ObjectTrack
from demos.parts import object_track
from dexvid_envs.errors import InputFileError, OptionError

_TRACKS, _POINTS = "_spatracker_tracks.npy", "_3d.npy"


def read_spatialtracker(
    path: Path, K: FloatArray, image_size: tuple[int, int] | None = None, pixel_scale: float = 1.0
) -> ObjectTrack:
    """Reads the tracks with the true camera.

    Args:
        path: one of the two files, or a folder with one of each at most; the tracks are preferred.
        K: (3, 3) px of the video.
        image_size: (width, height) px as the tracker saw it, needed for `_3d.npy`, where it made up the camera.
        pixel_scale: px of the video for one px of the tracks; the demo shrinks the video before it tracks.

    Raises:
        InputFileError: files are missing, damaged or of wrong shape.
        OptionError: `image_size` is needed and missing.
    """
    file = _find(path) if path.is_dir() else path
    content = read_array(file)
    if content.ndim == 3 and content.shape[2] == 6:
        if image_size is None:
            raise OptionError(f"{file} holds points by a made-up camera; give image_size=(width, height) px to undo it")
        made_up = _made_up_camera(image_size)
        points = numbers(content, (None, None, 6), "the points", file, finite=False)[..., :3]
        depth = points[..., 2]
        safe = np.where(depth > 0, depth, np.nan)
        pixels = points[..., :2] / safe[..., None] * made_up[0, 0] + made_up[:2, 2]
    else:
        tracks = numbers(content, (None, None, 3), "the tracks", file, finite=False)
        pixels, depth = tracks[..., :2], tracks[..., 2]
    pixels = (pixels + 0.5) * pixel_scale - 0.5
    seen = np.isfinite(pixels).all(axis=-1) & np.isfinite(depth) & (depth > 0)
    return object_track(unproject(pixels, np.where(seen, depth, np.nan), K), seen, pixels)


def _made_up_camera(image_size: tuple[int, int]) -> FloatArray:
    """The camera of `_3d.npy`: focal length and middle from the picture's size, in whole pixels."""
    width, height = image_size
    return np.array([[width, 0.0, width // 2], [0.0, width, height // 2], [0.0, 0.0, 1.0]])


def _find(folder: Path) -> Path:
    for suffix in (_TRACKS, _POINTS):
        if found := sorted(folder.glob(f"*{suffix}")):
            if len(found) > 1:
                names = ", ".join(file.name for file in found)
                raise InputFileError(f"{folder} holds {len(found)} recordings ({names}); name one of the files")
            return found[0]
    raise InputFileError(f"{folder} lacks *{_TRACKS} and *{_POINTS}; expected SpatialTracker's output")
