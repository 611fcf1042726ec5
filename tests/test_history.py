"""The history wrapper: what it shows, that views stay as they were, and that one and many agree."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import dexvid_envs  # noqa: F401 (registers)
from dexvid_envs.errors import OptionError
from dexvid_envs.history import HistoryObservation, VectorHistoryObservation

ENV_ID = "DexVid-OpenCabinet-v0"
LENGTH = 4


def actions(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype(np.float32)


def test_history_is_the_last_observations_and_views_never_change() -> None:
    env, plain = HistoryObservation(gymnasium.make(ENV_ID), LENGTH), gymnasium.make(ENV_ID)
    frames = [plain.reset(seed=1)[0]] * LENGTH
    shown = env.reset(seed=1)[0]
    kept = []
    for action in actions(90, 23):  # longer than one tape
        assert np.array_equal(shown, np.stack(frames[-LENGTH:]))
        assert shown in env.observation_space
        kept.append((shown, shown.copy()))
        frames.append(plain.step(action)[0])
        shown = env.step(action)[0]
    assert all(np.array_equal(view, copy) for view, copy in kept)
    with pytest.raises(ValueError, match="read-only"):
        shown[0] = 0


def test_consecutive_histories_share_their_frames() -> None:
    env = HistoryObservation(gymnasium.make(ENV_ID), LENGTH)
    env.reset(seed=0)
    first, second = (env.step(action)[0] for action in actions(2, 23))
    assert np.shares_memory(first, second)


def test_only_chosen_keys_get_a_history() -> None:
    made = gymnasium.make(ENV_ID, observation_mode="pointcloud")
    env = HistoryObservation(made, LENGTH, keys=("proprioception", "points"))
    observation, _ = env.reset(seed=0)
    assert observation["points"].shape == (LENGTH, 100, 3)
    assert observation["goal"].shape == (1,)
    assert observation in env.observation_space


@pytest.mark.parametrize("mode", AutoresetMode)
def test_vector_histories_equal_single_ones_in_every_autoreset_mode(mode: AutoresetMode) -> None:
    count, limit = 3, 7
    envs: Any = VectorHistoryObservation(
        gymnasium.make_vec(ENV_ID, num_envs=count, max_episode_steps=limit, autoreset_mode=mode), LENGTH
    )
    singles = [HistoryObservation(gymnasium.make(ENV_ID, max_episode_steps=limit), LENGTH) for _ in range(count)]
    shown, _ = envs.reset(seed=5)
    done = np.zeros(count, dtype=bool)
    for row, env in enumerate(singles):
        assert np.array_equal(env.reset(seed=5 + row)[0], shown[row])
    for drawn in actions(20, count, 23):
        if mode == AutoresetMode.DISABLED and done.any():
            shown, _ = envs.reset(options={"reset_mask": done})
            for row in np.flatnonzero(done):
                assert np.array_equal(singles[row].reset()[0], shown[row])
        shown, _, terminated, truncated, infos = envs.step(drawn)
        for row, env in enumerate(singles):
            if mode == AutoresetMode.NEXT_STEP and done[row]:
                observation = env.reset()[0]
            else:
                observation, _, ended, cut, _ = env.step(drawn[row])
                if (ended or cut) and mode == AutoresetMode.SAME_STEP:
                    assert np.array_equal(infos["final_obs"][row], observation)
                    observation = env.reset()[0]
            assert np.array_equal(observation, shown[row])
        done = terminated | truncated


def test_a_history_is_pickled_and_made_again_from_its_spec() -> None:
    env = HistoryObservation(gymnasium.make(ENV_ID), LENGTH)
    env.reset(seed=0)
    env.step(actions(1, 23)[0])
    assert env.spec is not None
    twin, remade = pickle.loads(pickle.dumps(env)), gymnasium.make(env.spec)
    for action in actions(2 * LENGTH, 23):
        assert np.array_equal(env.step(action)[0], twin.step(action)[0])
    assert np.array_equal(env.reset(seed=3)[0], remade.reset(seed=3)[0])
    assert remade.observation_space == env.observation_space


@pytest.mark.parametrize(("length", "keys"), [(0, None), (2.5, None), (4, ("smell",))])
def test_mistakes_are_named(length: Any, keys: Any) -> None:
    with pytest.raises(OptionError, match="history"):
        HistoryObservation(gymnasium.make(ENV_ID), length, keys)
