"""Building blocks of everyday objects' looks: labels on cans and boxes, seams of balls, handles, grain of wood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import trimesh
from numpy.typing import ArrayLike

from robots.shapes import FloatArray, Vector3, Y, circle, joined, loft, merged, revolve, rounded_prism, rounded_rectangle

#: A printed layer stands out this far from what it is printed on, enough for the depth buffer from across the table.
PRINT_M = 0.0004
_TEXT_LINES = 6
_OVAL_SIDES = 24
_QUARTER_TURN = trimesh.transformations.rotation_matrix(math.pi / 2, (0.0, 0.0, 1.0))  # what faced x faces y
_RING_FRACTIONS = (0.34, 0.67, 1.0)


def can_shell(radius_m: float, height_m: float, lid_depth_m: float = 0.003, sides: int = 36) -> trimesh.Trimesh:
    """The metal of a can that stands on z = 0: seamed rims, a wall set back between them and a sunken lid with a ridge."""
    r, h, wall = radius_m, height_m, radius_m - 2.5 * PRINT_M
    profile = [(r - 0.0030, 0.0), (r - 0.0006, 0.0), (r, 0.0008), (r, 0.0026), (wall, 0.0036)]
    profile += [(wall, h - 0.0036), (r, h - 0.0026), (r, h - 0.0008), (r - 0.0006, h), (r - 0.0018, h)]
    floor = h - lid_depth_m
    profile += [
        (r - 0.0024, floor),
        (0.78 * r, floor),
        (0.76 * r, floor + 0.0008),
        (0.70 * r, floor + 0.0008),
        (0.68 * r, floor),
    ]
    return joined(revolve(profile, sides))


def can_lid(radius_m: float, bottom_m: float, top_m: float) -> trimesh.Trimesh:
    """A plastic lid over a can: a skirt and a sunken middle."""
    r, skirt = radius_m, top_m - bottom_m
    profile = [(r - 0.001, bottom_m), (r, bottom_m + 0.001), (r, top_m - 0.0020), (r - 0.0015, top_m), (r - 0.0050, top_m)]
    profile += [(r - 0.0065, top_m - 0.2 * skirt), (0.30 * r, top_m - 0.2 * skirt)]
    return joined(revolve(profile, 36))


def sleeve(radius_m: float, bottom_m: float, top_m: float, sides: int = 36) -> trimesh.Trimesh:
    """A paper band around the z axis, with a soft upper and lower edge."""
    edge = 0.5 * PRINT_M
    return joined(
        revolve(
            [(radius_m - edge, bottom_m), (radius_m, bottom_m + edge), (radius_m, top_m - edge), (radius_m - edge, top_m)],
            sides,
        )
    )


def hoop(profile_m: ArrayLike, sides: int = 40) -> trimesh.Trimesh:
    """A surface of revolution like `revolve`'s, but open at both ends, for a ring around something hollow."""
    closed = revolve(profile_m, sides)
    surface = trimesh.Trimesh(closed.vertices, np.asarray(closed.faces)[: -2 * sides], process=False)
    surface.remove_unreferenced_vertices()
    return surface


def wrapped_disc(
    radius_m: float, half_width_m: float, half_height_m: float, height_m: float, angle_rad: float
) -> trimesh.Trimesh:
    """An oval print on a cylinder around z, facing `angle_rad`, with its middle at `height_m`."""
    rings = np.array(_RING_FRACTIONS)[:, None, None] * circle(_OVAL_SIDES) * (half_width_m / radius_m, half_height_m)
    flat = np.concatenate([[[0.0, 0.0]], rings.reshape(-1, 2)])
    turn = angle_rad + flat[:, 0]
    vertices = np.stack([radius_m * np.cos(turn), radius_m * np.sin(turn), height_m + flat[:, 1]], axis=-1)
    faces = [(0, 1 + side, 1 + (side + 1) % _OVAL_SIDES) for side in range(_OVAL_SIDES)]
    for ring in range(len(_RING_FRACTIONS) - 1):
        for side in range(_OVAL_SIDES):
            a, b = 1 + _OVAL_SIDES * ring + side, 1 + _OVAL_SIDES * ring + (side + 1) % _OVAL_SIDES
            faces += [(a, a + _OVAL_SIDES, b + _OVAL_SIDES), (a, b + _OVAL_SIDES, b)]
    return trimesh.Trimesh(vertices, faces, process=False)


