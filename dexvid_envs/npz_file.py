"""Reading the project's own `.npz` files: nothing is unpickled, and their size is known before anything is allocated."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import InputFileError

#: All arrays of a file together; an archive that unpacks to more is refused unread.
MAX_BYTES = 2**30


def read_npz(path: Path, expected: str, advice: str) -> dict[str, NDArray[Any]]:
    """All arrays of a file by name.

    Args:
        path: of the file.
        expected: what it should be, for the message, such as "an interaction".
        advice: what to do where it is not.

    Raises:
        InputFileError: the file is missing, damaged, no npz, holds Python objects, or unpacks to more than `MAX_BYTES`.
    """
    if not path.is_file():
        raise InputFileError(f"no file {path}: expected {expected}, an .npz; {advice}")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise InputFileError(f"{path} unpacks to {size} bytes, expected {expected} of at most {MAX_BYTES}; {advice}")
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except InputFileError:
        raise
    except Exception as error:  # damaged bytes reach zipfile, zlib and numpy, whose errors share no root; MemoryError is one
        raise InputFileError(
            f"{path} cannot be read as {expected} ({type(error).__name__}: {error}): expected an .npz without pickles; {advice}"
        ) from error
