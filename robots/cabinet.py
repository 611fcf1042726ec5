"""A kitchen drawer unit with one movable top drawer and a bar handle; what is seen of it is in `robots.visuals_cabinet`.

Frames of cabinet and drawer: x points into the cabinet (its front faces -x and the drawer opens along -x), z up; the cabinet's
origin is the middle of the front's lower edge, on the ground.
"""

from __future__ import annotations

import dataclasses

import mujoco

from robots.collision import CONTACT_DIMENSIONS, TABLE_CONTACT, TORSIONAL_FRICTION_M
from robots.visuals_cabinet import add_cabinet_visual

Vector3 = tuple[float, float, float]

_HANDLE_MASS_SHARE = 0.04  # of the drawer's mass


@dataclasses.dataclass(frozen=True)
class Cabinet:
    """Dimensions and physics of the drawer unit: m, kg, N.

    Attributes:
        width_m, height_m, depth_m: of the whole, its fronts included. Narrower than a 0.8 m kitchen cabinet and as low as two
            drawers, so that it stands on the robot's table with its upper handle at the height of the arm's shoulder.
        board_m: thickness of walls and fronts.
        drawer_front_height_m: of the movable drawer's front, which ends at the cabinet's top.
        travel_m: how far the drawer opens.
        handle_height_m: of the bar's axis above the ground.
        handle_width_m: length of the bar.
        handle_radius_m: of the bar.
        handle_clearance_m: free space between the front and the bar, for the fingers.
        post_inset_m: of the bar's two posts from its ends.
        drawer_mass_kg: of the moving part, half of it in the front.
        friction_n: force that sets the drawer moving.
        damping_ns_per_m: further resistance per speed.
    """

    width_m: float = 0.60
    height_m: float = 0.42
    depth_m: float = 0.50
    board_m: float = 0.018
    drawer_front_height_m: float = 0.20
    travel_m: float = 0.40
    handle_height_m: float = 0.32
    handle_width_m: float = 0.20
    handle_radius_m: float = 0.006
    handle_clearance_m: float = 0.038
    post_inset_m: float = 0.008
    drawer_mass_kg: float = 3.0
    friction_n: float = 4.0
    damping_ns_per_m: float = 6.0

    @property
    def handle_position_m(self) -> Vector3:
        """Centre of the closed drawer's bar in the cabinet's frame."""
        return (-(self.handle_clearance_m + self.handle_radius_m), 0.0, self.handle_height_m)

    @property
    def lower_handle_height_m(self) -> float:
        """Height of the same bar on the lower front, which does not move."""
        return self.opening_bottom_m / 2 + 0.015

    @property
    def opening_bottom_m(self) -> float:
        """Height at which the movable drawer's front begins."""
        return self.height_m - self.drawer_front_height_m

    def carcass_boxes(self) -> tuple[tuple[str, Vector3, Vector3], ...]:
        """Name, low and high corner of each box of the standing part, in its frame; nothing reaches the back, left out."""
        half, board, depth, top = self.width_m / 2, self.board_m, self.depth_m, self.height_m
        opening = self.opening_bottom_m
        return (
            ("base", (0.0, -half, 0.0), (depth, half, opening - 0.002)),
            ("top", (board, -half, top - board), (depth, half, top)),
            ("left", (board, half - board, opening), (depth, half, top - board)),
            ("right", (board, -half, opening), (depth, board - half, top - board)),
        )

    def drawer_boxes(self) -> tuple[tuple[str, Vector3, Vector3, float], ...]:
        """Name, low and high corner, and share of the mass of each box of the drawer, in its frame; the handle has the rest."""
        half, board, opening = self.width_m / 2 - 0.0015, self.board_m, self.opening_bottom_m
        inner = half - board - 0.013  # room for the runners
        low, high, thick = opening + 0.015, opening + 0.135, 0.012
        depth = self.travel_m + 0.05  # a little of it stays inside when it is open
        return (
            ("front", (0.0, -half, opening + 0.0015), (board, half, self.height_m), 0.46),
            ("bottom", (board, -inner, low), (depth, inner, low + thick), 0.22),
            ("left", (board, inner - thick, low + thick), (depth, inner, high), 0.10),
            ("right", (board, -inner, low + thick), (depth, thick - inner, high), 0.10),
            ("back", (depth - thick, thick - inner, low + thick), (depth, inner - thick, high), 0.08),
        )


