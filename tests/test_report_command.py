"""`dexvid report`: pages of real runs, checkpoints, datasets and extractions, and of what somebody tampered with."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_page import HtmlPage
from report_cases import CHECKPOINTS, listing, page_at, report

from baselines.evaluate import Episode, EvaluationResult, wilson_interval
from baselines.evaluation_file import read_evaluation
from baselines.reports.command import default_page, recognise
from demos.dataset import read_dataset, write_dataset
from demos.demonstration import Demonstration
from demos.provenance import GENERATIONS, generation
from demos.source import shipped_demonstration
from dexvid_envs.cli import main

SHIPPED = sorted(path.parent for path in CHECKPOINTS.glob("*/config.json"))


# ---- policies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shipped", SHIPPED, ids=[path.name for path in SHIPPED])
def test_page_of_a_shipped_policy(shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / shipped.name
    shutil.copytree(shipped, folder)
    before = listing(folder)
    assert report(folder) == 0
    assert listing(folder) == before  # other programs copy and replace it as a whole
    written = tmp_path / f"{shipped.name}.report.html"
    assert capsys.readouterr().out == f"report of the checkpoint: {written}\n"
    text = page_at(written).text
    stored = json.loads((folder / "evaluation.json").read_text())
    rate, config = stored["success"], json.loads((folder / "config.json").read_text())
    low, high = wilson_interval(rate["successes"], rate["trials"])
    for expected in (
        *(f"{100 * rate['rate']:.1f}%", f"{rate['successes']} of 200", f"{100 * low:.1f} to {100 * high:.1f}%"),
        *(stored["env_id"], config["training"]["algorithm"], f"{stored['mean_return']:.1f}", "mujoco 3.17.0"),
        *stored["per_object"],
    ):
        assert expected in text, expected
    for episode in stored["episodes"]:
        assert (f" {episode['seed']} " in text) or episode["success"]
    if "clone" in config["training"]:
        assert config["training"]["clone"]["data_sha256"] in text


def test_json_of_an_evaluation_is_all_that_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    shutil.copy(CHECKPOINTS / "grasp_lift" / "evaluation.json", file)
    assert report(file, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    stored = json.loads(file.read_text())
    assert figures["kind"] == "evaluation"
    for name in ("policy", "env_id", "seed", "success", "ever_success", "mean_return", "mean_length", "per_object"):
        assert figures[name] == stored[name]
    assert figures["failures"] == [one for one in stored["episodes"] if not one["success"]]
    assert figures["reached_and_lost"] == 29
    assert report(file, "--json", "--out", tmp_path / "deep" / "page.html") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == figures
    assert "page.html" in shown.err
    text = page_at(tmp_path / "deep" / "page.html").text
    assert "In 29 of them it reached the goal and lost it again" in text
    assert "dexvid play DexVid-GraspLift-v0 --policy baselines/checkpoints/grasp_lift --seed 10000" in text
    assert "'objects=[\"sugar_box\"]'" in text


def test_evaluation_without_failures(tmp_path: Path) -> None:
    episodes = tuple(Episode(10_000 + i, True, True, 90.0, 200, False, None, {}) for i in range(3))
    EvaluationResult("Env-v0", {}, 10_000, episodes).save(tmp_path / "good.json")
    assert report(tmp_path / "good.json") == 0
    text = page_at(tmp_path / "good.report.html").text
    assert "Every episode ends in success" in text
    assert "Evaluation of good.json" in text


def test_checkpoint_that_was_not_evaluated(tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINTS / "grasp_lift", tmp_path / "policy", ignore=shutil.ignore_patterns("evaluation.json"))
    assert report(tmp_path / "policy") == 0
    assert "It was not evaluated yet: dexvid evaluate --policy" in page_at(tmp_path / "policy.report.html").text


# ---- runs ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of two demonstrations, trained for seconds."""
    folder = tmp_path_factory.mktemp("runs")
    (one,) = read_dataset(shipped_demonstration())
    write_dataset(folder / "data", [one, one])
    settings = ("--max-steps", "30", "--report-every-steps", "10", "--hidden", "16", "16", "--held-out-fraction", "0.5")
    out = folder / "clone"
    assert main(["train", "bc", "--dataset", str(folder / "data"), "--out", str(out), "--seed", "5", *settings]) == 0
    return out


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """The run, to be changed."""
    return Path(shutil.copytree(run, tmp_path / "clone"))


