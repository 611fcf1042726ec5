"""A plan: the retargeted motion as palm poses and finger angles, with approach and release, that can be bent and moved.

Refinement bends a plan (offsets of the palm, closure of the fingers), multiplication moves it to new starts and targets; both
go through `plan_targets`, which turns any number of variants into servo targets at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from demos.align import aim, find_carry, turn
from demos.interaction import FINGERTIPS, Interaction
from demos.resample import select_frames
from demos.retarget import RetargetConfig, RobotMotion, retarget
from demos.timeline import PlanConfig, make_timeline
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
_MOST_TURN_RAD = 1.2  # while it carries
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


def _blended(
    start: FloatArray, end: FloatArray, count: int, *, start_step: FloatArray | float = 0.0, end_step: FloatArray | float = 0.0
) -> FloatArray:
    """`count` configurations on the minimum-jerk way from `start` to `end`, both left out.

    It leaves `start` with `start_step` and arrives at `end` with `end_step`, each the change in a step.
    """
    t = ((np.arange(count) + 1) / (count + 1))[:, None]
    blended = start + minimum_jerk(t) * (end - start)
    return blended + (count + 1) * (_arriving(t) * end_step - _arriving(1 - t) * start_step)


def _arriving(t: FloatArray) -> FloatArray:
    """A quintic on [0, 1] that is 0 and at rest at both ends but for a speed of 1 at the last."""
    return t**3 * (-4 + t * (7 - 3 * t))


def approach_frame(interaction: Interaction, distance_m: float) -> int:
    """First frame from which the fingertips stay within `distance_m` of the object's centre until it is lifted."""
    centre = interaction.object_pose_world[:, :3, 3]
    tips = interaction.hand_keypoints_world[:, list(FINGERTIPS[:4])].mean(axis=1)
    far = np.linalg.norm(tips - centre, axis=-1) > distance_m
    lift = find_carry(centre).lift
    before = np.flatnonzero(far[:lift])
    return int(before.max() + 1) if len(before) else 0


def choose_yaw(
    interaction: Interaction,
    yaws_rad: Sequence[float],
    ends: Callable[[float], Sequence[tuple[FloatArray, FloatArray]]],
    config: RetargetConfig,
    penalty_mm: Callable[[float], float] = lambda yaw_rad: 0.0,
    tried: Callable[[], None] = lambda: None,
) -> tuple[float, list[dict[str, float]]]:
    """The turn of the recording's world about the vertical, which is free, that the robot reaches best.

    Args:
        interaction: the recording, at the control rate.
        yaws_rad: turns to try.
        ends: starts and ends of the object, (2,) or (3,) m each, at which the motion has to be reachable with a turn.
        config: of the retargeting.
        penalty_mm: what else speaks against a turn.
        tried: called after each turn.

    Returns:
        The yaw in rad, and a row for each candidate with its mean and largest fingertip error in mm.
    """
    rows = []
    for yaw in yaws_rad:
        turned = turn(interaction, yaw)
        errors = []
        for start, target in ends(yaw):
            placed = aim(turned, start, target)
            coarse = select_frames(placed, slice(approach_frame(placed, PlanConfig().approach_distance_m), None, 4))
            errors.append(retarget(coarse, config).error_m.mean(axis=-1))
        error = np.concatenate(errors)
        away = abs(float(np.remainder(yaw - yaws_rad[0] + np.pi, 2 * np.pi) - np.pi))
        rows.append(
            {
                "yaw_rad": float(yaw),
                "turned_from_displacement_rad": away,
                "mean_error_mm": float(1e3 * error.mean()),
                "max_error_mm": float(1e3 * error.max()),
                "penalty_mm": float(penalty_mm(yaw)),
            }
        )
        tried()
    best = min(rows, key=lambda row: row["mean_error_mm"] + 0.2 * row["max_error_mm"] + row["penalty_mm"])
    return best["yaw_rad"], rows


