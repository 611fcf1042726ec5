"""Reads the moving points of a Shape-of-Motion reconstruction.

    FOLDER/checkpoints/last.ckpt    torch file; ["model"] holds fg.params.{means, opacities, motion_coefs, ...},
                                    motion_bases.params.{rots, transls}, Ks, w2cs
    FOLDER/**/scene_norm_dict.pth   {scale, transfm}: how the scene was normalised; without it the scale is unknown

A point at time t is R_t mean + t_t; R_t is made of the 6-D vectors of the bases *weighted by softmax(motion_coefs)*, which is
not the weighted mean of their matrices.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from demos.camera import transform
from demos.importers.arrays import intrinsics, numbers, rigid
from demos.importers.torch_files import fetch, read_torch
from demos.interaction import FloatArray, ObjectTrack
from demos.parts import CameraTrack, image_points, object_track
from dexvid_envs.errors import InputFileError, OptionError

_MODEL_KEYS = (
    "fg.params.means",
    "fg.params.opacities",
    "fg.params.motion_coefs",
    "motion_bases.params.rots",
    "motion_bases.params.transls",
    "Ks",
    "w2cs",
)
_MIN_OPACITY = 0.5  # fainter Gaussians fill gaps and lie off the surface


@dataclasses.dataclass(frozen=True)
class ShapeOfMotion:
    """What is read.

    Attributes:
        track: the foreground's points; with the hand in it, if the foreground mask held it.
        camera: in the frame before the normalisation.
        metric: whether the normalisation was undone; else lengths hold up to one unknown factor.
    """

    track: ObjectTrack
    camera: CameraTrack
    metric: bool


def read_shape_of_motion(
    path: Path, scene_norm: Path | None = None, max_points: int = 512, min_opacity: float = _MIN_OPACITY, seed: int = 0
) -> ShapeOfMotion:
    """Reads the foreground.

    Args:
        path: the work folder, or the checkpoint itself.
        scene_norm: `scene_norm_dict.pth`; None looks for it in the folder.
        max_points: so many Gaussians are drawn at most.
        min_opacity: fainter ones are left out.
        seed: of the drawing.

    Raises:
        InputFileError: files are missing, damaged or of wrong shape, or no Gaussian is opaque enough.
    """
    if max_points < 1:
        raise OptionError(f"max_points is {max_points}, expected at least 1")
    checkpoint = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    model = _model(checkpoint)
    means = numbers(model["fg.params.means"], (None, 3), "fg.params.means", checkpoint)
    count = len(means)
    opacity = expit(numbers(model["fg.params.opacities"].reshape(-1), (count,), "fg.params.opacities", checkpoint))
    solid = np.flatnonzero(opacity >= min_opacity)
    if len(solid) == 0:
        raise InputFileError(f"{checkpoint} has no foreground Gaussian with an opacity of {min_opacity}; lower min_opacity")
    kept = np.sort(np.random.default_rng(seed).permutation(solid)[:max_points])
    rotations = numbers(model["motion_bases.params.rots"], (None, None, 6), "motion_bases.params.rots", checkpoint)
    bases, frames = rotations.shape[:2]
    shifts = numbers(model["motion_bases.params.transls"], (bases, frames, 3), "motion_bases.params.transls", checkpoint)
    logits = numbers(model["fg.params.motion_coefs"], (count, bases), "fg.params.motion_coefs", checkpoint)[kept]
    K = intrinsics(numbers(model["Ks"], (frames, 3, 3), "Ks", checkpoint), "Ks", checkpoint)
    T_camera_world = rigid(numbers(model["w2cs"], (frames, 4, 4), "w2cs", checkpoint), "w2cs", checkpoint)

    points_world = move_points(means[kept], logits, rotations, shifts)  # normalised
    points_camera = transform(T_camera_world, points_world)
    file = scene_norm or _find_scene_norm(path)
    scale, T_norm_world = (1.0, np.eye(4)) if file is None else _scene_norm(file)
    T_camera_world[:, :3, 3] *= scale
    points_camera = points_camera * scale
    camera = CameraTrack(K, np.linalg.inv(T_camera_world @ T_norm_world))
    visible = points_camera[..., 2] > 0
    track = object_track(points_camera, visible, image_points(points_camera, K))
    return ShapeOfMotion(track, camera, file is not None)


def move_points(means: FloatArray, logits: FloatArray, rotations: FloatArray, shifts: FloatArray) -> FloatArray:
    """Points (T, G, 3) of the means (G, 3) by their coefficients (G, K) of the bases (K, T, 6) and (K, T, 3)."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    turn = rotation_of_6d(np.einsum("gk,ktn->tgn", weights, rotations))
    return np.einsum("tgab,gb->tga", turn, means) + np.einsum("gk,kta->tga", weights, shifts)


def rotation_of_6d(vectors: FloatArray) -> FloatArray:
    """Rotations (..., 3, 3) whose first two columns are the two halves of (..., 6), made orthonormal in this order."""
    first, second = vectors[..., :3], vectors[..., 3:]
    x = first / np.maximum(np.linalg.norm(first, axis=-1, keepdims=True), 1e-12)
    rest = second - (second * x).sum(axis=-1, keepdims=True) * x
    y = rest / np.maximum(np.linalg.norm(rest, axis=-1, keepdims=True), 1e-12)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _model(checkpoint: Path) -> dict[str, np.ndarray]:
    content = read_torch(checkpoint)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise InputFileError(f"{checkpoint} lacks 'model'; expected Shape-of-Motion's checkpoints/last.ckpt")
    missing = [key for key in _MODEL_KEYS if key not in model]
    if missing:
        raise InputFileError(f"{checkpoint}: model lacks {', '.join(missing)}; expected {', '.join(_MODEL_KEYS)}")
    return {key: fetch(model[key], checkpoint, key) for key in _MODEL_KEYS}


def _find_scene_norm(path: Path) -> Path | None:
    folder = path if path.is_dir() else path.parent.parent
    found = sorted(folder.glob("scene_norm_dict.pth")) or sorted(folder.glob("**/scene_norm_dict.pth"))
    return found[0] if found else None


def _scene_norm(path: Path) -> tuple[float, FloatArray]:
    """Scale in m a unit, and the rigid transform of the world before it was shrunk."""
    content: Any = read_torch(path)
    missing = [key for key in ("scale", "transfm") if not isinstance(content, dict) or key not in content]
    if missing:
        raise InputFileError(f"{path} lacks {', '.join(missing)}; expected a dict with scale and transfm (4, 4)")
    scale = numbers(fetch(content["scale"], path, "scale").reshape(-1), (1,), "scale", path)[0]
    if scale <= 0:
        raise InputFileError(f"{path}: scale is {scale}, expected a positive number")
    return float(scale), rigid(numbers(fetch(content["transfm"], path, "transfm"), (4, 4), "transfm", path), "transfm", path)
