"""Finished rounds of a search on disk, so that a stopped one goes on and ends as an unbroken one would have."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demos.plan import Plan
from demos.provenance import to_json
from demos.refinement.candidates import Candidate
from dexvid_envs.errors import InputFileError
from dexvid_envs.npz_file import read_npz, write_npz

_FILE = "search.npz"
_CANDIDATES = ("elites", "champions")  # fields of the state that hold candidates


@dataclasses.dataclass(frozen=True)
class SearchState:
    """All that the rest of a search depends on.

    Attributes:
        search: "offset", "spline" or "done".
        round: the next one.
        elites: the best of the last round, the best first, as the next round begins with them.
        champions: the best of each round of the second search, as it was tried.
        good_rounds: rounds in a row that were good enough.
        history: a row for each finished round.
        seconds: spent so far.
    """

    search: str
    round: int
    elites: list[Candidate]
    good_rounds: int
    history: list[dict[str, Any]]
    seconds: float
    champions: list[Candidate] = dataclasses.field(default_factory=list)

    @classmethod
    def new(cls) -> SearchState:
        """Before the first round."""
        return cls("offset", 0, [], 0, [], 0.0)


class RoundStore:
    """A folder with the state after the last finished round.

    Args:
        folder: is made.
        of: what the search depends on; a state of another search is refused.
    """

    def __init__(self, folder: Path, of: Iterable[Any]) -> None:
        self._path = folder / _FILE
        self._key = _digest(of)
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: SearchState) -> None:
        """Replaces the state as a whole."""
        facts = {field.name: getattr(state, field.name) for field in dataclasses.fields(state) if field.name not in _CANDIDATES}
        arrays: dict[str, Any] = {"key": self._key, "facts": json.dumps(facts)}
        for group in _CANDIDATES:
            for field in dataclasses.fields(Candidate):
                arrays[f"{group}_{field.name}"] = np.array([getattr(one, field.name) for one in getattr(state, group)])
        write_npz(self._path, arrays)

    def load(self) -> SearchState | None:
        """The stored state, or None where there is none.

        Raises:
            InputFileError: it is another search's, or no state at all.
        """
        if not self._path.is_file():
            return None
        advice = "remove the folder"
        arrays = read_npz(self._path, "rounds of a search", advice)
        try:
            key, facts = str(arrays["key"]), json.loads(str(arrays["facts"]))
            names = [field.name for field in dataclasses.fields(Candidate)]
            columns = {group: {name: arrays[f"{group}_{name}"] for name in names} for group in _CANDIDATES}
        except (ValueError, KeyError, RecursionError) as error:
            raise InputFileError(f"{self._path} holds no rounds of a search ({error}); {advice}") from error
        if key != self._key:
            raise InputFileError(
                f"{self._path.parent} holds rounds of a search with another recording, environment or config; "
                "remove the folder or name another one"
            )
        try:
            return SearchState(**{group: _candidates(of) for group, of in columns.items()}, **facts)
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise InputFileError(f"{self._path} holds damaged rounds of a search ({error}); {advice}") from error


def _candidates(columns: Mapping[str, np.ndarray]) -> list[Candidate]:
    """Candidates from their fields, a row each."""
    return [
        Candidate(**{name: values[row].item() if values.ndim == 1 else values[row] for name, values in columns.items()})
        for row in range(len(columns["hold"]))
    ]


def _digest(of: Iterable[Any]) -> str:
    """Hash of configs, plans and options."""
    digest = hashlib.sha256()
    for part in of:
        for one in part if isinstance(part, list) else [part]:
            if isinstance(one, Plan):
                for field in dataclasses.fields(one):
                    digest.update(np.ascontiguousarray(getattr(one, field.name)).tobytes())
            else:
                digest.update(json.dumps(to_json(one), sort_keys=True).encode())
    return digest.hexdigest()
