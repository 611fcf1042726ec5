"""Kinematic pseudo-demonstrations: the retargeted motion of a recording, with the object carried along the video's path.

The robot's servos follow the retargeted motion in the simulation, so that joints, velocities and targets are those of a robot;
the object is put where the video has it after every step and touches nothing. What comes out is fit for pretraining, which asks
how hands and things move together, and for nothing else: the tier says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from demos.align import mirror, transformed
from demos.checks import Finding, check_interaction, check_poses
from demos.demonstration import Demonstration
from demos.disturbed import HEADING_RAD, action_noise
from demos.environment import make_env
from demos.extract.gates import read_failed_gates
from demos.interaction import Interaction
from demos.provenance import extraction_facts, model_hash, to_json, versions
from demos.refinement.task import flat_box, nearest_object
from demos.resample import resample, select_frames
from demos.retarget import RetargetConfig, RobotMotion, retarget
from demos.runs import longest_run
from dexvid_envs.errors import DexVidError
from dexvid_envs.tasks.object_task import ObjectTask
from robots.arm_hand import ARM_HAND
from robots.everyday import EVERYDAY_OBJECTS

FloatArray = NDArray[np.float64]
ENV_ID = "DexVid-GraspLift-v0"
CONTROL_MODE = "joint_delta"
CONTROL_HZ = 20.0
_FAR_AWAY_M = (0.0, 0.0, 8.0)  # where the object is while the robot moves
_LOWEST_M, _FARTHEST_M = -0.05, 0.9  # of an object's middle: above the table top, and from where it stood
_APPROACH_SPEED = 0.5  # of the joints' limits, on the mean
_MOST_NOISE = 0.3  # in actions
_YAWS = 12
_TRIED_EVERY = 5  # frames


@dataclasses.dataclass(frozen=True)
class KinematicConfig:
    """Where a recording is put and what is refused.

    Attributes:
        start_centre_m, start_half_extent_m: box on the table (x, y) in which the object starts.
        largest_fingertip_error_m: a motion that the robot follows less well, in the median, is refused.
        fewest_frames: a recording with fewer known frames in a row (at 20 a second) is refused.
        seed: of the place in the box.
    """

    start_centre_m: tuple[float, float] = (0.48, 0.0)
    start_half_extent_m: tuple[float, float] = (0.08, 0.12)
    largest_fingertip_error_m: float = 0.025
    fewest_frames: int = 30
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class KinematicMotion:
    """A retargeted recording beside the path of its object, in the robot's world, 20 steps a second.

    Attributes:
        qpos: (T, 23) rad.
        object_path: (T, 7) position m and quaternion wxyz of the environment's object.
        object_name: which of the environment's objects stands for the recorded one.
        source_frame: (T,) frame of the source behind each step.
        provenance: JSON values.
    """

    qpos: FloatArray
    object_path: FloatArray
    object_name: str
    source_frame: NDArray[np.int64]
    provenance: Mapping[str, Any]


def kinematic_motion(interaction: Interaction, source: Path, config: KinematicConfig | None = None) -> KinematicMotion:
    """The motion of a pseudo-demonstration: the recording brought to the robot's table, turned to where it reaches, retargeted.

    The object is the environment's that is nearest in size.

    Args:
        interaction: from an extraction or an importer.
        source: the extraction's folder or file, for the provenance.
        config: settings.

    Raises:
        DexVidError: hand or object are not known for long enough, something speaks against the recording (`demos.checks`), or
            the robot cannot follow the motion; the message says which, with the source's frames.
    """
    config = config or KinematicConfig()
    check_poses(interaction)
    recording = resample(mirror(interaction) if interaction.hand_side == "left" else interaction, CONTROL_HZ)
    recording = _known_part(recording, config.fewest_frames)
    doubts = [str(finding) for finding in check_interaction(recording)]
    doubts += [f"gate failed: {failed}" for failed in read_failed_gates(source)]
    rng = np.random.default_rng([config.seed, *bytes.fromhex(interaction.source_sha256[:8] or "00")])
    start_xy = np.array(config.start_centre_m) + np.array(config.start_half_extent_m) * rng.uniform(-1.0, 1.0, 2)
    shapes = {name: np.array(EVERYDAY_OBJECTS[name].extents_m) for name in EVERYDAY_OBJECTS}
    name = nearest_object(recording, shapes)
    placed, motion, yaw = _place(recording, np.array([*start_xy, shapes[name][2] / 2]))
    error = float(np.median(motion.error_m))
    if error > config.largest_fingertip_error_m:
        raise DexVidError(
            f"the robot's fingertips stay {1000 * error:.0f} mm from the person's in the median, expected at most "
            f"{1000 * config.largest_fingertip_error_m:.0f}; the recorded motion is out of its reach or its scale is wrong"
        )
    provenance = extraction_facts(source, interaction) | {
        "retarget": {"config": to_json(RetargetConfig()), "quality": {"median_fingertip_error_m": error}},
        "kinematic": {"config": to_json(config), "object": name, "yaw_rad": yaw},
        "doubts": doubts,
    }
    made = KinematicMotion(motion.qpos, _object_path(placed), name, motion.source_frame, provenance)
    check_motion(made)
    return made


def check_motion(motion: KinematicMotion) -> None:
    """Refuses a motion whose object leaves the robot's world: an extraction has lost it.

    Raises:
        DexVidError: the object goes through the table or farther than an arm reaches; the message names source frames.
    """
    position = motion.object_path[:, :3]
    away_m = np.linalg.norm(position - position[0], axis=1)
    below = f"the object's middle goes {-position[:, 2].min():.2f} m below the table top"
    beyond = f"the object goes {away_m.max():.2f} m far, expected {_FARTHEST_M} m at most"
    for wrong, what in ((position[:, 2] < _LOWEST_M, below), (away_m > _FARTHEST_M, beyond)):
        if wrong.any():
            frames = tuple(np.unique(motion.source_frame[wrong]).tolist())
            raise DexVidError(str(Finding(what, frames, advice="look at the object in the extraction's overlay")))


class KinematicPlayer:
    """Plays motions in the world of the grasp-and-lift environment; the goal is where the recording's object ends.

    Args:
        lead_steps: the servos are told so many steps ahead, by which they lag behind.
        from_home: before the recorded motion the robot goes from where it starts in the environments to where the motion
            begins, while the object rests. A learner would else see no state from which episodes begin.
    """

    def __init__(self, lead_steps: int = 1, *, from_home: bool = True) -> None:
        self.lead_steps = lead_steps
        self.from_home = from_home
        self.env = make_env(ENV_ID, {}, CONTROL_MODE)
        self.model_sha256 = model_hash(self.env.model)

    def close(self) -> None:
        """Frees what the environment holds."""
        self.env.close()

    def demonstration(self, motion: KinematicMotion, variant: int = 0) -> Demonstration:
        """The motion as a demonstration: servos follow it, the object is put on its path after every step.

        Args:
            motion: to play.
            variant: 0 plays the motion as it is. Any other number turns it about the arm's base, starts it from another
                posture near home and disturbs the actions, while what is to be learned (`intended_actions`) leads back to the
                motion from wherever the robot has got to (DART, Laskey et al. 2017). A clone of undisturbed motions alone has
                never seen a robot a little off its way, and loses it under an explorer's noise.
        """
        env = self.env
        rng = np.random.default_rng([variant, *str(motion.provenance.get("source_sha256", "")).encode()])
        if variant:
            motion = _turned(motion, HEADING_RAD * rng.uniform(-1.0, 1.0))
        options: dict[str, Any] = {"object": motion.object_name, "object_yaw": 0.0}
        options |= {"object_position": motion.object_path[0, :2], "goal_position": motion.object_path[-1, :3]}
        env.reset(seed=int(rng.integers(2**31)), options=options)
        core, model, data = env.core, env.model, env.data
        task = cast(ObjectTask, env.task)
        if self.from_home:
            motion = _from_home(motion, data.qpos[task.joint_qposadr].copy())
        path = motion.object_path
        at, along = task.object_qposadr, task.object_dofadr
        data.qpos[task.joint_qposadr] = data.ctrl[:] = motion.qpos[0]
        told = motion.qpos[np.minimum(np.arange(len(path)) + self.lead_steps, len(path) - 1)]
        substeps = round(1.0 / (CONTROL_HZ * model.opt.timestep))
        noise = action_noise(rng, *motion.qpos.shape, most=_MOST_NOISE) if variant else np.zeros_like(motion.qpos)
        frames: list[dict[str, Any]] = []
        intended: list[FloatArray] = []
        actions: list[FloatArray] = []
        for step in range(len(path)):
            if step:
                wanted = core.control.action_for(told[step][None], data.ctrl[None])
                action = np.clip(wanted + noise[step], -1.0, 1.0)
                data.ctrl[:] = core.control.next_target(action, data.ctrl[None])[0]
                intended.append(wanted[0])
                actions.append(action[0])
                for _ in range(substeps):
                    data.qpos[at : at + 3], data.qvel[along : along + 6] = _FAR_AWAY_M, 0.0
                    mujoco.mj_step(model, data)
            data.qpos[at : at + 7] = path[step]
            data.qvel[along : along + 6] = _velocity(path, step)
            mujoco.mj_forward(model, data)
            observation, info = env.reset(options={"state": env.state()})
            frames.append({"observation": observation, "info": info, **env.state()})
        infos = [frame["info"] for frame in frames[1:]]
        return Demonstration(
            env_id=ENV_ID,
            env_options={},
            control_mode=CONTROL_MODE,
            observations=np.stack([frame["observation"] for frame in frames]),
            actions=np.stack(actions).astype(np.float32),
            intended_actions=np.stack(intended).astype(np.float32) if variant else None,
            rewards=np.array([sum(v for k, v in info.items() if k.startswith("reward/")) for info in infos], dtype=np.float64),
            successes=np.array([info["success"] for info in infos], dtype=bool),
            states=np.stack([frame["simulation"] for frame in frames]),
            memory={name: np.stack([frame["memory"][name] for frame in frames]) for name in frames[0]["memory"]},
            object_pos_world=path[:, :3].copy(),
            source_frame=motion.source_frame.copy(),
            tier="kinematic",
            provenance=dict(motion.provenance)
            | {"model_sha256": self.model_sha256, "versions": versions(), "variant": variant},
        )


def _turned(motion: KinematicMotion, heading_rad: float) -> KinematicMotion:
    """The motion turned about the arm's base, so that its object starts in the direction `heading_rad` from there."""
    x, y = motion.object_path[0, :2]
    angle = heading_rad - math.atan2(y, x)
    turn = Rotation.from_euler("z", angle)
    qpos, path = motion.qpos.copy(), motion.object_path.copy()
    qpos[:, 0] += angle  # the first joint's axis is the vertical through the world's origin
    path[:, :3] = turn.apply(path[:, :3])
    path[:, 3:] = (turn * Rotation.from_quat(path[:, [4, 5, 6, 3]])).as_quat()[:, [3, 0, 1, 2]]
    return dataclasses.replace(motion, qpos=qpos, object_path=path)


