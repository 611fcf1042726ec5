"""Episodes that begin in states of demonstrations, from the last ones back to the first: a reverse curriculum.

Near the end of a demonstration the task is almost done, so that even a poor actor meets success; when it succeeds often enough
from there, episodes begin earlier (after Florensa et al. 2017, "Reverse Curriculum Generation", and RFCL, Tao et al. 2024). The
other episodes begin as the task itself draws them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from baselines.settings import CurriculumConfig
from demos.demonstration import Demonstration
from dexvid_envs.errors import DexVidError, OptionError


class ReverseCurriculum:
    """Draws where in a demonstration an episode begins, and moves back as the actor learns.

    Attributes:
        frontier: earliest progress, 0 to 1, at which episodes begin now.
    """

    def __init__(self, config: CurriculumConfig) -> None:
        self.config = config
        self.frontier = 1.0 - config.stride
        self._outcomes: deque[bool] = deque(maxlen=config.episodes)  # of episodes from the frontier

    def draw(self, rng: np.random.Generator) -> float:
        """A progress: every second time at the frontier, else anywhere behind it."""
        at_frontier = rng.random() < 0.5
        return float(rng.uniform(self.frontier, min(self.frontier + self.config.stride, 1.0) if at_frontier else 1.0))

    def report(self, progress: float, success: bool) -> None:
        """Takes in the end of an episode that began at that progress."""
        if not self.frontier <= progress <= self.frontier + self.config.stride:
            return  # too easy to tell anything, or drawn before the frontier moved
        self._outcomes.append(success)
        if len(self._outcomes) == self.config.episodes and np.mean(self._outcomes) >= self.config.success_rate:
            self.frontier = max(0.0, self.frontier - self.config.stride)
            self._outcomes.clear()

    def state(self) -> dict[str, Any]:
        """JSON values from which `restore` goes on."""
        return {"frontier": self.frontier, "outcomes": list(self._outcomes)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.frontier = float(state["frontier"])
        self._outcomes = deque((bool(one) for one in state["outcomes"]), maxlen=self.config.episodes)


class DemonstrationStarts(VectorWrapper):
    """A vector environment whose episodes begin in states of demonstrations, a given share of them.

    Finished episodes start anew within the same step. `final_info["from_demonstration"]` (N,) tells which of the ended ones
    began in a demonstration: their success says nothing about the task's own starts. Their clock starts where the
    demonstration's was.

    Args:
        envs: a `DexVidVectorEnv` with `autoreset_mode="DISABLED"`.
        demonstrations: of that environment, each with a success at its end.
        config: settings.
        seed: of the choice.

    Raises:
        OptionError: there is no demonstration, one does not fit, or the environment starts episodes itself.
    """

    def __init__(
        self, envs: VectorEnv[Any, Any, Any], demonstrations: Sequence[Demonstration], config: CurriculumConfig, seed: int
    ) -> None:
        super().__init__(envs)
        if not demonstrations:
            raise OptionError("starts from demonstrations need at least one demonstration")
        if envs.metadata.get("autoreset_mode") != AutoresetMode.DISABLED:
            raise OptionError(f"{envs} starts episodes itself; make it with autoreset_mode='DISABLED'")
        self.metadata = {**envs.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.curriculum = ReverseCurriculum(config)
        self.rng = np.random.default_rng(seed)
        self.began: NDArray[np.float64] = np.full(self.num_envs, np.nan)  # (N,) progress, NaN for the task's own starts
        self._demonstrations = list(demonstrations)
        self._inner: Any = envs
        self._check_demonstrations()

    def _check_demonstrations(self) -> None:
        """Puts the environments once into every demonstration, so that one that does not fit is refused before any training."""
        self.env.reset()
        first = np.arange(self.num_envs) == 0
        for index, demonstration in enumerate(self._demonstrations):
            try:
                self.env.reset(options={"reset_mask": first, "each": [demonstration.reset_options(0)]})
            except DexVidError as error:
                raise OptionError(f"no episode can begin in demonstration {index}: {error}") from error

    @property
    def elapsed_steps(self) -> NDArray[np.int64]:
        """(N,) live: control steps on the clock of each episode."""
        return self._inner.elapsed_steps

    @property
    def max_episode_steps(self) -> int | None:
        """The time limit."""
        return self._inner.max_episode_steps

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode in every environment; the first ones as the task draws them."""
        self.began[:] = np.nan
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """See `gymnasium.vector.VectorEnv.step`."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        done = np.logical_or(terminated, truncated)
        if done.any():
            from_demonstration = ~np.isnan(self.began)
            for row in np.flatnonzero(done & from_demonstration):
                self.curriculum.report(float(self.began[row]), bool(infos["success"][row]))
            infos = {**infos, "final_obs": _copied(observations)}
            infos["final_info"] = {name: value for name, value in infos.items() if name != "final_obs"}
            infos["final_info"]["from_demonstration"] = from_demonstration
            infos["_final_obs"] = infos["_final_info"] = done
            _put(observations, done, self._start(done))
        return observations, rewards, terminated, truncated, infos

    def _start(self, mask: NDArray[np.bool_]) -> Any:
        """New episodes in the rows of the mask; the observations of all rows."""
        rows = np.flatnonzero(mask)
        each: list[dict[str, Any]] = []
        clocks: list[int] = []
        for row in rows:
            if self.rng.random() >= self.curriculum.config.share:
                self.began[row] = np.nan
                each.append({})
                clocks.append(0)
                continue
            demonstration = self._demonstrations[int(self.rng.integers(len(self._demonstrations)))]
            progress = self.curriculum.draw(self.rng)
            step = min(round(progress * demonstration.num_steps), demonstration.num_steps - 1)
            self.began[row] = progress
            each.append(demonstration.reset_options(step))
            clocks.append(step)
        observations, _ = self.env.reset(options={"reset_mask": mask, "each": each})
        limit = self.max_episode_steps
        latest = np.inf if limit is None else max(0, limit - self.curriculum.config.steps_left)
        self.elapsed_steps[rows] = np.minimum(clocks, latest)
        return observations


def _copied(observations: Any) -> Any:
    if isinstance(observations, Mapping):
        return {name: part.copy() for name, part in observations.items()}
    return observations.copy()


def _put(observations: Any, mask: NDArray[np.bool_], fresh: Any) -> None:
    """Overwrites some rows in place."""
    if isinstance(observations, Mapping):
        for name, part in observations.items():
            part[mask] = fresh[name][mask]
    else:
        observations[mask] = fresh[mask]
