"""Reads surface meshes and brings them into the object frame; sampling of their surface included, placing in a world not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from demos.interaction import FloatArray
from dexvid_envs.errors import InputFileError


def load_mesh(path: Path) -> trimesh.Trimesh:
    """Reads a surface, m; `.msh` is MuJoCo's legacy binary format (4 counts, then vertices, normals, texture, faces)."""
    try:
        if path.suffix != ".msh":
            mesh = trimesh.load(path, force="mesh")
        else:
            content = path.read_bytes()
            vertices, normals, texture, faces = (int(n) for n in np.frombuffer(content, "<i4", 4))
            if len(content) != 16 + 4 * (3 * vertices + 3 * normals + 2 * texture + 3 * faces):
                raise ValueError(f"{len(content)} bytes do not fit the counts in its head")
            points = np.frombuffer(content, "<f4", 3 * vertices, 16).reshape(-1, 3)
            corners = np.frombuffer(content, "<i4", 3 * faces, len(content) - 12 * faces).reshape(-1, 3)
            if corners.min() < 0 or corners.max() >= vertices:
                raise ValueError("a face names a vertex that is not there")
            mesh = trimesh.Trimesh(points.astype(np.float64), corners, process=False)
        if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0 or not np.isfinite(mesh.vertices).all():
            raise ValueError("no triangles in it")
    except Exception as error:  # trimesh's readers raise almost every builtin error on damaged files
        raise InputFileError(f"cannot read the mesh {path} ({error}); expected a triangle mesh in metres") from error
    if not 0.005 < float(mesh.extents.max()) < 2.0:
        raise InputFileError(
            f"the mesh {path} is {float(mesh.extents.max()):.3g} m large; expected a hand-sized object in metres"
        )
    return mesh


def centred(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, FloatArray]:
    """The mesh in the object frame, and `T_mesh_object`."""
    T_mesh_object = np.eye(4)
    T_mesh_object[:3, 3] = mesh.bounds.mean(axis=0)
    if mesh.extents[1] > mesh.extents[0]:
        T_mesh_object[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    centred = mesh.copy()
    centred.apply_transform(np.linalg.inv(T_mesh_object))
    return centred, T_mesh_object


def sample_surface(mesh: trimesh.Trimesh, count: int, seed: int) -> FloatArray:
    """Points (count, 3) m spread evenly over the area of the mesh."""
    rng = np.random.default_rng(seed)
    triangles = mesh.triangles[rng.choice(len(mesh.faces), size=count, p=mesh.area_faces / mesh.area)]
    a, b = rng.random((2, count, 1))
    flip = a + b > 1
    a, b = np.where(flip, 1 - a, a), np.where(flip, 1 - b, b)
    return triangles[:, 0] + a * (triangles[:, 1] - triangles[:, 0]) + b * (triangles[:, 2] - triangles[:, 0])
