"""Figures that say how far an extraction can be trusted, and warnings in plain words."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.spatial import ConvexHull, QhullError

from demos.extract.camera_motion import CameraMotion
from demos.extract.config import ExtractConfig
from demos.extract.hand.follow import FLOW, LOST, REGION, RawHand, hand_size_px
from demos.extract.hand.pose import HandQuality
from demos.extract.objects.lift_figures import LiftedObject
from demos.extract.objects.object_masks import LOST as MASK_LOST
from demos.extract.objects.object_masks import SEEN
from demos.extract.objects.stage import FollowedObject
from demos.extract.world import World
from demos.goals import find_goal
from demos.interaction import FINGERTIPS, HandTrack, Interaction
from demos.recording import Recording
from dexvid_envs.errors import DexVidError

Quality = dict[str, Any]

_MIN_RIGID_PART = 0.5
_OTHER_HAND_PART = 0.2
_FEW_POINTS, _LOWEST_PERCENT = 8, 10.0  # of the object's points in a frame: too few to say, and the share that is its bottom
_REST_FRAMES = 5  # whose median is where the object rests


def video_quality(recording: Recording, frames: int) -> Quality:
    """What was read."""
    info = recording.info
    return {
        "file": info.path.name,
        "sha256": info.sha256,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "frames": info.num_frames,
        "frames_used": frames,
        "fps_used": recording.fps,
        "varying_rate": info.varying_rate,
        "depth": recording.depth is not None,
    }


def camera_quality(recording: Recording, motion: CameraMotion, world: World) -> Quality:
    """What is known of the camera and its place."""
    return {
        "calibrated": recording.calibrated,
        "focal_px": float(recording.K[0, 0]),
        "largest_shift_of_diagonal": motion.largest_shift,
        "background_known_fraction": float(np.isfinite(motion.shift).mean()),
        "cuts": len(motion.cuts),
        "world_by": world.found_by,
        "gravity_sigma_deg": world.gravity_sigma_deg,
        "object_rest_height_m": world.rest_height_m,
    }


def hand_quality(raw: RawHand, hand: HandTrack, figures: HandQuality) -> Quality:
    """How well the hand was seen; per-frame numbers are at the rate of the frames that were looked at."""
    size = float(np.nanmedian(hand_size_px(raw.image)))
    reprojection = figures.reprojection_px
    return {
        "side": hand.side,
        "side_agreement": raw.side_agreement,
        "found_fraction": float(np.mean(raw.origin < FLOW)),
        "found_in_region_fraction": float(np.mean(raw.origin == REGION)),
        "carried_by_flow_fraction": float(np.mean(raw.origin == FLOW)),
        "lost_fraction": float(np.mean(raw.origin == LOST)),
        "other_hand_fraction": raw.other_hand_part,
        "confidence_mean": float(hand.confidence.mean()),
        "confidence_5th_percentile": float(np.percentile(hand.confidence, 5)),
        "size_px_median": size,
        "reprojection_px_median": float(np.nanmedian(reprojection)),
        "reprojection_px_95th_percentile": float(np.nanpercentile(reprojection, 95)),
        "reprojection_relative_to_hand_size": float(np.nanmedian(reprojection) / size),
        "bone_length_spread_before_locking": figures.bone_spread,
        "depth_m_range": [float(np.percentile(hand.keypoints_camera[:, 0, 2], q)) for q in (5, 95)],
        "stalled_frames": int(figures.stalls.sum()),
        "jumps": int(figures.jumps.sum()),
    }


def object_quality(name: str, followed: FollowedObject | None, lifted: LiftedObject | None, recording: Recording) -> Quality:
    """How well the moved object was followed and lifted."""
    if followed is None or lifted is None:
        return {"found": False, "object": "not found", "points": 0, "tracked_fraction": 0.0, "rigid_fraction": 0.0}
    track, figures, seen = lifted.track, lifted.figures, followed.seen
    scale = recording.info.width / float(followed.picture_size[0])
    visible, origin = track.visible, seen.masks.origin
    return {
        "found": bool(visible.any()),
        "object": name,
        "found_by": followed.seed.found_by,
        "seed_frame": followed.seed.frame,
        "points": visible.shape[1],
        "points_per_frame_median": float(np.median(visible.sum(axis=1))),
        "track_length_s_median": float(np.median(visible.sum(axis=0)) / recording.fps) if visible.shape[1] else 0.0,
        "tracked_fraction": float(np.mean(visible.sum(axis=1) >= 4)),
        "mask_seen_fraction": float(np.mean(origin == SEEN)),
        "mask_lost_fraction": float(np.mean(origin == MASK_LOST)),
        "forward_backward_error_px_median": _median(seen.error_px) * scale,
        "forward_backward_error_px_95th_percentile": _percentile(seen.error_px, 95) * scale,
        "rigid_fraction": float(np.isfinite(track.pose_camera[:, 0, 0]).mean()),
        "rigid_residual_m_median": _median(track.residual_m),
        "rigid_residual_m_95th_percentile": _percentile(track.residual_m, 95),
        **dataclasses.asdict(figures),
    }


def scene_quality(interaction: Interaction, lifted: Mapping[str, LiftedObject]) -> Quality:
    """How hand and moved object fit together in 3D.

    `hand_object_distance_m` is that of the nearest two fingertips from the object's points while they touch (median over
    frames), `object_in_hand_spread_m` how much the object moves in the hand while it is held, `penetration_m` how deep
    fingertips lie in the hull of the object's points (90th percentile), `below_rest_m` how far the object's lowest points pass
    below where they are before the touch and in the end.
    """
    contact = np.flatnonzero(interaction.contact & (interaction.object_visible.sum(axis=1) >= 4))
    tips = interaction.hand_keypoints_world[:, list(FINGERTIPS)]
    distance: list[float] = []
    depth: list[float] = []
    for frame in contact:
        cloud = interaction.object_points_world[frame, interaction.object_visible[frame]]
        apart = np.linalg.norm(tips[frame][:, None] - cloud[None], axis=-1)
        distance.append(float(np.sort(apart.min(axis=1))[:2].mean()))
        depth.append(_depth_inside(tips[frame], cloud))
    figures = next(iter(lifted.values())).figures if lifted else None
    return {
        "hand_object_distance_m": float(np.median(distance)) if distance else math.nan,
        "object_in_hand_spread_m": _spread_in_hand(interaction, contact),
        "penetration_m": float(np.percentile(depth, 90)) if depth else math.nan,
        "below_rest_m": float(np.nanmax(below_rest(interaction), initial=-np.inf)),
        "hand_to_length": math.nan if figures is None else figures.hand_to_length,
        "scale_source": "unknown" if figures is None else figures.scale_source,
        "objects": list(interaction.object_names),
        "keypoints": list(interaction.keypoint_names),
    }


def below_rest(interaction: Interaction) -> NDArray[np.float64]:
    """(T,) m by which the object's lowest points, while it is touched, are below where they are at rest.

    At rest is before the first touch and at the end, whichever is lower; what an object stands on lets nothing pass, however it
    is turned. NaN where the object is not touched or has few points; a single frame's noise is smoothed away.
    """
    seen = interaction.object_visible.sum(axis=1) >= _FEW_POINTS
    touched = seen & interaction.contact
    below = np.full(interaction.num_frames, np.nan)
    if touched.sum() < _REST_FRAMES:
        return below
    height = np.where(interaction.object_visible, interaction.object_points_world[..., 2], np.nan)
    lowest = np.full(interaction.num_frames, np.nan)
    lowest[seen] = np.nanpercentile(height[seen], _LOWEST_PERCENT, axis=1)
    first = int(np.flatnonzero(touched)[0])
    before = np.flatnonzero(seen[: first + 1])
    rest = min(np.median(lowest[before[-_REST_FRAMES:]]), np.median(lowest[np.flatnonzero(seen)[-_REST_FRAMES:]]))
    at = np.flatnonzero(touched)
    below[at] = rest - median_filter(lowest[at], _REST_FRAMES, mode="nearest")
    return below


def _depth_inside(tips: NDArray[np.float64], cloud: NDArray[np.float64]) -> float:
    """How far the deepest of the fingertips (5, 3) lies inside the points' convex hull (N, 3), in metres; 0 outside."""
    if len(cloud) < 8:
        return 0.0
    try:
        hull = ConvexHull(cloud)
    except QhullError:  # flat
        return 0.0
    inside = -(tips @ hull.equations[:, :3].T + hull.equations[:, 3]).max(axis=1)
    return float(max(inside.max(), 0.0))


