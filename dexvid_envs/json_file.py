"""JSON files from outside, read with an error that says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dexvid_envs.errors import InputFileError


def read_json(path: Path, remedy: str) -> Any:
    """The value in a JSON file.

    Raises:
        InputFileError: it is missing, unreadable or no JSON; the message ends with `remedy`.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputFileError(f"{path} cannot be read as JSON ({error}); {remedy}") from error
