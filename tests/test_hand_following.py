"""Following hands through dropouts, and the journal of what the detector answered."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from demos.extract.hand.detection import DETECTED, FLOW, LOST, REGION, Detection, RawHand, Region, hand_size_px
from demos.extract.hand.follow import HandFollower, MediaPipeHands
from demos.extract.hand.journal import JournaledHands
from demos.synthetic.truth import ClipTruth
from demos.video import FrameCache, probe_video, read_frames
from dexvid_envs.errors import NoHandFoundError

SHIPPED = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"


def flat_hand(centre: tuple[float, float], size: float = 40.0) -> np.ndarray:
    """(21, 2) px, fingers up."""
    hand = np.zeros((21, 2))
    for finger in range(5):
        for part in range(4):
            hand[1 + 4 * finger + part] = [(finger - 2) * 0.25 * size, -size - 0.3 * size * part]
    return hand - [0.0, -0.9 * size] + np.array(centre)


class PaintedHands:
    """A detector of hands that the test knows: it finds them as `plan` says, and reads them where they are."""

    def __init__(self, places: np.ndarray, sides: tuple[str, ...], found: set[int], readable: set[int]) -> None:
        self.places, self.sides, self.found, self.readable = places, sides, found, readable
        self.frame = 0
        self.searches = 0

    def _hand(self, number: int, origin: int) -> Detection:
        image = flat_hand(tuple(self.places[self.frame, number]))
        return Detection(image, np.pad(image, ((0, 0), (0, 1))) * 1e-3, 0.95, self.sides[number], origin, 0.9)

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        self.searches += 1
        return [self._hand(number, DETECTED) for number in range(len(self.sides)) if self.frame in self.found]

    def detect_in_region(self, rgb: np.ndarray, region: Region) -> list[Detection]:
        hands = [self._hand(number, REGION) for number in range(len(self.sides)) if self.frame in self.readable]
        near = [hand for hand in hands if np.linalg.norm(hand.image.mean(axis=0) - region.centre) < 0.4 * region.side_px]
        return sorted(near, key=lambda hand: float(np.linalg.norm(hand.image.mean(axis=0) - region.centre)))[:1]

    def close(self) -> None: ...


def textured(places: np.ndarray) -> np.ndarray:
    """A picture (240, 320, 3) with a patch of texture at each place, for optical flow to hold on to."""
    cv2 = pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(100, 130, (240, 320, 3), dtype=np.uint8), (0, 0), 2.0)
    for number, (x, y) in enumerate(places):
        patch = cv2.GaussianBlur(np.random.default_rng(number + 1).integers(0, 255, (96, 72, 3), dtype=np.uint8), (0, 0), 1.5)
        left, top = round(float(x)) - 36, round(float(y)) - 60
        picture[top : top + 96, left : left + 72] = patch
    return picture


def follow_painted(detector: PaintedHands, side: str = "auto", back: bool = False) -> RawHand:
    follower = HandFollower(detector, 10)
    pictures = [textured(places) for places in detector.places]
    for frame, picture in enumerate(pictures):
        detector.frame = frame
        follower.update(picture, picture[..., 0].copy())

    def picture_of(frame: int) -> np.ndarray:
        detector.frame = frame
        return pictures[frame]

    return follower.result(side, picture_of if back else None)


def one_path(frames: int = 40) -> np.ndarray:
    return np.stack([np.linspace(80, 220, frames), np.full(frames, 130.0)], axis=-1)[:, None]


def test_a_hand_found_once_is_read_from_then_on_and_backwards() -> None:
    everywhere = set(range(40))
    detector = PaintedHands(one_path(), ("right",), {13}, everywhere)
    raw = follow_painted(detector)
    np.testing.assert_array_equal(np.flatnonzero(raw.origin == LOST), np.arange(13))
    raw = follow_painted(detector, back=True)
    assert (raw.origin != LOST).all()
    true = np.array([flat_hand((float(x), float(y))) for x, y in one_path()[:, 0]])
    assert np.abs(raw.image - true).max() < 1.0
    assert raw.side == "right"


def test_optical_flow_bridges_a_dropout_with_falling_confidence() -> None:
    readable = set(range(40)) - set(range(20, 26))
    raw = follow_painted(PaintedHands(one_path(), ("right",), readable, readable))
    np.testing.assert_array_equal(np.flatnonzero(raw.origin == FLOW), np.arange(20, 26))
    assert (np.diff(raw.confidence[19:26]) < 0.0).all()
    true = np.array([flat_hand((float(x), float(y))) for x, y in one_path()[:, 0]])
    assert np.linalg.norm(raw.image - true, axis=-1).mean(axis=-1).max() < 6.0


def test_of_two_hands_the_moving_one_is_followed_and_never_swapped() -> None:
    moving = one_path()
    resting = np.tile([[[250.0, 170.0]]], (40, 1, 1))
    everywhere = set(range(40))
    raw = follow_painted(PaintedHands(np.concatenate([resting, moving], axis=1), ("left", "right"), everywhere, everywhere))
    assert raw.side == "right"
    true = np.array([flat_hand((float(x), float(y))) for x, y in moving[:, 0]])
    np.testing.assert_allclose(raw.image, true, atol=1e-9)
    places = np.concatenate([resting, moving], axis=1)
    asked = follow_painted(PaintedHands(places, ("left", "right"), everywhere, everywhere), side="left")
    np.testing.assert_allclose(asked.image[:, 0], flat_hand((250.0, 170.0))[None, 0].repeat(40, axis=0), atol=1e-9)


def test_no_hand_of_the_wanted_side_is_an_error() -> None:
    everywhere = set(range(40))
    with pytest.raises(NoHandFoundError, match="only a right hand was found in 40 frames, expected a left hand"):
        follow_painted(PaintedHands(one_path(), ("right",), everywhere, everywhere), side="left")
    with pytest.raises(NoHandFoundError, match="no hand was found"):
        follow_painted(PaintedHands(one_path(), ("right",), set(), set()))


@pytest.mark.parametrize("name", json.loads((SHIPPED / "corpus.json").read_text())["clips"])
def test_mediapipe_follows_the_hand_of_shipped_clips(name: str) -> None:
    pytest.importorskip("mediapipe")
    import cv2

    truth, cache = ClipTruth.load(SHIPPED / name / "truth.npz"), FrameCache()
    detector = MediaPipeHands(0.2, mirrored=False)
    follower = HandFollower(detector, 15)
    for frame in read_frames(probe_video(SHIPPED / name / "video.mp4")):
        cache.append(frame.rgb)
        follower.update(frame.rgb, np.asarray(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), np.uint8))
    raw = follower.result("auto", cache.rgb)
    detector.close()
    cache.close()
    apart = np.linalg.norm(raw.image - truth.hand_keypoints_image, axis=-1).mean(axis=-1)
    assert (apart < 0.5 * hand_size_px(truth.hand_keypoints_image)).mean() >= 0.95
    assert raw.side == truth.hand_side


def test_region_of_a_hand_turns_with_it() -> None:
    upright = flat_hand((100.0, 100.0))
    region = Region.around(upright)
    assert abs(region.turn_rad) < 0.2
    assert np.linalg.norm(region.centre - upright.mean(axis=0)) < 0.3 * region.side_px
    turned = (upright - 100.0) @ Rotation.from_euler("z", 90, degrees=True).as_matrix()[:2, :2].T + 100.0
    assert Region.around(turned).turn_rad == pytest.approx(region.turn_rad + np.pi / 2)
    assert Region.around(turned).side_px == pytest.approx(region.side_px)


# the journal


class CountingDetector:
    """Answers by the picture's first pixel, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        self.asked += 1
        rng = np.random.default_rng(int(rgb[0, 0, 0]))
        count = int(rgb[0, 0, 0]) % 3
        side = ("right", "left")[int(rgb[0, 0, 0]) % 2]
        return [
            Detection(rng.normal(size=(21, 2)), rng.normal(size=(21, 3)), rng.random(), side, REGION, rng.random())
            for _ in range(count)
        ]

    def detect_in_region(self, rgb: np.ndarray, region: Region) -> list[Detection]:
        return self.detect(rgb)

    def close(self) -> None: ...


