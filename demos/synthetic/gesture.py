"""How a hand goes to what it will hold, holds it and leaves it again; the scripts add what happens meanwhile.

All arrays run over fine samples of time (N), several a video frame, so that pictures can be blurred by motion. Everything is
done by a right hand; `Performance.mirrored` makes it a left hand's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from demos.synthetic.holds import HeldThing
from demos.synthetic.motion import minimum_jerk, smooth_noise
from demos.synthetic.torso import SHOULDER_M

FloatArray = NDArray[np.float64]

PHASES: tuple[str, ...] = ("reach", "approach", "close", "act", "settle", "open", "retreat", "rest")
_ELBOW_FROM_SHOULDER_M = np.array([0.05, -0.06, -0.24])
_TREMOR_STD_M = 0.0008


@dataclasses.dataclass(frozen=True)
class Performance:
    """What happens in a clip, over N fine samples of time.

    Attributes:
        rate_hz: samples a second.
        T_world_hand: (N, 4, 4).
        joints_rad: (N, 21).
        wrist_rad: (N, 2).
        bodies: (N, 4, 4) pose of each body by name; the handled thing first.
        held: (N,) bool, the thing moves with the hand.
        phase: (N,) index into `PHASES`.
    """

    rate_hz: float
    T_world_hand: FloatArray
    joints_rad: FloatArray
    wrist_rad: FloatArray
    bodies: dict[str, FloatArray]
    held: NDArray[np.bool_]
    phase: NDArray[np.int64]

    @property
    def mirrored(self) -> Performance:
        """The same by a left hand, mirrored in the plane y = 0; joint angles stay."""
        bodies = {name: mirror(poses) for name, poses in self.bodies.items()}
        return dataclasses.replace(self, T_world_hand=mirror(self.T_world_hand), bodies=bodies)


def mirror(poses: FloatArray) -> FloatArray:
    """Poses (..., 4, 4) seen in the mirror y = 0, of bodies that are their own mirror images in y."""
    sign = np.array([1.0, -1.0, 1.0, 1.0])
    return poses * sign[:, None] * sign[None, :]


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Phases of a clip in time.

    Attributes:
        durations_s: by name of the phase; a phase that does not happen has none.
        rate_hz: samples a second.
    """

    durations_s: Mapping[str, float]
    rate_hz: float

    @property
    def begins_s(self) -> dict[str, float]:
        """When each of `PHASES` begins."""
        begin, begins = 0.0, {}
        for name in PHASES:
            begins[name] = begin
            begin += self.durations_s.get(name, 0.0)
        return begins

    @property
    def time_s(self) -> FloatArray:
        """(N,) time of the samples."""
        return np.arange(round(sum(self.durations_s.values()) * self.rate_hz)) / self.rate_hz

    def share(self, name: str) -> FloatArray:
        """(N,) progress of a phase: below 0 before it begins, above 1 after its end; never begins where it does not happen."""
        duration = self.durations_s.get(name, 0.0)
        return (self.time_s - self.begins_s[name]) / duration if duration else np.full(len(self.time_s), -1.0)

    def phase(self) -> NDArray[np.int64]:
        """(N,) index into `PHASES`."""
        happening = [name for name in PHASES if self.durations_s.get(name, 0.0)]
        begins = [self.begins_s[name] for name in happening]
        index = np.array([PHASES.index(name) for name in happening])
        return index[np.searchsorted(begins, self.time_s, side="right") - 1]


@dataclasses.dataclass(frozen=True)
class Way:
    """How the hand comes and goes, in its own frame (+x out of the palm, +z along the fingers).

    Attributes:
        approach: offset of the last, slow part of the way, before the hold.
        reach: offset from where the way begins.
        retreat: offset where the way ends after letting go.
        reach_turn_rad: roll (palm down) and pitch (fingers down) of the hand at the beginning.
    """

    approach: FloatArray
    reach: FloatArray
    retreat: FloatArray
    reach_turn_rad: tuple[float, float]


def usual_way(rng: np.random.Generator) -> Way:
    """From behind the palm and from the wrist's side."""
    return Way(
        approach=np.array([-0.75, 0.10, -0.66]) * rng.uniform(0.08, 0.11),
        reach=np.array([-0.35, 0.22, -0.91]) * rng.uniform(0.20, 0.30) + rng.normal(0.0, 0.015, 3),
        retreat=np.array([-0.65, 0.18, -0.74]) * rng.uniform(0.08, 0.14),
        reach_turn_rad=(float(rng.uniform(0.15, 0.55)), float(rng.uniform(0.0, 0.2))),
    )


def way_over_a_bar(rng: np.random.Generator) -> Way:
    """From above, behind the bar; back the same way."""
    return Way(
        approach=np.array([-1.0, 0.0, -0.08]) * rng.uniform(0.055, 0.075),
        reach=np.array([-0.45, 0.10, -0.90]) * rng.uniform(0.16, 0.22) + np.array([-0.06, 0.0, 0.0]),
        retreat=np.array([-1.0, 0.0, -0.25]) * rng.uniform(0.07, 0.10),
        reach_turn_rad=(0.0, float(rng.uniform(0.0, 0.15))),
    )


