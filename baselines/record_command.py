"""`dexvid record`: episodes of any policy as demonstrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from baselines.commands import RECORD
from dexvid_envs.cli import parse_config, parse_env_options
from dexvid_envs.errors import DexVidError
from dexvid_envs.json_output import json_output

if TYPE_CHECKING:
    from demos.dataset import DatasetWriter


@dataclasses.dataclass(frozen=True)
class RecordArguments:
    """What to record, and where to."""

    env: Annotated[str, tyro.conf.Positional]
    """environment id; "DexVid-" and the version may be left out"""
    policy: str
    """"random", "zero", "scripted", a checkpoint or run folder, or module:Class"""
    out: Path
    """the dataset folder to write"""
    count: int = 20
    """demonstrations wanted"""
    seed: int = 0
    """of the first episode; every further one has the next"""
    failures: bool = False
    """keep episodes that end without success too"""
    rest_steps: int | None = 10
    """an episode ends so many steps after its success has come to stay; None for its whole length"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of an environment option, such as bottle=mustard; may be given several times"""
    resume: bool = False
    """go on with an interrupted recording to the same folder"""
    json: Path | None = None
    """file for the outcome; - or nothing prints it"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(RecordArguments, RECORD, arguments)
    from baselines.episode_recorder import RecordConfig, RecordReport, record_episodes
    from demos.dataset import DatasetWriter
    from dexvid_envs.environment_ids import find_environment_id
    from dexvid_envs.options import overridden
    from dexvid_envs.playback import checkpoint_options
    from dexvid_envs.progress import progress_bar

    options = overridden(checkpoint_options(config.policy), parse_env_options(config.env_option))
    env_id = find_environment_id(config.env)
    settings = RecordConfig(config.count, config.seed, config.failures, config.rest_steps)
    with json_output(config.json) as write:
        with progress_bar("record") as bar, DatasetWriter(config.out, resume=config.resume) as writer:
            report = RecordReport(kept=len(writer))

            def show(state: RecordReport) -> None:
                bar(state.kept / config.count, f"{state.kept} kept of {state.attempts} episodes")

            made = record_episodes(
                env_id,
                config.policy,
                options,
                settings,
                first_attempt=_next_attempt(writer, config),
                report=report,
                progress=show,
            )
            for demonstration in made:
                writer.add(demonstration)
        print(f"{report.kept} demonstrations of {report.attempts} episodes: {config.out}")
        write({"out": str(config.out), **dataclasses.asdict(report)})
    return 0


def _next_attempt(writer: DatasetWriter, config: RecordArguments) -> int:
    """The number of the first episode that an interrupted recording has not played.

    Raises:
        DexVidError: the recording was begun otherwise.
    """
    attempt = 0
    for demonstration in writer.demonstrations():
        begun = demonstration.provenance.get("recorded", {})
        if begun.get("policy") != config.policy or begun.get("seed", -1) < config.seed:
            raise DexVidError(f"{config.out} was begun with another policy or seed; give the same, or a new --out")
        attempt = int(begun["seed"]) - config.seed + 1
    return attempt
