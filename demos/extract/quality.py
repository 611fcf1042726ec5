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

from demos.extract.config import ExtractConfig
from demos.extract.hand_pose import HandQuality
from demos.extract.hands import FLOW, LOST, REGION, RawHand, hand_size_px
from demos.extract.masks import ObjectSeed
from demos.extract.tracks import PointTracks
from demos.interaction import HandTrack, Interaction, ObjectTrack
from demos.video import VideoInfo

Quality = dict[str, Any]

_MIN_RIGID_PART = 0.5


def video_quality(info: VideoInfo, used_fps: float, frames: int) -> Quality:
    """What was read."""
    return {
        "file": info.path.name,
        "sha256": info.sha256,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "frames": info.num_frames,
        "frames_used": frames,
        "fps_used": used_fps,
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


def object_quality(
    seed: ObjectSeed | None, tracks: PointTracks, target: ObjectTrack, name: str, fps: float, scale: float
) -> Quality:
    """How well the object was followed; `scale` turns pixels of the kept pictures into pixels of the video."""
    if seed is None:
        return {"found": False, "object": "not found", "points": 0, "tracked_fraction": 0.0, "rigid_fraction": 0.0}
    visible = target.visible
    seen = visible.any(axis=1)
    return {
        "found": bool(visible.any()),
        "object": name if visible.any() else "not found",
        "found_by": seed.found_by,
        "seed_frame": seed.frame,
        "points": visible.shape[1],
        "points_per_frame_median": float(np.median(visible.sum(axis=1))),
        "track_length_s_median": float(np.median(visible.sum(axis=0)) / fps) if visible.shape[1] else 0.0,
        "tracked_fraction": float(np.mean(visible.sum(axis=1) >= 4)),
        "seen_fraction": float(seen.mean()),
        "forward_backward_error_px_median": _median(tracks.error_px) * scale if seen.any() else None,
        "forward_backward_error_px_95th_percentile": _percentile(tracks.error_px, 95) * scale if seen.any() else None,
        "rigid_fraction": float(np.isfinite(target.residual_m).mean()),
        "rigid_residual_m_median": _median(target.residual_m),
        "rigid_residual_m_95th_percentile": _percentile(target.residual_m, 95),
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


def find_warnings(quality: Quality, config: ExtractConfig) -> list[str]:
    """What a user should know before relying on the result."""
    hand, target = quality["hand"], quality["object"]
    warnings = [
        f"Scale: taken from a hand of {100 * config.hand_length_m:.1f} cm from wrist to middle knuckle (--hand-length-m).",
        f"Camera: not calibrated; {config.fov_deg:g} degrees across the longer side assumed (--fov-deg).",
        f"Gravity: camera assumed upright and looking down by {config.camera_pitch_deg:g} degrees (--camera-pitch-deg).",
    ]
    if hand["found_fraction"] < 0.9:
        warnings.append(f"The hand was found in only {hand['found_fraction']:.0%} of the frames; the rest is bridged.")
    if hand["confidence_mean"] < 0.6:
        warnings.append(f"The hand's mean confidence is low ({hand['confidence_mean']:.2f}); film larger or in better light.")
    if hand["side_agreement"] < 0.8:
        warnings.append(f"Left or right is unsure ({hand['side_agreement']:.0%} say {hand['side']}); set --side.")
    if hand["reprojection_relative_to_hand_size"] > 0.1:
        warnings.append(
            f"The metric hand misses the detected one by {hand['reprojection_relative_to_hand_size']:.0%} of the hand's size."
        )
    if hand["jumps"] or hand["stalled_frames"]:
        warnings.append(f"The hand track jumps {hand['jumps']} times and stalls in {hand['stalled_frames']} frames (flagged).")
    if not target["found"]:
        warnings.append("No object: nothing was seen to move with the hand. If there is one, name it with --object-point X Y.")
        return warnings
    warnings.append(
        "Depth: the object is taken at the depth of the hand that holds it; turns out of the picture plane are not seen."
    )
    if target["tracked_fraction"] < 0.8:
        warnings.append(f"The object was followed in only {target['tracked_fraction']:.0%} of the frames.")
    if target["rigid_fraction"] < _MIN_RIGID_PART:
        warnings.append(f"A rigid pose fits in only {target['rigid_fraction']:.0%} of the frames; use the points.")
    if not quality["result"]["contact_frames"]:
        warnings.append("No contact: the hand was not seen to move the object.")
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
