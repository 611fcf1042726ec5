"""The help of every command and subcommand answers at once: none of what does the work is loaded for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dexvid_envs.cli import find_commands

HEAVY = ("torch", "stable_baselines3", "mediapipe", "mujoco", "cv2", "scipy", "numba", "trimesh", "h5py", "matplotlib", "rich")
SUBCOMMANDS = {"train": ("bc", "ppo", "distill"), "dataset": ("info", "check", "export", "merge", "filter")}
WORDS = [name for name in find_commands()] + [f"{name} {one}" for name, inner in SUBCOMMANDS.items() for one in inner]

# All in one process, in which a package that is heavy cannot be loaded at all: whoever tries fails, not only the first.
_ASK_ALL = """
import contextlib, importlib.abc, io, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {heavy!r}:
            raise ImportError(f"{{name}} is loaded")

sys.meta_path.insert(0, Refuse())
from dexvid_envs.cli import main
answers = {{}}
for words in {words!r}:
    out, answer = io.StringIO(), "no exit"
    try:
        with contextlib.redirect_stdout(out):
            main([*words.split(), "--help"])
    except SystemExit as done:
        answer = done.code
    except Exception as error:
        answer = repr(error)
    answers[words] = answer, out.getvalue()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[object, str]]:
    code = _ASK_ALL.format(heavy=HEAVY, words=WORDS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("words", WORDS)
def test_help_of_a_command_loads_nothing_heavy(words: str, answers: dict[str, tuple[object, str]]) -> None:
    ended, shown = answers[words]
    assert ended == 0
    assert shown.startswith(f"usage: dexvid {words} ")
    if len(words.split()) == 1 and words in SUBCOMMANDS:
        assert "{" + ",".join(SUBCOMMANDS[words]) + "}" in shown


def test_no_command_has_other_subcommands(answers: dict[str, tuple[object, str]]) -> None:
    assert {words for words, (_, shown) in answers.items() if " subcommands " in shown} == set(SUBCOMMANDS)
