"""What a hand detector answers, a hand over time before it becomes metric, and the regions in which hands are looked for."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
RgbImage = NDArray[np.uint8]

DETECTED, REGION, FLOW, LOST = 0, 1, 2, 3

#: Wrist, bases and second joints: what a hand keeps in its place whatever the fingertips do.
_FRAME_POINTS = np.array([0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18])


@dataclasses.dataclass(frozen=True)
class Detection:
    """One hand in one picture.

    Attributes:
        image: (21, 2) px.
        shape: (21, 3) m, turned as the camera, about its own origin; size and place are not to be trusted.
        score: that there is a hand, in [0, 1].
        side: "right" or "left", as the person's own.
        origin: DETECTED (by a search of the whole picture), REGION (read where the hand was expected) or FLOW (carried by
            optical flow; the shape is the last one seen).
        side_score: that the side is right, in [0.5, 1].
    """

    image: FloatArray
    shape: FloatArray
    score: float
    side: str
    origin: int = DETECTED
    side_score: float = 1.0


@dataclasses.dataclass(frozen=True)
class RawHand:
    """One hand over all frames before it becomes metric.

    Attributes:
        image: (T, 21, 2) px; NaN where lost.
        shape: (T, 21, 3) m as in `Detection`; NaN where lost.
        confidence: (T,) in [0, 1].
        origin: (T,) DETECTED, REGION, FLOW or LOST.
        side: "right" or "left".
        side_agreement: part of the detections that say so.
        side_seen: (T,) whether the detector itself took the hand for one of this side; None where that is not known.
        moving: (T,) whether the picture changed about the hand since the frame before; None where that is not known.
        other_hand_part: part of the frames in which a further hand, which is not followed, is surely seen too.
    """

    image: FloatArray
    shape: FloatArray
    confidence: FloatArray
    origin: NDArray[np.int64]
    side: str
    side_agreement: float
    side_seen: NDArray[np.bool_] | None = None
    moving: NDArray[np.bool_] | None = None
    other_hand_part: float = 0.0


@dataclasses.dataclass(frozen=True)
class Region:
    """A square of the picture that may stand askew.

    Attributes:
        centre: (2,) px.
        side_px: length of its sides.
        turn_rad: clockwise turn of its upward direction, which the fingers point in.
    """

    centre: FloatArray
    side_px: float
    turn_rad: float

    @classmethod
    def around(cls, image: FloatArray, zoom: float = 2.0) -> Region:
        """The region of a hand with key points (21, 2) px, `zoom` times as large as its joints reach."""
        up = image[[5, 9, 13, 17]].mean(axis=0) - image[0]
        turn = float(np.arctan2(up[0], -up[1]))
        upright = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # columns: right and down of the hand
        joints = image[_FRAME_POINTS] @ upright
        low, high = joints.min(axis=0), joints.max(axis=0)
        middle = 0.5 * (low + high) - [0.0, 0.1 * (high[1] - low[1])]  # the fingertips reach beyond
        return cls(upright @ middle, zoom * float(max((high - low).max(), 8.0)), turn)


class HandDetector(Protocol):
    """Anything that finds hands in pictures."""

    def detect(self, rgb: RgbImage) -> list[Detection]:
        """All hands in a picture (H, W, 3)."""
        ...

    def detect_in_region(self, rgb: RgbImage, region: Region) -> list[Detection]:
        """The hand in a region, or none."""
        ...

    def close(self) -> None:
        """Releases what it holds."""
        ...


def hand_size_px(image: FloatArray) -> FloatArray:
    """Apparent size of a hand (...,) in px, from (..., 21, 2): about wrist to middle knuckle, also when seen end-on."""
    along = np.linalg.norm(image[..., 9, :] - image[..., 0, :], axis=-1)
    across = 1.4 * np.linalg.norm(image[..., 5, :] - image[..., 17, :], axis=-1)
    extent = 0.4 * np.linalg.norm(np.ptp(image, axis=-2), axis=-1)
    return np.maximum(np.maximum(along, across), np.maximum(extent, 1.0))


def image_distance(image: FloatArray, other: FloatArray) -> float:
    """Mean distance of the key points (21, 2) of two hands in hand sizes."""
    return float(np.linalg.norm(image - other, axis=-1).mean() / hand_size_px(other))


def without_duplicates(found: list[Detection]) -> list[Detection]:
    """At a low threshold one hand is sometimes found twice: the better stays."""
    kept: list[Detection] = []
    for hand in sorted(found, key=lambda hand: -hand.score):
        if all(image_distance(hand.image, other.image) > 0.5 for other in kept):
            kept.append(hand)
    return kept
