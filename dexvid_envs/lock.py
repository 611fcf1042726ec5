"""Locks between processes: whose turn it is to write to a folder."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from dexvid_envs.errors import OptionError


@contextlib.contextmanager
def only_one(lock: Path, what: Path) -> Iterator[None]:
    """Holds a lock file, which is gone afterwards; the system frees it when its holder dies, however that happens.

    Where the system has no such locks (Windows), nothing is held.

    Args:
        lock: the file.
        what: the folder it stands for, for the message.

    Raises:
        OptionError: the file cannot be made, or another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OptionError(f"{what} cannot be written ({error.strerror}); choose another folder") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):  # a file system without locks
                yield
                return
            raise OptionError(
                f"{what} is being written by another run; wait until it is done, or choose another folder"
            ) from error
        if _is_still(lock, descriptor):
            break
        os.close(descriptor)  # its holder has just removed it
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _is_still(lock: Path, descriptor: int) -> bool:
    """Whether the path leads to the open file."""
    try:
        return os.path.samestat(os.stat(lock), os.fstat(descriptor))
    except FileNotFoundError:
        return False
