"""Text files with the numbers of one small matrix; spaces, commas, line breaks and brackets all separate them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import InputFileError

_MAX_BYTES = 10_000  # a matrix has a few hundred; anything larger is another file


def read_matrix(path: Path, shape: tuple[int, int], what: str) -> NDArray[np.float64]:
    """Matrix of the given shape from a text file, row by row; its numbers may still be NaN or infinite.

    Args:
        path: of the file.
        shape: rows and columns.
        what: name of the matrix with its unit, for the messages.

    Raises:
        InputFileError: the file is missing, far too large, or holds something else than that many numbers.
    """
    expected = f"expected {what}, a text file with {shape[0]}x{shape[1]} numbers"
    if not path.is_file():
        raise InputFileError(f"no file {path}: {expected}")
    if path.stat().st_size > _MAX_BYTES:
        raise InputFileError(f"{path} has {path.stat().st_size} bytes: {expected}")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        values = np.array([float(word) for word in text.translate(str.maketrans(",[]", "   ")).split()])
    except ValueError as error:
        raise InputFileError(f"{path} holds something else than numbers ({error}): {expected}") from error
    if len(values) != shape[0] * shape[1]:
        raise InputFileError(f"{path} holds {len(values)} numbers: {expected}")
    return values.reshape(shape)
