"""Makes a followed hand metric: a model of the hand is fitted to its key points over the whole clip.

A single camera cannot tell size from distance. The scale therefore comes from the length of a human hand
(wrist to base of the middle finger), and everything that is derived is off by as much as this hand differs from it.
Depth pictures, where there are any, correct the distance and the fingers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from demos.camera import project, view_turns
from demos.extract.hand.detection import FLOW, LOST, RawHand, hand_size_px
from demos.extract.hand.evidence import FitOptions, Seen, misfit
from demos.extract.hand.fit import best_start, fit_clip, follow, posture_of_shape, size_by_surface
from demos.extract.hand.flags import find_jumps, find_stalls
from demos.extract.hand.model import HandShape, Posture, hand_points
from demos.extract.hand.surface import collect_surface, depth_misfit
from demos.extract.hand.usual import describe, usual_hand
from demos.interaction import HAND_BONES, HandTrack
from demos.parts import DepthFrames

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_MIDDLE_BASE = 9
_FAMILIARITY_S = 0.3  # in which it changes at most
_SIDE_SURE = 0.9  # share of the evidence from which the detector's word on the side is taken
_OTHER_SIDE_HANDICAP = 1.1  # the other side has to explain the clip this much better


@dataclasses.dataclass(frozen=True)
class HandQuality:
    """Figures that go with a `HandTrack`.

    Attributes:
        reprojection_px: (T,) mean distance of the metric key points from the detected ones; NaN where none were detected.
        bone_spread: spread (inter-quartile range / median, mean over bones) of the detector's own bone lengths, before locking.
        stalls: (T,) bool, the hand stands still while the picture moves on, as a stuck tracker does.
        jumps: (T,) bool, the hand moved further from the frame before than a hand can.
        depth_correction_m: (T,) how much farther than by the video alone the depth pictures say it is; NaN without any.
    """

    reprojection_px: FloatArray
    bone_spread: float
    stalls: BoolArray
    jumps: BoolArray
    depth_correction_m: FloatArray


def lift_hand(
    raw: RawHand,
    K: FloatArray,
    fps: float,
    hand_length_m: float,
    depth: DepthFrames | None = None,
    options: FitOptions | None = None,
    T_world_camera: FloatArray | None = None,
) -> tuple[HandTrack, HandQuality]:
    """Metric key points in the camera frame for every frame; frames without a hand are interpolated with confidence 0.

    Args:
        raw: the followed hand, T frames.
        K: (3, 3) px.
        fps: frames a second of the T frames.
        hand_length_m: wrist to base of the middle finger.
        depth: T depth pictures whose pixels are the video's.
        options: how much each kind of evidence is trusted.
        T_world_camera: (4, 4) where it is known, the table being z = 0: the hand is then not below it.
    """
    options = options or FitOptions()
    known = raw.origin != LOST
    _, spread = bone_lengths(raw.shape[known], raw.confidence[known], hand_length_m)
    average = HandShape.average(hand_length_m)
    table = None if T_world_camera is None else T_world_camera[2]
    metric = depth if depth is not None and depth.metric else None
    raw, seen, start = _best_explanation(raw, K, fps, average, options, table, metric)
    mirror = _mirror(raw.side)
    posture, shape = fit_clip(seen, start, average, options)
    correction = np.full(len(known), np.nan)
    if metric is not None:
        posture, shape, correction = _with_depth(metric, seen, posture, shape, raw, mirror, options)
    points = hand_points(posture, shape) * mirror

    reprojection = np.full(len(known), np.nan)
    reprojection[known] = np.linalg.norm(project(points[known], K) - raw.image[known], axis=-1).mean(axis=-1)
    size_px = hand_size_px(np.nan_to_num(raw.image))
    relative = np.where(known, reprojection / size_px, 0.0)
    confidence = np.where(known, raw.confidence * np.exp(-((relative / 0.25) ** 2)), 0.0)
    flat = raw.image * (hand_length_m / float(np.median(size_px[known])))  # about metres, in the plane of the picture
    jumps, stalls = _doubtful_steps(flat, fps, raw.moving)
    flagged = jumps | stalls | (confidence < 0.3)
    track = HandTrack(points, project(points, K), np.clip(confidence, 0.0, 1.0), raw.side, flagged)
    return track, HandQuality(reprojection, spread, stalls, jumps, correction)


def _best_explanation(
    raw: RawHand,
    K: FloatArray,
    fps: float,
    average: HandShape,
    options: FitOptions,
    table: FloatArray | None,
    depth: DepthFrames | None,
) -> tuple[RawHand, Seen, Posture]:
    """The hand as the right or left one that it must be (both are tried where the detector wavers), and where to start."""
    known, hand_length_m = raw.origin != LOST, float(np.linalg.norm(average.palm_m[2]))
    hands = [raw] if raw.side_agreement > _SIDE_SURE else [raw, _as_other_side(raw)]
    tries: list[tuple[float, RawHand, Seen, Posture]] = []
    for hand in hands:
        seen = _seen(hand, K, fps, hand_length_m, options, table)
        further = None
        if depth is not None:
            mirror = _mirror(hand.side)
            further = lambda points, mirror=mirror: depth_misfit(  # noqa: E731
                depth, np.flatnonzero(known), points * mirror, K, hand_length_m
            )
        chosen, start, cost_by_frame = best_start(seen[known], average, options, further)
        cost = 0.0
        if len(hands) > 1 and depth is not None:
            cost = float(np.average(cost_by_frame, weights=chosen.weight))
        elif len(hands) > 1:
            posture, shape = fit_clip(chosen, start, average, options)
            cost = float(np.average(misfit(chosen, posture, shape, options), weights=chosen.weight))
        cost *= 1.0 if hand is raw else _OTHER_SIDE_HANDICAP
        nearest = _nearest_known(known)
        tries.append((cost, hand, dataclasses.replace(seen, prior=chosen.prior[nearest]), start[nearest]))
    return min(tries, key=lambda one: one[0])[1:]


def _mirror(side: str) -> FloatArray:
    """What key points (T, 21, 3) are multiplied by so that a hand of either side is a right one, and back."""
    return np.array([1.0, 1.0, 1.0]) if side == "right" else np.array([-1.0, 1.0, 1.0])


def _as_other_side(raw: RawHand) -> RawHand:
    side_seen = np.zeros(len(raw.origin), bool) if raw.side_seen is None else ~raw.side_seen
    side = "left" if raw.side == "right" else "right"
    return dataclasses.replace(raw, side=side, side_seen=side_seen, side_agreement=1.0 - raw.side_agreement)


def _seen(raw: RawHand, K: FloatArray, fps: float, hand_length_m: float, options: FitOptions, table: FloatArray | None) -> Seen:
    """The evidence as of a right hand: a left one is mirrored."""
    known = raw.origin != LOST
    pixels, detected = raw.image.copy(), raw.shape - raw.shape[:, :1]
    detected *= hand_length_m / np.nanmedian(np.linalg.norm(detected[:, _MIDDLE_BASE], axis=-1))
    if raw.side_seen is not None:  # taken for the other hand in a frame: the same picture seen from the other side
        detected[~raw.side_seen, :, 2] *= -1.0
    if raw.side == "left":
        pixels[..., 0] = 2.0 * K[0, 2] - pixels[..., 0]
        detected[..., 0] *= -1.0
        table = None if table is None else table * [-1.0, 1.0, 1.0, 1.0]
    turns = view_turns(pixels[known].mean(axis=1), K)
    other_side = np.zeros(len(known), bool) if raw.side_seen is None else ~raw.side_seen
    up = None if table is None else table[:3]
    answers = describe(pixels[known], detected[known], other_side[known], K, up)
    usual = usual_hand(answers, hand_length_m, up_known=up is not None)
    if usual is None:
        prior = posture_of_shape(detected[known] @ turns.swapaxes(-1, -2), HandShape.average(hand_length_m), options)
    else:
        prior = usual.posture
        steady = gaussian_filter1d(usual.familiar, _FAMILIARITY_S * fps, mode="nearest")
        usual = dataclasses.replace(usual, familiar=steady)[_nearest_known(known)]
    trust = np.where(raw.origin == FLOW, 0.3, 1.0) * np.clip(raw.confidence, 0.05, 1.0)
    size_px = hand_size_px(np.nan_to_num(pixels))
    trust = np.where(known, trust, 0.0)
    return Seen(pixels, size_px, trust, prior[_nearest_known(known)], K, fps, table=table, usual=usual)


def _doubtful_steps(points: FloatArray, fps: float, moving: BoolArray | None) -> tuple[BoolArray, BoolArray]:
    """Jumps and stalls (T,); where pictures are repeated, as in videos of a changed rate, only the new ones count."""
    frames = np.flatnonzero(moving) if moving is not None else np.arange(len(points))
    jumps, stalls = np.zeros(len(points), bool), np.zeros(len(points), bool)
    if len(frames) > 2:
        rate = fps / float(np.median(np.diff(frames)))
        jumps[frames], stalls[frames] = find_jumps(points[frames], rate), find_stalls(points[frames], rate)
    return jumps, stalls


def _with_depth(
    depth: DepthFrames,
    seen: Seen,
    posture: Posture,
    shape: HandShape,
    raw: RawHand,
    mirror: FloatArray,
    options: FitOptions,
) -> tuple[Posture, HandShape, FloatArray]:
    """Posture and size of the hand corrected by depth pictures, and how much farther (T,) m the hand is by them."""
    points, length = hand_points(posture, shape), float(np.linalg.norm(shape.palm_m[2]))
    surface, correction = collect_surface(depth, points * mirror, raw.image, raw.origin != LOST, seen.K, length)
    told = np.isfinite(correction)
    if not told.any():
        return posture, shape, correction
    shift = np.interp(np.arange(len(told)), np.flatnonzero(told), correction[told])
    moved = posture.translation + points.mean(axis=1) * (shift / points[..., 2].mean(axis=1))[:, None]
    start = dataclasses.replace(posture, translation=moved)
    seen = dataclasses.replace(seen, surface=surface * mirror)
    factor = size_by_surface(seen, surface * mirror, start, shape, options)
    shape = HandShape(factor * shape.palm_m, factor * shape.phalanges_m)
    return follow(seen, start, shape, options), shape, correction


def _nearest_known(known: BoolArray) -> NDArray[np.intp]:
    """For each frame the number of the nearest known one before or after, among the known ones."""
    numbers = np.flatnonzero(known)
    frames = np.arange(len(known))
    after = np.clip(np.searchsorted(numbers, frames), 0, len(numbers) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(numbers[before] - frames) < np.abs(numbers[after] - frames), before, after)


def bone_lengths(shape: FloatArray, confidence: FloatArray, hand_length_m: float) -> tuple[FloatArray, float]:
    """The detector's own idea of the lengths (20,) m, scaled so that the wrist is `hand_length_m` from the middle base.

    Args:
        shape: (T, 21, 3) m, of the detector.
        confidence: (T,), the better half of the frames decides.
        hand_length_m: the scale.

    Returns:
        The lengths in the order of `HAND_BONES` and the spread of the detector's own lengths over time.
    """
    parents, children = np.array(HAND_BONES).T
    lengths = np.linalg.norm(shape[:, children] - shape[:, parents], axis=-1)  # (T, 20)
    low, median, high = np.percentile(lengths, [25, 50, 75], axis=0)
    spread = float(np.mean((high - low) / median))
    relative = lengths / np.linalg.norm(shape[:, _MIDDLE_BASE] - shape[:, 0], axis=-1)[:, None]
    locked = np.median(relative[confidence >= np.median(confidence)], axis=0)
    middle = HAND_BONES.index((0, _MIDDLE_BASE))
    return locked * hand_length_m / locked[middle], spread
