"""Writes the page of the benchmarks from their docstrings and their kept results.

    python -m benchmarks.document --out docs/benchmarks.md

A test compares the page in the repository with what this makes: run it after every kept result.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro

from benchmarks.result import RESULTS

_FOLDER = Path(__file__).parent
_SIGN = {"higher": "at least", "lower": "at most"}
_HEAD = """# Benchmarks

<!-- made by `python -m benchmarks.document --out docs/benchmarks.md`; change the code, not this page -->

Every published figure comes from one of these commands. Each writes a JSON file, a table and sometimes a figure to
`benchmarks/results/`; a target that is not met stays in them. What stands in square brackets may be left out, `DIR` and
`path/to/...` are yours. `--quick` is a small form that writes elsewhere, `--help` shows the options. Figures of speed are
ratios within one run.
"""
#: Programs that make no result but a file that the project ships.
_MAKES = {"usual_postures": "demos/extract/hand/usual_postures.npz"}
#: Whose work is in a picture of the results.
_CREDITS = {
    "real_clips": "The picture shows frames of other people's videos: `vid_wc_pour`, `vid_plate_rack` and "
    "`vid_snackbox_pushpivot` are of the Human2Sim2Robot project page (MIT, Copyright (c) 2025 human2sim2robot), `04_coffee` "
    "of the SAM 2 repository (Apache-2.0), `human_hand_video` of the dex-retargeting repository (MIT, Copyright (c) 2023 Yuzhe "
    "Qin); [licences](limits.md#licences)."
}
_SHOWN_MET = 8  # checks that are met and shown; the table has all


@dataclasses.dataclass(frozen=True)
class DocumentArguments:
    """Where the page goes."""

    out: Path = Path("docs/benchmarks.md")
    """the page"""


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for path in benchmark_files():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        what = " ".join(text.split("\n\n")[0].split())
        parts.append(f"\n## {path.stem}\n\n{what}\n\n```bash\n{command_lines(text)}\n```\n\n{_kept(path.stem)}\n")
    return "".join(parts)


def command_lines(docstring: str) -> str:
    """The first block of a docstring that shows how to run its module, as it stands there.

    Raises:
        ValueError: there is none.
    """
    for block in re.findall(r"(?:^ {4}.*\n?)+", docstring, flags=re.MULTILINE):
        if block.lstrip().startswith("python -m benchmarks."):
            return textwrap.dedent(block).strip()
    raise ValueError(f"no command line in the docstring that begins with {docstring[:60]!r}: indent one by four spaces")


def benchmark_files() -> list[Path]:
    """The modules that can be run as a benchmark, by name."""
    files = sorted(_FOLDER.glob("*.py"))
    return [
        path for path in files if path.name != "document.py" and '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]


def _kept(name: str) -> str:
    """What the kept result says: the values of its targets, those that are not met first, its table and figure."""
    path = RESULTS / f"{name}.json"
    if name in _MAKES:
        return f"It makes no result but data of the project, `{_MAKES[name]}`."
    if not path.exists():
        return "No result is kept yet."
    content = json.loads(path.read_text(encoding="utf-8"))
    checks = content["checks"]
    met = [check for check in checks if check["ok"]]
    missed = [check for check in checks if not check["ok"]]
    there = [f"[{suffix}](../benchmarks/results/{name}{ending})" for suffix, ending in _kinds(name)]
    lines = [
        f"Kept result of commit `{content['commit'][:7]}`, {content['date']}: {len(met)} of {len(checks)} targets met; "
        f"{', '.join(there)}."
    ]
    if name in _CREDITS:
        lines += ["", _CREDITS[name]]
    if checks:
        lines += ["", "| check | value | target | met |", "|---|---|---|---|"]
        lines += [_row(check) for check in [*missed, *met[:_SHOWN_MET]]]
    if len(met) > _SHOWN_MET:
        lines += ["", f"{len(met) - _SHOWN_MET} more are met; the table has them."]
    return "\n".join(lines)


def _row(check: Mapping[str, Any]) -> str:
    target = f"{_SIGN[check['better']]} {check['target']:g}"
    return f"| {check['name']} | {check['value']:.4g} | {target} | {'yes' if check['ok'] else '**no**'} |"


def _kinds(name: str) -> list[tuple[str, str]]:
    kinds = (("table", ".md"), ("data", ".json"), ("figure", ".png"), ("pictures", ".jpg"))
    return [(kind, ending) for kind, ending in kinds if (RESULTS / f"{name}{ending}").exists()]


def main() -> None:
    """Writes the page."""
    arguments = tyro.cli(DocumentArguments)
    arguments.out.write_text(page(), encoding="utf-8")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
