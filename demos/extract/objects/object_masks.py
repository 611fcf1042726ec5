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
        self._boxes = np.zeros((frames, 4), np.int32)  # first column and row of what is packed, its width and height

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, frame: int) -> BoolArray:
        """The mask (h, w) of a frame."""
        (x, y), part = self.cut_out(frame)
        mask = np.zeros(self.shape, bool)
        mask[y : y + part.shape[0], x : x + part.shape[1]] = part
        return mask

    def cut_out(self, frame: int) -> tuple[tuple[int, int], BoolArray]:
        """Column and row of the upper left pixel of what a frame's mask holds, and that part (a, b) of it."""
        x, y, width, height = (int(value) for value in self._boxes[frame])
        if not self._packed[frame]:
            return (0, 0), np.zeros((0, 0), bool)
        bits = np.frombuffer(zlib.decompress(self._packed[frame]), np.uint8)
        return (x, y), np.unpackbits(bits, count=width * height).reshape(height, width).view(bool)

    def put(self, frame: int, mask: BoolArray, origin: int) -> None:
        """Stores the mask (h, w) of a frame.

        Raises:
            ValueError: the mask has another shape.
        """
        if mask.shape != self.shape:
            raise ValueError(f"the mask has shape {mask.shape}, expected {self.shape}")
        self.origin[frame] = origin
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            self._packed[frame] = b""
            return
        y, x = int(rows[0]), int(columns[0])
        part = mask[y : rows[-1] + 1, x : columns[-1] + 1]
        self._boxes[frame] = x, y, part.shape[1], part.shape[0]
        self._packed[frame] = zlib.compress(np.packbits(part).tobytes(), 1)

    @property
    def frames(self) -> MaskFrames:
        """The same as the importers give masks."""
        return MaskFrames(len(self), self.__getitem__)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As arrays, for a file."""
        lengths = np.array([len(packed) for packed in self._packed], np.int64)
        data = np.frombuffer(b"".join(self._packed), np.uint8)
        return {"shape": np.array(self.shape), "origin": self.origin, "boxes": self._boxes, "lengths": lengths, "data": data}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ObjectMasks:
        """From what `to_arrays` gave."""
        height, width = (int(side) for side in arrays["shape"])
        masks = cls((height, width), len(arrays["origin"]))
        masks.origin[:] = arrays["origin"]
        masks._boxes[:] = arrays["boxes"]
        data, lengths = arrays["data"].tobytes(), arrays["lengths"].tolist()
        ends = np.cumsum(lengths).tolist()
        masks._packed = [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        return masks
