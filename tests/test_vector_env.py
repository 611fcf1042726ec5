"""Many environments at once: equal to single ones bit for bit, in every autoreset mode; partial resets, seeds, adapters."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from environment_cases import (
    CONTROL_MODES,
    IDS,
    OBSERVATIONS,
    STRONG,
    digest,
    drive,
    make,
    make_vec,
    needs_rendering,
    observation_cases,
    row_of,
    same,
    write_free_pose,
)
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dexvid_envs.errors import ActionError, OptionError

GRASP = "DexVid-GraspLift-v0"
COUNT, STEPS = 3, 26
#: Short episodes, so that their ends and resets are in the trace.
LIMIT = 8


def drawn_actions(count: int = COUNT, steps: int = STEPS, size: int = 23) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (steps, count, size)).astype(np.float32)


def reference(env_id: str, mode: AutoresetMode, count: int = COUNT, **options: Any) -> Any:
    """Gymnasium's own loop over single environments."""
    limit = options.pop("max_episode_steps", LIMIT)
    makers = [lambda: make(env_id, max_episode_steps=limit, **options) for _ in range(count)]
    return SyncVectorEnv(makers, autoreset_mode=mode, observation_mode="same")


def lose_object(vector: Any, singles: Any, row: int) -> None:
    """Ends an episode by failure: the object is flung off the table (the drawer's task never fails)."""
    if not hasattr(vector.task, "object_qposadr"):
        return
    start = vector.task.object_qposadr
    vector.simulation.qpos[row, start : start + 3] = (3.0, 0.0, 1.0)
    singles.envs[row].unwrapped.data.qpos[start : start + 3] = (3.0, 0.0, 1.0)


def assert_same_infos(infos: dict[str, Any], expected: dict[str, Any], rows: Any) -> None:
    """All figures of the reference, of the rows for which it has them."""
    for name, values in expected.items():
        if name.startswith("_") or name.startswith("final"):
            continue
        for row in rows:
            assert infos[name][row] == values[row], (name, row)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("randomization", [pytest.param(None, id="plain"), pytest.param(STRONG, id="random")])
@pytest.mark.parametrize("observation", observation_cases("state", "partial+"))
@pytest.mark.parametrize("env_id", IDS)
def test_equals_gymnasiums_loop_over_single_environments(
    env_id: str, observation: dict[str, Any], randomization: Any, mode: AutoresetMode
) -> None:
    options = {"randomization": randomization, "max_episode_steps": LIMIT, **observation}
    vector = make_vec(env_id, COUNT, autoreset_mode=mode, num_threads=2, **options)
    singles = reference(env_id, mode, **options)
    observations, infos = vector.reset(seed=11)
    expected, expected_infos = singles.reset(seed=11)
    assert same(observations, expected)
    assert_same_infos(infos, expected_infos, range(COUNT))
    ends = np.zeros(2, dtype=int)
    for step, action in enumerate(drawn_actions()):
        if step in (3, 12):
            lose_object(vector, singles, step % 2)
        observations, rewards, terminated, truncated, infos = vector.step(action)
        seen, their_rewards, their_terminated, their_truncated, their_infos = singles.step(action)
        assert same(observations, seen)
        assert np.array_equal(rewards, their_rewards)
        assert np.array_equal(terminated, their_terminated)
        assert np.array_equal(truncated, their_truncated)
        ended = np.flatnonzero(terminated | truncated)
        if mode == AutoresetMode.NEXT_STEP or not len(ended):
            assert_same_infos(infos, their_infos, range(COUNT))
        else:
            for row in ended:
                assert same(row_of(infos["final_obs"], row), their_infos["final_obs"][row])
            assert np.array_equal(infos["_final_obs"], their_infos["_final_obs"])
            assert_same_infos(infos["final_info"], their_infos["final_info"], ended)
            assert_same_infos(infos, their_infos, range(COUNT))
        ends += [terminated.sum(), truncated.sum()]
    assert ends[1] >= COUNT
    assert ends[0] > 0 or not hasattr(vector.task, "object_qposadr")


