"""The same on Ray: on this machine, and on a cluster of which a node is killed in the middle."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.scale_out import kill_a_node
from demos.scale import Job, ScaleOptions, run_jobs
from demos.scale.ray_tasks import import_ray
from dexvid_envs.errors import DexVidError, OptionError

if importlib.util.find_spec("ray") is None:
    pytest.skip('needs Ray: pip install "dexvid-envs[scale]"', allow_module_level=True)
ray = import_ray()
RAY = ScaleOptions(engine="ray", workers=2, job_memory_gb=0.1)


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers find the jobs of these tests."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    ray.shutdown()


def test_it_promises_the_same_and_listens_on_loopback_only(tmp_path: Path, importable: None) -> None:
    (tmp_path / "marks").mkdir()
    addresses: list[str] = []
    jobs = [
        Job("dying", "scale_jobs:die", {}, {"marks": str(tmp_path / "marks"), "deaths": 1}),
        Job("refused", "scale_jobs:refuse"),
        Job("defect", "scale_jobs:crash"),
        *(Job(f"clip{n}", "scale_jobs:sleep", {}, {"seconds": 0.1}) for n in range(4)),
    ]

    def look(share: float, state: str) -> None:
        if not addresses:
            addresses.extend(node["NodeManagerAddress"] for node in ray.nodes())

    summary = run_jobs(jobs, tmp_path / "out", RAY, report=look)
    assert sorted(summary.made) == ["clip0", "clip1", "clip2", "clip3", "dying"]
    assert {name: failure.attempts for name, failure in summary.failed.items()} == {"refused": 1, "defect": 1 + RAY.retries}
    assert summary.failed["refused"].reason == "this one is no good"
    assert summary.retried == 1 + RAY.retries
    assert addresses == ["127.0.0.1"]
    assert not ray.is_initialized()  # it ends with the run
    assert sorted(run_jobs(jobs[3:], tmp_path / "out", RAY).kept) == ["clip0", "clip1", "clip2", "clip3"]


def test_a_killed_node_loses_no_clip_and_none_is_made_twice(tmp_path: Path, importable: None) -> None:
    jobs = [Job(f"clip{n}", "scale_jobs:sleep", {}, {"seconds": 1.0}) for n in range(8)]
    killed = kill_a_node(jobs, tmp_path)
    assert (killed.jobs, killed.lost, killed.twice) == (8, 0, 0)
    assert 2 <= killed.done_before < 8


def test_a_job_that_fits_nowhere_is_refused(tmp_path: Path, importable: None) -> None:
    with pytest.raises(OptionError, match="no node of Ray's has more"):
        run_jobs([Job("a", "scale_jobs:crash")], tmp_path / "out", ScaleOptions(engine="ray", job_memory_gb=1e6))
    assert not ray.is_initialized()


def test_a_cluster_that_is_not_there(tmp_path: Path, importable: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(DexVidError, match="no Ray cluster at RAY_ADDRESS"):
        run_jobs([], tmp_path / "out", RAY)
