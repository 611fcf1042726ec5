"""`dexvid refine` and `dexvid multiply` of several sources: which they are, and that the options reach the jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demos.refine import RefineConfig
from demos.scale import Job, ScaleOptions
from demos.scale.command import folders_with
from demos.source import shipped_demonstration
from dexvid_envs.cli import main
from dexvid_envs.errors import OptionError


def test_the_sources_of_a_folder(tmp_path: Path) -> None:
    for name in ("a", "b", ".c-unfinished"):
        (tmp_path / "many" / name / "data").mkdir(parents=True)
        (tmp_path / "many" / name / "data" / "file").touch()
    many, one = tmp_path / "many", tmp_path / "many" / "a"
    assert folders_with("data/file", one, ()) is None
    assert folders_with("data/file", many, ()) == {"a": many / "a", "b": many / "b"}
    assert folders_with("data/file", one, [many / "b"]) == {"a": many / "a", "b": many / "b"}
    assert folders_with("data/file", tmp_path / "missing", ()) is None  # the single form says what is wrong
    with pytest.raises(OptionError, match="several sources are named a"):
        folders_with("data/file", one, [many])


def run_here(monkeypatch: pytest.MonkeyPatch, module: str, work: str, result: object) -> list[Any]:
    """Runs a command's jobs in this process, with `work` replaced by what returns `result`; gives what it is called with."""
    given: list[Any] = []

    def run(title: str, jobs: Sequence[Job], out: Path, options: ScaleOptions, counted: object) -> int:
        for job in jobs:
            assert job.load()(out / job.name, job.inputs, **job.settings)
        return 0

    monkeypatch.setattr(f"{module}.run_and_tell", run)
    monkeypatch.setattr(f"{module}.{work}", lambda config: given.append(config) or result)
    return given


def test_refine_takes_several_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = SimpleNamespace(
        succeeded=True, tracking_error_m=0.01, end_error_m=0.01, acceptance=1.0, robustness=1.0, hold="video"
    )
    result = SimpleNamespace(refinement=search, demonstration=SimpleNamespace(tier="successful"))
    given = run_here(monkeypatch, "demos.refine_command", "_refine", result)
    for name in ("a", "b"):
        (tmp_path / "many" / name).mkdir(parents=True)
        (tmp_path / "many" / name / "interaction.npz").touch()
    options = ["--env", "grasplift", "--env-option", "objects=[1]", "--mass-factor", "0.9", "1.1", "--seed", "3"]
    assert main(["refine", str(tmp_path / "many"), "--out", str(tmp_path / "out"), *options]) == 0
    assert [(one.source, one.out) for one in given] == [(tmp_path / "many" / n, tmp_path / "out" / n) for n in ("a", "b")]
    assert {(one.env, one.env_option) for one in given} == {("DexVid-GraspLift-v0", ("objects=[1]",))}
    assert {one.config for one in given} == {RefineConfig(seed=3, mass_factor=(0.9, 1.1))}


def test_multiply_takes_several_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = run_here(monkeypatch, "demos.multiply_command", "_multiply", SimpleNamespace(acceptance=0.5, attempts=10, mended=2))
    sources = [shipped_demonstration(), tmp_path / "another"]
    options = ["--out", str(tmp_path / "out"), "--count", "7", "--size", "0.9", "1.1"]
    assert main(["multiply", *map(str, sources), *options]) == 0
    assert [(one.dataset, one.out) for one in given] == [(path, tmp_path / "out" / path.name) for path in sources]
    assert {(one.count, one.size, one.seed) for one in given} == {(7, (0.9, 1.1), 0)}


@pytest.mark.parametrize(("command", "option"), [("refine", "--video"), ("multiply", "--figure")])
def test_options_of_one_source(tmp_path: Path, capfd: pytest.CaptureFixture, command: str, option: str) -> None:
    arguments = [command, str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out"), option, "file"]
    assert main(arguments) == 2
    assert f"{option} is of one source" in capfd.readouterr().err
