"""What is rewarded: terms that sum up, success that pays most and ends nothing, releases and landings as physics has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from environment_cases import IDS, make, write_free_pose
from environment_cases import random_actions as actions

from dexvid_envs.errors import OptionError
from dexvid_envs.tasks.task import TaskConfig

HOLD = np.zeros(23)


def put_at_goal(env: Any) -> None:
    """Writes the state in which the task is done, the hand being at home."""
    task, memory = env.task, env.task.memory
    if env.spec.id == "DexVid-OpenCabinet-v0":
        env.data.qpos[task.drawer_qposadr] = 0.9 * task.cabinet.travel_m
    elif env.spec.id == "DexVid-BottlePickPlace-v0":
        write_free_pose(env, (*memory["target"][0], memory["object_size"][0, 2] / 2))
    elif env.spec.id == "DexVid-LiftThrow-v0":
        write_free_pose(env, memory["bucket"][0] + (0.0, 0.0, 0.06))
    else:
        env.model.opt.gravity[:] = 0  # nothing holds it there otherwise
        write_free_pose(env, memory["goal"][0])
    env.simulation.forward(np.zeros(1, dtype=np.int64))


def disturbed_states(env: Any, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """States in which the goal has been left: the object (or drawer) and the robot elsewhere, the counters as they were."""
    task, states, start = env.task, [], env.state()
    for _ in range(count):
        env.core.set_state(0, start)
        share = rng.choice([0.05, 0.3, 1.0])
        if env.spec.id == "DexVid-OpenCabinet-v0":
            env.data.qpos[task.drawer_qposadr] = rng.uniform(0.0, task.cabinet.travel_m)
        else:
            place = slice(task.object_qposadr, task.object_qposadr + 3)
            env.data.qpos[place] += share * rng.uniform((-0.4, -0.4, -0.1), (0.4, 0.4, 0.4))
            turn = rng.normal(size=4) * share + (1.0, 0.0, 0.0, 0.0)
            env.data.qpos[place.stop : place.stop + 4] = turn / np.linalg.norm(turn)
            env.data.qvel[task.object_dofadr : task.object_dofadr + 3] = share * rng.normal(size=3)
        robot = task.robot
        env.data.qpos[task.joint_qposadr] = rng.uniform(robot.lower_rad, robot.upper_rad) * share + robot.home_rad * (1 - share)
        env.data.qvel[task.joint_qposadr] = 0
        states.append(env.state())
    return states


@pytest.mark.parametrize("env_id", IDS)
def test_holding_the_goal_pays_at_least_as_much_as_being_anywhere_else(env_id: str) -> None:
    env = make(env_id, max_episode_steps=10_000).unwrapped
    gravity = env.model.opt.gravity.copy()
    env.reset(seed=0)
    put_at_goal(env)
    held = [env.step(HOLD) for _ in range(40)]
    reward, info = held[-1][1], held[-1][4]
    assert info["success"]
    assert not any(terminated or truncated for _, _, terminated, truncated, _ in held)
    weights = env.task.config.weights
    assert reward == pytest.approx(sum(weights.values()), rel=0.02)
    env.model.opt.gravity[:] = gravity
    best = -np.inf
    for state in disturbed_states(env, 300, np.random.default_rng(0)):
        env.core.set_state(0, state)  # the hold's counter stays, as if success had been kept: the best that leaving can give
        result = env.core.result()
        if not result.figures["unstable"][0]:
            best = max(best, float(result.rewards[0]))
    assert best <= reward + 1e-9
    # Without the counter, which leaving zeroes, less than holding by the success that has to be earned again.
    env.task.memory["held_steps"][0] = 0
    env.task.update(np.zeros(0, dtype=np.int64))
    assert float(env.core.result().rewards[0]) <= reward - 0.9 * weights["success"] + 1e-9


@pytest.mark.parametrize("reward_mode", ["dense", "sparse"])
@pytest.mark.parametrize("env_id", IDS)
def test_leaving_and_returning_pays_less_than_holding(env_id: str, reward_mode: str) -> None:
    """Two futures of the same done state: held throughout, and left for a second in the middle."""
    env = make(env_id, reward_mode=reward_mode).unwrapped
    env.reset(seed=0)
    put_at_goal(env)
    for _ in range(30):
        env.step(HOLD)
    done = env.state()
    stay = sum(env.step(HOLD)[1] for _ in range(60))
    env.reset(options={"state": done})
    leave = 0.0
    for step in range(60):
        if 10 <= step < 30:
            if env_id == "DexVid-OpenCabinet-v0":
                env.data.qpos[env.task.drawer_qposadr] = 0.5 * env.task.cabinet.travel_m
            else:
                env.data.qpos[env.task.object_qposadr + 2] += 0.08 if step == 10 else 0.0
                if "Bottle" in env_id or "Throw" in env_id:
                    env.data.qpos[env.task.object_qposadr] += 0.25 if step == 10 else 0.0
        elif step == 30:
            put_at_goal(env)
        leave += env.step(HOLD)[1]
    assert leave < stay


@pytest.mark.parametrize("reward_mode", ["dense", "sparse"])
@pytest.mark.parametrize("env_id", IDS)
def test_terms_sum_to_the_reward_and_infos_have_the_same_keys(env_id: str, reward_mode: str) -> None:
    env = make(env_id, reward_mode=reward_mode)
    _, info = env.reset(seed=0)
    keys = set(info)
    assert {"success", "is_success", "unstable", "reward/success"} <= keys
    weights = env.unwrapped.task.config.weights if reward_mode == "dense" else {"success": 1.0}
    assert {name for name in keys if name.startswith("reward/")} == {f"reward/{name}" for name in weights}
    for action in actions(25):
        _, reward, terminated, truncated, info = env.step(action)
        assert set(info) == keys
        assert reward == pytest.approx(sum(info[f"reward/{name}"] for name in weights))
        assert all(0 <= info[f"reward/{name}"] <= weight + 1e-12 for name, weight in weights.items())
        assert info["is_success"] is info["success"]
        assert type(terminated) is type(truncated) is bool
        assert type(reward) is float


@pytest.mark.parametrize("env_id", IDS)
def test_weights_may_be_given_in_part_and_in_any_order(env_id: str) -> None:
    plain = make(env_id)
    plain.reset(seed=0)
    weights = dict(plain.unwrapped.task.config.weights)
    turned = make(env_id, weights=dict(reversed(weights.items())))
    doubled = make(env_id, weights={"reach": 2 * weights["reach"]})
    turned.reset(seed=0)
    doubled.reset(seed=0)
    for action in actions(5):
        info = plain.step(action)[4]
        assert turned.step(action)[4] == info
        changed = doubled.step(action)[4]
        assert changed == info | {"reward/reach": changed["reward/reach"]}
        assert changed["reward/reach"] == pytest.approx(2 * info["reward/reach"])
    with pytest.raises(OptionError, match=r"weights=.*expected a mapping of reach.*success to finite numbers, 0 or more"):
        make(env_id, weights={"beauty": 1.0})


@dataclasses.dataclass(frozen=True)
class PenaltyConfig(TaskConfig):
    """Of a user's task."""

    weights: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"reach": 0.5, "effort": -0.1, "success": 1.0})


