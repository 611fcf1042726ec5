"""The drawn skin of the human hand: one smooth mesh over its flesh that bends with the bones, finger nails and a sleeve.

The flesh cones of `robots.human_hand` are melted together as a signed distance, meshed once (surface nets) and given to
MuJoCo as a skin with soft weights. It changes nothing but looks.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robots.human_hand import FINGERS, JOINT_NAMES, Cone, HandDimensions, HumanHand, flesh_cones, segment_bodies

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: The skin is made in this slightly bent, spread posture, so that no later posture is far from it.
_BIND_POSTURE_RAD = {
    "thumb_base_abduction": 0.35,
    "thumb_base_roll": 0.35,
    "thumb_proximal_flexion": 0.25,
    "thumb_distal_flexion": 0.25,
    "index_base_abduction": 0.10,
    "ring_base_abduction": -0.06,
    "little_base_abduction": -0.12,
    "base_flexion": 0.35,
    "proximal_flexion": 0.50,
    "distal_flexion": 0.30,
}
_VOXEL_M = 0.0022
#: How far two pieces of flesh melt into each other: along a finger, within the palm, a finger with the palm, the thumb with it.
_MELT_FINGER_M, _MELT_PALM_M, _MELT_ROOT_M, _MELT_THUMB_M = 0.0035, 0.012, 0.009, 0.018
_WEIGHT_SOFTNESS_M = 0.0035
_CREASE_WIDTH_M = 0.0022
ELBOW_BEHIND_WRIST_M = 0.27
Rgb = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class HandLook:
    """Colours of a person's hand and sleeve.

    Attributes:
        back_rgb: skin on the back of the hand.
        palm_rgb: skin of palm and pads.
        nail_rgb: finger nails.
        sleeve_rgb: cloth of the sleeve.
        sleeve_start_m: the sleeve begins this far behind the wrist.
        detail: strength of creases at the joints and of the skin's unevenness, 0 (none) to 1.
    """

    back_rgb: Rgb = (0.80, 0.585, 0.475)
    palm_rgb: Rgb = (0.90, 0.665, 0.575)
    nail_rgb: Rgb = (0.95, 0.765, 0.70)
    sleeve_rgb: Rgb = (0.19, 0.27, 0.40)
    sleeve_start_m: float = 0.095
    detail: float = 0.0


class _Flesh(NamedTuple):
    """Cones in the world frame at the bind posture: starts and ends (C, 3), radii (C, 2), and where they belong."""

    starts: FloatArray
    ends: FloatArray
    radii: FloatArray
    cones: tuple[Cone, ...]


def add_skin(spec: mujoco.MjSpec, dimensions: HandDimensions | None = None, look: HandLook | None = None) -> None:
    """Adds skin, nails and sleeve to a spec made by `robots.human_hand.human_hand_spec` with the same dimensions."""
    dimensions, look = dimensions or HandDimensions(), look or HandLook()
    skin = _make_skin(dimensions, look.sleeve_start_m)
    vertices, weights = skin.vertices, skin.weights
    _add_texture(spec, look)
    toward_palm, shade = skin.toward_palm, np.full(len(vertices), 0.5)
    if look.detail > 0.0:
        toward_palm = np.clip(toward_palm + 0.16 * look.detail * _mottle(vertices), 0.02, 0.98)
        shade = skin.creases
    used = weights > 0.02
    spec.add_skin(
        name="skin",
        material="skin",
        vert=vertices.reshape(-1).tolist(),
        texcoord=np.column_stack([toward_palm, shade]).reshape(-1).tolist(),
        face=skin.faces.reshape(-1).tolist(),
        bodyname=list(skin.bodies),
        bindpos=skin.bindpos.reshape(-1).tolist(),
        bindquat=skin.bindquat.reshape(-1).tolist(),
        vertid=[np.flatnonzero(used[:, bone]).tolist() for bone in range(len(skin.bodies))],
        vertweight=[weights[used[:, bone], bone].tolist() for bone in range(len(skin.bodies))],
    )
    _add_nails(spec, dimensions, look)
    _add_sleeve(spec, dimensions, look)


class _Skin(NamedTuple):
    """A skin at the bind posture: V vertices moved by B bones.

    Attributes:
        vertices: (V, 3) m.
        faces: (F, 3).
        weights: (V, B).
        bodies: B names.
        bindpos: (B, 3) m.
        bindquat: (B, 4) wxyz.
        toward_palm: (V,) as of `_palm_share`.
        creases: (V,) as of `_crease_share`.
    """

    vertices: FloatArray
    faces: IntArray
    weights: FloatArray
    bodies: tuple[str, ...]
    bindpos: FloatArray
    bindquat: FloatArray
    toward_palm: FloatArray
    creases: FloatArray


@functools.lru_cache(maxsize=8)
def _make_skin(dimensions: HandDimensions, sleeve_start_m: float) -> _Skin:
    """The skin of a hand; it takes seconds, so the last ones are kept."""
    hand = HumanHand(dimensions)
    posture = np.array([_BIND_POSTURE_RAD.get(n, _BIND_POSTURE_RAD.get(n.split("_", 1)[1], 0.0)) for n in JOINT_NAMES])
    data = mujoco.MjData(hand.model)
    data.qpos[:] = hand.qpos(np.eye(4), posture)
    mujoco.mj_kinematics(hand.model, data)
    flesh = _flesh_at(dimensions, data)
    vertices, faces = _mesh(flesh, sleeve_start_m)
    weights, bodies = _weights(flesh, vertices)
    return _Skin(
        vertices,
        faces,
        weights,
        tuple(bodies),
        np.array([data.body(name).xpos for name in bodies]),
        np.array([data.body(name).xquat for name in bodies]),
        _palm_share(flesh, vertices, faces, data),
        _crease_share(vertices, data),
    )


def surface_nets(values: FloatArray, origin: FloatArray, spacing_m: float) -> tuple[FloatArray, IntArray]:
    """Meshes the zero level of a (X, Y, Z) grid of signed distances: one vertex per cell that the surface cuts.

    Returns:
        (V, 3) vertices in m and (F, 3) triangles that look out of the negative side. The grid's border has to be positive.
    """
    inside = values < 0.0
    corner_offsets = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T
    count = sum(_shifted(inside, offset).astype(np.int64) for offset in corner_offsets)
    cells = np.argwhere((count > 0) & (count < 8))
    cell_number = np.full(np.array(values.shape) - 1, -1, dtype=np.int64)
    cell_number[tuple(cells.T)] = np.arange(len(cells))
    total, crossings = np.zeros((len(cells), 3)), np.zeros((len(cells), 1))
    for first in corner_offsets:
        for axis in np.flatnonzero(first == 0):
            second = first + np.eye(3, dtype=np.int64)[axis]
            a, b = values[tuple((cells + first).T)], values[tuple((cells + second).T)]
            cut = (a < 0.0) != (b < 0.0)
            share = np.where(cut, a / np.where(cut, a - b, 1.0), 0.0)
            total[cut] += (cells + first + share[:, None] * (second - first))[cut]
            crossings[cut] += 1.0
    return origin + spacing_m * total / crossings, _quads(inside, cell_number)


def _quads(inside: NDArray[np.bool_], cell_number: IntArray) -> IntArray:
    """(F, 3) two triangles for each grid edge that the surface cuts, between the four cells around it."""
    faces = []
    for axis in range(3):
        u, v = np.eye(3, dtype=np.int64)[(axis + 1) % 3], np.eye(3, dtype=np.int64)[(axis + 2) % 3]
        lower, upper = np.moveaxis(inside, axis, 0)[:-1], np.moveaxis(inside, axis, 0)[1:]
        edges = np.argwhere(np.moveaxis(lower != upper, 0, axis))
        around = [cell_number[tuple((edges - shift).T)] for shift in (0 * u, u, u + v, v)]
        leaves = inside[tuple(edges.T)]  # the surface looks along +axis
        a, b, c, d = around
        b, d = np.where(leaves, b, d), np.where(leaves, d, b)
        faces += [np.column_stack([a, b, c]), np.column_stack([a, c, d])]
    return np.concatenate(faces)


def _shifted(grid: NDArray, offset: IntArray) -> NDArray:
    """The corners of all cells at an offset of 0 or 1 along each axis."""
    return grid[tuple(slice(o, n - 1 + o) for o, n in zip(offset, grid.shape, strict=True))]


def _flesh_at(dimensions: HandDimensions, data: mujoco.MjData) -> _Flesh:
    cones = flesh_cones(dimensions)
    placed = [(data.body(c.body).xmat.reshape(3, 3), data.body(c.body).xpos) for c in cones]
    starts = np.array([rotation @ c.start + position for c, (rotation, position) in zip(cones, placed, strict=True)])
    ends = np.array([rotation @ c.end + position for c, (rotation, position) in zip(cones, placed, strict=True)])
    return _Flesh(starts, ends, np.array([(c.start_radius, c.end_radius) for c in cones]), cones)


def _cone_distances(flesh: _Flesh, points: FloatArray) -> FloatArray:
    """(C, ...) distance of (..., 3) points from each cone."""
    distances = np.empty((len(flesh.cones), *points.shape[:-1]))
    for i, (start, end, (first, last)) in enumerate(zip(flesh.starts, flesh.ends, flesh.radii, strict=True)):
        axis = end - start
        share = np.clip((points - start) @ axis / (axis @ axis), 0.0, 1.0)
        distances[i] = np.linalg.norm(points - start - share[..., None] * axis, axis=-1) - (first + share * (last - first))
    return distances


def _melt(first: FloatArray, second: FloatArray, width_m: float) -> FloatArray:
    """The smaller of two distances, with a smooth seam of the given width."""
    overlap = np.maximum(width_m - np.abs(first - second), 0.0) / width_m
    return np.minimum(first, second) - 0.25 * width_m * overlap**2


def _distance(flesh: _Flesh, points: FloatArray) -> FloatArray:
    """(...,) distance from the melted hand: each finger melts with the palm, but not with its neighbours."""
    distances = _cone_distances(flesh, points)
    groups = {name: [i for i, cone in enumerate(flesh.cones) if cone.finger == name] for name in ("palm", "forearm", *FINGERS)}

    def melted(name: str, width_m: float) -> FloatArray:
        result = distances[groups[name][0]]
        for i in groups[name][1:]:
            result = _melt(result, distances[i], width_m)
        return result

    palm = _melt(melted("palm", _MELT_PALM_M), melted("forearm", _MELT_PALM_M), 0.02)
    roots = {finger: _MELT_THUMB_M if finger == "thumb" else _MELT_ROOT_M for finger in FINGERS}
    return np.min([_melt(palm, melted(finger, _MELT_FINGER_M), width) for finger, width in roots.items()], axis=0)


def _mesh(flesh: _Flesh, sleeve_start_m: float) -> tuple[FloatArray, IntArray]:
    """Vertices and faces of the skin from the fingertips to inside the sleeve."""
    margin = flesh.radii.max() + 3.0 * _VOXEL_M
    lower = np.minimum(flesh.starts, flesh.ends).min(axis=0) - margin
    upper = np.maximum(flesh.starts, flesh.ends).max(axis=0) + margin
    lower[2] = -sleeve_start_m - 0.03
    axes = [np.arange(lo, hi, _VOXEL_M) for lo, hi in zip(lower, upper, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = np.stack([_distance(flesh, plane) for plane in grid])
    values[:, :, 0] = np.maximum(values[:, :, 0], _VOXEL_M)  # closes the arm inside the sleeve
    vertices, faces = surface_nets(values, lower, _VOXEL_M)
    step = 2e-4 * np.eye(3)
    for _ in range(2):  # onto the true surface, where the grid's steps no longer show
        gradient = np.stack([_distance(flesh, vertices + s) - _distance(flesh, vertices - s) for s in step], axis=-1) / 4e-4
        moving = (vertices[:, 2] > lower[2] + 3.0 * _VOXEL_M)[:, None]
        length = np.maximum((gradient**2).sum(axis=1, keepdims=True), 0.25)
        vertices = vertices - moving * np.clip(_distance(flesh, vertices)[:, None] / length, -_VOXEL_M, _VOXEL_M) * gradient
    return vertices, faces


def _weights(flesh: _Flesh, vertices: FloatArray) -> tuple[FloatArray, list[str]]:
    """(V, B) share of each bone in moving each vertex, and the B names of the bones."""
    bodies = list(dict.fromkeys(cone.body for cone in flesh.cones))
    distances = _cone_distances(flesh, vertices)
    by_body = np.stack([distances[[c.body == body for c in flesh.cones]].min(axis=0) for body in bodies], axis=1)  # (V, B)
    fingers = np.stack([distances[[c.finger == finger for c in flesh.cones]].min(axis=0) for finger in FINGERS], axis=1)
    nearest = np.argmin(fingers, axis=1)
    for number, finger in enumerate(FINGERS):  # a finger is not drawn along by its neighbour
        columns = [bodies.index(body) for body in segment_bodies(finger)]
        by_body[np.ix_(nearest != number, columns)] = np.inf
    softness = np.where(nearest == 0, 2.0, 1.0)[:, None] * _WEIGHT_SOFTNESS_M
    weights = np.exp(-(by_body - by_body.min(axis=1, keepdims=True)) / softness)
    weights[weights < 0.02 * weights.sum(axis=1, keepdims=True)] = 0.0
    return weights / weights.sum(axis=1, keepdims=True), bodies


def _palm_share(flesh: _Flesh, vertices: FloatArray, faces: IntArray, data: mujoco.MjData) -> FloatArray:
    """(V,) 0 on the back of hand and fingers, 1 on palm and pads."""
    normals = np.zeros_like(vertices)
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for corner in range(3):
        np.add.at(normals, faces[:, corner], face_normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    nearest = np.argmin(_cone_distances(flesh, vertices), axis=0)
    pads = np.array([data.body(cone.body).xmat.reshape(3, 3)[:, 0] for cone in flesh.cones])[nearest]
    return np.clip(0.5 + 0.75 * np.einsum("vi,vi->v", normals, pads), 0.02, 0.98)


def _mottle(vertices: FloatArray) -> FloatArray:
    """(V,) smooth unevenness in about [-1, 1], patches of a few millimetres."""
    waves = np.array([(310.0, 170.0, 240.0), (-220.0, 350.0, 130.0), (140.0, -260.0, 330.0), (700.0, 620.0, -540.0)])
    return np.sin(vertices @ waves.T + np.array([0.3, 1.1, 2.7, 4.0])).mean(axis=1) * 1.6


def _crease_share(vertices: FloatArray, data: mujoco.MjData) -> FloatArray:
    """(V,) 1 in the skin's creases around the finger joints, 0 away from them."""
    share = np.zeros(len(vertices))
    for finger in FINGERS:
        for part, body in enumerate(segment_bodies(finger)):
            if part == 0:
                continue  # the base knuckles lie under the palm's smooth skin
            frame, origin = data.body(body).xmat.reshape(3, 3), data.body(body).xpos
            local = (vertices - origin) @ frame
            near = np.linalg.norm(local, axis=1) < 0.014
            for offset, strength in ((0.0, 1.0), (0.0038, 0.5), (-0.0038, 0.5)):
                line = strength * np.exp(-(((local[:, 2] - offset) / _CREASE_WIDTH_M) ** 2))
                share = np.maximum(share, np.where(near, line, 0.0))
    return np.clip(share, 0.02, 0.98)


