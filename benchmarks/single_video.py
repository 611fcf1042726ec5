"""From one human demonstration to a policy: `dexvid quickstart` on several recordings, in one table.

    python -m benchmarks.single_video --source path/to/dexmv_mustard

The recording that comes with the project is always among them. Finished runs in `--runs` are kept, so that an interrupted
benchmark goes on. The targets are the project's: the whole way in ten minutes on two cores, 90 % of fresh starts and targets.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks.result import RESULTS, Check, write_result
from dexvid_envs.cli import main as dexvid


@dataclasses.dataclass(frozen=True)
class SingleVideoArguments:
    """Arguments of the benchmark."""

    source: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """further recordings; may be given several times"""
    runs: Path = Path("runs/single_video")
    """folder for the runs"""
    seed: int = 0
    """of the runs"""
    quick: bool = False
    """small runs, whose figures say nothing; written beside the runs, never to the published results"""


def main() -> int:
    """Runs what is missing and writes the result."""
    arguments = tyro.cli(SingleVideoArguments)
    rows, checks = [], []
    for source in (None, *arguments.source):
        name = "synthetic" if source is None else source.name
        folder = arguments.runs / name
        if not (folder / "report.json").is_file():
            options = ["--out", str(folder), "--seed", str(arguments.seed)]
            options += ["--quick"] if arguments.quick else []
            options += ["--resume"] if (folder / "arguments.json").is_file() else []
            options += [] if source is None else ["--source", str(source)]
            code = dexvid(["quickstart", *options])
            if code:
                print(f"{name}: quickstart ended with {code}", file=sys.stderr)
        if (folder / "report.json").is_file():
            row = summary(name, json.loads((folder / "report.json").read_text()))
            rows.append(row)
            checks += row_checks(row)
    path = arguments.runs / "single_video.json" if arguments.quick else RESULTS / "single_video.json"
    write_result(path, "single_video", {"seed": arguments.seed, "quick": arguments.quick}, rows, checks)
    print(path.with_suffix(".md").read_text())
    return 0


def summary(name: str, report: dict[str, Any]) -> dict[str, Any]:
    """One row: the figures of a run."""
    refinement, copies = report["refinement"], report["multiplication"] or {}

    def rate(evaluation: dict[str, Any] | None) -> str:
        if evaluation is None:
            return "not run"
        success = evaluation["success"]
        low, high = success["wilson_95"]
        return f"{success['rate']:.1%} ({low:.1%} to {high:.1%}, {success['trials']} episodes)"

    clone = (report["clone"] or {}).get("evaluation")
    return {
        "recording": name,
        "bottle": report["environment"]["options"].get("bottle", ""),
        "open loop before the search": "success" if report["open_loop"]["success"] else "fails",
        "refined": "success" if refinement["succeeded"] else "fails",
        "tracking error mm": round(1e3 * refinement["tracking_error_m"], 1),
        "end error mm": round(1e3 * refinement["end_error_m"], 1),
        "copies": copies.get("kept"),
        "acceptance": round(copies.get("acceptance", 0.0), 3),
        "clone": rate(clone),
        "fine-tuned": rate(report["fine_tuning"]["evaluations"][-1]) if report["fine_tuning"] else "not run",
        "kept": f"{report['final']['policy']}: {rate(report['final'])}" if report["final"] else "none",
        "random actions": rate(report["random"]),
        "minutes": round(report["total_seconds"] / 60, 1),
        "clone_rate": clone["success"]["rate"] if clone else 0.0,
        "final_rate": report["final"]["success"]["rate"] if report["final"] else 0.0,
    }


def row_checks(row: dict[str, Any]) -> list[Check]:
    """What the project aims at, for one recording."""
    name = row["recording"]
    return [
        Check(f"{name}: final policy, success", row.pop("final_rate"), 0.9, "higher"),
        Check(f"{name}: cloned policy, success", row.pop("clone_rate"), 0.9, "higher"),
        Check(f"{name}: refined demonstration succeeds", float(row["refined"] == "success"), 1.0, "higher"),
        Check(f"{name}: minutes for everything", row["minutes"], 10.0, "lower"),
    ]


if __name__ == "__main__":
    sys.exit(main())