def test_only_a_penalty_may_have_a_weight_below_zero() -> None:
    assert PenaltyConfig(weights={"effort": -0.2}).weights == {"reach": 0.5, "effort": -0.2, "success": 1.0}
    expected = r"weights=.*expected a mapping of reach, effort, success to finite numbers, 0 or more \(any for effort\)"
    with pytest.raises(OptionError, match=expected):
        PenaltyConfig(weights={"success": -1.0})


def test_drawer_has_to_stay_open_for_ten_steps() -> None:
    env = make("DexVid-OpenCabinet-v0").unwrapped
    env.reset(seed=0)
    travel = env.task.cabinet.travel_m
    info: dict[str, Any] = {}
    for share, lasting, expected in ((0.79, 30, False), (0.81, 9, False), (0.5, 1, False), (0.81, 9, False), (0.81, 1, True)):
        for _ in range(lasting):
            env.data.qpos[env.task.drawer_qposadr] = share * travel
            env.data.qvel[env.task.joint_qposadr.max() + 1] = 0.0
            info = env.step(HOLD)[4]
        assert info["success"] is expected, (share, lasting)
        assert info["opening_m"] == pytest.approx(share * travel, abs=2e-3)
    assert env.reset()[1]["success"] is False


def test_drawer_reset_option() -> None:
    env = make("DexVid-OpenCabinet-v0")
    env.reset(seed=0, options={"opening": 0.35})
    infos = [env.step(HOLD)[4] for _ in range(12)]
    assert [info["success"] for info in infos] == [False] * 9 + [True] * 3


def launch(env: Any, position: Any, velocity: Any) -> list[dict[str, Any]]:
    """Lets the object fly, and gives the infos until it has landed."""
    write_free_pose(env, position, velocity)
    infos = []
    for _ in range(40):
        _, _, terminated, _, info = env.step(HOLD)
        infos.append(info)
        if terminated or (info["landing_error_m"] >= 0 and len(infos) > 25):
            break
    return infos


