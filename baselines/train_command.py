"""`dexvid train bc`, `ppo` and `distill`: cloning from a dataset, fine-tuning in the simulator, learning from a teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from baselines.commands import TRAIN
from baselines.progress import ProgressCallback, TrainProgress
from baselines.settings import CloneConfig, DistillConfig, FineTuneConfig
from dexvid_envs.cli import parse_config, parse_env_options
from dexvid_envs.errors import OptionError
from dexvid_envs.files import clear_up_inside, write_alone
from dexvid_envs.json_output import json_output
from dexvid_envs.progress import stage_bars


@dataclasses.dataclass(frozen=True)
class CloneArguments:
    """Behaviour cloning from a dataset of demonstrations."""

    dataset: Path
    """Minari dataset folder, as `dexvid multiply` writes it"""
    out: Path
    """folder of the run; its checkpoint/ is the policy"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of what the actor sees, such as observation_mode=pointcloud; the recorded states are then observed again"""
    init: Path | None = None
    """checkpoint to begin with: an earlier clone, or a transformer pretrained on other motions; otherwise random weights"""
    config: Annotated[CloneConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=CloneConfig)
    """settings of the training"""
    seed: int = 0
    """of weights, split, batches and noise"""
    resume: bool = False
    """go on with the interrupted run in --out"""
    json: Path | None = None
    """file for the outcome; - or nothing prints it"""


@dataclasses.dataclass(frozen=True)
class FineTuneArguments:
    """PPO fine-tuning of a cloned actor."""

    init: Path
    """checkpoint or run folder of the actor to start from"""
    out: Path
    """folder of the run; its checkpoint/ is the policy"""
    env: str | None = None
    """environment id, by default the one that the actor was cloned for; "DexVid-" and the version may be left out"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of an environment option, such as bottle=mustard; may be given several times"""
    demonstrations: Path | None = None
    """dataset in whose states episodes begin, a share of --curriculum.share of them"""
    config: Annotated[FineTuneConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=FineTuneConfig)
    """settings of the training"""
    seed: int = 0
    """of starts, exploration and the critic"""
    resume: bool = False
    """go on with the interrupted run in --out"""
    json: Path | None = None
    """file for the outcome; - or nothing prints it"""


@dataclasses.dataclass(frozen=True)
class DistillArguments:
    """A pupil that sees less, such as points from one camera, learns what a policy on states does."""

    teacher: Path
    """checkpoint or run folder of the policy to learn from"""
    out: Path
    """folder of the run; its checkpoint/ is the policy"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of what the pupil sees, such as observation_mode=pointcloud or points=partial, and of anything else that
    differs from the teacher's environment, such as randomization; may be given several times"""
    init: Path | None = None
    """checkpoint of the pupil to begin with; otherwise random weights, and the teacher plays the first round"""
    config: Annotated[DistillConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=DistillConfig)
    """settings of the training"""
    seed: int = 0
    """of weights, starts and batches"""
    resume: bool = False
    """go on with the interrupted run in --out"""
    json: Path | None = None
    """file for the outcome; - or nothing prints it"""


Arguments = (
    Annotated[CloneArguments, tyro.conf.subcommand("bc", prefix_name=False)]
    | Annotated[FineTuneArguments, tyro.conf.subcommand("ppo", prefix_name=False)]
    | Annotated[DistillArguments, tyro.conf.subcommand("distill", prefix_name=False)]
)


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(cast("type[Any]", Arguments), TRAIN, arguments)
    _check_out(config.out, config.resume)
    from demos.provenance import to_json

    run: Any = {CloneArguments: _clone, FineTuneArguments: _fine_tune, DistillArguments: _distill}[type(config)]
    with json_output(config.json) as write, write_alone(config.out):
        clear_up_inside(config.out)
        outcome = run(config)
        print(f"next: dexvid evaluate --policy {config.out}")
        write(to_json({"out": str(config.out), **outcome}))
    return 0


