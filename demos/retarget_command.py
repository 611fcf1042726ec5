"""`dexvid retarget`: an extraction to a motion of the robot."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from demos.commands import RETARGET
from demos.retargeting.settings import RetargetConfig
from dexvid_envs.cli import parse_config, parse_env_options
from dexvid_envs.errors import InputFileError
from dexvid_envs.json_output import json_output


@dataclasses.dataclass(frozen=True)
class RetargetArguments:
    """Arguments of `dexvid retarget`."""

    source: tyro.conf.Positional[Path]
    """an extraction's folder, or a folder of another extractor's output"""
    out: Path
    """the .npz file to write: qpos, targets (T, 23) rad, error_m (T, 4), source_frame (T,), and doubts about the recording"""
    env: str = "DexVid-BottlePickPlace-v0"
    """environment in whose world the motion is placed; "DexVid-" and the version may be left out"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of an environment option, such as bottle=mustard; may be given several times"""
    importer: str | None = None
    """name of the importer; guessed from the folder's layout by default"""
    json: Path | None = None
    """file for the figures of the motion; - or nothing prints them"""
    config: Annotated[RetargetConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=RetargetConfig)
    """weights and terms, such as --contact and --smoothness-weight"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(RetargetArguments, RETARGET, arguments)
    import numpy as np

    from demos.checks import check_interaction, inspect_interaction
    from demos.pseudo_demonstration import place_and_retarget
    from demos.source import load_interaction, warn_of_failed_gates
    from dexvid_envs.environment_ids import find_environment_id
    from dexvid_envs.npz_file import write_npz
    from dexvid_envs.progress import progress_bar

    if config.out.suffix != ".npz":
        raise InputFileError(f"--out {config.out}: expected a file name that ends in .npz")
    env_id = find_environment_id(config.env)
    interaction = load_interaction(config.source, config.importer)
    warn_of_failed_gates(config.source)
    check_interaction(interaction)
    doubts = [str(finding) for finding in inspect_interaction(interaction, env_id)]  # of another task: still a motion
    for doubt in doubts:
        print(f"warning: {doubt}", file=sys.stderr)
    with json_output(config.json) as write:
        with progress_bar("retarget") as report:
            placed = place_and_retarget(interaction, env_id, parse_env_options(config.env_option), config.config, report=report)
        motion = placed.motion
        arrays = {name: getattr(motion, name) for name in ("qpos", "targets", "error_m", "source_frame")}
        write_npz(config.out, arrays | {"doubts": np.array(doubts, dtype=str)})
        error = 1e3 * motion.error_m
        print(
            f"{len(motion.qpos)} steps, fingertip error {error.mean():.1f} mm mean, {error.max():.1f} mm largest: {config.out}"
        )
        write(
            {
                "out": str(config.out),
                "environment": env_id,
                "steps": len(motion.qpos),
                "mean_error_m": float(motion.error_m.mean()),
                "max_error_m": float(motion.error_m.max()),
                "yaw_rad": float(placed.yaw_rad),
                "doubts": doubts,
            }
        )
    return 0
