"""A plan: the retargeted motion as palm poses and finger angles, with approach and release, that can be bent and moved.

Refinement bends a plan (offsets of the palm, closure of the fingers), multiplication moves it to new starts and targets; both
go through `plan_targets`, which turns any number of variants into servo targets at once.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from demos.align import aim, displacement_yaw, find_carry, turn
from demos.interaction import FINGERTIPS, Interaction
from demos.retarget import RetargetConfig, RobotMotion, retarget
from robots.arm_hand import ARM_HAND
from robots.arm_kinematics import palm_pose, solve_palm_pose

FloatArray = NDArray[np.float64]

#: What a bend changes, in this order: palm offset (m, palm frame), palm turn about the grasp (rad, palm frame), closure (rad)
#: of index, middle, ring, thumb opposition, thumb swing, thumb flexion, and opening (rad) of all fingers while nothing is held.
BEND_NAMES = (
    *(f"palm_offset_{axis}" for axis in "xyz"),
    *(f"palm_turn_{axis}" for axis in "xyz"),
    *(f"close_{name}" for name in ("index", "middle", "ring", "thumb_base", "thumb_proximal", "thumb_flexion")),
    "open",
)
_PALM_TO_GRASP_M = np.array([0.055, 0.0, 0.05])  # where a held object is, in the palm frame


def _closure_matrix() -> FloatArray:
    """(6, 16) hand joints moved by each closure group."""
    matrix = np.zeros((6, 16))
    for finger in range(3):
        matrix[finger, 4 * finger + 1 : 4 * finger + 4] = (0.6, 1.0, 0.6)
    matrix[3, 12], matrix[4, 13], matrix[5, 14:16] = 1.0, 1.0, (1.0, 0.8)
    return matrix


_CLOSURE = _closure_matrix()
_OPENING = -np.array([0.0, 0.6, 0.6, 0.4] * 3 + [0.0, 0.0, 0.7, 0.5])


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """Timing of what the recording lacks, in control steps (20 a second).

    Attributes:
        approach_steps: from home to the first used frame.
        approach_distance_m: the recording is used from where the fingertips come this near to the object.
        grasp_steps: over which the fingers close, before the lift.
        squeeze_steps: pause with closed fingers before the lift.
        settle_steps: pause with closed fingers after the placing.
        release_steps: over which the fingers open.
        retreat_steps, retreat_m: backward motion of the hand where the recording ends before one.
        return_steps: from the end of the recording back to home, where a policy can rest without drifting into the bottle.
        rest_steps: pause at home.
        knots: number of spline knots of a bend.
    """

    approach_steps: int = 24
    approach_distance_m: float = 0.20
    grasp_steps: int = 8
    squeeze_steps: int = 5
    settle_steps: int = 3
    release_steps: int = 8
    retreat_steps: int = 14
    retreat_m: float = 0.10
    return_steps: int = 20
    rest_steps: int = 6
    knots: int = 8


@dataclasses.dataclass(frozen=True)
class Plan:
    """A motion of T control steps, split so that it can be bent and moved.

    Attributes:
        palm: (T, 4, 4) `T_world_palm`; in the approach it is the first used frame's.
        arm: (T, 7) rad arm angles that reach it.
        fingers: (T, 16) rad.
        progress: (T,) in [0, 1] of the carry.
        held: (T,) in [0, 1], how far the fingers are closed on the object.
        object_pos_world: (T, 3) m recorded path of the object's centre.
        source_frame: (T,) int; -1 where the recording has none.
        start_xy, target_xy: (2,) m the object's recorded start and end.
        approach_steps: number of steps before the first used frame, from home.
        return_steps, rest_steps: number of steps back to home and at home, at the end.
        lift, place, release: step in which the object leaves, arrives and is let go.
        knots: number of spline knots of a bend.
    """

    palm: FloatArray
    arm: FloatArray
    fingers: FloatArray
    progress: FloatArray
    held: FloatArray
    object_pos_world: FloatArray
    source_frame: NDArray[np.int64]
    start_xy: FloatArray
    target_xy: FloatArray
    approach_steps: int
    return_steps: int
    rest_steps: int
    lift: int
    place: int
    release: int
    knots: int

    @property
    def num_steps(self) -> int:
        """Number of control steps T."""
        return len(self.fingers)

    def bend_shape(self) -> tuple[int, int]:
        """Shape (K, B) of a bend."""
        return self.knots, len(BEND_NAMES)


def _blended(start: FloatArray, end: FloatArray, count: int) -> FloatArray:
    """`count` configurations on the minimum-jerk way from `start` to `end`, both left out."""
    share = minimum_jerk((np.arange(count) + 1) / (count + 1))[:, None]
    return start + share * (end - start)


def select_frames(interaction: Interaction, frames: slice) -> Interaction:
    """The interaction's frames `first::stride`, at the frame rate that follows."""
    per_frame = {
        field.name: getattr(interaction, field.name)[frames]
        for field in dataclasses.fields(interaction)
        if isinstance(getattr(interaction, field.name), np.ndarray) and field.name not in ("K", "T_world_camera")
    }
    return dataclasses.replace(interaction, fps=interaction.fps / (frames.step or 1), **per_frame)


