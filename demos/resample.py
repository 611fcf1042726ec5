"""An interaction at another rate, or some of its frames."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from demos.interaction import BoolArray, FloatArray, Interaction, SceneObject


def resample(interaction: Interaction, rate_hz: float, max_duration_s: float = float("inf")) -> Interaction:
    """The interaction at `rate_hz`, played faster where it lasts longer than `max_duration_s`.

    Positions are interpolated linearly and turns on the shortest way; what is unknown in the frame before or after stays so,
    but for points, which are then those of the nearest frame, as contact and source frame are. A frame beside a doubtful one is
    doubtful.
    """
    last = interaction.num_frames - 1
    if interaction.duration_s > max_duration_s:
        at = np.linspace(0.0, last, max(round(max_duration_s * rate_hz) + 1, 2))
    else:
        at = np.arange(0.0, interaction.duration_s + 1e-9, 1.0 / rate_hz) * interaction.fps
    sampling = _Sampling(np.minimum(at, last), last)
    points, visible = sampling.points(interaction.object_points_world, interaction.object_visible)
    keypoints, keypoint_visible = sampling.points(interaction.keypoints_world, interaction.keypoint_visible)
    low, high = sampling.low, sampling.high
    return dataclasses.replace(
        interaction,
        fps=rate_hz,
        hand_keypoints_world=sampling.linear(interaction.hand_keypoints_world),
        hand_confidence=np.minimum(interaction.hand_confidence[low], interaction.hand_confidence[high]),
        object_points_world=points,
        object_visible=visible,
        object_pose_world=sampling.poses(interaction.object_pose_world),
        keypoints_world=keypoints,
        keypoint_visible=keypoint_visible,
        contact=interaction.contact[sampling.nearest],
        flagged=interaction.flagged[low] | interaction.flagged[high],
        frame_index=interaction.frame_index[sampling.nearest],
        further_objects={
            name: SceneObject(*sampling.points(one.points_world, one.visible), sampling.poses(one.pose_world))
            for name, one in interaction.further_objects.items()
        },
    )


def select_frames(interaction: Interaction, frames: slice) -> Interaction:
    """Some of the frames, `first:last:stride`, at the frame rate that follows."""
    per_frame = {
        field.name: getattr(interaction, field.name)[frames]
        for field in dataclasses.fields(interaction)
        if isinstance(getattr(interaction, field.name), np.ndarray) and field.name not in ("K", "T_world_camera")
    }
    objects = {
        name: SceneObject(one.points_world[frames], one.visible[frames], one.pose_world[frames])
        for name, one in interaction.further_objects.items()
    }
    return dataclasses.replace(interaction, fps=interaction.fps / (frames.step or 1), further_objects=objects, **per_frame)


class _Sampling:
    """Places between frames: `at` (S,) counts frames from 0 to `last`."""

    def __init__(self, at: FloatArray, last: int) -> None:
        self.low: NDArray[np.int64] = np.floor(at + 1e-9).astype(np.int64)
        self.part = np.maximum(at - self.low, 0.0)
        self.high = np.where(self.part > 1e-9, np.minimum(self.low + 1, last), self.low)
        self.nearest: NDArray[np.int64] = np.minimum(np.round(at).astype(np.int64), last)

    def linear(self, values: FloatArray) -> FloatArray:
        """(S, ...) of (T, ...)."""
        weight = self.part.reshape(-1, *([1] * (values.ndim - 1)))
        return values[self.low] * (1.0 - weight) + values[self.high] * weight

    def points(self, points: FloatArray, visible: BoolArray) -> tuple[FloatArray, BoolArray]:
        """(S, P, 3) of (T, P, 3), where one neighbour is unknown that of the nearest frame; and which of them are seen."""
        between = self.linear(points)
        sampled = np.where(np.isfinite(between), between, points[self.nearest])
        return sampled, visible[self.nearest] & np.isfinite(sampled).all(axis=-1)

    def poses(self, poses: FloatArray) -> FloatArray:
        """(S, 4, 4) of (T, 4, 4)."""
        sampled = np.full((len(self.low), 4, 4), np.nan)
        known = np.isfinite(poses).all(axis=(1, 2))
        for i in np.flatnonzero(known[self.low] & known[self.high]):
            low, high, part = self.low[i], self.high[i], self.part[i]
            sampled[i] = poses[low]
            if low != high:
                turn = Slerp([0.0, 1.0], Rotation.from_matrix(poses[[low, high], :3, :3]))
                sampled[i, :3, :3] = turn(part).as_matrix()
                sampled[i, :3, 3] = (1.0 - part) * poses[low, :3, 3] + part * poses[high, :3, 3]
        return sampled
