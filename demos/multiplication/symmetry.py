"""Turns about the vertical after which an object is as before: the hand may then take it from another side."""

from __future__ import annotations

from typing import Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from dexvid_envs.simulation import Simulation

FloatArray = NDArray[np.float64]
#: Any turn ("round"), half a turn, or none leaves the collision geometry as it is.
Symmetry = Literal["round", "half turn", "none"]
_SAME_M = 0.001
_UPRIGHT = 0.999
_HALF_TURN = np.array([-1.0, -1.0, 1.0])  # of points, about the z axis


def symmetry_of(simulation: Simulation, body: int) -> Symmetry:
    """The symmetry of a body of the first simulation about its own z axis."""
    names = ("geom_type", "geom_pos", "geom_quat", "geom_size", "geom_contype", "geom_conaffinity")
    types, positions, quats, sizes, contype, conaffinity = (simulation.model_values(name, 0) for name in names)
    kinds: set[Symmetry] = {"round"}
    for geom in np.flatnonzero((simulation.model.geom_bodyid == body) & ((contype > 0) | (conaffinity > 0))):
        frame = np.zeros(9)
        mujoco.mju_quat2Mat(frame, quats[geom])
        centred = bool(np.linalg.norm(positions[geom, :2]) <= _SAME_M)
        kind, upright = types[geom], abs(frame[8]) > _UPRIGHT
        if centred and (kind == mujoco.mjtGeom.mjGEOM_SPHERE or (kind == mujoco.mjtGeom.mjGEOM_CYLINDER and upright)):
            continue
        corners = _corners(simulation.model, int(geom), kind, sizes[geom]) @ frame.reshape(3, 3).T + positions[geom]
        off, _ = KDTree(corners).query(corners * _HALF_TURN)
        kinds.add("half turn" if len(corners) and off.max() <= _SAME_M else "none")
    return "none" if "none" in kinds else "half turn" if "half turn" in kinds else "round"


def _corners(model: mujoco.MjModel, geom: int, kind: Any, size: FloatArray) -> FloatArray:
    """(V, 3) m points in the geom's frame that stand for its shape: of a mesh its corners, else those of its box."""
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = int(model.geom_dataid[geom])
        begin, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        return np.array(model.mesh_vert[begin : begin + count], dtype=np.float64)
    half = {
        mujoco.mjtGeom.mjGEOM_SPHERE: size[[0, 0, 0]],
        mujoco.mjtGeom.mjGEOM_CAPSULE: np.array([size[0], size[0], size[0] + size[1]]),
        mujoco.mjtGeom.mjGEOM_CYLINDER: size[[0, 0, 1]],
    }.get(kind, size)
    signs = np.stack(np.meshgrid(*[(-1.0, 1.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return signs * half


def turned_alike(symmetry: Symmetry, rotation: FloatArray, like: FloatArray, farther: NDArray[np.bool_]) -> FloatArray:
    """Rotations (N, 3, 3) of objects in the world, each turned about its own z axis as far as it looks the same.

    Args:
        symmetry: of the object.
        rotation: (N, 3, 3) as the objects stand.
        like: (3, 3) what they are brought near to.
        farther: (N,) those that half a turn brings away from it instead, to be taken from the other side.
    """
    if symmetry == "round":
        return np.tile(like, (len(rotation), 1, 1))
    if symmetry == "none":
        return rotation
    nearness = np.einsum("nij,ij->n", rotation[..., :2], like[:, :2])  # of both horizontal axes
    turned = (nearness < 0) ^ farther
    return np.where(turned[:, None, None], rotation * _HALF_TURN, rotation)
