"""The parts of the refinement: tasks, placing, candidates, conditions, stored rounds, grip."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.align import displacement_yaw, mirror
from demos.dataset import read_dataset
from demos.interaction import Interaction
from demos.plan import BEND_NAMES, Plan, make_plan, plan_targets
from demos.provenance import missing_provenance, to_json
from demos.refine import RefineConfig, Refiner, RefineResult
from demos.refinement.candidates import Candidate, keep_apart, path_correction
from demos.refinement.conditions import ConditionRange, draw_conditions
from demos.refinement.cost import rollout_cost, tracking_error
from demos.refinement.placement import check_recording, fill_recording, place_and_retarget, swing_begins, turns_for_any_yaw
from demos.refinement.task import find_tracked_task, flat_box
from demos.resample import resample
from demos.rollout import RolloutRunner
from demos.source import load_interaction, shipped_sample
from demos.synthetic.truth import ClipTruth
from demos.timeline import PlanConfig
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError, InputFileError
from tests.true_interactions import true_interaction

CLIPS = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"
ENV = "DexVid-BottlePickPlace-v0"
START, TARGET = np.array([0.46, -0.20]), np.array([0.46, 0.12])
SMALL = RefineConfig(candidates=4, elites=1, offset_rounds=2, spline_rounds=2, replicates=2, final_replicates=1)


@pytest.fixture(scope="module")
def sample() -> Interaction:
    return resample(load_interaction(shipped_sample()), 20.0, 3.0)


@pytest.fixture(scope="module")
def plan(sample: Interaction) -> Plan:
    return make_plan(sample, displacement_yaw(sample, START, TARGET), START, TARGET)[0]


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        (ENV, {"bottle": "mustard"}),
        ("DexVid-GraspLift-v0", {"objects": ("mug",)}),
        ("DexVid-OpenCabinet-v0", {}),
        ("DexVid-LiftThrow-v0", {"objects": ("baseball",)}),
    ],
)
def test_every_task_starts_where_its_description_says(env_id: str, options: dict[str, Any]) -> None:
    tracked = find_tracked_task(env_id, options)
    place = tracked.place(np.array([0.02, -0.01, 0.2]))
    runner = RolloutRunner(env_id, options, 1)
    still = np.tile(runner.task.robot.home_rad, (1, 2, 1))
    rollouts = runner.run(still, place.start_m[None, :2], place.goal_m[None], [0])
    where = rollouts.object_pos_world[0, 0]
    if tracked.lifted:
        np.testing.assert_allclose(where, place.start_m, atol=0.006)
    else:
        np.testing.assert_allclose(runner.task.handle_pos_world[0], place.start_m, atol=0.006)
    assert not rollouts.success[0]
    assert rollouts.target_distance[0] > 0.05
    assert rollouts.grip_force_n.shape == (0, 1)


def test_what_nobody_has_described_is_refused() -> None:
    with pytest.raises(DexVidError, match="cannot make"):
        find_tracked_task("DexVid-Nothing-v0", {})


def test_the_drawer_of_a_true_recording_opens_as_far_as_the_task_asks() -> None:
    """The retargeted pull alone, a left hand's, opens the drawer: nothing has been searched for."""
    recording = true_interaction(ClipTruth.load(CLIPS / "training-00002-drawer" / "truth.npz"))
    env_id = "DexVid-OpenCabinet-v0"
    shares: list[float] = []
    placed = place_and_retarget(recording, env_id, {}, report=lambda share, state: shares.append(share))
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] < 1
    assert placed.mirrored == (recording.hand_side == "left")
    assert placed.usual is not None
    runner, path = RolloutRunner(env_id, {}, 1), placed.usual
    servo, _ = plan_targets(path, np.zeros((1, *path.bend_shape())), path.start_xy[None], path.target_xy[None])
    rollouts = runner.run(servo, path.start_xy[None], placed.goal_m[None], [0])
    assert rollouts.success[0]
    error = tracking_error(path, rollouts, path.start_xy[None], path.target_xy[None])
    assert error[path.lift : path.place + 1].mean() < 0.03


