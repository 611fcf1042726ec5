"""Atomic writing, locking and hashing of files: nothing half-written is ever left behind, and two processes never mix."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from dexvid_envs.errors import OptionError

#: What the system says where a disk is full.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: What it says of a place that cannot be written, or is no place at all.
_NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2

#: Locks that this process holds.
_held: set[Path] = set()


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
        OptionError: the folder cannot be made, or another process writes it.
    """
    token = uuid.uuid4().hex[:8]
    temporary = path.with_name(f".{path.name}-{token}")
    with write_alone(path, again=True):
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise _cannot_write(path, error) from error
        previous = path.with_name(f".{path.name}-{token}-previous")
        try:
            yield temporary
            replace_folder(temporary, path, previous)
            shutil.rmtree(previous, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, path: Path, previous: Path) -> None:
    """Puts the folder `new` in the place of `path`; what was there ends up at `previous`.

    Linux exchanges two folders in one step, so that there is one at `path` at every moment. Elsewhere it takes two, and after a
    kill between them the older one waits at `previous`.
    """
    if not path.exists():
        os.rename(new, path)
    elif _exchange(new, path):
        os.rename(new, previous)
    else:
        os.rename(path, previous)
        os.rename(new, path)


def _exchange(one: Path, other: Path) -> bool:
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError, TypeError):  # another system, or an old library
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


@contextlib.contextmanager
def write_alone(path: Path, *, again: bool = False) -> Iterator[None]:
    """Nobody else writes the folder `path` meanwhile; what a killed process left beside it is put in order.

    Args:
        path: of the folder.
        again: whoever writes it in this process already may go on, as the inner part of a command does.

    Raises:
        OptionError: the folder above cannot be written to, or it is being written.
    """
    lock = path.with_name(f".{path.name}.lock")
    if again and lock.absolute() in _held:
        yield
        return
    with only_one(lock, path):
        clear_up(path)
        yield


@contextlib.contextmanager
def only_one(lock: Path, what: Path) -> Iterator[None]:
    """Holds a lock file, which is gone afterwards; where the system has no such locks (Windows), nothing is held.

    The system frees it when the process dies, however that happens.

    Raises:
        OptionError: the file cannot be made, or another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    key = lock.absolute()
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _cannot_write(what, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):  # a file system without locks
                yield
                return
            raise OptionError(
                f"{what} is being written by another process; wait until it is done, or choose another folder"
            ) from error
        if _is_still(lock, descriptor):
            break
        os.close(descriptor)  # its holder has just removed it
    _held.add(key)
    try:
        yield
    finally:
        _held.discard(key)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _is_still(lock: Path, descriptor: int) -> bool:
    """Whether the path leads to the open file."""
    try:
        return os.path.samestat(os.stat(lock), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def clear_up(path: Path) -> None:
    """Removes what killed processes left beside `path`; a folder that was about to be replaced is put back.

    Only for who writes `path` alone: the unfinished work of a process that lives looks the same.
    """
    for left in sorted(path.parent.glob(f".{path.stem}-*")):
        unfinished = rf"\.{re.escape(path.stem)}-[0-9a-f]{{8}}{re.escape(path.suffix)}"
        named = re.fullmatch(rf"{unfinished}|\.{re.escape(path.name)}-[0-9a-f]{{8}}(-previous)?", left.name)
        if named and named[1] and not path.exists():
            left.rename(path)
        elif named and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif named:
            left.unlink(missing_ok=True)


def clear_up_inside(folder: Path) -> None:
    """The same for everything in a folder that is written alone, such as that of a training run."""
    for left in list(folder.glob(".*-*")):
        if named := re.fullmatch(r"\.(.+)-[0-9a-f]{8}(?:-previous|(\.[^.]+))?", left.name):
            clear_up(folder / (named[1] + (named[2] or "")))


def explain_os_error(error: OSError) -> str | None:
    """What a user has to know of a full disk or of a place that cannot be written; None of any other error."""
    reason, where = error.strerror or str(error), error.filename
    if error.errno in NO_ROOM:
        named = f" while {where} was written" if where else ""
        return f"the disk is full ({reason}){named}; what was there before is as it was: make room, or choose another disk"
    if error.errno in _NOT_ALLOWED:
        return f"{where or 'the output'} cannot be used ({reason}); choose another file or folder"
    return None


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
