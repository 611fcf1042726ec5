"""The things that synthetic people handle, with the sizes of everyday objects, and how each may be held.

Evaluation and training use different things; a training thing is also stretched a little, so that no two clips need the same.
In the pool of bottles each is of a shape of its own.
"""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np

from demos.synthetic.people import pool_rng
from demos.synthetic.shapes import Ball, Box, DrawerFront, Mug, Outline, Shape, Turned

Rgb = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Hold:
    """A way to hold a thing.

    Attributes:
        roll_rad: 0: from the side, palm to the left, thumb above; pi/2: from above, palm down.
        height_share: where the fingertips touch, as a share of the thing's height.
        yaw_rad: of the thing in the hand, about its vertical axis.
    """

    roll_rad: float
    height_share: float
    yaw_rad: float = 0.0


SIDE, SLANTED, ABOVE = 0.0, 0.7, np.pi / 2


@dataclasses.dataclass(frozen=True)
class Thing:
    """Something that is handled.

    Attributes:
        name: what it is; the name of its mask and tracks.
        thing_id: pool, name and size.
        shape: its solid.
        mass_kg: weight.
        holds: ways to hold it.
        colours: RGB by piece of the shape; "picture" stands for a printed label of its own.
        picture_seed: of the printed label.
        tosses: it may be thrown.
    """

    name: str
    thing_id: str
    shape: Shape
    mass_kg: float
    holds: tuple[Hold, ...]
    colours: dict[str, Rgb | str]
    picture_seed: int = 0
    tosses: bool = False


def _bottle(diameter: float, height: float, neck: float, body: float) -> Turned:
    """A round bottle with shoulders, neck and cap; diameters and heights in m."""
    r, n = 0.5 * diameter, 0.5 * neck
    shoulder = [
        (n + (r - n) * (0.5 + 0.5 * np.cos(np.pi * t)), body + t * (height - 0.032 - body)) for t in np.linspace(0, 1, 8)
    ]
    outline = (
        (0.0, 0.0),
        (r - 0.0035, 0.0),
        (r - 0.0009, 0.0012),
        (r, 0.0045),
        *((float(a), float(b)) for a, b in shoulder),
        (n, height - 0.022),
        (n + 0.002, height - 0.022),
        (n + 0.002, height - 0.0015),
        (n + 0.0005, height),
        (0.0, height),
    )
    return Turned(outline, label_m=(0.26 * body, 0.85 * body), cap_from_m=height - 0.022)


def _can(diameter: float, height: float) -> Turned:
    """A tin with rolled rims."""
    r = 0.5 * diameter
    outline: Outline = (
        (0.0, 0.0),
        (r - 0.0016, 0.0),
        (r, 0.0012),
        (r, 0.0034),
        (r - 0.0010, 0.0044),
        (r - 0.0010, height - 0.0044),
        (r, height - 0.0034),
        (r, height - 0.0012),
        (r - 0.0016, height),
        (0.0, height),
    )
    return Turned(outline, label_m=(0.007, height - 0.007))


def _mug(diameter: float, height: float) -> Mug:
    r = 0.5 * diameter
    outline: Outline = (
        (0.0, 0.0),
        (r - 0.005, 0.0),
        (r - 0.001, 0.0015),
        (r, 0.006),
        (r, height - 0.001),
        (r - 0.001, height),
        (0.0, height),
    )
    cavity: Outline = ((r - 0.0035, height), (r - 0.0045, height - 0.002), (r - 0.006, 0.010), (r - 0.012, 0.006), (0.0, 0.006))
    return Mug(Turned(outline, cavity_m=cavity))


_TALL = (Hold(SIDE, 0.46),)
_CAN = (Hold(SIDE, 0.52), Hold(0.25, 0.55))
_SMALL = (Hold(ABOVE, 0.55), Hold(SLANTED, 0.60), Hold(0.25, 0.62))
_ROUND = (Hold(SLANTED, 0.55), Hold(ABOVE, 0.55), Hold(0.25, 0.62))

