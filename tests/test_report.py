"""The quickstart's report and the videos in it, from made-up results of the stages."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from browser import check_report, needs_chromium
from html_page import HtmlPage
from numpy.typing import NDArray

from baselines.evaluate import Episode, EvaluationResult
from baselines.reports.charts import Bar, Line, bar_chart, line_chart
from baselines.reports.page import duration, millimetres, percent
from baselines.reports.quickstart import QuickstartReport, further_commands, report_json, source_commit, write_report
from demos.demonstration import Demonstration
from demos.human_scene import clearest_camera
from demos.interaction import Interaction
from demos.multiply import MultiplyReport
from demos.pseudo_demonstration import OpenLoopOutcome, PseudoDemonstration
from demos.refine import RefineResult
from demos.replay import Player
from demos.side_by_side import human_frames, policy_episodes, render_episode, render_grid, render_side_by_side
from demos.video import probe_video, read_frames
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.rendering import choose_backend

ENV_ID = "DexVid-BottlePickPlace-v0"
OPTIONS: dict[str, Any] = {"bottle": "pet"}
SAMPLE = Path(__file__).parents[1] / "demos" / "data" / "synthetic_pick_place"
rendering = pytest.mark.skipif(choose_backend() is None, reason="no off-screen OpenGL here")


def evaluation(successes: int, trials: int = 50) -> EvaluationResult:
    episodes = [Episode(10_000 + i, i < successes, i < successes, 90.0 + i, 200, False, None, {}) for i in range(trials)]
    return EvaluationResult(ENV_ID, OPTIONS, 10_000, tuple(episodes))


@pytest.fixture(scope="module")
def interaction() -> Interaction:
    return Interaction.load(SAMPLE / "interaction.npz")


@pytest.fixture(scope="module")
def demonstration(interaction: Interaction) -> Demonstration:
    """A robot that moves a little; its middle steps have frames of the recording behind them."""
    player = Player(ENV_ID, OPTIONS, "joint_delta")
    actions = 0.3 * np.random.default_rng(3).uniform(-1, 1, (12, 23))
    frames = np.array([-1, -1, *interaction.frame_index[40:49], -1, -1])
    try:
        return player.record(actions, seed=5, source_frame=frames)
    finally:
        player.close()


@pytest.fixture
def full(interaction: Interaction, demonstration: Demonstration) -> QuickstartReport:
    rows = [
        {"search": search, "round": i, "cost": 1.0 - 0.1 * i, "success": 0.2 * i, "mean": 0.1 * i, "seconds": float(i)}
        for search in ("offset", "spline")
        for i in range(4)
    ]
    plan = SimpleNamespace(object_pos_world=demonstration.object_pos_world[1:], target_xy=np.array([0.46, 0.12]))
    motion = SimpleNamespace(error_m=np.full((12, 4), 0.0034))
    placed = SimpleNamespace(interaction=interaction, motion=motion, plan=plan, yaw_rad=0.7)
    pseudo = PseudoDemonstration(
        placed=cast(Any, placed),
        open_loop=OpenLoopOutcome(False, 0.0081, 0.163, 0.171, True),
        open_loop_demonstration=demonstration,
        refinement=RefineResult(np.zeros((2, 13)), np.zeros(2), True, 0.0187, 0.0112, 0.906, rows, 123.0),
        demonstration=demonstration,
    )
    history = [{"step": 100.0 * i, "loss": 1.0 / i, "held_out_loss": float("nan"), "elapsed_s": float(i)} for i in (1, 2, 3)]
    clone = SimpleNamespace(history=history, seconds=140.0, steps=300, transitions=4321, held_out_loss=None)
    checks = [(0, evaluation(41)), (2048, evaluation(38)), (4096, evaluation(47))]
    tuned = SimpleNamespace(evaluations=checks, history=[], steps=4096, seconds=95.0)
    return QuickstartReport(
        source_name="sample <&> video",
        source_sha256="ab" * 32,
        env_id=ENV_ID,
        env_options=OPTIONS,
        pseudo=pseudo,
        multiplication=MultiplyReport(640, 555, {"0,0": 300, "3,3": 255}, {"1,2": 555}, 14, 15),
        copies=512,
        clone=cast(Any, clone),
        clone_evaluation=evaluation(41),
        fine_tuning=cast(Any, tuned),
        final_evaluation=evaluation(47),
        final_policy="fine-tuned",
        random_evaluation=evaluation(0),
        stage_seconds={"refine": 123.0, "clone": 140.0},
        commands=further_commands("runs/quickstart/", ENV_ID),
        seeds={"run": 7},
        commit="0123abc",
    )


def test_every_figure_appears(full: QuickstartReport, tmp_path: Path) -> None:
    write_report(full, tmp_path / "report.html")
    page = HtmlPage((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not page.open
    for expected in (
        *("sample <&> video", "fails", "8.1 mm", "163 mm", "succeeds", "19 mm", "11 mm", "90.6%", "3.4 mm", "40 degrees"),
        *("512 copies", "86.7%", "640", "555", "3 of 32", "29 cells are empty"),
        *("82.0%", "41 of 50", "69.2 to 90.2%", "94.0%", "47 of 50", "83.8 to 97.9%", "76.0%", "0 of 50"),
        *("4 min 23 s", "2 min 20 s", "4321 transitions", "run 7", "0123abc", "ab" * 32, "mujoco"),
        *("dexvid evaluate --env", "dexvid train ppo", "dexvid replay runs/quickstart/dataset", 'gym.make("DexVid-Bottle'),
        *("No real robot", "65 x 65 x 210 mm", "9 of 13 steps"),
    ):
        assert expected in page.text, expected


def test_page_loads_nothing_from_elsewhere(full: QuickstartReport, tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"\x00\x01\x02")
    write_report(dataclasses.replace(full, videos={"a clip": video}), tmp_path / "report.html")
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = HtmlPage(content)
    assert page.resources == ["data:video/mp4;base64,AAEC"]
    assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|<script|<link", content)
    assert str(tmp_path) not in content
    assert len(content) < 120_000


@needs_chromium
def test_page_in_a_browser(full: QuickstartReport, tmp_path: Path) -> None:
    write_report(full, tmp_path / "report.html")
    check_report(tmp_path / "report.html")


def test_missing_parts_are_named(tmp_path: Path) -> None:
    bare = QuickstartReport(
        source_name="film",
        source_sha256="0" * 64,
        env_id=ENV_ID,
        env_options={},
        no_videos_because="no OpenGL",
        skipped={"fine-tune": "switched off"},
        notes=("The search found nothing.",),
        quick=True,
    )
    write_report(bare, tmp_path / "report.html")
    page = HtmlPage((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not page.open
    for expected in ("There are no videos here: no OpenGL", "not run", "switched off", "The search found nothing.", "--quick"):
        assert expected in page.text
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["clone"] is None
    assert figures["refinement"] is None


@pytest.mark.parametrize("part", ["pseudo", "multiplication", "clone", "clone_evaluation", "fine_tuning", "final_evaluation"])
def test_each_part_may_be_missing(full: QuickstartReport, part: str, tmp_path: Path) -> None:
    write_report(dataclasses.replace(full, **{part: None}), tmp_path / "report.html")
    assert not HtmlPage((tmp_path / "report.html").read_text(encoding="utf-8")).open


def test_json_holds_the_same_figures(full: QuickstartReport, tmp_path: Path) -> None:
    write_report(full, tmp_path / "report.html")
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures == report_json(full)
    assert figures["refinement"]["tracking_error_m"] == 0.0187
    assert figures["multiplication"]["kept"] == 512
    assert figures["clone"]["evaluation"]["success"]["successes"] == 41
    assert figures["clone"]["history"][0]["held_out_loss"] is None  # NaN is no JSON
    assert [row["steps"] for row in figures["fine_tuning"]["evaluations"]] == [0, 2048, 4096]
    assert figures["final"]["policy"] == "fine-tuned"
    assert figures["total_seconds"] == 263.0
    assert "episodes" not in figures["final"]


def test_charts_survive_odd_data() -> None:
    for line in (
        Line("one point", [1.0], [2.0], 0),
        Line("gap", [0, 1, 2], [1, np.nan, 1], 1),
        Line("none", [0, 1], [np.nan] * 2, 2),
    ):
        assert "nan" not in line_chart("odd", [line], "x")
    long = line_chart("long", [Line("", np.arange(10_000), np.arange(10_000), 0)], "x")
    assert len(long) < 12_000
    assert "nan" not in bar_chart("none", [Bar("zero", 0.0, "0")])


def test_numbers_in_words() -> None:
    assert (percent(0.945), percent(float("nan"))) == ("94.5%", "unknown")
    assert (millimetres(0.0081), millimetres(0.163), millimetres(float("inf"))) == ("8.1 mm", "163 mm", "unknown")
    assert [duration(seconds) for seconds in (0.84, 42.3, 59.7, 512.0)] == ["0.8 s", "42 s", "1 min 00 s", "8 min 32 s"]


# ---- videos ---------------------------------------------------------------------------------------------------------


def pictures_of(video: Path) -> list[NDArray[np.uint8]]:
    return [frame.rgb for frame in read_frames(probe_video(video))]


def test_human_keeps_to_the_source_frames(interaction: Interaction, demonstration: Demonstration) -> None:
    frames, live = human_frames(interaction, demonstration)
    assert frames.tolist() == [40, 40, *range(40, 49), 48, 48]
    assert live.tolist() == [False] * 2 + [True] * 9 + [False] * 2


def test_camera_from_which_the_object_hides_least(interaction: Interaction) -> None:
    assert clearest_camera(interaction) == "overview"
    behind = np.tile(np.array([0.3, 0.3, 0.1]), (interaction.num_frames, 21, 1))  # seen from `overview`, the object is in front
    way = np.array([1.20, -0.82, 0.74]) - behind[0, 0]
    wall = behind[:, :1] + 0.2 * way + np.zeros((1, interaction.object_points_world.shape[1], 1))
    moved = dataclasses.replace(interaction, hand_keypoints_world=behind, object_points_world=wall)
    assert clearest_camera(moved) != "overview"


def test_foreign_interaction_is_refused(interaction: Interaction, demonstration: Demonstration, tmp_path: Path) -> None:
    foreign = dataclasses.replace(interaction, frame_index=interaction.frame_index + 1000)
    with pytest.raises(DexVidError, match="the interaction that it was made from"):
        render_side_by_side(foreign, demonstration, tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [("a.gif", {}, "ends in .mp4"), ("a.mp4", {"width": 330}, "divisible by 16"), ("a.mp4", {"stride": 0}, "at least 1")],
)
def test_wrong_sizes_are_refused(
    demonstration: Demonstration, tmp_path: Path, name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        render_episode(demonstration, tmp_path / name, **arguments)
    assert not list(tmp_path.iterdir())


@rendering
def test_side_by_side(interaction: Interaction, demonstration: Demonstration, tmp_path: Path) -> None:
    path = render_side_by_side(
        interaction,
        demonstration,
        tmp_path / "side.mp4",
        source_video=SAMPLE / "source.mp4",
        width=320,
        height=240,
        stride=4,
    )
    pictures = pictures_of(path)
    assert pictures[0].shape == (272, 640, 3)
    assert len(pictures) == 5  # steps 0, 4, 8, then the end for half a second
    left, right = pictures[1][:240, :320], pictures[1][:240, 320:]
    assert left.std() > 20
    assert right.std() > 20
    assert np.abs(left.astype(float) - right).mean() > 5  # the robot is only on the right
    assert path.stat().st_size < 200_000


@rendering
def test_grid_of_policy_episodes(tmp_path: Path) -> None:
    class Still:
        def reset(self, mask: NDArray[np.bool_]) -> None:
            pass

        def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.zeros((len(observation), 23), dtype=np.float32)

    episodes = policy_episodes(Still(), ENV_ID, OPTIONS, "joint_delta", [1, 2], max_steps=4)
    assert [one.num_steps for one in episodes] == [4, 4]
    assert {one.tier for one in episodes} == {"kinematic"}
    path = render_grid(episodes, tmp_path / "grid.mp4", columns=2, width=160, height=112)
    picture = pictures_of(path)[-1]
    assert picture.shape == (112, 320, 3)
    red, green, _ = picture[:, 0].reshape(-1, 3).mean(axis=0)
    assert red > green + 60  # both failed


def test_a_report_names_the_commit_of_its_checkout_and_none_elsewhere() -> None:
    root = Path(__file__).parents[1]
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        head = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert head.startswith((source_commit() or "none").removesuffix("+"))
    else:
        assert source_commit() is None
