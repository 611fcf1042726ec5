"""The synthetic recording: the hand obeys its bones and holds the bottle, the shipped sample is what the command makes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from demos.interaction import FINGERTIPS, HAND_BONES, HAND_KEYPOINT_NAMES, WRIST, Interaction
from demos.synthetic import bottle
from demos.synthetic.pick_place import (
    KEYPOINT_NAMES,
    PHASES,
    MakeRecording,
    SyntheticPickPlaceConfig,
    SyntheticRecording,
    main,
    make_pick_place_recording,
)
from dexvid_envs.errors import OptionError
from dexvid_envs.files import sha256_of_files
from robots import human_hand
from robots.human_hand import HandDimensions, HumanHand
from robots.human_hand_skin import surface_nets

SHIPPED = Path(__file__).parent.parent / "demos" / "data" / "synthetic_pick_place"


@pytest.fixture(scope="module")
def default_recording() -> SyntheticRecording:
    return make_pick_place_recording()


@pytest.fixture(scope="module", params=["default", 1, 2, 3, 4])
def recording(request: pytest.FixtureRequest, default_recording: SyntheticRecording) -> SyntheticRecording:
    if request.param == "default":
        return default_recording
    return make_pick_place_recording(SyntheticPickPlaceConfig.varied(request.param))


def test_hand_model_has_the_key_points_and_joints_of_the_project() -> None:
    assert human_hand.KEYPOINT_NAMES == HAND_KEYPOINT_NAMES
    assert len(human_hand.JOINT_NAMES) == 21
    hand = HumanHand()
    for name in (*human_hand.JOINT_NAMES, *human_hand.WRIST_JOINT_NAMES):
        np.testing.assert_allclose(hand.model.joint(name).range, human_hand.joint_range_rad(name))


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
def test_bones_keep_their_length_in_any_posture(scale: float) -> None:
    rng = np.random.default_rng(0)
    hand = HumanHand(HandDimensions(scale=scale))
    parents, children = np.array(HAND_BONES).T
    for _ in range(20):
        hand.pose(np.eye(4), rng.uniform(hand.lower_rad, hand.upper_rad), rng.uniform(-0.5, 0.5, 2))
        keypoints = hand.keypoints_world()
        lengths = np.linalg.norm(keypoints[children] - keypoints[parents], axis=1)
        np.testing.assert_allclose(lengths, hand.dimensions.bone_lengths_m, atol=1e-12)
    # 50th percentile: 0.050 + 0.031 + 0.025 beyond the middle knuckle, which is 0.092 from the wrist
    assert hand.dimensions.bone_lengths_m[8:12] == pytest.approx(scale * np.array([0.092, 0.050, 0.031, 0.025]))


def test_flexing_moves_fingertips_to_the_palm_side_of_a_right_hand() -> None:
    hand = HumanHand()
    straight, bent = np.zeros(21), np.zeros(21)
    bent[[human_hand.JOINT_NAMES.index(f"{finger}_base_flexion") for finger in human_hand.FINGERS[1:]]] = 0.8
    hand.pose(np.eye(4), straight)
    before = hand.keypoints_world()
    hand.pose(np.eye(4), bent)
    after = hand.keypoints_world()
    assert (after[list(FINGERTIPS[1:]), 0] > before[list(FINGERTIPS[1:]), 0] + 0.04).all()  # the palm faces +x
    index, little = before[FINGERTIPS[1]], before[FINGERTIPS[4]]
    fingers, palm = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    assert (index - little) @ np.cross(
        fingers, palm
    ) > 0.05  # right: the thumb's side is on the left when palm and eyes look away


def test_key_points_agree_with_forward_kinematics(recording: SyntheticRecording) -> None:
    truth = recording.truth
    hand = HumanHand(HandDimensions(scale=recording.config.hand_scale))
    for frame in range(0, len(truth.phase), 17):
        hand.pose(truth.T_world_hand[frame], truth.joints_rad[frame], truth.wrist_rad[frame])
        np.testing.assert_allclose(hand.keypoints_world(), truth.hand_keypoints_world[frame], atol=1e-12)
    assert (truth.joints_rad >= hand.lower_rad - 0.05).all()
    assert (truth.joints_rad <= hand.upper_rad + 0.05).all()


def test_fingers_touch_the_held_bottle_without_entering_it(recording: SyntheticRecording) -> None:
    truth = recording.truth
    assert truth.held.sum() > 1.5 * recording.config.fps
    assert np.abs(truth.tip_distances_m[truth.held]).max() < 0.002
    assert truth.min_distance_m.min() > -0.003
    # a second route to the distance: the tip key points lie inside the fingertips, about their radius from the surface
    rotation, position = truth.T_world_bottle[:, :3, :3], truth.T_world_bottle[:, :3, 3]
    tips = np.einsum("tji,tfj->tfi", rotation, truth.hand_keypoints_world[:, list(FINGERTIPS)] - position[:, None])[truth.held]
    gap = np.linalg.norm(tips[..., :2], axis=-1) - bottle.RADIUS_M
    assert gap.min() > 0.003
    assert gap.max() < 0.012


def test_the_grasp_opposes_thumb_and_fingers_on_the_body(recording: SyntheticRecording) -> None:
    truth = recording.truth
    frame = int(np.flatnonzero(truth.held)[0])
    tips = truth.hand_keypoints_world[frame, list(FINGERTIPS)] - truth.T_world_bottle[frame, :3, 3]
    thumb, fingers = tips[0, :2], tips[1:4, :2].mean(axis=0)
    angle = np.arccos(thumb @ fingers / np.linalg.norm(thumb) / np.linalg.norm(fingers))
    assert np.degrees(angle) > 110.0
    height = tips[:, 2].mean() + bottle.HEIGHT_M / 2.0
    assert height == pytest.approx(recording.config.grasp_height_m, abs=0.003)


def test_bottle_rests_then_moves_with_the_hand_then_rests_upright(recording: SyntheticRecording) -> None:
    config, truth = recording.config, recording.truth
    held = np.flatnonzero(truth.held)
    start = np.array([*config.start_xy_m, bottle.HEIGHT_M / 2.0])
    target = np.array([*config.target_xy_m, bottle.HEIGHT_M / 2.0])
    np.testing.assert_allclose(truth.T_world_bottle[: held[0], :3, 3], np.broadcast_to(start, (held[0], 3)), atol=1e-12)
    after = truth.T_world_bottle[held[-1] + 1 :]
    np.testing.assert_allclose(after[:, :3, 3], np.broadcast_to(target, (len(after), 3)), atol=1e-12)
    np.testing.assert_allclose(after[:, 2, 2], 1.0)
    T_bottle_hand = np.linalg.inv(truth.T_world_bottle[held]) @ truth.T_world_hand[held]
    np.testing.assert_allclose(T_bottle_hand, np.broadcast_to(T_bottle_hand[0], T_bottle_hand.shape), atol=1e-9)
    assert truth.T_world_bottle[:, 2, 3].max() - start[2] > 0.12
    bottom = truth.T_world_bottle[:, 2, 3] - bottle.HEIGHT_M / 2.0 * truth.T_world_bottle[:, 2, 2]
    lowest = bottom - bottle.RADIUS_M * np.sqrt(np.maximum(1.0 - truth.T_world_bottle[:, 2, 2] ** 2, 0.0))
    assert lowest.min() > -5e-4


def test_hand_stays_above_the_table_and_moves_smoothly(recording: SyntheticRecording) -> None:
    config, truth = recording.config, recording.truth
    assert truth.hand_keypoints_world[:, WRIST, 2].min() > 0.06
    assert truth.hand_keypoints_world[..., 2].min() > 0.03
    speed = np.linalg.norm(np.diff(truth.T_world_hand[:, :3, 3], axis=0), axis=1) * config.fps
    assert speed.max() < 0.6
    assert np.abs(np.diff(speed)).max() * config.fps < 3.0
    grasp_at = truth.T_world_hand[truth.held][0, :3, 3]
    assert np.linalg.norm(truth.T_world_hand[0, :3, 3] - grasp_at) == pytest.approx(0.30, abs=0.03)
    release_at = truth.T_world_hand[truth.held][-1, :3, 3]
    assert 0.07 < np.linalg.norm(truth.T_world_hand[-1, :3, 3] - release_at) < 0.11


def test_interaction_measures_the_truth(recording: SyntheticRecording) -> None:
    config, truth, interaction = recording.config, recording.truth, recording.interaction
    error = interaction.hand_keypoints_world - truth.hand_keypoints_world
    assert error.std() == pytest.approx(config.keypoint_noise_std_m, rel=1e-6)
    assert interaction.keypoint_names == KEYPOINT_NAMES
    own = interaction.keypoints_world[:, KEYPOINT_NAMES.index("thumb_tip")]
    np.testing.assert_array_equal(own, interaction.hand_keypoints_world[:, FINGERTIPS[0]])
    base, cap = (interaction.keypoints_world[:, KEYPOINT_NAMES.index(name)] for name in ("bottle_base", "bottle_cap"))
    np.testing.assert_allclose(np.linalg.norm(cap - base, axis=1), bottle.HEIGHT_M)
    np.testing.assert_allclose(interaction.keypoints_world[-1, KEYPOINT_NAMES.index("target")], base[-1], atol=1e-9)
    assert interaction.contact[truth.held].all()
    assert not interaction.contact[truth.phase < PHASES.index("close")].any()
    assert not interaction.contact[truth.phase > PHASES.index("open")].any()


def test_object_points_lie_on_the_bottle_and_keep_their_place(default_recording: SyntheticRecording) -> None:
    interaction = default_recording.interaction
    rotation, position = interaction.object_pose_world[:, :3, :3], interaction.object_pose_world[:, :3, 3]
    local = np.einsum("tji,tpj->tpi", rotation, interaction.object_points_world - position[:, None])
    np.testing.assert_allclose(local, np.broadcast_to(local[0], local.shape), atol=1e-12)
    assert local.shape[1:] == (128, 3)
    heights = local[0, :, 2] + bottle.HEIGHT_M / 2.0
    middle = (heights > 0.0046) & (heights < bottle.BODY_HEIGHT_M)
    np.testing.assert_allclose(np.linalg.norm(local[0, middle, :2], axis=1), bottle.RADIUS_M, atol=1e-9)
    # share of the area: 2 pi r h of the cylinder over the whole surface, worked out from the outline
    assert 0.60 < middle.mean() < 0.85
    assert heights.min() >= 0.0
    assert heights.max() <= bottle.HEIGHT_M


def test_camera_sees_the_hand(recording: SyntheticRecording) -> None:
    interaction, camera = recording.interaction, recording.config.camera
    T_camera_world = np.linalg.inv(interaction.T_world_camera)
    points = recording.truth.hand_keypoints_world @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
    assert points[..., 2].min() > 0.3
    pixels = (points @ interaction.K.T)[..., :2] / points[..., 2:]
    inside = (pixels >= 0.0).all(axis=-1) & (pixels[..., 0] < camera.width) & (pixels[..., 1] < camera.height)
    assert inside.mean() > 0.95


def test_same_seed_same_recording_and_another_seed_another_one(default_recording: SyntheticRecording) -> None:
    again = make_pick_place_recording(SyntheticPickPlaceConfig())
    for field in dataclasses.fields(Interaction):
        np.testing.assert_array_equal(
            getattr(again.interaction, field.name), getattr(default_recording.interaction, field.name)
        )
    other = make_pick_place_recording(SyntheticPickPlaceConfig(seed=1))
    assert not np.array_equal(other.truth.T_world_hand, default_recording.truth.T_world_hand)


def test_shipped_sample_is_what_the_command_makes(tmp_path: Path, default_recording: SyntheticRecording) -> None:
    main(MakeRecording(out=tmp_path, video=False))
    made, shipped = Interaction.load(tmp_path / "interaction.npz"), Interaction.load(SHIPPED / "interaction.npz")
    for field in dataclasses.fields(Interaction):
        value, expected = getattr(made, field.name), getattr(shipped, field.name)
        if field.name == "source_sha256":
            assert value == default_recording.interaction.source_sha256
            assert expected == sha256_of_files([SHIPPED / "source.mp4"])
        elif isinstance(value, np.ndarray) and value.dtype == np.float64:
            np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=field.name)
        else:
            np.testing.assert_array_equal(value, expected, err_msg=field.name)
    assert (tmp_path / "config.json").read_text() == (SHIPPED / "config.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "interaction.npz", "truth.npz"]


def test_shipped_video_fits_the_interaction() -> None:
    interaction = Interaction.load(SHIPPED / "interaction.npz")
    assert (SHIPPED / "source.mp4").stat().st_size < 1_500_000
    assert (SHIPPED / "interaction.npz").stat().st_size < 1_000_000
    pictures = list(imageio.imiter(SHIPPED / "source.mp4", plugin="FFMPEG"))
    assert imageio.immeta(SHIPPED / "source.mp4", plugin="FFMPEG")["fps"] == interaction.fps
    assert len(pictures) == interaction.num_frames
    assert pictures[0].shape == (360, 640, 3)


def test_surface_nets_closes_a_sphere_and_looks_outwards() -> None:
    spacing = 0.05
    axis = np.arange(-1.3, 1.3, spacing)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    vertices, faces = surface_nets(np.linalg.norm(grid, axis=-1) - 1.0, np.full(3, -1.3), spacing)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1.0, atol=0.02)
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    volume = np.einsum("fi,fi->", a, np.cross(b, c)) / 6.0
    assert volume == pytest.approx(4.0 / 3.0 * np.pi, rel=0.02)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase_durations_s": (1.0, 2.0)}, "phase_durations_s must hold 8 positive numbers"),
        ({"hand_scale": 2.0}, "expected an adult's hand between 0.85 and 1.15"),
        ({"fps": 0.0}, "must be positive"),
    ],
)
def test_impossible_configs_are_refused(change: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SyntheticPickPlaceConfig(**change)
