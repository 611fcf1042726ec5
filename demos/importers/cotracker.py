"""Reads CoTracker's tracks. It writes nothing itself: save what its predictor returns.

    numpy.savez("tracks.npz", pred_tracks=pred_tracks.cpu().numpy(), pred_visibility=pred_visibility.cpu().numpy())

`pred_tracks` (B, T, N, 2) px, `pred_visibility` (B, T, N) or (B, T, N, 1), bool or a probability; B may be left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demos.importers.arrays import numbers, read_arrays
from demos.parts import PixelTracks
from dexvid_envs.errors import InputFileError, OptionError

_VISIBLE = 0.5


def read_cotracker(path: Path, batch: int = 0) -> PixelTracks:
    """Reads the tracks of one clip.

    Args:
        path: an `.npz`, an `.npy` with a dict, or a torch file.
        batch: which clip of the batch.

    Raises:
        InputFileError: the file is missing or damaged, or lacks an array.
        OptionError: there is no such clip.
    """
    content = read_arrays(path, ("pred_tracks", "pred_visibility"))
    tracks, visibility = (np.asarray(content[name]) for name in ("pred_tracks", "pred_visibility"))
    tracks = tracks[None] if tracks.ndim == 3 else tracks
    pixels = numbers(tracks, (None, None, None, 2), "pred_tracks", path, finite=False)
    clips, frames, count = pixels.shape[:3]
    if not 0 <= batch < clips:
        raise OptionError(f"batch is {batch}, but {path} holds {clips} clips, counted from 0")
    if visibility.size != clips * frames * count or visibility.shape[-1:] not in ((1,), (count,)):
        raise InputFileError(
            f"{path}: pred_visibility has shape {visibility.shape}, expected {(clips, frames, count)}, with or without a last"
            " axis of 1, as pred_tracks has it"
        )
    seen = numbers(visibility.reshape(clips, frames, count), (clips, frames, count), "pred_visibility", path)[batch]
    known = np.isfinite(pixels[batch]).all(axis=-1)
    return PixelTracks(
        np.where(known[..., None], pixels[batch], np.nan), (seen > _VISIBLE) & known, np.clip(seen, 0.0, 1.0) * known
    )
