"""Gates: good figures pass, each bad one is named with its frames and advice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from demos.extract.gates import LIMITS, check_gates, failed_gates, gate_text
from demos.extract.quality import below_rest, scene_quality
from demos.interaction import Interaction
from demos.source import warn_of_failed_gates
from demos.synthetic.exact import true_interaction
from demos.synthetic.truth import ClipTruth
from tests.test_extract_stages import small_interaction

CLIPS = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"


def figures(**change: float) -> dict:
    quality = {
        "object": {"found": True, "tracked_fraction": 0.9, "rigid_residual_m_median": 0.004},
        "scene": {
            "hand_object_distance_m": 0.02,
            "object_in_hand_spread_m": 0.01,
            "penetration_m": 0.0,
            "below_rest_m": 0.0,
            "hand_to_length": 1.02,
        },
    }
    for name, value in change.items():
        part = "object" if name in quality["object"] else "scene"
        quality[part][name] = value
    return quality


def test_good_figures_pass_and_each_bad_one_is_named_with_advice() -> None:
    interaction = small_interaction()
    assert not failed_gates({"gates": check_gates(figures(), None, None, None, interaction)[:0]})
    passed = {gate["name"]: gate["ok"] for gate in check_gates(figures(tracked_fraction=0.95), None, None, None, interaction)}
    assert passed.pop("object followed")
    assert all(passed.values())
    for name, change in {
        "rigidity": {"rigid_residual_m_median": 0.05},
        "hand at object": {"hand_object_distance_m": 0.2},
        "penetration": {"penetration_m": 0.06},
        "under its support": {"below_rest_m": 0.08},
        "scale": {"hand_to_length": 1.4},
        "object followed": {"tracked_fraction": 0.2},
    }.items():
        failed = failed_gates({"gates": check_gates(figures(**change), None, None, None, interaction)})
        assert [gate["name"] for gate in failed] == [name]
        assert LIMITS[name].advice in gate_text(failed[0])


def test_an_object_that_is_never_touched_fails() -> None:
    interaction = dataclasses.replace(small_interaction(), contact=np.zeros(9, bool))
    failed = failed_gates({"gates": check_gates(figures(), None, None, None, interaction)})
    assert "contact" in [gate["name"] for gate in failed]


def test_who_goes_on_from_a_doubtful_extraction_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    gates = check_gates(figures(rigid_residual_m_median=0.05), None, None, None, small_interaction())
    (tmp_path / "quality.json").write_text(json.dumps({"gates": gates}))
    warn_of_failed_gates(tmp_path)
    assert "did not pass a gate: rigidity: 0.05 m, expected at most 0.02" in capsys.readouterr().err
    for content in ("", "[]", '{"gates": [1]}', '{"gates": null}'):
        (tmp_path / "quality.json").write_text(content)
        warn_of_failed_gates(tmp_path)
    assert not capsys.readouterr().err


@pytest.fixture(scope="module", params=["training-00001-place", "training-00002-drawer"])
def handled(request: pytest.FixtureRequest) -> Interaction:
    return true_interaction(ClipTruth.load(CLIPS / request.param / "truth.npz"))


def sunk(interaction: Interaction, depth_m: float, frames: np.ndarray) -> Interaction:
    points = interaction.object_points_world.copy()
    points[frames, :, 2] -= depth_m
    return dataclasses.replace(interaction, object_points_world=points)


def test_a_thing_that_passes_through_what_it_stood_on_is_named_with_the_frames(handled: Interaction) -> None:
    limit = LIMITS["under its support"].value
    assert np.nanmax(below_rest(handled)) < limit / 2
    held = np.flatnonzero(handled.contact)
    deep = held[len(held) // 3 : len(held) // 3 + 8]
    lifted = handled.object_points_world[deep, :, 2].min() - handled.object_points_world[0, :, 2].min()
    wrong = sunk(handled, 0.1 + lifted, deep)
    below = below_rest(wrong)
    assert set(np.flatnonzero(np.nan_to_num(below) > limit)) <= set(deep)
    quality = figures() | {"scene": figures()["scene"] | {"below_rest_m": scene_quality(wrong, {})["below_rest_m"]}}
    (failed,) = failed_gates({"gates": check_gates(quality, None, None, None, wrong)})
    assert failed["name"] == "under its support"
    assert set(failed["frames"]) <= set(handled.frame_index[deep].tolist())
    assert len(failed["frames"]) >= 4


def test_a_thing_that_ends_lower_than_it_began_is_no_ghost(handled: Interaction) -> None:
    held = np.flatnonzero(handled.contact)
    points = handled.object_points_world.copy()
    points[..., 2] -= 0.3 * np.clip((np.arange(handled.num_frames) - held[0]) / (held[-1] - held[0]), 0, 1)[:, None]
    assert np.nanmax(below_rest(dataclasses.replace(handled, object_points_world=points))) < LIMITS["under its support"].value


def test_one_noisy_frame_and_a_thing_that_is_never_touched_fail_no_gate(handled: Interaction) -> None:
    middle = np.flatnonzero(handled.contact)[[handled.contact.sum() // 2]]
    assert np.nanmax(below_rest(sunk(handled, 1.0, middle))) < LIMITS["under its support"].value
    untouched = dataclasses.replace(handled, contact=np.zeros(handled.num_frames, bool))
    assert np.isnan(below_rest(untouched)).all()
    names = [gate["name"] for gate in check_gates(figures(below_rest_m=-np.inf), None, None, None, untouched)]
    assert "under its support" not in names
