"""The figure of `benchmarks.actuators`, drawn from its result file alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dexvid_envs.files import atomic_path

#: One colour for an arm joint, or for a link of the fingers: the same link behaves alike in every finger.
_ARM_COLOURS = [matplotlib.colormaps["viridis"](share) for share in np.linspace(0.0, 0.92, 7)]
_LINK_COLOURS: dict[str, str] = {"base": "#1b6ca8", "proximal": "#d1603d", "medial": "#3a8f4d", "distal": "#7b4ea3"}
_GRID = {"color": "0.9", "linewidth": 0.8}
_PARTS = (("arm", "Arm (7 joints)"), ("hand", "Hand (16 joints)"))


def draw(content: dict[str, Any], path: Path) -> None:
    """Draws the content of a result file as one picture."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(18, 9), layout="constrained")
        rows: Any = figure.subfigures(2, 1, hspace=0.06)
        for row, (part, title) in zip(rows, _PARTS, strict=True):
            curves = {name: curve for name, curve in content["curves"].items() if curve["part"] == part}
            axes = row.subplots(1, 5, width_ratios=(1, 1, 1, 1, 1))
            row.suptitle(title, x=0.005, ha="left", fontweight="bold")
            for axis, panel in zip(axes[:4], _PANELS, strict=True):
                axis.grid(**_GRID)
                for name, curve in curves.items():
                    panel(axis, curve, style(name))
            _finish(axes, content, part, list(curves))
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=120, format="png")


def style(joint: str) -> dict[str, Any]:
    """Colour and dashes of a joint."""
    owner, _, link = joint.partition("_")
    if owner == "arm":
        return {"color": _ARM_COLOURS[int(link) - 1], "linewidth": 1.4}
    return {"color": _LINK_COLOURS[link], "linewidth": 1.2, "linestyle": "--" if owner == "thumb" else "-"}


def _servo_step(axis: Axes, curve: dict[str, Any], look: dict[str, Any]) -> None:
    axis.plot(*np.transpose(curve["servo"]), **look)


def _control_step(axis: Axes, curve: dict[str, Any], look: dict[str, Any]) -> None:
    axis.plot(*np.transpose(curve["control_target"]), color="0.6", linewidth=1.0, drawstyle="steps-post", zorder=1)
    axis.plot(*np.transpose(curve["control"]), **look)


def _bode(axis: Axes, curve: dict[str, Any], look: dict[str, Any]) -> None:
    axis.semilogx(curve["frequency_hz"], 20 * np.log10(curve["gain"]), **look)
    axis.semilogx(curve["held_frequency_hz"], 20 * np.log10(curve["held_gain"]), **look | {"alpha": 0.35})


def _torque(axis: Axes, curve: dict[str, Any], look: dict[str, Any]) -> None:
    axis.plot(*np.transpose(curve["torque"]), **look)


_PANELS: tuple[Callable[[Axes, dict[str, Any], dict[str, Any]], None], ...] = (_servo_step, _control_step, _bode, _torque)


def _finish(axes: Any, content: dict[str, Any], part: str, joints: list[str]) -> None:
    """Titles, limits, guides and the legend of one row, and its last panel."""
    config, index = content["config"], 0 if part == "arm" else 1
    step, control, bode, torque, bars = axes
    for axis, title in (
        (step, f"Step of {config['step_rad'][index]:g} rad, servo alone"),
        (control, f"{config['control_step_rad'][index]:g} rad at {config['control_hz']:g} Hz, targets grey"),
    ):
        axis.set(title=title, xlabel="time, s", ylabel="share of the step", xlim=(0, 0.6), ylim=(-0.03, 1.15))
        axis.axhline(1.0, color="0.4", linewidth=0.8, linestyle=":")
    bode.set(
        title=f"Gain (faint: held at {config['control_hz']:g} Hz)",
        xlabel="frequency, Hz",
        ylabel="gain, dB",
        ylim=(-18, 2),
        xticks=(0.5, 1, 2, 5, 10),
        xticklabels=("0.5", "1", "2", "5", "10"),
    )
    bode.minorticks_off()
    bode.axhline(-3.0, color="0.4", linewidth=0.8, linestyle=":")
    bode.annotate("-3 dB", (0.5, -3.0), xytext=(2, -10), textcoords="offset points", color="0.4")
    torque.set(
        title=f"Torque in a jump of {config['jump_rad'][index]:g} rad",
        xlabel="time, s",
        ylabel="torque / limit",
        xlim=(0, 0.6),
        ylim=(-1.15, 1.15),
    )
    for limit in (-1.0, 1.0):
        torque.axhline(limit, color="0.4", linewidth=0.8, linestyle=":")
    _speeds(bars, [row for row in content["rows"] if row["joint"] in joints])
    step.legend(handles=list(_legend(part)), loc="lower right", frameon=False, fontsize=8)


_EXTREMES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("torque", "torque", {"marker": "|", "color": "#d1603d", "markeredgewidth": 2.5, "markersize": 12}),
    ("mean speed", "speed, mean of 50 ms", {"marker": "o", "color": "#1b6ca8"}),
    ("speed", "speed, instant", {"marker": "o", "color": "#1b6ca8", "fillstyle": "none"}),
)


def _speeds(axis: Axes, rows: list[dict[str, Any]]) -> None:
    """Largest joint speed and torque while the targets run at the speed limit from stop to stop."""
    places = np.arange(len(rows))
    axis.grid(axis="x", **_GRID)
    for name, label, look in _EXTREMES:
        options: dict[str, Any] = {"linestyle": "none", "markersize": 5, "label": label} | look
        axis.plot([row[f"20 Hz: {name} / limit"] for row in rows], places, **options)
    axis.axvline(1.0, color="0.4", linewidth=0.8, linestyle=":")
    axis.set(title="Stop to stop, full target speed", xlabel="largest / limit", xlim=(0, 1.5))
    axis.set_yticks(places, [row["joint"].replace("_", " ") for row in rows])
    axis.invert_yaxis()
    axis.legend(loc="lower left", frameon=False, fontsize=8)


def _legend(part: str) -> Iterator[Line2D]:
    if part == "arm":
        for number, colour in enumerate(_ARM_COLOURS, start=1):
            yield Line2D([], [], color=colour, label=f"joint {number}")
        return
    for name, colour in _LINK_COLOURS.items():
        yield Line2D([], [], color=colour, label=name)
    yield Line2D([], [], color="0.3", linestyle="--", label="thumb's dashed")