def make_plan(
    interaction: Interaction,
    yaw_rad: float,
    start: FloatArray,
    end: FloatArray,
    retarget_config: RetargetConfig | None = None,
    config: PlanConfig | None = None,
    *,
    releases: bool = True,
    turns: bool = True,
) -> tuple[Plan, RobotMotion, Interaction]:
    """Places a recording (at the control rate) in the task's world, retargets it and adds approach, pauses and release.

    Until the object leaves its place the palm goes where the person's hand went; then it is carried along the object's path,
    turning about the vertical alone: what is noise in a recorded hand's tilt would be a fight with the object in a robot's.

    Args:
        interaction: the recording.
        yaw_rad: turn of its world.
        start, end: (2,) or (3,) m where the object's path starts and ends; recorded heights stay where they are (2,).
        retarget_config, config: settings.
        releases: the hand lets go at the end; otherwise it holds on.
        turns: the hand may turn about the vertical while it carries.

    Returns:
        The plan, the bare retargeted motion of the used frames, and the placed interaction of the same frames.
    """
    config = config or PlanConfig()
    placed = aim(turn(interaction, yaw_rad), start, end)
    placed = select_frames(placed, slice(approach_frame(placed, config.approach_distance_m), None))
    motion = retarget(placed, retarget_config)
    path = motion.object_pos_world
    phases = find_carry(path, spatial=len(start) == 3)
    lift, place = _first_motion(path, phases.lift), phases.place
    if not releases:
        place = placed.num_frames - 1
    palm, fingers = palm_pose(motion.qpos[:, : ARM_HAND.arm_joints]), motion.qpos[:, ARM_HAND.arm_joints :]
    time = make_timeline(palm[:, :3, 3], fingers, lift, place, config, releases)
    order = time.order
    wanted, progress = _wanted_path(path, phases.progress, order, lift, place, config)
    source = motion.source_frame[order].copy()
    source[: config.approach_steps] = -1
    palm = _carried(palm[order], wanted, progress if turns else np.zeros(len(order)), time.grasped, time.opened)
    fingers = fingers[order]
    fingers[time.grasped : time.opened + 1] = fingers[time.grasped]
    if releases and not _recorded_release(placed):
        palm, source = _retreat(palm, time.opened, config), _without_frame_after(order, source)
    arm, _ = solve_palm_pose(palm, motion.qpos[order, : ARM_HAND.arm_joints], 20)
    plan = Plan(
        palm=palm,
        arm=arm,
        fingers=fingers,
        progress=progress,
        held=time.held,
        object_pos_world=wanted,
        source_frame=source,
        start_xy=np.array(start[:2], dtype=np.float64),
        target_xy=np.array(end[:2], dtype=np.float64),
        approach_steps=config.approach_steps,
        return_steps=config.return_steps if releases else 0,
        rest_steps=config.rest_steps if releases else 0,
        lift=time.lift,
        place=time.place,
        release=int(np.flatnonzero(time.held >= 1.0).max()),
        knots=config.knots,
    )
    return plan, motion, placed


def _first_motion(path: FloatArray, lift: int) -> int:
    """The frame from which the object's path (T, 3) m leads steadily away from its place, before frame `lift`."""
    rest = np.median(path[: max(lift - 2, 1)], axis=0)
    away = np.linalg.norm(path - rest, axis=-1)
    while lift > 1 and away[lift - 1] > 0.004 and away[lift - 1] < away[lift]:
        lift -= 1
    return lift


def _wanted_path(
    path: FloatArray, progress: FloatArray, order: NDArray[np.int64], lift: int, place: int, config: PlanConfig
) -> tuple[FloatArray, FloatArray]:
    """The object's path (T, 3) m over the control steps, at rest before the lift and after the placing, and its progress."""
    start, end = np.median(path[: max(lift - 1, 1)], axis=0), np.median(path[place:][:5], axis=0)
    clean = path.copy()
    clean[:lift], clean[place:] = start, end
    weights = np.array([0.25, 0.5, 0.25])
    padded = np.concatenate([clean[:1], clean, clean[-1:]])
    clean = weights[0] * padded[:-2] + weights[1] * padded[1:-1] + weights[2] * padded[2:]
    share = progress.copy()
    share[:lift], share[place:] = 0.0, 1.0
    return clean[order], share[order]