_Row = tuple[str, Shape, float, tuple[Hold, ...], dict[str, Rgb | str], bool]
_EVALUATION: tuple[_Row, ...] = (
    ("bottle", _bottle(0.065, 0.210, 0.028, 0.150), 0.30, _TALL, {"body": (0.50, 0.76, 0.80), "label": "picture"}, False),
    ("soup_can", _can(0.066, 0.101), 0.349, _CAN, {"body": (0.72, 0.72, 0.74), "label": "picture"}, True),
    ("pudding_box", Box((0.035, 0.110, 0.089)), 0.187, (Hold(ABOVE, 0.62), Hold(SLANTED, 0.62)), {"body": "picture"}, False),
    ("mug", _mug(0.080, 0.082), 0.118, (Hold(SIDE, 0.55, np.pi / 2),), {"body": (0.75, 0.20, 0.16)}, False),
    ("tennis_ball", Ball(0.03235), 0.058, _ROUND, {"body": (0.78, 0.86, 0.24)}, True),
    ("foam_brick", Box((0.050, 0.050, 0.075), 0.003), 0.028, _SMALL, {"body": (0.70, 0.22, 0.16)}, True),
)
_TRAINING: tuple[_Row, ...] = (
    ("bottle", _bottle(0.060, 0.190, 0.026, 0.130), 0.40, _TALL, {"body": (0.95, 0.78, 0.10), "label": "picture"}, False),
    ("flask", _bottle(0.072, 0.240, 0.036, 0.180), 0.50, _TALL, {"body": (0.22, 0.42, 0.36)}, False),
    ("can", _can(0.074, 0.120), 0.40, _CAN, {"body": (0.75, 0.74, 0.70), "label": "picture"}, True),
    ("gelatin_box", Box((0.028, 0.085, 0.073)), 0.097, (Hold(ABOVE, 0.62),), {"body": "picture"}, False),
    (
        "potted_meat_can",
        Box((0.050, 0.097, 0.082), 0.010),
        0.370,
        (Hold(ABOVE, 0.62), Hold(SLANTED, 0.62)),
        {"body": "picture"},
        False,
    ),
    ("sugar_box", Box((0.038, 0.089, 0.175)), 0.514, (Hold(SIDE, 0.55),), {"body": "picture"}, False),
    ("cup", _mug(0.074, 0.090), 0.150, (Hold(SIDE, 0.55, np.pi / 2),), {"body": (0.24, 0.40, 0.62)}, False),
    ("baseball", Ball(0.0365), 0.148, _ROUND, {"body": (0.90, 0.88, 0.84)}, True),
    ("orange", Ball(0.0390), 0.160, _ROUND, {"body": (0.93, 0.52, 0.12)}, True),
)


#: Beside the training things, for clips of everyday handling.
_WILD: tuple[_Row, ...] = (
    ("juice_carton", Box((0.062, 0.062, 0.165)), 0.33, (Hold(SIDE, 0.50),), {"body": "picture"}, False),
    ("cereal_box", Box((0.050, 0.130, 0.200)), 0.38, (Hold(SIDE, 0.55),), {"body": "picture"}, False),
    ("book", Box((0.026, 0.130, 0.195), 0.001), 0.35, (Hold(SIDE, 0.60),), {"body": "picture"}, False),
    ("soap", Box((0.036, 0.062, 0.056), 0.008), 0.10, (Hold(ABOVE, 0.58),), {"body": (0.86, 0.84, 0.62)}, False),
    ("block", Box((0.054, 0.054, 0.054), 0.003), 0.09, _SMALL, {"body": (0.82, 0.62, 0.36)}, False),
    ("spray_can", _bottle(0.053, 0.190, 0.034, 0.160), 0.25, _TALL, {"body": (0.30, 0.55, 0.75), "label": "picture"}, False),
    ("shampoo", _bottle(0.058, 0.170, 0.030, 0.125), 0.28, _TALL, {"body": (0.62, 0.25, 0.48), "label": "picture"}, False),
    ("tumbler", _can(0.068, 0.128), 0.22, _CAN, {"body": (0.62, 0.72, 0.70)}, False),
    ("candle", _can(0.055, 0.080), 0.18, _CAN, {"body": (0.88, 0.80, 0.66)}, False),
    ("jar", _can(0.078, 0.098), 0.35, _CAN, {"body": (0.55, 0.30, 0.16), "label": "picture"}, False),
    ("apple", Ball(0.0370), 0.16, _ROUND, {"body": (0.76, 0.20, 0.16)}, True),
    ("lemon", Ball(0.0300), 0.10, _ROUND, {"body": (0.93, 0.84, 0.24)}, True),
)
_POOLS: dict[str, tuple[_Row, ...]] = {"evaluation": _EVALUATION, "training": _TRAINING, "wild": _TRAINING + _WILD}
_STRETCH = {"evaluation": 0.0, "training": 0.05, "wild": 0.12}  # relative size of a thing that comes again


