"""The reader of torch's files: tensors come back bit for bit in both formats, hostile and damaged files are refused."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.importers import torch_files
from demos.importers.restricted_pickle import read_npy
from demos.importers.torch_files import Tensor, fetch, read_torch
from dexvid_envs.errors import InputFileError


def tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "plain": base,
        "view": base[1:, ::2],
        "transposed": base.T,
        "parameter": torch.nn.Parameter(base + 0.5),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "long": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "half": torch.arange(3).half(),
        "brain": torch.tensor([1.0, -2.5, 3e5]).bfloat16(),
        "double": torch.linspace(0, 1, 7, dtype=torch.float64),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_come_back(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "a.pth"
    torch.save({"nested": OrderedDict(tensors()), "n": 3}, path, _use_new_zipfile_serialization=zipped)
    content = read_torch(path)
    assert content["n"] == 3
    for name, expected in tensors().items():
        array = fetch(content["nested"][name], path, name)
        np.testing.assert_array_equal(
            array, expected.detach().float().numpy() if name == "brain" else expected.detach().numpy()
        )


def test_a_checkpoint_with_optimiser_and_scheduler(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(3)).sum().backward()
    optimiser.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
    state = {"model": module.state_dict(), "optimizers": {"all": optimiser.state_dict()}, "schedulers": scheduler.state_dict()}
    torch.save(state, tmp_path / "last.ckpt")
    content = read_torch(tmp_path / "last.ckpt")
    assert isinstance(content["model"]["weight"], Tensor)
    np.testing.assert_array_equal(content["model"]["weight"].array(), module.weight.detach().numpy())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_numpy_arrays_inside_a_torch_file(tmp_path: Path, zipped: bool) -> None:
    arrays = [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)), np.zeros((0, 2))]
    torch.save({"a": arrays, "n": np.float32(2.5)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    content = read_torch(tmp_path / "a.pt")
    for read, expected in zip(content["a"], arrays, strict=True):
        np.testing.assert_array_equal(read, expected)
        assert read.dtype == expected.dtype
    assert content["n"] == np.float32(2.5)


def test_a_tensor_inside_a_numpy_file(tmp_path: Path) -> None:
    content = {"norm_mat": torch.eye(4)[:, [1, 0, 2, 3]], "a": np.arange(3)}
    np.save(tmp_path / "data.npy", np.array(content, dtype=object), allow_pickle=True)
    read = read_npy(tmp_path / "data.npy")
    np.testing.assert_array_equal(read["norm_mat"], content["norm_mat"].numpy())


class Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_hostile_checkpoints_run_nothing(tmp_path: Path, zipped: bool) -> None:
    trace = tmp_path / "trace"
    evil = [
        Evil(os.system, f"touch {trace}"),
        Evil(eval, f"open({str(trace)!r}, 'w')"),
        Evil(functools.partial, os.system),
        Evil(torch.load, "other.pth"),
    ]
    for value in evil:
        torch.save({"model": value}, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
        with contextlib.suppress(InputFileError):  # torch.load stays an inert record
            content = read_torch(tmp_path / "evil.pth")
            with pytest.raises(InputFileError, match="expected a tensor"):
                fetch(content["model"], tmp_path / "evil.pth", "model")
    np.save(tmp_path / "evil.npy", np.array({"a": Evil(os.system, f"touch {trace}")}, dtype=object), allow_pickle=True)
    with pytest.raises(InputFileError, match="nothing in it was run"):
        read_npy(tmp_path / "evil.npy")
    assert not trace.exists()


def test_sizes_are_checked_before_anything_is_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    torch.save(torch.zeros(1).expand(2**16, 2**16), path)  # 16 GiB by stride 0, 4 bytes on disk
    with pytest.raises(InputFileError, match=r"shape \(65536, 65536\), more than"):
        fetch(read_torch(path), path, "all")
    torch.save(torch.zeros(100), path)
    monkeypatch.setattr(torch_files, "MAX_TENSOR_BYTES", 200)
    with pytest.raises(InputFileError, match="more than 200"):
        fetch(read_torch(path), path, "all")


def rewritten(path: Path, member: str, content: bytes) -> Path:
    """The zip with one member replaced."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    (name,) = (name for name in parts if name.endswith(member))
    out = path.with_name("changed.pth")
    with zipfile.ZipFile(out, "w") as new:
        for part, data in parts.items():
            new.writestr(part, content if part == name else data)
    return out


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.arange(6.0)}, path)
    short = rewritten(path, "data/0", bytes(8))
    with pytest.raises(InputFileError, match="storage of 8 bytes where 24 are announced"):
        fetch(read_torch(short)["a"], short, "a")
    with pytest.raises(InputFileError, match="not little-endian"):
        read_torch(rewritten(path, "byteorder", b"big"))
    with pytest.raises(InputFileError, match="no file"):
        read_torch(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("nothing of torch")
    with pytest.raises(InputFileError, match=r"text\.pth"):
        read_torch(tmp_path / "text.pth")


@functools.cache
def saved(zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.arange(6.0).reshape(2, 3)}, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_damaged_files_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, zipped: bool) -> None:
    content = bytearray(saved(zipped))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(InputFileError):
        value = read_torch(path)
        fetch(value["a"] if isinstance(value, dict) and "a" in value else value, path, "a")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_random_pickles_in_a_zip_never_crash(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", body or pickle.dumps(1))
    with contextlib.suppress(InputFileError):
        read_torch(path)
