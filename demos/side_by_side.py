"""Videos of demonstrations: the human of the recording beside the robot in physics, one episode, or many of them in a grid.

Pictures are drawn from stored states, so a video shows exactly what a demonstration holds; nothing is simulated anew except
the episodes of a policy, which `policy_episodes` records first.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demos.align import find_carry
from demos.captions import BACKGROUND_RGB, Caption, draw_captions, draw_frame
from demos.demonstration import Demonstration
from demos.human_scene import HumanScene, clearest_camera, draw_quickly
from demos.interaction import Interaction
from demos.recorded_path import object_path
from demos.replay import ClosedLoopPolicy, Player
from demos.video import probe_video, read_frames
from dexvid_envs.env import DexVidEnv
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import Report
from dexvid_envs.rendering import make_renderer
from dexvid_envs.video_file import whole_video

Picture = NDArray[np.uint8]  # (height, width, 3) RGB

FPS = 20  # the control rate
CAMERA = "overview"
FOOTER_PX = 32
_END_PAUSE_STEPS = 10
_GOOD_RGB, _BAD_RGB = (46, 160, 87), (209, 73, 62)


def render_side_by_side(
    interaction: Interaction,
    demonstration: Demonstration,
    path: Path,
    *,
    source_video: Path | None = None,
    width: int = 640,
    height: int = 480,
    camera: str | None = None,
    stride: int = 1,
    film_panel: bool = False,
    report: Report = lambda share, state: None,
) -> Path:
    """Writes an MP4 with the human's key points and the object on the left, the robot of a demonstration on the right.

    Both are seen by the same camera and kept together by the demonstration's `source_frame`. Where it has none (approach,
    retreat) the human stands still in the nearest frame and is dimmed.

    Args:
        interaction: placed in the robot's world (`PlacedMotion.interaction`).
        demonstration: what the robot did.
        path: of the .mp4 file.
        source_video: the film behind the interaction, shown small in the left picture.
        width, height: of each picture in px, divisible by 16; a line of text is added below.
        camera: name of one of the scene's cameras; by default one from which the object hides little of the hand.
        stride: every how many control steps a picture is drawn; the video keeps its duration.
        film_panel: the film has a picture of its own, left of the others.
        report: called with the finished share and a line on the state.

    Raises:
        OptionError: the sizes are not divisible by 16, or the path is no .mp4.
        RenderingUnavailableError: no off-screen OpenGL library works here.
        InputFileError: the source video cannot be read.
    """
    _check(path, width, height, stride)
    frames, live = human_frames(interaction, demonstration)
    shown = _shown_steps(demonstration.num_steps, stride)
    film_px = (width, height) if film_panel else (width // 3, height)
    film = {} if source_video is None else _thumbnails(source_video, interaction.frame_index[frames[shown]], *film_px)
    phases = _phase_names(interaction, demonstration)
    camera = camera or clearest_camera(interaction)
    with (
        _Robot(demonstration, width, height, camera) as robot,
        HumanScene(interaction, robot.env, width, height, camera) as human,
        _writer(path, FPS / stride) as add,
    ):
        for done, step in enumerate(shown, start=1):
            right = draw_frame(robot.picture(demonstration, step), _outcome(demonstration, step))
            right = draw_captions(right, [Caption("robot (physics)", (12, 12))])
            filmed = film.get(int(interaction.frame_index[frames[step]]))
            inset = None if film_panel else filmed
            panels = [_annotated_human(human.picture(int(frames[step])), inset, bool(live[step])), right]
            if film_panel:
                panels.insert(0, _film_picture(filmed, width, height, bool(live[step])))
            text = phases[step], f"{step / FPS:.1f} s"
            add(_with_footer(panels, *text, step / demonstration.num_steps))
            report(done / len(shown), f"{done} of {len(shown)} pictures")
    return path


def render_episode(
    demonstration: Demonstration,
    path: Path,
    *,
    camera: str = CAMERA,
    width: int = 640,
    height: int = 480,
    caption: str | None = None,
    stride: int = 1,
) -> Path:
    """Writes an MP4 of one demonstration; arguments and errors as in `render_side_by_side`."""
    _check(path, width, height, stride)
    with _Robot(demonstration, width, height, camera) as robot, _writer(path, FPS / stride) as add:
        for step in _shown_steps(demonstration.num_steps, stride):
            picture = draw_frame(robot.picture(demonstration, step), _outcome(demonstration, step))
            add(draw_captions(picture, [Caption(caption, (12, 12))] if caption else []))
    return path


def render_grid(
    demonstrations: Sequence[Demonstration],
    path: Path,
    *,
    columns: int = 3,
    width: int = 320,
    height: int = 240,
    camera: str = CAMERA,
    stride: int = 2,
) -> Path:
    """Writes an MP4 of several demonstrations side by side, of one environment; a green frame marks success, a red one failure.

    Args:
        demonstrations: shown in reading order; a shorter one stands still at its end.
        path: of the .mp4 file.
        columns: tiles in a row.
        width, height: of each tile in px, divisible by 16.
        camera: name of one of the scene's cameras.
        stride: every how many control steps a picture is drawn; the video keeps its duration.

    Raises:
        DexVidError: there is no demonstration, or they are of different environments.
        OptionError, RenderingUnavailableError: as in `render_side_by_side`.
    """
    _check(path, width, height, stride)
    if not demonstrations:
        raise DexVidError("a grid needs at least one demonstration, got none")
    rows = -(-len(demonstrations) // columns)
    sheet = np.empty((rows * height, columns * width, 3), dtype=np.uint8)
    sheet[:] = BACKGROUND_RGB
    longest = max(one.num_steps for one in demonstrations)
    with _Robot(demonstrations[0], width, height, camera) as robot, _writer(path, FPS / stride) as add:
        for step in _shown_steps(longest, stride):
            for index, one in enumerate(demonstrations):
                row, column = divmod(index, columns)
                if step - stride < one.num_steps:  # a finished one keeps its last picture
                    last = min(step, one.num_steps)
                    tile = draw_frame(robot.picture(one, last), _outcome(one, last))
                    sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
            add(sheet)
    return path


def policy_episodes(
    policy: ClosedLoopPolicy,
    env_id: str,
    env_options: Mapping[str, Any],
    control_mode: str,
    seeds: Sequence[int],
    *,
    max_steps: int = 200,
    steps_after_success: int = 10,
) -> list[Demonstration]:
    """Records one episode of a policy for each seed, so that it can be rendered like any demonstration.

    An episode ends when it failed, `steps_after_success` steps after its first success, or after `max_steps`.
    """
    player = Player(env_id, env_options, control_mode)
    try:
        episodes = []
        for seed in seeds:
            actions, success = _play(player.env, policy, seed, max_steps, steps_after_success)
            tier = "successful" if success else "kinematic"
            episodes.append(player.record(actions, seed=seed, tier=tier, provenance={"policy_seed": seed}))
        return episodes
    finally:
        player.close()


def human_frames(interaction: Interaction, demonstration: Demonstration) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(T + 1,) row of the interaction shown at each step, and whether the recording runs there or merely stands still.

    Raises:
        DexVidError: the demonstration refers to no frame of this interaction.
    """
    source = demonstration.source_frame
    rows = {int(frame): row for row, frame in reversed(list(enumerate(interaction.frame_index)))}
    live = np.array([int(frame) in rows for frame in source])
    known = np.flatnonzero(live)
    if not len(known):
        raise DexVidError(
            f"no step of the demonstration refers to a frame of this interaction ({interaction.num_frames} frames): "
            "give the interaction that it was made from"
        )
    steps = np.arange(len(source))
    nearest = known[np.abs(steps[:, None] - known).argmin(axis=1)]
    return np.array([rows[int(source[step])] for step in nearest]), live


