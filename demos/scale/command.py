"""What the commands share that work on many sources: a progress bar, a summary in words, the exit code."""

from __future__ import annotations

import collections
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demos.scale.job import Job
from demos.scale.options import ScaleOptions
from demos.scale.run import SUMMARY_NAME, run_jobs
from dexvid_envs.errors import OptionError
from dexvid_envs.progress import progress_bar

_SHOWN = 10


def refuse_options(arguments: Any, names: Sequence[str]) -> None:
    """Refuses options that only make sense for one source.

    Raises:
        OptionError: one of the fields of `arguments` is given.
    """
    for name in names:
        if getattr(arguments, name):
            raise OptionError(f"--{name.replace('_', '-')} is of one source, but several are given; leave it out, or give one")


def folders_with(content: str, first: Path, more: Sequence[Path]) -> dict[str, Path] | None:
    """The sources by name where they are several: `first` and more, or the folders in these that hold `content`; else None.

    Raises:
        OptionError: two of them have one name.
    """
    found: list[Path] = []
    for path in (first, *more):
        inside = (
            []
            if (path / content).exists()
            else sorted(inner.parents[content.count("/")] for inner in path.glob(f"*/{content}"))
        )
        found += [inner for inner in inside if not inner.name.startswith(".")] or [path]
    if found == [first] and not more:
        return None
    counts = collections.Counter(path.absolute().name for path in found)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise OptionError(f"several sources are named {', '.join(twice[:5])}; rename them, so that none is lost")
    return {path.absolute().name: path for path in found}


def run_and_tell(title: str, jobs: Sequence[Job], out: Path, options: ScaleOptions, counted: Mapping[str, str]) -> int:
    """Runs the jobs and says what became of them; returns 1 if any failed, else 0.

    Args:
        title: of the progress bar.
        jobs, out, options: see `run_jobs`.
        counted: figures that are true or false, and in what words to tell for how many results they are true.

    Raises:
        DexVidError: as `run_jobs` does.
    """
    try:
        with progress_bar(title) as bar:
            summary = run_jobs(jobs, out, options, report=bar)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on where it was (what is done lies in {out})", file=sys.stderr)
        raise
    figures = summary.figures().values()
    words = [f"{sum(bool(one.get(name)) for one in figures)} {text}" for name, text in counted.items()]
    made = f"{len(summary.made)} made, {len(summary.kept)} there already, {len(summary.failed)} failed"
    for name, failure in list(summary.failed.items())[:_SHOWN]:
        print(f"failed: {name}: {failure.reason}", file=sys.stderr)
    if len(summary.failed) > _SHOWN:
        print(f"failed: {len(summary.failed) - _SHOWN} others, see {out / SUMMARY_NAME}", file=sys.stderr)
    print(f"{'; '.join([made, *words])}: {out}")
    return int(bool(summary.failed))
