"""Scenery of all scenes: what makes a rendered picture readable (lights, floor, table, cameras); nothing here is ever touched.

Shadows cost more than everything else in software rendering. They are on by default; `mujoco.mjtRndFlag.mjRND_SHADOW` in a
renderer's `scene.flags` switches them off. `model.vis.quality.offsamples = 0`, set before a renderer is made, saves nearly as
much again by leaving edges unsmoothed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from robots.collision import make_visual

Vector3 = tuple[float, float, float]

#: What the cameras look at, from which light and haze are scaled.
SCENE_CENTRE_M: Vector3 = (0.33, 0.0, 0.18)
SCENE_EXTENT_M = 1.0

_TABLE_THICKNESS_M = 0.032
_TABLE_SURFACE_M = -0.001  # a hair below z = 0, where things stand, so that thin marks on the table stay visible
_FLOOR_M = -0.74
_ZENITH_RGB, _HORIZON_RGB = np.array([0.62, 0.69, 0.76]), np.array([0.74, 0.77, 0.80])
_PLANKS, _TEXTURE_PIXELS = 6, 256


@dataclasses.dataclass(frozen=True)
class ScenicCamera:
    """An upright camera at `eye_m` that looks at `target_m`; `fovy_deg` is its vertical opening."""

    name: str
    eye_m: Vector3
    target_m: Vector3
    fovy_deg: float

    def xyaxes(self) -> tuple[float, ...]:
        """MuJoCo's (6,) x and y axes of the camera."""
        backward = np.subtract(self.eye_m, self.target_m)
        backward /= np.linalg.norm(backward)
        right = np.cross((0.0, 0.0, 1.0), backward)
        right /= np.linalg.norm(right)
        return (*right, *np.cross(backward, right))


CAMERAS: tuple[ScenicCamera, ...] = (
    ScenicCamera("overview", (1.24, -0.86, 0.76), (0.35, -0.04, 0.16), 39.0),
    ScenicCamera("front", (1.62, -0.02, 0.52), (0.38, -0.02, 0.22), 38.0),
    ScenicCamera("side", (0.36, -1.50, 0.42), (0.31, 0.0, 0.24), 37.0),
)


@dataclasses.dataclass(frozen=True)
class TableTop:
    """Where the visual table lies: middle and half lengths of its top along x and y."""

    centre_m: tuple[float, float]
    half_m: tuple[float, float]

    @property
    def scene_centre_m(self) -> Vector3:
        """Middle of what happens on this table."""
        x, y, z = SCENE_CENTRE_M
        return (x + self.centre_m[0] - TABLE_TOP.centre_m[0], y + self.centre_m[1] - TABLE_TOP.centre_m[1], z)


TABLE_TOP = TableTop((0.34, 0.0), (0.56, 0.66))


def add_scenery(spec: mujoco.MjSpec, cameras: Sequence[ScenicCamera] = CAMERAS, table: TableTop = TABLE_TOP) -> None:
    """Adds lights, sky, floor, a visual table and the cameras, which are `overview`, `front` and `side` unless given.

    Lights move with the table's middle.
    """
    _set_quality(spec, table.scene_centre_m)
    _add_lights(spec, np.array(table.scene_centre_m))
    _add_floor_and_sky(spec)
    _add_table(spec, table)
    for camera in cameras:
        spec.worldbody.add_camera(name=camera.name, pos=camera.eye_m, xyaxes=camera.xyaxes(), fovy=camera.fovy_deg)


def _set_quality(spec: mujoco.MjSpec, centre_m: Vector3) -> None:
    spec.stat.center, spec.stat.extent = centre_m, SCENE_EXTENT_M
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = 1280, 960
    visual.quality.shadowsize = 2048
    visual.map.shadowscale = 0.5  # of the key light's opening: the shadow's fine dots fall on robot and workspace alone
    visual.map.haze = 0.75
    visual.rgba.haze = (*_HORIZON_RGB, 1.0)


def _add_lights(spec: mujoco.MjSpec, centre_m: NDArray[np.float64]) -> None:
    """A camera light for the shadows' inside, a key light that casts them, and a fill light from the other side."""
    headlight = spec.visual.headlight
    headlight.ambient, headlight.diffuse, headlight.specular = (0.32,) * 3, (0.22,) * 3, (0.05,) * 3
    key = centre_m + np.array([0.47, -0.80, 1.62])
    spec.worldbody.add_light(
        name="key_light",
        pos=key,
        dir=centre_m - key,
        cutoff=45.0,
        exponent=4.0,
        diffuse=(0.52, 0.51, 0.49),
        specular=(0.30, 0.30, 0.30),
        castshadow=True,
    )
    spec.worldbody.add_light(
        name="fill_light",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(-0.6, -1.2, 1.5),
        dir=(0.6, 0.75, -0.55),
        diffuse=(0.20, 0.21, 0.23),
        specular=(0.05, 0.05, 0.05),
        castshadow=False,
    )


