"""The moved object by what leaves its resting place with the hand, among arm and shadow that go along as well."""

from __future__ import annotations

import numpy as np
import pytest

from demos.extract.objects.departing import Departing, find_departing, seed_of_departing
from demos.extract.objects.masks import ObjectSeed
from demos.extract.objects.scene import StaticScene, observe_scene
from demos.extract.objects.seeds import hidden_seed
from demos.video import FrameCache

cv2 = pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')

HEIGHT, WIDTH, FPS, FRAMES = 240, 320, 15.0, 48
SIZE = 40.0  # px, of the hand
SKIN, WOOD = (205, 150, 120), (196, 146, 118)
THING = (slice(90, 150), slice(150, 220))
#: Key points of a hand whose fingers point to the left, about its middle.
SHAPE = SIZE * np.array(
    [(1.0, 0.0)]
    + [(0.9 - 0.2 * k, 0.35 + 0.05 * k) for k in range(4)]
    + [(-0.25 * k, 0.25 - 0.16 * finger) for finger in range(4) for k in range(4)]
)


def path() -> np.ndarray:
    """(T, 2) px of the hand: reach, wait, go along to the right and down, wait."""
    reach = np.linspace([300.0, 40.0], [215.0, 110.0], 14)
    carry = np.linspace([215.0, 110.0], [255.0, 150.0], 16)
    return np.concatenate([reach, np.tile(reach[-1], (8, 1)), carry, np.tile(carry[-1], (10, 1))])


def film(moves: bool) -> tuple[FrameCache, np.ndarray, StaticScene]:
    """A plain front with a rim before wood of nearly its colour, an arm of nearly its colour with its shadow, and the hand."""
    rng = np.random.default_rng(0)
    wood = np.clip(np.array(WOOD) + 40.0 * cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH)), (0, 0), 1.0)[..., None], 0, 255)
    cache, hand = FrameCache(), []
    rows, columns = THING
    for at in path():
        shift = at - path()[20] if moves and len(hand) > 20 else np.zeros(2)
        picture = wood.copy()
        x, y = columns.start + round(shift[0]), rows.start + round(shift[1])
        x1, y1 = columns.stop + round(shift[0]), rows.stop + round(shift[1])
        if moves:
            picture[rows, columns] = 40.0  # the hole behind it
        cv2.rectangle(picture, (x, y), (x1 - 1, y1 - 1), (188, 140, 112), -1)
        cv2.rectangle(picture, (x, y), (x1 - 1, y1 - 1), (70, 100, 130), 3)
        points = SHAPE + at
        hand.append(points)
        wrist = points[0].round().astype(int).tolist()
        shade = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.line(shade, [wrist[0] - 10, wrist[1] + 45], [WIDTH, wrist[1] + 20], (1,), 24)
        picture[shade > 0] *= 0.6
        cv2.line(picture, wrist, [WIDTH + 20, wrist[1] - 30], SKIN, 22)
        for first in range(1, 21, 4):
            for a, b in zip([0, *range(first, first + 3)], range(first, first + 4), strict=True):
                cv2.line(picture, points[a].round().astype(int).tolist(), points[b].round().astype(int).tolist(), SKIN, 9)
        cache.append(picture.clip(0, 255).astype(np.uint8))
    keypoints = np.array(hand)
    return cache, keypoints, observe_scene(cache, keypoints)


def found_in(moves: bool) -> tuple[Departing | None, ObjectSeed | None]:
    cache, hand, scene = film(moves)
    part = find_departing(cache, hand, np.ones(len(cache), bool), FPS, scene)
    return part, None if part is None else seed_of_departing(cache, part, hand, scene)


def test_a_plain_front_of_the_colours_around_it_is_found_by_leaving_with_the_hand() -> None:
    part, seed = found_in(moves=True)
    assert part is not None
    assert part.taken
    assert seed is not None
    assert seed.mask is not None
    own = np.zeros((HEIGHT, WIDTH), bool)
    own[THING] = True
    about = cv2.dilate(own.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0  # its rim moves, and is blurred a little
    assert about[part.sure].mean() > 0.95
    assert own[seed.mask].mean() > 0.75  # inside its rim it looks like the wood outside
    assert seed.mask[own].mean() > 0.08  # enough to start from


def test_arm_and_shadow_that_pass_over_a_thing_do_not_take_it_along() -> None:
    assert found_in(moves=False) == (None, None)


def test_a_small_thing_that_the_hand_hides_while_it_carries_it_is_found_where_it_rested() -> None:
    rng = np.random.default_rng(1)
    table = np.clip(120.0 + 20.0 * cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH)), (0, 0), 1.0)[..., None], 0, 255)
    cache, hand, middle, radius = FrameCache(), path(), (207, 108), 9
    for number, at in enumerate(hand):
        picture = np.broadcast_to(table, (HEIGHT, WIDTH, 3)).copy()
        if number < 18:  # from here on it is inside the hand
            cv2.circle(picture, middle, radius, (240, 220, 40), -1)
        cv2.circle(picture, at.round().astype(int).tolist(), 17, SKIN, -1)
        cv2.line(picture, at.round().astype(int).tolist(), [WIDTH + 20, int(at[1]) - 30], SKIN, 10)
        cache.append(picture.clip(0, 255).astype(np.uint8))
    keypoints = 0.6 * SHAPE + hand[:, None]
    scene = observe_scene(cache, keypoints)
    seed = hidden_seed(cache, keypoints, FPS, scene)
    assert seed is not None
    assert seed.mask is not None
    own = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), middle, radius, (1,), -1) > 0
    assert seed.frame < 18
    assert own[seed.mask].mean() > 0.7
    assert seed.mask[own].mean() > 0.7
