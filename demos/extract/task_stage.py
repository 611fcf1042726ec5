"""The task-relevant points of an extraction: chosen by a backend, followed through the pictures, lifted to metres."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demos.extract.config import ExtractConfig
from demos.extract.objects.stage import FollowedObject
from demos.extract.task_points.follow import carriers, follow_points
from demos.extract.task_points.lift import lift_task_points
from demos.extract.task_points.motion import MotionProposer
from demos.extract.task_points.task_points import Proposer, TrackedObject
from demos.extract.world import World
from demos.interaction import HandTrack, KeypointTrack, ObjectTrack
from demos.parts import PixelTracks
from demos.recording import Recording
from demos.video import FrameCache


def find_keypoints(
    config: ExtractConfig,
    recording: Recording,
    pictures: FrameCache,
    hand: HandTrack,
    objects: Mapping[str, FollowedObject],
    tracks: Mapping[str, ObjectTrack],
    contact: NDArray[np.bool_],
    world: World,
    folder: Path,
    step: Callable[[], None],
) -> KeypointTrack:
    """Key points of hand, moved object and whatever else matters.

    Args:
        config: which backend.
        recording: the source.
        pictures: T kept pictures.
        hand: metric, px of the video.
        objects: in the pictures, by name.
        tracks: the same in metres.
        contact: (T,).
        world: the camera's place, for points on the table.
        folder: where answers of a model are kept.
        step: called after each frame.

    Raises:
        EndpointError: the endpoint of a vision-language model gives no usable answer.
    """
    info = recording.info
    scale = info.width / (pictures.rgb(0).shape[1])
    hand_px = (hand.keypoints_image + 0.5) / scale - 0.5
    seen = [TrackedObject(name, one.seen.masks, one.seen.tracks) for name, one in objects.items()]
    queries = _proposer(config, folder).propose(pictures, hand_px, seen, contact, recording.fps, config.task)
    followed = follow_points(pictures, queries, seen, hand_px, recording.fps, step)
    on = carriers(queries, seen)  # while the queries are in px of the masks
    at_video = PixelTracks((followed.pixels + 0.5) * scale - 0.5, followed.visible, followed.confidence)
    queries = [dataclasses.replace(query, pixel=(query.pixel + 0.5) * scale - 0.5) for query in queries]
    size = (info.width, info.height)
    return lift_task_points(
        at_video,
        queries,
        on,
        hand,
        tracks,
        recording.K,
        world.T_world_camera,
        recording.depth,
        size,
    )


def _proposer(config: ExtractConfig, folder: Path) -> Proposer:
    if config.keypoints == "motion":
        return MotionProposer()
    from demos.extract.task_points.chat_endpoint import ChatEndpoint
    from demos.extract.task_points.vlm import VisionModelProposer

    return VisionModelProposer(ChatEndpoint(config.vlm_url or "", config.vlm_model or "", config.vlm_key_env), folder)
