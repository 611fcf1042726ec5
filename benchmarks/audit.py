"""Audit of the rewards: return and success of policies that know nothing, and of the scripted ones, on every environment.

    python -m benchmarks.audit                 # a few minutes; benchmarks/results/audit.{json,md}
    python -m benchmarks.audit --quick --out audit.json

A task whose zero or random policy earned much, or whose scripted policy earned little, would be rewarded wrongly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from benchmarks.result import RESULTS, Check, write_result
from dexvid_envs.progress import progress_bar
from dexvid_envs.registration import REGISTRATIONS
from dexvid_envs.scripted import make_scripted_policy

Act = Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class AuditConfig:
    """Settings of the audit.

    Attributes:
        out: result file (.json).
        episodes: of each policy on each environment.
        num_envs: stepped together.
        seed: of the first episode.
        quick: a small form for the tests; needs `out`.
    """

    out: Path = RESULTS / "audit.json"
    episodes: int = 100
    num_envs: int = 50
    seed: int = 50000
    quick: bool = False


def random_policy(envs: Any) -> Act:
    """Uniform actions at every step."""
    rng = np.random.default_rng(0)
    return lambda: rng.uniform(-1, 1, envs.action_space.shape).astype(np.float32)


def zero_policy(envs: Any) -> Act:
    """Zeros: targets stay where they are."""
    return lambda: np.zeros(envs.action_space.shape, dtype=np.float32)


def constant_policy(envs: Any) -> Act:
    """One uniform action for each episode, kept up."""
    action = np.random.default_rng(1).uniform(-1, 1, envs.action_space.shape).astype(np.float32)
    return lambda: action


def scripted_policy(envs: Any) -> Act:
    """The hand-written policy of the task."""
    policy = make_scripted_policy(envs)
    policy.reset(None)
    return policy.act


POLICIES: dict[str, Callable[[Any], Act]] = {
    "zero": zero_policy,
    "constant": constant_policy,
    "random": random_policy,
    "scripted": scripted_policy,
}


#: Of the small form: the scripted policy plans a grasp of each object, which takes a second or two.
FEW_OBJECTS: dict[str, dict[str, Any]] = {
    "DexVid-GraspLift-v0": {"objects": ("tomato_soup_can",)},
    "DexVid-LiftThrow-v0": {"objects": ("tennis_ball",)},
}


def play(
    env_id: str, make_policy: Callable[[Any], Act], episodes: int, num_envs: int, seed: int, **options: Any
) -> dict[str, np.ndarray]:
    """First episodes after a reset, `num_envs` at a time: (episodes,) `return`, `at_end` and `ever` successful, `failed`."""
    envs: Any = gymnasium.make_vec(env_id, num_envs=num_envs, **options)
    found: dict[str, list[np.ndarray]] = {"return": [], "at_end": [], "ever": [], "failed": []}
    for start in range(seed, seed + episodes, num_envs):
        envs.reset(seed=start)
        act = make_policy(envs)
        running = np.ones(num_envs, dtype=bool)
        total, at_end, ever, failed = np.zeros(num_envs), *(np.zeros(num_envs, dtype=bool) for _ in range(3))
        while running.any():
            _, rewards, terminated, truncated, infos = envs.step(act())
            success = infos["final_info"]["success"] if "final_info" in infos else infos["success"]
            total += rewards * running
            ever |= success & running
            ended = (terminated | truncated) & running
            at_end |= success & ended
            failed |= terminated & ended
            running &= ~ended
        for name, values in (("return", total), ("at_end", at_end), ("ever", ever), ("failed", failed)):
            found[name].append(values)
    envs.close()
    return {name: np.concatenate(values)[:episodes] for name, values in found.items()}


def main(config: AuditConfig) -> None:
    """Plays everything and writes the table."""
    if config.quick:
        if config.out == AuditConfig.out:
            raise SystemExit("--quick would replace the full results: name another file with --out")
        config = dataclasses.replace(config, episodes=2, num_envs=2)
    rows, checks = [], []
    with progress_bar("audit") as report:
        for number, entry in enumerate(REGISTRATIONS):
            returns: dict[str, float] = {}
            for done, (name, make_policy) in enumerate(POLICIES.items()):
                report((number + done / len(POLICIES)) / len(REGISTRATIONS), f"{entry.id}, {name}")
                options = FEW_OBJECTS.get(entry.id, {}) if config.quick else {}
                played = play(entry.id, make_policy, config.episodes, config.num_envs, config.seed, **options)
                returns[name] = float(played["return"].mean())
                rows.append(
                    {
                        "environment": entry.id,
                        "policy": name,
                        "return": round(returns[name], 1),
                        "return, standard deviation": round(float(played["return"].std()), 1),
                        "success at the end": round(float(played["at_end"].mean()), 3),
                        "success at any time": round(float(played["ever"].mean()), 3),
                        "failed": round(float(played["failed"].mean()), 3),
                    }
                )
                if name in ("zero", "constant", "random"):
                    checks.append(Check(f"{entry.id}: success of {name}", float(played["ever"].mean()), 0.02, "lower"))
            lazy = max(value for name, value in returns.items() if name != "scripted")
            checks.append(Check(f"{entry.id}: scripted return / best of the others", returns["scripted"] / lazy, 2.0, "higher"))
    write_result(config.out, "audit", dataclasses.asdict(config) | {"out": config.out.name}, rows, checks)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(AuditConfig, description=__doc__))
