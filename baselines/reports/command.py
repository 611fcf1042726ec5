"""`dexvid report`: one self-contained page about whatever lies at a path, recognised by its files."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from baselines.commands import REPORT
from dexvid_envs.cli import parse_config
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.json_output import is_printed, json_output

if TYPE_CHECKING:
    from baselines.reports.page import Report

Kind = Literal["run", "checkpoint", "evaluation", "dataset", "extraction", "quickstart"]
_PAGE_NAME = "report.html"
_EXPECTED = (
    "expected the folder of a training run, a checkpoint, a dataset of demonstrations, an extraction or a quickstart, or the "
    "JSON file of an evaluation"
)


@dataclasses.dataclass(frozen=True)
class ReportArguments:
    """What to report on, and where to."""

    path: tyro.conf.Positional[Path]
    """a training run, a checkpoint, an evaluation's JSON file, a dataset, an extraction or a quickstart"""
    out: Path | None = None
    """the page, a file that ends in .html; by default report.html in the folder of a run, an extraction or a quickstart, and
    NAME.report.html beside anything else"""
    json: Path | None = None
    """file for the figures; - or nothing prints them, and the page is then only written where --out says so"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(ReportArguments, REPORT, arguments)
    if config.out is not None and (config.out.suffix.lower() not in (".html", ".htm") or config.out.is_dir()):
        raise OptionError(f"--out {config.out}: expected a file that ends in .html, such as {config.out.stem}.html")
    from baselines.reports.page import finite

    kind = recognise(config.path)
    with json_output(config.json) as write:
        try:
            report = make_report(config.path, kind, config.out)
            if config.json is not None:
                write(finite(report.figures))
        except RecursionError as error:
            raise InputFileError(
                f"{config.path} holds values nested too deeply to be from this project; make it again"
            ) from error
        if config.out is not None or not is_printed(config.json):
            page = config.out or default_page(config.path, kind)
            _write(page, report)
            print(f"report of the {kind}: {page}")
    return 0


def recognise(path: Path) -> Kind:
    """What lies at the path, by the names of its files.

    Raises:
        InputFileError: nothing is there, or nothing that is known.
    """
    if not path.exists():
        raise InputFileError(f"nothing at {path}: {_EXPECTED}; check the path")
    if path.is_file():
        if path.suffix.lower() == ".json":
            return "evaluation"
        raise InputFileError(f"{path} is a file that no report is made of: {_EXPECTED}; give one of these")
    marks: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("dataset", ("data/metadata.json",)),
        ("dataset", ("data/main_data.hdf5",)),
        ("quickstart", ("arguments.json", "stages")),
        ("extraction", ("interaction.npz", "quality.json")),
        ("checkpoint", ("config.json", "actor.safetensors")),
        ("run", ("config.json", "progress.csv")),
        ("run", ("config.json", "checkpoint")),
        ("run", ("config.json", "tensorboard")),  # before its first row
        ("evaluation", ("evaluation.json",)),
    )
    for kind, names in marks:
        if all((path / name).exists() for name in names):
            return kind
    there = sorted(one.name for one in path.iterdir() if not one.name.startswith("."))
    held = ", ".join(there[:4]) + (" ..." if len(there) > 4 else "") if there else "nothing"
    raise InputFileError(f"{path} is not known, it holds {held}: {_EXPECTED}; give one of these, or a folder inside")


def make_report(path: Path, kind: Kind, out: Path | None = None) -> Report:
    """The page and figures of what lies at the path.

    Args:
        path: of it.
        kind: what it is.
        out: where the page will lie; by default its usual place.

    Raises:
        InputFileError: it is damaged or not finished.
    """
    if kind == "run":
        from baselines.reports.run import run_report

        return run_report(path)
    if kind == "checkpoint":
        from baselines.reports.checkpoint import checkpoint_report

        return checkpoint_report(path)
    if kind == "evaluation":
        from baselines.reports.evaluation import evaluation_report

        return evaluation_report(path / "evaluation.json" if path.is_dir() else path)
    if kind == "dataset":
        from baselines.reports.dataset import dataset_report

        return dataset_report(path)
    return _extraction(path, out or default_page(path, kind)) if kind == "extraction" else _quickstart(path)


def default_page(path: Path, kind: Kind) -> Path:
    """Where the page of what lies at the path goes to.

    Datasets and checkpoints are left as they are: other programs read, copy and replace them as a whole.
    """
    if kind in ("run", "extraction", "quickstart"):
        return path / _PAGE_NAME
    whole = Path(os.path.abspath(path))  # "." has no name
    return whole.with_name(f"{whole.stem if whole.is_file() else whole.name}.{_PAGE_NAME}")


def _extraction(path: Path, page: Path) -> Report:
    """The page that `dexvid extract` makes, made again from the extraction's files."""
    from baselines.reports.page import Report
    from demos.extract.report import extraction_page
    from demos.interaction import Interaction
    from dexvid_envs.json_file import read_json

    interaction = Interaction.load(path / "interaction.npz")
    quality = read_json(path / "quality.json", "extract again")
    try:
        content = extraction_page(interaction, quality, path / "overlay.mp4", page.parent, str(path))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputFileError(
            f"{path / 'quality.json'} does not fit ({type(error).__name__}: {error}); expected the figures that "
            "`dexvid extract` writes; extract again"
        ) from error
    return Report(content, {"kind": "extraction", **quality})


def _quickstart(path: Path) -> Report:
    """The page that a finished quickstart has; only its own command can make it, from its stages."""
    from baselines.reports.page import Report
    from dexvid_envs.json_file import read_json

    if not ((path / _PAGE_NAME).is_file() and (path / "report.json").is_file()):
        parts = [name for name in ("finetuned", "clone", "demonstrations", "refined") if (path / name).is_dir()]
        shown = f", or report on a part: dexvid report {shlex.quote(str(path / parts[0]))}" if parts else ""
        raise InputFileError(f"the quickstart in {path} has not finished; go on with `dexvid quickstart --resume`{shown}")
    remedy = "run `dexvid quickstart --resume` with the arguments of before"
    figures = read_json(path / "report.json", remedy)
    if not isinstance(figures, dict):
        raise InputFileError(f"{path / 'report.json'} holds no JSON object; {remedy}")
    return Report((path / _PAGE_NAME).read_text(encoding="utf-8"), {"kind": "quickstart", **figures})


def _write(page: Path, report: Report) -> None:
    """Writes the page, where it is not there already as a quickstart's is."""
    from dexvid_envs.files import atomic_path

    content = report.html.encode("utf-8", "replace")  # names of files may be no text
    if page.is_file() and page.read_bytes() == content:
        return
    with atomic_path(page) as temporary:
        temporary.write_bytes(content)
