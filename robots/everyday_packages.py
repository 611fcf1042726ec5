"""Packaged goods and blocks: cans, cardboard boxes, the foam brick and the wood block, drawn as they stand on the table."""

from __future__ import annotations

import math

import trimesh

from robots.everyday_parts import EverydayObject, Part, Visual, resting
from robots.everyday_visuals import (
    PRINT_M,
    can_lid,
    can_shell,
    carton,
    face_print,
    facts_print,
    oval,
    panel,
    sleeve,
    smooth,
    wood_grain,
    wrapped_disc,
)
from robots.shapes import Finish, FloatArray, Vector3, joined, rounded_box

Rgb = tuple[float, float, float]
_STEEL: Rgb = (0.78, 0.79, 0.80)
_WHITE: Rgb = (0.95, 0.94, 0.91)
_THREE_WAYS_RAD = (0.0, 2 * math.pi / 3, 4 * math.pi / 3)  # what is printed on a can is seen from everywhere


def tomato_soup_can() -> EverydayObject:
    """Red over white with a golden seal."""
    radius, height = 0.033, 0.101
    paper, middle = radius - 1.5 * PRINT_M, 0.52 * height
    seals = [wrapped_disc(radius, 0.0120, 0.0120, middle, angle) for angle in _THREE_WAYS_RAD]
    layers = [
        ("paper", sleeve(paper, 0.0045, height - 0.0045), _WHITE),
        ("red", sleeve(paper + 0.5 * PRINT_M, middle, height - 0.0045), (0.76, 0.07, 0.08)),
        ("seal", smooth(seals), (0.86, 0.68, 0.25)),
    ]
    return _can("tomato_soup_can", 0.349, radius, height, layers)


def tuna_can() -> EverydayObject:
    """A flat can, blue with a yellow line and white ovals."""
    radius, height = 0.0425, 0.033
    paper = radius - 1.5 * PRINT_M
    ovals = [wrapped_disc(radius, 0.018, 0.0055, 0.0195, angle) for angle in _THREE_WAYS_RAD]
    layers = [
        ("paper", sleeve(paper, 0.0045, height - 0.0045), (0.08, 0.34, 0.66)),
        ("line", sleeve(paper + 0.5 * PRINT_M, 0.0070, 0.0110), (0.97, 0.80, 0.16)),
        ("oval", smooth(ovals), _WHITE),
    ]
    return _can("tuna_can", 0.171, radius, height, layers)


def master_chef_can() -> EverydayObject:
    """A coffee can, blue with a pale plastic lid."""
    radius, height = 0.051, 0.139
    paper = radius - 1.5 * PRINT_M
    shields = [wrapped_disc(paper + 0.8 * PRINT_M, 0.030, 0.032, 0.48 * height, angle) for angle in _THREE_WAYS_RAD]
    cups = [wrapped_disc(radius, 0.019, 0.012, 0.46 * height, angle) for angle in _THREE_WAYS_RAD]
    layers = [
        ("paper", sleeve(paper, 0.0045, height - 0.010), (0.06, 0.18, 0.50)),
        ("shield", smooth(shields), _WHITE),
        ("cup", smooth(cups), (0.74, 0.12, 0.10)),
        ("lid", can_lid(radius, height - 0.012, height), (0.55, 0.70, 0.88)),
    ]
    return _can("master_chef_can", 0.414, radius, height, layers)


def potted_meat_can() -> EverydayObject:
    """A can with rounded corners, blue with a yellow field, that stands upright."""
    size: Vector3 = (0.050, 0.097, 0.082)
    metal = [carton(size, 0.010, bottom, top) for bottom, top in ((0.0, 0.0035), (size[2] - 0.0035, size[2]))]
    metal.append(carton(size, 0.009, 0.001, size[2] - 0.0022, inset_m=3 * PRINT_M))
    field, name = panel(0.030, 0.017, 0.004), panel(0.023, 0.0065, 0.003)
    layers = [
        ("metal", smooth(metal), _STEEL),
        ("paper", carton(size, 0.009, 0.0045, size[2] - 0.0045, inset_m=1.6 * PRINT_M), (0.07, 0.16, 0.47)),
        ("field", face_print(field, (0.0, 0.044), size[0] / 2 - 0.8 * PRINT_M), (0.98, 0.79, 0.14)),
        ("name", face_print(name, (0.0, 0.050), size[0] / 2), (0.07, 0.16, 0.47)),
    ]
    return _block("potted_meat_can", 0.370, size, layers, metallic=("metal",))


def pudding_box() -> EverydayObject:
    """A brown cardboard box on its narrow side."""
    size: Vector3 = (0.035, 0.110, 0.089)
    return _carton(
        "pudding_box",
        0.187,
        size,
        (0.36, 0.18, 0.10),
        [
            ("banner", panel(0.046, 0.0115, 0.004), (0.0, 0.066), (0.78, 0.10, 0.10)),
            ("bowl", oval(0.032, 0.0165), (0.0, 0.030), (0.90, 0.80, 0.64)),
            ("pudding", oval(0.024, 0.0100), (0.0, 0.033), (0.44, 0.24, 0.13)),
        ],
    )


