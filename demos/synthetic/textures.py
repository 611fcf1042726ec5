"""Pictures for tables, walls and labels, drawn from a generator: wood, stone, cloth, tiles, stripes, print.

Every function returns (H, W, 3) uint8.
"""

from __future__ import annotations

import colorsys

import numpy as np
from scipy.ndimage import gaussian_filter

from demos.synthetic.drawing import FloatArray, Pixels, to_pixels


def table_top(rng: np.random.Generator) -> Pixels:
    """Wood of some colour, stone, a cloth or plain laminate."""
    kind = rng.choice(["wood", "wood", "wood", "stone", "cloth", "plain"])
    if kind == "wood":
        return wood(rng)
    if kind == "stone":
        return _stone(rng)
    if kind == "cloth":
        return _cloth(rng)
    return _even(_colour(rng, (0.0, 0.25), (0.25, 0.95)), rng, 0.010)


def wall(rng: np.random.Generator) -> Pixels:
    """Plaster, tiles, stripes or bricks."""
    kind = rng.choice(["plaster", "plaster", "tiles", "stripes", "bricks"])
    if kind == "tiles":
        return _grid(rng, (8, 8), 0.0, _colour(rng, (0.02, 0.30), (0.65, 0.95)))
    if kind == "bricks":
        return _grid(rng, (16, 6), 0.5, _colour(rng, (0.15, 0.45), (0.45, 0.75)))
    if kind == "stripes":
        return _stripes(rng)
    return _even(_colour(rng, (0.0, 0.25), (0.55, 0.95)), rng, 0.012)


def wood(rng: np.random.Generator) -> Pixels:
    """Planks along the width with grain."""
    height, width, planks = 512, 1024, int(rng.integers(4, 9))
    grain = gaussian_filter(rng.standard_normal((height, width)), (1.2, 60.0), mode="wrap")
    fibres = gaussian_filter(rng.standard_normal((height, width)), (0.7, 14.0), mode="wrap")
    shade = rng.uniform(0.03, 0.09) * grain / grain.std() + 0.02 * fibres / fibres.std()
    plank = np.arange(height) * planks // height
    shade += rng.uniform(0.01, 0.06) * rng.standard_normal(planks)[plank][:, None]
    shade[np.r_[True, plank[1:] != plank[:-1]]] -= 0.16
    light, dark = np.array([0.80, 0.66, 0.49]), np.array([0.36, 0.22, 0.14])
    base = dark + rng.uniform(0.0, 1.0) * (light - dark)
    return to_pixels(base * (1.0 + shade[..., None]))


def label(seed: int) -> Pixels:
    """A printed label or box: bands, shapes and lines of small print, different all around."""
    rng = np.random.default_rng(seed)
    height, width = 256, 512
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    ground, band = _colour(rng, (0.0, 0.8), (0.55, 0.98)), _colour(rng, (0.4, 0.9), (0.25, 0.8))
    picture = np.tile(ground, (height, width, 1))
    edge = int(rng.integers(16, 44))
    picture[(y < edge) | (y >= height - edge)] = band
    wave = gaussian_filter(rng.standard_normal(width), 22.0, mode="wrap")
    picture[(y > 0.62 * height + 18.0 * wave[x] / wave.std()) & (y < height - edge)] = _colour(rng, (0.3, 0.8), (0.35, 0.9))
    palette = [_colour(rng, (0.4, 0.9), (0.2, 0.95)) for _ in range(4)]
    for number in range(int(rng.integers(14, 34))):
        cx, cy = rng.uniform(0, width), rng.uniform(edge, height - edge)
        across = (x - cx + width / 2) % width - width / 2
        size = rng.uniform(6.0, 26.0, 2)
        inside = (across / size[0]) ** 2 + ((y - cy) / size[1]) ** 2 < 1.0
        if number % 3 == 0:
            inside = (np.abs(across) < size[0]) & (np.abs(y - cy) < size[1])
        picture[inside] = palette[number % 4]
    for row in range(9):  # lines of print: dark runs of random length
        inked = (rng.random(width // 3) < 0.6)[(x[0] // 3) % (width // 3)] & (x[0] % 256 > 130) & (x[0] % 256 < 240)
        top = edge + 10 + 9 * row
        picture[top : top + 4, inked] = 0.15
    return to_pixels(picture)


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> FloatArray:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)))


def _even(colour: FloatArray, rng: np.random.Generator, amount: float) -> Pixels:
    cloud = gaussian_filter(rng.standard_normal((256, 256)), 20.0, mode="wrap")
    grain = rng.standard_normal((256, 256))
    shade = amount * (cloud / cloud.std() + 0.4 * grain)
    return to_pixels(colour * (1.0 + shade[..., None]))


def _stone(rng: np.random.Generator) -> Pixels:
    """Clouds, veins and speckles."""
    base = _colour(rng, (0.0, 0.15), (0.30, 0.92))
    cloud = gaussian_filter(rng.standard_normal((512, 512)), 30.0, mode="wrap")
    bend = gaussian_filter(rng.standard_normal((512, 512)), 12.0, mode="wrap")
    vein = np.exp(-(((cloud / cloud.std() + 0.3 * bend / bend.std()) / 0.07) ** 2))
    speckle = gaussian_filter(rng.standard_normal((512, 512)), 0.8, mode="wrap")
    shade = 0.05 * cloud / cloud.std() - rng.uniform(0.0, 0.25) * vein + rng.uniform(0.01, 0.06) * speckle / speckle.std()
    return to_pixels(base * (1.0 + shade[..., None]))


def _cloth(rng: np.random.Generator) -> Pixels:
    """A woven cloth with checks."""
    size = 512
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    first, second = _colour(rng, (0.1, 0.7), (0.35, 0.9)), _colour(rng, (0.0, 0.3), (0.6, 0.95))
    period = int(rng.choice([32, 64, 128]))
    share = 0.5 * ((x // (period // 2)) % 2) + 0.5 * ((y // (period // 2)) % 2)
    weave = 0.05 * (((x + y) % 4 < 2) - 0.5)
    picture = first + share[..., None] * (second - first)
    return to_pixels(picture * (1.0 + weave[..., None]))


def _stripes(rng: np.random.Generator) -> Pixels:
    x = np.broadcast_to(np.arange(256), (256, 256))
    first, second = _colour(rng, (0.0, 0.3), (0.6, 0.95)), _colour(rng, (0.0, 0.4), (0.5, 0.9))
    share = 0.5 + 0.5 * np.sign(np.sin(2.0 * np.pi * x / int(rng.choice([16, 32, 64]))))
    return to_pixels(first + share[..., None] * (second - first) * rng.uniform(0.3, 1.0))


def _grid(rng: np.random.Generator, cells: tuple[int, int], shift: float, colour: FloatArray) -> Pixels:
    """Tiles or bricks with joints; every second row moved by a share of a cell."""
    size = 512
    x, y = np.meshgrid(np.arange(size) / size, np.arange(size) / size)
    row = np.floor(y * cells[0])
    across = (x * cells[1] + shift * (row % 2)) % cells[1]
    tone = rng.normal(0.0, 0.05, (cells[0], cells[1]))[row.astype(int), np.floor(across).astype(int)]
    joint = ((across % 1.0) * (size / cells[1]) < 4.0) | ((y * cells[0] % 1.0) * (size / cells[0]) < 4.0)
    picture = colour * (1.0 + tone[..., None])
    picture[joint] = 0.55 + 0.45 * colour
    return to_pixels(picture)
