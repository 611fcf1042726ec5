"""A scripted person picks up a bottle, carries it sideways and puts it down: a recording with exact truth.

`make_pick_place_recording` makes the motion and the `Interaction` an extractor would give; `demos.synthetic.render` films it.
The shipped sample is made again by `python -m demos.synthetic.pick_place --out demos/data/synthetic_pick_place`.
World frame: z up, table top at z = 0, x forward; the person stands at low x, looks along +x and moves the bottle along y.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from demos.interaction import HAND_KEYPOINT_NAMES, BoolArray, FloatArray, Interaction
from demos.synthetic import bottle
from demos.synthetic.config import PHASES, SyntheticPickPlaceConfig, config_json
from demos.synthetic.grasp import Grasp, flesh_distances, solve_grasp, tip_distances
from demos.synthetic.motion import add_way_to_bottle, bottle_path, finger_motion, minimum_jerk, smooth_noise
from dexvid_envs.files import sha256_of_files
from dexvid_envs.npz_file import write_npz
from robots.human_hand import JOINT_NAMES, HandDimensions, HumanHand

#: Hand key points that are also given as task-relevant points, then the points of the task itself.
_HAND_POINTS = ("wrist", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip")
KEYPOINT_NAMES: tuple[str, ...] = (*_HAND_POINTS, "bottle_base", "bottle_cap", "target")
_TOUCHING_M = 0.002


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


def _move(config: SyntheticPickPlaceConfig, hand: HumanHand, grasp: Grasp) -> SyntheticTruth:
    """The whole motion, frame by frame."""
    rng = np.random.default_rng([config.seed, 0])
    ends_s = np.cumsum(config.phase_durations_s)
    time_s = np.arange(round(ends_s[-1] * config.fps)) / config.fps
    phase = np.searchsorted(ends_s, time_s, side="right").clip(max=len(PHASES) - 1)
    begins_s = ends_s - config.phase_durations_s
    share = {name: (time_s - begins_s[i]) / config.phase_durations_s[i] for i, name in enumerate(PHASES)}
    T_world_bottle = bottle_path(config, share["carry"], rng)
    T_world_hand = T_world_bottle @ grasp.T_bottle_hand
    held = (time_s >= begins_s[PHASES.index("carry")]) & (time_s < ends_s[PHASES.index("carry")])
    add_way_to_bottle(config, T_world_hand, share, rng)
    joints = finger_motion(grasp, share, rng)
    wrist = np.column_stack(
        [0.10 - 0.12 * minimum_jerk(share["reach"]), np.full(len(time_s), config.forearm_slope_rad - config.hand_slope_rad)]
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


def _measure(config: SyntheticPickPlaceConfig, truth: SyntheticTruth) -> Interaction:
    """What an extractor would report: noisy hand key points, object points with correspondence, contact frames."""
    rng = np.random.default_rng([config.seed, 2])
    frames = len(truth.phase)
    hand = truth.hand_keypoints_world + config.keypoint_noise_std_m * smooth_noise(rng, (frames, 21, 3), 1.2)
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


def save_truth(truth: SyntheticTruth, path: Path) -> None:
    """Writes the truth as an npz without pickles, with the names of phases and joints beside it."""
    arrays = {field.name: np.asarray(getattr(truth, field.name)) for field in dataclasses.fields(truth)}
    write_npz(path, {"phase_names": np.array(PHASES), "joint_names": np.array(JOINT_NAMES), **arrays})


@dataclasses.dataclass(frozen=True)
class MakeRecording:
    """Makes a synthetic recording: interaction.npz, truth.npz, config.json and source.mp4.

    Attributes:
        out: folder to write; files of the same names in it are replaced, others stay.
        config: what happens.
        vary: draw person, start, target and pace from the seed; everything else of the config but the camera is then ignored.
        video: film it; without a video the interaction names the hash of the config as its source.
    """

    out: Path
    config: SyntheticPickPlaceConfig = dataclasses.field(default_factory=SyntheticPickPlaceConfig)
    vary: bool = False
    video: bool = True


def main(arguments: MakeRecording) -> SyntheticRecording:
    """Makes the recording and writes it; nothing is replaced before everything is made."""
    config = arguments.config
    if arguments.vary:
        config = dataclasses.replace(SyntheticPickPlaceConfig.varied(config.seed), camera=config.camera)
    recording = make_pick_place_recording(config)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out, prefix=".making-") as name:
        folder = Path(name)
        if arguments.video:
            from demos.synthetic.render import film  # rendering is loaded only where it is asked for

            film(recording.config, recording.truth, folder / "source.mp4")
            source = sha256_of_files([folder / "source.mp4"])
            recording = dataclasses.replace(
                recording, interaction=dataclasses.replace(recording.interaction, source_sha256=source)
            )
        recording.interaction.save(folder / "interaction.npz")
        save_truth(recording.truth, folder / "truth.npz")
        (folder / "config.json").write_text(config_json(config))
        for path in sorted(folder.iterdir()):
            path.replace(arguments.out / path.name)
    return recording


if __name__ == "__main__":
    main(tyro.cli(MakeRecording))
