"""The benchmark of the refinement: rows of earlier commits, and shares that do not mix what is given."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import refinement
from benchmarks.refinement import Source, checks, completed
from demos.dataset import read_dataset, write_dataset
from demos.source import shipped_demonstration, shipped_sample

#: As it was kept before the columns `given`, `video_path_mm` and `cpu_seconds`.
OLD: dict[str, Any] = {
    "clip": "shipped sample",
    "source": "truth of its own",
    "task": "place",
    "failed": "",
    "gates": "passed",
    "object": "pet",
    "hold": "usual",
    "success": True,
    "open_loop_success": False,
    "tracking_mm": 1.8,
    "end_mm": 1.6,
    "grip_n": 51.1,
    "grip_over_weight": 13.7,
    "robustness": 1.0,
    "moved_copies": 1.0,
    "seconds": 137.0,
    "two_core_seconds": 27.0,
}
SAMPLE = Source("shipped sample", "truth of its own", shipped_sample(), "place")


def test_a_kept_row_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    write_dataset(tmp_path / "kept", read_dataset(shipped_demonstration()))
    row = completed(OLD, SAMPLE, tmp_path / "kept")
    assert (row["given"], row["gates"], row["cpu_seconds"]) == ("truth", "none (truth)", 54.0)
    assert 0.0 < row["video_path_mm"] < 15.0
    assert {name: value for name, value in row.items() if name in OLD} == OLD | {"gates": "none (truth)"}
    assert completed(row, SAMPLE, tmp_path / "gone") == row
    assert completed(OLD, SAMPLE, tmp_path / "gone")["video_path_mm"] is None
    failed = {name: OLD[name] for name in ("clip", "source", "task", "gates")} | {"failed": "no touch", "success": False}
    assert completed(failed, SAMPLE, tmp_path / "gone") == failed | {"given": "truth", "gates": "none (truth)"}


def test_what_was_given_is_told_by_where_it_lies(tmp_path: Path) -> None:
    extraction = tmp_path / "depth" / "evaluation-00001-place"
    extraction.mkdir(parents=True)
    assert Source("clip", "extraction depth", extraction, "place").given == "depth"
    assert Source("clip", "extraction depth", extraction, "place").gates == "passed"
    assert Source("clip", "extraction until highest", extraction, "lift").given == "depth"
    assert Source("mustard", "recording", tmp_path, None).gates == "none (recording)"
    assert Source("clip", "truth", tmp_path, "throw").gates == "none (truth)"
    gate = {"name": "hand_known", "value": 0.1, "limit": 0.8, "ok": False, "frames": [], "advice": ""}
    (extraction / "quality.json").write_text(json.dumps({"gates": [gate]}))
    stored = OLD | {"gates": "not passed"}  # as it was when the row was made
    assert completed(stored, Source("clip", "extraction depth", extraction, "place"), tmp_path)["gates"] == "not passed"


def test_shares_do_not_mix_truth_recordings_and_extractions() -> None:
    new = OLD | {"cpu_seconds": 54.0}
    rows = [
        new | {"given": "truth", "gates": "none (truth)"},
        new | {"given": "recording", "gates": "none (recording)", "success": False},
        new | {"given": "depth", "tracking_mm": 15.1},
        new | {"given": "depth", "seconds": 190.0, "cpu_seconds": 181.0},
        new | {"given": "depth", "seconds": 100.0, "cpu_seconds": 199.0},
        new | {"given": "depth", "gates": "not passed", "success": False},
        new | {"given": "rgb_known_length"},
    ]
    made = {check.name.split(":")[0]: check for check in checks(rows)}
    shares = {name: check.value for name, check in made.items() if name.startswith("place")}
    assert shares == {
        "place, exact truth": 1.0,
        "place, recording": 0.0,
        "place, extraction given depth": 2 / 3,
        "place, extraction given rgb_known_length": 1.0,
    }
    (time,) = (check for check in made.values() if "two free cores" in check.name)
    assert (time.value, time.target, time.to_json()["ok"]) == (181.0, 180.0, False)


def test_the_command_goes_on_from_kept_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "shipped sample truth of its own quick"
    write_dataset(tmp_path / name, read_dataset(shipped_demonstration()))
    (tmp_path / f"{name}.json").write_text(json.dumps(OLD))
    monkeypatch.setattr(sys, "argv", ["refinement", "--runs", str(tmp_path), "--quick"])
    assert refinement.main() == 0
    assert "none (truth)" in capsys.readouterr().out
    assert json.loads((tmp_path / f"{name}.json").read_text()) == OLD
    (row,) = json.loads((tmp_path / "refinement.json").read_text())["rows"]
    assert row["video_path_mm"] > 0.0
