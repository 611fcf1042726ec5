"""What the tests of the environments share: which there are, how they are made, driven and compared."""

from __future__ import annotations

import hashlib
from typing import Any

import gymnasium
import numpy as np
import pytest

import dexvid_envs  # noqa: F401 (registers)
from dexvid_envs import rendering
from dexvid_envs.registration import REGISTRATIONS

IDS = [entry.id for entry in REGISTRATIONS]
CONTROL_MODES = ("joint_delta", "joint_target", "wrist_delta")
#: Every observation mode by name; small pictures, which only the tests with OpenGL take.
OBSERVATIONS: dict[str, dict[str, Any]] = {
    "state": {},
    "full": {"observation_mode": "pointcloud"},
    "partial": {"observation_mode": "pointcloud", "points": "partial"},
    "keypoints": {"observation_mode": "keypoints"},
    "rgbd": {"observation_mode": "rgbd", "image_width": 24, "image_height": 16},
    "relative": {"relative": True},
    "state+": {"privileged": True},
    "full+": {"observation_mode": "pointcloud", "privileged": True},
    "partial+": {"observation_mode": "pointcloud", "points": "partial", "privileged": True},
    "rgbd+": {"observation_mode": "rgbd", "image_width": 24, "image_height": 16, "privileged": True},
}
needs_rendering = pytest.mark.skipif(rendering.choose_backend() is None, reason="no off-screen OpenGL library here")
#: Two objects are enough where it does not matter which; compiling all of them takes seconds.
FEW_OBJECTS: dict[str, dict[str, Any]] = {
    "DexVid-GraspLift-v0": {"objects": ("mug", "banana")},
    "DexVid-LiftThrow-v0": {"objects": ("tennis_ball", "foam_brick")},
}
#: Everything at once, and strong enough to be noticed; without sizes, whose meshes take seconds to compile ("full" has them).
STRONG: dict[str, Any] = {
    "friction": (0.5, 1.5),
    "mass": (0.5, 2.0),
    "actuator_gain": (0.7, 1.3),
    "joint_noise_rad": 0.01,
    "object_noise_m": 0.01,
    "object_delay_steps": (1, 3),
    "camera_shift_m": 0.05,
    "camera_turn_rad": 0.05,
    "force_m_per_s2": 4.0,
    "force_probability": 0.3,
}


def observation_cases(*names: str) -> list[Any]:
    """Parameters for the named observation modes (all without names), those with pictures only where there is OpenGL."""
    return [
        pytest.param(OBSERVATIONS[name], id=name, marks=[needs_rendering] if "rgbd" in name else [])
        for name in names or OBSERVATIONS
    ]


def make(env_id: str, **options: Any) -> Any:
    """`gymnasium.make` with few objects, whose result's own attributes the type checker need not know."""
    return gymnasium.make(env_id, **(FEW_OBJECTS.get(env_id, {}) | options))


def make_vec(env_id: str, count: int, **options: Any) -> Any:
    """`gymnasium.make_vec` likewise."""
    return gymnasium.make_vec(env_id, num_envs=count, **(FEW_OBJECTS.get(env_id, {}) | options))


def random_actions(count: int, size: int = 23, seed: int = 0) -> np.ndarray:
    """(count, size) actions."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, size)).astype(np.float32)


def parts_of(observation: Any) -> dict[str, np.ndarray]:
    """An observation of any mode as named arrays."""
    return observation if isinstance(observation, dict) else {"state": observation}


def row_of(observations: Any, row: int) -> Any:
    """One environment's part of a batch of observations."""
    if isinstance(observations, dict):
        return {name: part[row] for name, part in observations.items()}
    return observations[row]


def same(first: Any, second: Any) -> bool:
    """Whether two observations, infos or states are equal to the last bit, with the same keys."""
    if isinstance(first, dict):
        return isinstance(second, dict) and set(first) == set(second) and all(same(first[key], second[key]) for key in first)
    return np.array_equal(first, second)


def alike(first: Any, second: Any) -> bool:
    """Whether two observations are equal: to the last bit, but for pictures, which an OpenGL driver may round differently."""
    if not isinstance(first, dict):
        return same(first, second)
    pictures = {name for name in first if name.startswith(("rgb_", "depth_"))}
    others = set(first) - pictures
    return (
        set(first) == set(second)
        and all(same(first[name], second[name]) for name in others)
        and all(_same_picture(first[name], second[name], 1e-4 if name.startswith("depth_") else 1.0) for name in pictures)
    )


def _same_picture(first: np.ndarray, second: np.ndarray, rounding: float) -> bool:
    """Whether no pixel differs by more than rounding does (levels of 255, or m)."""
    return first.shape == second.shape and bool((np.abs(first.astype(np.float64) - second) <= rounding).all())


def digest(values: Any) -> str:
    """A hash of an observation, an info or a list of such."""
    if isinstance(values, dict):
        return digest([(name, values[name]) for name in sorted(values)])
    if isinstance(values, list | tuple):
        return hashlib.sha256(" ".join(digest(value) for value in values).encode()).hexdigest()
    return hashlib.sha256(np.asarray(values).tobytes() if not isinstance(values, str) else values.encode()).hexdigest()


def drive(env: Any, actions: np.ndarray) -> list[Any]:
    """What `step` gives for each action, with a reset where an episode ends."""
    trace: list[Any] = []
    for action in actions:
        transition = env.step(action)
        trace.append(transition)
        if transition[2] or transition[3]:
            trace.append(env.reset())
    return trace


def write_free_pose(env: Any, position: Any, velocity: Any = (0.0, 0.0, 0.0)) -> None:
    """Puts the free object of an unwrapped environment upright somewhere, with a velocity, and brings everything up to date."""
    task = env.task
    start, first = task.object_qposadr, task.object_dofadr
    env.data.qpos[start : start + 7] = (*position, 1.0, 0.0, 0.0, 0.0)
    env.data.qvel[first : first + 6] = (*velocity, 0.0, 0.0, 0.0)
    env.simulation.forward(np.zeros(1, dtype=np.int64))
    task.update(np.zeros(0, dtype=np.int64))
