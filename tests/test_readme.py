"""The README's Python blocks run as they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(block: str) -> None:
    names: dict = {}
    exec(compile(block, str(README), "exec"), names)
    if "MyPolicy" in names:
        from baselines.evaluate import evaluate

        result = evaluate(names["MyPolicy"](), "DexVid-BottlePickPlace-v0", episodes=2, num_envs=2)
        assert len(result.episodes) == 2


def test_every_command_named_exists() -> None:
    from dexvid_envs.cli import find_commands

    commands = find_commands()
    named = set(re.findall(r"^(?:\.venv/bin/)?dexvid (\w+)", README.read_text(), flags=re.MULTILINE))
    assert named
    assert named <= set(commands)


def test_pictures_exist() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README.read_text()):
        assert (README.parent / path).is_file(), path


def test_the_counts_of_killed_commands_are_the_kept_results() -> None:
    from benchmarks.reliability import WANTED_KILLS
    from benchmarks.reliability_commands import writing_commands

    rows = json.loads((README.parent / "benchmarks" / "results" / "reliability.json").read_text())["rows"]
    killed = {row["what"]: row["tries"] for row in rows if row["part"] == "kill"}
    tries = [killed.get(command.name, 0) for command in writing_commands()]
    often = sum(number >= WANTED_KILLS for number in tries)
    never = tries.count(0)
    text = (
        f"{often} of {len(tries)} commands were killed {WANTED_KILLS} times each, {len(tries) - often - never} less often, "
        f"{never} **not** yet"
    )
    assert text in README.read_text(), f"write: {text}"
    damaged = sum(row["tries"] for row in rows if row["part"] == "fuzz")
    assert f"{damaged:,} damaged files" in README.read_text()
    for part in ("full disk", "read-only", "two at once"):
        assert f"outputs of {sum(row['part'] == part for row in rows)} commands" in README.read_text()


def test_the_table_of_states_is_short() -> None:
    """What is longer than two sentences stands on the page behind it."""
    table = README.read_text().split("## The state of each part")[1].split("\n\nThe bottle")[0]
    for row in re.findall(r"^\| .* \|$", table, flags=re.MULTILINE):
        assert len(row) < 500, row[:60]
