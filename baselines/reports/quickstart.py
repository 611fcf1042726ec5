"""The report of a quickstart: one self-contained `report.html` for people and `report.json` for programs.

What happened is handed over as the stages' own results (`QuickstartReport`); a stage that did not run is simply left out, and
the report says so. How a page looks stands in `template.html`, its sections in `baselines.reports.quickstart_sections`.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.reports.page import finite
from demos.provenance import to_json, versions
from dexvid_envs.files import atomic_path
from dexvid_envs.machine import usable_cores

if TYPE_CHECKING:
    from baselines.bc import CloneResult
    from baselines.evaluate import EvaluationResult
    from baselines.fine_tune import FineTuneResult
    from demos.multiply import MultiplyReport
    from demos.pseudo_demonstration import PseudoDemonstration


def machine() -> dict[str, str]:
    """The kind of computer, for published figures."""
    return {"processor": _processor(), "cores": f"{usable_cores():g}"}


def source_commit() -> str | None:
    """Short commit of the checkout that this package runs from, with "+" where tracked files were changed; None elsewhere."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "--short", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


@dataclasses.dataclass(frozen=True)
class QuickstartReport:
    """What a quickstart did, from the human recording to the evaluated policy.

    Attributes:
        source_name: name of the recording, without its folder.
        source_sha256: its hash.
        env_id, env_options: the environment.
        source_kind: what it is, such as "a synthetic recording made by this project".
        pseudo: placing, open-loop replay and refinement.
        multiplication: how the multiplication went.
        copies: demonstrations that were kept for training; by default those accepted.
        clone: the cloned actor's training.
        clone_evaluation: of the cloned actor.
        fine_tuning: the fine-tuned actor's training with its evaluations, the clone's first.
        final_evaluation: of the policy that was kept.
        final_policy: which one that is: "clone" or "fine-tuned".
        random_evaluation: of uniformly random actions, as a lower bound.
        stage_seconds: wall time by stage, in their order.
        videos: files by caption, in their order; the first one is played at once.
        no_videos_because: why there are none, such as the error of the renderer.
        skipped: reason by stage, for stages that were left out.
        notes: further remarks, shown as they are.
        commands: (what it does, command) to go further; see `further_commands`.
        seeds: by name.
        versions: of packages and Python.
        machine: kind of computer.
        commit: of the source code, where known; by default that of the checkout.
        date: day and time of the report.
        quick: a shortened run, whose figures are no measure of the method.
    """

    source_name: str
    source_sha256: str
    env_id: str
    env_options: Mapping[str, Any]
    source_kind: str = "a human demonstration"
    pseudo: PseudoDemonstration | None = None
    multiplication: MultiplyReport | None = None
    copies: int | None = None
    clone: CloneResult | None = None
    clone_evaluation: EvaluationResult | None = None
    fine_tuning: FineTuneResult | None = None
    final_evaluation: EvaluationResult | None = None
    final_policy: str = ""
    random_evaluation: EvaluationResult | None = None
    stage_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    videos: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    no_videos_because: str | None = None
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    commands: Sequence[tuple[str, str]] = ()
    seeds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=versions)
    machine: Mapping[str, str] = dataclasses.field(default_factory=machine)
    commit: str | None = dataclasses.field(default_factory=source_commit)
    date: str = dataclasses.field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    quick: bool = False

    @property
    def total_seconds(self) -> float:
        """Wall time of all stages."""
        return float(sum(self.stage_seconds.values()))

    @property
    def kept_copies(self) -> int | None:
        """Demonstrations that were kept for training."""
        return self.copies if self.copies is not None or self.multiplication is None else self.multiplication.accepted


