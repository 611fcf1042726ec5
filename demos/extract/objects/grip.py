"""How a hand holds an object: where its fingertips are, between which the object's middle lies, and how the hand turns."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from demos.camera import FloatArray
from demos.interaction import FINGERTIPS, HandTrack
from demos.runs import runs

BoolArray = NDArray[np.bool_]

_FINGER_M = 0.014  # thickness of a fingertip
_TURN_SMOOTHING_S = 0.15


@dataclasses.dataclass(frozen=True)
class Grip:
    """The middle (T, 3) m between thumb and fingers, and how far (T,) m they are apart; NaN where there is no hand at all."""

    middle: FloatArray
    width: FloatArray

    @property
    def known(self) -> bool:
        """Whether there is a hand at all."""
        return bool(np.isfinite(self.middle).all())

    def thickness_m(self, contact: BoolArray) -> float:
        """Of what is held in the frames of contact (T,): the tips' middles are half a finger outside; infinite without any."""
        return max(float(np.median(self.width[contact])) - _FINGER_M, _FINGER_M) if contact.any() and self.known else np.inf


def find_grip(hand: HandTrack) -> Grip:
    """Where the hand grips, from the thumb's tip and those that oppose it; interpolated where the hand is unknown."""
    tips = hand.keypoints_camera[:, FINGERTIPS, :]
    thumb, opposing = tips[:, 0], tips[:, 1:].mean(axis=1)
    middle = 0.5 * (thumb + opposing)
    width = np.linalg.norm(opposing - thumb, axis=-1)
    known = np.flatnonzero(np.isfinite(middle).all(axis=-1))
    if not len(known):
        return Grip(np.full((len(thumb), 3), np.nan), width)
    frames = np.arange(len(thumb))
    path = np.stack([np.interp(frames, known, middle[known, axis]) for axis in range(3)], axis=-1)
    return Grip(path, np.interp(frames, known, width[known]))


def hand_turns(hand: HandTrack, contact: BoolArray, fps: float) -> FloatArray:
    """Turn (T, 3, 3) of the hand against one frame of its contact; NaN without contact. A gripping hand is nearly rigid."""
    turns = np.full((len(contact), 3, 3), np.nan)
    points = hand.keypoints_camera
    held = np.flatnonzero(contact & np.isfinite(points).all(axis=(1, 2)))
    if not len(held):
        return turns
    centred = points[held] - points[held].mean(axis=1, keepdims=True)
    typical = centred[len(held) // 2]
    turns[held] = _nearest_turns(np.einsum("tni,nj->tij", centred, typical))
    for start, end in runs(contact):
        part = held[(held >= start) & (held < end)]
        if len(part) > 2:
            mean = gaussian_filter1d(turns[part], _TURN_SMOOTHING_S * fps, axis=0, mode="nearest")
            turns[part] = _nearest_turns(mean)
    return turns


def _nearest_turns(matrices: FloatArray) -> FloatArray:
    """The turns (..., 3, 3) nearest to matrices (..., 3, 3); proper ones, even to a mean of turns far apart."""
    u, _, vt = np.linalg.svd(matrices)
    vt[..., 2, :] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return np.matmul(u, vt)
