"""The README's Python blocks run as they stand."""

from __future__ import annotations

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
