"""Datasets: what is written comes back, plain minari reads it, a kill breaks nothing."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import minari
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from demos.dataset import DatasetWriter, dataset_length, read_dataset, write_dataset
from demos.demonstration import TIERS, Demonstration
from dexvid_envs.errors import DexVidError, InputFileError

MAIN_FILE = "data/main_data.hdf5"
ENV_ID = "DexVid-BottlePickPlace-v0"


def make_demonstration(steps: int = 5, seed: int = 0, **changes: Any) -> Demonstration:
    rng = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "env_id": ENV_ID,
        "env_options": {"bottle": "mustard"},
        "control_mode": "joint_delta",
        "observations": rng.normal(size=(steps + 1, 7)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (steps, 3)).astype(np.float32),
        "rewards": rng.normal(size=steps),
        "successes": rng.random(steps) > 0.5,
        "states": rng.normal(size=(steps + 1, 11)),
        "memory": {"target": rng.normal(size=(steps + 1, 2)), "held_steps": np.arange(steps + 1)},
        "object_pos_world": rng.normal(size=(steps + 1, 3)),
        "source_frame": np.arange(steps + 1) - 1,
        "tier": "replayable",
        "provenance": {"source_sha256": "abc", "stages": [{"name": "refine", "cost": 0.25}], "seed": seed},
    }
    return Demonstration(**(fields | changes))


def assert_same(one: Demonstration, other: Demonstration) -> None:
    for field in dataclasses.fields(Demonstration):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("memory", "randomization"):
            assert set(first) == set(second)
            pairs = [(first[name], second[name]) for name in first]
        else:
            pairs = [(first, second)]
        for left, right in pairs:
            if isinstance(left, np.ndarray):
                assert left.dtype == right.dtype, field.name
                np.testing.assert_array_equal(left, right, err_msg=field.name)
            else:
                assert left == right, field.name


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_FINITE: dict[str, Any] = {"allow_nan": False, "allow_infinity": False}
_MEMORY_NAMES = st.text(st.characters(categories=["L", "N"], include_characters="_- "), min_size=1, max_size=8)


@st.composite
def demonstrations(draw: st.DrawFn, observation_size: int, action_size: int) -> Demonstration:
    steps = draw(st.integers(1, 6))
    rows = steps + 1
    memory_dtype = st.sampled_from([np.dtype(name) for name in ("bool", "uint8", "int64", "float32", "float64")])
    memory_shape = hnp.array_shapes(min_dims=0, max_dims=2, max_side=3).map(lambda shape: (rows, *shape))
    memory_array = st.tuples(memory_dtype, memory_shape).flatmap(lambda pair: hnp.arrays(pair[0], pair[1]))
    return Demonstration(
        env_id="Some-Env-v0",
        env_options=draw(st.dictionaries(st.text(max_size=5), _JSON, max_size=3)),
        control_mode="joint_delta",
        observations=draw(hnp.arrays(np.float32, (rows, observation_size), elements=st.floats(width=32, **_FINITE))),
        actions=draw(hnp.arrays(np.float32, (steps, action_size), elements=st.floats(-1, 1, width=32))),
        rewards=draw(hnp.arrays(np.float64, steps, elements=st.floats(**_FINITE))),
        successes=draw(hnp.arrays(np.bool_, steps)),
        states=draw(hnp.arrays(np.float64, (rows, draw(st.integers(1, 5))), elements=st.floats(**_FINITE))),
        memory=draw(st.dictionaries(_MEMORY_NAMES, memory_array, max_size=3)),
        randomization=draw(st.dictionaries(_MEMORY_NAMES, memory_array, max_size=2)),
        object_pos_world=draw(hnp.arrays(np.float64, (rows, 3), elements=st.floats(**_FINITE))),
        source_frame=draw(hnp.arrays(np.int64, rows)),
        tier=draw(st.sampled_from(TIERS)),
        provenance=draw(st.dictionaries(st.text(max_size=5), _JSON, max_size=3)),
        intended_actions=draw(st.none() | hnp.arrays(np.float32, (steps, action_size), elements=st.floats(-1, 1, width=32))),
    )


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
        lambda size: st.lists(demonstrations(*size), min_size=1, max_size=3)
    )
)
def test_what_is_written_comes_back_by_either_way(written: list[Demonstration]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "at-once", written)
        with DatasetWriter(Path(folder) / "one-by-one") as writer:
            for demonstration in written:
                writer.add(demonstration)
        for name in ("at-once", "one-by-one"):
            read = read_dataset(Path(folder) / name)
            assert dataset_length(Path(folder) / name) == len(read) == len(written)
            for one, other in zip(written, read, strict=True):
                assert_same(one, other)


def test_large_provenance_survives(tmp_path: Path) -> None:
    """HDF5 attributes end at 64 KB; a provenance may be longer."""
    demonstration = make_demonstration(provenance={"figures": list(range(40_000))})
    write_dataset(tmp_path / "set", [demonstration])
    assert_same(demonstration, read_dataset(tmp_path / "set")[0])


def test_minari_loads_it_and_sees_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = [make_demonstration(steps=4 + i, seed=i) for i in range(3)]
    write_dataset(tmp_path / "bottle-v0", written)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = minari.load_dataset("bottle-v0")
    assert (len(dataset), dataset.total_steps) == (3, 4 + 5 + 6)
    assert list(minari.list_local_datasets()) == ["bottle-v0"]
    for one, episode in zip(written, dataset, strict=True):
        np.testing.assert_array_equal(episode.observations, one.observations)
        np.testing.assert_array_equal(episode.actions, one.actions)
        np.testing.assert_array_equal(episode.rewards, one.rewards)
        np.testing.assert_array_equal(episode.truncations, np.arange(one.num_steps) == one.num_steps - 1)
        assert not episode.terminations.any()
        assert episode.infos is not None
        np.testing.assert_array_equal(episode.infos["state"], one.states)
        np.testing.assert_array_equal(episode.infos["success"][1:], one.successes)
        np.testing.assert_array_equal(episode.infos["memory"]["target"], one.memory["target"])
    assert dataset.env_spec is not None
    assert dataset.env_spec.kwargs["bottle"] == "mustard"
    assert dataset.recover_environment().unwrapped.task.config.bottle == "mustard"  # type: ignore[attr-defined]


def test_minari_loads_a_folder_whatever_its_name(tmp_path: Path) -> None:
    write_dataset(tmp_path / "my data (2)", [make_demonstration()])
    assert len(minari.MinariDataset(tmp_path / "my data (2)" / "data")) == 1


def test_chosen_episodes(tmp_path: Path) -> None:
    written = [make_demonstration(seed=i) for i in range(3)]
    write_dataset(tmp_path / "set", written)
    read = read_dataset(tmp_path / "set", [2, 0])
    assert_same(read[0], written[2])
    assert_same(read[1], written[0])
    with pytest.raises(InputFileError, match="has no episode 3: expected 0 to 2"):
        read_dataset(tmp_path / "set", [3])


# ---- interruption -----------------------------------------------------------------------------------------------------------

_KILLED = """
    import os, signal, sys
    from pathlib import Path
    import demos.dataset as dataset, demos.dataset_episode as episode
    from tests.test_dataset import make_demonstration

    moment = sys.argv[2]
    def killed(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)
    with dataset.DatasetWriter(Path(sys.argv[1])) as writer:
        for seed in range(4):
            if seed == 3 and moment == "in an episode":
                episode._write_array = killed
            writer.add(make_demonstration(seed=seed))
        if moment == "between episodes":
            killed()
        if moment == "while assembling":
            dataset._summarise = killed
        if moment == "before the renaming":
            dataset.shutil.rmtree = killed
        renamed = os.rename
        if moment == "between the renamings":
            dataset.replace_folder.__globals__["_exchange"] = lambda one, other: False
            os.rename = lambda path, target: killed() if Path(path).name == "assembled" else renamed(path, target)
        if moment == "after the exchange":
            os.rename = lambda path, target: killed() if Path(target).name == "previous" else renamed(path, target)
