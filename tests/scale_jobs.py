"""Jobs of the tests of `demos.scale`: cheap, and bad in every way that a job can be. Workers import this file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexvid_envs.errors import DexVidError, InputFileError, MissingExtraError


def copy(out: Path, inputs: Mapping[str, Path], times: int = 1) -> dict[str, Any]:
    """Writes the text of its input so many times."""
    text = inputs["text"].read_text() * times
    out.mkdir()
    (out / "text.txt").write_text(text)
    return {"length": len(text)}


def refuse(out: Path, inputs: Mapping[str, Path]) -> None:
    out.mkdir()
    (out / "half.txt").write_text("half")
    raise InputFileError("this one is no good")


def crash(out: Path, inputs: Mapping[str, Path]) -> None:
    out.mkdir()
    raise ZeroDivisionError("a defect")


def make_nothing(out: Path, inputs: Mapping[str, Path]) -> None: ...


def want_package(out: Path, inputs: Mapping[str, Path]) -> None:
    raise MissingExtraError("mediapipe is not installed")


def die(out: Path, inputs: Mapping[str, Path], marks: str, deaths: int) -> None:
    """Is killed in the midst of it the first times."""
    out.mkdir()
    (out / "half.txt").write_text("half")
    if len(list(Path(marks).iterdir())) < deaths:
        Path(marks, str(time.monotonic_ns())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (out / "half.txt").rename(out / "whole.txt")


def sleep(out: Path, inputs: Mapping[str, Path], seconds: float, log: str = "") -> dict[str, Any]:
    """Takes its time; its end is a line of the log."""
    if log:
        with open(log + ".begun", "a") as file:
            file.write(f"{out.name} {os.getpid()}\n")
    time.sleep(seconds)
    out.mkdir()
    if log:
        with open(log, "a") as file:
            file.write(f"{out.name} {os.getpid()}\n")
    return {"pid": os.getpid()}


def count_threads(out: Path, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """How many threads the libraries would use."""
    import cv2
    import torch
    from threadpoolctl import threadpool_info

    out.mkdir()
    pools = [pool["num_threads"] for pool in threadpool_info()]
    return {"most": max([torch.get_num_threads(), cv2.getNumThreads(), *pools])}


def extract_marked(out: Path, inputs: Mapping[str, Path], **settings: Any) -> dict[str, Any]:
    """The extraction's job with the detector of the made-up films."""
    from made_up_film import MarkedHands

    import demos.extract.sight
    from demos.extract.many import extract_job

    demos.extract.sight.MediaPipeHands = MarkedHands  # pyright: ignore[reportAttributeAccessIssue]
    return extract_job(out, inputs, **settings)


def full_disk(out: Path, inputs: Mapping[str, Path]) -> None:
    raise DexVidError("cannot be written") from OSError(28, "No space left on device")