def _carried(palm: FloatArray, wanted: FloatArray, share: FloatArray, first: int, last: int) -> FloatArray:
    """Palm frames (T, 4, 4) that follow the object's path between two steps, and go on from there as they did.

    On the way they turn about the object's vertical as far as the recorded ones did in all, by the share (T,) of the way.
    """
    moved, carried = palm.copy(), slice(first, last + 1)
    whole = Rotation.from_matrix(palm[last, :3, :3] @ palm[first, :3, :3].T).as_rotvec()[2]
    whole = float(np.clip(whole, -_MOST_TURN_RAD, _MOST_TURN_RAD))
    turn = Rotation.from_rotvec(share[carried, None] * np.array([0.0, 0.0, whole])).as_matrix()
    moved[carried, :3, :3] = turn @ palm[first, :3, :3]
    moved[carried, :3, 3] = wanted[carried] + turn @ (palm[first, :3, 3] - wanted[first])
    if last + 1 < len(palm):
        after = np.linalg.inv(palm[last]) @ palm[last + 1 :]
        moved[last + 1 :] = moved[last] @ after
    return moved


def _recorded_release(placed: Interaction) -> bool:
    """Whether the recording itself ends with the hand away from the object."""
    tips = placed.hand_keypoints_world[-1, list(FINGERTIPS[:4])]
    return bool(np.linalg.norm(tips - placed.object_pose_world[-1, :3, 3], axis=-1).min() > 0.075)


def _retreat(palm: FloatArray, release_step: int, config: PlanConfig) -> FloatArray:
    """Palm frames (T, 4, 4) with a straight retreat after the release."""
    moved = palm.copy()
    moved[release_step:] = palm[release_step]
    direction = -palm[release_step, :3, 2] * np.array([1.0, 1.0, 0.0])  # the way the fingers came
    direction /= max(float(np.linalg.norm(direction)), 1e-9)
    steps = np.arange(len(palm)) - release_step
    way = config.retreat_m * minimum_jerk(np.clip(steps / config.retreat_steps, 0.0, 1.0))
    moved[release_step:, :3, 3] += way[release_step:, None] * direction
    moved[release_step:, 2, 3] += 0.2 * way[release_step:]
    return moved


def _without_frame_after(order: NDArray[np.int64], source: NDArray[np.int64]) -> NDArray[np.int64]:
    """No source frame stands behind the steps that repeat the last frame."""
    repeated = np.concatenate([[False], order[1:] == order[:-1]])
    return np.where(repeated & (order == order[-1]), -1, source)


def minimum_jerk(t: FloatArray) -> FloatArray:
    """The smooth step 10 t^3 - 15 t^4 + 6 t^5 for t in [0, 1], which is not checked.

    `demos.synthetic.motion` has its own, which holds still beyond both ends: its last bits differ, and films and
    demonstrations that are shipped have to come out again as they are.
    """
    return t**3 * (10 + t * (-15 + 6 * t))


def _correct(palm: FloatArray, correction_world: FloatArray) -> None:
    """Shifts palm frames (N, T, 4, 4) and turns them about the grasp, in place, by (N, T, 6) m and rad in the world."""
    grasp = (palm[..., :3, :3] @ _PALM_TO_GRASP_M) + palm[..., :3, 3]
    turn = Rotation.from_rotvec(correction_world[..., 3:].reshape(-1, 3)).as_matrix().reshape(*palm.shape[:2], 3, 3)
    palm[..., :3, :3] = turn @ palm[..., :3, :3]
    palm[..., :3, 3] = grasp - palm[..., :3, :3] @ _PALM_TO_GRASP_M + correction_world[..., :3]