"""


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        ("in an episode", 3),
        ("between episodes", 4),
        ("while assembling", 4),
        ("before the renaming", 4),
        ("between the renamings", 4),
        ("after the exchange", 4),
    ],
)
def test_a_kill_leaves_the_old_dataset_and_the_finished_episodes(tmp_path: Path, moment: str, kept: int) -> None:
    path = tmp_path / "set"
    old = make_demonstration(seed=99)
    write_dataset(path, [old])
    command = [sys.executable, "-c", textwrap.dedent(_KILLED), str(path), moment]
    assert subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode == -signal.SIGKILL
    exchanged = moment == "after the exchange" and sys.platform == "linux"
    if exchanged:
        assert len(read_dataset(path)) == 4
    elif moment != "between the renamings":
        assert_same(old, read_dataset(path)[0])

    with DatasetWriter(path, resume=True) as writer:
        assert exchanged or assert_same(old, read_dataset(path)[0]) is None
        assert len(writer) == kept
        for seed, demonstration in enumerate(writer.demonstrations()):
            assert_same(demonstration, make_demonstration(seed=seed))
        writer.add(make_demonstration(seed=kept))
    assert [demonstration.provenance["seed"] for demonstration in read_dataset(path)] == list(range(kept + 1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


_KILLED_ANYWHERE = """
    import os, signal, sys, time
    from pathlib import Path
    import numpy as np
    from demos.dataset import DatasetWriter, read_dataset, write_dataset
    from tests.test_dataset import make_demonstration

    path, count = Path(sys.argv[1]), 5
    episodes = [make_demonstration(steps=60, seed=seed) for seed in range(count)]
    for _ in range(2):  # the first loads what is loaded once, the second shows how long writing takes here
        begin = time.monotonic()
        write_dataset(path.with_name("warm"), episodes)
        usual_s = 2 * (time.monotonic() - begin)
    rng = np.random.default_rng(0)
    finished = interrupted = told = 0
    delays_s = iter(rng.uniform(0.0, 1.0, 24) * usual_s)
    while (delay_s := next(delays_s, None)) is not None or not finished:
        delay_s = 10 * usual_s if delay_s is None else delay_s  # at last let one be
        reader, teller = os.pipe()
        child = os.fork()
        if not child:
            with DatasetWriter(path, resume=True) as writer:
                while len(writer) < count:
                    writer.add(episodes[len(writer)])
                    os.write(teller, b"x")
            os._exit(0)
        os.close(teller)
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        interrupted += os.WIFSIGNALED(status)
        told += len(os.read(reader, 100))
        os.close(reader)
        writer = DatasetWriter(path, resume=True)
        kept = list(writer.demonstrations())
        assert [one.provenance["seed"] for one in kept] == list(range(len(kept))), "an episode is missing or twice"
        if told == count and not kept:
            told, finished = 0, finished + 1
        assert told <= len(kept) <= told + 1, (told, len(kept))
        told = len(kept)
        if finished:
            assert len(read_dataset(path)) == count
    assert interrupted > 5, interrupted
