"""Bottles as everyday objects: those of `robots.objects` in any size and filling, and the bleach cleanser on its side."""

from __future__ import annotations

import dataclasses

import numpy as np

from robots.everyday_parts import EverydayObject, Part, Visual, resting
from robots.objects import BOTTLES, BottleShape
from robots.shapes import Finish, FloatArray, Y, joined, loft, placed, revolve, rounded_rectangle
from robots.visuals_bottle import bottle_layers

#: Share of the mass in body and neck, as in `robots.objects.add_bottle`.
_BODY_SHARE, _NECK_SHARE = 0.94, 0.06


def bottle_object(
    name: str, shape: BottleShape, height_scale: float = 1.0, width_scale: float = 1.0, mass_kg: float | None = None
) -> EverydayObject:
    """The standing bottle with the parts, masses and looks that `robots.objects.add_bottle` gives it.

    Args:
        name: of the object.
        shape: the bottle before scaling.
        height_scale: of all heights.
        width_scale: of width, depth and neck.
        mass_kg: with its filling; the shape's own if None, whatever the size.
    """
    shape = dataclasses.replace(
        shape,
        half_width_m=width_scale * shape.half_width_m,
        half_depth_m=width_scale * shape.half_depth_m,
        corner_radius_m=width_scale * shape.corner_radius_m,
        neck_radius_m=width_scale * shape.neck_radius_m,
        height_m=height_scale * shape.height_m,
        body_height_m=height_scale * shape.body_height_m,
        neck_height_m=height_scale * shape.neck_height_m,
        mass_kg=shape.mass_kg if mass_kg is None else mass_kg,
    )
    half, body_top = shape.height_m / 2, shape.body_height_m
    middle = (0.0, 0.0, body_top / 2 - half)
    if shape.corner_radius_m == shape.half_width_m == shape.half_depth_m:
        body = Part.cylinder(shape.corner_radius_m, body_top, middle)
    else:
        rings = [np.column_stack([shape.cross_section(), np.full(32, z)]) for z in (-body_top / 2, body_top / 2)]
        body = Part.hull(np.concatenate(rings)).moved(middle)
    neck = Part.cylinder(shape.neck_radius_m, shape.height_m - body_top, (0.0, 0.0, (body_top + shape.height_m) / 2 - half))
    parts = (
        dataclasses.replace(body, density=_BODY_SHARE / body.volume_m3),
        dataclasses.replace(neck, density=_NECK_SHARE / neck.volume_m3),
    )
    visuals = tuple(Visual(layer, mesh, finish) for layer, mesh, finish in bottle_layers(name, shape))
    extents = (2 * shape.half_width_m, 2 * shape.half_depth_m, shape.height_m)
    return EverydayObject(name, shape.mass_kg, extents, parts, visuals)


def mustard_bottle() -> EverydayObject:
    """The mustard bottle with its narrow side along x."""
    shape = BOTTLES["mustard"]
    return bottle_object(
        "mustard_bottle", dataclasses.replace(shape, half_width_m=shape.half_depth_m, half_depth_m=shape.half_width_m)
    )


def bleach_cleanser() -> EverydayObject:
    """A white bottle with a blue cap that lies on its narrow side, along y."""
    half_x, half_z = 0.0325, 0.049
    body_levels = [(-0.125, 0.88), (-0.122, 0.97), (-0.118, 1.0), (0.045, 1.0)]
    shoulder = [(0.045, 1.0), (0.060, 0.93), (0.074, 0.76), (0.084, 0.55), (0.090, 0.44)]
    cap = [(0.0185, 0.088), (0.0195, 0.089), (0.0195, 0.119), (0.0185, 0.123), (0.0150, 0.125)]
    surface = [_section(y, half_x - 0.0008, half_z - 0.0008, scale) for y, scale in body_levels + shoulder[1:]]
    label = [_section(y, half_x - 0.0004, half_z - 0.0004, 1.0) for y in (-0.098, 0.030)]
    stripe = [_section(y, half_x, half_z, 1.0) for y in (-0.040, -0.022)]
    visuals = [
        Visual("surface", joined(loft(surface)), Finish("bleach_cleanser_plastic", (0.94, 0.94, 0.93, 1.0), 0.5, 0.5)),
        Visual("label", joined(loft(label)), Finish("bleach_cleanser_label", (0.10, 0.30, 0.66, 1.0), 0.3, 0.4)),
        Visual("stripe", joined(loft(stripe)), Finish("bleach_cleanser_stripe", (0.95, 0.83, 0.20, 1.0), 0.3, 0.4)),
        Visual(
            "cap", joined(placed(revolve(cap, 32), axis=Y)), Finish("bleach_cleanser_cap", (0.12, 0.25, 0.62, 1.0), 0.4, 0.5)
        ),
    ]
    parts = [
        Part.hull(np.concatenate([_section(y, half_x, half_z, scale) for y, scale in body_levels[::2] + body_levels[3:]])),
        Part.hull(np.concatenate([_section(y, half_x, half_z, scale) for y, scale in shoulder])),
        Part.cylinder(0.0190, 0.035, (0.0, 0.1075, 0.0), Y),
    ]
    return resting("bleach_cleanser", 1.131, (2 * half_x, 0.250, 2 * half_z), parts, visuals, (0.0, 0.0, 0.0))


def _section(y_m: float, half_x_m: float, half_z_m: float, scale: float) -> FloatArray:
    """(S, 3) m a rounded rectangle across the y axis, counter-clockwise seen from +y."""
    outline = scale * rounded_rectangle(half_z_m, half_x_m, 0.016, 4)
    return np.stack([outline[:, 1], np.full(len(outline), y_m), outline[:, 0]], axis=-1)
