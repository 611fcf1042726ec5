"""The dm_env export: dm_env's own contract, and transitions equal to the Gymnasium environment's."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import dm_env
import gymnasium
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils
from environment_cases import FEW_OBJECTS, IDS
from gymnasium import spaces

from dexvid_envs.dm_control_env import DmControlEnv, load
from dexvid_envs.errors import OptionError


class ContractTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own checks, over the end of an episode."""

    def make_object_under_test(self, **unused: Any) -> DmControlEnv:
        return load("GraspLift", seed=0, max_episode_steps=6)

    def make_action_sequence(self) -> Generator[Any, Any, None]:
        rng = np.random.default_rng(0)
        spec = self.environment.action_spec()
        for _ in range(15):
            yield rng.uniform(spec.minimum, spec.maximum).astype(spec.dtype)


@pytest.mark.parametrize("environment_id", IDS)
def test_transitions_equal_those_of_gymnasium(environment_id: str) -> None:
    options = {"max_episode_steps": 8, **FEW_OBJECTS.get(environment_id, {})}
    env = gymnasium.make(environment_id, **options)
    ours = load(environment_id, seed=3, **options)
    rng = np.random.default_rng(0)
    for episode in range(2):
        observation, _ = env.reset(seed=3) if episode == 0 else env.reset()
        time_step = ours.reset()
        assert time_step.first()
        assert "arm_1" in ours.physics.named.data.qpos.axes.row.names  # looking at the physics changes nothing
        while True:
            np.testing.assert_array_equal(np.concatenate(list(time_step.observation.values())), observation)
            if time_step.last():
                break
            action = rng.uniform(-1, 1, 23).astype(np.float32)
            observation, reward, terminated, truncated, info = env.step(action)
            time_step = ours.step(action)
            assert time_step.reward == reward
            assert time_step.last() == (terminated or truncated)
            assert ours.info == info
        assert time_step.discount == 1.0  # the time limit is no failure
    env.close()
    ours.close()


def test_fields_of_the_state_are_entries_with_their_bounds() -> None:
    env = load("GraspLift", seed=0)
    spec = env.observation_spec()
    assert spec["joint_position"].shape == (23,)
    assert spec["joint_position"].name == "joint_position"
    inner: Any = env.gymnasium_env.unwrapped
    assert list(spec) == [field.name for field in inner.core.fields]
    for name, value in env.reset().observation.items():
        spec[name].validate(value)
    env.close()


class _Scripted(gymnasium.Env[Any, Any]):
    """Ends as it is told; its observation is a nested dict with an image."""

    def __init__(self, terminated: bool, truncated: bool) -> None:
        self.flags = terminated, truncated
        image = spaces.Box(0, 255, (2, 3, 3), np.uint8)
        self.observation_space = spaces.Dict({"camera": spaces.Dict({"rgb": image}), "state": spaces.Box(-1, 1, (4,))})
        self.action_space = spaces.Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.5, *self.flags, {}


@pytest.mark.parametrize(
    ("terminated", "truncated", "kind", "discount"),
    [
        (False, False, dm_env.StepType.MID, 1.0),
        (True, False, dm_env.StepType.LAST, 0.0),
        (False, True, dm_env.StepType.LAST, 1.0),
        (True, True, dm_env.StepType.LAST, 0.0),
    ],
)
def test_step_type_and_discount(terminated: bool, truncated: bool, kind: dm_env.StepType, discount: float) -> None:
    env = DmControlEnv(_Scripted(terminated, truncated), seed=0)
    env.reset()
    time_step = env.step(np.zeros(2, dtype=np.float32))
    assert (time_step.step_type, time_step.discount, time_step.reward) == (kind, discount, 0.5)
    assert env.step(np.zeros(2, dtype=np.float32)).first() == (kind is dm_env.StepType.LAST)


def test_dict_observations_keep_their_keys_and_types() -> None:
    env = DmControlEnv(_Scripted(False, False), seed=0)
    spec = env.observation_spec()
    assert list(spec) == ["camera/rgb", "state"]
    assert spec["camera/rgb"].dtype == np.uint8
    for name, value in env.reset().observation.items():
        spec[name].validate(value)


def test_partial_points_have_a_spec() -> None:
    env = load("OpenCabinet", observation_mode="pointcloud", points="partial", seed=0)
    spec = env.observation_spec()
    for name, value in env.reset().observation.items():
        spec[name].validate(value)
    assert (spec["visible"].minimum, spec["visible"].maximum) == (0, 1)
    env.close()


def test_unknown_spaces_are_refused() -> None:
    env = _Scripted(False, False)
    env.observation_space = spaces.Dict({"count": spaces.Discrete(3)})
    with pytest.raises(OptionError, match="'count' has the space"):
        DmControlEnv(env)


def test_physics_is_live() -> None:
    env = load("GraspLift", seed=0)
    env.reset()
    physics = env.physics
    before = float(physics.named.data.qpos["arm_1"][0])
    for _ in range(5):
        env.step(np.ones(23, dtype=np.float32))
    inner: Any = env.gymnasium_env.unwrapped
    assert env.physics is physics
    assert physics.data.ptr is inner.data
    assert physics.named.data.qpos["arm_1"][0] == inner.data.joint("arm_1").qpos[0] != before
    assert env.control_timestep() == pytest.approx(0.05)
    assert inner.data.time == pytest.approx(0.25)
    env.close()


def test_a_slip_in_the_id_names_the_closest() -> None:
    with pytest.raises(OptionError, match="did you mean 'DexVid-GraspLift-v0'"):
        load("DexVid-GraspLit-v0")
