"""Where `dexvid extract` writes, and what is left when it is interrupted: nothing lost, nothing half-written."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from extract_runs import assert_same_interaction, expect_one_message, quick
from made_up_film import FRAMES, MarkedHands

from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract
from demos.extract.work_folder import OUTPUT_FILES
from demos.video import FrameCache
from dexvid_envs.cli import main
from dexvid_envs.errors import OptionError
from dexvid_envs.files import write_alone

pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')


# where it is written


def test_out_must_not_be_a_file(films: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "out").write_text("mine")
    assert quick(films(), tmp_path / "out") == 2
    expect_one_message(capfd.readouterr().err, "is a file, expected a folder")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("out", [".", "/", "..", "videos"])
def test_a_folder_with_other_files_is_not_replaced(
    films: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "mine.mp4").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert quick(films(), Path(out)) == 2
    expect_one_message(capfd.readouterr().err, "replaced as a whole")
    assert (tmp_path / "videos" / "mine.mp4").read_text() == "mine"


def test_a_folder_that_cannot_be_written(films: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file" / "out", Path("/proc/out")):
        assert quick(films(), out) == 2
        expect_one_message(capfd.readouterr().err, "cannot be written")
    assert quick(films(), tmp_path / "out", "--keep-work", str(tmp_path / "file")) == 2
    expect_one_message(capfd.readouterr().err, "cannot be made")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def break_off(patch: pytest.MonkeyPatch, error: BaseException) -> None:
    """The next extraction ends with `error` at its 20th picture."""
    append = FrameCache.append

    def append_some(self: FrameCache, rgb: np.ndarray) -> None:
        if len(self) == 20:
            raise error
        append(self, rgb)

    patch.setattr(FrameCache, "append", append_some)


def test_a_full_disk_is_told_and_what_is_done_is_kept(
    films: Callable[..., Path],
    unbroken: Path,
    tmp_path: Path,
    marked: type[MarkedHands],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        break_off(patch, OSError(errno.ENOSPC, "No space left on device"))
        assert quick(films(), tmp_path / "out") == 2
    expect_one_message(capfd.readouterr().err, "the disk is full")
    before, marked.asked = marked.asked, 0
    assert quick(films(), tmp_path / "out") == 0
    assert before >= 20
    assert marked.asked < FRAMES  # the first 20 frames were not asked about again
    assert_same_interaction(tmp_path / "out", unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_runs_never_write_one_output(
    films: Callable[..., Path], unbroken: Path, tmp_path: Path, marked: type, capfd: pytest.CaptureFixture
) -> None:
    codes: list[int] = []

    def meanwhile(stage: str, done: int, total: int) -> None:
        if done == 5 and not codes:
            codes.append(quick(films(other_hand=True), tmp_path / "out"))

    extract(ExtractConfig(films(), tmp_path / "out", overlay=False, report=False), meanwhile)
    assert codes == [2]
    expect_one_message(capfd.readouterr().err, "is being written by another process")
    assert_same_interaction(tmp_path / "out", unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_runs_never_share_kept_work(films: Callable[..., Path], tmp_path: Path, marked: type) -> None:
    work, errors = tmp_path / "work", []

    def meanwhile(stage: str, done: int, total: int) -> None:
        if done == 5 and not errors:
            with pytest.raises(OptionError, match="is being written by another") as caught:
                extract(ExtractConfig(films(), tmp_path / "other", keep_work=work))
            errors.append(caught)

    extract(ExtractConfig(films(), tmp_path / "out", keep_work=work, overlay=False, report=False), meanwhile)
    assert errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "work"]


def test_what_a_killed_run_left_is_put_in_order(tmp_path: Path) -> None:
    (tmp_path / ".out-0123abcd").mkdir()
    (tmp_path / ".out-0123abcd" / "quality.json").write_text("{")
    (tmp_path / ".out-0123abcd-previous").mkdir()
    (tmp_path / ".out-0123abcd-previous" / "quality.json").write_text("{}")
    (tmp_path / ".out-mine").mkdir()
    with write_alone(tmp_path / "out"):
        assert (tmp_path / "out" / "quality.json").read_text() == "{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out-mine", "out"]


# interrupted and repeated


@pytest.mark.parametrize(
    ("stage", "done", "asked_again"),
    [("finding the hand", 20, True), ("following object", 30, False), ("naming key points", 10, False)],
)
def test_an_interrupted_run_goes_on_where_it_was(
    films: Callable[..., Path],
    unbroken: Path,
    tmp_path: Path,
    marked: type[MarkedHands],
    stage: str,
    done: int,
    asked_again: bool,
) -> None:
    def stop(name: str, step: int, total: int) -> None:
        if (name, step) == (stage, done):
            raise KeyboardInterrupt

    config = ExtractConfig(films(), tmp_path / "out", overlay=False, report=False)
    with pytest.raises(KeyboardInterrupt):
        extract(config, stop)
    assert not (tmp_path / "out").exists()
    before, marked.asked = marked.asked, 0
    extract(config)
    assert (marked.asked > 0) == asked_again
    assert before + marked.asked <= FRAMES * 1.5 + 5  # no frame was asked about twice
    assert_same_interaction(tmp_path / "out", unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_says_that_it_can_go_on(
    films: Callable[..., Path],
    unbroken: Path,
    tmp_path: Path,
    marked: type[MarkedHands],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        break_off(patch, KeyboardInterrupt())
        assert quick(films(), tmp_path / "out") == 130
    error = " ".join(capfd.readouterr().err.split())
    assert "stopped; the same command goes on where it was" in error
    assert "Traceback" not in error
    assert quick(films(), tmp_path / "out") == 0
    assert_same_interaction(tmp_path / "out", unbroken)


_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import made_up_film
import demos.extract.sight
from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract
from pathlib import Path
demos.extract.sight.MediaPipeHands = made_up_film.MarkedHands
def stop(name, done, total):
    if (name, done) == (sys.argv[4], 15):
        os.kill(os.getpid(), signal.SIGKILL)
extract(ExtractConfig(Path(sys.argv[2]), Path(sys.argv[3])), stop)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_process_leaves_nothing_behind_for_long(
    films: Callable[..., Path], unbroken: Path, tmp_path: Path, marked: type[MarkedHands]
) -> None:
    out = tmp_path / "out"
    for stage in ("finding the hand", "drawing the overlay"):
        command = [sys.executable, "-c", _KILLED, str(Path(__file__).parent), str(films()), str(out), stage]
        assert subprocess.run(command, cwd=Path(__file__).parents[1], check=False).returncode == -signal.SIGKILL
        assert not out.exists()
    assert main(["extract", str(films()), "--out", str(out)]) == 0
    assert marked.asked == 0
    assert tuple(sorted(path.name for path in out.iterdir())) == OUTPUT_FILES
    assert_same_interaction(out, unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_run_leaves_an_older_result_alone(
    films: Callable[..., Path], unbroken: Path, tmp_path: Path, marked: type
) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(films().read_bytes()[: films().stat().st_size // 2])
    assert quick(films(), tmp_path / "out") == 0
    assert quick(cut, tmp_path / "out") == 2
    assert_same_interaction(tmp_path / "out", unbroken)


def test_kept_work_is_not_believed_after_another_video_or_setting(
    films: Callable[..., Path], unbroken: Path, tmp_path: Path, marked: type[MarkedHands]
) -> None:
    work = ("--keep-work", str(tmp_path / "work"))

    def stop(name: str, step: int, total: int) -> None:
        if name == "finding the hand" and step == 20:
            raise KeyboardInterrupt

    assert quick(films(), tmp_path / "out", *work) == 0
    with pytest.raises(KeyboardInterrupt):
        extract(ExtractConfig(films(leaves=True), tmp_path / "other", keep_work=tmp_path / "work"), stop)
    assert quick(films(), tmp_path / "out", *work) == 0  # its pictures were overwritten meanwhile
    assert_same_interaction(tmp_path / "out", unbroken)
    marked.asked = 0
    assert quick(films(), tmp_path / "out", *work) == 0
    assert marked.asked == 0
    assert quick(films(), tmp_path / "out", *work, "--min-confidence", "0.3") == 0
    assert marked.asked >= FRAMES
