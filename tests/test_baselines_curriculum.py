"""Starts from demonstrations: where they begin, how the frontier moves, what the learner is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.curriculum import CurriculumConfig, DemonstrationStarts, ReverseCurriculum
from baselines.sb3_vec_env import Sb3VecEnv
from demos.dataset import read_dataset
from demos.demonstration import Demonstration
from demos.replay import Player
from dexvid_envs.errors import OptionError
from dexvid_envs.vector_env import DexVidVectorEnv

TASK = "dexvid_envs.tasks.bottle_pick_place:BottlePickPlace"


@pytest.fixture(scope="module")
def shipped() -> Demonstration:
    """The shipped one, recorded anew: its states come again exactly on the processor that recorded them."""
    stored = read_dataset(Path(__file__).parents[1] / "demos" / "data" / "refined_pick_place")[0]
    player = Player(stored.env_id, stored.env_options, stored.control_mode)
    recorded = player.record(stored.actions, reset_options=stored.reset_options(0), tier="successful")
    player.close()
    return recorded


def make_starts(shipped: Demonstration, count: int = 4, limit: int = 200, **settings: Any) -> DemonstrationStarts:
    options: dict[str, Any] = {**shipped.env_options, **settings.pop("options", {})}
    envs = DexVidVectorEnv(TASK, count, limit, num_threads=1, autoreset_mode="DISABLED", **options)
    return DemonstrationStarts(envs, [shipped], CurriculumConfig(**settings), seed=0)


@settings(max_examples=50, deadline=None)
@given(
    stride=st.floats(0.05, 1.0),
    threshold=st.floats(0.1, 1.0),
    outcomes=st.lists(st.booleans(), max_size=200),
    seed=st.integers(0, 99),
)
def test_frontier_only_moves_back_and_draws_lie_behind_it(stride, threshold, outcomes, seed):
    curriculum = ReverseCurriculum(CurriculumConfig(share=1.0, stride=stride, success_rate=threshold, episodes=5))
    rng = np.random.default_rng(seed)
    for success in outcomes:
        frontier = curriculum.frontier
        progress = curriculum.draw(rng)
        assert frontier <= progress <= 1.0
        curriculum.report(progress, success)
        assert frontier >= curriculum.frontier >= 0.0
        copy = ReverseCurriculum(curriculum.config)
        copy.restore(curriculum.state())
        assert copy.state() == curriculum.state()


def test_frontier_moves_by_a_stride_once_the_actor_succeeds_there():
    curriculum = ReverseCurriculum(CurriculumConfig(share=1.0, stride=0.25, success_rate=0.6, episodes=5))
    for success in (True, True, False, True):
        curriculum.report(0.8, success)
    curriculum.report(0.99, True)  # within the stride
    assert curriculum.frontier == 0.5
    for _ in range(10):
        curriculum.report(0.9, True)  # behind the new frontier's stretch: tells nothing
        curriculum.report(0.6, False)
    assert curriculum.frontier == 0.5
    for _ in range(30):
        curriculum.report(curriculum.frontier, True)
    assert curriculum.frontier == 0.0


def test_episodes_begin_in_states_of_the_demonstration(shipped):
    starts = make_starts(shipped, limit=shipped.num_steps + 40, share=1.0, stride=0.5)
    starts.reset(seed=0)
    assert np.isnan(starts.began).all()  # the first episodes are the task's own
    last = shipped.num_steps + 39
    starts.elapsed_steps[:] = [last, 0, last, 0]
    observations, _, _, truncated, infos = starts.step(np.zeros((4, 23)))
    assert truncated.tolist() == [True, False, True, False]
    assert infos["_final_obs"].tolist() == truncated.tolist()
    assert not infos["final_info"]["from_demonstration"].any()
    for row in (0, 2):
        step = round(starts.began[row] * shipped.num_steps)
        assert starts.began[row] >= 0.5
        np.testing.assert_allclose(observations[row], shipped.observations[step], atol=1e-5)
        assert not np.allclose(infos["final_obs"][row], observations[row], atol=1e-2)
        assert starts.elapsed_steps[row] == step  # as much time as the demonstration had left, and 40 steps more
    # From there the demonstration's own actions reproduce it.
    step = round(starts.began[0] * shipped.num_steps)
    ahead = min(3, shipped.num_steps - step)
    for k in range(ahead):
        observations, *_ = starts.step(np.tile(shipped.actions[step + k], (4, 1)))
    np.testing.assert_allclose(observations[0], shipped.observations[step + ahead], atol=1e-4)


def test_share_and_report_to_the_learner(shipped):
    """Only episodes from the task's own starts count as success in the learner's figures."""
    starts = make_starts(shipped, count=16, limit=30, share=0.5, steps_left=5)
    vec_env = Sb3VecEnv(starts)
    assert starts.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    vec_env.reset()
    counted = not_counted = 0
    for _ in range(8):
        starts.elapsed_steps[:] = 29
        began = starts.began.copy()
        _, _, dones, infos = vec_env.step(np.zeros((16, 23)))
        assert dones.all()
        for row in range(16):
            assert infos[row]["TimeLimit.truncated"]
            assert ("is_success" in infos[row]) == ("episode" in infos[row]) == bool(np.isnan(began[row]))
            counted += "is_success" in infos[row]
            not_counted += "is_success" not in infos[row]
        assert (starts.elapsed_steps <= 25).all()  # at least 5 steps are left
    assert 0.3 < not_counted / (counted + not_counted) < 0.6  # half of them, the very first ones apart


def test_success_from_a_late_start_moves_the_frontier(shipped):
    """Who holds still after the last state of the demonstration succeeds."""
    limit = shipped.num_steps + 10
    starts = make_starts(shipped, count=8, limit=limit, share=1.0, stride=0.02, episodes=8, steps_left=5)
    starts.reset(seed=0)
    starts.elapsed_steps[:] = limit - 1
    starts.step(np.zeros((8, 23)))
    before = starts.curriculum.frontier
    for _ in range(30):
        starts.step(np.zeros((8, 23)))
    assert starts.curriculum.frontier < before


def test_point_clouds_and_randomised_physics(shipped):
    drawn = {"mass": (0.7, 1.3), "object_noise_m": 0.003, "object_delay_steps": (0, 2)}
    options = {"observation_mode": "pointcloud", "points": "partial", "privileged": True, "randomization": drawn}
    starts = make_starts(shipped, limit=3, share=0.5, steps_left=2, options=options)
    starts.reset(seed=0)
    for _ in range(6):
        observations, _, _, _, infos = starts.step(np.zeros((4, 23)))
        assert set(observations) == {"proprioception", "goal", "points", "visible", "privileged"}
        if "final_obs" in infos:
            assert set(infos["final_obs"]) == set(observations)
            assert all(np.isfinite(part).all() for part in observations.values())


def test_what_does_not_fit_is_refused(shipped):
    envs = DexVidVectorEnv(TASK, 2, 10, num_threads=1)
    with pytest.raises(OptionError, match="autoreset_mode='DISABLED'"):
        DemonstrationStarts(envs, [shipped], CurriculumConfig(), 0)
    with pytest.raises(OptionError, match="at least one demonstration"):
        DemonstrationStarts(envs, [], CurriculumConfig(), 0)
    with pytest.raises(OptionError, match="no episode can begin in demonstration 0: the state's bottle"):
        make_starts(shipped, options={"bottle": "mustard"})
    changes: list[dict[str, Any]] = [{"share": 1.5}, {"stride": 0.0}, {"episodes": 0}]
    for change in changes:
        with pytest.raises(OptionError, match="of the curriculum have to"):
            CurriculumConfig(**change)
