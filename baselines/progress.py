"""How far a training run is, for callers and for the run's folder: progress reports, `progress.csv` and TensorBoard."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from dexvid_envs.errors import InputFileError
from dexvid_envs.files import atomic_path

CSV_NAME = "progress.csv"


@dataclasses.dataclass(frozen=True)
class TrainProgress:
    """One report of a training run.

    Attributes:
        stage: what is being done, such as "clone" or "fine-tune".
        step: gradient steps (cloning) or environment steps (PPO) so far.
        fraction: done part of the budget, 0 to 1.
        elapsed_s: wall time so far, earlier sittings included.
        figures: the latest losses and rates by name.
    """

    stage: str
    step: int
    fraction: float
    elapsed_s: float
    figures: Mapping[str, float]

    @property
    def remaining_s(self) -> float | None:
        """Estimated wall time left, or None before anything is known."""
        return self.elapsed_s * (1.0 - self.fraction) / self.fraction if self.fraction > 0 else None


ProgressCallback = Callable[[TrainProgress], None]


def read_progress(path: Path) -> list[dict[str, float]]:
    """The rows of a run's `progress.csv`, each with its `step`.

    Raises:
        InputFileError: the file is damaged.
    """
    try:
        with path.open(newline="") as stream:
            rows = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(stream)]
        if all(0 <= row["step"] < 1e15 for row in rows):
            return rows
        raise ValueError("a step is no count")
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise InputFileError(
            f"{path} is damaged ({error}): expected a column of steps and columns of numbers; "
            "remove it, the run goes on without its earlier rows"
        ) from error


class RunLog:
    """Rows of figures of one run, kept in `progress.csv` and as TensorBoard events; without a folder it only remembers.

    The small CSV is rewritten atomically with each row, so that a killed run leaves a whole file and new columns may appear.

    Args:
        folder: the run's folder, or None.
        resume_step: rows after this step are dropped (a resumed run writes them again); None starts an empty log.

    Raises:
        InputFileError: the rows of an earlier sitting are damaged.
    """

    def __init__(self, folder: Path | None, resume_step: int | None = None) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self._writer = None
        if folder is None:
            return
        path = folder / CSV_NAME
        if resume_step is not None and path.exists():
            self.rows = [row for row in read_progress(path) if row["step"] <= resume_step]
        from torch.utils.tensorboard.writer import SummaryWriter

        purge_step = None if resume_step is None else resume_step + 1
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds one row."""
        row = {"step": float(step)} | {name: float(value) for name, value in figures.items()}
        self.rows.append(row)
        if self.folder is None or self._writer is None:
            return
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, step)
        columns = list(dict.fromkeys(name for one in self.rows for name in one))
        with atomic_path(self.folder / CSV_NAME) as temporary, temporary.open("w", newline="") as stream:
            table = csv.DictWriter(stream, columns)
            table.writeheader()
            table.writerows(self.rows)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
