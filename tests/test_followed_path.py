"""The distance of the robot's object from the video's own path."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from demos.align import find_carry, mirror, transformed
from demos.dataset import read_dataset
from demos.demonstration import Demonstration
from demos.followed_path import video_path_distance
from demos.interaction import FloatArray, Interaction
from demos.recorded_path import path_error, place_on
from demos.resample import resample
from demos.source import load_interaction, shipped_demonstration, shipped_sample
from dexvid_envs.errors import DexVidError
from tests.test_dataset import make_demonstration

BEFORE, AFTER = 24, 12  # steps that show no frame, and that go on showing the last one


@pytest.fixture(scope="module")
def sample() -> Interaction:
    return load_interaction(shipped_sample())


def demonstration_of(video: Interaction, path: FloatArray, **provenance: Any) -> Demonstration:
    """One whose object follows a path (T, 3) m, a step for each frame of the video, after an approach and before a rest."""
    order = np.concatenate([np.zeros(BEFORE, int), np.arange(len(path)), np.full(AFTER, len(path) - 1)])
    frames = video.frame_index[order].copy()
    frames[:BEFORE] = -1
    return make_demonstration(len(order) - 1, object_pos_world=path[order], source_frame=frames, provenance=provenance)


def elsewhere(yaw_rad: float) -> FloatArray:
    T = np.eye(4)
    T[:2, :2] = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]]
    T[:3, 3] = [0.46, -0.2, 0.05]
    return T


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_path_that_was_turned_and_shifted_alone_is_followed_exactly(sample: Interaction, mirrored: bool) -> None:
    """The sample lasts longer than is played: several frames of the source are passed over."""
    retarget = {"control_hz": 20.0, "max_duration_s": 5.0, "mirrored": mirrored}
    video = resample(mirror(sample) if mirrored else sample, 20.0, 5.0)
    path = transformed(video, elsewhere(2.0)).object_pose_world[:, :3, 3]
    one = demonstration_of(video, path, retarget=retarget)
    assert video_path_distance(sample, one) < 1e-9
    copy = dataclasses.replace(one, provenance={"parent": {"retarget": retarget}})
    assert video_path_distance(sample, copy) < 1e-9
    assert np.nanmax(path_error(place_on(sample, one), one)) < 0.004  # which sees the frames of the source alone


def test_what_a_path_was_stretched_by_is_counted(sample: Interaction) -> None:
    video = resample(sample, 20.0, 6.0)
    path = video.object_pose_world[:, :3, 3]
    phases = find_carry(path, spatial=True)
    carried = path[phases.lift : phases.place + 1]
    expected = 0.5 * np.linalg.norm(carried - carried.mean(axis=0), axis=-1).mean()
    assert expected > 0.02
    assert video_path_distance(sample, demonstration_of(video, 1.5 * path)) == pytest.approx(expected, rel=1e-6)


def test_steps_beside_the_carry_do_not_count(sample: Interaction) -> None:
    video = resample(sample, 20.0, 6.0)
    path = video.object_pose_world[:, :3, 3].copy()
    phases = find_carry(path, spatial=True)
    path[: phases.lift] += 0.3
    path[phases.place + 1 :] -= 0.3
    assert video_path_distance(sample, demonstration_of(video, path)) < 1e-9


def test_a_video_at_half_the_control_rate_is_compared_step_by_step(sample: Interaction) -> None:
    """Each frame of the source stands behind two steps, of which one shows what lies between it and the next."""
    slow = resample(sample, 10.0)
    video = resample(slow, 20.0, 6.0)
    one = demonstration_of(video, video.object_pose_world[:, :3, 3])
    assert video_path_distance(slow, one) < 1e-9
    early = np.roll(one.object_pos_world, -1, axis=0)
    assert video_path_distance(slow, dataclasses.replace(one, object_pos_world=early)) > 0.002


def test_the_shipped_demonstration_keeps_near_its_video(sample: Interaction) -> None:
    (shipped,) = read_dataset(shipped_demonstration())
    assert 0.0 < video_path_distance(sample, shipped) < 0.015


def test_another_recording_is_refused(sample: Interaction) -> None:
    one = demonstration_of(sample, sample.object_pose_world[:, :3, 3])
    other = dataclasses.replace(sample, frame_index=sample.frame_index + 10_000)
    with pytest.raises(DexVidError, match="0 steps of the demonstration show frames"):
        video_path_distance(other, one)
    still = np.tile(sample.object_pose_world[:1], (sample.num_frames, 1, 1))
    with pytest.raises(DexVidError, match="moves by less"):
        video_path_distance(dataclasses.replace(sample, object_pose_world=still), one)
