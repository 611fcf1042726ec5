"""A right human hand as bones and hinges, vectorised over frames: key points of a posture and how they move with it.

Frame of the hand as in `robots.human_hand`: origin at the wrist, fingers along +z, palm faces +x, index side +y.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from robots.human_hand import JOINT_NAMES, joint_range_rad

FloatArray = NDArray[np.float64]

#: Lengths as parts of the distance from the wrist to the base of the middle finger: rounded, of a usual adult hand. Published
#: tables differ by about 10 % (where a joint's middle is said to be), and so do people; `PHALANX_SIGMA` leaves room for both.
PHALANX_RATIOS: FloatArray = np.array(
    [
        (0.53, 0.39, 0.32),  # thumb: metacarpal, proximal, distal
        (0.49, 0.28, 0.22),
        (0.54, 0.33, 0.24),
        (0.50, 0.32, 0.24),
        (0.41, 0.23, 0.21),
    ]
)
#: Base of thumb, index, middle, ring and little finger in the same unit.
PALM_RATIOS: FloatArray = np.array(
    [
        (0.15, 0.25, 0.25),
        (0.03, 0.25, 0.95),
        (0.00, 0.01, 1.00),
        (0.02, -0.20, 0.91),
        (0.06, -0.39, 0.78),
    ]
)
PHALANX_SIGMA = 0.10  # of the logarithm
PALM_SIGMA = 0.04  # of the hand length
#: Radius of the flesh at base, proximal and distal joint and tip of a finger, and at the wrist, in hand lengths.
RADIUS_RATIOS: FloatArray = np.array([0.19, *([0.15, 0.12, 0.11, 0.08] + [0.12, 0.10, 0.088, 0.072] * 4)])

#: From the key points to where MediaPipe marks them, in the frame of the hand and the same unit: robust mean over synthetic
#: training clips. It marks the skin of the back rather than the middles of joints, the wrist nearer to the arm, the thumb
#: flatter.
MARK_RATIOS: FloatArray = np.zeros((21, 3))
MARK_RATIOS[[0, 5, 9, 13, 17]] = [
    (-0.03, -0.035, -0.02),
    (-0.025, -0.005, -0.005),
    (-0.025, -0.005, -0.025),
    (-0.02, 0.01, 0.015),
    (-0.01, 0.01, 0.085),
]
MARK_RATIOS[1:5] = [(0.05, 0.02, -0.07), (-0.115, -0.025, -0.025), (-0.115, -0.005, -0.05), (-0.085, 0.045, -0.06)]

NUM_ANGLES = len(JOINT_NAMES)
#: Parameters of a posture: turn (3), shift (3), then the angles.
NUM_PARAMETERS = 6 + NUM_ANGLES
ANGLE_RANGES_RAD: FloatArray = np.array([joint_range_rad(name) for name in JOINT_NAMES])
#: A relaxed hand, and how far a hand that handles things is from it.
_RELAXED = {"base_flexion": 0.45, "proximal_flexion": 0.6, "distal_flexion": 0.35, "thumb_base_abduction": 0.3}
_SPREAD = {"base_abduction": 0.15, "distal_flexion": 0.35, "thumb_base_abduction": 0.4, "thumb_base_roll": 0.4}


def _by_joint(values: dict[str, float], default: float) -> FloatArray:
    return np.array([values.get(name, values.get(name.split("_", 1)[1], default)) for name in JOINT_NAMES])


RELAXED_RAD: FloatArray = _by_joint(_RELAXED, 0.2) * np.array(
    [0.0 if name.endswith("abduction") and not name.startswith("thumb") else 1.0 for name in JOINT_NAMES]
)
SPREAD_RAD: FloatArray = _by_joint(_SPREAD, 0.5)

_PART_FRAMES = 500

_FLEXION, _ABDUCTION, _ROLL = np.array([0.0, 1.0, 0.0]), np.array([-1.0, 0.0, 0.0]), np.array([0.0, 0.0, -1.0])
#: Axes of the hinges of a finger in the order of `JOINT_NAMES`; at the base several hinges meet.
_THUMB_AXES = ((_FLEXION, _ABDUCTION, _ROLL), (_FLEXION,), (_FLEXION,))
_FINGER_AXES = ((_ABDUCTION, _FLEXION), (_FLEXION,), (_FLEXION,))
_DIRECTIONS = np.array([(0.58, 0.46, 0.67), (0.05, 0.07, 1.0), (0.05, 0.0, 1.0), (0.06, -0.05, 1.0), (0.08, -0.13, 1.0)])
_PADS = np.array([(0.35, -0.88, 0.33), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.05, 0.0)])


def _rest_frames() -> FloatArray:
    """(5, 3, 3) frames of the straight fingers: pad, side, direction."""
    direction = _DIRECTIONS / np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)
    pad = _PADS - (_PADS * direction).sum(axis=1, keepdims=True) * direction
    pad /= np.linalg.norm(pad, axis=1, keepdims=True)
    return np.stack([pad, np.cross(direction, pad), direction], axis=-1)


_REST = _rest_frames()


@dataclasses.dataclass(frozen=True)
class HandShape:
    """What stays the same of a person's hand.

    Attributes:
        palm_m: (5, 3) bases of the fingers in the frame of the hand.
        phalanges_m: (5, 3) lengths.
    """

    palm_m: FloatArray
    phalanges_m: FloatArray

    @classmethod
    def average(cls, hand_length_m: float) -> HandShape:
        """Usual proportions for a distance from the wrist to the base of the middle finger."""
        return cls(PALM_RATIOS * hand_length_m / np.linalg.norm(PALM_RATIOS[2]), PHALANX_RATIOS * hand_length_m)


@dataclasses.dataclass(frozen=True)
class Posture:
    """How the hand is held, T frames.

    Attributes:
        rotation: (T, 3, 3) `R_camera_hand`.
        translation: (T, 3) m, the wrist.
        angles: (T, 21) rad in the order of `robots.human_hand.JOINT_NAMES`.
    """

    rotation: FloatArray
    translation: FloatArray
    angles: FloatArray

    def __len__(self) -> int:
        return len(self.translation)

    def moved(self, step: FloatArray) -> Posture:
        """After a step (T, 27): a turn about the wrist in the camera frame, a shift, changes of the angles."""
        turn = Rotation.from_rotvec(step[:, :3]).as_matrix()
        return Posture(turn @ self.rotation, self.translation + step[:, 3:6], self.angles + step[:, 6:])

    def __getitem__(self, frames: slice | NDArray) -> Posture:
        return Posture(self.rotation[frames], self.translation[frames], self.angles[frames])

    @classmethod
    def joined(cls, postures: Sequence[Posture]) -> Posture:
        """One after the other."""
        rotation, translation, angles = zip(*((one.rotation, one.translation, one.angles) for one in postures), strict=True)
        return cls(np.concatenate(rotation), np.concatenate(translation), np.concatenate(angles))


def hand_points(posture: Posture, shape: HandShape) -> FloatArray:
    """Key points (T, 21, 3) m in the camera frame."""
    points = np.empty((len(posture), 21, 3))
    _bend(posture, shape, points)
    return points


def parts(frames: int) -> list[slice]:
    """Frames in parts, one at least: the derivatives of a long video at once would take gigabytes."""
    return [slice(first, first + _PART_FRAMES) for first in range(0, max(frames, 1), _PART_FRAMES)]


def hand_points_and_jacobians(
    posture: Posture, shape: HandShape, *, of_shape: bool = True
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Key points and their derivatives.

    Args:
        posture: T frames.
        shape: of the hand.
        of_shape: whether the derivatives by the shape are wanted.

    Returns:
        Key points (T, 21, 3) m; derivatives (T, 21, 3, 27) by the step of `Posture.moved`; and derivatives
        (T, 21, 3, 30) by the shape: five bases (3 each, m, in the frame of the hand), then 15 logarithms of lengths
        ((T, 21, 3, 0) where they are not wanted).
    """
    frames = len(posture)
    points = np.empty((frames, 21, 3))
    by_step = np.zeros((frames, 21, 3, NUM_PARAMETERS))
    by_shape = np.zeros((frames, 21, 3, 30 if of_shape else 0))
    _bend(posture, shape, points, by_step, by_shape if of_shape else None)
    by_step[..., :3] = cross_matrix(points - points[:, :1]).swapaxes(-1, -2)  # d(w x p) = -[p]x dw
    by_step[..., 3:6] = np.eye(3)
    return points, by_step, by_shape


