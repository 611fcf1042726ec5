"""The benchmark of twenty videos: each says how far it came and why not further."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.twenty_videos import Journey, TwentyVideosArguments, tabulate
from demos.extract.gates import read_failed_gates
from demos.synthetic.corpus import write_known

CLIP = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips" / "training-00001-place"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "videos" / CLIP.name
    shutil.copytree(CLIP, folder)
    write_known(folder)
    return folder


def test_an_extraction_is_scored_and_kept(clip: Path, tmp_path: Path) -> None:
    given = TwentyVideosArguments(until="extraction", work=tmp_path)
    row = Journey(clip, given).row()
    assert row["gates"] == ("; ".join(read_failed_gates(tmp_path / "extractions" / clip.name)) or "passed")
    assert row["ended"] == "extraction"
    assert 0.0 < row["position_mm"] < 200.0
    assert 0.0 < row["fingertips_mm"] < 200.0
    assert row["refined"] == row["state"] == row["partial"] == ""
    (clip / "video.mp4").unlink()  # it is not needed again
    assert Journey(clip, given).row() == row


def test_a_video_that_cannot_be_read_says_so(clip: Path, tmp_path: Path) -> None:
    (clip / "video.mp4").write_bytes(b"no film")
    row = Journey(clip, TwentyVideosArguments(work=tmp_path)).row()
    assert row["ended"].startswith("no extraction: ")
    assert "video.mp4" in row["ended"]
    assert row["gates"] == row["refined"] == ""


def test_the_table_counts_videos_that_never_came_so_far(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    ways = (("40% of disturbed", "95.0%", "91.0%"), ("90% of disturbed", "96.0%", "80.0%"), ("no", "", ""), ("", "", ""))
    for number, (refined, state, partial) in enumerate(ways):
        row = {"commit": "0123456789", "video": f"{number}", "refined": refined, "state": state, "partial": partial}
        (logs / f"{number}.json").write_text(json.dumps(row))
    out = tmp_path / "result.json"
    tabulate(logs, TwentyVideosArguments(out=out))
    checks = {check["name"]: check["value"] for check in json.loads(out.read_text())["checks"]}
    assert checks == {
        "videos": 4,
        "share of them with a motion that succeeds": 0.5,
        "share of them with a policy of 90 % or more, state": 0.5,
        "share of them with a policy of 90 % or more, partial": 0.25,
    }
