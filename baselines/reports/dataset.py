"""The report of a dataset of demonstrations: what they are, how they were made, where objects start and go, what is missing."""

from __future__ import annotations

import collections
import dataclasses
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.evaluate import Rate
from baselines.reports.charts import Bar, bar_chart
from baselines.reports.page import (
    Report,
    card,
    card_row,
    command_list,
    fact_table,
    page_head,
    panel,
    percent,
    section,
    table,
    whole_page,
)
from baselines.reports.rates import rate_table
from baselines.reports.table_charts import Places, place_map
from demos.dataset_command import describe
from demos.demonstration import Demonstration
from demos.provenance import GENERATIONS, generation, missing_provenance
from demos.recorded_path import source_hash
from dexvid_envs.errors import InputFileError
from dexvid_envs.progress import progress_bar

CONTROL_HZ = 20
#: Where objects are to go: memory of the tasks whose first two numbers are a place on the table.
_GOALS = ("target", "goal", "bucket")
_MOST_ROWS = 40
_BINS = 8


@dataclasses.dataclass
class _Seen:
    """What the page says beyond `describe`, gathered episode by episode."""

    starts: list[NDArray[np.float64]] = dataclasses.field(default_factory=list)
    goals: list[NDArray[np.float64]] = dataclasses.field(default_factory=list)
    ends: list[NDArray[np.float64]] = dataclasses.field(default_factory=list)
    steps: list[int] = dataclasses.field(default_factory=list)
    made: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    succeeded: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    sources: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    missing: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    recorded_anew: int = 0
    free_of_noise: int = 0

    def add(self, one: Demonstration) -> None:
        """Takes one demonstration into account."""
        self.starts.append(one.object_pos_world[0, :2])
        self.ends.append(one.object_pos_world[-1, :2])
        goal = next((one.memory[name][0] for name in _GOALS if name in one.memory), None)
        if goal is not None and np.shape(goal) in ((2,), (3,)):
            self.goals.append(np.asarray(goal, dtype=float)[:2])
        self.steps.append(one.num_steps)
        kind = generation(one)
        self.made[kind] += 1
        self.succeeded[kind] += bool(one.successes[-1])
        self.sources[source_hash(one) or "not known"] += 1
        self.missing.update(missing_provenance(one))
        self.recorded_anew += "recorded_before" in one.provenance
        self.free_of_noise += one.intended_actions is not None


def dataset_report(path: Path) -> Report:
    """The page of a dataset's folder; every episode is read, none is played.

    Raises:
        InputFileError: the folder is no dataset, or an episode is damaged.
    """
    seen = _Seen()
    with progress_bar("read") as report:
        facts = describe(path, _counting(seen, report))
    if not seen.steps:
        raise InputFileError(f"the dataset {path} holds no demonstration; write it again, or look at another one")
    title = f"Demonstrations: {path.absolute().name}"
    sections = [
        page_head(title, _kinds(facts), _words(facts, seen), _notes(facts)),
        _cards(facts, seen),
        section("What they are", _made_panels(facts, seen)),
        section("Where objects start and go", _place_panels(seen)),
        section("Where they come from", _origin_panels(facts, seen)),
        section("Go further", [panel("Commands", command_list(_commands(path)), wide=True)]),
    ]
    return Report(whole_page(title, sections), {"kind": "dataset", **facts, **_figures(seen)})


def _counting(seen: _Seen, report: Callable[[float, str], None]) -> Callable[[Demonstration, int], None]:
    def add(one: Demonstration, count: int) -> None:
        seen.add(one)
        report(len(seen.steps) / count, f"{len(seen.steps)} of {count} demonstrations")

    return add


def _kinds(facts: Mapping[str, Any]) -> str:
    """Tasks and control modes in a line."""
    return " \N{MIDDLE DOT} ".join(", ".join(facts[name]) for name in ("environments", "control_modes"))


def _words(facts: Mapping[str, Any], seen: _Seen) -> str:
    rate = Rate(facts["successes"], facts["episodes"])
    made = ", ".join(f"{count} {kind}" for kind, count in seen.made.most_common())
    said = f"{rate.trials} demonstrations ({made}); {rate.successes} end in the task's success ({percent(rate.rate)})."
    kept = sum(facts["tiers"].get(tier, 0) for tier in ("replayable", "successful"))
    said += f" {kept} of {rate.trials} are of a tier that promises to come out the same when they are played open loop"
    return said + "; that was not tried for this page."


def _notes(facts: Mapping[str, Any]) -> list[str]:
    if not facts["provenance"].get("incomplete"):
        return []
    return [
        f"{facts['provenance']['incomplete']} of {facts['episodes']} demonstrations lack a part of their provenance, see below."
    ]


