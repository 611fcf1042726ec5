"""The metric hand: the fit to key points, depth pictures, and doubtful frames."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from demos.camera import intrinsics_from_fov, project, transform
from demos.extract.hand.detection import DETECTED, LOST, RawHand
from demos.extract.hand.flags import find_jumps, find_stalls
from demos.extract.hand.model import (
    ANGLE_RANGES_RAD,
    NUM_PARAMETERS,
    HandShape,
    Posture,
    hand_points,
    hand_points_and_jacobians,
)
from demos.extract.hand.pose import lift_hand
from demos.interaction import FINGERTIPS, HAND_BONES
from demos.parts import DepthFrames
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import InputFileError
from robots.human_hand import JOINT_NAMES, HandDimensions, HumanHand

SHIPPED = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"
K = intrinsics_from_fov(640, 360, 60.0)
FPS = 20.0

# the model of the hand


def random_posture(frames: int, seed: int) -> Posture:
    rng = np.random.default_rng(seed)
    angles = rng.uniform(*ANGLE_RANGES_RAD.T, size=(frames, len(JOINT_NAMES)))
    return Posture(Rotation.from_rotvec(rng.normal(size=(frames, 3))).as_matrix(), rng.normal(size=(frames, 3)), angles)


def test_derivatives_of_the_model_by_finite_differences() -> None:
    posture, shape, step = random_posture(3, 0), HandShape.average(0.092), 1e-6
    points, by_step, by_shape = hand_points_and_jacobians(posture, shape)
    for number in range(NUM_PARAMETERS):
        change = np.zeros((3, NUM_PARAMETERS))
        change[:, number] = step
        numeric = (hand_points(posture.moved(change), shape) - points) / step
        np.testing.assert_allclose(by_step[..., number], numeric, atol=1e-5)
    for number in range(15):
        palm, phalanges = shape.palm_m.copy(), shape.phalanges_m.copy()
        palm.flat[number] += step
        numeric = (hand_points(posture, HandShape(palm, phalanges)) - points) / step
        np.testing.assert_allclose(by_shape[..., number], numeric, atol=1e-5)
        phalanges.flat[number] *= np.exp(step)
        numeric = (hand_points(posture, HandShape(shape.palm_m, phalanges)) - points) / step
        np.testing.assert_allclose(by_shape[..., 15 + number], numeric, atol=1e-5)


def test_model_bends_as_the_human_hand_does() -> None:
    """Hinges and signs are those of `robots.human_hand`; the two differ by their proportions alone."""
    joints = np.where([name.endswith("flexion") for name in JOINT_NAMES], 0.9, 0.1)
    hand = HumanHand(HandDimensions())
    hand.pose(np.eye(4), joints)
    points = hand_points(Posture(np.eye(3)[None], np.zeros((1, 3)), joints[None]), HandShape.average(0.092))[0]
    assert np.linalg.norm(points - hand.keypoints_world(), axis=-1).max() < 0.025


# from key points to metres


def seen_hand(side: str = "right", frames: int = 40, scale: float = 1.0, noise_px: float = 0.0) -> tuple[np.ndarray, RawHand]:
    """A hand that closes while it is carried: truth (T, 21, 3) m in the camera frame, and what a detector says of it."""
    rng = np.random.default_rng(4)
    dimensions = HandDimensions(scale=scale, side="left" if side == "left" else "right")
    hand, time = HumanHand(dimensions), np.linspace(0.0, 1.0, frames)
    true = np.empty((frames, 21, 3))
    flexes = np.array([name.endswith("flexion") for name in JOINT_NAMES])
    upright = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    for frame, now in enumerate(time):
        T_camera_hand = np.eye(4)
        T_camera_hand[:3, :3] = Rotation.from_rotvec([0.4 - 0.5 * now, 0.3, 0.4 * now]).as_matrix() @ upright
        T_camera_hand[:3, 3] = [-0.1 + 0.2 * now, 0.05, 0.6 + 0.1 * now]
        hand.pose(T_camera_hand, np.where(flexes, 0.2 + 0.6 * now, 0.0))
        true[frame] = hand.keypoints_world()
    shape = 0.8 * (true - true[:, :1]) + rng.normal(scale=0.006, size=(1, 21, 3))
    image = project(true, K) + rng.normal(scale=noise_px, size=(frames, 21, 2))
    raw = RawHand(image, shape, np.full(frames, 0.9), np.full(frames, DETECTED), side, 1.0, np.ones(frames, bool))
    return true, raw


def tip_errors(points: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Median distance of the fingertips in m: in the camera frame, and with the wrists put together."""
    tips = list(FINGERTIPS)
    apart = points - true
    return (
        float(np.median(np.linalg.norm(apart[:, tips], axis=-1))),
        float(np.median(np.linalg.norm(apart[:, tips] - apart[:, :1], axis=-1))),
    )


