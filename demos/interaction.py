"""The data types that travel between the stages: hand track, object track and the interaction in the world frame.

Every type is a frozen dataclass of arrays that validates itself when made, so that no stage has to guess what it was given.
World frame: z up, table top at z = 0, metres. Camera frames are OpenCV's (x right, y down, z forward).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import DexVidError, InputFileError
from dexvid_envs.npz_file import read_npz, write_npz

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
class KeypointTrack:
    """Named task-relevant points over time, in the camera frame: of the hand, the moved object, the target or container.

    Attributes:
        points_camera: (T, K, 3) m; NaN where unknown.
        points_image: (T, K, 2) px; NaN where unknown.
        visible: (T, K) bool; a point may be known and yet hidden.
        names: K names.
    """

    points_camera: FloatArray
    points_image: FloatArray
    visible: BoolArray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        frames, count = len(self.points_camera), len(self.names)
        _expect_shape("points_camera", self.points_camera, (frames, count, 3))
        _expect_shape("points_image", self.points_image, (frames, count, 2))
        _expect_shape("visible", self.visible, (frames, count))
        if len(set(self.names)) != count:
            raise DexVidError(f"key points need different names, got {', '.join(self.names)}")


@dataclasses.dataclass(frozen=True)
class SceneObject:
    """A further object of an interaction, such as the container that something is poured into.

    Attributes:
        points_world: (T, P, 3) m; NaN where unknown.
        visible: (T, P) bool.
        pose_world: (T, 4, 4) `T_world_object`; NaN where no rigid pose is known.
    """

    points_world: FloatArray
    visible: BoolArray
    pose_world: FloatArray

    def __post_init__(self) -> None:
        frames, points = self.points_world.shape[:2]
        _expect_shape("points_world", self.points_world, (frames, points, 3))
        _expect_shape("visible", self.visible, (frames, points))
        _expect_shape("pose_world", self.pose_world, (frames, 4, 4))


#: The keys of a further object in `interaction.npz` are these with its name appended.
_SCENE_OBJECT_KEYS = {"points_world": "object_points_world_", "visible": "object_visible_", "pose_world": "object_pose_world_"}
_FIRST_KEY = _SCENE_OBJECT_KEYS["points_world"]


@dataclasses.dataclass(frozen=True)
class Interaction:
    """A hand that handles a named object, in metres in the world frame; the product of extraction and of every importer.

    The fields are the keys of `interaction.npz`, where a further object called `mug` has the keys `object_points_world_mug`,
    `object_visible_mug` and `object_pose_world_mug`. Arrays are (T, ...) over frames at `fps`.

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
        further_objects: by name, some or all of `object_names` after the first.
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
    further_objects: Mapping[str, SceneObject] = dataclasses.field(default_factory=dict[str, SceneObject])

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
        if not set(self.further_objects) <= set(self.object_names[1:]):
            raise DexVidError(
                f"further_objects has {', '.join(self.further_objects)}, expected some of the objects after the first of "
                f"object_names: {', '.join(self.object_names[1:]) or 'none'}"
            )
        for name, scene_object in self.further_objects.items():
            _expect_shape(f"points_world of {name}", scene_object.points_world, (frames, *scene_object.points_world.shape[1:]))

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
        arrays = {name: np.asarray(getattr(self, name)) for name in _FIELDS}
        for name, scene_object in self.further_objects.items():
            arrays |= {key + name: getattr(scene_object, field) for field, key in _SCENE_OBJECT_KEYS.items()}
        write_npz(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Interaction:
        """Reads what `save` wrote.

        Raises:
            InputFileError: the file is missing, is no npz without pickles, lacks a key, or holds what is no interaction.
        """
        if not path.is_file():
            raise InputFileError(f"no interaction at {path}: expected an .npz file written by 'dexvid extract'; run it first")
        arrays = read_npz(path, "an interaction", "extract again")
        further = [key[len(_FIRST_KEY) :] for key in arrays if key.startswith(_FIRST_KEY)]
        names = [*_FIELDS, *(key + name for name in further for key in _SCENE_OBJECT_KEYS.values())]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise InputFileError(f"{path} lacks {', '.join(missing)}; expected the keys {', '.join(names)}")
        try:
            return cls._from_arrays(arrays, further)
        except (ValueError, TypeError, OverflowError) as error:  # numpy's about another type, and those of our own checks
            raise InputFileError(f"{path} holds no valid interaction ({error}); extract again") from error

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, NDArray], further: Sequence[str]) -> Interaction:
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
            further_objects={
                name: SceneObject(
                    arrays[_SCENE_OBJECT_KEYS["points_world"] + name].astype(np.float64),
                    arrays[_SCENE_OBJECT_KEYS["visible"] + name].astype(bool),
                    arrays[_SCENE_OBJECT_KEYS["pose_world"] + name].astype(np.float64),
                )
                for name in further
            },
        )


#: The fields that are keys of the file by their own name.
_FIELDS = tuple(field.name for field in dataclasses.fields(Interaction) if field.name != "further_objects")


def _expect_shape(name: str, array: NDArray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise DexVidError(f"{name} has shape {array.shape}, expected {shape}")


def _expect_side(side: str) -> None:
    if side not in ("right", "left"):
        raise DexVidError(f"hand side must be 'right' or 'left', got {side!r}")
