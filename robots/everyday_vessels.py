"""Hollow everyday objects with real cavities: mug, bowl and pitcher, drawn as they stand on the table."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import trimesh

from robots.everyday_parts import EverydayObject, Part, Visual, resting, vector3
from robots.everyday_visuals import hoop, swept
from robots.shapes import Finish, FloatArray, Y, joined, revolve

Profile = list[tuple[float, float]]  # (radius m, height m) of a surface of revolution
_ARC_POINTS = 5
_LINER_SIDES = 36


def mug() -> EverydayObject:
    """A teal mug, cream inside. Diameter and height are published; wall and handle are our estimate."""
    radius, height, wall, floor = 0.040, 0.082, 0.004, 0.007
    handle = _Handle(((radius - 0.0015, 0.066), (0.082, 0.067), (0.080, 0.012), (radius - 0.0015, 0.021)), 0.0065, 0.0042)
    outside = [(radius - 0.004, 0.0), (radius - 0.001, 0.001), (radius, 0.004), (radius, height - 0.0015)]
    outside += [(radius - 0.0006, height - 0.0003), (radius - 0.002, height), (radius - wall + 0.0006, height - 0.0003)]
    inside = [(radius - wall, height - 0.0015), (radius - wall, floor + 0.006), (radius - wall - 0.005, floor + 0.0005)]
    ring = [(radius - 0.002, 0.0130), (radius, 0.0134), (radius, 0.0166), (radius - 0.002, 0.0170)]
    glaze, cream = (
        Finish("mug_glaze", (0.13, 0.42, 0.42, 1.0), 0.7, 0.75),
        Finish("mug_cream", (0.96, 0.92, 0.83, 1.0), 0.5, 0.6),
    )
    body = [(r - 0.0003, z) for r, z in outside] + inside
    visuals = [
        Visual("body", joined(revolve(body, 48), handle.mesh()), glaze),
        Visual("inside", _liner(inside), cream),
        Visual("ring", joined(hoop(ring)), cream),
    ]
    parts = [
        Part.cylinder(radius, floor, (0.0, 0.0, floor / 2)),
        *wall_parts([(radius, floor), (radius, height)], [(radius - wall, floor), (radius - wall, height)], 6),
        *handle.parts(),
    ]
    return _with_handle("mug", 0.118, radius, height, handle, parts, visuals)


def pitcher_base() -> EverydayObject:
    """A blue jug without its lid. Diameter and height are published; wall and handle are our estimate."""
    radius, height, wall, floor = 0.054, 0.235, 0.003, 0.008
    bottom = 0.046
    handle = _Handle(((radius - 0.004, 0.200), (0.103, 0.214), (0.106, 0.060), (bottom + 0.002, 0.058)), 0.0100, 0.0060)
    outside = [(bottom - 0.004, 0.0), (bottom - 0.001, 0.001), (bottom, 0.004), (radius - 0.002, height - 0.022)]
    outside += [(radius - 0.002, height - 0.014), (radius, height - 0.012), (radius, height - 0.001), (radius - 0.001, height)]
    inside = [(radius - wall, height), (radius - wall, height - 0.012), (bottom - wall, floor + 0.006), (bottom - 0.009, floor)]
    blue, pale = (
        Finish("pitcher_blue", (0.13, 0.32, 0.66, 1.0), 0.6, 0.6),
        Finish("pitcher_pale", (0.30, 0.49, 0.78, 1.0), 0.4, 0.5),
    )
    slope = (radius - 0.002 - bottom) / (height - 0.026)
    rings = [
        [(bottom + slope * (z - 0.004) + lift, z) for z, lift in ((low, -0.001), (low, 0.0006), (high, 0.0006), (high, -0.001))]
        for low, high in ((0.020, 0.026), (0.200, 0.203))
    ]
    visuals = [
        Visual("body", joined(revolve(outside + inside, 40), handle.mesh()), blue),
        Visual("rings", joined(*(hoop(ring) for ring in rings)), pale),
        Visual("inside", _liner(inside[1:]), pale),
    ]
    parts = [
        Part.cylinder(bottom, floor, (0.0, 0.0, floor / 2)),
        *wall_parts([(bottom, floor), (radius, height)], [(bottom - wall, floor), (radius - wall, height)], 6),
        *handle.parts(),
    ]
    return _with_handle("pitcher_base", 0.178, radius, height, handle, parts, visuals)


def bowl() -> EverydayObject:
    """A red bowl, white inside. Diameter and height are published; the curve is our estimate."""
    radius, height, foot, wall = 0.0795, 0.053, 0.035, 0.003
    curve = np.linspace(0.0, math.pi / 2, 10)
    outside = [(foot - 0.002, 0.0), (foot, 0.0006), (foot, 0.004)]
    outside += [(foot + (radius - foot) * math.sin(t), 0.004 + (height - 0.0045) * (1 - math.cos(t))) for t in curve[1:]]
    inside = [(radius - wall, height - 0.0005)]
    inside += [(r - wall, z + wall) for r, z in outside[-3:2:-1]] + [(foot - wall, 0.004 + wall)]
    rim = [(radius - 0.0008, height), (radius - wall + 0.0008, height)]
    red, white = Finish("bowl_red", (0.72, 0.09, 0.10, 1.0), 0.6, 0.7), Finish("bowl_white", (0.94, 0.93, 0.90, 1.0), 0.5, 0.6)
    visuals = [
        Visual("body", joined(revolve(outside + rim + inside, 36)), red),
        Visual("inside", _liner(inside), white),
    ]
    levels = [outside[index] for index in (3, 6, 9, -1)]
    parts = [
        Part.cylinder(foot, 0.007, (0.0, 0.0, 0.0035)),
        *wall_parts([(foot, 0.004), *levels], [(foot - 0.004, 0.007), (radius - wall, height)], 8),
    ]
    return resting("bowl", 0.147, (2 * radius, 2 * radius, height), parts, visuals)


def wall_parts(outside: Profile, inside: Profile, count: int) -> list[Part]:
    """Convex sectors of a wall around z: the hulls of the outer arcs and, inside, of the corners alone."""
    parts = []
    for sector in range(count):
        turn = 2 * math.pi / count * (sector + np.linspace(0.0, 1.0, _ARC_POINTS))
        points = [_around(r, z, turn) for r, z in outside] + [_around(r, z, turn[[0, -1]]) for r, z in inside]
        parts.append(Part.hull(np.concatenate(points)))
    return parts


@dataclasses.dataclass(frozen=True)
class _Handle:
    """A handle in the plane y = 0: a Bezier curve with four corners (x, z) m and an oval cross-section."""

    corners_m: tuple[tuple[float, float], ...]
    half_width_m: float
    half_thickness_m: float

    def path(self, count: int) -> FloatArray:
        """(count, 3) m points from the upper to the lower end."""
        t = np.linspace(0.0, 1.0, count)[:, None]
        weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3], axis=-1)
        x, z = np.einsum("nk,kc->cn", weights, np.array(self.corners_m))
        return np.stack([x, np.zeros(count), z], axis=-1)

    def reach_m(self) -> float:
        """Distance of the outermost point from the z axis."""
        return float(self.path(201)[:, 0].max()) + self.half_thickness_m

    def mesh(self) -> trimesh.Trimesh:
        """What is seen of it."""
        path = self.path(25)
        return swept(path, np.tile([self.half_width_m, self.half_thickness_m], (len(path), 1)), Y)

    def parts(self) -> list[Part]:
        """Three capsules."""
        path = self.path(101)[[0, 26, 74, 100]]
        path[1:3, 0] += 0.17 * (path[1:3, 0] - path[0, 0])  # corners a little outside the bow, so that the sides are on it
        radius = (self.half_width_m + self.half_thickness_m) / 2
        return [Part.capsule(vector3(a), vector3(b), radius) for a, b in itertools.pairwise(path)]


def _with_handle(
    name: str, mass_kg: float, radius_m: float, height_m: float, handle: _Handle, parts: list[Part], visuals: list[Visual]
) -> EverydayObject:
    reach = handle.reach_m()
    extents = (radius_m + reach, 2 * radius_m, height_m)
    return resting(name, mass_kg, extents, parts, visuals, ((reach - radius_m) / 2, 0.0, height_m / 2))


def _liner(inside: Profile) -> trimesh.Trimesh:
    """The inner surface of a vessel in another colour, a hair nearer to the axis, open at the rim."""
    radius, height = np.array(inside).T
    turn = np.linspace(0.0, 2 * math.pi, _LINER_SIDES + 1)
    rows = np.stack([_around(r - 0.0003, z + 0.0003, turn) for r, z in zip(radius, height, strict=True)])
    centre = np.array([[0.0, 0.0, height[-1] + 0.0003]])
    faces = []
    for row in range(len(rows) - 1):
        for side in range(_LINER_SIDES):
            a, b = len(turn) * row + side, len(turn) * row + side + 1
            faces += [(a, b, b + len(turn)), (a, b + len(turn), a + len(turn))]
    last, middle = len(turn) * (len(rows) - 1), len(turn) * len(rows)
    faces += [(last + side, last + side + 1, middle) for side in range(_LINER_SIDES)]
    mesh = trimesh.Trimesh(np.concatenate([rows.reshape(-1, 3), centre]), faces, process=False)
    return joined(mesh)


def _around(radius_m: float, height_m: float, turn_rad: FloatArray) -> FloatArray:
    return np.stack([radius_m * np.cos(turn_rad), radius_m * np.sin(turn_rad), np.full(len(turn_rad), height_m)], axis=-1)
