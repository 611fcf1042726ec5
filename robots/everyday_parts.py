"""What an everyday object consists of: convex collision parts, what is seen of it, and points spread over what is seen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import trimesh
from numpy.typing import ArrayLike
from scipy.spatial import ConvexHull

from robots.everyday_surface import spread_points
from robots.shapes import Finish, FloatArray, Vector3, Z

Kind = Literal["box", "cylinder", "sphere", "capsule", "mesh"]
_ORIGIN: Vector3 = (0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One convex piece of the collision geometry; `box`, `cylinder`, `sphere`, `capsule` and `hull` make one.

    Attributes:
        kind: geometric primitive, or a convex mesh.
        size_m: (3,) MuJoCo's geom size (half extents, radii); zeros for a mesh.
        position_m: the part's frame in the object's.
        quat_wxyz: the part's frame in the object's.
        vertices_m: (V, 3) corners of a mesh in the part's frame; (0, 3) for a primitive.
        density: relative to that of the object's other parts.
    """

    kind: Kind
    size_m: Vector3
    position_m: Vector3 = _ORIGIN
    quat_wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    vertices_m: FloatArray = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    density: float = 1.0

    @classmethod
    def box(cls, size_m: Vector3, position_m: Vector3 = _ORIGIN) -> Part:
        """A box of full side lengths."""
        return cls("box", (size_m[0] / 2, size_m[1] / 2, size_m[2] / 2), position_m)

    @classmethod
    def cylinder(cls, radius_m: float, height_m: float, position_m: Vector3 = _ORIGIN, axis: Vector3 = Z) -> Part:
        """A cylinder around `axis` with its middle at `position_m`."""
        return cls("cylinder", (radius_m, height_m / 2, 0.0), position_m, _quat_from_z_to(axis))

    @classmethod
    def sphere(cls, radius_m: float, position_m: Vector3 = _ORIGIN) -> Part:
        """A sphere."""
        return cls("sphere", (radius_m, 0.0, 0.0), position_m)

    @classmethod
    def capsule(cls, start_m: Vector3, end_m: Vector3, radius_m: float) -> Part:
        """A capsule between the centres of its two end spheres."""
        start, end = np.array(start_m), np.array(end_m)
        half_length = float(np.linalg.norm(end - start)) / 2
        return cls("capsule", (radius_m, half_length, 0.0), vector3((start + end) / 2), _quat_from_z_to(vector3(end - start)))

    @classmethod
    def hull(cls, points_m: ArrayLike) -> Part:
        """The convex hull of points (V, 3) in the object's frame."""
        points = np.asarray(points_m, dtype=np.float64).reshape(-1, 3)
        return cls("mesh", _ORIGIN, vertices_m=points[ConvexHull(points).vertices])

    @property
    def volume_m3(self) -> float:
        """Volume."""
        x, y, z = self.size_m
        match self.kind:
            case "box":
                return 8 * x * y * z
            case "cylinder":
                return 2 * math.pi * x * x * y
            case "sphere":
                return 4 / 3 * math.pi * x**3
            case "capsule":
                return 2 * math.pi * x * x * y + 4 / 3 * math.pi * x**3
            case "mesh":
                return float(ConvexHull(self.vertices_m).volume)

    def moved(self, offset_m: ArrayLike) -> Part:
        """A copy moved by (3,) m in the object's frame."""
        return dataclasses.replace(self, position_m=vector3(np.add(self.position_m, offset_m)))

    def scaled(self, factor: float) -> Part:
        """A copy scaled around the origin of the object's frame."""
        return dataclasses.replace(
            self,
            size_m=vector3(np.multiply(self.size_m, factor)),
            position_m=vector3(np.multiply(self.position_m, factor)),
            vertices_m=self.vertices_m * factor,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Visual:
    """One surface that is seen.

    Attributes:
        name: unique within the object.
        mesh: in the object's frame, m; its normals are shaded smoothly (`robots.shapes.joined`).
        finish: colour and gloss; equal names mean equal finishes, so the name carries the object's.
    """

    name: str
    mesh: trimesh.Trimesh
    finish: Finish


@dataclasses.dataclass(frozen=True, eq=False)
class EverydayObject:
    """An object for the hand. Its frame has the origin in the middle of the box around the resting object, z up.

    Attributes:
        name: of the object.
        mass_kg: spread over the parts by volume and relative density.
        extents_m: (3,) full extents of that box; the object rests with its origin at half the height.
        parts: collision geometry.
        visuals: what is seen, inner surfaces first (a clear surface shows only what was drawn before it).
    """

    name: str
    mass_kg: float
    extents_m: Vector3
    parts: tuple[Part, ...]
    visuals: tuple[Visual, ...]
    _points: dict[int, FloatArray] = dataclasses.field(default_factory=dict, init=False, repr=False)

    @property
    def resting_height_m(self) -> float:
        """Height of the origin above the table at rest."""
        return self.extents_m[2] / 2

    def part_masses_kg(self) -> FloatArray:
        """(P,) mass of each part."""
        weight = np.array([part.volume_m3 * part.density for part in self.parts])
        return self.mass_kg * weight / weight.sum()

    def moved(self, offset_m: ArrayLike) -> EverydayObject:
        """The same object described in a frame that is `-offset_m` (3,) away."""
        visuals = [dataclasses.replace(v, mesh=v.mesh.copy().apply_translation(np.asarray(offset_m))) for v in self.visuals]
        return dataclasses.replace(self, parts=tuple(part.moved(offset_m) for part in self.parts), visuals=tuple(visuals))

    def scaled(self, factor: float, mass_factor: float = 1.0, name: str | None = None) -> EverydayObject:
        """A copy of another size and, independently, another mass; it keeps the name unless it is given one."""
        visuals = [dataclasses.replace(v, mesh=v.mesh.copy().apply_scale(factor)) for v in self.visuals]
        return dataclasses.replace(
            self,
            name=name or self.name,
            mass_kg=self.mass_kg * mass_factor,
            extents_m=vector3(np.multiply(self.extents_m, factor)),
            parts=tuple(part.scaled(factor) for part in self.parts),
            visuals=tuple(visuals),
        )

    def surface_points(self, count: int) -> FloatArray:
        """(count, 3) m points spread evenly over what can be seen from outside, always the same; read-only and kept."""
        if count not in self._points:
            points = spread_points([visual.mesh for visual in self.visuals], count)
            points.setflags(write=False)
            self._points[count] = points
        return self._points[count]


def resting(
    name: str,
    mass_kg: float,
    extents_m: Vector3,
    parts: Sequence[Part],
    visuals: Sequence[Visual],
    centre_m: Vector3 | None = None,
) -> EverydayObject:
    """An object drawn with the table at z = 0 and, unless `centre_m` says otherwise, the z axis through its middle."""
    centre = (0.0, 0.0, extents_m[2] / 2) if centre_m is None else centre_m
    return EverydayObject(name, mass_kg, extents_m, tuple(parts), tuple(visuals)).moved(np.negative(centre))


def vector3(values: ArrayLike) -> Vector3:
    """Three numbers (3,) as a tuple."""
    x, y, z = (float(value) for value in np.asarray(values))
    return (x, y, z)


def _quat_from_z_to(axis: Vector3) -> tuple[float, float, float, float]:
    """wxyz of the shortest turn from z to `axis`."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    if z < -1.0 + 1e-12:
        return (0.0, 1.0, 0.0, 0.0)
    half = math.sqrt((1.0 + z) / 2)
    return (half, float(-y) / (2 * half), float(x) / (2 * half), 0.0)
