"""Everyday objects: dimensions, masses and bodies; an object's frame has its origin at mid-height and z along its axis."""

from __future__ import annotations

import dataclasses
import math

import mujoco
import numpy as np
from numpy.typing import NDArray

from robots.collision import CONTACT_DIMENSIONS, OBJECT_CONTACT, TORSIONAL_FRICTION_M
from robots.visuals_bottle import add_bottle_visual

#: Sliding, torsional (m) and rolling (m) friction; the last counts for balls and on the bottles' table alone.
OBJECT_FRICTION = (0.9, TORSIONAL_FRICTION_M, 0.002)
_POLYGON_SIDES = 32


@dataclasses.dataclass(frozen=True)
class BottleShape:
    """A bottle: a prism with a rounded-rectangle cross-section, a shoulder and a neck.

    Attributes:
        half_width_m, half_depth_m: half extents of the body along x and y.
        corner_radius_m: radius of the cross-section's corners; equal to both half extents for a round bottle.
        height_m: from base to the top of the cap.
        body_height_m: height at which the shoulder begins.
        neck_radius_m: radius of the neck and cap.
        neck_height_m: height at which the shoulder ends.
        mass_kg: with its filling.
        body_rgba, cap_rgba: colours.
    """

    half_width_m: float
    half_depth_m: float
    corner_radius_m: float
    height_m: float
    body_height_m: float
    neck_radius_m: float
    neck_height_m: float
    mass_kg: float
    body_rgba: tuple[float, float, float, float]
    cap_rgba: tuple[float, float, float, float]

    def cross_section(self, shrink_m: float = 0.0) -> NDArray[np.float64]:
        """(S, 2) m counter-clockwise outline of the body, `shrink_m` inside the true one."""
        radius = self.corner_radius_m - shrink_m
        core = np.array([self.half_width_m - self.corner_radius_m, self.half_depth_m - self.corner_radius_m])
        angle = (np.arange(_POLYGON_SIDES) + 0.5) * 2 * math.pi / _POLYGON_SIDES
        direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return np.sign(direction) * core + radius * direction

    def profile(self) -> tuple[tuple[float, float], ...]:
        """(height above the base m, scale between body (1) and neck (0)) from bottom to top, for the visual mesh."""
        shoulder = self.neck_height_m - self.body_height_m
        curve = [(self.body_height_m + t * shoulder, 0.5 + 0.5 * math.cos(math.pi * t)) for t in np.linspace(0, 1, 9)]
        return ((0.0, 0.93), (0.004, 1.0), *curve, (self.height_m - 0.018, 0.0))


BOTTLES: dict[str, BottleShape] = {
    # A PET bottle, half full.
    "pet": BottleShape(0.0325, 0.0325, 0.0325, 0.210, 0.150, 0.014, 0.180, 0.30, (0.25, 0.62, 0.85, 1), (0.1, 0.25, 0.6, 1)),
    # YCB 006, the mustard bottle, full.
    "mustard": BottleShape(0.0475, 0.029, 0.024, 0.190, 0.125, 0.013, 0.160, 0.603, (0.95, 0.78, 0.1, 1), (0.75, 0.1, 0.08, 1)),
}


def add_bottle(spec: mujoco.MjSpec, name: str, shape: BottleShape) -> mujoco.MjsBody:
    """Adds a free bottle body `name` with joint `<name>_joint`; its collision geometry is convex parts."""
    body = spec.worldbody.add_body(name=name, pos=(0, 0, shape.height_m / 2))
    body.add_freejoint(name=f"{name}_joint")
    half = shape.height_m / 2
    parts = (
        (f"{name}_body", 0.0, shape.body_height_m, None, 0.94),
        (f"{name}_neck", shape.body_height_m, shape.height_m, shape.neck_radius_m, 0.06),
    )
    for part, bottom, top, radius, mass_fraction in parts:
        geom = body.add_geom(name=part, pos=(0, 0, (bottom + top) / 2 - half), mass=mass_fraction * shape.mass_kg)
        if radius is not None or shape.corner_radius_m == shape.half_width_m == shape.half_depth_m:
            geom.type = mujoco.mjtGeom.mjGEOM_CYLINDER
            geom.size = (radius or shape.corner_radius_m, (top - bottom) / 2, 0)
        else:
            geom.type = mujoco.mjtGeom.mjGEOM_MESH
            geom.meshname = _add_prism_mesh(spec, f"{part}_mesh", shape.cross_section(), (top - bottom) / 2)
        geom.friction, geom.condim = OBJECT_FRICTION, CONTACT_DIMENSIONS
        OBJECT_CONTACT.apply(geom)
    add_bottle_visual(spec, body, name, shape)
    return body


def bottle_distance(shape: BottleShape, points_object: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed distance (..., ) m of points (..., 3) in the bottle's frame to its body and neck; negative inside."""
    half = shape.height_m / 2
    body_top = shape.body_height_m - half
    across = points_object[..., :2]
    core = np.array([shape.half_width_m, shape.half_depth_m]) - shape.corner_radius_m
    radius = np.sqrt(np.add.reduce(across * across, axis=-1))
    beyond = np.abs(across) - core
    corner = np.maximum(beyond, 0.0)
    corner *= corner
    # To the sides of the two prisms that body and neck are, then to their ends, body first.
    side = np.empty((2, *radius.shape))
    side[0] = np.sqrt(np.add.reduce(corner, axis=-1)) + np.minimum(np.maximum.reduce(beyond, axis=-1), 0.0)
    side[0] -= shape.corner_radius_m
    side[1] = radius - shape.neck_radius_m
    lower, upper = np.array([-half, body_top]), np.array([body_top, half])
    expand = (slice(None), *[None] * radius.ndim)
    end = np.abs(points_object[..., 2] - ((lower + upper) / 2)[expand]) - ((upper - lower) / 2)[expand]
    inside = np.minimum(np.maximum(side, end), 0.0)
    np.maximum(side, 0.0, out=side)
    np.maximum(end, 0.0, out=end)
    side *= side
    end *= end
    side += end
    distance: NDArray[np.float64] = np.minimum.reduce(np.sqrt(side, out=side) + inside, axis=0)
    return distance


def _add_prism_mesh(spec: mujoco.MjSpec, name: str, outline: NDArray[np.float64], half_height_m: float) -> str:
    rings = [np.column_stack([outline, np.full(len(outline), z)]) for z in (-half_height_m, half_height_m)]
    spec.add_mesh(name=name, uservert=np.concatenate(rings).ravel())
    return name
