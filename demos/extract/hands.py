"""Finds hands in the pictures and follows them through dropouts; metric 3D is left to `hand_pose`.

MediaPipe's detector is asked at a low threshold. Where it loses a hand, the hand is looked for again in an enlarged cut-out
around the place that optical flow predicts, and failing that the flow itself carries the 21 points on, with falling confidence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.extract.flow import track_points
from dexvid_envs.errors import MissingExtraError, NoHandFoundError

FloatArray = NDArray[np.float64]

DETECTED, REGION, FLOW, LOST = 0, 1, 2, 3
_OTHER_SIDE = {"left": "right", "right": "left"}


@dataclasses.dataclass(frozen=True)
class Detection:
    """One hand in one picture.

    Attributes:
        image: (21, 2) px.
        shape: (21, 3) m, turned as the camera, about its own origin; size and place are not to be trusted.
        score: in [0, 1].
        side: "right" or "left", as the person's own.
        origin: DETECTED, REGION (found in a cut-out) or FLOW (carried by optical flow; the shape is the last one seen).
    """

    image: FloatArray
    shape: FloatArray
    score: float
    side: str
    origin: int = DETECTED


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
    """

    image: FloatArray
    shape: FloatArray
    confidence: FloatArray
    origin: NDArray[np.int64]
    side: str
    side_agreement: float


def hand_size_px(image: FloatArray) -> FloatArray:
    """Apparent size of a hand (...,) in px, from (..., 21, 2): about wrist to middle knuckle, also when seen end-on."""
    along = np.linalg.norm(image[..., 9, :] - image[..., 0, :], axis=-1)
    across = 1.4 * np.linalg.norm(image[..., 5, :] - image[..., 17, :], axis=-1)
    extent = 0.4 * np.linalg.norm(np.ptp(image, axis=-2), axis=-1)
    return np.maximum(np.maximum(along, across), np.maximum(extent, 1.0))


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


class MediaPipeHands:
    """The `mediapipe` backend: the hand models bundled with mediapipe 0.10.21, no download."""

    def __init__(self, min_confidence: float, mirrored: bool) -> None:
        os.environ.setdefault("GLOG_minloglevel", "3")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        self._min_confidence, self._mirrored = min_confidence, mirrored
        self._video = self._make(static=False, hands=2)
        self._region: Any = None  # made when the first dropout needs it
        self._noisy = True  # the models write notes until they have seen a first hand

    def _make(self, static: bool, hands: int) -> Any:
        with warnings.catch_warnings(), quiet_stderr():
            warnings.simplefilter("ignore")
            try:
                from mediapipe.python.solutions import hands as solution
            except ImportError as error:
                raise MissingExtraError(
                    f"finding hands in a video needs mediapipe ({error}); "
                    'install it with: pip install "dexvid-envs[video]" (Python 3.11 or 3.12)'
                ) from error
            detector = solution.Hands(
                static_image_mode=static,
                max_num_hands=hands,
                min_detection_confidence=self._min_confidence,
                min_tracking_confidence=self._min_confidence,
            )
            detector.process(np.zeros((64, 64, 3), np.uint8))  # the graph writes its notes with the first picture
        return detector

    def detect(self, rgb: NDArray[np.uint8]) -> list[Detection]:
        """All hands (at most two) in the next picture (H, W, 3) of the video."""
        return self._read(self._video, rgb, DETECTED)

    def detect_in_region(self, rgb: NDArray[np.uint8], centre: FloatArray, radius: float) -> list[Detection]:
        """Hands in the square cut-out of half width `radius` px around `centre`, enlarged."""
        import cv2

        self._region = self._region or self._make(static=True, hands=1)
        low = np.maximum(np.floor(centre - radius).astype(int), 0)
        high = np.minimum(np.ceil(centre + radius).astype(int), (rgb.shape[1], rgb.shape[0]))
        if (high - low).min() < 16:
            return []
        cut = rgb[low[1] : high[1], low[0] : high[0]]
        zoom = max(1.0, 320.0 / max(cut.shape[:2]))
        cut = np.asarray(cv2.resize(cut, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC), np.uint8)
        found = self._read(self._region, cut, REGION)
        return [dataclasses.replace(hand, image=(hand.image + 0.5) / zoom - 0.5 + low) for hand in found]

    def _read(self, detector: Any, rgb: NDArray[np.uint8], origin: int) -> list[Detection]:
        with warnings.catch_warnings(), quiet_stderr() if self._noisy else contextlib.nullcontext():
            warnings.simplefilter("ignore")  # protobuf's deprecation notes
            result: Any = detector.process(np.ascontiguousarray(rgb))
        self._noisy = self._noisy and not result.multi_hand_landmarks
        found: list[Detection] = []
        images: list[Any] = result.multi_hand_landmarks or []
        shapes: list[Any] = result.multi_hand_world_landmarks or []
        labels: list[Any] = result.multi_handedness or []
        for image, shape, label in zip(images, shapes, labels, strict=True):
            side = label.classification[0].label.lower()
            found.append(
                Detection(
                    np.array([(p.x * rgb.shape[1] - 0.5, p.y * rgb.shape[0] - 0.5) for p in image.landmark]),
                    np.array([(p.x, p.y, p.z) for p in shape.landmark]),
                    float(label.classification[0].score),
                    # MediaPipe's labels assume a mirrored picture
                    side if self._mirrored else _OTHER_SIDE[side],
                    origin,
                )
            )
        return _without_duplicates(found)

    def close(self) -> None:
        """Releases the detectors."""
        with quiet_stderr():
            self._video.close()
            if self._region is not None:
                self._region.close()


