"""Pictures of the documentation: each environment as its `overview` camera sees it, and all everyday objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib.pyplot as plt
import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dexvid_envs.document.names import OBJECTS_PICTURE, picture_name
from dexvid_envs.registration import REGISTRATIONS
from dexvid_envs.rendering import OffscreenRenderer
from robots.everyday import EVERYDAY_OBJECTS, HELD_OUT_OBJECTS, EverydayObject
from robots.object_switch import add_switchable_object
from robots.scene import ScenicCamera, add_scenery

#: Drawn at twice the size and made smaller, so that edges are smooth.
PICTURE_SIZE = (560, 420)
#: Starts in which everything is well seen: options of the reset.
_STARTS: dict[str, dict[str, Any]] = {
    "DexVid-GraspLift-v0": {"object": "mug", "object_position": (0.52, -0.06), "goal_position": (0.50, 0.08, 0.26)},
    "DexVid-LiftThrow-v0": {"object": "tomato_soup_can"},
}
_TILE_PX = (220, 250)
_COLUMNS = 7
#: Shades of a channel are multiples of this: fewer of them make a smaller file.
_SHADE = 4


def write_pictures(folder: Path) -> list[Path]:
    """Makes all pictures; returns their files.

    Raises:
        RenderingUnavailableError: no off-screen OpenGL library was found.
    """
    written = []
    for entry in REGISTRATIONS:
        path = folder / picture_name(entry.id)
        _save(environment_picture(entry.id), path)
        written.append(path)
    path = folder / OBJECTS_PICTURE
    _contact_sheet(path)
    return [*written, path]


def environment_picture(environment_id: str) -> NDArray[np.uint8]:
    """(H, W, 3) the start of an episode."""
    width, height = (2 * side for side in PICTURE_SIZE)
    env = gymnasium.make(environment_id, render_mode="rgb_array", width=width, height=height)
    env.reset(seed=3, options=_STARTS.get(environment_id))
    picture: Any = env.render()
    env.close()
    return np.asarray(Image.fromarray(picture).resize(PICTURE_SIZE, Image.Resampling.LANCZOS))


def object_picture(one: EverydayObject) -> NDArray[np.uint8]:
    """(H, W, 3) an object on the table, at the same distance as every other."""
    spec = mujoco.MjSpec()
    camera = ScenicCamera("close", (0.92, -0.46, 0.46), (0.40, 0.0, 0.095), 24.0)
    add_scenery(spec, (camera,))
    body = add_switchable_object(spec, "object", [one])
    body.pos = (0.40, 0.0, one.resting_height_m)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    width, height = (2 * side for side in _TILE_PX)
    with OffscreenRenderer(height, width) as renderer:
        return renderer.render(model, data, camera="close")


def _contact_sheet(path: Path) -> None:
    """All objects with their names at one scale, those to learn with first."""
    groups: list[tuple[str, Mapping[str, EverydayObject]]] = [
        ("to learn with", EVERYDAY_OBJECTS),
        ("held out", HELD_OUT_OBJECTS),
    ]
    rows = [-(-len(objects) // _COLUMNS) for _, objects in groups]
    figure, axes = plt.subplots(sum(rows), _COLUMNS, figsize=(_COLUMNS * 1.4, sum(rows) * 1.8), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    first = 0
    for (title, objects), count in zip(groups, rows, strict=True):
        for index, (name, one) in enumerate(objects.items()):
            axis = axes[first + index // _COLUMNS, index % _COLUMNS]
            axis.imshow(object_picture(one))
            axis.set_title(name.replace("_", " "), fontsize=8, pad=3)
        axes[first, 0].text(
            -0.06, 0.5, title, rotation=90, fontsize=9, ha="right", va="center", transform=axes[first, 0].transAxes
        )
        first += count
    figure.subplots_adjust(left=0.03, right=0.998, bottom=0.005, top=0.955, wspace=0.03, hspace=0.16)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    plt.close(figure)
    _save(picture, path)


def _save(picture: NDArray[np.uint8], path: Path) -> None:
    """Writes a picture with somewhat fewer shades."""
    shades = np.minimum(np.round(picture.astype(np.float64) / _SHADE) * _SHADE, 255).astype(np.uint8)
    Image.fromarray(shades).save(path, optimize=True)
