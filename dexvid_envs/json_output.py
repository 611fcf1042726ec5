"""What `--json` does in every command: `--json FILE` writes the outcome there, `--json -` or `--json` alone prints it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dexvid_envs.files import atomic_path

OPTION, STANDARD_OUTPUT = "--json", "-"


@contextlib.contextmanager
def json_output(target: Path | None) -> Iterator[Callable[[Any], None]]:
    """Yields the function that takes the outcome, as JSON values; without a target it does nothing.

    While the outcome is to be printed, all other lines go to the error stream: standard output is JSON and nothing else.
    """
    if target is None:
        yield lambda outcome: None
    elif is_printed(target):
        out = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield lambda outcome: print(json.dumps(outcome, indent=2), file=out, flush=True)
    else:

        def write(outcome: Any) -> None:
            with atomic_path(target) as temporary:
                temporary.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
            print(f"wrote {target}")

        yield write


def is_printed(target: Path | None) -> bool:
    """Whether the outcome goes to standard output."""
    return str(target) == STANDARD_OUTPUT


def with_json_target(arguments: Sequence[str]) -> list[str]:
    """The arguments with a `-` after a `--json` that is the last of them or stands before another option."""
    complete: list[str] = []
    for index, word in enumerate(arguments):
        complete.append(word)
        following = arguments[index + 1] if index + 1 < len(arguments) else "--"
        if word == OPTION and following.startswith("-") and following != STANDARD_OUTPUT:
            complete.append(STANDARD_OUTPUT)
    return complete
