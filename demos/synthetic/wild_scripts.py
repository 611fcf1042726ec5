"""Everyday handling that is none of the tasks: pour, shake, show, slide, tap and turn a thing.

A policy is pretrained on these, so that what it has seen says how hands and things move, and nothing of the tasks.
Frames and signs are those of `scripts`: a right hand, world z up, the person looks along +x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from demos.synthetic.gesture import FloatArray, Timeline
from demos.synthetic.holds import HeldThing
from demos.synthetic.motion import minimum_jerk
from demos.synthetic.scene import Scene, assemble, carried_path, comfortable_yaw, durations
from demos.synthetic.things import Thing

Script = Callable[[Thing, HeldThing, float, np.random.Generator], Scene]


def _pour(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Lift, tilt over the palm's side as if into a cup, straighten and put back."""
    timeline = _timeline(rng, rate_hz, act=3.2)
    share, start = timeline.share("act"), _start(thing, rng)
    yaw = comfortable_yaw(start, rng)
    up = _there_and_back(share, 0.28)
    over = np.array([rng.uniform(-0.02, 0.10), rng.uniform(0.02, 0.14), rng.uniform(0.11, 0.17)])
    tilt = _there_and_back((share - 0.22) / 0.56, 0.42)
    forward = Rotation.from_euler("z", yaw).apply([1.0, 0.0, 0.0])
    turn = -rng.uniform(0.8, 1.3) * tilt[:, None] * forward  # the thumb's side turns to the palm's
    path = carried_path(start + up[:, None] * over, turn, up, yaw, rate_hz, rng)
    return Scene(assemble(thing, held, timeline, path, rng), "pour")


def _shake(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Lift, shake two to four times along some direction, put back."""
    timeline = _timeline(rng, rate_hz, act=2.8)
    share, start = timeline.share("act"), _start(thing, rng)
    up = _there_and_back(share, 0.27)
    goal = np.array([rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.06), rng.uniform(0.10, 0.18)])
    direction = rng.normal(size=3)
    direction *= rng.uniform(0.014, 0.028) / np.linalg.norm(direction)
    within = np.clip((share - 0.30) / 0.40, 0.0, 1.0)
    swing = np.sin(2.0 * np.pi * rng.integers(2, 5) * within) * np.sin(np.pi * within) ** 0.5
    path = carried_path(
        start + up[:, None] * goal + swing[:, None] * direction,
        0.2 * swing[:, None] * rng.uniform(-1.0, 1.0, 3),
        up,
        comfortable_yaw(start, rng),
        rate_hz,
        rng,
    )
    return Scene(assemble(thing, held, timeline, path, rng), "shake")


def _show(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Lift towards the face and turn it to and fro to look at all sides; the clip ends in the air."""
    timeline = Timeline(durations(rng, reach=0.9, approach=0.5, close=0.5, act=3.0), rate_hz)
    share, start = timeline.share("act"), _start(thing, rng)
    up = minimum_jerk(share / 0.40)
    goal = np.array([rng.uniform(-0.14, 0.0), rng.uniform(-0.04, 0.10), rng.uniform(0.14, 0.24)])
    within = np.clip((share - 0.30) / 0.65, 0.0, 1.0)
    turn = (np.sin(2.0 * np.pi * within) * np.sin(np.pi * within) ** 0.5)[:, None] * rng.uniform(-0.6, 0.6, 3)
    path = carried_path(start + up[:, None] * goal, turn, up, comfortable_yaw(start, rng), rate_hz, rng)
    return Scene(assemble(thing, held, timeline, path, rng), "show")


def _slide(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Push or pull the standing thing along the table and let go."""
    timeline = _timeline(rng, rate_hz, act=1.6)
    share, start = timeline.share("act"), _start(thing, rng)
    heading = rng.uniform(-np.pi, np.pi)
    way = rng.uniform(0.08, 0.17) * np.array([0.7 * np.cos(heading), np.sin(heading), 0.0])
    turn = np.array([0.0, 0.0, rng.uniform(-0.3, 0.3)])
    progress = minimum_jerk(share)[:, None]
    still = np.zeros(len(share))
    path = carried_path(start + progress * way, progress * turn, still, comfortable_yaw(start, rng), rate_hz, rng)
    return Scene(assemble(thing, held, timeline, path, rng), "slide")


def _tap(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Lift and knock on something in the air two or three times, as with a tool; put back."""
    timeline = _timeline(rng, rate_hz, act=2.8)
    share, start = timeline.share("act"), _start(thing, rng)
    yaw = comfortable_yaw(start, rng)
    up = _there_and_back(share, 0.26)
    goal = np.array([rng.uniform(0.0, 0.08), rng.uniform(-0.05, 0.10), rng.uniform(0.09, 0.15)])
    within = np.clip((share - 0.28) / 0.44, 0.0, 1.0)
    knocks = 0.5 - 0.5 * np.cos(2.0 * np.pi * rng.integers(2, 4) * within)
    position = start + up[:, None] * goal - knocks[:, None] * np.array([0.0, 0.0, rng.uniform(0.03, 0.05)])
    nod = Rotation.from_euler("z", yaw).apply([0.0, 1.0, 0.0])  # the fingers dip at each knock
    path = carried_path(position, rng.uniform(0.15, 0.40) * knocks[:, None] * nod, up, yaw, rate_hz, rng)
    return Scene(assemble(thing, held, timeline, path, rng), "tap")


def _turn(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Turn the standing thing about the vertical where it is, as a knob or a lid, and let go."""
    timeline = _timeline(rng, rate_hz, act=1.5)
    share, start = timeline.share("act"), _start(thing, rng)
    angle = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.45, 0.85))
    turn = minimum_jerk(share)[:, None] * np.array([0.0, 0.0, angle])
    yaw = comfortable_yaw(start, rng) - 0.5 * angle
    path = carried_path(np.tile(start, (len(share), 1)), turn, np.zeros(len(share)), yaw, rate_hz, rng)
    return Scene(assemble(thing, held, timeline, path, rng), "turn")


WILD_SCRIPTS: Mapping[str, Script] = {
    "pour": _pour,
    "shake": _shake,
    "show": _show,
    "slide": _slide,
    "tap": _tap,
    "turn": _turn,
}
WILD_KINDS = tuple(WILD_SCRIPTS)


def _timeline(rng: np.random.Generator, rate_hz: float, act: float) -> Timeline:
    """Reach and grasp, act for about so many seconds, let go and go away."""
    seconds = durations(rng, reach=0.9, approach=0.5, close=0.5, act=act, settle=0.15, open=0.4, retreat=0.6, rest=0.2)
    return Timeline(seconds, rate_hz)


def _start(thing: Thing, rng: np.random.Generator) -> FloatArray:
    """(3,) where the thing stands at first."""
    return np.array([rng.uniform(0.30, 0.44), rng.uniform(-0.24, 0.08), thing.shape.half_height_m])


def _there_and_back(share: FloatArray, part: float) -> FloatArray:
    """(N,) from 0 to 1 in the first part of the time and back in the last."""
    return minimum_jerk(share / part) - minimum_jerk((share - 1.0 + part) / part)
