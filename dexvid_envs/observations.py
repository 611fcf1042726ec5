"""What a policy sees: named fields gathered from the simulation's arrays, object points, camera pictures, the critic's extras.

Every field is a selection of numbers from the simulation, or the difference of two selections. All fields together are then two
gathers and one subtraction, whatever the task, for one environment and for thousands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dexvid_envs.kernels import gather
from dexvid_envs.simulation import Simulation

FloatArray = NDArray[np.float64]
#: An array in the `state` mode, else a dict of arrays: only the options tell, so that the type checker cannot.
Observation = Any
Role = Literal["proprioception", "object", "goal"]

#: The simulation's arrays that fields may select from; the task's memory comes after them.
ENGINE_ARRAYS = ("qpos", "qvel", "ctrl", "xpos", "xmat", "site_xpos")


@dataclasses.dataclass(frozen=True)
class Source:
    """Some numbers of one array: an engine array or an entry of the task's memory.

    Attributes:
        array: one of `ENGINE_ARRAYS`, or the name of a memory entry.
        indices: into the array's row, flattened.
    """

    array: str
    indices: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ObservationField:
    """One named part of the observation: `of`, or `of - minus`.

    Attributes:
        name: its key.
        low, high: bounds; values outside are clipped.
        meaning: what it is, with unit and frame, for the documentation.
        role: "proprioception" (the robot itself), "object" or "goal".
        of, minus: where the numbers come from.
    """

    name: str
    low: float
    high: float
    meaning: str
    role: Role
    of: Source
    minus: Source | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.of.indices)


class Sources:
    """Finds sources by the names of the model's elements."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model

    def joint_positions(self, names: Sequence[str]) -> Source:
        """Positions of hinge and slide joints, rad or m."""
        return Source("qpos", tuple(int(self.model.joint(name).qposadr[0]) for name in names))

    def joint_velocities(self, names: Sequence[str]) -> Source:
        """Velocities of hinge and slide joints, rad/s or m/s."""
        return Source("qvel", tuple(int(self.model.joint(name).dofadr[0]) for name in names))

    def targets(self, names: Sequence[str]) -> Source:
        """Servo targets of actuators, rad."""
        return Source("ctrl", tuple(self.model.actuator(name).id for name in names))

    def free_velocity(self, joint: str) -> Source:
        """(6,) linear (world, m/s) and angular (body, rad/s) velocity of a free joint."""
        start = int(self.model.joint(joint).dofadr[0])
        return Source("qvel", tuple(range(start, start + 6)))

    def body_position(self, name: str, repeat: int = 1) -> Source:
        """(3 repeat,) origin of a body in the world, m."""
        start = 3 * self.model.body(name).id
        return Source("xpos", (start, start + 1, start + 2) * repeat)

    def body_axes(self, name: str, axes: str) -> Source:
        """The body's axes ("x", "y", "z") in the world, three numbers each."""
        start = 9 * self.model.body(name).id
        return Source("xmat", tuple(start + 3 * row + "xyz".index(axis) for axis in axes for row in range(3)))

    def site_positions(self, names: Sequence[str]) -> Source:
        """(3 len(names),) sites in the world, m."""
        starts = [3 * self.model.site(name).id for name in names]
        return Source("site_xpos", tuple(start + k for start in starts for k in range(3)))


def memory_source(name: str, size: int, repeat: int = 1) -> Source:
    """All `size` numbers of a float entry of the task's memory, `repeat` times."""
    return Source(name, tuple(range(size)) * repeat)


class SourceVector:
    """All numbers that observations are made of side by side, (N, F) float64, in which every `Source` has its place.

    Beside what the fields select these are all positions and velocities and the pose of one body.
    """

    def __init__(
        self, simulation: Simulation, memory: Mapping[str, NDArray[Any]], fields: Sequence[ObservationField], body_id: int
    ) -> None:
        self._memory = memory
        self.count = count = simulation.num_envs
        used = {"qpos": {*range(simulation.model.nq)}, "qvel": {*range(simulation.model.nv)}}
        used |= {"xpos": {*range(3 * body_id, 3 * body_id + 3)}, "xmat": {*range(9 * body_id, 9 * body_id + 9)}}
        for source in (source for field in fields for source in (field.of, field.minus) if source is not None):
            used.setdefault(source.array, set()).update(source.indices)
        used |= {name: {*range(values.shape[1])} for name, values in memory.items() if name in used}
        self._indices = {name: np.array(sorted(used[name])) for name in (*ENGINE_ARRAYS, *memory) if name in used}
        self._starts: dict[str, int] = {}
        start = 0
        for name, indices in self._indices.items():
            self._starts[name] = start
            start += len(indices)
        self.size = start + 1  # a zero at the end stands for "minus nothing"
        self._values = np.zeros((count, self.size))
        engine = {name: indices for name, indices in self._indices.items() if name in ENGINE_ARRAYS}
        self._read_engine = simulation.make_reader(engine, self._values[:, : sum(map(len, engine.values()))])
        self._remembered = [
            (name, self._values[:, self._starts[name] : self._starts[name] + len(indices)])
            for name, indices in self._indices.items()
            if name not in engine
        ]

    def read(self) -> FloatArray:
        """(N, F) the present values; always the same array."""
        self._read_engine()
        for name, place in self._remembered:
            place[...] = self._memory[name]
        return self._values

    def places(self, source: Source) -> NDArray[np.int64]:
        """(K,) columns of a source of K values."""
        return self._starts[source.array] + np.searchsorted(self._indices[source.array], source.indices)

    def columns(self, array: str, start: int, size: int) -> slice:
        """Columns `start` to `start + size` of an array, all of which are held, as a slice."""
        first = int(self.places(Source(array, (start,)))[0])
        return slice(first, first + size)

    def array_at(self, column: int) -> str:
        """Name of the array that a column comes from."""
        return max((start, name) for name, start in self._starts.items() if start <= column)[1]

    @property
    def zero(self) -> int:
        """Column that is always 0."""
        return self.size - 1


