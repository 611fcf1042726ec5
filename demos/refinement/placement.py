"""Brings a recording into a task's world and makes the motions from which the search begins."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from demos.align import find_carry, mirror
from demos.interaction import Interaction
from demos.plan import Plan, choose_yaw, make_plan
from demos.refinement.task import TaskPlace, TrackedTask, find_tracked_task, flat_box
from demos.refinement.usual import UsualHold, find_usual_hold, with_throw, with_usual_hold
from demos.resample import resample, select_frames
from demos.retarget import RetargetConfig, RobotMotion
from demos.timeline import PlanConfig
from dexvid_envs.errors import DexVidError
from dexvid_envs.progress import Report

FloatArray = NDArray[np.float64]
_ROUND = 0.10  # wider side over narrower one, less 1, below which a thing has no heading
_MM_PER_RAD = 40.0  # how much a heading counts that the task does not have, as fingertip error
_MM_PER_BENT_M = 100.0  # the same for a path that has to be led elsewhere than in the video; half of it is its mean distance
_NEARBY_RAD = tuple(np.radians((-20.0, -10.0, 0.0, 10.0, 20.0)))  # beside the best turn
_PLAN_TURNS = 4  # a plan takes about as long as trying so many turns
_LEAST_KNOWN = 0.7  # share of the frames from which the others are filled
_SLOW = 0.35  # of a throw's largest speed, below which it has not begun


@dataclasses.dataclass(frozen=True)
class PlacedMotion:
    """A retargeted recording in a task's world.

    Attributes:
        interaction: placed in the world, the used frames at the control rate.
        motion: the bare retargeted motion of the same frames.
        plan: the motion with approach, pauses and release.
        yaw_rad: the turn of the recording's world.
        yaw_candidates: what was tried, with errors.
        usual: the same plan held in the usual way; None where it was not asked for.
        place: where the recording was brought.
        object_yaw_rad: of the task's object at the start.
        has_heading: the object is wider than deep, so that its yaw matters.
        mirrored: a left hand's recording was mirrored for the robot's right hand.
        retarget_config, plan_config: with which motion and plan were made.
    """

    interaction: Interaction
    motion: RobotMotion
    plan: Plan
    yaw_rad: float
    yaw_candidates: list[dict[str, float]]
    usual: Plan | None = None
    place: TaskPlace | None = None
    object_yaw_rad: float = 0.0
    has_heading: bool = False
    mirrored: bool = False
    retarget_config: RetargetConfig = dataclasses.field(default_factory=RetargetConfig)
    plan_config: PlanConfig = dataclasses.field(default_factory=PlanConfig)

    @property
    def goal_m(self) -> FloatArray:
        """(2,) or (3,) m the task's goal."""
        return self.plan.target_xy if self.place is None else self.place.goal_m


def place_and_retarget(
    interaction: Interaction,
    env_id: str,
    env_options: dict[str, Any],
    retarget_config: RetargetConfig | None = None,
    plan_config: PlanConfig | None = None,
    yaw_rad: float | None = None,
    turns: int = 12,
    report: Report = lambda share, state: None,
) -> PlacedMotion:
    """Places a recording in the task's world and retargets it.

    Args:
        interaction: from an extraction or an importer.
        env_id, env_options: environment.
        retarget_config, plan_config: settings.
        yaw_rad: turn of the recording's world about the vertical; the one that the robot reaches best if None.
        turns: how many are tried then, all around.
        report: called with the finished share and a line on the state.

    Raises:
        DexVidError: the recording has no object pose to go by, hand key points are missing, the object is never moved or
            touched.
    """
    config, plan_config = retarget_config or RetargetConfig(), plan_config or PlanConfig()
    interaction = fill_recording(interaction)
    check_recording(interaction)
    tracked = find_tracked_task(env_id, env_options)
    mirrored = interaction.hand_side == "left"
    recording = resample(mirror(interaction) if mirrored else interaction, config.control_hz, config.max_duration_s)
    if tracked.ending == "throw":
        recording = select_frames(recording, slice(0, swing_begins(recording)))
    aim = _Aim(recording, tracked)
    yaw, candidates = yaw_rad, []
    if yaw is None:
        bare = dataclasses.replace(config, contact=False, smoothness_weight=0.0)  # what can be reached, and quickly
        tries, done = aim.yaws_rad(turns), 0
        count = len(tries) + (len(_NEARBY_RAD) if aim.bends else 0)

        def tried() -> None:
            nonlocal done
            done += 1
            report(done / (count + _PLAN_TURNS), f"{done} of {count} turns tried")

        yaw, candidates = choose_yaw(recording, tries, aim.ends, bare, aim.penalty_mm, tried)
        if aim.bends:
            yaw, _ = choose_yaw(recording, [yaw + nearby for nearby in _NEARBY_RAD], aim.ends, bare, aim.penalty_mm, tried)
    place = aim.place(yaw)
    releases = tracked.ending == "release"
    if tracked.ending == "throw":
        plan_config = dataclasses.replace(plan_config, hold_steps=2)
    plan, motion, placed = make_plan(
        recording, yaw, place.start_m, place.end_m, config, plan_config, releases=releases, turns=tracked.lifted
    )
    object_yaw = aim.object_yaw(yaw)[0]
    hold = usual_hold(tracked, place, object_yaw)
    usual = with_usual_hold(plan, hold, plan_config, turns=tracked.lifted)
    if tracked.ending == "throw":
        plan, usual = with_throw([plan, usual], hold)
    return PlacedMotion(
        interaction=placed,
        motion=motion,
        plan=plan,
        yaw_rad=yaw,
        yaw_candidates=candidates,
        usual=usual,
        place=place,
        object_yaw_rad=object_yaw,
        has_heading=aim.has_heading,
        mirrored=mirrored,
        retarget_config=config,
        plan_config=plan_config,
    )


