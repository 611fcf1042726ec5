"""Places an interaction in a task's world: turned about the vertical, its path re-aimed from the task's start to its target."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.interaction import Interaction, SceneObject
from dexvid_envs.errors import DexVidError

FloatArray = NDArray[np.float64]
#: An object has left its place when its centre is this far from where it rested.
_MOVED_M = 0.02
_NEAR_REST_M = 0.012


@dataclasses.dataclass(frozen=True)
class CarryPhases:
    """When the object is carried.

    Attributes:
        lift: first frame in which the object has left its start.
        place: first frame from which it stays at its end.
        progress: (T,) in [0, 1], 0 before the lift and 1 after the placing, by the way covered between them.
    """

    lift: int
    place: int
    progress: FloatArray


def find_carry(object_pos_world: FloatArray, *, spatial: bool = False) -> CarryPhases:
    """Finds the carried part of an object's path (T, 3) m.

    Args:
        object_pos_world: (T, 3) m.
        spatial: the progress counts the way up and down too; otherwise the horizontal way alone.

    Raises:
        DexVidError: the object never moves.
    """
    start, end = np.median(object_pos_world[:5], axis=0), np.median(object_pos_world[-5:], axis=0)
    away = np.linalg.norm(object_pos_world - start, axis=-1) > _MOVED_M
    if not away.any():
        raise DexVidError(
            f"the object moves by less than {_MOVED_M * 1000:.0f} mm in the whole recording; "
            "expected a demonstration that moves it"
        )
    still = np.flatnonzero(~away)
    first_far = int(np.argmax(np.linalg.norm(object_pos_world - start, axis=-1)))
    lift = int(still[still < first_far].max(initial=0)) + 1
    off_end = np.flatnonzero(np.linalg.norm(object_pos_world - end, axis=-1) > _NEAR_REST_M)
    place = max(int(off_end.max(initial=lift)) + 1, lift + 1)
    place = min(place, len(object_pos_world) - 1)
    way = np.linalg.norm(np.diff(object_pos_world[:, : 3 if spatial else 2], axis=0), axis=-1)
    way[: max(lift - 1, 0)] = 0.0
    way[place:] = 0.0
    progress = np.concatenate([[0.0], np.cumsum(way)])
    return CarryPhases(lift, place, progress / max(progress[-1], 1e-9))


def turn(interaction: Interaction, yaw_rad: float) -> Interaction:
    """The interaction turned about the vertical through the object's start, which comes to lie at x = y = 0."""
    origin = np.median(interaction.object_pose_world[:5, :3, 3], axis=0) * np.array([1.0, 1.0, 0.0])
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    T_new_old = np.eye(4)
    T_new_old[:2, :2] = [[cos, -sin], [sin, cos]]
    T_new_old[:3, 3] = -T_new_old[:3, :3] @ origin
    return transformed(interaction, T_new_old)


def aim(interaction: Interaction, start: FloatArray, target: FloatArray) -> Interaction:
    """Shifts hand and object so that the object goes from `start` to `target` (m, world).

    Before the lift everything moves with the start, after the placing with the target; in between the shift follows the
    progress of the carry. Orientations and the hand's pose relative to the object stay as recorded, and so do heights where
    `start` and `target` are (2,) and not (3,).
    """
    centre, axes = interaction.object_pose_world[:, :3, 3], len(start)
    phases = find_carry(centre, spatial=axes == 3)
    first, last = np.median(centre[:5], axis=0)[:axes], np.median(centre[-5:], axis=0)[:axes]
    shift = (1 - phases.progress[:, None]) * (start - first) + phases.progress[:, None] * (target - last)
    transforms = np.tile(np.eye(4), (interaction.num_frames, 1, 1))
    transforms[:, :axes, 3] = shift
    return transformed(interaction, transforms)


def mirror(interaction: Interaction) -> Interaction:
    """The recording as seen in a mirror that stands on the x axis: a left hand's becomes a right hand's, and the reverse.

    Objects are mirrored too, in their own frames as well, so that their poses stay rigid.
    """
    flip = np.diag([1.0, -1.0, 1.0])
    turned = np.diag([1.0, -1.0, 1.0, 1.0])

    def pose(T: FloatArray) -> FloatArray:
        return turned @ T @ turned

    return dataclasses.replace(
        interaction,
        hand_side="right" if interaction.hand_side == "left" else "left",
        hand_keypoints_world=interaction.hand_keypoints_world @ flip,
        object_points_world=interaction.object_points_world @ flip,
        object_pose_world=pose(interaction.object_pose_world),
        keypoints_world=interaction.keypoints_world @ flip,
        T_world_camera=np.full((4, 4), np.nan),
        further_objects={
            name: SceneObject(one.points_world @ flip, one.visible, pose(one.pose_world))
            for name, one in interaction.further_objects.items()
        },
    )


def displacement_yaw(interaction: Interaction, start_xy: FloatArray, target_xy: FloatArray) -> float:
    """The turn (rad) about the vertical that makes the recorded displacement point from one place (2,) m to another."""
    centre = interaction.object_pose_world[:, :2, 3]
    recorded = np.median(centre[-5:], axis=0) - np.median(centre[:5], axis=0)
    wanted = np.asarray(target_xy) - np.asarray(start_xy)
    return float(np.arctan2(wanted[1], wanted[0]) - np.arctan2(recorded[1], recorded[0]))


def transformed(interaction: Interaction, T_new_old: FloatArray) -> Interaction:
    """Hand, objects and key points in another world; the camera too, where the transform is the same for all frames.

    Args:
        interaction: T frames.
        T_new_old: (4, 4), or (T, 4, 4) one for each frame, after which there is no one camera pose.
    """
    whole = T_new_old.ndim == 2
    rotation, shift = T_new_old[..., None, :3, :3], T_new_old[..., None, :3, 3]

    def moved(points: FloatArray) -> FloatArray:
        return (rotation @ points[..., None])[..., 0] + shift

    return dataclasses.replace(
        interaction,
        hand_keypoints_world=moved(interaction.hand_keypoints_world),
        object_points_world=moved(interaction.object_points_world),
        object_pose_world=T_new_old @ interaction.object_pose_world,
        keypoints_world=moved(interaction.keypoints_world),
        T_world_camera=T_new_old @ interaction.T_world_camera if whole else np.full((4, 4), np.nan),
        further_objects={
            name: SceneObject(moved(one.points_world), one.visible, T_new_old @ one.pose_world)
            for name, one in interaction.further_objects.items()
        },
    )
