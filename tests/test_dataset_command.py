"""`dexvid dataset`: info, check, filter, merge and export."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import pytest

from demos.dataset import dataset_length, read_dataset, write_dataset
from demos.replay import Player
from demos.source import shipped_demonstration
from dexvid_envs.cli import main
from tests.test_dataset import assert_same, make_demonstration


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Four made-up episodes of 3 to 6 steps; the tiers are kinematic, replayable, kinematic, replayable."""
    tiers = ("kinematic", "replayable")
    write_dataset(tmp_path / "mixed", [make_demonstration(3 + i, seed=i, tier=tiers[i % 2]) for i in range(4)])
    return tmp_path / "mixed"


def run(*arguments: object) -> int:
    return main(["dataset", *map(str, arguments)])


def test_info(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", mixed, "--json", tmp_path / "info.json") == 0
    report = json.loads((tmp_path / "info.json").read_text())
    assert report["episodes"] == 4
    assert report["steps"] == {"total": 18, "shortest": 3, "longest": 6}
    assert report["tiers"] == {"kinematic": 2, "replayable": 2}
    assert report["sizes"] == {"observation": 7, "action": 3, "state": 11}
    printed = capsys.readouterr().out
    assert "4 episodes" in printed
    assert "kinematic (2), replayable (2)" in printed


def test_check_of_what_is_shipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", shipped_demonstration(), "--replay", "--json", tmp_path / "check.json") == 0
    assert json.loads((tmp_path / "check.json").read_text())["ok"]
    assert "1 of 1 episodes are in order (read, scored anew and played)" in capsys.readouterr().out


def test_check_names_bad_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged one, one whose states are not those of a success, and one whose states do not come again."""
    (shipped,) = read_dataset(shipped_demonstration())
    player = Player(shipped.env_id, shipped.env_options, shipped.control_mode)  # recorded here: states come again exactly
    good = player.record(shipped.actions, reset_options=shipped.reset_options(0), tier="successful")
    player.close()
    halted = dataclasses.replace(good, states=good.states[[0] * len(good.states)])
    write_dataset(tmp_path / "set", [good, good, halted])
    with h5py.File(tmp_path / "set/data/main_data.hdf5", "a") as file:
        del file["episode_1/actions"]
    assert run("check", tmp_path / "set") == 1
    printed = capsys.readouterr().out
    assert "episode 1 lacks 'actions'" in printed
    assert "episode 2: its tier is successful, and the independent scoring of its states finds no success" in printed
    assert "1 of 3 episodes are in order" in printed
    assert run("check", tmp_path / "set", "--replay") == 1
    assert "episode 2: the states differ" in capsys.readouterr().out


def test_check_of_provenance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good,) = read_dataset(shipped_demonstration())
    write_dataset(tmp_path / "set", [dataclasses.replace(good, provenance={})])
    assert run("check", tmp_path / "set") == 0
    assert "1 of 1 episodes lack a part of their provenance" in capsys.readouterr().out
    assert run("check", tmp_path / "set", "--provenance") == 1
    assert "source_sha256: the hash of the source video" in capsys.readouterr().out


def test_filter_and_merge(mixed: Path, tmp_path: Path) -> None:
    whole = read_dataset(mixed)
    assert run("filter", mixed, "--tier", "replayable", "--out", tmp_path / "some") == 0
    assert_same(read_dataset(tmp_path / "some")[1], whole[3])
    assert run("filter", mixed, "--min-steps", 4, "--max-steps", 6, "--first", 2, "--out", tmp_path / "others") == 0
    assert [one.num_steps for one in read_dataset(tmp_path / "others")] == [4, 5]
    assert run("filter", mixed, "--episode", 2, 0, "--out", tmp_path / "chosen") == 0
    assert_same(read_dataset(tmp_path / "chosen")[0], whole[2])
    merged = tmp_path / "merged"
    assert run("merge", tmp_path / "some", tmp_path / "others", "--out", merged, "--json", tmp_path / "merged.json") == 0
    assert json.loads((tmp_path / "merged.json").read_text()) == {"out": str(merged), "episodes": 4, "steps": 4 + 6 + 4 + 5}
    assert_same(read_dataset(merged)[3], whole[2])


def test_export(mixed: Path, tmp_path: Path) -> None:
    from demos.exporters.robomimic import read_robomimic

    out = tmp_path / "mixed.hdf5"
    assert run("export", mixed, "--to", "robomimic", "--out", out, "--json", tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text())["layout"] == "robomimic"
    for one, other in zip(read_dataset(mixed), read_robomimic(out), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "none"), "no dataset at none"),
        (("filter", "mixed", "--tier", "successful", "--out", "some"), "no episode of mixed fulfils the conditions"),
        (("filter", "mixed", "--out", "mixed"), "is the dataset itself"),
        (("filter", "mixed", "--episode", "9", "--out", "some"), "has no episode 9"),
        (("merge", "mixed", "--out", "some"), "expected two or more"),
        (("merge", "mixed", "mixed", "--out", "mixed"), "is one of the datasets to merge"),
        (("merge", "mixed", "shipped", "--out", "some"), "need one environment, control mode and size"),
        (("export", "mixed", "--to", "robomimic", "--task", "x", "--out", "some"), "--task belongs to the LeRobot layout"),
        (("export", "mixed", "--to", "robomimic", "--out", "mixed"), "exists already"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes(
    mixed: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mixed.parent)
    Path("shipped").symlink_to(shipped_demonstration())
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err
    assert sorted(entry.name for entry in mixed.parent.iterdir()) == ["mixed", "shipped"]
    assert dataset_length(mixed) == 4
