"""Cleans the tracks of an importer: where an object rests, which way is up, jumps and stalls of a hand, smoothing.

Everything works on arrays in metres in one frame; reading files and naming things is left to the importers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import binary_erosion, median_filter
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from demos.interaction import HAND_BONES, BoolArray, FloatArray
from dexvid_envs.errors import InputFileError

REST_RADIUS_M = 0.02  # noise of a resting object's place; twice what the recorded bottle shows
MIN_TRAVEL_M = 0.05  # below this the two rest places do not tell the table's tilt
MIN_REST_FRAMES = 3
STALE_STEP_M = 0.001  # a wrist that moves less than this while the object moves is a repeated result
MOVING_STEP_M = 0.003  # a step of the smoothed object that counts as moving
SPIKE_M = 0.020  # distance from the running median that counts as a wrong frame
JUMP_STEP_M = 0.018  # a step of the hand shorter than this is never a jump ...
JUMP_RATIO = 2.0  # ... and a longer one is when it exceeds the median step around it by this factor
SMOOTHING_FRAMES = 7  # window of the Savitzky-Golay filters, order 2
STEADY_HEADING_RAD = np.deg2rad(15.0)  # circular spread within a window below which a heading is believed


@dataclasses.dataclass(frozen=True)
class Rests:
    """The two rests of a pick-and-place.

    Attributes:
        lift: first frame in which the object has left its first place.
        place: first frame in which it has reached its last place.
    """

    lift: int
    place: int


@dataclasses.dataclass(frozen=True)
class CleanHand:
    """A hand track with its doubtful frames marked, and replaced where asked.

    Attributes:
        keypoints: (T, 21, 3) m.
        confidence: (T,) in [0, 1]; 0 where interpolated.
        stale: (T,) bool, the wrist repeats while the object moves.
        spike: (T,) bool, far from the running median.
        jump: (T,) bool, a step far longer than those around it.
        drifted: (T,) bool, slid over the object it holds and was shifted back; set by the caller who shifts.
    """

    keypoints: FloatArray
    confidence: FloatArray
    stale: BoolArray
    spike: BoolArray
    jump: BoolArray
    drifted: BoolArray

    @property
    def flagged(self) -> BoolArray:
        """(T,) bool, any doubt."""
        return self.stale | self.spike | self.jump | self.drifted


def running_median(values: FloatArray, frames: int = 5) -> FloatArray:
    """Median over a window of `frames` along the first axis; (T, ...) in and out."""
    return np.asarray(median_filter(values, size=(frames, *(1,) * (values.ndim - 1)), mode="nearest"))


def smooth(values: FloatArray, frames: int = SMOOTHING_FRAMES) -> FloatArray:
    """Savitzky-Golay filter of order 2 along the first axis of (T, ...); a track shorter than the window stays as it is."""
    return np.asarray(savgol_filter(values, frames, 2, axis=0, mode="interp")) if len(values) > frames else values.copy()


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors (..., 3) scaled to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def find_rests(centre: FloatArray) -> Rests:
    """Finds the rest before and the rest after the motion of an object's centre (T, 3) m.

    Raises:
        InputFileError: the object does not move far enough, or does not rest at both ends.
    """
    steady = running_median(centre)
    ends = max(MIN_REST_FRAMES, len(centre) // 12)
    first, last = np.median(steady[:ends], axis=0), np.median(steady[-ends:], axis=0)
    travel = float(np.linalg.norm(last - first))
    if travel < MIN_TRAVEL_M:
        raise InputFileError(
            f"the object ends {travel * 1000:.0f} mm from where it started; expected a recording that carries it at least"
            f" {MIN_TRAVEL_M * 1000:.0f} mm, because the two rest places tell where the table is"
        )
    lift = int(np.flatnonzero(np.linalg.norm(steady - first, axis=1) <= REST_RADIUS_M)[-1]) + 1
    place = int(np.flatnonzero(np.linalg.norm(steady - last, axis=1) > REST_RADIUS_M)[-1]) + 1
    if lift < MIN_REST_FRAMES or len(centre) - place < MIN_REST_FRAMES or place <= lift:
        raise InputFileError(
            f"the object rests during {lift} frames at the start and {len(centre) - place} at the end; expected at least"
            f" {MIN_REST_FRAMES} each, before and after it is carried; use an uncut recording"
        )
    return Rests(lift, place)


def find_up(axis: FloatArray, centre: FloatArray, rests: Rests, trusted: tuple[bool, bool]) -> FloatArray:
    """Finds the vertical from the object's own axis and from its two places on one table.

    The axis is averaged over the trusted rests (a hand that covers the object spoils its pose); then it is turned by the
    least angle that makes both places equally high.

    Args:
        axis: (T, 3) the object's upward axis.
        centre: (T, 3) m the object's centre.
        rests: where it rests.
        trusted: whether the first and the last rest show the object freely; both are used when neither does.

    Returns:
        (3,) unit vector upwards.
    """
    axes = [unit(np.median(part, axis=0)) for part in (axis[: rests.lift], axis[rests.place :])]
    used = [a for a, free in zip(axes, trusted, strict=True) if free] or axes
    along = unit(np.median(centre[rests.place :], axis=0) - np.median(centre[: rests.lift], axis=0))
    up = unit(np.sum(used, axis=0))
    return unit(up - (up @ along) * along)


def clean_hand(keypoints: FloatArray, object_centre: FloatArray, replace: bool) -> CleanHand:
    """Marks stale, spiking and jumping frames; with `replace` interpolates the first two, smooths, and keeps bone lengths.

    A stale frame repeats the wrist of the one before although the object moves on; the frame after a stall, in which the track
    catches up, is marked as a jump but kept, because it is the fresh one.

    Args:
        keypoints: (T, 21, 3) m.
        object_centre: (T, 3) m.
        replace: whether to replace and smooth, or to mark only.
    """
    wrist_step = np.linalg.norm(np.diff(keypoints[:, 0], axis=0, prepend=keypoints[:1, 0]), axis=1)
    hand_step = np.linalg.norm(np.diff(keypoints, axis=0, prepend=keypoints[:1]), axis=2).mean(axis=1)
    calm_object = smooth(running_median(object_centre))
    moving = np.linalg.norm(np.diff(calm_object, axis=0, prepend=calm_object[:1]), axis=1) > MOVING_STEP_M
    moving = binary_erosion(moving, np.ones(3))  # smoothing lets the motion begin early and end late
    stale = (wrist_step < STALE_STEP_M) & moving
    stale[0] = False
    spike = np.linalg.norm(keypoints - running_median(keypoints), axis=2).mean(axis=1) > SPIKE_M
    step = np.maximum(wrist_step, hand_step)
    jump = (step > np.maximum(JUMP_STEP_M, JUMP_RATIO * running_median(step, SMOOTHING_FRAMES))) & ~spike
    bad, drifted = stale | spike, np.zeros(len(keypoints), dtype=bool)
    if bad.all() or not replace:
        confidence = np.where(bad, 0.25, np.where(jump, 0.5, 1.0))
        return CleanHand(keypoints.copy(), confidence, stale, spike, jump, drifted)
    good = np.flatnonzero(~bad)
    flat = keypoints.reshape(len(keypoints), -1)
    frames = np.arange(len(flat))
    filled = np.stack([np.interp(frames, good, column[good]) for column in flat.T], axis=1).reshape(keypoints.shape)
    lengths = [float(np.median(np.linalg.norm(keypoints[:, b] - keypoints[:, a], axis=1))) for a, b in HAND_BONES]
    confidence = np.where(bad, 0.0, np.where(jump, 0.5, 1.0))
    return CleanHand(lock_bones(smooth(filled), lengths), confidence, stale, spike, jump, drifted)


def lock_bones(keypoints: FloatArray, lengths: list[float]) -> FloatArray:
    """Scales each bone of (T, 21, 3) to its length in m, from the wrist outwards; directions stay."""
    locked = keypoints.copy()
    for (parent, child), length in zip(HAND_BONES, lengths, strict=True):
        locked[:, child] = locked[:, parent] + length * unit(keypoints[:, child] - keypoints[:, parent])
    return locked


def hand_side(keypoints: FloatArray) -> str:
    """Tells "right" from "left" by the side towards which the fingers of (T, 21, 3) bend; any right-handed frame."""
    forward = keypoints[:, 9] - keypoints[:, 0]
    across = keypoints[:, 17] - keypoints[:, 5]  # index to little
    fingers = keypoints[:, 5:].reshape(len(keypoints), 4, 4, 3)
    bend = (fingers[:, :, 3] - fingers[:, :, 2] - fingers[:, :, 1] + fingers[:, :, 0]).mean(axis=1)  # last bones against first
    return "right" if float(np.median(np.einsum("ti,ti->t", np.cross(forward, across), bend))) > 0 else "left"


def split_heading(rotation: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Splits rotations (T, 3, 3) into the direction of their z axis (T, 3) and the heading about it (T,) rad."""
    heading = np.arctan2(rotation[:, 1, 0] - rotation[:, 0, 1], rotation[:, 0, 0] + rotation[:, 1, 1])
    return rotation[:, :, 2], heading


