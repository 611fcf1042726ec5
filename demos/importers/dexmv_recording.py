"""Reads a recording in the folder layout of the DexMV project, which stands in `dexmv`, as it is: hand, object and mesh."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from demos.importers import cleaning, mesh_files
from demos.importers.camera_alignment import align_cameras, frames_that_move_as_one
from demos.importers.restricted_pickle import read_npy
from demos.interaction import FloatArray
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import sha256_of_files

#: `T_objectcamera_handcamera` as DexMV published it with its recordings (rotation rounded to 4 digits).
PUBLISHED_CAMERA_TRANSFORM = (
    (-0.0178, -0.7087, -0.7053, 0.4976),
    (0.7386, 0.4662, -0.4870, 0.3935),
    (0.6739, -0.5296, 0.5151, 0.3154),
    (0.0, 0.0, 0.0, 1.0),
)


@dataclasses.dataclass(frozen=True)
class DexmvConfig:
    """Options of the importer.

    Attributes:
        fps: frames a second; the layout does not record it, and about 10 is plausible for the published recordings.
        smooth: replace bad hand frames, smooth both tracks, hold the object still while it rests.
        upright: turn the object so that it stands upright in both rests; in between the correction fades from one to the other.
        hold_grasp: with `smooth`, shift the hand so that the grasp keeps its place on the carried object; orientation and
            finger posture stay. In the published recording the hand track sinks 3 cm and falls 4 cm behind the bottle while the
            bottle is still in the air, so that every fingertip leaves it; frames shifted by more than 25 mm are flagged.
        surface_points: number of surface points that travel with the object.
        seed: of the surface sampling.
        object_key: which object of the pose files; "" takes the only one.
        object_name: its name in the interaction.
        T_objectcamera_handcamera: (4, 4) m; None recovers it from the carried object (`camera_alignment`), but for the place
            of the hand along an object that does not turn.
    """

    fps: float = 10.0
    smooth: bool = True
    upright: bool = True
    hold_grasp: bool = True
    surface_points: int = 256
    seed: int = 0
    object_key: str = ""
    object_name: str = "bottle"
    T_objectcamera_handcamera: tuple[tuple[float, ...], ...] | None = PUBLISHED_CAMERA_TRANSFORM

    def __post_init__(self) -> None:
        if self.T_objectcamera_handcamera is not None and np.shape(self.T_objectcamera_handcamera) != (4, 4):
            raise OptionError(
                f"T_objectcamera_handcamera has shape {np.shape(self.T_objectcamera_handcamera)}, expected (4, 4)"
            )
        if self.surface_points < 1:
            raise OptionError(f"surface_points is {self.surface_points}, expected at least 1")


@dataclasses.dataclass(frozen=True)
class RawRecording:
    """What stands in the folder, unchanged but for the camera transform.

    Attributes:
        hand: (T, 21, 3) m, hand camera.
        pose: (T, 4, 4) `T_handcamera_object`, object frame at the centre of the mesh.
        mesh: the surface in the object frame, m.
        frame_index: (T,) the number in the file names.
        sha256: over all files read.
    """

    hand: FloatArray
    pose: FloatArray
    mesh: trimesh.Trimesh
    frame_index: np.ndarray
    sha256: str


def read_recording(folder: Path, config: DexmvConfig) -> RawRecording:
    """Reads the folder and brings hand and object into the hand camera's frame.

    Raises:
        InputFileError: files are missing or damaged, have wrong shapes or gaps in their numbers, or hold no rigid pose.
    """
    if not folder.is_dir():
        raise InputFileError(f"no folder {folder}: expected a recording with hand_pose/, object_pose/ and a mesh")
    hand_files = _numbered(folder, "hand_pose", r"joints_(\d+)\.npy", "joints_{i}.npy")
    pose_files = _numbered(folder, "object_pose", r"(\d+)\.npy", "{i}.npy")
    mesh_path = _find_mesh(folder)
    numbers = sorted(set(hand_files) & set(pose_files))
    if not numbers or min(hand_files) != min(pose_files) or abs(len(hand_files) - len(pose_files)) > 1:
        raise InputFileError(
            f"{folder}: hand_pose has frames {min(hand_files)} to {max(hand_files)} and object_pose {min(pose_files)} to"
            f" {max(pose_files)}; expected the same frames in both (one more at the end is left out)"
        )
    hand = np.stack([_array(read_npy(hand_files[i]), (21, 3), hand_files[i]) for i in numbers])
    T_objectcamera_mesh = np.tile(np.eye(4), (len(numbers), 1, 1))
    for row, i in enumerate(numbers):
        T_objectcamera_mesh[row, :3] = _array(
            _pick_object(read_npy(pose_files[i]), pose_files[i], config), (3, 4), pose_files[i]
        )
        _expect_rotation(T_objectcamera_mesh[row, :3, :3], pose_files[i])
    mesh, T_mesh_object = mesh_files.centred(mesh_files.load_mesh(mesh_path))
    pose = T_objectcamera_mesh @ T_mesh_object  # in the object camera
    T_objectcamera_handcamera = (
        _recover_cameras(hand, pose, mesh)
        if config.T_objectcamera_handcamera is None
        else _rigid(np.array(config.T_objectcamera_handcamera, dtype=np.float64))
    )
    pose = np.linalg.inv(T_objectcamera_handcamera) @ pose
    pose[:, :3, :3] = Rotation.from_matrix(pose[:, :3, :3]).as_matrix()
    files = [hand_files[i] for i in numbers] + [pose_files[i] for i in numbers] + [mesh_path]
    return RawRecording(hand, pose, mesh, np.array(numbers, dtype=np.int64), sha256_of_files(files))


def _recover_cameras(hand: FloatArray, pose: FloatArray, mesh: trimesh.Trimesh) -> FloatArray:
    """`T_objectcamera_handcamera` (4, 4) from the frames in which the hand (T, 21, 3) carries the object (T, 4, 4)."""
    rests = cleaning.find_rests(pose[:, :3, 3])
    carried = np.zeros(len(hand), bool)
    carried[rests.lift : rests.place] = True
    surface = mesh_files.sample_surface(mesh, 5000, 0)
    return align_cameras(hand, pose, frames_that_move_as_one(hand, pose, carried), surface).T_objectcamera_handcamera


def _numbered(folder: Path, name: str, pattern: str, shown: str) -> dict[int, Path]:
    """Files of a subfolder by their number; the numbers have to be without gaps."""
    inside = folder / name
    found = {int(m[1]): p for p in inside.glob("*.npy") if (m := re.fullmatch(pattern, p.name))} if inside.is_dir() else {}
    if not found:
        present = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise InputFileError(f"{folder} lacks {name}/{shown}; expected hand_pose/, object_pose/ and a mesh, found {present}")
    if max(found) - min(found) + 1 != len(found):
        gaps = [str(i + 1) for i in sorted(found) if i + 1 not in found][:-1][:5]  # the first missing number of each gap
        raise InputFileError(
            f"{inside} lacks frame {', '.join(gaps)} (the first of each gap); expected {shown} for every number from"
            f" {min(found)} to {max(found)}; copy the missing files or renumber"
        )
    return found


def _find_mesh(folder: Path) -> Path:
    for suffix in (".msh", ".obj", ".ply", ".stl"):
        if found := sorted(folder.glob(f"*{suffix}")):
            return found[0]
    raise InputFileError(f"{folder} lacks the object's mesh; expected one .msh (MuJoCo), .obj, .ply or .stl file in it")


def _pick_object(content: Any, path: Path, config: DexmvConfig) -> Any:
    if not isinstance(content, dict) or not content:
        raise InputFileError(f"{path} holds a {type(content).__name__}, expected a dict from object id to a (3, 4) pose")
    key = config.object_key or (next(iter(content)) if len(content) == 1 else "")
    if key not in content:
        raise InputFileError(
            f"{path} holds the objects {', '.join(map(repr, content))}; choose one of them with object_key (given: {key!r})"
        )
    return content[key]


def _array(value: Any, shape: tuple[int, ...], path: Path) -> FloatArray:
    if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype.kind not in "fiu":
        given = f"shape {value.shape} of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise InputFileError(f"{path} holds {given}, expected numbers of shape {shape}")
    if not np.isfinite(value).all():
        raise InputFileError(f"{path} holds values that are not finite, expected metres; track the frame again")
    return value.astype(np.float64)


def _expect_rotation(rotation: FloatArray, path: Path) -> None:
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 0.05 or np.linalg.det(rotation) < 0:
        raise InputFileError(f"{path} holds a 3x3 part that is no rotation; expected a rigid (3, 4) pose [R | t] in metres")


def _rigid(transform: FloatArray) -> FloatArray:
    """The transform with its rounded rotation made orthonormal."""
    left, _, right = np.linalg.svd(transform[:3, :3])
    rigid = transform.copy()
    rigid[:3, :3] = left @ right
    return rigid