class Gather:
    """Some fields as one float32 vector: two gathers, a subtraction, a clip."""

    def __init__(self, fields: Sequence[ObservationField], sources: SourceVector) -> None:
        self.fields = tuple(fields)
        plus = [sources.places(field.of) for field in fields]
        minus = [np.full(field.size, sources.zero) if field.minus is None else sources.places(field.minus) for field in fields]
        self._plus = np.concatenate(plus) if plus else np.zeros(0, dtype=np.int64)
        self._minus = np.concatenate(minus) if minus else np.zeros(0, dtype=np.int64)
        low = np.concatenate([np.full(field.size, field.low) for field in fields] or [np.zeros(0)])
        high = np.concatenate([np.full(field.size, field.high) for field in fields] or [np.zeros(0)])
        self._low, self._high = low, high
        self.space = spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)

    def __call__(self, values: FloatArray) -> NDArray[np.float32]:
        """(N, D) from source vectors (N, F)."""
        return gather(values, self._plus, self._minus, self._low, self._high)


class ObjectPoints:
    """The object's surface points in the world, at the pose that the source vector holds.

    Args:
        surface_points: gives (N, P, 3) m points in the object's frame.
        body_id: the object's body.
        sources: where the pose stands in a source vector.
        count: P.
    """

    #: Points are reported within this distance of the world's origin along each axis, m.
    BOUND_M = 3.0

    def __init__(self, surface_points: Callable[[], FloatArray], body_id: int, sources: SourceVector, count: int) -> None:
        self._surface_points = surface_points
        self._position = sources.columns("xpos", 3 * body_id, 3)
        self._rotation = sources.columns("xmat", 9 * body_id, 9)
        self.space = spaces.Box(-self.BOUND_M, self.BOUND_M, (count, 3), dtype=np.float32)

    def __call__(self, values: FloatArray) -> FloatArray:
        """(N, P, 3) m in the world from source vectors (N, F)."""
        rotation = np.ascontiguousarray(values[:, self._rotation]).reshape(-1, 3, 3)
        points = self._surface_points() @ rotation.transpose(0, 2, 1)  # one small product per row
        points += values[:, None, self._position]
        return points

    def clipped(self, points: FloatArray) -> NDArray[np.float32]:
        """Points (N, P, 3) m as the observation holds them."""
        return np.maximum(np.minimum(points, self.BOUND_M), -self.BOUND_M).astype(np.float32)


class PointVisibility:
    """Which of the object's points a camera sees, by casting a ray to each; no OpenGL is needed."""

    #: A point counts as seen if nothing is nearer to the camera by more than this, m: points lie on the fine surface, rays hit
    #: the convex parts that stand for it.
    TOLERANCE_M = 0.008

    def __init__(self, simulation: Simulation, camera: str, count: int) -> None:
        self._simulation = simulation
        self._camera_id = simulation.model.camera(camera).id
        self.space = spaces.MultiBinary(count)

    def __call__(self, points_world: FloatArray) -> NDArray[np.int8]:
        """(N, P) 1 where the camera sees the point; points (N, P, 3) m in the world."""
        eye = self._simulation.camera_positions()[:, self._camera_id]  # (N, 3)
        way = points_world - eye[:, None]
        distance = np.sqrt((way**2).sum(axis=-1))
        hit = self._simulation.cast_rays(eye, way / distance[..., None])
        return ((hit < 0) | (hit >= distance - self.TOLERANCE_M)).astype(np.int8)


def repeat_visible(points: FloatArray, visible: NDArray[np.int8]) -> FloatArray:
    """Points (N, P, 3) with the unseen ones replaced by repetitions of seen ones, so that any point network takes them.

    Rows of which nothing is seen become zeros.
    """
    count = visible.sum(axis=-1)  # (N,)
    seen_first = np.argsort(1 - visible, axis=-1, kind="stable")
    wrapped = np.arange(visible.shape[1]) % np.maximum(count, 1)[:, None]
    chosen = np.take_along_axis(seen_first, wrapped, axis=-1)
    filled = np.take_along_axis(points, chosen[..., None], axis=1)
    filled = np.where(visible[..., None] == 1, points, filled)
    return np.where(count[:, None, None] > 0, filled, 0.0)
