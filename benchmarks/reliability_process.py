"""A command in a process of its own that can be killed at a moment or at its n-th change of a file.

The process is forked from one that has imported everything and compiled the environments, so that a kill costs the work alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from dexvid_envs.registration import REGISTRATIONS

#: What Python says of the system calls that change files, as audit events.
_CHANGES = frozenset(["open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "shutil.rmtree"])
_MODULES = (
    "baselines.quickstart_stages",
    "baselines.train_command",
    "baselines.distill",
    "baselines.starting_actor",
    "baselines.evaluate_command",
    "baselines.policy",
    "demos.replay_command",
    "demos.replay_dataset",
    "demos.refine_command",
    "demos.synthetic.command",
    "demos.synthetic.corpus",
    "demos.kinematic_corpus",
    "demos.extract.pipeline",
    "demos.multiply",
    "demos.multiplication.report",
    "demos.exporters.lerobot",
    "demos.exporters.robomimic",
    "demos.side_by_side",
    "demos.replay_plot",
    "torch._dynamo",  # an optimiser's
    "torch.utils.tensorboard.writer",
)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: exit code, -9 where it was killed.
        seconds: it ran.
        changes: of files, up to the end.
        said: what it wrote to its error stream.
    """

    code: int
    seconds: float
    changes: int
    said: str


class CommandProcess:
    """`dexvid WORDS` as a process.

    Args:
        words: after `dexvid`.
        folder: in which changes of files are counted.
        log: file for what the command says.
        kill_at_change: it kills itself before its n-th change of a file below `folder`.
        before: called in the process before the command, such as to set a limit.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        log: Path,
        kill_at_change: int | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._log, self._changes, self._begin = log, context.Value("i", 0), time.monotonic()
        arguments = (list(words), str(folder), log, kill_at_change, before, self._changes)
        self._process = context.Process(target=_run, args=arguments)
        self._process.start()
        with contextlib.suppress(OSError):  # it does the same; whoever comes first, so that a kill finds the group
            os.setpgid(self._process.pid or 0, self._process.pid or 0)

    def wait(self, timeout_s: float | None = None) -> Ended:
        """Waits for the end; after `timeout_s` the process is killed with kill -9, and whatever it started."""
        self._process.join(timeout_s)
        if self._process.is_alive() and self._process.pid:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself in this very moment
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        code = self._process.exitcode
        said = self._log.read_text(encoding="utf-8", errors="replace") if self._log.is_file() else ""
        return Ended(-1 if code is None else code, time.monotonic() - self._begin, self._changes.value, said)


def import_everything() -> None:
    """Imports what the commands need and takes a step of every environment, in the process that they are forked from."""
    for name in _MODULES:
        importlib.import_module(name)
    for entry in REGISTRATIONS:
        env = gym.make(entry.id)
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()


def _run(
    words: list[str], folder: str, log: Path, kill_at: int | None, before: Callable[[], None] | None, changes: Any
) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _CHANGES or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        if os.fsdecode(arguments[0]).startswith(folder):
            changes.value += 1
            if changes.value == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    if before:
        before()
    from dexvid_envs.cli import main

    try:
        code = main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 2
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