def test_an_object_without_a_heading_needs_one_turn_and_another_two_a_quarter_apart(sample: Interaction) -> None:
    def rows(errors: dict[int, float]) -> list[dict[str, float]]:
        return [{"yaw_rad": np.radians(15.0 * index), "mean_error_mm": errors.get(15 * index, 20.0)} for index in range(24)]

    placed = place_and_retarget(sample, ENV, {"bottle": "pet"}, yaw_rad=displacement_yaw(sample, START, TARGET))
    assert turns_for_any_yaw(placed) == (placed.yaw_rad,)
    reached = {angle % 360: 1.0 for angle in range(330, 330 + 181, 15)}  # the half circle around 60 degrees
    long = dataclasses.replace(placed, has_heading=True, yaw_candidates=rows(reached))
    np.testing.assert_allclose(np.degrees(turns_for_any_yaw(long)), (15.0, 105.0))
    np.testing.assert_allclose(np.degrees(turns_for_any_yaw(long, 3)), (0.0, 60.0, 120.0))
    with pytest.raises(ValueError, match="multiple of 20 for 5 sides"):
        turns_for_any_yaw(long, 5)


def test_the_usual_hold_presses_more_than_the_object_weighs(sample: Interaction) -> None:
    placed = place_and_retarget(sample, ENV, {"bottle": "pet"}, yaw_rad=displacement_yaw(sample, START, TARGET))
    assert placed.usual is not None
    runner, usual = RolloutRunner(ENV, {"bottle": "pet"}, 1), placed.usual
    servo, _ = plan_targets(usual, np.zeros((1, *usual.bend_shape())), usual.start_xy[None], usual.target_xy[None])
    steps = (1, usual.lift + 12)
    rollouts = runner.run(servo, usual.start_xy[None], placed.goal_m[None], [0], grip_steps=steps)
    assert rollouts.object_pos_world[usual.lift + 12, 0, 2] - rollouts.object_pos_world[0, 0, 2] > 0.02
    assert rollouts.grip_force_n[0, 0] == 0.0
    assert rollouts.grip_force_n[1, 0] > 9.81 * runner.tracked.mass_kg


def test_untouched_bottle_costs_more_than_a_carried_one(sample: Interaction) -> None:
    """The cost must not prefer leaving the bottle alone, the local minimum of plain object tracking."""
    placed = place_and_retarget(sample, ENV, {"bottle": "pet"}, yaw_rad=displacement_yaw(sample, START, TARGET))
    assert placed.usual is not None
    runner, usual = RolloutRunner(ENV, {"bottle": "pet"}, 2), placed.usual
    starts, goals = np.tile(usual.start_xy, (2, 1)), np.tile(usual.target_xy, (2, 1))
    bend = np.zeros((1, *usual.bend_shape()))
    bend[..., BEND_NAMES.index("open")] = runner.tracked.usual_opening_rad  # as the search begins
    carried, _ = plan_targets(usual, bend, starts[:1], goals[:1])
    idle = np.tile(runner.task.robot.home_rad, (1, usual.num_steps, 1))
    rollouts = runner.run(np.concatenate([idle, carried]), starts, goals, [0, 0])
    cost = rollout_cost(usual, rollouts, starts, goals, runner.tracked, 9.81 * runner.tracked.mass_kg)
    assert cost[1] < 0.5 * cost[0]


def test_a_mirrored_recording_is_the_other_hands_and_mirrors_back(sample: Interaction) -> None:
    mirrored = mirror(sample)
    assert {mirrored.hand_side, sample.hand_side} == {"left", "right"}
    rotation = mirrored.object_pose_world[:, :3, :3]
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-9)
    again = mirror(mirrored)
    np.testing.assert_allclose(again.hand_keypoints_world, sample.hand_keypoints_world)
    np.testing.assert_allclose(again.object_pose_world, sample.object_pose_world)


def test_bad_recordings_are_refused_with_the_frame(sample: Interaction) -> None:
    unknown = sample.object_pose_world.copy()
    unknown[7:] = np.nan
    with pytest.raises(DexVidError, match="frame 7"):
        check_recording(dataclasses.replace(sample, object_pose_world=unknown))
    with pytest.raises(DexVidError, match="never touches"):
        check_recording(dataclasses.replace(sample, contact=np.zeros_like(sample.contact)))
    still = np.tile(sample.object_pose_world[:1], (sample.num_frames, 1, 1))
    with pytest.raises(DexVidError, match="moves by less than"):
        check_recording(dataclasses.replace(sample, object_pose_world=still))