def spline_basis(plan: Plan) -> FloatArray:
    """(T, K) values of the natural cubic splines through the knots, which lie evenly after the approach."""
    steps = np.arange(plan.num_steps)
    knots = np.linspace(plan.approach_steps, plan.num_steps - 1 - plan.return_steps - plan.rest_steps, plan.knots)
    clipped = np.clip(steps, knots[0], knots[-1])
    return CubicSpline(knots, np.eye(plan.knots), axis=0, bc_type="natural")(clipped)


def plan_targets(
    plan: Plan,
    bends: FloatArray,
    starts_xy: FloatArray,
    targets_xy: FloatArray,
    ik_iterations: int = 6,
    *,
    correction_world: FloatArray | None = None,
    steps: int | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Servo targets of N variants of a plan.

    Args:
        plan: the plan.
        bends: (N, K, B) bends, see `BEND_NAMES`.
        starts_xy, targets_xy: (N, 2) m the object's start and target of each variant.
        ik_iterations: steps of the arm's inverse kinematics.
        correction_world: (N, T, 6) by which the palm aims elsewhere, step by step: m, and a turn in rad about what it holds.
        steps: of the plan's T steps, those that are wanted; all of them if None.

    Returns:
        (N, T, 23) rad targets within the joint limits, and (N,) m largest remaining error of the palm.
    """
    count, whole = len(bends), plan.num_steps
    steps = whole if steps is None else steps
    curve = np.einsum("tk,nkb->ntb", spline_basis(plan)[:steps], bends)
    own = plan.palm[:steps]
    palm = np.tile(own, (count, 1, 1, 1))
    pivot = np.einsum("tij,j->ti", own[:, :3, :3], _PALM_TO_GRASP_M) + own[:, :3, 3]
    turned = own[:, :3, :3] @ Rotation.from_rotvec(curve[..., 3:6].reshape(-1, 3)).as_matrix().reshape(count, steps, 3, 3)
    palm[..., :3, :3] = turned
    offset = np.einsum("tij,ntj->nti", own[:, :3, :3], curve[..., :3])
    palm[..., :3, 3] = pivot - np.einsum("ntij,j->nti", turned, _PALM_TO_GRASP_M) + offset
    progress = plan.progress[None, :steps, None]
    shift = (1 - progress) * (starts_xy - plan.start_xy)[:, None] + progress * (targets_xy - plan.target_xy)[:, None]
    palm[..., :2, 3] += shift
    if correction_world is not None:
        _correct(palm, correction_world[:, :steps])
    seed = np.tile(plan.arm[:steps], (count, 1, 1)).reshape(-1, ARM_HAND.arm_joints)
    arm, error = solve_palm_pose(palm.reshape(-1, 4, 4), seed, ik_iterations)
    held = plan.held[None, :steps, None]
    fingers = plan.fingers[:steps] + held * (curve[..., 6:12] @ _CLOSURE) + (1 - held) * curve[..., 12:13] * _OPENING
    targets = np.concatenate([arm.reshape(count, steps, -1), fingers], axis=-1)
    first, approach = targets[:, plan.approach_steps, None], plan.approach_steps
    targets[:, :approach] = _blended(ARM_HAND.home_rad, first, approach, end_step=targets[:, approach + 1, None] - first)
    back = whole - plan.return_steps - plan.rest_steps
    if plan.return_steps and steps == whole:
        leaving = targets[:, back - 1, None]
        targets[:, back : back + plan.return_steps] = _blended(
            leaving, ARM_HAND.home_rad, plan.return_steps, start_step=leaving - targets[:, back - 2, None]
        )
        targets[:, back + plan.return_steps :] = ARM_HAND.home_rad
    return np.clip(targets, ARM_HAND.lower_rad, ARM_HAND.upper_rad), error.reshape(count, steps).max(axis=-1)