# ---- the parts of a picture -------------------------------------------------------------------------------------------------


class _Robot:
    """Draws the stored states of demonstrations of one environment."""

    def __init__(self, demonstration: Demonstration, width: int, height: int, camera: str) -> None:
        self.player = Player(demonstration.env_id, demonstration.env_options, demonstration.control_mode)
        self.env, self.camera = self.player.env, camera
        draw_quickly(self.env.model)
        self.renderer = make_renderer(self.env.model, height, width)

    def picture(self, demonstration: Demonstration, step: int) -> Picture:
        if not self.player.fits(demonstration):
            raise DexVidError(
                f"a demonstration of {demonstration.env_id} {dict(demonstration.env_options)} does not fit into a video of "
                f"{self.player.env_id} {self.player.env_options}; give those of one environment"
            )
        self.env.reset(options=demonstration.reset_options(step))
        self.renderer.update_scene(self.env.data, camera=self.camera)
        return self.renderer.render()

    def __enter__(self) -> _Robot:
        return self

    def __exit__(self, *_: object) -> None:
        self.renderer.close()
        self.player.close()


def _annotated_human(picture: Picture, thumbnail: Picture | None, live: bool) -> Picture:
    """The left picture with its captions; dimmed where the recording has no frame."""
    if not live:
        grey = picture.mean(axis=-1, keepdims=True)
        picture = (0.45 * picture + 0.25 * grey + 0.30 * np.array([238, 240, 243])).astype(np.uint8)
    captions = [Caption("human (from the video)", (12, 12))]
    if thumbnail is not None:
        high, wide = thumbnail.shape[:2]
        picture = picture.copy()
        picture[12 : 12 + high, -12 - wide : -12] = thumbnail if live else (0.6 * thumbnail + 90).astype(np.uint8)
    if not live:
        captions.append(Caption("no video here: the robot moves on its own", (12, 44), small=True))
    return draw_captions(picture, captions)


def _film_picture(filmed: Picture | None, width: int, height: int, live: bool) -> Picture:
    """The film's frame in the middle of a picture (height, width, 3), paler where the recording stands still."""
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[:] = BACKGROUND_RGB
    if filmed is not None:
        high, wide = filmed.shape[:2]
        top, left = (height - high) // 2, (width - wide) // 2
        picture[top : top + high, left : left + wide] = filmed if live else (0.6 * filmed + 90).astype(np.uint8)
    return draw_captions(picture, [Caption("video" if filmed is not None else "no video at hand", (12, 12))])