@pytest.mark.parametrize("control_mode", CONTROL_MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_whole_episodes_equal_single_ones_in_every_control_mode(env_id: str, control_mode: str) -> None:
    limit, randomization = (200, "full") if control_mode == "joint_delta" else (40, STRONG)
    options = {"control_mode": control_mode, "observation_mode": "pointcloud", "randomization": randomization}
    options["max_episode_steps"] = limit
    vector = make_vec(env_id, 2, num_threads=2, **options)
    size = vector.single_action_space.shape[0]
    drawn = drawn_actions(2, limit + 6, size)  # beyond the time limit
    observations, _ = vector.reset(seed=5)
    trace = [vector.step(action) for action in drawn]
    for row in range(2):
        env = make(env_id, **options)
        observation, _ = env.reset(seed=5 + row)
        assert same(observation, row_of(observations, row))
        for step, action in enumerate(drawn[:, row]):
            seen, rewards, terminated, truncated, infos = trace[step]
            observation, reward, ended, cut, info = env.step(action)
            assert (reward, ended, cut) == (rewards[row], terminated[row], truncated[row])
            if ended or cut:
                assert same(observation, row_of(infos["final_obs"], row))
                observation, info = env.reset()
            assert same(observation, row_of(seen, row))
            assert all(infos[name][row] == value for name, value in info.items())


@pytest.mark.parametrize("env_id", IDS)
def test_disabled_mode_waits_for_a_masked_reset(env_id: str) -> None:
    randomization = "full" if env_id == GRASP else STRONG
    vector = make_vec(env_id, COUNT, autoreset_mode="disabled", max_episode_steps=LIMIT, randomization=randomization)
    singles = reference(env_id, AutoresetMode.DISABLED, randomization=randomization)
    (observations, infos), (seen, their_infos) = vector.reset(seed=3), singles.reset(seed=3)
    assert same(observations, seen)
    assert_same_infos(infos, their_infos, range(COUNT))
    resets = 0
    drawn = drawn_actions()
    lose_object(vector, singles, 1)
    for step in range(20):
        observations, rewards, terminated, truncated, infos = vector.step(drawn[step])
        seen, their_rewards, their_terminated, their_truncated, their_infos = singles.step(drawn[step])
        assert same(observations, seen)
        assert_same_infos(infos, their_infos, range(COUNT))
        assert np.array_equal(rewards, their_rewards)
        assert np.array_equal([terminated, truncated], [their_terminated, their_truncated])
        done = terminated | truncated
        if done.any():
            before = [vector.unwrapped.state(row) for row in range(COUNT)]
            with pytest.raises(OptionError, match=r"have ended.*reset_mask"):
                vector.step(drawn[step])
            assert all(same(vector.unwrapped.state(row), before[row]) for row in range(COUNT))
            observations, infos = vector.reset(options={"reset_mask": done})
            seen, their_infos = singles.reset(options={"reset_mask": done.copy()})
            assert same(observations, seen)
            assert_same_infos(infos, their_infos, np.flatnonzero(done))
            resets += int(done.sum())
            assert all(same(vector.unwrapped.state(row), before[row]) for row in np.flatnonzero(~done))
    assert resets > COUNT


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("env_id", IDS)
def test_a_copy_goes_on_alike_and_alone(env_id: str, mode: AutoresetMode) -> None:
    way = copy.deepcopy if mode == AutoresetMode.DISABLED else lambda envs: pickle.loads(pickle.dumps(envs))
    envs = make_vec(env_id, 2, autoreset_mode=mode, max_episode_steps=LIMIT, randomization=STRONG, num_threads=2)
    drawn = drawn_actions(2, 30)

    def play(vector: Any, steps: range) -> list[Any]:
        trace = []
        for step in steps:
            trace.append(vector.step(drawn[step]))
            done = trace[-1][2] | trace[-1][3]
            if mode == AutoresetMode.DISABLED and done.any():
                trace.append(vector.reset(options={"reset_mask": done}))
        return trace

    untouched = way(envs)
    envs.action_space.seed(1)
    envs.reset(seed=5)
    play(envs, range(LIMIT))  # at the end of an episode
    twin = way(envs)
    assert all(same(twin.state(row), envs.state(row)) for row in range(2))
    assert np.array_equal(twin.action_space.sample(), envs.action_space.sample())
    assert digest(play(envs, range(LIMIT, 27))) == digest(play(twin, range(LIMIT, 27)))
    before = twin.state(1)
    envs.reset(seed=99)
    assert same(twin.state(1), before)
    with pytest.raises(ResetNeeded):
        untouched.step(drawn[0])
    assert same(untouched.reset(seed=99)[0], envs.reset(seed=99)[0])


@pytest.mark.parametrize("observation", [OBSERVATIONS["state"], OBSERVATIONS["partial+"]])
def test_threads_change_nothing(observation: dict[str, Any]) -> None:
    traces = []
    for threads in (1, 2):
        vector = make_vec(GRASP, 5, num_threads=threads, max_episode_steps=LIMIT, randomization="full", **observation)
        traces.append([vector.reset(seed=1)[0]] + [vector.step(action)[0] for action in drawn_actions(5)])
    assert all(same(first, second) for first, second in zip(*traces, strict=True))


def test_results_stay_as_they_were() -> None:
    """What a step returned does not change with later steps and resets, nor do rows share what they should not."""
    vector = make_vec("DexVid-LiftThrow-v0", 2, max_episode_steps=3, observation_mode="pointcloud", privileged=True)
    observations, infos = vector.reset(seed=0)
    kept = [({k: v.copy() for k, v in observations.items()}, {k: v.copy() for k, v in infos.items()}, observations, infos)]
    for action in drawn_actions(2, 8):
        vector.task.memory["release_time_s"][:] = 0.5  # as if it had been thrown
        observations, _, _, _, infos = vector.step(action)
        final = infos.get("final_info", infos)
        kept.append(
            ({k: v.copy() for k, v in observations.items()}, {k: v.copy() for k, v in final.items()}, observations, final)
        )
        assert (final["release_time_s"] == 0.5).all()
    for observations_then, infos_then, observations_now, infos_now in kept:
        assert same(observations_then, observations_now)
        assert same(infos_then, infos_now)


def test_seeds_and_partial_resets() -> None:
    vector, single = make_vec(GRASP, 3), make(GRASP)
    observations, _ = vector.reset(seed=[7, 3, 11])
    for row, seed in enumerate((7, 3, 11)):
        assert np.array_equal(observations[row], single.reset(seed=seed)[0])
    following, _ = vector.reset(seed=[None, 3, None])
    single.reset(seed=7)
    assert np.array_equal(following[0], single.reset()[0])
    assert np.array_equal(following[1], observations[1])
    mask = np.array([False, True, False])
    vector.step(drawn_actions(3, 1)[0])
    before = [vector.unwrapped.state(row) for row in range(3)]
    again, _ = vector.reset(seed=3 - 1, options={"reset_mask": mask, "each": [{"object": "mug"}]})
    assert np.array_equal(again[1], single.reset(seed=3, options={"object": "mug"})[0])
    assert all(same(vector.unwrapped.state(row), before[row]) for row in (0, 2))
    everywhere, _ = vector.reset(seed=1, options={"object": "banana", "object_position": (0.5, 0.1)})
    assert np.array_equal(everywhere[2], single.reset(seed=3, options={"object": "banana", "object_position": (0.5, 0.1)})[0])


@pytest.mark.parametrize(
    ("reset", "message"),
    [
        ({"seed": [1, 2]}, "expected a whole number.*3 of them"),
        ({"seed": -1}, "expected a whole number"),
        ({"seed": "x"}, "expected a whole number"),
        ({"seed": 1.5}, "expected a whole number"),
        ({"seed": [1, 2, "x"]}, "expected a whole number"),
        ({"options": 5}, "expected a mapping"),
        ({"options": {"each": 5}}, "'each' is 5; expected a list"),
        ({"options": {"each": [{}]}}, "for 1 environments, expected 3"),
        ({"options": {"each": [{}, {}, 3]}}, "reset options are 3; expected a mapping of object"),
        ({"options": {"each": [{}] * 3, "object": "mug"}}, "'each' holds all options; got also"),
        ({"options": {"reset_mask": [True]}}, "expected 3 booleans"),
        ({"options": {"reset_mask": np.zeros(3, dtype=bool)}}, "at least one of them true"),
        ({"options": {"reset_mask": np.ones(3)}}, "expected 3 booleans"),
        ({"options": {"wind": 3}}, "unknown reset option 'wind': expected one of object, .*state"),
    ],
)
def test_wrong_resets_are_refused_and_change_nothing(reset: dict[str, Any], message: str) -> None:
    vector = make_vec(GRASP, 3)
    vector.reset(seed=1)
    before = [vector.unwrapped.state(row) for row in range(3)]
    with pytest.raises(OptionError, match=message):
        vector.reset(**reset)
    assert all(same(vector.unwrapped.state(row), before[row]) for row in range(3))
    vector.step(np.zeros((3, 23)))


@pytest.mark.parametrize("actions", [np.zeros((2, 23)), np.full((3, 23), np.nan), "walk", [[0.0], [0.0, 1.0], []], None])
def test_wrong_actions_are_refused_and_nothing_moves(actions: Any) -> None:
    vector = make_vec(GRASP, 3, randomization="full")
    vector.reset(seed=1)
    before = [vector.unwrapped.state(row) for row in range(3)]
    with pytest.raises(ActionError, match="expected"):
        vector.step(actions)
    assert all(same(vector.unwrapped.state(row), before[row]) for row in range(3))
    assert (vector.elapsed_steps == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"autoreset_mode": "sometimes"}, "unknown autoreset_mode 'sometimes'.*SAME_STEP"),
        ({"num_threads": -1}, "num_threads=-1"),
        ({"num_threads": "all"}, "num_threads='all'"),
        ({"max_episode_steps": 0}, "max_episode_steps=0"),
        ({"render_mode": "human"}, "expected None or rgb_array"),
        ({"camera": "roof"}, "unknown camera 'roof': expected one of .*front"),
        ({"width": 0}, "width=0: expected a whole number of pixels"),
        ({"control_mode": "telepathy"}, "unknown control_mode 'telepathy'.*joint_delta"),
        ({"objects": ("anvil",)}, "expected one or more of .*mug.*'anvil' is not among them"),
        ({"colour": "red"}, "unknown environment option 'colour'.*objects"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_vec(GRASP, 2, **options)


def test_nothing_is_stepped_before_it_is_reset() -> None:
    vector = make_vec(GRASP, 2)
    with pytest.raises(ResetNeeded, match=r"environments \[0, 1\] have not been started"):
        vector.step(np.zeros((2, 23)))
    vector.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"environments \[1\]"):
        vector.step(np.zeros((2, 23)))
    vector.reset(options={"reset_mask": np.array([False, True])})
    vector.step(np.zeros((2, 23)))


