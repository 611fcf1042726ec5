"""Shapes of the things that a synthetic person handles: exact distance to the surface, and the mesh that is drawn.

Frame of a shape: origin in its middle, z up when it stands; every shape is its own mirror image in y (left hands rely on it).
Lengths in m.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple, Protocol

import numpy as np
import trimesh
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Outline = tuple[tuple[float, float], ...]

_SIDES = 64


class Part(NamedTuple):
    """A piece of a drawn thing.

    Attributes:
        name: of the piece; the thing's colours go by it.
        vertices: (V, 3) m.
        faces: (F, 3) triangles that look outwards.
        texcoords: (V, 2) place of each vertex in the piece's picture.
    """

    name: str
    vertices: FloatArray
    faces: IntArray
    texcoords: FloatArray


class Shape(Protocol):
    """A solid that can be held."""

    @property
    def half_height_m(self) -> float:
        """From the middle to the ground it stands on."""
        ...

    @property
    def breadth_m(self) -> float:
        """Across, where a hand from the side would hold it: along x."""
        ...

    def distance(self, points: FloatArray) -> FloatArray:
        """(...,) signed distance in m of points (..., 3) from the surface; negative inside."""
        ...

    def parts(self) -> list[Part]:
        """What is drawn."""
        ...


@dataclasses.dataclass(frozen=True)
class Turned:
    """A solid of revolution around z.

    Attributes:
        outline_m: (radius, height above the bottom) from the centre of the bottom to the centre of the top.
        label_m: heights between which a label is stuck around it; none where both are equal.
        cap_from_m: what is above this height is drawn as the piece "cap".
        cavity_m: the drawn outline from the rim inwards to the centre of the cavity's floor; the solid ignores it.
    """

    outline_m: Outline
    label_m: tuple[float, float] = (0.0, 0.0)
    cap_from_m: float = np.inf
    cavity_m: Outline = ()

    @property
    def height_m(self) -> float:
        """From bottom to top."""
        return max(height for _, height in self.outline_m)

    @property
    def half_height_m(self) -> float:
        """Half the height."""
        return 0.5 * self.height_m

    @property
    def breadth_m(self) -> float:
        """The largest diameter."""
        return 2.0 * max(radius for radius, _ in self.outline_m)

    def distance(self, points: FloatArray) -> FloatArray:
        """See `Shape`: to the outline in the plane through axis and point; the sign by counting crossings."""
        q = np.stack([np.linalg.norm(points[..., :2], axis=-1), points[..., 2] + self.half_height_m], axis=-1)
        outline = np.array(self.outline_m)
        nearest = np.full(q.shape[:-1], np.inf)
        inside = np.zeros(q.shape[:-1], bool)
        for a, b in itertools.pairwise(outline):
            along = b - a
            share = np.clip((q - a) @ along / max(along @ along, 1e-18), 0.0, 1.0)
            nearest = np.minimum(nearest, np.linalg.norm(q - a - share[..., None] * along, axis=-1))
            if a[1] != b[1]:
                crosses = (q[..., 1] >= min(a[1], b[1])) & (q[..., 1] < max(a[1], b[1]))
                radius = a[0] + (q[..., 1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
                inside ^= crosses & (q[..., 0] < radius)
        return np.where(inside, -nearest, nearest)

    def parts(self) -> list[Part]:
        """Body, label and cap."""
        points = [point for point in self.outline_m if point[1] <= self.cap_from_m]
        if self.cavity_m:
            points = [*points[:-1], *self.cavity_m]
        pieces = [("body", points)]
        low, high = self.label_m
        if high > low:
            at = np.linspace(low, high, 5)
            by_height = [(r, z) for r, z in self.outline_m if z < self.cap_from_m]
            radius = np.interp(at, [z for _, z in by_height], [r for r, _ in by_height]) + 0.0002
            pieces.append(("label", list(zip(radius.tolist(), at.tolist(), strict=True))))
        cap = [point for point in self.outline_m if point[1] >= self.cap_from_m]
        if cap:
            pieces.append(("cap", cap))
        return [turned_part(name, np.array(piece) - np.array([0.0, self.half_height_m])) for name, piece in pieces]


@dataclasses.dataclass(frozen=True)
class Box:
    """A box with rounded edges.

    Attributes:
        size_m: along x, y and z.
        edge_m: radius of the edges.
    """

    size_m: tuple[float, float, float]
    edge_m: float = 0.002

    @property
    def half_height_m(self) -> float:
        """Half of z."""
        return 0.5 * self.size_m[2]

    @property
    def breadth_m(self) -> float:
        """Along x."""
        return self.size_m[0]

    def distance(self, points: FloatArray) -> FloatArray:
        """See `Shape`: of a rounded box."""
        q = np.abs(points) - (0.5 * np.array(self.size_m) - self.edge_m)
        return np.linalg.norm(np.maximum(q, 0.0), axis=-1) + np.minimum(q.max(axis=-1), 0.0) - self.edge_m

    def parts(self) -> list[Part]:
        """One piece; each side shows the whole picture."""
        return [box_part("body", self.size_m, self.edge_m)]


@dataclasses.dataclass(frozen=True)
class Ball:
    """A ball."""

    radius_m: float

    @property
    def half_height_m(self) -> float:
        """The radius."""
        return self.radius_m

    @property
    def breadth_m(self) -> float:
        """The diameter."""
        return 2.0 * self.radius_m

    def distance(self, points: FloatArray) -> FloatArray:
        """See `Shape`: of a sphere."""
        return np.linalg.norm(points, axis=-1) - self.radius_m

    def parts(self) -> list[Part]:
        """One piece."""
        turn = np.linspace(-np.pi / 2, np.pi / 2, 33)
        return [turned_part("body", self.radius_m * np.column_stack([np.cos(turn), np.sin(turn)]))]


@dataclasses.dataclass(frozen=True)
class Mug:
    """A cup with a handle towards +x.

    Attributes:
        cup: the cup without its handle.
        handle_reach_m: how far the handle's middle line stands off the cup.
        handle_radius_m: half the handle's thickness.
    """

    cup: Turned
    handle_reach_m: float = 0.024
    handle_radius_m: float = 0.005

    @property
    def half_height_m(self) -> float:
        """Of the cup."""
        return self.cup.half_height_m

    @property
    def breadth_m(self) -> float:
        """Of the cup, without the handle."""
        return self.cup.breadth_m

    def _handle(self) -> FloatArray:
        """(13, 3) m, the handle's middle line."""
        turn = np.linspace(-np.pi / 2, np.pi / 2, 13)
        radius = 0.475 * self.cup.breadth_m  # its ends lie inside the wall
        return np.column_stack(
            [radius + self.handle_reach_m * np.cos(turn), 0.0 * turn, 0.62 * self.half_height_m * np.sin(turn)]
        )

    def distance(self, points: FloatArray) -> FloatArray:
        """See `Shape`: the smaller of cup and handle."""
        line = self._handle()
        nearest = self.cup.distance(points)
        for a, b in itertools.pairwise(line):
            share = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
            off = np.linalg.norm(points - a - share[..., None] * (b - a), axis=-1) - self.handle_radius_m
            nearest = np.minimum(nearest, off)
        return nearest

    def parts(self) -> list[Part]:
        """The cup's pieces and the handle."""
        return [*self.cup.parts(), tube_part("handle", self._handle(), self.handle_radius_m)]


