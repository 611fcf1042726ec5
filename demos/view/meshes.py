"""The visible geometry of a MuJoCo model as meshes in their bodies' frames, for scenes that are not drawn by MuJoCo."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
import trimesh
from numpy.typing import NDArray

from robots.collision import COLLISION_GROUP

FloatArray = NDArray[np.float64]
_Shape = mujoco.mjtGeom
_NO_COLOUR = (0.5, 0.5, 0.5, 1.0)  # MuJoCo's default


@dataclasses.dataclass(frozen=True)
class BodyMesh:
    """All pieces of a body that have one colour.

    Attributes:
        name: of the body, with a number.
        body: its id.
        vertices: (V, 3) m in the body's frame.
        faces: (F, 3).
        rgba: colour in [0, 1].
    """

    name: str
    body: int
    vertices: FloatArray
    faces: NDArray[np.int64]
    rgba: tuple[float, float, float, float]


def body_meshes(model: mujoco.MjModel) -> list[BodyMesh]:
    """Meshes of everything that is shown, planes (the floor) left out."""
    pieces: dict[tuple[int, tuple[float, ...]], list[tuple[FloatArray, NDArray[np.int64]]]] = {}
    for geom in range(model.ngeom):
        rgba = _rgba(model, geom)
        if model.geom_group[geom] >= COLLISION_GROUP or rgba[3] <= 0.0:
            continue
        mesh = _geom_mesh(model, geom)
        if mesh is None:
            continue
        turn = np.empty(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
        vertices = mesh[0] @ turn.reshape(3, 3).T + model.geom_pos[geom]
        pieces.setdefault((int(model.geom_bodyid[geom]), rgba), []).append((vertices, mesh[1]))
    meshes = []
    for number, ((body, rgba), parts) in enumerate(pieces.items()):
        starts = np.cumsum([0, *(len(vertices) for vertices, _ in parts[:-1])])
        meshes.append(
            BodyMesh(
                name=f"{model.body(body).name or 'world'}_{number}",
                body=body,
                vertices=np.concatenate([vertices for vertices, _ in parts]),
                faces=np.concatenate([faces + start for (_, faces), start in zip(parts, starts, strict=True)]),
                rgba=(rgba[0], rgba[1], rgba[2], rgba[3]),
            )
        )
    return meshes


def _rgba(model: mujoco.MjModel, geom: int) -> tuple[float, ...]:
    """A geom's own colour, or that of its material where it has none of its own; a texture counts with its mean."""
    material = int(model.geom_matid[geom])
    rgba = model.geom_rgba[geom].astype(np.float64)
    if material >= 0 and np.allclose(rgba, _NO_COLOUR):
        rgba = model.mat_rgba[material].astype(np.float64)
    texture = int(model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB]) if material >= 0 else -1
    if texture >= 0 and model.tex_nchannel[texture] >= 3:
        channels, start = int(model.tex_nchannel[texture]), int(model.tex_adr[texture])
        size = int(model.tex_width[texture] * model.tex_height[texture]) * channels
        rgba[:3] *= model.tex_data[start : start + size].reshape(-1, channels)[:, :3].mean(axis=0) / 255.0
    return tuple(round(float(value), 4) for value in rgba)


def _geom_mesh(model: mujoco.MjModel, geom: int) -> tuple[FloatArray, NDArray[np.int64]] | None:
    """Vertices (V, 3) m and faces (F, 3) in the geom's frame; None for a plane."""
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == _Shape.mjGEOM_MESH:
        number = int(model.geom_dataid[geom])
        vertex, face = int(model.mesh_vertadr[number]), int(model.mesh_faceadr[number])
        vertices = model.mesh_vert[vertex : vertex + int(model.mesh_vertnum[number])]
        return vertices.astype(np.float64), model.mesh_face[face : face + int(model.mesh_facenum[number])].astype(np.int64)
    if kind == _Shape.mjGEOM_BOX:
        mesh = trimesh.creation.box(extents=2.0 * size)
    elif kind == _Shape.mjGEOM_SPHERE:
        mesh = trimesh.creation.icosphere(subdivisions=3, radius=float(size[0]))
    elif kind == _Shape.mjGEOM_ELLIPSOID:
        mesh = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
        mesh.apply_scale(size)
    elif kind == _Shape.mjGEOM_CYLINDER:
        mesh = trimesh.creation.cylinder(radius=float(size[0]), height=2.0 * float(size[1]), sections=32)
    elif kind == _Shape.mjGEOM_CAPSULE:
        mesh = trimesh.creation.capsule(radius=float(size[0]), height=2.0 * float(size[1]), count=[24, 24])
        mesh.apply_translation(-mesh.bounds.mean(axis=0))
    else:
        return None
    return np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