@pytest.mark.parametrize("velocity", [(1.6, 0.05, 1.9), (1.3, 0.0, 1.9), (2.1, -0.2, 1.6), (1.0, 0.1, 1.2)])
def test_landing_error_is_that_of_a_parabola(velocity: tuple[float, float, float]) -> None:
    env = make("DexVid-LiftThrow-v0", objects=("tennis_ball",)).unwrapped
    env.reset(seed=0, options={"bucket_position": (1.24, 0.0)})
    start, radius = np.array([0.5, 0.1, 0.75]), env.task.memory["object_size"][0, 2] / 2
    rim = env.task.bucket.height_m
    infos = launch(env, start, velocity)
    # Through the rim's height on the way down, if the flight passes over the bucket's opening or beside it.
    speed_up = velocity[2]
    flight_s = (speed_up + np.sqrt(speed_up**2 + 2 * 9.81 * (start[2] - rim))) / 9.81
    landing = start[:2] + flight_s * np.array(velocity[:2])
    error = np.linalg.norm(landing - (1.24, 0.0))
    assert infos[-1]["landing_error_m"] == pytest.approx(error, abs=0.03)
    released = [info["release_time_s"] for info in infos]
    assert released[0] == -1.0  # it is lifted in the first step and counts as let go in the next
    assert set(released[1:]) == {0.1}
    assert infos[-1]["in_bucket"] == (error < env.task.bucket.rim_radius_m - radius - 0.02)


def test_object_thrown_into_the_bucket_succeeds_and_the_episode_goes_on() -> None:
    env = make("DexVid-LiftThrow-v0", objects=("tennis_ball",)).unwrapped
    env.reset(seed=0, options={"bucket_position": (1.24, 0.0)})
    infos = launch(env, (0.7, 0.0, 0.5), (1.0, 0.0, 1.75))
    later = [env.step(HOLD) for _ in range(40)]
    assert not any(terminated or truncated for _, _, terminated, truncated, _ in later)
    _, reward, _, _, info = later[-1]
    assert infos[-1]["landing_error_m"] >= 0
    assert info["success"]
    assert reward == pytest.approx(sum(env.task.config.weights.values()))


def test_object_that_misses_ends_the_episode_without_success() -> None:
    env = make("DexVid-LiftThrow-v0", objects=("foam_brick",))
    env.reset(seed=0, options={"bucket_position": (1.24, 0.0)})
    write_free_pose(env.unwrapped, (0.8, -0.5, 0.4), (1.0, -0.3, 0.0))
    ends = [env.step(HOLD) for _ in range(30)]
    first = [terminated for _, _, terminated, _, _ in ends].index(True)
    assert not any(truncated for *_, truncated, _ in ends)
    assert not ends[first][4]["success"]


def test_the_moment_of_release_is_forgotten_by_the_next_episode() -> None:
    env = make("DexVid-LiftThrow-v0", objects=("tennis_ball",)).unwrapped
    env.reset(seed=0)
    launch(env, (0.6, 0.0, 0.6), (1.5, 0.0, 1.0))
    _, info = env.reset()
    assert (info["release_time_s"], info["landing_error_m"]) == (-1.0, -1.0)


def test_failure_terminates_and_the_time_limit_truncates() -> None:
    for env_id in IDS:
        env = make(env_id, max_episode_steps=5)
        env.reset(seed=0)
        outcomes = [env.step(HOLD)[2:4] for _ in range(5)]
        assert outcomes == [(False, False)] * 4 + [(False, True)], env_id
    for env_id in (name for name in IDS if "Cabinet" not in name):
        env = make(env_id, max_episode_steps=5)
        env.reset(seed=0)
        write_free_pose(env.unwrapped, (3.0, 0.0, 1.0))
        assert env.step(HOLD)[2:4] == (True, False), env_id


RESETS: dict[str, dict[str, Any]] = {
    "DexVid-GraspLift-v0": {
        "object": "banana",
        "object_position": (0.5, 0.05),
        "object_yaw": 0.3,
        "goal_position": [0.45, 0.1, 0.3],
    },
    "DexVid-LiftThrow-v0": {
        "object": "foam_brick",
        "object_position": np.array([0.5, 0.05]),
        "object_yaw": 0.3,
        "bucket_position": (1.2, 0.1),
    },
    "DexVid-BottlePickPlace-v0": {"bottle_position": (0.5, -0.25), "bottle_yaw": 0.3, "target_position": (0.44, 0.15)},
    "DexVid-OpenCabinet-v0": {"cabinet_position": (0.8, 0.02), "cabinet_yaw": 0.05, "opening": 0.2},
}