def hand_path(timeline: Timeline, T_world_held: FloatArray, way: Way, rng: np.random.Generator) -> FloatArray:
    """(N, 4, 4) the hand comes to, holds and leaves.

    Args:
        timeline: when.
        T_world_held: (N, 4, 4) pose of the hand that holds the thing; it rests before "act", and from its end on.
        way: from where and to where.
        rng: for the hand's unsteadiness.
    """
    path = T_world_held.copy()
    before, after = path[0].copy(), path[-1].copy()
    pre = _offset(before, way.approach, 0.0, 0.0)
    far = _offset(before, way.approach + way.reach, *way.reach_turn_rad)
    away = _offset(after, way.retreat, 0.12, 0.04)
    reach = minimum_jerk(timeline.share("reach") / 1.15)
    approach = minimum_jerk((timeline.share("approach") + 0.25) / 1.25)  # it overlaps the reach: no stop in between
    retreat = minimum_jerk(timeline.share("retreat"))
    wander = smooth_noise(rng, (len(path), 3), 0.2 * timeline.rate_hz) * 2.0 * _TREMOR_STD_M
    to_pre, to_hold, back = _between(far, pre, reach), _between(pre, before, approach), _between(after, away, retreat)
    for n in range(len(path)):
        if approach[n] < 1.0:
            path[n] = to_hold[n]
            path[n, :3, 3] += to_pre[n, :3, 3] - pre[:3, 3] + wander[n] * (1.0 - approach[n])
            path[n, :3, :3] = to_pre[n, :3, :3] @ pre[:3, :3].T @ to_hold[n, :3, :3]
        elif retreat[n] > 0.0:
            path[n] = back[n]
            path[n, :3, 3] += wander[n] * retreat[n]
    return path


def finger_path(
    timeline: Timeline, held: HeldThing, rng: np.random.Generator, *, open_s: tuple[float, float] | None = None
) -> FloatArray:
    """(N, 21) joints: relaxed, open, closed, open, half relaxed; each finger with a timing of its own.

    Args:
        timeline: when.
        held: the postures.
        rng: for timing and unsteadiness.
        open_s: begin and end of letting go where it is not the phase "open".
    """
    finger_of_joint = np.r_[np.zeros(5, int), np.repeat(np.arange(1, 5), 4)]
    lag = rng.uniform(0.0, 0.12, 5)[finger_of_joint]
    opening = minimum_jerk((timeline.share("reach")[:, None] - lag) / 0.88)
    closing = minimum_jerk((timeline.share("close")[:, None] - lag) / (1.0 - lag))
    if open_s is None:
        letting_go = minimum_jerk((timeline.share("open")[:, None] - lag) / (1.0 - lag))
    else:
        letting_go = minimum_jerk((timeline.time_s[:, None] - open_s[0]) / (open_s[1] - open_s[0]))
    relaxing = 0.6 * minimum_jerk(timeline.share("retreat"))[:, None]
    joints = held.relaxed_joints_rad + opening * (held.open_joints_rad - held.relaxed_joints_rad)
    joints = joints + closing * (held.joints_rad - joints)
    joints = joints + letting_go * (held.open_joints_rad - joints)
    joints = joints + relaxing * (held.relaxed_joints_rad - joints)
    restless = np.maximum(1.0 - closing, relaxing)
    return joints + 0.012 * restless * smooth_noise(rng, joints.shape, 0.2 * timeline.rate_hz)


def wrist_path(T_world_hand: FloatArray) -> FloatArray:
    """(N, 2) wrist joints that point the forearm at an elbow below the shoulder, within their limits."""
    to_elbow = np.array(SHOULDER_M) + _ELBOW_FROM_SHOULDER_M - T_world_hand[:, :3, 3]
    local = np.einsum("nji,nj->ni", T_world_hand[:, :3, :3], to_elbow)
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    flexion = np.arctan2(local[:, 0], -local[:, 2])
    deviation = -np.arcsin(np.clip(local[:, 1], -1.0, 1.0))
    return np.column_stack([np.clip(flexion, -1.15, 1.0), np.clip(deviation, -0.45, 0.5)])


def pose(position_m: FloatArray, rotation: Rotation | None = None) -> FloatArray:
    """(4, 4) or (N, 4, 4) from positions and rotations."""
    position = np.asarray(position_m, dtype=np.float64)
    result = np.zeros((*position.shape[:-1], 4, 4))
    result[...] = np.eye(4)
    result[..., :3, 3] = position
    if rotation is not None:
        result[..., :3, :3] = rotation.as_matrix()
    return result


def _offset(start: FloatArray, offset_hand_m: FloatArray, roll_rad: float, pitch_rad: float) -> FloatArray:
    """The (4, 4) pose moved by an offset in the hand frame, rolled about the fingers (palm down) and pitched (fingers down)."""
    moved = start.copy()
    moved[:3, 3] += start[:3, :3] @ offset_hand_m
    moved[:3, :3] = start[:3, :3] @ Rotation.from_euler("zx", [-roll_rad, pitch_rad]).as_matrix()
    return moved


def _between(first: FloatArray, last: FloatArray, share: FloatArray) -> FloatArray:
    """(N, 4, 4) poses on the way from one pose to another at the given shares in [0, 1]."""
    turns = Slerp([0.0, 1.0], Rotation.from_matrix(np.stack([first[:3, :3], last[:3, :3]])))
    share = np.clip(share, 0.0, 1.0)  # a minimum-jerk share may round to a little more than 1
    return pose(first[:3, 3] + share[:, None] * (last[:3, 3] - first[:3, 3]), turns(share))
