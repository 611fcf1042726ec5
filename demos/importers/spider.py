"""Imports SPIDER's trajectories: wrist, fingertips and object in a world with z up.

    trajectory_keypoints.npz or trajectory_kinematic.npz, one of two kinds:
      before IK   qpos_wrist_{side} (T, 7), qpos_finger_{side} (T, 5, 7), qpos_obj_{side} (T, 7): m and quaternion wxyz
      after IK    qpos (T, nq), qvel, contact, contact_pos, frequency: of one robot hand, which is no human hand any more

Names vary between versions, so they are matched by their parts. Between wrist and fingertips the layout holds no joints: these
are placed on the straight line between them, for drawing; retargeting uses wrist and fingertips alone.
"""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from demos.importers import mesh_files
from demos.importers.arrays import numbers, read_arrays
from demos.importers.assemble import KEYPOINT_NAMES, find_contact_m
from demos.interaction import FINGERTIPS, FloatArray, Interaction
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import sha256_of_files

FILE_NAMES = ("trajectory_keypoints.npz", "trajectory_kinematic.npz")
#: Words that stand for the same thing in the names of the arrays.
_WORDS = {
    "wrist": {"wrist", "palm"},
    "finger": {"finger", "fingers", "fingertip", "fingertips", "tip", "tips"},
    "obj": {"obj", "object"},
    "contact": {"contact"},
}
#: Where the joints between are drawn, as parts of the way from the wrist to the tip.
_JOINT_SHARES = (0.5, 0.7, 0.85, 1.0)
_UNIT_TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class SpiderConfig:
    """Options of the importer.

    Attributes:
        side: "right", "left", or "auto" for the hand that moves more.
        fps: frames a second; None takes the file's `frequency`, or 50 (SPIDER's reference step of 0.02 s).
        mesh: the object's mesh in the object's frame, for its points; None looks for visual.obj beside the file.
        surface_points: points drawn from the mesh; without one the frame's origin is the only point.
        seed: of their drawing.
        object_name: name in the interaction.
    """

    side: str = "auto"
    fps: float | None = None
    mesh: Path | None = None
    surface_points: int = 256
    seed: int = 0
    object_name: str = "object"


@dataclasses.dataclass(frozen=True)
class SpiderRobotMotion:
    """A trajectory after IK: of some robot hand, so no interaction of a human hand.

    Attributes:
        qpos: (T, nq), of the scene's robot and then its objects, 7 each.
        qvel: (T, nv), or None.
        contact: (T, C), or None.
        object_pose_world: (T, 4, 4), by the last seven numbers of qpos.
        fps: frames a second, or None.
    """

    qpos: FloatArray
    qvel: FloatArray | None
    contact: FloatArray | None
    object_pose_world: FloatArray
    fps: float | None


def load_spider(path: Path, config: SpiderConfig | None = None) -> Interaction:
    """Imports a trajectory before IK.

    Args:
        path: the file, or the folder that holds it.
        config: options.

    Raises:
        InputFileError: the file is missing, damaged, after IK, or lacks wrist, fingers or object.
    """
    config = config or SpiderConfig()
    file = find_trajectory(path)
    names = _names(file)
    side = _side(file, names, config.side)
    wrist = poses(_array(file, names, ("wrist", side), (None, 7)), f"wrist of the {side} hand", file)
    frames = len(wrist)
    tips = _fingertips(file, names, side, frames)
    T_world_object = _object(file, names, side, frames)
    hand = np.zeros((frames, 21, 3))
    hand[:, 0] = wrist[:, :3, 3]
    for finger in range(5):
        for part, share in enumerate(_JOINT_SHARES):
            hand[:, 1 + 4 * finger + part] = hand[:, 0] + share * (tips[:, finger] - hand[:, 0])
    local = _object_points(file, config)
    points = np.einsum("tij,pj->tpi", T_world_object[:, :3, :3], local) + T_world_object[:, None, :3, 3]
    visible = np.ones(points.shape[:2], bool)
    keypoints = np.concatenate([hand[:, [0, *FINGERTIPS]], T_world_object[:, None, :3, 3]], axis=1)
    return Interaction(
        fps=_fps(file, names, config),
        hand_keypoints_world=hand,
        hand_confidence=np.ones(frames),
        hand_side=side,
        object_names=(config.object_name,),
        object_points_world=points,
        object_visible=visible,
        object_pose_world=T_world_object,
        keypoints_world=keypoints,
        keypoint_visible=np.ones(keypoints.shape[:2], bool),
        keypoint_names=KEYPOINT_NAMES,
        contact=_contact(file, names, side, frames, hand, points),
        flagged=np.zeros(frames, bool),
        frame_index=np.arange(frames, dtype=np.int64),
        K=np.full((3, 3), np.nan),
        T_world_camera=np.full((4, 4), np.nan),
        source_sha256=sha256_of_files([file]),
    )


def read_spider_robot(path: Path) -> SpiderRobotMotion:
    """Reads a trajectory after IK.

    Raises:
        InputFileError: the file is missing or damaged, or lacks qpos.
    """
    file = find_trajectory(path)
    content = read_arrays(file, ("qpos",), ("qvel", "contact", "frequency"))
    qpos = numbers(content["qpos"], (None, None), "qpos", file)
    frames = len(qpos)
    if qpos.shape[1] < 7:
        raise InputFileError(f"{file}: qpos has shape {qpos.shape}, expected a robot and an object's seven numbers at the end")
    qvel, contact = (
        numbers(content[name], (frames, None), name, file) if name in content else None for name in ("qvel", "contact")
    )
    fps = (
        float(numbers(np.reshape(content["frequency"], -1)[:1], (1,), "frequency", file)[0]) if "frequency" in content else None
    )
    return SpiderRobotMotion(qpos, qvel, contact, poses(qpos[:, -7:], "the object in qpos", file), fps)


