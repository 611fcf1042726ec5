"""An object that stands on the table: one camera sees where it touches the table, and that is how far away it is."""

from __future__ import annotations

import numpy as np

from demos.camera import unproject
from demos.extract.objects.lift_figures import LiftedObject, LiftFigures
from demos.extract.objects.object_masks import ObjectMasks
from demos.extract.objects.point_depths import read_depths
from demos.extract.task_points.lift import on_table
from demos.interaction import FloatArray, ObjectTrack
from demos.parts import DepthFrames, PixelTracks

_LOOKS = 15  # masks that are looked at
_MIN_POINTS = 4


def lift_standing(
    tracks: PixelTracks,
    masks: ObjectMasks,
    K: FloatArray,
    T_world_camera: FloatArray,
    depth: DepthFrames | None,
    image_size: tuple[int, int],
) -> LiftedObject:
    """An object that does not move, in metres in the camera frame.

    Its points stand in an upright plane across the view where the ray through the middle of its lower edge meets the table, or
    where the depth pictures show them. The object frame has the world's axes and its origin in the points' middle.

    Args:
        tracks: P points of it in T frames, px of the video.
        masks: of it, in the size of the kept pictures.
        K: (3, 3) px of the video.
        T_world_camera: (4, 4), the table being z = 0.
        depth: pictures of the same view, or None.
        image_size: (width, height) px of the video.
    """
    frames, count = tracks.visible.shape
    pixels = np.full((count, 2), np.nan)
    seen = np.where(tracks.visible[..., None], tracks.pixels, np.nan)
    known = tracks.visible.any(axis=0)
    pixels[known] = np.nanmedian(seen[:, known], axis=0)
    points = np.full((count, 3), np.nan)
    if depth is not None and depth.metric:
        looked = np.unique(np.linspace(0, frames - 1, _LOOKS).round().astype(int))
        part = DepthFrames(len(looked), lambda i: depth.read_m(int(looked[i])))
        z = read_depths(np.broadcast_to(pixels, (len(looked), count, 2)).copy(), part, image_size)
        some = np.isfinite(z).any(axis=0)
        points[some] = unproject(pixels[some], np.nanmedian(z[:, some], axis=0), K)
        source = "depth"
    else:
        foot = _foot(masks, image_size)
        up = T_world_camera[2, :3]
        at = on_table(foot, K, T_world_camera) if np.isfinite(foot).all() else np.full(3, np.nan)
        if np.isfinite(at).all() and at[2] > 0:
            across = at - (at @ up) * up  # horizontal part of the way to it: the plane's normal
            across /= np.linalg.norm(across)
            rays = unproject(pixels, np.ones(count), K)
            points = rays * ((at @ across) / (rays @ across))[:, None]
        source = "table"
    visible = tracks.visible & np.isfinite(points).all(axis=-1)
    pose = np.full((frames, 4, 4), np.nan)
    inside = np.isfinite(points).all(axis=-1)
    residual = np.full(frames, np.nan)
    if inside.sum() >= _MIN_POINTS:
        pose[:] = np.eye(4)
        pose[:, :3, :3] = T_world_camera[:3, :3].T
        pose[:, :3, 3] = np.median(points[inside], axis=0)
        residual[:] = 0.0
    shown = np.where(visible[..., None], points[None], np.nan)
    track = ObjectTrack(shown, np.where(visible[..., None], tracks.pixels, np.nan), visible, pose, residual)
    return LiftedObject(track, LiftFigures(rigid=True, scale_source=source, scale_sigma=float("nan"), still_fraction=1.0))


def _foot(masks: ObjectMasks, image_size: tuple[int, int]) -> FloatArray:
    """(2,) px of the video: middle of the lower edge, the median over some frames; NaN without a mask."""
    found: list[FloatArray] = []
    for frame in np.unique(np.linspace(0, len(masks) - 1, _LOOKS).round().astype(int)):
        rows, columns = np.nonzero(masks[int(frame)])
        if len(rows):
            low = rows >= np.percentile(rows, 97)
            found.append(np.array([columns[low].mean(), rows[low].mean() + 0.5]))
    if not found:
        return np.full(2, np.nan)
    scale = image_size[0] / masks.shape[1]
    return (np.median(found, axis=0) + 0.5) * scale - 0.5
