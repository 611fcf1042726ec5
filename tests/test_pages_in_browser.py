"""HTML reports in a real browser: readable on a phone, nothing asked of anyone, no errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import check_report, needs_chromium
from report_cases import made_up_run

from dexvid_envs.cli import main

ROOT = Path(__file__).parents[1]


def extraction_page(folder: Path) -> Path:
    """What an importer made of the shipped recording, with its report."""
    assert main(["extract", str(ROOT / "demos/data/synthetic_pick_place/source.mp4"), "--out", str(folder / "extraction")]) == 0
    return folder / "extraction" / "report.html"


def run_page(folder: Path) -> Path:
    """The page of a training run with its curves."""
    (folder / "run").mkdir()
    assert main(["report", str(made_up_run(folder / "run"))]) == 0
    return folder / "run" / "report.html"


def report_of(path: str) -> Callable[[Path], Path]:
    """A page of `dexvid report`."""

    def made(folder: Path) -> Path:
        assert main(["report", str(ROOT / path), "--out", str(folder / "page.html")]) == 0
        return folder / "page.html"

    return made


@needs_chromium
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(report_of("baselines/checkpoints/grasp_lift"), id="checkpoint"),
        pytest.param(report_of("demos/data/refined_pick_place"), id="dataset"),
        pytest.param(report_of("baselines/checkpoints/open_cabinet/evaluation.json"), id="evaluation"),
        pytest.param(run_page, id="run"),
        pytest.param(extraction_page, id="extraction"),
    ],
)
def test_a_report_is_readable_on_a_phone_and_asks_nobody(page: Callable[[Path], Path], tmp_path: Path) -> None:
    check_report(page(tmp_path))
