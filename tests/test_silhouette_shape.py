"""Shapes from single masks: known solids come back where their outline tells, hidden and missing parts are said to be so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import demos
from demos.camera import project, transform
from demos.extract.objects.lift_figures import LiftedObject
from demos.extract.objects.object_masks import SEEN, ObjectMasks
from demos.extract.objects.silhouette_shape import silhouette_shape
from demos.interaction import FINGERTIPS, FloatArray, HandTrack
from demos.parts import DepthFrames
from demos.synthetic.truth import ClipTruth

SIZE = (640, 480)
K = np.array([[560.0, 0.0, 319.5], [0.0, 560.0, 239.5], [0.0, 0.0, 1.0]])
RADIUS_M, FPS = 0.04, 20.0
CLIP = Path(demos.__file__).parent / "data" / "synthetic_clips" / "training-00001-place"


def ball_mask(centre: FloatArray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Where a picture of `size` shows the ball at a centre (3,) m."""
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = (np.stack([columns, rows], axis=-1) + 0.5) * SIZE[0] / size[0] - 0.5
    rays = np.concatenate([(pixels - K[:2, 2]) / K[0, 0], np.ones((*pixels.shape[:2], 1))], axis=-1)
    across = np.linalg.norm(np.cross(rays, centre), axis=-1) / np.linalg.norm(rays, axis=-1)
    return across < RADIUS_M


def stack(pictures: list[np.ndarray]) -> ObjectMasks:
    masks = ObjectMasks((pictures[0].shape[0], pictures[0].shape[1]), len(pictures))
    for frame, picture in enumerate(pictures):
        masks.put(frame, picture, SEEN)
    return masks


def hand_around(centres: FloatArray, away_px: float = 200.0) -> HandTrack:
    """Fingertips on both sides of centres (T, 3) m; in the picture the hand is elsewhere."""
    points = np.tile(centres[:, None], (1, 21, 1))
    points[:, FINGERTIPS[0], 0] -= RADIUS_M
    points[:, FINGERTIPS[1:], 0] += RADIUS_M
    count = len(centres)
    pixels = np.full((count, 21, 2), np.nan) if np.isnan(away_px) else project(points, K) + np.array((0.0, away_px))
    return HandTrack(points, pixels, np.ones(count), "right", np.zeros(count, bool))


def no_hand(count: int) -> HandTrack:
    nothing = np.full((count, 21, 3), np.nan)
    return HandTrack(nothing, nothing[..., :2], np.zeros(count), "right", np.zeros(count, bool))


def ball_clip(size: tuple[int, int] = SIZE) -> tuple[FloatArray, ObjectMasks]:
    steps = np.linspace(0.0, 1.0, 8)
    centres = np.stack([-0.1 + 0.2 * steps, 0.05 * steps, 0.55 + 0.15 * steps], axis=-1)
    return centres, stack([ball_mask(centre, size) for centre in centres])


def off_ball_m(lifted: LiftedObject, centres: FloatArray) -> FloatArray:
    return np.abs(np.linalg.norm(lifted.track.points_camera - centres[:, None], axis=-1) - RADIUS_M)


@pytest.mark.parametrize("size", [SIZE, (320, 240)])
def test_a_ball_in_the_fingers_is_a_ball(size: tuple[int, int]) -> None:
    centres, masks = ball_clip(size)
    lifted = silhouette_shape(masks, hand_around(centres), np.ones(8, bool), K, FPS, None, None, SIZE)
    track = lifted.track
    assert track.points_camera.shape == (8, 200, 3)
    assert np.median(off_ball_m(lifted, centres)) < 0.002
    assert off_ball_m(lifted, centres).max() < 0.008
    assert track.visible[:, :100].all()
    assert not track.visible[:, 100:].any()
    assert (track.points_camera[:, :100, 2].mean(axis=1) < track.points_camera[:, 100:, 2].mean(axis=1)).all()
    np.testing.assert_allclose(track.points_image, project(track.points_camera, K))
    np.testing.assert_allclose(track.pose_camera[:, :3, 3], centres, atol=0.003)
    assert (lifted.figures.scale_source, lifted.figures.rigid) == ("hand", False)
    assert lifted.figures.length_m == pytest.approx(2 * RADIUS_M, rel=0.05)
    again = silhouette_shape(masks, hand_around(centres), np.ones(8, bool), K, FPS, None, None, SIZE)
    np.testing.assert_array_equal(track.points_camera, again.track.points_camera)


def test_before_and_after_it_is_held_an_object_is_as_far_as_at_the_nearest_grasp() -> None:
    centres, masks = ball_clip()
    contact = np.zeros(8, bool)
    contact[[2, 5]] = True
    depth = silhouette_shape(masks, hand_around(centres), contact, K, FPS, None, None, SIZE).track.pose_camera[:, 2, 3]
    nearest = centres[[2, 2, 2, 2, 5, 5, 5, 5], 2]
    np.testing.assert_allclose(depth, nearest, atol=0.002)


