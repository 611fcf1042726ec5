"""The `mediapipe` backend of the hand stage: the models bundled with mediapipe 0.10.21, no download."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from demos.extract.hand.detection import DETECTED, REGION, Detection, Region, RgbImage, without_duplicates
from dexvid_envs.errors import MissingExtraError

_OTHER_SIDE = {"left": "right", "right": "left"}
#: Reads the 21 points in a given region, without the search for palms that MediaPipe's own pipeline begins with.
_READER_GRAPH = """
input_stream: "image"
input_stream: "region"
input_side_packet: "complexity"
output_stream: "points"
output_stream: "shape"
output_stream: "side"
node {
  calculator: "HandLandmarkCpu"
  input_side_packet: "MODEL_COMPLEXITY:complexity"
  input_stream: "IMAGE:image"
  input_stream: "ROI:region"
  output_stream: "LANDMARKS:points"
  output_stream: "WORLD_LANDMARKS:shape"
  output_stream: "HANDEDNESS:side"
}
"""
_PRESENCE = "handlandmarkcpu__hand_presence_score"  # inside the node: that there is a hand at all


class MediaPipeHands:
    """Two models: one finds hands in a whole picture, one reads the key points of a hand in a region."""

    def __init__(self, min_confidence: float, mirrored: bool) -> None:
        os.environ.setdefault("GLOG_minloglevel", "3")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        self._mirrored = mirrored
        self._noisy = True  # the models write notes until they have seen a first hand
        with _silent(True):
            try:
                from mediapipe.framework import calculator_pb2
                from mediapipe.framework.formats import rect_pb2
                from mediapipe.python.solution_base import SolutionBase
                from mediapipe.python.solutions import hands as solution
            except ImportError as error:
                raise MissingExtraError(
                    f"finding hands in a video needs mediapipe ({error}); "
                    "pip install -c constraints.txt -e '.[video]' in the project's checkout (Python 3.11 or 3.12)"
                ) from error
            from google.protobuf import text_format

            formats: Any = rect_pb2  # protobuf makes these classes at run time
            graphs: Any = calculator_pb2
            self._rect: Any = formats.NormalizedRect
            self._finder: Any = solution.Hands(
                static_image_mode=True,
                max_num_hands=2,
                min_detection_confidence=min_confidence,
                min_tracking_confidence=min_confidence,
            )
            self._reader: Any = SolutionBase(
                graph_config=text_format.Parse(_READER_GRAPH, graphs.CalculatorGraphConfig()),
                calculator_params={"handlandmarkcpu__ThresholdingCalculator.threshold": min_confidence},
                side_inputs={"complexity": 1},
                outputs=["points", "shape", "side", _PRESENCE],
            )
            self._finder.process(np.zeros((64, 64, 3), np.uint8))  # the graph writes its notes with the first picture

    def detect(self, rgb: RgbImage) -> list[Detection]:
        """All hands (at most two) in a picture (H, W, 3)."""
        found: list[Detection] = []
        with _silent(self._noisy):
            result: Any = self._finder.process(np.ascontiguousarray(rgb))
        hands: list[Any] = result.multi_hand_landmarks or []
        self._noisy = self._noisy and not hands
        for points in hands:
            found += self._read(rgb, Region.around(_pixels(points, rgb)), DETECTED)
        return without_duplicates(found)

    def detect_in_region(self, rgb: RgbImage, region: Region) -> list[Detection]:
        """The hand in a region, or none."""
        return self._read(rgb, region, REGION)

    def _read(self, rgb: RgbImage, region: Region, origin: int) -> list[Detection]:
        height, width = rgb.shape[:2]
        x, y = (region.centre + 0.5) / [width, height]
        rect = self._rect(
            x_center=x, y_center=y, width=region.side_px / width, height=region.side_px / height, rotation=region.turn_rad
        )
        with _silent(self._noisy):
            result: Any = self._reader.process({"image": np.ascontiguousarray(rgb), "region": rect})
        if not result.points:
            return []
        self._noisy = False
        label = result.side.classification[0]
        side = label.label.lower()
        return [
            Detection(
                _pixels(result.points, rgb),
                np.array([(p.x, p.y, p.z) for p in result.shape.landmark]),
                float(getattr(result, _PRESENCE)),
                # MediaPipe's labels assume a mirrored picture
                side if self._mirrored else _OTHER_SIDE[side],
                origin,
                float(label.score),
            )
        ]

    def close(self) -> None:
        """Releases the models."""
        with _silent(True):
            self._finder.close()
            self._reader.close()


def _pixels(points: Any, rgb: RgbImage) -> np.ndarray:
    return np.array([(p.x * rgb.shape[1] - 0.5, p.y * rgb.shape[0] - 0.5) for p in points.landmark])


@contextlib.contextmanager
def _silent(native: bool) -> Iterator[None]:
    """Drops protobuf's deprecation notes, and with `native` also what the models' libraries write to the error stream."""
    with warnings.catch_warnings(), quiet_stderr() if native else contextlib.nullcontext():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Sends what native libraries write to the error stream nowhere; their start-up notes hide our own messages."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
