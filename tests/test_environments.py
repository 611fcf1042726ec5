"""What everything registered has to keep: Gymnasium's contract, determinism, equality of one and many, saved states, errors."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import dexvid_envs  # noqa: F401 (registers)
from dexvid_envs.errors import ActionError, DexVidError, OptionError
from dexvid_envs.registration import REGISTRATIONS
from dexvid_envs.rewards import tolerance


def make(env_id: Any, **options: Any) -> Any:
    """`gymnasium.make`, whose result's own attributes the type checker need not know."""
    return gymnasium.make(env_id, **options)


IDS = [entry.id for entry in REGISTRATIONS]
MODES = ("joint_delta", "joint_target")


def actions(count: int, size: int = 23, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, size)).astype(np.float32)


@pytest.mark.parametrize("control_mode", MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_checker_finds_nothing(env_id: str, control_mode: str) -> None:
    env = make(env_id, control_mode=control_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", IDS)
def test_two_seeded_runs_are_identical(env_id: str) -> None:
    traces = []
    for _ in range(2):
        env = make(env_id)
        trace = [env.reset(seed=7)[0]]
        for action in actions(60):
            observation, reward, _, _, _ = env.step(action)
            trace.append(np.append(observation, np.float32(reward)))
        traces.append(np.concatenate(trace))
    assert np.array_equal(*traces)


@pytest.mark.parametrize("env_id", IDS)
def test_vector_equals_single_bit_for_bit_over_whole_episodes(env_id: str) -> None:
    count, steps = 3, 210  # beyond the time limit of 200
    vector = gymnasium.make_vec(env_id, num_envs=count)
    singles = [make(env_id) for _ in range(count)]
    observations, _ = vector.reset(seed=11)
    for row, env in enumerate(singles):
        assert np.array_equal(env.reset(seed=11 + row)[0], observations[row])
    drawn = np.random.default_rng(1).uniform(-1, 1, (steps, count, 23)).astype(np.float32)
    for step in range(steps):
        observations, rewards, terminated, truncated, infos = vector.step(drawn[step])
        for row, env in enumerate(singles):
            observation, reward, ended, cut, info = env.step(drawn[step, row])
            assert (reward, ended, cut) == (rewards[row], terminated[row], truncated[row])
            if ended or cut:
                assert np.array_equal(observation, infos["final_obs"][row])
                observation, info = env.reset()
            assert np.array_equal(observation, observations[row])
            assert info["success"] == infos["success"][row]


@pytest.mark.parametrize("env_id", IDS)
def test_saved_state_continues_exactly_in_another_environment(env_id: str) -> None:
    env, other = make(env_id).unwrapped, make(env_id).unwrapped
    env.reset(seed=3)
    other.reset(seed=4)
    for action in actions(25):
        env.step(action)
    state = env.state()
    other.reset(options={"state": copy.deepcopy(state)})
    for action in actions(25, seed=1):
        first, second = env.step(action), other.step(action)
        assert np.array_equal(first[0], second[0])
        assert first[1] == second[1]
        assert first[4] == second[4]


@pytest.mark.parametrize("env_id", IDS)
def test_observation_matches_its_fields_and_shares_no_memory(env_id: str) -> None:
    env = make(env_id)
    observation, _ = env.reset(seed=0)
    fields = env.unwrapped.core.fields
    assert observation.shape == (sum(field.size for field in fields),)
    assert observation.dtype == np.float32
    following = env.step(actions(1)[0])[0]
    assert not np.shares_memory(observation, following)
    env.unwrapped.data.qpos[:] = 0
    assert not np.array_equal(following, np.zeros_like(following))


@pytest.mark.parametrize("env_id", IDS)
def test_observation_describes_the_state_after_the_last_substep(env_id: str) -> None:
    import mujoco

    env = make(env_id).unwrapped
    env.reset(seed=0)
    observation = env.step(actions(1)[0])[0]
    names = [field.name for field in env.core.fields for _ in range(field.size)]
    seen = observation[[name == "fingertip_position" for name in names]].reshape(4, 3)
    model, fresh = env.model, mujoco.MjData(env.model)
    fresh.qpos[:] = env.data.qpos
    mujoco.mj_kinematics(model, fresh)
    tips = np.stack([fresh.site(name).xpos for name in env.task.robot.fingertip_sites])
    assert np.allclose(seen, tips, atol=1e-6)


@pytest.mark.parametrize("reward_mode", ["dense", "sparse"])
@pytest.mark.parametrize("env_id", IDS)
def test_reward_terms_sum_to_the_reward(env_id: str, reward_mode: str) -> None:
    env = make(env_id, reward_mode=reward_mode)
    env.reset(seed=0)
    for action in actions(30):
        _, reward, _, _, info = env.step(action)
        assert reward == pytest.approx(sum(value for name, value in info.items() if name.startswith("reward/")))
        assert isinstance(info["success"], bool)
        assert info["is_success"] == info["success"]


@pytest.mark.parametrize("env_id", IDS)
def test_spec_survives_json_and_pickling(env_id: str) -> None:
    env = make(env_id, control_mode="joint_target")
    for spec in (EnvSpec.from_json(env.spec.to_json()), pickle.loads(pickle.dumps(env.spec))):
        again = make(spec)
        assert np.array_equal(again.reset(seed=1)[0], env.reset(seed=1)[0])


def test_time_limit_truncates_and_does_not_terminate() -> None:
    env = make("DexVid-BottlePickPlace-v0")
    env.reset(seed=0)
    hold = np.zeros(23, dtype=np.float32)
    outcomes = [env.step(hold)[2:4] for _ in range(200)]
    assert outcomes[:-1] == [(False, False)] * 199
    assert outcomes[-1] == (False, True)


@pytest.mark.parametrize("bad", [np.full(23, np.nan), np.full(23, np.inf), np.zeros(22), np.zeros((1, 23))])
def test_bad_action_is_refused_and_nothing_moves(bad: np.ndarray) -> None:
    env = make("DexVid-GraspLift-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    before = env.state()["simulation"]
    with pytest.raises(ActionError, match="expected"):
        env.step(bad)
    assert np.array_equal(env.state()["simulation"], before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control_mode": "telepathy"}, "unknown control_mode 'telepathy'.*joint_delta"),
        ({"reward_mode": "x"}, "unknown reward_mode 'x'.*dense"),
        ({"observation_mode": "smell"}, "unknown observation_mode 'smell'.*state"),
        ({"bottle": "amphora"}, "unknown bottle 'amphora'.*pet"),
        ({"colour": "red"}, "unknown environment option 'colour'.*bottle"),
        ({"render_mode": "hologram"}, "unknown render_mode 'hologram'"),
    ],
)
def test_unknown_option_is_named(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make("DexVid-BottlePickPlace-v0", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"wind": 3},
        {"target_position": (0.4,)},
        {"target_position": (0.4, float("nan"))},
        {"state": {"simulation": np.zeros(3)}},
    ],
)
def test_bad_reset_option_is_refused(options: dict) -> None:
    env = make("DexVid-BottlePickPlace-v0")
    with pytest.raises(DexVidError):
        env.reset(seed=0, options=options)


def test_unknown_object_is_named() -> None:
    with pytest.raises(OptionError, match="'anvil' is not among them"):
        make("DexVid-GraspLift-v0", objects=("anvil",))


def test_tolerance_equals_dm_control() -> None:
    from dm_control.utils import rewards

    x = np.linspace(-2, 2, 401)
    for bounds, margin in [((0.0, 0.0), 0.5), ((-0.3, 0.4), 1.0), ((0.1, np.inf), 0.2), ((0.0, 0.5), 0.0)]:
        assert np.allclose(tolerance(x, bounds, margin), rewards.tolerance(x, bounds, margin), atol=1e-12)


@pytest.mark.parametrize(("bounds", "margin"), [((1.0, 0.0), 0.1), ((0.0, 1.0), -0.1)])
def test_tolerance_refuses_nonsense(bounds: tuple[float, float], margin: float) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        tolerance(np.zeros(1), bounds, margin)
