"""The settings of retargeting, apart from what solves: the command line is made from them, and `--help` loads no mujoco."""

from __future__ import annotations

import dataclasses

from dexvid_envs.errors import DexVidError


@dataclasses.dataclass(frozen=True)
class RetargetConfig:
    """Weights of the problem.

    Attributes:
        control_hz: rate of the resulting motion.
        max_duration_s: a longer recording is played faster, to this duration.
        previous_weight: lambda of the previous-pose term, m^2/rad^2.
        wrist_weight: weight of the palm's mount against the person's wrist, relative to one fingertip.
        wrist_offset_m: the robot's wrist is kept this far behind the person's, away from the fingertips (its hand is larger).
        arm_posture_weight: pull of the arm's joints towards home, which settles its redundancy, m^2/rad^2.
        posture_weight: pull of the finger joints towards a half-closed posture, m^2/rad^2.
        clearance_m: distance kept between the table and the hand's links.
        clearance_weight: weight of the clearance, relative to one fingertip.
        iterations: Gauss-Newton steps of a frame at most (more for the first one).
        scale: of the person's fingertips about the wrist; a handled object keeps its size, so 1 unless the hand is empty.
        smoothness_weight: weight of the change of velocity between frames, m^2/rad^2; above 0 a clip is solved as a whole.
        contact: pads are drawn to the object's surface where the person touches it, and links are kept out of it.
        contact_distance_m: a fingertip of the person this near to the surface touches it.
        contact_fade_frames: frames over which the pull of a contact grows before it and fades after it.
        object_clearance_weight: weight of a link's depth in object or table, relative to one fingertip; needs `contact`.
    """

    control_hz: float = 20.0
    max_duration_s: float = 6.0
    previous_weight: float = 2e-5
    wrist_weight: float = 0.03
    wrist_offset_m: float = 0.04
    arm_posture_weight: float = 1e-5
    posture_weight: float = 1e-5
    clearance_m: float = 0.02
    clearance_weight: float = 4.0
    iterations: int = 8
    scale: float = 1.0
    smoothness_weight: float = 0.0
    contact: bool = False
    contact_distance_m: float = 0.015
    contact_fade_frames: int = 4
    object_clearance_weight: float = 10.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise DexVidError(f"scale is {self.scale}, expected a positive factor; 1 keeps the person's size")
        if self.iterations < 1 or self.contact_fade_frames < 1:
            raise DexVidError(
                f"expected at least one iteration and frame of fading, got {self.iterations} and {self.contact_fade_frames}"
            )
