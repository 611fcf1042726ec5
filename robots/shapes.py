"""Building blocks of visual meshes: surfaces of revolution, lofts and rounded boxes, with crisp edges and few triangles.

Everything here returns a `trimesh.Trimesh` in m; `add_mesh` hands one to MuJoCo as decoration. Shapes are joined by
overlapping, never by boolean operations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import mujoco
import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray

from robots.collision import make_visual

FloatArray = NDArray[np.float64]
Vector3 = tuple[float, float, float]

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
#: Edges sharper than this stay edges; flatter ones are shaded smoothly.
_CREASE_RAD = math.radians(50.0)
_BEVEL_STEPS = 2


@dataclasses.dataclass(frozen=True)
class Finish:
    """How a surface looks.

    Attributes:
        name: of the MuJoCo material made from it.
        rgba: colour.
        specular, shininess: strength and sharpness of highlights, 0 to 1.
    """

    name: str
    rgba: tuple[float, float, float, float]
    specular: float = 0.3
    shininess: float = 0.4

    def material(self, spec: mujoco.MjSpec) -> str:
        """Name of the material in `spec`, which is added when it is not there yet."""
        if spec.material(self.name) is None:
            spec.add_material(name=self.name, rgba=self.rgba, specular=self.specular, shininess=self.shininess)
        return self.name


def add_mesh(spec: mujoco.MjSpec, body: mujoco.MjsBody, name: str, mesh: trimesh.Trimesh, finish: Finish) -> None:
    """Adds `mesh`, given in the body's frame, as pure decoration; `name` is that of the MuJoCo mesh and unique in `spec`."""
    spec.add_mesh(
        name=name,
        uservert=np.asarray(mesh.vertices).ravel(),
        userface=np.asarray(mesh.faces).ravel().astype(np.int32),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        smoothnormal=True,
    )
    make_visual(body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, material=finish.material(spec)))


def joined(*parts: trimesh.Trimesh) -> trimesh.Trimesh:
    """One mesh of overlapping parts, each split along its own sharp edges so that MuJoCo's smooth normals respect them."""
    return merged([trimesh.graph.smooth_shade(part, angle=_CREASE_RAD, facet_minarea=None) for part in parts])


def merged(parts: Sequence[trimesh.Trimesh]) -> trimesh.Trimesh:
    """One mesh of all parts as they are, shading included."""
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [np.asarray(part.faces) + offset for part, offset in zip(parts, offsets, strict=False)]
    return trimesh.Trimesh(np.concatenate([part.vertices for part in parts]), np.concatenate(faces), process=False)


def placed(mesh: trimesh.Trimesh, position_m: ArrayLike = (0, 0, 0), axis: Vector3 = Z) -> trimesh.Trimesh:
    """A copy of `mesh` with its z axis turned to `axis` (the shortest way) and its origin moved to `position_m`."""
    transform = np.array(trimesh.geometry.align_vectors(Z, axis), dtype=np.float64)
    transform[:3, 3] = np.asarray(position_m, dtype=np.float64)
    return mesh.copy().apply_transform(transform)


def loft(sections: Sequence[FloatArray] | FloatArray) -> trimesh.Trimesh:
    """Closed surface through rings (K, S, 3) of equally many points, counter-clockwise seen from the last ring's outside.

    Both ends are closed by a fan around the ring's centre.
    """
    rings = np.asarray(sections, dtype=np.float64)
    count, sides = rings.shape[:2]
    ring, side = np.meshgrid(np.arange(count - 1), np.arange(sides), indexing="ij")
    a, b = (ring * sides + side).ravel(), (ring * sides + (side + 1) % sides).ravel()
    walls = np.concatenate([np.stack([a, b, b + sides], -1), np.stack([a, b + sides, a + sides], -1)])
    first, following = np.arange(sides), (np.arange(sides) + 1) % sides
    last, bottom, top = (count - 1) * sides, count * sides, count * sides + 1
    caps = np.concatenate(
        [
            np.stack([np.full(sides, bottom), following, first], -1),
            np.stack([np.full(sides, top), last + first, last + following], -1),
        ]
    )
    vertices = np.concatenate([rings.reshape(-1, 3), rings[[0, -1]].mean(axis=1)])
    return trimesh.Trimesh(vertices, np.concatenate([walls, caps]), process=False)


def revolve(profile_m: ArrayLike, sides: int = 30) -> trimesh.Trimesh:
    """Surface of revolution around z of a profile (K, 2) of (radius > 0, height) from bottom to top; its ends are flat caps."""
    radius, height = np.asarray(profile_m, dtype=np.float64).T
    return loft(np.concatenate([radius[:, None, None] * circle(sides)[None], _constant(height, sides)], axis=-1))


def drum(radius_m: float, bottom_m: float, top_m: float, bevel_m: float = 0.003, sides: int = 30) -> trimesh.Trimesh:
    """Cylinder around z between two heights with rounded edges."""
    inset, upward = _rounding(bevel_m, _BEVEL_STEPS)
    lower = np.stack([radius_m - inset, bottom_m + upward], axis=-1)
    upper = np.stack([radius_m - inset, top_m - upward], axis=-1)[::-1]
    return revolve(np.concatenate([lower, upper]), sides)


def disc(radius_m: float, bottom_m: float, top_m: float, bevel_m: float = 0.001, sides: int = 28) -> trimesh.Trimesh:
    """Cylinder around z with a sharp edge below, which something hides, and a chamfer above: the cheap form of `drum`."""
    return revolve([(radius_m, bottom_m), (radius_m, top_m - bevel_m), (radius_m - bevel_m, top_m)], sides)


