"""A full disk, a folder that cannot be written, and two processes on one output, for every command that writes.

Each has to end with one line that starts with "error:" and a code that is not 0, and to leave the older output as it was. Of
two at once at least one has to get through, and what they leave has to be whole.

Root may write everywhere, so the disks are real ones: a small tmpfs that is mounted for the purpose, and the same read-only.
Without the right to mount, a limit on the size of files stands for the full disk, and the folder's mode forbids writing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.reliability_commands import WritingCommand, damaged_files, fingerprint, left_over
from benchmarks.reliability_kill import chosen_commands
from benchmarks.reliability_process import CommandProcess, Ended, import_everything
from benchmarks.reliability_row import Row
from dexvid_envs.progress import Report

_LIMIT_S = 600.0
_PAGE = 4096


def starve_commands(names: Sequence[str], *, report: Report | None = None) -> Iterator[Row]:
    """Yields three lines for each command: full disk, read-only and two at once.

    Args:
        names: of the commands; all where none is given.
        report: called after every line.
    """
    commands = chosen_commands(names)
    import_everything()
    parts: dict[str, Callable[[_Place], list[str]]] = {"full disk": _full, "read-only": _read_only, "two at once": _two}
    for number, command in enumerate(commands):
        with tempfile.TemporaryDirectory(prefix="dexvid-disk-") as folder:
            place = _Place(command, Path(folder))
            for index, (part, attempt) in enumerate(parts.items()):
                place.said = ""
                wrong = attempt(place)
                yield Row(part, command.name, 1, int(bool(wrong)), place.said, {text[:300]: 1 for text in wrong})
                if report:
                    report((number + (index + 1) / len(parts)) / len(commands), f"{command.name}, {part}: {wrong or 'good'}")


class _Place:
    """A command with its inputs, an older output of it, and a folder that becomes scarce."""

    def __init__(self, command: WritingCommand, folder: Path) -> None:
        self.command, self.inputs, self.out, self.old = command, folder / "in", folder / "out", folder / "old"
        self.logs, self.said = [folder / "log", folder / "log2"], ""
        for one in (self.inputs, self.out):
            one.mkdir()
        command.prepare(self.inputs)
        usual = self.run()
        if usual.code not in command.codes:
            raise RuntimeError(f"{command.name} ends with {usual.code}: {usual.said[-500:]}")
        shutil.copytree(self.out, self.old)
        for page in self.old.rglob("*.html"):  # the very same one would not be written again
            page.write_text(f"<!-- older -->{page.read_text(encoding='utf-8')}", encoding="utf-8")
        self.bytes = sum(-(-path.stat().st_size // _PAGE) * _PAGE for path in self.old.rglob("*") if path.is_file())

    def run(self, before: Callable[[], None] | None = None) -> Ended:
        """The command, once."""
        return CommandProcess(self.command.line(self.inputs, self.out), self.out, self.logs[0], before=before).wait(_LIMIT_S)

    def fill(self, *, with_old: bool) -> None:
        """Empties the folder and puts the older output there, where the command would replace it."""
        for one in self.out.iterdir():
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        if with_old and self.command.replaces:
            shutil.copytree(self.old, self.out, dirs_exist_ok=True)

    def told_plainly(self, ended: Ended) -> list[str]:
        """What is wrong with how a command ended that could not write."""
        lines = [line for line in ended.said.splitlines() if line.startswith("error:")]
        self.said = lines[-1][:150].replace(str(self.out.parent), "") if lines else self.said
        if ended.code == 0:
            return ["it ends with 0"]
        if "Traceback" in ended.said or len(lines) != 1:
            last = [line for line in ended.said.splitlines() if line.strip()][-1:]
            return [f"ends with {ended.code} and {len(lines)} lines of error, last: {last}"]
        return []

    def unchanged(self) -> list[str]:
        """Outputs that are not what they were."""
        if not self.command.replaces:
            return damaged_files(self.out)
        names = self.command.outputs
        return [f"{name} was changed" for name in names if fingerprint(self.out / name) != fingerprint(self.old / name)]


def _full(place: _Place) -> list[str]:
    room = place.bytes // 3
    with _mounted(place.out, 2 * place.bytes + 2**20) as mounted:
        place.fill(with_old=True)
        if mounted:
            _leave(place.out, room)
        limit = None if mounted else functools.partial(_limit_files, room)
        ended = place.run(limit)
        return place.told_plainly(ended) + place.unchanged()


def _read_only(place: _Place) -> list[str]:
    with _mounted(place.out, 2 * place.bytes + 2**20) as mounted:
        place.fill(with_old=True)
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro", str(place.out)], check=True)
        else:
            place.out.chmod(0o555)
        try:
            ended = place.run()
            return place.told_plainly(ended) + place.unchanged()
        finally:
            place.out.chmod(0o755) if not mounted else None


def _two(place: _Place) -> list[str]:
    place.fill(with_old=False)
    words = place.command.line(place.inputs, place.out)
    both = [CommandProcess(words, place.out, log) for log in place.logs]
    ended = [one.wait(_LIMIT_S) for one in both]
    wrong = [text for one in ended if one.code not in place.command.codes for text in place.told_plainly(one)]
    if all(one.code not in place.command.codes for one in ended):
        wrong.append("neither gets through")
    for name, reader in place.command.outputs.items():
        try:
            reader(place.out / name)
        except Exception as error:  # whatever a torn file makes its reader raise
            wrong.append(f"{name}: {error}")
    place.said = place.said or "both get through, one after the other"
    return wrong + damaged_files(place.out) + [f"{name} is left" for name in left_over(place.out)]


@contextlib.contextmanager
def _mounted(folder: Path, size: int) -> Iterator[bool]:
    """A file system of so many bytes at the folder; False where mounting is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={-(-size // _PAGE) * _PAGE}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _leave(folder: Path, room: int) -> None:
    """Fills the disk of a folder until so many bytes are left."""
    with (folder / ".filler").open("wb") as filler:
        filler.write(bytes(shutil.disk_usage(folder).free - room // _PAGE * _PAGE))


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
