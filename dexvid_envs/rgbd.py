"""Colour and depth pictures of many simulations from several cameras, on one renderer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dexvid_envs.simulation import Simulation

#: Farther things are reported at this depth, m.
FAR_M = 5.0


class RgbdCameras:
    """Pictures from fixed cameras; the graphics context is made at the first picture.

    Args:
        names: of cameras in the model.
        height, width: of each picture, px.
    """

    def __init__(self, names: tuple[str, ...], height: int, width: int) -> None:
        self.names, self.height, self.width = names, height, width
        self._renderer: Any = None
        self._past: mujoco.MjData | None = None  # made at the first late picture

    def spaces(self) -> dict[str, spaces.Space[Any]]:
        """`rgb_<camera>` (H, W, 3) uint8 and `depth_<camera>` (H, W, 1) float32 m along the camera's axis."""
        parts: dict[str, spaces.Space[Any]] = {}
        for name in self.names:
            parts[f"rgb_{name}"] = spaces.Box(0, 255, (self.height, self.width, 3), dtype=np.uint8)
            parts[f"depth_{name}"] = spaces.Box(0.0, FAR_M, (self.height, self.width, 1), dtype=np.float32)
        return parts

    def render(
        self, simulation: Simulation, rows: Iterable[int], positions: NDArray[np.float64] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The pictures of the rows, (len(rows), H, W, C) each, as they are or with everything at other `positions` (N, nq).

        Raises:
            RenderingUnavailableError: there is no off-screen OpenGL library.
        """
        if self._renderer is None:
            from dexvid_envs.rendering import make_renderer

            self._renderer = make_renderer(simulation.model, self.height, self.width, fast=True)
        taken: dict[str, list[NDArray[Any]]] = {name: [] for name in self.spaces()}
        for row in rows:
            model, data = simulation.get_data(int(row))
            if positions is not None:
                data = self._placed(model, data, positions[row])
            for name in self.names:
                self._renderer.show(model, data, name)
                colours, depth = self._renderer.render_rgbd()
                taken[f"rgb_{name}"].append(colours)
                taken[f"depth_{name}"].append(np.minimum(depth, FAR_M))
        return {name: np.stack(pictures) for name, pictures in taken.items()}

    def _placed(self, model: mujoco.MjModel, data: mujoco.MjData, positions: NDArray[np.float64]) -> mujoco.MjData:
        """The data with other positions (nq,), as far as pictures need it; always the same object."""
        past = self._past = self._past or mujoco.MjData(model)
        past.qpos[:] = positions
        past.mocap_pos[:], past.mocap_quat[:] = data.mocap_pos, data.mocap_quat
        mujoco.mj_kinematics(model, past)
        mujoco.mj_comPos(model, past)
        mujoco.mj_camlight(model, past)
        return past

    def close(self) -> None:
        """Frees the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
