"""The sections of a quickstart's report as HTML: each takes the data and returns its part of the page, or nothing to say."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from baselines.evaluate import EVALUATION_SEED, EvaluationResult
from baselines.reports.charts import Bar, Line, bar_chart, line_chart
from baselines.reports.page import (
    card,
    card_row,
    command_list,
    duration,
    escape,
    fact_table,
    grid,
    millimetres,
    page_head,
    pairs,
    panel,
    percent,
    whole_page,
)
from baselines.reports.quickstart import QuickstartReport
from baselines.reports.rates import evaluation_panels, interval_words, rate_bar
from baselines.reports.table_charts import CellBox, table_map
from baselines.reports.words import differences, what_happened
from demos.multiply import CELL_M
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlaceConfig

CONTROL_HZ = 20


def page(data: QuickstartReport) -> str:
    """The whole page."""
    title = f"From one human demonstration to a robot policy: {data.source_name}"
    sections = (
        _head(data, title),
        _cards(data),
        _videos(data),
        _demonstration(data),
        _copies(data),
        _policies(data),
        _differences(data),
        _further(data),
        _provenance(data),
    )
    return whole_page(title, sections)


# ---- top -------------------------------------------------------------------------------------------------------------------


def _head(data: QuickstartReport, title: str) -> str:
    quick = "A shortened run (--quick): it shows that everything works, its figures mean little."
    notes = [*([quick] if data.quick else []), *data.notes]
    return page_head(title, f"{data.env_id} \N{MIDDLE DOT} {data.date}", what_happened(data), notes)


def _cards(data: QuickstartReport) -> str:
    cards = [*_demonstration_cards(data), _copies_card(data)]
    cards.append(_policy_card("4 · Cloned policy", data.clone_evaluation, data.skipped.get("clone")))
    cards.append(_fine_tuning_card(data))
    slowest = max(data.stage_seconds, key=lambda name: data.stage_seconds[name], default=None)
    longest = "" if slowest is None else f"; longest: {slowest} ({duration(data.stage_seconds[slowest])})"
    cards.append(card("6 · Time in all", duration(data.total_seconds), f"on {data.machine.get('cores', '?')} cores{longest}"))
    return card_row(cards)


def _demonstration_cards(data: QuickstartReport) -> list[str]:
    if data.pseudo is None:
        reason = data.skipped.get("refine", "no result of this stage")
        return [
            card("1 · Replayed as filmed", "not run", reason, "idle"),
            card("2 · Refined in physics", "not run", reason, "idle"),
        ]
    before, after = data.pseudo.open_loop, data.pseudo.refinement
    fallen = ", the bottle falls over" if before.toppled else ""
    text = f"lifted {millimetres(before.lift_m)}, ends {millimetres(before.target_distance_m)} from the target{fallen}. " + (
        "Better than expected." if before.success else "Expected: another hand, no feeling for contact."
    )
    first = card("1 · Replayed as filmed", "succeeds" if before.success else "fails", text, "good" if before.success else "bad")
    text = (
        f"{millimetres(after.tracking_error_m)} mean distance from the video's path, {millimetres(after.end_error_m)} from the "
        f"target at the end; {percent(after.acceptance)} of noisy, moved copies hold"
    )
    look = "good" if after.succeeded else "bad"
    return [first, card("2 · Refined in physics", "succeeds" if after.succeeded else "fails", text, look)]


def _copies_card(data: QuickstartReport) -> str:
    report = data.multiplication
    if report is None:
        return card("3 · Multiplied", "not run", data.skipped.get("multiply", "no result of this stage"), "idle")
    text = f"kept; {percent(report.acceptance)} of {report.attempts} attempts succeed in physics, the others are thrown away"
    return card("3 · Multiplied", f"{data.kept_copies} copies", text)


def _policy_card(step: str, result: EvaluationResult | None, skipped: str | None) -> str:
    if result is None:
        return card(step, "not run", skipped or "no result of this stage", "idle")
    return card(step, percent(result.success.rate), interval_words(result.success))


def _fine_tuning_card(data: QuickstartReport) -> str:
    step = "5 · After fine-tuning"
    if data.fine_tuning is None or not data.fine_tuning.evaluations:
        return _policy_card("5 · Final policy", data.final_evaluation, data.skipped.get("fine-tune"))
    first, last = data.fine_tuning.evaluations[0][1].success, data.fine_tuning.evaluations[-1][1].success
    text = f"at its start {percent(first.rate)}, at its end {percent(last.rate)} ({interval_words(last)})"
    if data.final_evaluation is None:
        return card(step, percent(last.rate), text)
    kept = f"kept policy ({data.final_policy}): " if data.final_policy else "kept policy: "
    rate = data.final_evaluation.success
    return card(step, percent(rate.rate), f"{kept}{interval_words(rate)}; {text}")


def _videos(data: QuickstartReport) -> str:
    shown = [(caption, file) for caption, file in data.videos.items() if file.is_file()]
    if not shown:
        reason = data.no_videos_because or "none were made in this run"
        return f'<h2>Videos</h2><p class="note">There are no videos here: {escape(reason)}.</p>'
    others = "".join(_video(*one, first=False) for one in shown[1:])
    return "<h2>Videos</h2>" + _video(*shown[0], first=True) + (f'<div class="two">{others}</div>' if others else "")


def _video(caption: str, file: Path, *, first: bool) -> str:
    content = base64.b64encode(file.read_bytes()).decode("ascii")
    playing = "autoplay " if first else ""
    attributes = f'{playing}controls loop muted playsinline preload="auto" src="data:video/mp4;base64,{content}"'
    return f"<figure><video {attributes}></video><figcaption>{escape(caption)}</figcaption></figure>"


# ---- demonstration ---------------------------------------------------------------------------------------------------------


def _demonstration(data: QuickstartReport) -> str:
    if data.pseudo is None:
        return ""
    plan = data.pseudo.placed.plan
    paths = (
        ("video", plan.object_pos_world, 3, True, 1),
        ("replayed as filmed", data.pseudo.open_loop_demonstration.object_pos_world, 1, False, 0),
        ("refined", data.pseudo.demonstration.object_pos_world, 2, False, 0),
    )
    heights, ways = [], []
    for label, path, colour, dashed, first_step in paths:
        time_s = (np.arange(len(path)) + first_step) / CONTROL_HZ
        heights.append(Line(label, time_s, 1000 * (path[:, 2] - path[0, 2]), colour, dashed=dashed))
        distance = np.linalg.norm(path[:, :2] - plan.target_xy, axis=-1)
        ways.append(Line(label, time_s, 1000 * distance, colour, dashed=dashed))
    panels = [
        panel("Height of the object above its start, mm", line_chart("height over time", heights, "time, s")),
        panel(
            "Distance from the target on the table, mm",
            line_chart("distance over time", ways, "time, s", y_range=(0, None)),
        ),
        *_search_panels(data.pseudo.refinement.history),
    ]
    return (
        "<h2>From the video's motion to one that holds</h2>"
        '<p class="note">The retargeted motion imitates the fingertips but knows nothing of forces. A search in the simulator '
        "bends it (place and turn of the palm, closing of the fingers) until the object follows the video and the task "
        "succeeds, then until this also holds under noise and from moved starts.</p>" + grid(panels)
    )


def _search_panels(history: Sequence[dict[str, Any]]) -> list[str]:
    if not history:
        return []
    rounds = np.arange(1, len(history) + 1)
    offsets = sum(row["search"] == "offset" for row in history)
    split = (offsets + 0.5, "offsets", "splines, with noise") if 0 < offsets < len(history) else None
    cost = Line("", rounds, [row["cost"] for row in history], 0, dots=True)
    shares = [
        Line("best candidate", rounds, [row["success"] for row in history], 2, dots=True),
        Line("mean", rounds, [row["mean"] for row in history], 3, dashed=True),
    ]
    return [
        panel("Cost of the best candidate", line_chart("cost by round", [cost], "round", y_range=(0, None), split=split)),
        panel(
            "Candidates that succeed",
            line_chart("success by round", shares, "round", y_range=(0, 1.0), percent=True, split=split),
        ),
    ]


def _copies(data: QuickstartReport) -> str:
    report = data.multiplication
    if report is None:
        return ""
    known = {field.name for field in dataclasses.fields(BottlePickPlaceConfig)}
    options = {name: value for name, value in data.env_options.items() if name in known}
    settings = BottlePickPlaceConfig(**options)
    boxes = [
        _box("starts", report.start_cells, settings.start_centre_m, settings.start_half_extent_m, 0),
        _box("targets", report.target_cells, settings.target_centre_m, settings.target_half_extent_m, 2),
    ]
    empty = report.missing_start_cells + report.missing_target_cells
    text = "Every cell is covered." if not empty else f"{empty} cells are empty: there the policy has nothing to imitate."
    cells = sum(box.counts.size for box in boxes)
    figures = [
        ("attempts", str(report.attempts)),
        ("succeeded", f"{report.accepted} ({percent(report.acceptance)})"),
        ("kept for training", str(data.kept_copies)),
        ("of them mended by a retry", str(report.mended)),
        ("cells covered", f"{cells - empty} of {cells}"),
        *((f"fewest and most in a cell of {box.label}", f"{box.counts.min()} and {box.counts.max()}") for box in boxes),
    ]
    return (
        "<h2>Where the copies start and end</h2>"
        '<p class="note">One demonstration is carried to new starts and targets with noise on the servo targets. Every copy is '
        f"played in physics; of {report.attempts} attempts {report.accepted} succeeded ({percent(report.acceptance)}). Numbers "
        f"are kept copies by cell of {100 * CELL_M:.0f} cm. {text}</p>"
        + grid([panel("Coverage", table_map("coverage", boxes)), panel("Figures", fact_table(figures))])
    )


def _box(label: str, cells: dict[str, int], centre: Any, half_extent: Any, colour: int) -> CellBox:
    low, size = np.subtract(centre, half_extent), 2 * np.asarray(half_extent)
    counts = np.zeros(np.maximum(np.ceil(size / CELL_M - 1e-9).astype(int), 1), dtype=np.int64)
    for key, count in cells.items():
        ix, iy = (int(part) for part in key.split(","))
        counts[min(ix, counts.shape[0] - 1), min(iy, counts.shape[1] - 1)] += count
    return CellBox(label, (float(low[0]), float(low[1])), CELL_M, counts, colour)


# ---- policies --------------------------------------------------------------------------------------------------------------


def _policies(data: QuickstartReport) -> str:
    panels = [*_success_panels(data), *_clone_panels(data), *_fine_tuning_panels(data)]
    if not panels:
        return ""
    seeds = [one.seed for one in (data.final_evaluation, data.clone_evaluation) if one is not None]
    first = seeds[0] if seeds else EVALUATION_SEED
    return (
        "<h2>How well the policies do</h2>"
        '<p class="note">Success means success at the last step of an episode. All evaluations start from the same published '
        f"seeds ({first} and following), which no training uses; whiskers and bands are 95% Wilson intervals.</p>"
        + grid(panels)
    )


def _success_panels(data: QuickstartReport) -> list[str]:
    rows: list[tuple[str, EvaluationResult | None, int]] = [
        ("random actions", data.random_evaluation, 3),
        ("clone", data.clone_evaluation, 0),
        (f"kept policy ({data.final_policy})" if data.final_policy else "kept policy", data.final_evaluation, 2),
    ]
    bars = [rate_bar(label, one.success, colour) for label, one, colour in rows if one is not None]
    return [panel("Success over the task's starts and targets", bar_chart("success rates", bars, maximum=1.0))] if bars else []


def _clone_panels(data: QuickstartReport) -> list[str]:
    if data.clone is None or not data.clone.history:
        return []
    history = data.clone.history
    steps = [row["step"] for row in history]
    lines = [Line("training", steps, [row["loss"] for row in history], 0)]
    if any("held_out_loss" in row for row in history):
        lines.append(Line("held-out episodes", steps, [row.get("held_out_loss", np.nan) for row in history], 1))
    text = f"{data.clone.transitions} transitions, {data.clone.steps} steps in {duration(data.clone.seconds)}"
    chart = line_chart("loss of the clone", lines, "gradient step", y_range=(0, None))
    return [panel("Loss of the clone (mean absolute error of actions)", chart + f'<p class="legend">{escape(text)}</p>')]


def _fine_tuning_panels(data: QuickstartReport) -> list[str]:
    return [] if data.fine_tuning is None else evaluation_panels(data.fine_tuning.evaluations, "Success while fine-tuning")


# ---- bottom ----------------------------------------------------------------------------------------------------------------


def _differences(data: QuickstartReport) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in differences(data))
    return f'<h2>What this does not show</h2><div class="panel"><ul>{items}</ul></div>'


def _further(data: QuickstartReport) -> str:
    options = "".join(f", {name}={value!r}" for name, value in data.env_options.items())
    code = (
        "import gymnasium as gym\nimport dexvid_envs\n\n"
        f'env = gym.make("{data.env_id}"{options})\nobservation, info = env.reset(seed=0)\n'
        "observation, reward, terminated, truncated, info = env.step(env.action_space.sample())"
    )
    commands = [*data.commands, ("use the environment with your own code", code)]
    return f'<h2>Go further</h2><div class="panel">{command_list(commands)}</div>'


def _provenance(data: QuickstartReport) -> str:
    rows = [
        ("source", f"{data.source_name}, {data.source_kind}"),
        ("SHA-256 of the source", data.source_sha256),
        ("environment", " ".join([data.env_id, *(f"{name}={value}" for name, value in data.env_options.items())])),
        ("commit", data.commit or "not known (not run from a checkout)"),
        ("seeds", pairs(data.seeds) or "see the configs of the stages"),
        ("versions", pairs(data.versions)),
        ("machine", pairs(data.machine)),
        *((f"left out: {stage}", reason) for stage, reason in data.skipped.items()),
    ]
    panels = []
    if data.stage_seconds:
        bars = [Bar(name, seconds, duration(seconds), 0) for name, seconds in data.stage_seconds.items()]
        panels.append(panel(f"Time by stage, {duration(data.total_seconds)} in all", bar_chart("time by stage", bars)))
    panels.append(panel("Made from", fact_table(rows), wide=not panels))
    return "<h2>Time, versions and seeds</h2>" + grid(panels)
