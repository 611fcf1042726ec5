"""Datasets that cannot be read: the message names what is damaged, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from demos.dataset import read_dataset, write_dataset
from dexvid_envs.errors import InputFileError
from tests.test_dataset import MAIN_FILE, make_demonstration


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "set", [make_demonstration(steps=40, seed=i) for i in range(3)])
    return tmp_path / "set"


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"no dataset at .*expected a dataset folder.*check the path"):
        read_dataset(tmp_path / "none")
    with pytest.raises(InputFileError, match=r"is no dataset, it has no data/metadata.json"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"total_episodes": "many"}', '{"total_episodes": -1}'])
def test_damaged_metadata(dataset: Path, text: str) -> None:
    (dataset / "data/metadata.json").write_text(text)
    with pytest.raises(InputFileError, match=r"metadata.json .*write the dataset again"):
        read_dataset(dataset)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_truncated_file(dataset: Path, part: float) -> None:
    content = (dataset / MAIN_FILE).read_bytes()
    (dataset / MAIN_FILE).write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputFileError, match="damaged or incomplete"):
        read_dataset(dataset)


def test_missing_file(dataset: Path) -> None:
    (dataset / MAIN_FILE).unlink()
    with pytest.raises(InputFileError, match="no file"):
        read_dataset(dataset)


@pytest.mark.parametrize(
    "key", ["observations", "actions", "rewards", "provenance", "infos", "infos/state", "infos/memory", "infos/success"]
)
def test_missing_key_names_the_episode(dataset: Path, key: str) -> None:
    with h5py.File(dataset / MAIN_FILE, "a") as file:
        del file[f"episode_1/{key}"]
    with pytest.raises(InputFileError, match=rf"episode 1 lacks '{key.split('/')[-1]}'"):
        read_dataset(dataset)


def test_wrong_lengths_tiers_and_attributes_name_the_episode(dataset: Path) -> None:
    with h5py.File(dataset / MAIN_FILE, "a") as file:
        del file["episode_0/rewards"]
        file["episode_0/rewards"] = np.zeros(3)
        file["episode_1"].attrs["tier"] = "perfect"
        del file["episode_2"].attrs["env_id"]
    for episode, message in ((0, "rewards has 3 rows"), (1, "tier 'perfect'"), (2, "lacks the attribute 'env_id'")):
        with pytest.raises(InputFileError, match=rf"episode {episode} .*{message}"):
            read_dataset(dataset, [episode])


def test_numbers_that_no_simulation_has_name_the_episode_and_the_step(dataset: Path) -> None:
    with h5py.File(dataset / MAIN_FILE, "a") as file:
        actions: Any = file["episode_2/actions"]
        actions[17, 1] = np.nan
    assert len(read_dataset(dataset, [0, 1])) == 2
    with pytest.raises(InputFileError, match=r"episode 2 is damaged \(actions is not finite at step 17"):
        read_dataset(dataset)


def test_a_dataset_that_lost_an_episode(dataset: Path) -> None:
    metadata = json.loads((dataset / "data/metadata.json").read_text())
    (dataset / "data/metadata.json").write_text(json.dumps(metadata | {"total_episodes": 4}))
    with pytest.raises(InputFileError, match="lacks 'episode_3'"):
        read_dataset(dataset)
