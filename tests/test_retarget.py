"""From an interaction to a robot motion: kinematics, placing in the world, retargeting."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.align import aim, displacement_yaw, find_carry, turn
from demos.importers import find_importer
from demos.interaction import Interaction
from demos.plan import make_plan, plan_targets
from demos.resample import resample
from demos.retarget import FINGERTIP_KEYPOINTS, RetargetConfig, Retargeter, retarget
from demos.source import load_interaction, shipped_sample
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError
from robots.arm_hand import ARM_HAND, make_arm_hand_spec
from robots.arm_kinematics import palm_pose, solve_palm_pose

SHARED = Path(os.environ.get("DEXVID_SHARED", Path(__file__).parents[2] / "shared"))
START, TARGET = np.array([0.46, -0.20]), np.array([0.46, 0.12])


@pytest.fixture(scope="module")
def sample() -> Interaction:
    return load_interaction(shipped_sample())


def random_arms(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low, high = ARM_HAND.lower_rad[:7], ARM_HAND.upper_rad[:7]
    return rng.uniform(np.maximum(low, -2.5), np.minimum(high, 2.5), (count, 7))


def test_batched_kinematics_agree_with_mujoco() -> None:
    model = make_arm_hand_spec().compile()
    data = mujoco.MjData(model)
    arms = random_arms(50)
    for arm, pose in zip(arms, palm_pose(arms), strict=True):
        data.qpos[:7] = arm
        mujoco.mj_kinematics(model, data)
        palm = data.body("palm")
        assert np.allclose(pose[:3, 3], palm.xpos, atol=1e-9)
        assert np.allclose(pose[:3, :3], palm.xmat.reshape(3, 3), atol=1e-9)


def test_inverse_kinematics_finds_a_moved_pose() -> None:
    """A pose 5 cm away from home is reached to a tenth of a millimetre, within the limits."""
    count = 40
    rng = np.random.default_rng(1)
    home = np.tile(ARM_HAND.home_rad[:7], (count, 1))
    wanted = palm_pose(home)
    wanted[:, :3, 3] += rng.uniform(-0.05, 0.05, (count, 3))
    arms, error = solve_palm_pose(wanted, home, iterations=30)
    assert error.max() < 1e-4
    assert np.abs(palm_pose(arms)[:, :3, 3] - wanted[:, :3, 3]).max() < 1e-4
    assert (arms >= ARM_HAND.lower_rad[:7]).all()
    assert (arms <= ARM_HAND.upper_rad[:7]).all()


@settings(max_examples=20, deadline=None)
@given(
    yaw=st.floats(-3.1, 3.1),
    start=st.tuples(st.floats(0.3, 0.6), st.floats(-0.3, 0.3)),
    target=st.tuples(st.floats(0.3, 0.6), st.floats(-0.3, 0.3)),
)
def test_aiming_moves_start_and_target_and_keeps_the_grasp(
    sample: Interaction, yaw: float, start: tuple[float, float], target: tuple[float, float]
) -> None:
    placed = aim(turn(sample, yaw), np.array(start), np.array(target))
    centre, before = placed.object_pose_world[:, :3, 3], sample.object_pose_world[:, :3, 3]
    assert np.allclose(centre[0, :2], start, atol=2e-3)
    assert np.allclose(centre[-1, :2], target, atol=2e-3)
    assert np.allclose(centre[:, 2], before[:, 2], atol=1e-9)
    now = np.linalg.norm(placed.hand_keypoints_world - centre[:, None], axis=-1)
    then = np.linalg.norm(sample.hand_keypoints_world - before[:, None], axis=-1)
    assert np.allclose(now, then, atol=1e-9)


def test_displacement_yaw_points_from_start_to_target(sample: Interaction) -> None:
    turned = turn(sample, displacement_yaw(sample, START, TARGET))
    way = turned.object_pose_world[-1, :2, 3] - turned.object_pose_world[0, :2, 3]
    assert np.allclose(way / np.linalg.norm(way), (TARGET - START) / np.linalg.norm(TARGET - START), atol=0.02)


def test_an_object_that_never_moves_is_refused() -> None:
    with pytest.raises(DexVidError, match="moves by less than"):
        find_carry(np.zeros((50, 3)))


def test_resampling_keeps_the_path_and_shortens_long_recordings(sample: Interaction) -> None:
    short = resample(sample, 20.0, 3.0)
    assert short.num_frames == 61
    assert np.allclose(short.hand_keypoints_world[[0, -1]], sample.hand_keypoints_world[[0, -1]])
    assert np.isfinite(short.object_pose_world).all()


def reachable_fingertips(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Key points whose fingertips a known configuration reaches exactly."""
    retargeter = Retargeter()
    rng = np.random.default_rng(seed)
    qpos = ARM_HAND.home_rad + rng.uniform(-0.1, 0.1, 23)
    qpos = np.clip(qpos, ARM_HAND.lower_rad + 0.02, ARM_HAND.upper_rad - 0.02)
    keypoints = np.tile(np.array([0.2, 0.0, 0.4]), (21, 1))
    keypoints[list(FINGERTIP_KEYPOINTS)] = retargeter.fingertips(qpos)
    return qpos, keypoints