def test_an_ignored_action_may_be_anything() -> None:
    vector = make_vec(GRASP, 2, max_episode_steps=2, autoreset_mode="NEXT_STEP")
    vector.reset(seed=[0, 1])
    vector.unwrapped.elapsed_steps[:] = (1, 0)
    assert vector.step(np.zeros((2, 23)))[3].tolist() == [True, False]
    wild = np.zeros((2, 23))
    wild[0] = np.nan
    with pytest.raises(ActionError):
        vector.step(wild[::-1])
    vector.step(wild)


def test_infos_are_the_callers_own() -> None:
    vector = make_vec("DexVid-LiftThrow-v0", 2)
    vector.reset(seed=0)
    infos = vector.step(np.zeros((2, 23)))[4]
    for values in infos.values():
        values[0] = True
    following = vector.step(np.zeros((2, 23)))[4]
    assert not any(following[name].any() for name in ("success", "is_success", "unstable", "in_bucket"))


def test_a_wide_goal_is_judged_row_by_row() -> None:
    """With a success distance beyond where the release is looked at, rows far from their target earn as they do alone."""
    starts = [{"bottle_position": (0.46, -0.10), "target_position": (0.46, y)} for y in (0.15, 0.0)]
    vector = make_vec("DexVid-BottlePickPlace-v0", 2, success_distance_m=0.3)
    vector.reset(seed=[0, 1], options={"each": starts})
    rewards = vector.step(np.zeros((2, 23)))[1]
    for row, start in enumerate(starts):
        env = make("DexVid-BottlePickPlace-v0", success_distance_m=0.3)
        env.reset(seed=row, options=start)
        assert env.step(np.zeros(23))[1] == rewards[row]