def _from_home(motion: KinematicMotion, home_rad: FloatArray) -> KinematicMotion:
    """The motion with a way from `home_rad` (23,) before it, straight in the joints, at rest where it begins."""
    way = motion.qpos[0] - home_rad
    steps = math.ceil(np.max(np.abs(way) / ARM_HAND.speed_limit_rad_per_s) * CONTROL_HZ / _APPROACH_SPEED)
    share = np.arange(steps) / max(steps, 1)
    share = share * share * (3.0 - 2.0 * share)
    still = np.zeros(steps, dtype=np.int64)
    return dataclasses.replace(
        motion,
        qpos=np.concatenate([home_rad + share[:, None] * way, motion.qpos]),
        object_path=np.concatenate([motion.object_path[still], motion.object_path]),
        source_frame=np.concatenate([motion.source_frame[still], motion.source_frame]),
    )


def _known_part(recording: Interaction, fewest: int) -> Interaction:
    """The longest stretch in which hand and object's pose are known.

    Raises:
        DexVidError: it is too short, or the hand never touches the object in it.
    """
    known = np.isfinite(recording.hand_keypoints_world).all(axis=(1, 2))
    known &= np.isfinite(recording.object_pose_world).all(axis=(1, 2))
    begin, end = longest_run(known)
    if end - begin < fewest:
        raise DexVidError(
            f"hand and rigid object are known together for {end - begin} frames in a row at most, expected {fewest} or more; "
            "see quality.json of the extraction"
        )
    if not recording.contact[begin:end].any():
        raise DexVidError(f"the hand never touches the object in frames {begin} to {end - 1}; expected one that is handled")
    return select_frames(recording, slice(begin, end))


