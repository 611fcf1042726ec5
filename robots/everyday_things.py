"""Balls, the banana and the power drill, drawn as they lie on the table."""

from __future__ import annotations

import itertools
import math

import numpy as np
import trimesh

from robots.everyday_parts import EverydayObject, Part, Visual, resting
from robots.everyday_visuals import PRINT_M, ball, seam_ribbon, stitches
from robots.shapes import Finish, FloatArray, Y, circle, joined, loft, merged, placed, revolve, rounded_box, rounded_rectangle


def tennis_ball() -> EverydayObject:
    """Yellow felt with a white seam."""
    radius = 0.0647 / 2
    layers = [
        Visual("felt", ball(radius - PRINT_M), _finish("tennis_ball_felt", (0.78, 0.90, 0.16), 0.05, 0.1)),
        Visual("seam", seam_ribbon(radius, 0.0018), _finish("tennis_ball_seam", (0.95, 0.96, 0.90), 0.05, 0.1)),
    ]
    return _ball("tennis_ball", 0.058, radius, layers)


def baseball() -> EverydayObject:
    """White leather with red stitches."""
    radius = 0.0375
    layers = [
        Visual("leather", ball(radius - 1.5 * PRINT_M), _finish("baseball_leather", (0.94, 0.92, 0.87), 0.25, 0.3)),
        Visual("seam", seam_ribbon(radius - 0.7 * PRINT_M, 0.0005), _finish("baseball_seam", (0.74, 0.70, 0.64), 0.1, 0.2)),
        Visual(
            "stitch", stitches(radius, 84, 0.0042, 0.00075, 0.0018), _finish("baseball_stitch", (0.76, 0.08, 0.10), 0.1, 0.2)
        ),
    ]
    return _ball("baseball", 0.148, radius, layers)


def banana() -> EverydayObject:
    """A banana that lies on its side. Length and thickness are published; the bend is our estimate."""
    half_length, half_thick = 0.095, 0.018
    curve = _Bend(half_length, half_thick)
    rings = [curve.ring(s) for s in (-1.0, -0.62, -0.25, 0.25, 0.62, 1.0)]
    parts = [Part.hull(np.concatenate(pair)) for pair in itertools.pairwise(rings)]
    ends = [(-1.0, -0.88), (0.95, 1.0)]
    tips = [loft([curve.ring(s, 0.0004 * min(1, k)) for k, s in enumerate(np.linspace(*end, 5))]) for end in ends]
    rng = np.random.default_rng(2)
    flecks = [curve.fleck(rng.uniform(-0.7, 0.8), rng.uniform(0.0, math.pi), rng.uniform(0.02, 0.06)) for _ in range(12)]
    visuals = [
        Visual(
            "skin",
            joined(loft([curve.ring(s) for s in np.linspace(-0.99, 0.99, 29)])),
            _finish("banana_skin", (0.97, 0.80, 0.13)),
        ),
        Visual("tips", joined(*tips), _finish("banana_tips", (0.30, 0.22, 0.11))),
        Visual("flecks", merged(flecks), _finish("banana_flecks", (0.60, 0.42, 0.13))),
    ]
    points = np.concatenate([*rings, *(curve.ring(s) for s in np.linspace(-1.0, 1.0, 41))])
    low, high = points.min(axis=0), points.max(axis=0)
    extents = (float(high[0] - low[0]), 2 * half_length, 2 * half_thick)
    return resting("banana", 0.066, extents, parts, visuals, (float(low[0] + high[0]) / 2, 0.0, half_thick))


def power_drill() -> EverydayObject:
    """A straight cordless drill that lies on its side; what is published is the box around it."""
    half = 0.0175
    battery = [(-0.092, 0.0205, 0.0155), (-0.090, 0.0225, 0.0172), (-0.088, 0.0230, half), (-0.059, 0.0230, half)]
    battery += [(-0.057, 0.0222, 0.0166)]
    housing = [(-0.057, 0.0190, 0.0160), (-0.055, 0.0208, 0.0172), (-0.052, 0.0212, half), (-0.040, 0.0196, 0.0166)]
    housing += [(-0.012, 0.0196, 0.0166), (0.004, 0.0212, half), (0.014, 0.0205, half), (0.018, 0.0185, 0.0160)]
    gear = [(0.0165, 0.016), (0.0172, 0.019), (0.0172, 0.024), (0.0150, 0.044), (0.0130, 0.046)]
    chuck = [(0.0120, 0.046), (0.0145, 0.048), (0.0145, 0.064), (0.0128, 0.065), (0.0080, 0.075), (0.0060, 0.076)]
    bit = [(0.0030, 0.074), (0.0030, 0.089), (0.0008, 0.092)]
    grips = [(-0.0455, 0.0165, 0.0150), (-0.044, 0.0206, 0.0176), (-0.008, 0.0206, 0.0176), (-0.0065, 0.0165, 0.0150)]
    trigger = rounded_box((0.005, 0.016, 0.012), 0.0015, 0.0015).apply_translation((0.0205, 0.004, 0.0))
    ribs = [loft(_slices([(y, 0.0206, half), (y + 0.0012, 0.0206, half)], 0.006)) for y in (-0.0385, -0.0315, -0.0245, -0.0175)]
    jaws = [placed(revolve([(0.0150, y), (0.0150, y + 0.0012)], 32), (0, 0, 0), Y) for y in (0.050, 0.054, 0.058, 0.062)]
    orange, black, grey = (0.93, 0.40, 0.06), (0.10, 0.10, 0.11), (0.36, 0.37, 0.39)
    visuals = [
        Visual("housing", joined(loft(_slices(housing, 0.009))), _finish("power_drill_housing", orange, 0.4)),
        Visual(
            "black",
            joined(loft(_slices(battery, 0.006)), loft(_slices(grips, 0.008)), trigger),
            _finish("power_drill_black", black, 0.3),
        ),
        Visual("grey", joined(_along_y(gear), *ribs, *jaws), _finish("power_drill_grey", grey, 0.4)),
        Visual("steel", joined(_along_y(chuck), _along_y(bit, 14)), _finish("power_drill_steel", (0.68, 0.69, 0.71), 0.9, 0.8)),
    ]
    parts = [
        Part.hull(np.concatenate(_slices([battery[0], battery[2], battery[3], battery[4]], 0.006))),
        Part.hull(np.concatenate(_slices([housing[0], housing[2], housing[5], housing[-1]], 0.009))),
        Part.cylinder(0.0165, 0.028, (0.0, 0.032, 0.0), Y),
        Part.cylinder(0.0140, 0.028, (0.0, 0.061, 0.0), Y),
        Part.capsule((0.0, 0.070, 0.0), (0.0, 0.089, 0.0), 0.003),
    ]
    return resting("power_drill", 0.895, (0.046, 0.184, 0.035), parts, visuals, (0.0, 0.0, 0.0))