def _spread_in_hand(interaction: Interaction, contact: NDArray[np.int64]) -> float:
    """Standard deviation (m) of the object's middle in the frame of the palm while it is held."""
    palm = interaction.hand_keypoints_world[:, [0, 5, 9, 17]]
    middle = np.full((interaction.num_frames, 3), np.nan)
    for frame in contact:
        pose = interaction.object_pose_world[frame]
        cloud = interaction.object_points_world[frame, interaction.object_visible[frame]]
        middle[frame] = pose[:3, 3] if np.isfinite(pose).all() else np.median(cloud, axis=0)
    inside: list[NDArray[np.float64]] = []
    for frame in contact:
        ahead = palm[frame, 2] - palm[frame, 0]
        ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
        across = palm[frame, 1] - palm[frame, 3]
        across -= (across @ ahead) * ahead
        across /= max(float(np.linalg.norm(across)), 1e-9)
        axes = np.stack([ahead, across, np.cross(ahead, across)])
        inside.append(axes @ (middle[frame] - palm[frame].mean(axis=0)))
    if len(inside) < 5:
        return math.nan
    centre = np.array(inside)
    return float(np.linalg.norm(1.4826 * np.median(np.abs(centre - np.median(centre, axis=0)), axis=0)))


def goal_quality(interaction: Interaction) -> Quality:
    """What the recording was for, as its key points say."""
    try:
        goal = find_goal(interaction)
    except DexVidError as error:
        return {"kind": "unknown", "reason": str(error)}
    return {
        "kind": goal.kind,
        "environment": goal.environment,
        "start_world_m": goal.start_world.tolist(),
        "goal_world_m": goal.goal_world.tolist(),
        "travel_m": goal.travel_m,
        "keypoints": list(goal.keypoints),
    }


