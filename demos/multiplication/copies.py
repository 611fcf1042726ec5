"""Servo targets of copies: the palm's path moved with start and goal, the arm solved anew, the grip adapted."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.multiplication.arm import solve_paths
from demos.multiplication.detour import clearance, with_detours
from demos.multiplication.play import Scene
from demos.multiplication.source import THROW_STEPS, SourceMotion
from demos.plan import minimum_jerk
from robots.arm_hand import ARM_HAND

FloatArray = NDArray[np.float64]
#: What a correction changes: the palm in its own frame (m), how far fingers and thumb close (rad), and from which side the
#: object is taken, as a turn about its vertical (rad).
CORRECTION_NAMES = ("palm_x", "palm_y", "palm_z", "close_fingers", "close_thumb", "turn")
CORRECTION_SCALE = np.array([0.006, 0.008, 0.008, 0.12, 0.12, 0.2])
#: The hand follows an object's turn so far; beyond, where the arm is short of room, it takes the object more from the side.
_MOST_TURN_RAD = 1.1
_SWING_PER_M = 0.47  # how much faster a throw is for a metre of distance, as the scripted policy's
_OPEN_WIDER_RAD = 0.25  # than the source, to let go of what may stand askew between the fingers
#: How far the fingers' grip comes in for a radian of closing. Around narrower objects they close by what geometry asks for;
#: around wider ones they open by less, since what slips out of a loose grip is lost, and servos give way to a tight one.
_NARROWER_M_PER_RAD, _WIDER_M_PER_RAD = 0.033, 0.06
_FIRMER_RAD = 0.15  # of closing, for what is e times as heavy as the demonstration's


def _closing() -> FloatArray:
    """(2, 16) rad of each hand joint for a rad of closing fingers and thumb."""
    closing = np.zeros((2, ARM_HAND.num_joints - ARM_HAND.arm_joints))
    for finger in range(3):
        closing[0, 4 * finger + 1 : 4 * finger + 4] = (0.6, 1.0, 0.6)
    closing[1, 13:16] = (0.4, 1.0, 0.8)
    return closing


_CLOSING = _closing()


@dataclasses.dataclass(frozen=True)
class PlannedCopies:
    """N copies.

    Attributes:
        servo_targets: (N, T, 23) rad within the joint limits.
        reach_error_m: (N,) the palm's largest remaining error.
    """

    servo_targets: FloatArray
    reach_error_m: FloatArray


def plan_copies(source: SourceMotion, scene: Scene, aim: FloatArray, correction: FloatArray) -> PlannedCopies:
    """Carries the motion to other scenes.

    Args:
        source: what to carry.
        scene: N starts.
        aim: (N, 3) m by which the goal is aimed at elsewhere.
        correction: (N, C), see `CORRECTION_NAMES`.
    """
    count, steps = len(correction), source.num_steps
    segment = slice(source.approach, source.homeward)
    turned = _yaw(start_transforms(source, scene))
    aside = np.clip(turned, -_MOST_TURN_RAD, _MOST_TURN_RAD) - turned
    start, goal = start_transforms(source, scene, aside + correction[:, 5]), goal_transforms(source, scene, aim)
    palm = _carried(source.palm[segment], source.progress[segment], start, goal)
    back, wider = _grown(source, scene)
    offset = correction[:, :3] - np.stack([back, np.zeros(count), np.zeros(count)], axis=-1)
    palm[..., :3, 3] += (palm[..., :3, :3] @ offset[:, None, :, None])[..., 0]
    seed = np.tile(source.arm[segment], (count, 1, 1))
    seed[..., 0] += source.progress[segment] * _yaw(goal)[:, None]  # the first joint turns about the vertical
    arm = np.tile(source.arm, (count, 1, 1))
    arm[:, segment], reach = solve_paths(palm, seed)
    if source.starts.goal_kind == "bearing":
        arm = _swung(source, arm, np.linalg.norm((scene.goal + aim)[:, :2], axis=-1) - np.linalg.norm(source.end[:2]))
    arm[:, : source.approach] += _eased(source.approach)[:, None] * (arm - source.arm)[:, source.approach, None]
    if source.homeward < steps:
        home = _eased(steps - source.homeward)[::-1, None]
        arm[:, source.homeward :] += home * (arm - source.arm)[:, source.homeward - 1, None]
    _make_room(source, scene, arm)
    firmer = _FIRMER_RAD * np.maximum(np.log(scene.mass_kg / source.scene.mass_kg), 0.0)
    closing = correction[:, 3:5] + (firmer - wider / np.where(wider > 0, _WIDER_M_PER_RAD, _NARROWER_M_PER_RAD))[:, None]
    opened = (1.0 - source.held) * (np.arange(steps) >= source.quiet) * source.starts.on_table
    fingers = (
        source.fingers + source.held[:, None] * (closing[:, None] @ _CLOSING) - _OPEN_WIDER_RAD * opened[:, None] * _CLOSING[0]
    )
    targets = np.concatenate([arm, fingers], axis=-1)
    return PlannedCopies(np.clip(targets, ARM_HAND.lower_rad, ARM_HAND.upper_rad), reach)


def _make_room(source: SourceMotion, scene: Scene, arm: FloatArray) -> None:
    """Leads the hand over objects that it would else meet on its free ways; changes arm angles (N, T, 7) in place."""
    if not scene.extents_m.shape[1]:
        return
    ways = [(slice(0, source.approach + 1), scene.T_world_object, source.scene.T_world_object)]
    if source.starts.on_table and 0 < source.homeward < source.num_steps:
        left = _placed(scene.T_world_object, scene.goal), _placed(source.scene.T_world_object, source.end[None])
        ways.append((slice(None, source.homeward - 2, -1), *left))
    for steps, standing, source_standing in ways:
        usual = float(clearance(source.arm[None, steps], source_standing, source.scene.extents_m)[0])
        arm[:, steps] = with_detours(arm[:, steps], standing, scene.extents_m, usual)


def _placed(T_world_object: FloatArray, goal: FloatArray) -> FloatArray:
    """(N, 4, 4) objects as they stand, but at their goals (N, 2 or 3) m on the table."""
    moved = T_world_object.copy()
    moved[:, :2, 3] = goal[:, :2]
    return moved


def _swung(source: SourceMotion, arm: FloatArray, further_m: FloatArray) -> FloatArray:
    """Arm angles (N, T, 7) with the throw's swing through the posture of its release widened, to throw further (N,) m."""
    release = source.quiet + THROW_STEPS
    begins = np.clip((np.arange(source.num_steps) - source.quiet + THROW_STEPS) / THROW_STEPS, 0.0, 1.0)
    wider = 1.0 + _SWING_PER_M * further_m[:, None, None] * minimum_jerk(begins)[:, None]
    return arm[:, release, None] + wider * (arm - arm[:, release, None])


