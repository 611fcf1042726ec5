"""`dexvid view`: an extraction, a motion, a demonstration or a policy's episode in the browser, beside its film."""

from __future__ import annotations

import dataclasses
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from baselines.commands import VIEW
from dexvid_envs.cli import parse_config
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.progress import Report

_EXPECTED = (
    "an extraction or another extractor's folder, a motion (.npz) of `dexvid retarget`, a dataset, a quickstart, a checkpoint "
    "or a run"
)


@dataclasses.dataclass(frozen=True)
class ViewArguments:
    """What to look at."""

    path: tyro.conf.Positional[Path]
    """an extraction (or another extractor's folder), the motion that `dexvid retarget` wrote, a dataset, a quickstart, a
    checkpoint or a run"""
    episode: int = 0
    """of a dataset; of a policy the seed is 10000 + episode, as in its evaluation"""
    source: Path | None = None
    """the extraction that a motion or a demonstration was made from; that of a quickstart and of the shipped demonstrations is
    found by itself"""
    film: Path | None = None
    """the video behind it, where it does not lie in the extraction's folder"""
    port: int | None = None
    """of this machine's own (loopback) address; a free one by default"""
    open: bool = True
    """open it in the browser"""


def main(arguments: Sequence[str]) -> int:
    """Serves the page until it is interrupted."""
    config = parse_config(ViewArguments, VIEW, arguments)
    if config.port is not None and not 1 <= config.port <= 65535:
        raise OptionError(f"--port {config.port}: expected 1 to 65535")
    from demos.view.page import StoryPage
    from dexvid_envs.progress import progress_bar

    with progress_bar("prepare") as report:
        page = StoryPage(story_of(config, report), config.port)
    try:
        print(f"{page.story.title}\n{page.url}   (Ctrl-C ends it)", flush=True)
        if config.open and (sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(page.url)
        page.wait()
    except KeyboardInterrupt:
        pass
    finally:
        page.close()
    return 0


def story_of(config: ViewArguments, report: Report = lambda share, state: None) -> Any:
    """What lies at the path, as a `demos.view.story.Story`.

    Raises:
        InputFileError: nothing that can be shown is there.
        OptionError: the dataset has no such episode.
    """
    from baselines.reports.command import recognise
    from demos.importers import guess_importer
    from demos.view.story import demonstration_story, recording_story

    path = config.path
    if not path.exists():
        raise InputFileError(f"nothing at {path}; expected {_EXPECTED}; check the path")
    if path.is_file():
        return _file(config, report)
    try:
        kind = recognise(path)
    except InputFileError:  # no folder of this project's, but an extractor's, perhaps
        try:
            guess_importer(path)
        except InputFileError as error:
            raise InputFileError(
                f"{path} holds nothing that can be shown; expected {_EXPECTED}; give a folder inside"
            ) from error
        kind = "extraction"
    if kind == "evaluation":
        raise InputFileError(f"{path} holds an evaluation's figures, which `dexvid report` shows; expected {_EXPECTED}")
    if kind == "dataset":
        return demonstration_story(_demonstration(path, config.episode), config.source, config.film, report=report)
    if kind == "quickstart":
        return _quickstart(config, report)
    if kind in ("checkpoint", "run"):
        report(0.0, "playing an episode")
        return demonstration_story(_policy_episode(path, config.episode))
    return recording_story(path, config.film, report=report)


def _file(config: ViewArguments, report: Report) -> Any:
    from demos.video_folder import VIDEO_SUFFIXES
    from demos.view.story import motion_story, recording_story
    from dexvid_envs.npz_file import read_npz

    path = config.path
    if path.suffix == ".npz":
        keys = read_npz(path, "a motion or an interaction", "make it again").keys()
        if keys >= {"qpos", "targets", "error_m"}:
            return motion_story(path, config.source, config.film, report=report)
        if keys >= {"num_steps", "about"}:
            played = f"dexvid kinematic {path} --out pretraining"
            raise InputFileError(f"{path} holds many motions to pretrain on; play them first: {played}; then view pretraining")
        if "hand_keypoints_world" not in keys and not path.name.startswith("trajectory"):  # those are SPIDER's
            raise InputFileError(f"{path} holds no motion and no interaction, but {', '.join(keys)}; expected {_EXPECTED}")
    elif path.name != "import.json" and path.suffix.lower() not in VIDEO_SUFFIXES:  # of a video it is said what to do first
        raise InputFileError(f"{path} cannot be shown; expected {_EXPECTED}; give the folder that it lies in")
    return recording_story(path, config.film, report=report)


def _demonstration(path: Path, episode: int) -> Any:
    from demos.dataset import dataset_length, read_dataset

    length = dataset_length(path)
    if not 0 <= episode < length:
        raise OptionError(f"--episode {episode}: {path} holds episodes 0 to {length - 1}")
    return read_dataset(path, [episode])[0]


def _quickstart(config: ViewArguments, report: Report) -> Any:
    """The quickstart's one demonstration, in all stages that the run has come to."""
    from demos.view.story import demonstration_story
    from dexvid_envs.json_file import read_json

    path = config.path
    if not (path / "refined").is_dir():
        raise InputFileError(f"the quickstart in {path} has no demonstration yet; go on with `dexvid quickstart --resume`")
    arguments = read_json(path / "arguments.json", "run `dexvid quickstart` again")
    stored = arguments.get("source") if isinstance(arguments, dict) else None
    source = config.source or (Path(stored) if isinstance(stored, str) and Path(stored).exists() else None)
    open_loop = path / "open-loop"
    return demonstration_story(
        _demonstration(path / "refined", config.episode),
        source,
        config.film,
        _demonstration(open_loop, 0) if open_loop.is_dir() else None,
        report=report,
    )


def _policy_episode(path: Path, episode: int) -> Any:
    """One episode of a checkpoint's policy, whatever it sees, recorded as a demonstration."""
    from baselines.checkpoint import load_checkpoint
    from baselines.episode_recorder import RecordConfig, record_episodes
    from baselines.evaluate import EVALUATION_SEED
    from dexvid_envs.playback import checkpoint_options

    if episode < 0:
        raise OptionError(f"--episode {episode}: expected 0 or more")
    settings = RecordConfig(count=1, seed=EVALUATION_SEED + episode, failures=True)
    return next(record_episodes(load_checkpoint(path).env_id, str(path), checkpoint_options(str(path)), settings))
