"""The pages of the environments are those that the code makes, and say enough."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium
import pytest

from dexvid_envs.control import CONTROL_MODES
from dexvid_envs.document.docstrings import description, entries, inherited_entries, listed, sentence
from dexvid_envs.document.markdown import plain, range_text, space_text, table
from dexvid_envs.document.names import OBJECTS_PICTURE, page_name, picture_name
from dexvid_envs.document.pages import pages
from dexvid_envs.document.sections import success_text
from dexvid_envs.randomization import PRESETS
from dexvid_envs.registration import REGISTRATIONS, Registration
from robots.everyday import ALL_OBJECTS

FOLDER = Path(__file__).parents[1] / "docs" / "environments"
REMEDY = "run `python -m dexvid_envs.document --out docs/environments` and commit the pages"
MAX_PICTURE_BYTES = 150_000

by_id = pytest.mark.parametrize("entry", REGISTRATIONS, ids=[entry.id for entry in REGISTRATIONS])


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages()


def test_pages_are_up_to_date(made: dict[str, str]) -> None:
    assert {path.name for path in FOLDER.glob("*.md")} == set(made), REMEDY
    stale = [name for name, text in made.items() if (FOLDER / name).read_text(encoding="utf-8") != text]
    assert not stale, f"{stale}: {REMEDY}"


def test_what_the_pages_point_to_is_there(made: dict[str, str]) -> None:
    for name, text in made.items():
        for target in re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'<img src="([^"]+)"', text):
            file, _, heading = target.partition("#")
            assert (FOLDER / file).is_file(), f"{name} points to {target}; add --pictures to make pictures"
            headings = [
                line.lstrip("# ").lower().replace(" ", "-") for line in made.get(file, "").splitlines() if line[:1] == "#"
            ]
            assert not heading or heading in headings, f"{name} points to {target}"


def test_pictures_are_there_and_small() -> None:
    pictures = {path.name: path.stat().st_size for path in FOLDER.glob("*.png")}
    assert set(pictures) == {OBJECTS_PICTURE, *(picture_name(entry.id) for entry in REGISTRATIONS)}
    assert max(pictures.values()) < MAX_PICTURE_BYTES, pictures


@by_id
def test_a_page_has_all_sections(made: dict[str, str], entry: Registration) -> None:
    text = made[page_name(entry.id)]
    for section in ("Actions", "Observations", "Rewards", "Start of an episode", "End of an episode", "Info", "Options"):
        assert f"\n## {section}\n" in text
    assert "\n## Versions\n\n- v0" in text
    assert "See `" not in text
    assert not re.findall(r"^\| `.*\|  \|$", text, flags=re.MULTILINE), "a cell without a meaning"


@by_id
def test_tables_fit_the_spaces(made: dict[str, str], entry: Registration) -> None:
    text = made[page_name(entry.id)]
    env = gymnasium.make(entry.id)
    state = _section(text, '### `observation_mode="state"`')
    sizes = [int(size) for size in re.findall(r"^\| [\d-]+ \| `\w+` \| (\d+) \|", state, flags=re.MULTILINE)]
    assert (sum(sizes),) == env.observation_space.shape
    env.close()
    for control_mode in CONTROL_MODES:
        env = gymnasium.make(entry.id, control_mode=control_mode)
        rows = re.findall(r"^\| \d+ \|", _section(text, f'### `control_mode="{control_mode}"`'), flags=re.MULTILINE)
        assert (len(rows),) == env.action_space.shape
        env.close()
    partial = _section(text, '### `observation_mode="pointcloud", points="partial"`')
    assert re.findall(r"^\| `(\w+)` \|", partial, flags=re.MULTILINE) == ["goal", "points", "proprioception", "visible"]
    pictures = _section(text, '### `observation_mode="rgbd"`')
    assert "| `depth_side` | (96, 96, 1) | float32 | 0 to 5 |" in pictures


def test_shared_and_first_page_say_what_is_common(made: dict[str, str]) -> None:
    shared = made["shared.md"]
    assert all(f'`"{name}"`' in shared for name in PRESETS)
    assert "| `force_probability` |" in shared
    assert all(entry.id in made["README.md"] for entry in REGISTRATIONS)


def test_all_objects_are_listed(made: dict[str, str]) -> None:
    objects = _section(made["GraspLift-v0.md"], "## Objects", until="\n## ")
    assert re.findall(r"^\| `(\w+)` \|", objects, flags=re.MULTILINE) == list(ALL_OBJECTS)
    assert "| `tuna_can` | 85 | 85 | 33 | 171 |" in objects


def test_success_says_how_long_the_criterion_has_to_hold() -> None:
    env = gymnasium.make("DexVid-OpenCabinet-v0", hold_steps=30)
    assert success_text(env.unwrapped.task).endswith("; held for 30 consecutive steps (1.5 s).")  # type: ignore[attr-defined]
    env.close()


def _section(text: str, heading: str, until: str = "\n#") -> str:
    return text.split(f"\n{heading}")[1].split(until)[0]


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


class _Derived(_Base):
    """Another.

    Attributes:
        a: the first, redefined.
    """


def test_docstrings_are_read() -> None:
    assert description(_Base) == "What it is.\n\nIt goes on for two lines."
    others = "the others, in m (metres): as written."
    assert entries(_Base, "Attributes") == {"a": "the first on two lines.", "b": others, "c": others}
    assert entries(_Base, "Args") == {}
    assert inherited_entries(_Derived, "Attributes") == {"a": "the first, redefined.", "b": others, "c": others}


def test_lines_with_names_are_read() -> None:
    def terms() -> None:
        """Reach, then lift: both.

        reach: near it,
            with the palm.
        lift, hold: up
            there.

        Note: this is text, as any other line
        that follows.
        """

    assert listed(terms) == {
        "reach": "near it, with the palm.",
        "lift": "up there.",
        "hold": "up there.",
        "Note": "this is text, as any other line",
    }
    assert sentence(terms) == "Reach, then lift: both."


def test_values_are_shown_plainly() -> None:
    assert plain({"a": 1.0, "b": 0.25}) == "a 1, b 0.25"
    assert plain(("x", 2)) == "`x`, 2"
    assert plain(()) == "none"
    box = gymnasium.spaces.Box(-1.0, 2.0, (3,))
    assert range_text(box.low, box.high) == "-1 to 2"
    assert space_text(gymnasium.spaces.Dict({"a": box})) == "Dict(a: Box(-1 to 2, (3,), float32))"


def test_table_escapes_bars() -> None:
    assert table(("a",), [("x | y",)]) == "| a |\n| --- |\n| x \\| y |"