def further_commands(
    run_folder: str, env_id: str, *, dataset: str = "dataset", clone: str = "clone", policy: str = "policy"
) -> list[tuple[str, str]]:
    """(what it does, command) for what to do after a quickstart whose results lie in `run_folder`.

    Args:
        run_folder: as it is to be typed.
        env_id: the environment.
        dataset, clone, policy: names of the results inside the folder.
    """
    folder = run_folder.rstrip("/")
    return [
        (
            "measure the policy on 200 published starts",
            f"dexvid evaluate --env {env_id} --policy {folder}/{policy} --episodes 200",
        ),
        ("play a demonstration and film it", f"dexvid replay {folder}/{dataset} --episode 0 --video replay.mp4"),
        ("clone again, for longer", f"dexvid train bc --dataset {folder}/{dataset} --out runs/clone"),
        ("fine-tune further", f"dexvid train ppo --env {env_id} --init {folder}/{clone} --out runs/finetuned"),
        ("measure your own policy", f"dexvid evaluate --env {env_id} --policy my_package.my_module:MyPolicy"),
        ("begin with a video of your own", "dexvid extract my_video.mp4 --out my_extraction"),
    ]


def write_report(data: QuickstartReport, path: Path) -> None:
    """Writes the page to `path` and its figures beside it with the ending .json; neither loads anything from elsewhere."""
    from baselines.reports.quickstart_sections import page

    text = page(data)
    figures = json.dumps(report_json(data), indent=2, allow_nan=False) + "\n"
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(figures, encoding="utf-8")
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def report_json(data: QuickstartReport) -> dict[str, Any]:
    """All figures of the report as JSON values; a stage that did not run is null."""
    final = _evaluation(data.final_evaluation)
    content = {
        "source": {"name": data.source_name, "kind": data.source_kind, "sha256": data.source_sha256},
        "environment": {"id": data.env_id, "options": to_json(data.env_options)},
        "quick": data.quick,
        "open_loop": None if data.pseudo is None else to_json(data.pseudo.open_loop),
        "refinement": _refinement(data),
        "multiplication": _multiplication(data),
        "clone": _clone(data),
        "fine_tuning": _fine_tuning(data),
        "final": final and {"policy": data.final_policy, **final},
        "random": _evaluation(data.random_evaluation),
        "stage_seconds": to_json(data.stage_seconds),
        "total_seconds": data.total_seconds,
        "videos": {caption: file.name for caption, file in data.videos.items()},
        "no_videos_because": data.no_videos_because,
        "skipped": to_json(data.skipped),
        "notes": list(data.notes),
        "commands": [{"purpose": purpose, "command": command} for purpose, command in data.commands],
        "seeds": to_json(data.seeds),
        "versions": to_json(data.versions),
        "machine": to_json(data.machine),
        "commit": data.commit,
        "date": data.date,
    }
    return finite(content)


def _refinement(data: QuickstartReport) -> dict[str, Any] | None:
    if data.pseudo is None:
        return None
    placed, result = data.pseudo.placed, data.pseudo.refinement
    return {
        "succeeded": result.succeeded,
        "tier": data.pseudo.demonstration.tier,
        "tracking_error_m": result.tracking_error_m,
        "end_error_m": result.end_error_m,
        "acceptance": result.acceptance,
        "fingertip_error_m": float(placed.motion.error_m.mean()),
        "yaw_rad": placed.yaw_rad,
        "num_steps": data.pseudo.demonstration.num_steps,
        "seconds": result.seconds,
        "history": to_json(result.history),
    }


def _multiplication(data: QuickstartReport) -> dict[str, Any] | None:
    report = data.multiplication
    return None if report is None else to_json(report) | {"acceptance": report.acceptance, "kept": data.kept_copies}


def _clone(data: QuickstartReport) -> dict[str, Any] | None:
    evaluation = _evaluation(data.clone_evaluation)
    if data.clone is None:
        return evaluation and {"evaluation": evaluation}
    training = {name: getattr(data.clone, name) for name in ("steps", "transitions", "held_out_loss", "seconds")}
    return training | {"history": to_json(data.clone.history), "evaluation": evaluation}


def _fine_tuning(data: QuickstartReport) -> dict[str, Any] | None:
    result = data.fine_tuning
    if result is None:
        return None
    rows = [{"steps": steps} | (_evaluation(one) or {}) for steps, one in result.evaluations]
    return {"steps": result.steps, "seconds": result.seconds, "evaluations": rows, "history": to_json(result.history)}


def _evaluation(result: EvaluationResult | None) -> dict[str, Any] | None:
    """The summary of an evaluation, without its episodes."""
    return None if result is None else {name: value for name, value in result.to_json().items() if name != "episodes"}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
