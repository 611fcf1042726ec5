"""Catches simulations that blow up: names the step and saves the last good state, so that the instability can be replayed."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dexvid_envs.errors import DexVidError
from dexvid_envs.npz_file import read_npz

_LOG = logging.getLogger("dexvid_envs")
#: Reports that one environment writes at most; a policy that blows everything up shall not fill the disk.
MAX_REPORTS = 10


class NanGuard:
    """Writes reports of instabilities into a folder (None: `dexvid-nan` in the system's temporary directory)."""

    def __init__(self, task: str, folder: str | None) -> None:
        self._task = task
        self._folder = Path(folder) if folder is not None else Path(tempfile.gettempdir()) / "dexvid-nan"
        self._written = 0

    def report(self, row: int, step: int, state: Mapping[str, Any], action: np.ndarray) -> Path | None:
        """Saves the state before the step that failed and the action of that step; logs a warning that names both.

        Args:
            row: of the environment.
            step: steps taken in this environment since it was made, the failed one included.
            state: what `state()` returned before the step.
            action: (A,) of that step.

        Returns:
            The file, or None where none was written (too many, or the folder cannot be written to).
        """
        where = f"{self._task}, environment {row}, step {step}"
        if self._written >= MAX_REPORTS:
            _LOG.warning("%s: the simulation became unstable (already %d reports written)", where, self._written)
            return None
        moment = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}"  # several environments share the folder
        path = self._folder / f"{self._task}-{moment}-{row}-{step}.npz"
        parts = [part for part in state if part != "simulation"]
        arrays = {f"{part}/{name}": np.asarray(value) for part in parts for name, value in state[part].items()}
        about = json.dumps({"task": self._task, "environment": row, "step": step})
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            with unfinished.open("wb") as file:
                np.savez(file, simulation=state["simulation"], action=action, about=about, **arrays)  # type: ignore[arg-type]
            unfinished.rename(path)
        except OSError as error:
            _LOG.warning("%s: the simulation became unstable; its state could not be saved (%s)", where, error)
            return None
        self._written += 1
        _LOG.warning("%s: the simulation became unstable; the state before it is in %s", where, path)
        return path


def load_report(path: str | Path) -> tuple[dict[str, Any], np.ndarray, dict[str, Any]]:
    """Reads a report: the state for `reset(options={"state": ...})`, the action (A,) that fails from it, and what it is about.

    Raises:
        DexVidError: the file is no report.
    """
    arrays = read_npz(Path(path), "a report of an instability", "give one that the NaN guard wrote")
    try:
        state: dict[str, Any] = {"simulation": arrays["simulation"], "memory": {}}
        for key, array in arrays.items():
            part, sign, name = key.partition("/")
            if sign:
                state.setdefault(part, {})[name] = array
        return state, arrays["action"], json.loads(str(arrays["about"]))
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise DexVidError(f"{path} is no report of an instability ({error}); expected one by the NaN guard") from error
