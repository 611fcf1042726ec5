"""What the scripts share: the scene they make, and the ways of a thing that is carried by a comfortable hand."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from demos.synthetic.flight import Bucket
from demos.synthetic.gesture import (
    FloatArray,
    Performance,
    Timeline,
    finger_path,
    hand_path,
    pose,
    usual_way,
    wrist_path,
)
from demos.synthetic.holds import HeldThing
from demos.synthetic.motion import smooth_noise
from demos.synthetic.things import Thing


@dataclasses.dataclass(frozen=True)
class Scene:
    """A performance with what stands around it.

    Attributes:
        performance: what moves.
        kind: what happens, one of `scripts.KINDS` or `wild_scripts.WILD_KINDS`.
        target_xy_m: centre of the mark on the table ("place").
        cabinet: pose of the closed drawer, in which the cabinet stands ("drawer").
        bucket: the bucket and its pose ("throw").
    """

    performance: Performance
    kind: str
    target_xy_m: FloatArray | None = None
    cabinet: FloatArray | None = None
    bucket: Bucket | None = None


def durations(rng: np.random.Generator, **seconds: float) -> dict[str, float]:
    """Durations of the phases, each a little slower or faster."""
    return {name: value * float(rng.uniform(0.88, 1.15)) for name, value in seconds.items()}


def assemble(thing: Thing, held: HeldThing, timeline: Timeline, path: FloatArray, rng: np.random.Generator) -> Performance:
    """The performance of a thing that is carried along a path (N, 4, 4), a pose for each moment, and left where it is put."""
    hand = hand_path(timeline, path @ held.T_thing_hand, usual_way(rng), rng)
    joints = finger_path(timeline, held, rng)
    is_held = during(timeline, "act", "settle")
    return Performance(timeline.rate_hz, hand, joints, wrist_path(hand), {thing.name: path}, is_held, timeline.phase())


def during(timeline: Timeline, first: str, last: str) -> np.ndarray:
    """(N,) bool, from the beginning of one phase to the end of another."""
    end = timeline.begins_s[last] + timeline.durations_s.get(last, 0.0)
    return (timeline.time_s >= timeline.begins_s[first]) & (timeline.time_s <= end)


def comfortable_yaw(start_m: FloatArray, rng: np.random.Generator) -> float:
    """A comfortable direction (rad) of the fingers for something at a place (3,) m, about z from +x."""
    return float(0.15 + 0.6 * np.arctan2(start_m[1] + 0.26, start_m[0] + 0.13) + rng.uniform(-0.25, 0.25))


def carried_path(
    position: FloatArray, turn: FloatArray, aloft: FloatArray, yaw_rad: float, rate_hz: float, rng: np.random.Generator
) -> FloatArray:
    """(N, 4, 4) a carried thing: its path with the hand's tremor, which the table steadies while it stands."""
    tremor = aloft[:, None] * smooth_noise(rng, (len(position), 6), 0.12 * rate_hz)
    rotation = Rotation.from_rotvec(turn + 0.006 * tremor[:, 3:]) * Rotation.from_euler("z", yaw_rad)
    return pose(position + 0.0008 * tremor[:, :3], rotation)