def test_failure_and_time_limit_are_told_apart() -> None:
    vector = make_vec(GRASP, 2, max_episode_steps=2)
    vector.reset(seed=0)
    vector.step(np.zeros((2, 23)))
    start = vector.task.object_qposadr
    vector.simulation.qpos[1, start] = 5.0
    _, _, terminated, truncated, infos = vector.step(np.zeros((2, 23)))
    assert terminated.tolist() == [False, True]
    assert truncated.tolist() == [True, True]
    assert infos["_final_obs"].tolist() == [True, True]


def test_rows_can_be_compared_with_a_moved_single_environment() -> None:
    """Writing to the arrays of a row is the same as writing to a single environment's."""
    vector, env = make_vec("DexVid-LiftThrow-v0", 2), make("DexVid-LiftThrow-v0")
    vector.reset(seed=0)
    env.reset(seed=1)
    write_free_pose(env.unwrapped, (0.6, 0.1, 0.6), (2.0, 0.0, 1.0))
    start, first = vector.task.object_qposadr, vector.task.object_dofadr
    vector.simulation.qpos[1, start : start + 7] = env.unwrapped.data.qpos[start : start + 7]
    vector.simulation.qvel[1, first : first + 6] = env.unwrapped.data.qvel[first : first + 6]
    vector.simulation.forward(np.array([1]))
    action = np.zeros((2, 23))
    for _ in range(5):
        observations, *_ = vector.step(action)
        assert np.array_equal(observations[1], env.step(action[1])[0])


@needs_rendering
def test_a_picture_of_each() -> None:
    vector = make_vec(GRASP, 2, render_mode="rgb_array", width=64, height=48)
    vector.reset(seed=0)
    pictures = vector.render()
    assert len(pictures) == 2
    assert pictures[0].shape == (48, 64, 3)
    assert (pictures[0] != pictures[1]).any()
    vector.close()
    with pytest.raises(OptionError, match="render_mode='rgb_array'"):
        make_vec(GRASP, 1).render()


def test_drive_helper_resets_where_an_episode_ends() -> None:
    env = make(GRASP, max_episode_steps=2)
    env.reset(seed=0)
    assert [len(item) for item in drive(env, np.zeros((4, 23)))] == [5, 5, 2, 5, 5, 2]
