"""Retargeting: the robot configuration whose fingertips are where the person's are, frame by frame or for a clip at once.

Per frame it minimises  1/2 ||x_h - f(a)||^2 + lambda ||a - a_prev||^2  within the joint limits, where x_h are the person's
fingertips and f the robot's forward kinematics, extended by weak terms for the wrist and by clearance of every link from the
table. Where asked for, pads are drawn to the object's surface where the person touches it, links are kept out of the object,
and a clip is made smooth over time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demos.interaction import Interaction
from demos.retargeting.clip_solver import ClipSolver
from demos.retargeting.pose_solver import PoseGoal, PoseSolver, PoseWeights
from demos.retargeting.robot_hand import FOUR_FINGERS, RobotHand, arm_hand
from demos.retargeting.settings import RetargetConfig
from demos.retargeting.surface import ObjectSurface
from demos.retargeting.touch import faded, touching_fingertips
from dexvid_envs.errors import DexVidError
from robots.threads import single_threaded_blas

FloatArray = NDArray[np.float64]
#: Human key points of the robot's fingertips (index, middle, ring, thumb) in the 21-point order.
FINGERTIP_KEYPOINTS: tuple[int, ...] = tuple(int(index) for index in FOUR_FINGERS.keypoints)
#: Gauss-Newton steps at most for the first frame, which starts far away; they end where the motion ends.
_FIRST_ITERATIONS = 200
_CLIP_ITERATIONS = 30


@dataclasses.dataclass(frozen=True)
class RobotMotion:
    """A motion of the robot at the control rate.

    Attributes:
        qpos: (T, 23) rad; (T, NQ) of another robot.
        targets: (T, 23) rad servo targets; equal to `qpos` before refinement.
        error_m: (T, 4) m distance of each fingertip (index, middle, ring, thumb) from the person's.
        source_frame: (T,) int frame of the source behind each step.
        object_pos_world: (T, 3) m recorded path of the object's centre.
    """

    qpos: FloatArray
    targets: FloatArray
    error_m: FloatArray
    source_frame: NDArray[np.int64]
    object_pos_world: FloatArray


class Retargeter:
    """Solves one frame at a time, each from the solution of the one before.

    Args:
        config: weights.
        hand: the robot and what its fingertips follow; the arm with the hand if None.
        surface: of the object, for the contact terms.
    """

    def __init__(
        self, config: RetargetConfig | None = None, hand: RobotHand | None = None, surface: ObjectSurface | None = None
    ) -> None:
        self.config = config = config or RetargetConfig()
        self.hand = hand or arm_hand()
        self.surface = surface
        weights = PoseWeights(
            wrist=config.wrist_weight,
            arm_posture=config.arm_posture_weight,
            posture=config.posture_weight,
            clearance_m=config.clearance_m,
            clearance=config.clearance_weight,
            object_clearance=config.object_clearance_weight if config.contact else 0.0,
        )
        self.solver = PoseSolver(self.hand, weights, surface)
        self.model = self.hand.model
        self._keypoints = self.hand.keypoint_map.keypoints
        self._wrist = self.hand.keypoint_map.wrist_keypoint
        self.reset(self.hand.home_qpos)

    def reset(self, qpos: FloatArray) -> None:
        """Sets the configuration (23,) rad from which the next frame starts."""
        self.previous = np.array(qpos, dtype=np.float64)

    def solve(
        self,
        keypoints_world: FloatArray,
        iterations: int | None = None,
        previous_weight: float | None = None,
        *,
        T_world_object: FloatArray | None = None,
        contact: float = 0.0,
    ) -> FloatArray:
        """The configuration (23,) rad for one frame of key points (21, 3) m; becomes the start of the next frame.

        Args:
            keypoints_world: (21, 3) m.
            iterations: Gauss-Newton steps at most; of the config if None.
            previous_weight: of the config if None.
            T_world_object: (4, 4) pose of the object, for the contact terms.
            contact: in [0, 1], how far the person holds or touches the object.

        Raises:
            DexVidError: a key point that is followed is not known.
        """
        weight = self.config.previous_weight if previous_weight is None else previous_weight
        goal = self.goal(keypoints_world, T_world_object, contact)
        self.previous = self.solver.solve(goal, self.previous, weight, iterations or self.config.iterations)
        return self.previous.copy()

    def goal(self, keypoints_world: FloatArray, T_world_object: FloatArray | None = None, contact: float = 0.0) -> PoseGoal:
        """What a frame of key points (21, 3) m asks of the robot; see `solve`."""
        config = self.config
        tips, wrist = self.wanted_fingertips(keypoints_world), keypoints_world[self._wrist]
        if not (np.isfinite(tips).all() and np.isfinite(wrist).all()):
            raise DexVidError(
                "the hand's key points are not all known in this frame; expected finite fingertips and wrist: fill gaps first"
            )
        back = wrist - tips.mean(axis=0)
        wrist = wrist + config.wrist_offset_m * back / max(float(np.sqrt(back @ back)), 1e-6)
        if not config.contact or self.surface is None or T_world_object is None:
            return PoseGoal(tips, wrist)
        if contact > 0:
            tips = touching_fingertips(
                tips, T_world_object, self.surface, self.hand.pad_radius_m, config.contact_distance_m, contact
            )
        return PoseGoal(tips, wrist, T_world_object)

    def smoothed(self, goals: Sequence[PoseGoal], motion: FloatArray) -> FloatArray:
        """The whole-clip form: the motion (T, 23) rad for T goals with `smoothness_weight`, from a motion frame by frame."""
        config = self.config
        clip = ClipSolver(self.solver, goals, config.previous_weight, config.smoothness_weight)
        return clip.solve(motion, _CLIP_ITERATIONS)

    def wanted_fingertips(self, keypoints_world: FloatArray) -> FloatArray:
        """(..., F, 3) m the person's fingertips that are followed, scaled about the wrist, of key points (..., 21, 3)."""
        tips = keypoints_world[..., self._keypoints, :]
        if self.config.scale == 1.0:
            return tips
        wrist = keypoints_world[..., None, self._wrist, :]
        return wrist + self.config.scale * (tips - wrist)

    def fingertips(self, qpos: FloatArray) -> FloatArray:
        """(4, 3) m fingertips in the world at a configuration (23,) rad."""
        return self.solver.fingertips(qpos)


