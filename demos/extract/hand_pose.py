"""Makes a followed hand metric: one set of bone lengths for the clip, depth by PnP, smoothing, and flags where it is doubtful.

A single camera cannot tell size from distance. The scale therefore comes from the length of a human hand
(wrist to base of the middle finger), and everything that is derived is off by as much as this hand differs from it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter

from demos.camera import project, solve_pnp
from demos.extract.hands import LOST, RawHand, hand_size_px
from demos.interaction import HAND_BONES, HandTrack

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_MIDDLE_BASE = 9
_SHAPE_SIGMA_M = 0.012  # how far the detector's shape is off, each key point
_BONE_SIGMA_M = 0.001
_SMOOTHING_S = 0.04  # of the key points; shorter than the fastest finger motion
_DEPTH_SMOOTHING_S = 0.2  # depth from apparent size is the noisiest coordinate, and a hand cannot jump in it
_JUMP_SPEED_M_S = 1.5  # faster than a hand that handles things
_JUMP_BASE_M = 0.012
_STALL_S = 0.25


@dataclasses.dataclass(frozen=True)
class HandQuality:
    """Figures that go with a `HandTrack`.

    Attributes:
        reprojection_px: (T,) mean distance of the metric key points from the detected ones; NaN where none were detected.
        bone_spread: spread (inter-quartile range / median, mean over bones) of the detector's own bone lengths, before locking.
        stalls: (T,) bool, the hand stands perfectly still, as a stuck tracker does.
        jumps: (T,) bool, the hand moved further from the frame before than a hand can.
    """

    reprojection_px: FloatArray
    bone_spread: float
    stalls: BoolArray
    jumps: BoolArray


def lift_hand(raw: RawHand, K: FloatArray, fps: float, hand_length_m: float) -> tuple[HandTrack, HandQuality]:
    """Metric key points in the camera frame for every frame; frames without a hand are interpolated with confidence 0.

    Args:
        raw: the followed hand, T frames.
        K: (3, 3) px.
        fps: frames a second of the T frames.
        hand_length_m: wrist to base of the middle finger.
    """
    known = raw.origin != LOST
    lengths, spread = bone_lengths(raw.shape[known], raw.confidence[known], hand_length_m)
    shape = _lock(raw.shape[known] - raw.shape[known][:, :1], lengths)
    pixels = raw.image[known]
    rotation, translation = solve_pnp(shape, pixels, K)
    turned = shape @ rotation.swapaxes(-1, -2)

    depth = np.interp(np.arange(len(known)), np.flatnonzero(known), translation[:, 2])
    weight = raw.confidence + 1e-3
    depth = np.exp(_smooth(_despike(np.log(depth), fps), weight, _DEPTH_SMOOTHING_S * fps))
    translation = _with_depth(turned, translation, depth[known])
    points = _lock(_fit_shape(turned + translation[:, None], pixels, K, lengths), lengths)

    points = _interpolate(points, known)
    points = _lock(_smooth(_despike(points, fps), weight, _SMOOTHING_S * fps), lengths)
    reprojection = np.full(len(known), np.nan)
    reprojection[known] = np.linalg.norm(project(points[known], K) - pixels, axis=-1).mean(axis=-1)
    relative = np.where(known, reprojection / hand_size_px(np.nan_to_num(raw.image)), 0.0)
    confidence = np.where(known, raw.confidence * np.exp(-((relative / 0.25) ** 2)), 0.0)
    jumps, stalls = find_jumps(raw, points, fps), find_stalls(raw.image, fps)
    flagged = jumps | stalls | (confidence < 0.3)
    track = HandTrack(points, project(points, K), np.clip(confidence, 0.0, 1.0), raw.side, flagged)
    return track, HandQuality(reprojection, spread, stalls, jumps)


def bone_lengths(shape: FloatArray, confidence: FloatArray, hand_length_m: float) -> tuple[FloatArray, float]:
    """One length (20,) m for each bone of the clip, scaled so that the wrist is `hand_length_m` from the middle base.

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


def _lock(points: FloatArray, lengths: FloatArray) -> FloatArray:
    """Points (T, 21, 3) with the directions of these bones and the given lengths (20,), from the wrist outwards."""
    locked = points.copy()
    for (parent, child), length in zip(HAND_BONES, lengths, strict=True):
        bone = points[:, child] - points[:, parent]
        bone /= np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
        locked[:, child] = locked[:, parent] + length * bone
    return locked


def _with_depth(turned: FloatArray, translation: FloatArray, depth: FloatArray) -> FloatArray:
    """Moves hands (T, 21, 3) at translations (T, 3) along the ray through their middle until the wrists have `depth` (T,)."""
    middle = (turned + translation[:, None]).mean(axis=1)
    return translation + middle * ((depth - translation[:, 2]) / middle[:, 2])[:, None]