def test_a_known_length_says_how_far_it_is() -> None:
    centres, masks = ball_clip()
    lifted = silhouette_shape(masks, no_hand(8), np.zeros(8, bool), K, FPS, 2 * RADIUS_M, None, SIZE)
    assert lifted.figures.scale_source == "length"
    np.testing.assert_allclose(lifted.track.pose_camera[:, 2, 3], centres[:, 2], rtol=0.03)
    guess = silhouette_shape(masks, no_hand(8), np.zeros(8, bool), K, FPS, None, None, SIZE)
    assert guess.figures.scale_source == "none"
    assert guess.figures.scale_sigma == 0.5


def test_a_mask_cut_off_by_the_hand_does_not_move_the_object_away() -> None:
    centre = np.tile([0.0, 0.0, 0.6], (8, 1))
    whole = ball_mask(centre[0])
    half = whole & (np.arange(SIZE[0]) < 305)
    hand = hand_around(1.2 * centre, np.nan)  # 20 % too far away, as it may be all the clip long
    pixels = np.full((8, 21, 2), np.nan)
    pixels[3:] = np.random.default_rng(0).uniform(-40.0, 40.0, (5, 21, 2)) + np.array((345.0, 250.0))
    hand = HandTrack(hand.keypoints_camera, pixels, hand.confidence, "right", hand.flagged)
    contact = np.arange(8) >= 3
    lifted = silhouette_shape(stack([whole] * 3 + [half] * 5), hand, contact, K, FPS, 2 * RADIUS_M, None, SIZE)
    np.testing.assert_allclose(lifted.track.points_camera[:, :100, 2].max(axis=1), 0.6, atol=0.02)
    assert lifted.figures.scale_source == "hand and length"
    assert lifted.figures.hand_to_length == pytest.approx(1.2, rel=0.04)


def test_what_the_hand_hides_is_filled_by_convexity_and_not_visible() -> None:
    centre = np.array([0.0, 0.0, 0.6])
    mask = ball_mask(centre)
    gap = mask.copy()
    gap[225:255, 300:340] = False  # the fingers lie before the ball's middle
    hand = hand_around(centre[None])
    over = HandTrack(hand.keypoints_camera, np.full((1, 21, 2), (319.5, 239.5)), hand.confidence, "right", hand.flagged)
    over.keypoints_image[0] += np.random.default_rng(0).uniform(-18.0, 18.0, (21, 2))
    filled = silhouette_shape(stack([gap]), over, np.ones(1, bool), K, FPS, None, None, SIZE)
    hidden = filled.track.visible[0, :100]
    assert 60 < hidden.sum() < 100
    assert np.median(off_ball_m(filled, centre[None])) < 0.002
    hole = silhouette_shape(stack([gap]), hand, np.ones(1, bool), K, FPS, None, None, SIZE)
    assert hole.track.visible[0, :100].all()  # without a hand there, the hole is one
    in_gap = (np.abs(hole.track.points_image[0] - (319.5, 239.5)) < (15.0, 10.0)).all(axis=-1)
    assert not in_gap.any()


def test_the_pose_follows_the_long_side_in_the_picture_and_keeps_its_sign() -> None:
    columns, rows = np.meshgrid(np.arange(SIZE[0]) - 319.5, np.arange(SIZE[1]) - 239.5)
    angles = np.radians(np.arange(0, 330, 30))
    bars = []
    for angle in angles:
        along = columns * np.cos(angle) + rows * np.sin(angle)
        across = rows * np.cos(angle) - columns * np.sin(angle)
        bars.append((np.abs(along) < 90) & (np.abs(across) < 25))
    centres = np.tile([0.0, 0.0, 0.6], (len(bars), 1))
    lifted = silhouette_shape(stack(bars), hand_around(centres), np.ones(len(bars), bool), K, FPS, None, None, SIZE)
    turns = lifted.track.pose_camera[:, :3, :3]
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)
    expected = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=-1)
    np.testing.assert_allclose(turns[:, :, 0], expected, atol=0.03)
    np.testing.assert_allclose(turns[:, :, 2], np.tile([0.0, 0.0, 1.0], (len(bars), 1)), atol=0.03)
    assert lifted.figures.length_m == pytest.approx(0.6 * 180 / 560.0, rel=0.05)


