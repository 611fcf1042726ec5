"""`dexvid play`: watch a policy in an environment, in a window or as a film."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dexvid_envs.cli import parse_config, parse_env_options
from dexvid_envs.commands import PLAY
from dexvid_envs.errors import OptionError, RenderingUnavailableError
from dexvid_envs.json_output import json_output

if TYPE_CHECKING:
    import gymnasium

    from dexvid_envs.playback import Episode


@dataclasses.dataclass(frozen=True)
class PlayArguments:
    """What to play, and where to look at it."""

    env: Annotated[str, tyro.conf.Positional]
    """environment id; "DexVid-" and the version may be left out"""
    policy: str = "random"
    """"random", "zero", "scripted", a checkpoint or run folder, or module:Class"""
    episodes: int = 3
    """number of episodes"""
    seed: int = 0
    """episode i is reset with this seed plus i"""
    video: Path | None = None
    """an .mp4 file; without it a window is opened"""
    camera: str = "overview"
    """camera of the video; in the window the view to start from"""
    width: int = 640
    """of the video, pixels"""
    height: int = 480
    """of the video, pixels"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of an environment option, such as bottle=mustard; may be given several times"""
    json: Path | None = None
    """file for return and success of every episode; - or nothing prints them"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(PlayArguments, PLAY, arguments)
    import gymnasium

    from dexvid_envs.environment_ids import find_environment_id
    from dexvid_envs.options import overridden
    from dexvid_envs.playback import checkpoint_options

    options = overridden(checkpoint_options(config.policy), parse_env_options(config.env_option))
    env_id = find_environment_id(config.env)
    _check(config)
    picture = {"render_mode": "rgb_array", "camera": config.camera, "width": config.width, "height": config.height}
    env = gymnasium.make(env_id, **options | (picture if config.video is not None else {}))
    with json_output(config.json) as write:
        try:
            episodes = _play(env, config)
        finally:
            env.close()
        for episode in episodes:
            print(_line(episode))
        finished = [episode for episode in episodes if episode.finished]
        if finished:
            successes = sum(episode.success for episode in finished)
            print(f"{successes} of {len(finished)} episodes end in success")
        if config.video is not None:
            print(f"wrote {config.video}")
        write(
            {
                "environment": env_id,
                "env_options": options,
                "policy": config.policy,
                "seed": config.seed,
                "episodes": [dataclasses.asdict(episode) for episode in episodes],
            }
        )
    return 0


def _check(config: PlayArguments) -> None:
    """Refuses at once what would fail later."""
    from dexvid_envs.viewer import WITHOUT_A_WINDOW, why_no_window

    if config.episodes < 1:
        raise OptionError(f"--episodes {config.episodes}: expected 1 or more")
    if config.video is None:
        why = why_no_window()
        if why:
            raise RenderingUnavailableError(f"no window can be opened ({why}); {WITHOUT_A_WINDOW}")
    elif config.width < 16 or config.height < 16 or config.width % 2 or config.height % 2:
        raise OptionError(f"--width {config.width} --height {config.height}: expected even numbers of 16 or more")


def _play(env: gymnasium.Env[Any, Any], config: PlayArguments) -> list[Episode]:
    """Plays all episodes with window or film, and a progress bar."""
    from dexvid_envs.playback import play_episodes
    from dexvid_envs.progress import progress_bar
    from dexvid_envs.viewer import camera_names

    inner: Any = env.unwrapped
    names = camera_names(inner.model)
    if config.camera not in names:
        raise OptionError(f"--camera {config.camera}: expected one of {', '.join(names)}")
    limit = env.spec.max_episode_steps if env.spec is not None and env.spec.max_episode_steps else 1000
    fps = float(inner.metadata["render_fps"])
    with contextlib.ExitStack() as stack:
        show = _film(stack, env, config.video, fps) if config.video is not None else _window(stack, inner, fps, config.camera)
        bar = stack.enter_context(progress_bar("play"))

        def report(episode: int, step: int) -> None:
            bar((episode + (step + 1) / limit) / config.episodes, f"episode {episode + 1} of {config.episodes}")

        return play_episodes(env, config.policy, episodes=config.episodes, seed=config.seed, show=show, report=report)


def _film(stack: contextlib.ExitStack, env: gymnasium.Env[Any, Any], path: Path, fps: float) -> Callable[[], bool]:
    from dexvid_envs.playback import video_writer

    append = stack.enter_context(video_writer(path, fps))

    def show() -> bool:
        append(env.render())  # type: ignore[arg-type] (an array in this render mode)
        return True

    return show


def _window(stack: contextlib.ExitStack, inner: Any, fps: float, camera: str) -> Callable[[], bool]:
    from dexvid_envs.viewer import HumanViewer

    viewer = stack.enter_context(HumanViewer(inner.model, fps=fps, camera=camera))
    return lambda: viewer.show(inner.data)


def _line(episode: Episode) -> str:
    outcome = "success" if episode.success else "success on the way" if episode.ever_success else "no success"
    end = "" if episode.finished else ", broken off"
    return f"seed {episode.seed}: return {episode.total_reward:.2f}, {episode.steps} steps, {outcome}{end}"
