"""Masks of objects: made from a click, a box or the object's own motion, and carried through the clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demos.extract.objects.masks import ObjectSeed, mask_in_outline, seed_from_box, seed_from_click
from demos.extract.objects.object_masks import CARRIED, LOST, SEEN
from demos.extract.objects.scene import StaticScene, observe_scene
from demos.extract.objects.seeds import find_object, seed_at_click
from demos.extract.objects.tracks import follow_object
from demos.parts import MaskFrames
from demos.synthetic.truth import ClipTruth
from demos.video import FrameCache, probe_video, read_frames

cv2 = pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')

CLIPS = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"
NOWHERE = np.full((21, 2), np.nan)
FRAMES = 40


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def disc(middle: tuple[float, float], radius: float, shape: tuple[int, int] = (180, 240)) -> np.ndarray:
    """Mask (h, w) of a disc."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(x - middle[0], y - middle[1]) <= radius


def plain_ball(bar: bool, path: np.ndarray) -> tuple[FrameCache, np.ndarray]:
    """A ball of one colour without a single point to hold on to moves along `path` (T, 2) px, behind a bar if there is one."""
    rng = np.random.default_rng(0)
    table = cv2.GaussianBlur(rng.integers(90, 150, (180, 240, 3), dtype=np.uint8), (0, 0), 2.0)
    cache, truth = FrameCache(), np.zeros((len(path), 180, 240), bool)
    for frame, (x, y) in enumerate(path):
        picture = table.copy()
        truth[frame] = disc((x, y), 16)
        picture[truth[frame]] = (40, 60, 200)
        if bar:
            picture[:, 110:130] = (60, 140, 60)
            truth[frame, :, 110:130] = False
        cache.append(picture)
    return cache, truth


def across(frames: int = FRAMES, last: float = 200.0) -> np.ndarray:
    """A path (T, 2) px that rests, then goes to the right."""
    x = np.interp(np.arange(frames), [6, frames - 6], [40.0, last])
    return np.stack([x, np.full(frames, 90.0)], axis=-1)


def follow(cache: FrameCache, seed: ObjectSeed, hand: np.ndarray | None = None, given: MaskFrames | None = None):
    whole = np.tile(NOWHERE, (len(cache), 1, 1)) if hand is None else hand
    return follow_object(cache, seed, whole, 20.0, 100, lambda: None, given)


@pytest.mark.parametrize("first", [0, 20, FRAMES - 1])
def test_a_plain_ball_is_followed_both_ways(first: int) -> None:
    cache, truth = plain_ball(False, across())
    seen = follow(cache, ObjectSeed(first, np.zeros((0, 2)), np.zeros((0, 2)), "mask", truth[first]))
    assert min(iou(seen.masks[frame], truth[frame]) for frame in range(FRAMES)) > 0.8
    assert (seen.masks.origin == SEEN).all()


def test_a_ball_comes_out_again_behind_a_bar() -> None:
    cache, truth = plain_ball(True, across())
    seen = follow(cache, ObjectSeed(0, np.zeros((0, 2)), np.zeros((0, 2)), "mask", truth[0]))
    assert min(iou(seen.masks[frame], truth[frame]) for frame in (0, 5, FRAMES - 4, FRAMES - 1)) > 0.8


def test_what_stands_still_stays_where_it_is() -> None:
    cache, truth = plain_ball(False, np.tile([[120.0, 90.0]], (FRAMES, 1)))
    seen = follow(cache, seed_from_box(np.array([102.0, 72.0, 139.0, 109.0]), 3, (240, 180)))
    assert min(iou(seen.masks[frame], truth[frame]) for frame in range(FRAMES)) > 0.85
    assert np.nanmax(np.ptp(seen.centre, axis=0)) < 1.5


def test_an_object_that_leaves_the_picture_has_no_mask_there() -> None:
    cache, truth = plain_ball(False, across(last=270.0))
    seen = follow(cache, ObjectSeed(0, np.zeros((0, 2)), np.zeros((0, 2)), "mask", truth[0]))
    assert not truth[-1].any()
    assert seen.masks[FRAMES - 1].sum() < 30
    assert seen.masks.origin[-1] in (CARRIED, LOST)


