"""Reading an interaction from whatever a command was given: an extraction, an importer's folder, or the shipped sample."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from demos.importers import find_importer, guess_importer
from demos.interaction import Interaction
from dexvid_envs.errors import InputFileError

_VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm")


#: Files of which a folder with all of one line is a recording.
_RECORDED = (("interaction.npz",), ("truth.npz", "video.mp4"))


def _shipped() -> Path:
    return Path(str(files("demos") / "data"))


def shipped_sample() -> Path:
    """Folder of the synthetic pick-and-place recording that comes with the project."""
    return _shipped() / "synthetic_pick_place"


def shipped_source(source_sha256: str) -> Path | None:
    """Folder of the recording with this source among all that come with the project; None where it is not there."""
    for first, *others in _RECORDED:
        for folder in sorted(path.parent for path in _shipped().rglob(first)):
            there = all((folder / name).is_file() for name in others)
            if there and load_interaction(folder).source_sha256 == source_sha256:
                return folder
    return None


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
    return _shipped() / "refined_pick_place"
