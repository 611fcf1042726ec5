"""Success rates on report pages: in words, as bars with their intervals, and as rows of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from baselines.evaluate import EvaluationResult, Rate
from baselines.reports.charts import Bar, Line, line_chart
from baselines.reports.page import panel, percent, table


def bounds_words(rate: Rate) -> str:
    """The 95 % Wilson interval as `69.2 to 90.2%`."""
    low, high = rate.interval
    return f"{100 * low:.1f} to {100 * high:.1f}%"


def interval_words(rate: Rate) -> str:
    """The rate's sample size and interval in words."""
    return f"{rate.successes} of {rate.trials} episodes; 95% interval {bounds_words(rate)}"


def rate_bar(label: str, rate: Rate, colour: int) -> Bar:
    """A bar with its interval."""
    return Bar(label, rate.rate, f"{percent(rate.rate)}, {rate.successes} of {rate.trials}", colour, rate.interval)


def rate_table(head: str, rates: Mapping[str, Rate]) -> str:
    """Rates by name."""
    rows = [(name, f"{one.successes} of {one.trials}", percent(one.rate), bounds_words(one)) for name, one in rates.items()]
    return table((head, "success", "rate", "95% interval"), rows)


def evaluation_panels(evaluations: Sequence[tuple[int, EvaluationResult]], title: str, *others: Line) -> list[str]:
    """A curve of success at the end with its interval, and a table of the same; nothing without evaluations.

    Args:
        evaluations: (environment steps, result), in order.
        title: of the curve.
        others: further shares for the curve's chart.
    """
    if not evaluations:
        return []
    steps, rates = [count for count, _ in evaluations], [one.success for _, one in evaluations]
    low, high = zip(*(rate.interval for rate in rates), strict=True)
    curve = Line("evaluation" if others else "", steps, [rate.rate for rate in rates], 2, low, high, dots=True)
    least = 0.0 if others else max(0.0, min(low) - 0.05)
    chart = line_chart("success over steps", [curve, *others], "environment steps", y_range=(least, 1.0), percent=True)
    cells = [
        (count, f"{rate.successes} of {rate.trials}", percent(rate.rate), bounds_words(rate), f"{one.mean_return:.1f}")
        for (count, one), rate in zip(evaluations, rates, strict=True)
    ]
    rows = table(("steps", "success", "rate", "95% interval", "return"), cells)
    return [panel(title, chart), panel("Every checkpoint that was evaluated", rows)]
