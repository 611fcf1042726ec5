"""Draws an interaction without its video: hand and object on the table, seen from a corner (used for imported recordings)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from demos.extract.overlay import FINGER_COLOURS
from demos.interaction import HAND_BONES, Interaction
from demos.video import video_writer


def write_stage_video(path: Path, interaction: Interaction) -> None:
    """Writes a video of 1280x720 px at the interaction's rate."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.8, 7.2), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot(projection="3d")
    axes.computed_zorder = False  # matplotlib sorts whole surfaces, and would draw the table over the object
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
    low, high = _bounds(interaction)
    with video_writer(path, (1280, 720), interaction.fps) as writer:
        for frame in range(interaction.num_frames):
            axes.clear()
            _draw(axes, interaction, frame, low, high)
            canvas.draw()
            writer.send(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def _bounds(interaction: Interaction) -> tuple[np.ndarray, np.ndarray]:
    points = np.concatenate([interaction.hand_keypoints_world.reshape(-1, 3), interaction.object_points_world.reshape(-1, 3)])
    points = points[np.isfinite(points).all(axis=-1)]
    low, high = points.min(axis=0) - 0.03, points.max(axis=0) + 0.03
    low[2] = min(low[2], 0.0)
    return low, high


def _draw(axes: Any, interaction: Interaction, frame: int, low: np.ndarray, high: np.ndarray) -> None:
    corners_x, corners_y = np.meshgrid([low[0], high[0]], [low[1], high[1]])
    axes.plot_surface(corners_x, corners_y, np.zeros_like(corners_x), color="#dfe5ec", alpha=0.6, zorder=0)
    hand = interaction.hand_keypoints_world[frame]
    for bone, (parent, child) in enumerate(HAND_BONES):
        colour = tuple(value / 255 for value in FINGER_COLOURS[bone // 4])
        axes.plot(*hand[[parent, child]].T, color=colour, lw=4, solid_capstyle="round", zorder=3)
    points = interaction.object_points_world[frame][interaction.object_visible[frame]]
    if len(points):
        axes.scatter(*points[:: max(1, len(points) // 400)].T, s=8, color="#1a8f94", depthshade=False, zorder=2)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set_box_aspect(high - low, zoom=1.45)
    axes.view_init(elev=22, azim=-150)
    axes.set_axis_off()
    state = "contact" if interaction.contact[frame] else "no contact"
    axes.text2D(
        0.03, 0.94, f"{frame / interaction.fps:5.2f} s   {state}", transform=axes.transAxes, fontsize=15, color="#1d2430"
    )
