"""The loops that the throughput benchmark compares; each turn returns its seconds for a step (of all environments)."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import mujoco
import numpy as np
from mujoco.batch import Batch

import dexvid_envs  # noqa: F401 (registers)
from dexvid_envs.simulation import STATE_SPEC

HELD_ENV_ID = "DexVid-GraspLift-v0"
Turn = Callable[[int], float]
#: Control steps after which the scripted policy holds its object in the air.
GRASP_STEPS = 120
_EPISODE_STEPS = 200


_MEMORY_PROGRAM = """
import resource, sys, numpy, gymnasium, dexvid_envs.vector_env, dexvid_envs.tasks.grasp_lift
def mib():
    try:  # what is resident now; the peak that getrusage gives begins with the parent's
        return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
before = mib()
envs = gymnasium.make_vec(sys.argv[1], num_envs=int(sys.argv[2]))
envs.reset(seed=0)
for _ in range(3):
    envs.step(numpy.zeros(envs.action_space.shape, numpy.float32))
print(mib() - before)
"""


class PeerAbsentError(Exception):
    """A peer is not installed or does not run here."""


def random_actions(steps: int, *shape: int) -> np.ndarray:
    """(steps, ...) uniform actions, the same at every call."""
    return np.random.default_rng(0).uniform(-1.0, 1.0, (steps, *shape)).astype(np.float32)


class SinglePair:
    """`env.step` of one environment, and `mj_step` with the forward stage it needs on the same states and controls."""

    def __init__(self, env_id: str, reward_mode: str, *, holding: bool, **options: Any) -> None:
        self._env: Any = gymnasium.make(env_id, reward_mode=reward_mode, max_episode_steps=10**9, **options)
        self._env.reset(seed=0)
        self._holding = holding
        self._start = None
        if holding:
            from dexvid_envs.scripted import make_scripted_policy

            policy = make_scripted_policy(self._env)
            policy.reset(None)
            for _ in range(GRASP_STEPS):
                self._env.step(policy.act()[0])
            self._start = self._env.unwrapped.state()
        core = self._env.unwrapped.core
        self._model, self._data = core.simulation.model, mujoco.MjData(core.simulation.model)
        self._substeps = core.substeps
        self._trace: tuple[np.ndarray, np.ndarray] | None = None

    def _actions(self, steps: int) -> np.ndarray:
        return (0.02 if self._holding else 1.0) * random_actions(min(steps, _EPISODE_STEPS), 23)

    def env_turn(self, steps: int) -> float:
        """Seconds for a step; episodes begin anew outside the clock."""
        env, total, done = self._env, 0.0, 0
        actions = self._actions(steps)
        while done < steps:
            env.reset(seed=0, options={"state": self._start} if self._start else None)
            start = time.perf_counter()
            for action in actions:
                env.step(action)
            total += time.perf_counter() - start
            done += len(actions)
        return total / done

    def bare_turn(self, steps: int) -> float:
        """Seconds for ten substeps and the position and velocity stages after them."""
        model, data, substeps = self._model, self._data, self._substeps
        if self._trace is None or len(self._trace[1]) < min(steps, _EPISODE_STEPS):
            self._trace = self._record(min(steps, _EPISODE_STEPS))
        start_state, controls = self._trace
        total, done = 0.0, 0
        controls = controls[:steps]
        while done < steps:
            mujoco.mj_setState(model, data, start_state, STATE_SPEC)
            mujoco.mj_forward(model, data)
            start = time.perf_counter()
            for control in controls:
                data.ctrl[:] = control
                mujoco.mj_step(model, data, substeps)
                mujoco.mj_step1(model, data)
            total += time.perf_counter() - start
            done += len(controls)
        return total / done

    def _record(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The state at the start and the controls (steps, nu) of an episode."""
        env, controls = self._env, []
        env.reset(seed=0, options={"state": self._start} if self._start else None)
        state = env.unwrapped.core.simulation.get_state(0)
        for action in self._actions(steps):
            env.step(action)
            controls.append(env.unwrapped.data.ctrl.copy())
        return state, np.array(controls)


