"""Damaged files of every foreign layout: whatever is wrong with the bytes, the answer is one of our errors, never a crash."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_importers_combined import write_combined
from test_importers_hands import object_array, tensors, wilor_frame
from test_importers_mano import write_mano
from test_importers_pictures import write_rgbd
from test_importers_tracks import tapvid_content, v2_content, write_shape_of_motion
from test_importers_truth import IMAGE_SIZE, truth
from test_importers_whole import hold_content, spider_content, write_hold, write_points

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
from dexvid_envs.errors import DexVidError

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


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One good example of each layout."""
    return {name: write(tmp_path_factory.mktemp(name)) for name, (write, _) in CASES.items()}


@pytest.mark.parametrize("name", [name for name in CASES if name != "spider-robot"])
def test_the_examples_are_good(name: str, examples: dict[str, Path]) -> None:
    CASES[name][1](examples[name])


@pytest.mark.filterwarnings("ignore")  # of numpy and Pillow about hostile headers and absurd numbers
@pytest.mark.parametrize("name", list(CASES))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_our_errors(name: str, examples: dict[str, Path], data: st.DataObject) -> None:
    path = examples[name]
    good = path.read_bytes()
    content = bytearray(good[: data.draw(st.integers(0, len(good)))] if data.draw(st.booleans()) else good)
    for _ in range(data.draw(st.integers(0, 6)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        with contextlib.suppress(DexVidError):
            CASES[name][1](path)
    finally:
        path.write_bytes(good)


_SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
_ARRAYS = st.builds(
    lambda shape, kind, value: np.full(shape, value).astype(kind),
    _SHAPES,
    st.sampled_from(["f8", "f4", "i8", "u1", "?"]),
    st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf, 1e300, 1e-300]),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["hamer", "cotracker", "spatialtracker-v2", "spatialtracker-v2-depth", "tapvid-3d", "spider", "spider-robot"]
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_arrays_of_any_shape_and_value_give_our_errors(name: str, tmp_path: Path, data: st.DataObject) -> None:
    """Well-formed files with absurd content: empty, of other shapes and kinds, NaN, huge, tiny."""
    path = CASES[name][0](tmp_path)
    with np.load(path, allow_pickle=True) as archive:
        content = {key: archive[key] for key in archive.files if archive[key].dtype != object}
    for key in data.draw(st.lists(st.sampled_from(sorted(content)), min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            content[key] = data.draw(_ARRAYS)
        else:  # the right shape with absurd numbers
            content[key] = np.full(content[key].shape, data.draw(st.sampled_from([0.0, -1.0, np.nan, np.inf, 1e300, 1e-300])))
    np.savez(path, **content)
    with contextlib.suppress(DexVidError):
        CASES[name][1](path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_descriptions_of_any_content_give_our_errors(examples: dict[str, Path], data: st.DataObject) -> None:
    path = examples["combined"]
    good = path.read_bytes()
    setting = json.loads(good)
    keys = [*setting, "mask", "depth", "first_frame", "num_frames", "camera_pitch_deg", "max_points", "scale"]
    for key in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2)):
        target = setting["object"] if key == "scale" and isinstance(setting.get("object"), dict) else setting
        target[key] = data.draw(_JSON)
    path.write_text(json.dumps(setting))
    try:
        with contextlib.suppress(DexVidError):
            load_interaction(path)
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("path", ["none/none", "empty", "empty/none"])
def test_missing_paths_give_our_errors(name: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DexVidError):
        CASES[name][1](tmp_path / path)