def _without_duplicates(found: list[Detection]) -> list[Detection]:
    """At a low threshold one hand is sometimes found as a right and a left one: the better stays."""
    kept: list[Detection] = []
    for hand in sorted(found, key=lambda hand: -hand.score):
        if all(_distance(hand.image, other.image) > 0.5 for other in kept):
            kept.append(hand)
    return kept


def _distance(image: FloatArray, other: FloatArray) -> float:
    """Mean distance of the key points in hand sizes."""
    return float(np.linalg.norm(image - other, axis=-1).mean() / hand_size_px(other))


@dataclasses.dataclass
class _Track:
    """A hand while the video runs."""

    frames: list[int]
    hands: list[Detection]
    confidence: list[float]
    lost_frames: int = 0


class HandFollower:
    """Joins the detections of a running video to tracks and bridges dropouts."""

    def __init__(self, detector: MediaPipeHands, max_gap_frames: int) -> None:
        self._detector, self._max_gap = detector, max_gap_frames
        self._tracks: list[_Track] = []
        self._gray: NDArray[np.uint8] | None = None
        self._count = 0

    def update(self, rgb: NDArray[np.uint8], gray: NDArray[np.uint8]) -> None:
        """Takes the next picture, full size for the detector and in grey at its own, smaller size for optical flow."""
        scale = gray.shape[1] / rgb.shape[1]
        found = self._detector.detect(rgb)
        for track in self._tracks:
            if track.lost_frames > self._max_gap:
                continue
            predicted, reliable = self._predict(track, gray, scale)
            match = min(found, key=lambda hand: _distance(hand.image, predicted), default=None)
            if match is not None and _distance(match.image, predicted) > 0.9:
                match = None
            if match is not None:
                found = [hand for hand in found if hand is not match]
            else:
                match = self._recover(track, rgb, predicted, reliable)
            if match is None:
                track.lost_frames = self._max_gap + 1
                continue
            track.lost_frames = track.lost_frames + 1 if match.origin == FLOW else 0
            self._append(track, match, predicted, reliable)
        for hand in found:
            self._tracks.append(_Track([self._count], [hand], [hand.score]))
        self._gray, self._count = gray, self._count + 1

    def _predict(self, track: _Track, gray: NDArray[np.uint8], scale: float) -> tuple[FloatArray, bool]:
        """Where optical flow sees the track's points now, (21, 2) px, and whether most of them could be followed."""
        last = track.hands[-1].image
        if self._gray is None:
            return last, False
        moved, error_px = track_points(self._gray, gray, last * scale)
        good = error_px < 0.1 * hand_size_px(last) * scale
        if good.sum() < 8:
            return last, False
        shift = np.median(moved[good] - last[good] * scale, axis=0)  # for the points that could not be followed
        return np.where(good[:, None], moved, last * scale + shift) / scale, True

    def _recover(self, track: _Track, rgb: NDArray[np.uint8], predicted: FloatArray, reliable: bool) -> Detection | None:
        last = track.hands[-1]
        size = float(hand_size_px(predicted))
        centre = 0.5 * (predicted.max(axis=0) + predicted.min(axis=0))
        for hand in self._detector.detect_in_region(rgb, centre, 2.2 * size):
            if _distance(hand.image, predicted) < 0.6:
                return hand
        if not reliable or track.lost_frames >= self._max_gap:
            return None
        return dataclasses.replace(last, image=predicted, origin=FLOW)

    def _append(self, track: _Track, hand: Detection, predicted: FloatArray, reliable: bool) -> None:
        if hand.origin == FLOW:
            confidence = 0.85 * track.confidence[-1]
        else:
            apart = np.median(np.linalg.norm(hand.image - predicted, axis=-1)) / hand_size_px(hand.image)
            agreement = float(np.exp(-((apart / 0.3) ** 2))) if reliable else 0.8
            confidence = hand.score * agreement * (0.8 if hand.origin == REGION else 1.0)
        track.frames.append(self._count)
        track.hands.append(hand)
        track.confidence.append(confidence)

    def result(self, side: str) -> RawHand:
        """The hand to follow: of the wanted side, or with "auto" the one that is seen longest and moves most.

        Raises:
            NoHandFoundError: no hand, or none of the wanted side, was found.
        """
        tracks = [track for track in self._tracks if sum(hand.origin != FLOW for hand in track.hands) >= 3]
        wanted = [track for track in tracks if side in ("auto", _side(track)[0])]
        if not wanted:
            seen = f"only a {_side(tracks[0])[0]} hand" if tracks else "no hand"
            raise NoHandFoundError(
                f"{seen} was found in {self._count} frames, expected {'a human' if side == 'auto' else 'a ' + side} hand; "
                "film it larger, in better light and not cut off by the border, or lower --min-confidence (or change --side)"
            )
        main = max(wanted, key=_interest)
        parts, taken = [main], set(main.frames)
        for track in sorted(wanted, key=_interest, reverse=True):  # the same hand before and after a long dropout
            if _side(track)[0] == _side(main)[0] and not taken & set(track.frames):
                parts.append(track)
                taken |= set(track.frames)
        return _assemble(parts, self._count)


