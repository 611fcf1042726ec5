"""A filmed scene as extraction takes it: a stream of pictures, what is known of the camera, and depth where there is any.

The source is a video file, or a folder of pictures with depth as RGB-D cameras are saved (`rgb/`, `depth/`, `cam_K.txt`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from demos.camera import intrinsics_from_fov
from demos.importers.arrays import numbered_files
from demos.importers.pictures import read_picture
from demos.importers.rgbd import read_camera_matrix, read_depth_mm, read_rgbd
from demos.interaction import FloatArray
from demos.number_file import read_matrix
from demos.parts import DepthFrames, resize_nearest
from demos.video import Frame, VideoInfo, frame_stride, probe_video, read_frames
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import sha256_of_files

_MAX_PRINCIPAL_POINT_OFFSET = 0.35  # of the picture's size; a matrix of another resolution is further off
_DEPTH_LOOKS = 10  # pictures that are looked at before depth is relied on
_MIN_DEPTH_PART = 0.01  # of the pixels
_DEPTH_RANGE_M = (0.05, 20.0)


@dataclasses.dataclass(frozen=True)
class Recording:
    """The source of an extraction.

    Attributes:
        info: size, rate and hash of the pictures.
        stride: every how many source frames one is looked at.
        K: (3, 3) px, of the pictures' full size.
        calibrated: whether K was given; else it is a guess from the field of view.
        T_world_camera: (4, 4) given pose of the camera, or None.
        depth: depth pictures of the frames that are looked at, in the size of the pictures, or None.
        pictures: the pictures' files where the source is a folder; empty for a video.
        notes: what a user should know of the source.
        mirrored: the source shows left and right exchanged; pictures, depth and K here are put right.
    """

    info: VideoInfo
    stride: int
    K: FloatArray
    calibrated: bool
    T_world_camera: FloatArray | None
    depth: DepthFrames | None
    pictures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    mirrored: bool = False

    @property
    def fps(self) -> float:
        """Of the frames that are looked at."""
        return self.info.fps / self.stride

    @property
    def expected_frames(self) -> int:
        """How many frames will be looked at, as the container says; 0 where it says nothing."""
        return -(-self.info.num_frames // self.stride)

    def of_length(self, frames: int) -> Recording:
        """The same with as many depth pictures as frames were found; the last one stands for a few that are missing."""
        depth = self.depth
        if depth is None or depth.count == frames:
            return self
        last = depth.count - 1
        fitted = DepthFrames(frames, lambda frame: depth.read_m(min(frame, last)), depth.metric)
        return dataclasses.replace(self, depth=fitted)

    def frames(self) -> Iterator[Frame]:
        """The frames that are looked at, one by one.

        Raises:
            InputFileError: a picture is damaged or of another size, or the video ends early.
        """
        for frame in self._source_frames():
            yield Frame(frame.index, np.ascontiguousarray(frame.rgb[:, ::-1])) if self.mirrored else frame

    def _source_frames(self) -> Iterator[Frame]:
        if not self.pictures:
            yield from read_frames(self.info, self.stride)
            return
        for index in range(0, len(self.pictures), self.stride):
            yield Frame(index, _read_rgb(self.pictures[index], self.info))


def open_recording(
    path: Path,
    *,
    fps_limit: float,
    fov_deg: float,
    picture_fps: float,
    camera_matrix: Path | None = None,
    camera_pose: Path | None = None,
    depth: Path | None = None,
    mirrored: bool = False,
) -> Recording:
    """Opens a source and everything that is given beside it.

    Args:
        path: a video file, or a folder with `rgb/`, `depth/` and `cam_K.txt`.
        fps_limit: at most so many frames a second are looked at.
        fov_deg: across the longer side, used where no camera matrix is given.
        picture_fps: rate of a folder of pictures.
        camera_matrix: text file of nine numbers, px of the full picture.
        camera_pose: text file of the sixteen numbers of `T_world_camera` (z up, table at 0, metres).
        depth: folder of 16-bit PNG in millimetres, one for each source frame.
        mirrored: left and right are exchanged in pictures and depth, as selfie cameras do it.

    Raises:
        InputFileError: a file is missing, damaged or does not fit the others.
        OptionError: an option contradicts the source.
    """
    if path.is_dir() and (path / "depth").is_dir():
        rgbd = read_rgbd(path)
        if not rgbd.pictures:
            raise InputFileError(f"{path} has depth but no colour pictures, expected a folder rgb beside depth")
        info = _picture_info(rgbd.pictures, picture_fps)
        K, pictures, frames = rgbd.K, rgbd.pictures, rgbd.depth
        if depth is not None:
            raise OptionError(f"--depth is given, but {path} has depth pictures of its own; leave one out")
    else:
        info, pictures, K, frames = probe_video(path), (), None, None
        if depth is not None:
            frames = _depth_folder(depth, info)
    if camera_matrix is not None:
        K = read_camera_matrix(camera_matrix)
    if K is not None:
        _check_fits(K, info, camera_matrix or path)
    stride = frame_stride(info, fps_limit)
    notes: list[str] = []
    if info.varying_rate:
        notes.append(f"Time: the video's frame rate varies; it is read at a constant {info.fps:g} frames a second.")
    if frames is not None and not _has_depth(frames, depth or path):
        notes.append(f"Depth: the pictures in {(depth or path).name} show next to none; the film alone is used.")
        frames = None
    if frames is not None:
        frames = _looked_at(frames, stride, (info.height, info.width), mirrored)
    known = K is not None
    K = intrinsics_from_fov(info.width, info.height, fov_deg) if K is None else K.copy()
    if mirrored:
        K[0, 2] = info.width - 1 - K[0, 2]
    return Recording(
        info,
        stride,
        K,
        known,
        None if camera_pose is None else read_camera_pose(camera_pose),
        frames,
        pictures,
        tuple(notes),
        mirrored,
    )


def read_camera_pose(path: Path) -> FloatArray:
    """`T_world_camera` (4, 4) of a text file with sixteen numbers.

    Raises:
        InputFileError: it is missing or holds something else than a pose.
    """
    pose = read_matrix(path, (4, 4), "the camera pose T_world_camera in metres")
    turned = pose[:3, :3]
    right = np.isfinite(pose).all() and np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6)
    if not right or np.abs(turned @ turned.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turned) < 0:
        raise InputFileError(
            f"{path} is no camera pose: expected a rotation (orthonormal, no mirror) and a shift in metres, last row 0 0 0 1; "
            "T_world_camera maps points of the camera (x right, y down, z forward) to the world (z up, table at 0)"
        )
    return pose


def _depth_folder(folder: Path, info: VideoInfo) -> DepthFrames:
    files = numbered_files(folder, (".png",))
    if info.num_frames and abs(len(files) - info.num_frames) > max(2, 0.02 * info.num_frames):
        raise InputFileError(
            f"{folder} has {len(files)} depth pictures and {info.path.name} {info.num_frames} frames; expected as many of each"
        )
    return DepthFrames(len(files), lambda frame: read_depth_mm(files[frame]))


def _has_depth(frames: DepthFrames, source: Path) -> bool:
    """Whether pictures from all over the clip show any depth.

    Raises:
        InputFileError: they do, but in another unit.
    """
    looks = np.unique(np.linspace(0, frames.count - 1, _DEPTH_LOOKS).round().astype(int))
    pictures = [frames.read_m(int(look)) for look in looks]
    known = np.concatenate([picture[np.isfinite(picture) & (picture > 0.0)] for picture in pictures])
    if known.size < _MIN_DEPTH_PART * sum(picture.size for picture in pictures):
        return False
    middle, (low, high) = float(np.median(known)), _DEPTH_RANGE_M
    if not low < middle < high:
        raise InputFileError(
            f"the depth pictures of {source} show things {middle:.3g} m away, expected {low:g} to {high:g} m; "
            "save them as 16-bit PNG in millimetres"
        )
    return True


def _looked_at(frames: DepthFrames, stride: int, shape: tuple[int, int], mirrored: bool) -> DepthFrames:
    """Every `stride`-th depth picture, in the pictures' size (height, width) by the nearest pixel."""

    def read_m(frame: int) -> FloatArray:
        picture = resize_nearest(frames.read_m(frame * stride), shape)
        return picture[:, ::-1] if mirrored else picture

    return DepthFrames(-(-frames.count // stride), read_m, frames.metric)


def _picture_info(pictures: tuple[Path, ...], fps: float) -> VideoInfo:
    first = read_picture(pictures[0])
    return VideoInfo(
        pictures[0].parent.parent, first.shape[1], first.shape[0], fps, len(pictures), sha256_of_files(sorted(pictures))
    )


def _read_rgb(path: Path, info: VideoInfo) -> np.ndarray:
    picture = read_picture(path)
    if picture.dtype != np.uint8 or picture.shape[:2] != (info.height, info.width):
        raise InputFileError(
            f"{path} is a picture of {picture.shape} of {picture.dtype}, expected 8-bit colour of {info.width}x{info.height}"
        )
    return np.repeat(picture[..., None], 3, axis=-1) if picture.ndim == 2 else np.ascontiguousarray(picture[..., :3])


def _check_fits(K: FloatArray, info: VideoInfo, source: Path) -> None:
    """A camera matrix of another resolution is the commonest mistake, and makes everything wrong in silence."""
    middle = np.array([0.5 * (info.width - 1), 0.5 * (info.height - 1)])
    off = np.abs(K[:2, 2] - middle) / np.array([info.width, info.height])
    fov_deg = math.degrees(2 * math.atan(0.5 * max(info.width, info.height) / max(K[0, 0], K[1, 1])))
    if off.max() > _MAX_PRINCIPAL_POINT_OFFSET or not 10.0 <= fov_deg <= 150.0:
        raise InputFileError(
            f"the camera matrix of {source} (focal length {K[0, 0]:.0f} px, middle {K[0, 2]:.0f} {K[1, 2]:.0f}) does not fit "
            f"pictures of {info.width}x{info.height} px; expected one for this size: scale it with the picture"
        )
