"""Finds how a hand holds the bottle: wrist position and finger joints for a side grasp, by least squares.

The grasp is solved once in the frame of the bottle, with the fingers along the bottle frame's +x; the motion turns it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from demos.synthetic import bottle
from robots.human_hand import FINGERS, JOINT_NAMES, HumanHand

FloatArray = NDArray[np.float64]

#: Rotation of a level hand: fingers (hand z) along x, palm (hand x) towards y, index side (hand y) up.
LEVEL_HAND: FloatArray = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

_GRASP_PRIOR_RAD = {
    "thumb_base_flexion": 0.05,
    "thumb_base_abduction": 0.60,
    "thumb_base_roll": 0.70,
    "thumb_proximal_flexion": 0.30,
    "thumb_distal_flexion": 0.35,
    "base_flexion": 0.60,
    "proximal_flexion": 0.85,
    "distal_flexion": 0.50,
}
_OPEN_PRIOR_RAD = {
    "base_flexion": 0.25,
    "proximal_flexion": 0.35,
    "distal_flexion": 0.18,
}
#: The thumb opens from the grasp, so that on its way it does not cut through the bottle.
_OPENING_THUMB_RAD = np.array([-0.45, 0.05, -0.10, -0.20, -0.25])
_RELAXED_RAD = {
    "thumb_base_flexion": 0.0,
    "thumb_base_abduction": 0.15,
    "thumb_base_roll": 0.15,
    "thumb_proximal_flexion": 0.25,
    "thumb_distal_flexion": 0.30,
    "base_flexion": 0.45,
    "proximal_flexion": 0.60,
    "distal_flexion": 0.30,
}
_PRIOR_WEIGHTS = {
    "base_abduction": 1.2,
    "thumb_base_abduction": 0.3,
    "thumb_proximal_flexion": 1.5,
    "thumb_distal_flexion": 1.0,
}
_TOUCH_DEPTH_M = 0.0004  # soft skin gives way a little
_OPEN_CLEARANCE_M = 0.014


@dataclasses.dataclass(frozen=True)
class Grasp:
    """A solved grasp and the hand postures around it.

    Attributes:
        T_bottle_hand: (4, 4) pose of the hand that holds the bottle.
        joints_rad: (21,) finger joints that hold it.
        open_joints_rad: (21,) the pre-shape: at the same pose of the hand, clear of the bottle.
        relaxed_joints_rad: (21,) the hand at rest in the air.
        tip_distances_m: (5,) distance of the fingertips' skin from the bottle, in the order of the fingers.
        penetration_m: deepest point of the flesh inside the bottle.
    """

    T_bottle_hand: FloatArray
    joints_rad: FloatArray
    open_joints_rad: FloatArray
    relaxed_joints_rad: FloatArray
    tip_distances_m: FloatArray
    penetration_m: float


def posture(values_rad: dict[str, float]) -> FloatArray:
    """(21,) joints from values by joint name or by its last two words; 0 where none is given."""
    return np.array([values_rad.get(name, values_rad.get(name.split("_", 1)[1], 0.0)) for name in JOINT_NAMES])


def pose_matrix(rotation: FloatArray, position: FloatArray) -> FloatArray:
    """(4, 4) pose of a rotation (3, 3) and a position (3,) m."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


def flesh_distances(hand: HumanHand, T_world_bottle: FloatArray) -> FloatArray:
    """(S,) signed distance in m of each flesh sphere of the posed hand from the body of the bottle."""
    centres = hand.sphere_centres_world()
    return bottle.body_distance((centres - T_world_bottle[:3, 3]) @ T_world_bottle[:3, :3]) - hand.sphere_radii_m


def tip_distances(hand: HumanHand, distances_m: FloatArray) -> FloatArray:
    """(5,) smallest of the `flesh_distances` over the last bone of each finger."""
    fingers = np.array(hand.sphere_fingers)
    return np.array([distances_m[hand.sphere_is_tip & (fingers == finger)].min() for finger in FINGERS])