class _Aim:
    """How a recording can be turned and shifted into a task's world."""

    def __init__(self, recording: Interaction, tracked: TrackedTask) -> None:
        self.tracked = tracked
        path = recording.object_pose_world[:, :3, 3]
        self.displacement = np.median(path[-5:], axis=0) - np.median(path[:5], axis=0)
        self.heading = recorded_heading(recording)
        centre = tracked.place(np.zeros(3))
        way = (centre.goal_m - centre.start_m)[:2]
        recorded = self.displacement[:2]
        self.straight_yaw = float(np.arctan2(way[1], way[0]) - np.arctan2(recorded[1], recorded[0]))

    def yaws_rad(self, turns: int) -> list[float]:
        """Turns to try: the one along the task's own way first; no other where the object cannot go elsewhere."""
        count = turns if self.tracked.lifted else 1
        return [self.straight_yaw + 2 * np.pi * index / count for index in range(count)]

    def place(self, yaw_rad: float) -> TaskPlace:
        """Where the recording goes with a turn."""
        return self.tracked.place(self._turned(yaw_rad))

    def _turned(self, yaw_rad: float) -> FloatArray:
        """(3,) m the way from the object's first place to its last, in the turned recording."""
        cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
        return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ self.displacement

    def ends(self, yaw_rad: float) -> list[tuple[FloatArray, FloatArray]]:
        """The path's ends in the middle and, against each other, at two corners of what the task asks for."""
        place = self.place(yaw_rad)
        if not (place.start_half_extent_m.any() and self.tracked.lifted):
            return [(place.start_m, place.end_m)]
        start_corner, end_corner = np.zeros(3), np.zeros(3)
        start_corner[:2], end_corner[:2] = place.start_half_extent_m, place.goal_half_extent_m
        corners = [(place.start_m + side * start_corner, place.end_m - side * end_corner) for side in (1, -1)]
        return [(place.start_m, place.end_m), *corners]

    @property
    def bends(self) -> bool:
        """Whether the path is led elsewhere than in the video, where the recording is turned from the task's own way."""
        return self.tracked.lifted and not self.tracked.free_yaw

    def penalty_mm(self, yaw_rad: float) -> float:
        """What speaks against a turn beside the reach: the object's heading there, and a path that is bent to its goal."""
        place, bent_m = self.place(yaw_rad), 0.0
        if self.bends:
            missing = self._turned(yaw_rad) - (place.end_m - place.start_m)
            bent_m = float(np.linalg.norm(missing[:2]))
        return _MM_PER_BENT_M * bent_m + _MM_PER_RAD * abs(self.object_yaw(yaw_rad)[1])

    @property
    def has_heading(self) -> bool:
        """Whether both the recorded object and the task's have one."""
        shape = self.tracked.object_shape()
        return self.heading is not None and shape is not None and _is_long(shape.extents_m[:2])

    def object_yaw(self, yaw_rad: float) -> tuple[float, float]:
        """The yaw of the task's object that is nearest to the recorded one, and what is missing to that, rad."""
        shape = self.tracked.object_shape()
        if self.heading is None or shape is None or not self.has_heading:
            return 0.0, 0.0
        own = np.pi / 2 if shape.extents_m[1] > shape.extents_m[0] else 0.0  # of the wider side, at yaw 0
        wanted = _wrapped(self.heading + yaw_rad - own, np.pi)
        largest = self.place(yaw_rad).largest_yaw_rad
        given = float(np.clip(wanted, -largest, largest))
        return given, wanted - given