def _add_floor_and_sky(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=_ZENITH_RGB,
        rgb2=2 * _HORIZON_RGB - _ZENITH_RGB,  # at the nadir: the gradient passes the horizon half way
        width=64,
        height=384,
    )
    spec.add_texture(
        name="floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=(0.95, 0.96, 0.97),
        rgb2=(0.92, 0.93, 0.945),
        width=128,
        height=128,
    )
    _add_textured_material(spec, "floor")
    floor = spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, pos=(0, 0, _FLOOR_M), size=(0, 0, 1), material="floor"
    )
    make_visual(floor)


def _add_table(spec: mujoco.MjSpec, table: TableTop) -> None:
    """A wooden top with a dark edge on four metal legs."""
    texture = spec.add_texture(
        name="wood",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        width=_TEXTURE_PIXELS,
        height=_TEXTURE_PIXELS,
        nchannel=3,
    )
    texture.data = wood_texture(_TEXTURE_PIXELS).tobytes()
    _add_textured_material(spec, "wood", uniform=False)
    (x, y), (half_x, half_y) = table.centre_m, table.half_m
    board_bottom, apron_bottom = _TABLE_SURFACE_M - 0.008, _TABLE_SURFACE_M - _TABLE_THICKNESS_M
    board = _add_slab(spec, "table_top", (x, y), (half_x, half_y), (board_bottom, _TABLE_SURFACE_M))
    board.material, board.rgba = "wood", (1.0, 1.0, 1.0, 1.0)  # a geom's colour multiplies the texture
    _add_slab(spec, "table_edge", (x, y), (half_x - 0.0015, half_y - 0.0015), (apron_bottom, board_bottom))
    for number, (right, far) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1))):
        corner = (x + right * (half_x - 0.06), y + far * (half_y - 0.06))
        _add_slab(spec, f"table_leg_{number}", corner, (0.025, 0.025), (_FLOOR_M, apron_bottom))


def _add_slab(
    spec: mujoco.MjSpec, name: str, centre: tuple[float, float], half: tuple[float, float], heights: tuple[float, float]
) -> mujoco.MjsGeom:
    """Adds an upright grey box between two heights."""
    bottom, top = heights
    geom = spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(*centre, (bottom + top) / 2),
        size=(*half, (top - bottom) / 2),
        rgba=(0.36, 0.35, 0.34, 1.0),
    )
    make_visual(geom)
    return geom


def _add_textured_material(spec: mujoco.MjSpec, name: str, *, uniform: bool = True) -> None:
    """Adds a matt material `name` that shows the texture `name`, once per metre if `uniform`, else once per geom."""
    material = spec.add_material(name=name, specular=0.08, shininess=0.2, texuniform=uniform)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def wood_texture(pixels: int) -> NDArray[np.uint8]:
    """(pixels, pixels, 3) RGB of light oak planks along the first axis, the same at every call."""
    along, across = np.meshgrid(np.linspace(0, 1, pixels), np.linspace(0, 1, pixels, endpoint=False), indexing="ij")
    plank = np.floor(across * _PLANKS)
    within = across * _PLANKS - plank
    shift = np.sin(plank * 12.9898) * 43.7585  # another piece of wood for every plank
    tone = 0.035 * np.sin(plank * 2.4 + 0.7)
    bend = 0.22 * np.sin(2 * np.pi * (0.8 * along + shift)) + 0.10 * np.sin(2 * np.pi * (1.9 * along + 2.3 * shift))
    ring = (within + bend) * 2.2 + 0.35 * np.sin(2 * np.pi * (within + bend) + shift)
    grain = 0.022 * np.sin(2 * np.pi * ring) + 0.012 * np.sin(2 * np.pi * (4.1 * ring + 0.6 * np.sin(7 * along + shift)))
    joint = np.where((within < 0.022) | (within > 0.985), -0.10, 0.0)
    value = 1.0 + tone + grain + joint
    colour = np.array([0.80, 0.665, 0.505])
    return np.clip(255 * value[..., None] * colour, 0, 255).astype(np.uint8)
