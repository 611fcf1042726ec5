"""The project's own `.npz` files: written as a whole, read without pickles and with their size known before it is allocated."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import InputFileError
from dexvid_envs.files import atomic_path

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
            return {name: _sound(name, stored[name]) for name in stored.files}
    except InputFileError:
        raise
    except Exception as error:  # damaged bytes reach zipfile, zlib and numpy, whose errors share no root; MemoryError is one
        raise InputFileError(
            f"{path} cannot be read as {expected} ({type(error).__name__}: {error}): expected an .npz without pickles; {advice}"
        ) from error


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes a compressed `.npz` in one piece; an older one stays where there is no room for it.

    Raises:
        OptionError: the folder cannot be written to.
        OSError: the disk is full.
    """
    packed = io.BytesIO()  # an archive that meets a full disk itself complains once more when it is forgotten
    save: Any = np.savez_compressed
    save(packed, **arrays)
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


def _sound(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """The array; text has to be Unicode, at which Python fails otherwise when it is used.

    Raises:
        ValueError: it is not.
    """
    if array.dtype.kind == "U" and array.size:
        code_points = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder.replace("|", "=") + "u4")
        if code_points.size and int(code_points.max()) > 0x10FFFF:
            raise ValueError(f"{name} is no text")
    return array
