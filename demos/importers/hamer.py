"""Reads HaMeR's hands: its tensors saved as they are, or the folder that its demo writes.

    FOLDER/{img}.npz (.npy, .pt)       tensors of one frame, B hands; or one file with B frames of one hand
    FOLDER/{img}_{id}.obj              mesh of 778 vertices (`--save_mesh`); needs the user's MANO for its joints
    FOLDER/{img}_{id}_3dkeypoints.npy  (B, 21, 3) key points of all hands of the frame (`--save_keypoints`)

Tensors: `pred_keypoints_3d` (B, 21, 3) m in OpenPose order, which is the project's, or `pred_vertices` (B, 778, 3); `right`
(B,), 1 or 0; the place in the camera as `pred_cam_t_full` (B, 3), or `pred_cam` with `box_center`, `box_size` and `img_size`.

The network sees every hand as a right one: the x of a left hand's tensors is mirrored. It knows no focal length and assumes
5000 / 256 times the longer side of the picture: with the true camera matrix the distance is corrected. The OBJ is turned by 180
degrees about x, and already mirrored.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from demos.importers.arrays import ARRAY_SUFFIXES, last_number, natural_key, numbers, read_array, read_arrays
from demos.importers.cleaning import hand_side
from demos.importers.hand_detections import HandDetection, join_detections
from demos.importers.mano import VERTICES, Mano
from demos.importers.mesh_files import load_vertices
from demos.interaction import FINGERTIPS, FloatArray, HandTrack
from dexvid_envs.errors import InputFileError, OptionError

#: Focal length of the network in px, for a picture of so many px.
FOCAL_PX, CROP_PX = 5000.0, 256.0
_OFF_MESH_M = 0.015  # a tip lies on the skin
_OPTIONAL = (
    "pred_keypoints_3d",
    "pred_vertices",
    "pred_cam",
    "pred_cam_t",
    "pred_cam_t_full",
    "box_center",
    "box_size",
    "img_size",
    "right",
    "is_right",
)


def read_hamer(
    path: Path,
    image_size: tuple[int, int],
    K: FloatArray | None = None,
    side: str = "auto",
    mano: Path | None = None,
    first_frame: int | None = None,
    num_frames: int | None = None,
) -> HandTrack:
    """Reads one hand.

    Args:
        path: a file of tensors, or a folder of files as described above.
        image_size: (width, height) px of the pictures that HaMeR saw.
        K: (3, 3) px, the true camera; None keeps the assumed focal length, and with it a wrong distance.
        side: "right", "left" or "auto".
        mano: the user's MANO as an `.npz` (see `mano`), needed for meshes.
        first_frame: number of the frame in row 0; None takes the lowest found.
        num_frames: rows of the result; None ends with the last frame found.

    Raises:
        InputFileError: files are missing, damaged or of wrong shape.
        OptionError: meshes are given without MANO.
    """
    model = None if mano is None else Mano.load(mano)
    if path.is_file():
        found = _tensor_hands(path, image_size, K, model, None)
    elif path.is_dir():
        found = _folder_hands(path, image_size, K, model)
    else:
        raise InputFileError(f"nothing at {path}: expected HaMeR's tensors in a file, or the folder its demo wrote")
    return join_detections(found, side, first_frame, num_frames, str(path))


def assumed_focal(image_size: tuple[int, int]) -> float:
    """The focal length in px that HaMeR and WiLoR take for a picture of (width, height)."""
    return FOCAL_PX / CROP_PX * max(image_size)


def into_camera(
    keypoints: FloatArray, translation: FloatArray, focal: float, image_size: tuple[int, int], K: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Places a hand as the network's assumed camera saw it into the true camera.

    The distance scales with the focal length; the sideways place stays, but for a principal point off the picture's middle.

    Args:
        keypoints: (B, 21, 3) m about the hand's own origin.
        translation: (B, 3) m, with the assumed focal length.
        focal: px, the assumed one.
        image_size: (width, height) px.
        K: (3, 3) px, the true camera, or None.

    Returns:
        Key points in the camera frame (B, 21, 3) m and their pixels (B, 21, 2), the latter as the network saw them.
    """
    middle = 0.5 * np.array(image_size, np.float64)  # the networks' principal point
    seen = keypoints + translation[:, None]
    pixels = focal * seen[..., :2] / np.maximum(seen[..., 2:], 1e-6) + middle
    if K is None:
        return seen, pixels
    distance = translation[:, 2:]
    shift = (middle - K[:2, 2]) * distance / focal
    true = np.concatenate([translation[:, :2] + shift, distance * K[0, 0] / focal], axis=1)
    return keypoints + true[:, None], pixels


