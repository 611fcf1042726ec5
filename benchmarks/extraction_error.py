"""What an error of the extraction costs in the end: success of the policy over errors of 0 to 40 mm and frames lost.

    python -m benchmarks.extraction_error [--errors-mm 0 10 20 30 40] [--dropouts 0.25 0.5] [--draws 1] [--work DIR]

The recording that comes with the project, whose motion is exact, is made wrong (`benchmarks.injected_errors`); from there on
everything is as in the ladder of one video (`benchmarks.single_video_ladder`): a search in physics, copies at other starts,
targets, bottles, masses and frictions, and a clone that sees "state". Errors and lost frames are each varied alone. A
recording that is refused, or in which nothing is found that brings the bottle to its target, ends there, and counts as no
success. Every run has a log beside the result, from which table and figure are made; finished stages in `--work` are kept.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import tyro

from benchmarks.injected_errors import with_errors
from benchmarks.result import RESULTS, commit, write_result
from benchmarks.single_video_stages import ENV_ID, Budget, Stages
from demos.checks import check_interaction
from demos.source import load_interaction, shipped_sample
from dexvid_envs.errors import DexVidError
from dexvid_envs.files import atomic_path


@dataclasses.dataclass(frozen=True)
class ExtractionErrorArguments:
    """Arguments of the benchmark."""

    errors_mm: tuple[float, ...] = (0.0, 10.0, 20.0, 30.0, 40.0)
    """of fingertips and object, root mean square, with no frame lost"""
    dropouts: tuple[float, ...] = (0.25, 0.5)
    """shares of the frames that are lost, without any other error"""
    draws: int = 1
    """of the errors at each level"""
    copies: int = 1000
    """demonstrations to make from the one"""
    clone_steps: int = 6000
    """gradient steps of the policy"""
    episodes: int = 200
    """of each evaluation"""
    work: Path = Path("runs/extraction_error")
    """folder of recordings and runs"""
    out: Path = RESULTS / "extraction_error.json"
    """result file"""
    quick: bool = False
    """small searches and networks, whose figures say nothing; written beside the runs"""


@dataclasses.dataclass(frozen=True)
class Level:
    """One recording with errors."""

    error_mm: float
    dropout: float
    draw: int

    @property
    def name(self) -> str:
        """Of its folder and log."""
        return f"error-{self.error_mm:g}mm-lost-{100 * self.dropout:g}-draw-{self.draw}"


def main() -> int:
    """Runs what is missing and writes the result after each run."""
    given = tyro.cli(ExtractionErrorArguments)
    if given.quick:
        given = dataclasses.replace(given, copies=12, clone_steps=60, episodes=2, out=given.work / given.out.name)
    logs = given.out.with_suffix("")
    logs.mkdir(parents=True, exist_ok=True)
    for level in levels(given):
        log = {"commit": commit(), **row(level, given)}
        with atomic_path(logs / f"{level.name}.json") as temporary:
            temporary.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
        tabulate(logs, given)
    print(given.out.with_suffix(".md").read_text())
    return 0


def levels(given: ExtractionErrorArguments) -> list[Level]:
    """All of them, the exact recording first; where there is no error all draws are alike."""
    found: dict[Level, None] = {}
    for draw in range(given.draws):
        for error_mm in given.errors_mm:
            found[Level(error_mm, 0.0, draw if error_mm > 0.0 else 0)] = None
        for dropout in given.dropouts:
            found[Level(0.0, dropout, draw if dropout > 0.0 else 0)] = None
    return list(found)


def row(level: Level, given: ExtractionErrorArguments) -> dict[str, Any]:
    """Makes what is missing of one level; its line of the table."""
    source = given.work / "recordings" / level.name
    recording = load_interaction(shipped_sample())
    source.mkdir(parents=True, exist_ok=True)
    with_errors(recording, level.error_mm / 1000.0, level.dropout, level.draw).save(source / "interaction.npz")
    line: dict[str, Any] = dataclasses.asdict(level)
    line |= dict.fromkeys(("disturbed", "acceptance", "success", "lowest", "highest", "minutes"), "")
    line |= {"successes": 0, "episodes": given.episodes, "ended": ""}
    try:
        stages = Stages(str(source), given.work / "runs", _budget(given))
        check_interaction(stages.interaction, ENV_ID)
        found = stages.refine()
        if not any(found["succeeded"]):
            return line | {"ended": "no motion found that succeeds"}
        line["disturbed"] = f"{max(found['robustness']):.0%}"
        line["acceptance"] = f"{stages.multiply()['acceptance']:.0%}"
        result = stages.clone("clone", "state", 0, stages.demonstrations("copies"), steps=given.clone_steps)
    except DexVidError as error:
        return line | {"ended": str(error)}
    seconds = sum(stages.store.seconds[name] for name in ("refine", "multiply", "train-clone"))
    lowest, highest = result.success.interval
    return line | {
        "success": f"{result.success.rate:.1%}",
        "lowest": f"{lowest:.1%}",
        "highest": f"{highest:.1%}",
        "minutes": round(seconds / 60, 1),
        "successes": result.success.successes,
        "ended": "policy",
    }


def _budget(given: ExtractionErrorArguments) -> Budget:
    return Budget(
        sides=1,
        copies=given.copies,
        corrections=0,
        fine_tune_steps=0,
        distill_steps=0,
        episodes=given.episodes,
        quick=given.quick,
    )


def tabulate(logs: Path, given: ExtractionErrorArguments) -> None:
    """Writes table and figure from the logs of all runs."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(logs.glob("*.json"))]
    found.sort(key=lambda log: (log["dropout"], log["error_mm"], log["draw"]))
    rows = [{**{name: log[name] for name in log if name != "commit"}, "commit": log["commit"][:7]} for log in found]
    settings = {name: getattr(given, name) for name in ("copies", "clone_steps", "episodes", "quick")}
    write_result(given.out, "extraction_error", settings, rows, [])
    draw(rows, given.out.with_suffix(".png"))


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Success over the error and over the share of lost frames, with 95 % Wilson intervals."""
    from matplotlib.figure import Figure

    from baselines.evaluate import wilson_interval

    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axis, value, other, label in (
        (panels[0], "error_mm", "dropout", "error of fingertips and object, mm"),
        (panels[1], "dropout", "error_mm", "share of frames lost"),
    ):
        shown = [one for one in rows if one[other] == 0]
        rates = [one["successes"] / one["episodes"] for one in shown]
        ends = [wilson_interval(one["successes"], one["episodes"]) for one in shown]
        spread = [[max(rate - low, 0.0) for rate, (low, _) in zip(rates, ends, strict=True)]]
        spread.append([max(high - rate, 0.0) for rate, (_, high) in zip(rates, ends, strict=True)])
        axis.errorbar([one[value] for one in shown], rates, spread, fmt="o", color="#1b6ca8", capsize=3)
        axis.set(xlabel=label, ylim=(-0.03, 1.03))
        axis.grid(color="0.9", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("success of the policy")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=160, format="png")


if __name__ == "__main__":
    sys.exit(main())