def test_a_few_unknown_frames_are_filled(sample: Interaction) -> None:
    poses, hand = sample.object_pose_world.copy(), sample.hand_keypoints_world.copy()
    poses[[0, 12, -1]], hand[[5, -1]] = np.nan, np.nan
    filled = fill_recording(dataclasses.replace(sample, object_pose_world=poses, hand_keypoints_world=hand))
    check_recording(filled)
    np.testing.assert_allclose(filled.object_pose_world[12], sample.object_pose_world[12], atol=0.02)
    np.testing.assert_allclose(filled.object_pose_world[-1], sample.object_pose_world[-2], atol=1e-9)
    np.testing.assert_allclose(filled.hand_keypoints_world[5], sample.hand_keypoints_world[5], atol=0.02)


def test_a_swing_begins_where_the_lifted_object_is_slow_for_the_last_time(sample: Interaction) -> None:
    frames = sample.num_frames
    height = np.interp(np.arange(frames), [0, 20, 30, 36, 44, frames], [0.0, 0.0, 0.12, 0.12, 0.5, 0.5])
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, 2, 3] = height
    contact = (np.arange(frames) >= 18) & (np.arange(frames) <= 43)
    begin = swing_begins(dataclasses.replace(sample, object_pose_world=pose, contact=contact))
    assert 34 <= begin <= 37


@given(yaw=st.floats(-1.5, 1.5), width=st.floats(0.05, 0.3))
def test_the_heading_of_a_box_is_found(yaw: float, width: float) -> None:
    corners = np.array([[x, y] for x in np.linspace(-0.5, 0.5, 9) for y in (-0.5, 0.5)]) * [width * 1.5, width]
    turned = corners @ np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    sides, found = flat_box(turned)
    assert sides[0] == pytest.approx(width, rel=0.05)
    assert abs(np.remainder(found - yaw + np.pi / 2, np.pi) - np.pi / 2) < 0.04


def _candidate(hold: int, value: float, cost: float) -> Candidate:
    return Candidate(hold, np.full((2, 13), value), np.zeros((5, 6)), cost=cost)


def test_near_copies_are_not_kept_and_every_hold_is() -> None:
    pool = [_candidate(0, 0.0, 0.1), _candidate(0, 0.01, 0.2), _candidate(0, 2.0, 0.3), _candidate(1, 0.0, 0.9)]
    kept = keep_apart(pool, np.ones(13), 3, 2)
    assert [one.cost for one in kept] == [0.1, 0.3, 0.9]
    assert [one.cost for one in keep_apart(pool, np.ones(13), 2, 1)] == [0.1, 0.3]


@settings(max_examples=25)
@given(offset=st.tuples(*[st.floats(-0.05, 0.05)] * 3), lost_at=st.integers(0, 40))
def test_a_path_learns_what_was_missing_and_nothing_from_a_lost_object(
    plan: Plan, offset: tuple[float, float, float], lost_at: int
) -> None:
    missing = np.tile(offset, (plan.num_steps, 1))
    axis = np.tile([0.0, 0.0, 1.0], (plan.num_steps, 1))
    change = path_correction(plan, missing, axis)
    np.testing.assert_array_equal(change[: plan.lift - 1], 0.0)
    np.testing.assert_allclose(change[plan.lift + 8 : plan.place, :3], missing[plan.lift + 8 : plan.place], atol=1e-12)
    np.testing.assert_allclose(change[:, 3:], 0.0, atol=1e-12)
    gone = missing.copy()
    gone[plan.lift + lost_at % 6 :] = 0.5
    np.testing.assert_array_equal(path_correction(plan, gone, axis), 0.0)


def test_a_tilted_object_is_turned_back(plan: Plan) -> None:
    axis = np.tile([0.0, 0.0, 1.0], (plan.num_steps, 1))
    axis[plan.lift :] = [np.sin(0.1), 0.0, np.cos(0.1)]
    change = path_correction(plan, np.zeros((plan.num_steps, 3)), axis)
    np.testing.assert_allclose(change[plan.place, 3:], [0.0, -0.1, 0.0], atol=1e-9)


