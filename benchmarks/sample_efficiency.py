"""Does a pretrained actor learn where an untrained one fails? Success over environment steps on three tasks, for three arms.

    python -m benchmarks.sample_efficiency run --pretrained runs/pretrained --demonstrations runs/multiplied --minutes 60
    python -m benchmarks.sample_efficiency table       # benchmarks/results/sample_efficiency.{json,md,png}, from the logs alone
    python -m benchmarks.sample_efficiency pictures --pretrained runs/pretrained    # the actors before and after, .jpg
    python -m benchmarks.sample_efficiency run --quick --work FOLDER && ... table --work FOLDER --out FILE

Arms: "scratch" is an untrained actor; "pretrained" the same network cloned from pseudo-demonstrations of everyday handling:
kinematic motions, and lifts refined in the scene of the grasp-and-lift task, none of which was filmed for a task;
"demonstrations" a clone of the task's own multiplied demonstrations, with episodes that begin in their states. The first two
see object points and proprioception, the last one the true state; the critic of all sees the true state and the drawn
physics. One run after the other, each stopped early once it is good enough; a killed run goes on where it was, and every
run's log is kept. The actor that a run ends with is also evaluated under random forces on the object, and on objects that no
training has seen.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from benchmarks.result import RESULTS, commit
from benchmarks.sample_efficiency_table import ARMS, LOG_NAME, LOGS, TASKS, VIEW, ArmName, read_logs, write_table
from dexvid_envs.errors import InputFileError
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import progress_bar

#: What the actors of an arm see, as options of the environment.
SEEN: Mapping[str, Mapping[str, Any]] = {"scratch": VIEW, "pretrained": VIEW, "demonstrations": {"observation_mode": "state"}}
#: Of the fine-tuning, by arm; tuned on GraspLift alone, with as many trials for each arm.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "scratch": {"actor_learning_rate": 3e-4, "action_std": 0.2, "warmup_iterations": 0, "pull_weight": 0.0},
    "pretrained": {"actor_learning_rate": 1e-4, "action_std": 0.15, "warmup_iterations": 4, "pull_weight": 0.0},
    "demonstrations": {
        "actor_learning_rate": 2e-5,
        "action_std": 0.05,
        "action_std_at_end": 0.02,
        "warmup_iterations": 4,
        "pull_until": 0.5,
        "privileged": True,
    },
}
_CURRICULUM_SHARE = 0.3  # of the arm "demonstrations"
_HARDER_EPISODES = 200
_PICTURED_STEPS = (0, 25, 45, 70, 110, 190)


@dataclasses.dataclass(frozen=True)
class RunArguments:
    """trains the runs that are not there yet"""

    pretrained: Path | None = None
    """checkpoint of an actor cloned from kinematic pseudo-demonstrations, for the arm "pretrained" """
    demonstrations: Path | None = None
    """folder with GraspLift/, OpenCabinet/, LiftThrow/: datasets of multiplied demonstrations, for that arm"""
    work: Path = Path("runs/sample_efficiency")
    """folder of the runs"""
    arms: tuple[ArmName, ...] = ARMS
    """which"""
    tasks: tuple[str, ...] = TASKS
    """which"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of starts, exploration and weights"""
    steps: int = 1_000_000
    """environment steps of a run at most"""
    evaluations: int = 21
    """of a run"""
    episodes: int = 50
    """of each evaluation"""
    minutes: float | None = None
    """no new run begins after so long"""
    quick: bool = False
    """tiny runs, to see that everything works"""


@dataclasses.dataclass(frozen=True)
class TableArguments:
    """makes the table and the figure from the logs"""

    work: Path | None = None
    """folder of the runs; the kept logs by default"""
    out: Path = RESULTS / "sample_efficiency.json"
    """result file"""


@dataclasses.dataclass(frozen=True)
class PictureArguments:
    """shows the pretrained actor and what a run of the arm "pretrained" made of it, on the same starts"""

    pretrained: Path
    """the checkpoint that the runs began with"""
    work: Path = Path("runs/sample_efficiency")
    """folder of the runs"""
    seed: int = 0
    """of the run"""
    out: Path = RESULTS / "sample_efficiency.jpg"
    """picture file"""


