"""The motion to carry to other starts, read from any successful demonstration: its segments and the frames they belong to.

approach   from home to near the object: joint space, led to wherever the next segment begins
grasp      in the start's frame
carry      from the start's frame to the goal's, by the way covered
goal       in the goal's frame: let go and draw back, hold, throw
return     back home, where the demonstration goes there
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration
from demos.multiplication.play import CopyPlayer, Scene
from demos.multiplication.starts import TaskStarts, task_starts
from demos.multiplication.symmetry import Symmetry, symmetry_of
from dexvid_envs.errors import DexVidError
from dexvid_envs.tasks.object_task import ObjectTask
from robots.arm_hand import ARM_HAND
from robots.arm_kinematics import palm_pose
from robots.bucket import Bucket

FloatArray = NDArray[np.float64]
_NEAR_M = 0.10  # the grasp begins with the palm this near to where it is when the object leaves its place
_MOVED_M, _MOVED_DRAWER_M = 0.01, 0.003
_REST_M = 0.012
_LOST_M = 0.03  # an object this far from its place in the hand has been let go
_OPEN = 0.5
#: What stands on the table is let go of slowly: a bottle that is flicked rolls on its rim for a long time.
_RELEASE_STEPS, _RELEASE_SLOWER = 9, 3
#: A throw is kept as it is from so many steps before the release on.
THROW_STEPS = 14
_RIM_M = Bucket().height_m
_HOME_RAD, _AWAY_M = 0.05, 0.28


@dataclasses.dataclass(frozen=True)
class SourceMotion:
    """A motion of T control steps.

    Attributes:
        demonstration: it comes from.
        starts: what its task draws.
        scene: what it begins with (N = 1).
        arm, fingers: (T, 7), (T, 16) rad servo targets.
        palm: (T, 4, 4) `T_world_palm` of the arm's targets.
        progress: (T,) in [0, 1] from the start's frame to the goal's.
        held: (T,) in [0, 1] how far the fingers are closed on the object.
        end: (3,) m where the object ends; of a throw, where it comes down to the bucket's rim.
        source_frame: (T + 1,) frame of the video behind each step; -1 where there is none.
        approach: step with which the grasp begins.
        quiet: step from which the object is let go of, or its throw begins; T where it is held to the end.
        homeward: step with which the return begins; T where there is none.
        symmetry: of the object's shape about the vertical.
        object_options: reset options that choose the same object, where the environment has several.
    """

    demonstration: Demonstration
    starts: TaskStarts
    scene: Scene
    arm: FloatArray
    fingers: FloatArray
    palm: FloatArray
    progress: FloatArray
    held: FloatArray
    end: FloatArray
    source_frame: NDArray[np.int64]
    approach: int
    quiet: int
    homeward: int
    symmetry: Symmetry
    object_options: dict[str, str]

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.arm)

    @property
    def paced_steps(self) -> int:
        """Steps that copies may play more slowly: all, but of a throw only what comes before the object is taken."""
        return self.approach if self.starts.goal_kind == "bearing" else self.num_steps


def read_source(demonstration: Demonstration) -> SourceMotion:
    """The motion behind a successful demonstration.

    Raises:
        DexVidError: its tier is another one, or it never moves its object.
    """
    if demonstration.tier != "successful":
        raise DexVidError(
            f"only demonstrations of tier 'successful' can be multiplied, this one is {demonstration.tier!r}; refine it first"
        )
    player = CopyPlayer(demonstration.env_id, demonstration.env_options, demonstration.control_mode, 1)
    starts = task_starts(player.task)
    player.core.set_state(0, demonstration.reset_options(0)["state"])
    scene = player.scene(starts.memory_goal)
    path = demonstration.object_pos_world
    trace = _Trace(_servo_targets(player, demonstration), path[1:], demonstration.source_frame[1:])
    lift, place = _carry_of(path, palm_pose(trace.arm), starts)
    if starts.on_table:
        trace = trace.slowed(place, place + _RELEASE_STEPS, _RELEASE_SLOWER)
    arm, fingers, palm = trace.arm, trace.fingers, palm_pose(trace.arm)
    near = np.linalg.norm(palm[:, :3, 3] - palm[lift, :3, 3], axis=-1) < _NEAR_M
    approach = min(int(np.flatnonzero(~near[:lift]).max(initial=0)) + 1, lift)
    closing = fingers[lift] - fingers[approach]
    held = np.clip((fingers - fingers[approach]) @ closing / max(float(closing @ closing), 1e-9), 0.0, 1.0)
    held[lift : place + 1] = held[lift : place + 1].max()  # what the fingers do meanwhile is no opening
    held[:approach] = 0.0
    return SourceMotion(
        demonstration=demonstration,
        starts=starts,
        scene=scene,
        arm=arm,
        fingers=fingers,
        palm=palm,
        progress=_progress(path[:1], trace.path, lift, place, spatial=not starts.on_table),
        held=held,
        end=path[-1] if starts.goal_kind != "bearing" else landing(path[:, None])[0],
        source_frame=np.concatenate([demonstration.source_frame[:1], trace.source_frame]),
        approach=approach,
        quiet=place if held[-1] < _OPEN else len(arm),
        homeward=_homeward(arm, palm, place),
        symmetry=_symmetry(player),
        object_options=_object_options(player.task),
    )


@dataclasses.dataclass(frozen=True)
class _Trace:
    """T steps: servo targets (T, 23) rad, the object's path (T, 3) m, and the source's frames (T,)."""

    targets: FloatArray
    path: FloatArray
    source_frame: NDArray[np.int64]

    @property
    def arm(self) -> FloatArray:
        return self.targets[:, : ARM_HAND.arm_joints]

    @property
    def fingers(self) -> FloatArray:
        return self.targets[:, ARM_HAND.arm_joints :]

    def slowed(self, begin: int, end: int, factor: int) -> _Trace:
        """The same with the steps from `begin` to `end` played `factor` times as slowly."""
        last = len(self.targets) - 1
        end = min(end, last)
        times = np.concatenate([np.arange(begin), np.arange(begin, end, 1 / factor), np.arange(end, last + 1)])
        whole = np.minimum(times.astype(np.int64), last - 1)
        share = (times - whole)[:, None]

        def blended(values: FloatArray) -> FloatArray:
            return (1 - share) * values[whole] + share * values[whole + 1]

        return _Trace(blended(self.targets), blended(self.path), self.source_frame[times.astype(np.int64)])


def _servo_targets(player: CopyPlayer, demonstration: Demonstration) -> FloatArray:
    """(T, 23) rad servo target after each action."""
    target = player.core.simulation.ctrl.copy()
    targets = []
    for action in demonstration.actions:
        target = player.core.control.next_target(action[None].astype(np.float64), target)
        targets.append(target[0].copy())
    return np.stack(targets)


def _carry_of(path: FloatArray, palm: FloatArray, starts: TaskStarts) -> tuple[int, int]:
    """Steps in which the object (its path (T + 1, 3) m) leaves its start's frame and arrives in its goal's."""
    away = np.linalg.norm(path - path[0], axis=-1)
    limit = _MOVED_DRAWER_M if starts.goal_kind == "start" else _MOVED_M
    if away.max() <= limit:
        raise DexVidError(f"the object moves by {1000 * away.max():.0f} mm; expected a demonstration that moves it")
    far = int(away.argmax())
    lift = int(np.flatnonzero(away[: far + 1] <= limit).max())
    if starts.goal_kind == "bearing":
        in_palm = (palm[:, :3, :3].transpose(0, 2, 1) @ (path[1:] - palm[:, :3, 3])[..., None])[..., 0]
        lost = np.linalg.norm(in_palm - in_palm[lift], axis=-1) > _LOST_M
        still = np.linalg.norm(in_palm - in_palm[min(lift + 20, len(palm) - 1)], axis=-1) <= _LOST_M
        release = int(np.flatnonzero(still & ~(lost & ~still)).max())
        return lift, max(release - THROW_STEPS, lift + 1)
    if starts.goal_kind == "start":
        return lift, len(path) - 2
    off_end = np.flatnonzero(np.linalg.norm(path - path[-1], axis=-1) > _REST_M)
    return lift, min(int(off_end.max(initial=lift)) + 1, len(path) - 2)


def _progress(begin: FloatArray, path: FloatArray, lift: int, place: int, *, spatial: bool) -> FloatArray:
    """(T,) share of the way from `begin` (1, 3) m along `path` (T, 3) m covered from `lift` to `place`, after each step."""
    way = np.linalg.norm(np.diff(np.concatenate([begin, path])[:, : 3 if spatial else 2], axis=0), axis=-1)
    way[: max(lift - 1, 0)] = 0.0
    way[place:] = 0.0
    covered = np.cumsum(way)
    return covered / max(covered[-1], 1e-9)


def _homeward(arm: FloatArray, palm: FloatArray, place: int) -> int:
    """Step from which the palm, going home after the placing, is well away from there; T where the arm does not go home."""
    if np.abs(arm[-1] - ARM_HAND.home_rad[: ARM_HAND.arm_joints]).max() > _HOME_RAD:
        return len(arm)
    far = np.linalg.norm(palm[place:, :3, 3] - palm[place, :3, 3], axis=-1) > _AWAY_M
    return place + int(np.argmax(far)) if far.any() else len(arm)


def landing(paths: FloatArray) -> FloatArray:
    """(N, 3) m where objects on paths (T, N, 3) m come down to the height of the bucket's rim, or end where they never do."""
    highest = paths[..., 2].argmax(axis=0)
    ends = paths[-1].copy()
    for row, top in enumerate(highest):
        below = np.flatnonzero(paths[top:, row, 2] <= _RIM_M)
        if len(below) and below[0] > 0:
            before, after = paths[top + below[0] - 1, row], paths[top + below[0], row]
            ends[row] = before + (before[2] - _RIM_M) / (before[2] - after[2]) * (after - before)
    return ends


def _object_options(task: Any) -> dict[str, str]:
    """Reset options for the object that the task has now, where it draws one of several."""
    if not isinstance(task, ObjectTask) or len(task.object_names) < 2:
        return {}
    return {task.noun: task.objects_in(task.memory["variant"])[0]}


def _symmetry(player: CopyPlayer) -> Symmetry:
    """Of the moved body; a drawer has none."""
    simulation = player.core.simulation
    if not isinstance(player.task, ObjectTask):
        return "none"
    return symmetry_of(simulation, simulation.model.body(player.task.moved_body).id)
