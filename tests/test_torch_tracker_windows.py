"""Torch point trackers: windows cover any clip, and points are dropped and taken up where they should be."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.extract.objects.masks import ObjectSeed
from demos.extract.objects.object_masks import SEEN, ObjectMasks
from demos.extract.objects.torch_networks import Answer
from demos.extract.objects.torch_tracker import TorchTracker
from demos.interaction import FloatArray
from demos.video import FrameCache


class Still:
    """A network that leaves points where they are, but for a drift (px a picture) of those in the upper half."""

    def __init__(self, drift: float = 0.0) -> None:
        self.drift, self.sizes = drift, []

    def track(self, pictures: np.ndarray, queries: FloatArray) -> Answer:
        self.sizes.append(len(pictures))
        pixels = np.tile(queries[None, :, 1:], (len(pictures), 1, 1))
        since = np.arange(len(pictures))[:, None] - queries[:, 0]
        pixels[..., 0] += self.drift * since * (queries[:, 2] < 12.0)
        return Answer(pixels, np.ones(pixels.shape[:2], bool), np.full(pixels.shape[:2], 0.75))


def still_scene(frames: int, empty: range = range(0)) -> tuple[FrameCache, ObjectMasks]:
    cache, masks = FrameCache(), ObjectMasks((24, 32), frames)
    for frame in range(frames):
        cache.append(np.zeros((24, 32, 3), np.uint8))
        mask = np.zeros((24, 32), bool)
        mask[4:20, 6:26] = frame not in empty
        masks.put(frame, mask, SEEN)
    return cache, masks


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(1, 90), st.integers(1, 30))
def test_any_length_and_any_seed_are_covered_by_windows(data: st.DataObject, frames: int, points: int) -> None:
    cache, masks = still_scene(frames)
    network = Still()
    seed = data.draw(st.integers(0, frames - 1))
    tracks = TorchTracker(network, 16, 4).follow(
        cache, ObjectSeed(seed, np.zeros((0, 2)), np.zeros((0, 2)), "mask"), masks, points
    )
    assert max(network.sizes, default=0) <= 16
    assert 0 < tracks.pixels.shape[1] <= points
    assert tracks.visible.all()
    assert np.ptp(tracks.pixels, axis=0).max() == 0.0
    cache.close()


def test_points_that_leave_the_mask_are_dropped_and_others_taken_up() -> None:
    cache, masks = still_scene(120)
    seed = ObjectSeed(0, np.zeros((0, 2)), np.zeros((0, 2)), "mask")
    tracks = TorchTracker(Still(drift=1.5)).follow(cache, seed, masks, 40)
    x, y = np.moveaxis(tracks.pixels[tracks.visible], -1, 0)
    assert x.min() >= 1.0
    assert x.max() <= 30.0
    assert y.min() >= 4.0
    drifts = np.nanmin(tracks.pixels[..., 1], axis=0) < 12.0
    assert tracks.visible[:, drifts].sum(axis=0).max(initial=0) < 40
    assert tracks.visible[:, ~drifts].sum(axis=1).min() >= 10


class Forgetful(Still):
    """A network that sees a point only a few pictures before and after it was asked for."""

    def track(self, pictures: np.ndarray, queries: FloatArray) -> Answer:
        answer = super().track(pictures, queries)
        away = np.abs(np.arange(len(pictures))[:, None] - queries[:, 0])
        return answer._replace(visible=away < 15)


def test_points_are_taken_up_again_where_few_are_left() -> None:
    cache, masks = still_scene(200)
    seed = ObjectSeed(90, np.zeros((0, 2)), np.zeros((0, 2)), "mask")
    tracks = TorchTracker(Forgetful()).follow(cache, seed, masks, 40)
    assert tracks.visible.any(axis=1).mean() > 0.95
    assert tracks.visible.sum(axis=1).max() <= 40


def test_where_there_is_no_mask_no_point_is_seen() -> None:
    cache, masks = still_scene(100, empty=range(30, 50))
    seed = ObjectSeed(5, np.zeros((0, 2)), np.zeros((0, 2)), "mask")
    tracks = TorchTracker(Still(), 40, 8).follow(cache, seed, masks, 12)
    assert not tracks.visible[30:50].any()
    assert tracks.visible[:30].any(axis=1).all()
    assert tracks.visible[50:].any(axis=1).all()
    nothing = TorchTracker(Still()).follow(*_no_object(cache), 12)
    assert nothing.pixels.shape == (100, 0, 2)


def _no_object(cache: FrameCache) -> tuple[FrameCache, ObjectSeed, ObjectMasks]:
    return cache, ObjectSeed(0, np.zeros((0, 2)), np.zeros((0, 2)), "mask"), ObjectMasks((24, 32), len(cache))
