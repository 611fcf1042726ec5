"""Open a drawer by its bar handle and leave it open."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from dexvid_envs.kernels import compiled
from dexvid_envs.observations import ObservationField, Sources, memory_source
from dexvid_envs.randomization import PRESETS, Randomization
from dexvid_envs.rewards import Tolerances
from dexvid_envs.simulation import Simulation
from dexvid_envs.tasks.task import BoolArray, FloatArray, Task, TaskConfig, drawn_in_box, number_option, vector_option
from robots.allegro import FINGERTIP_RADIUS_M
from robots.cabinet import Cabinet, add_cabinet
from robots.cabinet_points import drawer_surface_points
from robots.scene import ScenicCamera, TableTop


@dataclasses.dataclass(frozen=True)
class OpenCabinetConfig(TaskConfig):
    """Geometry, success and reward weights of the task.

    Attributes:
        cabinet_centre_m, cabinet_half_extent_m: box of places of the cabinet's front (x, y).
        cabinet_yaw_rad: the cabinet's yaw is drawn within this distance of 0.
        success_share: share of the drawer's travel (0.40 m) by which it has to be open.
    """

    weights: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"reach": 0.4, "grasp": 0.3, "open": 1.3, "success": 1.0}
    )
    cabinet_centre_m: tuple[float, float] = (0.78, 0.0)
    cabinet_half_extent_m: tuple[float, float] = (0.04, 0.05)
    cabinet_yaw_rad: float = 0.087
    success_share: float = 0.8


class OpenCabinet(Task):
    """The closed top drawer has to be pulled open by at least 80 % of its travel and stay open.

    Reset options:
        cabinet_position: (x, y) of the middle of the cabinet's front, m.
        cabinet_yaw: the cabinet's turn about the vertical, rad.
        opening: how far the drawer is open at the start, m.
    """

    moved_body: ClassVar[str] = "drawer"
    object_keypoint_names: ClassVar[tuple[str, ...]] = ("handle", "handle_left", "handle_right")
    reset_options: ClassVar[tuple[str, ...]] = ("cabinet_position", "cabinet_yaw", "opening")
    # The robot's usual cameras would look at the cabinet's back.
    cameras: ClassVar[tuple[ScenicCamera, ...]] = (
        ScenicCamera("overview", (-0.50, -1.52, 1.06), (0.50, -0.04, 0.20), 42.0),
        ScenicCamera("front", (-0.62, 1.12, 0.92), (0.54, -0.02, 0.22), 40.0),
        ScenicCamera("side", (0.52, -2.00, 0.50), (0.50, 0.0, 0.26), 40.0),
    )
    table: ClassVar[TableTop] = TableTop((0.56, 0.0), (0.78, 0.66))
    summary: ClassVar[str] = "Pull a drawer open by its bar handle, by at least 80 % of its travel, and leave it open."
    start: ClassVar[str] = (
        "The robot starts at home, within `home_noise_rad`. The drawer is closed; the cabinet's place and yaw are drawn."
    )
    end: ClassVar[str] = "Never."

    def __init__(self, config: OpenCabinetConfig | None = None, randomization: Randomization | None = None) -> None:
        config = config or OpenCabinetConfig()
        super().__init__(config, randomization)
        if self.randomization.size != (1.0, 1.0) and self.randomization not in PRESETS.values():  # which serve all tasks
            raise OptionError(f"randomization size={self.randomization.size!r}: the cabinet keeps its size; leave it out")
        self.settings = config
        self.cabinet = Cabinet()
        self._points = drawer_surface_points(self.cabinet, config.num_points)  # (P, 3) m

    def add_objects(self, spec: mujoco.MjSpec) -> None:
        """The cabinet, on the table."""
        add_cabinet(spec, self.cabinet)

    def bind(self, simulation: Simulation) -> None:
        """See `Task`."""
        super().bind(simulation)
        model = simulation.model
        joint = model.joint("drawer")
        self.drawer_qposadr = int(joint.qposadr[0])
        self.handle_site_id = model.site("drawer_handle").id
        self._drawer_body_id = model.body("drawer").id
        self._cabinet_mocap = int(model.body("cabinet").mocapid[0])
        self.memory |= {"target_opening": np.zeros((self.num_envs, 1))}
        # Live views.
        self.handle_pos_world = simulation.site_xpos[:, self.handle_site_id]  # (N, 3) m
        self.opening = simulation.qpos[:, self.drawer_qposadr]
        self.target_opening = self.memory["target_opening"][:, 0]  # (N,) m, as is the opening
        self._drawer_rotation = simulation.xmat[:, self._drawer_body_id].reshape(-1, 3, 3)  # live
        self._half_bar_m = np.zeros((self.num_envs, len(self._hand_site_ids), 3))
        self._half_bar_m[:, :-1, 1] = self.cabinet.handle_width_m / 2  # the palm is measured from the bar's middle

    def place(self, row: int, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """See `Task`; reset options: `cabinet_position` ((x, y) m), `cabinet_yaw` (rad) and `opening` (m)."""
        settings, simulation = self.settings, self.simulation
        drawn = drawn_in_box(rng, settings.cabinet_centre_m, settings.cabinet_half_extent_m)
        given = vector_option(options, "cabinet_position", 2)
        yaw = number_option(options, "cabinet_yaw", rng.uniform(-1.0, 1.0) * settings.cabinet_yaw_rad)
        simulation.mocap_pos[row, self._cabinet_mocap, :2] = drawn if given is None else given
        simulation.mocap_quat[row, self._cabinet_mocap] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        opening = number_option(options, "opening", 0.0)
        if not 0.0 <= opening <= self.cabinet.travel_m:
            raise OptionError(f"reset option 'opening' is {opening}; expected 0 to {self.cabinet.travel_m:g} m")
        simulation.qpos[row, self.drawer_qposadr] = opening
        self.memory["target_opening"][row] = settings.success_share * self.cabinet.travel_m

    def refresh(self) -> None:
        """See `Task`."""
        self.opened = self.opening >= self.target_opening  # (N,)

    def handle_distance(self) -> FloatArray:
        """(N, 5) m distance of each fingertip from the bar's axis, and of the palm from its middle."""
        return self.distance_to_hand(self.handle_pos_world, self._drawer_rotation, self._half_bar_m)

    def task_fields(self, find: Sources) -> tuple[ObservationField, ...]:
        """See `Task`."""
        handle, tips = find.site_positions(["drawer_handle"]), find.site_positions(self.robot.fingertip_sites)
        opening, goal = find.joint_positions(["drawer"]), memory_source("target_opening", 1)
        axes, handles = find.body_axes("drawer", "xy"), find.site_positions(["drawer_handle"] * 4)
        return (
            ObservationField("handle_position", -2.0, 2.0, "the bar's middle in the world, m", "object", handle),
            ObservationField("handle_axes", -1.0, 1.0, "the drawer's x (inwards) and y axes", "object", axes),
            ObservationField("drawer_opening", -0.1, 0.6, "how far the drawer is open, m", "object", opening),
            ObservationField("drawer_velocity", -5.0, 5.0, "opening speed, m/s", "object", find.joint_velocities(["drawer"])),
            ObservationField(
                "handle_to_palm",
                -2.0,
                2.0,
                "from the palm to the bar's middle, world, m",
                "object",
                handle,
                find.site_positions(["palm"]),
            ),
            ObservationField(
                "handle_to_fingertips", -2.0, 2.0, "from each fingertip to the bar's middle, world, m", "object", handles, tips
            ),
            ObservationField("opening_to_go", -0.6, 0.6, "target opening minus opening, m", "object", goal, opening),
            ObservationField("target_opening", 0.0, 0.6, "how far the drawer has to be open, m", "goal", goal),
        )

    def object_keypoints(self) -> FloatArray:
        """See `Task`: middle and ends of the bar."""
        x, y, z = self.cabinet.handle_position_m
        half = self.cabinet.handle_width_m / 2
        points = np.array([[x, y, z], [x, y + half, z], [x, y - half, z]])
        return np.broadcast_to(points, (self.num_envs, *points.shape))

    def surface_points(self) -> FloatArray:
        """See `Task`: half of them on the bar, half on the drawer's front."""
        return np.broadcast_to(self._points, (self.num_envs, *self._points.shape))

    def reward_terms(self) -> FloatArray:
        """Reach the bar, put fingers to it, open; every term is largest with the drawer open, wherever the hand is then.

        reach: the palm within 10 cm of the bar's middle (falling over 40 cm), or 1 once open.
        grasp: the fingertips within 1 cm of the bar (falling over 10 cm), the mean of them, or 1 once open.
        open: opening / target opening, from 0 to 1.
        success: 1 while the task's success holds.
        """
        return _terms(_SHAPES(self.handle_distance()), self.opening, self.target_opening, self.opened, self.success())

    def holds(self) -> BoolArray:
        """The drawer is open by the target opening or more."""
        return self.opened

    def failed(self) -> BoolArray:
        """Nothing ends an episode early."""
        return np.zeros(self.num_envs, dtype=bool)

    def metrics(self) -> dict[str, NDArray[Any]]:
        """Opening of the drawer.

        opening_m: how far the drawer is open.
        """
        return {"opening_m": self.opening}


@compiled
def _terms(
    shaped: FloatArray, opening: FloatArray, target_opening: FloatArray, opened: BoolArray, success: BoolArray
) -> FloatArray:
    """(4, N) reward terms from shaped distances (N, 5), openings (N,) m and flags (N,)."""
    terms = np.empty((4, len(shaped)))
    for n in range(len(shaped)):
        reach, grasp = shaped[n, 4], (shaped[n, 0] + shaped[n, 1] + shaped[n, 2] + shaped[n, 3]) / 4
        if opened[n]:
            reach = grasp = 1.0
        share = max(min(opening[n] / target_opening[n], 1.0), 0.0)
        terms[0, n], terms[1, n], terms[2, n], terms[3, n] = reach, grasp, share, success[n]
    return terms


# Distances of four fingertips' centres and of the palm from the bar, m.
_SHAPES = Tolerances(*[(-np.inf, 0.01 + FINGERTIP_RADIUS_M, 0.10)] * 4, (-np.inf, 0.10, 0.4))
