"""`dexvid correct`: what demonstrations do from where a cloned policy has got to."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import tyro

from baselines.commands import CORRECT
from dexvid_envs.cli import parse_config
from dexvid_envs.errors import DexVidError
from dexvid_envs.json_output import json_output


@dataclasses.dataclass(frozen=True)
class CorrectArguments:
    """Arguments of `dexvid correct`."""

    dataset: tyro.conf.Positional[Path]
    """the demonstrations that the policy was cloned from"""
    policy: Path
    """checkpoint or run folder of the policy"""
    out: Path
    """the dataset folder to write"""
    count: int = 600
    """successful corrections wanted"""
    policy_steps: int = 190
    """the policy is played for 1 to so many control steps; fewer for a poor one"""
    seed: int = 0
    """of the choice of demonstrations and of how long the policy is played"""
    resume: bool = False
    """keep the corrections of an interrupted run to the same folder; their batches are played again"""
    json: Path | None = None
    """file for the outcome; - or nothing prints it"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(CorrectArguments, CORRECT, arguments)
    from baselines.checkpoint import load_checkpoint
    from baselines.corrections import CorrectionConfig, CorrectionReport, corrections
    from demos.dataset import DatasetWriter, read_dataset
    from demos.provenance import to_json
    from dexvid_envs.files import atomic_path
    from dexvid_envs.progress import progress_bar

    if config.count < 1:
        raise DexVidError(f"--count {config.count}: expected 1 or more")
    checkpoint = load_checkpoint(config.policy)
    demonstrations = read_dataset(config.dataset)
    settings = CorrectionConfig(count=config.count, seed=config.seed, most_policy_steps=config.policy_steps)
    report = CorrectionReport()
    with progress_bar("correct") as bar, DatasetWriter(config.out, resume=config.resume) as writer:

        def show(made: int, state: CorrectionReport) -> None:
            bar(made / config.count, f"{made} made, {state.acceptance:.0%} accepted")

        asked = json.dumps(to_json(settings) | {"count": 0, "policy": to_json(checkpoint.training)}, sort_keys=True)
        marker = writer.staging / "corrections.json"
        if len(writer) and not (marker.is_file() and marker.read_text() == asked):
            raise DexVidError(f"{config.out} was begun with another policy or other settings; give the same, or a new --out")
        with atomic_path(marker) as temporary:
            temporary.write_text(asked)
        made = corrections(demonstrations, checkpoint, settings, report=report, progress=show)
        for correction in itertools.islice(made, len(writer), None):
            writer.add(correction)
    with json_output(config.json) as write:
        print(f"{config.count} corrections, {report.acceptance:.0%} of {report.attempts} succeeded: {config.out}")
        write({"out": str(config.out), "corrections": config.count, **to_json(report), "acceptance": float(report.acceptance)})
    return 0
