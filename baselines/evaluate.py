"""Success rate of a policy over fixed, published seeds, with its Wilson interval; strict: success is read at the last step."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from baselines.policy import Policy
from dexvid_envs.errors import OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.registration import REGISTRATIONS

#: First of the published evaluation seeds: episode i starts as `env.reset(seed=EVALUATION_SEED + i)`. Training uses seeds
#: from `TRAINING_SEEDS_START` on, so the two never meet.
EVALUATION_SEED = 10_000
TRAINING_SEEDS_START = 1 << 31
_Z_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution

PolicyMaker = Callable[[Any], Policy]


def wilson_interval(successes: int, trials: int, z: float = _Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927, eq. for p given p_hat), 95 % by default; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


@dataclasses.dataclass(frozen=True)
class Rate:
    """A success rate that knows its sample size."""

    successes: int
    trials: int

    @property
    def rate(self) -> float:
        """Successes over trials; NaN without trials."""
        return self.successes / self.trials if self.trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval."""
        return wilson_interval(self.successes, self.trials)

    def to_json(self) -> dict[str, Any]:
        """For result files."""
        return {"successes": self.successes, "trials": self.trials, "rate": self.rate, "wilson_95": list(self.interval)}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.rate:.1f} % ({self.successes} of {self.trials}; 95 % interval {100 * low:.1f} to {100 * high:.1f})"