def make_thing(pool: str, number: int, *, tossed: bool = False) -> Thing:
    """Thing `number` of a pool; with `tossed` only such as may be thrown.

    Numbers beyond the list come again with another label: in the evaluation pool as they are, in others a little larger or
    smaller and in another colour. In the pool "bottles" every number is another bottle.
    """
    if pool == "bottles":
        return _some_bottle(number)
    rows = [row for row in _POOLS[pool] if row[5] or not tossed]
    name, shape, mass, holds, colours, tosses = rows[number % len(rows)]
    rng = pool_rng(pool, number, "thing")
    if _STRETCH[pool]:
        shape = resized(shape, float(rng.uniform(1.0 - _STRETCH[pool], 1.0 + _STRETCH[pool])))
        colours = {part: c if isinstance(c, str) else _another(c, rng) for part, c in colours.items()}
    colours = {"cap": _vivid(rng), **colours}
    seed = int(rng.integers(2**31))
    return Thing(name, f"{pool}-{name}-{seed:08x}", shape, mass, holds, colours, seed, tosses)


def _some_bottle(number: int) -> Thing:
    """A round bottle of any usual size; slender enough to be held from the side, and wide enough to stand."""
    rng = pool_rng("bottles", number, "thing")
    diameter = float(rng.uniform(0.052, 0.076))
    height = diameter * float(rng.uniform(2.6, 3.6))
    neck, body = float(rng.uniform(0.40, 0.60)) * diameter, float(rng.uniform(0.62, 0.78)) * height
    full_kg = 1000.0 * 0.25 * np.pi * diameter**2 * body
    colours: dict[str, Rgb | str] = {"cap": _vivid(rng), "body": _another((0.62, 0.40, 0.80), rng)}
    if rng.random() < 0.7:
        colours["label"] = "picture"
    seed = int(rng.integers(2**31))
    mass = 0.03 + float(rng.uniform(0.2, 1.0)) * full_kg
    return Thing(
        "bottle", f"bottles-{number:05d}-{seed:08x}", _bottle(diameter, height, neck, body), mass, _TALL, colours, seed
    )


def make_drawer(pool: str, number: int) -> Thing:
    """The front of drawer `number` of a pool, with its bar handle; the box of the drawer is drawn with the scene."""
    rng = pool_rng(pool, number, "drawer")
    front = DrawerFront(
        bar_half_length_m=float(rng.uniform(0.075, 0.095)),
        bar_radius_m=float(rng.uniform(0.005, 0.0075)),
        stand_off_m=float(rng.uniform(0.036, 0.042)),
        panel_m=(float(rng.uniform(0.28, 0.36)), float(rng.uniform(0.11, 0.15)), 0.018),
    )
    shade = rng.uniform(0.55, 0.95) * np.array([1.0, rng.uniform(0.80, 1.0), rng.uniform(0.60, 1.0)])
    metal = rng.uniform(0.25, 0.75)
    handle = (metal, metal, metal)
    colours: dict[str, Rgb | str] = {"panel": (float(shade[0]), float(shade[1]), float(shade[2]))}
    colours |= {f"handle_{i}": handle for i in range(3)}
    return Thing("drawer", f"{pool}-drawer-{number:03d}", front, 1.5, (Hold(ABOVE, 0.5),), colours)


def resized(shape: Shape, factor: float) -> Shape:
    """The same thing, larger or smaller in all directions."""
    if isinstance(shape, Ball):
        return Ball(factor * shape.radius_m)
    if isinstance(shape, Box):
        x, y, z = (factor * side for side in shape.size_m)
        return Box((x, y, z), factor * shape.edge_m)
    if isinstance(shape, Turned):
        low, high = shape.label_m
        outlines = [tuple((factor * r, factor * z) for r, z in points) for points in (shape.outline_m, shape.cavity_m)]
        return Turned(outlines[0], (factor * low, factor * high), factor * shape.cap_from_m, outlines[1])
    if isinstance(shape, Mug):
        cup = resized(shape.cup, factor)
        assert isinstance(cup, Turned)
        return Mug(cup, factor * shape.handle_reach_m, factor * shape.handle_radius_m)
    raise TypeError(f"no way to resize a {type(shape).__name__}")


def _another(colour: Rgb, rng: np.random.Generator) -> Rgb:
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    return colorsys.hsv_to_rgb(
        float((hue + rng.uniform(-0.25, 0.25)) % 1.0), saturation, float(value * rng.uniform(0.8, 1.05)) % 1.001
    )


def _vivid(rng: np.random.Generator) -> Rgb:
    return colorsys.hsv_to_rgb(float(rng.random()), float(rng.uniform(0.5, 0.85)), float(rng.uniform(0.35, 0.9)))
