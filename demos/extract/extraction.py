"""The result of an extraction, and its files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from demos.extract.config import ExtractConfig
from demos.extract.gates import failed_gates
from demos.extract.quality import write_quality
from demos.extract.report import write_report
from demos.interaction import Interaction


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What `extract` made: the interaction and its quality figures, as in the files."""

    interaction: Interaction
    quality: dict[str, Any]

    @property
    def failed_gates(self) -> list[dict[str, Any]]:
        """The gates that the extraction did not pass."""
        return failed_gates(self.quality)


def settings_of(config: ExtractConfig) -> dict[str, Any]:
    """What the result was made with; not where it lies, since folders are moved."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "out"}


def write_files(folder: Path, interaction: Interaction, quality: dict[str, Any], report: bool) -> None:
    """Writes interaction and quality into a folder, and the report where it is wanted, beside the overlay that is there."""
    interaction.save(folder / "interaction.npz")
    write_quality(folder / "quality.json", quality)
    if report:
        write_report(folder / "report.html", interaction, quality, folder / "overlay.mp4")