def approach_frame(interaction: Interaction, distance_m: float) -> int:
    """First frame from which the fingertips stay within `distance_m` of the object's centre until it is lifted."""
    centre = interaction.object_pose_world[:, :3, 3]
    tips = interaction.hand_keypoints_world[:, list(FINGERTIPS[:4])].mean(axis=1)
    far = np.linalg.norm(tips - centre, axis=-1) > distance_m
    lift = find_carry(centre).lift
    before = np.flatnonzero(far[:lift])
    return int(before.max() + 1) if len(before) else 0


def choose_yaw(
    interaction: Interaction, starts: FloatArray, targets: FloatArray, config: RetargetConfig, candidates: int = 12
) -> tuple[float, list[dict[str, float]]]:
    """The turn of the recording's world about the vertical, which is free, that the robot reaches best.

    Args:
        interaction: the recording, at the control rate.
        starts, targets: (M, 2) m pairs at which the motion has to be reachable, the task's corners.
        config: of the retargeting.
        candidates: turns to try.

    Returns:
        The yaw in rad, and a row for each candidate with its mean and largest fingertip error in mm.
    """
    aligned = displacement_yaw(interaction, starts[0], targets[0])
    rows = []
    for turn_rad in 2 * np.pi * np.arange(candidates) / candidates:
        yaw = aligned + turn_rad
        turned = turn(interaction, yaw)
        errors = []
        for start, target in zip(starts, targets, strict=True):
            placed = aim(turned, start, target)
            coarse = select_frames(placed, slice(approach_frame(placed, PlanConfig().approach_distance_m), None, 4))
            errors.append(retarget(coarse, config).error_m.mean(axis=-1))
        error = np.concatenate(errors)
        away = min(turn_rad, 2 * np.pi - turn_rad)
        rows.append(
            {
                "yaw_rad": float(yaw),
                "turned_from_displacement_rad": float(away),
                "mean_error_mm": float(1e3 * error.mean()),
                "max_error_mm": float(1e3 * error.max()),
            }
        )
    best = min(
        rows, key=lambda row: row["mean_error_mm"] + 0.2 * row["max_error_mm"] + 0.5 * row["turned_from_displacement_rad"]
    )
    return best["yaw_rad"], rows