@dataclasses.dataclass(frozen=True)
class Episode:
    """How one episode went.

    Attributes:
        seed: of its reset.
        success: `info["success"]` at the last step.
        ever_success: at any step.
        total_reward: undiscounted sum.
        length: control steps.
        terminated: it ended by failure, not by the time limit.
        object: name of the object, in tasks that have several.
        metrics: the task's own figures at the last step.
    """

    seed: int
    success: bool
    ever_success: bool
    total_reward: float
    length: int
    terminated: bool
    object: str | None
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """All episodes of an evaluation; the figures are computed from them."""

    env_id: str
    env_options: Mapping[str, Any]
    seed: int
    episodes: tuple[Episode, ...]

    @property
    def success(self) -> Rate:
        """Success at the last step."""
        return Rate(sum(one.success for one in self.episodes), len(self.episodes))

    @property
    def ever_success(self) -> Rate:
        """Success at any step."""
        return Rate(sum(one.ever_success for one in self.episodes), len(self.episodes))

    @property
    def mean_return(self) -> float:
        """Mean undiscounted return."""
        return float(np.mean([one.total_reward for one in self.episodes]))

    @property
    def mean_length(self) -> float:
        """Mean number of control steps."""
        return float(np.mean([one.length for one in self.episodes]))

    @property
    def per_object(self) -> dict[str, Rate]:
        """Success at the last step by object; empty in tasks with one object."""
        names = sorted({one.object for one in self.episodes if one.object is not None})
        groups = {name: [one.success for one in self.episodes if one.object == name] for name in names}
        return {name: Rate(sum(group), len(group)) for name, group in groups.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything, with the figures first."""
        return {
            "env_id": self.env_id,
            "env_options": dict(self.env_options),
            "seed": self.seed,
            "success": self.success.to_json(),
            "ever_success": self.ever_success.to_json(),
            "mean_return": self.mean_return,
            "mean_length": self.mean_length,
            "per_object": {name: rate.to_json() for name, rate in self.per_object.items()},
            "episodes": [dataclasses.asdict(one) for one in self.episodes],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> EvaluationResult:
        """The inverse of `to_json`."""
        episodes = tuple(Episode(**one) for one in content["episodes"])
        return cls(content["env_id"], content["env_options"], content["seed"], episodes)

    def save(self, path: Path, **extra: Any) -> None:
        """Writes the JSON file atomically, with `extra` top-level entries such as the policy's name."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({**extra, **self.to_json()}, indent=2) + "\n")


def evaluate(
    policy: Policy | PolicyMaker,
    env_id: str,
    *,
    episodes: int = 200,
    seed: int = EVALUATION_SEED,
    env_options: Mapping[str, Any] | None = None,
    num_envs: int = 50,
    progress: Callable[[int], None] | None = None,
) -> EvaluationResult:
    """Runs episodes 0 .. episodes - 1; episode i starts exactly as `gymnasium.make(env_id).reset(seed=seed + i)` would.

    The episodes run in waves of `num_envs` environments. All of a wave start together, and whatever an environment does after
    its first episode is ignored, so the result does not depend on `num_envs` (where the policy treats rows apart).

    Args:
        policy: the policy, or a function that makes it from the vector environment.
        env_id: Gymnasium id.
        episodes: how many.
        seed: of the first episode.
        env_options: keyword arguments of `gymnasium.make_vec`, `control_mode` among them.
        num_envs: environments side by side.
        progress: called with the number of finished episodes after each wave.

    Raises:
        OptionError: the environment, an option or the number of episodes is not valid.
        ActionError: the policy returned an action of a wrong shape or one that is not finite.
    """
    if episodes < 1 or num_envs < 1:
        raise OptionError(f"episodes and num_envs have to be at least 1, got {episodes} and {num_envs}")
    options = dict(env_options or {})
    envs = make_vector_env(env_id, min(num_envs, episodes), options)
    finished: list[Episode] = []
    try:
        actor = policy if isinstance(policy, Policy) and not isinstance(policy, type) else policy(envs)
        while len(finished) < episodes:
            first = seed + len(finished)
            wave = _run_wave(actor, envs, [first + row for row in range(envs.num_envs)])
            finished += wave[: episodes - len(finished)]
            if progress is not None:
                progress(len(finished))
    finally:
        envs.close()
    return EvaluationResult(env_id, options, seed, tuple(finished))


def make_vector_env(env_id: str, num_envs: int, env_options: Mapping[str, Any]) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """`gymnasium.make_vec`, with a readable error for an unknown environment.

    Raises:
        OptionError: there is no such environment, or it does not know an option.
    """
    try:
        return gymnasium.make_vec(env_id, num_envs=num_envs, **env_options)
    except (gymnasium.error.Error, ModuleNotFoundError, TypeError) as error:
        known = ", ".join(entry.id for entry in REGISTRATIONS)
        raise OptionError(f"cannot make environment {env_id!r}: {error}; this project's are {known}") from error


def _run_wave(policy: Policy, envs: gymnasium.vector.VectorEnv[Any, Any, Any], seeds: list[int]) -> list[Episode]:
    """The first episode of every row."""
    count = envs.num_envs
    observations, _ = envs.reset(seed=seeds)  # type: ignore[arg-type]  # Gymnasium's own environments take lists too
    policy.reset(np.ones(count, dtype=bool))
    objects = _object_names(envs)
    running = np.ones(count, dtype=bool)
    ever, returns = np.zeros(count, dtype=bool), np.zeros(count)
    episodes: dict[int, Episode] = {}
    length = 0
    while running.any():
        observations, rewards, terminated, truncated, infos = envs.step(policy.act(observations))
        length += 1
        done = terminated | truncated
        figures = last_infos(infos, done)
        if "success" not in figures:
            raise OptionError("the environment reports no info['success'] (bool), so there is no success rate to evaluate")
        success = figures["success"].astype(bool)
        returns[running] += rewards[running]
        ever |= success & running
        for row in np.flatnonzero(done & running):
            episodes[int(row)] = Episode(
                seed=seeds[row],
                success=bool(success[row]),
                ever_success=bool(ever[row]),
                total_reward=float(returns[row]),
                length=length,
                terminated=bool(terminated[row]),
                object=objects[row],
                metrics=_metrics(figures, row),
            )
        running &= ~done
        if done.any():
            policy.reset(done)
    return [episodes[row] for row in range(count)]


def last_infos(infos: Mapping[str, Any], done: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The (N,) figures of the step itself: those before the automatic reset where an episode has just ended."""
    final = infos.get("final_info")
    figures = {name: value for name, value in infos.items() if isinstance(value, np.ndarray) and value.shape == done.shape}
    if final is None:
        return figures
    return {name: np.where(done, final[name], value) for name, value in figures.items() if name in final}


def _metrics(figures: Mapping[str, NDArray[Any]], row: int) -> dict[str, float]:
    hidden = ("success", "is_success")
    return {
        name: float(value[row])
        for name, value in figures.items()
        if name not in hidden and not name.startswith(("_", "reward/")) and value.dtype.kind in "bif"
    }


def _object_names(envs: Any) -> list[str | None]:
    """Name of every row's object, in tasks that draw one of several."""
    task = getattr(envs.unwrapped, "task", None)
    if task is None or len(getattr(task, "object_names", ())) < 2:
        return [None] * envs.num_envs
    return task.objects_in(task.memory["variant"])