def hand_length(true: np.ndarray) -> float:
    return float(np.linalg.norm(true[0, 9] - true[0, 0]))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_metric_hand_from_noisy_key_points(side: str, scale: float) -> None:
    true, raw = seen_hand(side, scale=scale, noise_px=1.5)
    track, _ = lift_hand(raw, K, FPS, hand_length(true))
    in_camera, to_wrist = tip_errors(track.keypoints_camera, true)
    assert in_camera < 0.030
    assert to_wrist < 0.018
    assert not track.flagged.any()
    parents, children = np.array(HAND_BONES).T
    lengths = np.linalg.norm(track.keypoints_camera[:, children] - track.keypoints_camera[:, parents], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-9)
    assert lengths[0, HAND_BONES.index((0, 9))] == pytest.approx(hand_length(true), rel=1e-3)


def test_outliers_move_nothing() -> None:
    true, raw = seen_hand()
    raw.image[7, 8] += 80.0
    raw.image[20] += [60.0, -40.0]
    clean, _ = lift_hand(seen_hand()[1], K, FPS, hand_length(true))
    track, figures = lift_hand(raw, K, FPS, hand_length(true))
    assert figures.jumps[20]
    apart = np.linalg.norm(track.keypoints_camera - clean.keypoints_camera, axis=-1).mean(axis=-1)
    assert apart[7] < 0.005
    assert np.delete(apart, [19, 20, 21]).max() < 0.005


def test_motion_starts_in_the_frame_in_which_it_starts() -> None:
    """A smoothing that blurred the instant of a grasp would move the hand before its time."""
    true, raw = seen_hand()
    still = true[0][None].repeat(40, axis=0)
    still[20:] += np.linspace(0.0, 0.2, 20)[:, None, None] * [1.0, 0.0, 0.0]
    raw = dataclasses.replace(raw, image=project(still, K), shape=raw.shape[:1].repeat(40, axis=0))
    track, _ = lift_hand(raw, K, FPS, hand_length(true))
    wrist_x = track.keypoints_camera[:, 0, 0]
    assert abs(wrist_x[19] - wrist_x[10]) < 0.002
    assert wrist_x[23] - wrist_x[19] > 0.02


def test_frames_taken_for_the_other_hand_do_not_tip_it_over() -> None:
    true, raw = seen_hand()
    flipped = np.arange(40) % 3 == 0
    shape = np.where(flipped[:, None, None], raw.shape * [1.0, 1.0, -1.0], raw.shape)
    raw = dataclasses.replace(raw, shape=shape, side_seen=~flipped)
    track, _ = lift_hand(raw, K, FPS, hand_length(true))
    assert tip_errors(track.keypoints_camera, true)[1] < 0.018


def test_no_hand_lies_below_a_known_table() -> None:
    true, raw = seen_hand()
    T_world_camera = np.eye(4)  # looks down at 45 degrees on a table that the fingertips come near
    T_world_camera[:3, :3] = Rotation.from_euler("x", -135.0, degrees=True).as_matrix()
    T_world_camera[2, 3] = 0.01 - (true @ T_world_camera[2, :3]).min()
    middle = raw.image.mean(axis=1, keepdims=True)
    raw = dataclasses.replace(raw, image=middle + 0.85 * (raw.image - middle))  # seems farther away than it is
    free, _ = lift_hand(raw, K, FPS, hand_length(true))
    held, _ = lift_hand(raw, K, FPS, hand_length(true), T_world_camera=T_world_camera)
    heights = [transform(T_world_camera, track.keypoints_camera)[..., 2].min() for track in (free, held)]
    assert heights[0] < -0.03 < -0.01 < heights[1]
    errors = [tip_errors(track.keypoints_camera, true)[0] for track in (free, held)]
    assert errors[1] < 0.7 * errors[0]


def test_lost_frames_lie_between_their_neighbours() -> None:
    true, raw = seen_hand()
    lost = np.arange(40) // 5 == 3
    raw.image[lost], raw.shape[lost], raw.confidence[lost], raw.origin[lost] = np.nan, np.nan, 0.0, LOST
    track, _ = lift_hand(raw, K, FPS, hand_length(true))
    assert tip_errors(track.keypoints_camera[lost], true[lost])[0] < 0.03
    np.testing.assert_array_equal(track.confidence[lost], 0.0)
    np.testing.assert_array_equal(track.flagged, lost)


# depth pictures


