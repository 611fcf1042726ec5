"""An evaluation in parts, by how the object stood at the start."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from baselines.evaluate import EvaluationResult, make_vector_env

_BIN_DEG = 30


def by_turn(result: EvaluationResult) -> list[tuple[str, EvaluationResult]]:
    """(which turns, the episodes that began there) of a task with one free object; half a turn makes no difference.

    The starts are made again from the evaluation's options and seeds.
    """
    envs: Any = make_vector_env(result.env_id, len(result.episodes), result.env_options)
    try:
        envs.reset(seed=[one.seed for one in result.episodes])
        core = envs.unwrapped.core
        w, x, y, z = core.simulation.qpos[:, core.task.object_qposadr + 3 : core.task.object_qposadr + 7].T
    finally:
        envs.close()
    yaw_deg = np.degrees(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))) % 180
    parts = []
    for begin in range(0, 180, _BIN_DEG):
        inside = (yaw_deg >= begin) & (yaw_deg < begin + _BIN_DEG)
        episodes = tuple(result.episodes[row] for row in np.flatnonzero(inside))
        parts.append((f"{begin} to {begin + _BIN_DEG} degrees", dataclasses.replace(result, episodes=episodes)))
    return parts
