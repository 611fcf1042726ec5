"""What the ladder of one video shows beside its rungs: success by turn, and bottles that are dropped and taken again."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from baselines.evaluate import evaluate
from baselines.policy import ZeroPolicy
from benchmarks.single_video_pictures import _turning_points
from benchmarks.success_by_turn import by_turn

BOTTLE = "DexVid-BottlePickPlace-v0"


def test_every_episode_is_in_the_part_of_its_turn() -> None:
    options: dict[str, Any] = {"start_yaw_rad": np.pi, "max_episode_steps": 2, "bottle": "mustard"}
    zero = lambda envs: ZeroPolicy(envs.single_observation_space, envs.single_action_space)  # noqa: E731
    result = evaluate(zero, BOTTLE, episodes=24, env_options=options)
    parts = by_turn(result)
    assert [name for name, _ in parts][:2] == ["0 to 30 degrees", "30 to 60 degrees"]
    assert sorted(one.seed for _, part in parts for one in part.episodes) == [one.seed for one in result.episodes]
    del options["max_episode_steps"]
    env = gymnasium.make(BOTTLE, **options)
    inner: Any = env.unwrapped
    core = inner.core
    for number, (_, part) in enumerate(parts):
        for one in part.episodes:
            env.reset(seed=one.seed)
            rotation = core.simulation.xmat[0, core.task.object_body_id].reshape(3, 3)
            assert 30 * number <= np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0])) % 180 < 30 * (number + 1)
    env.close()


@pytest.mark.parametrize(
    ("height", "away", "expected"),
    [
        ([0, 0.05, 0.05, 0.0, 0.0, 0.05, 0.0], [0.3, 0.3, 0.2, 0.2, 0.2, 0.1, 0.0], [1, 3, 5]),  # dropped on the way
        ([0, 0.05, 0.05, 0.0, 0.0, 0.05, 0.0], [0.3, 0.3, 0.1, 0.01, 0.01, 0.01, 0.0], []),  # set down at the target
        ([0, 0.05, 0.05, 0.0, 0.0, 0.0, 0.0], [0.3, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2], []),  # never taken again
        ([0, 0.0, 0.0], [0.3, 0.3, 0.3], []),
    ],
)
def test_turning_points_of_a_drop(height: list[float], away: list[float], expected: list[int]) -> None:
    assert _turning_points(np.array(height), np.array(away)) == expected
