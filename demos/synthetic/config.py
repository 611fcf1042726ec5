"""What happens in a synthetic pick-and-place recording, and the camera that films it."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np

from demos.interaction import FloatArray
from dexvid_envs.errors import OptionError

PHASES: tuple[str, ...] = ("reach", "approach", "close", "carry", "settle", "open", "retreat", "rest")


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

    position_m: tuple[float, float, float] = (1.280, -0.310, 0.585)
    look_at_m: tuple[float, float, float] = (0.405, -0.095, 0.150)
    vertical_field_of_view_deg: float = 28.0
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
    start_xy_m: tuple[float, float] = (0.46, -0.20)
    target_xy_m: tuple[float, float] = (0.46, 0.12)
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


def config_json(config: SyntheticPickPlaceConfig) -> str:
    """The config as JSON, in a fixed order."""
    return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True) + "\n"
