"""Where the results of the stages lie while an extraction runs, and whose turn it is to write there.

A run holds a lock beside its output, so that two of them never mix; the system frees it when a process dies, however that
happens. What a killed run left unfinished is either used by the next one or removed.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from demos.extract.task_points.chat_endpoint import EndpointError
from demos.scale.job import RECORD_NAME
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.files import NO_ROOM, only_one, write_alone

#: What an extraction writes; a folder that holds anything else is not replaced.
OUTPUT_FILES = ("interaction.npz", "overlay.mp4", "quality.json", "report.html", "tracks.npz")

_NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)


def check_output(out: Path) -> None:
    """Refuses an output that would cost the user something else.

    Raises:
        OptionError: it is a file, a folder with other files, or has no name.
    """
    if out.name in ("", ".."):
        raise OptionError(
            f"--out {out} has no name of its own, expected a folder such as runs/pour, which is replaced as a whole"
        )
    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out} is a file, expected a folder to write to; choose another name or remove the file")
    known = (*OUTPUT_FILES, RECORD_NAME)  # the latter where it was one of many
    others = sorted(path.name for path in out.iterdir() if path.name not in known) if out.exists() else []
    if others:
        shown = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
        raise OptionError(
            f"--out {out} holds other files ({shown}), expected a new folder or an earlier extraction, because it is replaced "
            "as a whole; choose another name"
        )


def work_path(out: Path, keep: Path | None) -> Path:
    """Where the results of the stages lie."""
    return keep or out.with_name(f".{out.name}.work")


@contextlib.contextmanager
def work_folder(out: Path, keep: Path | None) -> Iterator[Path]:
    """Folder of the stages' results: `keep`, or a hidden one beside `out` that is removed at the end unless the run is killed.

    Raises:
        OptionError: the folder cannot be made or written to, the disk is full, or another run writes there.
    """
    folder = work_path(out, keep)
    with write_alone(out), contextlib.ExitStack() as locks, _told_plainly(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"{folder} cannot be made ({error.strerror}); choose another --out or --keep-work") from error
        if keep is not None:
            locks.enter_context(only_one(folder.with_name(f".{folder.name}.lock"), folder))
        try:
            yield folder
        except DexVidError as error:
            if keep is None and not _may_pass(error):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _may_pass(error: DexVidError) -> bool:
    """Whether the same command may succeed later, so that finished stages are worth keeping."""
    return isinstance(error, EndpointError) or (isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM)


@contextlib.contextmanager
def _told_plainly(folder: Path) -> Iterator[None]:
    """Turns a full or write-protected disk into an error that says what to do; finished stages are kept."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in NO_ROOM:
            raise OptionError(
                f"the disk is full ({reason}) while {folder} was written; make room and repeat the command, "
                "which goes on where it was, or choose another --out or --keep-work"
            ) from error
        if error.errno in _NOT_ALLOWED:
            raise OptionError(
                f"{error.filename or folder} cannot be used ({reason}); choose another --out or --keep-work"
            ) from error
        raise
