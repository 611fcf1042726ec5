"""Reads TAPIR's tracks as Shape-of-Motion's preprocessing stores them, and the depth stored beside them.

FOLDER/{query}_{t}.npy   (N, 4): x, y px, occlusion logit, logit of the expected distance being large; one file for each pair
                         of a query frame and a frame
DEPTH/*.npy (.png)       (H, W) disparity, not depth; 16-bit PNGs count 65535 as 1
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.special import expit

from demos.importers.arrays import natural_key, numbered_files, numbers, read_array
from demos.importers.pictures import read_picture
from demos.interaction import FloatArray
from demos.parts import DepthFrames, PixelTracks
from dexvid_envs.errors import InputFileError, OptionError

_UINT16_MAX = 65535.0
_MIN_DISPARITY = 1e-6
_MIN_CONFIDENCE = 0.5


def read_tapir(folder: Path, query: str | None = None) -> PixelTracks:
    """Reads the points of one query frame through all frames.

    Args:
        folder: of the files above.
        query: name of the query frame, as in the file names; None takes the first one.

    Raises:
        InputFileError: files are missing, damaged or of wrong shape.
        OptionError: there is no such query frame.
    """
    pairs = {names: path for path in numbered_files(folder, (".npy",)) if (names := _split(path.stem)) is not None}
    if not pairs:
        raise InputFileError(f"{folder} holds no {{query}}_{{t}}.npy; expected TAPIR's tracks as Shape-of-Motion stores them")
    queries = sorted({names[0] for names in pairs}, key=natural_key)
    query = queries[0] if query is None else query
    if query not in queries:
        raise OptionError(f"{folder} has no query frame {query!r}; expected one of {', '.join(queries[:12])}")
    frames = sorted({names[1] for names in pairs}, key=natural_key)
    missing = [t for t in frames if (query, t) not in pairs]
    if missing:
        raise InputFileError(f"{folder} lacks {query}_{missing[0]}.npy and {len(missing) - 1} more of query frame {query}")
    rows: list[FloatArray] = []
    for t in frames:
        path = pairs[query, t]
        rows.append(numbers(read_array(path), (len(rows[0]) if rows else None, 4), "the tracks", path))
    tracks = np.stack(rows)  # (T, N, 4)
    confidence = expit(-tracks[..., 2]) * expit(-tracks[..., 3])
    return PixelTracks(tracks[..., :2], confidence > _MIN_CONFIDENCE, confidence)


def read_disparity(folder: Path) -> DepthFrames:
    """Depth of the disparity pictures in a folder; metres only if the disparity was aligned to metres.

    Raises:
        InputFileError: there are none; when a picture is read, that it is damaged.
    """
    files = [path for path in numbered_files(folder, (".npy", ".png"))]
    suffix = ".npy" if any(path.suffix == ".npy" for path in files) else ".png"
    files = [path for path in files if path.suffix.lower() == suffix]

    def read(frame: int) -> FloatArray:
        path = files[frame]
        if suffix == ".npy":
            disparity = numbers(np.squeeze(read_array(path)), (None, None), "the disparity", path, finite=False)
        else:
            picture = read_picture(path)
            if picture.dtype != np.uint16 or picture.ndim != 2:
                raise InputFileError(f"{path} is a picture of {picture.dtype}, expected 16-bit grey disparity")
            disparity = picture / _UINT16_MAX
        known = np.isfinite(disparity) & (disparity > _MIN_DISPARITY)
        return np.where(known, 1.0 / np.where(known, disparity, 1.0), np.nan)

    return DepthFrames(len(files), read, metric=False)


def _split(stem: str) -> tuple[str, str] | None:
    """The two frame names in `{query}_{t}`: both are alike but for their digits, so they may hold underscores themselves."""
    parts = stem.split("_")
    if len(parts) < 2 or len(parts) % 2:
        return None
    half = len(parts) // 2
    return "_".join(parts[:half]), "_".join(parts[half:])
