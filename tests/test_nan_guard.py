"""An instability is caught in the step in which it happens, reported with the state before it, and kept from the learner."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from environment_cases import IDS, OBSERVATIONS, STRONG, make, make_vec, needs_rendering, parts_of, row_of, same

from dexvid_envs.errors import DexVidError
from dexvid_envs.nan_guard import MAX_REPORTS, load_report

HOLD = np.zeros(23)


def is_finite(observation: Any) -> bool:
    return all(np.isfinite(part).all() for part in parts_of(observation).values())


@pytest.mark.parametrize("value", [np.nan, 1e7])
@pytest.mark.parametrize("env_id", IDS)
def test_an_instability_is_reported_and_kept_from_the_learner(
    env_id: str, value: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"randomization": STRONG, "observation_mode": "pointcloud", "points": "partial", "privileged": True}
    env = make(env_id, nan_folder=str(tmp_path), **options)
    env.reset(seed=0)
    env.step(HOLD)
    before = env.unwrapped.data.qpos.copy()
    env.unwrapped.data.qvel[3] = value
    with caplog.at_level(logging.WARNING, logger="dexvid_envs"):
        observation, reward, terminated, truncated, info = env.step(HOLD + 0.1)
    assert is_finite(observation)
    assert env.observation_space.contains(observation)
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert info["unstable"] is True
    assert all(info[name] == 0.0 for name in info if name.startswith("reward/"))
    (path,) = tmp_path.iterdir()
    task = env.unwrapped.task
    assert f"{type(task).__name__}, environment 0, step 2" in caplog.text
    assert str(path) in caplog.text
    state, action, about = load_report(path)
    assert about == {"task": type(task).__name__, "environment": 0, "step": 2}
    assert np.allclose(action, 0.1)
    assert np.array_equal(state["simulation"][1 : 1 + len(before)], before)  # after the time
    again = make(env_id, nan_folder=str(tmp_path / "again"), **options)
    again.reset(options={"state": state})
    assert again.step(action)[4]["unstable"] is True
    observation, info = env.reset(seed=1)  # and life goes on
    fresh = make(env_id, **options)
    assert same(observation, fresh.reset(seed=1)[0])
    assert not info["unstable"]
    assert same(env.step(HOLD)[0], fresh.step(HOLD)[0])


@pytest.mark.parametrize(
    ("env_id", "mode"), [(env_id, "SAME_STEP") for env_id in IDS] + [(IDS[0], "NEXT_STEP"), (IDS[0], "DISABLED")]
)
def test_the_other_rows_do_not_notice(env_id: str, mode: str, tmp_path: Path) -> None:
    options = {"autoreset_mode": mode, "randomization": STRONG, "observation_mode": "pointcloud"}
    broken = make_vec(env_id, 3, nan_folder=str(tmp_path), **options)
    whole = make_vec(env_id, 3, **options)
    broken.reset(seed=0)
    whole.reset(seed=0)
    for step in range(6):
        if step == 2:
            broken.simulation.qvel[1, 3] = np.nan
        first, second = broken.step(np.zeros((3, 23))), whole.step(np.zeros((3, 23)))
        for row in (0, 2):
            assert same(row_of(first[0], row), row_of(second[0], row))
            assert [part[row] for part in first[1:4]] == [part[row] for part in second[1:4]]
        assert is_finite(first[0])
        if step == 2:
            assert first[2].tolist() == [False, True, False]
            assert first[1][1] == 0.0
            unstable = first[4].get("final_info", first[4])["unstable"]
            assert unstable.tolist() == [False, True, False]
            (path,) = tmp_path.iterdir()
            assert load_report(path)[2]["environment"] == 1
            assert load_report(path)[2]["step"] == 3
            if mode == "DISABLED":
                broken.reset(options={"reset_mask": first[2]})
        else:
            assert not first[2].any()
    (path,) = tmp_path.iterdir()
    single = make(env_id, nan_folder=str(tmp_path), randomization=STRONG, observation_mode="pointcloud")
    single.reset(options={"state": load_report(path)[0]})
    assert single.step(HOLD)[4]["unstable"] is True


def test_reports_do_not_fill_the_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    env = make("DexVid-BottlePickPlace-v0", nan_folder=str(tmp_path)).unwrapped
    for seed in range(MAX_REPORTS + 2):
        env.reset(seed=seed)
        env.data.qvel[0] = np.nan
        assert env.step(HOLD)[4]["unstable"]
    assert len(list(tmp_path.iterdir())) == MAX_REPORTS
    assert f"already {MAX_REPORTS} reports written" in caplog.text


def test_a_folder_that_cannot_be_written_does_not_end_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    env = make("DexVid-BottlePickPlace-v0", nan_folder=str(blocked)).unwrapped
    env.reset(seed=0)
    env.data.qvel[0] = np.nan
    assert env.step(HOLD)[2]
    assert "could not be saved" in caplog.text


def test_a_restored_instability_is_no_report_of_the_episode_before(tmp_path: Path) -> None:
    env = make("DexVid-BottlePickPlace-v0", nan_folder=str(tmp_path)).unwrapped
    env.reset(seed=0)
    env.step(HOLD)
    state = env.state()
    state["simulation"][5] = np.nan
    observation, info = env.reset(options={"state": state})
    assert info["unstable"]
    assert is_finite(observation)
    assert not list(tmp_path.iterdir())


@needs_rendering
def test_pictures_survive_an_instability(tmp_path: Path) -> None:
    env = make("DexVid-BottlePickPlace-v0", nan_folder=str(tmp_path), **OBSERVATIONS["rgbd"])
    env.reset(seed=0)
    env.unwrapped.data.qvel[3] = np.nan
    observation, _, terminated, _, _ = env.step(HOLD)
    assert terminated
    assert env.observation_space.contains(observation)
    env.close()


def test_other_files_are_no_reports(tmp_path: Path) -> None:
    text = tmp_path / "text.npz"
    text.write_text("hello")
    empty = tmp_path / "empty.npz"
    np.savez(empty, colour=3)
    for path in (text, empty, tmp_path / "missing.npz"):
        with pytest.raises(DexVidError, match="report of an instability"):
            load_report(path)
