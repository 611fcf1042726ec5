"""`dexvid extract`: the command line of the extraction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from demos.commands import EXTRACT
from demos.extract.config import ExtractConfig
from demos.scale.options import ManySources
from dexvid_envs.cli import parse_config
from dexvid_envs.json_output import json_output


@dataclasses.dataclass(frozen=True)
class ExtractArguments:
    """Arguments of `dexvid extract`."""

    config: Annotated[ExtractConfig, tyro.conf.arg(name="")]
    """of each extraction"""
    json: Path | None = None
    """file for quality and failed gates of one video; - or nothing prints them"""
    many: Annotated[ManySources, tyro.conf.arg(name="")] = dataclasses.field(default_factory=ManySources)
    """for several videos"""


def main(arguments: Sequence[str]) -> int:
    """Extracts with progress bars; returns the exit code: 1 where some of several videos failed."""
    parsed = parse_config(ExtractArguments, EXTRACT, arguments)
    # after the parsing, so that --help and a wrong option answer at once
    from demos.extract.many import extract_jobs, find_sources

    sources = find_sources(parsed.config, parsed.many.more)
    if sources is None:
        with json_output(parsed.json) as write:
            write(_extract_one(parsed.config))
        return 0
    from demos.scale.command import refuse_options, run_and_tell

    refuse_options(parsed, ("json",))
    jobs = extract_jobs(sources, parsed.config)
    return run_and_tell("extract", jobs, parsed.config.out, parsed.many, {"all_gates_passed": "passed all gates"})


def _extract_one(config: ExtractConfig) -> dict[str, Any]:
    """Extracts; returns what `--json` writes."""
    from rich.console import Console

    from demos.extract.gates import gate_text
    from demos.extract.pipeline import extract
    from demos.extract.work_folder import work_path
    from dexvid_envs.progress import stage_bars

    console = Console(stderr=True)
    try:
        with stage_bars() as bars:

            def report(stage: str, done: int, total: int) -> None:
                bars(stage, done / total if total else None, f"{done} of {total}" if total > 1 else "")

            result = extract(config, report)
    except KeyboardInterrupt:
        kept = work_path(config.out, config.keep_work)
        if kept.is_dir():
            console.print(f"stopped; the same command goes on where it was (the work so far is in {kept})", soft_wrap=True)
        raise
    failed = [gate_text(gate) for gate in result.failed_gates]
    _print_summary(console, config, result.quality, failed)
    return {"out": str(config.out), "failed_gates": failed, "quality": result.quality}


def _print_summary(console: Any, config: ExtractConfig, quality: dict[str, Any], failed: list[str]) -> None:
    hand, target = quality["hand"], quality["object"]
    found = f"found in {hand['found_fraction']:.0%} of the frames, " if "found_fraction" in hand else ""
    console.print(f"{hand['side']} hand: {found}mean confidence {hand['confidence_mean']:.2f}", highlight=False)
    if target["found"]:
        contact = quality["result"]["contact_fraction"]
        text = f"{target['object']}: {target['points']} points, followed in {target['tracked_fraction']:.0%} of the frames"
        console.print(f"{text}, in contact {contact:.0%} of the time", highlight=False)
    if quality["goal"]["kind"] != "unknown":
        goal = quality["goal"]
        console.print(
            f"looks like: {goal['kind']} over {100 * goal['travel_m']:.0f} cm ({goal['environment']})", highlight=False
        )
    for line in failed:
        console.print(f"gate failed: {line}", highlight=False, style="red")
    for warning in quality["warnings"]:
        console.print(f"note: {warning}", highlight=False, style="yellow")
    console.print(f"written: {config.out}/ (open report.html)", highlight=False)