@dataclasses.dataclass(frozen=True)
class DrawerFront:
    """The front of a drawer with a bar handle: the bar lies along y through the origin, the panel behind it at +x.

    Attributes:
        bar_half_length_m: half the length of the bar.
        bar_radius_m: half its thickness.
        stand_off_m: from the middle of the bar to the panel.
        panel_m: width (y), height (z) and thickness of the panel.
    """

    bar_half_length_m: float = 0.085
    bar_radius_m: float = 0.006
    stand_off_m: float = 0.038
    panel_m: tuple[float, float, float] = (0.30, 0.13, 0.018)

    @property
    def half_height_m(self) -> float:
        """Half the height of the panel."""
        return 0.5 * self.panel_m[1]

    @property
    def breadth_m(self) -> float:
        """Thickness of the bar."""
        return 2.0 * self.bar_radius_m

    def bar_distance(self, points: FloatArray) -> FloatArray:
        """(...,) distance from the bar alone."""
        off_axis = points - np.clip(points[..., 1:2], -self.bar_half_length_m, self.bar_half_length_m) * np.array(
            [0.0, 1.0, 0.0]
        )
        return np.linalg.norm(off_axis, axis=-1) - self.bar_radius_m

    def _panel_box(self) -> tuple[Box, FloatArray]:
        width, height, thickness = self.panel_m
        centre = np.array([self.stand_off_m + 0.5 * thickness, 0.0, 0.0])
        return Box((thickness, width, height), 0.002), centre

    def distance(self, points: FloatArray) -> FloatArray:
        """See `Shape`: the smallest of bar, posts and panel."""
        box, centre = self._panel_box()
        nearest = np.minimum(self.bar_distance(points), box.distance(points - centre))
        for y in (-1.0, 1.0):
            post = np.array([0.0, y * (self.bar_half_length_m - 0.006), 0.0])
            q = points - post
            q = q - np.clip(q[..., :1], 0.0, self.stand_off_m) * np.array([1.0, 0.0, 0.0])
            nearest = np.minimum(nearest, np.linalg.norm(q, axis=-1) - self.bar_radius_m)
        return nearest

    def parts(self) -> list[Part]:
        """Handle and panel."""
        y, x = self.bar_half_length_m, self.stand_off_m
        line = np.array([(0.0, -y, 0.0), (0.0, y, 0.0)])
        posts = [np.array([(0.0, s * (y - 0.006), 0.0), (x, s * (y - 0.006), 0.0)]) for s in (-1.0, 1.0)]
        box, centre = self._panel_box()
        panel = box_part("panel", box.size_m, box.edge_m)
        handle = [tube_part(f"handle_{i}", piece, self.bar_radius_m) for i, piece in enumerate([line, *posts])]
        return [panel._replace(vertices=panel.vertices + centre), *handle]


