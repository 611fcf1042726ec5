"""Many jobs at once: each costs itself alone, nothing is lost, made twice or half-written, whatever becomes of workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from demos.scale import Job, ScaleOptions, run_jobs
from demos.scale.attempt import UNFINISHED, attempt
from demos.scale.job import RECORD_NAME, content_hash
from demos.scale.processes import ProcessEngine
from dexvid_envs.errors import DexVidError, OptionError

TWO = ScaleOptions(workers=2, job_memory_gb=0.0)


def text_job(folder: Path, name: str, text: str, function: str = "copy", **settings: object) -> Job:
    path = folder / f"{name}.txt"
    path.write_text(text)
    return Job(name, f"scale_jobs:{function}", {"text": path}, settings)


def results(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if path.is_dir())


def test_a_bad_job_costs_itself_alone(tmp_path: Path) -> None:
    jobs = [
        text_job(tmp_path, "good", "good"),
        Job("refused", "scale_jobs:refuse"),
        Job("defect", "scale_jobs:crash"),
        Job("empty", "scale_jobs:make_nothing"),
        Job("unknown", "scale_jobs:nobody_wrote_it"),
        text_job(tmp_path, "fine", "fine", times=2),
    ]
    told: list[tuple[float, str]] = []
    summary = run_jobs(jobs, tmp_path / "out", TWO, report=lambda share, state: told.append((share, state)))
    assert summary.made == {"good": {"length": 4}, "fine": {"length": 8}}
    assert results(tmp_path / "out") == ["fine", "good"]
    assert summary.failed["refused"].attempts == 1  # it would end alike every time
    assert summary.failed["refused"].reason == "this one is no good"
    assert summary.failed["defect"].attempts == 1 + TWO.retries
    assert summary.failed["defect"].reason == "ZeroDivisionError: a defect"
    assert "made no folder" in summary.failed["empty"].reason
    assert "nobody_wrote_it" in summary.failed["unknown"].reason
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert sorted(written["failed"]) == ["defect", "empty", "refused", "unknown"]
    assert told[-1] == (1.0, "2 made, 0 kept, 4 failed, 0 in work")


@pytest.mark.parametrize(("deaths", "made"), [(1, True), (9, False)], ids=["once", "always"])
def test_a_killed_worker_costs_an_attempt(tmp_path: Path, deaths: int, made: bool) -> None:
    (tmp_path / "marks").mkdir()
    dying = Job("dying", "scale_jobs:die", {}, {"marks": str(tmp_path / "marks"), "deaths": deaths})
    summary = run_jobs([dying, text_job(tmp_path, "other", "fine")], tmp_path / "out", TWO)
    assert "other" in summary.made
    assert ("dying" in summary.made) == made
    assert summary.retried == (1 if made else TWO.retries)
    if made:
        assert [path.name for path in (tmp_path / "out" / "dying").iterdir() if path.suffix == ".txt"] == ["whole.txt"]
    else:
        assert summary.failed["dying"].attempts == 1 + TWO.retries
        assert "SIGKILL" in summary.failed["dying"].reason
        assert results(tmp_path / "out") == ["other"]


def test_a_worker_killed_from_outside_loses_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    jobs = [Job(f"clip{n}", "scale_jobs:sleep", {}, {"seconds": 0.2, "log": str(log)}) for n in range(8)]
    killed: list[int] = []

    def kill() -> None:
        begun = Path(f"{log}.begun")
        while not (begun.is_file() and begun.read_text().count("\n") >= 3):
            time.sleep(0.01)
        killed.append(int(begun.read_text().splitlines()[-1].split()[1]))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = run_jobs(jobs, tmp_path / "out", TWO)
    killer.join()
    assert summary.retried == 1
    assert sorted(summary.made) == results(tmp_path / "out") == [job.name for job in jobs]
    ended = [line.split()[0] for line in log.read_text().splitlines()]
    assert sorted(ended) == sorted(set(ended))  # none twice


def test_a_job_that_hangs_is_given_up(tmp_path: Path) -> None:
    options = ScaleOptions(workers=1, retries=0, job_memory_gb=0.0, job_limit_s=1.0)
    jobs = [Job("hangs", "scale_jobs:sleep", {}, {"seconds": 600.0}), text_job(tmp_path, "other", "fine")]
    summary = run_jobs(jobs, tmp_path / "out", options)
    assert "--job-limit-s" in summary.failed["hangs"].reason
    assert list(summary.made) == ["other"]


def test_what_is_done_is_not_done_again_unless_it_changed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    jobs = [text_job(tmp_path, name, name) for name in ("a", "b", "c")]
    assert list(run_jobs(jobs[:2], out, TWO).made) != []
    before = (out / "a" / "text.txt").stat()
    summary = run_jobs(jobs, out, TWO)
    assert (sorted(summary.kept), list(summary.made)) == (["a", "b"], ["c"])
    assert summary.figures()["a"] == {"length": 1}
    assert (out / "a" / "text.txt").stat().st_mtime_ns == before.st_mtime_ns
    jobs[0] = text_job(tmp_path, "a", "other content")
    jobs[1] = text_job(tmp_path, "b", "b", times=3)
    summary = run_jobs(jobs, out, TWO)
    assert (sorted(summary.made), list(summary.kept)) == (["a", "b"], ["c"])
    assert [(out / name / "text.txt").read_text() for name in "abc"] == ["other content", "bbb", "c"]


def test_what_another_version_made_is_made_again(tmp_path: Path) -> None:
    out, jobs = tmp_path / "out", [text_job(tmp_path, name, name) for name in ("a", "b")]
    run_jobs(jobs, out, TWO)
    record = json.loads((out / "a" / RECORD_NAME).read_text())
    record["identity"]["version"] = "0.0.1"
    (out / "a" / RECORD_NAME).write_text(json.dumps(record))
    summary = run_jobs(jobs, out, TWO)
    assert (list(summary.made), list(summary.kept)) == (["a"], ["b"])


def test_where_an_input_lies_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    run_jobs([text_job(tmp_path, "a", "same")], tmp_path / "out", TWO)
    assert list(run_jobs([text_job(tmp_path / "elsewhere", "a", "same")], tmp_path / "out", TWO).kept) == ["a"]


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """Its workers end with it, and what they were at is neither half there nor in the way."""
    log, out = tmp_path / "log", tmp_path / "out"
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from demos.scale import Job, ScaleOptions, run_jobs\n"
        "if __name__ == '__main__':\n"
        f"    jobs = [Job(f'clip{{n}}', 'scale_jobs:sleep', {{}}, {{'seconds': 0.5, 'log': {str(log)!r}}}) for n in range(6)]\n"
        f"    run_jobs(jobs, Path({str(out)!r}), ScaleOptions(workers=2, job_memory_gb=0.0))\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    process = subprocess.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": paths})
    while not (log.is_file() and log.read_text().count("\n") >= 2):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    workers = {int(line.split()[1]) for line in Path(f"{log}.begun").read_text().splitlines()}
    wait_until_gone(workers)
    first = set(results(out)) - {UNFINISHED}
    assert all((out / name / "job.json").is_file() for name in first)
    jobs = [Job(f"clip{n}", "scale_jobs:sleep", {}, {"seconds": 0.5, "log": str(log)}) for n in range(6)]
    summary = run_jobs(jobs, out, TWO)
    assert set(summary.kept) == first
    assert results(out) == [job.name for job in jobs]


def wait_until_gone(processes: set[int], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < end, "a worker outlived its run"
        time.sleep(0.05)


def test_two_runs_never_write_one_folder(tmp_path: Path) -> None:
    jobs, refused = [text_job(tmp_path, name, name) for name in "ab"], []

    def meanwhile(share: float, state: str) -> None:
        if not refused:
            with pytest.raises(OptionError, match="is being written by another process; wait"):
                run_jobs(jobs, tmp_path / "out", TWO)
            refused.append(state)

    assert len(run_jobs(jobs, tmp_path / "out", TWO, report=meanwhile).made) == 2
    assert refused


def test_of_two_attempts_at_once_one_result_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a node is believed dead and is not."""
    monkeypatch.setattr("demos.scale.attempt.one_thread", lambda: None)  # this process goes on with other tests
    job = Job("clip", "scale_jobs:sleep", {}, {"seconds": 0.3})
    ended: list[str] = []
    threads = [threading.Thread(target=lambda: ended.append(attempt(job, tmp_path, 60.0).status)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["kept", "made"]
    assert results(tmp_path) == [UNFINISHED, "clip"]
    assert list((tmp_path / UNFINISHED).iterdir()) == []


def test_what_others_made_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "mine.txt").write_text("mine")
    summary = run_jobs([text_job(tmp_path, "a", "a")], tmp_path / "out", TWO)
    assert "move it away" in summary.failed["a"].reason
    assert (tmp_path / "out" / "a" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(("function", "message"), [("want_package", "not installed"), ("full_disk", "no room left")])
def test_what_no_job_can_do_without_ends_the_run(tmp_path: Path, function: str, message: str) -> None:
    jobs = [Job(f"clip{n}", f"scale_jobs:{function}") for n in range(5)]
    with pytest.raises(DexVidError, match=message):
        run_jobs(jobs, tmp_path / "out", TWO)
    assert results(tmp_path / "out") == []


def test_a_job_begins_only_when_there_is_memory_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [8e9]
    monkeypatch.setattr("demos.scale.processes.free_memory_bytes", lambda: free[0])
    engine = ProcessEngine(tmp_path, ScaleOptions(workers=4, job_memory_gb=2.0))
    try:
        engine.start(Job("first", "scale_jobs:sleep", {}, {"seconds": 600.0}))
        assert engine.has_room()
        free[0] = 1e9
        assert not engine.has_room()
    finally:
        engine.close()
    assert ProcessEngine(tmp_path, ScaleOptions(workers=4, job_memory_gb=2.0)).has_room()  # one at a time always


def test_workers_use_one_thread(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')
    summary = run_jobs([Job("count", "scale_jobs:count_threads")], tmp_path / "out", TWO)
    assert summary.figures()["count"] == {"most": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ScaleOptions(workers=0), "--workers is 0, expected at least 1"),
        (ScaleOptions(retries=-1), "--retries is -1, expected at least 0"),
        (ScaleOptions(job_limit_s=0.0), "--job-limit-s is 0.0, expected more than 0"),
    ],
    ids=["workers", "retries", "limit"],
)
def test_options_that_do_not_fit(tmp_path: Path, options: ScaleOptions, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        run_jobs([], tmp_path / "out", options)


def test_jobs_have_names_of_folders_and_settings_that_can_be_written(tmp_path: Path) -> None:
    for name in ("", ".hidden", "a/b", ".."):
        with pytest.raises(OptionError, match="expected the name of a folder"):
            Job(name, "scale_jobs:copy")
    with pytest.raises(OptionError, match="not all JSON values"):
        Job("a", "scale_jobs:copy", {}, {"path": tmp_path})
    with pytest.raises(OptionError, match="several jobs are named a"):
        run_jobs([Job("a", "scale_jobs:copy")] * 2, tmp_path / "out", TWO)


def test_the_hash_of_a_folder_is_of_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, files: Sequence[tuple[str, str]]) -> Path:
        for file, text in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / name

    one = folder("one", [("a", "1"), ("b/c", "2")])
    assert content_hash(one) == content_hash(folder("same", [("b/c", "2"), ("a", "1"), (".hidden", "3"), ("job.json", "4")]))
    assert content_hash(one) != content_hash(folder("renamed", [("a", "1"), ("b/d", "2")]))
    assert content_hash(one) != content_hash(folder("changed", [("a", "1"), ("b/c", "3")]))
