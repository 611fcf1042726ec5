"""What is seen of the arm: white housings around every joint, slim tubes between them, dark rings at the seams.

Each bending joint (2, 4, 6) is a drum around its axis of which one half belongs to each link, so that the links slide on each
other and stay connected at every angle; each rolling joint (1, 3, 5, 7) is a seam across a tube. Frames are those of
`robots.arm`.
"""

from __future__ import annotations

import functools
import math

import mujoco
import trimesh

from robots.shapes import (
    Finish,
    Section,
    Tube,
    Vector3,
    X,
    Y,
    Z,
    add_mesh,
    band,
    circle,
    disc,
    drum,
    joined,
    loft,
    merged,
    placed,
    revolve,
    rounded_box,
    rounded_rectangle,
)

WHITE = Finish("arm_white", (0.93, 0.935, 0.94, 1.0), specular=0.35, shininess=0.55)
DARK = Finish("arm_dark", (0.16, 0.165, 0.18, 1.0), specular=0.30, shininess=0.40)
METAL = Finish("arm_metal", (0.62, 0.63, 0.65, 1.0), specular=0.55, shininess=0.60)

Parts = dict[Finish, trimesh.Trimesh]
_NEGATIVE_X, _NEGATIVE_Y, _NEGATIVE_Z = (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)
_SEAM_M = 0.0012  # half of the gap between the two halves of a bending joint


def add_arm_link_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody, number: int) -> None:
    """Adds what is seen of arm link `number` (0 is the base) to its body."""
    for finish, mesh in _arm_link(number).items():
        add_mesh(spec, body, f"arm_link_{number}_{finish.name.removeprefix('arm_')}", mesh, finish)


@functools.cache
def _arm_link(number: int) -> Parts:
    """Meshes of one link in its own frame, by finish."""
    return (_base, _shoulder, _upper_arm, _elbow, _forearm, _wrist_tube, _wrist, _flange)[number]()


def _half_drum(centre_m: Vector3, axis: Vector3, radius_m: float, width_m: float, *, carries_core: bool) -> Parts:
    """Half of a bending joint: from the seam at `centre_m` outwards along `axis`, with a dark cap at its outer end.

    The half that `carries_core` also fills the seam with a dark ring.
    """
    cap = [disc(radius_m - 0.009, width_m - 0.001, width_m + 0.0025, 0.002)]
    if carries_core:
        cap.append(band(radius_m - 0.0025, -0.003, 0.003))
    rim = band(radius_m - 0.0078, width_m - 0.001, width_m + 0.0008)
    return {
        WHITE: joined(placed(drum(radius_m, _SEAM_M, width_m, 0.005), centre_m, axis)),
        DARK: joined(*(placed(part, centre_m, axis) for part in cap)),
        METAL: joined(placed(rim, centre_m, axis)),
    }


def _seam(position_m: Vector3, axis: Vector3, radius_m: float) -> Parts:
    """A dark ring with a thin metal one across a tube, from `position_m` on along `axis`."""
    return {
        DARK: joined(placed(band(radius_m - 0.0022, -0.002, 0.0046), position_m, axis)),
        METAL: joined(placed(disc(radius_m - 0.0002, -0.0035, 0.0004, 0.0006), position_m, axis)),
    }


def _together(*groups: Parts) -> Parts:
    """Parts of equal finish in one mesh; they keep the shading they have."""
    meshes: dict[Finish, list[trimesh.Trimesh]] = {}
    for group in groups:
        for finish, mesh in group.items():
            meshes.setdefault(finish, []).append(mesh)
    return {finish: merged(parts) for finish, parts in meshes.items()}


def _base() -> Parts:
    """The fixed base on its mounting plate, with the connector box at the back; the seam of joint 1 at z = 0.142."""
    column = [(0.078, 0.014), (0.078, 0.021), (0.076, 0.023), (0.066, 0.026), (0.0625, 0.031), (0.0605, 0.045)]
    column += [(0.0585, 0.10), (0.0575, 0.136), (0.0560, 0.138)]
    plate = placed(rounded_box((0.20, 0.20, 0.014), 0.016, 0.002, steps=4), (0, 0, 0.007))
    corners = [(x, y) for x in (-0.082, 0.082) for y in (-0.082, 0.082)]
    ring = [(0.068 * math.cos(a), 0.068 * math.sin(a)) for a in (math.pi / 4 + k * math.pi / 2 for k in range(4))]
    bolts = [placed(disc(0.0055, 0.0, 0.0045, 0.001, sides=10), (x, y, 0.0135)) for x, y in corners]
    bolts += [placed(disc(0.0042, 0.0, 0.0045, 0.001, sides=10), (x, y, 0.0225)) for x, y in ring]
    box = placed(rounded_box((0.030, 0.062, 0.052), 0.006, 0.004), (-0.062, 0, 0.055))
    sockets = [placed(disc(0.0085, 0, 0.006, 0.001, sides=16), (-0.076, y, 0.062), _NEGATIVE_X) for y in (-0.015, 0.015)]
    button = placed(disc(0.006, 0, 0.004, 0.001, sides=14), (-0.076, 0.0, 0.041), _NEGATIVE_X)
    body = {
        WHITE: joined(revolve(column, 32), box),
        DARK: joined(plate, *sockets, button),
        METAL: joined(*bolts),
    }
    return _together(body, _seam((0, 0, 0.138), Z, 0.0575))


