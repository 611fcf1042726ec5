"""Reads SpatialTracker V2's `result.npz`.

`coords` (T, N, 3) world, `extrinsics` (T, 4, 4) world-to-camera, `intrinsics` (T, 3, 3) px, `visibs` (T, N[, 1]), bool or a
probability; `depths` (T, H, W) with 0 where unknown, and `unc_metric` (T, H, W), the confidence of the depth. All pixels are
those of a picture whose longer side was shrunk to 336 px.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from demos.camera import transform
from demos.importers.arrays import intrinsics, numbers, read_arrays, rigid
from demos.interaction import FloatArray, ObjectTrack
from demos.parts import CameraTrack, DepthFrames, image_points, object_track
from dexvid_envs.errors import InputFileError

_VISIBLE = 0.5
_REQUIRED = ("coords", "extrinsics", "intrinsics", "visibs")


@dataclasses.dataclass(frozen=True)
class SpatialTrackerV2:
    """What is read.

    Attributes:
        track: in the camera of each frame.
        camera: of each frame.
    """

    track: ObjectTrack
    camera: CameraTrack


def read_spatialtracker_v2(path: Path) -> SpatialTrackerV2:
    """Reads tracks and cameras of `result.npz`, or of the folder that holds it.

    Raises:
        InputFileError: the file is missing or damaged, or lacks an array.
    """
    file = path / "result.npz" if path.is_dir() else path
    content = read_arrays(file, _REQUIRED)
    coords = numbers(content["coords"], (None, None, 3), "coords", file, finite=False)
    frames, count = coords.shape[:2]
    T_camera_world = rigid(numbers(content["extrinsics"], (frames, 4, 4), "extrinsics", file), "extrinsics", file)
    K = intrinsics(numbers(content["intrinsics"], (frames, 3, 3), "intrinsics", file), "intrinsics", file)
    visibility = np.asarray(content["visibs"])
    visibility = visibility[..., 0] if visibility.ndim == 3 and visibility.shape[2] == 1 else visibility
    seen = numbers(visibility, (frames, count), "visibs", file) > _VISIBLE
    points = transform(T_camera_world, coords)
    seen &= np.isfinite(points).all(axis=-1) & (points[..., 2] > 0)
    return SpatialTrackerV2(object_track(points, seen, image_points(points, K)), CameraTrack(K, np.linalg.inv(T_camera_world)))


def read_spatialtracker_v2_depth(path: Path) -> DepthFrames:
    """Reads the depth pictures of the same file; the whole array is held in memory.

    Raises:
        InputFileError: the file is missing or damaged, or lacks `depths`.
    """
    file = path / "result.npz" if path.is_dir() else path
    depths = np.asarray(read_arrays(file, ("depths",))["depths"])
    if depths.ndim != 3 or depths.dtype.kind not in "fiu":
        raise InputFileError(f"{file}: depths has shape {depths.shape} of {depths.dtype}, expected (T, H, W) m")

    def read(frame: int) -> FloatArray:
        picture = depths[frame].astype(np.float64)
        return np.where(np.isfinite(picture) & (picture > 0), picture, np.nan)

    return DepthFrames(len(depths), read)