"""


def test_kills_at_random_moments_lose_at_most_the_episode_in_hand(tmp_path: Path) -> None:
    """Two dozen writers, most of them killed while they write, put together, or clear away."""
    command = [sys.executable, "-c", textwrap.dedent(_KILLED_ANYWHERE), str(tmp_path / "set")]
    ended = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert {entry.name for entry in tmp_path.iterdir()} <= {"set", "warm", ".set-unfinished"}


def test_a_kill_while_clearing_away_leaves_no_part_of_the_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set"

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    writer = DatasetWriter(path)
    for seed in range(3):
        writer.add(make_demonstration(seed=seed))
    monkeypatch.setattr("demos.dataset.shutil", SimpleNamespace(rmtree=killed))
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    monkeypatch.undo()
    assert len(read_dataset(path)) == 3
    assert len(DatasetWriter(path, resume=True)) == 0


def test_an_error_keeps_the_episodes_and_a_fresh_start_drops_them(tmp_path: Path) -> None:
    path = tmp_path / "set"

    def interrupted() -> None:
        with DatasetWriter(path) as writer:
            writer.add(make_demonstration())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not path.exists()
    assert len(DatasetWriter(path, resume=True)) == 1
    assert len(DatasetWriter(path)) == 0


# ---- what cannot be written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["at once", "one by one"])
def test_episodes_of_two_kinds_are_refused(tmp_path: Path, way: str) -> None:
    mixed = [make_demonstration(), make_demonstration(control_mode="joint_target")]
    with pytest.raises(DexVidError, match=r"one environment, control mode and size; got episode 0: .*joint_target"):
        _write(tmp_path / "set", mixed, way)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("way", ["at once", "one by one"])
def test_no_demonstration_is_refused(tmp_path: Path, way: str) -> None:
    with pytest.raises(DexVidError, match="needs at least one"):
        _write(tmp_path / "set", [], way)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"provenance": {"model": object()}}, "JSON values only"),
        ({"env_options": {"path": Path()}}, "JSON values only"),
        ({"memory": {"a/b": np.zeros(6)}}, "plain name without '/'"),
        ({"memory": {"names": np.array(["x"] * 6)}}, "expected numbers"),
    ],
)
def test_unwritable_parts_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DexVidError, match=message):
        write_dataset(tmp_path / "set", [make_demonstration(**changes)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["at once", "one by one"])
def test_foreign_files_are_not_overwritten(tmp_path: Path, way: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputFileError, match="exists and is no dataset"):
            _write(path, [make_demonstration()], way)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def _write(path: Path, written: list[Demonstration], way: str) -> None:
    if way == "at once":
        write_dataset(path, written)
        return
    with DatasetWriter(path) as writer:
        for demonstration in written:
            writer.add(demonstration)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": np.where(np.arange(66).reshape(6, 11) == 40, np.nan, 0.0)}, "states is not finite at step 3"),
        ({"observations": np.full((6, 7), np.inf, np.float32)}, "observations is not finite at step 0"),
        ({"actions": np.full((5, 3), 1.5, np.float32)}, r"the action of step 0 leaves \[-1, 1\]"),
        ({"object_pos_world": np.zeros((6, 2))}, r"expected \(steps \+ 1, 3\)"),
        ({"rewards": np.zeros(4)}, "rewards has 4 rows for 5 actions"),
    ],
)
def test_a_bad_demonstration_cannot_be_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DexVidError, match=message):
        make_demonstration(**changes)


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minari's storage once looked for its file below the relative folder twice."""
    from demos.source import shipped_demonstration

    shipped = read_dataset(shipped_demonstration())
    monkeypatch.chdir(tmp_path)
    write_dataset(Path("runs/relative"), shipped)
    assert dataset_length(Path("runs/relative")) == 1
    with DatasetWriter(Path("other/relative")) as writer:
        writer.add(shipped[0])
    assert np.array_equal(read_dataset(Path("other/relative"))[0].states, shipped[0].states)
