"""Importers read folders of other extractors as an `Interaction`; here they are found by name or by a folder's layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from demos.interaction import Interaction
from dexvid_envs.errors import InputFileError, OptionError

Importer = Callable[[Path], Interaction]


def import_interaction(path: Path) -> Interaction:
    """Reads an interaction of our own: the `.npz` file, or a folder that holds `interaction.npz`."""
    return Interaction.load(path / "interaction.npz" if path.is_dir() else path)


def _import_dexmv(folder: Path) -> Interaction:
    from demos.importers.dexmv import load_dexmv  # brings trimesh and scipy, which the other importer does not need

    return load_dexmv(folder)


#: The importers by name.
IMPORTERS: dict[str, Importer] = {"dexmv": _import_dexmv, "interaction": import_interaction}


def find_importer(name: str) -> Importer:
    """The importer of that name.

    Raises:
        OptionError: there is none.
    """
    if name not in IMPORTERS:
        raise OptionError(f"no importer {name!r}; expected one of {', '.join(sorted(IMPORTERS))}")
    return IMPORTERS[name]


def guess_importer(path: Path) -> str:
    """Name of the importer that knows the layout of a folder or file.

    Raises:
        InputFileError: there is nothing at the path, or nothing of a known layout.
    """
    if not path.exists():
        raise InputFileError(f"nothing at {path}; expected a folder of an extractor's output or an interaction.npz")
    if path.suffix == ".npz" or (path / "interaction.npz").is_file():
        return "interaction"
    if (path / "hand_pose").is_dir() and (path / "object_pose").is_dir():
        return "dexmv"
    raise InputFileError(
        f"{path} has no known layout; expected hand_pose/ and object_pose/ (dexmv) or interaction.npz (interaction);"
        f" name the importer to see what it misses: {', '.join(sorted(IMPORTERS))}"
    )
