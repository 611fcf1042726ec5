"""`dexvid replay`: plays the demonstrations of a dataset and reports what became of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from demos.commands import REPLAY
from dexvid_envs.cli import parse_config
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.json_output import json_output

if TYPE_CHECKING:
    from demos.replay import ReplayOutcome

_ROWS_SHOWN = 40
_NOTES_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """Options of `dexvid replay`."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """a dataset folder"""
    episode: tuple[int, ...] = ()
    """which episodes, counted from 0; all where none is given"""
    closed_loop: bool = False
    """follow the demonstration by looking at robot and object in every step, instead of playing its actions"""
    video: Path | None = None
    """an .mp4 file: of one episode whose source is known film, human and robot side by side; else the robot alone"""
    plot: Path | None = None
    """a .png file: contact forces, object error and phases of one episode over time"""
    source: Path | None = None
    """the extraction that the demonstrations were made from, for video and plot; one that comes with the project is found"""
    source_video: Path | None = None
    """the film behind it"""
    json: Path | None = None
    """a file for the outcome of every episode; - or nothing prints it"""
    record: Path | None = None
    """a dataset folder: the same actions recorded on this build, without the episodes that do not keep their tier's promise"""
    variants: int = 0
    """with --record, of lifts: also so many repetitions of each, turned about the arm's base and with disturbed actions, while
    what is to be learned leads back; those that end otherwise are left out"""


def main(arguments: Sequence[str]) -> int:
    """The command; 0 if every episode keeps its tier's promise, else 1; see `ReplayConfig`."""
    config = parse_config(ReplayConfig, REPLAY, arguments)
    from demos.dataset import dataset_length
    from demos.replay_dataset import RecordingBeside, record_again, replay_episodes

    if config.video is not None and config.video.suffix.lower() != ".mp4":
        raise OptionError(f"--video {config.video}: expected a file name that ends in .mp4")
    if config.plot is not None and config.plot.suffix.lower() != ".png":
        raise OptionError(f"--plot {config.plot}: expected a file name that ends in .png")
    if config.record is not None and config.closed_loop:
        raise OptionError("--record keeps the demonstrations' own actions; leave out --closed-loop")
    if config.variants < 0 or (config.variants and config.record is None):
        raise OptionError(f"--variants {config.variants} says how many --record adds; expected 0 or more, and --record FOLDER")
    count = dataset_length(config.dataset)
    episodes = config.episode or tuple(range(count))
    if not episodes:
        raise InputFileError(f"{config.dataset} holds no episode: expected at least one; make the dataset again")
    if config.plot is not None and len(episodes) > 1:
        raise OptionError(f"--plot draws one episode, and {config.dataset} has {count}: choose one with --episode I")
    recording = RecordingBeside(config, episodes)
    film = None if recording.found else config.video
    with json_output(config.json) as write:
        outcomes = replay_episodes(config.dataset, episodes, film, closed_loop=config.closed_loop)
        recording.show()
        report = _report(config.dataset, outcomes, closed_loop=config.closed_loop)
        _print(report)
        write(report)
        if config.record is not None:  # after the report, which tells why, where no episode is left to record
            holding = [episode for episode, outcome in outcomes.items() if outcome.keeps_contract]
            repetitions = record_again(config.dataset, holding, config.record, variants=config.variants)
            if config.variants:
                print(
                    f"{repetitions} of {config.variants * len(holding)} disturbed repetitions end as their demonstration does"
                )
        for written in (config.video, config.plot, config.record):
            if written is not None:
                print(f"wrote {written}")
    return 0 if report["summary"]["keeps_contract"] == len(outcomes) else 1


def _report(dataset: Path, outcomes: dict[int, ReplayOutcome], *, closed_loop: bool) -> dict[str, Any]:
    """What `--json` writes."""
    from demos.provenance import to_json

    results = list(outcomes.values())
    rows = [
        {"episode": episode}
        | to_json(outcome)
        | {name: getattr(outcome, name) for name in ("same_build", "keeps_contract", "broken_promise")}
        for episode, outcome in outcomes.items()
    ]
    summary = {
        "episodes": len(results),
        "success": sum(outcome.success for outcome in results),
        "exact": sum(outcome.state_deviation == 0.0 for outcome in results),
        "keeps_contract": sum(outcome.keeps_contract for outcome in results),
    }
    mode = "closed-loop" if closed_loop else "open-loop"
    return {"dataset": str(dataset), "replay": mode, "summary": summary, "episodes": rows}


def _print(report: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    rows, summary = report["episodes"], report["summary"]
    table = Table(title=f"{report['replay']} replay", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("tier", no_wrap=True)
    for name in ("success", "rescored", "to target", "off path", "states", "holds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows[:_ROWS_SHOWN]:
        deviation = row["state_deviation"]
        table.add_row(
            str(row["episode"]),
            row["tier"],
            _yes_no(row["success"]),
            _yes_no(row["rescored_success"]),
            _millimetres(row["object_distance_m"]),
            _millimetres(row["object_deviation_max_m"]),
            "-" if deviation is None else "exact" if deviation == 0.0 else f"{deviation:.1g}",
            _yes_no(row["keeps_contract"]),
        )
    console.print(table)
    if len(rows) > _ROWS_SHOWN:
        console.print(f"... and {len(rows) - _ROWS_SHOWN} more; --json FILE gives all")
    count = summary["episodes"]
    repeated = "" if report["replay"] == "closed-loop" else f"states repeated exactly {summary['exact']} of {count}, "
    holding = f"tier holds {summary['keeps_contract']} of {count}"
    console.print(f"success {summary['success']} of {count}, {repeated}{holding}", soft_wrap=True)
    for line in _notes(rows):
        console.print(line, soft_wrap=True, highlight=False)


def _notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What a user should know beside the table: broken promises, and recordings of other builds."""
    broken = [f"episode {row['episode']}: {row['broken_promise']}" for row in rows if row["broken_promise"]]
    notes = broken[:_NOTES_SHOWN]
    if len(broken) > _NOTES_SHOWN:
        notes.append(f"... and {len(broken) - _NOTES_SHOWN} more episodes that do not hold")
    by_build: dict[tuple[str, ...] | None, list[int]] = {}
    for row in rows:
        build = row["build_differences"]
        by_build.setdefault(None if build is None else tuple(build), []).append(row["episode"])
    for build, episodes in by_build.items():
        which = f"episode {episodes[0]}" if len(episodes) == 1 else f"{len(episodes)} episodes"
        if build is None:
            notes.append(f"{which}: the provenance names no model and versions; the states are expected to repeat all the same")
        elif build:
            notes.append(f"{which}: recorded on another build: {', '.join(build)}; the outcome has to hold, not the last bit")
    return notes


def _yes_no(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _millimetres(value_m: float | None) -> str:
    return "-" if value_m is None else f"{1000 * value_m:.1f} mm"
