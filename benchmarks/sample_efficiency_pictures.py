"""Pictures of a pretrained actor and of what reinforcement learning made of it, on the same starts, one above the other."""

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
from baselines.checkpoint import Checkpoint
from baselines.evaluate import EVALUATION_SEED
from dexvid_envs.files import atomic_path

_WIDTH, _HEIGHT = 320, 240  # px of each picture
_TITLE = 22  # px above each row
_STEPS = (0, 25, 45, 70, 110, 190)
Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class ShownActor:
    """One row of pictures: what stands above it, and whose they are."""

    title: str
    checkpoint: Checkpoint


def draw_actors(path: Path, actors: Sequence[ShownActor]) -> None:
    """Writes a .jpg: each actor's episode from the first evaluation start as a row of pictures.

    Args:
        path: of the file.
        actors: in the order of the rows.

    Raises:
        RenderingUnavailableError: there is no off-screen OpenGL.
    """
    rows = [row for actor in actors for row in _row(actor, EVALUATION_SEED)]
    with atomic_path(path) as temporary:
        iio.imwrite(temporary, np.concatenate(rows), extension=".jpg", quality=88)


def _row(actor: ShownActor, seed: int) -> list[Pixels]:
    """A title and a row of pictures."""
    checkpoint = actor.checkpoint
    options = checkpoint.make_options()
    env = gymnasium.make(checkpoint.env_id, render_mode="rgb_array", width=_WIDTH, height=_HEIGHT, **options)
    policy = checkpoint.policy()
    policy.reset(np.ones(1, dtype=bool))
    observation, info = env.reset(seed=seed)
    frames, success = [], False
    for step in range(_STEPS[-1] + 1):
        if step in _STEPS:
            frames.append(np.asarray(env.render()))
        seen: Any = (
            {name: part[None] for name, part in observation.items()} if isinstance(observation, Mapping) else observation[None]
        )
        observation, _, terminated, truncated, info = env.step(policy.act(seen)[0])
        success = bool(info["success"])
        if terminated or truncated:
            break
    frames += [frames[-1]] * (len(_STEPS) - len(frames))
    env.close()
    title = Image.new("RGB", (_WIDTH * len(_STEPS), _TITLE), "white")
    outcome = "success" if success else "no success"
    ImageDraw.Draw(title).text((6, 5), f"{actor.title}, start {seed}: {outcome} at the end", fill="black")
    return [np.asarray(title), np.concatenate(frames, axis=1)]
