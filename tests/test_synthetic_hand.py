"""The hand as a left hand and as another person's: mirrored in every posture, its skin closed and of its colours."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from demos.synthetic.gesture import mirror, wrist_path
from demos.synthetic.people import make_person
from robots.human_hand import HandDimensions, HumanHand, human_hand_spec
from robots.human_hand_skin import HandLook, add_skin

MIRROR = np.array([1.0, -1.0, 1.0])


def _posture(rng: np.random.Generator, hand: HumanHand) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A pose anywhere, finger joints and wrist joints within their limits."""
    pose = np.eye(4)
    quat = rng.normal(size=4)
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, quat / np.linalg.norm(quat))
    pose[:3, :3], pose[:3, 3] = rotation.reshape(3, 3), rng.uniform(-0.5, 0.5, 3)
    return pose, rng.uniform(hand.lower_rad, hand.upper_rad), rng.uniform(-0.5, 0.5, 2)


@pytest.mark.parametrize("scale", [0.92, 1.05])
def test_a_left_hand_is_the_mirror_image_of_a_right_one_in_every_posture(scale: float) -> None:
    rng = np.random.default_rng(1)
    right, left = HumanHand(HandDimensions(scale=scale)), HumanHand(HandDimensions(scale=scale, side="left"))
    for _ in range(10):
        pose, joints, wrist = _posture(rng, right)
        right.pose(pose, joints, wrist)
        left.pose(mirror(pose), joints, wrist)
        np.testing.assert_allclose(left.keypoints_world(), right.keypoints_world() * MIRROR, atol=1e-9)
        np.testing.assert_allclose(left.sphere_centres_world(), right.sphere_centres_world() * MIRROR, atol=1e-9)
        np.testing.assert_allclose(left.pad_directions_world(), right.pad_directions_world() * MIRROR, atol=1e-9)


def test_thumb_is_on_the_other_side_of_a_left_hand() -> None:
    hand = HumanHand(HandDimensions(side="left"))
    hand.pose(np.eye(4), np.zeros(21))
    keypoints = hand.keypoints_world()
    assert keypoints[4, 1] < -0.03  # right: +y
    assert keypoints[20, 1] > 0.02


def test_skin_of_another_persons_left_hand_closes_and_looks_outwards() -> None:
    person = make_person("evaluation", 4)
    dimensions = person.hand("left")
    spec = human_hand_spec(dimensions)
    add_skin(spec, dimensions, person.look)
    skin = spec.skins[0]
    vertices, faces = np.array(skin.vert).reshape(-1, 3), np.array(skin.face).reshape(-1, 3)
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    volume_l = 1000.0 * np.einsum("fi,fi->", a, np.cross(b, c)) / 6.0
    assert 0.25 < volume_l < 1.6  # a hand is about a third of a litre; a long piece of bare forearm is more
    model = spec.compile()
    texture = model.texture("skin")
    start = int(texture.adr[0])
    pixels = model.tex_data[start : start + 64 * 16 * 3].reshape(16, 64, 3)
    np.testing.assert_allclose(pixels[0, 0] / 255.0, person.look.back_rgb, atol=0.01)
    np.testing.assert_allclose(pixels[0, -1] / 255.0, person.look.palm_rgb, atol=0.01)
    assert (pixels[-1] < pixels[0]).all()  # creases are darker
    plain = human_hand_spec(dimensions)
    add_skin(plain, dimensions, HandLook(sleeve_start_m=person.look.sleeve_start_m))
    model = plain.compile()
    start = int(model.texture("skin").adr[0])
    pixels = model.tex_data[start : start + 64 * 16 * 3].reshape(16, 64, 3)
    assert (pixels == pixels[:1]).all()  # no creases


def test_forearm_points_at_the_elbow() -> None:
    hand = HumanHand()
    pose = np.eye(4)
    # fingers along +x, palm to +y, at a place before the right shoulder
    pose[:3, :3], pose[:3, 3] = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), (0.30, -0.25, 0.12)
    hand.pose(pose, np.zeros(21), wrist_path(pose[None])[0])
    forearm = np.array([finger == "forearm" for finger in hand.sphere_fingers])
    far = hand.sphere_centres_world()[forearm][-1]
    towards = (far - pose[:3, 3]) / np.linalg.norm(far - pose[:3, 3])
    expected = np.array([-0.08, -0.32, 0.18]) - pose[:3, 3]  # shoulder (-0.13, -0.26, 0.42) plus (0.05, -0.06, -0.24)
    assert towards @ expected / np.linalg.norm(expected) > 0.99
