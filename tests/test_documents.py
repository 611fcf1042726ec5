"""The pages of the environments are those that the code makes, and say enough."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium
import pytest

from dexvid_envs.docstrings import description, entries, inherited_entries, method_description
from dexvid_envs.document import page, pages, short_name, table
from dexvid_envs.registration import REGISTRATIONS, Registration

FOLDER = Path(__file__).parents[1] / "docs" / "environments"
REMEDY = "run `python -m dexvid_envs.document --out docs/environments` and commit the pages"

by_id = pytest.mark.parametrize("entry", REGISTRATIONS, ids=[entry.id for entry in REGISTRATIONS])


def test_pages_are_up_to_date() -> None:
    made = pages()
    assert {path.name for path in FOLDER.glob("*.md")} == set(made), REMEDY
    stale = [name for name, text in made.items() if (FOLDER / name).read_text(encoding="utf-8") != text]
    assert not stale, f"{stale}: {REMEDY}"


def test_what_the_pages_point_to_is_there() -> None:
    for path in FOLDER.glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            assert (FOLDER / target).is_file(), f"{path.name} points to {target}; add --pictures to make pictures"


@by_id
def test_a_page_has_all_sections(entry: Registration) -> None:
    text = page(entry)
    for section in ("Actions", "Observations", "Rewards", "Start of an episode", "End of an episode", "Info", "Arguments"):
        assert f"\n## {section}\n" in text
    assert "\n## Versions\n\n- v0" in text
    assert "See `" not in text


@by_id
def test_tables_fit_the_spaces(entry: Registration) -> None:
    env = gymnasium.make(entry.id)
    text = (FOLDER / f"{short_name(entry.id)}.md").read_text(encoding="utf-8")
    state = text.split('`observation_mode="state"`')[1].split("\n#")[0]
    sizes = [int(size) for size in re.findall(r"^\| [\d-]+ \| `\w+` \| (\d+) \|", state, flags=re.MULTILINE)]
    assert (sum(sizes),) == env.observation_space.shape
    actions = text.split('`control_mode="joint_delta"`')[1].split("\n#")[0]
    assert (len(re.findall(r"^\| \d+ \|", actions, flags=re.MULTILINE)),) == env.action_space.shape
    env.close()


@by_id
def test_every_argument_is_explained(entry: Registration) -> None:
    text = (FOLDER / f"{short_name(entry.id)}.md").read_text(encoding="utf-8")
    arguments = text.split("\n## Arguments\n")[1].split("\n## ")[0]
    for line in arguments.splitlines():
        if line.startswith("| `"):
            assert not line.endswith("|  |"), f"no meaning: {line}"


class _Base:
    """What it is.

    It goes on
    for two lines.

    Attributes:
        a: the first
            on two lines.
        b, c: the others, in m (metres): as written.

    Raises:
        ValueError: never.
    """

    def reset(self) -> None:
        """Starts."""


class _Derived(_Base):
    """Another.

    Attributes:
        a: the first, redefined.
    """

    def reset(self) -> None:
        """See `_Base`."""


def test_docstrings_are_read() -> None:
    assert description(_Base) == "What it is.\n\nIt goes on for two lines."
    others = "the others, in m (metres): as written."
    assert entries(_Base, "Attributes") == {"a": "the first on two lines.", "b": others, "c": others}
    assert entries(_Base, "Args") == {}
    assert inherited_entries(_Derived, "Attributes") == {"a": "the first, redefined.", "b": others, "c": others}
    assert method_description(_Derived, "reset") == "Starts."


def test_table_escapes_bars() -> None:
    assert table(("a",), [("x | y",)]) == "| a |\n| --- |\n| x \\| y |"
