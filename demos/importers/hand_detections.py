"""Joins the hands that a detector found frame by frame to one `HandTrack`; reading them is left to `hamer` and `wilor`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from demos.importers.cleaning import lock_bones
from demos.interaction import HAND_BONES, FloatArray, HandTrack
from dexvid_envs.errors import InputFileError, OptionError


@dataclasses.dataclass(frozen=True)
class HandDetection:
    """One hand in one frame.

    Attributes:
        frame: number of the frame.
        side: "right" or "left".
        keypoints_camera: (21, 3) m.
        keypoints_image: (21, 2) px.
        confidence: in [0, 1].
        doubtful: its place in the camera frame is known only roughly.
    """

    frame: int
    side: str
    keypoints_camera: FloatArray
    keypoints_image: FloatArray
    confidence: float = 1.0
    doubtful: bool = False


def join_detections(
    detections: Sequence[HandDetection], side: str, first_frame: int | None, num_frames: int | None, source: str
) -> HandTrack:
    """One hand over time: of several detections in a frame the surest, then the one nearest to the hand before.

    Args:
        detections: in any order.
        side: "right", "left", or "auto" for the one found more often.
        first_frame: number of the frame in row 0; None takes the lowest found.
        num_frames: rows of the result; None ends with the last frame found.
        source: what was read, for messages.

    Returns:
        The track; frames without the hand are NaN with confidence 0 and flagged, bone lengths are locked to their medians.

    Raises:
        InputFileError: there is no such hand.
        OptionError: the side is not known.
    """
    if side not in ("auto", "right", "left"):
        raise OptionError(f"unknown side {side!r}, expected one of: auto, right, left")
    found = Counter(detection.side for detection in detections)
    if not found:
        raise InputFileError(f"{source} holds no hand; expected at least one frame with a hand")
    side = found.most_common(1)[0][0] if side == "auto" else side
    if not found[side]:
        raise InputFileError(f"{source} holds no {side} hand, only {found.most_common(1)[0][0]} ones; choose side='auto'")
    kept = [detection for detection in detections if detection.side == side]
    start = min(detection.frame for detection in kept) if first_frame is None else first_frame
    rows = num_frames or max(detection.frame for detection in kept) - start + 1
    if not 0 < rows <= 200_000:
        raise InputFileError(f"{source} has hands in the frames {start} to {start + rows - 1}, expected at most 200000 frames")
    points, pixels = np.full((rows, 21, 3), np.nan), np.full((rows, 21, 2), np.nan)
    confidence, doubtful = np.zeros(rows), np.ones(rows, bool)
    wrist = np.zeros(3)
    for detection in sorted(kept, key=lambda d: (d.frame, -d.confidence)):
        row = detection.frame - start
        if not 0 <= row < rows:
            continue
        place = detection.keypoints_camera[0]
        known = np.isfinite(points[row, 0, 0])
        nearer = known and np.linalg.norm(place - wrist) < np.linalg.norm(points[row, 0] - wrist)
        if known and not (detection.confidence == confidence[row] and nearer):
            continue
        if not known and row and np.isfinite(points[row - 1, 0, 0]):
            wrist = points[row - 1, 0]
        points[row], pixels[row] = detection.keypoints_camera, detection.keypoints_image
        confidence[row], doubtful[row] = detection.confidence, detection.doubtful
    if not np.isfinite(points).any():
        raise InputFileError(
            f"{source} holds no hand in the frames {start} to {start + rows - 1}; check the first frame's number"
        )
    known = np.isfinite(points[:, 0, 0])
    lengths = [float(np.median(np.linalg.norm(points[known, b] - points[known, a], axis=1))) for a, b in HAND_BONES]
    if min(lengths) > 1e-4:
        points[known] = lock_bones(points[known], lengths)
    return HandTrack(points, pixels, confidence, side, doubtful)
