"""The recording behind a demonstration: found by its hash, and laid on the path that the robot's object took."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from demos.dataset import read_dataset
from demos.recorded_path import find_source, path_error, place_on
from demos.replay import Player
from demos.source import shipped_demonstration, shipped_sample
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import InputFileError
from robots.cabinet import Cabinet
from tests.demonstration_cases import CABINET
from tests.true_interactions import true_interaction


def test_the_recording_lies_on_the_path_that_was_made_from_it() -> None:
    (demonstration,) = read_dataset(shipped_demonstration())
    source = find_source(demonstration)
    assert source is not None
    assert source.film is not None
    turned = place_on(source.interaction, demonstration)
    error_m = path_error(turned, demonstration)
    assert np.isfinite(error_m).sum() > 100
    assert np.nanmean(error_m) < 0.015
    with pytest.raises(InputFileError, match="expected the extraction that it was made from"):
        find_source(dataclasses.replace(demonstration, provenance={"source_sha256": "ab" * 32}), shipped_sample())


def test_recordings_that_come_with_the_project_are_found_wherever_they_lie() -> None:
    data = shipped_demonstration().parent
    found = {}
    for path in sorted(data.glob("refined_*/data")):
        (demonstration, *_) = read_dataset(path.parent)
        source = find_source(demonstration)
        found[path.parent.name] = None if source is None or source.film is None else source.film.relative_to(data).as_posix()
    assert found["refined_pick_place"] == "synthetic_pick_place/source.mp4"
    assert found["refined_open_cabinet"] == "synthetic_clips/training-00002-drawer/video.mp4"
    assert found["refined_grasp_lift"] is None  # whose clip has to be made first


def test_a_recorded_drawer_lies_on_the_robots_by_its_handle() -> None:
    """A demonstration that opens the drawer just as the clip does: nothing is left between the two handles."""
    clip = Path(__file__).parents[1] / "demos/data/synthetic_clips/training-00002-drawer"
    recording = true_interaction(ClipTruth.load(clip / "truth.npz"))
    handle = recording.keypoints_world[:, recording.keypoint_names.index("handle_centre")]
    drawn_m = np.linalg.norm(handle - handle[0], axis=-1)
    steps = recording.num_frames - 1
    body = np.array([0.78, 0.0, 0.0]) - drawn_m[:, None] * np.array([1.0, 0.0, 0.0])
    still_there = Player(CABINET, {}, "joint_delta").record(np.zeros((steps, 23)), source_frame=recording.frame_index)
    demonstration = dataclasses.replace(still_there, object_pos_world=body)
    placed = place_on(recording, demonstration)
    assert np.nanmax(path_error(placed, demonstration)) < 1e-3
    hand_height_m = placed.hand_keypoints_world[recording.contact][:, :, 2].mean()
    assert hand_height_m == pytest.approx(Cabinet().handle_height_m, abs=0.08)
