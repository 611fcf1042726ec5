"""The parts of the scripted motion: path of the bottle, way of the hand to it and back, fingers; minimum-jerk in time.

`share` arrays are (T,) progress of a phase: below 0 before it begins, above 1 after it has ended.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from demos.interaction import FloatArray
from demos.synthetic import bottle
from demos.synthetic.config import SyntheticPickPlaceConfig
from demos.synthetic.grasp import Grasp


def minimum_jerk(share: FloatArray) -> FloatArray:
    """0 to 1 with zero speed and acceleration at both ends, for shares of the time in [0, 1] (clipped)."""
    s = np.clip(share, 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s**2)


def bottle_path(config: SyntheticPickPlaceConfig, share: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(T, 4, 4) pose of the bottle: up, over and down while `share` goes from 0 to 1; its yaw is that of the hand."""
    up, down = minimum_jerk(share / 0.40), minimum_jerk((share - 0.58) / 0.42)
    over = minimum_jerk((share - 0.12) / 0.74)
    height = config.lift_height_m * (up - down)
    start, target = np.array(config.start_xy_m), np.array(config.target_xy_m)
    aloft = minimum_jerk(height / 0.04)  # the hand is steadied by the table while the bottle is near it
    tremor = smooth_noise(rng, (len(share), 6), 2.5)
    position = np.zeros((len(share), 3))
    position[:, :2] = start + over[:, None] * (target - start)
    position[:, 0] += config.path_bulge_m * np.sin(np.pi * over)
    position[:, 2] = bottle.HEIGHT_M / 2.0 + height
    position += aloft[:, None] * config.tremor_std_m * tremor[:, :3]
    yaw = config.start_yaw_rad + over * (config.target_yaw_rad - config.start_yaw_rad)
    tilt = config.carry_tilt_rad * np.sin(np.pi * over)[:, None] * np.array([0.8, -0.6, 0.0]) * aloft[:, None]
    tilt = tilt + aloft[:, None] * 0.006 * tremor[:, 3:]
    rotation = Rotation.from_rotvec(yaw[:, None] * np.array([0.0, 0.0, 1.0])) * Rotation.from_rotvec(tilt)
    poses = np.tile(np.eye(4), (len(share), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = rotation.as_matrix(), position
    return poses


def add_way_to_bottle(
    config: SyntheticPickPlaceConfig, T_world_hand: FloatArray, share: dict[str, FloatArray], rng: np.random.Generator
) -> None:
    """Adds the way to the bottle and back to the (T, 4, 4) poses of the hand that holds it, in place."""
    before, after = T_world_hand[0].copy(), T_world_hand[-1].copy()
    # the hand frame's +x is the palm's direction, +z that of the fingers: come from behind the palm and from the wrist's side
    pre = _offset(before, np.array([-0.75, 0.10, -0.66]) * config.approach_distance_m, 0.0, 0.0)
    far = _offset(before, np.array([-0.35, 0.22, -0.91]) * (config.reach_distance_m + 0.02), 0.45, 0.12)
    away = _offset(after, np.array([-0.62, 0.20, -0.76]) * config.retreat_distance_m, 0.12, 0.04)
    reach = minimum_jerk(share["reach"] / 1.15)
    approach = minimum_jerk((share["approach"] + 0.25) / 1.25)  # it overlaps the reach: the hand slows down, but does not stop
    retreat = minimum_jerk(share["retreat"])
    wander = smooth_noise(rng, (len(reach), 3), 4.0) * 2.0 * config.tremor_std_m
    holding = (share["approach"] >= 1.0) & (share["retreat"] <= 0.0)
    to_pre, to_grasp = _between(far, pre, reach), _between(pre, before, approach)
    back = _between(after, away, retreat)
    for frame in np.flatnonzero(~holding):
        if share["approach"][frame] < 1.0:
            first, second = to_pre[frame], to_grasp[frame]
            T_world_hand[frame] = second
            T_world_hand[frame, :3, 3] += first[:3, 3] - pre[:3, 3]
            T_world_hand[frame, :3, :3] = first[:3, :3] @ pre[:3, :3].T @ second[:3, :3]
            T_world_hand[frame, :3, 3] += wander[frame] * (1.0 - approach[frame])
        else:
            T_world_hand[frame] = back[frame]
            T_world_hand[frame, :3, 3] += wander[frame] * retreat[frame]


def finger_motion(grasp: Grasp, share: dict[str, FloatArray], rng: np.random.Generator) -> FloatArray:
    """(T, 21) joints: relaxed, open, closed, open, half relaxed; each finger with a timing of its own."""
    frames = len(share["close"])
    finger_of_joint = np.r_[np.zeros(5, int), np.repeat(np.arange(1, 5), 4)]
    lag = rng.uniform(0.0, 0.12, 5)[finger_of_joint]
    opening = minimum_jerk((share["reach"][:, None] - lag) / 0.88)
    closing = minimum_jerk((share["close"][:, None] - lag) / (1.0 - lag))
    letting_go = minimum_jerk((share["open"][:, None] - lag) / (1.0 - lag))
    relaxing = 0.6 * minimum_jerk(share["retreat"])[:, None]
    joints = grasp.relaxed_joints_rad + opening * (grasp.open_joints_rad - grasp.relaxed_joints_rad)
    joints = joints + closing * (grasp.joints_rad - joints)
    joints = joints + letting_go * (grasp.open_joints_rad - joints)
    joints = joints + relaxing * (grasp.relaxed_joints_rad - joints)
    restless = 1.0 - closing * (1.0 - relaxing)
    return joints + 0.012 * restless * smooth_noise(rng, (frames, 21), 4.0)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma_frames: float) -> FloatArray:
    """Noise of zero mean and unit standard deviation, smoothed over the frames (first axis)."""
    noise = gaussian_filter1d(rng.standard_normal(shape), sigma_frames, axis=0, mode="wrap")
    return noise / noise.std()


def _offset(pose: FloatArray, offset_hand_m: FloatArray, roll_rad: float, pitch_rad: float) -> FloatArray:
    """The (4, 4) pose moved by an offset in the hand frame, rolled about the fingers (palm down) and pitched (fingers down)."""
    moved = pose.copy()
    moved[:3, 3] += pose[:3, :3] @ offset_hand_m
    moved[:3, :3] = pose[:3, :3] @ Rotation.from_euler("zx", [-roll_rad, pitch_rad]).as_matrix()
    return moved


def _between(first: FloatArray, last: FloatArray, share: FloatArray) -> FloatArray:
    """(T, 4, 4) poses on the way from one pose to another at the given shares in [0, 1]."""
    poses = np.tile(np.eye(4), (len(share), 1, 1))
    turns = Slerp([0.0, 1.0], Rotation.from_matrix(np.stack([first[:3, :3], last[:3, :3]])))
    poses[:, :3, :3] = turns(share).as_matrix()
    poses[:, :3, 3] = first[:3, 3] + share[:, None] * (last[:3, 3] - first[:3, 3])
    return poses
