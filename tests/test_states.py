"""An episode's whole state: determinism, full resets, saving, restoring, forking, copying and pickling."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
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
    observation_cases,
    row_of,
    same,
)
from environment_cases import random_actions as actions
from gymnasium.envs.registration import EnvSpec

from dexvid_envs import rendering
from dexvid_envs.errors import OptionError

CASES = observation_cases("state", "partial+")
RANDOM = [pytest.param(None, id="plain"), pytest.param(STRONG, id="random")]


def whole_state(env: Any) -> dict[str, Any]:
    """The saved state, the model's arrays, and the arrays of the data that a step may depend on."""
    model = {name: getattr(env.model, name).copy() for name in ("geom_friction", "body_mass", "body_inertia", "geom_size")}
    model |= {name: getattr(env.model, name).copy() for name in ("actuator_gainprm", "cam_pos", "cam_quat", "body_invweight0")}
    data = {name: getattr(env.data, name).copy() for name in ("qpos", "qvel", "ctrl", "qacc_warmstart", "xfrc_applied")}
    data |= {name: getattr(env.data, name).copy() for name in ("mocap_pos", "mocap_quat", "qfrc_applied", "xpos", "cvel")}
    return env.state() | {"model": model, "data": data, "contacts": env.data.ncon}


@pytest.mark.parametrize("randomization", RANDOM)
@pytest.mark.parametrize("env_id", IDS)
def test_reset_after_episodes_equals_that_of_a_fresh_environment(env_id: str, randomization: Any) -> None:
    used, fresh = (make(env_id, randomization=randomization, observation_mode="pointcloud").unwrapped for _ in range(2))
    for seed in range(3):
        used.reset(seed=seed)
        used.data.qfrc_applied[:] = used.data.xfrc_applied[:] = 0.3  # a user's forces do not outlive an episode
        drive(used, actions(30, seed=seed))
    for seed in (9, 10):
        first, second = used.reset(seed=seed), fresh.reset(seed=seed)
        assert same(first[0], second[0])
        assert same(first[1], second[1])
        assert same(whole_state(used), whole_state(fresh))
        assert digest(drive(used, actions(20))) == digest(drive(fresh, actions(20)))
        assert same(whole_state(used), whole_state(fresh))


@pytest.mark.parametrize("control_mode", CONTROL_MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_two_seeded_runs_are_identical(env_id: str, control_mode: str) -> None:
    traces = []
    for _ in range(2):
        env = make(env_id, control_mode=control_mode, randomization=STRONG, observation_mode="pointcloud", privileged=True)
        started = env.reset(seed=7)
        traces.append(digest([started, drive(env, actions(30, env.action_space.shape[0]))]))
    assert traces[0] == traces[1]


def trace_of_all() -> dict[str, str]:
    """Hashes of episodes' beginnings in every environment, control and observation mode; another process makes them too.

    Each pair of two of these occurs, not each of the three together: making an environment takes longer than the episode.
    """
    traces = {}
    for (number, env_id), (turn, (name, observation)) in itertools.product(enumerate(IDS), enumerate(OBSERVATIONS.items())):
        if "rgbd" in name and rendering.choose_backend() is None:
            continue
        control_mode = CONTROL_MODES[(number + turn) % len(CONTROL_MODES)]
        env = make(env_id, control_mode=control_mode, randomization=STRONG, **observation)
        started, moves = env.reset(seed=7), actions(4, env.action_space.shape[0])
        traces[f"{env_id} {control_mode} {name}"] = digest([started, drive(env, moves), env.unwrapped.state()])
        env.close()
    return traces


def test_another_process_runs_the_same_episodes() -> None:
    program = "import json, test_states; print(json.dumps(test_states.trace_of_all()))"
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdout=pipe, stderr=pipe, text=True) as other:
        own = trace_of_all()  # meanwhile
        output, errors = other.communicate(timeout=300)
    assert other.returncode == 0, errors
    assert json.loads(output.splitlines()[-1]) == own


