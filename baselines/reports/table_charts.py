"""Charts of the table seen from above, as inline SVG: counts by cell, and places as dots."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from baselines.reports.charts import WIDTH, svg, ticks

_LEFT = 46
_LEAST_SPAN_M = 0.1
_FARTHEST_M = 100.0  # anything beyond is no place on a table
_MOST_HEIGHT, _MOST_DOTS = 420, 3000


@dataclasses.dataclass(frozen=True)
class CellBox:
    """A rectangle on the table with counts in its cells.

    Attributes:
        label: its name.
        low_xy: (2,) m its corner with the smallest x and y.
        cell_m: side of a cell.
        counts: (X, Y) by cell along x and y.
        colour: 0 to 4.
    """

    label: str
    low_xy: tuple[float, float]
    cell_m: float
    counts: NDArray[np.int64]
    colour: int


def table_map(name: str, boxes: Sequence[CellBox]) -> str:
    """Counts on the table as the robot sees it from above: x away from it (up), y to its left."""
    margin = 0.03
    low = np.min([box.low_xy for box in boxes], axis=0) - margin
    high = np.max([np.add(box.low_xy, np.multiply(box.counts.shape, box.cell_m)) for box in boxes], axis=0) + margin
    scale = WIDTH / (high[1] - low[1])
    height = (high[0] - low[0]) * scale + 26
    most = max(int(box.counts.max(initial=0)) for box in boxes)
    parts = []
    for box in boxes:
        side = box.cell_m * scale
        for (ix, iy), count in np.ndenumerate(box.counts):
            left = (high[1] - box.low_xy[1] - (iy + 1) * box.cell_m) * scale
            top = (high[0] - box.low_xy[0] - (ix + 1) * box.cell_m) * scale
            opacity = 0.0 if count == 0 else 0.25 + 0.75 * count / max(most, 1)
            rect = f'x="{left + 1:.1f}" y="{top + 1:.1f}" width="{side - 2:.1f}" height="{side - 2:.1f}" rx="4"'
            parts.append(f'<rect class="empty" {rect}/><rect class="f{box.colour}" {rect} opacity="{opacity:.2f}"/>')
            middle, base = left + side / 2, top + side / 2 + 4
            parts.append(f'<text class="count" x="{middle:.1f}" y="{base:.1f}" text-anchor="middle">{count}</text>')
        centre = (high[1] - box.low_xy[1] - box.counts.shape[1] * box.cell_m / 2) * scale
        edge = (high[0] - box.low_xy[0] - box.counts.shape[0] * box.cell_m) * scale
        parts.append(
            f'<text class="strong" x="{centre:.1f}" y="{edge - 7:.1f}" text-anchor="middle">{html.escape(box.label)}</text>'
        )
    arrow = WIDTH / 2
    parts.append(f'<text x="{arrow}" y="{height - 8:.1f}" text-anchor="middle">&#9650; seen from the robot, from above</text>')
    return svg(name, height, parts)


@dataclasses.dataclass(frozen=True)
class Places:
    """Dots on the table: (N, 2) m their x and y, with a name for the legend and a colour (0 to 4)."""

    label: str
    xy_m: NDArray[np.float64]
    colour: int


def place_map(name: str, groups: Sequence[Places]) -> str:
    """Places on the table as the robot sees it from above: x away from it (up), y to its left, with lines at round numbers.

    Places that are not finite are left out; of many an even choice is drawn.
    """
    kept = [dataclasses.replace(one, xy_m=_drawn(one.xy_m)) for one in groups]
    every = np.concatenate([one.xy_m for one in kept])
    low, high = (every.min(axis=0), every.max(axis=0)) if len(every) else (np.zeros(2), np.zeros(2))
    centre, span = (low + high) / 2, np.maximum(1.1 * (high - low), _LEAST_SPAN_M)
    scale = min((WIDTH - _LEFT) / span[1], _MOST_HEIGHT / span[0])
    height = span[0] * scale
    span = np.array([height, WIDTH - _LEFT]) / scale  # what is seen; y may be more than the places need

    def px(y: float) -> float:
        return _LEFT + (centre[1] + span[1] / 2 - y) * scale

    def py(x: float) -> float:
        return (centre[0] + span[0] / 2 - x) * scale

    parts = []
    for x in ticks(centre[0] - span[0] / 2, centre[0] + span[0] / 2, 5):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH}" y1="{py(x):.1f}" y2="{py(x):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{py(x) + 4:.1f}" text-anchor="end">{x:.3g}</text>')
    for y in ticks(centre[1] - span[1] / 2, centre[1] + span[1] / 2, 5):
        parts.append(f'<line class="grid" x1="{px(y):.1f}" x2="{px(y):.1f}" y1="0" y2="{height:.1f}"/>')
        parts.append(f'<text x="{px(y):.1f}" y="{height + 17:.1f}" text-anchor="middle">{y:.3g}</text>')
    for one in kept:
        path = "".join(f"M{px(y):.1f} {py(x):.1f}h0" for x, y in one.xy_m)
        parts.append(f'<path class="s{one.colour}" style="stroke-width:6;opacity:0.6" d="{path}"/>')
    text = "&#9650; seen from the robot, from above, m"
    parts.append(f'<text x="{(WIDTH + _LEFT) / 2}" y="{height + 38:.1f}" text-anchor="middle">{text}</text>')
    key = '<svg class="key" viewBox="0 0 24 8"><path class="s{}" style="stroke-width:7" d="M12 4h0"/></svg>'
    legend = "".join(f"<span>{key.format(one.colour)}{html.escape(one.label)}</span>" for one in kept)
    return svg(name, height + 44, parts) + f'<p class="legend">{legend}</p>'


def _drawn(xy_m: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = xy_m[(np.abs(xy_m) < _FARTHEST_M).all(axis=1)]
    return finite[np.linspace(0, len(finite) - 1, min(len(finite), _MOST_DOTS)).round().astype(int)]