def _add_texture(spec: mujoco.MjSpec, look: HandLook) -> None:
    """Skin colours from the back of the hand (left edge) to the palm (right edge); creases are darker and redder."""
    width, height = 64, 16
    share = np.linspace(0.0, 1.0, width)[:, None]
    row = np.array(look.back_rgb) + share * (np.array(look.palm_rgb) - np.array(look.back_rgb))
    crease = np.linspace(0.0, 1.0, height)[:, None, None] * look.detail
    pixels = np.clip(255.0 * row * (1.0 - crease * np.array([0.20, 0.30, 0.32])), 0.0, 255.0).astype(np.uint8)
    texture = spec.add_texture(name="skin", type=mujoco.mjtTexture.mjTEXTURE_2D, width=width, height=height, nchannel=3)
    texture.data = np.ascontiguousarray(pixels).tobytes()
    material = spec.add_material(name="skin", specular=0.25, shininess=0.25)
    material.textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = "skin"


def _add_nails(spec: mujoco.MjSpec, dimensions: HandDimensions, look: HandLook) -> None:
    spec.add_material(name="nail", rgba=[*look.nail_rgb, 1.0], specular=0.6, shininess=0.6)
    for finger, bones, radii in zip(FINGERS, dimensions.phalanges_m, dimensions.radii_m, strict=True):
        length, radius = dimensions.scale * bones[2], dimensions.scale * radii[3]
        spec.body(segment_bodies(finger)[2]).add_geom(
            name=f"{finger}_nail",
            type=mujoco.mjtGeom.mjGEOM_ELLIPSOID,
            pos=[-0.86 * radius, 0.0, 0.80 * length],
            quat=[np.cos(0.06), 0.0, np.sin(0.06), 0.0],
            size=[0.24 * radius, 0.74 * radius, 0.90 * radius],
            material="nail",
            mass=0.0,
            contype=0,
            conaffinity=0,
            group=1,
        )


