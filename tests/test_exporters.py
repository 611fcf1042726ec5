"""Exports: other libraries' layouts as they read them, and everything back again."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.dataset import read_dataset
from demos.demonstration import Demonstration
from demos.exporters import lerobot
from demos.exporters.lerobot import read_lerobot, write_lerobot
from demos.exporters.parts import observation_parts
from demos.exporters.robomimic import read_robomimic, write_robomimic
from demos.source import shipped_demonstration
from dexvid_envs.errors import DexVidError, InputFileError, MissingExtraError, OptionError
from tests.test_dataset import assert_same, demonstrations, make_demonstration

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed", exc_type=ImportError)
WRITE_AND_READ = {"lerobot": (write_lerobot, read_lerobot), "robomimic": (write_robomimic, read_robomimic)}


@pytest.fixture(scope="module")
def shipped() -> Demonstration:
    (demonstration,) = read_dataset(shipped_demonstration())
    return demonstration


# ---- there and back ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITE_AND_READ)
@settings(max_examples=15, deadline=None)
@given(written=st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(lambda size: demonstrations(*size)))
def test_what_is_written_comes_back(layout: str, written: Demonstration) -> None:
    write, read = WRITE_AND_READ[layout]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "set", [written, written])
        for one in read(Path(folder) / "set"):
            assert_same(written, one)


@pytest.mark.parametrize("layout", WRITE_AND_READ)
def test_the_shipped_demonstration_comes_back(layout: str, shipped: Demonstration, tmp_path: Path) -> None:
    write, read = WRITE_AND_READ[layout]
    other = dataclasses.replace(shipped, tier="replayable", provenance={"source_sha256": "ab"})
    write(tmp_path / "set", [shipped, other])
    first, second = read(tmp_path / "set")
    assert_same(first, shipped)
    assert_same(second, other)
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


# ---- the layouts, read as the libraries do ----------------------------------------------------------------------------------


def test_lerobot_layout(shipped: Demonstration, tmp_path: Path) -> None:
    steps = shipped.num_steps
    write_lerobot(tmp_path / "set", [shipped, shipped], task="put the bottle down")
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["fps"], info["splits"]) == (2, 2 * steps, 20, {"train": "0:2"})
    assert info["features"]["action"] == {"dtype": "float32", "shape": [23], "names": None}
    assert info["features"]["observation.state"]["names"][:2] == ["joint_position.0", "joint_position.1"]

    data = pq.read_table(tmp_path / "set" / info["data_path"].format(chunk_index=0, file_index=0))
    assert set(data.column_names) == set(info["features"])
    assert data["index"].to_pylist() == list(range(2 * steps))
    assert data["frame_index"].to_pylist() == [*range(steps), *range(steps)]
    np.testing.assert_allclose(data["timestamp"].to_numpy()[:3], [0.0, 0.05, 0.1], atol=1e-6)
    assert [i for i, done in enumerate(data["next.done"].to_pylist()) if done] == [steps - 1, 2 * steps - 1]
    np.testing.assert_array_equal(np.array(data["action"].to_pylist())[steps:], shipped.actions)

    episodes = pq.read_table(tmp_path / "set/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"], row["length"]) for row in episodes] == [
        (0, steps, steps),
        (steps, 2 * steps, steps),
    ]
    assert episodes[0]["tasks"] == ["put the bottle down"]
    figures = json.loads((tmp_path / "set/meta/stats.json").read_text())["action"]
    assert figures["count"] == [2 * steps]
    np.testing.assert_allclose(figures["mean"], shipped.actions.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(figures["std"], shipped.actions.std(axis=0), atol=1e-6)
    tasks = pq.read_table(tmp_path / "set/meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0], "task": ["put the bottle down"]}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_lerobot_files_are_of_limited_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lerobot, "FILE_MB", 1e-6)
    monkeypatch.setattr(lerobot, "CHUNK_FILES", 2)
    written = [make_demonstration(seed=seed) for seed in range(5)]
    write_lerobot(tmp_path / "set", written)
    files = sorted(str(file.relative_to(tmp_path / "set/data")) for file in (tmp_path / "set/data").rglob("*.parquet"))
    assert files == [f"chunk-00{i // 2}/file-00{i % 2}.parquet" for i in range(5)]
    for one, other in zip(written, read_lerobot(tmp_path / "set"), strict=True):
        assert_same(one, other)


def test_robomimic_layout(shipped: Demonstration, tmp_path: Path) -> None:
    failed = dataclasses.replace(shipped, tier="kinematic")
    write_robomimic(tmp_path / "set.hdf5", [shipped, failed, shipped])
    with h5py.File(tmp_path / "set.hdf5") as file:
        data: Any = file["data"]
        assert data.attrs["total"] == 3 * shipped.num_steps
        env_args = json.loads(data.attrs["env_args"])
        assert env_args["env_name"] == shipped.env_id
        assert env_args["type"] == 2
        assert env_args["env_kwargs"] == {"bottle": "pet", "control_mode": "joint_delta"}
        demo = data["demo_0"]
        assert demo.attrs["num_samples"] == shipped.num_steps
        assert demo["dones"][()].tolist() == [0] * (shipped.num_steps - 1) + [1]
        np.testing.assert_array_equal(demo["actions"][()], shipped.actions)
        np.testing.assert_array_equal(demo["states"][()], shipped.states[:-1])
        parts = observation_parts(shipped)
        assert {"joint_position", "bottle_position", "target_position"} < set(parts)
        for name, columns in parts.items():
            np.testing.assert_array_equal(demo[f"obs/{name}"][()], shipped.observations[:-1, columns])
            np.testing.assert_array_equal(demo[f"next_obs/{name}"][()], shipped.observations[1:, columns])
        masks: Any = file["mask"]
        assert {name: sorted(masks[name][()].tolist()) for name in ("successful", "kinematic")} == {
            "successful": [b"demo_0", b"demo_2"],
            "kinematic": [b"demo_1"],
        }
        assert len(masks["valid"]) == 1
        assert sorted([*masks["train"][()], *masks["valid"][()]]) == [b"demo_0", b"demo_1", b"demo_2"]


# ---- mistakes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITE_AND_READ)
def test_mistakes_are_named(layout: str, tmp_path: Path) -> None:
    write, read = WRITE_AND_READ[layout]
    with pytest.raises(DexVidError, match="needs at least one"):
        write(tmp_path / "set", [])
    with pytest.raises(DexVidError, match="episode 1"):
        write(tmp_path / "set", [make_demonstration(), make_demonstration(control_mode="joint_target")])
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "set", [make_demonstration()])
    with pytest.raises(OptionError, match="exists already"):
        write(tmp_path / "set", [make_demonstration()])
    with pytest.raises(InputFileError, match=r"expected a .* as written by 'dexvid dataset export'"):
        read(tmp_path / "none")


def test_damage_is_named(tmp_path: Path) -> None:
    write_robomimic(tmp_path / "set.hdf5", [make_demonstration(), make_demonstration()])
    with h5py.File(tmp_path / "set.hdf5", "a") as file:
        del file["data/demo_1/actions"]
    with pytest.raises(InputFileError, match="demo_1 is damaged"):
        read_robomimic(tmp_path / "set.hdf5")
    write_lerobot(tmp_path / "set", [make_demonstration()])
    file = tmp_path / "set/data/chunk-000/file-000.parquet"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(InputFileError, match="is damaged"):
        read_lerobot(tmp_path / "set")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"\.\[lerobot\]"):
        write_lerobot(tmp_path / "set", [make_demonstration()])
