"""What delay and noise do to the pictures of `rgbd`, and to states that go to another observation mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from environment_cases import IDS, make, needs_rendering, same
from environment_cases import random_actions as actions

GRASP = "DexVid-GraspLift-v0"
HOLD = np.zeros(23)
SMALL = {"observation_mode": "rgbd", "image_width": 24, "image_height": 16}


@needs_rendering
@pytest.mark.parametrize("env_id", IDS)
def test_delay_shows_the_pictures_of_some_steps_ago_and_the_robot_of_now(env_id: str) -> None:
    delay = 2
    late = make(env_id, randomization={"object_delay_steps": (delay, delay)}, **SMALL)
    plain = make(env_id, **SMALL)
    history = [plain.reset(seed=0)[0]]
    assert same(late.reset(seed=0)[0], history[0])  # the past is as the start
    state = late.unwrapped.state()
    for step in range(6):
        if step == 4:  # the past goes with the state, into an episode that saw other things
            late.unwrapped.reset(seed=9)
            late.unwrapped.reset(options={"state": state})
        observation = late.step(actions(6)[step])[0]
        state = late.unwrapped.state()
        history.append(plain.step(actions(6)[step])[0])
        expected = history[max(len(history) - 1 - delay, 0)]
        for name in observation:
            assert np.array_equal(observation[name], (expected if "_" in name else history[-1])[name]), name
    assert not np.array_equal(history[-1]["rgb_front"], history[-2]["rgb_front"])
    late.close()
    plain.close()


@needs_rendering
def test_object_noise_of_pictures_is_on_their_depth() -> None:
    noisy, plain = make(GRASP, randomization={"object_noise_m": 0.01}, **SMALL), make(GRASP, **SMALL)
    noisy.reset(seed=0)
    plain.reset(seed=0)
    differences = []
    for _ in range(4):
        first, second = noisy.step(HOLD)[0], plain.step(HOLD)[0]
        assert noisy.observation_space.contains(first)
        assert np.array_equal(first["rgb_front"], second["rgb_front"])
        near = second["depth_front"] < 4.9
        differences.append((first["depth_front"] - second["depth_front"])[near])
    assert np.std(differences) == pytest.approx(0.01, rel=0.1)
    assert np.abs(np.mean(differences)) < 0.001
    assert abs(np.corrcoef(differences[0], differences[1])[0, 1]) < 0.2  # drawn anew at every step
    noisy.close()
    plain.close()


@needs_rendering
def test_a_state_with_late_sight_goes_from_one_observation_mode_to_another() -> None:
    options: dict[str, Any] = {"randomization": {"object_delay_steps": (1, 2), "object_noise_m": 0.01}}
    blind, seeing = make(GRASP, **options), make(GRASP, **options, **SMALL)
    for first, second in ((blind, seeing), (seeing, blind)):
        first.reset(seed=3)
        first.step(actions(1)[0])
        second.reset(seed=4)
        state = first.unwrapped.state()
        observation, _ = second.reset(options={"state": state})
        assert second.observation_space.contains(observation)
        kept = second.unwrapped.state()["randomization"]
        assert all(np.array_equal(kept[name], state["randomization"][name]) for name in kept.keys() & state["randomization"])
    blind.close()
    seeing.close()
