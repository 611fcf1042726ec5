"""Points on the surfaces of bottles, for tests."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from robots.objects import BottleShape


def bottle_surface_points(shape: BottleShape, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, 3) m points on the bottle's surface, in its frame."""
    mesh = _lofted_mesh(shape)
    return np.asarray(trimesh.sample.sample_surface(mesh, count, seed=int(rng.integers(2**31)))[0])


def _lofted_mesh(shape: BottleShape) -> trimesh.Trimesh:
    """The bottle's outer surface as one closed mesh in its frame."""
    body, half = shape.cross_section(), shape.height_m / 2
    angle = np.arctan2(body[:, 1], body[:, 0])
    neck = shape.neck_radius_m * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    rings = [np.column_stack([neck + scale * (body - neck), np.full(len(body), z - half)]) for z, scale in shape.profile()]
    rings.append(np.column_stack([neck, np.full(len(neck), half)]))
    sides = len(body)
    vertices = np.concatenate([*rings, [[0, 0, -half]], [[0, 0, half]]])
    faces = []
    for ring in range(len(rings) - 1):
        for side in range(sides):
            a, b = ring * sides + side, ring * sides + (side + 1) % sides
            faces += [(a, b, b + sides), (a, b + sides, a + sides)]
    bottom, top, last = len(vertices) - 2, len(vertices) - 1, (len(rings) - 1) * sides
    for side in range(sides):
        following = (side + 1) % sides
        faces += [(bottom, following, side), (top, last + side, last + following)]
    return trimesh.Trimesh(vertices, faces, process=False)
