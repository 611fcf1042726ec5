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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import tyro

from benchmarks.result import RESULTS, Check, commit, write_result
from dexvid_envs.errors import InputFileError
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import progress_bar

ArmName = Literal["scratch", "pretrained", "demonstrations"]
ARMS: tuple[ArmName, ...] = ("scratch", "pretrained", "demonstrations")
TASKS = ("DexVid-GraspLift-v0", "DexVid-OpenCabinet-v0", "DexVid-LiftThrow-v0")
VIEW = {"observation_mode": "pointcloud"}
#: What the actors of an arm see, as options of the environment.
SEEN: Mapping[str, Mapping[str, Any]] = {"scratch": VIEW, "pretrained": VIEW, "demonstrations": {"observation_mode": "state"}}
LOGS = RESULTS / "sample_efficiency"
_LOG = "log.json"
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
#: HOP's success at the end of 1e8 to 1e9 steps, which the arm "demonstrations" has to reach.
_GOALS = {"DexVid-GraspLift-v0": 0.90, "DexVid-LiftThrow-v0": 0.85, "DexVid-OpenCabinet-v0": 0.85}
#: HOP's success of grasping and lifting in what training did not show, by column.
_HARDER_GOALS = {"disturbed": 0.73, "unseen objects": 0.57}
_HOPS_TASK = "DexVid-GraspLift-v0"
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
        if (folder / _LOG).is_file():
            continue
        if arguments.minutes is not None and time.monotonic() - began > 60.0 * arguments.minutes:
            print(f"time is up; {len(names) - done} runs are left")
            return
        print(f"run {done + 1} of {len(names)}: {name.folder}", flush=True)
        log = _train(name, folder, arguments)
        for path in (folder / _LOG, *([] if arguments.quick else [LOGS / f"{name.folder.replace('/', '-')}.json"])):
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
    """Steps to 50 % and 80 % and the last success, for every arm and task; checks and figure."""
    logs = list(_logs(arguments.work))
    rows, checks = [], []
    for task in sorted({log["task"] for log in logs}):
        halves = {}
        for arm in ARMS:
            of_arm = [log for log in logs if (log["task"], log["arm"]) == (task, arm)]
            if not of_arm:
                continue
            steps_50, steps_80 = ([steps_to(log, share) for log in of_arm] for share in (0.5, 0.8))
            last = [log["evaluations"][-1]["success"] for log in of_arm]
            # Of an even number of seeds the middle one that speaks against the pretrained arm.
            halves[arm] = float(np.quantile(steps_50, 0.5, method="lower" if arm == "scratch" else "higher"))
            rows.append(
                {
                    "task": task,
                    "arm": arm,
                    "seeds": len(of_arm),
                    "sees": " ".join(dict.fromkeys(str(log.get("seen", VIEW)["observation_mode"]) for log in of_arm)),
                    "steps to 50 %": _each(steps_50),
                    "steps to 80 %": _each(steps_80),
                    "last success": " ".join(f"{value:.2f}" for value in last),
                    **{column: " ".join(_share(log, column) for log in of_arm) for column in _HARDER_GOALS},
                    "last return": " ".join(_rounded(log["evaluations"][-1].get("mean_return")) for log in of_arm),
                    "steps": _each([log["steps"] for log in of_arm]),
                }
            )
            if arm == "demonstrations":
                checks.append(Check(f"{task}: success from demonstrations", float(np.mean(last)), _GOALS[task], "higher"))
                checks += _harder_checks(task, of_arm)
        if {"scratch", "pretrained"} <= set(halves):
            never = not np.isfinite(halves["scratch"])
            ratio = 0.0 if never and np.isfinite(halves["pretrained"]) else halves["pretrained"] / halves["scratch"]
            ratio = ratio if np.isfinite(ratio) else 99.0
            checks.append(Check(f"{task}: steps to 50 %, pretrained / scratch (0: scratch never)", ratio, 0.5, "lower"))
    write_result(arguments.out, "sample_efficiency", {"runs": len(logs), "settings": dict(SETTINGS)}, rows, checks)
    _draw(logs, arguments.out.with_suffix(".png"))
    print(f"{len(logs)} runs: {arguments.out}")


def _harder_checks(task: str, logs: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Of the arm "demonstrations", where HOP has a figure to compare with."""
    known = [log["harder"] for log in logs if log.get("harder")]
    if task != _HOPS_TASK or not known:
        return []
    return [
        Check(f"{task}: {column}, from demonstrations", float(np.mean([one[column] for one in known])), goal, "higher")
        for column, goal in _HARDER_GOALS.items()
    ]


def _share(log: Mapping[str, Any], column: str) -> str:
    value = log.get("harder", {}).get(column)
    return "-" if value is None else f"{value:.2f}"


def steps_to(log: Mapping[str, Any], share: float) -> float:
    """Environment steps at which the success first reaches a share, between evaluations by line; infinite if it never does."""
    before_steps, before = 0.0, 0.0
    for one in log["evaluations"]:
        if one["success"] >= share:
            if one["success"] == before or one["steps"] == 0:
                return float(one["steps"])
            return float(before_steps + (share - before) / (one["success"] - before) * (one["steps"] - before_steps))
        before_steps, before = float(one["steps"]), float(one["success"])
    return float("inf")


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


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _each(values: Sequence[float]) -> str:
    return " ".join("never" if not np.isfinite(value) else f"{value / 1000:.0f}k" for value in values)


def _logs(work: Path | None) -> Iterator[dict[str, Any]]:
    paths = sorted(LOGS.glob("*.json")) if work is None else sorted(work.glob(f"*/*/*/{_LOG}"))
    for path in paths:
        yield json.loads(path.read_text(encoding="utf-8"))


def _draw(logs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Success over steps: every run thin, the mean of an arm's runs thick."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tasks = sorted({log["task"] for log in logs}) or list(TASKS)
    figure, axes = pyplot.subplots(1, len(tasks), figsize=(4.6 * len(tasks), 3.6), squeeze=False, sharey=True)
    colours = dict(zip(ARMS, ("#64748b", "#2563eb", "#c2410c"), strict=True))
    for axis, task in zip(axes[0], tasks, strict=True):
        for arm in ARMS:
            curves = [log["evaluations"] for log in logs if (log["task"], log["arm"]) == (task, arm)]
            if not curves:
                continue
            end = max(one[-1]["steps"] for one in curves)
            grid = np.linspace(0, end, 200)
            values = [np.interp(grid, [e["steps"] for e in one], [e["success"] for e in one]) for one in curves]
            for value in values:  # a run that was good enough goes on at its last success
                axis.plot(grid / 1e3, value, color=colours[arm], linewidth=0.8, alpha=0.4)
            axis.plot(grid / 1e3, np.mean(values, axis=0), color=colours[arm], linewidth=2.2, label=f"{arm} ({len(curves)})")
        axis.set(title=task, xlabel="environment steps, thousands", ylim=(-0.02, 1.02))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0][0].set_ylabel("success at the end of the episode")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)


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
