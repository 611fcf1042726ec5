"""Importers read what other extractors wrote; here they are found by name or by a folder's layout.

Some layouts hold a whole `Interaction`. Others hold a part of one, such as a hand alone: their readers stand in the modules
named below, and `combined` joins a hand of one system with an object of another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from demos.interaction import Interaction
from dexvid_envs.errors import InputFileError, OptionError


@dataclasses.dataclass(frozen=True)
class Importer:
    """One foreign layout.

    Attributes:
        name: as in `--importer NAME`.
        provides: what it holds, in words.
        reader: where the function or functions are that read it from Python.
        load: reads a whole interaction; None where the layout holds only a part.
        missing: what else an interaction needs, where `load` is None.
    """

    name: str
    provides: str
    reader: str
    load: Callable[[Path], Interaction] | None = None
    missing: str = ""

    def __call__(self, path: Path) -> Interaction:
        """Reads an interaction.

        Raises:
            OptionError: the layout holds only a part of one.
            InputFileError: the files are missing or damaged.
        """
        if self.load is None:
            raise OptionError(
                f"{self.name} gives {self.provides} only, and {self.missing} is needed as well: put both into one folder with"
                " an import.json and use --importer combined (demos/importers/combined.py shows one), or call"
                f" demos.importers.{self.reader}"
            )
        return self.load(path)


def import_interaction(path: Path) -> Interaction:
    """Reads an interaction of our own: the `.npz` file, or a folder that holds `interaction.npz`."""
    return Interaction.load(path / "interaction.npz" if path.is_dir() else path)


# each imports its module when it is used: they bring trimesh, scipy or Pillow, which the others do not need
def _import_dexmv(folder: Path) -> Interaction:
    from demos.importers.dexmv import load_dexmv

    return load_dexmv(folder)


def _import_combined(path: Path) -> Interaction:
    from demos.importers.combined import load_combined

    return load_combined(path)


def _import_hold(path: Path) -> Interaction:
    from demos.importers.hold import load_hold

    return load_hold(path)


def _import_spider(path: Path) -> Interaction:
    from demos.importers.spider import load_spider

    return load_spider(path)


def _import_synthetic_truth(clip: Path) -> Interaction:
    from demos.importers.synthetic_truth import load_synthetic_truth

    return load_synthetic_truth(clip)


_OBJECT, _HAND = "an object track", "a hand track (hamer or wilor)"
_DEPTH_AND_HAND = f"depth (rgbd) and {_HAND}"
#: The importers by name: whole interactions first, then the parts.
IMPORTERS: dict[str, Importer] = {
    importer.name: importer
    for importer in (
        Importer("dexmv", "hand, object poses and mesh", "dexmv.load_dexmv", _import_dexmv),
        Importer("interaction", "an interaction of our own", "import_interaction", import_interaction),
        Importer("combined", "a hand and an object of two systems", "combined.load_combined", _import_combined),
        Importer("hold", "hand and object poses (with the user's MANO)", "hold.load_hold", _import_hold),
        Importer("spider", "wrist, fingertips and object poses", "spider.load_spider", _import_spider),
        Importer(
            "synthetic-truth", "the truth of a synthetic clip", "synthetic_truth.load_synthetic_truth", _import_synthetic_truth
        ),
        Importer("hamer", "a hand", "hamer.read_hamer", missing=_OBJECT),
        Importer("wilor", "a hand", "wilor.read_wilor", missing=_OBJECT),
        Importer("mcc-ho", "an object's points without correspondence", "mcc_ho.read_mcc_ho", missing=_HAND),
        Importer("shape-of-motion", "3-D tracks and cameras", "shape_of_motion.read_shape_of_motion", missing=_HAND),
        Importer("tapir", "pixel tracks", "tapir.read_tapir", missing=_DEPTH_AND_HAND),
        Importer("cotracker", "pixel tracks", "cotracker.read_cotracker", missing=_DEPTH_AND_HAND),
        Importer("spatialtracker", "3-D tracks", "spatialtracker.read_spatialtracker", missing=_HAND),
        Importer("spatialtracker-v2", "3-D tracks and cameras", "spatialtracker_v2.read_spatialtracker_v2", missing=_HAND),
        Importer("tapvid-3d", "true 3-D tracks", "tapvid3d.read_tapvid3d", missing=_HAND),
        Importer("masks", "object masks", "masks.read_masks", missing=f"{_OBJECT} and {_HAND}"),
        Importer("rgbd", "depth pictures and the camera matrix", "rgbd.read_rgbd", missing=f"{_OBJECT} and {_HAND}"),
    )
}


def find_importer(name: str) -> Importer:
    """The importer of that name.

    Raises:
        OptionError: there is none.
    """
    if name not in IMPORTERS:
        whole = ", ".join(importer.name for importer in IMPORTERS.values() if importer.load is not None)
        part = ", ".join(importer.name for importer in IMPORTERS.values() if importer.load is None)
        raise OptionError(f"no importer {name!r}; expected one of {whole}; or, joined by combined, of {part}")
    return IMPORTERS[name]


def guess_importer(path: Path) -> str:
    """Name of the importer that knows the layout of a folder or file.

    Raises:
        InputFileError: there is nothing at the path, or nothing of a known layout.
    """
    if not path.exists():
        raise InputFileError(f"nothing at {path}; expected a folder of an extractor's output or an interaction.npz")
    if path.is_dir():
        if (path / "interaction.npz").is_file():
            return "interaction"
        if (path / "hand_pose").is_dir() and (path / "object_pose").is_dir():
            return "dexmv"
        if (path / "import.json").is_file():
            return "combined"
        if (path / "data.npy").is_file() or (path / "build" / "data.npy").is_file():
            return "hold"
        if any(path.glob("trajectory*.npz")):
            return "spider"
        if (path / "truth.npz").is_file() and (path / "clip.json").is_file():
            return "synthetic-truth"
    elif path.suffix == ".npz":
        return "spider" if path.name.startswith("trajectory") else "interaction"
    elif path.name == "import.json":
        return "combined"
    raise InputFileError(
        f"{path} has no known layout; expected hand_pose/ and object_pose/ (dexmv), interaction.npz (interaction), import.json"
        " (combined), data.npy (hold), trajectory_keypoints.npz (spider) or truth.npz and clip.json (synthetic-truth);"
        f" name the importer to see what it misses: {', '.join(IMPORTERS)}"
    )
