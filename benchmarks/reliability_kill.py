"""kill -9 at random moments in every command that writes, and what is left and goes on afterwards.

Half of the kills come at a random time, half at a random change of a file, where they hurt most. A command that resumes is
killed up to four times in a row. After each kill,
- every file that is not marked as unfinished can be read,
- an output that was there before is the old one or a whole new one, and one that was not is absent or whole,
- the same command, with `--resume` where there is one, ends as a run that was not disturbed (or is killed again).
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.reliability_commands import WritingCommand, damaged_files, fingerprint, left_over, writing_commands
from benchmarks.reliability_process import CommandProcess, Ended, import_everything
from benchmarks.reliability_row import Row
from dexvid_envs.progress import Report

_KILLED = -9  # exit code
_IN_A_ROW = 4  # kills of a command that resumes, at most
_LIMIT_S = 600.0  # of a run that is not disturbed


def chosen_commands(names: Sequence[str]) -> list[WritingCommand]:
    """The commands of these names; all where none is given."""
    known = {command.name: command for command in writing_commands()}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"no command {', '.join(unknown)}; expected some of {', '.join(known)}")
    return [known[name] for name in names] if names else list(known.values())


def kill_commands(
    names: Sequence[str], kills: int, earlier: Callable[[str, str], Row | None], *, seed: int = 0, report: Report | None = None
) -> Iterator[Row]:
    """Kills every command so many times; yields a line after each turn, so that a sitting may end at any time.

    Args:
        names: of the commands; all where none is given.
        kills: of each, those of earlier sittings included.
        earlier: the line of a part and a command from an earlier sitting, if any.
        seed: of the moments.
        report: called after every turn.
    """
    commands = chosen_commands(names)
    import_everything()
    for number, command in enumerate(commands):
        row = earlier("kill", command.name) or Row("kill", command.name, 0, 0)
        if row.tries >= kills:
            continue
        with tempfile.TemporaryDirectory(prefix="dexvid-kill-") as folder:
            victim = _Victim(command, Path(folder), np.random.default_rng([seed, zlib.crc32(command.name.encode()), row.tries]))
            while row.tries < kills:
                victim.kill(row, kills - row.tries)
                yield row
                if report:
                    share = (number + row.tries / kills) / len(commands)
                    report(share, f"{command.name}: {row.bad} bad of {row.tries}, {victim.usual.seconds:.1f} s each")


class _Victim:
    """One command, killed again and again."""

    def __init__(self, command: WritingCommand, folder: Path, rng: np.random.Generator) -> None:
        self.command, self.rng = command, rng
        self.inputs, self.out, self.old = folder / "in", folder / "out", folder / "old"
        self.log = folder / "log"
        for one in (self.inputs, self.out):
            one.mkdir()
        command.prepare(self.inputs)
        self._run()  # the first loads and compiles what is kept
        shutil.rmtree(self.out)
        self.out.mkdir()
        self.usual = self._run()
        if self.usual.code not in command.codes:
            raise RuntimeError(f"{command.name} ends with {self.usual.code}: {self.usual.said[-500:]}")
        self._expect_whole()
        shutil.copytree(self.out, self.old)
        self.most_left: list[str] = []

    def kill(self, row: Row, at_most: int) -> None:
        """One kill, or several in a row of a command that resumes, and what comes after them; counts in the row."""
        shutil.rmtree(self.out)
        if with_old := self.command.replaces and self.rng.random() < 0.5:
            shutil.copytree(self.old, self.out)
        else:
            self.out.mkdir()
        before = {name: fingerprint(self.out / name) for name in self.command.outputs}
        in_a_row = int(self.rng.integers(1, _IN_A_ROW + 1)) if self.command.resume and not with_old else 1
        in_a_row = min(in_a_row, at_most)
        for number in range(in_a_row):
            ended = self._run_and_kill(resume=number > 0 and self._resumes())
            wrong = self._damage(before, with_old)
            over = number + 1 == in_a_row or bool(wrong) or ended.code != _KILLED
            if over:
                wrong = wrong or self._go_on(with_old)
            if ended.code == _KILLED or wrong:  # otherwise it was quicker than the kill
                self._count(row, wrong)
            if over:
                return

    def _run_and_kill(self, *, resume: bool) -> Ended:
        if self.rng.random() < 0.5:
            return self._run(resume=resume, kill_at_change=int(self.rng.integers(1, self.usual.changes + 1)))
        return self._run(resume=resume, limit_s=float(self.rng.uniform(0.0, self.usual.seconds)))

    def _damage(self, before: dict[str, str], with_old: bool) -> list[str]:
        """What is torn or gone after a kill, beside outputs whose fingerprints were `before`."""
        wrong = [f"after the kill: {text}" for text in damaged_files(self.out)]
        for name, reader in self.command.outputs.items():
            path = self.out / name
            if with_old and not path.exists():
                wrong.append(f"after the kill: {name} is gone")
            elif path.exists() and fingerprint(path) != before[name]:
                try:
                    reader(path)
                except Exception as error:  # whatever a torn file makes its reader raise
                    wrong.append(f"after the kill: {name}: {error}")
        return wrong

    def _go_on(self, with_old: bool) -> list[str]:
        """What is wrong after the same command has been run again to its end."""
        if not self.command.resume and not self.command.replaces and self._is_there():
            return []  # it was over, and would refuse to write over it
        resumed = not with_old and self._resumes()
        again = self._run(resume=resumed)
        if again.code not in self.command.codes:
            return [f"{'resumed' if resumed else 'run anew'}, it ends with {again.code}: {_last_line(again)}"]
        return self._whole()

    def _count(self, row: Row, wrong: list[str]) -> None:
        self.most_left = max(self.most_left, left_over(self.out), key=len)
        row.tries += 1
        row.bad += bool(wrong)
        for text in wrong[:2]:
            row.examples[text[:200]] = row.examples.get(text[:200], 0) + 1
        left = f"; unfinished files left: {len(self.most_left)} ({self.most_left[0]})" if self.most_left else ""
        row.details = f"{self.usual.seconds:.1f} s and {self.usual.changes} changes of files undisturbed{left}"

    def _is_there(self) -> bool:
        return all((self.out / name).exists() for name in self.command.outputs)

    def _resumes(self) -> bool:
        """Whether it is told to resume; a training is only where there is something to resume, a kill may have come before."""
        begun = any(self.out.rglob("*_state.safetensors")) or "train" not in self.command.name
        return bool(self.command.resume) and begun

    def _run(self, *, resume: bool = False, kill_at_change: int | None = None, limit_s: float = _LIMIT_S) -> Ended:
        words = self.command.line(self.inputs, self.out, resume=resume)
        return CommandProcess(words, self.out, self.log, kill_at_change).wait(limit_s)

    def _whole(self) -> list[str]:
        wrong = [f"at the end: {text}" for text in damaged_files(self.out)]
        for name, reader in self.command.outputs.items():
            try:
                reader(self.out / name)
            except Exception as error:  # whatever a torn file makes its reader raise
                wrong.append(f"at the end: {name}: {error}")
        return wrong

    def _expect_whole(self) -> None:
        if wrong := self._whole():
            raise RuntimeError(f"{self.command.name}, undisturbed: {wrong}; {self.log.read_text()[-500:]}")


def _last_line(ended: Ended) -> str:
    lines = [line for line in ended.said.splitlines() if line.strip()]
    return lines[-1][:150] if lines else "nothing said"