def _place(recording: Interaction, start: FloatArray) -> tuple[Interaction, RobotMotion, float]:
    """The recording with its object's start brought to `start` (3,) m, turned to where the robot follows best."""
    few = select_frames(recording, slice(None, None, _TRIED_EVERY))
    yaws = np.arange(_YAWS) * 2.0 * np.pi / _YAWS
    errors = [retarget(_brought(few, start, yaw)).error_m.mean() for yaw in yaws]
    yaw = float(yaws[int(np.argmin(errors))])
    placed = _brought(recording, start, yaw)
    return placed, retarget(placed), yaw


def _brought(recording: Interaction, start: FloatArray, yaw_rad: float) -> Interaction:
    turn = Rotation.from_euler("z", yaw_rad).as_matrix()
    T = np.eye(4)
    T[:3, :3] = turn
    T[:3, 3] = start - turn @ np.median(recording.object_pose_world[:3, :3, 3], axis=0)
    return transformed(recording, T)


def _object_path(placed: Interaction) -> FloatArray:
    """(T, 7) position m and quaternion wxyz of the environment's object, whose wider side lies along y at yaw 0.

    The frame of an extracted object is any; its turns since the start count, from the heading of its wider side.
    """
    poses = placed.object_pose_world
    points = placed.object_points_world[0]
    points = points[np.isfinite(points).all(axis=-1)]
    heading = flat_box(points[:, :2])[1] - np.pi / 2 if len(points) >= 4 else 0.0
    heading = float(np.remainder(heading + np.pi / 2, np.pi) - np.pi / 2)
    turned = Rotation.from_matrix(poses[:, :3, :3] @ poses[0, :3, :3].T) * Rotation.from_euler("z", heading)
    quaternion = turned.as_quat()[:, [3, 0, 1, 2]]
    return np.concatenate([poses[:, :3, 3], quaternion], axis=1)


def _velocity(path: FloatArray, step: int) -> FloatArray:
    """(6,) linear velocity in the world m/s and angular velocity in the body rad/s, by the step before."""
    if step == 0:
        return np.zeros(6)
    before, now = path[step - 1], path[step]
    turns = Rotation.from_quat(np.stack([before, now])[:, [4, 5, 6, 3]])
    return np.concatenate([now[:3] - before[:3], (turns[0].inv() * turns[1]).as_rotvec()]) * CONTROL_HZ