def turns_for_any_yaw(placed: PlacedMotion, sides: int = 2) -> tuple[float, ...]:
    """Turns (rad) of the recording for demonstrations which between them take the object however it stands.

    An object without a heading needs one. Another is alike after half a turn, and a grasp can follow it by some 45 degrees
    either way; so two are enough, and of more, each has to follow it less far. They divide the half circle that the arm reaches
    best evenly, each in the middle of its part.
    """
    if not placed.has_heading:
        return (placed.yaw_rad,)
    tried, half = placed.yaw_candidates, len(placed.yaw_candidates) // 2
    if sides < 1 or half % (2 * sides):
        raise ValueError(f"{len(placed.yaw_candidates)} turns were tried; expected a multiple of {4 * sides} for {sides} sides")
    error = np.array([one["mean_error_mm"] for one in tried])
    apart = half // sides
    covered = range(-(apart // 2), half - apart // 2 + 1)  # of the first of the turns
    first = int(np.argmin([sum(error[(index + step) % len(tried)] for step in covered) for index in range(len(tried))]))
    return tuple(tried[(first + side * apart) % len(tried)]["yaw_rad"] for side in range(sides))


def usual_hold(tracked: TrackedTask, place: TaskPlace, object_yaw_rad: float) -> UsualHold:
    """The scripted hold at the place of a recording."""
    env = gymnasium.make(tracked.env_id, **tracked.env_options)
    core = env.unwrapped.core  # type: ignore[attr-defined]
    hold = find_usual_hold(core, tracked.reset_options(place.start_m[:2], place.goal_m, object_yaw_rad))
    env.close()
    return hold


def fill_recording(interaction: Interaction) -> Interaction:
    """The recording with the object's pose and the hand known throughout, where only a few frames lack them.

    Between known frames both go on evenly; before the first and after the last one they stand still.
    """
    poses, hand = interaction.object_pose_world, interaction.hand_keypoints_world
    frames = np.arange(interaction.num_frames)
    known = np.isfinite(poses).all(axis=(1, 2))
    if not known.all() and known.mean() >= _LEAST_KNOWN:
        at = np.clip(frames, frames[known][0], frames[known][-1])
        poses = np.tile(np.eye(4), (len(frames), 1, 1))
        poses[:, :3, :3] = Slerp(frames[known], Rotation.from_matrix(interaction.object_pose_world[known, :3, :3]))(
            at
        ).as_matrix()
        for axis in range(3):
            poses[:, axis, 3] = np.interp(frames, frames[known], interaction.object_pose_world[known, axis, 3])
    known = np.isfinite(hand).all(axis=(1, 2))
    if not known.all() and known.mean() >= _LEAST_KNOWN:
        flat = hand.reshape(len(frames), -1)
        hand = np.stack([np.interp(frames, frames[known], column[known]) for column in flat.T], axis=-1).reshape(hand.shape)
    return dataclasses.replace(interaction, object_pose_world=poses, hand_keypoints_world=hand)


def check_recording(interaction: Interaction) -> None:
    """Refuses what no motion can be made of.

    Raises:
        DexVidError: object poses or hand key points are missing, or the object is never touched or never moves.
    """
    for what, values in (
        ("rigid object poses", interaction.object_pose_world),
        ("hand key points", interaction.hand_keypoints_world),
    ):
        unknown = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
        if len(unknown):
            raise DexVidError(
                f"the extraction lacks {what} in frame {unknown[0]} and {len(unknown) - 1} more of {len(values)}, by which a "
                "motion is retargeted; expected finite values throughout (see quality.json of the extraction)"
            )
    if not interaction.contact.any():
        raise DexVidError("the hand never touches the object in this recording; expected one in which it is handled")
    find_carry(interaction.object_pose_world[:, :3, 3])


def recorded_heading(interaction: Interaction) -> float | None:
    """Yaw (rad, modulo pi) of the wider horizontal side of the object at its start; None where it has none."""
    points = interaction.object_points_world[0]
    points = points[np.isfinite(points).all(axis=-1)]
    if len(points) < 4:
        return None
    sides, yaw = flat_box(points[:, :2])
    return yaw if _is_long(tuple(sides)) else None


def swing_begins(interaction: Interaction) -> int:
    """The frame in which a throw's swing begins: the last slow one before the object is fastest while it is touched."""
    path = interaction.object_pose_world[:, :3, 3]
    speed = np.linalg.norm(np.gradient(path, axis=0), axis=-1) * interaction.fps
    touched = np.flatnonzero(interaction.contact)
    released = int(touched[-1]) if len(touched) else len(path) - 1
    fastest = int(np.argmax(speed[: released + 1]))
    slow = np.flatnonzero(speed[:fastest] < _SLOW * speed[fastest])
    begin = int(slow[-1]) + 1 if len(slow) else fastest
    rest = np.median(path[:5], axis=0)
    if np.linalg.norm(path[:begin] - rest, axis=-1).max(initial=0.0) < 0.04:
        return fastest  # thrown without a pause after the lift
    return begin


def _is_long(sides_m: tuple[float, ...]) -> bool:
    return max(sides_m) > (1 + _ROUND) * min(sides_m)


def _wrapped(angle_rad: float, period_rad: float) -> float:
    """The angle within half a period of 0."""
    return float(np.remainder(angle_rad + period_rad / 2, period_rad) - period_rad / 2)
