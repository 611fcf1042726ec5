"""Writes the page of the benchmarks from their docstrings and their kept results.

    python -m benchmarks.document --out docs/benchmarks.md

A test compares the page in the repository with what this makes: run it after every kept result.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

import tyro

from benchmarks.result import RESULTS

_FOLDER = Path(__file__).parent
_SIGN = {"higher": "at least", "lower": "at most"}
_HEAD = """# Benchmarks

<!-- made by `python -m benchmarks.document --out docs/benchmarks.md`; change the code, not this page -->

Every published figure comes from one of these commands. Each writes a JSON file, a table and sometimes a figure to
`benchmarks/results/`; a target that is not met stays in them. `--quick` is a small form that writes elsewhere, `--help` shows
the options. Figures of speed are ratios within one run.
"""


@dataclasses.dataclass(frozen=True)
class DocumentArguments:
    """Where the page goes."""

    out: Path = Path("docs/benchmarks.md")
    """the page"""


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for path in benchmark_files():
        name = path.stem
        what = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
        parts.append(f"\n## {name}\n\n{what}\n\n```bash\npython -m benchmarks.{name}\n```\n\n{_kept(name)}\n")
    return "".join(parts)


def benchmark_files() -> list[Path]:
    """The modules that can be run as a benchmark, by name."""
    files = sorted(_FOLDER.glob("*.py"))
    return [
        path for path in files if path.name != "document.py" and '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]


def _kept(name: str) -> str:
    """What the kept result says: its targets, its table and figure, and which are not met."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return "No result is kept yet."
    content = json.loads(path.read_text(encoding="utf-8"))
    checks = content["checks"]
    met = sum(check["ok"] for check in checks)
    there = [f"[{suffix}](../benchmarks/results/{name}{ending})" for suffix, ending in _kinds(name)]
    lines = [
        f"Kept result of commit `{content['commit'][:7]}`, {content['date']}: {met} of {len(checks)} targets met; "
        f"{', '.join(there)}."
    ]
    missed = [check for check in checks if not check["ok"]]
    if missed:
        lines += ["", "| not met | value | target |", "|---|---|---|"]
        lines += [
            f"| {check['name']} | {check['value']:.4g} | {_SIGN[check['better']]} {check['target']:g} |" for check in missed
        ]
    return "\n".join(lines)


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
