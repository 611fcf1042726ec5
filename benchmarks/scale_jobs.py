"""Jobs of the benchmark `scale_out`, each of some seconds: an extraction, a refinement, a multiplication, a run with one seed.

Each writes a line when it has come to its end, so that one that was done twice would show.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.refinement import QUICK
from demos.extract.config import ExtractConfig
from demos.extract.many import extract_jobs
from demos.provenance import to_json
from demos.refine_command import refine_job
from demos.scale.job import Job
from demos.source import shipped_demonstration, shipped_sample

_CLIPS = shipped_sample().parent / "synthetic_clips"
_LOGGED = "benchmarks.scale_jobs:logged"


def logged(out: Path, inputs: Mapping[str, Path], function: str, log: str, **settings: Any) -> dict[str, Any]:
    """Calls the function and then adds the job's name and the process to the log (in one write, so that none is lost)."""
    module, _, name = function.partition(":")
    figures = dict(getattr(importlib.import_module(module), name)(out, inputs, **settings) or {})
    line = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(line, f"{out.name} {os.getpid()}\n".encode())
    finally:
        os.close(line)
    return figures


def with_log(job: Job, log: Path) -> Job:
    """The job, logged."""
    return Job(job.name, _LOGGED, job.inputs, {**job.settings, "function": job.function, "log": str(log)})


def extractions(count: int) -> list[Job]:
    """Of the shipped clips in turn."""
    videos = sorted(_CLIPS.glob("*/video.mp4"))
    sources = {f"clip-{n:02d}": videos[n % len(videos)] for n in range(count)}
    return extract_jobs(sources, ExtractConfig(_CLIPS, _CLIPS, overlay=False, report=False))


def refinements(count: int) -> list[Job]:
    """Of the shipped recording, a small search with another seed each."""
    settings = {"env": "DexVid-BottlePickPlace-v0", "env_option": [], "importer": None, "object": None}
    function = f"{refine_job.__module__}:{refine_job.__name__}"
    return [
        Job(
            f"seed-{seed:02d}", function, {"source": shipped_sample()}, {**settings, "config": {**to_json(QUICK), "seed": seed}}
        )
        for seed in range(count)
    ]


def multiplications(count: int) -> list[Job]:
    """Of the shipped demonstration, with another seed each."""
    settings = {"count": 64}
    inputs = {"dataset": shipped_demonstration()}
    function = "demos.multiply_command:multiply_job"
    return [Job(f"seed-{seed:02d}", function, inputs, {**settings, "seed": seed}) for seed in range(count)]


def seeds(count: int) -> list[Job]:
    """One training with many seeds, as the benchmarks of learning need them."""
    inputs = {"dataset": shipped_demonstration()}
    return [Job(f"seed-{seed:02d}", "benchmarks.scale_jobs:train", inputs, {"seed": seed}) for seed in range(count)]


def train(out: Path, inputs: Mapping[str, Path], seed: int, steps: int = 600) -> dict[str, Any]:
    """A short cloning."""
    from baselines.bc import CloneConfig, train_clone
    from demos.dataset import read_dataset

    train_clone(read_dataset(inputs["dataset"]), CloneConfig(max_steps=steps), seed=seed, run_folder=out)
    return {"seed": seed}


#: Makes so many jobs of a kind.
KINDS: dict[str, Callable[[int], list[Job]]] = {
    "extraction": extractions,
    "refinement": refinements,
    "multiplication": multiplications,
    "seeds": seeds,
}
