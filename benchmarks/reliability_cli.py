"""Command lines drawn at random, each with something wrong in it: a message and an exit code that is not 0 have to come.

Each command gets an input that is damaged or missing, or an output that cannot be made, beside options that are drawn; so none
of them starts to work in earnest, and a code of 0 is a failure too.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np

_VALUES = ("", "0", "-1", "1e400", "nan", "99999999999999999999", "a", "--", "[]", "\0x", "/", ".", "/dev/null/x", "None", "ü€")

#: Options by command, `{bad}` a damaged file, `{none}` a missing one, `{blocked}` a path below a file.
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "extract": (
        ("{bad}", "--out", "{out}"),
        ("--fps-limit", "--hands", "--tracks", "--object-point", "--importer", "--fov-deg"),
    ),
    "retarget": (("{bad}", "--out", "{out}.npz"), ("--env", "--env-option", "--importer", "--smoothness-weight")),
    "refine": (
        ("{none}", "--out", "{out}"),
        ("--env", "--env-option", "--candidates", "--seed", "--mass-factor", "--max-seconds"),
    ),
    "multiply": (("{bad}", "--out", "{out}"), ("--count", "--episode", "--seed", "--size", "--mass", "--json")),
    "replay": (("{none}",), ("--episode", "--video", "--plot", "--source", "--json")),
    "dataset": (("info", "{bad}"), ("--json", "--tier", "--first")),
    "dataset check": (("dataset", "check", "{none}"), ("--replay", "--json")),
    "dataset merge": (("dataset", "merge", "{bad}", "{none}", "--out", "{out}"), ("--json", "--to")),
    "dataset filter": (("dataset", "filter", "{bad}", "--out", "{out}"), ("--tier", "--episode", "--first", "--min-steps")),
    "dataset export": (("dataset", "export", "{bad}", "--out", "{out}"), ("--to", "--task")),
    "synthesize": (("--out", "{blocked}", "--count", "1"), ("--corpus", "--seed", "--first", "--width", "--height", "--fps")),
    "kinematic": (("{bad}", "--out", "{out}"), ("--motions", "--work", "--json")),
    "train bc": (("train", "bc", "--dataset", "{bad}", "--out", "{out}"), ("--policy", "--max-steps", "--hidden", "--seed")),
    "train ppo": (("train", "ppo", "--init", "{none}", "--out", "{out}"), ("--env", "--env-option", "--gamma", "--seed")),
    "train distill": (
        ("train", "distill", "--teacher", "{bad}", "--out", "{out}"),
        ("--rounds", "--num-envs", "--env-option", "--clone.policy", "--seed"),
    ),
    "record": (
        ("OpenCabinet", "--policy", "{bad}", "--out", "{out}"),
        ("--count", "--seed", "--rest-steps", "--env-option", "--json"),
    ),
    "correct": (("{bad}", "--policy", "{none}", "--out", "{out}"), ("--count", "--policy-steps", "--seed")),
    "report": (("{bad}", "--out", "{blocked}.html"), ("--json",)),
    "evaluate": (("--policy", "{bad}"), ("--env", "--episodes", "--seed", "--num-envs", "--env-option", "--json")),
    "quickstart": (("--source", "{none}", "--out", "{out}"), ("--env", "--env-option", "--count", "--episodes", "--seed")),
    "view": (("{bad}",), ("--episode", "--source", "--film", "--port")),
    "play": (("{none}", "--video", "{blocked}.mp4"), ("--policy", "--episodes", "--width", "--camera", "--env-option")),
    # these three want no word at all, so that they get two: one may be taken away again
    "list": (("{bad}", "{none}"), ("--json",)),
    "doctor": (("{bad}", "{none}"), ("--json",)),
    "completion": (("{bad}", "{none}"), ("--json",)),
    "": (("{none}",), ("--version ", "-x")),
}


def command_line(folder: Path, rng: np.random.Generator) -> list[str]:
    """One of them; the files it names lie in the folder."""
    name = list(COMMANDS)[int(rng.integers(0, len(COMMANDS)))]
    base, options = COMMANDS[name]
    bad = folder / f"bad{('.npz', '.mp4', '.npy', '', '.hdf5')[int(rng.integers(0, 5))]}"
    bad.write_bytes(rng.bytes(int(rng.integers(0, 500))))
    names = {"bad": bad, "none": folder / "none", "out": folder / "out", "blocked": bad / "below"}
    words = [word.format(**names) for word in base]
    if " " not in name and name:
        words = [name, *words]
    for option in rng.choice(options, size=int(rng.integers(0, 4))):
        words.append(str(option))
        words += [str(value) for value in rng.choice(_VALUES, size=int(rng.integers(0, 3)))]
    if rng.random() < 0.15:
        del words[int(rng.integers(0, len(words)))]
    if words and words[0] in ("extract", "refine", "quickstart", "play") and "--out" not in words and "--video" not in words:
        words += ["--out", str(folder / "out")]  # the default is a folder of the user's
    return words or ["nothing"]  # without a word the overview is shown, which is no mistake


def run_command_line(words: list[str]) -> None:
    """Runs the command in this process.

    Raises:
        AssertionError: it succeeds, or fails without a word.
    """
    from dexvid_envs.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(words)
        except SystemExit as end:  # the parser's, with its message
            code = end.code
    if code in (0, None):
        raise AssertionError(f"{words} ends with {code}")
    if not said.getvalue().strip() or "Traceback" in said.getvalue():
        raise AssertionError(f"{words} says {said.getvalue()[-300:]!r}")
