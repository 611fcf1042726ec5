"""How far away a rigid object is along its path: what its own points say of that drifts, the table and the hand put it right.

The points of a small object tell turns from changes of distance badly. Where it rests on the table its distance is known, and
while a hand holds it both are equally far away, apart from what is wrong with the hand's size in the whole clip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from demos.camera import FloatArray
from demos.extract.objects.grip import Grip
from demos.extract.objects.rigid_motion import RigidMotion
from demos.extract.objects.touch import HAND_SIGMA, distance_beside
from demos.extract.objects.views import Views

IntArray = NDArray[np.int64]

#: All are of the logarithm of the distance.
_REST_SIGMA = 0.01  # at a rest on the table, against the first one
_FRAME_SIGMA = 0.12  # of the hand in a frame, apart from what is wrong with it in the whole clip
_HAND_ALIKE_S = 0.3  # in which the hand's errors are alike
_DRIFT, _DRIFT_BY_TURN = 0.03, 0.15  # in a second, and by a turn of one radian
_JUMP_SIGMAS = 1.5  # of a drift, beyond which it is a jump
_MOST_DRIFT_S = 2.0
_ROUNDS = 6  # of reweighting


def steady_distance(motion: RigidMotion, views: Views, grip: Grip, rest_off: FloatArray, fps: float) -> FloatArray:
    """Factors (n,) of the places along the path, with which they suit the rests and the hand's distance best.

    Args:
        motion: in metres at the first rest or, without a rest, in the middle of the contact.
        views: n views.
        grip: of the hand in all frames.
        rest_off: (n,) logarithm of the factor that a rest on the table asks for; NaN in views without one.
        fps: of the frames.
    """
    by_hand = _asked_by_hand(motion, views, grip)
    rests, held = np.isfinite(rest_off), np.isfinite(by_hand)
    if not rests.any() and not held.any():
        return np.ones(len(by_hand))
    common_sigma = HAND_SIGMA
    if held.any() and not rests.any():  # the hand itself is the scale
        by_hand, common_sigma = by_hand - np.median(by_hand[held]), 1e-3
    away = np.where(held, by_hand, 0.0)
    weight_rest = np.where(rests, _REST_SIGMA**-2, 0.0)
    plain = held / (_FRAME_SIGMA**2 * max(1.0, _HAND_ALIKE_S * fps))
    stiff = _stiffness(motion, views, fps)
    known = np.flatnonzero(rests | held)
    factor = np.interp(np.arange(len(away)), known, np.where(rests, rest_off, away)[known])
    common = 0.0
    for _ in range(_ROUNDS):
        # the motion may jump where hardly a point is seen, and a single look at the hand may be mistaken
        loose = stiff / (1.0 + np.diff(factor) ** 2 * stiff / _JUMP_SIGMAS**2)
        weight = plain / (1.0 + ((away - factor - common) / (2.0 * _FRAME_SIGMA)) ** 2)
        factor, common = _solve(weight_rest, np.where(rests, rest_off, 0.0), weight, away, loose, common_sigma)
    return np.exp(factor)


def _asked_by_hand(motion: RigidMotion, views: Views, grip: Grip) -> FloatArray:
    """(n,) logarithm of the factor that brings the object's surface to the fingertips; NaN without contact."""
    found = np.full(len(views.frame), np.nan)
    if not grip.known:
        return found
    for view in np.flatnonzero(views.contact):
        middle = grip.middle[views.frame[view]]
        points = motion.points[:-1][views.seen[view]] @ motion.turn[view].T + motion.place[view]
        beside = distance_beside(points, middle)
        beside = beside if np.isfinite(beside) else float(motion.place[view, 2])
        if middle[2] > 0.0 and beside > 0.0:
            found[view] = np.log(middle[2] / beside)
    return found


def _stiffness(motion: RigidMotion, views: Views, fps: float) -> FloatArray:
    """(n - 1,) weight of the difference of the factors of neighbouring views."""
    seconds = np.minimum(np.diff(views.frame) / fps, _MOST_DRIFT_S)
    turned = Rotation.from_matrix(motion.turn[1:] @ motion.turn[:-1].swapaxes(-1, -2)).magnitude()
    return 1.0 / (_DRIFT**2 * seconds + _DRIFT_BY_TURN**2 * turned + 1e-9)


def _solve(
    weight_rest: FloatArray,
    rest: FloatArray,
    weight_hand: FloatArray,
    hand: FloatArray,
    stiff: FloatArray,
    common_sigma: float,
) -> tuple[FloatArray, float]:
    """Factors (n,), and what is wrong with the hand in the whole clip, by weighted least squares."""
    band = np.zeros((2, len(rest)))
    band[1] = weight_rest + weight_hand + 1e-9
    band[1, :-1] += stiff
    band[1, 1:] += stiff
    band[0, 1:] = -stiff
    right = np.stack([weight_rest * rest + weight_hand * hand, weight_hand], axis=-1)
    solved = solveh_banded(band, right)  # factors = solved[:, 0] - common * solved[:, 1]
    normal = float(weight_hand.sum() - weight_hand @ solved[:, 1]) + common_sigma**-2
    common = float(weight_hand @ (hand - solved[:, 0])) / normal
    return solved[:, 0] - common * solved[:, 1], common
