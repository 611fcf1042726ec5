"""HTML reports in a real browser: readable on a phone, nothing asked of anyone, no errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import chromium, needs_chromium, watch

from dexvid_envs.cli import main

ROOT = Path(__file__).parents[1]
_SIZES = {"phone": (390, 844), "desk": (1200, 900)}
_LEAST_FONT_PX = 10.0
#: The smallest text that a reader has to read; of drawn text its height on the screen counts.
_SMALLEST = """Math.min(...[...document.querySelectorAll('p, td, th, li, figcaption, summary, text')]
    .filter(e => e.textContent.trim() && e.getClientRects().length)
    .map(e => e.tagName == 'text' ? e.getBoundingClientRect().height / 1.2 : parseFloat(getComputedStyle(e).fontSize)))"""


def extraction_page(folder: Path) -> Path:
    """What an importer made of the shipped recording, with its report."""
    assert main(["extract", str(ROOT / "demos/data/synthetic_pick_place/source.mp4"), "--out", str(folder / "extraction")]) == 0
    return folder / "extraction" / "report.html"


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
        pytest.param(extraction_page, id="extraction"),
    ],
)
def test_a_report_is_readable_on_a_phone_and_asks_nobody(page: Callable[[Path], Path], tmp_path: Path) -> None:
    address = page(tmp_path).resolve().as_uri()
    with chromium() as browser:
        for width, height in _SIZES.values():
            tab = browser.new_page(viewport={"width": width, "height": height})
            problems = watch(tab, (address,))
            tab.goto(address)
            assert problems == []
            assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
            assert tab.evaluate(_SMALLEST) >= _LEAST_FONT_PX
            assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