def _cards(facts: Mapping[str, Any], seen: _Seen) -> str:
    count, steps = facts["episodes"], facts["steps"]
    seconds = steps["total"] / CONTROL_HZ
    complete = facts["provenance"].get("complete", 0)
    cards = [
        card("Demonstrations", str(count), f"{facts['megabytes']:.1f} MB; tiers: {_counts(facts['tiers'])}"),
        card("End in success", f"{facts['successes']} of {count}", percent(Rate(facts["successes"], count).rate)),
        card("Steps", str(steps["total"]), f"{seconds / 60:.0f} min at {CONTROL_HZ} a second; {_lengths(seen)}"),
        card("Sources", str(len(seen.sources)), "recordings behind them, told apart by their hash"),
        card("Complete provenance", f"{complete} of {count}", "source, stages, model and versions", "" if complete else "bad"),
    ]
    return card_row(cards)


def _lengths(seen: _Seen) -> str:
    return f"{min(seen.steps)} to {max(seen.steps)} each, median {np.median(seen.steps):.0f}"


def _made_panels(facts: Mapping[str, Any], seen: _Seen) -> list[str]:
    rates = {kind: Rate(seen.succeeded[kind], count) for kind, count in seen.made.most_common()}
    bars = [Bar(kind, rate.trials, str(rate.trials), 0) for kind, rate in rates.items()]
    sizes = facts["sizes"]
    rows = [
        ("tiers", _counts(facts["tiers"])),
        ("control modes", _counts(facts["control_modes"])),
        ("recorded anew on another build", str(seen.recorded_anew)),
        ("with actions free of noise to learn", str(seen.free_of_noise)),
        *((f"size of {name}", str(size)) for name, size in sizes.items()),
    ]
    options = table(("environment options", "number"), list(facts["env_options"].items())[:_MOST_ROWS])
    meanings = [(kind, GENERATIONS[kind]) for kind in rates]
    return [
        panel("How they were made", bar_chart("how they were made", bars) + fact_table(meanings)),
        panel("Success at the last step", rate_table("made by", rates)),
        *_length_panels(seen),
        panel("Kinds", fact_table(rows)),
        panel("Tasks", options),
    ]


def _length_panels(seen: _Seen) -> list[str]:
    if len(set(seen.steps)) < 2:
        return []
    counts, edges = np.histogram(seen.steps, bins=min(_BINS, max(seen.steps) - min(seen.steps)))
    bars = [
        Bar(f"{np.ceil(low):.0f} to {np.ceil(high) - 1 if high < edges[-1] else high:.0f} steps", int(count), str(count), 0)
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]
    return [panel("Lengths", bar_chart("lengths", bars))]


def _place_panels(seen: _Seen) -> list[str]:
    goals, named = (seen.goals, "goals") if len(seen.goals) == len(seen.steps) else (seen.ends, "ends")
    groups = [Places("starts", np.array(seen.starts), 0), Places(named, np.array(goals), 2)]
    places = {"starts": seen.starts, named: goals} | ({"ends": seen.ends} if named == "goals" else {})
    rows = [(name, *(_range(np.array(xy)[:, axis]) for axis in (0, 1))) for name, xy in places.items()]
    return [
        panel("On the table", place_map("starts and goals", groups)),
        panel("From where to where, m", table(("", "x, away from the robot", "y, to its left"), rows)),
    ]


def _range(values: NDArray[np.float64]) -> str:
    return f"{values.min():.3f} to {values.max():.3f}"


def _origin_panels(facts: Mapping[str, Any], seen: _Seen) -> list[str]:
    sources = seen.sources.most_common()
    panels = [panel("Sources, by SHA-256", table(("source", "demonstrations"), sources[:_MOST_ROWS]), wide=True)]
    if len(sources) > _MOST_ROWS:
        panels.append(panel("More", f"<p>{len(sources) - _MOST_ROWS} further sources are not shown.</p>", wide=True))
    missing = [(name, f"{count} of {facts['episodes']}") for name, count in seen.missing.most_common()]
    content = table(("what is missing", "in"), missing) if missing else "<p>Nothing: every demonstration's is complete.</p>"
    return [*panels, panel("Gaps in the provenance", content), panel("MuJoCo", fact_table(list(facts["mujoco"].items())))]


def _commands(path: Path) -> list[tuple[str, str]]:
    name = shlex.quote(str(path))
    return [
        ("play every one and compare", f"dexvid dataset check {name} --replay"),
        ("film one", f"dexvid replay {name} --episode 0 --video replay.mp4"),
        ("look at one in the browser", f"dexvid view {name} --episode 0"),
        ("clone a policy", f"dexvid train bc --dataset {name} --out runs/clone"),
    ]


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counted.items())


def _figures(seen: _Seen) -> dict[str, Any]:
    return {
        "generations": dict(seen.made),
        "successes_by_generation": {kind: seen.succeeded[kind] for kind in seen.made},
        "median_steps": float(np.median(seen.steps)),
        "source_sha256": dict(seen.sources),
        "missing_provenance": dict(seen.missing),
        "recorded_anew": seen.recorded_anew,
        "with_intended_actions": seen.free_of_noise,
        "starts_xy_m": np.round(seen.starts, 4).tolist(),
        "goals_xy_m": np.round(seen.goals, 4).tolist(),
        "ends_xy_m": np.round(seen.ends, 4).tolist(),
    }