def _with_footer(panels: Sequence[Picture], phase: str, clock: str, done: float) -> Picture:
    """The pictures side by side above a line with phase, progress and time."""
    height, width = panels[0].shape[:2]
    total = len(panels) * width
    sheet = np.empty((height + FOOTER_PX, total, 3), dtype=np.uint8)
    sheet[:] = BACKGROUND_RGB
    for index, panel in enumerate(panels):
        sheet[:height, index * width : (index + 1) * width] = panel
        if index:
            sheet[:height, index * width - 1 : index * width + 1] = BACKGROUND_RGB
    first, last = 170, total - 90
    middle = height + FOOTER_PX // 2
    sheet[middle - 1 : middle + 1, first:last] = (84, 92, 104)
    sheet[middle - 2 : middle + 2, first : first + round(done * (last - first))] = (240, 180, 60)
    captions = [Caption(phase, (12, height + 7), plain=True), Caption(clock, (total - 74, height + 7), plain=True)]
    return draw_captions(sheet, captions)


def _outcome(demonstration: Demonstration, step: int) -> tuple[int, int, int] | None:
    """Colour of the frame: green while the task counts as done, red at the end of an episode without success."""
    if step and demonstration.successes[step - 1]:
        return _GOOD_RGB
    return _BAD_RGB if step == demonstration.num_steps else None


def _phase_names(interaction: Interaction, demonstration: Demonstration) -> list[str]:
    """(T + 1) names of what the human does, and the robot should."""
    frames, live = human_frames(interaction, demonstration)
    recorded = object_path(interaction)
    if not np.isfinite(recorded).all():  # the robot's object tells as well when it is carried
        robot = find_carry(demonstration.object_pos_world)
        carry = dataclasses.replace(robot, lift=int(frames[robot.lift]), place=int(frames[robot.place]))
    else:
        carry = find_carry(recorded)
    first, last = np.flatnonzero(live)[[0, -1]]
    names = []
    for step, frame in enumerate(frames):
        if step < first:
            names.append("approach")
        elif step > last:
            names.append("retreat")
        else:
            names.append("reach and grasp" if frame < carry.lift else "carry" if frame < carry.place else "release")
    return names


def _thumbnails(video: Path, frames: NDArray[np.int64], width: int, height: int) -> dict[int, Picture]:
    """The frames wanted by their number, made to fit into (width, height) px."""
    info = probe_video(video)
    scale = min(width / info.width, height / info.height)
    size = (round(scale * info.width), round(scale * info.height))
    wanted = {int(frame) for frame in frames}
    return {
        frame.index: np.asarray(Image.fromarray(frame.rgb).resize(size, Image.Resampling.BILINEAR))
        for frame in read_frames(info)
        if frame.index in wanted
    }


def _play(
    env: DexVidEnv, policy: ClosedLoopPolicy, seed: int, max_steps: int, steps_after_success: int
) -> tuple[NDArray[np.float32], bool]:
    """(T, A) actions of one episode and whether it ends in success."""
    observation, _ = env.reset(seed=seed)
    policy.reset(np.ones(1, dtype=bool))
    actions, good_steps, success = [], 0, False
    while len(actions) < max_steps and good_steps <= steps_after_success:
        actions.append(policy.act(observation[None])[0])
        observation, _, terminated, _, info = env.step(actions[-1])
        success = bool(info["success"])
        good_steps = good_steps + 1 if success else 0
        if terminated:
            break
    return np.array(actions, dtype=np.float32), success


# ---- the file ---------------------------------------------------------------------------------------------------------------


def _check(path: Path, width: int, height: int, stride: int) -> None:
    if path.suffix.lower() != ".mp4":
        raise OptionError(f"{path}: expected a file name that ends in .mp4")
    if width % 16 or height % 16 or width < 160 or height < 112:
        raise OptionError(f"pictures of {width} x {height} px: expected at least 160 x 112, both divisible by 16")
    if stride < 1:
        raise OptionError(f"stride is {stride}: expected at least 1")


def _shown_steps(num_steps: int, stride: int) -> list[int]:
    """Steps of the pictures; the last one is repeated for a short pause at the end."""
    steps = list(range(0, num_steps, stride))
    return [*steps, *([num_steps] * max(1, _END_PAUSE_STEPS // stride))]


@contextlib.contextmanager
def _writer(path: Path, fps: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Yields a function that adds a picture to an H.264 video for browsers; the file appears when all went well."""
    options = ["-crf", "27", "-preset", "medium", "-movflags", "+faststart"]
    with atomic_path(path) as temporary:
        writer: Any = imageio.get_writer(
            temporary,
            fps=fps,
            codec="libx264",
            quality=None,
            pixelformat="yuv420p",
            macro_block_size=16,
            output_params=options,
        )
        with whole_video(temporary, writer) as add:
            yield add
