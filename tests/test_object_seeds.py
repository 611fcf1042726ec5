"""The handled object by itself where it is hard: a drawer that the hand never leaves, shadows, parts of a shadow's tone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demos.extract.objects.object_masks import ObjectMasks
from demos.extract.objects.scene import StaticScene, observe_scene
from demos.extract.objects.seeds import find_object
from demos.extract.objects.shadows import is_evenly_shaded, shadow_part
from demos.extract.objects.tracks import follow_object
from demos.synthetic.truth import ClipTruth
from demos.video import FrameCache, probe_video, read_frames

cv2 = pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')

CLIPS = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"
SHAPE = (80, 100)


def test_a_drawer_is_found_though_the_hand_never_leaves_it() -> None:
    folder = CLIPS / "training-00002-drawer"
    truth, cache = ClipTruth.load(folder / "truth.npz"), FrameCache()
    for frame in read_frames(probe_video(folder / "video.mp4")):
        cache.append(frame.rgb)
    hand = truth.hand_keypoints_image
    scene = observe_scene(cache, hand)
    seed = find_object(cache, hand, np.ones(len(cache), bool), truth.fps, scene)
    assert seed is not None
    assert seed.mask is not None
    own = np.isin(truth.labels, [truth.label_names.index(name) for name in ("drawer", "handle")])
    assert own[seed.frame][seed.mask].mean() > 0.9
    seen = follow_object(cache, seed, hand, truth.fps, 200, lambda: None, scene=scene)
    frame, point = np.nonzero(np.isfinite(seen.pixels[..., 0]))
    column, row = np.round(seen.pixels[frame, point]).astype(int).T
    assert own[frame, row, column].mean() > 0.9


def scene_of(early: np.ndarray, late: np.ndarray) -> StaticScene:
    changed = np.abs(early.astype(int) - late).max(axis=-1) > 10
    nothing = np.zeros(SHAPE, np.int32)
    return StaticScene(early, late, changed, nothing, nothing, np.ones(SHAPE, np.float32), np.arange(3))


@pytest.mark.parametrize("grain", [0.0, 30.0])
@pytest.mark.parametrize("falls", ["at first", "at last"])
def test_a_shadow_is_told_from_a_thing_of_its_tone(grain: float, falls: str) -> None:
    rng = np.random.default_rng(0)
    wood = np.array([200.0, 170.0, 140.0]) + grain * cv2.GaussianBlur(rng.normal(size=SHAPE), (0, 0), 1.0)[..., None]
    table = wood.clip(0, 255).astype(np.uint8)
    place = np.zeros(SHAPE, bool)
    place[20:60, 30:70] = True
    shadow, thing = table.copy(), table.copy()
    shadow[place] = (0.6 * table[place]).astype(np.uint8)
    round_things_light = np.linspace(0.4, 0.9, SHAPE[1])[None, :, None] * np.array([200.0, 170.0, 140.0])
    thing[place] = np.broadcast_to(round_things_light, (*SHAPE, 3))[place].astype(np.uint8)
    pairs = [(other, table) if falls == "at first" else (table, other) for other in (shadow, thing)]
    assert shadow_part(scene_of(*pairs[0]), place) > 0.8
    assert shadow_part(scene_of(*pairs[1]), place) < 0.4


def test_masks_keep_only_the_part_they_cover() -> None:
    masks, mask = ObjectMasks(SHAPE, 2), np.zeros(SHAPE, bool)
    mask[[10, 30, 30], [5, 99, 40]] = True
    masks.put(0, mask, 0)
    masks.put(1, np.zeros(SHAPE, bool), 1)
    again = ObjectMasks.from_arrays(masks.to_arrays())
    np.testing.assert_array_equal(again[0], mask)
    assert not again[1].any()
    (x, y), part = again.cut_out(0)
    assert (x, y, *part.shape) == (5, 10, 21, 95)


@pytest.mark.parametrize("thing", ["shadow", "box"])
def test_a_shadow_is_evenly_dark_and_a_thing_of_its_tone_is_not(thing: str) -> None:
    """Wood has grain, and a camera noise, so that a deep shadow hardly looks like what it falls on."""
    rng = np.random.default_rng(1)
    wood = np.array([200.0, 170.0, 140.0]) + 12.0 * cv2.GaussianBlur(rng.normal(size=SHAPE), (0, 0), 1.0)[..., None]
    place = np.zeros(SHAPE, bool)
    place[20:60, 30:70] = True
    darker = np.full(SHAPE, 0.5) if thing == "shadow" else np.tile(np.linspace(0.4, 0.9, SHAPE[1]), (SHAPE[0], 1))
    early = np.where(place[..., None], darker[..., None] * wood, wood) + rng.normal(0.0, 3.0, (*SHAPE, 3))
    scene = scene_of(early.clip(0, 255).astype(np.uint8), wood.clip(0, 255).astype(np.uint8))
    assert is_evenly_shaded(scene, place, True) == (thing == "shadow")
