"""Imports HOLD's `data.npy`: MANO parameters of the hands and poses of one rigid object in one camera.

    data.npy   pickled {cameras: {world_mat_{i}: (4, 4) projection}, entities: {
                   right: {hand_poses (T, 48), hand_trans (T, 3), mean_shape (10,)},  (and, or instead, left)
                   object: {obj_scale, pts.cano (N, 3), norm_mat (4, 4), object_poses (T, 6)}}}
    mano_right.npz (mano_left.npz)   beside it: the user's MANO as plain arrays (see `mano`), which turns parameters into joints

Axis-angle, then metres. The pickle is read by the restricted unpickler; `norm_mat` may be a torch tensor in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import rq
from scipy.spatial.transform import Rotation

from demos.camera import transform
from demos.importers.arrays import numbers, read_arrays
from demos.importers.assemble import AssembleConfig, assemble
from demos.importers.mano import Mano
from demos.interaction import FloatArray, HandTrack, Interaction, ObjectTrack
from demos.parts import CameraTrack, image_points
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import sha256_of_files


@dataclasses.dataclass(frozen=True)
class HoldConfig:
    """Options of the importer.

    Attributes:
        side: "right", "left", or "auto" for the right one where both are there.
        fps: frames a second; the layout does not record it.
        mano: the user's MANO; None looks for mano_right.npz or mano_left.npz beside data.npy.
        max_points: so many points of the object are kept at most.
        seed: of their drawing.
        object_name: name in the interaction.
        camera_pitch_deg: how far the camera looks down; it is taken as not rolled.
    """

    side: str = "auto"
    fps: float = 30.0
    mano: Path | None = None
    max_points: int = 256
    seed: int = 0
    object_name: str = "object"
    camera_pitch_deg: float = 25.0


def load_hold(path: Path, config: HoldConfig | None = None) -> Interaction:
    """Imports `data.npy`, or the folder that holds it (also as `build/data.npy`).

    Raises:
        InputFileError: files are missing or damaged, or lack something.
    """
    config = config or HoldConfig()
    file = find_data(path)
    content = _Content.read(file)
    side = content.side(config.side)
    mano = config.mano or file.parent / f"mano_{side}.npz"
    if not mano.is_file():
        raise InputFileError(
            f"no file {mano}: HOLD stores the hand as parameters of MANO, whose licence keeps it out of this project; write"
            " your MANO there as demos/importers/mano.py says"
        )
    camera = content.camera()
    hand = content.hand(side, Mano.load(mano), camera)
    target = content.object(config.max_points, config.seed, camera)
    setting = AssembleConfig(config.fps, config.object_name, camera.K[0], None, config.camera_pitch_deg)
    return assemble(hand, target, setting, 0, sha256_of_files([file]))


def read_hold_object(path: Path, max_points: int = 256, seed: int = 0) -> ObjectTrack:
    """The object alone, in the camera frame; needs no MANO.

    Raises:
        InputFileError: files are missing or damaged, or lack something.
    """
    content = _Content.read(find_data(path))
    return content.object(max_points, seed, content.camera())


def find_data(path: Path) -> Path:
    """The `data.npy` of a folder, or the file itself."""
    if not path.is_dir():
        return path
    inside = path / "build" / "data.npy"
    return inside if inside.is_file() else path / "data.npy"


@dataclasses.dataclass(frozen=True)
class _Content:
    """The parts of the file that are used; frames are those of the object's poses."""

    path: Path
    cameras: Mapping[str, Any]
    entities: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> _Content:
        content = read_arrays(path, ("cameras", "entities"))
        cameras, entities = content["cameras"], content["entities"]
        if not isinstance(cameras, Mapping) or not isinstance(entities, Mapping):
            raise InputFileError(
                f"{path}: cameras and entities are expected to be dicts, as HOLD's build_dataset.py writes them"
            )
        return cls(path, cameras, entities)

    def side(self, wanted: str) -> str:
        """The hand that is read."""
        if wanted not in ("auto", "right", "left"):
            raise OptionError(f"unknown side {wanted!r}, expected one of: auto, right, left")
        present = [name for name in ("right", "left") if name in self.entities]
        if not present or (wanted != "auto" and wanted not in present):
            found = ", ".join(str(name) for name in self.entities) or "nothing"
            raise InputFileError(f"{self.path}: entities lack {'a hand' if wanted == 'auto' else wanted}; found {found}")
        return present[0] if wanted == "auto" else wanted

    def object_poses(self) -> FloatArray:
        """(T, 6): axis-angle and m."""
        return self._numbers("object", "object_poses", (None, 6))

    def camera(self) -> CameraTrack:
        """The cameras of all frames; HOLD's world has y up and its origin near the object."""
        frames = len(self.object_poses())
        K, poses = np.zeros((frames, 3, 3)), np.zeros((frames, 4, 4))
        for frame in range(frames):
            name = f"world_mat_{frame}"
            if name not in self.cameras:
                raise InputFileError(f"{self.path}: cameras lack {name}; expected one for each of the {frames} frames")
            K[frame], T_camera_world = split_projection(numbers(self.cameras[name], (4, 4), name, self.path), name, self.path)
            poses[frame] = np.linalg.inv(T_camera_world)
        return CameraTrack(K, poses)

    def hand(self, side: str, mano: Mano, camera: CameraTrack) -> HandTrack:
        frames = len(camera.K)
        pose = self._numbers(side, "hand_poses", (frames, 48))
        place = self._numbers(side, "hand_trans", (frames, 3))
        shape = self._numbers(side, "mean_shape", (None,))
        keypoints = mano.keypoints_of_pose(pose, shape) + place[:, None]
        points = transform(np.linalg.inv(camera.T_world_camera), keypoints)
        return HandTrack(points, image_points(points, camera.K), np.ones(frames), side, np.zeros(frames, bool))

    def object(self, max_points: int, seed: int, camera: CameraTrack) -> ObjectTrack:
        if max_points < 1:
            raise OptionError(f"max_points is {max_points}, expected at least 1")
        poses = self.object_poses()
        scale = float(np.append(self._numbers("object", "obj_scale", None), np.nan)[0])  # NaN of an empty one fails below
        canonical = self._numbers("object", "pts.cano", (None, 3))
        norm = self._numbers("object", "norm_mat", (4, 4))
        if len(canonical) == 0 or not scale > 0 or abs(np.linalg.det(norm)) < 1e-12:
            raise InputFileError(f"{self.path}: object has no points, no positive obj_scale or a singular norm_mat")
        kept = np.sort(np.random.default_rng(seed).permutation(len(canonical))[:max_points])
        surface: FloatArray = scale * transform(np.linalg.inv(norm), canonical)  # m, in the frame that the poses move
        middle = surface.min(axis=0) + 0.5 * np.ptp(surface, axis=0)
        T_world_object = np.tile(np.eye(4), (len(poses), 1, 1))
        T_world_object[:, :3, :3] = Rotation.from_rotvec(poses[:, :3]).as_matrix()
        T_world_object[:, :3, 3] = poses[:, 3:] + T_world_object[:, :3, :3] @ middle
        T_camera_object = np.linalg.inv(camera.T_world_camera) @ T_world_object
        local = np.subtract(surface[kept], middle)
        points = transform(T_camera_object, np.broadcast_to(local, (len(poses), *local.shape)))
        seen = np.ones(points.shape[:2], bool)  # of the whole surface: HOLD does not say what faces the camera
        return ObjectTrack(points, image_points(points, camera.K), seen, T_camera_object, np.zeros(len(poses)))

    def _numbers(self, entity: str, name: str, shape: tuple[int | None, ...] | None) -> FloatArray:
        part = self.entities.get(entity)
        if not isinstance(part, Mapping) or name not in part:
            found = ", ".join(str(key) for key in part) if isinstance(part, Mapping) else "nothing"
            raise InputFileError(f"{self.path}: entities[{entity!r}] lacks {name}; found {found}")
        value = part[name]
        return numbers(value, shape, f"{entity}.{name}", self.path)


def split_projection(P: FloatArray, name: str, path: Path) -> tuple[FloatArray, FloatArray]:
    """Camera matrix (3, 3) px and `T_camera_world` (4, 4) of a projection (4, 4) = [K | 0] T_camera_world.

    Raises:
        InputFileError: it is no projection.
    """
    if abs(np.linalg.det(P[:3, :3])) < 1e-12:
        raise InputFileError(f"{path}: {name} is singular, expected the projection of a camera")
    K, rotation = (np.asarray(part, np.float64) for part in rq(P[:3, :3]))
    signs = np.diag(np.sign(np.diag(K)))  # focal lengths are positive
    K, rotation = K @ signs, signs @ rotation
    if np.linalg.det(rotation) < 0:  # a projection holds up to its sign
        rotation, P = -1.0 * rotation, -1.0 * P
    T_camera_world = np.eye(4)
    T_camera_world[:3, :3] = rotation
    T_camera_world[:3, 3] = np.linalg.solve(K, P[:3, 3])
    return K / K[2, 2], T_camera_world