def join_heading(axis: FloatArray, heading: FloatArray) -> FloatArray:
    """Rotations (T, 3, 3) with the given z axis (T, 3) and heading (T,) rad; undoes `split_heading`."""
    turn = Rotation.from_rotvec(heading[:, None] * np.array([0.0, 0.0, 1.0])).as_matrix()
    return tilt_to(axis).as_matrix() @ turn


def tilt_to(axis: FloatArray) -> Rotation:
    """The least rotations that take z to the unit vectors (T, 3)."""
    cross = np.cross([0.0, 0.0, 1.0], axis)
    sine = np.linalg.norm(cross, axis=-1, keepdims=True)
    angle = np.arctan2(sine, axis[..., 2:])
    return Rotation.from_rotvec(cross / np.maximum(sine, 1e-12) * angle)


def steady_heading(heading: FloatArray, moving: BoolArray, frames: int = 9) -> tuple[FloatArray, BoolArray]:
    """Keeps the heading where it is steady while the object moves, and carries it over to the rest of the track.

    The heading of a nearly round bottle at rest is mostly noise (the recorded one swings by 100 degrees while it stands);
    within the carried part a window of `frames` with a small circular spread is believed.

    Args:
        heading: (T,) rad.
        moving: (T,) bool.
        frames: window over which the spread is taken.

    Returns:
        Heading (T,) rad, unwrapped; and which frames were believed (T,). Without any, one circular mean holds throughout.
    """
    direction = np.exp(1j * heading)
    half = frames // 2
    spread = np.array([_circular_spread(direction[max(0, i - half) : i + half + 1]) for i in range(len(heading))])
    believed = (spread < STEADY_HEADING_RAD) & moving
    if not believed.any():
        return np.full(len(heading), float(np.angle(direction.mean()))), believed
    kept = np.flatnonzero(believed)
    unwrapped = running_median(np.unwrap(heading[kept]))
    filled = np.interp(np.arange(len(heading)), kept, unwrapped)
    return smooth(filled, 2 * half + 1), believed


