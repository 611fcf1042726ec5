"""`dexvid multiply`: one demonstration to many, at new starts and goals, of other sizes and masses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from demos.commands import MULTIPLY
from demos.scale.command import folders_with, refuse_options, run_and_tell
from demos.scale.job import Job
from demos.scale.options import ManySources
from dexvid_envs.cli import parse_config, parse_env_options
from dexvid_envs.errors import DexVidError
from dexvid_envs.json_output import json_output

if TYPE_CHECKING:
    from demos.multiply import MultiplyReport

_SETTINGS = ("count", "seed", "noise_rad", "size", "mass", "friction")


@dataclasses.dataclass(frozen=True)
class MultiplyArguments:
    """Arguments of `dexvid multiply`."""

    dataset: tyro.conf.Positional[Path]
    """a dataset with a successful demonstration, as `dexvid refine` writes it, or a folder of such datasets"""
    out: Path
    """the dataset folder to write; of several datasets each gets one in it"""
    count: int = 1200
    """successful demonstrations wanted"""
    episode: tuple[int, ...] = (0,)
    """which demonstration of the dataset to multiply; of several, which show one object taken from different sides, each copy
    follows the one that promises most"""
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
    """file for acceptance rate and coverage map; - or nothing prints them"""
    figure: Path | None = None
    """also draw the coverage map (.png)"""
    many: Annotated[ManySources, tyro.conf.arg(name="")] = dataclasses.field(default_factory=ManySources)
    """for several datasets"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(MultiplyArguments, MULTIPLY, arguments)
    if config.count < 1:
        raise DexVidError(f"--count {config.count}: expected 1 or more")
    sources = folders_with("data/main_data.hdf5", config.dataset, config.many.more)
    if sources is not None:
        return _multiply_many(sources, config)
    with json_output(config.json) as write:
        report = _multiply(config)
        print(
            f"{config.count} demonstrations, {report.mended} of them mended by a retry; {report.acceptance:.0%} of "
            f"{report.attempts} copies accepted; 4 cm cells without a demonstration: "
            f"{report.missing_start_cells} of starts, {report.missing_target_cells} of targets: {config.out}"
        )
        write(dataclasses.asdict(report) | {"acceptance": report.acceptance})
    return 0


def _multiply_many(sources: Mapping[str, Path], config: MultiplyArguments) -> int:
    refuse_options(config, ("resume", "json", "figure"))
    settings = {name: getattr(config, name) for name in (*_SETTINGS, "episode", "env_option")}
    jobs = [Job(name, "demos.multiply_command:multiply_job", {"dataset": path}, settings) for name, path in sources.items()]
    return run_and_tell("multiply", jobs, config.out, config.many, {})


def multiply_job(out: Path, inputs: Mapping[str, Path], **settings: Any) -> dict[str, Any]:
    """The multiplication of one of many datasets; tells how much of it succeeded."""
    report = _multiply(MultiplyArguments(inputs["dataset"], out, **settings))
    figures = {"acceptance": float(report.acceptance), "attempts": int(report.attempts), "mended": int(report.mended)}
    return {"demonstrations": settings["count"], **figures}


def _multiply(config: MultiplyArguments) -> MultiplyReport:
    """One dataset; writes the copies."""
    from demos.dataset import DatasetWriter, dataset_length, read_dataset
    from demos.multiplication.report import draw_coverage
    from demos.multiply import JOURNAL_NAME, MultiplyConfig, MultiplyReport, multiply
    from dexvid_envs.progress import progress_bar

    length = dataset_length(config.dataset)
    for episode in config.episode:
        if not 0 <= episode < length:
            raise DexVidError(f"--episode {episode}: {config.dataset} holds episodes 0 to {length - 1}")
    demonstrations = read_dataset(config.dataset, config.episode)
    given = {name: getattr(config, name) for name in _SETTINGS}
    settings = MultiplyConfig(**given, env_options=parse_env_options(config.env_option))
    report = MultiplyReport()
    with progress_bar("multiply") as bar, DatasetWriter(config.out, resume=config.resume) as writer:

        def show(made: int, state: MultiplyReport) -> None:
            bar(made / config.count, f"{made} made, {state.acceptance:.0%} accepted")

        journal = writer.staging / JOURNAL_NAME
        copies = multiply(demonstrations, settings, first_index=len(writer), report=report, progress=show, journal=journal)
        for copy in copies:
            writer.add(copy)
    if config.figure:
        draw_coverage(config.figure, [(demonstrations[0].env_id, report)])
    return report