class _Bend:
    """The banana's outline: rings around an arc in the plane z = half its thickness, with the hollow side at +x."""

    _SIDES = 12
    _HALF_ANGLE_RAD = 0.95
    _SAG_M = 0.0025  # so far the thinning fruit follows the table: it lies on its whole belly
    _END_FRACTIONS = (0.24, 0.20)

    def __init__(self, half_length_m: float, half_thick_m: float) -> None:
        self.half_thick_m = half_thick_m
        end = max(self._END_FRACTIONS) * half_thick_m / math.cos(math.pi / self._SIDES)
        self.bend_radius_m = half_length_m / math.sin(self._HALF_ANGLE_RAD) - end

    def points(self, s: FloatArray, turn_rad: FloatArray, lift_m: float = 0.0) -> FloatArray:
        """(..., 3) m points of the skin at `s` in [-1, 1] along the fruit and at an angle around it, raised by `lift_m`."""
        angle = self._HALF_ANGLE_RAD * s
        end = np.where(s < 0, *self._END_FRACTIONS)
        taper = np.clip((np.abs(s) - 0.25) / 0.75, 0.0, 1.0)
        fraction = 1.0 - (1.0 - end) * (0.45 * taper**2 + 0.55 * taper**5)
        radius = self.half_thick_m * fraction / math.cos(math.pi / self._SIDES) + lift_m
        sag = np.minimum(self.half_thick_m * (1.0 - fraction), self._SAG_M)
        out = self.bend_radius_m + radius * np.cos(turn_rad)
        x = self.bend_radius_m - out * np.cos(angle)
        return np.stack([x, out * np.sin(angle), self.half_thick_m - sag + radius * np.sin(turn_rad)], axis=-1)

    def ring(self, s: float, lift_m: float = 0.0) -> FloatArray:
        """(12, 3) m; flat below, so that the fruit does not rock."""
        turn = (np.arange(self._SIDES) + 0.5) * 2 * math.pi / self._SIDES
        return self.points(np.full(self._SIDES, s), turn, lift_m)

    def fleck(self, s: float, turn_rad: float, length: float) -> trimesh.Trimesh:
        """A thin brown mark along the fruit."""
        outline = circle(8) * (length, 0.075)
        rim = self.points(s + outline[:, 0], turn_rad + outline[:, 1], 1.5 * PRINT_M)
        vertices = np.concatenate([rim, self.points(np.array([s]), np.array([turn_rad]), 2.0 * PRINT_M)])
        faces = [(8, (side + 1) % 8, side) for side in range(8)]
        return trimesh.Trimesh(vertices, faces, process=False)


def _slices(sections: list[tuple[float, float, float]], corner_m: float) -> list[FloatArray]:
    """Rings (S, 3) of rounded rectangles around the y axis, from (y, half width along x, half height along z) m."""
    rings = []
    for y, half_x, half_z in sections:
        outline = rounded_rectangle(half_z, half_x, min(corner_m, 0.9 * half_z), 4)
        rings.append(np.stack([outline[:, 1], np.full(len(outline), y), outline[:, 0]], axis=-1))
    return rings


def _along_y(profile_m: list[tuple[float, float]], sides: int = 32) -> trimesh.Trimesh:
    return placed(revolve(profile_m, sides), (0.0, 0.0, 0.0), Y)


def _finish(name: str, rgb: tuple[float, float, float], specular: float = 0.2, shininess: float = 0.4) -> Finish:
    return Finish(name, (*rgb, 1.0), specular, shininess)


def _ball(name: str, mass_kg: float, radius_m: float, layers: list[Visual]) -> EverydayObject:
    """A ball around the origin, laid on the table."""
    extents = (2 * radius_m, 2 * radius_m, 2 * radius_m)
    return resting(name, mass_kg, extents, [Part.sphere(radius_m)], layers, (0.0, 0.0, 0.0))
