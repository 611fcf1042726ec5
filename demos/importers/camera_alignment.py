"""The transform between two cameras of which one saw the hand and the other the object: recovered from a carried object.

While a hand carries an object the two move as one. Which frames really do so is found without knowing the cameras: distances
between any two places of the hand have to equal those of the object, and the object must not turn in the hand. On those frames
the transform and the fingertips' places on the object are found in turns, each by a robust least-squares fit given the other.
A carried object that hardly turns leaves the place of the hand on it open; that it is touched decides.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from demos.interaction import FINGERTIPS, BoolArray, FloatArray
from dexvid_envs.errors import InputFileError

_SAME_WAY_M = 0.010  # by which the distances of two frames may differ for hand and object
_SAME_TURN_RAD = np.radians(10.0)
_AGREEING_FRAMES = 0.7  # with so many of the others a frame has to agree
_STILL_M, _MOVING_M = 0.0035, 0.006  # a hand that stays while the object moves on is a stuck tracker
_MIN_FRAMES = 8
_PAD_M = 0.009  # a fingertip's key point lies inside the finger
_PLACE_SIGMA_M = 0.04  # of where things are held, from their middle
_PAD_SIGMA_M = 0.004


@dataclasses.dataclass(frozen=True)
class CameraAlignment:
    """What was recovered.

    Attributes:
        T_objectcamera_handcamera: (4, 4).
        tips_object: (5, 3) m, place of the fingertips in the object frame.
        used: (T,) bool, the frames it rests on.
        residual_m: (T,) mean distance of the fingertips from their place; NaN in frames that were not asked for.
    """

    T_objectcamera_handcamera: FloatArray
    tips_object: FloatArray
    used: BoolArray
    residual_m: FloatArray


def frames_that_move_as_one(hand: FloatArray, pose: FloatArray, carried: BoolArray) -> BoolArray:
    """Frames (T,) in which hand and object move as one body; stalls, jumps and slips of either tracker are not among them.

    Args:
        hand: (T, 21, 3) m, in its camera.
        pose: (T, 4, 4) of the object, in its own camera.
        carried: (T,) bool, the object moves.
    """
    frames = np.flatnonzero(carried)
    middle, centre = hand[:, list(FINGERTIPS)].mean(axis=1), pose[:, :3, 3]
    agree = np.abs(_distances(middle[frames]) - _distances(centre[frames])) < _SAME_WAY_M
    turns = Rotation.from_matrix(pose[frames, :3, :3])
    apart = np.array([(turns * turn.inv()).magnitude() for turn in turns])
    keep = (apart < _SAME_TURN_RAD).mean(axis=1) > 0.5
    hand_step = np.linalg.norm(np.diff(middle, axis=0, prepend=middle[:1]), axis=-1)[frames]
    object_step = np.linalg.norm(np.diff(centre, axis=0, prepend=centre[:1]), axis=-1)[frames]
    keep &= ~((hand_step < _STILL_M) & (object_step > _MOVING_M))
    while keep.any():  # the frame that agrees with the fewest others goes first
        share = agree[np.ix_(keep, keep)].mean(axis=1)
        if share.min() >= _AGREEING_FRAMES:
            break
        keep[np.flatnonzero(keep)[np.argmin(share)]] = False
    one = np.zeros(len(hand), bool)
    one[frames[keep]] = True
    return one


def align_cameras(hand: FloatArray, pose: FloatArray, use: BoolArray, surface: FloatArray | None = None) -> CameraAlignment:
    """Recovers the transform.

    Args:
        hand: (T, 21, 3) m, in its camera.
        pose: (T, 4, 4) of the object, in its own camera.
        use: (T,) frames to fit, of those that move as one.
        surface: (N, 3) m in the object frame; with it the fingertips are made to touch the surface.

    Raises:
        InputFileError: fewer than eight frames are left.
    """
    frames = np.flatnonzero(use)
    if len(frames) < _MIN_FRAMES:
        raise InputFileError(
            f"hand and object move as one in {len(frames)} frames only, expected at least {_MIN_FRAMES} to find the transform "
            "between their cameras; give it as T_objectcamera_handcamera"
        )
    tips, turn, centre = hand[frames][:, list(FINGERTIPS)], pose[frames, :3, :3], pose[frames, :3, 3]
    weight = np.ones(len(frames))
    T = _fit(tips.mean(axis=1), centre, weight)
    for _ in range(200):
        seen = tips @ T[:3, :3].T + T[:3, 3]
        place = _weighted_place(turn, centre, seen, weight)
        expected = place @ turn.swapaxes(1, 2) + centre[:, None]
        residual = np.linalg.norm(seen - expected, axis=-1).mean(axis=1)
        weight = (1.0 + (residual / max(1.5 * float(np.median(residual)), 1e-3)) ** 2) ** -2
        T = _fit(tips.reshape(-1, 3), expected.reshape(-1, 3), np.repeat(weight, len(FINGERTIPS)))
    place = _weighted_place(turn, centre, tips @ T[:3, :3].T + T[:3, 3], weight)
    if surface is not None:
        shift = _touch(place, surface)
        place = place + shift
        T[:3, 3] += np.mean(turn, axis=0) @ shift
    all_tips = hand[:, list(FINGERTIPS)] @ T[:3, :3].T + T[:3, 3]
    expected = place @ pose[:, :3, :3].swapaxes(1, 2) + pose[:, None, :3, 3]
    residual = np.linalg.norm(all_tips - expected, axis=-1).mean(axis=1)
    return CameraAlignment(T, place, use, residual)


def tips_on_object(hand: FloatArray, pose: FloatArray, T_objectcamera_handcamera: FloatArray) -> FloatArray:
    """Fingertips (T, 5, 3) m in the object frame."""
    tips = hand[:, list(FINGERTIPS)] @ T_objectcamera_handcamera[:3, :3].T + T_objectcamera_handcamera[:3, 3]
    return (tips - pose[:, None, :3, 3]) @ pose[:, :3, :3]


def _distances(points: FloatArray) -> FloatArray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def _weighted_place(turn: FloatArray, centre: FloatArray, seen: FloatArray, weight: FloatArray) -> FloatArray:
    """(5, 3) weighted mean place of the fingertips (F, 5, 3) in the object frame."""
    return np.einsum("t,tki->ki", weight, (seen - centre[:, None]) @ turn) / weight.sum()


def _fit(source: FloatArray, target: FloatArray, weight: NDArray[np.float64]) -> FloatArray:
    """(4, 4) weighted rigid fit (Kabsch) of points (N, 3) to points (N, 3)."""
    share = weight / weight.sum()
    source_mean, target_mean = share @ source, share @ target
    u, _, vt = np.linalg.svd((source - source_mean).T @ ((target - target_mean) * share[:, None]))
    handed = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T)) or 1.0])
    T = np.eye(4)
    T[:3, :3] = vt.T @ handed @ u.T
    T[:3, 3] = target_mean - T[:3, :3] @ source_mean
    return T


def _touch(place: FloatArray, surface: FloatArray) -> FloatArray:
    """Shift (3,) m of the fingertips (5, 3) that brings them a finger pad's distance outside the hull of the surface.

    Along the object nothing but custom tells where it is held: not far from its middle.
    """
    planes, middle = ConvexHull(surface).equations, 0.5 * (surface.min(axis=0) + surface.max(axis=0))

    def residuals(shift: FloatArray) -> FloatArray:
        outside = ((place + shift) @ planes[:, :3].T + planes[:, 3]).max(axis=1)
        off_middle = (place + shift).mean(axis=0) - middle
        return np.concatenate([(outside - _PAD_M) / _PAD_SIGMA_M, off_middle / _PLACE_SIGMA_M])

    return np.asarray(least_squares(residuals, np.zeros(3), loss="soft_l1").x)