class BareBatch:
    """The bare batch with the scene of vector environments, and with their models and states where it is told so.

    Attributes:
        positions: (N, nq), live.
    """

    #: What a state is made of, as far as these scenes have it.
    _STATE = ("qpos", "qvel", "ctrl", "mocap_pos", "mocap_quat", "qacc_warmstart")

    def __init__(self, envs: Any) -> None:
        self._simulation, self._fields = envs.simulation, envs.task.model_fields
        self._substeps, self._stage = envs.core.substeps, int(mujoco.mjtStage.mjSTAGE_VEL)
        self._batch = Batch(envs.simulation.model, envs.num_envs, 0, persistent=True)
        self._ctrl, self.positions = self._batch.bind("ctrl"), self._batch.bind("qpos")

    def follow_models(self, rows: np.ndarray) -> None:
        """Takes over the models of the rows (R,) as they are now."""
        self._copy_fields(rows)
        if self._fields:
            self._batch.set_const(rows)
            self._copy_fields(rows)  # some of them are what `set_const` computes anew

    def _copy_fields(self, rows: np.ndarray) -> None:
        for name in self._fields:
            self._batch.expand(name)[rows] = self._simulation.expanded(name)[rows]

    def follow_states(self, rows: np.ndarray) -> None:
        """Takes over the states of the rows (R,) as they are now."""
        for name in self._STATE:
            self._batch.bind(name)[rows] = self._simulation.bind(name)[rows]
        self._batch.forward(rows, stage=self._stage)

    def step(self, control: np.ndarray) -> None:
        """Ten physics steps with controls (N, nu), and the position and velocity stages after them."""
        self._ctrl[:] = control
        self._batch.step(nstep=self._substeps, stage=self._stage)


class VectorPair:
    """The vector environment, and the bare batch with the same scene, models, states and controls, just after a reset."""

    def __init__(self, env_id: str, count: int, observation_mode: str) -> None:
        self._envs: Any = gymnasium.make_vec(
            env_id, num_envs=count, observation_mode=observation_mode, max_episode_steps=10**9
        ).unwrapped
        self._count = count
        self._envs.reset(seed=0)
        self._bare = BareBatch(self._envs)
        self._bare.follow_models(np.arange(count))

    def env_turn(self, steps: int) -> float:
        """Seconds for a step of all environments."""
        actions = random_actions(steps, self._count, 23)
        self._restart(steps)
        start = time.perf_counter()
        for action in actions:
            self._envs.step(action)
        return (time.perf_counter() - start) / steps

    def bare_turn(self, steps: int) -> float:
        """Seconds for a step of the batch."""
        bare = self._bare
        self._restart(steps)
        simulation, control = self._envs.simulation, self._envs.core.control
        controls, target = [], simulation.ctrl.copy()
        for action in random_actions(steps, self._count, 23):
            target = control.next_target(action.astype(np.float64), target)
            controls.append(target)
        bare.follow_states(np.arange(self._count))
        start = time.perf_counter()
        for one in controls:
            bare.step(one)
        return (time.perf_counter() - start) / steps

    def _restart(self, steps: int) -> None:
        """Both begin where the environments were after their first reset, models included."""
        core = self._envs.core
        if not hasattr(self, "_states"):
            self._states = [core.state(row) for row in range(self._count)]
        core.reset(np.arange(self._count), [np.random.default_rng(0)] * self._count, [{"state": one} for one in self._states])


class EpisodePair:
    """Whole episodes of vector environments, the resets at their ends included, and the bare batch on the same way.

    The two take turns step by step. Where an episode has ended, the batch gets the model and state of the next one outside the
    clock.

    Attributes:
        most_apart: largest difference between positions in both, which should be 0.
    """

    def __init__(self, env_id: str, count: int, episode_steps: int) -> None:
        self._envs: Any = gymnasium.make_vec(env_id, num_envs=count, max_episode_steps=episode_steps).unwrapped
        self._shape, self._episode_steps = (count, 23), episode_steps
        self._rng = np.random.default_rng(0)
        self._bare = BareBatch(self._envs)
        self._envs.reset(seed=0)
        self._follow(np.arange(count))
        self.most_apart = 0.0

    def _follow(self, rows: np.ndarray) -> None:
        self._bare.follow_models(rows)
        self._bare.follow_states(rows)

    def episode(self) -> tuple[float, float]:
        """Seconds of a step of all environments and of the batch, the means over an episode's steps."""
        envs, bare, control, simulation = self._envs, self._bare, self._envs.core.control, self._envs.simulation
        ours = theirs = 0.0
        for _ in range(self._episode_steps):
            action = self._rng.uniform(-1.0, 1.0, self._shape).astype(np.float32)
            target = control.next_target(action.astype(np.float64), simulation.ctrl)
            start = time.perf_counter()
            _, _, terminated, truncated, _ = envs.step(action)
            between = time.perf_counter()
            bare.step(target)
            theirs += time.perf_counter() - between
            ours += between - start
            ended = terminated | truncated
            apart = np.abs(bare.positions - simulation.qpos)[~ended]
            self.most_apart = max(self.most_apart, float(apart.max(initial=0.0)))
            if ended.any():
                self._follow(np.flatnonzero(ended))
        return ours / self._episode_steps, theirs / self._episode_steps


