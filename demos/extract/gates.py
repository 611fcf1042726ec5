"""Gates: limits that figures have to keep before an extraction may be trusted. A gate that fails says where and what to try.

A failed gate does not stop the extraction, because a person may still want to look at it; it is written to `quality.json`,
shown in the report and printed by every command that goes on from there.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demos.extract.hand.follow import FLOW, LOST
from demos.extract.hand.pose import HandQuality
from demos.extract.quality import below_rest
from demos.extract.sight import Sight
from demos.interaction import HandTrack, Interaction
from demos.runs import longest_run

_MAX_FRAMES_NAMED = 200
_DOUBTFUL = 0.3


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a figure has to keep.

    Attributes:
        value: the limit.
        better: "lower" or "higher".
        unit: of the figure.
        advice: what to try where it fails.
    """

    value: float
    better: str
    unit: str
    advice: str


LIMITS: Mapping[str, Limit] = {
    "camera shift": Limit(
        0.01, "lower", "of the diagonal", "put the camera on a tripod, or cut the video to the part in which it stands still"
    ),
    "cuts": Limit(0, "lower", "", "cut the video into its scenes and extract each by itself"),
    "hand found": Limit(
        0.8, "higher", "of the frames", "film the hand larger, in better light, and not cut off by the border; or cut the video"
    ),
    "longest loss": Limit(
        0.7, "lower", "s", "keep the hand in the picture and in sight; or cut the video before or after the loss"
    ),
    "hand side": Limit(0.7, "higher", "of the frames", "say which hand it is with --side, or --mirrored for a selfie camera"),
    "hand confidence": Limit(0.5, "higher", "", "film larger, sharper (less motion blur) and in better light"),
    "reprojection": Limit(
        0.1, "lower", "hand sizes", "give the true camera matrix (--camera-matrix) or field of view (--fov-deg)"
    ),
    "jumps and stalls": Limit(
        0.06, "lower", "of the frames", "look at the flagged frames in the overlay; cut them off or film again without stutter"
    ),
    "bone lengths": Limit(
        0.25, "lower", "spread", "the detector sees another hand from frame to frame: film so that the fingers are visible"
    ),
    "object found": Limit(1, "higher", "", "point at the object with --object-point X Y or --object-box X0 Y0 X1 Y1"),
    "object followed": Limit(
        0.7,
        "higher",
        "of the frames",
        "choose a frame that shows the object well (--object-frame), or bring masks (--masks)",
    ),
    "rigidity": Limit(
        0.02,
        "lower",
        "m",
        "the points do not move as one: mark the object more tightly, or say --rigid no for cloth and rope",
    ),
    "contact": Limit(1, "higher", "frames", "the hand was not seen to move the object: mark the right one, or film it closer"),
    "hand at object": Limit(
        0.05, "lower", "m", "hand and object disagree on depth: give --camera-matrix, --hand-length-m or --object-length-m"
    ),
    "object in hand": Limit(
        0.04, "lower", "m", "the object slides in the hand more than a grasp allows: look at its mask and points in the overlay"
    ),
    "penetration": Limit(
        0.03, "lower", "m", "fingertips lie deep in the object: hand and object disagree on scale; give --object-length-m"
    ),
    "under its support": Limit(
        0.04,
        "lower",
        "m",
        "the object passes through what it stood on, so its depth is wrong: give depth pictures (--depth) or --camera-pose, "
        "film from higher up, or mark the object more tightly",
    ),
    "scale": Limit(
        0.15,
        "lower",
        "relative",
        "hand and known length give different scales: measure both (--hand-length-m, --object-length-m)",
    ),
    "gravity": Limit(
        15.0, "lower", "degrees", "say how the camera stands: --camera-pose, --camera-pitch-deg, or depth pictures (--depth)"
    ),
}