def _folder_hands(folder: Path, image_size: tuple[int, int], K: FloatArray | None, model: Mano | None) -> list[HandDetection]:
    names = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: natural_key(p.name))
    meshes = [p for p in names if p.suffix == ".obj"]
    saved = [p for p in names if p.name.endswith("_3dkeypoints.npy")]
    tensors = [p for p in names if p.suffix in ARRAY_SUFFIXES and p not in saved]
    if tensors:
        frames = _frame_numbers([p.stem for p in tensors])
        return [
            hand
            for path, frame in zip(tensors, frames, strict=True)
            for hand in _tensor_hands(path, image_size, K, model, frame)
        ]
    if meshes and model is not None:
        frames = _frame_numbers([p.stem.rpartition("_")[0] or p.stem for p in meshes])
        return [_mesh_hand(path, frame, image_size, K, model) for path, frame in zip(meshes, frames, strict=True)]
    if saved:
        frames = _frame_numbers([p.stem.removesuffix("_3dkeypoints").rpartition("_")[0] for p in saved])
        return [_saved_hand(path, frame, image_size, K) for path, frame in zip(saved, frames, strict=True)]
    if meshes:
        raise OptionError(
            f"{folder} holds meshes of 778 vertices; where the joints are in them, only MANO knows: give mano='mano_right.npz'"
            " (demos/importers/mano.py says how to write it), or run HaMeR's demo with --save_keypoints"
        )
    present = ", ".join(p.name for p in names[:6]) or "nothing"
    raise InputFileError(
        f"{folder} holds none of HaMeR's files; expected {{img}}_{{id}}.obj, {{img}}_{{id}}_3dkeypoints.npy or tensors, found"
        f" {present}"
    )


def _frame_numbers(stems: list[str]) -> list[int]:
    """The number in each name; without numbers, the place in the order of the different names."""
    given = [last_number(stem) for stem in stems]
    order = {stem: i for i, stem in enumerate(dict.fromkeys(stems))}
    return [order[stem] if None in given or number is None else number for stem, number in zip(stems, given, strict=True)]


def _tensor_hands(
    path: Path, image_size: tuple[int, int], K: FloatArray | None, model: Mano | None, frame: int | None
) -> list[HandDetection]:
    """Hands of a file: of one frame, or with `frame` None one a frame."""
    content = read_arrays(path, (), _OPTIONAL)
    sides = content.get("right", content.get("is_right"))
    keypoints = _local_keypoints(content, path, model)
    count = len(keypoints)
    right = np.ones(count) if sides is None else numbers(np.reshape(sides, -1), (count,), "right", path)
    translation, exact = _translation(content, right, count, path)
    mirrored = keypoints * np.where(right[:, None, None] > 0.5, 1.0, [-1.0, 1.0, 1.0])
    points, pixels = into_camera(mirrored, translation, assumed_focal(image_size), image_size, K)
    return [
        HandDetection(
            i if frame is None else frame,
            "right" if right[i] > 0.5 else "left",
            points[i],
            pixels[i],
            doubtful=not exact,
        )
        for i in range(count)
    ]


def _local_keypoints(content: dict[str, Any], path: Path, model: Mano | None) -> FloatArray:
    if "pred_keypoints_3d" in content:
        return numbers(content["pred_keypoints_3d"], (None, 21, 3), "pred_keypoints_3d", path)
    if "pred_vertices" not in content:
        raise InputFileError(f"{path} lacks pred_keypoints_3d (B, 21, 3); expected HaMeR's tensors as they are")
    vertices = numbers(content["pred_vertices"], (None, VERTICES, 3), "pred_vertices", path)
    if model is None:
        raise OptionError(f"{path} holds pred_vertices but no pred_keypoints_3d; give mano='mano_right.npz' or save both")
    return model.keypoints_of_mesh(vertices)


