"""What `dexvid replay` does with a dataset: plays it, films it, draws it, and records it anew on another build."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demos.closed_loop import DemonstrationFollower
from demos.dataset import DatasetWriter, read_dataset
from demos.demonstration import Demonstration
from demos.disturbed import disturbed
from demos.recorded_path import find_source, path_error, place_on
from demos.replay import Player, ReplayOutcome
from demos.replay_plot import plot_episode
from demos.side_by_side import render_side_by_side
from demos.video import video_writer
from dexvid_envs.env import DexVidEnv
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import progress_bar, progress_over
from dexvid_envs.rendering import make_renderer

if TYPE_CHECKING:
    from demos.replay_command import ReplayConfig

FPS = 20.0  # the control rate
WIDTH, HEIGHT = 640, 480  # px
PANEL_WIDTH, PANEL_HEIGHT = 480, 368  # px of each picture side by side
CAMERA = "overview"


def replay_episodes(
    dataset: Path, episodes: Sequence[int], video: Path | None = None, *, closed_loop: bool = False
) -> dict[int, ReplayOutcome]:
    """Replays episodes of a dataset, with a progress bar; returns the outcome by episode.

    Raises:
        InputFileError: the dataset or an episode is missing or damaged.
        DexVidError: an episode cannot be played here; the message names it.
        RenderingUnavailableError: a video is asked for and there is no off-screen OpenGL.
    """
    outcomes: dict[int, ReplayOutcome] = {}
    player: Player | None = None
    with contextlib.ExitStack() as stack:
        on_frame = None if video is None else stack.enter_context(_video_writer(video))
        for episode in progress_over(episodes, "replay", "episodes"):
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
        for episode in progress_over(episodes, "record", "episodes"):
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


class RecordingBeside:
    """What `--video` and `--plot` show beside the robot: the recording behind a single episode, where it is known."""

    def __init__(self, config: ReplayConfig, episodes: Sequence[int]) -> None:
        """Raises: InputFileError: the source that is given is not readable, or is another's."""
        self.config, self.demonstration, self.found = config, None, None
        if len(episodes) == 1 and (config.video or config.plot):
            self.demonstration = read_dataset(config.dataset, episodes)[0]
            self.found = find_source(self.demonstration, config.source, config.source_video)
        elif config.source is not None:
            raise OptionError("--source shows one episode beside its recording, for --video or --plot; add --episode I")

    def show(self) -> None:
        """Writes the side-by-side video and the plot."""
        if self.demonstration is None:
            return
        placed = None if self.found is None else place_on(self.found.interaction, self.demonstration)
        if self.config.video is not None and placed is not None and self.found is not None:
            film = self.found.film
            with progress_bar("video") as report:
                render_side_by_side(
                    placed,
                    self.demonstration,
                    self.config.video,
                    source_video=film,
                    width=PANEL_WIDTH,
                    height=PANEL_HEIGHT,
                    film_panel=film is not None,
                    report=report,
                )
        if self.config.plot is not None:
            error = None if placed is None else path_error(placed, self.demonstration)
            with progress_bar("plot"):
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
