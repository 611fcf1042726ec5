"""Files in the layouts of other projects, made from the shipped sample, so that what is read from them is known."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from demos.camera import project, transform
from demos.importers.mano import JOINTS, PARENTS, TIP_VERTICES, VERTICES, Mano
from demos.interaction import FINGERTIPS, FloatArray, Interaction
from demos.parts import (
    CameraTrack,
    object_track,
)
from demos.source import load_interaction, shipped_sample

IMAGE_SIZE = (640, 360)


@dataclasses.dataclass(frozen=True)
class Truth:
    """The shipped synthetic pick-and-place, every fourth frame, as its camera sees it."""

    K: FloatArray
    T_world_camera: FloatArray
    hand: FloatArray  # (T, 21, 3) m
    hand_pixels: FloatArray  # (T, 21, 2)
    points: FloatArray  # (T, P, 3) m
    pixels: FloatArray  # (T, P, 2)
    pose: FloatArray  # (T, 4, 4) T_camera_object

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.hand)


@functools.cache
def truth() -> Truth:
    """The shipped recording."""
    interaction = load_interaction(shipped_sample())
    with np.load(shipped_sample() / "truth.npz") as archive:
        hand, pose, local = (
            archive[name][::4] if name != "object_points_object" else archive[name]
            for name in ("hand_keypoints_world", "T_world_bottle", "object_points_object")
        )
    T_camera_world = np.linalg.inv(interaction.T_world_camera)
    hand_camera = transform(T_camera_world, hand)
    pose_camera = T_camera_world @ pose
    points = transform(pose_camera, np.broadcast_to(local, (len(pose), *local.shape)))
    K = interaction.K
    return Truth(K, interaction.T_world_camera, hand_camera, project(hand_camera, K), points, project(points, K), pose_camera)


FOCAL = 5000 / 256 * 640  # what the networks assume for this picture
MIRROR = np.array([-1.0, 1.0, 1.0])


def network_view(left: bool = False) -> tuple[FloatArray, FloatArray]:
    """What a network would say of the true hand: key points (T, 21, 3) about its origin, place (T, 3) at its focal length.

    A left hand is the true one seen in a mirror; its key points are those of a right hand.
    """
    seen = truth()
    origin = seen.hand.mean(axis=1)
    local, place = seen.hand - origin[:, None], origin * [1.0, 1.0, FOCAL / seen.K[0, 0]]
    return (local, place * MIRROR) if left else (local, place)


def tensors(left: bool = False) -> dict[str, Any]:
    """What HaMeR gives for a clip, by name."""
    local, place = network_view(left)
    frames = len(local)
    return {
        "pred_keypoints_3d": local.astype(np.float32),
        "pred_cam_t_full": place.astype(np.float32),
        "right": np.full(frames, 0.0 if left else 1.0, np.float32),
        "pred_mano_params": np.zeros(3),
    }


def wilor_frame(t: int, left: bool = False) -> dict[str, Any]:
    """One detection as the pipeline returns it: a left hand is mirrored already."""
    local, place = network_view(left)
    keypoints = (local[t] * (MIRROR if left else 1.0))[None].astype(np.float32)
    seen = keypoints + place[t]
    return {
        "hand_bbox": [1.0, 2.0, 3.0, 4.0],
        "is_right": 0.0 if left else 1.0,
        "wilor_preds": {
            "global_orient": np.zeros((1, 1, 3), np.float32),
            "hand_pose": np.zeros((1, 15, 3), np.float32),
            "betas": np.zeros((1, 10), np.float32),
            "pred_cam": np.zeros((1, 3), np.float32),
            "pred_keypoints_3d": keypoints,
            "pred_vertices": np.zeros((1, 778, 3), np.float32),
            "pred_cam_t_full": place[t : t + 1],
            "scaled_focal_length": FOCAL,
            "pred_keypoints_2d": FOCAL * seen[..., :2] / seen[..., 2:] + np.array(IMAGE_SIZE) / 2,
        },
    }


def object_array(value: list[Any]) -> np.ndarray:
    """An array of Python objects, as numpy would pickle it."""
    array = np.empty(len(value), dtype=object)
    array[:] = value
    return array


def write_mano(path: Path) -> Mano:
    """A made-up hand in MANO's layout: 16 joints in a rough hand's places, vertices around them."""
    rng = np.random.default_rng(0)
    joints = np.zeros((JOINTS, 3))
    joints[0] = [0.095, 0.006, 0.006]
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            finger = (joint - 1) // 3
            step = [-0.09, 0.0, 0.03 - 0.02 * finger] if parent == 0 else [-0.03, 0.0, 0.0]
            joints[joint] = joints[parent] + (step if finger < 4 or parent else [-0.02, -0.02, 0.04])
    owner = rng.integers(0, JOINTS, VERTICES)
    owner[list(TIP_VERTICES)] = [15, 3, 6, 12, 9]
    template = joints[owner] + rng.normal(0, 0.006, (VERTICES, 3))
    template[list(TIP_VERTICES)] = joints[[15, 3, 6, 12, 9]] + [-0.025, 0, 0]
    regressor = np.zeros((JOINTS, VERTICES))
    for joint in range(JOINTS):
        mine = np.flatnonzero(owner == joint)
        regressor[joint, mine] = 1.0 / len(mine)
    weights = np.zeros((VERTICES, JOINTS))
    weights[np.arange(VERTICES), owner] = 0.9
    weights[np.arange(VERTICES), np.maximum(np.array(PARENTS)[owner], 0)] += 0.1
    arrays = {
        "J_regressor": regressor,
        "v_template": template,
        "shapedirs": rng.normal(0, 0.001, (VERTICES, 3, 10)),
        "posedirs": rng.normal(0, 0.001, (VERTICES, 3, 135)),
        "weights": weights,
        "hands_mean": rng.normal(0, 0.1, 45),
    }
    np.savez(path, **arrays)
    return Mano.load(path)


T, P = 35, 128


def a_camera() -> FloatArray:
    """`T_camera_world` (4, 4) of some tracker's own world."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [0.4, -0.3, 0.9]).as_matrix()
    pose[:3, 3] = [0.3, -0.1, 1.5]
    return pose


