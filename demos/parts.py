"""The parts of which an interaction is made: pixel tracks, point sets, cameras, masks, depth pictures.

A hand is a `HandTrack` and tracked points are an `ObjectTrack` (demos.interaction); joining parts is left to `assemble`.
Camera frames are OpenCV's; pixels count from the centre of the upper left one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from demos.camera import fit_rigid, project, transform, unproject
from demos.interaction import BoolArray, FloatArray, ObjectTrack
from dexvid_envs.errors import DexVidError, InputFileError, OptionError

_MIN_RIGID_POINTS = 4
#: A rigid fit that misses its points by more than this is none; the object then counts as deformed in that frame.
MAX_RIGID_RESIDUAL_M = 0.03


@dataclasses.dataclass(frozen=True)
class PixelTracks:
    """Points followed in the picture, without depth.

    Attributes:
        pixels: (T, N, 2) px; NaN where unknown.
        visible: (T, N) bool.
        confidence: (T, N) in [0, 1].
    """

    pixels: FloatArray
    visible: BoolArray
    confidence: FloatArray

    def __post_init__(self) -> None:
        _expect(
            self.pixels.ndim == 3 and self.pixels.shape[2] == 2, f"pixels have shape {self.pixels.shape}, expected (T, N, 2)"
        )
        for name in ("visible", "confidence"):
            array = getattr(self, name)
            _expect(array.shape == self.pixels.shape[:2], f"{name} has shape {array.shape}, expected {self.pixels.shape[:2]}")


@dataclasses.dataclass(frozen=True)
class CameraTrack:
    """The camera in each frame.

    Attributes:
        K: (T, 3, 3) px.
        T_world_camera: (T, 4, 4) in the world of the system that found it: no gravity, arbitrary origin.
    """

    K: FloatArray
    T_world_camera: FloatArray

    def __post_init__(self) -> None:
        frames = len(self.K)
        _expect(self.K.shape == (frames, 3, 3), f"K has shape {self.K.shape}, expected (T, 3, 3)")
        shape = self.T_world_camera.shape
        _expect(shape == (frames, 4, 4), f"T_world_camera has shape {shape}, expected ({frames}, 4, 4)")

    def moves_m(self) -> float:
        """How far the camera gets from where it was in the first frame."""
        place = self.T_world_camera[:, :3, 3]
        return float(np.linalg.norm(place - place[0], axis=-1).max())


@dataclasses.dataclass(frozen=True)
class PointSets:
    """Points of a surface in each frame, without correspondence from frame to frame.

    Attributes:
        points_camera: T arrays (M, 3) m in the camera frame; M may differ and be 0.
    """

    points_camera: tuple[FloatArray, ...]

    def __post_init__(self) -> None:
        for frame, points in enumerate(self.points_camera):
            _expect(
                points.ndim == 2 and points.shape[1] == 3, f"frame {frame} has points of shape {points.shape}, expected (M, 3)"
            )

    def sampled(self, count: int, seed: int = 0) -> ObjectTrack:
        """At most `count` points a frame as an `ObjectTrack` without pose.

        Row p of two frames is not the same point of the object: nothing may be learnt from its motion.

        Raises:
            OptionError: `count` is less than one.
        """
        if count < 1:
            raise OptionError(f"count is {count}, expected at least 1 point a frame")
        rng = np.random.default_rng(seed)
        frames = len(self.points_camera)
        points = np.full((frames, count, 3), np.nan)
        for frame, cloud in enumerate(self.points_camera):
            kept = cloud[np.sort(rng.permutation(len(cloud))[:count])]
            points[frame, : len(kept)] = kept
        visible = np.isfinite(points[..., 0])
        unknown = np.full((frames, 4, 4), np.nan)
        return ObjectTrack(points, np.full((frames, count, 2), np.nan), visible, unknown, np.full(frames, np.nan))


@dataclasses.dataclass(frozen=True)
class DepthFrames:
    """Depth pictures, read one at a time.

    Attributes:
        count: number of frames.
        read_m: gives frame i as (H, W) m along the camera's z; NaN where there is no depth.
        metric: whether the numbers are metres, or only so up to one unknown scale.
    """

    count: int
    read_m: Callable[[int], FloatArray]
    metric: bool = True


@dataclasses.dataclass(frozen=True)
class MaskFrames:
    """Masks of one object, read one at a time.

    Attributes:
        count: number of frames.
        read: gives frame i as (H, W) bool in its own size.
    """

    count: int
    read: Callable[[int], BoolArray]

    def read_sized(self, frame: int, shape: tuple[int, int]) -> BoolArray:
        """Frame i in `shape` = (height, width), by the nearest pixel: a mask may be of any size."""
        return resize_nearest(self.read(frame), shape)


def resize_nearest(picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The picture (h, w) in `shape` = (height, width), each pixel from the nearest one."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(shape, picture.shape[:2], strict=True)
    )
    return picture[rows[:, None], columns[None]]


def lift_tracks(
    tracks: PixelTracks, depth: DepthFrames, K: FloatArray, image_size: tuple[int, int] | None = None
) -> ObjectTrack:
    """Gives pixel tracks the depth of the picture under them; a point over missing depth counts as unseen in that frame.

    Args:
        tracks: T frames.
        depth: T frames of the same view.
        K: (3, 3) px of the video.
        image_size: (width, height) of the video; None where the depth pictures have its size.

    Raises:
        InputFileError: the numbers of frames differ.
    """
    frames, count = tracks.visible.shape
    if depth.count != frames:
        raise InputFileError(f"{frames} frames of tracks and {depth.count} of depth; expected as many of each")
    points, seen = np.full((frames, count, 3), np.nan), tracks.visible.copy()
    for frame in range(frames):
        picture = depth.read_m(frame)
        inside, row, column = _cells(tracks.pixels[frame], picture.shape, image_size)
        z = np.where(inside, picture[row, column], np.nan)
        points[frame] = unproject(tracks.pixels[frame], z, K)
        seen[frame] &= np.isfinite(points[frame]).all(axis=1)
    return object_track(points, seen, tracks.pixels)


def object_track(points_camera: FloatArray, visible: BoolArray, pixels: FloatArray) -> ObjectTrack:
    """Points with correspondence as an `ObjectTrack`: unseen ones become NaN, a rigid pose is fitted to each frame.

    The object frame has its origin in the middle of the points of the frame that shows most of them, with the camera's axes.
    From there the poses are found forwards and backwards; a point that appears later gets its place by the pose of its frame.

    Args:
        points_camera: (T, P, 3) m.
        visible: (T, P) bool.
        pixels: (T, P, 2) px, or NaN.
    """
    visible = visible & np.isfinite(points_camera).all(axis=-1)
    points = np.where(visible[..., None], points_camera, np.nan)
    frames = len(points)
    pose, residual = np.full((frames, 4, 4), np.nan), np.full(frames, np.nan)
    if frames and visible.sum(axis=1).max(initial=0) >= _MIN_RIGID_POINTS:
        first = int(np.argmax(visible.sum(axis=1)))
        place = points[first] - points[first, visible[first]].mean(axis=0)  # (P, 3) in the object frame
        for order in (range(first, frames), range(first - 1, -1, -1)):
            for frame in order:
                both = visible[frame] & np.isfinite(place[:, 0])
                if both.sum() < _MIN_RIGID_POINTS:
                    continue
                fitted, error = fit_rigid(place[both], points[frame, both])
                if error <= MAX_RIGID_RESIDUAL_M:
                    pose[frame], residual[frame] = fitted, error
                    new = visible[frame] & ~np.isfinite(place[:, 0])
                    place[new] = transform(np.linalg.inv(fitted), points[frame, new])
    return ObjectTrack(points, np.where(visible[..., None], pixels, np.nan), visible, pose, residual)


def pick_points(track: ObjectTrack, keep: BoolArray) -> ObjectTrack:
    """The track of the points (P,) that are kept, its pose fitted anew.

    Raises:
        DexVidError: none is kept.
    """
    if not keep.any():
        raise DexVidError(f"none of the {len(keep)} tracked points is kept; check the mask and its frame")
    return object_track(track.points_camera[:, keep], track.visible[:, keep], track.points_image[:, keep])


def pick_in_mask(track: ObjectTrack, mask: BoolArray, frame: int, image_size: tuple[int, int] | None = None) -> ObjectTrack:
    """The track of the points that lie in one frame's mask (H, W); `image_size` is the video's where the mask has another."""
    inside, row, column = _cells(track.points_image[frame], mask.shape, image_size)
    return pick_points(track, inside & mask[row, column])


def _cells(
    pixels: FloatArray, shape: tuple[int, ...], image_size: tuple[int, int] | None
) -> tuple[BoolArray, np.ndarray, np.ndarray]:
    """Which pixels (N, 2) of the video lie in a picture (height, width) of the same view, and their rows and columns there."""
    size = np.array(shape[1::-1])
    scale = size / np.array(image_size or size)
    at = np.round((pixels + 0.5) * scale - 0.5)
    inside = np.isfinite(at).all(axis=1) & (at >= 0).all(axis=1) & (at < size).all(axis=1)
    column, row = np.where(inside[:, None], at, 0).astype(int).T
    return inside, row, column


def pick_some(track: ObjectTrack, count: int) -> ObjectTrack:
    """At most `count` points of the track: those that are seen longest."""
    seen = track.visible.sum(axis=0)
    keep = np.zeros(len(seen), bool)
    keep[np.argsort(-seen, kind="stable")[:count]] = True
    return track if keep.all() else pick_points(track, keep)


def to_first_camera(points_camera: FloatArray, camera: CameraTrack) -> FloatArray:
    """Points (T, N, 3) m of a moving camera in the frame of the first one."""
    T_first_camera = np.linalg.inv(camera.T_world_camera[0]) @ camera.T_world_camera
    return transform(T_first_camera, points_camera)


def image_points(points_camera: FloatArray, K: FloatArray) -> FloatArray:
    """Pixels (T, N, 2) of points (T, N, 3) m by K (3, 3) or (T, 3, 3); NaN behind the camera."""
    ahead = points_camera[..., 2:] > 1e-6
    safe = np.where(ahead, points_camera, np.array([0.0, 0.0, 1.0]))
    matrices = np.broadcast_to(K, (len(points_camera), 3, 3))
    pixels = np.stack([project(points, matrix) for points, matrix in zip(safe, matrices, strict=True)])
    return np.where(ahead & np.isfinite(points_camera).all(axis=-1, keepdims=True), pixels, np.nan)


def _expect(fits: bool, message: str) -> None:
    if not fits:
        raise DexVidError(message)