def test_a_speck_that_vanishes_is_lost() -> None:
    cache, truth = plain_ball(False, across())
    speck = np.zeros_like(truth[0])
    speck[90, 40:42] = True
    picture = cache.rgb(0)
    picture[truth[0]] = (120, 120, 120)
    empty = FrameCache()
    empty.append(cache.rgb(0))
    for _ in range(20):
        empty.append(picture)
    seen = follow(empty, ObjectSeed(0, np.zeros((0, 2)), np.zeros((0, 2)), "mask", speck))
    assert not seen.masks[20].any()
    assert seen.masks.origin[20] == LOST


def test_given_masks_are_used_as_they_are() -> None:
    cache, truth = plain_ball(False, across())
    small = MaskFrames(FRAMES, lambda frame: truth[frame, ::2, ::2] if frame < 30 else np.zeros((90, 120), bool))
    seed = ObjectSeed(0, np.array([[24.0, 74], [56, 74], [56, 106], [24, 106]]), np.zeros((0, 2)), "mask")
    seen = follow(cache, seed, given=small)
    assert min(iou(seen.masks[frame], truth[frame]) for frame in range(30)) > 0.85
    assert not any(seen.masks[frame].any() for frame in range(30, FRAMES))
    assert (seen.masks.origin[30:] == LOST).all()


def test_box_and_click_give_the_object_alone() -> None:
    cache, truth = plain_ball(False, across())
    picture = cache.rgb(0)
    box = seed_from_box(np.array([18.0, 68.0, 62.0, 112.0]), 0, (240, 180))
    assert iou(mask_in_outline(picture, box.polygon, NOWHERE), truth[0]) > 0.85
    click = seed_from_click(picture, np.array([44.0, 93.0]), NOWHERE, 0)
    assert click.mask is not None
    assert iou(click.mask, truth[0]) > 0.85


# a clip with truth


@pytest.fixture(scope="module")
def clip() -> tuple[ClipTruth, FrameCache, StaticScene]:
    """Somebody takes a flask from the table and puts it on a target."""
    folder = CLIPS / "training-00001-place"
    truth, cache = ClipTruth.load(folder / "truth.npz"), FrameCache()
    for frame in read_frames(probe_video(folder / "video.mp4")):
        cache.append(frame.rgb)
    return truth, cache, observe_scene(cache, truth.hand_keypoints_image)


def test_the_handled_object_is_found_and_followed_by_itself(clip: tuple[ClipTruth, FrameCache, StaticScene]) -> None:
    truth, cache, scene = clip
    hand, right = truth.hand_keypoints_image, truth.mask(truth.object_names[0])
    seed = find_object(cache, hand, np.ones(len(cache), bool), truth.fps, scene)
    assert seed is not None
    assert seed.mask is not None
    assert iou(seed.mask, right[seed.frame]) > 0.85
    seen = follow_object(cache, seed, hand, truth.fps, 200, lambda: None, scene=scene)
    quality = np.array([iou(seen.masks[frame], right[frame]) for frame in range(len(cache))])
    assert np.median(quality) > 0.85
    assert np.percentile(quality, 10) > 0.7
    flesh = truth.mask("hand")
    assert np.median([(seen.masks[frame] & flesh[frame]).sum() for frame in range(len(cache))]) < 40


def test_a_click_on_the_object_takes_the_place_it_leaves(clip: tuple[ClipTruth, FrameCache, StaticScene]) -> None:
    truth, cache, scene = clip
    right = truth.mask(truth.object_names[0])[0]
    middle = np.array([np.median(axis) for axis in np.nonzero(right)[::-1]])
    seed = seed_at_click(cache, middle, truth.hand_keypoints_image, truth.fps, 0, scene)
    assert seed.found_by == "click"
    assert seed.mask is not None
    assert iou(seed.mask, right) > 0.85


def test_without_a_hand_nothing_is_found_by_itself(clip: tuple[ClipTruth, FrameCache, StaticScene]) -> None:
    truth, cache, scene = clip
    lost = np.full_like(truth.hand_keypoints_image, np.nan)
    assert find_object(cache, lost, np.zeros(len(cache), bool), truth.fps, scene) is None
