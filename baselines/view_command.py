"""`dexvid view`: an extraction, a demonstration or a policy's episode in the browser, with the film on one time line."""

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


@dataclasses.dataclass(frozen=True)
class ViewArguments:
    """What to look at."""

    path: tyro.conf.Positional[Path]
    """a dataset, an extraction (or another extractor's folder), a checkpoint or a run"""
    episode: int = 0
    """of a dataset; of a policy the seed is 10000 + episode, as in its evaluation"""
    source: Path | None = None
    """the extraction that a demonstration was made from; that of the shipped one is found by itself"""
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
    from demos.dataset import dataset_length, read_dataset
    from demos.view.story import demonstration_story, recording_story

    path = config.path
    if not path.exists():
        raise InputFileError(f"nothing at {path}; expected a dataset, an extraction, a checkpoint or a run")
    if (path / "data" / "main_data.hdf5").is_file():
        length = dataset_length(path)
        if not 0 <= config.episode < length:
            raise OptionError(f"--episode {config.episode}: {path} holds episodes 0 to {length - 1}")
        return demonstration_story(read_dataset(path, [config.episode])[0], config.source, config.film, report=report)
    if (path / "checkpoint").is_dir() or any(path.glob("*.safetensors")):
        report(0.0, "playing an episode")
        return demonstration_story(_policy_episode(path, config.episode))
    return recording_story(path, config.film, report=report)


def _policy_episode(path: Path, episode: int) -> Any:
    """One episode of a checkpoint's policy, recorded as a demonstration."""
    from baselines.checkpoint import load_checkpoint
    from baselines.evaluate import EVALUATION_SEED
    from demos.side_by_side import policy_episodes

    checkpoint = load_checkpoint(path)
    options = checkpoint.make_options()
    mode = str(options.pop("control_mode", "joint_delta"))
    seeds = [EVALUATION_SEED + episode]
    return policy_episodes(checkpoint.policy(), checkpoint.env_id, options, mode, seeds)[0]
