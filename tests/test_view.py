"""The viewer: geometry as MuJoCo has it, one time line for film and robot, and the page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from browser import chromium, needs_chromium, watch
from true_interactions import true_interaction

import dexvid_envs  # noqa: F401 (registers the environments)
from baselines.view_command import ViewArguments, story_of
from demos.dataset import read_dataset
from demos.source import shipped_demonstration
from demos.synthetic.truth import ClipTruth
from demos.view.meshes import body_meshes
from demos.view.story import Story, demonstration_story
from dexvid_envs.cli import main
from dexvid_envs.errors import InputFileError, OptionError

CLIP = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips" / "training-00001-place"


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    made = demonstration_story(read_dataset(shipped_demonstration())[0])
    yield made
    made.close()


@pytest.fixture
def extraction(tmp_path: Path) -> Path:
    true_interaction(ClipTruth.load(CLIP / "truth.npz")).save(tmp_path / "interaction.npz")
    shutil.copy(CLIP / "video.mp4", tmp_path / "video.mp4")
    return tmp_path


def test_visible_geometry_is_that_of_mujoco() -> None:
    env: Any = gymnasium.make("DexVid-GraspLift-v0", objects=("mug",)).unwrapped
    env.reset(seed=0)
    meshes = body_meshes(env.model)
    assert {env.model.body(mesh.body).name for mesh in meshes} >= {"palm", "arm_base", "index_distal_link"}
    table = next(mesh for mesh in meshes if mesh.body == 0)
    assert table.vertices[:, 2].max() == pytest.approx(0.0, abs=0.002)
    assert len(set(table.rgba[:3])) > 1  # the wood's own colour, not white
    for mesh in meshes:
        assert mesh.faces.min() >= 0
        assert mesh.faces.max() < len(mesh.vertices)
    # what a ray hits from outside is where the mesh ends
    palm = env.model.body("palm").id
    own = np.concatenate([mesh.vertices for mesh in meshes if mesh.body == palm])
    world = own @ env.data.xmat[palm].reshape(3, 3).T + env.data.xpos[palm]
    highest = world[np.argmax(world[:, 2])]
    group = np.array([0, 0, 1, 0, 0, 0], dtype=np.uint8)
    hit, down = np.zeros(1, dtype=np.int32), np.array([0.0, 0.0, -1.0])
    start = highest + np.array([0.0, 0.0, 0.5]) + 1e-4 * (world.mean(axis=0) - highest) * np.array([1.0, 1.0, 0.0])
    distance = mujoco.mj_ray(env.model, env.data, start, down, group, 1, -1, hit, None)
    assert distance == pytest.approx(0.5, abs=0.005)
    env.close()


def test_film_and_robot_share_a_time_line(story: Story) -> None:
    demonstration, interaction = story.demonstration, story.interaction
    assert demonstration is not None
    assert interaction is not None
    assert story.film is not None
    assert story.num_steps == demonstration.num_steps + 1 == len(story.picture)
    known = np.flatnonzero(story.frame >= 0)
    assert len(known) > 50
    np.testing.assert_array_equal(interaction.frame_index[story.frame[known]], demonstration.source_frame[known])
    assert (story.picture[known] >= 0).all()
    assert story.film.rgb(int(story.picture[known[0]])).ndim == 3
    apart = interaction.object_pose_world[story.frame[known], :3, 3] - demonstration.object_pos_world[known]
    assert np.linalg.norm(apart, axis=1).mean() < 0.05
    by_name = {curve.name: curve.values for curve in story.curves}
    assert np.nanmax(by_name["grip on the object, N"]) > 1.0
    assert all(len(values) == story.num_steps for values in by_name.values())


def test_a_recording_alone_has_its_film_beside_it(extraction: Path) -> None:
    story = story_of(ViewArguments(extraction))
    assert story.demonstration is None
    assert story.film is not None
    np.testing.assert_array_equal(story.picture, np.arange(story.num_steps))
    assert np.nanmin(story.curves[0].values) < 80.0  # mm, while it is held
    story.close()


def test_what_cannot_be_shown_is_said(tmp_path: Path, extraction: Path, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(InputFileError, match="nothing at"):
        story_of(ViewArguments(tmp_path / "missing"))
    with pytest.raises(OptionError, match="holds episodes 0 to 0"):
        story_of(ViewArguments(shipped_demonstration(), episode=7))
    assert main(["view", str(extraction), "--port", "99999"]) == 2
    assert "expected 1 to 65535" in " ".join(capfd.readouterr().err.split())


@needs_chromium
def test_the_page_in_a_real_browser(story: Story, tmp_path: Path) -> None:
    """It loads without errors and without asking anyone else, and the slider moves the robot."""
    pytest.importorskip("viser", reason='needs viser: pip install "dexvid-envs[view]"')
    import imageio.v3 as imageio

    from demos.view.page import LOOPBACK, StoryPage

    page = StoryPage(story)
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1100, "height": 700})
        problems = watch(tab, (f"http://{LOOPBACK}", f"ws://{LOOPBACK}"))
        tab.goto(page.url)
        tab.get_by_text("step 0 of").wait_for(timeout=60_000)
        tab.wait_for_timeout(4_000)  # the scene arrives after the panel
        shots = [_scene(tab.screenshot(path=tmp_path / "first.png"), tmp_path / "first.png")]
        slider = tab.get_by_role("slider").first
        slider.focus()
        for _ in range(3):
            slider.press("PageUp")
        slider.press("End")
        tab.get_by_text(f"step {story.num_steps - 1} of").wait_for(timeout=60_000)
        assert page.step == story.num_steps - 1
        page.slider.value = story.num_steps // 2
        tab.get_by_text(f"step {story.num_steps // 2} of").wait_for(timeout=60_000)
        tab.wait_for_timeout(2_000)
        shots.append(_scene(tab.screenshot(path=tmp_path / "middle.png"), tmp_path / "middle.png"))
    page.close()
    assert not [one for one in problems if "ERR_FILE_NOT_FOUND" not in one]
    assert all(shot.std() > 5.0 for shot in shots)  # something is drawn
    assert np.abs(shots[0] - shots[1]).mean() > 0.5  # and it moved
    assert imageio.imread(tmp_path / "middle.png").shape[:2] == (700, 1100)


def _scene(_: bytes, path: Path) -> np.ndarray:
    """The 3D part of a screenshot, right of viser's notices."""
    import imageio.v3 as imageio

    return np.asarray(imageio.imread(path), dtype=np.float64)[150:, 50:650, :3]
