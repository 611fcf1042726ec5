"""`dexvid dataset`: looks at datasets of demonstrations, checks them, chooses from them, joins and exports them."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from demos.commands import DATASET
from demos.demonstration import Demonstration
from dexvid_envs.cli import parse_config
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.json_output import json_output
from dexvid_envs.progress import Report

_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Info:
    """what a dataset holds"""

    dataset: tyro.conf.Positional[Path]
    """a dataset folder"""
    json: Path | None = None
    """a file for the same; - or nothing prints it"""


@dataclasses.dataclass(frozen=True)
class Check:
    """every episode is read, scored anew and, with --replay, played; 1 is returned where something is wrong"""

    dataset: tyro.conf.Positional[Path]
    """a dataset folder"""
    replay: bool = False
    """also play every episode and see whether its states come again"""
    provenance: bool = False
    """an incomplete provenance is an error, not only mentioned"""
    json: Path | None = None
    """a file for the findings of every episode; - or nothing prints them"""


@dataclasses.dataclass(frozen=True)
class Export:
    """to the layout of another learning library"""

    dataset: tyro.conf.Positional[Path]
    """a dataset folder"""
    to: Literal["lerobot", "robomimic"]
    """lerobot: a folder of format v3.0 (needs pyarrow); robomimic: one HDF5 file"""
    out: Path
    """what to write, which must not exist"""
    task: str | None = None
    """lerobot: what is done, in a sentence; by default the environment's own"""
    json: Path | None = None
    """a file for what was written; - or nothing prints it"""


@dataclasses.dataclass(frozen=True)
class Merge:
    """several datasets of one environment to one"""

    datasets: tyro.conf.Positional[tuple[Path, ...]]
    """two or more dataset folders"""
    out: Path
    """the dataset folder to write"""
    json: Path | None = None
    """a file for what was written; - or nothing prints it"""


@dataclasses.dataclass(frozen=True)
class Filter:
    """the episodes of a dataset that fulfil every condition"""

    dataset: tyro.conf.Positional[Path]
    """a dataset folder"""
    out: Path
    """the dataset folder to write"""
    tier: tuple[Literal["kinematic", "replayable", "successful"], ...] = ()
    """of these tiers"""
    episode: tuple[int, ...] = ()
    """of these numbers"""
    success: bool = False
    """that end in the task's success"""
    min_steps: int = 1
    """at least so long"""
    max_steps: int | None = None
    """at most so long"""
    first: int | None = None
    """no more than so many"""
    json: Path | None = None
    """a file for what was written; - or nothing prints it"""


