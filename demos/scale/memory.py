"""How much memory a further job may take."""

from __future__ import annotations

import math
from pathlib import Path


def available_bytes() -> float:
    """Memory that can be had without swapping, of the machine and of the control group; infinite where nobody tells."""
    return min(_of_machine(), _of_group())


def _of_machine(file: Path = Path("/proc/meminfo")) -> float:
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
        return 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return math.inf


def _of_group(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """Of a container's limit (cgroup v2); pages of files that can be dropped do not count as taken."""
    try:
        limit, taken = (folder / "memory.max").read_text().strip(), int((folder / "memory.current").read_text())
        if limit == "max":
            return math.inf
        parts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return float(int(limit) - taken + int(parts.get("inactive_file", 0)))
    except (OSError, ValueError):
        return math.inf