def _fit_shape(points: FloatArray, pixels: FloatArray, K: FloatArray, lengths: FloatArray, iterations: int = 6) -> FloatArray:
    """Moves the key points so that they meet their pixels, keep the bones' lengths and stay near the detector's shape.

    Gauss-Newton over all 63 coordinates of a frame, all frames at once (in blocks, for memory).
    """
    fitted = points.copy()
    parents, children = np.array(HAND_BONES).T
    for start in range(0, len(points), 512):
        part = slice(start, start + 512)
        prior, x, seen = points[part], points[part].copy(), pixels[part]
        sigma_px = np.maximum(0.03 * hand_size_px(seen), 0.7)[:, None, None]
        for _ in range(iterations):
            normal = np.zeros((len(x), 21, 3, 21, 3))
            gradient = (x - prior) / _SHAPE_SIGMA_M**2
            diagonal = np.arange(21)
            normal[:, diagonal, :, diagonal, :] += np.eye(3) / _SHAPE_SIGMA_M**2
            z = np.maximum(x[..., 2], 0.02)
            by_point = np.zeros((len(x), 21, 2, 3))
            by_point[..., 0, 0], by_point[..., 0, 2] = K[0, 0] / z, -K[0, 0] * x[..., 0] / z**2
            by_point[..., 1, 1], by_point[..., 1, 2] = K[1, 1] / z, -K[1, 1] * x[..., 1] / z**2
            error = (project(x, K) - seen) / sigma_px
            weight = 1.0 / np.maximum(1.0, np.linalg.norm(error, axis=-1) / 2.0)
            by_point /= sigma_px[..., None]
            gradient += np.einsum("tn,tnki,tnk->tni", weight, by_point, error)
            normal[:, diagonal, :, diagonal, :] += np.einsum("tn,tnki,tnkj->ntij", weight, by_point, by_point)
            bone = x[:, children] - x[:, parents]
            length = np.maximum(np.linalg.norm(bone, axis=-1), 1e-6)
            unit = bone / length[..., None]
            pull = ((length - lengths) / _BONE_SIGMA_M**2)[..., None] * unit
            stiff = np.einsum("tbi,tbj->btij", unit, unit) / _BONE_SIGMA_M**2
            for b, (parent, child) in enumerate(HAND_BONES):
                gradient[:, child] += pull[:, b]
                gradient[:, parent] -= pull[:, b]
                normal[:, child, :, child] += stiff[b]
                normal[:, parent, :, parent] += stiff[b]
                normal[:, child, :, parent] -= stiff[b]
                normal[:, parent, :, child] -= stiff[b]
            x = x - np.linalg.solve(normal.reshape(-1, 63, 63), gradient.reshape(-1, 63, 1)).reshape(x.shape)
        fitted[part] = x
    return fitted


def _interpolate(points: FloatArray, known: BoolArray) -> FloatArray:
    """Fills unknown frames linearly; before the first and after the last known one the hand stays where it was."""
    frames = np.arange(len(known))
    flat = points.reshape(len(points), -1)
    filled = [np.interp(frames, np.flatnonzero(known), column) for column in flat.T]
    return np.stack(filled, axis=-1).reshape(len(known), *points.shape[1:])


def _despike(values: FloatArray, fps: float) -> FloatArray:
    """Replaces outliers in time (axis 0) by the running median (Hampel's filter)."""
    width = 2 * max(2, round(0.1 * fps)) + 1
    size = (width,) + (1,) * (values.ndim - 1)
    median = median_filter(values, size=size, mode="nearest")
    spread = 1.4826 * median_filter(np.abs(values - median), size=size, mode="nearest")
    return np.where(np.abs(values - median) > 4.0 * spread + 1e-3, median, values)


def _smooth(values: FloatArray, weight: FloatArray, sigma_frames: float) -> FloatArray:
    """Weighted Gaussian smoothing over time (axis 0)."""
    if sigma_frames <= 0.0:
        return values
    shaped = weight.reshape(-1, *([1] * (values.ndim - 1)))
    total = gaussian_filter1d(shaped, sigma_frames, axis=0, mode="nearest")
    return gaussian_filter1d(values * shaped, sigma_frames, axis=0, mode="nearest") / total


def find_jumps(raw: RawHand, points: FloatArray, fps: float) -> BoolArray:
    """Frames (T,) into which the detected hand moved further than a hand can; (T, 21, 3) m give px their size."""
    size_px, length = hand_size_px(np.nan_to_num(raw.image)), np.linalg.norm(points[:, _MIDDLE_BASE] - points[:, 0], axis=-1)
    step_px = np.median(np.linalg.norm(np.diff(raw.image, axis=0), axis=-1), axis=-1)  # (T-1,), NaN next to a lost frame
    step_m = step_px * length[1:] / np.maximum(size_px[1:], 1.0)
    jumps = np.zeros(len(points), bool)
    jumps[1:] = np.nan_to_num(step_m) > _JUMP_BASE_M + _JUMP_SPEED_M_S / fps
    return jumps


def find_stalls(image: FloatArray, fps: float) -> BoolArray:
    """Frames (T,) in a run of at least 0.25 s of exactly repeated key points; a detected hand always trembles."""
    same = np.zeros(len(image), bool)
    same[1:] = np.abs(np.diff(image, axis=0)).max(axis=(1, 2)) < 1e-3  # NaN compares as different
    stalls, run = np.zeros(len(image), bool), 0
    for frame in range(len(image) + 1):
        if frame < len(image) and same[frame]:
            run += 1
            continue
        if run >= max(2, _STALL_S * fps):
            stalls[frame - run - 1 : frame] = True
        run = 0
    return stalls