@pytest.mark.parametrize("size", [SIZE, (320, 240)])
def test_depth_pictures_give_the_front_and_the_solid_its_back(size: tuple[int, int]) -> None:
    centres, masks = ball_clip()

    def read(frame: int) -> FloatArray:
        columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
        pixels = (np.stack([columns, rows], axis=-1) + 0.5) * SIZE[0] / size[0] - 0.5
        rays = np.concatenate([(pixels - K[:2, 2]) / K[0, 0], np.ones((*pixels.shape[:2], 1))], axis=-1)
        a, b, c = (rays**2).sum(-1), rays @ centres[frame], centres[frame] @ centres[frame] - RADIUS_M**2
        inside = b**2 - a * c
        depth = np.where(inside > 0.0, (b - np.sqrt(np.maximum(inside, 0.0))) / a, 1.5)
        depth[::7] = np.nan if frame % 2 else 0.0
        return depth

    far = hand_around(1.4 * centres)  # the hand is badly wrong; the depth picture counts
    lifted = silhouette_shape(masks, far, np.ones(8, bool), K, FPS, None, DepthFrames(8, read), SIZE)
    assert lifted.figures.scale_source == "depth"
    assert np.median(off_ball_m(lifted, centres)[:, :100]) < 0.001
    assert np.median(off_ball_m(lifted, centres)[:, 100:]) < 0.006
    assert lifted.figures.length_m == pytest.approx(2 * RADIUS_M, rel=0.05)
    relative = DepthFrames(8, read, metric=False)
    assert silhouette_shape(masks, far, np.ones(8, bool), K, FPS, None, relative, SIZE).figures.scale_source == "hand"
    empty = DepthFrames(8, lambda frame: np.full((480, 640), np.nan))
    assert silhouette_shape(masks, far, np.ones(8, bool), K, FPS, None, empty, SIZE).figures.scale_source == "hand"


def test_frames_without_mask_have_nothing() -> None:
    centres, _ = ball_clip()
    masks = stack([ball_mask(centre) if frame % 3 else np.zeros((480, 640), bool) for frame, centre in enumerate(centres)])
    track = silhouette_shape(masks, hand_around(centres), np.ones(8, bool), K, FPS, None, None, SIZE).track
    for frame in range(8):
        shown = frame % 3 > 0
        assert np.isfinite(track.points_camera[frame]).all() == shown
        assert np.isfinite(track.pose_camera[frame]).all() == shown
        assert track.visible[frame].any() == shown
    empty = stack([np.zeros((480, 640), bool)] * 8)
    nothing = silhouette_shape(empty, no_hand(8), np.zeros(8, bool), K, FPS, 0.1, None, SIZE)
    assert not nothing.track.visible.any()
    assert np.isnan(nothing.track.pose_camera).all()
    assert np.isnan(nothing.figures.length_m)


@settings(max_examples=40, deadline=None)
@given(
    arrays(bool, st.tuples(st.just(3), st.integers(8, 40), st.integers(8, 40))),
    st.sampled_from([None, 0.2]),
    st.sampled_from([1, 2, 50]),
    st.booleans(),
)
def test_any_mask_gives_points_before_the_camera_within_it(
    pictures: np.ndarray, length_m: float | None, count: int, hand: bool
) -> None:
    height, width = pictures.shape[1:]
    size = (2 * width, 2 * height)
    camera = np.array([[float(width), 0.0, width - 0.5], [0.0, float(width), height - 0.5], [0.0, 0.0, 1.0]])
    track = hand_around(np.tile([0.0, 0.0, 0.5], (3, 1)), 0.0) if hand else no_hand(3)
    lifted = silhouette_shape(
        stack(list(pictures)), track, np.array([hand] * 3), camera, FPS, length_m, None, size, count
    ).track
    known = np.isfinite(lifted.points_camera).all(axis=-1)
    assert lifted.points_camera.shape == (3, count, 3)
    assert (known | ~lifted.visible).all()
    assert (known.any(axis=1) == (pictures.sum(axis=(1, 2)) >= 12)).all()
    assert (lifted.points_camera[known, 2] > 0.0).all()
    pixels = lifted.points_image[known]
    assert (pixels > -1.0).all()
    assert (pixels < np.array(size)).all()


def test_a_clip_with_true_masks_and_hand() -> None:
    truth = ClipTruth.load(CLIP / "truth.npz")
    frames = np.arange(0, truth.num_frames, 6)
    label = truth.label_names.index(truth.object_names[0])
    masks = stack([truth.labels[frame] == label for frame in frames])
    hand = HandTrack(
        truth.hand_keypoints_camera[frames],
        truth.hand_keypoints_image[frames],
        np.ones(len(frames)),
        truth.hand_side,
        np.zeros(len(frames), bool),
    )
    size = (truth.labels.shape[2], truth.labels.shape[1])
    track = silhouette_shape(masks, hand, truth.contact[frames], truth.K, truth.fps / 6, None, None, size).track
    true = transform(np.linalg.inv(truth.T_world_camera), truth.object_points_world[0, frames].astype(float))
    apart = np.linalg.norm(track.points_camera[:, :, None] - true[:, None], axis=-1)  # (F, N, P)
    assert np.nanmedian(apart.min(axis=2)) < 0.015