@contextlib.contextmanager
def vector_env(env_id: str, count: int, *, holding: bool = False) -> Iterator[Turn]:
    """The native vector environment under random actions, or nearly still with an object in the hand."""
    envs: Any = gymnasium.make_vec(env_id, num_envs=count)
    envs.reset(seed=0)
    states: list[Any] = []
    if holding:
        from dexvid_envs.scripted import make_scripted_policy

        policy = make_scripted_policy(envs)
        policy.reset(None)
        for _ in range(GRASP_STEPS):
            envs.step(policy.act())
        states = [envs.unwrapped.state(row) for row in range(count)]

    def turn(steps: int) -> float:
        actions = (0.02 if holding else 1.0) * random_actions(steps, count, 23)
        envs.reset(seed=0, options={"each": [{"state": state} for state in states]} if states else None)
        start = time.perf_counter()
        for action in actions:
            envs.step(action)
        return (time.perf_counter() - start) / steps

    yield turn
    envs.close()


@contextlib.contextmanager
def async_vector_env(env_id: str, count: int) -> Iterator[Turn]:
    """Gymnasium's AsyncVectorEnv of single environments."""
    envs = gymnasium.vector.AsyncVectorEnv([_maker(env_id)] * count)
    yield _gymnasium_turn(envs, (count, 23))
    envs.close()


@contextlib.contextmanager
def subproc_vec_env(env_id: str, count: int) -> Iterator[Turn]:
    """stable-baselines3's SubprocVecEnv of single environments."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    envs = SubprocVecEnv([_maker(env_id)] * count)

    def turn(steps: int) -> float:
        actions = random_actions(steps, count, 23)
        envs.reset()
        start = time.perf_counter()
        for action in actions:
            envs.step(action)
        return (time.perf_counter() - start) / steps

    yield turn
    envs.close()


@contextlib.contextmanager
def adroit(count: int) -> Iterator[tuple[Turn, float]]:
    """Gymnasium-Robotics' AdroitHandRelocate in AsyncVectorEnv under random actions, and its step in seconds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import gymnasium_robotics  # type: ignore[import-not-found]

            gymnasium.register_envs(gymnasium_robotics)
            env: Any = gymnasium.make("AdroitHandRelocate-v1").unwrapped
            envs = gymnasium.make_vec("AdroitHandRelocate-v1", num_envs=count, vectorization_mode="async")
    except Exception as error:  # whatever an uninstalled or outdated peer raises
        raise PeerAbsentError(f"AdroitHandRelocate-v1 of gymnasium-robotics ({type(error).__name__}: {error})") from error
    yield _gymnasium_turn(envs, (count, 30)), float(env.dt)
    envs.close()


def memory_mib(env_id: str, count: int) -> float:
    """MiB that a vector environment takes beyond the import, after some steps, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY_PROGRAM, env_id, str(count)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _maker(env_id: str) -> Callable[[], gymnasium.Env[Any, Any]]:
    def make() -> gymnasium.Env[Any, Any]:
        importlib.import_module("dexvid_envs")  # registers, in the process of a peer too

        return gymnasium.make(env_id)

    return make


def _gymnasium_turn(envs: Any, shape: tuple[int, ...]) -> Turn:
    def turn(steps: int) -> float:
        actions = random_actions(steps, *shape)
        envs.reset(seed=0)
        start = time.perf_counter()
        for action in actions:
            envs.step(action)
        return (time.perf_counter() - start) / steps

    return turn
