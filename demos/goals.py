"""What an interaction was for: read from the paths of its key points, as the goal of a task and a frame to express motions in.

"Learning from Watching" (see the README's papers) plans on dense key points of everything that matters; here the moved object's
middle, the target, container or handle decide what kind of task it is, where it ends and in which frame it repeats.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from demos.interaction import BoolArray, FloatArray, Interaction
from demos.resample import select_frames
from dexvid_envs.errors import DexVidError

Kind = Literal["lift", "place", "open", "throw"]

#: The environment in which each kind of task can be learnt.
ENVIRONMENTS: dict[Kind, str] = {
    "lift": "DexVid-GraspLift-v0",
    "place": "DexVid-BottlePickPlace-v0",
    "open": "DexVid-OpenCabinet-v0",
    "throw": "DexVid-LiftThrow-v0",
}
_CENTRE = "object_centroid"
#: Beginnings of the names of the points that a goal is found by, the best first.
_PLACES: dict[Kind, tuple[str, ...]] = {
    "lift": (),
    "place": ("target", "container"),
    "open": ("handle",),
    "throw": ("container", "bucket", "target"),
}
_MOVED_M = 0.05
_LIFTED_M = 0.04
_FREE_FLIGHT_M = 0.08  # after it was let go; a thing that is put down settles by less
_STRAIGHT = 0.12  # of its length, that a drawer's path leaves a line
_SETTLE_S = 0.1
_END_FRAMES = 5


@dataclasses.dataclass(frozen=True)
class TaskGoal:
    """What was done.

    Attributes:
        kind: "lift" (held up at the end), "place" (put down elsewhere), "open" (drawn along a line) or "throw" (let go and
            flying on).
        environment: id of the environment for it.
        start_world: (3,) m of the object's middle before.
        goal_world: (3,) m where the object's middle ends; for "throw" the container, where one was seen.
        direction_world: (3,) unit vector from start to goal; horizontal for all but "lift".
        T_world_task: (4, 4) frame in which the motion repeats: z up, x along the horizontal way, origin at the start.
        keypoints: names of the points that decided.
    """

    kind: Kind
    environment: str
    start_world: FloatArray
    goal_world: FloatArray
    direction_world: FloatArray
    T_world_task: FloatArray
    keypoints: tuple[str, ...]

    @property
    def travel_m(self) -> float:
        """Distance of start and goal."""
        return float(np.linalg.norm(self.goal_world - self.start_world))


def find_goal(interaction: Interaction) -> TaskGoal:
    """Reads the goal of an interaction.

    Raises:
        DexVidError: the object is unknown, never touched, or hardly moves.
    """
    path, contact = _path(interaction), interaction.contact
    if not contact.any():
        raise DexVidError("the hand never touches the object, so that nothing says what the recording is for; see its gates")
    known = np.flatnonzero(np.isfinite(path[:, 0]))
    if len(known) < 2 * _END_FRAMES:
        raise DexVidError(f"the object's middle is known in {len(known)} frames only, expected at least {2 * _END_FRAMES}")
    start = np.median(path[known[:_END_FRAMES]], axis=0)
    end = np.median(path[known[-_END_FRAMES:]], axis=0)
    released = int(np.flatnonzero(contact)[-1])
    flight = path[known[known > released + _SETTLE_S * interaction.fps]]
    at_release = path[known[known <= released][-1]]
    if np.nanmax(np.linalg.norm(path - start, axis=-1)) < _MOVED_M:
        raise DexVidError(f"the object moves by less than {100 * _MOVED_M:.0f} cm, expected a recording that moves it")
    height = float(np.nanmax(path[:, 2]) - start[2])
    kind: Kind
    if len(flight) and np.linalg.norm(flight - at_release, axis=-1).max() > _FREE_FLIGHT_M:
        kind = "throw"
    elif _is_drawn(path[known], height) and _first_place(interaction, "open") is not None:
        kind = "open"
    elif height > _LIFTED_M and not len(flight) and end[2] - start[2] > 0.5 * height:
        kind = "lift"
    else:
        kind = "place"
    place = _first_place(interaction, kind)
    goal = end
    if kind == "throw" and place is not None:
        goal = place[1]
    names = (_CENTRE,) if place is None else (_CENTRE, place[0])
    way = goal - start
    flat = way * np.array([1.0, 1.0, 0.0])
    along = flat / np.linalg.norm(flat) if np.linalg.norm(flat) > 1e-3 else np.array([1.0, 0.0, 0.0])
    frame = np.eye(4)
    frame[:3, 0], frame[:3, 1] = along, np.cross([0.0, 0.0, 1.0], along)
    frame[:3, 3] = start
    direction = way / max(float(np.linalg.norm(way)), 1e-9) if kind == "lift" else along
    return TaskGoal(kind, ENVIRONMENTS[kind], start, goal, direction, frame, names)


def lifting_part(interaction: Interaction) -> Interaction:
    """The recording up to where the hand holds the object highest: a lift, whatever is done with the object afterwards.

    Raises:
        DexVidError: the object is unknown, or never lifted while the hand touches it.
    """
    path = _path(interaction)
    known = np.flatnonzero(np.isfinite(path[:, 2]))
    if len(known) < _END_FRAMES:
        raise DexVidError(f"the object's middle is known in {len(known)} frames only, expected at least {_END_FRAMES}")
    height = path[:, 2] - np.median(path[known[:_END_FRAMES], 2])
    held = np.where(interaction.contact & np.isfinite(height), height, -np.inf)
    highest = int(held.argmax())
    if held[highest] < _LIFTED_M:
        raise DexVidError(
            f"the hand lifts the object by {100 * max(held[highest], 0.0):.0f} cm, expected at least {100 * _LIFTED_M:.0f} cm "
            "for a lift to be cut out of the recording"
        )
    return select_frames(interaction, slice(0, highest + 1))


def _path(interaction: Interaction) -> FloatArray:
    """(T, 3) m of the object's middle, by its key point, else its pose."""
    if _CENTRE in interaction.keypoint_names:
        path = interaction.keypoints_world[:, interaction.keypoint_names.index(_CENTRE)]
        if np.isfinite(path).any():
            return path
    return interaction.object_pose_world[:, :3, 3]


def _is_drawn(path: FloatArray, height: float) -> bool:
    """Whether a path (N, 3) m goes along one level line."""
    way = path[-_END_FRAMES:].mean(axis=0) - path[:_END_FRAMES].mean(axis=0)
    length = float(np.linalg.norm(way))
    if length < _MOVED_M or height > 0.5 * length:
        return False
    aside = np.linalg.norm(np.cross(path - path[0], way / length), axis=-1)
    return float(np.percentile(aside, 90)) < _STRAIGHT * length


def _first_place(interaction: Interaction, kind: Kind) -> tuple[str, FloatArray] | None:
    """Name of the first key point of the kind's places, and the middle (3,) of all that begin like it, at the end."""
    for beginning in _PLACES[kind]:
        columns = [i for i, name in enumerate(interaction.keypoint_names) if name.startswith(beginning)]
        points = interaction.keypoints_world[:, columns]
        seen: BoolArray = np.isfinite(points).all(axis=-1)
        if seen.any():
            return interaction.keypoint_names[columns[0]], np.median(points[seen][-_END_FRAMES * len(columns) :], axis=0)
    return None
