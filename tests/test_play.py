"""`dexvid play` and the window: who acts, what is written, and what is said where there is no screen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import imageio.v2 as imageio
import mujoco
import mujoco.viewer
import numpy as np
import pytest

from dexvid_envs import playback, rendering, viewer
from dexvid_envs.cli import main
from dexvid_envs.environment_ids import find_environment_id
from dexvid_envs.errors import MissingExtraError, OptionError, RenderingUnavailableError
from dexvid_envs.playback import make_policy, play_episodes, video_writer
from dexvid_envs.viewer import HumanViewer, aim_like

needs_rendering = pytest.mark.skipif(rendering.choose_backend() is None, reason="no off-screen OpenGL library")
CHECKPOINT = Path(__file__).parents[1] / "baselines" / "checkpoints" / "grasp_lift"


# ---- environment ids ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DexVid-GraspLift-v0", "GraspLift", "grasplift", "GraspLift-v0", "DexVid-GraspLift"])
def test_ids_may_be_shortened(name: str) -> None:
    assert find_environment_id(name) == "DexVid-GraspLift-v0"


def test_other_ids_are_left_alone() -> None:
    assert find_environment_id("CartPole-v1") == "CartPole-v1"


@pytest.mark.parametrize("name", ["GrapsLift", "DexVid-GraspLift-v7", "graplift-v0"])
def test_a_slip_names_the_closest(name: str) -> None:
    with pytest.raises(OptionError, match="did you mean 'DexVid-GraspLift-v0'"):
        find_environment_id(name)


# ---- the command -------------------------------------------------------------------------------------------------------


@needs_rendering
@pytest.mark.parametrize(
    "policy",
    [
        "random",
        "zero",
        "scripted",
        pytest.param(str(CHECKPOINT), id="checkpoint"),
        pytest.param(f"{__name__}:HalfPolicy", id="module:Class"),
    ],
)
def test_video_and_figures_of_every_episode(policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, figures = tmp_path / "new" / "play.mp4", tmp_path / "play.json"
    arguments = ["play", "GraspLift", "--policy", policy, "--episodes", "2", "--seed", "5"]
    arguments += ["--video", str(video), "--width", "80", "--height", "60", "--camera", "front", "--json", str(figures)]
    assert main([*arguments, "--env-option", 'objects=["mug"]', "--env-option", "max_episode_steps=4"]) == 0
    content = json.loads(figures.read_text())
    assert content["environment"] == "DexVid-GraspLift-v0"
    assert content["policy"] == policy
    own = {"observation_mode": "pointcloud", "control_mode": "joint_delta"} if policy == str(CHECKPOINT) else {}
    assert content["env_options"] == own | {"objects": ["mug"], "max_episode_steps": 4}
    assert [episode["seed"] for episode in content["episodes"]] == [5, 6]
    assert all(episode["steps"] == 4 and episode["finished"] for episode in content["episodes"])
    reader: Any = imageio.get_reader(video)
    with reader:
        assert reader.get_meta_data()["size"] == (80, 60)
        assert reader.get_meta_data()["fps"] == 20
        assert reader.count_frames() == 10  # four steps and the start, twice
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["play.json"]
    assert "0 of 2 episodes end in success" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["GraspLft"], "did you mean 'DexVid-GraspLift-v0'"),
        (["GraspLift", "--policy", "nobody"], "no such file or folder; expected random, zero, scripted"),
        (["GraspLift", "--policy", "no.such.module:Policy"], "no.such.module"),
        (["GraspLift", "--camera", "ceiling"], "expected one of overview"),
        (["GraspLift", "--width", "81"], "expected even numbers"),
        (["GraspLift", "--episodes", "0"], "expected 1 or more"),
        (["GraspLift", "--env-option", "bottle"], "expected NAME=VALUE"),
        (["GraspLift", "--env-option", "bottel=mug"], "unknown environment option 'bottel'"),
    ],
)
def test_mistakes_are_explained_and_leave_nothing_behind(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["play", *arguments, "--video", str(tmp_path / "play.mp4")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_a_screen_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(viewer.platform, "system", lambda: "Linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(["play", "GraspLift"]) == 2
    error = capsys.readouterr().err
    assert "neither DISPLAY nor WAYLAND_DISPLAY is set" in error
    assert "--video FILE.mp4" in error


def test_a_video_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"the last one")
    picture = np.zeros((32, 32, 3), dtype=np.uint8)

    def break_off() -> None:
        with video_writer(path, 20) as append:
            append(picture)
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        break_off()
    assert path.read_bytes() == b"the last one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["film.avi", "film"])
def test_a_video_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"ends in \.mp4"), video_writer(tmp_path / name, 20):
        pass


# ---- policies ----------------------------------------------------------------------------------------------------------


def test_the_ground_floor_plays_without_the_roof(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, dexvid_envs.play_command; print(sorted({'baselines', 'demos', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    monkeypatch.setattr(playback, "POLICY_LOADER", "no_such_package.policy:load_policy")
    with pytest.raises(MissingExtraError, match="needs the package 'no_such_package'"):
        make_policy("some.module:Policy", gymnasium.make("DexVid-GraspLift-v0"))


class HalfPolicy:
    """A user's own class, as `module:Class`."""

    def reset(self, mask: Any) -> None:
        assert mask.shape == (1,)

    def act(self, observation: Any) -> Any:
        return np.full((len(observation), 23), 0.5, dtype=np.float32)


