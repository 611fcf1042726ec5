"""Results of finished stages on disk: a killed extraction goes on where it was, a changed option repeats what depends on it.

A result is a dataclass of arrays, numbers, texts, lists and further dataclasses; it becomes one npz without pickles whose keys
are the paths of the fields. The file's name carries a hash of everything the result depends on, so a stale one is never read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dexvid_envs.files import atomic_path

Result = TypeVar("Result")


class StageStore:
    """Results of one extraction in a folder.

    A stage is known by its name and the values it depends on; results of the stages before it count as such by their key.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reused: list[str] = []
        self._keys: dict[str, str] = {}

    def run(self, name: str, kind: type[Result], depends_on: Mapping[str, Any], make: Callable[[], Result]) -> Result:
        """The stored result of the stage where there is one for the same inputs, else a new one, which is stored.

        Args:
            name: of the stage.
            kind: the dataclass of the result.
            depends_on: options by name; the value of `after` is a list of the stages whose results are used.
            make: does the work.
        """
        key = self.key(name, depends_on)
        path = self.folder / f"{name}-{key}.npz"
        if path.is_file():
            try:
                result = load(path, kind)
            except Exception:  # a damaged file costs the stage, not the extraction
                path.unlink()
            else:
                self.reused.append(name)
                return result
        result = make()
        save(path, result)
        for stale in self.folder.glob(f"{name}-*.npz"):
            if stale != path:
                stale.unlink()
        return result

    def forget(self, name: str) -> None:
        """Removes the results of a stage."""
        for path in self.folder.glob(f"{name}-*.npz"):
            path.unlink()

    def key(self, name: str, depends_on: Mapping[str, Any]) -> str:
        """Hash of what a stage depends on; kept for the stages that come after it."""
        before = [self._keys[stage] for stage in depends_on.get("after", ())]
        text = json.dumps([version("dexvid-envs"), before, {**depends_on}], sort_keys=True, default=str)
        self._keys[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._keys[name]


def save(path: Path, result: Any) -> None:
    """Writes a dataclass as an npz."""
    arrays: dict[str, np.ndarray] = {}
    _flatten("", result, arrays)
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)  # pyright: ignore[reportArgumentType]


def load(path: Path, kind: type[Result]) -> Result:
    """Reads what `save` wrote; raises whatever a damaged file leads to."""
    with np.load(path, allow_pickle=False) as stored:
        return _build("", kind, {name: stored[name] for name in stored.files})


def _flatten(prefix: str, value: Any, arrays: dict[str, np.ndarray]) -> None:
    if hasattr(value, "to_arrays"):
        arrays |= {f"{prefix}/{name}": array for name, array in value.to_arrays().items()}
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _flatten(f"{prefix}/{field.name}", getattr(value, field.name), arrays)
    elif isinstance(value, list | tuple):
        arrays[f"{prefix}/length"] = np.array(len(value))
        for number, item in enumerate(value):
            _flatten(f"{prefix}/{number}", item, arrays)
    elif value is not None:
        array = np.asarray(value)
        if array.dtype == object:
            raise TypeError(f"{prefix} is a {type(value).__name__}, which cannot be stored without a pickle")
        arrays[prefix] = array


def _build(prefix: str, kind: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        present = any(name == prefix or name.startswith(f"{prefix}/") for name in arrays)
        inner = [option for option in typing.get_args(kind) if option is not types.NoneType]
        return _build(prefix, inner[0], arrays) if present else None
    if hasattr(kind, "from_arrays"):
        start = f"{prefix}/"
        return kind.from_arrays({name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)})
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = dataclasses.fields(kind)
        return typing.cast(Any, kind)(**{one.name: _build(f"{prefix}/{one.name}", hints[one.name], arrays) for one in fields})
    if typing.get_origin(kind) in (list, tuple):
        item = typing.get_args(kind)[0]
        items = [_build(f"{prefix}/{number}", item, arrays) for number in range(int(arrays[f"{prefix}/length"]))]
        return items if typing.get_origin(kind) is list else tuple(items)
    array = arrays[prefix]
    return kind(array.item()) if kind in (str, int, float, bool) else array
