"""Points on an object: where they are, that they stay themselves, and that they are joined again after they were hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demos.camera import transform, unproject
from demos.extract.objects.masks import ObjectSeed
from demos.extract.objects.tracks import ObjectInPicture, follow_object
from demos.synthetic.truth import ClipTruth
from demos.video import FrameCache, probe_video, read_frames

cv2 = pytest.importorskip("cv2", reason='needs OpenCV: pip install "dexvid-envs[video]"')

CLIPS = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"
FRAMES = 48


def slide(hidden: slice, turn_rad: float = 0.0) -> tuple[FrameCache, np.ndarray, np.ndarray]:
    """A textured card slides to the right and turns; in the `hidden` frames a plain board covers all but its left edge.

    Returns:
        Pictures, the motion (T, 2, 3) of the card since the first frame, and its mask (h, w) there.
    """
    rng = np.random.default_rng(5)
    table = cv2.GaussianBlur(rng.integers(90, 150, (200, 300, 3), dtype=np.uint8), (0, 0), 2.0)
    card = cv2.GaussianBlur(rng.integers(0, 255, (70, 70, 3), dtype=np.uint8), (0, 0), 1.5)
    cache, motion, first = FrameCache(), np.zeros((FRAMES, 2, 3)), np.zeros((200, 300), bool)
    for frame in range(FRAMES):
        x, angle = np.interp(frame, [5, FRAMES - 5], [0.0, 120.0]), turn_rad * frame / FRAMES
        middle = np.array([85.0, 95.0])
        motion[frame, :, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        motion[frame, :, 2] = middle + np.array([x, 0.0]) - motion[frame, :, :2] @ middle
        place = motion[frame].copy()
        place[:, 2] += motion[frame, :, :2] @ (50.0, 60.0)
        drawn = cv2.warpAffine(card, place, (300, 200))
        inside = cv2.warpAffine(np.full((70, 70), 255, np.uint8), place, (300, 200)) > 127
        picture = np.where(inside[..., None], drawn, table)
        if hidden.start <= frame < hidden.stop:
            picture[:, int(60 + x) : int(130 + x)] = (30, 160, 40)
        cache.append(picture)
        if frame == 0:
            first = inside
    return cache, motion, first


def follow(cache: FrameCache, mask: np.ndarray) -> ObjectInPicture:
    seed = ObjectSeed(0, np.zeros((0, 2)), np.zeros((0, 2)), "mask", mask)
    return follow_object(cache, seed, np.full((len(cache), 21, 2), np.nan), 24.0, 100, lambda: None)


def errors_px(seen: ObjectInPicture, motion: np.ndarray) -> np.ndarray:
    """Distance (T, N) of each point from where the card takes it since it was first seen; NaN where unseen."""
    pixels, visible = seen.tracks.pixels, seen.tracks.visible
    wrong = np.full(visible.shape, np.nan)
    for number in range(visible.shape[1]):
        first = int(np.argmax(visible[:, number]))
        home = np.linalg.solve(motion[first, :, :2], pixels[first, number] - motion[first, :, 2])
        wrong[:, number] = np.linalg.norm(motion[:, :, :2] @ home + motion[:, :, 2] - pixels[:, number], axis=-1)
    return wrong


def test_points_do_not_drift() -> None:
    cache, motion, mask = slide(slice(0, 0))
    seen = follow(cache, mask)
    wrong = errors_px(seen, motion)
    assert seen.tracks.visible.sum(axis=1).min() >= 20
    assert np.nanmedian(wrong) < 0.3
    assert np.nanpercentile(wrong, 95) < 1.0
    assert np.median(seen.tracks.visible.sum(axis=0)) > 0.7 * FRAMES
    assert ((seen.tracks.confidence > 0) == seen.tracks.visible).all()


def test_points_follow_a_turning_object() -> None:
    cache, motion, mask = slide(slice(0, 0), turn_rad=1.0)
    wrong = errors_px(follow(cache, mask), motion)
    assert np.nanmedian(wrong) < 0.6
    assert np.nanpercentile(wrong, 95) < 2.0


def test_hidden_points_are_joined_to_their_old_tracks() -> None:
    cache, motion, mask = slide(slice(20, 27))
    seen = follow(cache, mask)
    visible = seen.tracks.visible
    joined = visible[:19].any(axis=0) & ~visible[21:26].any(axis=0) & visible[30:].any(axis=0)
    assert joined.sum() >= 8
    assert np.nanpercentile(errors_px(seen, motion)[:, joined], 90) < 2.0


def test_points_on_a_clip_with_truth() -> None:
    folder = CLIPS / "training-00001-place"
    truth, cache = ClipTruth.load(folder / "truth.npz"), FrameCache()
    for frame in read_frames(probe_video(folder / "video.mp4")):
        cache.append(frame.rgb)
    right = truth.mask(truth.object_names[0])
    seed = ObjectSeed(0, np.zeros((0, 2)), np.zeros((0, 2)), "mask", right[0])
    tracks = follow_object(cache, seed, truth.hand_keypoints_image, truth.fps, 200, lambda: None).tracks
    frame, number = np.nonzero(tracks.visible)
    column, row = np.round(tracks.pixels[frame, number]).astype(int).T
    assert right[frame, row, column].mean() > 0.95
    assert (tracks.visible.sum(axis=1) >= 4).mean() > 0.9
    pose, wrong = truth.object_pose_world[0], []
    for point in range(tracks.visible.shape[1]):
        seen = np.flatnonzero(tracks.visible[:, point])
        first = tracks.pixels[seen[0], point]
        z = truth.depth_m(int(seen[0]))[tuple(np.round(first[::-1]).astype(int))]
        world = transform(truth.T_world_camera, unproject(first[None], np.array([z], np.float64), truth.K))
        home = transform(np.linalg.inv(pose[seen[0]]), world)[0]
        there = truth.to_image(pose[seen, :3, :3] @ home + pose[seen, :3, 3])
        wrong.append(np.linalg.norm(there - tracks.pixels[seen, point], axis=-1))
    assert np.median(np.concatenate(wrong)) < 3.0
