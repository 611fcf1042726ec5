"""The types of the task-relevant points: where a point is asked for, on what it rides, and what comes out in the end.

Pixels are those of the kept pictures unless said otherwise; they count from the centre of the upper left one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from demos.extract.objects.object_masks import ObjectMasks
from demos.interaction import FINGERTIPS, WRIST, BoolArray, FloatArray
from demos.parts import PixelTracks
from demos.video import FrameCache
from dexvid_envs.errors import DexVidError, OptionError

HAND = "hand"
#: Points of the hand that every result has, with their index among the 21.
HAND_POINTS: Mapping[str, int] = dict(
    zip(("wrist", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip"), (WRIST, *FINGERTIPS), strict=True)
)
OBJECT_CENTROID = "object_centroid"
#: Where the moved object goes: the middle of the place on which it rests, or of the container's opening.
TARGET = "target"


@dataclasses.dataclass(frozen=True)
class TaskPointQuery:
    """A point to follow, by its place in one picture.

    Attributes:
        name: of the point, unique among the queries.
        part: "hand", the name of a tracked object, or any other name for something that stands still ("target").
        frame: number of the picture.
        pixel: (2,) px in it.
        inside: the point lies within its object (its middle, a point on its axis), not on the surface that is seen.
    """

    name: str
    part: str
    frame: int
    pixel: FloatArray
    inside: bool = False

    def __post_init__(self) -> None:
        if np.shape(self.pixel) != (2,) or not np.isfinite(self.pixel).all():
            raise DexVidError(f"the task point {self.name!r} has the pixel {self.pixel!r}, expected two finite numbers")


@dataclasses.dataclass(frozen=True)
class TrackedObject:
    """What is known of an object in the pictures.

    Attributes:
        name: of the object.
        masks: where it is seen, without the hand that covers it.
        tracks: points on it.
    """

    name: str
    masks: ObjectMasks
    tracks: PixelTracks

    def __post_init__(self) -> None:
        if len(self.masks) != len(self.tracks.pixels):
            raise DexVidError(f"{self.name} has {len(self.masks)} masks and {len(self.tracks.pixels)} frames of tracks")


class Proposer(Protocol):
    """A backend: `motion.MotionProposer` or `vlm.VisionModelProposer`."""

    def propose(
        self,
        pictures: FrameCache,
        hand_px: FloatArray,
        objects: Sequence[TrackedObject],
        contact: BoolArray,
        fps: float,
        task: str | None,
    ) -> list[TaskPointQuery]:
        """The points that matter, each in a picture that shows it.

        Args:
            pictures: T kept pictures.
            hand_px: (T, 21, 2) px; NaN where the hand is unknown.
            objects: the moved one first.
            contact: (T,) the hand touches the moved object.
            fps: of the T frames.
            task: what is done, in words, where the user says so.
        """
        ...


def check_queries(queries: Sequence[TaskPointQuery], frames: int) -> None:
    """Refuses queries that cannot be followed.

    Raises:
        OptionError: a name occurs twice, or a frame is not one of the `frames`.
    """
    names = [query.name for query in queries]
    for query in queries:
        if names.count(query.name) > 1:
            raise OptionError(f"the task point {query.name!r} occurs twice, expected each name once; rename one of them")
        if not 0 <= query.frame < frames:
            raise OptionError(f"the task point {query.name!r} is in frame {query.frame}, expected 0 to {frames - 1}")


def at_pixel(mask: NDArray, pixel: FloatArray) -> bool:
    """Whether the mask (h, w) is set at a pixel (2,); outside the picture it is not."""
    if not np.isfinite(pixel).all():
        return False
    x, y = (round(float(value)) for value in pixel)
    return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])