def six(rotation: FloatArray) -> FloatArray:
    """First two columns of rotations (..., 3, 3) as (..., 6)."""
    return np.concatenate([rotation[..., 0], rotation[..., 1]], axis=-1)


def write_shape_of_motion(folder: Path, normalised: bool = True, **change: Any) -> None:
    """The true bottle as a scene of two bases, of which each Gaussian follows one, seen by a moving camera."""
    folder.mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    scale, T_norm_world = (2.5, a_camera()) if normalised else (1.0, np.eye(4))
    camera = moving_camera()
    world = transform(camera.T_world_camera, truth().points)  # (T, P, 3) m
    points = transform(T_norm_world, world.reshape(-1, 3)).reshape(world.shape) / scale
    T_first = object_track(points, np.ones((T, P), bool), np.zeros((T, P, 2)))  # rigid motion in the normalised world
    poses = T_first.pose_camera
    local = transform(np.linalg.inv(poses[0]), points[0])
    T_cam_norm = np.linalg.inv(camera.T_world_camera) @ np.linalg.inv(T_norm_world)
    T_cam_norm[:, :3, 3] /= scale
    rng = np.random.default_rng(0)
    faint = rng.normal(0, 3, (40, 3))
    model = {
        "fg.params.means": np.concatenate([local, faint]),
        "fg.params.quats": np.tile([1.0, 0, 0, 0], (P + 40, 1)),
        "fg.params.scales": np.full((P + 40, 3), -4.0),
        "fg.params.colors": np.zeros((P + 40, 3)),
        "fg.params.opacities": np.concatenate([np.full(P, 3.0), np.full(40, -3.0)]),
        "fg.params.motion_coefs": np.tile([30.0, -30.0], (P + 40, 1)),
        "motion_bases.params.rots": np.stack([six(poses[:, :3, :3]), rng.normal(size=(T, 6))]),
        "motion_bases.params.transls": np.stack([poses[:, :3, 3], rng.normal(size=(T, 3))]),
        "Ks": np.tile(truth().K, (T, 1, 1)),
        "w2cs": T_cam_norm,
        "bg.params.means": np.zeros((7, 3)),
    }
    model = {name: value for name, value in (model | change).items() if value is not None}
    tensors = {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in model.items()}
    state = {
        "model": tensors,
        "optimizers": {"fg.params.means": {"state": {}, "param_groups": []}},
        "global_step": 5,
        "epoch": 1,
    }
    torch.save(state, folder / "checkpoints" / "last.ckpt")
    if normalised:
        (folder / "cache").mkdir()
        torch.save(
            {"scale": scale, "transfm": torch.from_numpy(T_norm_world).float()}, folder / "cache" / "scene_norm_dict.pth"
        )


