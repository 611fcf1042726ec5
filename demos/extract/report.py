"""One self-contained `report.html`: overlay video, figures, plots and warnings of an extraction."""

from __future__ import annotations

import base64
import html
import io
import os
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from demos.extract.gates import gate_text
from demos.interaction import Interaction
from demos.runs import runs

_TABLES = ("goal", "hand", "object", "scene", "camera", "result", "source")
_LONGEST_LIST = 12  # written out
_EMBED_LIMIT_BYTES = 60_000_000  # a larger video stands beside the report instead of inside it
_INK, _MUTED, _GRID = "#1d2430", "#6b7484", "#e4e8ee"
_HAND, _OBJECT, _CONTACT, _FLAG = "#e4572e", "#1a8f94", "#8fd3a8", "#d64550"

_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{margin:0;background:#f4f6f9;color:#1d2430;
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 24px 64px}h1{font-size:28px;margin:0 0 4px}
h2{font-size:18px;margin:36px 0 12px}
.sub{color:#6b7484;margin:0 0 24px}.card{background:#fff;border-radius:12px;box-shadow:0 1px 3px #1d243018;padding:18px 20px}
video{width:100%;max-height:640px;border-radius:12px;background:#12161e;display:block}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(145px,1fr));gap:12px;margin-top:16px}
.tile b{display:block;font-size:24px;font-weight:650}.tile span{color:#6b7484;font-size:13px}
table{width:100%;border-collapse:collapse;font-size:14px}td,th{padding:6px 10px;border-bottom:1px solid #e4e8ee;text-align:left}
td:last-child{font-variant-numeric:tabular-nums;text-align:right;overflow-wrap:anywhere}th{color:#6b7484;font-weight:600}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:16px}ul{margin:0;padding-left:20px}
svg{width:100%;height:auto;display:block}code{background:#eef1f5;border-radius:5px;padding:2px 6px;font-size:13px}
.pass td{color:#3c7a55}.fail td{color:#b3261e}small{font-size:12.5px}
.key{font-size:13px;color:#6b7484;margin:8px 2px 0}
.card{min-width:0}.plot{overflow-x:auto}h1,p,li,code{overflow-wrap:anywhere}
@media(max-width:560px){main{padding:26px 14px 48px}h1{font-size:25px}.card{padding:14px 15px}.plot svg{min-width:640px}}
.dot{display:inline-block;width:10px;height:10px;border-radius:50%;margin:0 4px 0 10px}
"""


def write_report(path: Path, interaction: Interaction, quality: dict[str, Any], overlay: Path) -> None:
    """Writes the page into an extraction's folder, which may still have a temporary name."""
    name = path.parent.name.lstrip(".").rsplit("-", 1)[0]
    path.write_text(extraction_page(interaction, quality, overlay, path.parent, name), encoding="utf-8")


def extraction_page(interaction: Interaction, quality: dict[str, Any], overlay: Path, place: Path, extraction: str) -> str:
    """The page; it loads nothing from elsewhere, but for an overlay that is too large to be put into it.

    Args:
        interaction: what was extracted.
        quality: its figures.
        overlay: the video, which may be missing.
        place: folder of the page.
        extraction: the extraction's folder as it is to be typed.
    """
    source = quality["source"].get("file") or f"imported with {quality['source'].get('importer', 'an importer')}"
    result = quality["result"]
    body = [
        f"<h1>Extraction of {html.escape(str(source))}</h1>",
        f'<p class="sub">{interaction.hand_side} hand, {_object_text(quality)}; {result["duration_s"]:.1f} s '
        f"at {interaction.fps:g} frames a second</p>",
        _video(overlay, place),
        _tiles(quality),
        "<h2>Gates</h2>",
        f'<div class="card">{_gates(quality.get("gates", []))}</div>',
        "<h2>What to keep in mind</h2>",
        '<div class="card"><ul>' + "".join(f"<li>{html.escape(text)}</li>" for text in quality["warnings"]) + "</ul></div>",
        "<h2>Over time</h2>",
        f'<div class="card plot">{_time_plot(interaction)}</div>',
        "<h2>Paths in the world frame</h2>",
        f'<div class="card plot">{_path_plot(interaction)}</div>',
        "<h2>Figures</h2>",
        '<div class="two">' + "".join(_table(name, quality[name]) for name in _TABLES if name in quality) + "</div>",
        "<h2>Next</h2>",
        f'<div class="card"><code>dexvid retarget {html.escape(shlex.quote(extraction))}'
        " --out motion.npz</code> turns this into a motion of the robot.</div>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Extraction of {html.escape(str(source))}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>"
    )


def _object_text(quality: dict[str, Any]) -> str:
    return f"moving: {html.escape(str(quality['object']['object']))}" if quality["object"]["found"] else "no moved object found"


def _video(overlay: Path, place: Path) -> str:
    if not overlay.is_file():
        return '<div class="card">No overlay video was made.</div>'
    source = html.escape(quote(Path(os.path.relpath(overlay, place)).as_posix()))
    if overlay.stat().st_size <= _EMBED_LIMIT_BYTES:
        source = "data:video/mp4;base64," + base64.b64encode(overlay.read_bytes()).decode("ascii")
    fingers = (("thumb", "#ff8a4c"), ("index", "#ffd152"), ("middle", "#60d394"), ("ring", "#56b4e9"), ("little", "#c484fc"))
    key = "".join(f'<span class="dot" style="background:{colour}"></span>{name}' for name, colour in fingers)
    return (
        f'<video controls autoplay muted loop playsinline src="{source}"></video><p class="key">{key}'
        '<span class="dot" style="background:#40e0e6"></span>object &middot; bottom strip: green contact, red doubtful</p>'
    )


def _tiles(quality: dict[str, Any]) -> str:
    hand, target, result = quality["hand"], quality["object"], quality["result"]
    tiles = [
        ("hand found", _percent(hand.get("found_fraction"))),
        ("mean confidence", _number(hand.get("confidence_mean"), "{:.2f}")),
        ("reprojection error", _number(hand.get("reprojection_px_median"), "{:.1f} px")),
        ("object followed", _percent(target.get("tracked_fraction"))),
        ("rigid residual", _number(target.get("rigid_residual_m_median"), "{:.1f} mm", 1000.0)),
        ("in contact", _percent(result["contact_fraction"])),
    ]
    return (
        '<div class="tiles">' + "".join(f'<div class="card tile"><b>{v}</b><span>{k}</span></div>' for k, v in tiles) + "</div>"
    )


def _gates(gates: list[dict[str, Any]]) -> str:
    """Failed gates first, with what to try; those that passed in one line each."""
    rows = "".join(
        f'<tr class="{"pass" if gate["ok"] else "fail"}"><td>{"&#10003;" if gate["ok"] else "&#10007;"} '
        f"{html.escape(gate['name'])}</td><td>{html.escape(_limit(gate))}"
        + ("" if gate["ok"] else f"<br><small>{html.escape(gate_text(gate))}</small>")
        + "</td></tr>"
        for gate in sorted(gates, key=lambda gate: gate["ok"])
    )
    failed = sum(not gate["ok"] for gate in gates)
    head = "All passed." if not failed else f"{failed} of {len(gates)} failed: look before you rely on this extraction."
    return f"<p>{head}</p><table>{rows}</table>"


def _limit(gate: dict[str, Any]) -> str:
    sign = "&le;" if gate["better"] == "lower" else "&ge;"
    return html.unescape(f"{gate['value']:.3g} {sign} {gate['limit']:g} {gate['unit']}")


def _percent(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:.0%}"


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "&ndash;" if value is None or not np.isfinite(value) else form.format(factor * value)


def _table(name: str, figures: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(key.replace('_', ' '))}</td><td>{_cell(key, value)}</td></tr>" for key, value in figures.items()
    )
    return f'<div class="card"><table><tr><th colspan="2">{html.escape(name)}</th></tr>{rows}</table></div>'


def _cell(key: str, value: Any) -> str:
    if isinstance(value, list):
        numbers = all(isinstance(item, (int, float)) for item in value)
        if key.endswith("frames"):
            return f"{len(value)} frame{'s' * (len(value) != 1)}"
        if key.endswith("range") and numbers and len(value) == 2:
            return f"{value[0]:.3g} to {value[1]:.3g}"
        if len(value) > _LONGEST_LIST:
            return f"{len(value)} values"
        return html.escape(", ".join(f"{item:.3g}" if numbers else str(item) for item in value)) or "&ndash;"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if np.isfinite(value) else "&ndash;"
    text = "&ndash;" if value is None else html.escape(str(value))
    return text if len(text) < 30 else text[:12] + "&hellip;"


def _time_plot(interaction: Interaction) -> str:
    """Heights, speeds and confidence over time, with contact shaded."""
    figure, axes = _figure(3, 1, (9.5, 6.2), sharex=True)
    time = np.arange(interaction.num_frames) / interaction.fps
    hand, centre = _hand_path(interaction), _object_path(interaction)
    axes[0].plot(time, 100 * hand[:, 2], color=_HAND, label="hand")
    axes[1].plot(time[1:], 100 * np.linalg.norm(np.diff(hand, axis=0), axis=-1) * interaction.fps, color=_HAND)
    if centre is not None:
        axes[0].plot(time, 100 * centre[:, 2], color=_OBJECT, label="object")
        axes[1].plot(time[1:], 100 * np.linalg.norm(np.diff(centre, axis=0), axis=-1) * interaction.fps, color=_OBJECT)
    axes[2].plot(time, interaction.hand_confidence, color=_HAND)
    flagged = interaction.flagged
    axes[2].plot(time[flagged], interaction.hand_confidence[flagged], "o", ms=4, color=_FLAG, label="flagged")
    axes[2].set_ylim(-0.03, 1.05)
    for axis, label in zip(axes, ("height (cm)", "speed (cm/s)", "hand confidence"), strict=True):
        axis.set_ylabel(label)
        for start, end in runs(interaction.contact):
            axis.axvspan(time[start], time[end - 1], color=_CONTACT, alpha=0.35, lw=0, label="contact")
    axes[2].set_xlabel("time (s)")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    axes[0].legend(handles.values(), handles.keys(), frameon=False, ncol=4, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    return _svg(figure)


def _path_plot(interaction: Interaction) -> str:
    """The table from above and from the side."""
    figure, axes = _figure(1, 2, (9.5, 4.0))
    hand, centre = _hand_path(interaction), _object_path(interaction)
    for axis, (across, up), labels in zip(
        axes,
        ((1, 0), (0, 2)),
        (("y, to the left (cm)", "x, away from the camera (cm)"), ("x (cm)", "height (cm)")),
        strict=True,
    ):
        for path, colour, name in ((hand, _HAND, "hand"), (centre, _OBJECT, "object")):
            if path is not None:
                axis.plot(100 * path[:, across], 100 * path[:, up], color=colour, label=name)
                axis.plot(100 * path[0, across], 100 * path[0, up], "o", color=colour, ms=6)
        axis.set_xlabel(labels[0])
        axis.set_ylabel(labels[1])
        axis.set_aspect("equal", adjustable="datalim")
    axes[0].invert_xaxis()  # y points to the left
    axes[0].set_title("from above (dot: start)", fontsize=10, color=_MUTED)
    axes[1].set_title("from the side", fontsize=10, color=_MUTED)
    axes[1].axhline(0.0, color=_MUTED, lw=1, ls="--")
    axes[0].legend(frameon=False)
    return _svg(figure)


def _hand_path(interaction: Interaction) -> np.ndarray:
    return interaction.hand_keypoints_world[:, [0, 5, 9, 13, 17]].mean(axis=1)


def _object_path(interaction: Interaction) -> np.ndarray | None:
    """Middle of the object (T, 3), or None where nothing of it is known."""
    if "object_centroid" in interaction.keypoint_names:
        path = interaction.keypoints_world[:, interaction.keypoint_names.index("object_centroid")]
    else:
        path = interaction.object_pose_world[:, :3, 3]
    return path if np.isfinite(path).any() else None


def _figure(rows: int, columns: int, size: tuple[float, float], sharex: bool = False) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=sharex)
    for axis in np.ravel(axes):
        axis.grid(color=_GRID, lw=0.8)
        axis.tick_params(colors=_MUTED, labelsize=9)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(_GRID)
        axis.xaxis.label.set_color(_INK)
        axis.yaxis.label.set_color(_INK)
    return figure, axes


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
