"""Reads single pictures of masks and depth without changing their numbers; what the numbers mean is left to the importers."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from dexvid_envs.errors import InputFileError

#: Larger pictures are refused before they are decoded.
MAX_PIXELS = 64 * 2**20


def read_picture(path: Path) -> np.ndarray:
    """The numbers of a picture as they are stored: (H, W) uint8, uint16 or bool, palette indices too; or (H, W, C) colours.

    Raises:
        InputFileError: the file is missing, damaged, no picture, or too large.
    """
    if not path.is_file():
        raise InputFileError(f"no file {path}: expected a picture, one a frame")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked below, before decoding
            with Image.open(path) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise InputFileError(
                        f"{path} is a picture of {picture.width}x{picture.height} px, more than the {MAX_PIXELS} that are read"
                    )
                numbers = np.asarray(picture)
    except InputFileError:
        raise
    except Exception as error:  # damaged pictures raise almost every builtin error in Pillow's decoders
        raise InputFileError(
            f"cannot read {path} as a picture ({type(error).__name__}: {error}); copy it again or write the frame again"
        ) from error
    if numbers.dtype == np.int32 and numbers.ndim == 2 and numbers.min() >= 0 and numbers.max() <= 65535:
        return numbers.astype(np.uint16)  # Pillow hands some 16-bit pictures over in 32 bits
    return numbers
