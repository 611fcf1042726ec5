"""`tracks.npz`: everything that was followed, in pixels of the video, in every frame that was looked at. No pickles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demos.extract.hand.follow import RawHand
from demos.interaction import HandTrack, KeypointTrack, ObjectTrack
from dexvid_envs.npz_file import write_npz


def write_tracks(
    path: Path,
    frame_index: NDArray[np.int64],
    raw: RawHand,
    hand: HandTrack,
    objects: Mapping[str, ObjectTrack],
    keypoints: KeypointTrack,
) -> None:
    """Writes the npz.

    Its keys: `frame_index` (T,) source frames; `hand_image` (T, 21, 2) of the metric hand and `hand_detected_image` of the
    detector; `hand_origin` (T,) 0 detected, 1 found in a cut-out, 2 carried by optical flow, 3 lost; `hand_confidence` (T,);
    `hand_keypoints_camera` (T, 21, 3) m; `object_names`; for the i-th object `object_{i}_image` (T, P, 2), `object_{i}_visible`
    (T, P), `object_{i}_points_camera` (T, P, 3) m and `object_{i}_pose_camera` (T, 4, 4); `keypoint_names`, `keypoint_image`
    (T, K, 2), `keypoint_visible` (T, K).
    """
    arrays: dict[str, np.ndarray] = {
        "frame_index": frame_index,
        "hand_image": hand.keypoints_image,
        "hand_detected_image": raw.image,
        "hand_origin": raw.origin,
        "hand_confidence": hand.confidence,
        "hand_keypoints_camera": hand.keypoints_camera,
        "object_names": np.array(list(objects), dtype=np.str_),
        "keypoint_names": np.array(keypoints.names, dtype=np.str_),
        "keypoint_image": keypoints.points_image,
        "keypoint_visible": keypoints.visible,
    }
    for number, track in enumerate(objects.values()):
        arrays |= {
            f"object_{number}_image": track.points_image,
            f"object_{number}_visible": track.visible,
            f"object_{number}_points_camera": track.points_camera,
            f"object_{number}_pose_camera": track.pose_camera,
        }
    write_npz(path, arrays)
