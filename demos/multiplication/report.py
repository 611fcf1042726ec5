"""How a multiplication went: counts, and the coverage of what the task draws, as numbers and as a picture."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.multiplication.experience import Play
from demos.multiplication.starts import CellBox, TaskStarts
from dexvid_envs.files import atomic_path

Counts = dict[str, int]


@dataclasses.dataclass
class MultiplyReport:
    """How the multiplication went; grows while it runs.

    Attributes:
        attempts, accepted: number of copies played and succeeded; the last batch may hold more successes than are wanted.
        start_cells: kept copies by cell of the start, as "ix,iy", where the yaw is drawn as "ix,iy,iyaw".
        target_cells: the same of the target.
        missing_start_cells, missing_target_cells: cells of the task's distribution without any kept copy.
        start_attempts, target_attempts: attempts by cell, all of them.
        draws, given_up: starts drawn, and those of them that failed in every try.
        out_of_reach: attempts, among the failed, that were not played, since the arm does not reach all of the path.
        boxes: what is drawn: label, low, size and cell (m or rad) of each.
        kept: copies that became demonstrations: the accepted ones up to the wanted number.
        mended: those of them whose draw had failed before: another grip or aim made a copy of it.
    """

    attempts: int = 0
    accepted: int = 0
    start_cells: Counts = dataclasses.field(default_factory=dict)
    target_cells: Counts = dataclasses.field(default_factory=dict)
    missing_start_cells: int = 0
    missing_target_cells: int = 0
    start_attempts: Counts = dataclasses.field(default_factory=dict)
    target_attempts: Counts = dataclasses.field(default_factory=dict)
    draws: int = 0
    given_up: int = 0
    out_of_reach: int = 0
    boxes: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    kept: int = 0
    mended: int = 0

    @property
    def acceptance(self) -> float:
        """Accepted share of the attempts."""
        return self.accepted / max(self.attempts, 1)

    def begin(self, starts: TaskStarts) -> None:
        """Notes what is drawn; all of its cells are missing then."""
        self.boxes = [
            {"label": box.label, "low": box.low.tolist(), "size": box.size.tolist(), "cell": box.cell} for box in starts.boxes
        ]
        self._count_missing(starts)

    def take(self, starts: TaskStarts, seed: int, plays: Iterable[Play], retries: int, wanted: int) -> None:
        """Counts a batch of plays, of whose successes the first `wanted` are kept."""
        left = wanted
        for play in plays:
            kept = play.success and left > 0
            left -= kept
            self.attempts += 1
            self.accepted += play.success
            self.kept += kept
            self.mended += kept and play.attempt > 0
            self.draws = max(self.draws, play.draw + 1)
            self.given_up += not play.success and (play.attempt >= retries or not play.mendable)
            self.out_of_reach += not play.reached
            drawn = dict(zip((box.label for box in starts.boxes), starts.drawn([seed], play.draw, 1), strict=True))
            for name, boxes in _places(starts):
                key = _key(boxes, drawn)
                for counts, counted in ((f"{name}_attempts", True), (f"{name}_cells", kept)):
                    if counted:
                        of_cell: Counts = getattr(self, counts)
                        of_cell[key] = of_cell.get(key, 0) + 1
        self._count_missing(starts)

    def _count_missing(self, starts: TaskStarts) -> None:
        for name, boxes in _places(starts):
            cells = int(np.prod([count for box in boxes for count in box.shape]))
            setattr(self, f"missing_{name}_cells", cells - len(getattr(self, f"{name}_cells")))


def _places(starts: TaskStarts) -> list[tuple[str, list[CellBox]]]:
    """What is covered: the start with its yaw, and the target."""
    places = [("start", [box for box in (starts.start, starts.yaw) if box is not None])]
    return places + ([("target", [starts.goal])] if starts.goal is not None else [])


def _key(boxes: Sequence[CellBox], drawn: dict[str, NDArray[np.float64]]) -> str:
    cells = [np.unravel_index(int(box.cells_of(drawn[box.label])[0]), box.shape) for box in boxes]
    return ",".join(str(int(index)) for cell in cells for index in cell)


def draw_coverage(path: Path, reports: Sequence[tuple[str, MultiplyReport]]) -> None:
    """Writes a picture (.png) with a row for each multiplication: kept copies and attempts by cell of start and target.

    Args:
        path: of the picture.
        reports: title and report of each row.
    """
    from matplotlib.figure import Figure

    rows = [_panels(report) for _, report in reports]
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(2.4 * columns + 0.6, 2.7 * len(rows)), layout="constrained")
    parts: Any = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, report), row in zip(parts, reports, rows, strict=True):
        part.suptitle(
            f"{title}: {report.accepted} of {report.attempts} copies succeed ({report.acceptance:.0%}); cells without one: "
            f"{report.missing_start_cells} of starts, {report.missing_target_cells} of targets",
            fontsize=9,
        )
        for axes, panel in zip(
            part.subplots(1, columns, squeeze=False)[0], [*row, *[None] * (columns - len(row))], strict=True
        ):
            if panel is None:
                axes.axis("off")
                continue
            name, box, kept, tried = panel
            share = np.where(tried > 0, kept / np.maximum(tried, 1), np.nan)
            (x, y), (wide, high) = box["low"][:2], box["size"][:2]
            axes.imshow(
                share, origin="lower", cmap="RdYlGn", vmin=0.0, vmax=1.0, extent=(y, y + high, x, x + wide), aspect="equal"
            )
            side_y, side_x = high / kept.shape[1], wide / kept.shape[0]
            for ix, iy in np.ndindex(kept.shape):
                text = f"{kept[ix, iy]}\n/{tried[ix, iy]}"
                axes.text(y + (iy + 0.5) * side_y, x + (ix + 0.5) * side_x, text, ha="center", va="center", fontsize=5)
            axes.set_title(name, fontsize=7)
            axes.tick_params(labelsize=6)
            axes.locator_params(nbins=4)
            axes.set_xlabel("y [m]", fontsize=6)
            axes.set_ylabel("x [m]", fontsize=6)
            axes.invert_xaxis()  # as the robot sees it: its left is on the left
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _panels(report: MultiplyReport) -> list[tuple[str, dict[str, Any], NDArray[np.int64], NDArray[np.int64]]]:
    """Title, box, kept and tried copies (X, Y) of each map: starts for each yaw, targets for each height."""
    boxes = {box["label"]: box for box in report.boxes}
    panels = []
    for name, extra in (("start", boxes.get("yaw")), ("target", None)):
        if name not in boxes:
            continue
        box = boxes[name]
        shape = [*_shape(box), *(_shape(extra) if extra else [])]
        kept, tried = (_grid(getattr(report, f"{name}_{part}"), shape) for part in ("cells", "attempts"))
        layers = [""]
        if extra is not None:
            edges = np.degrees(extra["low"][0] + extra["size"][0] * np.arange(shape[2] + 1) / shape[2])
            layers = [f", yaw {low:.0f} to {high:.0f} degrees" for low, high in itertools.pairwise(edges)]
        elif len(shape) == 3:
            edges = box["low"][2] + box["size"][2] * np.arange(shape[2] + 1) / shape[2]
            layers = [f", z = {low:.2f} to {high:.2f} m" for low, high in itertools.pairwise(edges)]
        kept, tried = kept.reshape(*shape[:2], -1), tried.reshape(*shape[:2], -1)
        panels += [(f"{name}{text}", box, kept[..., layer], tried[..., layer]) for layer, text in enumerate(layers)]
    return panels


def _shape(box: dict[str, Any]) -> list[int]:
    return [int(count) for count in np.maximum(np.ceil(np.divide(box["size"], box["cell"]) - 1e-9), 1)]


def _grid(cells: Counts, shape: Sequence[int]) -> NDArray[np.int64]:
    grid = np.zeros(tuple(shape), dtype=np.int64)
    for key, count in cells.items():
        grid[tuple(int(part) for part in key.split(","))] += count
    return grid
