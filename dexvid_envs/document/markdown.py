"""Tables, values and spaces as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def plain(value: Any) -> str:
    """A value of an option for a table."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(number)}" for key, number in value.items())
    if isinstance(value, tuple):
        return ", ".join(plain(part) for part in value) if value else "none"
    if isinstance(value, float):
        return f"{value:g}"
    return f"`{value}`" if isinstance(value, str) else str(value)


def space_text(space: spaces.Space[Any]) -> str:
    """A space in one line, without the bounds of every element."""
    if isinstance(space, spaces.Dict):
        return "Dict(" + ", ".join(f"{key}: {space_text(part)}" for key, part in space.spaces.items()) + ")"
    if isinstance(space, spaces.Box):
        return f"Box({range_text(space.low, space.high)}, {space.shape}, {space.dtype})"
    return str(space)


def range_text(low: NDArray[Any], high: NDArray[Any]) -> str:
    """The least and the largest bound."""
    return f"{float(np.min(low)):g} to {float(np.max(high)):g}"


def capital(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]
