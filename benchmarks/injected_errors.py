"""Errors of an extraction, put into a recording whose motion is known: places that are wrong, and frames that are lost.

What an extractor gets wrong is not white noise. A hand or an object is too near or too far in the whole clip, and beside that
the error changes slowly; fingers are off against their hand. So each error here has a part that stays and a part that wanders.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from demos.interaction import FINGERTIPS, FloatArray, Interaction

BoolArray = NDArray[np.bool_]

_WANDER_S = 0.4  # standard deviation of the smoothing of what wanders
_LOST_S = 0.3  # mean duration of a stretch of lost frames


def with_errors(recording: Interaction, error_m: float, dropout: float, seed: int) -> Interaction:
    """The recording with errors.

    Hand and object are wrong independently of each other. Of the squared error of the object half stays and half wanders; of
    that of the fingertips a third is a shift of the hand that stays, a third one that wanders, and a third is each finger's own
    and stays, growing from the wrist to the tip. Lost frames come in stretches, and are filled in a straight line from the
    frames beside them, as an extraction does; the hand's confidence is 0 there, and no point of the object is visible.

    Args:
        recording: with a hand and a pose of its object in every frame.
        error_m: root mean square of the distance of fingertips, and of the object, from where they are; expected, not exact.
        dropout: share of the frames in which hand and object are lost; the first and the last frame are kept.
        seed: of both.
    """
    # an error of another size has the same directions, and lost frames are the same whatever the error is
    rng, lost_rng = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    frames = recording.num_frames
    hand = recording.hand_keypoints_world + np.sqrt(1.0 / 3.0) * (
        _staying(rng, error_m) + _wandering(rng, frames, recording.fps, error_m)[:, None]
    )
    for tip in FINGERTIPS:
        hand[:, tip - 3 : tip + 1] += np.sqrt(1.0 / 3.0) * _staying(rng, error_m) * np.linspace(0.25, 1.0, 4)[:, None]
    shift = np.sqrt(0.5) * (_staying(rng, error_m) + _wandering(rng, frames, recording.fps, error_m))
    pose = recording.object_pose_world.copy()
    pose[:, :3, 3] += shift
    wrong = dataclasses.replace(
        recording,
        hand_keypoints_world=hand,
        object_points_world=recording.object_points_world + shift[:, None],
        object_pose_world=pose,
    )
    return _with_lost_frames(wrong, _lost(lost_rng, frames, recording.fps, dropout))


def _staying(rng: np.random.Generator, size_m: float) -> FloatArray:
    """(3,) m in any direction."""
    return rng.normal(size=3) * size_m / np.sqrt(3.0)


def _wandering(rng: np.random.Generator, frames: int, fps: float, size_m: float) -> FloatArray:
    """(T, 3) m, smooth and without a mean."""
    path = gaussian_filter1d(rng.normal(size=(frames, 3)), _WANDER_S * fps, axis=0, mode="reflect")
    path -= path.mean(axis=0)
    return path * size_m / max(float(np.sqrt((path**2).sum(axis=1).mean())), 1e-12)


def _lost(rng: np.random.Generator, frames: int, fps: float, share: float) -> BoolArray:
    """(T,) bool, stretches of random lengths until the share is reached."""
    lost = np.zeros(frames, bool)
    wanted = min(round(share * frames), frames - 2)
    while (missing := wanted - int(lost.sum())) > 0:
        length = min(missing, 1 + rng.geometric(1.0 / max(_LOST_S * fps, 1.0)))
        first = int(rng.integers(1, frames - 1))
        lost[first : min(first + length, frames - 1)] = True
    return lost


def _with_lost_frames(recording: Interaction, lost: BoolArray) -> Interaction:
    if not lost.any():
        return recording
    kept = np.flatnonzero(~lost)
    turn = Slerp(kept, Rotation.from_matrix(recording.object_pose_world[kept, :3, :3]))(np.arange(len(lost)))
    pose = _filled(recording.object_pose_world, kept)
    pose[:, :3, :3] = turn.as_matrix()
    return dataclasses.replace(
        recording,
        hand_keypoints_world=_filled(recording.hand_keypoints_world, kept),
        hand_confidence=np.where(lost, 0.0, recording.hand_confidence),
        object_points_world=_filled(recording.object_points_world, kept),
        object_visible=recording.object_visible & ~lost[:, None],
        object_pose_world=pose,
    )


def _filled(values: FloatArray, kept: NDArray[np.int64]) -> FloatArray:
    """Values (T, ...) in straight lines between those of the frames that are kept."""
    flat = values.reshape(len(values), -1)
    frames = np.arange(len(values))
    return np.stack([np.interp(frames, kept, column[kept]) for column in flat.T], axis=1).reshape(values.shape)
