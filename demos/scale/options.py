"""How many jobs are done: the options that all commands share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from dexvid_envs.errors import OptionError


@dataclasses.dataclass(frozen=True)
class ScaleOptions:
    """How many sources are worked on; of no meaning for a single one.

    Attributes:
        engine: processes (this machine), or ray (this machine, or the cluster that RAY_ADDRESS names).
        workers: jobs at once; by default one for each core.
        retries: further attempts after a crash or an unexpected error; a source that cannot be used is not tried again.
        job_memory_gb: memory that a job may need; a further one begins only when so much is free.
        job_limit_s: a job that takes longer is given up, as after a crash.
    """

    engine: Literal["processes", "ray"] = "processes"
    workers: int | None = None
    retries: int = 2
    job_memory_gb: float = 1.0  # an extraction of a long 720p video peaks at 0.97: benchmarks/results/extraction_memory.md
    job_limit_s: float = 3600.0

    def validate(self) -> None:
        """Refuses what nothing can be done with.

        Raises:
            OptionError: names the option, its value and what is expected.
        """
        for name, low in (("workers", 1), ("retries", 0), ("job_memory_gb", 0.0)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise OptionError(f"--{name.replace('_', '-')} is {value}, expected at least {low}")
        if not 0 < self.job_limit_s <= 1e6:
            raise OptionError(f"--job-limit-s is {self.job_limit_s}, expected more than 0, at most 1e6 s")


@dataclasses.dataclass(frozen=True)
class ManySources(ScaleOptions):
    """The same for a command line, with the sources after the first.

    Attributes:
        more: further sources; each gets a folder of its own in --out, as those of a folder do.
    """

    more: tyro.conf.Positional[tuple[Path, ...]] = ()
