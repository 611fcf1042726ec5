"""Where a task's episodes start: the places, yaws and goals that it draws, in cells, so that every cell gets its copies.

A task is one entry of `_TASKS`; everything else about it is read from the environment after a reset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import DexVidError
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlace
from dexvid_envs.tasks.grasp_lift import GraspLift
from dexvid_envs.tasks.lift_throw import LiftThrow
from dexvid_envs.tasks.open_cabinet import OpenCabinet

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CELL_M, CELL_RAD = 0.04, np.pi / 4
_MOST_DRAWS = 10_000
#: How the goal's frame follows from the reset: a place to bring the object to, a bearing to throw in, or the start's own frame.
GoalKind = Literal["place", "bearing", "start"]


@dataclasses.dataclass(frozen=True)
class CellBox:
    """An option that is drawn uniformly from a box, cut into cells.

    Attributes:
        label: of the coverage map: "start", "yaw" or "target".
        option: reset option.
        low, size: (D,) corner and extents, m or rad.
        cell: largest side of a cell, m or rad.
        scalar: the option is a number and no vector.
    """

    label: str
    option: str
    low: FloatArray
    size: FloatArray
    cell: float
    scalar: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells along each axis."""
        return tuple(int(count) for count in np.maximum(np.ceil(self.size / self.cell - 1e-9), 1))

    @property
    def sides(self) -> FloatArray:
        """(D,) of each cell: all cells along an axis are alike, so that draws by cell are uniform."""
        return self.size / np.array(self.shape)

    def cells_of(self, values: FloatArray) -> IntArray:
        """(N,) index of the cell of values (N, D)."""
        places = np.clip(((values - self.low) / self.sides).astype(np.int64), 0, np.array(self.shape) - 1)
        return np.asarray(np.ravel_multi_index(tuple(places.T), self.shape), dtype=np.int64)

    def drawn(self, rng: np.random.Generator, cells: IntArray) -> FloatArray:
        """(N, D) values, each uniform in its cell."""
        corner = self.low + self.sides * np.stack(np.unravel_index(cells, self.shape), axis=-1)
        return corner + self.sides * rng.random(corner.shape)


def box_around(label: str, option: str, centre: Sequence[float], half: Sequence[float], cell: float = CELL_M) -> CellBox:
    """The box of `half` extents around a centre."""
    extent = np.asarray(half, dtype=np.float64)
    return CellBox(label, option, np.asarray(centre) - extent, 2 * extent, cell, cell == CELL_RAD)