@dataclasses.dataclass(frozen=True)
class RunName:
    """One run."""

    arm: ArmName
    task: str
    seed: int

    @property
    def folder(self) -> str:
        """Below the folder of the runs."""
        return f"{self.task.split('-')[1]}/{self.arm}/{self.seed}"


def run(arguments: RunArguments) -> None:
    """Trains what is missing, one run after the other."""
    names = [RunName(arm, task, seed) for seed in arguments.seeds for task in arguments.tasks for arm in arguments.arms]
    names = [name for name in names if _possible(name, arguments)]
    began = time.monotonic()
    for done, name in enumerate(names):
        folder = arguments.work / name.folder
        if (folder / LOG_NAME).is_file():
            continue
        if arguments.minutes is not None and time.monotonic() - began > 60.0 * arguments.minutes:
            print(f"time is up; {len(names) - done} runs are left")
            return
        print(f"run {done + 1} of {len(names)}: {name.folder}", flush=True)
        log = _train(name, folder, arguments)
        for path in (folder / LOG_NAME, *([] if arguments.quick else [LOGS / f"{name.folder.replace('/', '-')}.json"])):
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(log, indent=1) + "\n")


def _possible(name: RunName, arguments: RunArguments) -> bool:
    """Whether what the arm starts from is given."""
    needed = {"scratch": True, "pretrained": arguments.pretrained, "demonstrations": arguments.demonstrations}
    return bool(needed[name.arm])


def _train(name: RunName, folder: Path, arguments: RunArguments) -> dict[str, Any]:
    """One run, gone on with where it was begun before; its log."""
    from baselines.bc import CloneConfig, train_clone
    from baselines.checkpoint import load_checkpoint
    from baselines.curriculum import CurriculumConfig
    from baselines.fine_tune import fine_tune
    from baselines.ppo import FineTuneConfig
    from baselines.starting_actor import pretrained_actor, untrained_actor
    from baselines.training_state import STATE_NAME
    from demos.dataset import read_dataset

    settings: dict[str, Any] = dict(SETTINGS[name.arm])
    demonstrations: Sequence[Any] = ()
    if name.arm == "scratch":
        start = untrained_actor(name.task, VIEW, seed=name.seed)
    elif name.arm == "pretrained":
        start = pretrained_actor(load_checkpoint(cast("Path", arguments.pretrained)), name.task, VIEW, seed=name.seed)
    else:
        dataset = cast("Path", arguments.demonstrations) / name.task.split("-")[1]
        demonstrations = read_dataset(dataset)
        clone = CloneConfig(max_steps=10_000)
        clone = dataclasses.replace(clone, max_steps=20) if arguments.quick else clone
        with progress_bar(f"{name.folder}, clone") as bar:
            start = train_clone(
                demonstrations,
                clone,
                seed=name.seed,
                progress=lambda report: bar(report.fraction, f"{report.stage}, step {report.step}"),
                run_folder=folder / "clone",
                resume=(folder / "clone" / STATE_NAME).is_file(),
            ).checkpoint
        settings["curriculum"] = CurriculumConfig(share=_CURRICULUM_SHARE)
    if arguments.quick:
        settings |= {"num_envs": 4, "rollout_steps": 16, "minibatch_size": 32, "critic_hidden": (16,)}
    config = FineTuneConfig(
        total_steps=arguments.steps,
        evaluations=arguments.evaluations,
        evaluation_episodes=arguments.episodes,
        enough_times=3,
        **settings,
    )
    out = folder / "ppo"
    with progress_bar(name.folder) as bar:
        result = fine_tune(
            name.task,
            SEEN[name.arm],
            start,
            config,
            seed=name.seed,
            demonstrations=demonstrations,
            run_folder=out,
            resume=(out / STATE_NAME).is_file(),
            progress=lambda report: bar(report.fraction, ", ".join(f"{k} {v:.3g}" for k, v in report.figures.items())),
        )
    return {
        "arm": name.arm,
        "task": name.task,
        "seed": name.seed,
        "commit": commit(),
        "seen": dict(SEEN[name.arm]),
        "steps": result.steps,
        "seconds": result.seconds,
        "config": dataclasses.asdict(config),
        "harder": _harder(result.checkpoint, name.task, 2 if arguments.quick else _HARDER_EPISODES),
        "evaluations": [
            {
                "steps": steps,
                "success": one.success.rate,
                "mean_return": one.mean_return,
                "episodes": one.success.trials,
                "per_object": _rates(one),
            }
            for steps, one in result.evaluations
        ],
    }


