"""Reads WiLoR's hands, as WiLoR-mini's pipeline returns them for each frame.

    FOLDER/{img}.npy (.npz, .pt)   one frame: the list of detections, [{"hand_bbox", "is_right", "wilor_preds": {...}}, ...]
    FILE.npy                       the same for all frames: a list of such lists, one a frame (an empty one where no hand is)

`wilor_preds`: `pred_keypoints_3d` (1, 21, 3) m, `pred_cam_t_full` (1, 3) m, `scaled_focal_length` px, `pred_keypoints_2d`
(1, 21, 2) px. A left hand is mirrored already. The distance holds for the assumed focal length, as with HaMeR.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demos.importers.arrays import MAX_ARRAY_BYTES, TORCH_SUFFIXES, last_number, numbered_files, numbers, read_arrays
from demos.importers.hamer import assumed_focal, into_camera
from demos.importers.hand_detections import HandDetection, join_detections
from demos.importers.restricted_pickle import read_npy
from demos.importers.torch_files import Tensor, fetch, read_torch
from demos.interaction import FloatArray, HandTrack
from dexvid_envs.errors import InputFileError

_KEYS = ("pred_keypoints_3d", "pred_cam_t_full")
_OPTIONAL = ("scaled_focal_length", "pred_keypoints_2d", "is_right", "right")


def read_wilor(
    path: Path,
    image_size: tuple[int, int],
    K: FloatArray | None = None,
    side: str = "auto",
    first_frame: int | None = None,
    num_frames: int | None = None,
) -> HandTrack:
    """Reads one hand.

    Args:
        path: a file with all frames, or a folder with one file a frame.
        image_size: (width, height) px of the pictures that WiLoR saw.
        K: (3, 3) px, the true camera; None keeps the assumed focal length, and with it a wrong distance.
        side: "right", "left" or "auto".
        first_frame: number of the frame in row 0; None takes the lowest found.
        num_frames: rows of the result; None ends with the last frame found.

    Raises:
        InputFileError: files are missing, damaged or of wrong shape.
    """
    if path.is_dir():
        files = numbered_files(path, (".npy", ".npz", *TORCH_SUFFIXES))
        frames = [(last_number(file.stem), file) for file in files]
        found = [
            hand
            for order, (number, file) in enumerate(frames)
            for hand in _frame_hands(_content(file), order if number is None else number, file, image_size, K)
        ]
    elif path.suffix == ".npz":
        found = _frame_hands(_content(path), None, path, image_size, K)
    else:
        found = [
            hand
            for frame, detections in enumerate(_frames(_content(path), path))
            for hand in _frame_hands(detections, frame, path, image_size, K)
        ]
    return join_detections(found, side, first_frame, num_frames, str(path))


def _content(path: Path) -> Any:
    if path.suffix == ".npz":
        return read_arrays(path, _KEYS, _OPTIONAL)
    content = read_torch(path) if path.suffix in TORCH_SUFFIXES else read_npy(path, MAX_ARRAY_BYTES)
    return content.tolist() if isinstance(content, np.ndarray) and content.dtype.hasobject else content


def _frames(content: Any, path: Path) -> list[Any]:
    """The detections of each frame of a file with all frames."""
    if isinstance(content, Mapping):
        return [content]
    if not isinstance(content, list):
        raise InputFileError(f"{path} holds a {type(content).__name__}, expected a list of WiLoR's detections for each frame")
    if content and all(isinstance(entry, Mapping) for entry in content):
        raise InputFileError(
            f"{path} holds the {len(content)} detections of one frame; expected a list of such lists, one a frame, or a folder"
            " with one file a frame"
        )
    return content


def _frame_hands(
    detections: Any, frame: int | None, path: Path, image_size: tuple[int, int], K: FloatArray | None
) -> list[HandDetection]:
    """Hands of one frame; with `frame` None each row of the arrays is a frame of its own."""
    entries = [detections] if isinstance(detections, Mapping) else detections
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries):
        raise InputFileError(f"{path} holds a {type(detections).__name__} where WiLoR's detections of a frame are expected")
    return [hand for entry in entries for hand in _hands(entry, frame, path, image_size, K)]


def _hands(
    entry: Mapping[Any, Any], frame: int | None, path: Path, image_size: tuple[int, int], K: FloatArray | None
) -> list[HandDetection]:
    predictions = entry.get("wilor_preds", entry)
    if not isinstance(predictions, Mapping):
        raise InputFileError(f"{path}: wilor_preds is a {type(predictions).__name__}, expected a dict of tensors")
    missing = [name for name in _KEYS if name not in predictions]
    if missing:
        found = ", ".join(str(name) for name in predictions) or "nothing"
        raise InputFileError(f"{path}: wilor_preds lacks {', '.join(missing)}; expected {', '.join(_KEYS)}, found {found}")
    keypoints = _array(predictions, "pred_keypoints_3d", (None, 21, 3), path)
    count = len(keypoints)
    translation = _array(predictions, "pred_cam_t_full", (count, 3), path)
    focal = assumed_focal(image_size)
    if "scaled_focal_length" in predictions:
        given = np.unique(np.asarray(_plain(predictions["scaled_focal_length"], path, "scaled_focal_length"), np.float64))
        if len(given) != 1 or not 0.0 < given[0] < np.inf:
            raise InputFileError(f"{path}: scaled_focal_length is {given}, expected one positive number of pixels")
        focal = float(given[0])
    sides = entry.get("is_right", entry.get("right", 1.0))
    right = np.broadcast_to(np.asarray(_plain(sides, path, "is_right"), np.float64).reshape(-1), (count,))
    points, pixels = into_camera(keypoints, translation, focal, image_size, K)
    if "pred_keypoints_2d" in predictions:
        pixels = _array(predictions, "pred_keypoints_2d", (count, 21, 2), path)
    return [
        HandDetection(i if frame is None else frame, "right" if right[i] > 0.5 else "left", points[i], pixels[i])
        for i in range(count)
    ]


def _array(predictions: Mapping[Any, Any], name: str, shape: tuple[int | None, ...], path: Path) -> FloatArray:
    value = _plain(predictions[name], path, name)
    if isinstance(value, np.ndarray) and value.ndim == len(shape) - 1:
        value = value[None]  # saved without the batch's axis
    return numbers(value, shape, name, path)


def _plain(value: Any, path: Path, name: str) -> Any:
    value = fetch(value, path, name) if isinstance(value, Tensor) else value
    if not isinstance(value, np.ndarray | np.generic | bool | int | float):
        raise InputFileError(f"{path}: {name} is a {type(value).__name__}, expected numbers")
    return value
