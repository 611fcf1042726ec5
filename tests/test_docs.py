"""The pages of `docs/`: their Python runs, their links lead somewhere, their commands exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from benchmarks.document import page
from dexvid_envs.cli import find_commands

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WITH_CODE = [path for path in PAGES if path.parent == DOCS and "```python" in path.read_text()]


@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.stem)
def test_the_blocks_of_a_page_run_one_after_the_other(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that begins with the name of a file is that file, which the next blocks may import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL):
        file = re.match(r"# (\w+\.py)\n", block)
        if file:
            (tmp_path / file[1]).write_text(block)
        else:
            exec(compile(block, str(path), "exec"), names)
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        target, _, anchor = "".join(link).partition("#")
        if "://" in target:
            continue
        file = (path.parent / target).resolve() if target else path
        assert file.is_file(), f"{path.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_commands_exist(path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", path.read_text(), flags=re.DOTALL)
    named = {name for block in blocks for name in re.findall(r"^dexvid (\w+)", block, flags=re.MULTILINE)}
    assert named <= set(find_commands())


def test_every_page_is_found_from_the_first() -> None:
    linked = re.findall(r"\]\(([^)]+\.md)\)", (DOCS / "README.md").read_text())
    assert {DOCS / name for name in linked} | {DOCS / "README.md"} >= {path for path in PAGES if path.parent == DOCS}


def test_the_page_of_benchmarks_is_of_their_kept_results() -> None:
    assert (DOCS / "benchmarks.md").read_text() == page(), "run: python -m benchmarks.document --out docs/benchmarks.md"