def make_plan(
    interaction: Interaction,
    yaw_rad: float,
    start_xy: FloatArray,
    target_xy: FloatArray,
    retarget_config: RetargetConfig | None = None,
    config: PlanConfig | None = None,
) -> tuple[Plan, RobotMotion, Interaction]:
    """Places a recording (at the control rate) in the task's world, retargets it and adds approach, pauses and release.

    Returns:
        The plan, the bare retargeted motion of the used frames, and the placed interaction of the same frames.
    """
    config = config or PlanConfig()
    placed = aim(turn(interaction, yaw_rad), start_xy, target_xy)
    placed = select_frames(placed, slice(approach_frame(placed, config.approach_distance_m), None))
    motion = retarget(placed, retarget_config)
    phases = find_carry(motion.object_pos_world)
    order, held = _timeline(placed, phases.lift, phases.place, config)
    fingers = motion.qpos[order, ARM_HAND.arm_joints :]
    arm = motion.qpos[order, : ARM_HAND.arm_joints]
    palm = palm_pose(arm)
    source = motion.source_frame[order].copy()
    approach = config.approach_steps
    source[:approach] = -1
    tail = _retreat(placed, palm, order, config)
    if tail is not None:
        palm, source = tail, _without_frame_after(order, source)
        arm, _ = solve_palm_pose(palm, arm)
    positions = np.flatnonzero(order == phases.lift)
    release = int(np.flatnonzero(held >= 1.0).max())
    plan = Plan(
        palm=palm,
        arm=arm,
        fingers=fingers,
        progress=phases.progress[order],
        held=held,
        object_pos_world=motion.object_pos_world[order],
        source_frame=source,
        start_xy=np.asarray(start_xy, dtype=np.float64),
        target_xy=np.asarray(target_xy, dtype=np.float64),
        approach_steps=approach,
        return_steps=config.return_steps,
        rest_steps=config.rest_steps,
        lift=int(positions.max()),
        place=int(np.flatnonzero(order == phases.place).min()),
        release=release,
        knots=config.knots,
    )
    return plan, motion, placed


def _timeline(placed: Interaction, lift: int, place: int, config: PlanConfig) -> tuple[NDArray[np.int64], FloatArray]:
    """Which frame each control step shows, (T,), and how far the fingers are closed, (T,)."""
    last = placed.num_frames - 1
    order = np.concatenate(
        [
            np.zeros(config.approach_steps, dtype=np.int64),
            np.arange(lift),
            np.full(config.squeeze_steps, lift, dtype=np.int64),
            np.arange(lift, place),
            np.full(config.settle_steps + 1, place, dtype=np.int64),
            np.arange(place + 1, last + 1),
        ]
    )
    extra = config.return_steps + config.rest_steps
    if not _recorded_release(placed):
        extra += max(config.release_steps + config.retreat_steps - (last - place), 0)
    order = np.concatenate([order, np.full(extra, last, dtype=np.int64)])
    steps = np.arange(len(order))
    lift_step = config.approach_steps + lift + config.squeeze_steps
    release_step = int(np.flatnonzero(order == place).max())
    closing = (steps - (lift_step - config.squeeze_steps - config.grasp_steps)) / config.grasp_steps
    opening = 1 - (steps - release_step) / config.release_steps
    return order, np.clip(np.minimum(closing, opening), 0.0, 1.0)


def _recorded_release(placed: Interaction) -> bool:
    """Whether the recording itself ends with the hand away from the object."""
    tips = placed.hand_keypoints_world[-1, list(FINGERTIPS[:4])]
    return bool(np.linalg.norm(tips - placed.object_pose_world[-1, :3, 3], axis=-1).min() > 0.075)


def _retreat(placed: Interaction, palm: FloatArray, order: NDArray[np.int64], config: PlanConfig) -> FloatArray | None:
    """Palm frames with a straight retreat after the release, where the recording ends without one; None where it has one."""
    if _recorded_release(placed):
        return None
    place = find_carry(placed.object_pose_world[:, :3, 3]).place
    release_step = int(np.flatnonzero(order == place).max())
    moved = palm.copy()
    moved[release_step:] = palm[release_step]
    direction = -palm[release_step, :3, 2] * np.array([1.0, 1.0, 0.0])  # the way the fingers came
    direction /= max(float(np.linalg.norm(direction)), 1e-9)
    steps = np.arange(len(order)) - release_step - config.release_steps
    way = config.retreat_m * minimum_jerk(np.clip(steps / config.retreat_steps, 0.0, 1.0))
    moved[release_step:, :3, 3] += way[release_step:, None] * direction
    moved[release_step:, 2, 3] += 0.2 * way[release_step:]
    return moved