def _bend(
    posture: Posture,
    shape: HandShape,
    points: FloatArray,
    by_step: FloatArray | None = None,
    by_shape: FloatArray | None = None,
) -> None:
    """Fills key points (T, 21, 3), and the derivatives by the angles and by the shape where these are given."""
    points[:, 0] = posture.translation
    number = 0  # of the hinge
    for finger in range(5):
        first = 1 + 4 * finger
        points[:, first] = posture.translation + posture.rotation @ shape.palm_m[finger]
        if by_shape is not None:
            by_shape[:, first : first + 4, :, 3 * finger : 3 * finger + 3] = posture.rotation[:, None]
        frame = posture.rotation @ _REST[finger]
        hinges: list[tuple[int, int, FloatArray]] = []  # number, key point at which it sits, axis (T, 3)
        for part, axes in enumerate(_THUMB_AXES if finger == 0 else _FINGER_AXES):
            for axis in axes:
                hinges.append((number, first + part, frame @ axis))
                frame = frame @ _turns(axis, posture.angles[:, number])
                number += 1
            bone = frame[..., 2] * shape.phalanges_m[finger, part]
            points[:, first + part + 1] = points[:, first + part] + bone
            if by_shape is not None:
                by_shape[:, first + part + 1 : first + 4, :, 15 + 3 * finger + part] = bone[:, None]
        if by_step is not None:
            for hinge, at, axis in hinges:
                arm = points[:, at + 1 : first + 4] - points[:, at : at + 1]
                by_step[:, at + 1 : first + 4, :, 6 + hinge] = np.cross(axis[:, None], arm)


def _turns(axis: FloatArray, angle: FloatArray) -> FloatArray:
    """Rotations (T, 3, 3) by angles (T,) about one of the coordinate axes."""
    k = int(np.argmax(np.abs(axis)))
    i, j = (k + 1) % 3, (k + 2) % 3
    turn = np.zeros((len(angle), 3, 3))
    sine, cosine = np.sin(axis[k] * angle), np.cos(angle)
    turn[:, k, k] = 1.0
    turn[:, i, i] = turn[:, j, j] = cosine
    turn[:, j, i], turn[:, i, j] = sine, -sine
    return turn


def cross_matrix(vectors: FloatArray) -> FloatArray:
    """(..., 3, 3) matrices whose product with w is vector x w."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vectors.shape, 3)
