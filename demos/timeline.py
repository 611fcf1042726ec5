"""The timing of a plan: which recorded frame each control step shows, and how far the hand is closed.

A plan never rests before the object is let go, nor does the hand close of a sudden. What is learnt from a demonstration may see
one moment and no clock: where a hand waits in front of the object and then closes, nothing it sees tells when, and it waits for
ever. So rests of the recording are passed over, the hand closes little by little while it comes nearer, as a person's does, and
it opens as soon as the object is placed.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_LEAST_STEP_M, _LEAST_STEP_RAD = 0.004, 0.08  # less than this, in a step, is a rest


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """Timing of what the recording lacks, in control steps (20 a second).

    Attributes:
        approach_steps: from home to the first used frame.
        approach_distance_m: the recording is used from where the fingertips come this near to the object.
        near_steps: of the recorded way to the object, at least.
        grasp_steps: from where the palm is within `grasp_distance_m` of where it lifts the object to the lift.
        grasp_distance_m: see `grasp_steps`.
        close_steps: over which the fingers close, up to the lift.
        release_steps: over which the fingers open, before the hand draws back.
        retreat_steps, retreat_m: backward motion of the hand where the recording ends before one.
        away_steps: between the release and the way home, at least.
        return_steps: from the end of the recording back to home, where a policy can rest without drifting into the bottle.
        rest_steps: pause at home.
        hold_steps: pause at the end of a motion that does not let go.
        knots: number of spline knots of a bend.
    """

    approach_steps: int = 24
    approach_distance_m: float = 0.20
    near_steps: int = 16
    grasp_steps: int = 12
    grasp_distance_m: float = 0.015
    close_steps: int = 26
    release_steps: int = 10
    retreat_steps: int = 14
    retreat_m: float = 0.10
    away_steps: int = 23
    return_steps: int = 20
    rest_steps: int = 6
    hold_steps: int = 32
    knots: int = 8


@dataclasses.dataclass(frozen=True)
class Timeline:
    """When a plan of T steps shows what.

    Attributes:
        order: (T,) frame of each step.
        held: (T,) in [0, 1] how far the fingers are closed.
        grasped: first step with the frame of the lift, at which the palm has come to the object.
        lift: last step before the object is lifted.
        place: step in which the object is placed; the hand opens from then on.
        opened: step in which it has opened.
    """

    order: NDArray[np.int64]
    held: FloatArray
    grasped: int
    lift: int
    place: int
    opened: int


def make_timeline(
    palm_m: FloatArray, fingers: FloatArray, lift: int, place: int, config: PlanConfig, releases: bool
) -> Timeline:
    """The timing of a plan from the palm's recorded way (F, 3) m and the fingers' (F, 16) rad."""
    last = len(palm_m) - 1 if releases else place
    posture = np.concatenate([palm_m / _LEAST_STEP_M, fingers / _LEAST_STEP_RAD], axis=-1)
    far = np.linalg.norm(palm_m[:lift] - palm_m[lift], axis=-1) > config.grasp_distance_m
    near = int(np.flatnonzero(far).max(initial=-1)) + 1
    opening = config.release_steps if releases else 0
    parts = [
        np.zeros(config.approach_steps, dtype=np.int64),
        _without_rests(posture, 0, near, config.near_steps),
        np.linspace(near, lift, config.grasp_steps).round().astype(np.int64),
        np.arange(lift, place),
        np.full(1 + opening, place),
    ]
    _, carry, placed, end = np.cumsum([len(part) for part in parts])[1:]
    if releases:
        parts.append(_without_rests(posture, place + 1, last + 1, config.away_steps))
    parts.append(np.full(config.return_steps + config.rest_steps if releases else config.hold_steps, last))
    order = np.concatenate(parts)
    steps = np.arange(len(order))
    closing = np.clip(1 - (carry - 1 - steps) / config.close_steps, 0.0, 1.0)
    held = 1 - (1 - closing**2) ** 1.5  # slow at first, and not at rest before the lift
    if releases:
        held = np.minimum(held, np.clip(1 - (steps - placed) / config.release_steps, 0.0, 1.0))
    grasped = int(np.flatnonzero(order == lift).min())
    return Timeline(order, held, grasped, int(carry), int(placed), int(end) - 1)


def _without_rests(posture: FloatArray, begin: int, end: int, least: int) -> NDArray[np.int64]:
    """The frames from `begin` to `end` (left out), at least `least` of them, without those in which next to nothing moves.

    Args:
        posture: (F, D) whose numbers change by 1 in a step that is worth showing.
        begin, end: frames.
        least: frames are shown several times where they are too few.
    """
    kept = [min(begin, len(posture) - 1)]
    for frame in range(begin + 1, end):
        if np.abs(posture[frame] - posture[kept[-1]]).max() >= 1.0:
            kept.append(frame)
    shown = np.linspace(0, len(kept) - 1, max(len(kept), least)).round().astype(np.int64)
    return np.array(kept, dtype=np.int64)[shown]
