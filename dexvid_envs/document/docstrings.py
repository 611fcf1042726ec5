"""Reading our own docstrings (Google sections), for the generated pages."""

from __future__ import annotations

import inspect
import re
from typing import Any

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note|Notes|Reset options):\s*$")
_ENTRY = re.compile(r"^(\w+(?:, \w+)*)(?: \([^)]*\))?: (.*)$")


def description(thing: Any) -> str:
    """The text of a docstring before its first section, paragraphs kept, each on one line."""
    lines: list[str] = []
    for line in (inspect.getdoc(thing) or "").splitlines():
        if _SECTION.match(line):
            break
        lines.append(line)
    return _unwrapped("\n".join(lines)).strip()


def sentence(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return description(thing).split("\n\n")[0]


def entries(thing: Any, section: str) -> dict[str, str]:
    """Names and texts of a section such as "Attributes"; "a, b: text" gives the text to both."""
    found: dict[str, str] = {}
    names: tuple[str, ...] = ()
    inside = False
    for line in (inspect.getdoc(thing) or "").splitlines():
        header = _SECTION.match(line)
        if header:
            inside = header.group(1) == section
        elif inside and line.strip():
            entry = _ENTRY.match(line.strip()) if _indent(line) == 4 else None
            if entry:
                names = tuple(entry.group(1).split(", "))
                found |= dict.fromkeys(names, entry.group(2))
            else:
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def inherited_entries(owner: type, section: str) -> dict[str, str]:
    """`entries` of a class and of its bases, the class's own last."""
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        if "__doc__" in vars(base) and base.__doc__:
            found |= entries(base, section)
    return found


def listed(thing: Any) -> dict[str, str]:
    """Names and texts of the lines "name: text" of a docstring outside of sections; deeper lines go on with the text."""
    found: dict[str, str] = {}
    names: tuple[str, ...] = ()
    for line in (inspect.getdoc(thing) or "").splitlines():
        entry = _ENTRY.match(line)
        if _SECTION.match(line):
            break
        if entry:
            names = tuple(entry.group(1).split(", "))
            found |= dict.fromkeys(names, entry.group(2))
        elif line.strip() and _indent(line):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = ()
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _unwrapped(text: str) -> str:
    """Joins the lines of a paragraph; indented blocks (code) stay as they are."""
    blocks = re.split(r"\n\s*\n", text)
    return "\n\n".join(block if block.startswith("    ") else " ".join(block.split()) for block in blocks)
