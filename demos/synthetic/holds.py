"""Finds how a hand holds a thing: pose of the hand and finger joints by least squares on the distance to the surface.

The hold is solved once for a right hand in the frame of the thing; the motion carries it. Skin touches, flesh stays outside.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from demos.synthetic.grasp import LEVEL_HAND, pose_matrix, posture
from demos.synthetic.shapes import DrawerFront
from demos.synthetic.things import Hold, Thing
from robots.human_hand import FINGERS, JOINT_NAMES, HumanHand

FloatArray = NDArray[np.float64]

TOUCHING_M = 0.002
_TOUCH_DEPTH_M = 0.0004  # soft skin gives way a little
_FREE_DEPTH_M = 0.0008  # this much of overlap costs nothing
_OPEN_CLEARANCE_M = 0.012
_TABLE_CLEARANCE_M = 0.003
_GRIP_RAD = {
    "thumb_base_flexion": 0.05,
    "thumb_base_abduction": 0.60,
    "thumb_base_roll": 0.70,
    "thumb_proximal_flexion": 0.30,
    "thumb_distal_flexion": 0.35,
    "base_flexion": 0.60,
    "proximal_flexion": 0.80,
    "distal_flexion": 0.45,
}
_HOOK_RAD = {
    "thumb_base_flexion": 0.10,
    "thumb_base_abduction": 0.45,
    "thumb_base_roll": 0.60,
    "thumb_proximal_flexion": 0.35,
    "thumb_distal_flexion": 0.30,
    "base_flexion": 0.45,
    "proximal_flexion": 1.25,
    "distal_flexion": 0.70,
}
_OPEN_RAD = {"base_flexion": 0.25, "proximal_flexion": 0.35, "distal_flexion": 0.18}
_RELAXED_RAD = {
    "thumb_base_abduction": 0.15,
    "thumb_base_roll": 0.15,
    "thumb_proximal_flexion": 0.25,
    "thumb_distal_flexion": 0.30,
    "base_flexion": 0.40,
    "proximal_flexion": 0.50,
    "distal_flexion": 0.28,
}
_OPENING_THUMB_RAD = np.array([-0.45, 0.05, -0.10, -0.20, -0.25])
_STIFFNESS = {
    "base_abduction": 1.2,
    "thumb_base_abduction": 0.3,
    "thumb_proximal_flexion": 1.2,
    "thumb_distal_flexion": 1.0,
}
_FINGER_WEIGHTS = np.array([1.0, 1.0, 1.0, 0.8, 0.4])  # the little finger may stay off where it does not reach


@dataclasses.dataclass(frozen=True)
class HeldThing:
    """A solved hold and the postures around it, of a right hand.

    Attributes:
        T_thing_hand: (4, 4) pose of the hand that holds the thing.
        joints_rad: (21,) finger joints that hold it.
        open_joints_rad: (21,) at the same pose of the hand, clear of the thing.
        relaxed_joints_rad: (21,) the hand at rest in the air.
        tip_distances_m: (5,) distance of the last bones' skin from the thing.
        penetration_m: how deep the flesh is inside the thing at most.
    """

    T_thing_hand: FloatArray
    joints_rad: FloatArray
    open_joints_rad: FloatArray
    relaxed_joints_rad: FloatArray
    tip_distances_m: FloatArray
    penetration_m: float

    @property
    def firm(self) -> bool:
        """Thumb, index and middle finger touch, and nothing goes in deeper than soft skin gives."""
        return bool(np.abs(self.tip_distances_m[:3]).max() < TOUCHING_M) and self.penetration_m < 0.0015


class Touch:
    """Distances between a posed hand and a thing."""

    def __init__(self, hand: HumanHand, thing: Thing) -> None:
        self.hand, self.thing = hand, thing
        fingers = np.array(hand.sphere_fingers)
        self._tips = [np.flatnonzero(hand.sphere_is_tip & (fingers == finger)) for finger in FINGERS]
        per_finger = 3 * hand.SPHERES_PER_CONE
        ends = [np.flatnonzero(fingers == finger)[-per_finger + hand.SPHERES_PER_CONE :] for finger in FINGERS]
        pairs = [(i, j) for a in range(5) for b in range(a + 1, 5) for i in ends[a][::2] for j in ends[b][::2]]
        self._first, self._second = np.array(pairs).T

    def flesh(self, T_world_thing: FloatArray) -> FloatArray:
        """(S,) distance in m of each flesh sphere from the thing."""
        centres = (self.hand.sphere_centres_world() - T_world_thing[:3, 3]) @ T_world_thing[:3, :3]
        return self.thing.shape.distance(centres) - self.hand.sphere_radii_m

    def tips(self, T_world_thing: FloatArray) -> FloatArray:
        """(5,) smallest distance in m of the last bones from what is touched: the thing, of a drawer its bar."""
        shape = self.thing.shape
        distance = shape.bar_distance if isinstance(shape, DrawerFront) else shape.distance
        centres = (self.hand.sphere_centres_world() - T_world_thing[:3, 3]) @ T_world_thing[:3, :3]
        return np.array([(distance(centres[tip]) - self.hand.sphere_radii_m[tip]).min() for tip in self._tips])

    def between_fingers(self) -> FloatArray:
        """(M,) distances in m between the outer bones of different fingers."""
        centres, radii = self.hand.sphere_centres_world(), self.hand.sphere_radii_m
        apart = np.linalg.norm(centres[self._first] - centres[self._second], axis=1)
        return apart - radii[self._first] - radii[self._second]


def solve_hold(hand: HumanHand, thing: Thing, hold: Hold, slope_rad: float) -> HeldThing:
    """Solves a hold of a standing thing; `robots.threads.single_threaded_blas` around it saves most of its time.

    Args:
        hand: a right hand; its pose is changed.
        thing: what is held.
        hold: from where.
        slope_rad: the fingers point down by this angle, before the roll.
    """
    touch, shape = Touch(hand, thing), thing.shape
    hook = isinstance(shape, DrawerFront)
    turn = Rotation.from_euler("z", -hold.yaw_rad) * Rotation.from_euler("x", -hold.roll_rad)
    rotation = (turn * Rotation.from_euler("y", slope_rad)).as_matrix() @ LEVEL_HAND
    tip_z = (2.0 * hold.height_share - 1.0) * shape.half_height_m
    scale, half = hand.dimensions.scale, 0.5 * shape.breadth_m
    from_side = np.array([-0.050 * scale - half, -0.030 * scale - half, 0.010])
    if hook:
        from_side = np.array([-0.120, -0.045, 0.0]) * scale  # of the bar: palm above it, bent fingers behind it
    start = turn.apply(from_side) + np.array([0.0, 0.0, tip_z])
    prior = posture(_HOOK_RAD if hook else _GRIP_RAD)
    weights = np.array([_STIFFNESS.get(name, _STIFFNESS.get(name.split("_", 1)[1], 0.3)) for name in JOINT_NAMES])
    eye, tip_weights = np.eye(4), _FINGER_WEIGHTS * (np.array([0.3, 1.0, 1.0, 1.0, 1.0]) if hook else 1.0)

    def residuals(variables: FloatArray) -> FloatArray:
        hand.pose(pose_matrix(Rotation.from_rotvec(variables[24:]).as_matrix() @ rotation, variables[:3]), variables[3:24])
        flesh, tips = touch.flesh(eye), hand.keypoints_world()[4::4]
        inwards = -_normals(touch, tips)
        facing = np.einsum("fi,fi->f", hand.pad_directions_world(), inwards)
        fingers = inwards[1:4].mean(axis=0)
        opposition = inwards[0] + fingers / max(float(np.linalg.norm(fingers)), 1e-3)
        flexions = variables[8:24].reshape(4, 4)
        above_table = hand.sphere_centres_world()[:, 2] - hand.sphere_radii_m + shape.half_height_m - _TABLE_CLEARANCE_M
        place = [(tips[:, 2].mean() - tip_z) * 250.0, (tips[0] - tips[1:3].mean(axis=0)) @ turn.apply([0, 0, 1]) * 30.0]
        return np.concatenate(
            [
                (touch.tips(eye) + _TOUCH_DEPTH_M) * 1000.0 * tip_weights,
                np.minimum(flesh + _FREE_DEPTH_M, 0.0) * 1000.0,
                np.minimum(touch.between_fingers() + 0.001, 0.0) * 500.0,
                np.zeros(1) if hook else np.minimum(above_table, 0.0) * 1000.0,
                (1.0 - facing) * (0.6 if hook else 1.5),
                [tips[1:, 1].mean() * 60.0] if hook else opposition * 1.2,
                [(tips[1:, 1] - tips[1:, 1].mean()).sum()] if hook else place,
                (flexions[:, 3] - 0.6 * flexions[:, 2]) * 0.6,
                np.diff(flexions[:, 1:3], axis=0).reshape(-1) * 1.5,
                (variables[3:24] - prior) * weights,
                (variables[:3] - start) * 25.0,
                variables[24:] * 2.0,
            ]
        )

    # from outside, so that no finger ends on the wrong side; around a bar the fingers are hooked from the start
    first = np.concatenate([start, prior if hook else posture(_OPEN_RAD), np.zeros(3)])
    room = np.array([0.12] * 3)
    bounds = (np.r_[start - room, hand.lower_rad, [-0.5] * 3], np.r_[start + room, hand.upper_rad, [0.5] * 3])
    first = np.clip(first, bounds[0] + 1e-4, bounds[1] - 1e-4)
    x_scale = np.r_[[0.01] * 3, [0.2] * 21, [0.1] * 3]
    solution = least_squares(residuals, first, bounds=bounds, x_scale=x_scale, max_nfev=45).x
    T_thing_hand = pose_matrix(Rotation.from_rotvec(solution[24:]).as_matrix() @ rotation, solution[:3])
    joints = solution[3:24]
    hand.pose(T_thing_hand, joints)
    return HeldThing(
        T_thing_hand=T_thing_hand,
        joints_rad=joints,
        tip_distances_m=touch.tips(eye),
        penetration_m=float(max(-touch.flesh(eye).min(), 0.0)),
        open_joints_rad=_solve_open(touch, T_thing_hand, joints, hook),
        relaxed_joints_rad=posture(_RELAXED_RAD),
    )


def _solve_open(touch: Touch, T_thing_hand: FloatArray, closed_rad: FloatArray, hook: bool) -> FloatArray:
    """(21,) joints near an open posture, clear of the thing, with a clear way from there to the hold.

    A hook stays half closed: the fingers go behind the bar from above.
    """
    hand, eye = touch.hand, np.eye(4)
    prior = np.clip(0.8 * closed_rad, hand.lower_rad, hand.upper_rad) if hook else posture(_OPEN_RAD)
    clearance_m = 0.003 if hook else _OPEN_CLEARANCE_M
    prior[:5] = np.clip(closed_rad[:5] + _OPENING_THUMB_RAD, hand.lower_rad[:5], hand.upper_rad[:5])
    moving = np.array([finger not in ("palm", "forearm") for finger in hand.sphere_fingers])
    table_z = -np.inf if hook else -touch.thing.shape.half_height_m

    def residuals(joints_rad: FloatArray) -> FloatArray:
        halfway = []
        for share in (0.0, 0.25, 0.5, 0.75):
            hand.pose(T_thing_hand, joints_rad + share * (closed_rad - joints_rad))
            halfway.append(np.minimum(touch.flesh(eye)[moving] + 0.0004, 0.0) * 1000.0)
            above_table = hand.sphere_centres_world()[:, 2] - hand.sphere_radii_m - table_z - 0.5 * _TABLE_CLEARANCE_M
            halfway.append(np.minimum(above_table[moving], 0.0) * 1000.0)
        hand.pose(T_thing_hand, joints_rad)
        near = np.minimum(touch.flesh(eye)[moving] - 0.25 * clearance_m, 0.0) * 1000.0
        return np.concatenate([*halfway, near, np.minimum(touch.tips(eye) - clearance_m, 0.0) * 300.0, joints_rad - prior])

    start = np.clip(0.5 * (prior + closed_rad), hand.lower_rad + 1e-3, hand.upper_rad - 1e-3)
    return least_squares(residuals, start, bounds=(hand.lower_rad, hand.upper_rad), max_nfev=40).x


def _normals(touch: Touch, points: FloatArray) -> FloatArray:
    """(N, 3) outward direction of what is touched at points (N, 3), by central differences."""
    shape, step = touch.thing.shape, 1e-4 * np.eye(3)
    distance = shape.bar_distance if isinstance(shape, DrawerFront) else shape.distance
    around = np.concatenate([points[:, None] + step, points[:, None] - step], axis=1)
    values = distance(around)
    gradient = values[:, :3] - values[:, 3:]
    return gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9)
