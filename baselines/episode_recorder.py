"""Episodes of a policy as demonstrations: the policy acts on what it sees, and its actions are played again and kept.

The second playing is from the same state, with `state` observations. What is kept is what that one did, so that it replays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration
from demos.provenance import to_json
from demos.replay import Player
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.options import VIEW_OPTIONS
from dexvid_envs.playback import BatchPolicy, batch_of_one, make_policy

#: Of a demonstration rewards are always dense, and what is seen is the state.
_NOT_KEPT = (*VIEW_OPTIONS, "reward_mode", "control_mode", "nan_folder")


@dataclasses.dataclass(frozen=True)
class RecordConfig:
    """Settings of the recording.

    Attributes:
        count: demonstrations wanted.
        seed: of the first episode; each attempt has the next one.
        failures: keeps episodes that end without success too (tier "replayable").
        rest_steps: an episode ends so many steps after its success has come to stay; None for its whole length.
        max_attempts_factor: gives up after so many times `count` episodes, and not before ten.
    """

    count: int = 20
    seed: int = 0
    failures: bool = False
    rest_steps: int | None = 10
    max_attempts_factor: float = 10.0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise OptionError(f"count of the recording has to be at least 1, got {self.count}")
        if self.rest_steps is not None and self.rest_steps < 0:
            raise OptionError(f"rest_steps of the recording has to be at least 0, got {self.rest_steps}")


@dataclasses.dataclass
class RecordReport:
    """How many episodes were played and how many were kept."""

    attempts: int = 0
    kept: int = 0


def record_episodes(
    env_id: str,
    policy_name: str,
    env_options: Mapping[str, Any],
    config: RecordConfig | None = None,
    *,
    first_attempt: int = 0,
    report: RecordReport | None = None,
    progress: Callable[[RecordReport], None] | None = None,
) -> Iterator[Demonstration]:
    """Yields demonstrations until `config.count` are made.

    Args:
        env_id: Gymnasium id.
        policy_name: see `dexvid_envs.playback.make_policy`.
        env_options: of the environment as the policy sees it, `control_mode` among them.
        config: settings.
        first_attempt: the episode to begin with, of an interrupted recording.
        report: filled while it runs.
        progress: called after each episode.

    Raises:
        OptionError: environment, option or policy is unknown, or they do not fit together.
        DexVidError: too few episodes end in success.
    """
    config, report = config or RecordConfig(), report or RecordReport()
    report.attempts = max(report.attempts, first_attempt)
    env = gymnasium.make(env_id, **env_options)
    kept_options = {name: value for name, value in env_options.items() if name not in _NOT_KEPT}
    inner: Any = env.unwrapped
    player = Player(env_id, kept_options, inner.core.control.name)
    policy: BatchPolicy | None = None
    try:
        while report.kept < config.count:
            if report.attempts >= max(10, config.max_attempts_factor * config.count):
                raise DexVidError(
                    f"only {report.kept} of {report.attempts} episodes of {policy_name!r} end in success, {config.count} are "
                    "wanted; give a better policy, or keep failures too"
                )
            attempt = report.attempts
            observation, _ = env.reset(seed=config.seed + attempt)
            policy = policy or make_policy(policy_name, env, config.seed)
            state = inner.state()
            actions, successes = _play(env, policy, observation)
            report.attempts += 1
            length = _length(successes, config.rest_steps)
            if successes[-1] or config.failures:
                facts = {"recorded": {"policy": policy_name, "seed": config.seed + attempt, "settings": to_json(config)}}
                made = player.record(actions[:length], reset_options={"state": state}, tier="replayable", provenance=facts)
                if made.successes[-1]:
                    made = dataclasses.replace(made, tier="successful")
                if made.successes[-1] or config.failures:
                    report.kept += 1
                    yield made
            if progress is not None:
                progress(report)
    finally:
        player.close()
        env.close()


def _play(env: gymnasium.Env[Any, Any], policy: BatchPolicy, observation: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Actions (T, A) and successes (T,) of one episode, from the observation of its reset."""
    policy.reset(np.ones(1, dtype=bool))
    actions, successes = [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = np.asarray(policy.act(batch_of_one(observation)), dtype=np.float32)[0]
        observation, _, terminated, truncated, info = env.step(action)
        actions.append(action)
        successes.append(bool(info["success"]))
    return np.stack(actions), np.array(successes)


def _length(successes: NDArray[np.bool_], rest_steps: int | None) -> int:
    """Steps to keep: all, or those until shortly after the success has come to stay."""
    if rest_steps is None or not successes[-1]:
        return len(successes)
    failing = np.flatnonzero(~successes)
    first = int(failing[-1]) + 1 if len(failing) else 0
    return min(len(successes), first + 1 + rest_steps)
