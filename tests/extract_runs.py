"""What the tests of `dexvid extract` share: the command in its quick form, and readers of what it leaves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np

from dexvid_envs.cli import main


def ffmpeg(*arguments: str) -> None:
    """Runs the program that reads the videos."""
    import imageio_ffmpeg

    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *arguments], check=True)


def quick(video: Path, out: Path, *options: str) -> int:
    """The command without pictures for people."""
    return main(["extract", str(video), "--out", str(out), "--no-overlay", "--no-report", *options])


def quality_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "quality.json").read_text())


def failed(out: Path) -> dict[str, list[int]]:
    """Names and frames of the gates that failed."""
    return {gate["name"]: gate["frames"] for gate in quality_of(out)["gates"] if not gate["ok"]}


def expect_one_message(error: str, message: str) -> None:
    assert error.count("error: ") == 1
    assert message in " ".join(error.split())
    assert "Traceback" not in error


def keypoint_px(out: Path, name: str) -> np.ndarray:
    """A named key point (T, 2) px of the film."""
    with np.load(out / "tracks.npz") as tracks:
        return tracks["keypoint_image"][:, list(tracks["keypoint_names"]).index(name)]


def write_pictures(folder: Path, pictures: list[np.ndarray]) -> Path:
    folder.mkdir()
    for number, picture in enumerate(pictures):
        imageio.imwrite(folder / f"{number:05d}.png", picture)
    return folder


def assert_same_interaction(out: Path, other: Path) -> None:
    """All arrays are equal bit for bit."""
    with np.load(out / "interaction.npz") as a, np.load(other / "interaction.npz") as b:
        assert sorted(a.files) == sorted(b.files)
        for name in a.files:
            assert a[name].tobytes() == b[name].tobytes(), name
