"""The exact truth of a synthetic clip: what every key point, pixel and object did. One npz without pickles.

`ClipTruth.load` reads it; anybody else can with `numpy.load` alone (a text is a 0-d array of characters).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.camera import project
from dexvid_envs.errors import InputFileError
from dexvid_envs.npz_file import read_npz, write_npz

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class ClipTruth:
    """Truth of a clip with T pictures of W x H, O objects with P surface points each, and K task-relevant key points.

    Pixels count from the centre of the upper left one. All moments are the middle of a picture's exposure.

    Attributes:
        clip_id: name of the clip; with `corpus`, `kind`, `person_id`, `object_id`, `camera_id` and `seed` its origin.
        corpus: "evaluation", "training", "wild" or "bottles".
        kind: one of `scripts.KINDS` or `wild_scripts.WILD_KINDS`.
        person_id: who.
        object_id: what is handled.
        camera_id: from where.
        seed: of everything else.
        fps: pictures a second.
        exposure_s: how long the shutter was open.
        K: (3, 3) px.
        T_world_camera: (4, 4).
        hand_side: "right" or "left".
        hand_keypoints_world: (T, 21, 3) m.
        hand_keypoints_camera: (T, 21, 3) m.
        hand_keypoints_image: (T, 21, 2) px.
        hand_visible: (T, 21) bool, nothing but the key point's own flesh is before it.
        T_world_hand: (T, 4, 4) hand frame of `robots.human_hand`.
        joints_rad: (T, 21) in the order of `robots.human_hand.JOINT_NAMES`.
        bone_lengths_m: (20,).
        object_names: (O,) the handled one first.
        object_pose_world: (O, T, 4, 4).
        object_points_object: (O, P, 3) m, the surface points in the frame of their object.
        object_points_world: (O, T, P, 3) m, float32.
        object_visible: (O, T, P) bool.
        keypoint_names: (K,) of hand, handled object, and target, container or handle.
        keypoints_world: (T, K, 3) m.
        keypoints_image: (T, K, 2) px.
        keypoint_visible: (T, K) bool; a point inside an object is visible where the object is seen at its pixel.
        contact: (T,) bool, thumb or fingers touch the handled object (within 2 mm).
        contact_fingers: (T, 5) bool, thumb to little finger.
        tip_distance_m: (T, 5) skin of the last bones to the object, negative inside.
        min_distance_m: (T,) any flesh to the object.
        held: (T,) bool, the object moves with the hand.
        phase: (T,) index into `phase_names`.
        phase_names: of the phases.
        label_names: (L,) what each value of `labels` means: background, hand (all bare skin, also of the forearm), arm (sleeve
            and body), then the objects.
        labels: (T, H, W) uint8.
        depth_background: (H, W) uint16 along the viewing direction in units of `depth_unit_m`: what stays where it is.
        depth_steps: (T, H, W) uint16, row by row the steps from pixel to pixel (they wrap around, and compress well) of the
            depth where something is before the background, of 0 elsewhere: `numpy.cumsum(steps, axis=-1, dtype=uint16)`.
        depth_unit_m: m.
    """

    clip_id: str
    corpus: str
    kind: str
    person_id: str
    object_id: str
    camera_id: str
    seed: int
    fps: float
    exposure_s: float
    K: FloatArray
    T_world_camera: FloatArray
    hand_side: str
    hand_keypoints_world: FloatArray
    hand_keypoints_camera: FloatArray
    hand_keypoints_image: FloatArray
    hand_visible: BoolArray
    T_world_hand: FloatArray
    joints_rad: FloatArray
    bone_lengths_m: FloatArray
    object_names: tuple[str, ...]
    object_pose_world: FloatArray
    object_points_object: FloatArray
    object_points_world: NDArray[np.float32]
    object_visible: BoolArray
    keypoint_names: tuple[str, ...]
    keypoints_world: FloatArray
    keypoints_image: FloatArray
    keypoint_visible: BoolArray
    contact: BoolArray
    contact_fingers: BoolArray
    tip_distance_m: FloatArray
    min_distance_m: FloatArray
    held: BoolArray
    phase: NDArray[np.int64]
    phase_names: tuple[str, ...]
    label_names: tuple[str, ...]
    labels: NDArray[np.uint8]
    depth_background: NDArray[np.uint16]
    depth_steps: NDArray[np.uint16]
    depth_unit_m: float

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.held)

    def depth_m(self, frame: int) -> NDArray[np.float32]:
        """(H, W) depth of a picture along the viewing direction."""
        before = np.cumsum(self.depth_steps[frame], axis=-1, dtype=np.uint16)
        return (np.where(before > 0, before, self.depth_background) * self.depth_unit_m).astype(np.float32)

    def mask(self, name: str) -> BoolArray:
        """(T, H, W) where a thing of `label_names` is seen."""
        return self.labels == self.label_names.index(name)

    def to_image(self, points_world: FloatArray) -> FloatArray:
        """(..., 2) px of points (..., 3) in the world."""
        return project((points_world - self.T_world_camera[:3, 3]) @ self.T_world_camera[:3, :3], self.K)

    def save(self, path: Path) -> None:
        """Writes the npz; a file that is there is replaced as a whole."""
        arrays: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)}
        write_npz(path, arrays)

    @classmethod
    def load(cls, path: Path) -> ClipTruth:
        """Reads what `save` wrote.

        Raises:
            InputFileError: the file is missing, is no npz or lacks a key.
        """
        advice = "make it again with dexvid synthesize"
        arrays = read_npz(path, "the truth of a synthetic clip", advice)
        missing = [field.name for field in dataclasses.fields(cls) if field.name not in arrays]
        if missing:
            raise InputFileError(f"{path} is no truth of a synthetic clip, it lacks {', '.join(missing)}; {advice}")
        return cls(**{field.name: _plain(arrays[field.name]) for field in dataclasses.fields(cls)})


def _plain(array: np.ndarray) -> Any:
    """Texts as str, lists of texts as tuples, single numbers as numbers."""
    if array.dtype.kind == "U":
        return str(array) if array.ndim == 0 else tuple(array.tolist())
    return array.item() if array.ndim == 0 else array


class DepthStore:
    """Collects depth images as 16-bit numbers of a unit, keeping only what differs from the background."""

    def __init__(self, unit_m: float) -> None:
        self._unit_m = unit_m
        self._images: list[NDArray[np.uint16]] = []

    def append(self, depth_m: NDArray[np.float32]) -> None:
        """Adds an image (H, W) m."""
        self._images.append(np.clip(np.rint(depth_m / self._unit_m), 1, 65535).astype(np.uint16))

    def finish(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """`depth_background` (H, W), the farthest ever seen at each pixel, and `depth_steps` (T, H, W), both in the unit."""
        images = np.array(self._images)
        background = images.max(axis=0)
        before = np.where(images == background, 0, images).astype(np.uint16)
        return background, np.diff(before, axis=-1, prepend=np.zeros_like(before[..., :1]))
