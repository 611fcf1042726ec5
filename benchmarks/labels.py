"""Labels of videos made by hand: where the hand's wrist and finger tips and the handled object are, every so many frames.

They are an independent check of the extraction: no detector or tracker had a part in them. The videos are no part of the
project; a label file names each by its SHA-256.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.interaction import FINGERTIPS, HAND_KEYPOINT_NAMES, WRIST
from dexvid_envs.errors import InputFileError
from dexvid_envs.files import sha256_of_files

FloatArray = NDArray[np.float64]

#: Every tenth frame of the real videos.
REAL_VIDEOS = Path(__file__).parent / "labels" / "real_videos.json"
FORMAT = "dexvid hand-made labels 1"
#: Indices of the labelled points among the 21 hand key points, and their names, both in the order of `FrameLabel.points_image`.
LABELLED_KEYPOINTS: tuple[int, ...] = (WRIST, *FINGERTIPS)
POINT_NAMES: tuple[str, ...] = tuple(HAND_KEYPOINT_NAMES[index] for index in LABELLED_KEYPOINTS)
#: In the image; less than half of it in the image; not in the image.
HAND_STATES = ("visible", "partial", "outside")
#: Why a point of a visible hand has no place: hidden or not told apart from its neighbours; beyond the image.
POINT_STATES = ("occluded", "outside")


@dataclasses.dataclass(frozen=True)
class FrameLabel:
    """What was seen in one frame; pixels are those of the video, the centre of the upper left one is (0, 0).

    Attributes:
        frame: number in the video, from 0.
        hand: one of `HAND_STATES`, of the hand that handles the object.
        points_image: (6, 2) px, wrist and finger tips from thumb to little finger; NaN rows where a point is not seen.
        point_states: six strings, "visible" or one of `POINT_STATES`; all "outside" where the hand is not visible.
        outline: polygons (N, 2) px around what is seen of the object; none where it is not in the image.
    """

    frame: int
    hand: str
    points_image: FloatArray
    point_states: tuple[str, ...]
    outline: tuple[FloatArray, ...]


@dataclasses.dataclass(frozen=True)
class ClipLabels:
    """The labels of one video.

    Attributes:
        name: of the file that was labelled, without its ending.
        sha256: of that file.
        width: px.
        height: px.
        num_frames: of the video.
        hand_side: "right" or "left".
        object_name: None where nothing is handled.
        note: what is uncertain or left out.
        frames: in ascending order.
    """

    name: str
    sha256: str
    width: int
    height: int
    num_frames: int
    hand_side: str
    object_name: str | None
    note: str
    frames: tuple[FrameLabel, ...]

    @property
    def hand_length_px(self) -> float:
        """Length of the hand in this clip, wrist to the farthest finger tip that is seen: 90th percentile of the frames."""
        lengths = [np.linalg.norm(frame.points_image[1:] - frame.points_image[0], axis=1) for frame in self.frames]
        known = [float(np.nanmax(length)) for length in lengths if np.isfinite(length).any()]
        return float(np.percentile(known, 90)) if known else float("nan")


def load_labels(path: Path = REAL_VIDEOS) -> tuple[ClipLabels, ...]:
    """Reads and checks a label file.

    Raises:
        InputFileError: the file is missing or a label is not what this module describes; the message names it.
    """
    if not path.is_file():
        raise InputFileError(f"no labels at {path}: expected a .json file; check the path")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputFileError(f"{path} is no JSON file ({error}); take the one that comes with the project") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputFileError(f"{path} is not marked as {FORMAT!r}; give a file of labels")
    try:
        clips = tuple(_clip(entry) for entry in _expect(content, "clips", list))
    except _BadLabelError as error:
        raise InputFileError(f"{path}: {error}; correct the label") from error
    if len({clip.sha256 for clip in clips}) != len(clips):
        raise InputFileError(f"{path} has two clips of the same sha256; remove one")
    return clips


def find_labelled_videos(folder: Path, clips: Sequence[ClipLabels]) -> dict[str, Path]:
    """The labelled videos in a folder by clip name; whatever they are called, their contents decide.

    Raises:
        InputFileError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputFileError(f"no folder at {folder}: expected one that holds the labelled videos; check the path")
    names = {clip.sha256: clip.name for clip in clips}
    found = {}
    for path in sorted(entry for entry in folder.iterdir() if entry.is_file()):
        name = names.get(sha256_of_files([path]))
        if name is not None:
            found[name] = path
    return found