def _harder(checkpoint: Any, task: str, episodes: int) -> dict[str, float]:
    """Success of an actor under random forces on the object and, where the task has several, on objects not trained with."""
    from baselines.evaluate import EVALUATION_SEED, evaluate
    from robots.everyday import HELD_OUT_OBJECTS

    options: dict[str, dict[str, Any]] = {"disturbed": {"randomization": "disturbance"}}
    if task != "DexVid-OpenCabinet-v0":
        options["unseen objects"] = {"objects": tuple(HELD_OUT_OBJECTS)}
    return {
        name: evaluate(
            checkpoint.policy(), task, episodes=episodes, seed=EVALUATION_SEED, env_options=checkpoint.make_options() | harder
        ).success.rate
        for name, harder in options.items()
    }


def _rates(result: Any) -> dict[str, float]:
    return {name: rate.rate for name, rate in result.per_object.items()}


def table(arguments: TableArguments) -> None:
    """Makes the result from the logs."""
    logs = list(read_logs(arguments.work))
    write_table(arguments.out, logs, SETTINGS)
    print(f"{len(logs)} runs: {arguments.out}")


def pictures(arguments: PictureArguments) -> None:
    """Draws the pretrained actor on every task, and below it what the arm "pretrained" has made of it where there is a run.

    Raises:
        InputFileError: there is no such run, or a checkpoint is not readable.
    """
    from baselines.checkpoint import Checkpoint, load_checkpoint
    from baselines.evaluate import EVALUATION_SEED
    from baselines.starting_actor import pretrained_actor
    from benchmarks.episode_strips import Strip, draw_strips

    def strip(title: str, shown: Checkpoint) -> Strip:
        return Strip(title, shown.policy(), shown.env_id, shown.make_options(), EVALUATION_SEED, _PICTURED_STEPS)

    pretrained = load_checkpoint(arguments.pretrained)
    actors = []
    for task in TASKS:
        run_folder = arguments.work / RunName("pretrained", task, arguments.seed).folder / "ppo" / "checkpoints"
        kept = sorted(run_folder.glob("step_*"))
        actors.append(strip(f"{task}, pretrained", pretrained_actor(pretrained, task, VIEW, seed=arguments.seed)))
        if kept:
            steps = int(kept[-1].name.removeprefix("step_"))
            actors.append(strip(f"{task}, after {steps / 1000:.0f}k steps", load_checkpoint(kept[-1])))
    if len(actors) == len(TASKS):
        raise InputFileError(f"{arguments.work} has no run of the arm 'pretrained' with seed {arguments.seed}: run it first")
    draw_strips(arguments.out, actors)
    print(f"{len(actors)} actors: {arguments.out}")


def main() -> None:
    """Runs or tabulates."""
    arguments = tyro.cli(
        cast(
            "type[Any]",
            Annotated[RunArguments, tyro.conf.subcommand("run", prefix_name=False)]
            | Annotated[TableArguments, tyro.conf.subcommand("table", prefix_name=False)]
            | Annotated[PictureArguments, tyro.conf.subcommand("pictures", prefix_name=False)],
        )
    )
    if isinstance(arguments, PictureArguments):
        pictures(arguments)
        return
    if isinstance(arguments, TableArguments):
        table(arguments)
    else:
        run(_quick(arguments) if arguments.quick else arguments)


def _quick(arguments: RunArguments) -> RunArguments:
    return dataclasses.replace(arguments, tasks=TASKS[:1], seeds=(0,), steps=256, evaluations=2, episodes=2)


if __name__ == "__main__":
    main()
