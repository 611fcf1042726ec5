"""Reading arrays by name: sizes are known before anything is allocated, and messages name file, entry and shape."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demos.importers import arrays, pictures
from demos.importers.arrays import intrinsics, last_number, natural_key, numbered_files, numbers, read_array, read_arrays, rigid
from demos.importers.mesh_files import load_vertices
from dexvid_envs.errors import InputFileError

HERE = Path("file.npz")


def test_a_compressed_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, a=np.zeros(200_000), b=np.arange(3))
    assert path.stat().st_size < 3000
    monkeypatch.setattr(arrays, "MAX_ARRAY_BYTES", 1_000_000)
    with pytest.raises(InputFileError, match=r"bomb\.npz: a has 1600128 bytes, more than the 1000000"):
        read_arrays(path, ("a",))
    np.testing.assert_array_equal(read_arrays(path, ("b",))["b"], [0, 1, 2])  # what nobody asked for is not read


def test_a_header_cannot_ask_for_memory(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", a=np.zeros(8))
    with zipfile.ZipFile(tmp_path / "good.npz") as archive:
        content = archive.read("a.npy").replace(b"'shape': (8,), }          ", b"'shape': (9999999999,), }")
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(InputFileError, match=r"bad\.npz"):
        read_arrays(tmp_path / "bad.npz", ("a",))


def test_pictures_and_point_files_have_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 500)
    with pytest.raises(InputFileError, match="30x20 px, more than the 500"):
        pictures.read_picture(tmp_path / "a.png")
    monkeypatch.setattr("demos.importers.mesh_files._MAX_OBJ_BYTES", 10)
    (tmp_path / "a.obj").write_text("v 1 2 3\nv 1 2 3\n")
    with pytest.raises(InputFileError, match="16 bytes, more than the 10"):
        load_vertices(tmp_path / "a.obj")


@pytest.mark.parametrize(
    ("value", "shape", "message"),
    [
        ("text", (3,), r"x is a str, expected numbers of shape \(3,\)"),
        (np.array(["a"]), (1,), "x is an array of <U1"),
        ([[1], [2, 3]], None, "x is uneven"),
        (np.zeros((2, 3)), (None, 4), r"x has shape \(2, 3\), expected \(any, 4\)"),
        (np.array([np.inf]), (1,), "x holds values that are not finite"),
        (np.array([1e13]), (1,), "x holds values that are not finite or beyond"),
    ],
)
def test_wrong_numbers_are_named(value: Any, shape: Any, message: str) -> None:
    with pytest.raises(InputFileError, match=rf"file\.npz: {message}"):
        numbers(value, shape, "x", HERE)


def test_numbers_rigid_and_intrinsics() -> None:
    np.testing.assert_array_equal(numbers([1, np.nan, 1e13], (3,), "x", HERE, finite=False), [1, np.nan, np.nan])
    assert numbers(True, (), "x", HERE) == 1
    pose = np.eye(4)[None, :3] + 1e-3
    back = rigid(pose, "x", HERE)
    np.testing.assert_allclose(back[0, :3, :3] @ back[0, :3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(back[0, 3], [0, 0, 0, 1])
    for bad in (np.zeros((4, 4)), np.diag([1.0, 1, -1, 1]), 2 * np.eye(4)):
        with pytest.raises(InputFileError, match="no rotation"):
            rigid(bad, "x", HERE)
    with pytest.raises(InputFileError, match=r"expected \(\.\.\., 4, 4\)"):
        rigid(np.eye(3), "x", HERE)
    K = intrinsics([500, 510, 320, 180], "x", HERE)
    np.testing.assert_array_equal(K, [[500, 0, 320], [0, 510, 180], [0, 0, 1]])
    np.testing.assert_array_equal(intrinsics(K, "x", HERE), K)


def test_numbers_in_names_sort_by_value(tmp_path: Path) -> None:
    for name in ("f10.png", "f2.png", "f1.PNG", ".f0.png", "f3.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in numbered_files(tmp_path, (".png",))] == ["f1.PNG", "f2.png", "f10.png"]
    assert sorted(["b1", "a10", "a9", "1", ""], key=natural_key) == ["", "a9", "a10", "b1", "1"]
    assert [last_number(text) for text in ("frame000084", "a1_b2", "none", "9" * 20)] == [84, 2, None, None]


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    with pytest.raises(InputFileError, match=r"holds an array of shape \(2, 2\), expected a dict with b"):
        read_arrays(tmp_path / "a.npy", ("b",))
    np.save(tmp_path / "d.npy", np.array({"c": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(InputFileError, match="holds a dict, expected an array"):
        read_array(tmp_path / "d.npy")
    with pytest.raises(InputFileError, match=r"d\.npy lacks b; expected b, found c"):
        read_arrays(tmp_path / "d.npy", ("b",))