def _clone(arguments: CloneArguments) -> dict[str, Any]:
    """Trains and tells; returns what `--json` writes."""
    from baselines.bc import train_clone
    from baselines.checkpoint import load_checkpoint
    from baselines.episodes import check_same_kind
    from baselines.starting_actor import pretrained_actor
    from demos.dataset import read_dataset
    from demos.demonstration import common_options
    from dexvid_envs.options import overridden

    demonstrations = read_dataset(arguments.dataset)
    observation = parse_env_options(arguments.env_option)
    initial = None
    if arguments.init is not None:
        check_same_kind(demonstrations)
        seen = overridden(common_options(demonstrations), observation)
        initial = load_checkpoint(arguments.init)
        if initial.env_id != demonstrations[0].env_id:
            initial = pretrained_actor(initial, demonstrations[0].env_id, seen, seed=arguments.seed)
    with _bars() as progress:
        result = train_clone(
            demonstrations,
            arguments.config,
            seed=arguments.seed,
            observation=observation,
            initial=initial,
            progress=progress,
            run_folder=arguments.out,
            resume=arguments.resume,
        )
    held_out = "no episode held out" if result.held_out_loss is None else f"held-out L1 loss {result.held_out_loss:.4f}"
    print(
        f"cloned {len(demonstrations)} demonstrations ({result.transitions} transitions) in {result.seconds:.0f} s; {held_out}"
    )
    figures = {name: getattr(result, name) for name in ("transitions", "steps", "seconds", "held_out_loss")}
    return {"demonstrations": len(demonstrations), **figures}


def _fine_tune(arguments: FineTuneArguments) -> dict[str, Any]:
    """Trains and tells; returns what `--json` writes."""
    from baselines.checkpoint import load_checkpoint
    from baselines.fine_tune import fine_tune
    from demos.dataset import read_dataset
    from dexvid_envs.environment_ids import find_environment_id
    from dexvid_envs.options import overridden

    env_id = None if arguments.env is None else find_environment_id(arguments.env)
    clone = load_checkpoint(arguments.init)
    demonstrations = [] if arguments.demonstrations is None else read_dataset(arguments.demonstrations)
    with _bars() as progress:
        result = fine_tune(
            env_id or clone.env_id,
            overridden(clone.env_options, parse_env_options(arguments.env_option)),
            clone,
            arguments.config,
            seed=arguments.seed,
            demonstrations=demonstrations,
            progress=progress,
            run_folder=arguments.out,
            resume=arguments.resume,
        )
    print(f"{result.steps} environment steps in {result.seconds:.0f} s ({result.steps / result.seconds:.0f} a second)")
    for steps, evaluation in result.evaluations:
        print(f"  after {steps} steps: success {evaluation.success}")
    if result.evaluations and result.evaluations[-1][1].success.rate < result.evaluations[0][1].success.rate:
        print("the fine-tuned actor is worse than the one it started from; keep that one, or train longer with a smaller rate")
    evaluations = [{"steps": steps, "success": evaluation.success.to_json()} for steps, evaluation in result.evaluations]
    return {"steps": result.steps, "seconds": result.seconds, "evaluations": evaluations}


def _distill(arguments: DistillArguments) -> dict[str, Any]:
    """Trains and tells; returns what `--json` writes."""
    from baselines.checkpoint import load_checkpoint
    from baselines.distill import distill

    with _bars() as progress:
        result = distill(
            load_checkpoint(arguments.teacher),
            parse_env_options(arguments.env_option),
            arguments.config,
            seed=arguments.seed,
            initial=None if arguments.init is None else load_checkpoint(arguments.init),
            progress=progress,
            run_folder=arguments.out,
            resume=arguments.resume,
        )
    print(f"{len(result.success)} rounds in {result.seconds:.0f} s; success of each: {_percents(result.success)}")
    return {"rounds": len(result.success), "seconds": result.seconds, "success": result.success}


def _percents(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:.0%}" for rate in rates)


def _check_out(out: Path, resume: bool) -> None:
    """Refuses to write over another run, or to resume where there is none."""
    from baselines.training_state import STATE_NAME

    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out} is a file; expected a folder to write the run into")
    if not resume and any((out / name).exists() for name in (STATE_NAME, "checkpoint")):
        raise OptionError(f"--out {out} already holds a run; add --resume to go on with it, or choose another folder")


@contextmanager
def _bars() -> Iterator[ProgressCallback]:
    """A bar for each stage, with the figures and the time left."""
    with stage_bars() as bars:

        def show(report: TrainProgress) -> None:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in report.figures.items() if name != "elapsed_s")
            bars(report.stage, report.fraction, figures)

        yield show
