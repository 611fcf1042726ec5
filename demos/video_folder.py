"""A folder of videos, and what is known beside each.

VIDEOS/NAME/video.mp4            or VIDEOS/NAME.mp4
VIDEOS/NAME/cam_K.txt            the camera matrix, where it is known
VIDEOS/NAME/object_point.txt     a pixel (x y) on the object in the first picture, where somebody has clicked on it
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from pathlib import Path

from demos.number_file import read_matrix
from dexvid_envs.errors import OptionError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")
CAMERA_FILE, CLICK_FILE = "cam_K.txt", "object_point.txt"


def find_videos(folder: Path) -> dict[str, Path]:
    """The videos of a folder and of its folders, by name; hidden ones are left out.

    Raises:
        OptionError: there are none.
    """
    files = (*folder.glob("*"), *folder.glob("*/video.*"))
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    shown = [path for path in videos if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not shown:
        raise OptionError(
            f"no videos in {folder}; expected NAME.mp4 or NAME/video.mp4 there (another extractor's output needs --importer)"
        )
    return name_videos(shown)


def name_videos(videos: Iterable[Path]) -> dict[str, Path]:
    """Videos by name: the file's, or its folder's where it is called video; with the suffix where two would be alike.

    Raises:
        OptionError: two are alike all the same.
    """
    paths = sorted(set(videos))
    count = collections.Counter(_name(path) for path in paths)
    named: dict[str, Path] = {}
    for path in paths:
        name = _name(path)
        name = name if count[name] == 1 else f"{name}{path.suffix}"
        if name in named:
            raise OptionError(f"{named[name]} and {path} would both be called {name}; rename one, so that neither is lost")
        named[name] = path
    return dict(sorted(named.items()))


def _name(path: Path) -> str:
    return path.absolute().parent.name if path.stem == "video" and path.suffix else path.stem


def known_files(video: Path) -> dict[str, Path]:
    """Files beside a video in a folder of its own: `camera_matrix` and `object_point`, as far as they are there."""
    if video.stem != "video":
        return {}
    beside = {"camera_matrix": video.parent / CAMERA_FILE, "object_point": video.parent / CLICK_FILE}
    return {name: path for name, path in beside.items() if path.is_file()}


def read_click(path: Path) -> tuple[float, float]:
    """The pixel (x, y) in a file.

    Raises:
        InputFileError: it holds something else.
    """
    x, y = read_matrix(path, (1, 2), "a pixel on the object")[0]
    return float(x), float(y)