def distance_to_outline_px(points_image: FloatArray, outline: Iterable[FloatArray]) -> FloatArray:
    """(P,) how far points (P, 2) lie outside of the nearest polygon, px; 0 inside, infinite without polygons."""
    nearest = np.full(len(points_image), np.inf)
    for polygon in outline:
        start, way = polygon, np.roll(polygon, -1, axis=0) - polygon  # (N, 2) edges
        to_point = points_image[:, None] - start  # (P, N, 2)
        length_squared = np.maximum((way**2).sum(axis=-1), 1e-12)
        along = np.clip((to_point * way).sum(axis=-1) / length_squared, 0.0, 1.0)
        to_edge = np.linalg.norm(to_point - along[..., None] * way, axis=-1).min(axis=1)
        x, y = points_image[:, None, 0], points_image[:, None, 1]
        end = start + way
        crossed = (start[:, 1] > y) != (end[:, 1] > y)  # edges met by the ray to the right of the point, where also x is less
        x_at_y = start[:, 0] + (y - start[:, 1]) * way[:, 0] / np.where(way[:, 1] == 0.0, 1.0, way[:, 1])
        inside = (crossed & (x < x_at_y)).sum(axis=1) % 2 == 1
        nearest = np.minimum(nearest, np.where(inside, 0.0, to_edge))
    return nearest


class _BadLabelError(ValueError):
    """A label that is not as described; the reader adds the file."""


def _expect(entry: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise _BadLabelError(f"{key!r} is missing")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _BadLabelError(f"{key!r} is {str(value)[:60]!r}, expected {getattr(kind, '__name__', 'a text or null')}")
    return value


def _clip(entry: Any) -> ClipLabels:
    name, sha256 = _expect(entry, "name", str), _expect(entry, "sha256", str)
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise _BadLabelError(f"clip {name}: sha256 is {sha256!r}, expected 64 hexadecimal digits")
    width, height, num_frames = (_expect(entry, key, int) for key in ("width", "height", "num_frames"))
    side = _expect(entry, "hand_side", str)
    if side not in ("right", "left"):
        raise _BadLabelError(f"clip {name}: hand_side is {side!r}, expected 'right' or 'left'")
    object_name = _expect(entry, "object", (str, type(None)))
    frames = []
    for item in _expect(entry, "frames", list):
        number = _expect(item, "frame", int)
        try:
            frames.append(_frame(item, number, (width, height)))
        except _BadLabelError as error:
            raise _BadLabelError(f"clip {name}, frame {number}: {error}") from error
    numbers = [frame.frame for frame in frames]
    if numbers != sorted(set(numbers)) or not all(0 <= number < num_frames for number in numbers):
        raise _BadLabelError(f"clip {name}: frame numbers must ascend within 0 to {num_frames - 1}, got {numbers}")
    if object_name is None and any(frame.outline for frame in frames):
        raise _BadLabelError(f"clip {name}: there are outlines, but no object is named")
    note = _expect(entry, "note", str)
    return ClipLabels(name, sha256, width, height, num_frames, side, object_name, note, tuple(frames))


def _frame(entry: Any, number: int, size: tuple[int, int]) -> FrameLabel:
    hand, points = _expect(entry, "hand", str), _expect(entry, "points", dict)
    if hand not in HAND_STATES:
        raise _BadLabelError(f"hand is {hand!r}, expected one of: {', '.join(HAND_STATES)}")
    if set(points) != (set(POINT_NAMES) if hand == "visible" else set()):
        wanted = ", ".join(POINT_NAMES) if hand == "visible" else "none"
        raise _BadLabelError(f"a hand that is {hand} has the points {', '.join(points) or 'none'}, expected: {wanted}")
    places, states = np.full((len(POINT_NAMES), 2), np.nan), ["outside"] * len(POINT_NAMES)
    for row, (name, value) in enumerate((name, points[name]) for name in POINT_NAMES if points):
        if isinstance(value, str):
            if value not in POINT_STATES:
                raise _BadLabelError(f"{name} is {value!r}, expected x and y or one of: {', '.join(POINT_STATES)}")
            states[row] = value
        else:
            places[row], states[row] = _places([value], name, size)[0], "visible"
    polygons = _expect(entry, "outline", list)
    outline = tuple(_places(polygon, "outline", size) for polygon in polygons)
    if any(len(polygon) < 3 for polygon in outline):
        raise _BadLabelError("an outline has fewer than three corners")
    return FrameLabel(number, hand, places, tuple(states), outline)


def _places(values: Any, name: str, size: tuple[int, int]) -> FloatArray:
    """(N, 2) px, checked against the image's size."""
    try:
        places = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _BadLabelError(f"{name} is {str(values)[:60]!r}, expected x and y in px") from error
    if places.ndim != 2 or places.shape[1] != 2 or not np.isfinite(places).all():
        raise _BadLabelError(f"{name} is {str(values)[:60]!r}, expected x and y in px")
    if (places < -0.5).any() or (places > np.array(size) - 0.5).any():
        raise _BadLabelError(f"{name} lies outside the {size[0]}x{size[1]} image")
    return places