def test_size_of_the_hand_comes_from_depth_pictures() -> None:
    truth = ClipTruth.load(SHIPPED / "training-00001-place" / "truth.npz")
    frames = 30
    true = truth.hand_keypoints_camera[:frames]
    image = truth.hand_keypoints_image[:frames] + np.random.default_rng(0).normal(scale=1.0, size=(frames, 21, 2))
    raw = RawHand(image, true - true[:, :1], np.ones(frames), np.full(frames, DETECTED), truth.hand_side, 1.0)
    depth = DepthFrames(frames, lambda frame: truth.depth_m(frame).astype(np.float64))
    for told in (0.92, 1.08):  # of the true length
        track, _ = lift_hand(raw, truth.K, truth.fps, told * hand_length(true), depth)
        found = float(np.linalg.norm(track.keypoints_camera[0, 9] - track.keypoints_camera[0, 0])) / hand_length(true)
        assert abs(found - 1.0) < abs(told - 1.0)
        assert tip_errors(track.keypoints_camera, true)[0] < 0.015


def test_depth_pictures_correct_distance_and_fingers() -> None:
    truth = ClipTruth.load(SHIPPED / "training-00001-place" / "truth.npz")
    some = slice(0, 40)
    true = truth.hand_keypoints_camera[some]
    rng = np.random.default_rng(0)
    image = truth.hand_keypoints_image[some] + rng.normal(scale=1.5, size=(40, 21, 2))
    image = image.mean(axis=1, keepdims=True) + 1.06 * (image - image.mean(axis=1, keepdims=True))  # seems nearer than it is
    raw = RawHand(image, true - true[:, :1], np.ones(40), np.full(40, DETECTED), truth.hand_side, 1.0)

    def holed(frame: int) -> np.ndarray:
        picture = truth.depth_m(frame).astype(np.float64)
        picture[rng.random(picture.shape) < 0.2] = np.nan
        picture[rng.random(picture.shape) < 0.1] = 0.0
        return picture

    by_video, _ = lift_hand(raw, truth.K, truth.fps, hand_length(true))
    track, figures = lift_hand(raw, truth.K, truth.fps, hand_length(true), DepthFrames(40, holed))
    assert tip_errors(by_video.keypoints_camera, true)[0] > 0.03
    assert tip_errors(track.keypoints_camera, true)[0] < 0.015
    assert np.nanmedian(figures.depth_correction_m) > 0.03
    empty, figures = lift_hand(raw, truth.K, truth.fps, hand_length(true), DepthFrames(40, lambda _: np.full((48, 64), np.nan)))
    np.testing.assert_allclose(empty.keypoints_camera, by_video.keypoints_camera)
    assert np.isnan(figures.depth_correction_m).all()
    with pytest.raises(InputFileError, match="40 frames of video and 39 of depth"):
        lift_hand(raw, truth.K, truth.fps, hand_length(true), DepthFrames(39, holed))


# doubtful frames


def test_sudden_steps_are_jumps_and_standstill_on_the_way_is_a_stall() -> None:
    steps = np.full(30, 0.02)
    steps[10] = 0.0003
    steps[20] = 0.09
    points = np.cumsum(steps)[:, None, None] * np.array([1.0, 0.5, 0.0]) + np.random.default_rng(0).normal(size=(1, 21, 3))
    np.testing.assert_array_equal(np.flatnonzero(find_stalls(points, 10.0)), [10])
    np.testing.assert_array_equal(np.flatnonzero(find_jumps(points, 10.0)), [20])


@given(st.floats(5.0, 60.0), st.floats(0.05, 0.5), st.floats(0.4, 2.0))
@settings(max_examples=30, deadline=None)
def test_ordinary_motion_is_not_flagged(fps: float, reach_m: float, duration_s: float) -> None:
    """There and back as people move, with a rest in between, and the tremble of a detector."""
    time = np.arange(0.0, 3.0 * duration_s + 1.0, 1.0 / fps) / duration_s
    phase = np.clip(time, 0, 1) - np.clip(time - 2.0, 0, 1)
    place = reach_m * (10 * phase**3 - 15 * phase**4 + 6 * phase**5)
    rng = np.random.default_rng(0)
    points = place[:, None, None] * np.array([1.0, 0.0, 0.0]) + rng.normal(scale=0.0005, size=(len(place), 21, 3))
    assume(reach_m / duration_s < 0.7 and fps * duration_s > 6.0)  # a hand's usual speed, seen often enough to be followed
    assert not find_jumps(points, fps).any()
    assert not find_stalls(points, fps).any()


def test_exact_repetition_is_a_stall() -> None:
    points = np.random.default_rng(0).normal(scale=0.001, size=(40, 21, 2))
    points[10:22] = points[10]
    np.testing.assert_array_equal(np.flatnonzero(find_stalls(points, 30.0)), np.arange(10, 22))


def test_repeated_pictures_are_neither_stall_nor_jump() -> None:
    """A video of 10 pictures a second that was saved at 40: the hand moves in every fourth frame."""
    true, raw = seen_hand(frames=160)
    held = np.arange(160) // 4 * 4
    raw = dataclasses.replace(raw, image=project(true[held] * [3.0, 1.0, 1.0], K))
    track, _ = lift_hand(dataclasses.replace(raw, moving=np.arange(160) % 4 == 0), K, 40.0, hand_length(true))
    assert not track.flagged.any()
