"""How hands usually are when the detector answers so: what is described of an answer, the shipped samples, their making."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.usual_postures import left_out_errors, samples_of_clip
from demos.camera import project
from demos.extract.hand.detection import Detection, Region
from demos.extract.hand.evidence import FitOptions, Seen, find_equations
from demos.extract.hand.model import NUM_ANGLES, RELAXED_RAD, HandShape, Posture, hand_points
from demos.extract.hand.usual import SAMPLES, Answers, Usual, describe, learn, target_of, usual_hand
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import OptionError
from dexvid_envs.npz_file import read_npz
from robots.human_hand import HumanHand

SHIPPED = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"
K = np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]])
SHAPE = HandShape.average(0.09)


def hand(turn: Rotation, place_m: list[float]) -> np.ndarray:
    return hand_points(Posture(turn.as_matrix()[None], np.array([place_m]), RELAXED_RAD[None]), SHAPE)


def answer(points: np.ndarray, up: np.ndarray | None = None) -> Answers:
    return describe(project(points, K), points - points[:, :1], np.zeros(len(points), bool), K, up)


def samples() -> tuple[np.ndarray, np.ndarray]:
    stored = read_npz(SAMPLES, "samples", "")
    return stored["features"].astype(np.float64), stored["targets"].astype(np.float64)


def test_an_answer_is_described_apart_from_place_size_and_roll() -> None:
    turn, up = Rotation.from_rotvec([0.3, 0.9, 0.2]), np.array([0.0, -0.8, -0.6])
    first = answer(hand(turn, [0.0, 0.0, 0.7]), up)
    roll = Rotation.from_rotvec([0.0, 0.0, 1.1])
    rolled = answer(roll.apply(hand(turn, [0.0, 0.0, 0.7])[0])[None], roll.apply(up))
    np.testing.assert_allclose(rolled.features, first.features, atol=2e-3)
    np.testing.assert_allclose(rolled.R_view_camera[0] @ roll.as_matrix(), first.R_view_camera[0], atol=2e-3)
    away = answer(2.0 * hand(turn, [0.0, 0.0, 0.7]))
    np.testing.assert_allclose(away.features[:, :105], first.features[:, :105], atol=1e-9)


def test_it_is_looked_at_with_the_knuckles_above_the_wrist() -> None:
    points = hand(Rotation.from_rotvec([0.2, -1.0, 0.7]), [0.2, -0.1, 0.6])
    view = answer(points)
    seen = points[0] @ view.R_view_camera[0].T
    flat = seen[:, :2] / seen[:, 2:]
    along = flat[[5, 9, 13, 17]].mean(axis=0) - flat[0]
    assert along[1] < 0.0
    assert abs(along[0]) < 1e-9
    assert np.abs(flat.mean(axis=0)).max() < 0.02


def test_shipped_samples_say_what_they_learnt_and_doubt_what_is_unlike_them() -> None:
    features, targets = samples()
    assert features.shape[1] == 109
    assert targets.shape[1] == 9 + NUM_ANGLES + 1
    rotation = targets[:, :9].reshape(-1, 3, 3)
    np.testing.assert_allclose(rotation @ rotation.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rotation.shape), atol=5e-3)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=5e-3)
    view = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix()
    true_m = np.linspace(0.4, 1.2, len(features))
    spread = np.exp(targets[:, 30]) * 0.09 / true_m
    answers = Answers(np.broadcast_to(view, (len(features), 3, 3)), features, spread)
    for up_known in (True, False):
        found = usual_hand(answers, 0.09, up_known=up_known)
        assert found is not None
        turned = Rotation.from_matrix(view @ found.posture.rotation @ rotation.swapaxes(-1, -2)).magnitude()
        assert np.median(turned) < 0.15
        assert np.abs(found.posture.angles - targets[:, 9:30]).mean() < 0.1
        assert np.median(np.abs(found.range_m / true_m - 1.0)) < 0.04
        assert np.median(found.familiar) > 0.5
    noise = np.random.default_rng(0).normal(scale=3.0, size=features.shape)
    assert usual_hand(dataclasses.replace(answers, features=features + noise), 0.09, up_known=True) is None
    nothing = Answers(np.zeros((0, 3, 3)), np.zeros((0, 109)), np.zeros(0))
    assert usual_hand(nothing, 0.09, up_known=True) is None


def test_what_looks_half_as_large_is_twice_as_far_away() -> None:
    features, _ = samples()
    views = np.broadcast_to(np.eye(3), (len(features), 3, 3))
    ranges: list[np.ndarray] = []
    for spread in (0.1, 0.05):
        found = usual_hand(Answers(views, features, np.full(len(features), spread)), 0.09, up_known=True)
        assert found is not None
        ranges.append(found.range_m)
    np.testing.assert_allclose(ranges[1], 2.0 * ranges[0])


def test_the_size_that_is_learnt_gives_the_range_back() -> None:
    place = np.array([0.1, -0.05, 0.7])
    turn = Rotation.from_rotvec([0.3, 0.9, 0.2])
    answers = answer(hand(turn, place.tolist()))
    target = target_of(answers, turn.as_matrix()[None], RELAXED_RAD[None], place[None], 0.09)
    range_m = 0.09 * np.exp(target[0, 30]) / answers.spread[0]
    assert range_m == pytest.approx(answers.R_view_camera[0, 2] @ place)


def test_guess_passes_through_samples_that_are_alike_and_returns_to_the_mean_far_away() -> None:
    rng = np.random.default_rng(1)
    features, turns = rng.normal(size=(40, 6)), Rotation.from_rotvec(0.3 * rng.normal(size=(40, 3))).as_matrix()
    bends, sizes = 0.3 * features @ rng.normal(size=(6, NUM_ANGLES)), 0.1 * features[:, :1]
    targets = np.concatenate([turns.reshape(-1, 9), bends, sizes], axis=1)
    learnt = learn(np.repeat(features, 50, axis=0), np.repeat(targets, 50, axis=0))  # many, so that the ridge hardly counts
    guess = learnt.guess(features)
    np.testing.assert_allclose(guess.angles, targets[:, 9:30], atol=0.1)
    np.testing.assert_allclose(guess.log_size, targets[:, 30], atol=0.02)
    assert guess.doubt.max() < 0.01
    guess = learnt.guess(features + 100.0)
    np.testing.assert_allclose(guess.angles, np.broadcast_to(bends.mean(axis=0), guess.angles.shape), atol=1e-6)
    np.testing.assert_allclose(guess.doubt, 1.0)


def test_familiar_answers_are_trusted_more_for_the_posture_and_less_for_each_pixel() -> None:
    frames = 2
    prior = Posture(
        np.tile(np.eye(3), (frames, 1, 1)), np.tile([0.0, 0.0, 0.6], (frames, 1)), np.tile(RELAXED_RAD, (frames, 1))
    )
    pixels = project(hand_points(prior, SHAPE), K)
    usual = Usual(prior, np.full(frames, 0.7), np.tile([0.0, 0.0, 1.0], (frames, 1)), np.array([0.0, 1.0]))
    seen = Seen(pixels, np.full(frames, 80.0), np.ones(frames), prior, K, 15.0, usual=usual)
    options = FitOptions()
    equations = find_equations(seen, prior, SHAPE, options)
    normal = equations.normal
    assert normal[0, 3, 3] == pytest.approx((options.usual_pixel_sigma / options.pixel_sigma) ** 2 * normal[1, 3, 3], rel=0.05)
    by_detector = find_equations(dataclasses.replace(seen, usual=None), prior, SHAPE, options)
    assert by_detector.normal[0, 3, 3] == pytest.approx(normal[0, 3, 3])
    assert (np.diagonal(by_detector.normal[0])[:3] < np.diagonal(normal[0])[:3]).all()
    assert equations.gradient[0, 5] == pytest.approx(by_detector.gradient[0, 5], abs=1e-6)
    assert equations.gradient[1, 5] < by_detector.gradient[0, 5]  # farther away, where a hand that looks so large usually is
    later = seen[np.array([1])].usual
    assert later is not None
    assert later.familiar == pytest.approx([1.0])


class TrueDetector:
    """Answers with the truth, shifted by nothing, for the region in which it is asked."""

    def __init__(self, truth: ClipTruth) -> None:
        self.truth, self.looked = truth, 0

    def detect_in_region(self, rgb: np.ndarray, region: Region) -> list[Detection]:
        frame = int(np.argmin(np.linalg.norm(self.truth.hand_keypoints_image.mean(axis=1) - region.centre, axis=1)))
        self.looked += 1
        camera = self.truth.hand_keypoints_camera[frame]
        return [Detection(self.truth.hand_keypoints_image[frame], camera - camera[:1], 1.0, self.truth.hand_side)]


@pytest.mark.parametrize("name", ["training-00001-place", "training-00002-drawer"])  # a right and a left hand
def test_samples_hold_the_true_posture_as_of_a_right_hand(name: str) -> None:
    truth = ClipTruth.load(SHIPPED / name / "truth.npz")
    detector = TrueDetector(truth)
    found = samples_of_clip(SHIPPED / name, detector, np.random.default_rng(0), every=25)  # pyright: ignore[reportArgumentType]
    assert len(found.targets) >= 2
    assert detector.looked == 2 * len(found.targets)
    frame = 0
    rotation = found.answers.R_view_camera[0].T @ found.targets[0, :9].reshape(3, 3)
    model = HumanHand()  # a right hand of average size, in the posture that the sample says
    T_camera_hand = np.eye(4)
    T_camera_hand[:3, :3] = rotation
    model.pose(T_camera_hand, found.targets[0, 9:30])
    points, true = model.keypoints_world(), truth.hand_keypoints_camera[frame].copy()
    if truth.hand_side == "left":
        true[:, 0] *= -1.0
    for bone in ((0, 5), (0, 17), (5, 8), (9, 12), (2, 4)):
        one, other = (p[bone[1]] - p[bone[0]] for p in (points, true))
        assert one @ other > 0.98 * np.linalg.norm(one) * np.linalg.norm(other)


def test_what_is_measured_is_not_learnt(tmp_path: Path) -> None:
    truth = ClipTruth.load(SHIPPED / "training-00001-place" / "truth.npz")
    dataclasses.replace(truth, corpus="evaluation").save(tmp_path / "truth.npz")
    with pytest.raises(OptionError, match="evaluation corpus, expected training clips"):
        samples_of_clip(tmp_path, TrueDetector(truth), np.random.default_rng(0), every=25)  # pyright: ignore[reportArgumentType]


def test_people_are_left_out_in_turn() -> None:
    features, targets = samples()
    person = np.array([str(number % 3) for number in range(len(features))])
    figures = left_out_errors(features, targets, person)
    assert 0.0 < figures["turn_median_rad"] < 0.3
    assert left_out_errors(features, targets, np.array(["one"] * len(features))) == {}
