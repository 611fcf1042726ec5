"""The benchmark of sample efficiency: runs are kept and gone on with, and its table says what the logs say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from baselines.starting_actor import untrained_actor
from benchmarks.sample_efficiency import (
    PictureArguments,
    RunArguments,
    TableArguments,
    _quick,
    pictures,
    run,
    table,
)
from benchmarks.sample_efficiency_table import VIEW, ArmName, steps_to
from dexvid_envs.errors import InputFileError

TASK = "DexVid-GraspLift-v0"
DEMONSTRATION = Path(__file__).parents[1] / "demos" / "data" / "refined_grasp_lift"


def _log(arm: str, seed: int, *points: tuple[int, float]) -> dict[str, Any]:
    evaluations = [{"steps": steps, "success": success, "episodes": 50, "per_object": {}} for steps, success in points]
    return {"arm": arm, "task": TASK, "seed": seed, "steps": points[-1][0], "evaluations": evaluations}


def _write(folder: Path, logs: list[dict[str, Any]]) -> None:
    for log in logs:
        run_folder = folder / "GraspLift" / log["arm"] / str(log["seed"])
        run_folder.mkdir(parents=True)
        (run_folder / "log.json").write_text(json.dumps(log))


def test_steps_to_a_success_lie_between_the_evaluations() -> None:
    log = _log("scratch", 0, (0, 0.0), (100, 0.4), (200, 0.6), (300, 0.5))
    assert steps_to(log, 0.5) == pytest.approx(150.0)
    assert steps_to(log, 0.4) == 100.0
    assert steps_to(log, 0.9) == float("inf")
    assert steps_to(_log("pretrained", 0, (0, 0.7), (100, 0.9)), 0.5) == 0.0


def test_the_table_is_made_from_the_logs_alone(tmp_path: Path) -> None:
    logs = [
        *[_log("scratch", seed, (0, 0.0), (1000, 0.1)) for seed in range(3)],
        *[_log("pretrained", seed, (0, 0.0), (400, 0.8), (1000, 0.9)) for seed in range(3)],
        _log("demonstrations", 0, (0, 0.5), (1000, 0.95)),
    ]
    _write(tmp_path, logs)
    table(TableArguments(work=tmp_path, out=tmp_path / "out.json"))
    content = json.loads((tmp_path / "out.json").read_text())
    assert [(row["arm"], row["seeds"]) for row in content["rows"]] == [("scratch", 3), ("pretrained", 3), ("demonstrations", 1)]
    assert content["rows"][0]["steps to 50 %"] == "never never never"
    assert {check["value"]: check["ok"] for check in content["checks"]} == {0.0: True, 0.95: True}
    assert (tmp_path / "out.png").stat().st_size > 5000


def test_success_in_what_training_did_not_show_has_its_columns(tmp_path: Path) -> None:
    harder = _log("demonstrations", 0, (0, 0.5), (1000, 0.95)) | {"harder": {"disturbed": 0.8, "unseen objects": 0.4}}
    _write(tmp_path, [harder, _log("demonstrations", 1, (0, 0.5), (1000, 0.95))])  # the second is of an earlier benchmark
    table(TableArguments(work=tmp_path, out=tmp_path / "out.json"))
    content = json.loads((tmp_path / "out.json").read_text())
    assert (content["rows"][0]["disturbed"], content["rows"][0]["unseen objects"]) == ("0.80 -", "0.40 -")
    assert {check["target"]: check["ok"] for check in content["checks"]} == {0.9: True, 0.73: True, 0.57: False}


def test_of_two_seeds_the_one_that_speaks_against_pretraining_counts(tmp_path: Path) -> None:
    logs = [
        _log("scratch", 0, (0, 0.0), (1000, 0.1)),
        _log("scratch", 1, (0, 0.0), (400, 0.4), (600, 0.6)),
        _log("pretrained", 0, (0, 0.0), (200, 1.0)),
        _log("pretrained", 1, (0, 0.0), (400, 0.5)),
    ]
    _write(tmp_path, logs)
    table(TableArguments(work=tmp_path, out=tmp_path / "out.json"))
    (check,) = json.loads((tmp_path / "out.json").read_text())["checks"]
    assert check["value"] == pytest.approx(0.8)
    assert not check["ok"]


@pytest.mark.parametrize("arm", ["scratch", "demonstrations"])
def test_a_run_is_trained_once_and_its_log_kept(tmp_path: Path, arm: ArmName) -> None:
    (tmp_path / "multiplied").mkdir()
    (tmp_path / "multiplied" / "GraspLift").symlink_to(DEMONSTRATION)
    arguments = _quick(RunArguments(work=tmp_path, arms=(arm,), demonstrations=tmp_path / "multiplied", quick=True))
    run(arguments)
    path = tmp_path / "GraspLift" / arm / "0" / "log.json"
    log = json.loads(path.read_text())
    assert log["steps"] >= arguments.steps
    assert log["evaluations"][0]["steps"] == 0
    made = path.stat().st_mtime_ns
    run(arguments)
    assert path.stat().st_mtime_ns == made


def test_pictures_show_the_actor_before_and_after(tmp_path: Path) -> None:
    pretrained = tmp_path / "pretrained"
    untrained_actor(TASK, VIEW).save(pretrained)
    with pytest.raises(InputFileError, match="no run of the arm 'pretrained' with seed 0"):
        pictures(PictureArguments(pretrained, work=tmp_path, out=tmp_path / "none.jpg"))
    run(_quick(RunArguments(pretrained=pretrained, work=tmp_path, arms=("pretrained",), quick=True)))
    pictures(PictureArguments(pretrained, work=tmp_path, out=tmp_path / "actors.jpg"))
    with Image.open(tmp_path / "actors.jpg") as shown:
        assert shown.size[0] > 1000
        assert np.asarray(shown).std() > 20
