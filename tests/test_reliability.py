"""The project's own files, damaged: always one of our errors, never much memory; and what two processes or a full disk do."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from baselines.checkpoint import load_checkpoint
from baselines.progress import RunLog
from benchmarks.reliability_readers import Reader, readers, small_demonstrations
from demos.dataset import read_dataset, write_dataset
from demos.exporters.robomimic import read_robomimic, write_robomimic
from dexvid_envs import npz_file
from dexvid_envs.errors import InputFileError
from dexvid_envs.npz_file import read_npz


@pytest.fixture(scope="module")
def known() -> dict[str, Reader]:
    return {reader.name: reader for reader in readers()}


def replaced(path: Path, **arrays: Any) -> None:
    """Writes an .npz again with some entries changed."""
    with np.load(path) as stored:
        content = {name: stored[name] for name in stored.files}
    np.savez(path, **content | arrays)


@pytest.mark.parametrize(
    ("name", "entry", "value"),
    [
        ("interaction.npz", "fps", np.array("fast")),
        ("interaction.npz", "fps", np.array([3.0, 4.0])),
        ("interaction.npz", "frame_index", np.array(["a", "b", "c", "d", "e"])),
        ("interaction.npz", "contact", np.zeros((2, 2))),
        ("synthetic truth", "object_pose_world", np.zeros(3)),
        ("synthetic truth", "object_names", np.array(7)),
        ("search rounds", "elite_bend", np.zeros(())),
        ("search rounds", "elite_correction", np.zeros((0, 4))),
        ("search rounds", "facts", np.array('{"round": 1}')),
        ("instability report", "about", np.array("[" * 100_000)),
    ],
)
def test_entries_of_another_kind_are_refused(
    name: str, entry: str, value: np.ndarray, known: dict[str, Reader], tmp_path: Path
) -> None:
    path = known[name].write(tmp_path)
    replaced(path, **{entry: value})
    with pytest.raises(InputFileError if name != "instability report" else ValueError, match=str(path.parent)):
        known[name].read(path)


@pytest.mark.parametrize("name", ["interaction.npz", "synthetic truth", "search rounds", "instability report"])
def test_archives_that_unpack_to_too_much_are_refused_unread(
    name: str, known: dict[str, Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = known[name].write(tmp_path)
    monkeypatch.setattr(npz_file, "MAX_BYTES", 2**20)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(2**22))
    with pytest.raises(InputFileError, match=r"unpacks to \d+ bytes, expected .* of at most 1048576"):
        known[name].read(path)


def test_headers_that_promise_terabytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lie.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("data.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**45,)})  # type: ignore[arg-type]
    with pytest.raises(InputFileError, match=r"lie.npz cannot be read as a thing .*; make it again"):
        read_npz(path, "a thing", "make it again")


def test_a_dataset_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", small_demonstrations())
    with h5py.File(tmp_path / "set" / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_1/infos/state"]
        file.create_dataset("episode_1/infos/state", shape=(2**40,), dtype="f8", chunks=(1024,))
        del file["episode_0/provenance"]
        file.create_dataset("episode_0/provenance", shape=(2**40,), dtype="f8", chunks=(1024,))
    for episode, message in ((1, "claims 8796093022208 bytes"), (0, "expected a text")):
        with pytest.raises(InputFileError, match=rf"episode {episode} is damaged .*{message}"):
            read_dataset(tmp_path / "set", [episode])
    write_robomimic(tmp_path / "set.hdf5", small_demonstrations())
    with h5py.File(tmp_path / "set.hdf5", "r+") as file:
        del file["data/demo_0/actions"]
        file.create_dataset("data/demo_0/actions", shape=(2**40,), dtype="f8", chunks=(1024,))
    with pytest.raises(InputFileError, match="claims 8796093022208 bytes"):
        read_robomimic(tmp_path / "set.hdf5")


@pytest.mark.parametrize(
    "name", ["checkpoint (config)", "LeRobot (JSON)", "quickstart stage", "dataset (metadata)", "copies' journal"]
)
def test_nesting_without_end_is_refused(name: str, known: dict[str, Reader], tmp_path: Path) -> None:
    path = known[name].write(tmp_path)
    path.write_text('{"a":' * 100_000 + "\n")
    with pytest.raises(ValueError, match=r"; .*(again|anew|download)|again|anew"):
        known[name].read(path)


def test_bytes_that_are_no_text_are_refused(known: dict[str, Reader], tmp_path: Path) -> None:
    folder = tmp_path
    for name in ("copies' journal", "progress.csv"):
        folder = tmp_path / name.split()[0]
        folder.mkdir()
        path = known[name].write(folder)
        path.write_bytes(path.read_bytes()[:12] + b"\xff\xfe\n")
        with pytest.raises(InputFileError, match="is damaged"):
            known[name].read(path)
    (folder / "progress.csv").write_text("step,loss\n1.0,much\n")
    with pytest.raises(InputFileError, match=r"progress.csv is damaged .*; remove it"):
        RunLog(folder, resume_step=1)


def test_metadata_that_claim_billions_of_episodes_are_refused_at_once(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", small_demonstrations())
    path = tmp_path / "set" / "data" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"total_episodes": 2**53}))
    with pytest.raises(InputFileError, match="lacks 'episode_2'"):
        read_dataset(tmp_path / "set")


def test_text_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", text=np.array(["ab"]).view(np.uint32).astype("<u4").__or__(0x80000000).view("<U2"))
    with pytest.raises(InputFileError, match="text is no text"):
        read_npz(tmp_path / "a.npz", "a thing", "make it again")


def test_a_checkpoint_whose_config_is_a_list(known: dict[str, Reader], tmp_path: Path) -> None:
    path = known["checkpoint (config)"].write(tmp_path)
    path.write_text(json.dumps([1]))
    with pytest.raises(InputFileError, match="is no dexvid-checkpoint"):
        load_checkpoint(path.parent)