def start_transforms(source: SourceMotion, scene: Scene, turn_rad: FloatArray | None = None) -> FloatArray:
    """(N, 4, 4) from the source's start to each scene's, all in the world; turned further about the object's vertical."""
    old, new = source.scene.T_world_object[0], scene.T_world_object
    moved = new @ np.linalg.inv(old)
    if turn_rad is not None and source.starts.goal_kind == "place":  # elsewhere the way on depends on the grip's side
        turn = about_vertical(turn_rad)
        moved[:, :3, :3] = turn @ moved[:, :3, :3]
        moved[:, :3, 3] = new[:, :3, 3] + (turn @ (moved[:, :3, 3] - new[:, :3, 3])[..., None])[..., 0]
    return moved


def about_vertical(angle_rad: FloatArray) -> FloatArray:
    """(N, 3, 3) turns about the vertical by angles (N,)."""
    turn = np.tile(np.eye(3), (len(angle_rad), 1, 1))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle_rad)
    turn[:, 1, 0], turn[:, 0, 1] = np.sin(angle_rad), -np.sin(angle_rad)
    return turn


def goal_transforms(source: SourceMotion, scene: Scene, aim: FloatArray) -> FloatArray:
    """(N, 4, 4) from the source's goal to each scene's, all in the world; goals are reached without the start's yaw."""
    kind = source.starts.goal_kind
    moved = np.tile(np.eye(4), (len(aim), 1, 1))
    if kind == "start":
        return start_transforms(source, scene)
    if kind == "bearing":
        aimed = scene.goal + aim
        turn = np.arctan2(aimed[:, 1], aimed[:, 0]) - np.arctan2(source.end[1], source.end[0])
        moved[:, :3, :3] = about_vertical(turn)
        return moved
    axes = scene.goal.shape[1]
    moved[:, :axes, 3] = scene.goal - source.end[:axes]
    if source.starts.on_table:
        moved[:, 2, 3] = scene.T_world_object[:, 2, 3] - source.scene.T_world_object[0, 2, 3]
    moved[:, :3, 3] += aim
    return moved


def _carried(palm: FloatArray, progress: FloatArray, start: FloatArray, goal: FloatArray) -> FloatArray:
    """(N, S, 4, 4) palm frames (S, 4, 4) moved by both transforms (N, 4, 4), blended by progress (S,)."""
    share = progress[None, :, None]
    from_start, from_goal = start[:, None] @ palm, goal[:, None] @ palm
    yaw = (1 - progress) * _yaw(start)[:, None] + progress * _yaw(goal)[:, None]  # (N, S)
    moved = from_start.copy()
    moved[..., :3, 3] = (1 - share) * from_start[..., :3, 3] + share * from_goal[..., :3, 3]
    cos, sin = np.cos(yaw)[..., None], np.sin(yaw)[..., None]
    x, y = palm[:, 0, :3], palm[:, 1, :3]
    moved[..., 0, :3], moved[..., 1, :3] = cos * x - sin * y, sin * x + cos * y
    moved[..., 2, :3] = palm[:, 2, :3]
    return moved


def _yaw(transforms: FloatArray) -> FloatArray:
    """(N,) rad turn about the vertical of transforms (N, 4, 4)."""
    return np.arctan2(transforms[:, 1, 0], transforms[:, 0, 0])


def _grown(source: SourceMotion, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """(N,) m by which the surface is further from the middle: along the palm's normal, and across the narrowest side."""
    if not scene.extents_m.shape[1]:
        return np.zeros(len(scene.mass_kg)), np.zeros(len(scene.mass_kg))
    lift = int(np.flatnonzero(source.progress > 0).min(initial=source.num_steps - 1))
    normal = source.scene.T_world_object[0, :3, :3].T @ source.palm[lift, :3, 0]
    grown = (scene.extents_m - source.scene.extents_m) / 2
    return grown @ np.abs(normal), grown[:, int(source.scene.extents_m[0].argmin())]


def _eased(count: int) -> FloatArray:
    """(count,) smooth steps from 0 to 1, both left out."""
    return minimum_jerk((np.arange(count) + 1) / (count + 1))
