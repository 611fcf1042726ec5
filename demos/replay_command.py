"""`dexvid replay`: plays the demonstrations of a dataset and reports what became of each."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import imageio.v2 as imageio
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from demos.commands import REPLAY
from demos.dataset import dataset_length, read_dataset
from demos.provenance import to_json
from demos.replay import Player, ReplayOutcome
from dexvid_envs.cli import parse_config
from dexvid_envs.env import DexVidEnv
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.rendering import make_renderer

FPS = 20.0  # the control rate
WIDTH, HEIGHT = 640, 480  # px
CAMERA = "overview"
_ROWS_SHOWN = 40


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
    """Options of `dexvid replay`.

    Attributes:
        dataset: a dataset folder.
        episode: which episodes, counted from 0; all where none is given.
        video: an .mp4 file of the episodes replayed, one after the other.
        json: a file for the outcome of every episode.
    """

    dataset: Annotated[Path, tyro.conf.Positional]
    episode: tuple[int, ...] = ()
    video: Path | None = None
    json: Path | None = None


def main(arguments: Sequence[str]) -> int:
    """The command; see `ReplayConfig`."""
    config = parse_config(ReplayConfig, REPLAY, arguments)
    if config.video is not None and config.video.suffix.lower() != ".mp4":
        raise OptionError(f"--video {config.video}: expected a file name that ends in .mp4")
    count = dataset_length(config.dataset)
    episodes = config.episode or tuple(range(count))
    if not episodes:
        raise InputFileError(f"{config.dataset} holds no episode: expected at least one; make the dataset again")
    outcomes = replay_episodes(config.dataset, episodes, config.video)
    report = _report(config.dataset, outcomes)
    if config.json is not None:
        with atomic_path(config.json) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _print(report["episodes"], report["summary"], Console())
    for written in (config.video, config.json):
        if written is not None:
            print(f"wrote {written}")
    return 0


def replay_episodes(dataset: Path, episodes: Sequence[int], video: Path | None = None) -> dict[int, ReplayOutcome]:
    """Replays episodes of a dataset open loop, with a progress bar; returns the outcome by episode.

    Raises:
        InputFileError: the dataset or an episode is missing or damaged.
        RenderingUnavailableError: a video is asked for and there is no off-screen OpenGL.
    """
    outcomes: dict[int, ReplayOutcome] = {}
    player: Player | None = None
    with contextlib.ExitStack() as stack:
        on_frame = None if video is None else stack.enter_context(_video_writer(video))
        progress = stack.enter_context(_progress())
        for episode in progress.track(episodes, description="replay"):
            (demonstration,) = read_dataset(dataset, [episode])
            if player is None or not player.fits(demonstration):
                player = Player(demonstration.env_id, demonstration.env_options, demonstration.control_mode)
            outcomes[episode] = player.replay(demonstration, on_frame=on_frame)
    return outcomes


@contextlib.contextmanager
def _video_writer(path: Path) -> Iterator[Callable[[DexVidEnv], None]]:
    """Yields a function that adds a picture of an environment to the video; the file appears when all went well."""
    renderer: Any = None
    writer: Any

    with atomic_path(path) as temporary, imageio.get_writer(temporary, fps=FPS, macro_block_size=16) as writer:

        def add_frame(env: DexVidEnv) -> None:
            nonlocal renderer
            if renderer is None or renderer.model is not env.model:
                if renderer is not None:
                    renderer.close()
                renderer = make_renderer(env.model, HEIGHT, WIDTH)
            renderer.update_scene(env.data, camera=CAMERA)
            writer.append_data(renderer.render())

        try:
            yield add_frame
        finally:
            if renderer is not None:
                renderer.close()


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _report(dataset: Path, outcomes: dict[int, ReplayOutcome]) -> dict[str, Any]:
    """What `--json` writes."""
    results = list(outcomes.values())
    rows = [
        {"episode": episode} | to_json(outcome) | {"keeps_contract": outcome.keeps_contract}
        for episode, outcome in outcomes.items()
    ]
    summary = {
        "episodes": len(results),
        "success": sum(outcome.success for outcome in results),
        "exact": sum(outcome.state_deviation == 0.0 for outcome in results),
        "keeps_contract": sum(outcome.keeps_contract for outcome in results),
    }
    return {"dataset": str(dataset), "summary": summary, "episodes": rows}


def _print(rows: Sequence[dict[str, Any]], summary: dict[str, int], console: Console) -> None:
    table = Table(title="open-loop replay", box=SIMPLE_HEAD, pad_edge=False)
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
            "exact" if deviation == 0.0 else f"{deviation:.1g}",
            _yes_no(row["keeps_contract"]),
        )
    console.print(table)
    if len(rows) > _ROWS_SHOWN:
        console.print(f"... and {len(rows) - _ROWS_SHOWN} more; --json FILE gives all")
    count = summary["episodes"]
    console.print(
        f"success {summary['success']} of {count}, states repeated exactly {summary['exact']} of {count}, "
        f"tier holds {summary['keeps_contract']} of {count}",
        soft_wrap=True,
    )


def _yes_no(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _millimetres(value_m: float | None) -> str:
    return "-" if value_m is None else f"{1000 * value_m:.1f} mm"