@dataclasses.dataclass(frozen=True)
class TaskStarts:
    """What a task's episodes begin with.

    Attributes:
        start: where the object (or the cabinet) stands.
        yaw: its turn about the vertical; None where the task does not turn it.
        goal: where it has to go; None where that follows from the start.
        goal_kind: see `GoalKind`.
        memory_goal: name of the goal in the task's memory.
        apart_m: least distance at which a goal is drawn from its start.
    """

    start: CellBox
    yaw: CellBox | None
    goal: CellBox | None
    goal_kind: GoalKind
    memory_goal: str | None
    apart_m: float = 0.0

    @property
    def on_table(self) -> bool:
        """Whether the object is set down at its goal."""
        return self.goal_kind == "place" and self.goal is not None and len(self.goal.low) == 2

    @property
    def boxes(self) -> tuple[CellBox, ...]:
        """Everything that is drawn."""
        return tuple(box for box in (self.start, self.yaw, self.goal) if box is not None)

    def drawn(self, seed: Sequence[int], first: int, count: int) -> list[FloatArray]:
        """Values (count, D) of each box for the draws `first` and following.

        As many draws in a row as there are cells visit each of them once, in a new order every time; start and yaw share
        their cells, since a place is only covered where it is for every yaw.
        """
        groups: list[list[CellBox]] = [[box for box in (self.start, self.yaw) if box is not None]]
        groups += [[self.goal]] if self.goal is not None else []
        values: dict[str, FloatArray] = {}
        for number, group in enumerate(groups):
            shape = [int(np.prod(box.shape)) for box in group]
            total = int(np.prod(shape))
            index = np.arange(first, first + count)
            rounds = {int(k): np.random.default_rng([*seed, number, int(k)]).permutation(total) for k in set(index // total)}
            cell = np.array([rounds[int(i) // total][int(i) % total] for i in index])
            inside = np.random.default_rng([*seed, number, first, 1])
            for box, cells in zip(group, np.unravel_index(cell, shape), strict=True):
                values[box.label] = box.drawn(inside, np.asarray(cells))
        if self.goal is not None and self.apart_m > 0:
            values[self.goal.label] = self._apart(values, np.random.default_rng([*seed, first, 2]))
        return [values[box.label] for box in self.boxes]

    def _apart(self, values: Mapping[str, FloatArray], rng: np.random.Generator) -> FloatArray:
        """(N, D) the goals, those too near their starts drawn anew in the whole box."""
        assert self.goal is not None
        goals, starts = values[self.goal.label], values[self.start.label]
        for _ in range(_MOST_DRAWS):
            near = np.flatnonzero(np.linalg.norm(goals[:, :2] - starts, axis=-1) < self.apart_m)
            if not len(near):
                return goals
            goals[near] = self.goal.low + self.goal.size * rng.random((len(near), len(self.goal.low)))
        raise DexVidError(f"no goal was found {self.apart_m:g} m from its start; lower that distance or widen the box of goals")

    def reset_options(self, values: Sequence[FloatArray]) -> list[dict[str, Any]]:
        """One mapping of reset options for each of N draws: `values` are (N, D) by box, in the order of `boxes`."""
        return [
            {
                box.option: float(value[row, 0]) if box.scalar else value[row]
                for box, value in zip(self.boxes, values, strict=True)
            }
            for row in range(len(values[0]))
        ]


def _of_object(settings: Any, noun: str, goal: CellBox, kind: GoalKind, memory: str) -> TaskStarts:
    yaw = None
    if settings.start_yaw_rad > 0:
        yaw = box_around("yaw", f"{noun}_yaw", [0.0], [settings.start_yaw_rad], CELL_RAD)
    start = box_around("start", f"{noun}_position", settings.start_centre_m, settings.start_half_extent_m)
    return TaskStarts(start, yaw, goal, kind, memory)


def _pick_place(settings: Any) -> TaskStarts:
    goal = box_around("target", "target_position", settings.target_centre_m, settings.target_half_extent_m)
    starts = _of_object(settings, "bottle", goal, "place", "target")
    return dataclasses.replace(starts, apart_m=settings.target_apart_m)


def _lift(settings: Any) -> TaskStarts:
    goal = box_around("target", "goal_position", settings.goal_centre_m, settings.goal_half_extent_m)
    return _of_object(settings, "object", goal, "place", "goal")


def _throw(settings: Any) -> TaskStarts:
    goal = box_around("target", "bucket_position", settings.bucket_centre_m, settings.bucket_half_extent_m)
    return _of_object(settings, "object", goal, "bearing", "bucket")


def _drawer(settings: Any) -> TaskStarts:
    start = box_around("start", "cabinet_position", settings.cabinet_centre_m, settings.cabinet_half_extent_m)
    yaw = None
    if settings.cabinet_yaw_rad > 0:
        yaw = box_around("yaw", "cabinet_yaw", [0.0], [settings.cabinet_yaw_rad], CELL_RAD)
    return TaskStarts(start, yaw, None, "start", None)


_TASKS: Mapping[type, Callable[[Any], TaskStarts]] = {
    BottlePickPlace: _pick_place,
    GraspLift: _lift,
    LiftThrow: _throw,
    OpenCabinet: _drawer,
}


def task_starts(task: Any) -> TaskStarts:
    """What a task draws.

    Raises:
        DexVidError: nobody has described the task here.
    """
    for kind, describe in _TASKS.items():
        if isinstance(task, kind):
            return describe(task.config)
    known = ", ".join(kind.__name__ for kind in _TASKS)
    raise DexVidError(f"multiplication knows the tasks {known}, got {type(task).__name__}; describe it in task_starts")
