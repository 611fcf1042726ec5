"""Atomic writing and hashing of files: nothing half-written is ever left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from dexvid_envs.errors import OptionError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same suffix) that is renamed to `path` when the block ends without an error.

    Raises:
        OptionError: the folder cannot be made or written to.
    """
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path` that takes its place when the block ends without an error.

    An existing folder is replaced only then; after an error it is as it was.

    Raises:
        OptionError: the folder cannot be made.
    """
    token = uuid.uuid4().hex[:8]
    temporary = path.with_name(f".{path.name}-{token}")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        previous = path.with_name(f".{path.name}-{token}-previous")
        if path.exists():
            os.rename(path, previous)
        os.rename(temporary, path)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _cannot_write(path: Path, error: OSError) -> OptionError:
    return OptionError(f"{path} cannot be written ({error.strerror}); choose another folder")


def sha256_of_files(paths: Iterable[Path]) -> str:
    """Hash of the contents of the files in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
