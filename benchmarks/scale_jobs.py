"""Jobs of the benchmark `scale_out`, each of some seconds: extraction, refinement, multiplication, a training with a seed."""

from __future__ import annotations

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


def train(out: Path, inputs: Mapping[str, Path], seed: int, steps: int = 300) -> dict[str, Any]:
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
