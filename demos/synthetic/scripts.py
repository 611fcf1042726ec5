"""What happens in a clip: lift a thing, move it to a mark, open a drawer, or throw it into a bucket.

Each script draws where and when from a generator and makes a `Performance` by a right hand. World frame: z up, table top at
z = 0; the person sits at low x and looks along +x.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from demos.synthetic.flight import Bucket, fall
from demos.synthetic.gesture import (
    FloatArray,
    Performance,
    Timeline,
    finger_path,
    hand_path,
    pose,
    usual_way,
    way_over_a_bar,
    wrist_path,
)
from demos.synthetic.holds import HeldThing
from demos.synthetic.motion import minimum_jerk
from demos.synthetic.scene import Scene, assemble, carried_path, comfortable_yaw, durations, during
from demos.synthetic.things import Thing
from demos.synthetic.wild_scripts import WILD_SCRIPTS

KINDS: tuple[str, ...] = ("lift", "place", "drawer", "throw")
_UP = np.array([0.0, 0.0, 1.0])
_GRAVITY = np.array([0.0, 0.0, -9.81])  # m/s^2


def perform(kind: str, thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Makes one of `KINDS` or `WILD_KINDS` happen with a thing that is held as solved."""
    script = WILD_SCRIPTS.get(kind) or {"lift": _lift, "place": _place, "drawer": _drawer, "throw": _throw}[kind]
    return script(thing, held, rate_hz, rng)


