"""HDF5 files: made whole or not at all on a full disk, and read without trust in what they claim."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import InputFileError

_MAX_ARRAY_BYTES = 2**29  # of one quantity over an episode; those of the tasks take a few million


@contextlib.contextmanager
def new_file(path: Path, libver: Any = ("v110", "v110")) -> Iterator[h5py.File]:
    """Yields a new HDF5 file that is filled in the block.

    Raises:
        OSError: the disk is full.
    """
    with _PatientFile(path, "w+") as stream:
        try:
            with h5py.File(stream, "w", libver=libver) as file:
                yield file
        except (OSError, RuntimeError) as error:
            raise (stream.failed or error) from error
        if stream.failed is not None:
            raise stream.failed


class _PatientFile(io.FileIO):
    """A file that remembers a full disk instead of failing: HDF5 could then not even close it, and crashed at the end."""

    failed: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes all of the data, or nothing more once that has failed."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self.failed is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failed = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Sets the length of the file, as far as the disk allows."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failed = error
            return size or 0


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Opens the episodes of a dataset for reading.

    Raises:
        InputFileError: what goes wrong on opening and in the block.
    """
    if not path.is_file():
        raise InputFileError(f"no file {path}: expected the episodes of a dataset; write the dataset again")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:  # h5py raises either for a truncated or overwritten file
        raise InputFileError(f"{path} is damaged or incomplete ({error}); write the dataset again") from error


def read_stored(stored: Any) -> NDArray[Any]:
    """The numbers of an HDF5 dataset of one episode, in the shape that they have there.

    Raises:
        ValueError: it is something else, or would take memory that no episode does; a damaged file may claim any size.
    """
    if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "biuf":
        raise ValueError(f"{stored!r}: expected an array of numbers")
    if stored.nbytes > _MAX_ARRAY_BYTES:
        raise ValueError(f"{stored.name} claims {stored.nbytes} bytes, more than the {_MAX_ARRAY_BYTES} of any episode")
    return np.asarray(stored[()])


def read_text(stored: Any) -> str:
    """The text of an HDF5 dataset.

    Raises:
        ValueError: it is something else.
    """
    text = stored[()] if isinstance(stored, h5py.Dataset) and stored.shape == () else None
    if not isinstance(text, bytes):
        raise ValueError(f"{stored!r}: expected a text")
    return text.decode("utf-8")
