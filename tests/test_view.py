"""The viewer: geometry as MuJoCo has it, one time line for film and robot, and the page in a real browser."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
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
from demos.interaction import Interaction, SceneObject
from demos.resample import select_frames
from demos.retarget import FINGERTIP_KEYPOINTS, retarget
from demos.source import shipped_demonstration, shipped_sample
from demos.synthetic.truth import ClipTruth
from demos.view.meshes import body_meshes
from demos.view.stages import OPEN_LOOP, PHYSICS, RETARGETED, fingertips
from demos.view.story import Story, demonstration_story
from dexvid_envs.cli import main
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.npz_file import write_npz

CLIP = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips" / "training-00001-place"

CHECKPOINTS = Path(__file__).parents[1] / "baselines" / "checkpoints"


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
    demonstration, interaction = story.world, story.interaction
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
    assert story.stages == ()
    assert story.film is not None
    np.testing.assert_array_equal(story.picture, np.arange(story.num_steps))
    assert np.nanmin(story.curves[0].values) < 80.0  # mm, while it is held
    story.close()


def test_a_demonstration_has_the_stages_before_it(story: Story, tmp_path: Path) -> None:
    assert [stage.name for stage in story.stages] == [RETARGETED, PHYSICS]
    assert story.interaction is not None
    assert story.stages[0].qpos is not None
    known = np.flatnonzero(story.frame >= 0)[::7]
    person = story.interaction.hand_keypoints_world[story.frame[known]][:, list(FINGERTIP_KEYPOINTS)]
    robot = np.stack([fingertips(story.stages[0].qpos[step]) for step in known])
    assert np.linalg.norm(person - robot, axis=-1).mean() < 0.002
    # a quickstart's folder has one stage more
    (tmp_path / "stages").mkdir()
    (tmp_path / "arguments.json").write_text('{"source": null}')
    for name in ("open-loop", "refined"):
        shutil.copytree(shipped_demonstration(), tmp_path / name)
    whole = story_of(ViewArguments(tmp_path))
    assert [stage.name for stage in whole.stages] == [RETARGETED, OPEN_LOOP, PHYSICS]
    assert len(whole.curves) == 5
    assert all(len(curve.values) == whole.num_steps for curve in whole.curves)
    whole.close()


@pytest.fixture
def motion_file(story: Story, tmp_path: Path) -> Path:
    assert story.interaction is not None
    motion = retarget(select_frames(story.interaction, slice(20, 60)))
    names = ("qpos", "targets", "error_m", "source_frame")
    write_npz(tmp_path / "motion.npz", {name: getattr(motion, name) for name in names} | {"doubts": np.array([], dtype=str)})
    return tmp_path / "motion.npz"


def test_a_retargeted_motion_is_shown_with_its_person(motion_file: Path) -> None:
    alone = story_of(ViewArguments(motion_file))
    assert alone.num_steps == 40
    assert [stage.name for stage in alone.stages] == [RETARGETED]
    assert (alone.interaction, alone.film) == (None, None)
    story = story_of(ViewArguments(motion_file, source=shipped_sample()))
    assert story.film is not None
    assert story.interaction is not None
    assert story.stages[0].qpos is not None
    person = story.interaction.hand_keypoints_world[story.frame][:, list(FINGERTIP_KEYPOINTS)]
    robot = np.stack([fingertips(row) for row in story.stages[0].qpos])
    assert np.linalg.norm(person - robot, axis=-1).mean() < 0.002
    story.close()


def test_a_policy_that_sees_points_is_shown() -> None:
    story = story_of(ViewArguments(CHECKPOINTS / "open_cabinet", episode=1))
    assert [stage.name for stage in story.stages] == [PHYSICS]
    assert story.world is not None
    assert story.world.provenance["recorded"]["seed"] == 10001
    assert story.stages[0].num_steps == story.num_steps == story.world.num_steps + 1
    assert "successful" in story.title
    story.close()


def test_what_cannot_be_shown_is_said(
    tmp_path: Path, extraction: Path, motion_file: Path, capfd: pytest.CaptureFixture
) -> None:
    with pytest.raises(InputFileError, match="nothing at"):
        story_of(ViewArguments(tmp_path / "missing"))
    with pytest.raises(OptionError, match="holds episodes 0 to 0"):
        story_of(ViewArguments(shipped_demonstration(), episode=7))
    with pytest.raises(InputFileError, match="holds nothing that can be shown; expected an extraction"):
        story_of(ViewArguments(shipped_demonstration().parent))
    with pytest.raises(InputFileError, match="play them first: dexvid kinematic"):
        story_of(ViewArguments(shipped_demonstration().parent / "wild_motions.npz"))
    write_npz(tmp_path / "tracks.npz", {"points": np.zeros(3)})
    with pytest.raises(InputFileError, match="holds no motion and no interaction, but points"):
        story_of(ViewArguments(tmp_path / "tracks.npz"))
    with pytest.raises(InputFileError, match="give the folder"):
        story_of(ViewArguments(CLIP / "clip.json"))
    with pytest.raises(InputFileError, match="0 frames of this recording"):
        story_of(ViewArguments(motion_file, source=_later(extraction)))
    write_npz(motion_file, dict(np.load(motion_file)) | {"qpos": np.zeros((40, 7))})
    with pytest.raises(InputFileError, match=r"qpos has shape \(40, 7\)"):
        story_of(ViewArguments(motion_file))
    (tmp_path / "run" / "stages").mkdir(parents=True)
    (tmp_path / "run" / "arguments.json").write_text("{}")
    with pytest.raises(InputFileError, match="no demonstration yet"):
        story_of(ViewArguments(tmp_path / "run"))
    assert main(["view", str(extraction), "--port", "99999"]) == 2
    assert "expected 1 to 65535" in " ".join(capfd.readouterr().err.split())


def _later(extraction: Path) -> Path:
    """The extraction with all its frames a thousand later."""
    interaction = Interaction.load(extraction / "interaction.npz")
    dataclasses.replace(interaction, frame_index=interaction.frame_index + 1000).save(extraction / "interaction.npz")
    return extraction


def test_further_objects_are_drawn_and_a_taken_port_is_said(extraction: Path) -> None:
    pytest.importorskip("viser", reason='needs viser: pip install "dexvid-envs[view]"')
    from demos.view.page import StoryPage

    story = story_of(ViewArguments(extraction))
    one = story.interaction
    assert one is not None
    mug = SceneObject(one.object_points_world + 0.2, one.object_visible, one.object_pose_world)
    with_mug = dataclasses.replace(one, object_names=(one.object_names[0], "mug"), further_objects={"mug": mug})
    page = StoryPage(dataclasses.replace(story, interaction=with_mug))
    try:
        assert page.person is not None
        assert [name for name, _ in page.person.parts()][1:3] == [f"object points: {one.object_names[0]}", "object points: mug"]
        page.show(3)
        np.testing.assert_allclose(page.person.clouds[1].points, np.float32(mug.points_world[3]))
        with pytest.raises(OptionError, match="is taken"):
            StoryPage(story, int(page.url.rsplit(":", 1)[1]))
    finally:
        page.close()


_WAIT_MS = 180_000  # a browser without a graphics card, beside other tests


@needs_chromium
def test_the_page_in_a_real_browser(story: Story, tmp_path: Path) -> None:
    """It loads without errors and without asking anyone else, and everything on it does what it says."""
    pytest.importorskip("viser", reason='needs viser: pip install "dexvid-envs[view]"')
    from demos.view.page import EXTRACTION, LOOPBACK, StoryPage

    page = StoryPage(story)
    robot, person = page.robot, page.person
    assert robot is not None
    assert person is not None
    last = story.num_steps - 1
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 700, "height": 420})
        tab.set_default_timeout(_WAIT_MS)
        problems = watch(tab, (f"http://{LOOPBACK}", f"ws://{LOOPBACK}"))
        tab.goto(page.url)
        tab.get_by_text(f"step 0 of {last}").wait_for()
        tab.get_by_text("simulated object").wait_for()
        tab.wait_for_function("[...document.images].some(one => one.naturalWidth >= 320)")  # the film
        tab.wait_for_function(f"document.querySelectorAll('.uplot canvas').length == {len(story.curves)}")
        # the robot alone
        boxes = tab.get_by_role("checkbox")
        assert boxes.count() == 1 + len(person.parts()) + 2  # play, the person's parts, robot and object
        for number in range(len(person.parts())):
            boxes.nth(1 + number).click()
        _until(tab, lambda: not any(handle.visible for _, handles in person.parts() for handle in handles))
        begin = _settled(tab, tmp_path)
        poses = _poses(page)
        # the slider, by the keys and by the mouse
        slider = tab.get_by_role("slider").first
        start = slider.bounding_box()
        slider.focus()
        slider.press("End")
        tab.get_by_text(f"step {last} of {last}").wait_for()
        _until(tab, lambda: page.step == last)
        end = slider.bounding_box()
        tab.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2)
        tab.mouse.down()
        tab.mouse.move((start["x"] + end["x"] + end["width"]) / 2, end["y"] + end["height"] / 2)
        tab.mouse.up()
        _until(tab, lambda: abs(page.step - last / 2) < last / 5)
        tab.get_by_text(f"step {page.step} of {last}").wait_for()
        moved = np.abs(_poses(page) - poses).max(axis=1)
        assert moved.max() > 0.2  # m, or of a quaternion
        assert (moved > 1e-3).sum() > len(moved) / 2
        middle = _changed(tab, tmp_path, begin)
        # the stages
        _choose(tab, PHYSICS, RETARGETED)
        _until(tab, lambda: page.stage is story.stages[0])
        _until(tab, lambda: not robot.object[0].visible and robot.robot[0].visible)
        _choose(tab, RETARGETED, EXTRACTION)
        _until(tab, lambda: page.stage is None and not robot.robot[0].visible)
        empty = _changed(tab, tmp_path, middle)
        _choose(tab, EXTRACTION, PHYSICS)
        _until(tab, lambda: robot.robot[0].visible and robot.object[0].visible)
        _changed(tab, tmp_path, empty)
        boxes.nth(boxes.count() - 2).click()
        _until(tab, lambda: not robot.robot[0].visible and robot.object[0].visible)
    page.close()
    # viser's client frees the address of a film's picture as soon as the next one is there, read or not (its Image.tsx)
    freed = "net::ERR_FILE_NOT_FOUND blob:"
    assert not [one for one in problems if freed not in one]


def _until(tab: Any, happened: Callable[[], bool]) -> None:
    """Waits for what the page's server should come to."""
    for _ in range(_WAIT_MS // 100):
        if happened():
            return
        tab.wait_for_timeout(100)
    raise AssertionError("the server did not follow the browser")


def _choose(tab: Any, shown: str, wanted: str) -> None:
    """Takes another entry of the list of stages."""
    tab.locator(f"input[value='{shown}']").first.click()
    tab.get_by_role("option", name=wanted).click()


def _poses(page: Any) -> np.ndarray:
    """(B, 7) position and quaternion of the robot's parts as they were sent."""
    return np.array([[*handle.position, *handle.wxyz] for handle in page.robot.robot])


def _picture(tab: Any, folder: Path) -> np.ndarray:
    """The 3-D part of the page, below viser's notices."""
    import imageio.v3 as imageio

    tab.screenshot(path=folder / "shot.png", timeout=_WAIT_MS)
    return np.asarray(imageio.imread(folder / "shot.png"), dtype=np.float64)[190:, :300, :3]


def _settled(tab: Any, folder: Path) -> np.ndarray:
    """The picture when it shows something and does not change any more."""
    before = _picture(tab, folder)
    for _ in range(20):
        now = _picture(tab, folder)
        if now.std() > 5.0 and np.abs(now - before).mean() < 0.01:
            return now
        before = now
    raise AssertionError("the scene is not drawn")


def _changed(tab: Any, folder: Path, before: np.ndarray) -> np.ndarray:
    """The picture when it differs from the one before."""
    for _ in range(20):
        now = _picture(tab, folder)
        if np.abs(now - before).mean() > 0.5:
            return now
    raise AssertionError("nothing moves in the picture")
