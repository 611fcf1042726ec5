"""Charts as inline SVG for HTML pages: lines with bands, and horizontal bars with intervals.

Colours are the page's CSS variables (`--c0` to `--c4`, `--ink`, `--muted`, `--line`), so charts follow its light and dark look.
A chart is 460 units wide and is scaled to its place; one unit is about a pixel on a phone.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

WIDTH, _HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 40
_MAX_POINTS = 400
_SMALLEST, _LARGEST = 1e-100, 1e100  # that an axis shows


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        label: for the legend.
        x, y: (N,) numbers; a gap where y is not finite.
        colour: 0 to 4.
        low, high: (N,) bounds of a band around it, or None.
        dashed: drawn with dashes.
        dots: a dot on every point.
    """

    label: str
    x: ArrayLike
    y: ArrayLike
    colour: int
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    dashed: bool = False
    dots: bool = False


@dataclasses.dataclass(frozen=True)
class Bar:
    """A horizontal bar of `value`, with `text` behind it and, where given, an interval (low, high)."""

    label: str
    value: float
    text: str
    colour: int = 0
    interval: tuple[float, float] | None = None


def line_chart(
    name: str,
    lines: Sequence[Line],
    x_label: str,
    *,
    y_range: tuple[float | None, float | None] = (None, None),
    percent: bool = False,
    level: tuple[float, str] | None = None,
    split: tuple[float, str, str] | None = None,
) -> str:
    """Curves over a common axis.

    Args:
        name: said to those who cannot see the chart.
        lines: at least one.
        x_label: with its unit.
        y_range: bounds of the vertical axis; None takes the data's.
        percent: the values are shares, written in per cent.
        level: a horizontal line (y, label).
        split: a vertical line (x, label to its left, label to its right).
    """
    lines = [_thinned(line) for line in lines]
    xs = np.concatenate([np.asarray(line.x, dtype=float) for line in lines])
    ys = np.concatenate(
        [np.asarray(part, dtype=float) for line in lines for part in (line.y, line.low, line.high) if part is not None]
    )
    ys = np.append(ys, [level[0]] if level else [])
    x_low, x_high = _bounds(xs, (None, None), margin=0.0)
    y_low, y_high = _bounds(ys, y_range, margin=0.05)
    y_high += 0.18 * (y_high - y_low) if split else 0.0  # room for its labels

    def px(x: float) -> float:
        return _LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)

    def py(y: float) -> float:
        return _HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in ticks(y_low, min(y_high, 1.0) if percent else y_high, 5):
        text = f"{100 * tick:g}%" if percent else _short(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{py(tick):.1f}" y2="{py(tick):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{py(tick) + 4:.1f}" text-anchor="end">{text}</text>')
    for tick in ticks(x_low, x_high, 6):
        parts.append(f'<text x="{px(tick):.1f}" y="{_HEIGHT - _BOTTOM + 17}" text-anchor="middle">{_short(tick)}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">{html.escape(x_label)}</text>')
    if level is not None:
        y = py(level[0])
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{WIDTH - _RIGHT - 2}" y="{y - 5:.1f}" text-anchor="end">{html.escape(level[1])}</text>')
    if split is not None:
        x = px(split[0])
        parts.append(f'<line class="level" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        for shift, anchor, text in ((-6, "end", split[1]), (6, "start", split[2])):
            parts.append(f'<text x="{x + shift:.1f}" y="{_TOP + 10}" text-anchor="{anchor}">{html.escape(text)}</text>')
    parts += [_curve(line, px, py) for line in lines]
    legend = "".join(_legend_entry(line) for line in lines if line.label)
    return svg(name, _HEIGHT, parts) + (f'<p class="legend">{legend}</p>' if legend else "")


def bar_chart(name: str, bars: Sequence[Bar], *, maximum: float | None = None) -> str:
    """Horizontal bars with a label above each and, where given, its interval as a whisker."""
    step, thick = 44, 14
    longest = maximum or max([bar.value for bar in bars] + [1e-9])
    full = WIDTH - 16
    parts = []
    for index, bar in enumerate(bars):
        y = index * step
        length = full * min(max(bar.value / longest, 0.0), 1.0)
        parts.append(f'<text class="strong" x="8" y="{y + 14}">{html.escape(bar.label)}</text>')
        parts.append(f'<text x="{WIDTH - 8}" y="{y + 14}" text-anchor="end">{html.escape(bar.text)}</text>')
        parts.append(f'<rect class="track" x="8" y="{y + 20}" width="{full}" height="{thick}" rx="4"/>')
        if length > 0:
            parts.append(
                f'<rect class="f{bar.colour}" x="8" y="{y + 20}" width="{max(length, 3):.1f}" height="{thick}" rx="4"/>'
            )
        if bar.interval is not None:
            low, high = (8 + full * min(bound / longest, 1.0) for bound in bar.interval)
            centre = y + 20 + thick / 2
            parts.append(
                f'<path class="whisker" d="M{low:.1f} {centre}H{high:.1f}M{low:.1f} {centre - 5}v10"/>'
                f'<path class="whisker" d="M{high:.1f} {centre - 5}v10"/>'
            )
    return svg(name, len(bars) * step, parts)


# ---- parts -----------------------------------------------------------------------------------------------------------------


def svg(name: str, height: float, parts: Sequence[str]) -> str:
    """The picture made of these parts; `name` is said to those who cannot see it."""
    label = html.escape(name, quote=True)
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {height:.0f}">{"".join(parts)}</svg>'


def _curve(line: Line, px: Callable[[float], float], py: Callable[[float], float]) -> str:
    x, y = np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)
    shapes = []
    if line.low is not None and line.high is not None:
        there = [f"{px(a):.1f},{py(b):.1f}" for a, b in zip(x, np.asarray(line.high, dtype=float), strict=True)]
        back = [f"{px(a):.1f},{py(b):.1f}" for a, b in zip(x[::-1], np.asarray(line.low, dtype=float)[::-1], strict=True)]
        shapes.append(f'<polygon class="f{line.colour}" opacity="0.18" points="{" ".join(there + back)}"/>')
    pen, path = "M", ""
    for a, b in zip(x, y, strict=True):
        if np.isfinite(b):
            path += f"{pen}{px(a):.1f} {py(b):.1f}"
            pen = "L"
        else:
            pen = "M"
    dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
    shapes.append(f'<path class="s{line.colour}"{dashes} d="{path}"/>')
    if line.dots:
        shapes += [
            f'<circle class="f{line.colour}" cx="{px(a):.1f}" cy="{py(b):.1f}" r="4"/>' for a, b in zip(x, y, strict=True)
        ]
    return "".join(shapes)


def _legend_entry(line: Line) -> str:
    dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
    key = f'<svg class="key" viewBox="0 0 24 8"><path class="s{line.colour}"{dashes} d="M1 4H23"/></svg>'
    return f"<span>{key}{html.escape(line.label)}</span>"


def _thinned(line: Line) -> Line:
    """The line with at most `_MAX_POINTS` of its points, the last one among them; what no axis can show becomes a gap."""
    count = len(np.asarray(line.x))
    keep = np.unique(np.linspace(0, count - 1, min(count, _MAX_POINTS)).round().astype(int))
    parts = {name: getattr(line, name) for name in ("x", "y", "low", "high")}
    chosen = {name: np.asarray(part, dtype=float)[keep] for name, part in parts.items() if part is not None}
    chosen["y"] = np.where(np.abs(chosen["y"]) < _LARGEST, chosen["y"], np.nan)
    return dataclasses.replace(line, **chosen)


def _bounds(values: NDArray[np.float64], given: tuple[float | None, float | None], margin: float) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    least, most = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    spread = most - least
    if spread <= max(1e-6 * max(abs(least), abs(most)), _SMALLEST):  # a constant: in the middle, between numbers that differ
        spread = 10.0 * abs(most) if abs(most) > _SMALLEST else 10.0
    slack = margin * spread
    low = least - slack if given[0] is None else given[0]
    high = most + slack if given[1] is None else given[1]
    return (low, high) if high - low > _SMALLEST else (low - 0.5, low + 0.5)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    values = MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in values if low - 1e-9 <= tick <= high + 1e-9 * max(1.0, abs(high))]


def _short(value: float) -> str:
    """A number for an axis: 40k, 1.2M, 7.5e-4."""
    if 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e6 if letter == 'M' else 1e3):g}{letter}"
    return f"{value:g}"