def retarget(
    interaction: Interaction,
    config: RetargetConfig | None = None,
    initial: FloatArray | None = None,
    hand: RobotHand | None = None,
    surface: ObjectSurface | None = None,
) -> RobotMotion:
    """Retargets a whole interaction, whose key points are in the robot's world, at its own frame rate.

    Args:
        interaction: at the control rate (see `resample`), without NaN in the hand's key points.
        config: weights.
        initial: (23,) rad configuration to start from; home if None.
        hand: the robot; the arm with the hand if None.
        surface: of the object in its own frame, where it is known better than from its tracked points.

    Raises:
        DexVidError: key points are missing, or contact is asked for without a rigid pose or enough points of the object.
    """
    config = config or RetargetConfig()
    keypoints, poses = interaction.hand_keypoints_world, interaction.object_pose_world
    contact = np.zeros(len(keypoints))
    if config.contact:
        surface = surface or object_surface(interaction)
        contact = faded(interaction.contact, config.contact_fade_frames)
    missing = np.flatnonzero(~np.isfinite(keypoints).all(axis=(1, 2)))
    if len(missing):
        raise DexVidError(
            f"the hand's key points are unknown in frame {missing[0]} and {len(missing) - 1} more of {len(keypoints)}; "
            "expected finite ones throughout: fill the gaps or choose another part of the recording"
        )
    retargeter = Retargeter(config, hand, surface)
    if initial is not None:
        retargeter.reset(initial)
    with single_threaded_blas():
        frames = list(zip(keypoints, poses, contact, strict=True))
        first, pose, share = frames[0]
        retargeter.solve(first, _FIRST_ITERATIONS, 0.0, T_world_object=pose, contact=share)
        qpos = np.stack([retargeter.solve(points, T_world_object=pose, contact=share) for points, pose, share in frames])
        if config.smoothness_weight > 0:
            goals = [retargeter.goal(*frame) for frame in frames]
            qpos = retargeter.smoothed(goals, qpos)
        reached = np.stack([retargeter.fingertips(row) for row in qpos])
    error = np.linalg.norm(reached - retargeter.wanted_fingertips(keypoints), axis=-1)
    return RobotMotion(qpos, qpos.copy(), error, interaction.frame_index.copy(), poses[:, :3, 3].copy())


def object_surface(interaction: Interaction) -> ObjectSurface:
    """The moved object's surface in its own frame: the median of its tracked points over all frames.

    Raises:
        DexVidError: the object's rigid pose is not known throughout, or too few points are.
    """
    poses = interaction.object_pose_world
    if not np.isfinite(poses).all():
        raise DexVidError(
            "contact terms need the object's rigid pose in every frame, and some are unknown; retarget without contact"
        )
    local = (interaction.object_points_world - poses[:, None, :3, 3]) @ poses[:, :3, :3]
    known = np.isfinite(local).all(axis=2).any(axis=0)
    return ObjectSurface(np.nanmedian(local[:, known], axis=0))
