"""The data types that travel between the stages: hand track, object track and the interaction in the world frame.

Every type is a frozen dataclass of arrays that validates itself when made, so that no stage has to guess what it was given.
World frame: z up, table top at z = 0, metres. Camera frames are OpenCV's (x right, y down, z forward).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import DexVidError, InputFileError
from dexvid_envs.files import atomic_path

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: MANO / MediaPipe order: wrist, then thumb, index, middle, ring, little; each from base to tip.
HAND_KEYPOINT_NAMES: tuple[str, ...] = (
    "wrist",
    *(
        f"{finger}_{part}"
        for finger in ("thumb", "index", "middle", "ring", "little")
        for part in ("base", "proximal", "distal", "tip")
    ),
)
WRIST = 0
#: Indices of the fingertips in the 21 key points: thumb, index, middle, ring, little.
FINGERTIPS: tuple[int, ...] = (4, 8, 12, 16, 20)
#: Bones as (parent, child) key point indices, for drawing and for locking bone lengths.
HAND_BONES: tuple[tuple[int, int], ...] = tuple(
    (0 if part == 0 else 1 + 4 * finger + part - 1, 1 + 4 * finger + part) for finger in range(5) for part in range(4)
)


@dataclasses.dataclass(frozen=True)
class HandTrack:
    """One hand over time, in the camera frame.

    Attributes:
        keypoints_camera: (T, 21, 3) m; NaN rows where the hand is unknown.
        keypoints_image: (T, 21, 2) px; NaN rows where the hand is unknown.
        confidence: (T,) in [0, 1]; 0 where the key points were interpolated or are missing.
        side: "right" or "left".
        flagged: (T,) bool; frames with a stall, a jump or another reason for doubt.
    """

    keypoints_camera: FloatArray
    keypoints_image: FloatArray
    confidence: FloatArray
    side: str
    flagged: BoolArray

    def __post_init__(self) -> None:
        frames = len(self.keypoints_camera)
        _expect_shape("keypoints_camera", self.keypoints_camera, (frames, 21, 3))
        _expect_shape("keypoints_image", self.keypoints_image, (frames, 21, 2))
        _expect_shape("confidence", self.confidence, (frames,))
        _expect_shape("flagged", self.flagged, (frames,))
        _expect_side(self.side)


@dataclasses.dataclass(frozen=True)
class ObjectTrack:
    """One object over time as points with correspondence, in the camera frame.

    Attributes:
        points_camera: (T, P, 3) m; NaN where a point is unknown.
        points_image: (T, P, 2) px; NaN where a point is unknown.
        visible: (T, P) bool.
        pose_camera: (T, 4, 4) `T_camera_object`; NaN where no rigid pose fits.
        residual_m: (T,) root mean square distance of the points from the rigid fit; NaN where there is none.
    """

    points_camera: FloatArray
    points_image: FloatArray
    visible: BoolArray
    pose_camera: FloatArray
    residual_m: FloatArray

    def __post_init__(self) -> None:
        frames, points = self.points_camera.shape[:2]
        _expect_shape("points_camera", self.points_camera, (frames, points, 3))
        _expect_shape("points_image", self.points_image, (frames, points, 2))
        _expect_shape("visible", self.visible, (frames, points))
        _expect_shape("pose_camera", self.pose_camera, (frames, 4, 4))
        _expect_shape("residual_m", self.residual_m, (frames,))


@dataclasses.dataclass(frozen=True)
class Interaction:
    """A hand that handles a named object, in metres in the world frame; the product of extraction and of every importer.

    The fields are the keys of `interaction.npz`. Arrays are (T, ...) over frames at `fps`.

    Attributes:
        fps: frames a second of the arrays.
        hand_keypoints_world: (T, 21, 3) m.
        hand_confidence: (T,) in [0, 1].
        hand_side: "right" or "left".
        object_names: the moved object first.
        object_points_world: (T, P, 3) m, of the moved object.
        object_visible: (T, P) bool.
        object_pose_world: (T, 4, 4) `T_world_object`; NaN where no rigid pose is known.
        keypoints_world: (T, K, 3) m, task-relevant points.
        keypoint_visible: (T, K) bool.
        keypoint_names: K names.
        contact: (T,) bool, the hand holds or touches the object.
        flagged: (T,) bool, frames whose data are doubtful.
        frame_index: (T,) int, the source frame behind each frame here.
        K: (3, 3) camera matrix in px; NaN where unknown.
        T_world_camera: (4, 4) camera pose; NaN where unknown.
        source_sha256: hash of the source file or files.
    """

    fps: float
    hand_keypoints_world: FloatArray
    hand_confidence: FloatArray
    hand_side: str
    object_names: tuple[str, ...]
    object_points_world: FloatArray
    object_visible: BoolArray
    object_pose_world: FloatArray
    keypoints_world: FloatArray
    keypoint_visible: BoolArray
    keypoint_names: tuple[str, ...]
    contact: BoolArray
    flagged: BoolArray
    frame_index: NDArray[np.int64]
    K: FloatArray
    T_world_camera: FloatArray
    source_sha256: str

    def __post_init__(self) -> None:
        frames = len(self.hand_keypoints_world)
        if frames == 0:
            raise DexVidError("an interaction needs at least one frame, got 0; check the frame range of the source")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise DexVidError(f"fps must be a positive number, got {self.fps!r}; give the recording's frame rate")
        points, keypoints = self.object_points_world.shape[1], len(self.keypoint_names)
        _expect_shape("hand_keypoints_world", self.hand_keypoints_world, (frames, 21, 3))
        _expect_shape("hand_confidence", self.hand_confidence, (frames,))
        _expect_shape("object_points_world", self.object_points_world, (frames, points, 3))
        _expect_shape("object_visible", self.object_visible, (frames, points))
        _expect_shape("object_pose_world", self.object_pose_world, (frames, 4, 4))
        _expect_shape("keypoints_world", self.keypoints_world, (frames, keypoints, 3))
        _expect_shape("keypoint_visible", self.keypoint_visible, (frames, keypoints))
        for name in ("contact", "flagged", "frame_index"):
            _expect_shape(name, getattr(self, name), (frames,))
        _expect_shape("K", self.K, (3, 3))
        _expect_shape("T_world_camera", self.T_world_camera, (4, 4))
        _expect_side(self.hand_side)

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return len(self.hand_keypoints_world)

    @property
    def duration_s(self) -> float:
        """Time between the first and the last frame."""
        return (self.num_frames - 1) / self.fps

    def save(self, path: Path) -> None:
        """Writes `interaction.npz` (no pickles) atomically."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)}
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **arrays)

    @classmethod
    def load(cls, path: Path) -> Interaction:
        """Reads what `save` wrote.

        Raises:
            InputFileError: the file is missing, is no npz without pickles, or lacks a key.
        """
        if not path.is_file():
            raise InputFileError(f"no interaction at {path}: expected an .npz file written by 'dexvid extract'; run it first")
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise InputFileError(
                f"cannot read {path} as an interaction ({error}): expected an .npz without pickles; extract again"
            ) from error
        except Exception as error:  # zipfile.BadZipFile and zlib.error do not share a root with the above
            raise InputFileError(f"{path} is damaged ({error}); extract again") from error
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise InputFileError(f"{path} lacks {', '.join(missing)}; expected the keys {', '.join(names)}")
        return cls(
            fps=float(arrays["fps"]),
            hand_keypoints_world=arrays["hand_keypoints_world"].astype(np.float64),
            hand_confidence=arrays["hand_confidence"].astype(np.float64),
            hand_side=str(arrays["hand_side"]),
            object_names=tuple(str(name) for name in np.atleast_1d(arrays["object_names"])),
            object_points_world=arrays["object_points_world"].astype(np.float64),
            object_visible=arrays["object_visible"].astype(bool),
            object_pose_world=arrays["object_pose_world"].astype(np.float64),
            keypoints_world=arrays["keypoints_world"].astype(np.float64),
            keypoint_visible=arrays["keypoint_visible"].astype(bool),
            keypoint_names=tuple(str(name) for name in np.atleast_1d(arrays["keypoint_names"])),
            contact=arrays["contact"].astype(bool),
            flagged=arrays["flagged"].astype(bool),
            frame_index=arrays["frame_index"].astype(np.int64),
            K=arrays["K"].astype(np.float64),
            T_world_camera=arrays["T_world_camera"].astype(np.float64),
            source_sha256=str(arrays["source_sha256"]),
        )


def _expect_shape(name: str, array: NDArray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise DexVidError(f"{name} has shape {array.shape}, expected {shape}")


def _expect_side(side: str) -> None:
    if side not in ("right", "left"):
        raise DexVidError(f"hand side must be 'right' or 'left', got {side!r}")