def carton(size_m: Vector3, corner_m: float, bottom_m: float, top_m: float, inset_m: float = 0.0) -> trimesh.Trimesh:
    """The slice between two heights of a box that stands on z = 0, `inset_m` inside its side faces."""
    half_x, half_y = size_m[0] / 2 - inset_m, size_m[1] / 2 - inset_m
    outline = rounded_rectangle(half_x, half_y, corner_m, 3)
    return joined(rounded_prism(outline, bottom_m, top_m, min(0.4 * corner_m, 0.4 * (top_m - bottom_m))))


def face_print(
    outline_m: FloatArray, centre_m: tuple[float, float], face_x_m: float, thickness_m: float = PRINT_M
) -> trimesh.Trimesh:
    """A print on both faces x = -/+ `face_x_m` of a box; its outline (S, 2) and centre are in (y, z) as seen on the +x face."""
    sheets = []
    for side in (-1.0, 1.0):
        y, z = outline_m[:, 0] + centre_m[0], outline_m[:, 1] + centre_m[1]
        rings = [np.stack([np.full(len(y), x), y, z], -1) for x in (face_x_m - 2 * thickness_m, face_x_m)]
        sheet = loft(rings)
        if side < 0:  # turned by half around z, so that it reads the same from behind
            sheet.vertices = np.asarray(sheet.vertices) * (-1.0, -1.0, 1.0)
        sheets.append(sheet)
    return joined(*sheets)


def facts_print(size_m: Vector3, *, lines: bool = False) -> trimesh.Trimesh:
    """A panel on both narrow faces y = -/+ of a box that stands on z = 0, or the lines of text upon it."""
    half_x, half_y, half_z = 0.36 * size_m[0], size_m[1] / 2, min(0.30 * size_m[2], 1.1 * size_m[0])
    middle = 0.55 * size_m[2]
    if not lines:
        return face_print(panel(half_x, half_z, 0.001), (0.0, middle), half_y - PRINT_M).apply_transform(_QUARTER_TURN)
    rows = []
    for index, z in enumerate(np.linspace(0.80, -0.80, _TEXT_LINES)):
        length = half_x * (0.80 - 0.25 * (index % 3 == 2))
        row = panel(length, 0.045 * half_z, 0.0002)
        rows.append(face_print(row, (length - 0.80 * half_x, middle + z * half_z), half_y, 0.5 * PRINT_M))
    return merged(rows).apply_transform(_QUARTER_TURN)


def oval(half_y_m: float, half_z_m: float, sides: int = 28) -> FloatArray:
    """(sides, 2) outline."""
    return circle(sides) * (half_y_m, half_z_m)


def panel(half_y_m: float, half_z_m: float, corner_m: float = 0.002) -> FloatArray:
    """(S, 2) outline of a rectangle with rounded corners."""
    return rounded_rectangle(half_y_m, half_z_m, corner_m, 3)