def _circular_spread(direction: np.ndarray) -> float:
    length = min(abs(complex(direction.mean())), 1.0)
    return float(np.sqrt(-2.0 * np.log(max(length, 1e-12))))


def grasp_drift(tips: FloatArray, centre: FloatArray, rests: Rests) -> FloatArray:
    """How far the fingertips' mean slides over the object while it is carried, which a hand that holds it cannot do.

    The reference is the grasp in the first half of the carried part. Before it the drift fades in over as many frames as the
    filter is long; after it the last value holds, so that the hand's letting go stays as recorded.

    Args:
        tips: (T, 3) m, mean of the fingertips.
        centre: (T, 3) m, the object's centre.
        rests: where the object rests.

    Returns:
        (T, 3) m, to be subtracted from the hand.
    """
    carried = (tips - centre)[rests.lift : rests.place]
    held = smooth(running_median(carried - np.median(carried[: max(1, len(carried) // 2)], axis=0)))
    drift = np.zeros_like(tips)
    drift[rests.lift : rests.place] = held
    drift[rests.place :] = held[-1]
    lead = min(SMOOTHING_FRAMES, rests.lift)
    drift[rests.lift - lead : rests.lift] = np.linspace(0, 1, lead + 1)[:-1, None] * held[0]
    return drift
