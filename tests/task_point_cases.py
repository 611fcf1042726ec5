"""Synthetic clips as the later stages of the extraction see them, with the truth in place of the earlier stages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from demos.camera import transform
from demos.extract.objects.object_masks import SEEN, ObjectMasks
from demos.extract.task_points.task_points import HAND, HAND_POINTS, TaskPointQuery, TrackedObject
from demos.interaction import BoolArray, FloatArray, HandTrack, ObjectTrack
from demos.parts import DepthFrames, PixelTracks
from demos.synthetic.truth import ClipTruth
from demos.video import FrameCache, probe_video, read_frames


@dataclasses.dataclass(frozen=True)
class Case:
    """A clip with everything that comes before the task-relevant points."""

    truth: ClipTruth
    pictures: FrameCache
    objects: tuple[TrackedObject, ...]
    hand: HandTrack
    object_tracks: dict[str, ObjectTrack]
    depth: DepthFrames


def make_case(folder: Path, noise_px: float = 0.7, seed: int = 0) -> Case:
    """A clip with its true masks, hand and poses, and true surface points whose pixels have noise."""
    truth = ClipTruth.load(folder / "truth.npz")
    pictures = FrameCache()
    for frame in read_frames(probe_video(folder / "video.mp4")):
        pictures.append(frame.rgb)
    rng = np.random.default_rng(seed)
    objects = tuple(truth_object(truth, number, noise_px, rng) for number in range(len(truth.object_names)))
    tracks = {carried.name: truth_track(truth, number) for number, carried in enumerate(objects)}
    frames = truth.num_frames
    hand = HandTrack(
        truth.hand_keypoints_camera, truth.hand_keypoints_image, np.ones(frames), truth.hand_side, np.zeros(frames, bool)
    )
    depth = DepthFrames(frames, lambda frame: truth.depth_m(frame).astype(np.float64))
    return Case(truth, pictures, objects, hand, tracks, depth)


def truth_masks(truth: ClipTruth, name: str) -> ObjectMasks:
    """The true masks of an object."""
    shown = truth.mask(name)
    masks = ObjectMasks((shown.shape[1], shown.shape[2]), len(shown))
    for frame in np.flatnonzero(shown.any(axis=(1, 2))):
        masks.put(int(frame), shown[frame], SEEN)
    return masks


def truth_object(truth: ClipTruth, number: int, noise_px: float, rng: np.random.Generator) -> TrackedObject:
    """An object with its true masks and every third of its surface points, seen where they are seen."""
    pixels = truth.to_image(truth.object_points_world[number].astype(np.float64))[:, ::3]
    visible = truth.object_visible[number][:, ::3]
    pixels = np.where(visible[..., None], pixels + noise_px * rng.standard_normal(pixels.shape), np.nan)
    tracks = PixelTracks(pixels, visible, visible.astype(float))
    return TrackedObject(truth.object_names[number], truth_masks(truth, truth.object_names[number]), tracks)


def truth_track(truth: ClipTruth, number: int) -> ObjectTrack:
    """The true surface points and pose of an object in the camera frame."""
    T_camera_world = np.linalg.inv(truth.T_world_camera)
    points = transform(T_camera_world, truth.object_points_world[number].astype(np.float64))
    visible = truth.object_visible[number]
    pixels = truth.to_image(truth.object_points_world[number].astype(np.float64))
    pose = T_camera_world @ truth.object_pose_world[number]
    return ObjectTrack(points, pixels, visible, pose, np.zeros(len(points)))


def part_of(truth: ClipTruth, name: str) -> str:
    """The part to which a true task-relevant point belongs: the hand, or the object whose name it begins with."""
    if name in HAND_POINTS:
        return HAND
    return max((known for known in truth.object_names if name.startswith(known)), key=len)


def truth_queries(truth: ClipTruth) -> list[TaskPointQuery]:
    """The true task-relevant points, each asked for at its true pixel in the first picture that shows it well."""
    queries = []
    for number, name in enumerate(truth.keypoint_names):
        shown = np.flatnonzero(truth.keypoint_visible[:, number])
        frame = int(shown[0]) if len(shown) else 0
        inside = name.endswith(("_base", "_middle", "_top"))
        queries.append(TaskPointQuery(name, part_of(truth, name), frame, truth.keypoints_image[frame, number], inside))
    return queries


def keypoints_camera(truth: ClipTruth) -> FloatArray:
    """(T, K, 3) m true task-relevant points in the camera frame."""
    return transform(np.linalg.inv(truth.T_world_camera), truth.keypoints_world)


def moving_parts(truth: ClipTruth) -> BoolArray:
    """(O,) objects that move at all."""
    return np.ptp(truth.object_pose_world[:, :, :3, 3], axis=1).max(axis=1) > 0.01