@pytest.mark.parametrize("way", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("randomization", RANDOM)
@pytest.mark.parametrize("env_id", IDS)
def test_a_copy_goes_on_alike_and_alone(env_id: str, randomization: Any, way: Any) -> None:
    env = make(env_id, randomization=randomization, privileged=True)
    env.action_space.seed(1)
    for seed in (5, None):
        env.reset(seed=seed)
        drive(env, actions(12))
    twin = way(env)
    assert same(twin.unwrapped.state(), env.unwrapped.state())
    assert np.array_equal(twin.action_space.sample(), env.action_space.sample())
    drawn = actions(200, seed=2)  # over the time limit and the reset after it
    steps = 195
    ahead = drive(env, drawn[:steps])
    assert digest(drive(twin, drawn[:steps])) == digest(ahead)
    before = twin.unwrapped.state()
    env.reset(seed=99)
    env.unwrapped.model.body_mass[:] *= 2
    env.unwrapped.data.qpos[:] = 0
    drive(env, drawn[:3])
    assert same(twin.unwrapped.state(), before)


def test_a_copy_keeps_the_users_changes_of_the_model() -> None:
    env = make("DexVid-GraspLift-v0")
    env.reset(seed=0)
    env.unwrapped.model.opt.gravity[2] = -1.6
    twin = copy.deepcopy(env)
    twin.reset(seed=1)
    env.reset(seed=1)
    assert twin.unwrapped.model.opt.gravity[2] == -1.6
    assert digest(drive(twin, actions(5))) == digest(drive(env, actions(5)))


@pytest.mark.parametrize("env_id", IDS)
def test_a_step_is_ten_of_the_engines(env_id: str) -> None:
    """Also where somebody has written to the state before."""
    env = make(env_id).unwrapped
    env.reset(seed=0)
    for write in ("", "qpos", "qvel", "mocap_pos", "ctrl", "xfrc_applied"):
        if write:
            getattr(env.data, write)[..., 0] += 0.01
        plain = copy.copy(env.data)
        plain.ctrl[:] = env.core.control.next_target(np.zeros((1, 23)), plain.ctrl[None])[0]
        mujoco.mj_step(env.model, plain, 10)
        env.step(np.zeros(23))
        assert np.array_equal(env.data.qpos, plain.qpos)
        assert np.array_equal(env.data.qvel, plain.qvel)


@pytest.mark.parametrize("what", ["look ahead", "inverse kinematics"])
def test_computing_with_the_live_data_changes_nothing_once_the_state_is_back(what: str) -> None:
    env, twin = (make("DexVid-BottlePickPlace-v0").unwrapped for _ in range(2))
    for one in (env, twin):
        one.reset(seed=0)
        drive(one, actions(5))
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.zeros(mujoco.mj_stateSize(env.model, kind))
    mujoco.mj_getState(env.model, env.data, state, kind)
    if what == "look ahead":
        mujoco.mj_step(env.model, env.data, 40)
    else:
        env.data.qpos[:7] += 0.3
        mujoco.mj_fwdPosition(env.model, env.data)
    mujoco.mj_setState(env.model, env.data, state, kind)
    assert digest(drive(env, actions(5, seed=1))) == digest(drive(twin, actions(5, seed=1)))


@pytest.mark.parametrize("given", [np.zeros(3), 4, ["mug"], "sofa"])
def test_a_refused_reset_leaves_episode_and_generator_as_they_were(given: Any) -> None:
    env = make("DexVid-GraspLift-v0", randomization=STRONG)
    env.reset(seed=0)
    drive(env, actions(3))
    twin = copy.deepcopy(env)
    with pytest.raises(OptionError, match=r"reset option 'object' is .* expected one of mug, banana"):
        env.reset(options={"object": given})
    assert same(env.unwrapped.state(), twin.unwrapped.state())
    assert same(env.reset()[0], twin.reset()[0])


def test_an_environment_is_copied_before_its_first_reset() -> None:
    env = make("DexVid-LiftThrow-v0", randomization="full")
    twin = pickle.loads(pickle.dumps(env))
    assert same(twin.reset(seed=1)[0], env.reset(seed=1)[0])


@pytest.mark.parametrize("observation", CASES)
@pytest.mark.parametrize("randomization", RANDOM)
@pytest.mark.parametrize("env_id", IDS)
def test_saved_state_continues_exactly_anywhere(env_id: str, randomization: Any, observation: dict[str, Any]) -> None:
    options = {"randomization": randomization, **observation}
    env, other, rows = make(env_id, **options), make(env_id, **options), make_vec(env_id, 3, **options)
    env.reset(seed=3)
    other.reset(seed=4)
    drive(other, actions(7, seed=9))
    rows.reset(seed=20)
    drive(env, actions(20))
    state = copy.deepcopy(env.unwrapped.state())
    kept = copy.deepcopy(state)
    drawn = actions(12, seed=1)
    ahead = drive(env, drawn)
    for one in (env, other):  # back in the same environment, and in another one
        one.reset(options={"state": state})
        assert digest(drive(one, drawn)) == digest(ahead)
    each = [{}, {"state": state}, {}]
    rows.reset(seed=[1, None, 2], options={"each": each})
    assert same(rows.unwrapped.state(1), state)
    for action, (seen, reward, ended, _, info) in zip(drawn, ahead, strict=True):
        observations, rewards, terminated, _, infos = rows.step(np.stack([action * 0, action, -action]))
        assert same(row_of(observations, 1), seen)
        assert (rewards[1], terminated[1]) == (reward, ended)
        assert all(infos[name][1] == value for name, value in info.items())
    assert same(state, kept)  # it was not changed by its use


@pytest.mark.parametrize("env_id", IDS)
def test_restoring_shows_the_observation_of_that_moment(env_id: str) -> None:
    env = make(env_id, randomization=STRONG, observation_mode="pointcloud", privileged=True)
    env.reset(seed=3)
    observation, _, _, _, info = drive(env, actions(9))[-1]
    state = env.unwrapped.state()
    drive(env, actions(9))
    again, its_info = env.reset(options={"state": state})
    assert same(again, observation)
    assert its_info == info


def test_state_without_randomization_is_taken_by_a_randomized_environment() -> None:
    plain, noisy = make("DexVid-GraspLift-v0"), make("DexVid-GraspLift-v0", randomization={"object_delay_steps": (3, 3)})
    plain.reset(seed=1)
    noisy.reset(seed=2)
    observation, _ = noisy.reset(options={"state": plain.unwrapped.state()})
    assert np.array_equal(observation, plain.unwrapped.core.observer.observe()[0])  # not the object of the episode before


GRASP = "DexVid-GraspLift-v0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: 5, "no state of GraspLift"),
        (lambda state: {}, "no state of GraspLift"),
        (lambda state: state | {"colour": 1}, "no state of GraspLift"),
        (lambda state: state | {"simulation": np.zeros(3)}, r"simulation has shape \(3,\)"),
        (lambda state: state | {"simulation": "x"}, "simulation has shape"),
        (lambda state: state | {"memory": 3}, "memory holds 3; expected .*goal"),
        (lambda state: state | {"memory": state["memory"] | {"x": 1}}, "memory holds .*x.*; expected .*goal"),
        (
            lambda state: state | {"memory": state["memory"] | {"goal": np.zeros(2)}},
            r"'goal' has shape \(2,\).*expected \(3,\)",
        ),
        (lambda state: state | {"memory": state["memory"] | {"goal": ["a", "b", "c"]}}, "'goal' has shape"),
        (lambda state: state | {"memory": state["memory"] | {"goal": [[1], 2, 3]}}, "'goal' has shape"),
        (
            lambda state: state | {"memory": state["memory"] | {"object_size": np.ones(3)}},
            "none of this environment's.*mug.*banana",
        ),
        (lambda state: state | {"randomization": {"wind": 1}}, "randomization holds .*wind"),
    ],
)
def test_wrong_states_are_refused_and_the_episode_goes_on(change: Any, message: str) -> None:
    env, calm = make(GRASP), make(GRASP)
    env.reset(seed=1)
    calm.reset(seed=1)
    with pytest.raises(OptionError, match=message):
        env.reset(options={"state": change(env.unwrapped.state())})
    assert same(whole_state(env.unwrapped), whole_state(calm.unwrapped))
    assert digest(drive(env, actions(5))) == digest(drive(calm, actions(5)))


