"""Keeps a hand detector's answers on disk, so that an extraction that was killed goes on where it was.

The file is a row of records: length and CRC-32 of the payload (4 bytes each, little-endian), then the payload: a CRC-32 of the
question and the hands that were the answer. A record that was cut short or does not belong to the question ends the journal.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np

from demos.extract.hand.detection import Detection, HandDetector, Region, RgbImage

_HEAD = struct.Struct("<II")
_QUESTION = struct.Struct("<I")
_HAND = np.dtype(
    [
        ("image", "<f8", (21, 2)),
        ("shape", "<f8", (21, 3)),
        ("score", "<f8"),
        ("side_score", "<f8"),
        ("is_right", "?"),
        ("origin", "u1"),
    ]
)
_FINGERPRINT_STEP_PX = 8


class JournaledHands:
    """A hand detector that remembers: asked the same questions again, it answers from the file as long as that lasts.

    Args:
        detector: what is asked.
        path: the journal.
        settings: whatever else its answers depend on; those that were given under other settings are not believed.
    """

    def __init__(self, detector: HandDetector, path: Path, settings: str = "") -> None:
        self._detector, self._settings = detector, settings.encode()
        self._file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115  (lives as long as the detector)
        self._remembering = True

    def detect(self, rgb: RgbImage) -> list[Detection]:
        """As the detector's own."""
        question = _fingerprint(rgb, self._settings)
        known = self._recall(question)
        return self._keep(question, self._detector.detect(rgb)) if known is None else known

    def detect_in_region(self, rgb: RgbImage, region: Region) -> list[Detection]:
        """As the detector's own."""
        place = np.array([*region.centre, region.side_px, region.turn_rad]).tobytes()
        question = _fingerprint(rgb, self._settings + place)
        known = self._recall(question)
        return self._keep(question, self._detector.detect_in_region(rgb, region)) if known is None else known

    def close(self) -> None:
        """Closes file and detector; the file stays."""
        self._file.close()
        self._detector.close()

    def _recall(self, question: int) -> list[Detection] | None:
        """The next answer of the file; where it ends, what follows is cut off and None returned from then on."""
        if not self._remembering:
            return None
        start = self._file.tell()
        payload = self._read_payload()
        if payload is not None and _QUESTION.unpack_from(payload)[0] == question:
            return _unpack(payload[_QUESTION.size :])
        self._remembering = False
        self._file.seek(start)
        self._file.truncate()
        return None

    def _read_payload(self) -> bytes | None:
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        length, check = _HEAD.unpack(head)
        if length < _QUESTION.size or length > os.fstat(self._file.fileno()).st_size:
            return None
        payload = self._file.read(length)
        intact = len(payload) == length and zlib.crc32(payload) == check and (length - _QUESTION.size) % _HAND.itemsize == 0
        return payload if intact else None

    def _keep(self, question: int, hands: list[Detection]) -> list[Detection]:
        payload = _QUESTION.pack(question) + _pack(hands)
        self._file.write(_HEAD.pack(len(payload), zlib.crc32(payload)) + payload)
        return hands


def _fingerprint(rgb: RgbImage, further: bytes) -> int:
    """Tells one question from another by a part of the pixels."""
    pixels = np.ascontiguousarray(rgb[::_FINGERPRINT_STEP_PX, ::_FINGERPRINT_STEP_PX]).tobytes()
    return zlib.crc32(pixels, zlib.crc32(further, zlib.crc32(str(rgb.shape).encode())))


def _pack(hands: list[Detection]) -> bytes:
    rows = [(hand.image, hand.shape, hand.score, hand.side_score, hand.side == "right", hand.origin) for hand in hands]
    return np.array(rows, _HAND).tobytes()


def _unpack(payload: bytes) -> list[Detection]:
    return [
        Detection(
            row["image"].copy(),
            row["shape"].copy(),
            float(row["score"]),
            "right" if row["is_right"] else "left",
            int(row["origin"]),
            float(row["side_score"]),
        )
        for row in np.frombuffer(payload, _HAND)
    ]
