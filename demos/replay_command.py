"""`dexvid replay`: plays the demonstrations of a dataset and reports what became of each."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from demos.commands import REPLAY
from demos.dataset import DatasetWriter, dataset_length, read_dataset
from demos.demonstration import Demonstration
from demos.disturbed import disturbed
from demos.provenance import to_json
from demos.replay import Player, ReplayOutcome
from demos.video import video_writer
from dexvid_envs.cli import parse_config
from dexvid_envs.env import DexVidEnv
from dexvid_envs.errors import DexVidError, InputFileError, OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.rendering import make_renderer

FPS = 20.0  # the control rate
WIDTH, HEIGHT = 640, 480  # px
PANEL_WIDTH, PANEL_HEIGHT = 480, 368  # px of each picture side by side
CAMERA = "overview"
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
    """a file for the outcome of every episode"""
    record: Path | None = None
    """a dataset folder: the same actions recorded on this build, without the episodes that do not keep their tier's promise"""
    variants: int = 0
    """with --record, of lifts: also so many repetitions of each, turned about the arm's base and with disturbed actions, while
    what is to be learned leads back; those that end otherwise are left out"""


def main(arguments: Sequence[str]) -> int:
    """The command; 0 if every episode keeps its tier's promise, else 1; see `ReplayConfig`."""
    config = parse_config(ReplayConfig, REPLAY, arguments)
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
    recording = _Recording(config, episodes)
    film = None if recording.found else config.video
    outcomes = replay_episodes(config.dataset, episodes, film, closed_loop=config.closed_loop)
    recording.show()
    report = _report(config.dataset, outcomes, closed_loop=config.closed_loop)
    if config.json is not None:
        with atomic_path(config.json) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report, Console())
    if config.record is not None:  # after the report, which tells why, where no episode is left to record
        holding = [episode for episode, outcome in outcomes.items() if outcome.keeps_contract]
        repetitions = record_again(config.dataset, holding, config.record, variants=config.variants)
        if config.variants:
            print(f"{repetitions} of {config.variants * len(holding)} disturbed repetitions end as their demonstration does")
    for written in (config.video, config.plot, config.json, config.record):
        if written is not None:
            print(f"wrote {written}")
    return 0 if report["summary"]["keeps_contract"] == len(outcomes) else 1


def replay_episodes(
    dataset: Path, episodes: Sequence[int], video: Path | None = None, *, closed_loop: bool = False
) -> dict[int, ReplayOutcome]:
    """Replays episodes of a dataset, with a progress bar; returns the outcome by episode.

    Raises:
        InputFileError: the dataset or an episode is missing or damaged.
        DexVidError: an episode cannot be played here; the message names it.
        RenderingUnavailableError: a video is asked for and there is no off-screen OpenGL.
    """
    from demos.closed_loop import DemonstrationFollower

    outcomes: dict[int, ReplayOutcome] = {}
    player: Player | None = None
    with contextlib.ExitStack() as stack:
        on_frame = None if video is None else stack.enter_context(_video_writer(video))
        for episode in _progress_over(episodes, "replay"):
            (demonstration,) = read_dataset(dataset, [episode])
            try:
                if player is None or not player.fits(demonstration):
                    player = _player_of(demonstration)
                policy = DemonstrationFollower(player.env, demonstration) if closed_loop else None
                outcomes[episode] = player.replay(demonstration, policy, on_frame=on_frame)
            except DexVidError as error:
                raise type(error)(f"{dataset}, episode {episode}: {error}") from error
    return outcomes


