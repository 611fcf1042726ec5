"""`dexvid multiply`: one demonstration to many, at new starts and goals, of other sizes and masses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from demos.commands import MULTIPLY
from dexvid_envs.cli import parse_config, parse_env_options
from dexvid_envs.errors import DexVidError


@dataclasses.dataclass(frozen=True)
class MultiplyArguments:
    """Arguments of `dexvid multiply`."""

    dataset: tyro.conf.Positional[Path]
    """a dataset with a successful demonstration, as `dexvid refine` writes it"""
    out: Path
    """the dataset folder to write"""
    count: int = 1200
    """successful demonstrations wanted"""
    episode: int = 0
    """which demonstration of the dataset to multiply"""
    seed: int = 0
    """of starts, goals and noise"""
    noise_rad: float = 0.02
    """standard deviation of the noise on the finger targets"""
    size: tuple[float, float] | None = None
    """least and largest factor on the object's size, such as 0.85 1.15; otherwise all are of the demonstration's"""
    mass: tuple[float, float] | None = None
    """the same of its mass"""
    friction: tuple[float, float] | None = None
    """the same of the friction of hand and object"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of the copies' environment, such as start_half_extent_m=[0.15,0.15] (repeatable); otherwise it is the
    demonstration's"""
    resume: bool = False
    """keep the copies of an interrupted run to the same folder"""
    json: Path | None = None
    """also write acceptance rate and coverage map"""
    figure: Path | None = None
    """also draw the coverage map (.png)"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(MultiplyArguments, MULTIPLY, arguments)
    from demos.dataset import DatasetWriter, dataset_length, read_dataset
    from demos.multiplication.report import draw_coverage
    from demos.multiply import JOURNAL_NAME, MultiplyConfig, MultiplyReport, multiply
    from dexvid_envs.files import atomic_path
    from dexvid_envs.progress import progress_bar

    if config.count < 1:
        raise DexVidError(f"--count {config.count}: expected 1 or more")
    length = dataset_length(config.dataset)
    if not 0 <= config.episode < length:
        raise DexVidError(f"--episode {config.episode}: {config.dataset} holds episodes 0 to {length - 1}")
    demonstration = read_dataset(config.dataset, [config.episode])[0]
    names = ("count", "seed", "noise_rad", "size", "mass", "friction")
    ranges = {name: getattr(config, name) for name in names}
    settings = MultiplyConfig(**ranges, env_options=parse_env_options(config.env_option))
    report = MultiplyReport()
    with progress_bar("multiply") as bar, DatasetWriter(config.out, resume=config.resume) as writer:

        def show(made: int, state: MultiplyReport) -> None:
            bar(made / config.count, f"{made} made, {state.acceptance:.0%} accepted")

        journal = writer.staging / JOURNAL_NAME
        copies = multiply(demonstration, settings, first_index=len(writer), report=report, progress=show, journal=journal)
        for copy in copies:
            writer.add(copy)
    if config.json:
        with atomic_path(config.json) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(report) | {"acceptance": report.acceptance}, indent=2))
    if config.figure:
        draw_coverage(config.figure, [(demonstration.env_id, report)])
    print(
        f"{config.count} demonstrations, {report.acceptance:.0%} of {report.attempts} copies accepted; 4 cm cells without one: "
        f"{report.missing_start_cells} of starts, {report.missing_target_cells} of targets: {config.out}"
    )
    return 0
