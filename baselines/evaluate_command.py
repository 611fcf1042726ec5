"""`dexvid evaluate`: success rate of any policy over the published seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from baselines.commands import EVALUATE
from baselines.evaluate import EVALUATION_SEED
from dexvid_envs.cli import parse_config, parse_env_options
from dexvid_envs.errors import OptionError
from dexvid_envs.json_output import json_output


@dataclasses.dataclass(frozen=True)
class EvaluateArguments:
    """What to evaluate, where and how often."""

    policy: str
    """"random", "zero", "scripted", a checkpoint or run folder, or module:Class"""
    env: str | None = None
    """environment id, by default the checkpoint's own; "DexVid-" and the version may be left out"""
    episodes: int = 200
    """number of episodes"""
    seed: int = EVALUATION_SEED
    """episode i is reset with this seed plus i"""
    num_envs: int = 50
    """environments side by side; does not change the result"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of an environment option, such as bottle=mustard; may be given several times"""
    json: Path | None = None
    """file for all figures and episodes; - or nothing prints them"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(EvaluateArguments, EVALUATE, arguments)
    from baselines.evaluate import evaluate
    from baselines.policy import load_policy
    from dexvid_envs.progress import progress_bar

    env_id, options = _environment(config)
    with json_output(config.json) as write:
        print(f"{config.policy} in {env_id}, {config.episodes} episodes from seed {config.seed}, options {options}")
        with progress_bar("evaluate") as bar:
            result = evaluate(
                lambda envs: load_policy(config.policy, envs),
                env_id,
                episodes=config.episodes,
                seed=config.seed,
                env_options=options,
                num_envs=config.num_envs,
                progress=lambda done: bar(done / config.episodes, f"{done} of {config.episodes} episodes"),
            )
        print(f"success at the end:  {result.success}")
        print(f"success at any time: {result.ever_success}")
        print(f"mean return {result.mean_return:.2f}, mean length {result.mean_length:.0f} steps")
        for name, rate in result.per_object.items():
            print(f"  {name}: {rate}")
        write({"policy": config.policy, **result.to_json()})
    return 0


def _environment(config: EvaluateArguments) -> tuple[str, dict[str, Any]]:
    """Environment id and options: the checkpoint's own, overridden by those given."""
    from baselines.policy import BUILT_IN, SCRIPTED
    from dexvid_envs.environment_ids import find_environment_id

    given = parse_env_options(config.env_option)
    env_id = None if config.env is None else find_environment_id(config.env)
    if config.policy in (*BUILT_IN, SCRIPTED) or ":" in config.policy or not Path(config.policy).exists():
        if env_id is None:
            raise OptionError(f"policy {config.policy!r} names no environment of its own; add --env ID")
        return env_id, given
    from baselines.checkpoint import load_checkpoint
    from dexvid_envs.options import overridden

    checkpoint = load_checkpoint(Path(config.policy))
    return env_id or checkpoint.env_id, overridden(checkpoint.make_options(), given)