def gelatin_box() -> EverydayObject:
    """A small red and white cardboard box on its narrow side."""
    size: Vector3 = (0.028, 0.085, 0.073)
    return _carton(
        "gelatin_box",
        0.097,
        size,
        (0.80, 0.10, 0.16),
        [
            ("banner", panel(0.036, 0.0100, 0.004), (0.0, 0.055), _WHITE),
            ("plate", oval(0.025, 0.0150), (0.0, 0.024), (0.97, 0.90, 0.88)),
            ("berry", oval(0.0125, 0.0100), (0.0, 0.025), (0.90, 0.16, 0.30)),
        ],
    )


def sugar_box() -> EverydayObject:
    """A yellow cardboard box that stands upright."""
    size: Vector3 = (0.038, 0.089, 0.175)
    return _carton(
        "sugar_box",
        0.514,
        size,
        (0.96, 0.80, 0.12),
        [
            ("band", panel(0.0415, 0.030, 0.002), (0.0, 0.045), _WHITE),
            ("shield", oval(0.033, 0.024), (0.0, 0.112), (0.10, 0.22, 0.55)),
            ("name", panel(0.024, 0.0075, 0.003), (0.0, 0.112), (0.96, 0.93, 0.85)),
        ],
    )


def cracker_box() -> EverydayObject:
    """A large red cardboard box that stands upright."""
    size: Vector3 = (0.060, 0.158, 0.210)
    return _carton(
        "cracker_box",
        0.411,
        size,
        (0.78, 0.08, 0.09),
        [
            ("name", oval(0.062, 0.026), (0.0, 0.158), (0.98, 0.84, 0.22)),
            ("crackers", panel(0.021, 0.021, 0.003), (-0.030, 0.070), (0.95, 0.60, 0.15)),
            ("window", panel(0.021, 0.021, 0.003), (0.030, 0.055), (0.93, 0.52, 0.12)),
        ],
    )


def foam_brick() -> EverydayObject:
    """A red block of foam."""
    size: Vector3 = (0.050, 0.075, 0.050)
    body = carton(size, 0.004, 0.0, size[2])
    return _block("foam_brick", 0.028, size, [("foam", body, (0.74, 0.20, 0.17))])


def wood_block() -> EverydayObject:
    """A square beam of light wood, lying, with grain along its length and year rings on its ends."""
    size: Vector3 = (0.085, 0.200, 0.085)
    inner = (size[0] - 2 * PRINT_M, size[1] - 2 * PRINT_M, size[2] - 2 * PRINT_M)
    body = joined(rounded_box(inner, 0.002, 0.002)).apply_translation((0, 0, size[2] / 2))
    layers = [
        ("wood", body, (0.80, 0.62, 0.40)),
        ("grain", wood_grain(size), (0.66, 0.47, 0.27)),
    ]
    return _block("wood_block", 0.729, size, layers)


def _can(
    name: str, mass_kg: float, radius_m: float, height_m: float, layers: list[tuple[str, trimesh.Trimesh, Rgb]]
) -> EverydayObject:
    """A can that stands; the printed layers are drawn over bare metal."""
    shells = [Visual("metal", can_shell(radius_m, height_m), Finish(f"{name}_metal", (*_STEEL, 1.0), 0.8, 0.7))]
    visuals = shells + [Visual(layer, mesh, Finish(f"{name}_{layer}", (*rgb, 1.0), 0.35, 0.5)) for layer, mesh, rgb in layers]
    part = Part.cylinder(radius_m, height_m, (0.0, 0.0, height_m / 2))
    return resting(name, mass_kg, (2 * radius_m, 2 * radius_m, height_m), [part], visuals)


def _carton(
    name: str, mass_kg: float, size_m: Vector3, rgb: Rgb, prints: list[tuple[str, FloatArray, tuple[float, float], Rgb]]
) -> EverydayObject:
    """A cardboard box with prints (name, outline, centre y and z, colour) on both wide faces, each printed over the last."""
    body = carton((size_m[0] - 2 * len(prints) * PRINT_M, size_m[1] - 4 * PRINT_M, size_m[2]), 0.0015, 0.0, size_m[2])
    layers = [
        ("card", body, rgb),
        ("facts", facts_print(size_m), _WHITE),
        ("text", facts_print(size_m, lines=True), (0.13, 0.12, 0.12)),
    ]
    for index, (layer, outline, centre, colour) in enumerate(prints):
        face = size_m[0] / 2 - (len(prints) - 1 - index) * PRINT_M
        layers.append((layer, face_print(outline, centre, face), colour))
    return _block(name, mass_kg, size_m, layers)


def _block(
    name: str,
    mass_kg: float,
    size_m: Vector3,
    layers: list[tuple[str, trimesh.Trimesh, Rgb]],
    metallic: tuple[str, ...] = (),
) -> EverydayObject:
    """An object whose collision geometry is the box around it."""
    visuals = []
    for layer, mesh, rgb in layers:
        specular, shininess = (0.8, 0.7) if layer in metallic else (0.12, 0.25)
        visuals.append(Visual(layer, mesh, Finish(f"{name}_{layer}", (*rgb, 1.0), specular, shininess)))
    return resting(name, mass_kg, size_m, [Part.box(size_m, (0.0, 0.0, size_m[2] / 2))], visuals)