def band(radius_m: float, bottom_m: float, top_m: float, sides: int = 28) -> trimesh.Trimesh:
    """Cylinder around z with sharp edges."""
    return revolve([(radius_m, bottom_m), (radius_m, top_m)], sides)


def rounded_prism(
    outline_m: FloatArray, bottom_m: float, top_m: float, bevel_m: float, bevel_steps: int = _BEVEL_STEPS
) -> trimesh.Trimesh:
    """Prism over a convex outline (S, 2) around the origin, between two heights along z, with rounded edges."""
    inset, upward = _rounding(bevel_m, bevel_steps)
    half = np.abs(outline_m).max(axis=0)
    levels = [*zip(inset, bottom_m + upward, strict=True), *zip(inset[::-1], top_m - upward[::-1], strict=True)]
    return loft([np.column_stack([outline_m * (1.0 - shrink / half), np.full(len(outline_m), z)]) for shrink, z in levels])


def rounded_box(
    size_m: Vector3, corner_m: float, bevel_m: float, steps: int = 3, bevel_steps: int = _BEVEL_STEPS
) -> trimesh.Trimesh:
    """Box of full side lengths around the origin; edges along z rounded by `corner_m`, the others by `bevel_m`."""
    outline = rounded_rectangle(size_m[0] / 2, size_m[1] / 2, corner_m, steps)
    return rounded_prism(outline, -size_m[2] / 2, size_m[2] / 2, bevel_m, bevel_steps)


def rounded_rectangle(half_x_m: float, half_y_m: float, corner_m: float, steps: int = 3) -> FloatArray:
    """(4 (steps + 1), 2) counter-clockwise outline of a rectangle with rounded corners."""
    turn = np.concatenate([quarter * math.pi / 2 + np.linspace(0, math.pi / 2, steps + 1) for quarter in range(4)])
    sign = np.repeat([(1, 1), (-1, 1), (-1, -1), (1, -1)], steps + 1, axis=0)
    core = np.array([half_x_m - corner_m, half_y_m - corner_m])
    return sign * core + corner_m * np.stack([np.cos(turn), np.sin(turn)], axis=-1)


def circle(sides: int) -> FloatArray:
    """(sides, 2) counter-clockwise unit circle."""
    angle = np.arange(sides) * 2 * math.pi / sides
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


@dataclasses.dataclass(frozen=True)
class Section:
    """Cross-section of a tube: centre and half widths along the tube's two transverse axes u and v, m."""

    centre_m: tuple[float, float]
    half_m: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Tube:
    """A tube along a straight main axis whose cross-section moves smoothly from one ellipse to another.

    Attributes:
        direction: main axis; distances along it are counted from the frame's origin.
        transverse: the axis u; v is direction x u.
        start, end: sections at both ends.
        length_m: distance of the end; the start is at 0.
        blend_u_m, blend_v_m: distances between which the section changes along u and along v.
        bevel_m: rounding of the far edge.
    """

    direction: Vector3
    transverse: Vector3
    start: Section
    end: Section
    length_m: float
    blend_u_m: tuple[float, float]
    blend_v_m: tuple[float, float]
    bevel_m: float = 0.002

    def mesh(self, stations: int = 9, sides: int = 28) -> trimesh.Trimesh:
        """The tube's surface; most stations lie where the section changes."""
        low, high = min(self.blend_u_m[0], self.blend_v_m[0]), max(self.blend_u_m[1], self.blend_v_m[1])
        distance = np.unique(np.concatenate([[0.0, self.length_m - self.bevel_m], np.linspace(low, high, stations)]))
        distance = distance[distance <= self.length_m - self.bevel_m]
        inset, upward = _rounding(self.bevel_m, _BEVEL_STEPS)
        shrink = np.concatenate([np.zeros(len(distance)), inset[-2::-1]])
        distance = np.concatenate([distance, self.length_m - upward[-2::-1]])
        centre, half = np.empty((len(distance), 2)), np.empty((len(distance), 2))
        for axis, blend in enumerate((self.blend_u_m, self.blend_v_m)):
            weight = np.clip((distance - blend[0]) / (blend[1] - blend[0]), 0.0, 1.0)
            weight = weight * weight * (3.0 - 2.0 * weight)
            centre[:, axis] = self.start.centre_m[axis] + weight * (self.end.centre_m[axis] - self.start.centre_m[axis])
            half[:, axis] = self.start.half_m[axis] + weight * (self.end.half_m[axis] - self.start.half_m[axis]) - shrink
        across = centre[:, None] + half[:, None] * circle(sides)[None]  # (K, S, 2)
        w, u = np.asarray(self.direction), np.asarray(self.transverse)
        return loft(distance[:, None, None] * w + across[..., :1] * u + across[..., 1:] * np.cross(w, u))


def _rounding(bevel_m: float, steps: int) -> tuple[FloatArray, FloatArray]:
    """Inset and height (steps + 1,) of the points of a rounded edge, from the end face to the wall."""
    turn = np.linspace(0.0, math.pi / 2, steps + 1)
    return bevel_m * (1.0 - np.sin(turn)), bevel_m * (1.0 - np.cos(turn))


def _constant(height: FloatArray, sides: int) -> FloatArray:
    return np.repeat(height[:, None, None], sides, axis=1)