def pictures(count: int) -> list[np.ndarray]:
    return [np.full((32, 32, 3), number, np.uint8) for number in range(count)]


def ask(path: Path, count: int) -> tuple[int, list[list[Detection]]]:
    """Questions of both kinds; how often the detector itself was asked, and the answers."""
    detector = CountingDetector()
    journal = JournaledHands(detector, path)
    region = Region(np.array([3.0, 4.0]), 20.0, 0.1)
    answers = [
        ask(rgb) for rgb in pictures(count) for ask in (journal.detect, lambda rgb: journal.detect_in_region(rgb, region))
    ]
    journal.close()
    return detector.asked, answers


def assert_same(answers: list[list[Detection]], expected: list[list[Detection]]) -> None:
    assert [len(hands) for hands in answers] == [len(hands) for hands in expected]
    pairs = zip(itertools.chain(*answers), itertools.chain(*expected), strict=True)
    for hand, other in pairs:
        np.testing.assert_array_equal(hand.image, other.image)
        np.testing.assert_array_equal(hand.shape, other.shape)
        assert dataclasses.replace(hand, image=other.image, shape=other.shape) == other


def test_journal_answers_as_the_detector_did(tmp_path: Path) -> None:
    asked, first = ask(tmp_path / "journal", 10)
    assert asked == 20
    asked, again = ask(tmp_path / "journal", 12)
    assert asked == 4
    assert_same(again[:20], first)
    assert_same(ask(tmp_path / "fresh", 12)[1], again)


@given(st.integers(0, 4000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_damaged_end_of_a_journal_is_dropped(tmp_path_factory: pytest.TempPathFactory, at: int, cut: bool) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    _, first = ask(path, 4)
    data = bytearray(path.read_bytes())
    at = min(at, len(data) - 1)
    if cut:
        del data[at:]
    else:
        data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    asked, again = ask(path, 4)
    assert asked > 0
    assert_same(again, first)
    assert ask(path, 4)[0] == 0  # it is whole again


def test_journal_of_another_video_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"")
    ask(tmp_path / "journal", 3)
    detector = CountingDetector()
    journal = JournaledHands(detector, tmp_path / "journal")
    journal.detect(pictures(9)[8])
    assert detector.asked == 1