def seam_curve(count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points of the seam of a tennis ball on the unit sphere, their tangents, and the directions across, (count, 3) each."""
    turn = np.arange(count) * 2 * math.pi / count
    points = np.stack(
        [
            0.75 * np.cos(turn) + 0.25 * np.cos(3 * turn),
            0.75 * np.sin(turn) - 0.25 * np.sin(3 * turn),
            math.sqrt(0.75) * np.sin(2 * turn),
        ],
        axis=-1,
    )
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    tangents = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    tangents /= np.linalg.norm(tangents, axis=-1, keepdims=True)
    return points, tangents, np.cross(points, tangents)


def seam_ribbon(radius_m: float, half_width_m: float, count: int = 96) -> trimesh.Trimesh:
    """The seam of a ball around the origin as a ribbon that arches from its edges to `radius_m`."""
    points, _, across = seam_curve(count)
    rows = [(radius_m - PRINT_M) * points + side * half_width_m * across for side in (-1, 1)]
    rows.insert(1, radius_m * points)
    return merged([_closed_strip(rows[0], rows[1]), _closed_strip(rows[1], rows[2])])


def stitches(radius_m: float, count: int, length_m: float, half_width_m: float, lean: float) -> trimesh.Trimesh:
    """Threads that lean on both sides of the seam of a ball around the origin, (`lean` is their length along the seam)."""
    points, tangents, across = seam_curve(count)
    threads = []
    for point, tangent, side in zip(points, tangents, across, strict=True):
        for sign in (-1.0, 1.0):
            along = sign * side * length_m + tangent * lean
            start, end = point * (radius_m - PRINT_M) + 0.12 * along, point * (radius_m - PRINT_M) + along
            start, end = (edge * (radius_m - PRINT_M) / np.linalg.norm(edge) for edge in (start, end))
            thick = np.cross(point, along)
            thick *= half_width_m / np.linalg.norm(thick)
            middle = (start + end) / 2
            corners = np.array([start, middle + thick, end, middle - thick, middle * radius_m / np.linalg.norm(middle)])
            threads.append(trimesh.Trimesh(corners, [(0, 3, 4), (3, 2, 4), (2, 1, 4), (1, 0, 4)], process=False))
    return outward(merged(threads))


def swept(path_m: ArrayLike, half_m: ArrayLike, normal: Vector3, sides: int = 12) -> trimesh.Trimesh:
    """A tube along a path (K, 3) in the plane with that normal; half widths (K, 2) along the normal and in the plane."""
    path, half = np.asarray(path_m, dtype=np.float64), np.asarray(half_m, dtype=np.float64)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
    u = np.asarray(normal, dtype=np.float64)
    v = np.cross(tangent, u)
    ring = circle(sides)[None] * half[:, None]
    return loft(path[:, None] + ring[..., :1] * u + ring[..., 1:] * v[:, None])


def ball(radius_m: float, sides: int = 32) -> trimesh.Trimesh:
    """A sphere around the origin."""
    turn = np.linspace(0.04, math.pi - 0.04, sides // 2 + 1)
    return revolve(np.stack([radius_m * np.sin(turn), -radius_m * np.cos(turn)], axis=-1), sides)


def outward(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """`mesh` with every face turned away from the origin."""
    centres, normals = mesh.triangles_center, mesh.face_normals
    faces = np.array(mesh.faces)
    inward = (centres * normals).sum(axis=-1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return trimesh.Trimesh(mesh.vertices, faces, process=False)


def wood_grain(size_m: Vector3) -> trimesh.Trimesh:
    """Dark lines along the y axis on the long faces of a beam that lies on z = 0, and year rings on its ends."""
    half = np.array(size_m) / 2
    rng = np.random.default_rng(4)
    strips = []
    for face in range(4):
        for start in np.linspace(-0.8, 0.8, 7) + rng.uniform(-0.08, 0.08, 7):
            along = np.linspace(-0.985, 0.985, 15) * half[1]
            across = half[0] * (start + 0.05 * np.sin(along * rng.uniform(15, 40) + rng.uniform(0, 6)))
            width = 0.0004 + 0.0008 * rng.uniform()
            line = [np.stack([across + side * width, along, np.full(15, half[2])], -1) for side in (-1, 1)]
            strips.append(
                _strip(line[0], line[1]).apply_transform(trimesh.transformations.rotation_matrix(face * math.pi / 2, Y))
            )
    for end in (-1.0, 1.0):
        for radius in np.arange(0.018, 0.105, 0.0085):
            turn = np.linspace(0.05, math.pi / 2 - 0.05, 25)
            rings = []
            for r in (radius, radius + 0.0014):
                x, z = r * np.cos(turn) * 1.05 - half[0], r * np.sin(turn) - half[2]
                rings.append(np.stack([x, np.full(25, end * half[1]), z], -1))
            inside = (np.abs(rings[1][:, 0]) < half[0] - 0.001) & (np.abs(rings[1][:, 2]) < half[2] - 0.001)
            if inside.sum() > 2:
                strips.append(_strip(rings[0][inside], rings[1][inside]))
    return outward(merged(strips)).apply_translation((0.0, 0.0, half[2]))


def smooth(meshes: Sequence[trimesh.Trimesh]) -> trimesh.Trimesh:
    """One mesh of several, each shaded along its own edges."""
    return joined(*meshes)


def _closed_strip(left: FloatArray, right: FloatArray) -> trimesh.Trimesh:
    """The surface between two closed lines (K, 3), seen from outside the origin."""
    count = len(left)
    a, b = np.arange(count), (np.arange(count) + 1) % count
    faces = np.concatenate([np.stack([a, b, b + count], -1), np.stack([a, b + count, a + count], -1)])
    return outward(trimesh.Trimesh(np.concatenate([left, right]), faces, process=False))


def _strip(left: FloatArray, right: FloatArray) -> trimesh.Trimesh:
    """The surface between two open lines (K, 3)."""
    count = len(left)
    a = np.arange(count - 1)
    faces = np.concatenate([np.stack([a, a + 1, a + 1 + count], -1), np.stack([a, a + 1 + count, a + count], -1)])
    return trimesh.Trimesh(np.concatenate([left, right]), faces, process=False)
