"""Kinematic pseudo-demonstrations: the object goes the recorded way, the hand follows, nothing unusable gets through."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from true_interactions import true_interaction

import dexvid_envs  # noqa: F401 (registers the environments)
from demos.dataset import read_dataset, write_dataset
from demos.extract.config import ExtractConfig
from demos.interaction import Interaction
from demos.kinematic import ENV_ID, KinematicConfig, KinematicMotion, KinematicPlayer, check_motion, kinematic_motion
from demos.kinematic_corpus import corpus_motions, read_motions, write_motions
from demos.synthetic.truth import ClipTruth
from demos.video_folder import find_videos
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError, InputFileError, NoHandFoundError, OptionError
from robots.arm_hand import ARM_HAND

CLIP = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips" / "training-00001-place"
MOTIONS = CLIP.parents[1] / "wild_motions.npz"


@pytest.fixture(scope="module")
def recording() -> Interaction:
    return true_interaction(ClipTruth.load(CLIP / "truth.npz"))


@pytest.fixture(scope="module")
def motion(recording: Interaction) -> KinematicMotion:
    return kinematic_motion(recording, CLIP)


def test_the_object_goes_the_recorded_way_and_the_hand_goes_with_it(recording: Interaction, motion: KinematicMotion) -> None:
    player = KinematicPlayer()
    demonstration = player.demonstration(motion)
    again = player.demonstration(motion)
    player.close()
    np.testing.assert_array_equal(demonstration.states, again.states)
    assert demonstration.tier == "kinematic"
    steps = np.linalg.norm(np.diff(demonstration.object_pos_world, axis=0), axis=1).sum()
    truth = recording.object_pose_world[:, :3, 3]
    assert steps == pytest.approx(np.linalg.norm(np.diff(truth, axis=0), axis=1).sum(), rel=0.1)
    env: Any = gymnasium.make(ENV_ID).unwrapped
    apart = []
    for step in range(0, demonstration.num_steps + 1, 4):
        env.reset(options=demonstration.reset_options(step))
        np.testing.assert_allclose(env.data.body("object").xpos, demonstration.object_pos_world[step], atol=1e-9)
        apart.append(np.linalg.norm(env.data.site("middle_tip").xpos - demonstration.object_pos_world[step]))
    assert min(apart) < 0.06  # the fingers come to the object
    env.close()


def test_episodes_begin_where_the_environments_do(motion: KinematicMotion) -> None:
    demonstrations = []
    for from_home in (True, False):
        player = KinematicPlayer(from_home=from_home)
        demonstrations.append(player.demonstration(motion))
        player.close()
    whole, bare = demonstrations
    way = whole.num_steps - bare.num_steps
    assert way > 5
    np.testing.assert_array_equal(whole.object_pos_world[way:], bare.object_pos_world)  # the recorded part is the same
    np.testing.assert_array_equal(whole.source_frame[way:], bare.source_frame)
    np.testing.assert_array_equal(whole.object_pos_world[: way + 1], np.repeat(bare.object_pos_world[:1], way + 1, axis=0))
    env: Any = gymnasium.make(ENV_ID).unwrapped
    at = env.task.joint_qposadr
    env.reset(options=whole.reset_options(0))
    assert np.abs(env.data.qpos[at] - ARM_HAND.home_rad).max() < 0.1
    env.reset(options=whole.reset_options(way))
    assert np.abs(env.data.qpos[at] - motion.qpos[0]).max() < 0.1  # servos lag a little
    env.close()


def test_variants_lead_back_to_the_motion_and_start_elsewhere(motion: KinematicMotion) -> None:
    player = KinematicPlayer()
    plain, *others = [player.demonstration(motion, variant) for variant in (0, 1, 2)]
    again = player.demonstration(motion, 1)
    player.close()
    assert plain.intended_actions is None
    np.testing.assert_array_equal(again.states, others[0].states)
    assert len({tuple(one.object_pos_world[0].round(6)) for one in (plain, *others)}) == 3
    plain_length = np.linalg.norm(np.diff(plain.object_pos_world, axis=0), axis=1).sum()
    env: Any = gymnasium.make(ENV_ID).unwrapped
    for one in others:
        assert one.intended_actions is not None
        assert not np.array_equal(one.intended_actions, one.actions)
        np.testing.assert_array_equal(one.learned_actions, one.intended_actions)
        assert np.linalg.norm(one.object_pos_world[0, :2]) == pytest.approx(np.linalg.norm(plain.object_pos_world[0, :2]))
        length = np.linalg.norm(np.diff(one.object_pos_world, axis=0), axis=1).sum()
        assert length == pytest.approx(plain_length, rel=1e-6)  # turned as a whole
        way = one.num_steps + 1 - len(motion.qpos)
        angle = np.arctan2(*one.object_pos_world[0, 1::-1]) - np.arctan2(*plain.object_pos_world[0, 1::-1])
        off = []
        for step in range(way, one.num_steps + 1, 5):
            env.reset(options=one.reset_options(step))
            meant = motion.qpos[step - way].copy()
            meant[0] += angle
            off.append(np.abs(env.data.qpos[env.task.joint_qposadr] - meant).max())
        assert 0.005 < np.median(off) < 0.2  # disturbed, yet always about the motion
    env.close()


def test_a_left_hands_recording_is_mirrored(recording: Interaction, motion: KinematicMotion) -> None:
    flip = np.diag([1.0, -1.0, 1.0])
    turned = np.diag([1.0, -1.0, 1.0, 1.0])
    left = dataclasses.replace(
        recording,
        hand_side="left" if recording.hand_side == "right" else "right",
        hand_keypoints_world=recording.hand_keypoints_world @ flip,
        object_points_world=recording.object_points_world @ flip,
        object_pose_world=turned @ recording.object_pose_world @ turned,
    )
    np.testing.assert_allclose(kinematic_motion(left, CLIP).qpos, motion.qpos, atol=1e-6)


def test_what_cannot_be_used_is_refused_with_the_reason(recording: Interaction) -> None:
    untouched = dataclasses.replace(recording, contact=np.zeros_like(recording.contact))
    with pytest.raises(DexVidError, match="never touches the object"):
        kinematic_motion(untouched, CLIP)
    poses = recording.object_pose_world.copy()
    poses[::10] = np.nan
    with pytest.raises(DexVidError, match="frames in a row at most, expected 30 or more"):
        kinematic_motion(dataclasses.replace(recording, object_pose_world=poses), CLIP)
    giant = dataclasses.replace(
        recording,
        hand_keypoints_world=4.0 * recording.hand_keypoints_world,
        object_points_world=4.0 * recording.object_points_world,
    )
    with pytest.raises(DexVidError, match=r"the hand measures .* expected 4 to 18 cm"):
        kinematic_motion(giant, CLIP)
    with pytest.raises(DexVidError, match="mm from the person's in the median"):
        kinematic_motion(recording, CLIP, KinematicConfig(largest_fingertip_error_m=1e-5))


def test_motions_come_back_from_their_file(motion: KinematicMotion, tmp_path: Path) -> None:
    shorter = dataclasses.replace(
        motion, qpos=motion.qpos[:40], object_path=motion.object_path[:40], source_frame=motion.source_frame[:40]
    )
    write_motions(tmp_path / "motions.npz", {"one": motion, "two": shorter})
    read = read_motions(tmp_path / "motions.npz")
    assert list(read) == ["one", "two"]
    assert read["two"].qpos.shape == (40, 23)
    np.testing.assert_allclose(read["one"].object_path, motion.object_path, atol=1e-6)
    assert read["one"].provenance["kinematic"] == motion.provenance["kinematic"]
    player = KinematicPlayer()
    write_dataset(tmp_path / "dataset", [player.demonstration(one) for one in read.values()])
    player.close()
    assert [one.tier for one in read_dataset(tmp_path / "dataset")] == ["kinematic", "kinematic"]
    command = [
        "kinematic",
        str(tmp_path / "motions.npz"),
        "--out",
        str(tmp_path / "made"),
        "--json",
        str(tmp_path / "used.json"),
    ]
    assert main(command) == 0
    assert json.loads((tmp_path / "used.json").read_text()) == {"used": ["one", "two"], "refused": {}}
    for one, other in zip(read_dataset(tmp_path / "made"), read_dataset(tmp_path / "dataset"), strict=True):
        np.testing.assert_array_equal(one.states, other.states)
    assert main(["kinematic", str(tmp_path / "motions.npz")]) == 2  # nothing to write
    write_motions(tmp_path / "more.npz", {"three": shorter})
    files = [str(tmp_path / name) for name in ("motions.npz", "more.npz")]
    assert main(["kinematic", *files, "--motions", files[0]]) == 0  # into one of those that are joined
    assert list(read_motions(tmp_path / "motions.npz")) == ["one", "two", "three"]
    assert main(["kinematic", *files, "--motions", files[0]]) == 2  # "three" twice
    assert list(read_motions(tmp_path / "motions.npz")) == ["one", "two", "three"]
    data = (tmp_path / "motions.npz").read_bytes()
    for damaged in (b"", b"nonsense", data[:-200]):
        (tmp_path / "damaged.npz").write_bytes(damaged)
        with pytest.raises(InputFileError, match=r"damaged\.npz"):
            read_motions(tmp_path / "damaged.npz")
    np.savez(tmp_path / "other.npz", qpos=np.zeros((2, 23)))
    with pytest.raises(InputFileError, match=r"other\.npz"):
        read_motions(tmp_path / "other.npz")
    with pytest.raises(InputFileError, match=r"missing\.npz"):
        read_motions(tmp_path / "missing.npz")


def test_a_bad_video_costs_itself_alone_and_finished_extractions_are_kept(recording: Interaction, tmp_path: Path) -> None:
    for name in ("good", "bad", "odd"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        (tmp_path / "videos" / name / "video.mp4").write_bytes(b"")
    (tmp_path / "videos" / "good" / "cam_K.txt").write_text("1 0 0 0 1 0 0 0 1")
    (tmp_path / "videos" / "good" / "object_point.txt").write_text("12 34")
    asked: list[ExtractConfig] = []

    def extract(config: ExtractConfig) -> None:
        asked.append(config)
        if config.out.name == "bad":
            raise NoHandFoundError("no hand was found")
        if config.out.name == "odd":
            raise ZeroDivisionError("float division by zero")
        config.out.mkdir(parents=True)
        recording.save(config.out / "interaction.npz")

    videos = find_videos(tmp_path / "videos")
    result = corpus_motions(videos, tmp_path / "work", extract=extract)
    assert list(result.motions) == ["good"]
    assert result.refused == {"bad": "no hand was found", "odd": "unexpected ZeroDivisionError: float division by zero"}
    assert asked[1].object_point == (12.0, 34.0)
    assert asked[1].camera_matrix == tmp_path / "videos" / "good" / "cam_K.txt"
    corpus_motions(videos, tmp_path / "work", extract=extract)
    assert [config.out.name for config in asked] == ["bad", "good", "odd", "bad", "odd"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="no videos"):
        find_videos(tmp_path / "empty")


def test_turns_of_the_object_are_kept(motion: KinematicMotion, recording: Interaction) -> None:
    path = Rotation.from_quat(motion.object_path[:, [4, 5, 6, 3]])
    recorded = Rotation.from_matrix(recording.object_pose_world[:, :3, :3])
    np.testing.assert_allclose(
        (path[-1] * path[0].inv()).magnitude(), (recorded[-1] * recorded[0].inv()).magnitude(), atol=0.03
    )


def test_the_shipped_motions_are_many_and_of_no_task() -> None:
    motions = read_motions(MOTIONS)
    kinds = {name.rsplit("-", 1)[1] for name in motions}
    assert len(motions) >= 200
    assert kinds == {"pour", "shake", "show", "slide", "tap"}  # where a thing is only turned in place, no touch is found
    assert len({one.object_name for one in motions.values()}) >= 8
    for one in motions.values():
        check_motion(one)
        assert re.fullmatch("[0-9a-f]{64}", one.provenance["source_sha256"])
        assert {"config", "quality"} <= set(one.provenance["extract"])
        assert {"config", "quality"} <= set(one.provenance["retarget"])
        assert (one.source_frame >= 0).all()
        assert isinstance(one.provenance["doubts"], list)
    first = {name.rsplit("-", 1)[1]: one for name, one in reversed(motions.items())}
    player = KinematicPlayer()
    for one in first.values():  # one of each kind
        demonstration = player.demonstration(one)
        assert demonstration.tier == "kinematic"
        assert np.isfinite(demonstration.observations).all()
        moved = np.linalg.norm(demonstration.object_pos_world - demonstration.object_pos_world[0], axis=1).max()
        assert moved > 0.02
    player.close()
