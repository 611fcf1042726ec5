"""The measure of reconstructions: nothing wrong costs nothing, known faults cost what they should, and missing is no gain."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from benchmarks.reconstruction import COLUMNS, COMPARED, Result, medians, mesh_sentence, tables
from benchmarks.reconstruction_pose import position_errors, rotation_errors
from benchmarks.reconstruction_score import align_heading, in_camera_scale, moved, score
from benchmarks.reconstruction_truth import Clip, Symmetry, symmetry_of
from benchmarks.reconstruction_variants import VARIANTS, Telling, click_on_object, given_files, make_config, run_key
from demos.camera import transform
from demos.importers.rgbd import read_rgbd
from demos.interaction import Interaction
from demos.resample import resample
from demos.synthetic.shapes import Box
from demos.synthetic.things import make_thing

SHIPPED = Path(__file__).parent.parent / "demos" / "data" / "synthetic_clips"


@functools.cache
def clip(name: str = "training-00001-place") -> Clip:
    return Clip.load(SHIPPED / name)


def perfect(of: Clip) -> Interaction:
    """The truth itself as an interaction at the clip's own rate, its object frame somewhere else than the truth's."""
    truth = of.truth
    visible = np.concatenate([truth.object_visible[o] for o in of.handled], axis=1)
    points = np.concatenate([truth.object_points_world[o] for o in of.handled], axis=1).astype(float)
    offset = np.eye(4)
    offset[:3, :3], offset[:3, 3] = Rotation.from_rotvec([0.4, -1.0, 0.3]).as_matrix(), [0.02, -0.01, 0.05]
    return Interaction(
        fps=truth.fps,
        hand_keypoints_world=truth.hand_keypoints_world,
        hand_confidence=np.ones(truth.num_frames),
        hand_side=truth.hand_side,
        object_names=(truth.object_names[0],),
        object_points_world=points,
        object_visible=visible,
        object_pose_world=truth.object_pose_world[0] @ offset,
        keypoints_world=truth.keypoints_world,
        keypoint_visible=truth.keypoint_visible,
        keypoint_names=truth.keypoint_names,
        contact=truth.contact,
        flagged=np.zeros(truth.num_frames, bool),
        frame_index=np.arange(truth.num_frames),
        K=truth.K,
        T_world_camera=truth.T_world_camera,
        source_sha256="",
    )


LENGTHS = ("fingertips_mm", "fingertips_to_wrist_mm", "points_mm", "middle_mm", "position_mm")


@pytest.mark.parametrize("name", ["training-00001-place", "training-00002-drawer"])
@pytest.mark.parametrize("rate_hz", [None, 20.0])
def test_the_truth_itself_is_right(name: str, rate_hz: float | None) -> None:
    one = perfect(clip(name))
    figures = score(one if rate_hz is None else resample(one, rate_hz), clip(name)).figures
    for figure in (*LENGTHS, "hand_keypoints_mm", "object_keypoints_mm", "surface_mm"):
        assert figures[figure] < 3.0, figure  # pixels of a 256 px wide picture are this coarse
    assert figures["rotation_deg"] < 0.5
    assert figures["fingertips_mm"] < 0.01
    assert max(figures["hand_px"], figures["hand_keypoints_px"], figures["object_keypoints_px"]) < 1.0
    assert figures["object_share"] > 0.95
    assert figures["pose_share"] == 1.0
    assert figures["parts_share"] == 1.0
    assert figures["contact_recall"] > 0.95
    assert figures["contact_precision"] > 0.95
    assert figures["scale"] == pytest.approx(1.0, abs=0.01)
    assert figures["jitter_mm"] < 0.5


def test_too_near_by_a_fifth_is_seen_in_everything_but_the_picture_and_gone_after_one_scale() -> None:
    truth = clip().truth
    figures = score(in_camera_scale(perfect(clip()), 0.8), clip()).figures
    away_mm = 1e3 * float(np.median(np.linalg.norm(truth.hand_keypoints_camera[:, [4, 8, 12, 16, 20]], axis=-1)))
    assert figures["fingertips_mm"] == pytest.approx(0.2 * away_mm, rel=0.05)
    assert figures["hand_px"] < 0.01
    for name in ("points_mm", "surface_mm", "middle_mm", "position_mm", "object_keypoints_mm"):
        assert figures[name] > 50.0, name
    assert figures["scale"] == pytest.approx(1.25, rel=0.01)
    for name in LENGTHS:
        assert figures[f"scaled_{name}"] < 5.0, name


def test_an_object_that_is_too_deep_is_not_excused_by_its_free_frame() -> None:
    one = perfect(clip())
    deeper = np.eye(4)
    away = one.object_pose_world[0, :3, 3] - one.T_world_camera[:3, 3]
    deeper[:3, 3] = 0.05 * away / np.linalg.norm(away)
    changed = dataclasses.replace(
        one,
        object_points_world=transform(deeper, one.object_points_world),
        object_pose_world=deeper @ one.object_pose_world,
    )
    figures = score(changed, clip()).figures
    assert figures["position_mm"] == pytest.approx(50.0, abs=6.0)  # from farther away, the points seem to lie elsewhere on it
    assert figures["points_mm"] == pytest.approx(50.0, abs=6.0)
    assert figures["rotation_deg"] < 0.5
    assert figures["fingertips_mm"] < 0.01


def test_what_is_left_out_counts_as_wrong() -> None:
    one = perfect(clip())
    mostly = np.arange(one.num_frames) % 3 > 0
    poses, hand = one.object_pose_world.copy(), one.hand_keypoints_world.copy()
    poses[mostly], hand[mostly] = np.nan, np.nan
    visible = one.object_visible & ~mostly[:, None]
    changed = dataclasses.replace(one, object_pose_world=poses, hand_keypoints_world=hand, object_visible=visible)
    figures = score(changed, clip()).figures
    for name in ("position_mm", "rotation_deg", "points_mm", "surface_mm", "fingertips_mm", "hand_px"):
        assert figures[name] == np.inf, name
    nothing = dataclasses.replace(
        one,
        object_points_world=np.zeros((one.num_frames, 0, 3)),
        object_visible=np.zeros((one.num_frames, 0), bool),
        keypoint_visible=np.zeros_like(one.keypoint_visible),
        contact=np.zeros_like(one.contact),
    )
    figures = score(nothing, clip()).figures
    assert figures["points_mm"] == figures["jitter_mm"] == figures["object_keypoints_mm"] == np.inf
    assert figures["parts_share"] == figures["contact_recall"] == 0.0


def test_a_world_found_by_itself_may_lie_anywhere_on_the_table_but_not_tilt() -> None:
    one = perfect(clip())
    elsewhere = np.eye(4)
    elsewhere[:3, :3], elsewhere[:3, 3] = Rotation.from_euler("z", 2.0).as_matrix(), [0.5, -1.0, 0.03]
    figures = score(moved(one, elsewhere), clip(), world="estimated").figures
    assert figures["gravity_deg"] < 1e-3
    assert figures["height_mm"] == pytest.approx(30.0, abs=0.5)
    for name in LENGTHS:
        assert figures[name] < 3.0, name
    elsewhere[:3, :3] = Rotation.from_euler("xz", [np.radians(10.0), 2.0]).as_matrix()
    tilted = score(moved(one, elsewhere), clip(), world="estimated").figures
    assert tilted["gravity_deg"] == pytest.approx(10.0, abs=1e-3)
    assert tilted["fingertips_mm"] > 5.0


def test_points_without_correspondence_are_compared_with_the_surface_and_their_jitter_with_the_objects_path() -> None:
    one = perfect(clip())
    order = np.random.default_rng(0).permuted(np.tile(np.arange(one.object_points_world.shape[1]), (one.num_frames, 1)), axis=1)
    shuffled = dataclasses.replace(
        one,
        object_points_world=np.take_along_axis(one.object_points_world, order[..., None], axis=1),
        object_visible=np.take_along_axis(one.object_visible, order, axis=1),
    )
    assert score(shuffled, clip()).figures["points_mm"] > 20.0  # taken for tracks they are far off
    figures = score(shuffled, clip(), correspondence=False).figures
    assert figures["points_mm"] == figures["surface_mm"] < 3.0
    noise = np.random.default_rng(1).normal(scale=0.004, size=(one.num_frames, 1, 3))
    restless = dataclasses.replace(shuffled, object_points_world=shuffled.object_points_world + noise)
    assert score(restless, clip(), correspondence=False).figures["jitter_mm"] > figures["jitter_mm"] + 3.0


def test_jitter_counts_noise_and_not_motion() -> None:
    one = perfect(clip())
    still = score(one, clip()).figures["jitter_mm"]
    noise = np.random.default_rng(1).normal(scale=0.004, size=(one.num_frames, 1, 3))
    restless = score(dataclasses.replace(one, object_points_world=one.object_points_world + noise), clip()).figures["jitter_mm"]
    rate = (one.fps / 20.0) ** 2
    assert still < 0.3
    assert restless == pytest.approx(4.0 * np.sqrt(3 * 6) * rate, rel=0.3)  # 1, -2, 1 add up to variance 6 in 3 directions


@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=25, deadline=None)
def test_a_pose_is_right_up_to_its_free_frame_and_the_shapes_symmetry(seed: int) -> None:
    rng = np.random.default_rng(seed)
    number = int(rng.integers(9))
    shape = make_thing("training", number).shape
    symmetry = symmetry_of(shape)
    true = Rotation.random(12, rng=rng).as_matrix()
    frame = Rotation.random(rng=rng).as_matrix()
    about_z = Rotation.from_rotvec(rng.uniform(-np.pi, np.pi, (12, 1)) * [0.0, 0.0, 1.0]).as_matrix()
    free = {
        "sphere": Rotation.random(12, rng=rng).as_matrix(),
        "axis": symmetry.turns[rng.integers(len(symmetry.turns), size=12)] @ about_z,
        "finite": symmetry.turns[rng.integers(len(symmetry.turns), size=12)],
    }[symmetry.kind]
    samples, inside = rng.uniform(-0.1, 0.1, (200, 3)), shape.distance
    np.testing.assert_allclose(inside(samples), inside(samples @ free[0].T), atol=2e-3)  # the shape looks the same
    estimated = true @ free @ frame
    assert np.degrees(rotation_errors(estimated, true, symmetry)).max() < 0.01
    wrong = 0.3 if symmetry.kind != "sphere" else 0.0
    turned = estimated.copy()
    turned[0] = true[0] @ Rotation.from_rotvec([wrong, 0.0, 0.0]).as_matrix() @ free[0] @ frame
    assert rotation_errors(turned, true, symmetry)[0] == pytest.approx(wrong, abs=0.02)


def test_a_square_box_may_be_turned_by_a_quarter() -> None:
    quarter = Rotation.from_euler("z", np.pi / 2).as_matrix()
    true = np.tile(np.eye(3), (5, 1, 1))
    turned = np.array([np.eye(3), quarter, quarter @ quarter, np.eye(3), np.eye(3)])
    assert rotation_errors(turned, true, symmetry_of(Box((0.05, 0.05, 0.08)))).max() < 1e-3
    assert rotation_errors(turned, true, symmetry_of(Box((0.05, 0.06, 0.08))))[1] == pytest.approx(np.pi / 2, abs=1e-3)
    assert np.isnan(rotation_errors(np.full((2, 3, 3), np.nan), true[:2], Symmetry("finite"))).all()


def test_a_pose_without_points_gets_the_offset_that_suits_it_best() -> None:
    true = np.tile(np.eye(4), (6, 1, 1))
    true[:, 0, 3] = np.linspace(0.0, 0.2, 6)
    estimated = true.copy()
    estimated[:, 2, 3] += 0.05
    nothing = (np.zeros((6, 0, 3)), np.zeros((6, 0), bool), np.zeros((0, 3)), Symmetry("finite"))
    assert position_errors(estimated, true, *nothing).max() < 1e-9
    estimated[5, 1, 3] += 0.03
    assert position_errors(estimated, true, *nothing)[5] == pytest.approx(0.03)


@given(seed=st.integers(0, 2**31 - 1), kind=st.sampled_from(["sphere", "axis"]))
@settings(max_examples=20, deadline=None)
def test_turns_that_do_not_show_do_not_move_an_object(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    place = rng.uniform(-0.04, 0.04, (20, 3))
    true, unseen = np.tile(np.eye(4), (8, 1, 1)), np.tile(np.eye(4), (8, 1, 1))
    true[:, :3, :3], true[:, :3, 3] = Rotation.random(8, rng=rng).as_matrix(), rng.uniform(-0.3, 0.3, (8, 3))
    about_z = Rotation.from_rotvec(rng.uniform(-3.0, 3.0, (8, 1)) * [0.0, 0.0, 1.0])
    unseen[:, :3, :3] = (about_z if kind == "axis" else Rotation.random(8, rng=rng)).as_matrix()
    estimated = true @ unseen
    points = transform(estimated, place[None])
    assert position_errors(estimated, true, points, np.ones((8, 20), bool), place, Symmetry(kind)).max() < 1e-6


@given(
    yaw=st.floats(-3.1, 3.1), shift=st.tuples(*[st.floats(-2.0, 2.0)] * 3), seed=st.integers(0, 1000)
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_heading_and_place_are_found_among_outliers(yaw: float, shift: tuple[float, float, float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(scale=0.2, size=(60, 3))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_euler("z", yaw).as_matrix(), shift
    target = transform(pose, source)
    target[:6] += rng.normal(scale=0.5, size=(6, 3))
    np.testing.assert_allclose(align_heading(source, target), pose, atol=0.01)


def test_what_is_given_is_the_truth(tmp_path: Path) -> None:
    truth = clip().truth
    with given_files(VARIANTS["depth"], truth, tmp_path / "given", focal_factor=1.3) as given:
        recording = read_rgbd(given)
        np.testing.assert_allclose(recording.K, truth.K * [[1.3, 1, 1], [1, 1.3, 1], [1, 1, 1]])
        assert recording.depth.count == truth.num_frames
        for frame in (0, truth.num_frames - 1):
            np.testing.assert_allclose(recording.depth.read_m(frame), truth.depth_m(frame), atol=0.0006)
        for name, variant in VARIANTS.items():
            config = make_config(variant, clip(), clip().folder / "video.mp4", tmp_path / "out", given, Telling())
            config.validate()
            assert (config.depth is not None) == (name == "depth")
            assert (config.camera_pose is None) == (name == "rgb_estimated_world")
    assert not given.exists()
    told = make_config(VARIANTS["rgb_known_length"], clip(), Path("v.mp4"), tmp_path, given, Telling("object", click=True))
    assert told.object_length_m is not None
    assert told.object_length_m > 2 * clip().surface_object[:, 2].max()  # a cup is longest across its handle
    (x, y), frame = click_on_object(clip())
    assert clip().truth.mask(clip().truth.object_names[0])[frame, int(y), int(x)]


def test_a_run_is_done_again_when_its_settings_change() -> None:
    video = clip().folder / "video.mp4"
    keys = [run_key(variant, clip(), Telling(), video) for variant in VARIANTS.values()]
    keys += [run_key(VARIANTS["rgb"], clip("training-00002-drawer"), Telling(), video)]
    keys += [run_key(VARIANTS["rgb"], clip(), Telling(click=True), video)]
    assert len(set(keys)) == len(keys)
    assert run_key(VARIANTS["rgb"], clip(), Telling(), video) == keys[1]


def _result(value: float, failed: str = "") -> Result:
    return Result("clip", "lift", "thing", dict.fromkeys(COLUMNS, value), failed, 1.0)


def test_a_failed_clip_stays_in_the_table_and_counts_against_the_median() -> None:
    results = {"rgb_known_length": [_result(4.0), _result(8.0), _result(np.inf, "no hand")], "silhouette": [_result(10.0)]}
    rows, checks = tables(results)
    assert [row["clip"] for row in rows[:2]] == ["median of 3", "median of 1"]
    assert rows[0]["points_mm"] == 8.0
    assert rows[0]["failed"] == "1 failed"
    assert rows[4]["points_mm"] == "none"
    by_name = {check.name: check for check in checks}
    for name in ("jitter_mm", *COMPARED):
        assert by_name[f"point tracks / silhouette shapes: {name}"].value == pytest.approx(0.8)
    assert "10 mm of uncovered surface" in mesh_sentence({name: medians(found) for name, found in results.items()})
    exact_rows, _ = tables({"rgb_known_length": [_result(0.0)], "silhouette": [_result(0.0)]})  # as the given vertical is
    assert exact_rows[0]["points_mm"] == 0.0
    results["silhouette"] = [_result(np.inf, "not there")]
    assert not any(check.to_json()["ok"] for check in tables(results)[1] if "silhouette" in check.name)
    assert "unknown" in mesh_sentence({name: medians(found) for name, found in results.items()})


def test_key_points_of_other_names_stay_where_they_were_first_seen_and_those_on_nothing_do_not_count() -> None:
    one = perfect(clip("training-00002-drawer"))
    truth = clip("training-00002-drawer").truth
    names = {"handle_left": "grip", "cabinet_top_left": "frame_left", "drawer_front_top_left": "front_left"}
    renamed = tuple(names.get(name, name) for name in one.keypoint_names)
    figures = score(dataclasses.replace(one, keypoint_names=renamed), clip("training-00002-drawer")).figures
    assert figures["object_keypoints_mm"] < 8.0  # the nearest pixel of a corner
    assert figures["parts_share"] == 1.0
    beside = np.array([0.0, -0.6, 2.0])  # in the camera frame: above what is going on
    away = np.broadcast_to(transform(truth.T_world_camera, beside[None]), (one.num_frames, 1, 3))
    more = dataclasses.replace(
        one,
        keypoints_world=np.concatenate([one.keypoints_world, away], axis=1),
        keypoint_visible=np.concatenate([one.keypoint_visible, np.ones((one.num_frames, 1), bool)], axis=1),
        keypoint_names=(*one.keypoint_names, "something"),
    )
    clean = score(one, clip("training-00002-drawer")).figures["object_keypoints_mm"]
    assert score(more, clip("training-00002-drawer")).figures["object_keypoints_mm"] == clean
    wrong = dataclasses.replace(more, keypoint_names=(*one.keypoint_names, "object_centroid"))
    is_last = np.arange(len(wrong.keypoint_names)) == len(one.keypoint_names)
    only = dataclasses.replace(wrong, keypoint_visible=wrong.keypoint_visible & is_last)
    assert score(only, clip("training-00002-drawer")).figures["object_keypoints_mm"] > 100.0
