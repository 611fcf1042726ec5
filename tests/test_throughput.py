"""The benchmark of speed compares what it says it compares, names absent peers, and accounts for all of the time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import audit, throughput
from benchmarks.throughput_loops import EpisodePair
from benchmarks.throughput_profile import PARTS, profile
from dexvid_envs.registration import REGISTRATIONS

IDS = [entry.id for entry in REGISTRATIONS]


@pytest.mark.parametrize("env_id", IDS)
def test_the_bare_batch_goes_the_way_of_the_environments_over_their_resets(env_id: str) -> None:
    pair = EpisodePair(env_id, count=3, episode_steps=6)
    for _ in range(3):
        ours, bare = pair.episode()
        assert ours > 0
        assert bare > 0
    assert pair.most_apart == 0.0


@pytest.mark.parametrize("count", [1, 3])
def test_profile_accounts_for_all_of_the_time(count: int) -> None:
    found = profile("DexVid-BottlePickPlace-v0", count, episode_steps=5, episodes=2)
    shares = {part: share for part, share in found.items() if part != "us"}
    assert set(shares) == {*PARTS, "rest"}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(0 < share < 1 for share in shares.values())
    assert found["us"] > 0


def test_quick_throughput_has_all_rows_and_names_absent_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)  # as if it were not installed
    out = tmp_path / "throughput.json"
    throughput.main(throughput.ThroughputConfig(out=out, quick=True))
    content = json.loads(out.read_text())
    assert len(content["config"]["absent"]) == 1
    assert "gymnasium-robotics" in content["config"]["absent"][0]
    names = [row["what"] for row in content["rows"]]
    assert len(set(names)) == len(names)
    for env_id in IDS:
        for part in ("one, sparse", "one, dense", "4, dense, state", "4, dense, pointcloud", "whole episodes"):
            assert any(name.startswith(env_id) and part in name for name in names), (env_id, part)
        assert f"{env_id}, 4: where the time goes" in names
    assert any("async_vector_env" in name for name in names)
    assert any(name.startswith("memory of") for name in names)
    assert all(np.isfinite(check["value"]) for check in content["checks"])
    (named,) = (line for line in out.with_suffix(".md").read_text().splitlines() if "absent" in line)
    assert named.startswith("| absent, so not compared: AdroitHandRelocate-v1 of gymnasium-robotics")
    assert named.count("|") == out.with_suffix(".md").read_text().splitlines()[4].count("|")  # a row like the others


def test_quick_audit_plays_every_policy_everywhere(tmp_path: Path) -> None:
    out = tmp_path / "audit.json"
    audit.main(audit.AuditConfig(out=out, quick=True))
    rows = json.loads(out.read_text())["rows"]
    assert {(row["environment"], row["policy"]) for row in rows} == {
        (env_id, name) for env_id in IDS for name in audit.POLICIES
    }
    assert all(np.isfinite(row["return"]) for row in rows)


def test_quick_forms_do_not_replace_the_full_results() -> None:
    with pytest.raises(SystemExit, match="--quick would replace the full results"):
        throughput.main(throughput.ThroughputConfig(quick=True))
    with pytest.raises(SystemExit, match="--quick would replace the full results"):
        audit.main(audit.AuditConfig(quick=True))
