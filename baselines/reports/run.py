"""The report of a training run's folder: curves, evaluations, settings, and where the actor comes from."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from baselines.checkpoint_folder import CONFIG_NAME, read_config
from baselines.evaluate import EvaluationResult
from baselines.evaluation_file import EVALUATION_NAME, StoredEvaluation, read_evaluation
from baselines.progress import CSV_NAME, read_progress
from baselines.reports.charts import Line, line_chart
from baselines.reports.evaluation import (
    SIMULATED,
    evaluation_figures,
    evaluation_sections,
    evaluation_summary,
)
from baselines.reports.origin import flat, origin_panels
from baselines.reports.page import (
    Report,
    card,
    card_row,
    command_list,
    duration,
    fact_table,
    page_head,
    panel,
    percent,
    section,
    whole_page,
)
from baselines.reports.rates import bounds_words, evaluation_panels, interval_words
from dexvid_envs.errors import InputFileError
from dexvid_envs.json_file import read_json

_NAMES = {"bc": "Behaviour cloning", "ppo": "PPO fine-tuning"}
#: Columns of `progress.csv` with a chart of their own: title, and (column, label) of each curve.
_CHARTS = (
    ("Loss (mean absolute error of actions)", (("loss", "training"), ("held_out_loss", "held-out episodes"))),
    ("Return of the training's episodes", (("rollout/return", ""),)),
    ("Length of the training's episodes, steps", (("rollout/length", ""),)),
)
_NO_CURVES = ("step", "elapsed_s", "time/elapsed_s", "rollout/success")
_MOST_CURVES = 24


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """What a run's folder holds.

    Attributes:
        folder: the folder.
        content: of its `config.json`.
        rows: of its `progress.csv`, empty before the first.
        checkpoint: the config of its checkpoint, or None while the run is not finished.
        evaluations: (environment steps, evaluation) of `checkpoints/step_*`, in order.
        own: an evaluation of the finished checkpoint, put into its folder or the run's; None where there is none.
    """

    folder: Path
    content: Mapping[str, Any]
    rows: list[dict[str, float]]
    checkpoint: Mapping[str, Any] | None
    evaluations: list[tuple[int, EvaluationResult]]
    own: StoredEvaluation | None

    @property
    def algorithm(self) -> str:
        """The name of the training's method."""
        name = str(self.content.get("algorithm", "training"))
        return _NAMES.get(name, name)

    @property
    def training(self) -> Mapping[str, Any]:
        """How the actor came about: as its checkpoint says, before there is one as the run's config does."""
        stored = {} if self.checkpoint is None else self.checkpoint.get("training")
        return stored if isinstance(stored, Mapping) and stored else self.content

    @property
    def seconds(self) -> float:
        """Wall time up to the last row; NaN without rows."""
        last = self.rows[-1] if self.rows else {}
        return last.get("elapsed_s", last.get("time/elapsed_s", float("nan")))

    @property
    def latest(self) -> StoredEvaluation | None:
        """The finished checkpoint's own evaluation, else the last of those while it trained."""
        if self.own is not None or not self.evaluations:
            return self.own
        return StoredEvaluation(str(self.folder), self.evaluations[-1][1])


def read_run(folder: Path) -> TrainingRun:
    """Reads a run's folder, finished or not.

    Raises:
        InputFileError: a file in it is missing or damaged.
    """
    content = read_json(folder / CONFIG_NAME, f"expected the folder of a run, as `dexvid train` writes it, in {folder}")
    if not isinstance(content, dict):
        raise InputFileError(f"{folder / CONFIG_NAME} holds no JSON object; expected the settings of `dexvid train`")
    rows = read_progress(folder / CSV_NAME) if (folder / CSV_NAME).is_file() else []
    finished = (folder / "checkpoint" / CONFIG_NAME).is_file()
    stored = read_config(folder / "checkpoint" / CONFIG_NAME) if finished else None
    evaluations = []
    for path in sorted((folder / "checkpoints").glob(f"step_*/{EVALUATION_NAME}")):
        if steps := re.fullmatch(r"step_(\d{1,15})", path.parent.name):
            evaluations.append((int(steps[1]), read_evaluation(path).result))
    evaluations.sort(key=lambda pair: pair[0])
    own = next((one for one in (folder, folder / "checkpoint") if (one / EVALUATION_NAME).is_file()), None)
    return TrainingRun(
        folder, content, rows, stored, evaluations, None if own is None else read_evaluation(own / EVALUATION_NAME)
    )


def run_report(folder: Path) -> Report:
    """The page of a run's folder.

    Raises:
        InputFileError: a file in it is missing or damaged.
    """
    run = read_run(folder)
    title = f"{run.algorithm}: {folder.absolute().name}"
    sections = [
        page_head(title, _made_for(run), *_words(run)),
        _cards(run),
        section("While it trained", _curve_panels(run)),
        *([] if run.latest is None else evaluation_sections(run.latest)),
        section("Where it comes from", _origin(run)),
        section("Go further", [panel("Commands", command_list(_commands(folder)), wide=True)]),
    ]
    return Report(whole_page(title, sections), _figures(run))


# ---- parts of a run's page -------------------------------------------------------------------------------------------------


def _made_for(run: TrainingRun) -> str:
    """Environment, its options and the seed in a line."""
    stored = {**run.content, **(run.checkpoint or {})}
    options = stored.get("env_options")
    said = ", ".join(f"{name}={value}" for name, value in flat(options)) if isinstance(options, Mapping) else ""
    parts = (stored.get("env_id", "environment not known"), said, f"seed {run.content.get('seed', 'not known')}")
    return " \N{MIDDLE DOT} ".join(str(part) for part in parts if part)


