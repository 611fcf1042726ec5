"""What a report says of an evaluation: success with its intervals, object by object, returns, lengths and every failure."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from baselines.evaluate import Episode, EvaluationResult
from baselines.evaluation_file import StoredEvaluation, read_evaluation
from baselines.reports.charts import Line, bar_chart, line_chart
from baselines.reports.page import (
    Report,
    card,
    card_row,
    command_list,
    page_head,
    panel,
    percent,
    section,
    table,
    whole_page,
)
from baselines.reports.rates import bounds_words, interval_words, rate_bar, rate_table

_MOST_FAILURES = 200  # shown one by one
SIMULATED = (
    "Every success is one in the MuJoCo simulator, and intervals cover the choice of episodes alone, not that of the training."
)


def evaluation_report(path: Path) -> Report:
    """The page of an evaluation's file.

    Raises:
        InputFileError: it is damaged or something else.
    """
    stored = read_evaluation(path)
    title = f"Evaluation of {stored.policy or path.name}"
    sections = [
        page_head(title, evaluated_on(stored.result), evaluation_words(stored.result)),
        evaluation_cards(stored.result),
        *evaluation_sections(stored),
    ]
    return Report(whole_page(title, sections), {"kind": "evaluation", **evaluation_figures(stored)})


def evaluated_on(result: EvaluationResult) -> str:
    """Environment, options and seeds in a line."""
    options = ", ".join(f"{name}={_value(value)}" for name, value in result.env_options.items())
    count = len(result.episodes)
    seeds = f"{count} episodes from seed {result.seed}"
    return " \N{MIDDLE DOT} ".join(part for part in (result.env_id, options, seeds) if part)


def evaluation_words(result: EvaluationResult) -> str:
    """The outcome in a sentence or two."""
    end, ever, lost = result.success, result.ever_success, len(_lost(result))
    said = f"The policy succeeds in {percent(end.rate)} of {end.trials} episodes at the last step"
    said += f" (95% interval {bounds_words(end)})" + (f" and in {percent(ever.rate)} at any time" if lost else "") + "."
    if lost:
        said += f" In {lost} of them it reached the goal and lost it again."
    return said + " " + SIMULATED


def evaluation_cards(result: EvaluationResult) -> str:
    """The headline figures."""
    returns = np.array([one.total_reward for one in result.episodes])
    ended = sum(one.terminated for one in result.episodes)
    cards = [
        card("Success at the last step", percent(result.success.rate), interval_words(result.success)),
        card("Success at any time", percent(result.ever_success.rate), interval_words(result.ever_success)),
        card("Mean return", f"{result.mean_return:.1f}", f"least {returns.min():.1f}, most {returns.max():.1f}"),
        card("Mean length", f"{result.mean_length:.0f} steps", f"{ended} of {len(returns)} ended early by a failure"),
    ]
    return card_row(cards)


def evaluation_sections(stored: StoredEvaluation) -> list[str]:
    """Rates and objects, returns and lengths, failures."""
    result = stored.result
    rates = [rate_bar("at the last step", result.success, 2), rate_bar("at any time", result.ever_success, 3)]
    panels = [panel("Success with its 95% Wilson interval", bar_chart("success rates", rates, maximum=1.0))]
    if result.per_object:
        bars = [rate_bar(name, rate, 0) for name, rate in result.per_object.items()]
        panels.append(panel("By object, at the last step", bar_chart("success by object", bars, maximum=1.0)))
        panels.append(panel("The same in numbers", rate_table("object", result.per_object)))
    return [
        section("Success", panels, evaluated_on(result)),
        section("Returns and lengths", _return_panels(result)),
        _failures(stored),
    ]


def evaluation_summary(result: EvaluationResult) -> dict[str, Any]:
    """The figures as JSON values, without the episodes."""
    return {name: value for name, value in result.to_json().items() if name != "episodes"}


def evaluation_figures(stored: StoredEvaluation) -> dict[str, Any]:
    """The figures as JSON values, with the episodes that fail."""
    result = stored.result
    failures = [dataclasses.asdict(one) for one in result.episodes if not one.success]
    figures = {"policy": stored.policy, **evaluation_summary(result)}
    return figures | {"reached_and_lost": len(_lost(result)), "failures": failures}


def _return_panels(result: EvaluationResult) -> list[str]:
    groups = [
        ("all", result.episodes),
        ("successes", [one for one in result.episodes if one.success]),
        ("failures", [one for one in result.episodes if not one.success]),
    ]
    rows = [_return_row(name, episodes) for name, episodes in groups if episodes]
    sizes = table(("episodes", "number", "mean return", "least", "median", "most", "mean length", "ended early"), rows)
    ordered = sorted(one.total_reward for one in result.episodes)
    curve = Line("", np.arange(1, len(ordered) + 1), ordered, 0)
    panels = [
        panel("Returns", line_chart("returns in order", [curve], "episodes, from the lowest return to the highest")),
        panel("Returns and lengths in numbers", sizes),
    ]
    return [*panels, *_metric_panels(groups[1:])]


def _return_row(name: str, episodes: Sequence[Episode]) -> tuple[str, ...]:
    returns = np.array([one.total_reward for one in episodes])
    length = np.mean([one.length for one in episodes])
    figures = (returns.mean(), returns.min(), np.median(returns), returns.max())
    ended = sum(one.terminated for one in episodes)
    return (name, str(len(episodes)), *(f"{value:.1f}" for value in figures), f"{length:.0f}", str(ended))


def _metric_panels(groups: Sequence[tuple[str, Sequence[Episode]]]) -> list[str]:
    """The task's own figures at the last step: means of successes and of failures."""
    there = [(name, episodes) for name, episodes in groups if episodes]
    names = list(dict.fromkeys(name for _, episodes in there for one in episodes for name in one.metrics))
    if not names:
        return []
    rows = [
        (name, *(_mean([one.metrics[name] for one in episodes if name in one.metrics]) for _, episodes in there))
        for name in names[:40]
    ]
    head = ("figure", *(f"mean of {name}" for name, _ in there))
    return [panel("The task's own figures at the last step", table(head, rows))]


