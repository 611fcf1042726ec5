"""The soak's short form finds nothing, goes on where it stopped, and would find something."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import soak
from benchmarks.soak import Configuration, Findings, environment_sources, full_plan, quick_plan, run


def test_short_soak_finds_nothing_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "soak.json"
    plan = quick_plan()
    run(path, plan)
    content = json.loads(path.read_text())
    assert [check["name"] for check in content["checks"] if not check["ok"]] == []
    assert {row["steps"] for row in content["rows"]} == {100}
    assert content["config"]["sources"] == environment_sources()

    kept = content["rows"][:3]
    kept[0]["steps/s"] = -1  # told apart from a row that was made again
    path.write_text(json.dumps(content | {"rows": kept}))
    run(path, plan)
    assert [row["steps/s"] < 0 for row in json.loads(path.read_text())["rows"]] == [True, False, False, False]
    log = path.with_suffix(".log").read_text()
    assert "0 of 4 configurations are done" in log
    assert "3 of 4 configurations are done" in log
    assert not path.with_name("soak-states").exists()


def test_rows_of_other_sources_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "soak.json"
    path.write_text(json.dumps({"config": {"sources": "other"}, "rows": [{"steps": 1}]}))
    assert soak.finished_rows(path, {"sources": "these"}) == []
    assert soak.finished_rows(path, {"sources": "other"}) == [{"steps": 1}]


def test_full_plan_is_large_enough() -> None:
    plan = full_plan()
    total = {name: sum(one.total_steps for one in plan if one.observation == name) for name in soak.OBSERVATIONS}
    assert total["state"] + total["points"] + total["partial points"] >= 1_000_000
    assert total["key points"] >= 100_000
    assert total["rgbd"] >= 10_000
    blind = [one for one in plan if one.observation != "rgbd"]
    assert len({str(one) for one in plan}) == len({one.seed for one in plan}) == len(plan)
    assert {(one.control, one.observation, one.randomization) for one in blind} == {
        (control, observation, randomization)
        for control in ("joint_delta", "joint_target", "wrist_delta")
        for observation in ("state", "points", "partial points", "key points")
        for randomization in ("none", "full")
    }


def test_an_instability_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the engine writes its warnings into a file of the working directory
    configuration = Configuration("DexVid-OpenCabinet-v0", "joint_delta", "state", "none", num_envs=3, steps=4, seed=0)
    env = configuration.make(tmp_path / "states")
    env.reset(seed=0)
    env.simulation.qvel[1] = np.nan
    observations, _, _, _, infos = env.step(np.zeros((3, 23)))
    findings = Findings()
    soak._examine(env, observations, infos, findings)
    soak._look_at_engine(env, np.arange(3), findings)
    assert findings.unstable == 1
    assert findings.mujoco_warnings > 0
    assert len(list((tmp_path / "states").iterdir())) == 1


def test_a_warning_of_python_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "_examine", lambda *_: np.log(np.zeros(1)))
    configuration = Configuration("DexVid-OpenCabinet-v0", "joint_delta", "state", "none", num_envs=1, steps=4, seed=0)
    path = tmp_path / "soak.json"
    run(path, [configuration])
    content = json.loads(path.read_text())
    assert content["rows"][0]["errors"] == 1
    failed = {check["name"] for check in content["checks"] if not check["ok"]}
    assert failed == {"random steps with state and points", "warnings and errors of Python"}
    assert "RuntimeWarning: divide by zero" in path.with_suffix(".log").read_text()
