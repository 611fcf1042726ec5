"""Pictures of the ladder of one video: the retargeted motion and the last policy on the same starts, and a drop made good."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from baselines.evaluate import EVALUATION_SEED, last_infos, make_vector_env
from baselines.policy import Policy
from benchmarks.episode_strips import Strip

_PICTURES = 6
_LIFTED_M, _DOWN_M = 0.04, 0.006  # of the bottle's base above the table
_AWAY_M = 0.08  # from the target, horizontally: it was not set down there
_SIDE_BY_SIDE = 50


@dataclasses.dataclass(frozen=True)
class ShownPolicy:
    """A policy and the options of the environment that it acts in."""

    name: str
    policy: Policy
    env_options: Mapping[str, Any]


def before_and_after(env_id: str, before: ShownPolicy, after: ShownPolicy, starts: int = 4) -> list[Strip]:
    """Both on the first evaluation starts, which nobody has chosen (as the seed paper's Fig. 5)."""
    last = int(gymnasium.spec(env_id).max_episode_steps or 0) - 1
    steps = np.linspace(0, last, _PICTURES).astype(int).tolist()
    return [
        Strip(one.name, one.policy, env_id, one.env_options, EVALUATION_SEED + number, steps)
        for number in range(starts)
        for one in (before, after)
    ]


def recovery(env_id: str, shown: ShownPolicy, episodes: int) -> Strip | None:
    """The first episode in which the bottle is lifted, falls back on the table on its way, is lifted again and placed.

    Args:
        env_id: of a task that brings an object to a target on the table.
        shown: with options under which bottles are pushed.
        episodes: looked at, from the first evaluation start on.
    """
    for begin in range(0, episodes, _SIDE_BY_SIDE):
        count = min(_SIDE_BY_SIDE, episodes - begin)
        height, away, success = _watch(env_id, shown, EVALUATION_SEED + begin, count)
        for row in np.flatnonzero(success):
            if turns := _turning_points(height[:, row], away[:, row]):
                steps = [0, *turns, (turns[-1] + len(height)) // 2, len(height) - 1]
                title, seed = f"{shown.name}, dropped and taken again", EVALUATION_SEED + begin + int(row)
                return Strip(title, shown.policy, env_id, shown.env_options, seed, steps)
    return None


def _watch(env_id: str, shown: ShownPolicy, seed: int, count: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Heights (T, N) m above the table and distances (T, N) m from the target before each step, and who succeeded (N,)."""
    envs = make_vector_env(env_id, count, shown.env_options)
    try:
        seeds: Any = [seed + row for row in range(count)]
        observations, _ = envs.reset(seed=seeds)
        shown.policy.reset(np.ones(count, dtype=bool))
        height, away = [np.zeros(count)], [np.full(count, np.inf)]
        running, success = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
        while running.any():
            observations, _, terminated, truncated, infos = envs.step(shown.policy.act(observations))
            done = terminated | truncated
            figures = last_infos(infos, done)
            height.append(np.where(running, figures["base_height_m"], 0.0))
            away.append(figures["target_distance_m"])
            success |= running & done & figures["success"].astype(bool)
            running &= ~done
        return np.stack(height), np.stack(away), success
    finally:
        envs.close()


def _turning_points(height: NDArray[Any], away: NDArray[Any]) -> list[int]:
    """Steps at which the bottle is lifted, has fallen back away from the target, and is lifted again; empty without a fall."""
    lifted = _first(height > _LIFTED_M, 0)
    fallen = None if lifted is None else _first((height < _DOWN_M) & (away > _AWAY_M), lifted)
    again = None if fallen is None else _first(height > _LIFTED_M, fallen)
    return [] if lifted is None or fallen is None or again is None else [lifted, fallen, again]


def _first(flags: NDArray[np.bool_], begin: int) -> int | None:
    """The first step from `begin` on that is flagged."""
    found = np.flatnonzero(flags[begin:])
    return begin + int(found[0]) if len(found) else None
