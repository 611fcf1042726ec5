"""Draws what was extracted over the video, so that a person can judge it at a glance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demos.extract.task_points.task_points import HAND_POINTS
from demos.interaction import HAND_BONES, HandTrack, KeypointTrack, ObjectTrack
from demos.recording import Recording
from demos.video import video_writer

FloatArray = NDArray[np.float64]
Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

#: RGB of thumb, index, middle, ring and little finger.
FINGER_COLOURS: tuple[Colour, ...] = ((255, 138, 76), (255, 209, 82), (96, 211, 148), (86, 180, 233), (196, 132, 252))
#: RGB of the objects, the moved one first.
_COLOURS: tuple[Colour, ...] = ((64, 224, 230), (255, 140, 200), (170, 220, 90), (250, 170, 60), (150, 150, 255))
_KEYPOINT: Colour = (255, 236, 120)
_DARK: Colour = (18, 22, 30)
_WHITE: Colour = (245, 247, 250)
_MUTED: Colour = (150, 158, 170)
_GOOD: Colour = (96, 211, 148)
_BAD: Colour = (239, 99, 92)
_SIDE_PX = (960, 1280)  # longer side of the overlay: enough to read the text, not more than a browser shows
_DOUBTFUL = 0.3


@dataclasses.dataclass(frozen=True)
class OverlayData:
    """What is drawn, at the frames that were looked at; pixels are those of the video.

    Attributes:
        hand: key points.
        objects: points by name of the object, the moved one first.
        outlines: T polygons (N, 2) px around each object.
        keypoints: named points.
        contact: (T,) bool.
    """

    hand: HandTrack
    objects: Mapping[str, ObjectTrack]
    outlines: Mapping[str, list[FloatArray]]
    keypoints: KeypointTrack
    contact: NDArray[np.bool_]


def write_overlay(path: Path, recording: Recording, data: OverlayData, progress: Callable[[], None]) -> None:
    """Writes the video with hand, objects, key points, contact and confidence drawn in."""
    import cv2

    info = recording.info
    longer = max(info.width, info.height)
    zoom = min(max(longer, _SIDE_PX[0]), _SIDE_PX[1]) / longer
    size = (2 * round(0.5 * info.width * zoom), 2 * round(0.5 * info.height * zoom))
    timeline = _timeline(data, size[0])
    with video_writer(path, size, recording.fps) as writer:
        for number, frame in enumerate(recording.frames()):
            if number >= len(data.contact):
                break
            method = cv2.INTER_CUBIC if zoom > 1.0 else cv2.INTER_AREA
            picture = np.ascontiguousarray(cv2.resize(frame.rgb, size, interpolation=method), np.uint8)
            draw_frame(picture, data, number, zoom)
            _draw_status(picture, data, number, frame.index / info.fps, timeline)
            writer.send(picture)
            progress()


def draw_frame(picture: Picture, data: OverlayData, number: int, zoom: float) -> None:
    """Draws object and hand of one frame into an RGB picture that shows the video enlarged by `zoom`."""
    for colour, name in zip(_COLOURS, data.objects, strict=False):
        _draw_object(picture, data.objects[name], data.outlines.get(name), number, zoom, colour)
    _draw_keypoints(picture, data.keypoints, number, zoom)
    points = (data.hand.keypoints_image[number] + 0.5) * zoom
    if np.isfinite(points).all():
        _draw_hand(picture, points, float(data.hand.confidence[number]))


def _draw_object(
    picture: Picture, track: ObjectTrack, outlines: list[FloatArray] | None, number: int, zoom: float, colour: Colour
) -> None:
    import cv2

    outline = np.zeros((0, 2)) if outlines is None else outlines[number]
    if len(outline) >= 3:
        corners = (outline + 0.5) * zoom
        low = np.clip(np.floor(corners.min(axis=0)) - 2, 0, picture.shape[1::-1]).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + 3, 0, picture.shape[1::-1]).astype(int)
        part = picture[low[1] : high[1], low[0] : high[0]]
        if part.size:
            shade = part.copy()
            cv2.fillPoly(shade, [_fixed(corners - low)], colour, cv2.LINE_AA, 4)
            part[:] = cv2.addWeighted(shade, 0.14, part, 0.86, 0.0)
        cv2.polylines(picture, [_fixed(corners)], True, colour, 1, cv2.LINE_AA, 4)
    points = track.points_image[number][track.visible[number]]
    for x, y in _fixed((points[np.isfinite(points).all(axis=-1)] + 0.5) * zoom):
        cv2.circle(picture, (int(x), int(y)), 5 << 4, _DARK, -1, cv2.LINE_AA, 4)
        cv2.circle(picture, (int(x), int(y)), 3 << 4, colour, -1, cv2.LINE_AA, 4)


def _draw_keypoints(picture: Picture, keypoints: KeypointTrack, number: int, zoom: float) -> None:
    """Small diamonds with names, of all but the hand's own points, which are drawn anyway; hollow where they are hidden."""
    import cv2

    for name, pixel, seen in zip(keypoints.names, keypoints.points_image[number], keypoints.visible[number], strict=True):
        if name in HAND_POINTS or not np.isfinite(pixel).all():
            continue
        x, y = (pixel + 0.5) * zoom
        corner = _fixed(np.array([(x - 7, y), (x, y - 7), (x + 7, y), (x, y + 7)]))
        if seen:
            cv2.fillPoly(picture, [corner], _KEYPOINT, cv2.LINE_AA, 4)
        cv2.polylines(picture, [corner], True, _DARK if seen else _KEYPOINT, 2, cv2.LINE_AA, 4)
        _text(picture, name.replace("_", " "), (round(x) + 11, round(y) + 5), 0.42, _KEYPOINT, outline=True)