def _lift(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Reach, grasp, lift and hold in the air, looking at it from another side."""
    timeline = Timeline(durations(rng, reach=0.9, approach=0.5, close=0.5, act=2.2), rate_hz)
    share = timeline.share("act")
    start = np.array([rng.uniform(0.32, 0.44), rng.uniform(-0.24, 0.06), thing.shape.half_height_m])
    up = minimum_jerk(share / 0.5)
    goal = np.array([rng.uniform(-0.06, 0.04), rng.uniform(-0.05, 0.08), rng.uniform(0.12, 0.22)])
    turn = minimum_jerk((share - 0.2) / 0.6)[:, None] * rng.uniform(-0.35, 0.35, 3)
    path = carried_path(start + up[:, None] * goal, turn, up, comfortable_yaw(start, rng), rate_hz, rng)
    return Scene(assemble(thing, held, timeline, path, rng), "lift")


def _place(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Reach, grasp, carry to a mark on the table and let go."""
    seconds = {
        "reach": 0.9,
        "approach": 0.5,
        "close": 0.5,
        "act": 1.9,
        "settle": 0.15,
        "open": 0.4,
        "retreat": 0.6,
        "rest": 0.2,
    }
    timeline = Timeline(durations(rng, **seconds), rate_hz)
    share = timeline.share("act")
    start, target = np.array([0.38, -0.16]), np.array([0.38, 0.06])
    start, target = start + rng.uniform(-0.07, 0.07, 2), target + rng.uniform(-0.07, 0.07, 2)
    if rng.random() < 0.4:
        start, target = target, start
    up, down = minimum_jerk(share / 0.42), minimum_jerk((share - 0.56) / 0.44)
    over = minimum_jerk((share - 0.12) / 0.74)
    height = rng.uniform(0.09, 0.16) * (up - down)
    position = np.column_stack([start + over[:, None] * (target - start), thing.shape.half_height_m + height])
    position[:, 0] += rng.uniform(-0.02, 0.05) * np.sin(np.pi * over)
    first = comfortable_yaw(np.array([*start, 0.0]), rng)
    yaw = over * (comfortable_yaw(np.array([*target, 0.0]), rng) - first)
    tilt = rng.uniform(-0.10, 0.10, 2) * np.sin(np.pi * over)[:, None]
    path = carried_path(position, np.column_stack([tilt, yaw]), minimum_jerk(height / 0.04), first, rate_hz, rng)
    return Scene(assemble(thing, held, timeline, path, rng), "place", target_xy_m=target)


def _drawer(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Hook the fingers behind the handle and pull the drawer open."""
    seconds = {
        "reach": 0.9,
        "approach": 0.5,
        "close": 0.4,
        "act": 1.4,
        "settle": 0.1,
        "open": 0.35,
        "retreat": 0.6,
        "rest": 0.1,
    }
    timeline = Timeline(durations(rng, **seconds), rate_hz)
    closed = np.array([rng.uniform(0.36, 0.42), rng.uniform(-0.20, 0.00), rng.uniform(0.10, 0.19)])
    yaw = Rotation.from_euler("z", rng.uniform(-0.25, 0.35))
    travel = rng.uniform(0.10, 0.18) * minimum_jerk(timeline.share("act"))
    drawer = pose(closed - travel[:, None] * yaw.apply([1.0, 0.0, 0.0]), Rotation.concatenate([yaw] * len(travel)))
    way = way_over_a_bar(rng)
    hand = hand_path(timeline, drawer @ held.T_thing_hand, way, rng)
    joints = finger_path(timeline, held, rng)
    is_held = during(timeline, "act", "settle")
    performance = Performance(rate_hz, hand, joints, wrist_path(hand), {thing.name: drawer}, is_held, timeline.phase())
    return Scene(performance, "drawer", cabinet=drawer[0])


def _throw(thing: Thing, held: HeldThing, rate_hz: float, rng: np.random.Generator) -> Scene:
    """Grasp, lift, swing and let go so that the thing flies into a bucket."""
    lift_s, swing_s = 0.8 * rng.uniform(0.9, 1.1), 0.36 * rng.uniform(0.9, 1.1)
    seconds = durations(rng, reach=0.8, approach=0.45, close=0.45, rest=1.3)
    timeline = Timeline({**seconds, "act": lift_s + swing_s}, rate_hz)
    time_s, begin_s = timeline.time_s, timeline.begins_s["act"]
    release = int(np.searchsorted(time_s, begin_s + lift_s + swing_s))
    start = np.array([rng.uniform(0.28, 0.34), rng.uniform(-0.26, -0.16), thing.shape.half_height_m])
    yaw = Rotation.from_euler("z", comfortable_yaw(start, rng))
    # a thing leaves the open hand the way it came in: out of the palm and along the fingers
    out = yaw.apply(held.T_thing_hand[:3, :3] @ np.array([0.75, -0.10, 0.66]))
    ahead = np.array([max(out[0], 0.35), out[1], 0.0])
    ahead /= np.linalg.norm(ahead)
    elevation = rng.uniform(0.55, 0.80)
    direction = ahead * np.cos(elevation) + _UP * np.sin(elevation)
    tilt = Rotation.align_vectors([direction], [out])[0]
    ready = start + np.array([0.0, 0.0, rng.uniform(0.09, 0.13)]) - 0.03 * ahead
    distance, bucket = (
        rng.uniform(0.28, 0.38),
        Bucket(radius_m=float(rng.uniform(0.10, 0.13)), height_m=float(rng.uniform(0.16, 0.22))),
    )
    speed, point = 2.0, ready
    for _ in range(6):  # the point of release depends on the speed, and the speed on that point
        point = ready + direction * speed * swing_s * 0.42
        drop = point[2] - bucket.height_m
        speed = np.sqrt(9.81 * distance**2 / (2.0 * np.cos(elevation) ** 2 * (distance * np.tan(elevation) + drop)))
    velocity = speed * direction
    swing = (time_s - begin_s - lift_s)[:, None]
    position = start + minimum_jerk((time_s - begin_s) / lift_s)[:, None] * (ready - start)
    swinging = _quintic(np.clip(swing, 0.0, swing_s), swing_s, point - ready, velocity, _GRAVITY)
    position = position + np.where(swing > 0.0, swinging, 0.0)
    after = time_s > time_s[release]
    turn = Rotation.from_rotvec(minimum_jerk((swing + 0.25) / (swing_s + 0.25)) * tilt.as_rotvec()) * yaw
    carried = pose(position, turn)
    carried[after] = carried[release]
    carried[after, :3, 3] = point + _follow_through(time_s[after] - time_s[release], velocity)
    hand = hand_path(timeline, carried @ held.T_thing_hand, usual_way(rng), rng)
    joints = finger_path(timeline, held, rng, open_s=(time_s[release], time_s[release] + 0.075))
    bucket = dataclasses.replace(bucket, position_m=tuple((point + ahead * distance) * np.array([1.0, 1.0, 0.0])))
    body = carried.copy()
    body[release:] = fall(thing, bucket, carried[release], velocity, len(time_s) - release, rate_hz)
    is_held = during(timeline, "act", "act") & (np.arange(len(time_s)) <= release)
    performance = Performance(rate_hz, hand, joints, wrist_path(hand), {thing.name: body}, is_held, timeline.phase())
    return Scene(performance, "throw", bucket=bucket)


def _quintic(time_s: FloatArray, end_s: float, shift: FloatArray, velocity: FloatArray, acceleration: FloatArray) -> FloatArray:
    """(N, 3) from rest to a shift with a velocity and an acceleration at the end time."""
    T = end_s
    matrix = np.array([[T**3, T**4, T**5], [3 * T**2, 4 * T**3, 5 * T**4], [6 * T, 12 * T**2, 20 * T**3]])
    a, b, c = np.linalg.solve(matrix, np.stack([shift, velocity, acceleration]))
    return a * time_s**3 + b * time_s**4 + c * time_s**5


def _follow_through(time_s: FloatArray, velocity: FloatArray) -> FloatArray:
    """(N, 3) way of the hand after letting go.

    It first falls as the thing does and brakes along the direction of the throw only, so that the thing leaves the opening
    fingers straight ahead; then it comes to rest.
    """
    braking_from_s, braking_s, falling_s, resting_s = 0.03, 0.14, 0.12, 0.18
    fine = np.linspace(0.0, max(float(time_s[-1]), falling_s + resting_s), 2000)
    braked = 1.0 - minimum_jerk((fine - braking_from_s) / braking_s)
    falling = np.minimum(fine, falling_s) * (1.0 - minimum_jerk((fine - falling_s) / resting_s))
    speed = braked[:, None] * velocity + falling[:, None] * _GRAVITY
    way = np.concatenate([np.zeros((1, 3)), np.cumsum(0.5 * (speed[1:] + speed[:-1]) * (fine[1] - fine[0]), axis=0)])
    return np.column_stack([np.interp(time_s, fine, way[:, axis]) for axis in range(3)])