def _mean(values: Sequence[float]) -> str:
    finite = [value for value in values if np.isfinite(value)]
    return f"{np.mean(finite):.4g}" if finite else "unknown"


def _failures(stored: StoredEvaluation) -> str:
    result = stored.result
    failed = [one for one in result.episodes if not one.success]
    if not failed:
        return section("Failures", [panel("None", "<p>Every episode ends in success.</p>", wide=True)])
    names = list(dict.fromkeys(name for one in failed for name in one.metrics))[:4]
    objects = bool(result.per_object)
    head = ("seed", *(["object"] if objects else []), "how", "return", "steps", *names)
    rows = [
        (
            one.seed,
            *([one.object or ""] if objects else []),
            "reached and lost" if one.ever_success else "ended early" if one.terminated else "not reached",
            f"{one.total_reward:.1f}",
            one.length,
            *(f"{one.metrics[name]:.4g}" if name in one.metrics else "" for name in names),
        )
        for one in failed[:_MOST_FAILURES]
    ]
    note = "Every episode can be repeated by its seed."
    if len(failed) > len(rows):
        note += f" The first {len(rows)} of {len(failed)} are shown; the evaluation's file has all."
    panels = [panel(f"{len(failed)} of {len(result.episodes)} episodes, by seed", table(head, rows), wide=True)]
    if stored.policy:
        panels.append(panel("Look at one", command_list([_play_command(stored, failed[0])]), wide=True))
    return section("Failures", panels, note)


def _play_command(stored: StoredEvaluation, episode: Episode) -> tuple[str, str]:
    """How the first failure is filmed."""
    result = stored.result
    words = ["dexvid", "play", result.env_id, "--policy", stored.policy]
    words += ["--seed", str(episode.seed), "--episodes", "1", "--video", f"failure_{episode.seed}.mp4"]
    words += [word for name, value in result.env_options.items() for word in ("--env-option", f"{name}={_value(value)}")]
    return "film the first of them", shlex.join(words)


def _lost(result: EvaluationResult) -> list[Episode]:
    """Episodes that were successful for a while."""
    return [one for one in result.episodes if one.ever_success and not one.success]


def _value(value: Any) -> str:
    """An option's value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value)
