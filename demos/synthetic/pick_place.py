"""A scripted person picks up a bottle, carries it sideways and puts it down: a recording with exact truth.

`make_pick_place_recording` makes the motion and the `Interaction` an extractor would give; `demos.synthetic.render` films it. The
shipped sample is made again by `python -m demos.synthetic.pick_place --out demos/data/synthetic_pick_place`.
World frame: z up, table top at z = 0, x forward; the person stands at low x, looks along +x and moves the bottle along y.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from demos.files import atomic_path, sha256_of_files
from demos.interaction import HAND_KEYPOINT_NAMES, BoolArray, FloatArray, Interaction
from demos.synthetic import bottle
from demos.synthetic.grasp import Grasp, flesh_distances, solve_grasp, tip_distances
from dexvid_envs.errors import OptionError
from robots.human_hand import HandDimensions, HumanHand

PHASES: tuple[str, ...] = ("reach", "approach", "close", "carry", "settle", "open", "retreat", "rest")
#: Hand key points that are also given as task-relevant points, then the points of the task itself.
_HAND_POINTS = ("wrist", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip")
KEYPOINT_NAMES: tuple[str, ...] = (*_HAND_POINTS, "bottle_base", "bottle_cap", "target")
_TOUCHING_M = 0.002


@dataclasses.dataclass(frozen=True)
class CameraConfig:
    """The static camera that films the scene.

    Attributes:
        position_m: where it stands, in the world frame.
        look_at_m: the point in the middle of the picture.
        vertical_field_of_view_deg: opening angle from the upper to the lower edge.
        width: picture width in px.
        height: picture height in px.
    """

    position_m: tuple[float, float, float] = (0.98, 0.62, 0.52)
    look_at_m: tuple[float, float, float] = (0.40, 0.0, 0.10)
    vertical_field_of_view_deg: float = 38.0
    width: int = 640
    height: int = 360

    @property
    def K(self) -> FloatArray:
        """(3, 3) camera matrix in px."""
        focal = 0.5 * self.height / math.tan(0.5 * math.radians(self.vertical_field_of_view_deg))
        return np.array([[focal, 0.0, 0.5 * self.width], [0.0, focal, 0.5 * self.height], [0.0, 0.0, 1.0]])

    @property
    def T_world_camera(self) -> FloatArray:
        """(4, 4) pose of the camera frame (x right, y down, z forward)."""
        forward = np.array(self.look_at_m) - np.array(self.position_m)
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
        pose[:3, 3] = self.position_m
        return pose


@dataclasses.dataclass(frozen=True)
class SyntheticPickPlaceConfig:
    """What happens in the recording; the defaults are the shipped sample.

    Attributes:
        seed: of the natural variation, the tremor and the noise.
        fps: frames a second, Hz.
        start_xy_m: where the bottle stands first.
        target_xy_m: where it is put.
        start_yaw_rad: direction of the fingers at the grasp, from +x towards +y.
        target_yaw_rad: the same when the bottle is put down.
        hand_scale: size of the person's hand relative to the 50th percentile.
        grasp_height_m: mean height of the fingertips above the table.
        hand_slope_rad: the fingers point down by this angle.
        forearm_slope_rad: the forearm goes down towards the hand by this angle.
        lift_height_m: how high the bottle is carried.
        path_bulge_m: the carried bottle passes this far in front of the straight line.
        carry_tilt_rad: largest tilt of the carried bottle.
        reach_distance_m: how far from the grasp the hand starts.
        approach_distance_m: length of the last, slow part of the way to the bottle.
        retreat_distance_m: how far the hand goes back after letting go.
        phase_durations_s: durations of `PHASES`.
        tremor_std_m: natural unsteadiness of the hand.
        keypoint_noise_std_m: error of the measured hand key points along each axis.
        num_object_points: points on the surface of the bottle.
        camera: the camera that films it.
    """

    seed: int = 0
    fps: float = 20.0
    start_xy_m: tuple[float, float] = (0.42, -0.16)
    target_xy_m: tuple[float, float] = (0.42, 0.16)
    start_yaw_rad: float = 0.20
    target_yaw_rad: float = 0.40
    hand_scale: float = 1.0
    grasp_height_m: float = 0.096
    hand_slope_rad: float = 0.12
    forearm_slope_rad: float = 0.30
    lift_height_m: float = 0.14
    path_bulge_m: float = 0.035
    carry_tilt_rad: float = 0.07
    reach_distance_m: float = 0.28
    approach_distance_m: float = 0.09
    retreat_distance_m: float = 0.09
    phase_durations_s: tuple[float, ...] = (1.25, 0.55, 0.55, 2.75, 0.20, 0.50, 0.75, 0.45)
    tremor_std_m: float = 0.0008
    keypoint_noise_std_m: float = 0.0015
    num_object_points: int = 128
    camera: CameraConfig = CameraConfig()

    def __post_init__(self) -> None:
        if len(self.phase_durations_s) != len(PHASES) or min(self.phase_durations_s) <= 0.0:
            raise OptionError(f"phase_durations_s must hold {len(PHASES)} positive numbers, got {self.phase_durations_s}")
        if not 0.85 <= self.hand_scale <= 1.15:
            raise OptionError(f"hand_scale is {self.hand_scale}, expected an adult's hand between 0.85 and 1.15")
        if not (self.fps > 0.0 and self.num_object_points > 0):
            raise OptionError(f"fps and num_object_points must be positive, got {self.fps} and {self.num_object_points}")

    @classmethod
    def varied(cls, seed: int) -> SyntheticPickPlaceConfig:
        """Another person, start, target and pace, drawn from `seed`."""
        rng = np.random.default_rng([seed, 1])
        start = np.array(cls.start_xy_m) + rng.uniform(-0.06, 0.06, 2)
        target = np.array(cls.target_xy_m) + rng.uniform(-0.06, 0.06, 2)
        pace = rng.uniform(0.9, 1.1, len(PHASES))
        return cls(
            seed=seed,
            start_xy_m=(float(start[0]), float(start[1])),
            target_xy_m=(float(target[0]), float(target[1])),
            start_yaw_rad=float(cls.start_yaw_rad + rng.uniform(-0.25, 0.25)),
            target_yaw_rad=float(cls.target_yaw_rad + rng.uniform(-0.25, 0.25)),
            hand_scale=float(rng.uniform(0.92, 1.08)),
            grasp_height_m=float(rng.uniform(0.090, 0.104)),
            lift_height_m=float(rng.uniform(0.125, 0.17)),
            path_bulge_m=float(rng.uniform(0.0, 0.06)),
            phase_durations_s=tuple(float(d) for d in np.array(cls.phase_durations_s) * pace),
        )


@dataclasses.dataclass(frozen=True)
class SyntheticTruth:
    """What really happened, without measurement noise.

    Attributes:
        T_world_hand: (T, 4, 4) pose of the hand frame of `robots.human_hand`.
        joints_rad: (T, 21) finger joints in the order of `robots.human_hand.JOINT_NAMES`.
        wrist_rad: (T, 2) wrist joints.
        hand_keypoints_world: (T, 21, 3) m.
        T_world_bottle: (T, 4, 4) pose of the bottle.
        object_points_object: (P, 3) m, the surface points in the frame of the bottle.
        tip_distances_m: (T, 5) distance of the skin of each fingertip from the bottle, negative inside.
        min_distance_m: (T,) smallest distance of any flesh from the bottle.
        phase: (T,) index into `PHASES`.
        held: (T,) bool, the bottle moves with the hand.
    """

    T_world_hand: FloatArray
    joints_rad: FloatArray
    wrist_rad: FloatArray
    hand_keypoints_world: FloatArray
    T_world_bottle: FloatArray
    object_points_object: FloatArray
    tip_distances_m: FloatArray
    min_distance_m: FloatArray
    phase: NDArray[np.int64]
    held: BoolArray


@dataclasses.dataclass(frozen=True)
class SyntheticRecording:
    """A synthetic recording.

    Attributes:
        config: how it was made.
        truth: what really happened.
        interaction: what an extractor would report of it.
    """

    config: SyntheticPickPlaceConfig
    truth: SyntheticTruth
    interaction: Interaction


def make_pick_place_recording(config: SyntheticPickPlaceConfig | None = None) -> SyntheticRecording:
    """Makes the motion and its measurement; the same config gives the same recording.

    The `source_sha256` of the interaction is the hash of the config, until a video takes its place (`main` below).
    """
    config = config or SyntheticPickPlaceConfig()
    hand = HumanHand(HandDimensions(scale=config.hand_scale))
    grasp = solve_grasp(hand, config.grasp_height_m, config.hand_slope_rad)
    truth = _move(config, hand, grasp)
    return SyntheticRecording(config, truth, _measure(config, truth))


def config_json(config: SyntheticPickPlaceConfig) -> str:
    """The config as JSON, in a fixed order."""
    return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True) + "\n"


def _minimum_jerk(share: FloatArray) -> FloatArray:
    """0 to 1 with zero speed and acceleration at both ends, for shares of the time in [0, 1] (clipped)."""
    s = np.clip(share, 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s**2)


def _move(config: SyntheticPickPlaceConfig, hand: HumanHand, grasp: Grasp) -> SyntheticTruth:
    """The whole motion, frame by frame."""
    rng = np.random.default_rng([config.seed, 0])
    ends_s = np.cumsum(config.phase_durations_s)
    time_s = np.arange(round(ends_s[-1] * config.fps)) / config.fps
    phase = np.searchsorted(ends_s, time_s, side="right").clip(max=len(PHASES) - 1)
    begins_s = ends_s - config.phase_durations_s
    share = {name: (time_s - begins_s[i]) / config.phase_durations_s[i] for i, name in enumerate(PHASES)}
    T_world_bottle = _bottle_path(config, share["carry"], rng)
    T_world_hand = T_world_bottle @ grasp.T_bottle_hand
    held = (time_s >= begins_s[PHASES.index("carry")]) & (time_s < ends_s[PHASES.index("carry")])
    _add_way_to_bottle(config, T_world_hand, share, rng)
    joints = _finger_motion(grasp, share, rng)
    wrist = np.column_stack(
        [0.10 - 0.12 * _minimum_jerk(share["reach"]), np.full(len(time_s), config.forearm_slope_rad - config.hand_slope_rad)]
    )
    keypoints, tips, nearest = [], [], []
    for frame in range(len(time_s)):
        hand.pose(T_world_hand[frame], joints[frame], wrist[frame])
        distances = flesh_distances(hand, T_world_bottle[frame])
        keypoints.append(hand.keypoints_world())
        tips.append(tip_distances(hand, distances))
        nearest.append(distances.min())
    return SyntheticTruth(
        T_world_hand=T_world_hand,
        joints_rad=joints,
        wrist_rad=wrist,
        hand_keypoints_world=np.array(keypoints),
        T_world_bottle=T_world_bottle,
        object_points_object=bottle.surface_points(config.num_object_points, rng),
        tip_distances_m=np.array(tips),
        min_distance_m=np.array(nearest),
        phase=phase,
        held=held,
    )


def _bottle_path(config: SyntheticPickPlaceConfig, share: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(T, 4, 4) pose of the bottle: up, over and down while `share` goes from 0 to 1; its yaw is that of the hand."""
    up, down = _minimum_jerk(share / 0.40), _minimum_jerk((share - 0.58) / 0.42)
    over = _minimum_jerk((share - 0.12) / 0.74)
    height = config.lift_height_m * (up - down)
    start, target = np.array(config.start_xy_m), np.array(config.target_xy_m)
    aloft = _minimum_jerk(height / 0.04)  # the hand is steadied by the table while the bottle is near it
    tremor = _smooth_noise(rng, (len(share), 6), 2.5)
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


