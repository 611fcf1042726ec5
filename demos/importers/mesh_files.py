"""Reads surface meshes and point files, and brings meshes into the object frame; placing them in a world is left to others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from demos.interaction import FloatArray
from dexvid_envs.errors import InputFileError

#: A point file above this is refused; a million points in text have about 60 MB.
_MAX_OBJ_BYTES = 64 * 2**20


def load_mesh(path: Path) -> trimesh.Trimesh:
    """Reads a surface, m; `.msh` is MuJoCo's legacy binary format (4 counts, then vertices, normals, texture, faces).

    Raises:
        InputFileError: it cannot be read, or is of no size for a hand.
    """
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
    """The mesh in the object frame, and `T_mesh_object` (4, 4): origin in the middle, x along the wider horizontal side."""
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


def load_vertices(path: Path, count: int | None = None) -> FloatArray:
    """The vertices (N, 3) of an `.obj`, as they stand; faces, colours and everything else in it are passed over.

    Args:
        path: the file.
        count: how many there have to be; None takes any number but 0.

    Raises:
        InputFileError: the file is missing, too large, or holds no such vertices.
    """
    if not path.is_file():
        raise InputFileError(f"no file {path}: expected an .obj with vertices")
    if path.stat().st_size > _MAX_OBJ_BYTES:
        raise InputFileError(f"{path} has {path.stat().st_size} bytes, more than the {_MAX_OBJ_BYTES} that are read")
    rows = [line.split()[1:4] for line in path.read_bytes().splitlines() if line.startswith((b"v ", b"v\t"))]
    try:
        vertices = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    except ValueError as error:
        raise InputFileError(f"{path} has a vertex that is not three numbers ({error}); write the file again") from error
    if len(vertices) == 0 or not np.isfinite(vertices).all() or count not in (None, len(vertices)):
        wanted = "at least one" if count is None else str(count)
        raise InputFileError(f"{path} holds {len(vertices)} vertices, expected {wanted}, all finite; write the file again")
    return vertices
