"""Every environment in every observation and control mode: a reset leaves nothing of the past, and many equal single ones."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from environment_cases import CONTROL_MODES, IDS, STRONG, alike, make, make_vec, observation_cases, row_of, same

#: Episodes of this many control steps, so that their ends are met soon.
LIMIT, STEPS = 5, 8


def check_sanity(env: Any, observation: Any, reward: float, info: dict[str, Any]) -> None:
    """What holds in every step of everything: the observation's space, a finite reward, and a simulation without complaints."""
    assert env.observation_space.contains(observation)
    assert np.isfinite(reward)
    assert info["unstable"] is False
    assert not any(warning.number for warning in env.unwrapped.data.warning)


def compare_row(env: Any, row: int, started: Any, trace: list[Any], actions: np.ndarray, seed: int) -> int:
    """Plays a single environment, of sane figures, against one row of many in SAME_STEP mode; how many episodes ended.

    Args:
        env: the single environment.
        row: of the others.
        started: what the others' `reset` gave.
        trace: what their steps gave.
        actions: (steps, A) of the row.
        seed: of the row's first episode.
    """
    observation, info = env.reset(seed=seed)
    check_sanity(env, observation, 0.0, info)
    assert alike(observation, row_of(started[0], row))
    assert info == {name: values[row] for name, values in started[1].items()}
    ends = 0
    for action, (seen, rewards, terminated, truncated, infos) in zip(actions, trace, strict=True):
        observation, reward, ended, cut, info = env.step(action)
        check_sanity(env, observation, reward, info)
        assert (reward, ended, cut) == (rewards[row], terminated[row], truncated[row])
        if ended or cut:
            ends += 1
            assert alike(observation, row_of(infos["final_obs"], row))
            assert info == {name: values[row] for name, values in infos["final_info"].items()}
            observation, info = env.reset()
        assert alike(observation, row_of(seen, row))
        assert all(infos[name][row] == value for name, value in info.items())
    return ends


@pytest.mark.parametrize(
    "observation", observation_cases("state", "full", "partial", "keypoints", "relative", "state+", "full+", "partial+")
)
@pytest.mark.parametrize("control_mode", CONTROL_MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_reset_restores_everything_and_rows_equal_single_environments(
    env_id: str, control_mode: str, observation: dict[str, Any]
) -> None:
    check_resets_and_rows(env_id, control_mode, observation)


@pytest.mark.parametrize("observation", observation_cases("rgbd", "rgbd+"))
@pytest.mark.parametrize("env_id", IDS)
def test_reset_restores_everything_and_rows_equal_single_environments_in_pictures(
    env_id: str, observation: dict[str, Any]
) -> None:
    """In the mode in which all is randomised; three renderers for every control mode would take long and show nothing else."""
    check_resets_and_rows(env_id, "joint_target", observation)


def check_resets_and_rows(env_id: str, control_mode: str, observation: dict[str, Any]) -> None:
    """Compares two environments in a batch with single ones, and a single one after episodes with an unused one."""
    randomization = STRONG if control_mode == "joint_target" else None
    options = {"control_mode": control_mode, "randomization": randomization, "max_episode_steps": LIMIT, **observation}
    many, used, fresh = make_vec(env_id, 2, **options), make(env_id, **options), make(env_id, **options)
    size = many.single_action_space.shape[0]
    drawn = np.random.default_rng(3).uniform(-1, 1, (STEPS, 2, size)).astype(np.float32)
    started = many.reset(seed=7)
    trace = [many.step(action) for action in drawn]
    for row in range(2):
        assert compare_row(used, row, started, trace, drawn[:, row], seed=7 + row) >= 1
    assert used.unwrapped.data.qacc_warmstart.any()
    # After episodes, in the middle of one: warm start, controls and all that was drawn are those of an unused environment.
    for first, second in zip(used.reset(seed=9), fresh.reset(seed=9), strict=True):
        assert alike(first, second)
    assert same(used.unwrapped.state(), fresh.unwrapped.state())
    assert np.array_equal(used.unwrapped.data.ctrl, fresh.unwrapped.data.ctrl)
    assert np.array_equal(used.unwrapped.data.qacc_warmstart, fresh.unwrapped.data.qacc_warmstart)
    for first, second in zip(used.step(drawn[0, 0]), fresh.step(drawn[0, 0]), strict=True):
        assert alike(first, second)
    for env in (many, used, fresh):
        env.close()


def test_sixty_four_equal_single_environments() -> None:
    """The task as it is, with all of its objects and whole point clouds, over an episode's end."""
    env_id, count, steps = "DexVid-GraspLift-v0", 64, 30
    options = {"observation_mode": "pointcloud", "max_episode_steps": 20}
    many: Any = gymnasium.make_vec(env_id, num_envs=count, **options)
    drawn = np.random.default_rng(5).uniform(-1, 1, (steps, count, 23)).astype(np.float32)
    started = many.reset(seed=100)
    trace = [many.step(action) for action in drawn]
    env: Any = gymnasium.make(env_id, **options)
    for row in (0, 21, 63):
        assert compare_row(env, row, started, trace, drawn[:, row], seed=100 + row) >= 1
