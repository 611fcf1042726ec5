"""The common form of a benchmark's result: a JSON file from which tables and figures are made."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dexvid_envs.files import atomic_path
from dexvid_envs.machine import whole_cores

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Check:
    """A figure against its target; a failing one stays in the file."""

    name: str
    value: float
    target: float
    better: Literal["higher", "lower"]

    def to_json(self) -> dict[str, Any]:
        """With `ok`, whether the target is met."""
        met = self.value >= self.target if self.better == "higher" else self.value <= self.target
        return dataclasses.asdict(self) | {"ok": bool(met)}


def write_result(
    path: Path, benchmark: str, config: dict[str, Any], rows: Sequence[dict[str, Any]], checks: Sequence[Check]
) -> None:
    """Writes `path` (.json) and a readable table beside it (.md)."""
    content = {
        "benchmark": benchmark,
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {"system": platform.system(), "architecture": platform.machine(), "cores": whole_cores()},
        "config": config,
        "rows": list(rows),
        "checks": [check.to_json() for check in checks],
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    with atomic_path(path.with_suffix(".md")) as temporary:
        temporary.write_text(markdown(content))


def markdown(content: dict[str, Any]) -> str:
    """The tables of a result."""
    lines = [
        f"# {content['benchmark']}",
        "",
        f"commit {content['commit']}, {content['date']}, {content['machine']['cores']} cores",
        "",
    ]
    rows = content["rows"]
    if rows:
        names = list(rows[0])
        lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        lines += ["| " + " | ".join(str(row.get(name, "")) for name in names) + " |" for row in rows]
    lines += ["", "| check | value | target | met |", "|---|---|---|---|"]
    for check in content["checks"]:
        sign = ">=" if check["better"] == "higher" else "<="
        lines.append(
            f"| {check['name']} | {check['value']:.4g} | {sign} {check['target']:g} | {'yes' if check['ok'] else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def commit() -> str:
    """The checkout's commit, with "+" where it has uncommitted changes to code; "unknown" outside a checkout."""
    root = Path(__file__).parents[1]
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", "*.py"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed.stdout.strip() else "")
