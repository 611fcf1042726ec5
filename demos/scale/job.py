"""A job: a function, the files it reads and its settings, which with this project's version are the identity of its result.

The result is a folder with a record in it (`job.json`), so that both appear, and are moved, as one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import sha256_of_files

RECORD_NAME = "job.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: of the result's folder.
        function: `"module:function"`; called as `function(out, inputs, **settings)` it makes the folder `out`, and may return
            figures (JSON values) for the record. Every worker has to be able to import it.
        inputs: files or folders that are read, by name; what is in them counts, not where they lie.
        settings: JSON values (tuples are taken as lists).

    Raises:
        OptionError: the name is no folder's, or a setting is no JSON value.
    """

    name: str
    function: str
    inputs: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith(".") or Path(self.name).name != self.name:
            raise OptionError(f"a job is named {self.name!r}, expected the name of a folder that is not hidden")
        if ":" not in self.function:
            raise OptionError(f"the function of job {self.name} is {self.function!r}, expected 'module:function'")
        try:
            json.dumps(self.settings)
        except TypeError as error:
            raise OptionError(f"the settings of job {self.name} are not all JSON values: {error}") from error
        absolute = {name: Path(path).absolute() for name, path in self.inputs.items()}  # workers stand elsewhere
        object.__setattr__(self, "inputs", absolute)

    def identity(self) -> dict[str, Any]:
        """What the result depends on: the function, the hash of each input, the settings, and the version of this project.

        Raises:
            InputFileError: an input cannot be read.
        """
        hashes = {name: content_hash(path) for name, path in sorted(self.inputs.items())}
        settings = json.loads(json.dumps(self.settings))
        return {"function": self.function, "inputs": hashes, "settings": settings, "version": version("dexvid-envs")}

    def load(self) -> Callable[..., Mapping[str, Any] | None]:
        """The function."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)


def content_hash(path: Path) -> str:
    """SHA-256 (hex) of a file, or of a folder's files and their names; hidden files and records of jobs do not count.

    Raises:
        InputFileError: it cannot be read.
    """
    try:
        if not path.is_dir():
            return _file_hash(path, path.stat())
        files = sorted(file for file in path.rglob("*") if file.is_file())
        parts = [(file.relative_to(path), file) for file in files]
        shown = [(name, file) for name, file in parts if not any(part.startswith(".") for part in name.parts)]
        lines = [f"{name.as_posix()} {_file_hash(file, file.stat())}" for name, file in shown if name.name != RECORD_NAME]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    except OSError as error:
        raise InputFileError(f"{path} cannot be read ({error.strerror}); check the path") from error


def _file_hash(path: Path, stat: os.stat_result) -> str:
    return _hash_of_version(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _hash_of_version(path: Path, size: int, mtime_ns: int) -> str:
    """Weights that thousands of jobs share are read once by each worker."""
    del size, mtime_ns
    return sha256_of_files([path])


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record in a result's folder; None where there is none that can be read."""
    try:
        record = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "identity" in record else None
