"""The report of a checkpoint's folder: how its policy does, where that was measured, and where it comes from."""

from __future__ import annotations

import shlex
from pathlib import Path

from baselines.checkpoint_folder import CONFIG_NAME, WEIGHTS_NAME, find_checkpoint, read_config
from baselines.evaluation_file import EVALUATION_NAME, read_evaluation
from baselines.reports.evaluation import evaluation_cards, evaluation_figures, evaluation_sections, evaluation_words
from baselines.reports.origin import origin_panels
from baselines.reports.page import Report, page_head, section, whole_page
from dexvid_envs.files import sha256_of_files

_SHOWN = ("env_id", "env_options", "control_mode", "training", "network", "versions")  # of its config, as figures


def checkpoint_report(path: Path) -> Report:
    """The page of a checkpoint's folder, with its `evaluation.json` where there is one.

    Raises:
        InputFileError: a file in it is missing or damaged.
    """
    folder = find_checkpoint(path)
    config = read_config(folder / CONFIG_NAME)
    stored = read_evaluation(folder / EVALUATION_NAME) if (folder / EVALUATION_NAME).is_file() else None
    training = config.get("training")
    title = f"Policy {path.absolute().name}"
    weights = {"bytes": (folder / WEIGHTS_NAME).stat().st_size, "sha256": sha256_of_files([folder / WEIGHTS_NAME])}
    file = shlex.quote(str(path / EVALUATION_NAME))
    note = f"It was not evaluated yet: dexvid evaluate --policy {shlex.quote(str(path))} --json {file}"
    made = f"{config.get('env_id')} \N{MIDDLE DOT} control mode {config.get('control_mode')}"
    sections = [
        page_head(title, made, "", [note]) if stored is None else page_head(title, made, evaluation_words(stored.result)),
        *([] if stored is None else [evaluation_cards(stored.result), *evaluation_sections(stored)]),
        section(
            "Where it comes from",
            origin_panels(training if isinstance(training, dict) else {}, config.get("network"), config.get("versions")),
            f"SHA-256 of the weights ({weights['bytes']} bytes): {weights['sha256']}.",
        ),
    ]
    figures = {"kind": "checkpoint", **{name: config.get(name) for name in _SHOWN}, "weights": weights}
    return Report(whole_page(title, sections), figures | {"evaluation": None if stored is None else evaluation_figures(stored)})
