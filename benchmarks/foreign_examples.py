"""A small example of every foreign layout, and what reads it: to be damaged in tests and in the benchmark of reliability."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.foreign_layouts import (
    IMAGE_SIZE,
    hold_content,
    object_array,
    spider_content,
    tapvid_content,
    tensors,
    truth,
    v2_content,
    wilor_frame,
    write_combined,
    write_hold,
    write_mano,
    write_points,
    write_rgbd,
    write_shape_of_motion,
)
from demos.importers.cotracker import read_cotracker
from demos.importers.hamer import read_hamer
from demos.importers.hold import load_hold
from demos.importers.masks import read_masks
from demos.importers.mcc_ho import read_mcc_ho
from demos.importers.rgbd import read_rgbd
from demos.importers.shape_of_motion import read_shape_of_motion
from demos.importers.spatialtracker import read_spatialtracker
from demos.importers.spatialtracker_v2 import read_spatialtracker_v2, read_spatialtracker_v2_depth
from demos.importers.spider import load_spider, read_spider_robot
from demos.importers.tapir import read_disparity, read_tapir
from demos.importers.tapvid3d import read_tapvid3d
from demos.importers.wilor import read_wilor
from demos.source import load_interaction

FRAMES = 6


def _few(content: dict[str, Any]) -> dict[str, Any]:
    """The first frames and points alone: small files are hit more often where it matters."""
    return {
        name: value[:FRAMES, :9]
        if np.ndim(value) > 1 and len(value) == 35 and np.shape(value)[1] == 128
        else value[:FRAMES]
        if np.ndim(value) and len(value) == 35
        else value[:9]
        if np.ndim(value) and len(value) == 128
        else value
        for name, value in content.items()
    }


def _hamer(folder: Path) -> Path:
    np.savez(folder / "hands.npz", **_few(tensors()))
    return folder / "hands.npz"


def _wilor(folder: Path) -> Path:
    np.save(folder / "hands.npy", object_array([[wilor_frame(t)] for t in range(2)]), allow_pickle=True)
    return folder / "hands.npy"


def _som(folder: Path) -> Path:
    write_shape_of_motion(folder / "work")
    return folder / "work" / "checkpoints" / "last.ckpt"


def _tapir(folder: Path) -> Path:
    for t in range(3):
        np.save(folder / f"0_{t}.npy", np.zeros((4, 4), np.float32))
    return folder / "0_1.npy"


def _disparity(folder: Path) -> Path:
    Image.fromarray(np.full((5, 6), 9000, np.uint16)).save(folder / "0.png")
    return folder / "0.png"


def _cotracker(folder: Path) -> Path:
    np.savez(folder / "t.npz", pred_tracks=np.zeros((1, 3, 4, 2)), pred_visibility=np.ones((1, 3, 4), bool))
    return folder / "t.npz"


def _spatialtracker(folder: Path) -> Path:
    np.save(folder / "a_spatracker_tracks.npy", np.ones((3, 5, 3), np.float32))
    return folder / "a_spatracker_tracks.npy"


def _v2(folder: Path) -> Path:
    np.savez(folder / "result.npz", **_few(v2_content()))
    return folder / "result.npz"


def _tapvid(folder: Path) -> Path:
    content = _few(tapvid_content()) | {"queries_xyt": np.zeros((9, 3))}
    np.savez(folder / "clip.npz", **content)
    return folder / "clip.npz"


def _hold(folder: Path) -> Path:
    write_mano(folder / "mano_right.npz")
    content = hold_content()
    content["entities"]["object"]["object_poses"] = content["entities"]["object"]["object_poses"][:2]
    for name in ("hand_poses", "hand_trans"):
        content["entities"]["right"][name] = content["entities"]["right"][name][:2]
    write_hold(
        folder / "data.npy", content | {"cameras": {f"world_mat_{i}": content["cameras"][f"world_mat_{i}"] for i in (0, 1)}}
    )
    return folder / "data.npy"


def _spider(folder: Path) -> Path:
    np.savez(folder / "trajectory_keypoints.npz", **{name: value[:3] for name, value in spider_content()[0].items()})
    return folder / "trajectory_keypoints.npz"


def _mcc(folder: Path) -> Path:
    write_points(folder / "a1_0.1_obj.obj", np.ones((5, 3)))
    return folder / "a1_0.1_obj.obj"


def _masks(folder: Path) -> Path:
    Image.fromarray(np.eye(7, dtype=np.uint8)).save(folder / "0.png")
    return folder / "0.png"


def _rgbd(folder: Path) -> Path:
    write_rgbd(folder, 1)
    return folder / "depth" / "0.png"


def _camera_matrix(folder: Path) -> Path:
    write_rgbd(folder, 1)
    return folder / "cam_K.txt"


def _combined(folder: Path) -> Path:
    write_combined(folder / "a", {"format": "spatialtracker-v2", "path": "result.npz"})
    np.savez(folder / "a" / "result.npz", **v2_content())
    return folder / "a" / "import.json"


def _all_frames(frames: Any) -> None:
    for frame in range(min(frames.count, 3)):
        frames.read(frame) if hasattr(frames, "read") else frames.read_m(frame)


#: Name, writer of a good example (returns the file to be damaged), reader of that file.
CASES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "hamer": (_hamer, lambda path: read_hamer(path, IMAGE_SIZE, truth().K)),
    "wilor": (_wilor, lambda path: read_wilor(path, IMAGE_SIZE, truth().K)),
    "shape-of-motion": (_som, lambda path: read_shape_of_motion(path, max_points=9)),
    "tapir": (_tapir, lambda path: read_tapir(path.parent)),
    "disparity": (_disparity, lambda path: _all_frames(read_disparity(path.parent))),
    "cotracker": (_cotracker, read_cotracker),
    "spatialtracker": (_spatialtracker, lambda path: read_spatialtracker(path, truth().K, IMAGE_SIZE)),
    "spatialtracker-v2": (_v2, read_spatialtracker_v2),
    "spatialtracker-v2-depth": (_v2, lambda path: _all_frames(read_spatialtracker_v2_depth(path))),
    "tapvid-3d": (_tapvid, read_tapvid3d),
    "hold": (_hold, load_hold),
    "spider": (_spider, load_spider),
    "spider-robot": (_spider, read_spider_robot),
    "mcc-ho": (_mcc, lambda path: read_mcc_ho(path.parent).sampled(4)),
    "masks": (_masks, lambda path: _all_frames(read_masks(path.parent))),
    "rgbd": (_rgbd, lambda path: _all_frames(read_rgbd(path.parent.parent).depth)),
    "camera-matrix": (_camera_matrix, lambda path: read_rgbd(path.parent)),
    "combined": (_combined, load_interaction),
}
