"""A real browser for tests of pages: Debian's Chromium, driven by Playwright, where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (on Debian: apt-get install chromium)")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader"),
    "--enable-unsafe-swiftshader",
)

_SIZES = {"phone": (390, 844), "desk": (1200, 900)}
_LEAST_FONT_PX = 10.0
#: The smallest text that a reader has to read; of drawn text its height on the screen counts.
_SMALLEST = """Math.min(...[...document.querySelectorAll('p, td, th, li, figcaption, summary, text')]
    .filter(e => e.textContent.trim() && e.getClientRects().length)
    .map(e => e.tagName == 'text' ? e.getBoundingClientRect().height / 1.2 : parseFloat(getComputedStyle(e).fontSize)))"""


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser, closed in the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield browser
        browser.close()


def watch(tab: Any, own: tuple[str, ...]) -> list[str]:
    """Errors of a page, and what it asks of addresses that do not begin with one of `own`; filled while the page lives."""
    problems: list[str] = []
    tab.on(
        "console",
        lambda message: problems.append(f"{message.text} {message.location['url']}") if message.type == "error" else None,
    )
    tab.on("pageerror", lambda error: problems.append(str(error)))
    allowed = (*own, "data:", "blob:")
    tab.on("request", lambda request: None if request.url.startswith(allowed) else problems.append(request.url))
    return problems


def check_report(page: Path) -> None:
    """A page of a report is readable on a phone and on a desk, makes no errors, and asks nothing of anyone."""
    address = page.resolve().as_uri()
    with chromium() as browser:
        for width, height in _SIZES.values():
            tab = browser.new_page(viewport={"width": width, "height": height})
            problems = watch(tab, (address,))
            tab.goto(address)
            assert problems == []
            assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
            assert tab.evaluate(_SMALLEST) >= _LEAST_FONT_PX
            assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