def test_episodes_of_a_users_policy_equal_those_by_hand() -> None:
    env = gymnasium.make("DexVid-GraspLift-v0", max_episode_steps=5)
    (first, second) = play_episodes(env, f"{__name__}:HalfPolicy", episodes=2, seed=3)
    for episode in (first, second):
        env.reset(seed=episode.seed)
        rewards = [env.step(np.full(23, 0.5, dtype=np.float32))[1] for _ in range(5)]
        assert episode.total_reward == pytest.approx(sum(float(reward) for reward in rewards), abs=1e-12)
        assert (episode.steps, episode.finished, episode.terminated, episode.success) == (5, True, False, False)
    env.close()


def test_playing_ends_when_the_window_is_closed() -> None:
    env = gymnasium.make("DexVid-GraspLift-v0")
    left = iter([True, True, True, False])
    (episode,) = play_episodes(env, "zero", episodes=4, seed=0, show=lambda: next(left))
    assert (episode.steps, episode.finished) == (3, False)
    env.close()


def test_random_actions_fill_the_action_space() -> None:
    env = gymnasium.make("DexVid-GraspLift-v0")
    env.reset(seed=0)
    policy = make_policy("random", env, seed=1)
    actions = np.concatenate([policy.act(None) for _ in range(200)])
    assert actions.dtype == np.float32
    assert all(action in env.action_space for action in actions)
    assert actions.min() < -0.95
    assert actions.max() > 0.95


# ---- the window --------------------------------------------------------------------------------------------------------


class _FakeHandle:
    """Stands for mujoco's window."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self.model, self.data, self.cam = model, data, mujoco.MjvCamera()
        self.running, self.shown = True, []

    def lock(self) -> Any:
        import contextlib

        return contextlib.nullcontext()

    def sync(self) -> None:
        self.shown.append(float(self.data.time))

    def is_running(self) -> bool:
        return self.running

    def close(self) -> None:
        self.running = False


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> list[_FakeHandle]:
    opened: list[_FakeHandle] = []

    def launch(model: mujoco.MjModel, data: mujoco.MjData, **options: Any) -> _FakeHandle:
        opened.append(_FakeHandle(model, data))
        return opened[-1]

    monkeypatch.setattr(viewer, "why_no_window", lambda: "")
    monkeypatch.setattr(mujoco.viewer, "launch_passive", launch)
    return opened


def test_looking_changes_nothing(window: list[_FakeHandle]) -> None:
    plain, seen = gymnasium.make("DexVid-GraspLift-v0"), gymnasium.make("DexVid-GraspLift-v0")
    inner: Any = seen.unwrapped
    plain.reset(seed=0)
    seen.reset(seed=0)
    with HumanViewer(inner.model, fps=None) as human:
        for _ in range(20):
            assert human.show(inner.data)
            action = np.ones(23, dtype=np.float32)
            np.testing.assert_array_equal(plain.step(action)[0], seen.step(action)[0])
    (handle,) = window
    assert handle.data is not inner.data
    assert handle.shown == pytest.approx([0.05 * step for step in range(20)])
    assert not handle.running


def test_a_closed_window_stays_closed(window: list[_FakeHandle]) -> None:
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    data = mujoco.MjData(model)
    human = HumanViewer(model, fps=None, camera=None)
    assert human.is_open
    assert human.show(data)
    window[0].running = False  # by the user
    assert not human.is_open
    assert not human.show(data)
    human.close()
    human.close()
    assert len(window) == 1


def test_states_are_shown_in_real_time() -> None:
    human = HumanViewer(mujoco.MjModel.from_xml_string("<mujoco/>"), fps=20, camera=None)
    now, slept = [100.0], []

    def sleep(duration_s: float) -> None:
        slept.append(duration_s)
        now[0] += duration_s

    for work_s in (0.0, 0.01, 0.02, 0.5, 0.0):
        now[0] += work_s
        human._wait(lambda: now[0], sleep)
    assert slept == pytest.approx([0.04, 0.03, 0.05])  # the first and the late one are due at once; lost time stays lost


def test_no_display_is_an_error_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    monkeypatch.setattr(viewer, "why_no_window", lambda: "DISPLAY is ':7': no display can be opened")
    with pytest.raises(RenderingUnavailableError, match=r"':7'.*rgb_array.*xvfb-run"):
        HumanViewer(model, camera=None).show(mujoco.MjData(model))


def test_a_display_that_does_not_answer_is_noticed() -> None:
    assert "':987'" in viewer._probe(":987", "") or sys.platform != "linux"


def test_unknown_camera_is_refused() -> None:
    with pytest.raises(OptionError, match="unknown camera 'above'"):
        HumanViewer(mujoco.MjModel.from_xml_string("<mujoco/>"), camera="above")


def test_the_window_starts_from_the_cameras_view() -> None:
    env: Any = gymnasium.make("DexVid-GraspLift-v0").unwrapped
    env.reset(seed=0)
    view = mujoco.MjvCamera()
    aim_like(view, env.model, env.data, "overview")
    azimuth, elevation = np.radians(view.azimuth), np.radians(view.elevation)
    forward = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    np.testing.assert_allclose(view.lookat - view.distance * forward, env.data.camera("overview").xpos, atol=1e-9)
    env.close()