def _shoulder() -> Parts:
    """Link 1: the turning column that carries the drum of joint 2 (axis y, on the -y side)."""
    column = Tube(
        _NEGATIVE_Z,
        Y,
        start=Section((-0.030, 0.0), (0.0275, 0.0500)),
        end=Section((0.0, 0.0), (0.0575, 0.0575)),
        length_m=0.125,
        blend_u_m=(0.048, 0.112),
        blend_v_m=(0.030, 0.112),
    )
    housing = _half_drum((0, 0, 0), _NEGATIVE_Y, 0.057, 0.061, carries_core=True)
    return _together({WHITE: joined(column.mesh())}, housing)


def _upper_arm() -> Parts:
    """Link 2: from joint 2's drum (on +z) down -y to the seam of joint 3 at y = -0.163."""
    tube = Tube(
        _NEGATIVE_Y,
        Z,
        start=Section((0.030, 0.0), (0.0275, 0.0500)),
        end=Section((0.0, 0.0), (0.0465, 0.0465)),
        length_m=0.163,
        blend_u_m=(0.052, 0.125),
        blend_v_m=(0.030, 0.125),
    )
    housing = _half_drum((0, 0, 0), Z, 0.057, 0.061, carries_core=False)
    return _together({WHITE: joined(tube.mesh())}, housing, _seam((0, -0.163, 0), _NEGATIVE_Y, 0.0465))


def _elbow() -> Parts:
    """Link 3: from the seam of joint 3 at z = -0.125 up to the drum of joint 4 at x = 0.0525 (axis y, on +y)."""
    tube = Tube(
        _NEGATIVE_Z,
        Y,
        start=Section((0.027, 0.0525), (0.0245, 0.0440)),  # v is x
        end=Section((0.0, 0.0), (0.0465, 0.0465)),
        length_m=0.1255,
        blend_u_m=(0.043, 0.110),
        blend_v_m=(0.0, 0.110),
    )
    housing = _half_drum((0.0525, 0, 0), Y, 0.0505, 0.0545, carries_core=True)
    return _together({WHITE: joined(tube.mesh())}, housing)


def _forearm() -> Parts:
    """Link 4: from joint 4's drum (on +z) slanting to x = 0.0775 and down -y to the seam of joint 5 at y = -0.213."""
    tube = Tube(
        _NEGATIVE_Y,
        Z,
        start=Section((0.027, 0.0), (0.0245, 0.0440)),
        end=Section((0.0, -0.0775), (0.0420, 0.0420)),  # v is -x
        length_m=0.213,
        blend_u_m=(0.046, 0.140),
        blend_v_m=(0.0, 0.155),
    )
    housing = _half_drum((0, 0, 0), Z, 0.0505, 0.0545, carries_core=False)
    return _together({WHITE: joined(tube.mesh())}, housing, _seam((0.0775, -0.213, 0), _NEGATIVE_Y, 0.0420))


def _wrist_tube() -> Parts:
    """Link 5: from the seam of joint 5 at z = -0.125 to the drum of joint 6 at the origin (axis y, on +y)."""
    tube = Tube(
        _NEGATIVE_Z,
        Y,
        start=Section((0.0225, 0.0), (0.0200, 0.0350)),
        end=Section((0.0, 0.0), (0.0420, 0.0420)),
        length_m=0.1255,
        blend_u_m=(0.036, 0.105),
        blend_v_m=(0.020, 0.105),
    )
    housing = _half_drum((0, 0, 0), Y, 0.0405, 0.0455, carries_core=True)
    return _together({WHITE: joined(tube.mesh())}, housing)


def _wrist() -> Parts:
    """Link 6: from joint 6's drum (on +z) across to the upright housing of joint 7 (axis y at x = 0.076)."""
    bridge = Tube(
        X,
        Z,
        start=Section((0.0215, 0.0), (0.0190, 0.0340)),
        end=Section((0.0175, -0.012), (0.0150, 0.0340)),  # v is -y
        length_m=0.080,
        blend_u_m=(0.020, 0.070),
        blend_v_m=(0.010, 0.070),
    )
    housing = placed(drum(0.0355, -0.034, 0.064, 0.006), (0.076, 0, 0), Y)
    top = placed(disc(0.0265, 0.033, 0.0365, 0.002), (0.076, 0, 0), _NEGATIVE_Y)
    parts = {WHITE: joined(bridge.mesh(), housing), DARK: joined(top)}
    drum_parts = _half_drum((0, 0, 0), Z, 0.0405, 0.0455, carries_core=False)
    return _together(parts, drum_parts, _seam((0.076, 0.064, 0), Y, 0.0355))


def _flange() -> Parts:
    """Link 7: the turning flange and the adapter that widens from it to the hand's mount at z = 0."""
    hub = disc(0.0355, -0.0290, -0.0170, 0.0015)
    outline = rounded_rectangle(0.0205, 0.0565, 0.010, steps=6)
    turned = 0.0340 * circle(len(outline))
    centre = (-0.0093, 0.0)  # of the palm, seen from the flange
    stations = ((-0.0175, 0.0), (-0.0140, 0.0), (-0.0105, 0.35), (-0.0070, 0.75), (-0.0035, 1.0), (0.0005, 1.0))
    rings = []
    for height, weight in stations:
        ring = (1.0 - weight) * turned + weight * (outline + centre)
        rings.append([(x, y, height) for x, y in ring])
    return {METAL: joined(hub), DARK: joined(loft(rings))}
