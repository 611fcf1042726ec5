"""Visual geometry of arm and hand: what is seen, never what is touched."""

from __future__ import annotations

import mujoco

from robots.collision import make_visual

_WHITE, _DARK, _RUBBER = (0.93, 0.93, 0.94, 1), (0.13, 0.13, 0.15, 1), (0.25, 0.26, 0.28, 1)
_ARM_SHAPES = {
    0: ((0, 0, 0), (0, 0, 0.2), 0.06),
    1: ((0, 0, -0.06), (0, 0, 0.05), 0.055),
    2: ((0, 0, 0), (0, -0.25, 0), 0.05),
    3: ((0, 0, 0), (0.0525, 0, 0), 0.048),
    4: ((0.0, 0, 0), (0.0775, -0.2, 0), 0.045),
    5: ((0, 0, -0.12), (0, 0, 0), 0.042),
    6: ((0, 0, 0), (0.076, 0.05, 0), 0.04),
    7: ((0, 0, -0.04), (0, 0, 0), 0.032),
}


def add_arm_link_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody, number: int) -> None:
    """Adds what is seen of arm link `number` (0 is the base)."""
    start, end, radius = _ARM_SHAPES[number]
    make_visual(body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=(*start, *end), size=(radius, 0, 0), rgba=_WHITE))


def add_palm_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody) -> None:
    """Adds what is seen of the palm."""
    make_visual(
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=(-0.0093, 0, -0.0475), size=(0.0205, 0.0565, 0.0475), rgba=_DARK)
    )


def add_finger_link_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody, finger: str, link: str, length_m: float) -> None:
    """Adds what is seen of one finger link, `length_m` long along its +z."""
    colour = _RUBBER if link == "distal" else _DARK
    make_visual(
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=(0, 0, 0, 0, 0, length_m), size=(0.0105, 0, 0), rgba=colour)
    )
