"""Reading an interaction from whatever a command was given: an extraction, an importer's folder, or the shipped sample."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from demos.importers import find_importer, guess_importer
from demos.interaction import Interaction
from dexvid_envs.errors import InputFileError

_VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm")


def shipped_sample() -> Path:
    """Folder of the synthetic pick-and-place recording that comes with the project."""
    return Path(str(files("demos") / "data" / "synthetic_pick_place"))


def load_interaction(path: Path, importer: str | None = None) -> Interaction:
    """The interaction behind a path.

    Args:
        path: an extraction's folder, its `interaction.npz`, or a folder in another extractor's layout.
        importer: name of the importer; guessed from the layout if None.

    Raises:
        InputFileError: nothing is there, it is a video, or the layout is not known.
    """
    if path.suffix.lower() in _VIDEO_SUFFIXES:
        raise InputFileError(f"{path} is a video; extract it first: dexvid extract {path} --out extraction")
    return find_importer(importer or guess_importer(path))(path)


def warn_of_failed_gates(path: Path) -> None:
    """Prints the gates that an extraction's folder did not pass, so that nobody goes on from it unaware."""
    from demos.extract.gates import read_failed_gates

    for line in read_failed_gates(path):
        print(f"warning: {path.name} did not pass a gate: {line}", file=sys.stderr)


def shipped_demonstration() -> Path:
    """Folder of the dataset with the shipped sample's refined demonstration (successful, DexVid-BottlePickPlace-v0)."""
    return Path(str(files("demos") / "data" / "refined_pick_place"))
