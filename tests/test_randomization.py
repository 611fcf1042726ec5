"""Each field of the randomisation does what it says, is drawn from the episode's generator, and is nothing when off."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from environment_cases import IDS, STRONG, digest, drive, make, make_vec, needs_rendering, same
from environment_cases import random_actions as actions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dexvid_envs.errors import OptionError
from dexvid_envs.randomization import PRESETS, Randomization, make_randomization

GRASP = "DexVid-GraspLift-v0"
HOLD = np.zeros(23)


def field_of(observation: Any, env: Any, name: str) -> np.ndarray:
    """One named field of a state observation."""
    start = 0
    for field in env.unwrapped.core.fields:
        if field.name == name:
            return observation[start : start + field.size].astype(np.float64)
        start += field.size
    raise KeyError(name)


@pytest.mark.parametrize("env_id", IDS)
def test_nothing_is_drawn_when_off(env_id: str) -> None:
    traces = []
    for randomization in (None, "none", {}, Randomization()):
        env = make(env_id, randomization=randomization)
        traces.append(digest([env.reset(seed=4), drive(env, actions(10)), env.reset()]))
        assert "randomization" not in env.unwrapped.state()
    assert len(set(traces)) == 1


@pytest.mark.parametrize("env_id", IDS)
def test_same_seed_same_draws_and_others_differ(env_id: str) -> None:
    drawn = []
    for seed in (4, 4, 5):
        env = make(env_id, randomization=STRONG)
        env.reset(seed=seed)
        drawn.append(env.unwrapped.state()["randomization"])
    assert same(drawn[0], drawn[1])
    for name in ("friction", "mass", "actuator_gain", "camera_shift", "camera_turn", "noise_seed"):
        assert not same(drawn[0][name], drawn[2][name]), name


@pytest.mark.parametrize("env_id", IDS)
def test_friction_mass_and_gains_are_scaled_as_drawn(env_id: str) -> None:
    low, high = 0.5, 1.5
    options = {"friction": (low, high), "mass": (low, high), "actuator_gain": (low, high)}
    plain, env = make(env_id).unwrapped, make(env_id, randomization=options).unwrapped
    choice = {"object": env.task.object_names[1]} if "object" in env.task.reset_options else {}
    plain.reset(seed=1, options=choice)
    factors = []
    for seed in range(12):
        env.reset(seed=seed, options=choice)
        drawn, body = env.state()["randomization"], env.model.body(env.task.moved_body).id
        factors.append([drawn["friction"], drawn["mass"], *drawn["actuator_gain"]])
        touching = np.isclose(env.model.geom_friction[:, 0], plain.model.geom_friction[:, 0] * drawn["friction"])
        own = np.flatnonzero(env.model.geom_bodyid == body)
        assert touching[own].all()
        assert touching[[env.model.geom(name).id for name in hand_geoms(env)]].all()
        assert env.model.geom("table").friction[0] == plain.model.geom("table").friction[0]
        assert np.isclose(env.model.body_mass[body], plain.model.body_mass[body] * drawn["mass"])
        assert np.allclose(env.model.body_inertia[body], plain.model.body_inertia[body] * drawn["mass"])
        others = np.arange(env.model.nbody) != body
        assert np.array_equal(env.model.body_mass[others], plain.model.body_mass[others])
        gain = drawn["actuator_gain"]
        assert np.allclose(env.model.actuator_gainprm[:, 0], plain.model.actuator_gainprm[:, 0] * gain)
        assert np.allclose(env.model.actuator_biasprm[:, 1:3], plain.model.actuator_biasprm[:, 1:3] * gain[:, None])
        assert np.array_equal(env.model.actuator_forcerange, plain.model.actuator_forcerange)
    values = np.array(factors)
    assert values.min() >= low
    assert values.max() <= high
    assert np.ptp(values[:, 0]) > 0.5
    assert np.ptp(values[:, 1]) > 0.5
    assert np.abs(values[:, 2:].mean() - 1.0) < 0.05


def hand_geoms(env: Any) -> list[str]:
    """Collision geoms of the fingertips."""
    model = env.model
    geoms = [model.geom(index) for index in range(model.ngeom) if model.geom_group[index] == 3]
    tips = [geom.name for geom in geoms if "distal" in geom.name]
    assert len(tips) >= 4
    return tips


def test_heavier_objects_press_harder_and_stay_put() -> None:
    """The drawn mass is what the engine works with: an object on the table weighs mass times gravity."""
    env = make(GRASP, randomization={"mass": (3.0, 3.0)}).unwrapped
    env.reset(seed=0, options={"object": "mug"})
    for _ in range(20):
        env.step(HOLD)
    body = env.model.body("object")
    support = env.data.qfrc_constraint[env.task.object_dofadr + 2]
    assert support == pytest.approx(body.subtreemass[0] * 9.81, rel=0.02)
    assert body.subtreemass[0] == pytest.approx(body.mass[0])


@pytest.mark.parametrize("env_id", [GRASP, "DexVid-BottlePickPlace-v0", "DexVid-LiftThrow-v0"])
def test_sizes_occur_in_five_steps_and_are_true(env_id: str) -> None:
    env, plain = (
        make(env_id, randomization=given, observation_mode="pointcloud").unwrapped for given in ({"size": (0.8, 1.2)}, None)
    )
    choice = {"object": "foam_brick"} if "Throw" in env_id else {}
    plain.reset(seed=0, options=choice)
    nominal, factors = dict(zip(plain.task.object_names, plain.task.variant_extents, strict=True)), set()
    for seed in range(40):
        observation, _ = env.reset(seed=seed, options=choice)
        memory = env.task.memory
        (name,) = env.task.objects_in(memory["variant"])
        factor = memory["object_size"][0] / nominal[name]
        assert np.allclose(factor, factor[0], atol=0.02)
        factors.add(round(float(factor.mean()), 2))
        spread = np.ptp(observation["points"], axis=0)
        assert spread[2] <= memory["object_size"][0, 2] + 0.003
        for _ in range(3):
            env.step(HOLD)
        assert env.task.object_pos_world[0, 2] == pytest.approx(memory["object_size"][0, 2] / 2, abs=4e-3)
    assert sorted(factors) == [0.8, 0.9, 1.0, 1.1, 1.2]


@pytest.mark.parametrize("env_id", IDS)
def test_joint_noise_has_the_stated_spread_and_spares_the_truth(env_id: str) -> None:
    noisy, plain = make(env_id, randomization={"joint_noise_rad": 0.02}), make(env_id)
    noisy.reset(seed=0)
    plain.reset(seed=0)
    differences = []
    for _ in range(60):
        first, second = noisy.step(HOLD)[0], plain.step(HOLD)[0]
        noise = field_of(first, noisy, "joint_position") - field_of(second, plain, "joint_position")
        differences.append(noise)
        error = field_of(first, noisy, "joint_error") - field_of(second, plain, "joint_error")
        assert np.allclose(error, -noise, atol=1e-5)  # the error is taken from the same sensor
        assert np.array_equal(field_of(first, noisy, "palm_position"), field_of(second, plain, "palm_position"))
    spread = np.array(differences)
    assert spread.std() == pytest.approx(0.02, rel=0.1)
    assert np.abs(spread.mean()) < 0.002
    following = np.corrcoef(spread[:-1].ravel(), spread[1:].ravel())[0, 1]
    assert abs(following) < 0.1  # drawn anew at every step
    assert np.array_equal(noisy.unwrapped.data.qpos, plain.unwrapped.data.qpos)


@pytest.mark.parametrize("env_id", IDS)
def test_object_noise_shifts_place_and_points_together(env_id: str) -> None:
    for mode in ("state", "pointcloud"):
        noisy = make(env_id, randomization={"object_noise_m": 0.01}, observation_mode=mode)
        plain = make(env_id, observation_mode=mode)
        noisy.reset(seed=0)
        plain.reset(seed=0)
        shifts = []
        noun = getattr(noisy.unwrapped.task, "noun", "handle")
        for _ in range(60):
            first, second = noisy.step(HOLD)[0], plain.step(HOLD)[0]
            if mode == "pointcloud":
                shift = first["points"].astype(np.float64) - second["points"]
                assert np.ptp(shift, axis=0).max() < 1e-6  # one shift for all points
                shifts.append(shift[0])
                assert np.array_equal(first["proprioception"], second["proprioception"])
                continue
            place, palm = f"{noun}_position", f"{noun}_to_palm"
            shifts.append(field_of(first, noisy, place) - field_of(second, plain, place))
            assert np.allclose(shifts[-1], field_of(first, noisy, palm) - field_of(second, plain, palm), atol=1e-6)
        spread = np.array(shifts)
        assert spread.std() == pytest.approx(0.01, rel=0.2)
        assert np.abs(spread.mean(axis=0)).max() < 0.005


@pytest.mark.parametrize("delay", [1, 3])
@pytest.mark.parametrize("env_id", IDS)
def test_delay_shows_the_object_of_some_steps_ago_and_the_robot_of_now(env_id: str, delay: int) -> None:
    late = make(env_id, randomization={"object_delay_steps": (delay, delay)}, observation_mode="pointcloud")
    plain = make(env_id, observation_mode="pointcloud")
    history = [plain.reset(seed=0)[0]]
    first, _ = late.reset(seed=0)
    assert np.array_equal(first["points"], history[0]["points"])  # the past is as the start
    for step in range(8):
        for env in (late, plain):
            dof = env.unwrapped.model.body(env.unwrapped.task.moved_body).dofadr[0]
            env.unwrapped.data.qvel[dof] = 0.4  # it is on its way
        observation = late.step(actions(8)[step])[0]
        history.append(plain.step(actions(8)[step])[0])
        expected = history[max(len(history) - 1 - delay, 0)]
        assert np.array_equal(observation["points"], expected["points"])
        assert np.array_equal(observation["proprioception"], history[-1]["proprioception"])
        assert np.array_equal(observation["goal"], history[-1]["goal"])
    assert not np.array_equal(history[-1]["points"], history[-2]["points"])


def test_the_cabinet_refuses_a_size_that_it_would_not_have() -> None:
    for randomization in ({"size": (0.9, 1.1)}, Randomization(size=(1.1, 1.1))):
        with pytest.raises(OptionError, match=r"size=.*the cabinet keeps its size; leave it out"):
            make("DexVid-OpenCabinet-v0", randomization=randomization)
    for preset in PRESETS.values():
        make("DexVid-OpenCabinet-v0", randomization=dataclasses.asdict(preset))


def test_delay_is_drawn_within_its_bounds() -> None:
    env = make(GRASP, randomization={"object_delay_steps": (1, 3)})
    delays = set()
    for seed in range(30):
        env.reset(seed=seed)
        delays.add(int(env.unwrapped.state()["randomization"]["delay_steps"]))
    assert delays == {1, 2, 3}


@pytest.mark.parametrize("env_id", IDS)
def test_cameras_move_by_at_most_what_is_stated(env_id: str) -> None:
    shift, turn = 0.05, 0.1
    plain = make(env_id).unwrapped
    env = make(env_id, randomization={"camera_shift_m": shift, "camera_turn_rad": turn}).unwrapped
    plain.reset(seed=0)
    moved, turned = [], []
    for seed in range(20):
        env.reset(seed=seed)
        moved.append(env.model.cam_pos - plain.model.cam_pos)
        cosine = np.abs((env.model.cam_quat * plain.model.cam_quat).sum(axis=-1))
        turned.append(2 * np.arccos(np.clip(cosine, -1, 1)))
        assert np.allclose(np.linalg.norm(env.model.cam_quat, axis=-1), 1.0)
    assert 0.8 * shift < np.abs(moved).max() <= shift
    assert 0.5 * turn < np.max(turned) <= turn * np.sqrt(3) + 1e-9


@needs_rendering
def test_moved_cameras_take_other_pictures() -> None:
    options = {"observation_mode": "rgbd", "image_width": 32, "image_height": 24}
    env = make(GRASP, randomization={"camera_shift_m": 0.2}, **options)
    plain = make(GRASP, **options)
    start = {"object": "mug", "object_position": (0.5, 0.0), "goal_position": (0.4, 0.0, 0.3), "object_yaw": 0.0}
    pictures = [
        one.reset(seed=seed, options=start)[0]["rgb_front"].astype(float) for one, seed in ((env, 0), (env, 1), (plain, 0))
    ]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(pictures[first] - pictures[second]).mean() > 2.0


@pytest.mark.parametrize("env_id", IDS)
def test_disturbances_are_bounded_rare_last_and_differ_from_row_to_row(env_id: str) -> None:
    strength, chance, lasting, count, steps = 3.0, 0.2, 3, 8, 120
    given = {"force_m_per_s2": strength, "force_probability": chance, "force_steps": lasting, "mass": (0.5, 1.5)}
    vector = make_vec(env_id, count, randomization=given, max_episode_steps=None, autoreset_mode="disabled")
    vector.reset(seed=0)
    body = vector.simulation.model.body(vector.task.moved_body).id
    starts, chances = 0, 0
    previous, left = np.zeros((count, 3)), np.zeros(count, dtype=int)
    for _ in range(steps):
        vector.core.advance(np.zeros((count, 23)))
        forces = vector.simulation.xfrc_applied[:, body].copy()
        assert not forces[:, 3:].any()
        others = np.delete(vector.simulation.xfrc_applied, body, axis=1)
        assert not others.any()
        for row, force in enumerate(forces[:, :3]):
            assert np.linalg.norm(force) <= strength * vector.core.randomizer.mass_kg[row] + 1e-9
            if left[row] > 0:
                assert np.array_equal(force, previous[row])  # it lasts
                left[row] -= 1
            else:
                chances += 1
                if force.any():
                    starts += 1
                    left[row] = lasting - 1
        pushed = forces[forces.any(axis=1)]
        assert len(np.unique(pushed, axis=0)) == len(pushed)  # each row has its own
        previous = forces[:, :3]
    assert starts / chances == pytest.approx(chance, abs=0.06)


def test_a_force_moves_the_object_as_newton_says() -> None:
    env = make(GRASP, randomization={"force_m_per_s2": 5.0, "force_probability": 1.0, "force_steps": 1000}).unwrapped
    env.reset(seed=0, options={"object": "mug"})
    start = env.task.object_qposadr
    env.data.qpos[start : start + 3] = (0.4, 0.0, 1.5)
    env.step(HOLD)
    force = env.data.xfrc_applied[env.task.object_body_id, :3]
    acceleration = force / env.model.body("object").mass[0] + (0.0, 0.0, -9.81)
    assert np.allclose(env.data.qvel[env.task.object_dofadr : env.task.object_dofadr + 3], acceleration * 0.05, atol=1e-6)
    assert 0 < np.linalg.norm(force) / env.model.body("object").mass[0] <= 5.0


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run(name: str) -> None:
    env = make("DexVid-OpenCabinet-v0", randomization=name, observation_mode="pointcloud", privileged=True)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert env.observation_space.contains(drive(env, actions(5))[-1][0])
    assert make_randomization(dataclasses.asdict(PRESETS[name])) == PRESETS[name]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("wild", "unknown randomization 'wild': expected one of none, physics, full, disturbance"),
        (5, "randomization=5: expected a preset"),
        ({"frictoin": (1, 2)}, "unknown randomization field 'frictoin'.*did you mean 'friction'"),
        ({3: 4}, "unknown randomization field 3"),
        ({"friction": 1.0}, "friction=1.0: expected .low, high."),
        ({"friction": (2.0, 1.0)}, "0 < low <= high"),
        ({"mass": (0.0, 1.0)}, "0 < low <= high"),
        ({"mass": ("a", "b")}, "0 < low <= high"),
        ({"size": (1.0, float("inf"))}, "0 < low <= high"),
        ({"object_delay_steps": (0, 2.5)}, "expected .least, most. control steps"),
        ({"object_delay_steps": 2}, "expected .least, most. control steps"),
        ({"object_delay_steps": (0, 500)}, "0 to 20"),
        ({"joint_noise_rad": "much"}, "joint_noise_rad='much': expected a finite number"),
        ({"joint_noise_rad": -0.1}, "0 or more"),
        ({"force_probability": 1.5}, "expected a probability"),
        ({"force_steps": 1.5}, "whole number of steps"),
        ({"force_steps": 0}, "whole number of steps"),
    ],
)
def test_wrong_randomizations_are_named(given: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make(GRASP, randomization=given)
    with pytest.raises(OptionError, match=message):
        make_vec(GRASP, 2, randomization=given)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.floats(), max_size=3),
    st.just([1, 2]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([field.name for field in dataclasses.fields(Randomization)]), anything, max_size=3))
def test_any_mapping_makes_sense_or_is_refused(given: dict[str, Any]) -> None:
    try:
        made = make_randomization(given)
    except OptionError:
        return
    for name in ("friction", "mass", "size", "actuator_gain"):
        low, high = getattr(made, name)
        assert 0 < low <= high < np.inf
    assert all(isinstance(steps, int) for steps in made.object_delay_steps)


@settings(max_examples=12, deadline=None)
@given(
    friction=st.tuples(st.floats(0.01, 1.0), st.floats(1.0, 50.0)),
    noise=st.floats(0.0, 100.0),
    delay=st.tuples(st.integers(0, 5), st.integers(5, 20)),
    force=st.floats(0.0, 50.0),
    steps=st.integers(1, 1000),
)
def test_whatever_is_accepted_runs(friction: Any, noise: float, delay: Any, force: float, steps: int) -> None:
    given = {"friction": friction, "joint_noise_rad": noise, "object_noise_m": noise, "object_delay_steps": delay}
    given |= {"force_m_per_s2": force, "force_steps": steps, "force_probability": 1.0}
    env = make("DexVid-OpenCabinet-v0", randomization=given, observation_mode="pointcloud", privileged=True)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    for action in actions(3):
        assert env.observation_space.contains(env.step(action)[0])
