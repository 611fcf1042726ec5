"""Points on what the robot sees of the drawer: its bar handle and its front."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from robots.cabinet import Cabinet


def drawer_surface_points(cabinet: Cabinet, count: int) -> NDArray[np.float64]:
    """(count, 3) m points in the drawer's frame: half of them on the bar, which matters, half on the front's outer face."""
    on_bar = count // 2
    bar = trimesh.creation.cylinder(cabinet.handle_radius_m, cabinet.handle_width_m, sections=16)
    bar.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0)))  # along y
    bar_points = np.asarray(trimesh.sample.sample_surface_even(bar, 4 * on_bar, seed=0)[0])
    bar_points = bar_points[np.linspace(0, len(bar_points) - 1, on_bar).astype(int)] + cabinet.handle_position_m
    remaining = count - on_bar
    columns = int(np.ceil(np.sqrt(remaining * cabinet.width_m / cabinet.drawer_front_height_m)))
    rows = int(np.ceil(remaining / columns))
    y, z = np.meshgrid(
        (np.arange(columns) + 0.5) / columns - 0.5, 1.0 - (np.arange(rows) + 0.5) / rows, indexing="ij"
    )  # shares of width and height
    front = np.stack(
        [
            np.zeros(y.size),
            y.ravel() * cabinet.width_m,
            cabinet.height_m - cabinet.drawer_front_height_m * (1.0 - z.ravel()),
        ],
        axis=-1,
    )
    return np.concatenate([bar_points, front[np.linspace(0, len(front) - 1, remaining).astype(int)]])
