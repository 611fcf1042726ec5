"""What is seen of the hand: a graphite palm with a slot for the thumb, servo-like links in side plates, light rubber tips.

Every bending joint is a drum of the child link between two side plates of its parent, so that the links stay connected at every
angle. Rubber tips lie on the collision capsules, the housings' front and back within 1 mm of them and their edges within 3 mm.
Frames are those of `robots.allegro`.
"""

from __future__ import annotations

import functools
import math

import mujoco
import numpy as np
import trimesh

from robots.shapes import (
    Finish,
    FloatArray,
    Vector3,
    X,
    Y,
    add_mesh,
    band,
    disc,
    joined,
    placed,
    revolve,
    rounded_box,
    rounded_prism,
    rounded_rectangle,
)

GRAPHITE = Finish("hand_graphite", (0.175, 0.18, 0.195, 1.0), specular=0.35, shininess=0.45)
PLATE = Finish("hand_plate", (0.36, 0.37, 0.395, 1.0), specular=0.50, shininess=0.55)
RUBBER = Finish("hand_rubber", (0.80, 0.81, 0.80, 1.0), specular=0.12, shininess=0.20)

Parts = dict[Finish, trimesh.Trimesh]

PALM_CENTRE_M: Vector3 = (-0.0093, 0.0, -0.0475)
PALM_HALF_M: Vector3 = (0.0205, 0.0565, 0.0475)
FINGERTIP_RADIUS_M = 0.012
_HALF_THICKNESS_M = 0.0098  # of a link, along x: the side that touches
_HALF_WIDTH_M = 0.0112  # of a link, along y
_DRUM_RADIUS_M, _DRUM_HALF_WIDTH_M = 0.0094, 0.0084
_PLATE_INNER_M, _PLATE_OUTER_M = 0.0086, 0.0110
_FINGER_SOCKETS_M: tuple[tuple[float, float, float], ...] = (  # y, z, tilt around x in rad
    (0.0435, -0.001542, -0.0872665),
    (0.0, 0.0007, 0.0),
    (-0.0435, -0.001542, 0.0872665),
)
_THUMB_SLOT_M = (-0.0900, -0.0590)  # heights of the slot in which the thumb's base turns
_THUMB_SLOT_SIDE_M = 0.0050  # it is open from this y on


def add_palm_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody) -> None:
    """Adds what is seen of the palm."""
    for finish, mesh in _palm().items():
        add_mesh(spec, body, f"palm_{finish.name.removeprefix('hand_')}", mesh, finish)


def add_finger_link_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody, finger: str, link: str, length_m: float) -> None:
    """Adds what is seen of one finger link, `length_m` long along its +z (the distal one up to the fingertip's centre)."""
    if link == "distal":
        parts = _fingertip(length_m)
    elif (finger, link) == ("thumb", "base"):
        parts = _thumb_base()
    elif link == "base" or (finger, link) == ("thumb", "proximal"):
        parts = _swivel(length_m)
    else:
        parts = _phalanx(length_m)
    for finish, mesh in parts.items():
        add_mesh(spec, body, f"{finger}_{link}_{finish.name.removeprefix('hand_')}", mesh, finish)


@functools.cache
def _phalanx(length_m: float) -> Parts:
    """A link between two bending joints: drum, servo body, two side plates that hold the next drum."""
    top = length_m - 0.0118
    body = rounded_prism(rounded_rectangle(_HALF_THICKNESS_M, _HALF_WIDTH_M, 0.0052), 0.0112, top, 0.0012, 1)
    panel = rounded_box((top - 0.0195, 0.0135, 0.0010), 0.0025, 0.0003, 1, 1)
    pads = [placed(panel, (side * 0.0097, 0, (0.0112 + top) / 2), (side, 0, 0)) for side in (-1, 1)]
    return {GRAPHITE: joined(*_drum_and_neck(), body), PLATE: joined(*_side_plates(length_m, 0.0195), *pads)}


@functools.cache
def _swivel(length_m: float) -> Parts:
    """A short link between a turning joint (its origin, axis z) and a bending one `length_m` above."""
    collar = disc(0.0098, -0.0035, 0.0034, 0.0008, sides=20)
    block = rounded_prism(rounded_rectangle(0.0092, _HALF_WIDTH_M, 0.0035), 0.0022, length_m - 0.0102, 0.0008, 1)
    return {GRAPHITE: joined(collar, block), PLATE: joined(*_side_plates(length_m, length_m - 0.0030))}


@functools.cache
def _fingertip(length_m: float) -> Parts:
    """The distal link: drum, holder and the rubber, whose surface is that of the collision capsule."""
    radius = FINGERTIP_RADIUS_M
    holder = revolve([(0.0092, 0.0070), (0.0112, 0.0088), (radius, 0.0100), (radius, 0.0128), (0.0113, 0.0134)], 20)
    turn = np.linspace(0.0, math.radians(84.0), 7)
    dome = np.stack([radius * np.cos(turn), length_m + radius * np.sin(turn)], axis=-1)
    rubber = revolve(np.concatenate([[(0.0113, 0.0132), (radius, 0.0139)], dome]), 20)
    return {GRAPHITE: joined(*_drum_and_neck(), holder), RUBBER: joined(rubber)}