def _without_frame_after(order: NDArray[np.int64], source: NDArray[np.int64]) -> NDArray[np.int64]:
    """No source frame stands behind the steps that repeat the last frame."""
    repeated = np.concatenate([[False], order[1:] == order[:-1]])
    return np.where(repeated & (order == order[-1]), -1, source)


def minimum_jerk(t: FloatArray) -> FloatArray:
    """The smooth step 10 t^3 - 15 t^4 + 6 t^5 on [0, 1]."""
    return t**3 * (10 + t * (-15 + 6 * t))


def spline_basis(plan: Plan) -> FloatArray:
    """(T, K) values of the natural cubic splines through the knots, which lie evenly after the approach."""
    steps = np.arange(plan.num_steps)
    knots = np.linspace(plan.approach_steps, plan.num_steps - 1 - plan.return_steps - plan.rest_steps, plan.knots)
    clipped = np.clip(steps, knots[0], knots[-1])
    return CubicSpline(knots, np.eye(plan.knots), axis=0, bc_type="natural")(clipped)


def plan_targets(
    plan: Plan, bends: FloatArray, starts_xy: FloatArray, targets_xy: FloatArray, ik_iterations: int = 6
) -> tuple[FloatArray, FloatArray]:
    """Servo targets of N variants of a plan.

    Args:
        plan: the plan.
        bends: (N, K, B) bends, see `BEND_NAMES`.
        starts_xy, targets_xy: (N, 2) m the object's start and target of each variant.
        ik_iterations: steps of the arm's inverse kinematics.

    Returns:
        (N, T, 23) rad targets within the joint limits, and (N,) m largest remaining error of the palm.
    """
    count, steps = len(bends), plan.num_steps
    curve = np.einsum("tk,nkb->ntb", spline_basis(plan), bends)
    palm = np.tile(plan.palm, (count, 1, 1, 1))
    pivot = np.einsum("tij,j->ti", plan.palm[:, :3, :3], _PALM_TO_GRASP_M) + plan.palm[:, :3, 3]
    turned = plan.palm[:, :3, :3] @ Rotation.from_rotvec(curve[..., 3:6].reshape(-1, 3)).as_matrix().reshape(count, steps, 3, 3)
    palm[..., :3, :3] = turned
    offset = np.einsum("tij,ntj->nti", plan.palm[:, :3, :3], curve[..., :3])
    palm[..., :3, 3] = pivot - np.einsum("ntij,j->nti", turned, _PALM_TO_GRASP_M) + offset
    shift = (1 - plan.progress[None, :, None]) * (starts_xy - plan.start_xy)[:, None]
    shift = shift + plan.progress[None, :, None] * (targets_xy - plan.target_xy)[:, None]
    palm[..., :2, 3] += shift
    seed = np.tile(plan.arm, (count, 1, 1)).reshape(-1, ARM_HAND.arm_joints)
    arm, error = solve_palm_pose(palm.reshape(-1, 4, 4), seed, ik_iterations)
    held = plan.held[None, :, None]
    fingers = plan.fingers + held * (curve[..., 6:12] @ _CLOSURE) + (1 - held) * curve[..., 12:13] * _OPENING
    targets = np.concatenate([arm.reshape(count, steps, -1), fingers], axis=-1)
    first, approach = targets[:, plan.approach_steps, None], plan.approach_steps
    targets[:, :approach] = _blended(ARM_HAND.home_rad, first, approach)
    back = steps - plan.return_steps - plan.rest_steps
    if plan.return_steps:
        targets[:, back : back + plan.return_steps] = _blended(targets[:, back - 1, None], ARM_HAND.home_rad, plan.return_steps)
        targets[:, back + plan.return_steps :] = ARM_HAND.home_rad
    return np.clip(targets, ARM_HAND.lower_rad, ARM_HAND.upper_rad), error.reshape(count, steps).max(axis=-1)
