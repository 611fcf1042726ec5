"""Scenery of all scenes: what makes a rendered picture readable (light, floor, table, cameras); nothing here is ever touched."""

from __future__ import annotations

import mujoco

from robots.collision import make_visual


def add_scenery(spec: mujoco.MjSpec) -> None:
    """Adds lights, sky, a visual table top and the cameras `overview`, `front` and `side`."""
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.visual.headlight.ambient = (0.35, 0.35, 0.35)
    spec.visual.headlight.diffuse = (0.35, 0.35, 0.35)
    spec.visual.headlight.specular = (0.1, 0.1, 0.1)
    spec.visual.quality.shadowsize = 2048
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.78, 0.84, 0.90),
        rgb2=(0.95, 0.96, 0.98),
        width=64,
        height=384,
    )
    world = spec.worldbody
    world.add_light(
        name="key_light", pos=(0.2, -0.8, 1.8), dir=(0.15, 0.45, -1.0), diffuse=(0.65, 0.63, 0.6), specular=(0.2, 0.2, 0.2)
    )
    table = world.add_geom(
        name="table_top",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(0.32, 0, -0.021),
        size=(0.52, 0.62, 0.02),
        rgba=(0.72, 0.60, 0.47, 1),
    )
    make_visual(table)
    world.add_camera(
        name="overview", pos=(1.30, -0.75, 0.80), xyaxes=_looking_at((1.30, -0.75, 0.80), (0.36, 0.0, 0.12)), fovy=40
    )
    world.add_camera(name="front", pos=(1.45, 0.0, 0.45), xyaxes=_looking_at((1.45, 0.0, 0.45), (0.40, 0.0, 0.14)), fovy=42)
    world.add_camera(name="side", pos=(0.42, -1.2, 0.40), xyaxes=_looking_at((0.42, -1.2, 0.40), (0.40, 0.0, 0.14)), fovy=40)


def _looking_at(eye: tuple[float, float, float], target: tuple[float, float, float]) -> tuple[float, ...]:
    """MuJoCo's `xyaxes` of an upright camera at `eye` that looks at `target`."""
    import numpy as np

    backward = np.subtract(eye, target) / np.linalg.norm(np.subtract(eye, target))
    right = np.cross((0.0, 0.0, 1.0), backward)
    right /= np.linalg.norm(right)
    return (*right, *np.cross(backward, right))