def turned_part(name: str, profile: FloatArray) -> Part:
    """The surface of revolution of an (N, 2) profile (radius, z), its picture wrapped once around."""
    angle = np.linspace(0.0, 2.0 * np.pi, _SIDES + 1)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(profile, axis=0).T))])
    radius: FloatArray = np.maximum(profile[:, :1], 1e-5)
    z = np.broadcast_to(profile[:, 1:], (len(profile), _SIDES + 1))
    vertices = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=-1).reshape(-1, 3)
    around = np.broadcast_to(angle / (2.0 * np.pi), z.shape)
    upward = np.broadcast_to(1.0 - along[:, None] / along[-1], z.shape)
    index = np.arange(vertices.shape[0]).reshape(len(profile), _SIDES + 1)
    return Part(name, vertices, _grid_faces(index), np.stack([around, upward], axis=-1).reshape(-1, 2))


def tube_part(name: str, line: FloatArray, radius_m: float, sides: int = 16) -> Part:
    """A round tube with rounded ends along a (N, 3) line that lies in the plane y = const or along y."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.array([0.0, 0.0, 1.0]) if abs(tangent[0, 1]) > 0.9 else np.array([0.0, 1.0, 0.0])
    turn = np.array([0.0, 0.5, 0.85, 1.0])  # rings of the rounded ends, as the sine of their angle
    first = [(line[0] - radius_m * np.sqrt(1 - s * s) * tangent[0], s, tangent[0]) for s in turn]
    last = [(line[-1] + radius_m * np.sqrt(1 - s * s) * tangent[-1], s, tangent[-1]) for s in turn[::-1]]
    middle = [(point, 1.0, direction) for point, direction in zip(line[1:-1], tangent[1:-1], strict=True)]
    angle = np.linspace(0.0, 2.0 * np.pi, sides + 1)
    rings = []
    for centre, share, direction in [*first, *middle, *last]:
        other = np.cross(direction, side)
        rings.append(centre + share * radius_m * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * other))
    index = np.arange(len(rings) * (sides + 1)).reshape(len(rings), sides + 1)
    vertices = np.concatenate(rings)
    faces = _grid_faces(index)
    corners = vertices[faces]
    volume = np.einsum(
        "fi,fi->", corners[:, 0] - vertices[0], np.cross(corners[:, 1] - vertices[0], corners[:, 2] - vertices[0])
    )
    return Part(name, vertices, faces if volume > 0 else faces[:, ::-1], np.full((len(vertices), 2), 0.5))


def box_part(name: str, size_m: tuple[float, float, float], edge_m: float) -> Part:
    """A box with rounded edges around the origin; each of its sides shows the whole picture, upright on the walls."""
    steps = np.array([0.0, 0.3, 0.7, 1.0])
    half = 0.5 * np.array(size_m)
    vertices, faces, texcoords = [], [], []
    for axis in range(3):
        u_axis, v_axis = ((1, 2), (0, 2), (0, 1))[axis]
        for sign in (-1.0, 1.0):
            u, v = (np.concatenate([-half[a] + edge_m * steps, half[a] - edge_m * steps[::-1]]) for a in (u_axis, v_axis))
            grid = np.zeros((len(u), len(v), 3))
            grid[..., axis], grid[..., u_axis], grid[..., v_axis] = sign * half[axis], u[:, None], v[None, :]
            core = np.clip(grid, -half + edge_m, half - edge_m)
            out = grid - core
            grid = core + edge_m * out / np.linalg.norm(out, axis=-1, keepdims=True)
            index = np.arange(grid[..., 0].size).reshape(grid.shape[:2]) + sum(len(part) for part in vertices)
            outwards = sign * (1.0 if axis != 1 else -1.0) < 0.0
            faces.append(_grid_faces(index)[:, :: 1 if outwards else -1])
            vertices.append(grid.reshape(-1, 3))
            mirrored = u if outwards else -u
            place = np.broadcast_arrays(0.5 + 0.5 * mirrored[:, None] / half[u_axis], 0.5 - 0.5 * v[None, :] / half[v_axis])
            texcoords.append(np.stack(place, axis=-1).reshape(-1, 2))
    return Part(name, np.concatenate(vertices), np.concatenate(faces), np.concatenate(texcoords))


def _grid_faces(index: IntArray) -> IntArray:
    """(F, 3) two triangles for each cell of a grid of vertex numbers."""
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.concatenate([np.stack([a, b, c], axis=-1).reshape(-1, 3), np.stack([a, c, d], axis=-1).reshape(-1, 3)])


def surface_samples(parts: list[Part], count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Points (count, 3) m spread evenly by area over drawn pieces, and their outward normals (count, 3)."""
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=False)])
    mesh = trimesh.Trimesh(np.concatenate([part.vertices for part in parts]), faces, process=False)
    points, face = trimesh.sample.sample_surface(mesh, count, seed=int(rng.integers(2**31)))[:2]
    return np.asarray(points), np.asarray(mesh.face_normals)[np.asarray(face)]
