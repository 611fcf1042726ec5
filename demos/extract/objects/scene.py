"""What a static camera sees besides the hand: the colour of every pixel early and late in the clip, and when it changed.

A place that an object leaves, or comes to, changes once and for good; that alone outlines objects that rest, also plain ones.
Made once per clip from a few dozen pictures and shared by everything that looks for objects.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.extract.objects.masks import hand_mask
from demos.video import FrameCache

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Picture = NDArray[np.uint8]

_SAMPLES = 28
_HEAD = 5  # samples at either end whose median is the early and the late colour
_HAND_MARGIN = 0.28  # hand sizes; blur and the thickness of the fingers
_CHANGED = 22.0  # levels between early and late, as a distance of colours


@dataclasses.dataclass(frozen=True)
class StaticScene:
    """Colours of the places that hand and forearm leave free.

    Attributes:
        early: (h, w, 3) colour of each pixel when it is first seen free of the hand.
        late: (h, w, 3) the same for the last time.
        changed: (h, w) bool, these two differ.
        last_early: (h, w) frame in which a changed pixel is last seen with its early colour; the hand may hide it then.
        first_late: (h, w) frame in which it is first seen with its late one.
        steady: (h, w) part of the free sights of a pixel that show its early or its late colour.
        frames: (S,) numbers of the pictures that were looked at.
    """

    early: Picture
    late: Picture
    changed: BoolArray
    last_early: NDArray[np.int32]
    first_late: NDArray[np.int32]
    steady: NDArray[np.float32]
    frames: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        return (self.early.shape[0], self.early.shape[1])


def observe_scene(cache: FrameCache, hand: FloatArray) -> StaticScene:
    """Looks at pictures spread over the clip.

    Args:
        cache: T pictures.
        hand: (T, 21, 2) px.
    """
    frames = np.unique(np.linspace(0, len(cache) - 1, min(_SAMPLES, len(cache))).round().astype(np.int64))
    pictures = np.stack([cache.rgb(int(frame)) for frame in frames])  # (S, h, w, 3)
    shape = (pictures.shape[1], pictures.shape[2])
    free = np.stack([hand_mask(shape, hand[frame], _HAND_MARGIN) == 0 for frame in frames])
    early = _first_colour(pictures, free)
    late = _first_colour(pictures[::-1], free[::-1])
    changed = colour_distance(early, late) > _CHANGED
    last_early, first_late = np.zeros(shape, np.int32), np.full(shape, len(cache), np.int32)
    row, column = np.nonzero(changed)
    to_early = np.linalg.norm(pictures[:, row, column].astype(np.float32) - early[row, column], axis=-1)
    to_late = np.linalg.norm(pictures[:, row, column].astype(np.float32) - late[row, column], axis=-1)
    vote = np.where(free[:, row, column], np.sign(to_late - to_early), 0.0)  # (S, pixels)
    switch = np.cumsum(vote, axis=0).argmax(axis=0)  # last sample that speaks for the early colour
    after = (np.arange(len(frames))[:, None] > switch) & (vote < 0)
    last_early[row, column] = frames[switch]
    first_late[row, column] = np.where(after.any(axis=0), frames[after.argmax(axis=0)], len(cache))
    near = np.zeros(shape, np.float32)
    for picture, seen in zip(pictures, free, strict=True):
        near += seen & (np.minimum(colour_distance(picture, early), colour_distance(picture, late)) < _CHANGED)
    return StaticScene(early, late, changed, last_early, first_late, near / np.maximum(free.sum(axis=0), 1), frames)


def colour_distance(a: Picture, b: Picture) -> NDArray[np.float32]:
    """Distance (h, w) of two pictures' colours, in levels."""
    import cv2

    return np.sqrt(dot_colours(difference := cv2.absdiff(a, b).astype(np.float32), difference))


def dot_colours(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scalar product (h, w) of the colours of two pictures (h, w, 3); numpy's sum over so short an axis is slow."""
    import cv2

    return np.asarray(cv2.transform(a * b, np.ones((1, 3), np.float32)), np.float32)


def _first_colour(pictures: Picture, free: BoolArray) -> Picture:
    """Median (h, w, 3) of the first free sights of each pixel among S pictures; a pixel never free gives what covers it."""
    filled = pictures[-1].copy()
    head: list[Picture] = []
    for picture, seen in zip(pictures[::-1], free[::-1], strict=True):
        filled = np.where(seen[..., None], picture, filled)
        head.append(filled)
    return np.median(np.stack(head[-_HEAD:]), axis=0).astype(np.uint8)
