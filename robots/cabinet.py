"""A kitchen drawer unit with one movable top drawer and a bar handle; what is seen of it is in `robots.visuals_cabinet`.

Frames of cabinet and drawer: x points into the cabinet (its front faces -x and the drawer opens along -x), z up; the cabinet's
origin is the middle of the front's lower edge, on the ground.
"""

from __future__ import annotations

import dataclasses

import mujoco

from robots.collision import TABLE_CONTACT

Vector3 = tuple[float, float, float]


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
    handle_width_m: float = 0.18
    handle_radius_m: float = 0.006
    handle_clearance_m: float = 0.038
    post_inset_m: float = 0.012
    drawer_mass_kg: float = 3.0
    friction_n: float = 4.0
    damping_ns_per_m: float = 6.0

    @property
    def handle_position_m(self) -> Vector3:
        """Centre of the closed drawer's bar in the cabinet's frame."""
        return (-(self.handle_clearance_m + self.handle_radius_m), 0.0, self.handle_height_m)

    @property
    def drawer_half_width_m(self) -> float:
        """Outer half width of the drawer's box, which leaves room for the runners."""
        return self.width_m / 2 - self.board_m - 0.013

    @property
    def drawer_bottom_m(self) -> float:
        """Height of the drawer box's underside."""
        return self.height_m - self.drawer_front_height_m + 0.015

    @property
    def drawer_box_top_m(self) -> float:
        """Height of the drawer box's upper edges."""
        return self.drawer_bottom_m + 0.12

    @property
    def drawer_depth_m(self) -> float:
        """Depth of the drawer from its front's face to its back; a little of it stays inside when it is open."""
        return self.travel_m + 0.05


def add_cabinet(spec: mujoco.MjSpec, cabinet: Cabinet, position_m: Vector3 = (0.80, 0.0, 0.0)) -> mujoco.MjsBody:
    """Adds the cabinet as the mocap body `cabinet`, so that its pose is a part of the state.

    Its body `drawer` moves on the joint `drawer` (0 closed, `travel_m` open) and has the sites `drawer_handle`,
    `drawer_handle_left` (+y) and `drawer_handle_right` on the bar's axis. The robot and free objects touch it; it touches
    neither itself nor the table.
    """
    body = spec.worldbody.add_body(name="cabinet", pos=position_m, mocap=True)
    for name, low, high in carcass_boxes(cabinet):
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
    for name, low, high, share in drawer_boxes(cabinet):
        _add_box(drawer, f"drawer_{name}", low, high).mass = share * cabinet.drawer_mass_kg
    _add_handle(drawer, cabinet)
    return body


def carcass_boxes(cabinet: Cabinet) -> tuple[tuple[str, Vector3, Vector3], ...]:
    """Name, low and high corner of each box of the standing part, in its frame; nothing reaches the back, left out."""
    half, board, depth, top = cabinet.width_m / 2, cabinet.board_m, cabinet.depth_m, cabinet.height_m
    opening = cabinet.height_m - cabinet.drawer_front_height_m
    return (
        ("base", (0.0, -half, 0.0), (depth, half, opening - 0.002)),
        ("top", (board, -half, top - board), (depth, half, top)),
        ("left", (board, half - board, opening), (depth, half, top - board)),
        ("right", (board, -half, opening), (depth, board - half, top - board)),
    )


def drawer_boxes(cabinet: Cabinet) -> tuple[tuple[str, Vector3, Vector3, float], ...]:
    """Name, low and high corner, and share of the mass of each box of the drawer, in its frame when closed."""
    half, board, depth = cabinet.width_m / 2 - 0.0015, cabinet.board_m, cabinet.drawer_depth_m
    inner, low, high = cabinet.drawer_half_width_m, cabinet.drawer_bottom_m, cabinet.drawer_box_top_m
    opening, thick = cabinet.height_m - cabinet.drawer_front_height_m, 0.012
    return (
        ("front", (0.0, -half, opening + 0.0015), (board, half, cabinet.height_m), 0.46),
        ("bottom", (board, -inner, low), (depth, inner, low + thick), 0.22),
        ("left", (board, inner - thick, low + thick), (depth, inner, high), 0.10),
        ("right", (board, -inner, low + thick), (depth, thick - inner, high), 0.10),
        ("back", (depth - thick, thick - inner, low + thick), (depth, inner - thick, high), 0.08),
    )


def _add_handle(drawer: mujoco.MjsBody, cabinet: Cabinet) -> None:
    """The bar along y, its two posts and its sites."""
    x, y, z = cabinet.handle_position_m
    half, radius = cabinet.handle_width_m / 2, cabinet.handle_radius_m
    post = half - cabinet.post_inset_m
    rods = (
        ("drawer_bar", (x, -half + radius, z), (x, half - radius, z)),
        ("drawer_post_left", (x, post, z), (0.0, post, z)),
        ("drawer_post_right", (x, -post, z), (0.0, -post, z)),
    )
    for name, start, end in rods:
        geom = drawer.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=(*start, *end),
            size=(radius, 0, 0),
            mass=0.04 / len(rods) * cabinet.drawer_mass_kg,
            condim=4,
        )
        TABLE_CONTACT.apply(geom)
    for name, offset in (("drawer_handle", 0.0), ("drawer_handle_left", half), ("drawer_handle_right", -half)):
        drawer.add_site(name=name, pos=(x, y + offset, z), size=(0.004, 0, 0), group=4)


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
