"""Task-relevant points: following and lifting against the truth of synthetic clips, and what motion and contact propose."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_point_cases import Case, keypoints_camera, make_case, moving_parts, truth_queries

from demos.camera import intrinsics_from_fov, project, transform
from demos.extract.objects.object_masks import SEEN, ObjectMasks
from demos.extract.task_points.follow import carried_by, carriers, follow_points
from demos.extract.task_points.lift import fill_path, lift_task_points, on_table
from demos.extract.task_points.motion import MotionProposer, is_straight
from demos.extract.task_points.task_points import HAND, HAND_POINTS, OBJECT_CENTROID, TARGET, TaskPointQuery, TrackedObject
from demos.interaction import HandTrack, KeypointTrack, ObjectTrack
from demos.parts import PixelTracks
from demos.video import FrameCache
from dexvid_envs.errors import DexVidError, OptionError

CLIPS = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"

pytest.importorskip("cv2")


@pytest.fixture(scope="module", params=["training-00001-place", "training-00002-drawer"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    made = make_case(CLIPS / request.param)
    yield made
    made.pictures.close()


def follow(case: Case, queries: list[TaskPointQuery]) -> tuple[PixelTracks, list[str | None], list[TrackedObject]]:
    objects = [carried for carried, moves in zip(case.objects, moving_parts(case.truth), strict=True) if moves]
    tracks = follow_points(case.pictures, queries, objects, case.hand.keypoints_image, case.truth.fps)
    return tracks, carriers(queries, objects), objects


# against the truth


def test_true_points_are_followed_and_lifted(case: Case) -> None:
    queries = truth_queries(case.truth)
    tracks, on, objects = follow(case, queries)
    poses = {carried.name: case.object_tracks[carried.name] for carried in objects}
    result = lift_task_points(tracks, queries, on, case.hand, poses, case.truth.K, case.truth.T_world_camera, case.depth)
    assert result.names == case.truth.keypoint_names
    error_px = np.linalg.norm(result.points_image - case.truth.keypoints_image, axis=-1)
    error_m = np.linalg.norm(result.points_camera - keypoints_camera(case.truth), axis=-1)
    assert np.isfinite(error_m).all()
    off_hand = np.array([query.part != HAND for query in queries])
    assert np.median(error_px[:, off_hand]) < 3.0
    assert np.median(error_m[:, off_hand]) < 0.025
    assert (result.visible[:, off_hand] == case.truth.keypoint_visible[:, off_hand]).mean() > 0.8


def test_without_depth_what_stands_on_the_table_is_found_there(case: Case) -> None:
    queries = truth_queries(case.truth)
    tracks, on, objects = follow(case, queries)
    poses = {carried.name: case.object_tracks[carried.name] for carried in objects}
    result = lift_task_points(tracks, queries, on, case.hand, poses, case.truth.K, case.truth.T_world_camera)
    error_m = np.median(np.linalg.norm(result.points_camera - keypoints_camera(case.truth), axis=-1), axis=0)
    for query, error in zip(queries, error_m, strict=True):
        if query.part == "target":
            assert error < 0.005
        if query.part == "cabinet":  # far above the table: beside the drawer that slides out of it
            assert error < 0.10


def test_motion_finds_hand_object_and_where_it_all_leads(case: Case) -> None:
    truth = case.truth
    queries = MotionProposer().propose(
        case.pictures, truth.hand_keypoints_image, case.objects[:1], truth.contact, truth.fps, None
    )
    names = [query.name for query in queries]
    assert {*HAND_POINTS, OBJECT_CENTROID} < set(names)
    goal = {"place": "target", "drawer": "handle"}[truth.kind]
    tracks = follow_points(case.pictures, queries, case.objects[:1], truth.hand_keypoints_image, truth.fps)
    found = tracks.pixels[:, names.index(goal)]
    true = [number for number, name in enumerate(truth.keypoint_names) if name.startswith(goal)]
    away = np.linalg.norm(found[:, None] - truth.keypoints_image[:, true], axis=-1)
    assert np.median(away, axis=0).min() < 60.0 * truth.labels.shape[2] / 640.0


def test_a_part_of_a_tracked_object_rides_on_it(case: Case) -> None:
    moved, frame = case.objects[0], int(np.flatnonzero(case.truth.contact)[0]) - 5
    rows, columns = np.nonzero(moved.masks[frame])
    pixel = np.array([columns[0], rows[0]], np.float64)
    away = np.array([2.0, 2.0])
    queries = [TaskPointQuery("label", "label", frame, pixel), TaskPointQuery("corner", "room", frame, away)]
    tracks, on, _ = follow(case, queries)
    assert on == [moved.name, None]
    assert np.linalg.norm(tracks.pixels[-1, 0] - pixel) > 10.0
    assert (tracks.pixels[:, 1] == away).all()


# small worlds


def still_clip(frames: int) -> FrameCache:
    pictures = FrameCache()
    rgb = np.random.default_rng(3).integers(0, 255, (60, 80, 1), np.uint8).repeat(3, axis=2)
    for _ in range(frames):
        pictures.append(rgb)
    return pictures


def unknown_hand(frames: int) -> np.ndarray:
    return np.full((frames, 21, 2), np.nan)


def block_object(frames: int, seen: list[int], step_px: float = 2.0) -> TrackedObject:
    """A block of 10 x 10 px that moves to the right by `step_px` a frame, without any tracks."""
    masks = ObjectMasks((60, 80), frames)
    for frame in seen:
        mask = np.zeros((60, 80), bool)
        left = 10 + round(step_px * frame)
        mask[20:30, left : left + 10] = True
        masks.put(frame, mask, SEEN)
    nothing = np.zeros((frames, 0), bool)
    return TrackedObject("block", masks, PixelTracks(np.zeros((frames, 0, 2)), nothing, nothing.astype(float)))


def test_without_tracks_a_point_keeps_its_place_in_the_mask() -> None:
    block = block_object(10, [0, 1, 2, 3, 7, 8, 9])
    query = TaskPointQuery("corner", "block", 2, np.array([14.0, 20.0]))
    tracks = follow_points(still_clip(10), [query], [block], unknown_hand(10), 10.0)
    for frame in (0, 3, 7, 9):
        np.testing.assert_allclose(tracks.pixels[frame, 0], [10.0 + 2.0 * frame, 20.0])
        assert tracks.visible[frame, 0]
    assert not tracks.visible[4:7, 0].any()
    assert (tracks.confidence[4:7, 0] < tracks.confidence[3, 0]).all()


def test_an_object_lost_in_the_hand_goes_with_the_hand() -> None:
    frames = 6
    hand = np.random.default_rng(0).uniform(10, 30, (21, 2)) + np.arange(frames)[:, None, None] * np.array([3.0, -1.0])
    block = block_object(frames, [0])
    query = TaskPointQuery("corner", "block", 0, np.array([18.0, 22.0]))
    tracks = follow_points(still_clip(frames), [query], [block], hand, 10.0)
    np.testing.assert_allclose(tracks.pixels[:, 0], [18.0, 22.0] + np.arange(frames)[:, None] * np.array([3.0, -1.0]))
    assert tracks.visible[:, 0].tolist() == [True] + [False] * (frames - 1)


def test_what_stands_still_is_hidden_while_something_else_is_there() -> None:
    pictures = still_clip(3)
    other = np.random.default_rng(9).integers(0, 255, (60, 80, 3), np.uint8)
    pictures.append(other)
    query = TaskPointQuery("target", "target", 0, np.array([60.0, 40.0]))
    block = block_object(4, [0, 1, 2, 3], step_px=0.0)
    under = TaskPointQuery("under", "table", 0, np.array([15.0, 45.0]))
    tracks = follow_points(pictures, [query, under], [block], unknown_hand(4), 10.0)
    assert tracks.visible[:, 0].tolist() == [True, True, True, False]


def test_names_and_frames_are_checked() -> None:
    query = TaskPointQuery("a", "b", 0, np.zeros(2))
    pictures = still_clip(2)
    with pytest.raises(OptionError, match="occurs twice"):
        follow_points(pictures, [query, query], [], unknown_hand(2), 10.0)
    with pytest.raises(OptionError, match="frame 2, expected 0 to 1"):
        follow_points(pictures, [dataclasses.replace(query, frame=2)], [], unknown_hand(2), 10.0)
    with pytest.raises(DexVidError, match="two finite numbers"):
        TaskPointQuery("a", "b", 0, np.array([0.0, np.nan]))
    with pytest.raises(DexVidError, match=r"visible has shape \(3, 2\), expected \(3, 1\)"):
        KeypointTrack(np.zeros((3, 1, 3)), np.zeros((3, 1, 2)), np.zeros((3, 2), bool), ("a",))


def test_a_clip_without_object_hand_or_contact_still_has_an_answer() -> None:
    pictures = still_clip(5)
    nobody = MotionProposer().propose(pictures, unknown_hand(5), [], np.zeros(5, bool), 10.0, None)
    assert nobody == []
    block = block_object(5, [])
    assert MotionProposer().propose(pictures, unknown_hand(5), [block], np.zeros(5, bool), 10.0, None) == []
    tracks = follow_points(pictures, [], [], unknown_hand(5), 10.0)
    assert tracks.pixels.shape == (5, 0, 2)
    shown = block_object(5, [1, 2])
    queries = MotionProposer().propose(pictures, unknown_hand(5), [shown], np.zeros(5, bool), 10.0, None)
    assert "object_centroid" in [query.name for query in queries]


def test_a_deformable_object_keeps_its_points_without_a_pose() -> None:
    K = intrinsics_from_fov(80, 60, 60.0)
    frames, rng = 6, np.random.default_rng(1)
    cloud = rng.uniform(-0.05, 0.05, (20, 3)) + [0.0, 0.0, 0.8] + 0.01 * np.arange(frames)[:, None, None]
    pixels = project(cloud, K)
    seen = np.ones((frames, 20), bool)
    unknown = np.full((frames, 4, 4), np.nan)
    track = ObjectTrack(cloud, pixels, seen, unknown, np.full(frames, np.nan))
    query = TaskPointQuery("corner", "cloth", 0, pixels[0, 3])
    followed = PixelTracks(pixels[:, 3:4], np.ones((frames, 1), bool), np.ones((frames, 1)))
    hand = HandTrack(
        np.full((frames, 21, 3), np.nan), np.full((frames, 21, 2), np.nan), np.zeros(frames), "right", np.zeros(frames, bool)
    )
    result = lift_task_points(followed, [query], ["cloth"], hand, {"cloth": track}, K)
    assert np.linalg.norm(result.points_camera[:, 0] - cloud[:, 3], axis=-1).max() < 0.03


def test_the_rim_of_a_container_is_placed_around_where_the_object_enters() -> None:
    K = intrinsics_from_fov(640, 480, 60.0)
    pitch = np.radians(35.0)
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = np.array(
        [[0.0, -np.sin(pitch), np.cos(pitch)], [-1.0, 0.0, 0.0], [0.0, -np.cos(pitch), -np.sin(pitch)]]
    )
    T_world_camera[:3, 3] = [-0.9, 0.0, 0.8]
    T_camera_world = np.linalg.inv(T_world_camera)
    middle = np.array([0.2, 0.05, 0.2])
    sideways = np.array([-middle[1], middle[0] + 0.9, 0.0]) / np.hypot(middle[1], middle[0] + 0.9)
    onwards = np.array([sideways[1], -sideways[0], 0.0])
    places = {"left": sideways, "right": -sideways, "far": onwards, "near": -onwards}
    rim = {f"container_rim_{side}": middle + 0.12 * direction for side, direction in places.items()}
    names = (TARGET, *rim)
    world = np.array([middle, *rim.values()])
    pixels = project(transform(T_camera_world, world), K)
    frames = 4
    fall = middle + np.array([0.0, 0.0, 0.15]) * np.linspace(1.0, -1.0, frames)[:, None]
    ball = transform(T_camera_world, fall[:, None] + 0.01 * np.random.default_rng(0).standard_normal((frames, 30, 3)))
    track = ObjectTrack(
        ball, project(ball, K), np.ones((frames, 30), bool), np.full((frames, 4, 4), np.nan), np.full(frames, np.nan)
    )
    queries = [TaskPointQuery(name, "container", 0, pixel) for name, pixel in zip(names, pixels, strict=True)]
    seen = np.ones((frames, len(names)), bool)
    followed = PixelTracks(np.broadcast_to(pixels, (frames, *pixels.shape)), seen, seen.astype(float))
    hand = HandTrack(
        np.full((frames, 21, 3), np.nan), np.full((frames, 21, 2), np.nan), np.zeros(frames), "right", np.zeros(frames, bool)
    )
    result = lift_task_points(followed, queries, [None] * len(names), hand, {"ball": track}, K, T_world_camera)
    found = transform(T_world_camera, result.points_camera[0])
    assert np.linalg.norm(found - world, axis=-1).max() < 0.03


# geometry


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-0.5, 0.5),
    st.floats(0.8, 1.2),
    st.floats(-30, 30),
    st.floats(-30, 30),
    st.integers(0, 2**32 - 1),
    st.integers(0, 5),
)
def test_a_point_goes_with_its_neighbours(turn: float, zoom: float, x: float, y: float, seed: int, wrong: int) -> None:
    rng = np.random.default_rng(seed)
    before = rng.uniform(0, 60, (24, 2))
    matrix = zoom * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    after = before @ matrix + [x, y]
    after[:wrong] += rng.uniform(20, 60, (wrong, 2))
    point = rng.uniform(5, 55, 2)
    np.testing.assert_allclose(carried_by(before, after, point), point @ matrix + [x, y], atol=2.0 if wrong else 1e-6)


def test_a_line_of_neighbours_is_enough() -> None:
    before = np.stack([np.linspace(0, 30, 6), np.full(6, 5.0)], axis=-1)
    moved = carried_by(before, before + np.array([4.0, 1.0]), np.array([10.0, 12.0]))
    np.testing.assert_allclose(moved, [14.0, 13.0], atol=1e-6)
    assert np.isfinite(carried_by(before[:1].repeat(4, axis=0), before[:1].repeat(4, axis=0), np.array([1.0, 1.0]))).all()


def test_a_pixel_meets_the_table() -> None:
    K = intrinsics_from_fov(640, 360, 60.0)
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = np.diag([1.0, -1.0, -1.0])  # straight down from 1.2 m
    T_world_camera[2, 3] = 1.2
    point = on_table(np.array([400.0, 100.0]), K, T_world_camera)
    assert transform(T_world_camera, point[None])[0, 2] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(project(point, K), [400.0, 100.0])
    upwards = T_world_camera.copy()
    upwards[:3, :3] = np.eye(3)
    assert np.isnan(on_table(np.array([400.0, 100.0]), K, upwards)).all()


def test_straight_means_straight_and_onwards() -> None:
    line = np.outer(np.linspace(0, 50, 20), np.array([0.6, 0.8]))
    arc = np.stack([np.linspace(0, 50, 20), 20 * np.sin(np.linspace(0, np.pi, 20))], axis=-1)
    assert is_straight(line, 40.0)
    assert not is_straight(arc.astype(np.float64), 40.0)
    there_and_back = np.array([*line, *line[::-1]])
    assert not is_straight(there_and_back[:35], 40.0)
    assert not is_straight(line / 10.0, 40.0)


def test_gaps_are_filled_and_ends_held() -> None:
    path = np.array([[np.nan], [1.0], [np.nan], [3.0], [np.nan]])
    np.testing.assert_allclose(fill_path(path)[:, 0], [1.0, 1.0, 2.0, 3.0, 3.0])
    assert np.isnan(fill_path(np.full((3, 1), np.nan))).all()