def _words(run: TrainingRun) -> tuple[str, list[str]]:
    """The story, and what must not be overlooked."""
    steps = int(run.rows[-1]["step"]) if run.rows else 0
    said = f"{run.algorithm} for {steps} steps" + (f" in {duration(run.seconds)}." if run.rows else ".")
    notes = []
    if run.checkpoint is None:
        notes.append("This run is not finished: it has no checkpoint yet. Go on with it by adding --resume to its command.")
    if run.latest is None and run.checkpoint is not None:
        folder, file = shlex.quote(str(run.folder)), shlex.quote(str(run.folder / EVALUATION_NAME))
        notes.append(f"Its policy was not evaluated yet: dexvid evaluate --policy {folder} --json {file}")
    if len(run.evaluations) > 1:
        first, last = run.evaluations[0][1].success, run.evaluations[-1][1].success
        said += (
            f" Success at the last step went from {percent(first.rate)} ({bounds_words(first)}) to {percent(last.rate)} "
            f"({bounds_words(last)}) of {last.trials} episodes."
        )
        if last.rate < first.rate:
            notes.append("The last actor is worse than the one it started from; keep that one.")
    return f"{said} {SIMULATED}" if run.latest is not None else said, notes


def _cards(run: TrainingRun) -> str:
    last = run.rows[-1] if run.rows else {}
    cards = [card("Steps", f"{last.get('step', 0):.0f}", f"in {duration(run.seconds)}" if run.rows else "no row yet")]
    if "loss" in last:
        held_out = f"on held-out episodes {last['held_out_loss']:.4f}" if "held_out_loss" in last else "no episode held out"
        cards.append(card("Loss", f"{last['loss']:.4f}", held_out))
    if "rollout/success" in last:
        cards.append(card("Success while exploring", percent(last["rollout/success"]), "of the last episodes of the training"))
    if run.latest is None:
        cards.append(card("Evaluation", "not run", "a measure of the policy is not here yet", "idle"))
    else:
        rate = run.latest.result.success
        cards.append(card("Success at the last step", percent(rate.rate), interval_words(rate)))
    return card_row(cards)


def _curve_panels(run: TrainingRun) -> list[str]:
    panels = []
    exploring = _curve(run.rows, "rollout/success", "training's episodes, exploring", 3)
    panels += evaluation_panels(run.evaluations, "Success at the last step", *exploring)
    if exploring and not run.evaluations:
        chart = line_chart("success while training", exploring, "environment steps", y_range=(0.0, 1.0), percent=True)
        panels.append(panel("Success of the training's episodes", chart))
    for title, columns in _CHARTS:
        lines = [line for colour, (name, label) in enumerate(columns) for line in _curve(run.rows, name, label, colour)]
        if lines:
            least = 0.0 if "loss" in columns[0][0] else None
            panels.append(panel(title, line_chart(title, lines, "step", y_range=(least, None))))
    return panels + _other_panels(run.rows)


def _other_panels(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """A chart of each further column; those that never changed share a table."""
    drawn = {*_NO_CURVES, *(name for _, columns in _CHARTS for name, _ in columns)}
    values: dict[str, set[float]] = {}
    for row in rows:
        for name in row.keys() - drawn:
            values.setdefault(name, set()).add(row[name])
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name in values]
    changed = [name for name in names if len(values[name]) > 1]
    panels = [panel(name, line_chart(name, _curve(rows, name, "", 0), "step")) for name in changed[:_MOST_CURVES]]
    if len(changed) > _MOST_CURVES:
        panels.append(panel("More", f"<p>{len(changed) - _MOST_CURVES} further columns are in {CSV_NAME}.</p>"))
    constant = [(name, f"{min(values[name]):.6g}") for name in names if len(values[name]) == 1][:_MOST_CURVES]
    return [*panels, panel("What did not change", fact_table(constant))] if constant else panels


def _curve(rows: Sequence[Mapping[str, float]], name: str, label: str, colour: int) -> list[Line]:
    """A column of the progress; nothing where no row has it."""
    there = [row for row in rows if name in row]
    return [Line(label, [row["step"] for row in there], np.array([row[name] for row in there]), colour)] if there else []


def _origin(run: TrainingRun) -> list[str]:
    stored = run.checkpoint or {}
    training = dict(run.training)
    if "clone" in run.content:
        training.setdefault("clone", run.content["clone"])
    return origin_panels(training, stored.get("network"), stored.get("versions"))


def _commands(folder: Path) -> list[tuple[str, str]]:
    name = shlex.quote(str(folder))
    return [
        ("measure the policy on the published starts", f"dexvid evaluate --policy {name} --episodes 200"),
        ("look at an episode beside its controls", f"dexvid view {name}"),
        ("all curves, while it trains", f"tensorboard --logdir {name}"),
    ]


def _figures(run: TrainingRun) -> dict[str, Any]:
    stored = run.checkpoint or {}
    return {
        "kind": "run",
        "algorithm": run.content.get("algorithm"),
        "env_id": run.content.get("env_id"),
        "seed": run.content.get("seed"),
        "finished": run.checkpoint is not None,
        "steps": run.rows[-1]["step"] if run.rows else 0,
        "seconds": run.seconds,
        "config": run.content.get("config"),
        "training": run.training,
        "network": stored.get("network"),
        "versions": stored.get("versions"),
        "history": run.rows,
        "evaluations": [{"steps": steps, **evaluation_summary(one)} for steps, one in run.evaluations],
        "evaluation": None if run.latest is None else evaluation_figures(run.latest),
    }