def find_trajectory(path: Path) -> Path:
    """The trajectory in a folder, or the file itself.

    Raises:
        InputFileError: there is none.
    """
    if not path.is_dir():
        return path
    for name in FILE_NAMES:
        if (path / name).is_file():
            return path / name
    found = sorted(path.glob("trajectory*.npz"))
    if not found:
        raise InputFileError(f"{path} holds no {' or '.join(FILE_NAMES)}; expected SPIDER's output, or name the file itself")
    return found[0]


def poses(values: FloatArray, name: str, path: Path) -> FloatArray:
    """Poses (T, 4, 4) of (T, 7) = m and quaternion wxyz.

    Raises:
        InputFileError: the quaternions are not of length 1.
    """
    length = np.linalg.norm(values[:, 3:], axis=1)
    if (np.abs(length - 1.0) > _UNIT_TOLERANCE).any():
        frame = int(np.argmax(np.abs(length - 1.0)))
        raise InputFileError(
            f"{path}: {name} has a quaternion of length {length[frame]:.3g} in frame {frame}, expected 1 (m, then w, x, y, z)"
        )
    result = np.tile(np.eye(4), (len(values), 1, 1))
    if len(values):
        result[:, :3, :3] = Rotation.from_quat(values[:, [4, 5, 6, 3]]).as_matrix()
    result[:, :3, 3] = values[:, :3]
    return result


def _names(file: Path) -> list[str]:
    """The names of the arrays in the file, which are not read yet."""
    read_arrays(file, ())  # says what is wrong with a file that is missing or damaged
    if file.suffix != ".npz":
        raise InputFileError(f"{file} is expected to be an .npz, one of {', '.join(FILE_NAMES)}")
    with zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _match(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """The name whose words hold all that are wanted; the shortest of several."""
    found = [name for name in names if all(_WORDS.get(word, {word}) & set(name.lower().split("_")) for word in wanted)]
    return min(found, key=len) if found else None


def _array(file: Path, names: list[str], wanted: tuple[str, ...], shape: tuple[int | None, ...]) -> FloatArray:
    name = _match(names, wanted)
    if name is None:
        if "qpos" in names:
            raise InputFileError(
                f"{file} holds the motion of a robot hand after IK (qpos), not of a human hand; give trajectory_keypoints.npz,"
                " which is written before IK, or read this one with read_spider_robot"
            )
        raise InputFileError(
            f"{file} lacks qpos_{'_'.join(wanted)}; expected qpos_wrist_*, qpos_finger_* and qpos_obj_*, found"
            f" {', '.join(names[:12]) or 'nothing'}"
        )
    return numbers(read_arrays(file, (name,))[name], shape, name, file)


def _side(file: Path, names: list[str], wanted: str) -> str:
    if wanted in ("right", "left"):
        return wanted
    if wanted != "auto":
        raise OptionError(f"unknown side {wanted!r}, expected one of: auto, right, left")
    present = [side for side in ("right", "left") if _match(names, ("wrist", side)) is not None]
    if len(present) < 2:
        return present[0] if present else "right"
    travel = [np.ptp(_array(file, names, ("wrist", side), (None, 7))[:, :3], axis=0).sum() for side in present]
    return present[int(np.argmax(travel))]


def _fingertips(file: Path, names: list[str], side: str, frames: int) -> FloatArray:
    """(T, 5, 3) m: thumb, index, middle, ring, little."""
    name = _match(names, ("finger", side))
    if name is None:
        return _array(file, names, ("finger", side), (None, 5, 7))  # says what is missing
    value = np.asarray(read_arrays(file, (name,))[name])
    return numbers(value, (frames, 5, 3 if value.shape[-1:] == (3,) else 7), name, file)[..., :3]


def _object(file: Path, names: list[str], side: str, frames: int) -> FloatArray:
    """Poses (T, 4, 4) of the object of this hand; where its place is a filler, of the other hand's."""
    other = "left" if side == "right" else "right"
    for owner in (side, other):
        if _match(names, ("obj", owner)) is not None:
            value = _array(file, names, ("obj", owner), (frames, 7))
            if np.abs(value[:, :3]).max(initial=0.0) > 0:
                return poses(value, f"object of the {owner} hand", file)
    value = _array(file, [name for name in names if "qpos" in name], ("obj",), (frames, 7))
    return poses(value, "object", file)


def _object_points(file: Path, config: SpiderConfig) -> FloatArray:
    mesh = config.mesh or next(
        (path for path in (file.parent / "visual.obj", file.parent.parent / "visual.obj") if path.is_file()), None
    )
    if mesh is None:
        return np.zeros((1, 3))
    return mesh_files.sample_surface(mesh_files.load_mesh(mesh), config.surface_points, config.seed)


def _contact(file: Path, names: list[str], side: str, frames: int, hand: FloatArray, points: FloatArray) -> np.ndarray:
    """(T,) by the file's own flags of the fingers where it has them, else by distance, which without a mesh sees little."""
    name = _match([name for name in names if "pos" not in name], ("contact", side))
    if name is None:
        return find_contact_m(hand, points, np.ones(points.shape[:2], bool))
    return (numbers(read_arrays(file, (name,))[name], (frames, None), name, file) > 0.5).any(axis=1)


def _fps(file: Path, names: list[str], config: SpiderConfig) -> float:
    if config.fps is not None:
        return config.fps
    if "frequency" not in names:
        return 50.0
    return float(numbers(np.reshape(read_arrays(file, ("frequency",))["frequency"], -1)[:1], (1,), "frequency", file)[0])
