"""Two cameras, one of which saw the hand and one the object: their transform comes out of a carried object."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from demos.importers.camera_alignment import align_cameras, frames_that_move_as_one, tips_on_object
from demos.interaction import FINGERTIPS
from dexvid_envs.errors import InputFileError


def recording(frames: int = 40, noise_m: float = 0.002) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hand (T, 21, 3) in its camera, object poses (T, 4, 4) in theirs, the true transform, and surface points of the object."""
    rng = np.random.default_rng(0)
    time = np.linspace(0, 1, frames)
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, :3, 3] = np.stack([0.3 * time, 0.1 * np.sin(3 * time), 0.8 + 0.15 * np.sin(np.pi * time)], axis=-1)
    pose[:, :3, :3] = Rotation.from_euler("xz", np.stack([0.15 * time, 0.1 * np.cos(5 * time)], axis=-1)).as_matrix()
    place = rng.normal(scale=0.02, size=(21, 3))
    place[list(FINGERTIPS)] = [[-0.039, 0, 0], [0.039, 0.01, 0.03], [0.039, 0, 0.01], [0.039, 0, -0.01], [0.039, 0.01, -0.03]]
    truth = np.eye(4)
    truth[:3, :3] = Rotation.from_rotvec([0.4, -1.2, 0.7]).as_matrix()
    truth[:3, 3] = [0.3, -0.2, 0.5]
    in_object_camera = place @ pose[:, :3, :3].swapaxes(1, 2) + pose[:, None, :3, 3]
    hand = (in_object_camera - truth[:3, 3]) @ truth[:3, :3] + rng.normal(scale=noise_m, size=in_object_camera.shape)
    angle = rng.uniform(0, 2 * np.pi, 800)
    surface = np.stack([0.03 * np.cos(angle), 0.03 * np.sin(angle), rng.uniform(-0.1, 0.1, 800)], axis=-1)
    return hand, pose, truth, surface


def test_the_transform_comes_back() -> None:
    hand, pose, truth, surface = recording()
    found = align_cameras(hand, pose, np.ones(40, bool), surface)
    T = found.T_objectcamera_handcamera
    assert np.degrees(Rotation.from_matrix(T[:3, :3] @ truth[:3, :3].T).magnitude()) < 3.0
    off = (T[:3, :3] - truth[:3, :3]) @ hand.mean(axis=(0, 1)) + T[:3, 3] - truth[:3, 3]
    assert np.abs(off[:2]).max() < 0.012  # across the bottle, where the fingers press from both sides
    assert tips_on_object(hand, pose, T).std(axis=0).max() < 0.006


def test_stalls_jumps_and_turning_trackers_are_noticed() -> None:
    hand, pose, truth, _ = recording()
    hand[10:13] = hand[9]  # stands still while the object moves on
    hand[20:24] += [0.04, 0.0, 0.03]  # jumps off and comes back
    pose[30, :3, :3] = pose[30, :3, :3] @ Rotation.from_euler("z", 60, degrees=True).as_matrix()
    one = frames_that_move_as_one(hand, pose, np.ones(40, bool))
    assert not one[11:13].any()
    assert not one[20:24].any()
    assert not one[30]
    assert one.sum() >= 28
    T = align_cameras(hand, pose, one).T_objectcamera_handcamera
    assert np.degrees(Rotation.from_matrix(T[:3, :3] @ truth[:3, :3].T).magnitude()) < 4.0


def test_too_few_frames_are_refused() -> None:
    hand, pose, _, _ = recording()
    with pytest.raises(InputFileError, match="in 3 frames only"):
        align_cameras(hand, pose, np.arange(40) < 3)
