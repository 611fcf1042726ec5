"""Reads the ground truth of TAPVid-3D, against which point trackers are measured.

An npz with `tracks_XYZ` (T, N, 3) m in the camera of each frame, `visibility` (T, N) bool, `queries_xyt` (N, 3): px, px, frame;
`intrinsics` (4,) = fx, fy, cx, cy px; `extrinsics_w2c` (T, 4, 4) in some of its sets. The pictures stay unread.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from demos.importers.arrays import intrinsics, numbers, read_arrays, rigid
from demos.interaction import FloatArray, ObjectTrack
from demos.parts import CameraTrack, image_points, object_track
from dexvid_envs.errors import InputFileError


@dataclasses.dataclass(frozen=True)
class TapVid3d:
    """What is read.

    Attributes:
        track: of all points; they lie on many things, so a pose is fitted only where most move together.
        camera: of each frame; the poses are the unit where the set has none.
        queries_xyt: (N, 3) px, px and frame in which each point is asked for.
    """

    track: ObjectTrack
    camera: CameraTrack
    queries_xyt: FloatArray


def read_tapvid3d(path: Path) -> TapVid3d:
    """Reads one clip.

    Raises:
        InputFileError: the file is missing or damaged, lacks an array, or a query names a frame that is not there.
    """
    content = read_arrays(path, ("tracks_XYZ", "visibility", "queries_xyt"), ("intrinsics", "fx_fy_cx_cy", "extrinsics_w2c"))
    points = numbers(content["tracks_XYZ"], (None, None, 3), "tracks_XYZ", path, finite=False)
    frames, count = points.shape[:2]
    visible = numbers(content["visibility"], (frames, count), "visibility", path) > 0.5
    queries = numbers(content["queries_xyt"], (count, 3), "queries_xyt", path)
    if count and not ((queries[:, 2] >= 0) & (queries[:, 2] < frames)).all():
        raise InputFileError(f"{path}: queries_xyt names frames outside the {frames} of tracks_XYZ; expected x, y, t")
    name = "intrinsics" if "intrinsics" in content else "fx_fy_cx_cy"
    if name not in content:
        raise InputFileError(f"{path} lacks intrinsics; expected fx, fy, cx, cy px")
    K = intrinsics(content[name], name, path)
    if K.shape not in ((3, 3), (frames, 3, 3)):
        raise InputFileError(
            f"{path}: {name} has shape {np.shape(content[name])}, expected fx, fy, cx, cy, once or for each frame"
        )
    K = np.broadcast_to(K, (frames, 3, 3))
    T_world_camera = np.tile(np.eye(4), (frames, 1, 1))
    if "extrinsics_w2c" in content:
        given = numbers(content["extrinsics_w2c"], (frames, None, 4), "extrinsics_w2c", path)
        T_world_camera = np.linalg.inv(rigid(given, "extrinsics_w2c", path))
    return TapVid3d(object_track(points, visible, image_points(points, K)), CameraTrack(K, T_world_camera), queries)