def _draw_hand(picture: Picture, points: FloatArray, confidence: float) -> None:
    import cv2

    size = float(np.linalg.norm(np.ptp(points, axis=0)))
    thick = int(np.clip(round(size / 45), 2, 7))
    corner = _fixed(points)
    for under in (True, False):
        for bone, (parent, child) in enumerate(HAND_BONES):
            colour = FINGER_COLOURS[bone // 4] if confidence >= _DOUBTFUL else _MUTED
            start, end = corner[parent].tolist(), corner[child].tolist()
            cv2.line(picture, start, end, _DARK if under else colour, thick + 3 if under else thick, cv2.LINE_AA, 4)
    for index, point in enumerate(corner.tolist()):
        colour = _WHITE if index == 0 else FINGER_COLOURS[(index - 1) // 4]
        radius = int((thick + (2 if index in (0, 4, 8, 12, 16, 20) else 0.5)) * 16)
        cv2.circle(picture, point, radius + 24, _DARK, -1, cv2.LINE_AA, 4)
        cv2.circle(picture, point, radius, colour if confidence >= _DOUBTFUL else _MUTED, -1, cv2.LINE_AA, 4)


def _fixed(points: FloatArray) -> NDArray[np.int32]:
    """Pixels in OpenCV's fixed-point form with four fractional bits."""
    return np.round(np.clip(points, -1e4, 1e4) * 16.0).astype(np.int32)


def _timeline(data: OverlayData, width: int) -> Picture:
    """A strip (8, width, 3): green where hand and object touch, red where the hand is doubtful."""
    frames = np.minimum(np.arange(width) * len(data.contact) // width, len(data.contact) - 1)
    strip = np.full((8, width, 3), (62, 68, 80), np.uint8)
    strip[:, data.contact[frames]] = _GOOD
    strip[5:, data.hand.flagged[frames]] = _BAD
    return strip


def _draw_status(picture: Picture, data: OverlayData, number: int, time_s: float, timeline: Picture) -> None:
    import cv2

    height, width = picture.shape[:2]
    panel = picture[14:96, 14:346]
    panel[:] = (0.25 * panel + 0.75 * np.array(_DARK)).astype(np.uint8)
    touching = bool(data.contact[number])
    cv2.circle(picture, (38, 40), 9, _GOOD if touching else _MUTED, -1 if touching else 2, cv2.LINE_AA)
    state = "contact" if touching else "no contact"
    _text(picture, state, (58, 46), 0.6, _WHITE)
    name = next(iter(data.objects), None)
    seen = 0 if name is None else int(data.objects[name].visible[number].sum())
    _text(picture, "no object" if name is None else f"{name}: {seen} points", (176, 46), 0.5, _COLOURS[0])
    confidence = float(data.hand.confidence[number])
    _text(picture, f"{data.hand.side} hand", (28, 80), 0.5, _WHITE)
    cv2.rectangle(picture, (130, 70), (280, 80), (62, 68, 80), -1)
    colour = _BAD if data.hand.flagged[number] else _GOOD
    cv2.rectangle(picture, (130, 70), (130 + round(150 * confidence), 80), colour, -1)
    _text(picture, f"{confidence:.2f}", (290, 80), 0.5, _WHITE)
    _text(picture, f"{time_s:5.2f} s", (width - 110, 40), 0.6, _WHITE, outline=True)
    picture[height - 8 :] = timeline
    cursor = round(number / max(len(data.contact) - 1, 1) * (width - 3))
    picture[height - 12 :, cursor : cursor + 3] = _WHITE


def _text(picture: Picture, text: str, place: tuple[int, int], scale: float, colour: Colour, outline: bool = False) -> None:
    import cv2

    if outline:
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_DUPLEX, scale, _DARK, 4, cv2.LINE_AA)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_DUPLEX, scale, colour, 1, cv2.LINE_AA)
