"""What is seen of the drawer unit: a birch carcass, white fronts, steel bar handles, and the inside of the open drawer.

Frames and outlines are those of `robots.cabinet.Cabinet`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np
import trimesh

from robots.shapes import Finish, Vector3, X, Y, add_mesh, drum, joined, placed, rounded_box

if TYPE_CHECKING:
    from robots.cabinet import Cabinet

_BIRCH = Finish("cabinet_birch", (0.80, 0.74, 0.65, 1.0), specular=0.12, shininess=0.2)
_WHITE = Finish("cabinet_white", (0.93, 0.93, 0.91, 1.0), specular=0.25, shininess=0.4)
_DRAWER = Finish("cabinet_drawer", (0.80, 0.78, 0.74, 1.0), specular=0.1, shininess=0.2)
_STEEL = Finish("cabinet_steel", (0.50, 0.52, 0.54, 1.0), specular=0.8, shininess=0.7)
_SHADE = Finish("cabinet_shade", (0.22, 0.20, 0.18, 1.0), specular=0.05, shininess=0.1)

_PLINTH_M = 0.028
_EDGE_M = 0.0015


def add_cabinet_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody, drawer: mujoco.MjsBody, cabinet: Cabinet) -> None:
    """Adds what is seen of the cabinet and of its drawer to their bodies."""
    half, board, top = cabinet.width_m / 2, cabinet.board_m, cabinet.height_m
    opening, depth = cabinet.opening_bottom_m, cabinet.depth_m
    carcass = joined(
        _board((board, -half, top - board), (depth, half, top)),
        _board((board, half - board, 0.0), (depth, half, top - board / 2)),
        _board((board, -half, 0.0), (depth, board - half, top - board / 2)),
        _board((board + 0.004, -half + board / 2, opening - board), (depth, half - board / 2, opening - 0.002)),
    )
    inside = joined(
        _board((depth - 0.012, -half + board / 2, 0.01), (depth - 0.004, half - board / 2, top - board / 2)),
        _board((board + 0.02, -half + board / 2, 0.0), (board + 0.03, half - board / 2, _PLINTH_M + 0.02)),
    )
    front = _board((0.0, -half + _EDGE_M, _PLINTH_M), (board, half - _EDGE_M, opening - _EDGE_M))
    add_mesh(spec, body, "cabinet_carcass", carcass, _BIRCH)
    add_mesh(spec, body, "cabinet_inside", inside, _SHADE)
    add_mesh(spec, body, "cabinet_lower_front", joined(front), _WHITE)
    add_mesh(spec, body, "cabinet_lower_handle", _handle(cabinet, cabinet.lower_handle_height_m), _STEEL)

    panels = {name: _board(low, high) for name, low, high, _ in cabinet.drawer_boxes()}
    add_mesh(spec, drawer, "drawer_panel", joined(panels.pop("front")), _WHITE)
    add_mesh(spec, drawer, "drawer_box", joined(*panels.values()), _DRAWER)
    add_mesh(spec, drawer, "drawer_handle", _handle(cabinet, cabinet.handle_height_m), _STEEL)


def _handle(cabinet: Cabinet, height_m: float) -> trimesh.Trimesh:
    """Bar on two posts with a collar at the front."""
    x, half, radius = cabinet.handle_position_m[0], cabinet.handle_width_m / 2, cabinet.handle_radius_m
    bar = placed(drum(radius, -half, half, 0.0012, sides=20), (x, 0.0, height_m), Y)
    parts = [bar]
    for side in (-1.0, 1.0):
        foot = (x, side * (half - cabinet.post_inset_m), height_m)
        parts.append(placed(drum(0.85 * radius, 0.0, -x + 0.001, 0.0005, sides=16), foot, X))
        parts.append(placed(drum(1.4 * radius, -x - 0.004, -x + 0.001, 0.0010, sides=16), foot, X))
    return joined(*parts)


def _board(low: Vector3, high: Vector3) -> trimesh.Trimesh:
    """Board between two corners with softened edges."""
    size = np.subtract(high, low)
    middle = np.add(high, low) / 2
    return placed(rounded_box((size[0], size[1], size[2]), _EDGE_M, _EDGE_M, steps=1, bevel_steps=1), middle)