def test_page_of_a_clone(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = listing(own_run)
    assert report(own_run) == 0
    after = listing(own_run)
    assert after.keys() - before.keys() == {"report.html"}
    assert before.items() <= after.items()
    text = page_at(own_run / "report.html").text
    training = json.loads((own_run / "checkpoint" / "config.json").read_text())["training"]
    for expected in ("Behaviour cloning: clone", "bottle=pet", "seed 5", "held-out episodes", training["data_sha256"]):
        assert expected in text, expected
    assert "Its policy was not evaluated yet" in text
    capsys.readouterr()
    assert report(own_run, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["kind"], figures["finished"], figures["steps"], figures["seed"]) == ("run", True, 30.0, 5)
    assert [row["step"] for row in figures["history"]] == [10.0, 20.0, 30.0]
    assert figures["training"] == training
    assert figures["evaluation"] is None


def test_run_that_is_not_finished_and_one_that_was_evaluated(own_run: Path) -> None:
    shutil.copy(CHECKPOINTS / "grasp_lift" / "evaluation.json", own_run)
    assert report(own_run) == 0
    text = page_at(own_run / "report.html").text
    assert "not evaluated" not in text
    assert "146 of 200 episodes" in text
    shutil.rmtree(own_run / "checkpoint")
    (own_run / "evaluation.json").unlink()
    (own_run / "progress.csv").unlink()
    assert report(own_run) == 0  # takes the place of the older page
    text = page_at(own_run / "report.html").text
    assert "This run is not finished: it has no checkpoint yet" in text
    assert "no row yet" in text


def test_page_of_a_fine_tuning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tuned"
    clone = {"algorithm": "bc", "data_sha256": "ab" * 32, "config": {"policy": "mlp"}}
    content = {"algorithm": "ppo", "env_id": "Env-v0", "seed": 3, "config": {"curriculum": {"share": 0.5}}, "clone": clone}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(content))
    columns = "step,train/kl,train/warmup,time/elapsed_s,rollout/return,rollout/success\n"
    (folder / "progress.csv").write_text(columns + "64,nan,1,2.5,,\n128,0.25,1,5,17.5,0.5\n192,0.5,1,7.5,19,0.75\n")
    for steps, successes in ((0, 45), (128, 47), (1_000_000_000, 30)):  # more digits than the names usually have
        episodes = tuple(Episode(10_000 + i, i < successes, i < 48, 1.0, 9, False, "ab"[i % 2], {}) for i in range(50))
        (folder / "checkpoints" / f"step_{steps:09d}").mkdir(parents=True)
        EvaluationResult("Env-v0", {}, 10_000, episodes).save(folder / f"checkpoints/step_{steps:09d}/evaluation.json")
    assert report(folder) == 0
    text = page_at(folder / "report.html").text
    for expected in (
        *("PPO fine-tuning: tuned", "worse than the one it started from", "went from 90.0%", "to 60.0% (46.2 to 72.4%)"),
        *("45 of 50", "47 of 50", "30 of 50", "train/kl", "train/warmup 1", "curriculum.share 0.5", "ab" * 32, "75.0%"),
    ):
        assert expected in text, expected
    assert text.index("45 of 50") < text.index("47 of 50")
    capsys.readouterr()
    assert report(folder, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert [one["steps"] for one in figures["evaluations"]] == [0, 128, 1_000_000_000]
    assert figures["history"][0]["train/kl"] is None  # NaN is no JSON
    assert figures["evaluation"]["per_object"]["a"]["trials"] == 25


# ---- datasets --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Demonstration:
    return read_dataset(shipped_demonstration())[0]


def made(one: Demonstration, **entries: Any) -> Demonstration:
    return dataclasses.replace(one, provenance={"parent": dict(one.provenance), **entries})


def test_page_of_a_dataset(shipped: Demonstration, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marks = {"model_sha256": shipped.provenance["model_sha256"], "versions": shipped.provenance["versions"]}
    shifted = dataclasses.replace(shipped, object_pos_world=shipped.object_pos_world + np.array([0.05, -0.02, 0.0]))
    failed = dataclasses.replace(shipped, successes=np.zeros_like(shipped.successes), tier="kinematic")
    kinds = [
        shipped,
        *(made(one, multiply={"count": 2}, copy={"draw": 0}, **marks) for one in (shipped, shifted)),
        made(shipped, correct={"count": 1}, correction={"of": 0}, **marks),
        made(failed, disturbed={"variant": 1}, **marks),
        dataclasses.replace(shipped, provenance={"recorded": {"policy": "scripted"}}),
    ]
    path = tmp_path / "data set"
    write_dataset(path, kinds)
    before = listing(path)
    assert report(path) == 0
    assert listing(path) == before
    text = page_at(tmp_path / "data set.report.html").text
    for expected in (
        *("6 demonstrations (2 copies, 1 refined, 1 corrections, 1 disturbed, 1 recorded)", "5 end in the task's success"),
        *("5 of 6 are of a tier", "successful (5), kinematic (1)", "joint_delta", '{"bottle": "pet"}', "155 to 155 each"),
        *(shipped.provenance["source_sha256"], "source_sha256: the hash of the source video 1 of 6", "not known 1"),
        *("1 of 6 demonstrations lack a part of their provenance", f"dexvid view '{path}'"),
    ):
        assert expected in text, expected
    capsys.readouterr()
    assert report(path, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["generations"] == {"refined": 1, "copies": 2, "corrections": 1, "disturbed": 1, "recorded": 1}
    assert figures["successes_by_generation"]["disturbed"] == 0
    np.testing.assert_allclose(figures["starts_xy_m"][2], shifted.object_pos_world[0, :2], atol=1e-4)
    np.testing.assert_allclose(figures["goals_xy_m"][0], shipped.memory["target"][0], atol=1e-4)
    assert figures["recorded_anew"] == 1  # what was copied before does not count


@pytest.mark.parametrize("name", ["refined_grasp_lift", "refined_lift_throw", "refined_open_cabinet", "refined_pick_place"])
def test_page_of_what_is_shipped_of_each_task(name: str, tmp_path: Path) -> None:
    folder = shipped_demonstration().parent / name
    assert report(folder, "--out", tmp_path / "page.html") == 0
    text = page_at(tmp_path / "page.html").text
    assert "1 demonstrations (1 refined); 1 end in the task's success (100.0%)" in text
    assert ("ends" if name == "refined_open_cabinet" else "goals") in text


def test_generation_of_kinematic_motions(shipped: Demonstration) -> None:
    facts = {"retarget": {"config": 1}, "kinematic": {"object": "mug"}}
    assert generation(dataclasses.replace(shipped, provenance=facts | {"variant": 0})) == "kinematic"
    assert generation(dataclasses.replace(shipped, provenance=facts | {"variant": 2})) == "disturbed"
    assert generation(dataclasses.replace(shipped, provenance={})) == "others"
    assert {"kinematic", "disturbed", "others"} <= set(GENERATIONS)


def test_provenance_that_is_no_object_is_refused(shipped: Demonstration, tmp_path: Path) -> None:
    import h5py

    write_dataset(tmp_path / "set", [shipped])
    with h5py.File(tmp_path / "set/data/main_data.hdf5", "a") as file:
        del file["episode_0/provenance"]
        file["episode_0/provenance"] = "[1, 2]"
    assert report(tmp_path / "set") == 2
    assert main(["dataset", "info", str(tmp_path / "set")]) == 2


# ---- extractions and quickstarts ------------------------------------------------------------------------------------------


def test_page_of_an_extraction_is_made_again(unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(unbroken, tmp_path / "my extraction"))
    assert not (folder / "report.html").exists()
    assert report(folder) == 0
    content = (folder / "report.html").read_text()
    assert HtmlPage(content).resources == [] or all(one.startswith(("data:", "#")) for one in HtmlPage(content).resources)
    assert "dexvid retarget &#x27;" in content
    assert "my extraction" in content
    capsys.readouterr()
    assert report(folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["hand"] == json.loads((folder / "quality.json").read_text())["hand"]
    for damage in ("[]", "{}", "{"):
        (folder / "quality.json").write_text(damage)
        assert report(folder) == 2
        assert "extract again" in capsys.readouterr().err
    assert (folder / "report.html").read_text() == content


def test_quickstart_has_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "quick"
    (folder / "stages").mkdir(parents=True)
    (folder / "clone").mkdir()
    (folder / "arguments.json").write_text("{}")
    assert report(folder) == 2
    remedy = f"`dexvid quickstart --resume`, or report on a part: dexvid report {folder / 'clone'}"
    assert f"has not finished; go on with {remedy}" in capsys.readouterr().err
    (folder / "report.html").write_text("<p>done</p>")
    (folder / "report.json").write_text('{"final": {"rate": 1.0}}')
    assert report(folder) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    assert report(folder, "--out", tmp_path / "copy.html") == 0
    assert (tmp_path / "copy.html").read_text() == "<p>done</p>"
    capsys.readouterr()
    assert report(folder, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"kind": "quickstart", "final": {"rate": 1.0}}


# ---- the command -----------------------------------------------------------------------------------------------------------


def test_help_is_quick_and_shows_examples() -> None:
    code = """
import sys
from dexvid_envs.cli import main
try:
    main(["report", "--help"])
except SystemExit as done:
    assert not done.code
heavy = {"torch", "mediapipe", "mujoco", "matplotlib", "scipy", "h5py", "minari"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    assert "dexvid report runs/clone" in done.stdout
    assert "--json" in done.stdout


def test_a_report_of_a_run_needs_no_torch(own_run: Path) -> None:
    code = f"import sys; from dexvid_envs.cli import main; main(['report', {str(own_run)!r}]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_places_of_pages(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run / "checkpoint")
    assert recognise(Path(".")) == "checkpoint"
    assert default_page(Path("."), "checkpoint") == own_run / "checkpoint.report.html"
    assert default_page(Path("a/b.json"), "evaluation").name == "b.json.report.html"  # nothing there: not a file
    assert default_page(Path(".."), "run") == Path("../report.html")
    assert recognise(own_run) == "run"
    stored = read_evaluation(CHECKPOINTS / "open_cabinet" / "evaluation.json")
    assert stored.policy == "baselines/checkpoints/open_cabinet"