def result_quality(interaction: Interaction) -> Quality:
    """Figures of the result itself; also for what an importer made."""
    contact = np.flatnonzero(interaction.contact)
    return {
        "frames": interaction.num_frames,
        "fps": interaction.fps,
        "duration_s": interaction.duration_s,
        "contact_frames": contact.tolist(),
        "contact_fraction": float(interaction.contact.mean()),
        "first_contact_s": float(contact[0] / interaction.fps) if len(contact) else None,
        "last_contact_s": float(contact[-1] / interaction.fps) if len(contact) else None,
        "flagged_frames": np.flatnonzero(interaction.flagged).tolist(),
        "flagged_fraction": float(interaction.flagged.mean()),
        "hand_height_m_range": [float(np.nanmin(interaction.hand_keypoints_world[..., 2])), _top(interaction)],
        "object_travel_m": object_travel_m(interaction),
    }


def object_travel_m(interaction: Interaction) -> float | None:
    """Largest distance of the object's middle from its first place; None without an object."""
    centre = (
        interaction.keypoints_world[:, list(interaction.keypoint_names).index("object_centroid")]
        if ("object_centroid" in interaction.keypoint_names)
        else np.full((1, 3), np.nan)
    )
    if not np.isfinite(centre).any():
        return None
    return float(np.nanmax(np.linalg.norm(centre - centre[np.isfinite(centre[:, 0])][0], axis=-1)))


def find_warnings(quality: Quality, config: ExtractConfig, recording: Recording) -> list[str]:
    """What a user should know before relying on the result; failed limits are the gates' business."""
    hand, target, camera = quality["hand"], quality["object"], quality["camera"]
    warnings = [*recording.notes]
    source = quality["scene"]["scale_source"]
    if recording.depth is None and "length" not in source:
        warnings.append(
            f"Scale: taken from a hand of {100 * config.hand_length_m:.1f} cm from wrist to middle knuckle (--hand-length-m)."
        )
    if not recording.calibrated:
        warnings.append(f"Camera: not calibrated; {config.fov_deg:g} degrees across the longer side assumed (--fov-deg).")
    if camera["world_by"] in ("assumption", "rest and lift"):
        warnings.append(
            f"Gravity: known to {camera['gravity_sigma_deg']:.0f} degrees ({camera['world_by']}; a camera is expected to look "
            f"down by {config.camera_pitch_deg:g} degrees, --camera-pitch-deg or --camera-pose)."
        )
    if hand["found_fraction"] < 0.9:
        warnings.append(f"The hand was found in only {hand['found_fraction']:.0%} of the frames; the rest is bridged.")
    if hand["other_hand_fraction"] > _OTHER_HAND_PART:
        warnings.append(
            f"Two hands: another one is in sight in {hand['other_hand_fraction']:.0%} of the frames; the {hand['side']} one, "
            "which is seen longest and moves most, is followed (--side)."
        )
    if hand["jumps"] or hand["stalled_frames"]:
        warnings.append(f"The hand track jumps {hand['jumps']} times and stalls in {hand['stalled_frames']} frames (flagged).")
    if not target["found"]:
        warnings.append("No object: nothing was seen to move with the hand. If there is one, name it with --object-point X Y.")
        return warnings
    if target["rigid_fraction"] < _MIN_RIGID_PART:
        warnings.append(f"A rigid pose fits in only {target['rigid_fraction']:.0%} of the frames; use the points.")
    return warnings


def write_quality(path: Path, quality: Mapping[str, Any]) -> None:
    """Writes `quality.json`; numbers that do not exist become null."""
    path.write_text(json.dumps(_plain(quality), indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.name  # a report is handed on; paths of the machine say nothing there
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if math.isfinite(value) else None
    return value


def _median(values: NDArray[np.float64]) -> float:
    return _percentile(values, 50)


def _percentile(values: NDArray[np.float64], q: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, q)) if len(finite) else math.nan


def _top(interaction: Interaction) -> float:
    return float(np.nanmax(interaction.hand_keypoints_world[..., 2]))