def test_states_of_other_tasks_and_objects_are_refused() -> None:
    env = make(GRASP)
    env.reset(seed=0)
    for other, message in (
        (make("DexVid-BottlePickPlace-v0"), "GraspLift|simulation|memory"),
        (make(GRASP, objects=("bowl",)), "none of this environment's"),
        (make(GRASP, randomization="full"), "randomization holds"),
    ):
        other.reset(seed=1)
        with pytest.raises(OptionError, match=message):
            env.reset(options={"state": other.unwrapped.state()})
    with pytest.raises(OptionError, match="holds the whole state; got also"):
        env.reset(options={"state": env.unwrapped.state(), "object": "mug"})


def test_nothing_changes_when_one_row_of_many_is_refused() -> None:
    rows = make_vec(GRASP, 3, randomization="full")
    rows.reset(seed=1)
    before = [rows.unwrapped.state(row) for row in range(3)]
    with pytest.raises(OptionError, match="expected one of mug, banana"):
        rows.reset(options={"each": [{}, {"object": "mug"}, {"object": "anvil"}]})
    assert all(same(rows.unwrapped.state(row), before[row]) for row in range(3))
    rows.step(np.zeros((3, 23)))


@pytest.mark.parametrize("randomization", ["full", {"mass": [0.5, 2.0], "object_delay_steps": [1, 2]}])
@pytest.mark.parametrize("env_id", IDS)
def test_spec_survives_json_and_pickling(env_id: str, randomization: Any) -> None:
    env = make(env_id, control_mode="wrist_delta", observation_mode="pointcloud", privileged=True, randomization=randomization)
    observation, _ = env.reset(seed=1)
    for spec in (EnvSpec.from_json(env.spec.to_json()), pickle.loads(pickle.dumps(env.spec))):
        again: Any = gymnasium.make(spec)
        assert again.observation_space == env.observation_space
        assert same(again.reset(seed=1)[0], observation)