def record_again(dataset: Path, episodes: Sequence[int], out: Path, *, variants: int = 0) -> int:
    """Records episodes of a dataset on this build; a new MuJoCo or a changed model repeats their outcome, but not their bits.

    Each is followed by `variants` disturbed repetitions (`demos.disturbed`) less those that end otherwise; returns how many of
    these there are.

    What is kept of each is what happens here; `recorded_before` in its provenance names the model and versions of before, and
    how far the object's path is from that of before. Figures of the refinement stay those of the first model, and say so.

    Raises:
        DexVidError: no episode is left; nothing is written then.
        InputFileError, OptionError: `out` cannot be written to, or is no dataset.
    """
    if not episodes:
        raise DexVidError(
            f"no episode of {dataset} keeps its tier's promise on this build: there is nothing to record; refine again"
        )
    kept = 0
    with DatasetWriter(out) as writer:
        player: Player | None = None
        for episode in _progress_over(episodes, "record"):
            (demonstration,) = read_dataset(dataset, [episode])
            if player is None or not player.fits(demonstration):
                player = _player_of(demonstration)
            again = player.record_again(demonstration)
            writer.add(again)
            for variant in range(1, variants + 1):
                repetition = disturbed(player, again, variant)
                if repetition is not None:
                    writer.add(repetition)
                    kept += 1
    return kept


def _progress_over(episodes: Sequence[int], description: str) -> Iterator[int]:
    with _progress() as progress:
        yield from progress.track(episodes, description=description)


class _Recording:
    """What `--video` and `--plot` show beside the robot: the recording behind a single episode, where it is known."""

    def __init__(self, config: ReplayConfig, episodes: Sequence[int]) -> None:
        """Raises: InputFileError: the source that is given is not readable, or is another's."""
        from demos.recorded_path import find_source

        self.config, self.demonstration, self.found = config, None, None
        if len(episodes) == 1 and (config.video or config.plot):
            self.demonstration = read_dataset(config.dataset, episodes)[0]
            self.found = find_source(self.demonstration, config.source, config.source_video)
        elif config.source is not None:
            raise OptionError("--source shows one episode beside its recording, for --video or --plot; add --episode I")

    def show(self) -> None:
        """Writes the side-by-side video and the plot."""
        from demos.recorded_path import path_error, place_on
        from demos.replay_plot import plot_episode
        from demos.side_by_side import render_side_by_side

        if self.demonstration is None:
            return
        placed = None if self.found is None else place_on(self.found.interaction, self.demonstration)
        if self.config.video is not None and placed is not None and self.found is not None:
            film = self.found.film
            render_side_by_side(
                placed,
                self.demonstration,
                self.config.video,
                source_video=film,
                width=PANEL_WIDTH,
                height=PANEL_HEIGHT,
                film_panel=film is not None,
            )
        if self.config.plot is not None:
            error = None if placed is None else path_error(placed, self.demonstration)
            player = _player_of(self.demonstration)
            plot_episode(player, self.demonstration, self.config.plot, error_m=error, error_name="the video's path")


def _player_of(demonstration: Demonstration) -> Player:
    return Player(demonstration.env_id, demonstration.env_options, demonstration.control_mode)


@contextlib.contextmanager
def _video_writer(path: Path) -> Iterator[Callable[[DexVidEnv], None]]:
    """Yields a function that adds a picture of an environment to the video; the file appears when all went well."""
    renderer: Any = None
    with atomic_path(path) as temporary, video_writer(temporary, (WIDTH, HEIGHT), FPS) as writer:

        def add_frame(env: DexVidEnv) -> None:
            nonlocal renderer
            if renderer is None or renderer.model is not env.model:
                if renderer is not None:
                    renderer.close()
                renderer = make_renderer(env.model, HEIGHT, WIDTH)
            renderer.update_scene(env.data, camera=CAMERA)
            writer.send(np.ascontiguousarray(renderer.render()))

        try:
            yield add_frame
        finally:
            if renderer is not None:
                renderer.close()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _report(dataset: Path, outcomes: dict[int, ReplayOutcome], *, closed_loop: bool) -> dict[str, Any]:
    """What `--json` writes."""
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


def _print(report: dict[str, Any], console: Console) -> None:
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