def solve_grasp(hand: HumanHand, height_m: float, slope_rad: float) -> Grasp:
    """Solves the grasp of a standing bottle.

    Args:
        hand: the hand; its pose is changed.
        height_m: mean height of the fingertips above the bottom of the bottle.
        slope_rad: the fingers point down by this angle.
    """
    rotation = Rotation.from_euler("y", slope_rad).as_matrix() @ LEVEL_HAND
    tip_z = height_m - bottle.HEIGHT_M / 2.0
    start_xyz = np.array([-0.080, -0.060, tip_z + 0.010])
    prior = posture(_GRASP_PRIOR_RAD)
    weights = np.array([_PRIOR_WEIGHTS.get(name, _PRIOR_WEIGHTS.get(name.split("_", 1)[1], 0.3)) for name in JOINT_NAMES])

    def residuals(variables: FloatArray) -> FloatArray:
        hand.pose(pose_matrix(rotation, variables[:3]), variables[3:])
        distances = flesh_distances(hand, np.eye(4))
        tips = hand.keypoints_world()[4::4]
        inwards = -tips[:, :2] / np.linalg.norm(tips[:, :2], axis=1, keepdims=True)
        facing = np.einsum("fi,fi->f", hand.pad_directions_world()[:, :2], inwards)
        opposition = inwards[0] + inwards[1:4].mean(axis=0) / np.linalg.norm(inwards[1:4].mean(axis=0))
        flexions = variables[3:][5:].reshape(4, 4)
        return np.concatenate(
            [
                (tip_distances(hand, distances) + _TOUCH_DEPTH_M) * 1000.0,
                np.minimum(distances + 0.0008, 0.0) * 1000.0,
                (1.0 - facing) * 1.5,
                opposition * 1.0,
                [(tips[:, 2].mean() - tip_z) * 300.0, (tips[0, 2] - tips[1:3, 2].mean()) * 30.0],
                (flexions[:, 3] - 0.6 * flexions[:, 2]) * 0.6,
                np.diff(flexions[:, 1:3], axis=0).reshape(-1) * 1.5,
                (variables[3:] - prior) * weights,
                (variables[:3] - start_xyz) * np.array([60.0, 40.0, 5.0]),
            ]
        )

    start = np.concatenate([start_xyz, posture(_OPEN_PRIOR_RAD)])  # from outside, so that no finger ends on the wrong side
    margin = np.full(3, 0.1)
    bounds = (np.concatenate([start_xyz - margin, hand.lower_rad]), np.concatenate([start_xyz + margin, hand.upper_rad]))
    solution = least_squares(residuals, start, bounds=bounds, x_scale=np.r_[[0.01] * 3, [0.2] * 21], max_nfev=200).x
    T_bottle_hand = pose_matrix(rotation, solution[:3])
    hand.pose(T_bottle_hand, solution[3:])
    distances = flesh_distances(hand, np.eye(4))
    return Grasp(
        T_bottle_hand=T_bottle_hand,
        joints_rad=solution[3:],
        open_joints_rad=_solve_open(hand, T_bottle_hand, solution[3:]),
        relaxed_joints_rad=posture(_RELAXED_RAD),
        tip_distances_m=tip_distances(hand, distances),
        penetration_m=float(max(0.0, -distances.min())),
    )


def _solve_open(hand: HumanHand, T_bottle_hand: FloatArray, closed_joints_rad: FloatArray) -> FloatArray:
    """(21,) joints of the pre-shape: fingers and thumb near an open posture and clear of the bottle."""
    prior = posture(_OPEN_PRIOR_RAD)
    prior[:5] = np.clip(closed_joints_rad[:5] + _OPENING_THUMB_RAD, hand.lower_rad[:5], hand.upper_rad[:5])
    moving = np.array([finger not in ("palm", "forearm") for finger in hand.sphere_fingers])

    def residuals(joints_rad: FloatArray) -> FloatArray:
        halfway = []
        for share in (0.25, 0.5, 0.75):
            hand.pose(T_bottle_hand, joints_rad + share * (closed_joints_rad - joints_rad))
            halfway.append(np.minimum(flesh_distances(hand, np.eye(4))[moving], 0.0) * 1000.0)
        hand.pose(T_bottle_hand, joints_rad)
        distances = flesh_distances(hand, np.eye(4))
        tips = tip_distances(hand, distances)
        near = np.minimum(distances[moving] - 0.003, 0.0) * 1000.0
        return np.concatenate([*halfway, near, np.minimum(tips - _OPEN_CLEARANCE_M, 0.0) * 300.0, (joints_rad - prior) * 1.0])

    start = np.clip(0.5 * (prior + closed_joints_rad), hand.lower_rad + 1e-3, hand.upper_rad - 1e-3)
    return least_squares(residuals, start, bounds=(hand.lower_rad, hand.upper_rad), max_nfev=100).x
