"""A picture of what a demonstration does over time: the grip on the object, its error, and the phases between them.

Forces are those of MuJoCo's solver in the stored states; nothing is simulated anew.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.align import find_carry
from demos.demonstration import Demonstration
from demos.replay import Player
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.files import atomic_path

FloatArray = NDArray[np.float64]

CONTROL_HZ = 20.0
#: Parts of the hand by the beginning of their bodies' names; what belongs to none of them is the arm.
FINGERS = ("thumb", "index", "middle", "ring", "palm")
_COLOURS = {
    "thumb": "#ee6a3d",
    "index": "#f4b733",
    "middle": "#59b25b",
    "ring": "#338edb",
    "palm": "#737880",
    "arm": "#9a61c7",
}
_PHASE_COLOURS = ("#f3f4f6", "#e4e7ec")
_TOUCH_N = 0.05


@dataclasses.dataclass(frozen=True)
class EpisodeForces:
    """Normal forces on the moved object.

    Attributes:
        by_part_n: (T + 1,) N by part of the robot: sum of its contacts' normal forces; only parts that ever touch.
        phases: (name, first step, last step + 1) in their order.
    """

    by_part_n: dict[str, FloatArray]
    phases: tuple[tuple[str, int, int], ...]

    @property
    def total_n(self) -> FloatArray:
        """(T + 1,) N of all parts."""
        return np.sum(list(self.by_part_n.values()), axis=0)


def measure_forces(player: Player, demonstration: Demonstration) -> EpisodeForces:
    """Contact forces in every stored state.

    Raises:
        DexVidError: the player is of another environment.
    """
    if not player.fits(demonstration):
        raise DexVidError(
            f"this player has {player.env_id}, the demonstration is of {demonstration.env_id}; make a Player for it"
        )
    env = player.env
    env.reset(options=demonstration.reset_options(0))  # gives the model the episode's object
    model, data = env.model, mujoco.MjData(env.model)
    moved = model.body(env.task.moved_body).id
    parts = [_part(model.body(body).name) for body in range(model.nbody)]
    robot = {body for body in range(model.nbody) if _root(model, body) == _root(model, model.body("palm").id)}
    forces = {part: np.zeros(demonstration.num_steps + 1) for part in (*FINGERS, "arm")}
    wrench = np.zeros(6)
    for step, state in enumerate(demonstration.states):
        mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(model, data)
        for index in range(data.ncon):
            bodies = model.geom_bodyid[data.contact.geom[index]].tolist()
            toucher = next((body for body in bodies if body in robot), None)
            if moved in bodies and toucher is not None:
                mujoco.mj_contactForce(model, data, index, wrench)
                forces[parts[toucher]][step] += wrench[0]
    touching = {part: values for part, values in forces.items() if values.max() > _TOUCH_N}
    total = np.sum(list(forces.values()), axis=0)
    return EpisodeForces(touching, find_phases(demonstration.object_pos_world, total > _TOUCH_N))


def find_phases(object_pos_world: FloatArray, touched: NDArray[np.bool_]) -> tuple[tuple[str, int, int], ...]:
    """What happens, as (name, first step, last step + 1): approach, grasp, carry, flight, release or hold, retreat.

    Those of no length are left out.

    Args:
        object_pos_world: (T + 1, 3) m.
        touched: (T + 1,) whether the robot touches the object.
    """
    end = len(touched)
    steps = np.flatnonzero(touched)
    first, last = (int(steps[0]), int(steps[-1]) + 1) if len(steps) else (end, end)
    try:
        carry = find_carry(object_pos_world)
        lift, place = max(carry.lift, first), carry.place
    except DexVidError:  # it never moves
        lift, place = last, last
    held = "hold" if last == end else "release"
    bounds = (
        ("approach", 0, first),
        ("grasp", first, min(lift, last)),
        ("carry", lift, min(place, last)),
        ("flight", last, place),
        (held, max(place, lift), last),
        ("retreat", max(place, last), end),
    )
    return tuple((name, start, stop) for name, start, stop in bounds if stop > start)


def plot_episode(
    player: Player, demonstration: Demonstration, path: Path, *, error_m: FloatArray | None = None, error_name: str = ""
) -> Path:
    """Draws contact forces, object error and object height over time, with the phases, as a PNG.

    Args:
        player: of the demonstration's environment.
        demonstration: what is drawn.
        path: of the .png file.
        error_m: (T + 1,) m error of the object; NaN where there is none.
        error_name: what it is measured from.

    Raises:
        OptionError: the path is no .png.
        DexVidError: the player is of another environment.
    """
    if path.suffix.lower() != ".png":
        raise OptionError(f"{path}: expected a file name that ends in .png")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    forces = measure_forces(player, demonstration)
    time_s = np.arange(demonstration.num_steps + 1) / CONTROL_HZ
    figure = Figure(figsize=(9.0, 6.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    _draw_forces(axes[0], time_s, forces)
    _draw_error(axes[1], time_s, error_m, error_name)
    _draw_height(axes[2], time_s, demonstration)
    for row, axis in enumerate(axes):
        _shade_phases(axis, forces.phases, named=row == 0)
        axis.grid(axis="y", alpha=0.35)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("time, s")
    axes[-1].set_xlim(0.0, time_s[-1])
    outcome = "success" if demonstration.successes[-1] else "no success"
    figure.suptitle(f"{demonstration.env_id}: {demonstration.tier} ({outcome})", fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return path


def _draw_forces(axis: Any, time_s: FloatArray, forces: EpisodeForces) -> None:
    axis.set_ylabel("normal force\non the object, N")
    if not forces.by_part_n:
        axis.text(0.5, 0.5, "the robot never touches the object", transform=axis.transAxes, ha="center", va="center")
        return
    axis.stackplot(
        time_s,
        list(forces.by_part_n.values()),
        labels=list(forces.by_part_n),
        colors=[_COLOURS[part] for part in forces.by_part_n],
        linewidth=0,
    )
    # A short blow would hide the grip that lasts: the scale ends where a hundredth of the touching steps lies above.
    total = forces.total_n
    highest, usual = float(total.max()), float(np.percentile(total[total > _TOUCH_N], 99))
    axis.set_ylim(0.0, 1.25 * usual)
    if highest > 1.25 * usual:
        axis.annotate(f"peak {highest:.0f} N", (time_s[int(total.argmax())], 1.19 * usual), fontsize=8, ha="left")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def _draw_error(axis: Any, time_s: FloatArray, error_m: FloatArray | None, name: str) -> None:
    axis.set_ylabel("object error, mm")
    if error_m is None or not np.isfinite(error_m).any():
        axis.text(0.5, 0.5, "no path to compare with", transform=axis.transAxes, ha="center", va="center")
        axis.set_ylim(0.0, 1.0)
        return
    mean_mm = 1000 * float(np.nanmean(error_m))
    axis.plot(time_s, 1000 * error_m, color="#c0392b", linewidth=1.6)
    axis.axhline(mean_mm, color="#c0392b", linewidth=0.9, linestyle=":")
    axis.set_title(f"from {name}: mean {mean_mm:.1f} mm, largest {1000 * np.nanmax(error_m):.1f} mm", fontsize=9, loc="left")
    axis.set_ylim(0.0, max(1.15 * 1000 * float(np.nanmax(error_m)), 1.0))


def _draw_height(axis: Any, time_s: FloatArray, demonstration: Demonstration) -> None:
    moved = demonstration.object_pos_world - demonstration.object_pos_world[0]
    axis.set_ylabel("object moved, mm")
    axis.plot(time_s, 1000 * moved[:, 2], color="#1f5fa8", linewidth=1.6, label="up")
    axis.plot(time_s, 1000 * np.linalg.norm(moved[:, :2], axis=-1), color="#20808d", linewidth=1.6, label="sideways")
    good = np.concatenate([[False], demonstration.successes])
    if good.any():
        axis.fill_between(time_s, 0, 1, where=good, transform=axis.get_xaxis_transform(), color="#2ea057", alpha=0.18, lw=0)
        axis.plot([], [], color="#2ea057", alpha=0.4, linewidth=6, label="success")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def _shade_phases(axis: Any, phases: tuple[tuple[str, int, int], ...], *, named: bool) -> None:
    for index, (name, start, stop) in enumerate(phases):
        axis.axvspan(start / CONTROL_HZ, stop / CONTROL_HZ, color=_PHASE_COLOURS[index % 2], zorder=-1, lw=0)
        if named:
            middle = (start + stop) / 2 / CONTROL_HZ
            axis.text(middle, 1.02, name, transform=axis.get_xaxis_transform(), ha="center", va="bottom", fontsize=9)


def _part(body: str) -> str:
    return next((finger for finger in FINGERS if body.startswith(finger)), "arm")


def _root(model: mujoco.MjModel, body: int) -> int:
    return int(model.body_rootid[body])
