"""The table and the figure of `sample_efficiency`, from the logs of its runs alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.result import RESULTS, Check, write_result
from dexvid_envs.files import atomic_path

ArmName = Literal["scratch", "pretrained", "demonstrations"]
ARMS: tuple[ArmName, ...] = ("scratch", "pretrained", "demonstrations")
TASKS = ("DexVid-GraspLift-v0", "DexVid-OpenCabinet-v0", "DexVid-LiftThrow-v0")
VIEW = {"observation_mode": "pointcloud"}
LOGS = RESULTS / "sample_efficiency"
LOG_NAME = "log.json"
#: HOP's success at the end of 1e8 to 1e9 steps, which the arm "demonstrations" has to reach.
_GOALS = {"DexVid-GraspLift-v0": 0.90, "DexVid-LiftThrow-v0": 0.85, "DexVid-OpenCabinet-v0": 0.85}
#: HOP's success of grasping and lifting in what training did not show, by column.
_HARDER_GOALS = {"disturbed": 0.73, "unseen objects": 0.57}
_HOPS_TASK = "DexVid-GraspLift-v0"


def read_logs(work: Path | None) -> Iterator[dict[str, Any]]:
    """The logs of the runs in a folder; those that are kept with the results where it is None."""
    paths = sorted(LOGS.glob("*.json")) if work is None else sorted(work.glob(f"*/*/*/{LOG_NAME}"))
    for path in paths:
        yield json.loads(path.read_text(encoding="utf-8"))


def write_table(path: Path, logs: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Writes steps to 50 % and 80 % and the last success for every arm and task, the checks, and the figure beside them.

    Args:
        path: the result's .json file.
        logs: of the runs, as `sample_efficiency` writes them.
        settings: of the fine-tuning by arm, for the result.
    """
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
    write_result(path, "sample_efficiency", {"runs": len(logs), "settings": dict(settings)}, rows, checks)
    _draw(logs, path.with_suffix(".png"))


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


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _each(values: Sequence[float]) -> str:
    return " ".join("never" if not np.isfinite(value) else f"{value / 1000:.0f}k" for value in values)


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
