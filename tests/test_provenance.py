"""Provenance: complete where it should be, and what is missing is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from demos.demonstration import Demonstration
from demos.provenance import build_differences, extraction_facts, missing_provenance, recorded_again, to_json, versions
from demos.source import load_interaction, shipped_sample
from dexvid_envs.errors import DexVidError
from tests.test_dataset import make_demonstration

STAGE = {"config": {"seed": 0}, "quality": {"error_m": 0.001}}
COMPLETE: dict[str, Any] = {
    "source_sha256": "ab" * 32,
    "extract": STAGE,
    "retarget": STAGE,
    "refine": STAGE,
    "plan": {"config": {"knots": 8}, "lift": 40},
    "model_sha256": "cd" * 32,
    "versions": versions(),
}


def demonstration(provenance: dict[str, Any], **changes: Any) -> Demonstration:
    return make_demonstration(**({"tier": "successful", "provenance": provenance} | changes))


def test_a_complete_one_lacks_nothing() -> None:
    assert missing_provenance(demonstration(COMPLETE)) == []
    flat = COMPLETE | {"retarget": {"scale": 1.0, "mean_fingertip_error_m": 0.001}, "refine": {"seed": 0, "acceptance": 0.9}}
    assert missing_provenance(demonstration(flat)) == []
    copy = {"parent": COMPLETE, "multiply": {"seed": 1}, "copy": {"row": 3}}
    own = {name: COMPLETE[name] for name in ("model_sha256", "versions")}
    assert missing_provenance(demonstration(copy | own)) == []


@pytest.mark.parametrize("name", COMPLETE)
def test_every_part_is_missed(name: str) -> None:
    left = {key: value for key, value in COMPLETE.items() if key != name}
    (line,) = missing_provenance(demonstration(left))
    assert line.startswith(f"{name}:")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source_sha256": "abc"}, "source_sha256"),
        ({"versions": {"mujoco": "3.17.0"}}, "versions: of numpy"),
        ({"retarget": {"config": {}, "quality": {"error_m": 1}}}, "retarget: config"),
        ({"refine": {"seed": 0}}, "refine: quality"),
        ({"extract": "yes"}, "extract: config and quality"),
        ({"plan": {"lift": 40}}, "plan: config"),
        ({"plan": {"config": {}}}, "plan: config"),
        ({"plan": {"approach_steps": 24, "return_steps": 20}}, "plan: config"),
    ],
    ids=str,
)
def test_half_a_part_is_none(changes: dict[str, Any], expected: str) -> None:
    (line,) = missing_provenance(demonstration(COMPLETE | changes))
    assert line.startswith(expected)


def test_steps_need_frames_and_copies_their_draw() -> None:
    without = demonstration(COMPLETE, source_frame=np.full(6, -1))
    assert missing_provenance(without) == ["source_frame: the video frame behind the steps, no step has one"]
    copy = demonstration({"parent": COMPLETE} | {name: COMPLETE[name] for name in ("model_sha256", "versions")})
    assert [line.split(":")[0] for line in missing_provenance(copy)] == ["multiply", "copy"]
    assert len(missing_provenance(demonstration({}))) == 7


def test_kinematic_ones_need_no_refinement() -> None:
    left = {key: value for key, value in COMPLETE.items() if key not in ("refine", "plan")}
    assert missing_provenance(demonstration(left, tier="kinematic")) == []
    unsuccessful = demonstration(left | {"refine": STAGE}, tier="replayable")
    assert missing_provenance(unsuccessful) == ["plan: config of the plan that was refined"]


def test_of_earlier_ones_three_numbers_of_the_plan_are_enough() -> None:
    former = {"approach_steps": 24, "return_steps": 20, "rest_steps": 6}
    assert missing_provenance(demonstration(COMPLETE | {"plan": former})) == []


def test_what_is_recorded_anew_tells_of_which_model_its_figures_are() -> None:
    old = COMPLETE | {"tracking_error_m": 0.002, "refine": {"seed": 0, "acceptance": 0.9}}
    new = recorded_again(old)
    assert not {"model_sha256", "versions", "tracking_error_m"} & set(new)
    assert new["recorded_before"] == {name: old[name] for name in ("model_sha256", "versions")}
    measured = {"seed": 0, "acceptance": 0.9, "tracking_error_m": 0.002, "measured_on": old["model_sha256"]}
    assert new["refine"] == measured
    newer = recorded_again(new | {"model_sha256": "ef" * 32, "versions": versions()})
    assert newer["refine"] == measured
    assert newer["recorded_before"]["model_sha256"] == "ef" * 32
    assert newer["recorded_before"]["recorded_before"] == new["recorded_before"]
    assert missing_provenance(demonstration(newer | {"model_sha256": "12" * 32, "versions": versions()})) == []


def test_builds_are_told_apart_in_words() -> None:
    assert build_differences(COMPLETE, "cd" * 32) == []
    assert build_differences({}, "cd" * 32) is None
    older = COMPLETE | {"versions": versions() | {"mujoco": "3.0.0"}}
    assert build_differences(older, "ef" * 32) == [
        f"mujoco 3.0.0 (here {versions()['mujoco']})",
        "model cdcdcdcd (here efefefef)",
    ]


def test_facts_of_an_extraction(tmp_path: Path) -> None:
    """Figures of the interaction itself, with those that the extraction wrote, without its run times."""
    interaction = load_interaction(shipped_sample())
    quality = {"config": {"hands": "mediapipe"}, "hand": {"side": "right"}, "timings_s": {"hands": 1.0}}
    (tmp_path / "quality.json").write_text(json.dumps(quality))
    facts = extraction_facts(tmp_path, interaction)
    assert facts["source_sha256"] == interaction.source_sha256
    assert facts["extract"]["config"] == {"hands": "mediapipe"}
    assert facts["extract"]["quality"]["hand"] == {"side": "right"}
    assert facts["extract"]["quality"]["hand_known_share"] == 1.0
    assert "timings_s" not in facts["extract"]["quality"]
    (tmp_path / "quality.json").write_text("{damaged")
    assert extraction_facts(tmp_path, interaction)["extract"]["config"] == {"read_from": tmp_path.name}


def test_to_json() -> None:
    @dataclasses.dataclass(frozen=True)
    class Config:
        path: Path
        sizes: tuple[float, ...]
        weights: NDArray[np.float64]
        inner: Any = None

    value = to_json(Config(Path("a"), (1.0, 2.0), np.ones(2), Config(Path("b"), (), np.zeros(0))))
    assert json.loads(json.dumps(value)) == value
    assert value["inner"] == {"path": "b", "sizes": [], "weights": [], "inner": None}
    with pytest.raises(DexVidError, match="has no JSON form"):
        to_json({"x": object()})