def moving_camera() -> CameraTrack:
    """A camera that drifts by 3 cm and turns by 3 degrees."""
    share = np.linspace(0, 1, T)
    poses = np.tile(np.eye(4), (T, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.radians(3) * share[:, None] * [0.0, 1.0, 0.0]).as_matrix()
    poses[:, 0, 3] = 0.03 * share
    return CameraTrack(np.tile(truth().K, (T, 1, 1)), np.linalg.inv(a_camera()) @ poses)


def v2_content(**change: Any) -> dict[str, Any]:
    """A result of SpatialTracker v2; None in `change` leaves an entry out."""
    camera = moving_camera()
    visible = np.random.default_rng(1).random((T, P, 1))
    depths = np.full((T, 12, 16), 1.2, np.float32)
    depths[:, 0, 0] = 0
    content = {
        "coords": transform(camera.T_world_camera, truth().points).astype(np.float32),
        "extrinsics": np.linalg.inv(camera.T_world_camera).astype(np.float32),
        "intrinsics": camera.K.astype(np.float32),
        "depths": depths,
        "video": np.zeros((T, 3, 12, 16), np.float32),
        "visibs": visible.astype(np.float32),
        "unc_metric": np.ones((T, 12, 16), np.float32),
    }
    return {name: value for name, value in (content | change).items() if value is not None}


def tapvid_content(**change: Any) -> dict[str, Any]:
    """A clip of TAPVid-3D; None in `change` leaves an entry out."""
    K = truth().K
    content = {
        "images_jpeg_bytes": np.array([b"jpeg"] * T, dtype=object),
        "intrinsics": np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]]),
        "tracks_XYZ": truth().points.astype(np.float32),
        "visibility": np.random.default_rng(2).random((T, P)) > 0.2,
        "queries_xyt": np.column_stack([truth().pixels[3], np.full(P, 3)]),
    }
    return {name: value for name, value in (content | change).items() if value is not None}


def write_rgbd(folder: Path, frames: int = 3) -> FloatArray:
    """Writes pictures, depth in mm and the camera matrix; returns the depth of the first, m."""
    (folder / "depth").mkdir(parents=True)
    (folder / "rgb").mkdir()
    (folder / "cam_K.txt").write_text("\n".join(" ".join(f"{x:.6f}" for x in row) for row in truth().K))
    depth = np.linspace(0.4, 3.0, 36 * 64).reshape(36, 64)
    depth[0, :5] = 0
    for t in range(frames):
        Image.fromarray(np.round(depth * 1000 + t).astype(np.uint16)).save(folder / "depth" / f"{t}.png")
        Image.fromarray(np.zeros((36, 64, 3), np.uint8)).save(folder / "rgb" / f"{t}.jpg")
    return depth


