"""The quick form of the ladder, from a search that is already done, gives a row for every rung."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.single_video_ladder import main
from demos.source import shipped_demonstration


def test_quick_ladder_has_every_rung_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "synthetic"
    for name in ("refined", "open-loop"):
        shutil.copytree(shipped_demonstration(), folder / name)
    (folder / "stages").mkdir()
    (folder / "stages" / "refine.json").write_text(json.dumps({"seconds": 60.0, "result": {"succeeded": True}}))
    words = ["ladder", "--quick", "--work", str(tmp_path), "--rounds", "1", "--observations", "state", "partial"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0
    path = tmp_path / "single_video_ladder.json"
    result = json.loads(path.read_text())
    rungs = [row["rung"] for row in result["rows"]]
    assert [rung.split(": ")[-1] for rung in rungs] == [
        "retargeted, open loop",
        "refined, open loop",
        "clone of the refined one",
        "clone of 12 copies",
        "with corrections, round 1",
        "fine-tuned",
        "the same, pushed",
        "distilled from state",
        "the same, pushed",
    ]
    minutes = [row["minutes"] for row in result["rows"]]
    assert minutes[2] >= 1.0  # the search counts
    assert minutes[3] <= minutes[4] <= minutes[5] <= minutes[7]
    checked = [check["name"] for check in result["checks"]]
    assert sum("accepted share" in name or "without a copy" in name for name in checked) == 2
    assert str(tmp_path) not in path.read_text()
    with Image.open(tmp_path / "single_video_ladder" / "synthetic.jpg") as pictures:
        assert pictures.size[0] > 1000
        assert np.asarray(pictures).std() > 20
    before = {file: file.stat().st_mtime_ns for file in (folder / "stages").iterdir()}
    assert main() == 0  # nothing is made twice
    assert {file: file.stat().st_mtime_ns for file in (folder / "stages").iterdir()} == before