def test_options_given_as_arrays_survive_json() -> None:
    options: dict[str, Any] = {"start_centre_m": np.array([0.5, 0.0]), "hold_steps": np.int64(12)}
    options["randomization"] = {"mass": np.array([0.5, 2.0])}
    env, envs = make("DexVid-BottlePickPlace-v0", **options), make_vec("DexVid-BottlePickPlace-v0", 2, **options)
    again: Any = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert same(again.reset(seed=1)[0], env.reset(seed=1)[0])
    assert again.spec == EnvSpec.from_json(env.spec.to_json())
    many: Any = gymnasium.make_vec(EnvSpec.from_json(envs.spec.to_json()))
    assert same(many.reset(seed=1)[0], envs.reset(seed=1)[0])
    assert isinstance(options["randomization"]["mass"], np.ndarray)  # the caller's are left alone


def test_state_holds_all_that_the_engine_calls_state() -> None:
    env = make(GRASP).unwrapped
    env.reset(seed=0)
    spec = mujoco.mjtState.mjSTATE_INTEGRATION
    assert env.state()["simulation"].shape == (mujoco.mj_stateSize(env.model, spec),)
    rows = make_vec(GRASP, 2).unwrapped
    rows.reset(seed=0)
    assert np.array_equal(rows.state(0)["simulation"], env.state()["simulation"])


def test_a_state_finds_its_object_among_others() -> None:
    alone: Any = gymnasium.make("DexVid-GraspLift-v0", objects=("mug",))
    many: Any = gymnasium.make("DexVid-GraspLift-v0")
    alone.reset(seed=3)
    for _ in range(5):
        alone.step(alone.action_space.sample())
    many.reset(seed=0, options={"state": alone.unwrapped.state()})
    task, model = many.unwrapped.task, many.unwrapped.model
    assert task.objects_in(task.memory["variant"]) == ["mug"]
    assert model.body("object").mass == alone.unwrapped.model.body("object").mass
    assert np.array_equal(many.unwrapped.data.body("object").xpos, alone.unwrapped.data.body("object").xpos)
    others: Any = gymnasium.make("DexVid-GraspLift-v0", objects=("baseball", "banana"))
    others.reset(seed=0)
    with pytest.raises(OptionError, match="is none of this environment's"):
        others.reset(options={"state": alone.unwrapped.state()})
