"""Points spread evenly over the part of overlapping closed surfaces that can be seen from outside."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import trimesh

from robots.shapes import FloatArray, merged

_CANDIDATES_PER_POINT = 8
#: Rays start this far off the surface, below the thickness of the thinnest label.
_LIFT_M = 5e-5
_DIRECTIONS = 24


def spread_points(meshes: Sequence[trimesh.Trimesh], count: int) -> FloatArray:
    """(count, 3) m points, as far from each other as possible, on what is seen of the meshes together; always the same.

    Raises:
        ValueError: nothing of the meshes can be seen, or `count` is not positive.
    """
    if count < 1 or not meshes:
        raise ValueError(f"cannot spread {count} points over {len(meshes)} surfaces: expected at least one of each")
    surface = merged(meshes)
    sampled = trimesh.sample.sample_surface(surface, _CANDIDATES_PER_POINT * count + 500, seed=0)
    points, faces = np.asarray(sampled[0], dtype=np.float64), np.asarray(sampled[1])
    seen = points[_visible(surface, points, np.asarray(surface.face_normals)[faces])]
    if len(seen) < count:
        raise ValueError(f"only {len(seen)} of {len(points)} sampled points can be seen from outside; are all faces outward?")
    return seen[_farthest_first(seen, count)]


def _visible(surface: trimesh.Trimesh, points: FloatArray, normals: FloatArray) -> np.ndarray:
    """(P,) whether a straight line leads from each point outwards to infinity without touching the surface."""
    spec = mujoco.MjSpec()
    spec.add_mesh(
        name="surface",
        uservert=np.asarray(surface.vertices).ravel(),
        userface=np.asarray(surface.faces).ravel().astype(np.int32),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="surface")
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    directions = _sphere(_DIRECTIONS)
    geom = np.zeros(1, dtype=np.int32)

    def escapes(point: FloatArray, normal: FloatArray) -> bool:
        origin = point + _LIFT_M * normal
        facing = directions @ normal
        # Straight out first: it settles nearly all points; then what leans away from the normal least.
        for direction in (normal, *directions[np.argsort(-facing)][: _DIRECTIONS // 2]):
            if mujoco.mj_ray(model, data, origin, direction, None, 1, -1, geom) < 0:
                return True
        return False

    return np.array([escapes(point, normal) for point, normal in zip(points, normals, strict=True)])


def _sphere(count: int) -> FloatArray:
    """(count, 3) unit vectors spread over the sphere on a spiral."""
    height = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    turn = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0))
    across = np.sqrt(1.0 - height * height)
    return np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=-1)


def _farthest_first(points: FloatArray, count: int) -> np.ndarray:
    """(count,) indices, each of the point farthest from all before it; the first is the one farthest from the middle."""
    chosen = np.empty(count, dtype=np.int64)
    distance = np.full(len(points), np.inf)
    chosen[0] = np.argmax(((points - points.mean(axis=0)) ** 2).sum(axis=-1))
    for index in range(1, count):
        distance = np.minimum(distance, ((points - points[chosen[index - 1]]) ** 2).sum(axis=-1))
        chosen[index] = np.argmax(distance)
    return chosen