def _forearm_radius_m(behind_m: FloatArray) -> FloatArray:
    """Radius of the forearm's flesh at distances behind the wrist, of an average person."""
    cones = [cone for cone in flesh_cones(HandDimensions()) if cone.finger == "forearm"][:2]
    ends = sorted(
        {(-z, radius) for cone in cones for z, radius in ((cone.start[2], cone.start_radius), (cone.end[2], cone.end_radius))}
    )
    return np.interp(behind_m, [z for z, _ in ends], [radius for _, radius in ends])


def _add_sleeve(spec: mujoco.MjSpec, dimensions: HandDimensions, look: HandLook) -> None:
    """A knitted sleeve around the forearm, with a cuff and soft folds."""
    spec.add_material(name="sleeve", rgba=[*look.sleeve_rgb, 1.0], specular=0.05, shininess=0.05)
    length, sides = ELBOW_BEHIND_WRIST_M / dimensions.scale, 48
    along = np.concatenate([np.linspace(0.0, 0.012, 6), np.linspace(0.014, length - look.sleeve_start_m, 60)])
    angle = np.linspace(0.0, 2.0 * np.pi, sides, endpoint=False)
    grow = 0.0050 * np.minimum(along / 0.004, 1.0) - 0.0010 * np.exp(-(((along - 0.014) / 0.004) ** 2))
    radius = 0.0255 + grow + 0.055 * np.minimum(along, 0.35)
    if look.sleeve_start_m > HandLook.sleeve_start_m:  # rolled up, over the thicker part of the arm
        radius = np.maximum(radius, (_forearm_radius_m(look.sleeve_start_m + along) + 0.0065) / 0.92)
    phase = 2.0 * np.pi * along[:, None] + 0.05 * np.sin(angle + 8.0 * along[:, None])
    wave = np.sin(phase / 0.061 + 1.4 * np.sin(angle)) + 0.7 * np.sin(phase / 0.037 - 2.1 * np.cos(angle + 0.7))
    folds = 0.0009 * wave * np.clip(along[:, None] / 0.05, 0.0, 1.0)
    ring = radius[:, None] + folds
    points = np.stack(
        [
            0.92 * ring * np.cos(angle),
            1.22 * ring * np.sin(angle),
            np.broadcast_to(-look.sleeve_start_m - along[:, None], ring.shape),
        ],
        axis=-1,
    )
    index = np.arange(len(along) * sides).reshape(len(along), sides)
    a, b = index[:-1], np.roll(index[:-1], -1, axis=1)
    c, d = np.roll(index[1:], -1, axis=1), index[1:]
    faces = np.concatenate([np.stack([a, d, c], axis=-1).reshape(-1, 3), np.stack([a, c, b], axis=-1).reshape(-1, 3)])
    spec.add_mesh(
        name="sleeve",
        uservert=(dimensions.scale * points).reshape(-1).tolist(),
        userface=faces.reshape(-1).tolist(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
    spec.body("forearm").add_geom(
        name="sleeve",
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname="sleeve",
        material="sleeve",
        mass=0.0,
        contype=0,
        conaffinity=0,
        group=1,
    )