@dataclasses.dataclass(frozen=True)
class DatasetArguments:
    """Arguments of `dexvid dataset`."""

    do: Annotated[
        Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Merge, tyro.conf.subcommand("merge")]
        | Annotated[Filter, tyro.conf.subcommand("filter")],
        tyro.conf.arg(name=""),
    ]


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 1 where a check finds something wrong."""
    chosen = parse_config(DatasetArguments, DATASET, arguments).do
    run: Any = {Info: _info, Check: _check, Export: _export, Merge: _merge, Filter: _filter}[type(chosen)]
    with json_output(chosen.json) as write:
        report = run(chosen)
        write(report)
    return 0 if report.get("ok", True) else 1


def describe(dataset: Path, each: Callable[[Demonstration, int], None] | None = None) -> dict[str, Any]:
    """What a dataset holds, as JSON values.

    Args:
        dataset: folder.
        each: called with every demonstration and their number, for who wants to know more of them.

    Raises:
        InputFileError: the folder is no dataset, or an episode is damaged; the message names it.
    """
    from demos.dataset import dataset_length, read_dataset
    from demos.provenance import missing_provenance
    from demos.recorded_path import source_hash

    steps, successes = [], 0
    counted: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in _COUNTED}
    sizes: set[tuple[int, ...]] = set()
    length = dataset_length(dataset)
    for episode in range(length):
        (one,) = read_dataset(dataset, [episode])
        if each is not None:
            each(one, length)
        steps.append(one.num_steps)
        successes += bool(one.successes[-1])
        sizes.add((one.observations.shape[1], one.actions.shape[1], one.states.shape[1]))
        stored = one.provenance.get("versions")
        values = {
            "environments": one.env_id,
            "env_options": json.dumps(dict(one.env_options)),
            "control_modes": one.control_mode,
            "tiers": one.tier,
            "sources": source_hash(one)[:12] or "unknown",
            "mujoco": str(stored.get("mujoco", "unknown")) if isinstance(stored, Mapping) else "unknown",
            "provenance": "incomplete" if missing_provenance(one) else "complete",
        }
        for name, value in values.items():
            counted[name][value] += 1
    observed, acted, state = max(sizes, default=(0, 0, 0))
    return {
        "dataset": str(dataset),
        "episodes": len(steps),
        "steps": {"total": sum(steps), "shortest": min(steps, default=0), "longest": max(steps, default=0)},
        "successes": successes,
        "sizes": {"observation": observed, "action": acted, "state": state},
        **{name: dict(counter) for name, counter in counted.items()},
        "megabytes": round(sum(file.stat().st_size for file in dataset.rglob("*") if file.is_file()) / 1e6, 3),
    }


_COUNTED = ("environments", "env_options", "control_modes", "tiers", "sources", "mujoco", "provenance")


def check_episode(dataset: Path, episode: int, players: list[Any], *, replay: bool) -> dict[str, Any]:
    """Findings of one episode: `errors`, and what its provenance lacks.

    Args:
        dataset: folder.
        episode: its number.
        players: the last player used, kept here for the next episode.
        replay: whether it is played.
    """
    from demos.dataset import read_dataset
    from demos.provenance import missing_provenance
    from demos.replay import Player
    from demos.rescore import rescore

    errors: list[str] = []
    try:
        (one,) = read_dataset(dataset, [episode])
        if not players or not players[0].fits(one):
            players[:] = [Player(one.env_id, one.env_options, one.control_mode)]
        player = players[0]
        if replay:
            outcome = player.replay(one)
            errors += [outcome.broken_promise] if outcome.broken_promise else []
        else:
            player.env.reset(options=one.reset_options(0))
            rescored = rescore(one, player.env.model)
            if one.tier == "successful" and not (one.successes[-1] and (rescored is None or rescored[-1])):
                errors.append("its tier is successful, and the independent scoring of its states finds no success")
    except DexVidError as error:
        return {"episode": episode, "errors": [str(error)], "missing_provenance": []}
    return {"episode": episode, "errors": errors, "missing_provenance": missing_provenance(one)}


# ---- the subcommands --------------------------------------------------------------------------------------------------------


def _info(config: Info) -> dict[str, Any]:
    from dexvid_envs.progress import progress_bar

    read = 0
    with progress_bar("read") as bar:

        def count(_: Demonstration, length: int) -> None:
            nonlocal read
            read += 1
            bar(read / length, f"{read} of {length} episodes")

        report = describe(config.dataset, count)
    steps = report["steps"]
    print(f"{config.dataset}: {report['episodes']} episodes, {report['megabytes']:.1f} MB")
    print(f"  steps        {steps['total']} ({steps['shortest']} to {steps['longest']} an episode), 20 a second")
    print(f"  success      {report['successes']} of {report['episodes']} at the end")
    print("  sizes        " + ", ".join(f"{name} {size}" for name, size in report["sizes"].items()))
    for name in _COUNTED:
        values = report[name]
        shown = ", ".join(f"{value} ({count})" for value, count in list(values.items())[:6])
        more = f", and {len(values) - 6} more" if len(values) > 6 else ""
        print(f"  {name.replace('_', ' '):<12} {shown}{more}")
    return report


def _check(config: Check) -> dict[str, Any]:
    from demos.dataset import dataset_length
    from dexvid_envs.progress import progress_bar

    count = dataset_length(config.dataset)
    players: list[Any] = []
    rows = []
    with progress_bar("check") as report:
        for episode in range(count):
            rows.append(check_episode(config.dataset, episode, players, replay=config.replay))
            report((episode + 1) / count, f"{episode + 1} of {count}")
    wrong = [row for row in rows if row["errors"] or (config.provenance and row["missing_provenance"])]
    lacking = [row for row in rows if row["missing_provenance"]]
    for row in wrong[:_SHOWN]:
        for line in row["errors"] + (row["missing_provenance"] if config.provenance else []):
            print(f"episode {row['episode']}: {line}")
    if len(wrong) > _SHOWN:
        print(f"... and {len(wrong) - _SHOWN} more; --json FILE gives all")
    if lacking and not config.provenance:
        example = f"episode {lacking[0]['episode']}: {lacking[0]['missing_provenance'][0]}"
        print(f"{len(lacking)} of {count} episodes lack a part of their provenance ({example}); --provenance shows all")
    played = "read, scored anew and played" if config.replay else "read and scored anew"
    print(f"{config.dataset}: {count - len(wrong)} of {count} episodes are in order ({played})")
    return {"dataset": str(config.dataset), "ok": not wrong and count > 0, "episodes": rows}


def _export(config: Export) -> dict[str, Any]:
    from demos.dataset import dataset_length
    from demos.exporters.lerobot import write_lerobot
    from demos.exporters.robomimic import write_robomimic
    from dexvid_envs.progress import progress_bar

    if config.task is not None and config.to != "lerobot":
        raise OptionError("--task belongs to the LeRobot layout; leave it out or export --to lerobot")
    count = dataset_length(config.dataset)
    with progress_bar("read") as bar:
        demonstrations = list(_read_one_by_one(((config.dataset, episode) for episode in range(count)), count, bar))
    with progress_bar("export") as bar:
        if config.to == "lerobot":
            write_lerobot(config.out, demonstrations, task=config.task, report=bar)
        else:
            write_robomimic(config.out, demonstrations, report=bar)
    return _written(config.out, len(demonstrations), sum(one.num_steps for one in demonstrations), layout=config.to)


def _merge(config: Merge) -> dict[str, Any]:
    from demos.dataset import dataset_length, write_dataset
    from dexvid_envs.progress import progress_bar

    if len(config.datasets) < 2:
        raise OptionError(f"got {len(config.datasets)} dataset to merge, expected two or more")
    if config.out.absolute() in [one.absolute() for one in config.datasets]:
        raise OptionError(f"--out {config.out} is one of the datasets to merge, expected another folder")
    lengths = [dataset_length(one) for one in config.datasets]
    pairs = zip(config.datasets, lengths, strict=True)
    episodes = ((dataset, episode) for dataset, length in pairs for episode in range(length))
    with progress_bar("merge") as bar:
        kept = _Kept(_read_one_by_one(episodes, sum(lengths), bar))
        write_dataset(config.out, kept)
    return _written(config.out, kept.episodes, kept.steps)


def _filter(config: Filter) -> dict[str, Any]:
    from demos.dataset import dataset_length, write_dataset
    from dexvid_envs.progress import progress_bar

    if config.out.absolute() == config.dataset.absolute():
        raise OptionError(f"--out {config.out} is the dataset itself, expected another folder")
    count = len(config.episode) or dataset_length(config.dataset)
    episodes = config.episode or range(count)
    with progress_bar("filter") as bar:
        read = _read_one_by_one(((config.dataset, episode) for episode in episodes), count, bar)
        fitting = (one for one in read if _fits(one, config))
        chosen = list(itertools.islice(fitting, 1))
        if not chosen:
            raise OptionError(
                f"no episode of {config.dataset} fulfils the conditions; see 'dexvid dataset info {config.dataset}'"
            )
        kept = _Kept(itertools.islice(itertools.chain(chosen, fitting), config.first))
        write_dataset(config.out, kept)
    return _written(config.out, kept.episodes, kept.steps)


def _fits(one: Demonstration, config: Filter) -> bool:
    long_enough = config.min_steps <= one.num_steps <= (config.max_steps or one.num_steps)
    right_tier = not config.tier or one.tier in config.tier
    return long_enough and right_tier and (not config.success or bool(one.successes[-1]))


def _read_one_by_one(episodes: Iterable[tuple[Path, int]], count: int, report: Report) -> Iterator[Demonstration]:
    """The episodes of datasets, given by folder and number; never listed, for a damaged dataset may promise billions."""
    from demos.dataset import read_dataset

    for done, (dataset, episode) in enumerate(episodes, start=1):
        yield from read_dataset(dataset, [episode])
        report(done / count, f"{done} of {count} episodes")


class _Kept:
    """Counts demonstrations on their way into a file."""

    def __init__(self, demonstrations: Iterable[Demonstration]) -> None:
        self._demonstrations, self.episodes, self.steps = demonstrations, 0, 0

    def __iter__(self) -> Iterator[Demonstration]:
        for one in self._demonstrations:
            self.episodes, self.steps = self.episodes + 1, self.steps + one.num_steps
            yield one


def _written(out: Path, episodes: int, steps: int, **more: Any) -> dict[str, Any]:
    print(f"{episodes} episodes, {steps} steps: {out}")
    return {"out": str(out), "episodes": episodes, "steps": steps, **more}
