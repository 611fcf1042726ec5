"""The project's own files, damaged: always one of our errors, never much memory; and what two processes or a full disk do."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from baselines.checkpoint import load_checkpoint
from baselines.progress import RunLog
from benchmarks.reliability import checks
from benchmarks.reliability_commands import writing_commands
from benchmarks.reliability_readers import Reader, readers, small_demonstrations
from benchmarks.reliability_soak import growth_mib
from demos.dataset import read_dataset, write_dataset
from demos.exporters.robomimic import read_robomimic, write_robomimic
from dexvid_envs import npz_file
from dexvid_envs.cli import find_commands
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import clear_up_inside, explain_os_error, write_alone
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
        ("search rounds", "elites_bend", np.zeros(())),
        ("search rounds", "elites_correction", np.zeros((0, 4))),
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


# ---- full disks, shared outputs and what killed processes leave -------------------------------------------------------------


def test_a_full_disk_leaves_the_older_dataset(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", small_demonstrations()[:1])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a disk that is full after so many bytes
        for write in (write_dataset, write_robomimic):
            with pytest.raises(OSError, match="too large") as caught:
                write(tmp_path / ("set" if write is write_dataset else "set.hdf5"), small_demonstrations())
            assert (explain_os_error(caught.value) or "").startswith("the disk is full (File too large)")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(read_dataset(tmp_path / "set")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_second_process_is_told_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "set"
    code = "import sys; from pathlib import Path; from demos.dataset import DatasetWriter; DatasetWriter(Path(sys.argv[1]))"
    with write_alone(path):
        other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "OptionError" in other.stderr
    assert "is being written by another process; wait until it is done" in other.stderr
    (tmp_path / ".set.lock").touch()  # as after a kill
    write_dataset(path, small_demonstrations())
    assert [one.name for one in tmp_path.iterdir()] == ["set"]
    with pytest.raises(OptionError, match="cannot be written"), write_alone(path / "data" / "metadata.json" / "below"):
        pass


def test_what_a_killed_run_left_is_removed_and_put_back(tmp_path: Path) -> None:
    (tmp_path / ".training_state-0123abcd.safetensors").touch()
    (tmp_path / ".checkpoint-0123abcd").mkdir()
    (tmp_path / ".checkpoint-89abcdef-previous").mkdir()
    (tmp_path / ".mine-of-old").touch()
    clear_up_inside(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine-of-old", "checkpoint"]


def test_a_broken_package_does_not_take_the_commands_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        name = "broken"

        def load(self) -> Any:
            raise AttributeError("no such command")

    monkeypatch.setattr("dexvid_envs.cli.entry_points", lambda group: [Broken()])
    assert find_commands() == {}
    assert "no command 'broken', its package is broken (AttributeError: no such command)" in capsys.readouterr().err


def test_the_quick_form_of_the_fuzzing(tmp_path: Path) -> None:
    out = tmp_path / "reliability.json"
    names = ["interaction.npz", "dataset (HDF5)", "checkpoint (weights)", "command lines"]
    command = [sys.executable, "-m", "benchmarks.reliability", "--quick", "--parts", "fuzz", "--out", str(out)]
    subprocess.run([*command, "--readers", *names], cwd=Path(__file__).parents[1], capture_output=True, check=False)
    content = json.loads(out.read_text())
    assert [row["what"] for row in content["rows"]] == names
    assert [row["bad"] for row in content["rows"]] == [0] * len(names), content["rows"]


def test_a_command_that_resumes_is_killed_several_times_in_a_row_and_ends_whole(tmp_path: Path) -> None:
    out = tmp_path / "reliability.json"
    command = [sys.executable, "-m", "benchmarks.reliability", "--parts", "kill", "--kills", "5", "--commands", "train bc"]
    subprocess.run([*command, "--out", str(out)], cwd=Path(__file__).parents[1], capture_output=True, check=False)
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["what"], row["tries"], row["bad"]) == ("train bc", 5, 0)


# ---- the soak ---------------------------------------------------------------------------------------------------------------


def test_growth_of_memory_is_told_from_spikes_and_from_the_warm_up() -> None:
    rng = np.random.default_rng(0)
    flat = 500.0 + rng.uniform(0.0, 3.0, 180)
    flat[:20] = np.linspace(300.0, 500.0, 20)  # imports and caches
    flat[60:80] += 80.0  # an evaluation
    growth = growth_mib(list(flat), 10.0, 270.0)
    assert growth is not None
    assert abs(growth) < 2.0
    leak = growth_mib(list(flat + 0.2 * np.arange(180)), 10.0, 270.0)
    assert leak == pytest.approx(36.0, abs=3.0)
    assert growth_mib([1.0] * 50, 10.0, 270.0) is None


def test_a_soak_of_seconds_has_both_halves_and_misses_the_hour(tmp_path: Path) -> None:
    out = tmp_path / "reliability.json"
    command = [sys.executable, "-m", "benchmarks.reliability", "--parts", "soak", "--minutes", "0.2", "--out", str(out)]
    subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, check=True)
    content = json.loads(out.read_text())
    assert [(row["what"], row["bad"]) for row in content["rows"]] == [("vector stepping", 0), ("ppo training", 0)]
    assert all(row["tries"] > 0 and row["minutes"] >= 0.1 and max(row["rss_mib"]) > 100.0 for row in content["rows"])
    assert [check["name"] for check in content["checks"] if not check["ok"]] == ["soak: minutes of the shorter half"]


def test_commands_that_no_disk_was_taken_from_are_missed() -> None:
    rows = [{"part": "full disk", "what": "dataset merge", "tries": 1, "bad": 0}]
    (tried, bad) = checks(rows)
    assert (tried.name, tried.value, bad.value) == ("full disk: commands tried", 1, 0)
    assert tried.target == len(writing_commands()) > 20
