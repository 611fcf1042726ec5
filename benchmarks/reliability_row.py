"""A line of the reliability table: what was tried how often, and what went wrong."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass
class Row:
    """One line.

    Attributes:
        part: "fuzz", "kill", "full disk", "read-only", "two at once" or "soak".
        what: reader, command or work.
        tries: how often.
        bad: of these.
        details: in words.
        examples: what went wrong, with counts.
        commit: at which it was tried.
    """

    part: str
    what: str
    tries: int
    bad: int
    details: str = ""
    examples: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    commit: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values; `examples` only where there are some."""
        return dataclasses.asdict(self) | {"examples": "; ".join(f"{count} x {text}" for text, count in self.examples.items())}
