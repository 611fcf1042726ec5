"""A hand and the object that it holds are equally far away: which of them is measured better says so for the other."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from demos.camera import FloatArray
from demos.extract.objects.grip import find_grip
from demos.extract.objects.lift_figures import LiftedObject
from demos.interaction import HandTrack

BoolArray = NDArray[np.bool_]

#: Of a hand's distance, one for the whole clip.
HAND_SIGMA = 0.08
_TOUCH_SIGMA = 0.03  # of the distance, between the fingertips and the object's surface beside them
_BESIDE_SHARE, _BESIDE_LEAST = 0.25, 8  # of the object's points that lie beside the fingertips in the picture
_LEAST_POINTS = 3
_SMOOTHING_S = 0.2
_LARGEST = 0.3  # of the distance: if they are so far apart, contact or object are mistaken
_CHANGE_SHARE = 0.8  # of a change of the ratio that is the hand's error
_CLIP_SHARE = 0.5  # of the error during contact that is left when the contact is long past
_FADING_S = 0.5


def distance_beside(points: FloatArray, place: FloatArray) -> float:
    """Distance z of those object points (N, 3) m that lie beside a place (3,) m in the picture; NaN where there are few."""
    if len(points) < _LEAST_POINTS or not np.isfinite(place).all() or place[2] <= 0.0:
        return float("nan")
    away = np.linalg.norm(points[:, :2] / points[:, 2:] - place[:2] / place[2], axis=1)
    nearest = np.argsort(away)[: max(_BESIDE_LEAST, round(_BESIDE_SHARE * len(points)))]
    return float(np.median(points[nearest, 2]))


def bring_to_object(hand: HandTrack, held: LiftedObject, contact: BoolArray, fps: float) -> HandTrack:
    """The hand at the distance at which its fingertips touch the object, in the direction and the posture in which it is seen.

    Where its key points are in the picture is known better than where a hand of this size at this distance would have them, so
    these stay. Before and after the contact the correction fades to what is wrong with the hand's size in the whole clip.

    Args:
        hand: T frames.
        held: the object, of the same frames.
        contact: (T,).
        fps: frames a second.
    """
    grip = find_grip(hand)
    points = held.track.points_camera
    if not grip.known:
        return hand
    off = np.full(len(contact), np.nan)  # logarithm of the factor that the hand's distance lacks
    for frame in np.flatnonzero(contact):
        cloud = points[frame][np.isfinite(points[frame]).all(axis=-1) & (points[frame, :, 2] > 0.0)]
        if grip.middle[frame, 2] > 0.0:
            off[frame] = np.log(distance_beside(cloud, grip.middle[frame]) / grip.middle[frame, 2])
    known = np.flatnonzero(np.abs(off) < _LARGEST)  # NaN is not
    if not len(known):
        return hand
    factor = np.exp(_correction(off[known], known, len(contact), fps, held.figures.scale_sigma))
    moved = hand.keypoints_camera + (grip.middle * (factor - 1.0)[:, None])[:, None]
    return dataclasses.replace(hand, keypoints_camera=moved)


def _correction(off: FloatArray, known: NDArray[np.int64], frames: int, fps: float, object_sigma: float) -> FloatArray:
    """(T,) from what is off in the known frames; the object's distance may be wrong as well, but hardly changes wrongly."""
    variance = _TOUCH_SIGMA**2 + (object_sigma if np.isfinite(object_sigma) else HAND_SIGMA) ** 2
    share = HAND_SIGMA**2 / (HAND_SIGMA**2 + variance)
    middle = float(np.median(off))
    path = share * middle + _CHANGE_SHARE * (gaussian_filter1d(off, _SMOOTHING_S * fps, mode="nearest") - middle)
    every = np.arange(frames)
    after = np.clip(np.searchsorted(known, every), 0, len(known) - 1)
    away_s = np.minimum(np.abs(every - known[after]), np.abs(every - known[np.maximum(after - 1, 0)])) / fps
    usual = _CLIP_SHARE * share * middle
    return usual + (np.interp(every, known, path) - usual) * np.exp(-away_s / _FADING_S)