def _add_way_to_bottle(
    config: SyntheticPickPlaceConfig, T_world_hand: FloatArray, share: dict[str, FloatArray], rng: np.random.Generator
) -> None:
    """Adds the way to the bottle and back to the (T, 4, 4) poses of the hand that holds it, in place."""
    before, after = T_world_hand[0].copy(), T_world_hand[-1].copy()
    # the hand frame's +x is the palm's direction, +z that of the fingers: come from behind the palm and from the wrist's side
    pre = _offset(before, np.array([-0.75, 0.10, -0.66]) * config.approach_distance_m, 0.0, 0.0)
    far = _offset(before, np.array([-0.35, 0.22, -0.91]) * (config.reach_distance_m + 0.02), 0.45, 0.12)
    away = _offset(after, np.array([-0.62, 0.20, -0.76]) * config.retreat_distance_m, 0.12, 0.04)
    reach = _minimum_jerk(share["reach"] / 1.15)
    approach = _minimum_jerk((share["approach"] + 0.25) / 1.25)  # it overlaps the reach: the hand slows down, but does not stop
    retreat = _minimum_jerk(share["retreat"])
    wander = _smooth_noise(rng, (len(reach), 3), 4.0) * 2.0 * config.tremor_std_m
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


def _finger_motion(grasp: Grasp, share: dict[str, FloatArray], rng: np.random.Generator) -> FloatArray:
    """(T, 21) joints: relaxed, open, closed, open, half relaxed; each finger with a timing of its own."""
    frames = len(share["close"])
    finger_of_joint = np.r_[np.zeros(5, int), np.repeat(np.arange(1, 5), 4)]
    lag = rng.uniform(0.0, 0.12, 5)[finger_of_joint]
    opening = _minimum_jerk((share["reach"][:, None] - lag) / 0.88)
    closing = _minimum_jerk((share["close"][:, None] - lag) / (1.0 - lag))
    letting_go = _minimum_jerk((share["open"][:, None] - lag) / (1.0 - lag))
    relaxing = 0.6 * _minimum_jerk(share["retreat"])[:, None]
    joints = grasp.relaxed_joints_rad + opening * (grasp.open_joints_rad - grasp.relaxed_joints_rad)
    joints = joints + closing * (grasp.joints_rad - joints)
    joints = joints + letting_go * (grasp.open_joints_rad - joints)
    joints = joints + relaxing * (grasp.relaxed_joints_rad - joints)
    restless = 1.0 - closing * (1.0 - relaxing)
    return joints + 0.012 * restless * _smooth_noise(rng, (frames, 21), 4.0)


