"""What is seen of a bottle: a clear PET bottle of water when it is round, else an opaque squeeze bottle with a pointed cap.

Frames and outlines are those of `robots.objects.BottleShape`; up to the shoulder the surface is the collision geometry's to
1 mm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mujoco
import numpy as np
import trimesh

from robots.shapes import Finish, FloatArray, X, add_mesh, circle, disc, joined, loft, placed, revolve, rounded_box

if TYPE_CHECKING:
    from robots.objects import BottleShape

_RIB_DEPTH_M, _RIB_PITCH_M = 0.0008, 0.0085
_CAP_TEETH = 20
_LABEL_WHITE = (0.95, 0.95, 0.93, 1.0)


def add_bottle_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody, name: str, shape: BottleShape) -> None:
    """Adds what is seen of bottle `name` to its body."""
    for part, mesh, finish in bottle_layers(name, shape):
        add_mesh(spec, body, f"{name}_{part}", mesh, finish)


def bottle_layers(name: str, shape: BottleShape) -> list[tuple[str, trimesh.Trimesh, Finish]]:
    """The surfaces of bottle `name` in its frame, each with a name of its own; inner ones first."""
    is_round = shape.corner_radius_m == shape.half_width_m == shape.half_depth_m
    layers = _water_bottle(name, shape) if is_round else _squeeze_bottle(name, shape)
    for _, mesh, _ in layers:
        mesh.apply_translation((0.0, 0.0, -shape.height_m / 2))
    return layers


def _water_bottle(name: str, shape: BottleShape) -> list[tuple[str, trimesh.Trimesh, Finish]]:
    """Inner parts first: MuJoCo draws what is behind a clear surface only if it is opaque."""
    body, radius, top = shape.body_height_m, shape.half_width_m, shape.height_m
    label = (0.40 * body, 0.74 * body)
    cap_bottom, neck = top - 0.022, shape.neck_radius_m
    red, green, blue, _ = shape.body_rgba
    level = 0.55 * body
    water = revolve(
        [(0.80 * radius, 0.0025), (0.95 * radius, 0.008), (0.955 * radius, level), (0.93 * radius, level + 0.0004)], 28
    )
    sleeve = revolve([(radius + 0.0001, label[0]), (radius + 0.0003, label[0] + 0.0006), (radius + 0.0003, label[1])], 36)
    stripe_middle, stripe = label[0] + 0.66 * (label[1] - label[0]), 0.0058
    band = revolve([(radius + 0.0006, stripe_middle - stripe), (radius + 0.0006, stripe_middle + stripe)], 36)
    collar = disc(neck + 0.0030, cap_bottom - 0.0050, cap_bottom - 0.0026, 0.0008)
    clear = Finish(f"{name}_clear", (0.5 + 0.5 * red, 0.5 + 0.5 * green, 0.5 + 0.5 * blue, 0.42), specular=0.9, shininess=0.85)
    return [
        ("water", joined(water), Finish(f"{name}_water", (0.35 + 0.65 * red, 0.35 + 0.65 * green, 0.35 + 0.65 * blue, 1.0))),
        ("label", joined(sleeve), Finish(f"{name}_label", shape.body_rgba)),
        ("stripe", joined(band), Finish(f"{name}_stripe", _LABEL_WHITE)),
        ("cap", joined(_screw_cap(neck, cap_bottom, top), collar), Finish(f"{name}_cap", shape.cap_rgba)),
        ("surface", joined(loft(_rings(shape, label, cap_bottom))), clear),
    ]


def _squeeze_bottle(name: str, shape: BottleShape) -> list[tuple[str, trimesh.Trimesh, Finish]]:
    body, neck, top = shape.body_height_m, shape.neck_radius_m, shape.height_m
    seat = shape.neck_height_m
    skirt, tip = neck + 0.0035, 0.40 * neck
    outline = [(skirt, seat - 0.001), (skirt, seat + 0.008), (skirt - 0.001, seat + 0.0092), (neck - 0.002, seat + 0.010)]
    outline += [(tip, top - 0.003), (0.85 * tip, top - 0.0008), (0.55 * tip, top)]
    width, height = 2.0 * (shape.half_depth_m - shape.corner_radius_m) + 0.006, 0.62 * body
    middle = 0.50 * body
    sheets = {"label": (width, height, 0.0014), "emblem": (0.74 * width, 0.40 * height, 0.0020)}
    panels = {}
    for part, (across, along, thick) in sheets.items():
        sheet = rounded_box((along, across, thick), 0.30 * min(across, along), 0.0002, steps=5, bevel_steps=1)
        panels[part] = joined(*(placed(sheet, (s * shape.half_width_m, 0, middle), (s * X[0], 0, 0)) for s in (-1, 1)))
    return [
        ("surface", joined(loft(_rings(shape, None, seat))), Finish(f"{name}_plastic", shape.body_rgba, 0.45, 0.5)),
        ("label", panels["label"], Finish(f"{name}_label", _LABEL_WHITE)),
        ("emblem", panels["emblem"], Finish(f"{name}_emblem", shape.cap_rgba)),
        ("cap", joined(revolve(outline, 28)), Finish(f"{name}_cap", shape.cap_rgba)),
    ]


def _rings(shape: BottleShape, label: tuple[float, float] | None, top_m: float) -> FloatArray:
    """(K, S, 3) rings of the outer surface from the base to `top_m`; with a label, the body around it is ribbed."""
    body, shoulder = shape.body_height_m, shape.neck_height_m - shape.body_height_m
    levels = [(0.0, 1.0, 0.0060), (0.0006, 1.0, 0.0035), (0.0025, 1.0, 0.0012), (0.0055, 1.0, 0.0002)]
    if label is None:
        levels += [(z, 1.0, 0.0) for z in (0.010, 0.5 * body, body)]
    else:
        for low, high in ((0.010, label[0] - 0.002), (label[1] + 0.002, body - 0.002)):
            ribs = max(1, round((high - low) / _RIB_PITCH_M))
            wave = np.linspace(0.0, 1.0, 4 * ribs + 1)
            depth = _RIB_DEPTH_M * (0.5 - 0.5 * np.cos(2.0 * math.pi * ribs * wave))
            levels += [(float(z), 1.0, float(d)) for z, d in zip(low + wave * (high - low), depth, strict=True)]
        levels.append((body, 1.0, 0.0))
    levels += [(body + t * shoulder, 0.5 + 0.5 * math.cos(math.pi * t), 0.0) for t in np.linspace(0.0, 1.0, 9)[1:]]
    levels.append((top_m, 0.0, 0.0))
    rings = []
    for height, weight, inset in levels:
        outline = shape.cross_section(inset)
        angle = np.arctan2(outline[:, 1], outline[:, 0])
        neck = (shape.neck_radius_m - 0.0005) * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        rings.append(np.column_stack([neck + weight * (outline - neck), np.full(len(outline), height)]))
    return np.array(rings)


def _screw_cap(neck_m: float, bottom_m: float, top_m: float) -> trimesh.Trimesh:
    """Cap with grip teeth around it."""
    sides = 2 * _CAP_TEETH
    tooth = np.where(np.arange(sides) % 2 == 0, 0.0, 0.0006)[:, None]
    outer, plain = (neck_m + 0.0022 - tooth) * circle(sides), (neck_m + 0.0013) * circle(sides)
    levels = ((outer, bottom_m), (outer, top_m - 0.0022), (plain, top_m - 0.0006), (0.9 * plain, top_m))
    return loft([np.column_stack([outline, np.full(sides, height)]) for outline, height in levels])
