"""What a report says of where a trained actor comes from: data, seed, settings, the clone before it, versions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from baselines.reports.page import duration, fact_table, folded, pairs, panel

#: Of a training, in this order; the settings and the clone have tables of their own.
_TRAINING = ("algorithm", "seed", "demonstrations", "transitions", "data_sha256", "initial_sha256", "steps", "held_out_loss")
_MOST_ROWS = 120


def origin_panels(training: Mapping[str, Any], network: Any = None, versions: Any = None) -> list[str]:
    """Training, network and versions, then the settings; where the actor was cloned before, the clone's training as well.

    Args:
        training: of a checkpoint or a run, as it is stored.
        network: description of the actor's network, or None.
        versions: by package, or None.
    """
    facts = _training_facts(training) or [("algorithm", "not known")]
    if isinstance(network, Mapping):
        facts.append(("network", ", ".join(f"{name} {value}" for name, value in flat(network))))
    if isinstance(versions, Mapping):
        facts.append(("versions", pairs(versions)))
    clone = training.get("clone")
    panels = [panel("Training", fact_table(facts)), *_settings_panel("Settings of the training", training)]
    if isinstance(clone, Mapping) and clone:
        panels.append(panel("The clone that it started from", fact_table(_training_facts(clone))))
        panels += _settings_panel("Settings of the cloning", clone)
    return panels


def flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, value) of settings, those of an inner mapping as `outer.inner`."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from ((f"{name}.{inner}", _text(part)) for inner, part in value.items())
        else:
            yield str(name), _text(value)


def _training_facts(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [(name.replace("_", " "), _text(training[name])) for name in _TRAINING if name in training]
    seconds = training.get("seconds")
    if isinstance(seconds, int | float):
        facts.append(("time", duration(float(seconds))))
    return facts


def _settings_panel(title: str, training: Mapping[str, Any]) -> list[str]:
    config = training.get("config")
    rows = list(flat(config))[:_MOST_ROWS] if isinstance(config, Mapping) else []
    return [panel(title, folded(f"{len(rows)} settings", fact_table(rows)))] if rows else []


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)
