"""The contact sheet of the real clips: what was extracted, drawn over frames beside the hand-made labels, to be looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.labels import LABELLED_KEYPOINTS, FrameLabel
from benchmarks.real_clips_score import KEYPOINT_PX, FrameScore, FrameTracks
from demos.interaction import HAND_BONES

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

_SIZE = (320, 240)  # px, a tile
_COLUMNS = 7  # tiles a clip
_MARGIN = 0.12
_LABEL: Colour = (255, 255, 255)
_OUTLINE: Colour = (60, 140, 255)
_HAND: Colour = (255, 210, 80)
_GOOD: Colour = (90, 230, 140)
_BAD: Colour = (255, 70, 70)


def chosen_frames(count: int) -> list[int]:
    """Which of `count` labelled frames are shown: evenly spaced."""
    return sorted({round(float(place)) for place in np.linspace(0, count - 1, min(count, _COLUMNS))})


def tile(rgb: Picture, label: FrameLabel, tracks: FrameTracks, score: FrameScore, title: str, tolerance_px: float) -> Picture:
    """One frame, cropped to what is labelled and extracted.

    Yellow: the hand; white crosses: labelled points, with a line to the extracted one, red from 20 px on; blue: the labelled
    outline; green and red points: object points on it and off it.
    """
    import cv2

    low, zoom = _crop(rgb, label, tracks)
    width, height = _SIZE
    window = np.array([[zoom, 0.0, -zoom * low[0]], [0.0, zoom, -zoom * low[1]]])
    picture = np.ascontiguousarray(cv2.warpAffine(rgb, window, _SIZE, flags=cv2.INTER_AREA))

    def at(point: NDArray[np.float64]) -> tuple[int, int]:
        x, y = np.clip(zoom * (point - low), -5000, 5000)
        return round(float(x)), round(float(y))

    for polygon in label.outline:
        cv2.polylines(picture, [np.array([at(corner) for corner in polygon], np.int32)], True, _OUTLINE, 1, cv2.LINE_AA)
    for point, outside in zip(tracks.object_image, score.outside_px, strict=True):
        cv2.circle(picture, at(point), 2, _GOOD if outside <= tolerance_px else _BAD, -1, cv2.LINE_AA)
    hand = tracks.hand_image
    if tracks.present:
        for start, end in HAND_BONES:
            cv2.line(picture, at(hand[start]), at(hand[end]), _HAND, 1, cv2.LINE_AA)
    for place, index, error in zip(label.points_image, LABELLED_KEYPOINTS, score.errors_px, strict=True):
        if np.isfinite(place).all():
            if np.isfinite(error):
                cv2.line(picture, at(place), at(hand[index]), _GOOD if error < KEYPOINT_PX else _BAD, 1, cv2.LINE_AA)
            cv2.drawMarker(picture, at(place), _LABEL, cv2.MARKER_CROSS, 7, 1)
    if label.hand == "visible" and not score.on_the_hand:
        title += "  no hand" if not score.present else "  not this hand"
    for colour, thickness in (((0, 0, 0), 3), (_LABEL, 1)):
        cv2.putText(picture, title, (6, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA)
    return np.asarray(picture[:, :width], np.uint8)


def sheet(rows: list[list[Picture]]) -> Picture:
    """The tiles, a clip a row."""
    empty = np.zeros((_SIZE[1], _SIZE[0], 3), np.uint8)
    return np.concatenate([np.concatenate([*row, *[empty] * (_COLUMNS - len(row))], axis=1) for row in rows])


def _crop(rgb: Picture, label: FrameLabel, tracks: FrameTracks) -> tuple[NDArray[np.float64], float]:
    """Upper left corner in px of the frame and the magnification of the part that is shown."""
    size = np.array(rgb.shape[1::-1], np.float64)
    points = [label.points_image, *label.outline]
    if tracks.present:
        points.append(tracks.hand_image)
    known = np.concatenate(points)
    known = known[np.isfinite(known).all(axis=1)]
    if not len(known):
        known = np.array([[0.0, 0.0], size])
    low, high = np.clip(known.min(axis=0), 0, size), np.clip(known.max(axis=0), 0, size)
    room = (high - low).max() * _MARGIN
    middle, span = (low + high) / 2, high - low + 2 * room
    zoom = float(min(np.array(_SIZE) / np.minimum(span, size)))
    zoom = max(zoom, float(max(np.array(_SIZE) / size)))
    shown = np.array(_SIZE) / zoom
    return np.clip(middle - shown / 2, 0.0, np.maximum(size - shown, 0.0)), zoom
