"""Stretches of frames in which something holds."""

from __future__ import annotations

import numpy as np

from demos.interaction import BoolArray


def runs(flags: BoolArray) -> list[tuple[int, int]]:
    """Half-open ranges (start, end) in which the flags (T,) are set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def longest_run(flags: BoolArray) -> tuple[int, int]:
    """The longest of the `runs`, the first one where several are; (0, 0) where no flag is set."""
    return max(runs(flags), key=lambda run: run[1] - run[0], default=(0, 0))