def _measure(config: SyntheticPickPlaceConfig, truth: SyntheticTruth) -> Interaction:
    """What an extractor would report: noisy hand key points, object points with correspondence, contact frames."""
    rng = np.random.default_rng([config.seed, 2])
    frames = len(truth.phase)
    hand = truth.hand_keypoints_world + config.keypoint_noise_std_m * _smooth_noise(rng, (frames, 21, 3), 1.2)
    rotation, position = truth.T_world_bottle[:, :3, :3], truth.T_world_bottle[:, :3, 3]
    points = np.einsum("tij,pj->tpi", rotation, truth.object_points_object) + position[:, None]
    half_axis = rotation[:, :, 2] * bottle.HEIGHT_M / 2.0
    target = np.broadcast_to(np.array([*config.target_xy_m, 0.0]), (frames, 3))
    own = [hand[:, HAND_KEYPOINT_NAMES.index(name)] for name in _HAND_POINTS]
    keypoints = np.stack([*own, position - half_axis, position + half_axis, target], axis=1)
    touching = truth.tip_distances_m < _TOUCHING_M
    return Interaction(
        fps=config.fps,
        hand_keypoints_world=hand,
        hand_confidence=np.ones(frames),
        hand_side="right",
        object_names=("bottle",),
        object_points_world=points,
        object_visible=np.ones(points.shape[:2], bool),
        object_pose_world=truth.T_world_bottle,
        keypoints_world=keypoints,
        keypoint_visible=np.ones(keypoints.shape[:2], bool),
        keypoint_names=KEYPOINT_NAMES,
        contact=touching[:, 0] & touching[:, 1:4].any(axis=1),
        flagged=np.zeros(frames, bool),
        frame_index=np.arange(frames, dtype=np.int64),
        K=config.camera.K,
        T_world_camera=config.camera.T_world_camera,
        source_sha256=hashlib.sha256(config_json(config).encode()).hexdigest(),
    )


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma_frames: float) -> FloatArray:
    """Noise of zero mean and unit standard deviation, smoothed over the frames (first axis)."""
    noise = gaussian_filter1d(rng.standard_normal(shape), sigma_frames, axis=0, mode="wrap")
    return noise / noise.std()


def _offset(pose: FloatArray, offset_hand_m: FloatArray, roll_rad: float, pitch_rad: float) -> FloatArray:
    """The (4, 4) pose moved by an offset in the hand frame, rolled about the fingers (palm downwards) and pitched (fingers down)."""
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
