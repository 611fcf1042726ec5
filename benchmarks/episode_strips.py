"""Episodes as rows of pictures, one above the other: the same starts by different policies, or one episode's turning points."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import dexvid_envs  # noqa: F401 (registers the environments)
from baselines.policy import Policy
from dexvid_envs.files import atomic_path

_WIDTH, _HEIGHT = 320, 240  # px of each picture
_TITLE = 22  # px above each row
Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Strip:
    """One row of pictures.

    Attributes:
        title: stands above it, before the outcome.
        policy: that acts.
        env_id, env_options: where.
        seed: of the episode's reset.
        steps: control steps after which a picture is taken, ascending; 0 is the start.
    """

    title: str
    policy: Policy
    env_id: str
    env_options: Mapping[str, Any]
    seed: int
    steps: Sequence[int]


def draw_strips(path: Path, strips: Sequence[Strip]) -> None:
    """Writes a .jpg with a row for each strip, all with as many pictures.

    Raises:
        RenderingUnavailableError: there is no off-screen OpenGL.
    """
    rows = [row for strip in strips for row in _row(strip)]
    with atomic_path(path) as temporary:
        iio.imwrite(temporary, np.concatenate(rows), extension=".jpg", quality=88)


def _row(strip: Strip) -> list[Pixels]:
    """A title and a row of pictures."""
    env = gymnasium.make(strip.env_id, render_mode="rgb_array", width=_WIDTH, height=_HEIGHT, **strip.env_options)
    strip.policy.reset(np.ones(1, dtype=bool))
    observation, info = env.reset(seed=strip.seed)
    frames, success, ended = [], False, False
    for step in range(strip.steps[-1] + 1):
        if step in strip.steps:
            frames.append(np.asarray(env.render()))
        if ended:
            break
        seen: Any = (
            {name: part[None] for name, part in observation.items()} if isinstance(observation, Mapping) else observation[None]
        )
        observation, _, terminated, truncated, info = env.step(strip.policy.act(seen)[0])
        success, ended = bool(info["success"]), terminated or truncated
    if len(frames) < len(strip.steps):  # ended early
        frames += [np.asarray(env.render())] * (len(strip.steps) - len(frames))
    env.close()
    title = Image.new("RGB", (_WIDTH * len(strip.steps), _TITLE), "white")
    outcome = "success" if success else "no success"
    ImageDraw.Draw(title).text((6, 5), f"{strip.title}, start {strip.seed}: {outcome} at the end", fill="black")
    return [np.asarray(title), np.concatenate(frames, axis=1)]
