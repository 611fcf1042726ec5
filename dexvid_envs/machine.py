"""What this process may have of its machine: processor cores and main memory; the limits of a container count."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CONTROL_GROUP = Path("/sys/fs/cgroup")  # version 2, as a container sees its own
_MEMORY_FILE = Path("/proc/meminfo")


def usable_cores() -> float:
    """Processor cores, by affinity and the container's quota; a quota may leave a fraction."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota = _words(_CONTROL_GROUP / "cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, int(quota[0]) / int(quota[1]))
    return cores


def whole_cores() -> int:
    """Processes or threads that can compute at once; at least one."""
    return max(int(usable_cores()), 1)


def memory_bytes() -> int | None:
    """Main memory of the machine or, where it is less, of the container; None where the system does not tell."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limit = _words(_CONTROL_GROUP / "memory.max")
    return min(memory, int(limit[0])) if limit and limit[0].isdigit() else memory


def free_memory_bytes() -> float:
    """Memory that can be had without swapping, of the machine and of the container; infinite where nobody tells."""
    return min(_free_of_machine(), _free_of_container())


def _free_of_machine() -> float:
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY_FILE.read_text().splitlines())
        return 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return math.inf


def _free_of_container() -> float:
    """Pages of files that can be dropped do not count as taken."""
    try:
        limit, taken = _words(_CONTROL_GROUP / "memory.max")[0], _words(_CONTROL_GROUP / "memory.current")[0]
        if limit == "max":
            return math.inf
        parts = dict(line.split() for line in (_CONTROL_GROUP / "memory.stat").read_text().splitlines())
        return float(int(limit) - int(taken) + int(parts.get("inactive_file", 0)))
    except (OSError, IndexError, ValueError):
        return math.inf


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
