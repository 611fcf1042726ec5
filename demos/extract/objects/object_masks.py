"""Masks of one object over a clip, kept packed: a ten-minute video's masks take some tens of megabytes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from demos.parts import MaskFrames

BoolArray = NDArray[np.bool_]

#: Where a frame's mask comes from: pixels that look like the object, or the motion of its points or of the hand that hides it.
SEEN, CARRIED, LOST = 0, 1, 2


class ObjectMasks:
    """Masks (h, w) of T frames in the size of the kept pictures, without the hand that covers the object.

    Attributes:
        shape: (h, w) px.
        origin: (T,) SEEN, CARRIED or LOST (then the mask is empty).
    """

    def __init__(self, shape: tuple[int, int], frames: int) -> None:
        self.shape = shape
        self.origin: NDArray[np.int8] = np.full(frames, LOST, np.int8)
        self._packed = [b""] * frames

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, frame: int) -> BoolArray:
        """The mask (h, w) of a frame."""
        if not self._packed[frame]:
            return np.zeros(self.shape, bool)
        bits = np.frombuffer(zlib.decompress(self._packed[frame]), np.uint8)
        return np.unpackbits(bits, count=self.shape[0] * self.shape[1]).reshape(self.shape).astype(bool)

    def put(self, frame: int, mask: BoolArray, origin: int) -> None:
        """Stores the mask (h, w) of a frame.

        Raises:
            ValueError: the mask has another shape.
        """
        if mask.shape != self.shape:
            raise ValueError(f"the mask has shape {mask.shape}, expected {self.shape}")
        self._packed[frame] = zlib.compress(np.packbits(mask).tobytes(), 1)
        self.origin[frame] = origin

    @property
    def frames(self) -> MaskFrames:
        """The same as the importers give masks."""
        return MaskFrames(len(self), self.__getitem__)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As arrays, for a file."""
        lengths = np.array([len(packed) for packed in self._packed], np.int64)
        data = np.frombuffer(b"".join(self._packed), np.uint8)
        return {"shape": np.array(self.shape), "origin": self.origin, "lengths": lengths, "data": data}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ObjectMasks:
        """From what `to_arrays` gave."""
        height, width = (int(side) for side in arrays["shape"])
        masks = cls((height, width), len(arrays["origin"]))
        masks.origin[:] = arrays["origin"]
        data, lengths = arrays["data"].tobytes(), arrays["lengths"].tolist()
        ends = np.cumsum(lengths).tolist()
        masks._packed = [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        return masks