def add_cabinet(spec: mujoco.MjSpec, cabinet: Cabinet, position_m: Vector3 = (0.78, 0.0, 0.0)) -> mujoco.MjsBody:
    """Adds the cabinet as the mocap body `cabinet`, so that its pose is a part of the state.

    Its body `drawer` moves on the joint `drawer` (0 closed, `travel_m` open) and has the sites `drawer_handle`,
    `drawer_handle_left` (+y) and `drawer_handle_right` on the bar's axis. The robot and free objects touch it; it touches
    neither itself nor the table.
    """
    body = spec.worldbody.add_body(name="cabinet", pos=position_m, mocap=True)
    for name, low, high in cabinet.carcass_boxes():
        _add_box(body, f"cabinet_{name}", low, high)
    drawer = body.add_body(name="drawer")
    drawer.add_joint(
        name="drawer",
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=(-1, 0, 0),
        range=(0.0, cabinet.travel_m),
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        frictionloss=cabinet.friction_n,
        damping=(cabinet.damping_ns_per_m, 0, 0),
    )
    for name, low, high, share in cabinet.drawer_boxes():
        _add_box(drawer, f"drawer_{name}", low, high).mass = share * cabinet.drawer_mass_kg
    _add_handle(body, "cabinet", cabinet, cabinet.lower_handle_height_m)
    for geom in _add_handle(drawer, "drawer", cabinet, cabinet.handle_height_m):
        geom.mass = _HANDLE_MASS_SHARE / 3 * cabinet.drawer_mass_kg
    x, y, z = cabinet.handle_position_m
    half = cabinet.handle_width_m / 2
    for name, offset in (("drawer_handle", 0.0), ("drawer_handle_left", half), ("drawer_handle_right", -half)):
        drawer.add_site(name=name, pos=(x, y + offset, z), size=(0.004, 0, 0), group=4)
    add_cabinet_visual(spec, body, drawer, cabinet)
    return body


def _add_handle(body: mujoco.MjsBody, prefix: str, cabinet: Cabinet, height_m: float) -> list[mujoco.MjsGeom]:
    """Adds the collision capsules of a bar along y and its two posts."""
    x = cabinet.handle_position_m[0]
    half, radius = cabinet.handle_width_m / 2, cabinet.handle_radius_m
    post = half - cabinet.post_inset_m
    rods = (
        ("bar", (x, radius - half, height_m), (x, half - radius, height_m)),
        ("post_left", (x, post, height_m), (0.0, post, height_m)),
        ("post_right", (x, -post, height_m), (0.0, -post, height_m)),
    )
    geoms = []
    for name, start, end in rods:
        geom = body.add_geom(
            name=f"{prefix}_{name}",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=(*start, *end),
            size=(radius, 0, 0),
            friction=(1.0, TORSIONAL_FRICTION_M, 0.0001),
            condim=CONTACT_DIMENSIONS,
        )
        TABLE_CONTACT.apply(geom)
        geoms.append(geom)
    return geoms


def _add_box(body: mujoco.MjsBody, name: str, low: Vector3, high: Vector3) -> mujoco.MjsGeom:
    """Adds the collision box between two corners."""
    geom = body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[(a + b) / 2 for a, b in zip(low, high, strict=True)],
        size=[(b - a) / 2 for a, b in zip(low, high, strict=True)],
    )
    TABLE_CONTACT.apply(geom)
    return geom