def _side(track: _Track) -> tuple[str, float]:
    right = sum(hand.score for hand in track.hands if hand.side == "right" and hand.origin != FLOW)
    total = sum(hand.score for hand in track.hands if hand.origin != FLOW)
    share = right / max(total, 1e-9)
    return ("right", share) if share >= 0.5 else ("left", 1.0 - share)


def _interest(track: _Track) -> float:
    wrists = np.array([hand.image[0] for hand in track.hands])
    size = float(np.median([hand_size_px(hand.image) for hand in track.hands]))
    path = float(np.linalg.norm(np.diff(wrists[::5], axis=0), axis=-1).sum()) / size  # every fifth: not the jitter
    return sum(track.confidence) * (1.0 + 0.2 * path)


def _assemble(parts: list[_Track], frames: int) -> RawHand:
    image, shape = np.full((frames, 21, 2), np.nan), np.full((frames, 21, 3), np.nan)
    confidence, origin = np.zeros(frames), np.full(frames, LOST)
    for part in parts:
        for frame, hand, value in zip(part.frames, part.hands, part.confidence, strict=True):
            image[frame], shape[frame], confidence[frame], origin[frame] = hand.image, hand.shape, value, hand.origin
    side, agreement = _side(parts[0])
    return RawHand(image, shape, confidence, origin, side, agreement)