@pytest.mark.parametrize("seed", range(5))
def test_retargeting_recovers_reachable_fingertips(seed: int) -> None:
    _, keypoints = reachable_fingertips(seed)
    retargeter = Retargeter(RetargetConfig(wrist_weight=0.0, posture_weight=0.0, arm_posture_weight=0.0))
    solved = retargeter.solve(keypoints, iterations=200, previous_weight=0.0)
    error = np.linalg.norm(retargeter.fingertips(solved) - keypoints[list(FINGERTIP_KEYPOINTS)], axis=-1)
    assert error.max() < 1e-3


def check_motion(interaction: Interaction, largest_mean_m: float) -> None:
    placed = aim(turn(interaction, displacement_yaw(interaction, START, TARGET)), START, TARGET)
    sampled = resample(placed, 20.0, 6.0)
    motion = retarget(sampled)
    assert motion.error_m.mean() < largest_mean_m
    assert (motion.qpos >= ARM_HAND.lower_rad).all()
    assert (motion.qpos <= ARM_HAND.upper_rad).all()


def test_sample_is_retargeted_to_a_millimetre(sample: Interaction) -> None:
    check_motion(sample, 1e-3)


@pytest.fixture(scope="module")
def recording() -> Interaction:
    folder = SHARED / "data" / "dexmv_mustard"
    if not folder.is_dir():
        pytest.skip(f"the recorded demonstration is not at {folder}; set DEXVID_SHARED to the folder that holds data/")
    return find_importer("dexmv")(folder)


def test_real_recording_is_retargeted_with_the_hand_above_the_table(recording: Interaction) -> None:
    """The person's wrist starts 5 cm below the table top; the robot's stays above it."""
    assert recording.hand_keypoints_world[:, 0, 2].min() < 0
    yaw = displacement_yaw(recording, START, TARGET) + np.pi / 2
    plan, motion, _ = make_plan(resample(recording, 20.0, 6.0), yaw, START, TARGET)
    assert motion.error_m.mean() < 2e-3
    model = make_arm_hand_spec().compile()
    data = mujoco.MjData(model)
    for qpos in motion.qpos:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        assert data.body("palm").xpos[2] > 0.03
        assert data.site_xpos[:, 2].min() > 0.0
    assert plan.lift < plan.place == plan.release < plan.num_steps  # it lets go as soon as the bottle is placed


def test_plan_targets_reach_the_moved_grasp(sample: Interaction) -> None:
    """Moving start and target by up to 8 cm moves the palm with them."""
    yaw = displacement_yaw(sample, START, TARGET)
    plan, _, _ = make_plan(resample(sample, 20.0, 6.0), yaw, START, TARGET)
    shift = np.array([[0.08, -0.08], [-0.08, 0.08], [0.0, 0.0]], dtype=np.float64)
    bends = np.zeros((3, *plan.bend_shape()))
    targets, error = plan_targets(plan, bends, START + shift, TARGET - shift)
    assert error.max() < 0.02  # far from the bottle, folded against the base, the palm may lag by centimetres
    grasped, placed = (palm_pose(targets[:, step, :7])[:, :3, 3] for step in (plan.lift - 1, plan.place + 1))
    assert np.allclose(grasped[:2, :2] - grasped[2, :2], shift[:2], atol=5e-3)
    assert np.allclose(placed[:2, :2] - placed[2, :2], -shift[:2], atol=5e-3)
    assert (np.abs(np.diff(targets, axis=1)) <= ARM_HAND.speed_limit_rad_per_s / 20 * 1.5).all()


def test_command_writes_the_motion(tmp_path: Path) -> None:
    assert main(["retarget", str(shipped_sample()), "--out", str(tmp_path / "motion.npz")]) == 0
    with np.load(tmp_path / "motion.npz") as motion:
        assert motion["qpos"].shape[1] == motion["targets"].shape[1] == 23
        assert motion["error_m"].mean() < 1e-3


@pytest.mark.parametrize("source", ["missing", "video.mp4", "empty"])
def test_command_refuses_a_wrong_source(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "video.mp4").write_bytes(b"x")
    assert main(["retarget", str(tmp_path / source), "--out", str(tmp_path / "motion.npz")]) == 2
    message = capsys.readouterr().err
    assert message.count("error:") == 1
    assert "expected" in message or "extract it first" in message
    assert not (tmp_path / "motion.npz").exists()


def test_missing_object_poses_are_refused(sample: Interaction, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poses = np.full_like(sample.object_pose_world, np.nan)
    dataclasses.replace(sample, object_pose_world=poses).save(tmp_path / "interaction.npz")
    assert main(["retarget", str(tmp_path), "--out", str(tmp_path / "motion.npz")]) == 2
    assert "object poses" in capsys.readouterr().err