def check_gates(
    quality: Mapping[str, Any],
    sight: Sight | None,
    hand: HandTrack | None,
    figures: HandQuality | None,
    interaction: Interaction,
) -> list[dict[str, Any]]:
    """All gates that can be judged, as they stand in `quality.json`.

    Args:
        quality: the figures of all stages.
        sight: of the video; None for an import.
        hand: the same.
        figures: the same.
        interaction: at the rate of the frames that were looked at.

    Returns:
        For each gate name, ok, value, limit, better, unit, frames (source frames at fault) and advice.
    """
    gates: list[dict[str, Any]] = []

    def gate(name: str, value: float | None, frames: np.ndarray | list[int] | None = None) -> None:
        if value is None or not math.isfinite(value):
            return
        limit = LIMITS[name]
        ok = value <= limit.value if limit.better == "lower" else value >= limit.value
        at = interaction.frame_index[np.asarray(frames, int)].tolist() if frames is not None and not ok else []
        gates.append(
            {
                "name": name,
                "ok": bool(ok),
                "value": float(value),
                "limit": limit.value,
                "better": limit.better,
                "unit": limit.unit,
                "frames": at[:_MAX_FRAMES_NAMED],
                "advice": limit.advice,
            }
        )

    if sight is not None and hand is not None and figures is not None:
        camera, raw = sight.camera, sight.raw
        gate("camera shift", camera.largest_shift, camera.moved_frames(LIMITS["camera shift"].value))
        gate("cuts", float(len(camera.cuts)), list(camera.cuts))
        gate("hand found", quality["hand"]["found_fraction"], np.flatnonzero(raw.origin >= FLOW))
        start, end = longest_run(raw.origin == LOST)
        gate("longest loss", (end - start) / interaction.fps, np.arange(start, end))
        gate("hand side", raw.side_agreement)
        doubtful = np.flatnonzero(hand.confidence < _DOUBTFUL)
        gate("hand confidence", quality["hand"]["confidence_mean"], doubtful)
        gate("reprojection", quality["hand"]["reprojection_relative_to_hand_size"])
        odd = np.flatnonzero(figures.jumps | figures.stalls)
        gate("jumps and stalls", len(odd) / len(raw.origin), odd)
        gate("bone lengths", figures.bone_spread)
    target, scene = quality["object"], quality["scene"]
    gate("object found", float(target["found"]))
    if target["found"]:
        unseen = np.flatnonzero(interaction.object_visible.sum(axis=1) < 4)
        gate("object followed", target["tracked_fraction"], unseen)
        gate("rigidity", target.get("rigid_residual_m_median"))
        gate("contact", float(interaction.contact.sum()))
        gate("hand at object", scene["hand_object_distance_m"])
        gate("object in hand", scene["object_in_hand_spread_m"])
        gate("penetration", scene["penetration_m"])
        below, limit = below_rest(interaction), LIMITS["under its support"].value
        gate("under its support", scene["below_rest_m"], np.flatnonzero(np.nan_to_num(below) > limit))
        ratio = scene.get("hand_to_length")
        gate("scale", abs(math.log(ratio)) if ratio is not None and ratio > 0 else None)
    if "camera" in quality:
        gate("gravity", quality["camera"]["gravity_sigma_deg"])
    return gates


def failed_gates(quality: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that did not pass."""
    return [gate for gate in quality.get("gates", []) if not gate["ok"]]


def gate_text(gate: Mapping[str, Any]) -> str:
    """A failed gate in one line."""
    sign = "at most" if gate["better"] == "lower" else "at least"
    frames = gate["frames"]
    where = f" (frames {_spans(frames)})" if frames else ""
    unit = f" {gate['unit']}" if gate["unit"] else ""
    return f"{gate['name']}: {gate['value']:.3g}{unit}, expected {sign} {gate['limit']:g}{where}; {gate['advice']}"


def read_failed_gates(extraction: Path) -> list[str]:
    """The failed gates of an extraction folder, a line each; none where there is no readable `quality.json`."""
    try:
        quality = json.loads((extraction / "quality.json").read_text(encoding="utf-8"))
        return [gate_text(gate) for gate in failed_gates(quality)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _spans(frames: list[int], most: int = 6) -> str:
    """Frame numbers as ranges: those that follow each other closely are joined."""
    spans: list[list[int]] = []
    for frame in frames:
        if spans and frame - spans[-1][1] <= 3:
            spans[-1][1] = frame
        else:
            spans.append([frame, frame])
    texts = [f"{a}" if a == b else f"{a}-{b}" for a, b in spans[:most]]
    return ", ".join(texts) + (" ..." if len(spans) > most else "")
