"""Interactions as an extraction without any error would make them from a synthetic clip."""

from __future__ import annotations

import numpy as np

from demos.interaction import Interaction
from demos.synthetic.truth import ClipTruth


def true_interaction(truth: ClipTruth) -> Interaction:
    """At the clip's rate, with the truth's key points and the middle of the handled object."""
    pose = truth.object_pose_world[0]
    middle = truth.object_points_object[0].mean(axis=0)
    centre = pose[:, :3, :3] @ middle + pose[:, :3, 3]
    frames = truth.num_frames
    return Interaction(
        fps=truth.fps,
        hand_keypoints_world=truth.hand_keypoints_world,
        hand_confidence=np.ones(frames),
        hand_side=truth.hand_side,
        object_names=(truth.object_names[0],),
        object_points_world=truth.object_points_world[0].astype(float),
        object_visible=truth.object_visible[0],
        object_pose_world=pose,
        keypoints_world=np.concatenate([truth.keypoints_world, centre[:, None]], axis=1),
        keypoint_visible=np.concatenate([truth.keypoint_visible, np.ones((frames, 1), bool)], axis=1),
        keypoint_names=(*truth.keypoint_names, "object_centroid"),
        contact=truth.contact,
        flagged=np.zeros(frames, bool),
        frame_index=np.arange(frames),
        K=truth.K,
        T_world_camera=truth.T_world_camera,
        source_sha256="",
    )
