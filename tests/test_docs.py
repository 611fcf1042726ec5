"""The pages: their Python runs, their links lead somewhere, their commands are understood, and the first steps work."""

from __future__ import annotations

import importlib
import itertools
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from benchmarks.document import page
from demos.source import shipped_demonstration, shipped_sample
from dexvid_envs.cli import find_commands, main, parse_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "demos/data/README.md", "baselines/checkpoints/README.md")]
WITH_CODE = [path for path in PAGES if "```python" in path.read_text()]


def _named(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().removeprefix("docs/")


@pytest.mark.parametrize("path", WITH_CODE, ids=_named)
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


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=_named)
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


_SHELL = ("|", ">", "&&")  # where a command's own words end


def command_lines(path: Path) -> list[list[str]]:
    """The words after `dexvid` of all commands on a page: lines of blocks, and what in the text is whole (it has an --out)."""
    text = path.read_text()
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ")
    lines = re.findall(r"^(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?dexvid (.+)$", blocks, flags=re.MULTILINE)
    inline = re.findall(r"`dexvid ([^`]+ --out [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    whole = [*lines, *(re.sub(r"\bN\b", "1", line) for line in inline)]
    return [list(itertools.takewhile(lambda word: word not in _SHELL, shlex.split(line, comments=True))) for line in whole]


COMMANDS = [
    pytest.param(words, id=f"{_named(path)}: {' '.join(words)[:60]}")
    for path in [*PAGES, *OTHERS]
    for words in command_lines(path)
]


class _UnderstoodError(Exception):
    """The command line made a config, and nothing more is to be done."""


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_are_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is parsed by its command's own config, so that an option that no longer exists fails here."""

    def understood(*arguments: Any) -> NoReturn:
        parse_config(*arguments)
        raise _UnderstoodError

    module, function = find_commands()[words[0]].target.split(":")
    loaded = importlib.import_module(module)
    monkeypatch.setattr(loaded, "parse_config", understood)
    with pytest.raises(_UnderstoodError):
        getattr(loaded, function)(words[1:])


def test_an_unknown_option_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        test_commands_are_understood(["retarget", "extraction", "--out", "motion.npz", "--no-such-option"], monkeypatch)


#: What makes the steps of the README short, by their first words.
QUICK = {
    "retarget": "",
    "replay": "",
    "multiply": "--count 2",
    "train bc": "--max-steps 4 --hidden 8 8 --batch-size 16",
    "train ppo": "--total-steps 64 --num-envs 2 --rollout-steps 32 --minibatch-size 32 --evaluations 0",
    "evaluate": "--episodes 2",
}


def test_the_steps_of_the_readme_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small, from the shipped recording and its refined demonstration in the places of extraction and search."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shipped_sample(), "extraction")
    shutil.copytree(shipped_demonstration(), "refined")
    block = next(
        block for block in re.findall(r"```bash\n(.*?)```", OTHERS[0].read_text(), flags=re.DOTALL) if "retarget" in block
    )
    ran = set()
    for line in block.splitlines():
        words = shlex.split(line, comments=True)[1:]
        step = next((step for step in QUICK if " ".join(words).startswith(step)), None)
        if step is None:
            assert words[0] in ("extract", "refine")
            continue
        if "--video" in words:  # needs off-screen OpenGL, and has tests of its own
            del words[words.index("--video") : words.index("--video") + 2]
        assert main([*words, *QUICK[step].split()]) == 0, line
        ran.add(step)
    assert ran == set(QUICK)


def test_every_page_is_found_from_the_first() -> None:
    linked = re.findall(r"\]\(([^)]+\.md)\)", (DOCS / "README.md").read_text())
    assert {DOCS / name for name in linked} | {DOCS / "README.md"} >= {path for path in PAGES if path.parent == DOCS}


def test_the_page_of_benchmarks_is_of_their_kept_results() -> None:
    assert (DOCS / "benchmarks.md").read_text() == page(), "run: python -m benchmarks.document --out docs/benchmarks.md"
