"""How a hand that handles things is held when the detector answers so and so: learnt from synthetic training clips.

The detector's own 3D shape is flat and often turned wrongly, most of all where an object hides a part of the hand. Its errors
are much alike whenever it answers alike, so what was true of similar answers is a better start than the answer itself. The
samples are made by `benchmarks.usual_postures`; none of them is of a person, thing, camera or seed of the evaluation corpus.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.transform import Rotation

from demos.camera import view_turns
from demos.extract.hand.model import Posture
from dexvid_envs.npz_file import read_npz

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SAMPLES = Path(__file__).with_name("usual_postures.npz")
_KERNEL, _RIDGE = 0.3, 0.1  # chosen by leaving out one person of the training clips after the other
_STRANGE = 0.06  # doubt, as median over a clip, beyond which samples say nothing: of nine in ten people left out it is less
_FAMILIAR = 0.03  # doubt of answers that are like many samples; most of people who are left out of the samples have less
_KNUCKLES = np.array([5, 9, 13, 17])
_UP_COLUMNS = slice(105, 108)


@dataclasses.dataclass(frozen=True)
class Answers:
    """A detector's answers of N frames for a right hand, in a frame that looks at the hand with its knuckles upwards.

    Attributes:
        R_view_camera: (N, 3, 3).
        features: (N, 109) pixels (42) and shape (63) about their middles in units of their spread, upward direction (3; zero
            where it is not known), and whether the detector took the hand for one of the other side.
        spread: (N,) of the pixels about their middle (root of the mean square), seen from one unit of length.
    """

    R_view_camera: FloatArray
    features: FloatArray
    spread: FloatArray


def describe(pixels: FloatArray, shape: FloatArray, other_side: BoolArray, K: FloatArray, up: FloatArray | None) -> Answers:
    """What the detector answered, apart from where in the picture and how large it is.

    Args:
        pixels: (N, 21, 2) px, of a left hand in the mirrored picture.
        shape: (N, 21, 3) of any scale, turned as the detector says it.
        other_side: (N,) the detector took it for the other hand.
        K: (3, 3) px.
        up: (3,) upward direction in the camera frame, where it is known.
    """
    R_view_camera = view_turns(pixels.mean(axis=1), K).swapaxes(-1, -2)
    rays = np.concatenate([(pixels - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((*pixels.shape[:2], 1))], axis=-1)
    rays = rays @ R_view_camera.swapaxes(-1, -2)
    flat = rays[..., :2] / rays[..., 2:]
    along = flat[:, _KNUCKLES].mean(axis=1) - flat[:, 0]
    roll = Rotation.from_rotvec(np.arctan2(along[:, 0], along[:, 1] * -1.0)[:, None] * [0.0, 0.0, -1.0]).as_matrix()
    R_view_camera = roll @ R_view_camera
    parts = [_normalised(flat @ roll[:, :2, :2].swapaxes(-1, -2)), _normalised(shape @ roll.swapaxes(-1, -2))]
    upward = np.zeros((len(pixels), 3)) if up is None else R_view_camera @ up
    features = np.concatenate([*parts, upward, other_side[:, None].astype(np.float64)], axis=1)
    return Answers(R_view_camera, features, _spread(flat))


@dataclasses.dataclass(frozen=True)
class Usual:
    """How a hand usually is when the detector answers so, in N frames.

    Attributes:
        posture: turn and angles; the place is left to others, the translation is zero.
        range_m: (N,) m, of the wrist along `axis`.
        axis: (N, 3) direction in which the hand is seen, in the camera frame.
        familiar: (N,) in [0, 1], how much like known answers the answers are.
    """

    posture: Posture
    range_m: FloatArray
    axis: FloatArray
    familiar: FloatArray

    def __getitem__(self, frames: slice | NDArray) -> Usual:
        return Usual(self.posture[frames], self.range_m[frames], self.axis[frames], self.familiar[frames])


def usual_hand(answers: Answers, hand_length_m: float, *, up_known: bool) -> Usual | None:
    """How a hand of this length usually is; None where most of the answers are unlike all samples."""
    if not len(answers.features):
        return None
    columns = np.ones(answers.features.shape[1], bool)
    columns[_UP_COLUMNS] = up_known
    guess = _shipped(up_known).guess(answers.features[:, columns])
    if float(np.median(guess.doubt)) > _STRANGE:
        return None
    turned = answers.R_view_camera.swapaxes(-1, -2) @ guess.rotation
    posture = Posture(turned, np.zeros((len(turned), 3)), guess.angles)
    range_m = hand_length_m * np.exp(guess.log_size) / answers.spread
    return Usual(posture, range_m, answers.R_view_camera[:, 2], np.exp(-((guess.doubt / _FAMILIAR) ** 2)))


def target_of(
    answers: Answers, rotation: FloatArray, angles: FloatArray, wrist_m: FloatArray, hand_length_m: float
) -> FloatArray:
    """What is learnt of N answers: (N, 31) turn in the frame of the answers (9), angles (21), logarithm of the size (1).

    Args:
        answers: of the detector.
        rotation: (N, 3, 3) from the hand to the camera.
        angles: (N, 21) rad.
        wrist_m: (N, 3) in the camera frame.
        hand_length_m: wrist to base of the middle finger.
    """
    range_m = (answers.R_view_camera[:, 2] * wrist_m).sum(axis=1)
    size = np.log(answers.spread * range_m / hand_length_m)
    turned = (answers.R_view_camera @ rotation).reshape(len(angles), 9)
    return np.concatenate([turned, angles, size[:, None]], axis=1)


@dataclasses.dataclass(frozen=True)
class Guess:
    """What N answers mean: rotation (N, 3, 3) in their frame, angles (N, 21) rad, size and doubt (N,).

    The size is the logarithm of the answer's spread seen from one hand length's distance; the doubt is in [0, 1].
    """

    rotation: FloatArray
    angles: FloatArray
    log_size: FloatArray
    doubt: FloatArray


@dataclasses.dataclass(frozen=True)
class Learnt:
    """A Gaussian process through M samples of F features.

    Attributes:
        middle: (F,) of the features.
        spread: of the features, one for all.
        features: (M, F) about the middle, in units of the spread.
        factor: Cholesky's, of the samples' likeness.
        weights: (M, 31).
        mean: (31,) of what was true, see `target_of`.
    """

    middle: FloatArray
    spread: float
    features: FloatArray
    factor: tuple[FloatArray, bool]
    weights: FloatArray
    mean: FloatArray

    def guess(self, features: FloatArray) -> Guess:
        """What features (N, F) mean."""
        alike = _alike((features - self.middle) / self.spread, self.features)
        found = alike @ self.weights + self.mean
        u, _, vt = np.linalg.svd(found[:, :9].reshape(-1, 3, 3))
        vt[:, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
        doubt = 1.0 - np.einsum("nm,mn->n", alike, cho_solve(self.factor, alike.T))
        return Guess(np.einsum("nij,njk->nik", u, vt), found[:, 9:30], found[:, 30], np.clip(doubt, 0.0, 1.0))


def learn(features: FloatArray, targets: FloatArray) -> Learnt:
    """From features (M, F) and what was true (M, 31)."""
    middle, spread, mean = features.mean(axis=0), float(features.std(axis=0).mean()), targets.mean(axis=0)
    scaled = (features - middle) / spread
    factor = cho_factor(_alike(scaled, scaled) + _RIDGE * np.eye(len(scaled)))
    return Learnt(middle, spread, scaled, factor, cho_solve(factor, targets - mean), mean)


@functools.cache
def _shipped(up_known: bool) -> Learnt:
    stored = read_npz(SAMPLES, "samples of usual postures", "make it again with python -m benchmarks.usual_postures")
    features, targets = (np.asarray(stored[name], np.float64) for name in ("features", "targets"))
    if not up_known:
        features = np.delete(features, np.arange(features.shape[1])[_UP_COLUMNS], axis=1)
    return learn(features, targets)


def _alike(some: FloatArray, others: FloatArray) -> FloatArray:
    """(N, M) in [0, 1], how much features (N, F) are like others (M, F)."""
    squared = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2.0 * some @ others.T
    return np.exp(-_KERNEL * np.maximum(squared, 0.0) / some.shape[1])


def _normalised(points: FloatArray) -> FloatArray:
    """(N, 21 D) points (N, 21, D) about their middle, in units of their spread."""
    centred = points - points.mean(axis=1, keepdims=True)
    return (centred / np.maximum(_spread(points), 1e-9)[:, None, None]).reshape(len(points), -1)


def _spread(points: FloatArray) -> FloatArray:
    """(N,) root of the mean square distance of points (N, 21, D) from their middle."""
    centred = points - points.mean(axis=1, keepdims=True)
    return np.sqrt((centred**2).sum(axis=-1).mean(axis=1))