def test_conditions_are_drawn_alike_within_their_range(plan: Plan) -> None:
    within = ConditionRange(np.array([0.08, 0.08]), np.array([0.05, 0.0]), 0.01, 0.02)
    one, other = (draw_conditions(np.random.default_rng(3), plan, within, 10) for _ in range(2))
    np.testing.assert_array_equal(one.starts_xy, other.starts_xy)
    assert one.moved.sum() == 5
    np.testing.assert_array_equal(one.starts_xy[~one.moved], np.tile(plan.start_xy, (5, 1)))
    assert np.abs(one.object_shift_m).max() <= 0.01
    assert (one.targets_xy[:, 1] == plan.target_xy[1]).all()


def test_a_killed_search_goes_on_and_ends_as_an_unbroken_one(plan: Plan, tmp_path: Path) -> None:
    whole = Refiner(plan, ENV, {}, SMALL).run()
    rounds = tmp_path / "rounds"
    for stop_after in (1, 3):  # in the search for a hold, and in that for the motion
        _run_until(Refiner(plan, ENV, {}, SMALL, store=rounds), stop_after)
    again = Refiner(plan, ENV, {}, SMALL, store=rounds).run()
    assert len(again.history) == 4
    np.testing.assert_array_equal(again.bend, whole.bend)
    np.testing.assert_array_equal(_correction(again), _correction(whole))
    assert again.tracking_error_m == whole.tracking_error_m
    assert [row["cost"] for row in again.history] == [row["cost"] for row in whole.history]
    assert again.robustness == whole.robustness
    with pytest.raises(InputFileError, match="another recording, environment or config"):
        Refiner(plan, ENV, {}, dataclasses.replace(SMALL, seed=1), store=rounds).run()


class _KilledError(Exception):
    pass


def _run_until(refiner: Refiner, rounds: int) -> None:
    """Runs a search and breaks off when so many rounds of it are finished, however many there were before."""

    def report(share: float, state: str) -> None:
        stored = refiner.store.load() if refiner.store else None
        if stored is not None and len(stored.history) >= rounds:
            raise _KilledError

    with pytest.raises(_KilledError):
        refiner.run(report)


def _correction(result: RefineResult) -> np.ndarray:
    assert result.correction is not None
    return result.correction


def test_the_command_finds_the_task_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "refined"
    small = ["--candidates", "4", "--elites", "1", "--offset-rounds", "1", "--spline-rounds", "1", "--replicates", "2"]
    code = main(["refine", str(shipped_sample()), "--out", str(out), "--final-replicates", "1", *small])
    printed = capsys.readouterr().out
    demonstration = read_dataset(out)[0]
    assert code == (0 if demonstration.tier == "successful" else 1)
    assert demonstration.env_id == ENV
    assert demonstration.provenance["refine"]["hold"] in ("video", "usual")
    assert missing_provenance(demonstration) == []
    assert demonstration.provenance["plan"]["config"] == to_json(PlanConfig())
    assert "the recording shows: place" in printed
    assert "grip" in printed
    assert not (tmp_path / "refined.rounds").exists()


def test_start_and_target_are_as_far_apart_as_in_the_video_where_the_regions_allow() -> None:
    tracked = find_tracked_task("DexVid-BottlePickPlace-v0", {"bottle": "pet"})
    task = tracked.settings
    middle = np.linalg.norm(np.subtract(task.target_centre_m, task.start_centre_m))
    reach = 2 * (task.start_half_extent_m[1] + task.target_half_extent_m[1]) / 2
    for travel_m in (middle, middle - 0.1, middle + 0.05, 2.0):
        place = tracked.place(np.array([0.0, travel_m, 0.3]))
        apart = float(np.linalg.norm((place.goal_m - place.start_m)[:2]))
        assert apart == pytest.approx(min(travel_m, middle + reach), abs=1e-9)
        for end, centre, half in (
            (place.start_m, task.start_centre_m, task.start_half_extent_m),
            (place.goal_m, task.target_centre_m, task.target_half_extent_m),
        ):
            assert (np.abs(end[:2] - centre) <= np.array(half) + 1e-9).all()