#: In place of a position and a yaw.
POSES = {"object_pose", "bottle_pose"}


@pytest.mark.parametrize("env_id", [env_id for env_id in IDS if "OpenCabinet" not in env_id])
def test_a_reset_puts_the_object_into_any_pose(env_id: str) -> None:
    env, free = make(env_id).unwrapped, make(env_id).unwrapped
    name, half = f"{env.task.noun}_pose", np.sqrt(0.5)
    pose = np.array([0.45, 0.35, 0.35, half, half, 0.0, 0.0])  # lying on its side, in the air, beside the hand
    env.reset(seed=3, options={name: pose})
    free.reset(seed=3)
    adr = env.task.object_qposadr
    np.testing.assert_allclose(env.data.qpos[adr : adr + 7], pose)
    np.testing.assert_allclose(env.data.body(env.task.noun).xpos, pose[:3])
    others = np.delete(np.arange(env.model.nq), np.arange(adr, adr + 7))
    assert np.array_equal(env.data.qpos[others], free.data.qpos[others])
    height = [env.data.qpos[adr + 2]]
    for _ in range(4):
        env.step(HOLD)
        height.append(env.data.qpos[adr + 2])
    assert height[-1] < 0.30  # it falls
    for wrong, said in (
        (np.array([*pose[:2], 0.0, *pose[3:]]), "mm in it: add that to z"),
        (np.array([*pose[:3], 1.0, 1.0, 0.0, 0.0]), "unit quaternion"),
    ):
        with pytest.raises(OptionError, match=said):
            env.reset(options={name: wrong})
    with pytest.raises(OptionError, match="leave one out"):
        env.reset(options={name: pose, f"{env.task.noun}_yaw": 0.1})


@pytest.mark.parametrize("env_id", IDS)
def test_reset_options_are_honoured_and_draw_the_rest_alike(env_id: str) -> None:
    env, free = make(env_id).unwrapped, make(env_id).unwrapped
    options = RESETS[env_id]
    assert set(options) == set(env.task.reset_options) - POSES
    env.reset(seed=3, options=options)
    free.reset(seed=3)
    task, memory = env.task, env.task.memory
    if "opening" in options:
        body = env.data.body("cabinet")
        assert np.allclose(body.xpos[:2], options["cabinet_position"])
        assert np.arctan2(body.xmat[3], body.xmat[0]) == pytest.approx(0.05)
        assert task.opening[0] == 0.2
    else:
        noun = task.noun
        body = env.data.body(noun)
        assert np.allclose(body.xpos[:2], options[f"{noun}_position"])
        assert np.arctan2(body.xmat[3], body.xmat[0]) == pytest.approx(0.3)
        if noun in options:
            assert task.objects_in(memory["variant"]) == [options[noun]]
        for name, key in (("goal", "goal_position"), ("bucket", "bucket_position"), ("target", "target_position")):
            if key in options:
                expected = np.asarray(options[key])
                assert np.allclose(memory[name][0, : len(expected)], expected)
                assert np.allclose(env.data.body(name).xpos[: len(expected)], expected)
    joints = task.joint_qposadr
    assert np.array_equal(env.data.qpos[joints], free.data.qpos[joints])
    env.reset()
    free.reset()
    assert np.array_equal(env.data.qpos, free.data.qpos)  # the options have changed nothing of what follows


@pytest.mark.parametrize("wrong", ["x", None, float("nan"), float("inf"), (1.0, float("nan")), (1,) * 7, {}, [[1, 2]], True])
@pytest.mark.parametrize("env_id", IDS)
def test_wrong_reset_options_are_refused_and_the_episode_goes_on(env_id: str, wrong: Any) -> None:
    env = make(env_id)
    env.reset(seed=3)
    before = env.unwrapped.state()["simulation"]
    for name in env.unwrapped.task.reset_options:
        with pytest.raises(OptionError, match=f"reset option '{name}' is .*; expected"):
            env.reset(options={name: wrong})
        assert np.array_equal(env.unwrapped.state()["simulation"], before)
    with pytest.raises(OptionError, match=f"unknown reset option 'wind'.*{env.unwrapped.task.reset_options[0]}.*'state'"):
        env.reset(options={"wind": wrong})
    with pytest.raises(OptionError, match="expected a mapping"):
        env.reset(options=[1])
    env.step(HOLD)


def test_drawer_cannot_be_opened_beyond_its_travel() -> None:
    env = make("DexVid-OpenCabinet-v0")
    for wrong in (-0.1, 0.5):
        with pytest.raises(OptionError, match=r"'opening' is .*expected 0 to 0.4 m"):
            env.reset(options={"opening": wrong})