def _translation(content: dict[str, Any], right: FloatArray, count: int, path: Path) -> tuple[FloatArray, bool]:
    """Place (B, 3) m in the whole picture's assumed camera, and whether it is exact.

    `pred_cam_t` alone is the place in the camera of the crop: the file then does not say where in the picture the crop was.
    """
    if "pred_cam_t_full" in content:
        return numbers(content["pred_cam_t_full"], (count, 3), "pred_cam_t_full", path), True
    if "pred_cam" in content and {"box_center", "box_size", "img_size"} <= set(content):
        scale, x, y = numbers(content["pred_cam"], (count, 3), "pred_cam", path).T
        centre = numbers(content["box_center"], (count, 2), "box_center", path)
        box = numbers(np.reshape(content["box_size"], -1), (count,), "box_size", path)
        size = numbers(content["img_size"], (count, 2), "img_size", path)
        width = np.maximum(box * scale, 1e-9)
        z = 2.0 * FOCAL_PX / CROP_PX * size.max(axis=1) / width
        shift = 2.0 * (centre - 0.5 * size) / width[:, None]
        x = np.where(right > 0.5, x, -x)  # mirrored with the crop
        return np.stack([x + shift[:, 0], y + shift[:, 1], z], axis=1), True
    if "pred_cam_t" in content:
        return numbers(content["pred_cam_t"], (count, 3), "pred_cam_t", path), False
    raise InputFileError(
        f"{path} lacks pred_cam_t_full (B, 3); expected it, or pred_cam with box_center, box_size and img_size, to know where"
        " the hand is in the picture"
    )


def _mesh_hand(path: Path, frame: int, image_size: tuple[int, int], K: FloatArray | None, model: Mano) -> HandDetection:
    vertices = load_vertices(path, VERTICES) * [1.0, -1.0, -1.0]
    keypoints = model.keypoints_of_mesh(vertices)[None]
    side = hand_side(keypoints)
    # the OBJ holds hand and place in one; they part at the wrist, which MANO leaves where it was
    place = keypoints[:, 0] - model.rest_wrist * (1.0 if side == "right" else [-1.0, 1.0, 1.0])
    points, pixels = into_camera(keypoints - place[:, None], place, assumed_focal(image_size), image_size, K)
    return HandDetection(frame, side, points[0], pixels[0])


def _saved_hand(path: Path, frame: int, image_size: tuple[int, int], K: FloatArray | None) -> HandDetection:
    rows = numbers(read_array(path), (None, 21, 3), "the key points", path)
    match = re.search(r"_(\d+)_3dkeypoints$", path.stem)
    row = int(match[1]) if match and len(match[1]) < 9 else 0
    if row >= len(rows):
        raise InputFileError(f"{path} holds {len(rows)} hands, expected one with the number {row} of its name")
    keypoints = rows[row : row + 1]
    mesh = path.with_name(path.name.replace("_3dkeypoints.npy", ".obj"))
    if mesh.is_file() and _away_from_mesh(keypoints[0], mesh):
        raise InputFileError(
            f"{path} is of a left hand, which HaMeR's demo saves mirrored; read its meshes instead: give mano='mano_right.npz'"
        )
    place = keypoints.mean(axis=1)  # the hand's own origin is not in the file, but near its middle
    points, pixels = into_camera(keypoints - place[:, None], place, assumed_focal(image_size), image_size, K)
    return HandDetection(frame, "right", points[0], pixels[0])


def _away_from_mesh(keypoints: FloatArray, mesh: Path) -> bool:
    """Whether the tips of the key points (21, 3) are off the mesh beside them, as those of an unmirrored left hand are."""
    vertices = load_vertices(mesh, VERTICES) * [1.0, -1.0, -1.0]
    gap = np.linalg.norm(vertices[:, None] - keypoints[None, list(FINGERTIPS)], axis=-1).min(axis=0)
    return bool(gap.max() > _OFF_MESH_M)
