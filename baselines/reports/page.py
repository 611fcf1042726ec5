"""Parts of which all HTML reports are made: the page, headline figures, panels and tables, and how numbers are written.

Everything that comes from outside goes through `escape`. The look stands in `template.html`.
"""

from __future__ import annotations

import dataclasses
import html
import importlib.resources
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Report:
    """A page and what it is made from.

    Attributes:
        html: the whole page; it loads nothing from elsewhere.
        figures: the same as JSON values.
    """

    html: str
    figures: dict[str, Any]


def whole_page(title: str, sections: Sequence[str]) -> str:
    """The page of these sections; empty ones are left out."""
    template = importlib.resources.files("baselines.reports").joinpath("template.html").read_text(encoding="utf-8")
    return string.Template(template).substitute(title=escape(title), body="\n".join(part for part in sections if part))


def page_head(title: str, sub: str, lead: str = "", notes: Sequence[str] = ()) -> str:
    """The title, a line below it, the story in a few sentences, and what must not be overlooked."""
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="sub">{escape(sub)}</p>']
    parts += [f'<p class="lead">{escape(lead)}</p>'] if lead else []
    return "\n".join([*parts, *(f'<p class="banner">{escape(note)}</p>' for note in notes)])


def section(title: str, panels: Sequence[str], note: str = "") -> str:
    """A heading with panels below it, two beside each other where there is room; nothing where there are none."""
    if not panels:
        return ""
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<h2>{escape(title)}</h2>{said}{grid(panels)}"


def card(step: str, figure: str, text: str, look: str = "") -> str:
    """One headline figure; `look` is good, bad or idle."""
    kind = f"figure {look}".strip()
    return (
        f'<div class="card"><span class="step">{escape(step)}</span><span class="{kind}">{escape(figure)}</span>'
        f'<span class="more">{escape(text)}</span></div>'
    )


def card_row(cards: Sequence[str]) -> str:
    """Headline figures beside each other."""
    return f'<div class="cards">{"".join(cards)}</div>'


def panel(title: str, content: str, *, wide: bool = False) -> str:
    """A box with a title; the content is HTML."""
    return f'<div class="panel{" wide" if wide else ""}"><h3>{escape(title)}</h3>{content}</div>'


def grid(panels: Sequence[str]) -> str:
    """Panels beside each other."""
    return f'<div class="two">{"".join(panels)}</div>'


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table that can be moved sideways on a narrow screen."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def fact_table(facts: Sequence[tuple[object, object]]) -> str:
    """A table of names and what belongs to them."""
    cells = (f'<td class="key">{escape(name)}</td><td class="value">{escape(value)}</td>' for name, value in facts)
    return f"<table>{''.join(f'<tr>{cell}</tr>' for cell in cells)}</table>"


def folded(summary: str, content: str) -> str:
    """Content that is shown when its summary is touched."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def command_list(commands: Sequence[tuple[str, str]]) -> str:
    """(what it does, command) one below the other."""
    return "".join(f'<p class="purpose">{escape(purpose)}</p><pre>{escape(command)}</pre>' for purpose, command in commands)


def pairs(values: Mapping[str, Any]) -> str:
    """`name value, name value`."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


# ---- words -----------------------------------------------------------------------------------------------------------------


def escape(text: object) -> str:
    """Text for HTML, in content and in attributes."""
    return html.escape(str(text), quote=True)


def percent(share: float) -> str:
    """A share as `94.5%`."""
    return "unknown" if not math.isfinite(share) else f"{100 * share:.1f}%"


def millimetres(length_m: float) -> str:
    """A length as `8 mm`, below 10 mm with one digit after the point."""
    if not math.isfinite(length_m):
        return "unknown"
    return f"{1000 * length_m:.1f} mm" if abs(length_m) < 0.01 else f"{1000 * length_m:.0f} mm"


def duration(seconds: float) -> str:
    """A time as `0.8 s`, `42 s`, `8 min 32 s` or `3 h 08 min`."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def finite(value: Any) -> Any:
    """The same JSON value with null for numbers that JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value
