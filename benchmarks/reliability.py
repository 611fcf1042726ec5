"""What becomes of damaged files, killed commands, scarce disks, two processes on one output, and memory over an hour.

    python -m benchmarks.reliability [--parts fuzz kill disk soak] [--cases N] [--kills N] [--commands NAME ...] [--minutes M]
    python -m benchmarks.reliability --quick --out FILE.json

Writes `results/reliability.json` and `.md` after every line; processes with different parts or commands may run side by side.
A later sitting keeps the lines of other parts, adds kills to those of the same commit, and leaves out a half of the soak that
is over. Linux only: it forks, limits memory, and mounts a small file system for the full disk (as root; others get a limit on
the size of files instead).
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.reliability_commands import writing_commands
from benchmarks.reliability_row import Row
from benchmarks.result import RESULTS, Check, commit, write_result
from dexvid_envs.progress import progress_bar

Part = Literal["fuzz", "kill", "disk", "soak"]
WANTED_CASES, WANTED_KILLS, WANTED_MINUTES = 10_000, 100, 60.0
_DISK_PARTS = ("full disk", "read-only", "two at once")
_SEED = 0


@dataclasses.dataclass(frozen=True)
class ReliabilityArguments:
    """Arguments of the benchmark."""

    parts: tuple[Part, ...] = ("fuzz", "kill", "disk", "soak")
    """what is tried"""
    cases: int = WANTED_CASES
    """damaged files and command lines, over all readers"""
    readers: tuple[str, ...] = ()
    """names of the readers that are given damaged files; all of them, and the command lines, by default"""
    kills: int = WANTED_KILLS
    """of each command; those of an earlier sitting at the same commit count"""
    commands: tuple[str, ...] = ()
    """names of the commands to kill and to starve; all of them by default"""
    minutes: float = WANTED_MINUTES
    """of the soak, half of them stepping and half of them training"""
    halves: tuple[str, ...] = ()
    """names of the halves of the soak to run; both by default"""
    out: Path | None = None
    """file for the result (.json); by default the published one"""
    quick: bool = False
    """a few hundred cases, two kills and seconds of the soak; needs --out, so that the published results stay"""


def main() -> int:
    """Runs the parts and writes the result; 1 where something went wrong."""
    arguments = tyro.cli(ReliabilityArguments)
    if arguments.quick and arguments.out is None:
        print("error: --quick would replace the published results; add --out FILE.json", file=sys.stderr)
        return 2
    if arguments.quick:
        few = arguments.commands or ("dataset merge", "retarget")
        cases, minutes = min(arguments.cases, 400), min(arguments.minutes, 0.2)
        arguments = dataclasses.replace(arguments, cases=cases, kills=2, commands=few, minutes=minutes)
    path = arguments.out or RESULTS / "reliability.json"
    config = {"seed": _SEED, "cases": arguments.cases, "kills": arguments.kills, "minutes": arguments.minutes}
    run(arguments, _Table(path, config))
    print(path.with_suffix(".md").read_text())
    return 0 if all(row["bad"] == 0 for row in json.loads(path.read_text())["rows"]) else 1


def run(arguments: ReliabilityArguments, table: _Table) -> None:
    """Runs the parts, each line of which goes into the table when it is there."""
    if "fuzz" in arguments.parts:
        from benchmarks.reliability_fuzz import fuzz
        from benchmarks.reliability_readers import readers

        with progress_bar("fuzz") as report:
            for findings in fuzz(readers(), arguments.cases, arguments.readers, seed=_SEED, report=report):
                table.add(findings.row())
    if "kill" in arguments.parts:
        from benchmarks.reliability_kill import kill_commands

        with progress_bar("kill") as report:
            for row in kill_commands(arguments.commands, arguments.kills, table.earlier, seed=_SEED, report=report):
                table.add(row)
    if "disk" in arguments.parts:
        from benchmarks.reliability_disk import starve_commands

        with progress_bar("disk") as report:
            for row in starve_commands(arguments.commands, report=report):
                table.add(row)
    if "soak" in arguments.parts:
        from benchmarks.reliability_soak import soak_halves

        def is_over(half: str) -> bool:
            row = table.of_this_commit("soak", half)
            return row is not None and row["minutes"] >= arguments.minutes / 2.0

        with progress_bar("soak") as report:
            for row in soak_halves(arguments.minutes, arguments.halves, is_over, report=report):
                table.add(row)


class _Table:
    """The rows so far, in the file after each."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self._path, self._config, self._commit = path, config, commit()
        self._rows = self._stored()

    def _stored(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self._path.read_text())["rows"] if self._path.is_file() else []
        return {(row["part"], row["what"]): row for row in rows}

    def of_this_commit(self, part: str, what: str) -> dict[str, Any] | None:
        """A line that was made at this very commit."""
        row = self._rows.get((part, what))
        known = row is not None and row["commit"] == self._commit and "+" not in self._commit
        return row if known else None

    def earlier(self, part: str, what: str) -> Row | None:
        """The same, to be gone on with."""
        row = self.of_this_commit(part, what)
        if row is None:
            return None
        values: dict[str, Any] = row | {"examples": {row["examples"]: 1} if row["examples"] else {}}
        return Row(**values)

    def add(self, row: Row) -> None:
        """Takes the place of an older line of the same; other processes may add theirs to the same file meanwhile."""
        with open(self._path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._rows = self._stored()
            self._rows[row.part, row.what] = dataclasses.replace(row, commit=self._commit).to_json()
            order = ("fuzz", "kill", *_DISK_PARTS, "soak")
            rows = sorted(self._rows.values(), key=lambda one: order.index(one["part"]))
            write_result(self._path, "reliability", self._config, rows, checks(rows))


def checks(rows: list[dict[str, Any]]) -> list[Check]:
    """Enough was tried of everything, and nothing went wrong."""

    def of(part: str, value: Callable[[dict[str, Any]], int]) -> list[int]:
        return [value(row) for row in rows if row["part"] == part]

    found = []
    if cases := of("fuzz", lambda row: row["tries"]):
        found.append(Check("damaged files and command lines", sum(cases), WANTED_CASES, "higher"))
        found.append(Check("bad cases of them", sum(of("fuzz", lambda row: row["bad"])), 0, "lower"))
    commands = {command.name for command in writing_commands()}
    kills = {row["what"]: row["tries"] for row in rows if row["part"] == "kill"}
    if kills:
        least = min(kills.get(name, 0) for name in commands)
        found.append(Check("kills of the least killed command", least, WANTED_KILLS, "higher"))
        found.append(Check("kills after which something was lost", sum(of("kill", lambda row: row["bad"])), 0, "lower"))
    for part in _DISK_PARTS:
        if bad := of(part, lambda row: row["bad"]):
            tried = commands & {row["what"] for row in rows if row["part"] == part}
            found.append(Check(f"{part}: commands tried", len(tried), len(commands), "higher"))
            found.append(Check(f"{part}: commands without a plain message, or with a loss", sum(bad), 0, "lower"))
    return found + _soak_checks([row for row in rows if row["part"] == "soak"])


def _soak_checks(rows: list[dict[str, Any]]) -> list[Check]:
    """Both halves were long enough, and their memory stayed flat; none where there was no soak."""
    from benchmarks.reliability_soak import HALVES, MAX_GROWTH_MIB

    if not rows:
        return []
    minutes = {row["what"]: row["minutes"] for row in rows}
    shortest = min(minutes.get(half, 0.0) for half in HALVES)
    found = [Check("soak: minutes of the shorter half", shortest, WANTED_MINUTES / 2.0, "higher")]
    if growths := [row["growth_mib"] for row in rows if row["growth_mib"] is not None]:
        found.append(Check("soak: largest growth of a half's memory, MiB", max(growths), MAX_GROWTH_MIB, "lower"))
    bad = sum(row["bad"] for row in rows)
    return [*found, Check("soak: faults, such as numbers that are not finite", bad, 0, "lower")]


if __name__ == "__main__":
    sys.exit(main())
