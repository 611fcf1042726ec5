"""What is seen of the bucket: an enamelled shell with hoops and a rolled rim, and a wire handle that hangs at its side.

Frames and outlines are those of `robots.bucket.Bucket`; the round shell lies within a few millimetres of its flat walls.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mujoco
import numpy as np
import trimesh

from robots.shapes import Finish, X, add_mesh, circle, drum, joined, loft, placed, revolve

if TYPE_CHECKING:
    from robots.bucket import Bucket

_ENAMEL = Finish("bucket_enamel", (0.20, 0.42, 0.52, 1.0), specular=0.5, shininess=0.6)
_INSIDE = Finish("bucket_inside", (0.86, 0.87, 0.85, 1.0), specular=0.3, shininess=0.4)
_WIRE = Finish("bucket_wire", (0.42, 0.43, 0.45, 1.0), specular=0.8, shininess=0.7)
_GRIP = Finish("bucket_grip", (0.60, 0.42, 0.27, 1.0), specular=0.15, shininess=0.3)

_SIDES = 48
_WIRE_RADIUS_M = 0.0028
_PIVOT_BELOW_RIM_M = 0.022


def add_bucket_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody, bucket: Bucket) -> None:
    """Adds what is seen of the bucket to its body."""
    add_mesh(spec, body, "bucket_shell", joined(_shell(bucket)), _ENAMEL)
    add_mesh(spec, body, "bucket_lining", joined(_lining(bucket)), _INSIDE)
    wire, grip = _wire_handle(bucket)
    add_mesh(spec, body, "bucket_handle", wire, _WIRE)
    add_mesh(spec, body, "bucket_grip", grip, _GRIP)


def _shell(bucket: Bucket) -> trimesh.Trimesh:
    """Outside and rim, open where the lining begins."""
    height, wall = bucket.height_m, bucket.wall_m
    profile = [(bucket.floor_radius_m + wall - 0.003, 0.0), (bucket.floor_radius_m + wall, 0.003)]
    for hoop in (0.12 * height, 0.74 * height):
        profile += [(bucket.radius_m(z) + wall + bulge, z) for z, bulge in _hoop(hoop)]
    rim = bucket.rim_radius_m + wall
    turn = np.linspace(-math.pi / 2, math.pi, 10)
    profile += [(rim + 0.006 * math.cos(a), height - 0.006 + 0.006 * math.sin(a)) for a in turn]
    profile.append((bucket.radius_m(height - 0.012) + 0.001, height - 0.012))
    return _without_fan(revolve(profile, _SIDES), last=True)


def _hoop(middle_m: float) -> list[tuple[float, float]]:
    """Height and bulge of the points of a bead around the shell."""
    return [(middle_m + 0.006 * t, 0.003 * math.cos(math.pi / 2 * t) ** 2) for t in np.linspace(-1.0, 1.0, 7)]


def _lining(bucket: Bucket) -> trimesh.Trimesh:
    """Wall and floor seen from above: a surface open at the rim, with its outside turned inwards."""
    top, bottom = bucket.height_m - 0.006, bucket.floor_m
    levels = [(bucket.rim_radius_m + 0.0005, top), (bucket.radius_m(bottom), bottom + 0.006)]
    levels += [(bucket.radius_m(bottom) - 0.006, bottom), (0.5 * bucket.floor_radius_m, bottom)]
    return _without_fan(revolve(levels, _SIDES), last=False)


def _without_fan(surface: trimesh.Trimesh, *, last: bool) -> trimesh.Trimesh:
    """The surface of revolution without the cap of its last or first ring, whose centres are the last two vertices."""
    centre = len(surface.vertices) - (1 if last else 2)
    return trimesh.Trimesh(surface.vertices, surface.faces[(surface.faces != centre).all(axis=1)], process=False)


def _wire_handle(bucket: Bucket) -> tuple[trimesh.Trimesh, trimesh.Trimesh]:
    """Wire bail on two ears, resting against the outside at -y, and its grip."""
    pivot = bucket.height_m - _PIVOT_BELOW_RIM_M
    reach = bucket.rim_radius_m + bucket.wall_m + 0.012
    drop = math.radians(24.0)
    turn = np.linspace(0.0, math.pi, 33)
    outward, down = reach * np.sin(turn) * math.cos(drop), reach * np.sin(turn) * math.sin(drop)
    path = np.stack([reach * np.cos(turn), -outward, pivot - down], axis=-1)  # (K, 3)
    ears = [
        placed(drum(0.011, -0.008, 0.004, 0.002, sides=20), (side * (reach - 0.002), 0.0, pivot), (side * X[0], 0.0, 0.0))
        for side in (-1.0, 1.0)
    ]
    return joined(_rope(path, _WIRE_RADIUS_M), *ears), joined(_rope(path[13:20], 0.0085))


def _rope(path_m: np.ndarray, radius_m: float, sides: int = 14) -> trimesh.Trimesh:
    """Round tube along a planar arc (K, 3)."""
    along = np.gradient(path_m, axis=0)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    normal = np.cross(along[0], along[-1])
    if np.linalg.norm(normal) < 1e-6:  # both ends of a half circle are parallel
        normal = np.cross(along[0], along[len(along) // 2])
    v = normal / np.linalg.norm(normal)
    u = np.cross(v, along)  # (K, 3); u x v = along
    ring = radius_m * circle(sides)
    return loft(path_m[:, None] + ring[None, :, :1] * u[:, None] + ring[None, :, 1:] * v)