@functools.cache
def _thumb_base() -> Parts:
    """The thumb's first link: a turret in the palm's slot (axis x) and the arm to the swivel at (-0.027, 0.005, 0.0399)."""
    turret = placed(band(0.0125, -0.0415, -0.0125, sides=20), (0, 0, 0), X)
    arm = placed(rounded_box((0.0230, 0.0190, 0.0365), 0.0040, 0.0018), (-0.027, 0.0032, 0.0175))
    seat = placed(disc(0.0105, -0.006, -0.0012, 0.0008, sides=20), (-0.027, 0.005, 0.0399))
    panel = rounded_box((0.0205, 0.0120, 0.0010), 0.003, 0.0003, 1, 1)
    covers = [placed(panel, (-0.027 + side * 0.0113, 0.0032, 0.0185), (side, 0, 0)) for side in (-1, 1)]
    return {GRAPHITE: joined(turret, arm), PLATE: joined(seat, *covers)}


def _drum_and_neck() -> list[trimesh.Trimesh]:
    """The part of a link that turns between its parent's side plates, around y."""
    barrel = placed(band(_DRUM_RADIUS_M, -_DRUM_HALF_WIDTH_M, _DRUM_HALF_WIDTH_M, sides=20), (0, 0, 0), Y)
    neck = rounded_prism(rounded_rectangle(0.0092, _DRUM_HALF_WIDTH_M, 0.0015, steps=1), 0.0, 0.0130, 0.0005, 1)
    return [barrel, neck]


def _side_plates(joint_m: float, reach_m: float) -> list[trimesh.Trimesh]:
    """Two rounded plates, each with a screw, from the joint at height `joint_m` down by `reach_m`."""
    screw = disc(0.0036, 0.0, 0.0010, 0.0004, sides=10)
    parts = []
    for side in (-1, 1):
        low, high = sorted((side * _PLATE_INNER_M, side * _PLATE_OUTER_M))
        parts.append(_upright(_tongue(0.0070, reach_m), low, high, joint_m))
        parts.append(placed(screw, (0, side * (_PLATE_OUTER_M - 0.0004), joint_m), (0, side, 0)))
    return parts


def _upright(outline_m: FloatArray, low_m: float, high_m: float, height_m: float) -> trimesh.Trimesh:
    """Plate across y between two values of y, from its outline (S, 2) in x and z around the height `height_m`."""
    plate = rounded_prism(outline_m, low_m, high_m, 0.0004, 1)
    plate.vertices = plate.vertices[:, [0, 2, 1]] + np.array([0.0, 0.0, height_m])
    plate.invert()  # exchanging two axes mirrors
    return plate


def _tongue(radius_m: float, reach_m: float) -> FloatArray:
    """(S, 2) counter-clockwise outline: a half circle around the origin on a strip down by `reach_m`."""
    turn = np.linspace(0.0, math.pi, 9)
    foot = 0.0028
    corners = np.linspace(0.0, math.pi / 2, 2)
    foot_left = np.stack([-radius_m + foot - foot * np.cos(corners), -reach_m + foot - foot * np.sin(corners)], axis=-1)
    foot_right = foot_left[::-1] * np.array([-1.0, 1.0])
    top = radius_m * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    return np.concatenate([top, foot_left, foot_right])


@functools.cache
def _palm() -> Parts:
    """The palm's box with the thumb's slot, a pad in front, a ribbed cover behind and a socket for each finger."""
    x, _, _ = PALM_CENTRE_M
    half_x, half_y, half_z = PALM_HALF_M
    low, high = _THUMB_SLOT_M
    upper = placed(rounded_box((2 * half_x, 2 * half_y, -high), 0.007, 0.0025), (x, 0, high / 2))
    lower_width = half_y + _THUMB_SLOT_SIDE_M
    lower = placed(
        rounded_box((2 * half_x, lower_width, 2 * half_z - 0.02), 0.007, 0.0025), (x, lower_width / 2 - half_y, -half_z - 0.01)
    )
    foot = placed(rounded_box((2 * half_x, 2 * half_y, low + 2 * half_z), 0.007, 0.0015), (x, 0, (low - 2 * half_z) / 2))
    front, back = x + half_x, x - half_x
    pad = placed(rounded_box((0.043, 0.088, 0.0014), 0.006, 0.0005), (front, 0, -0.0295), X)
    cover = placed(rounded_box((0.043, 0.092, 0.0014), 0.005, 0.0005), (back, 0, -0.0295), (-1, 0, 0))
    rib = rounded_box((0.026, 0.0030, 0.0024), 0.0014, 0.0006, 1, 1)
    ribs = [placed(rib, (back, y, -0.0295), (-1, 0, 0)) for y in _RIBS_M]
    screws = [
        placed(disc(0.0022, 0.0, 0.0009, 0.0004, sides=8), (front, y, z), X)
        for y, z in ((-0.051, -0.006), (0.051, -0.006), (-0.051, -0.053), (0.051, -0.053), (-0.051, -0.089), (-0.002, -0.089))
    ]
    sockets = [
        placed(disc(0.0118, -0.0040, 0.0006, 0.0005, sides=20), (0, y, z), (0.0, -math.sin(tilt), math.cos(tilt)))
        for y, z, tilt in _FINGER_SOCKETS_M
    ]
    return {
        GRAPHITE: joined(upper, lower, foot, *ribs),
        PLATE: joined(pad, cover, *screws, *sockets),
    }


_RIBS_M = tuple(float(y) for y in np.linspace(-0.032, 0.032, 9))
