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

from demos.extract.hand.fit import view_turns
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
    """

    R_view_camera: FloatArray
    features: FloatArray


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
    return Answers(R_view_camera, np.concatenate([*parts, upward, other_side[:, None].astype(np.float64)], axis=1))


def usual_posture(answers: Answers, up_known: bool) -> tuple[Posture, FloatArray] | None:
    """How the hand is usually held, and how familiar (N,) the answers are; None where most of them are unlike all samples.

    The place is left to others: the translation is zero.
    """
    if not len(answers.features):
        return None
    columns = np.ones(answers.features.shape[1], bool)
    columns[_UP_COLUMNS] = up_known
    rotation, angles, doubt = _shipped(up_known).guess(answers.features[:, columns])
    if float(np.median(doubt)) > _STRANGE:
        return None
    turned = answers.R_view_camera.swapaxes(-1, -2) @ rotation
    return Posture(turned, np.zeros((len(angles), 3)), angles), np.exp(-((doubt / _FAMILIAR) ** 2))


@dataclasses.dataclass(frozen=True)
class Learnt:
    """A Gaussian process through M samples of F features.

    Attributes:
        middle: (F,) of the features.
        spread: of the features, one for all.
        features: (M, F) about the middle, in units of the spread.
        factor: Cholesky's, of the samples' likeness.
        weights: (M, 30).
        mean: (30,) of what was true: rotation (9) and angles (21).
    """

    middle: FloatArray
    spread: float
    features: FloatArray
    factor: tuple[FloatArray, bool]
    weights: FloatArray
    mean: FloatArray

    def guess(self, features: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Rotations (N, 3, 3) in the frame of the answers and angles (N, 21) rad for features (N, F), and the doubt (N,)."""
        alike = _alike((features - self.middle) / self.spread, self.features)
        found = alike @ self.weights + self.mean
        u, _, vt = np.linalg.svd(found[:, :9].reshape(-1, 3, 3))
        vt[:, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
        doubt = 1.0 - np.einsum("nm,mn->n", alike, cho_solve(self.factor, alike.T))
        return np.einsum("nij,njk->nik", u, vt), found[:, 9:], np.clip(doubt, 0.0, 1.0)


def learn(features: FloatArray, targets: FloatArray) -> Learnt:
    """From features (M, F) and what was true (M, 30)."""
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
    spread = np.sqrt((centred**2).sum(axis=-1).mean(axis=1))
    return (centred / np.maximum(spread, 1e-9)[:, None, None]).reshape(len(points), -1)
