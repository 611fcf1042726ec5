"""The figure of `benchmarks.reconstruction`: the object as each method sees it, over the video, and its error over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from benchmarks.reconstruction_truth import Clip, instants
from benchmarks.reconstruction_variants import Run, Variant, score_run
from demos.camera import transform
from demos.parts import image_points
from demos.video import probe_video, read_frames
from dexvid_envs.files import atomic_path

TITLES = {"rgb_known_length": "point tracks", "silhouette": "silhouette shapes"}
_COLOURS = {"rgb_known_length": "#1b6ca8", "silhouette": "#d1603d"}
_COLUMNS = 5
_WORST_MM = 100.0  # end of the colour scale
_DIM = 0.45
_WIDTH_IN, _MARGIN_SHARE = 2.3, 0.15


def draw(panels: Sequence[tuple[Clip, list[tuple[Variant, Run]]]], path: Path) -> None:
    """Draws clips and methods as one picture.

    Args:
        panels: clips with the runs of the methods to compare.
        path: PNG.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    lines = sum(len(runs) for _, runs in panels)
    with pyplot.rc_context({"font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(_WIDTH_IN * (_COLUMNS + 1.6) + 0.8, 2.05 * lines + 0.7), layout="constrained")
        figure.get_layout_engine().set(wspace=0.01, hspace=0.02, w_pad=0.02, h_pad=0.06)  # pyright: ignore
        grid = figure.add_gridspec(lines, _COLUMNS + 1, width_ratios=[1.0] * _COLUMNS + [1.5])
        line, shown = 0, None
        for clip, runs in panels:
            curves = figure.add_subplot(grid[line : line + len(runs), _COLUMNS])
            for variant, run in runs:
                axes = [figure.add_subplot(grid[line, column]) for column in range(_COLUMNS)]
                shown = _row(axes, curves, clip, variant, run) or shown
                axes[0].set_ylabel(TITLES.get(variant.name, variant.name), fontweight="bold")
                line += 1
            name = f"{clip.truth.kind}, {clip.truth.object_names[0]}"
            duration_s = clip.truth.num_frames / clip.truth.fps
            curves.set(title=name, ylabel="error, mm", yscale="symlog", ylim=(0, 400), xlim=(0, duration_s), xlabel="time, s")
            curves.set_yticks([0, 1, 3, 10, 25, 100, 300], ["0", "1", "3", "10", "25", "100", "300"])
            curves.axhline(25.0, color="0.4", linewidth=0.8, linestyle=":")
            curves.grid(color="0.9", linewidth=0.8)
            if curves.get_lines()[1:]:
                curves.legend(loc="lower left", frameon=False, fontsize=8)
        if shown is not None:
            figure.colorbar(shown, ax=figure.axes, location="bottom", shrink=0.3, aspect=40, label="error of a point, mm")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png")


def _row(axes: Sequence[Any], curves: Any, clip: Clip, variant: Variant, run: Run) -> Any:
    """One method over one clip; the drawn points, or None where there are none."""
    shown = None
    interaction, found = run.interaction, score_run(run, variant, clip)
    frames = _moments(clip)
    pictures = _read(clip.folder / "video.mp4", frames)
    window = _window(clip)
    for axis, frame in zip(axes, frames, strict=True):
        axis.imshow(np.asarray(_DIM * pictures[frame] + 255.0 * (0.5 - 0.5 * _DIM) * 0.35, np.uint8))
        axis.set(xticks=[], yticks=[], xlim=window[0], ylim=window[1], title=f"{frame / clip.truth.fps:.1f} s")
        axis.spines[:].set_visible(False)
        if interaction is None or found is None:
            axis.text(0.5, 0.5, "failed", transform=axis.transAxes, ha="center", color="white")
            continue
        instant = int(np.argmin(np.abs(instants(interaction, clip.truth) - frame)))
        pixels = image_points(
            transform(np.linalg.inv(interaction.T_world_camera), interaction.object_points_world[[instant]]), interaction.K
        )[0]
        visible = interaction.object_visible[instant]
        if visible.any():
            look: dict[str, Any] = {"s": 4, "cmap": "turbo", "vmin": 0.0, "vmax": _WORST_MM, "linewidths": 0}
            shown = axis.scatter(*pixels[visible].T, c=found.points_mm[instant, visible], **look)
    if interaction is not None and found is not None:
        time_s = instants(interaction, clip.truth) / clip.truth.fps
        title = TITLES.get(variant.name, variant.name)
        curves.plot(time_s, found.curves["points_mm"], color=_COLOURS.get(variant.name), linewidth=1.4, label=title)
    return shown


def _moments(clip: Clip) -> list[int]:
    """Frames from shortly before the touch to the end of what is to be seen of the object."""
    touching, seen = np.flatnonzero(clip.truth.contact), np.flatnonzero(clip.seen[list(clip.handled)].any(axis=0))
    first = max(int(touching[0]) - round(0.3 * clip.truth.fps), 0) if len(touching) else 0
    last = int(seen[-1]) if len(seen) else clip.truth.num_frames - 1
    return [int(frame) for frame in np.linspace(min(first, last), last, _COLUMNS).round()]


def _window(clip: Clip) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of x and y in px around all places of the object and the hand, in the picture's proportions."""
    truth = clip.truth
    height, width = truth.labels.shape[1:]
    points = truth.to_image(np.concatenate([truth.object_points_world[o].reshape(-1, 3) for o in clip.handled]).astype(float))
    low, high = np.percentile(points, [1, 99], axis=0)
    middle, half = 0.5 * (low + high), (0.5 + _MARGIN_SHARE) * (high - low)
    half_width = min(max(half[0], half[1] * width / height), 0.5 * width)
    half_height = half_width * height / width
    x = float(np.clip(middle[0], half_width, width - half_width))
    y = float(np.clip(middle[1], half_height, height - half_height))
    return (x - half_width, x + half_width), (y + half_height, y - half_height)


def _read(video: Path, wanted: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """Pictures by number; the last one that can be read stands for any that cannot."""
    pictures: dict[int, NDArray[np.uint8]] = {}
    last = None
    for frame in read_frames(probe_video(video)):
        last = frame.rgb
        if frame.index in wanted:
            pictures[frame.index] = frame.rgb
    assert last is not None
    return {number: pictures.get(number, last) for number in wanted}