def hold_content(**change: Any) -> dict[str, Any]:
    """The true bottle and MANO parameters as HOLD stores them: y up, everything shifted, one camera."""
    shift = np.array([-0.0085238, -0.01372686, 0.42570806])
    T_camera_world = np.diag([1.0, -1.0, -1.0, 1.0])
    T_camera_world[:3, 3] = -T_camera_world[:3, :3] @ shift
    K = np.eye(4)
    K[:3, :3] = truth().K
    projection = K @ T_camera_world
    poses = np.linalg.inv(T_camera_world) @ truth().pose
    norm = np.diag([4.0, 4.0, 4.0, 1.0])
    norm[:3, 3] = [0.2, -0.1, 0.3]
    scale = 0.31
    local = bottle_points()
    rng = np.random.default_rng(0)
    entities = {
        "right": {
            "hand_poses": rng.normal(0, 0.3, (T, 48)).astype(np.float32),
            "hand_trans": (truth().hand[:, 0] @ T_camera_world[:3, :3] + shift).astype(np.float32),
            "mean_shape": rng.normal(0, 1, 10),
        },
        "object": {
            "obj_scale": scale,
            "pts.cano": transform(norm, local / scale),
            "norm_mat": torch.from_numpy(norm).float(),
            "object_poses": np.concatenate([Rotation.from_matrix(poses[:, :3, :3]).as_rotvec(), poses[:, :3, 3]], axis=1),
        },
    }
    content = {
        "seq_name": "hold_bottle1_itw",
        "cameras": {f"{kind}_{i}": m for i in range(T) for kind, m in (("scale_mat", np.eye(4)), ("world_mat", projection))},
        "scene_bounding_sphere": 6.0,
        "entities": entities,
        "normalize_shift": shift,
    }
    return content | change


def bottle_points() -> FloatArray:
    """(128, 3) m in the bottle's frame."""
    return transform(np.linalg.inv(truth().pose[0]), truth().points[0])


def write_hold(path: Path, content: dict[str, Any]) -> None:
    """Writes a result of HOLD, a pickled dictionary as HOLD itself does."""
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


def spider_content() -> tuple[dict[str, np.ndarray], Interaction]:
    """The shipped sample in SPIDER's layout: two hands, of which the left one is a filler."""
    sample = load_interaction(shipped_sample())
    frames = sample.num_frames
    hand, pose = sample.hand_keypoints_world, sample.object_pose_world

    def row(place: FloatArray, turn: FloatArray) -> FloatArray:
        return np.concatenate([place, Rotation.from_matrix(turn).as_quat()[:, [3, 0, 1, 2]]], axis=1)

    unit = np.tile(np.eye(3), (frames, 1, 1))
    filler = np.tile([0.0, 0, 0, 1, 0, 0, 0], (frames, 1))
    fingers = np.stack([row(hand[:, tip], unit) for tip in FINGERTIPS], axis=1)
    contact = np.repeat(sample.contact[:, None], 5, axis=1).astype(np.float64)
    content = {
        "qpos_wrist_right": row(hand[:, 0], unit),
        "qpos_finger_right": fingers,
        "qpos_obj_right": row(pose[:, :3, 3], pose[:, :3, :3]),
        "qpos_wrist_left": filler,
        "qpos_finger_left": np.repeat(filler[:, None], 5, axis=1),
        "qpos_obj_left": filler,
        "contact_right": contact,
        "contact_pos_right": np.zeros((frames, 5, 3)),
    }
    return content, sample


def write_points(path: Path, points: FloatArray) -> None:
    """As MCC-HO writes them: `v x y z r g b`, nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"v {x:f} {y:f} {z:f} 0.500000 0.400000 0.300000\n" for x, y, z in points))


def write_combined(folder: Path, target: dict[str, Any], **change: Any) -> None:
    """A folder with HaMeR's hands and an `import.json`."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / "hands.npz", **tensors())
    K = truth().K
    setting = {
        "fps": 20,
        "image_size": list(IMAGE_SIZE),
        "intrinsics": [K[0, 0], K[1, 1], K[0, 2], K[1, 2]],
        "hand": {"format": "hamer", "path": "hands.npz"},
        "object": target,
        "object_name": "bottle",
        "T_world_camera": truth().T_world_camera.tolist(),
    }
    setting = {name: value for name, value in (setting | change).items() if value is not None}
    (folder / "import.json").write_text(json.dumps(setting))
