"""How many of twenty different videos lead to a policy, with no hand on any: each shows another person, bottle and camera.

    python -m benchmarks.twenty_videos [--until extraction | refined | state | partial] [--videos 20] [--work DIR]

The videos are the synthetic corpus of bottles (`dexvid synthesize --corpus bottles`). The extraction is given a video and its
camera matrix, and finds hand, bottle, table and metres by itself, with the settings that `dexvid extract` has by default. From
there on everything is as in the ladder of one video (`benchmarks.single_video_ladder`): starts and targets anywhere in regions
of 30 x 30 cm, bottles of any yaw, other sizes and masses, other friction.

A video that does not lead to a policy has to say so: "gates" names those that its extraction did not pass (it goes on
nevertheless, so that the gates' worth is seen), "ended" the last step, or what stopped it: an extraction that failed, or a
search that found no motion which brings the bottle to its target. Each video has a log beside the result, which is made from
all of them; finished stages in `--work` are kept.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal

import tyro

from baselines.evaluate import EvaluationResult
from baselines.quickstart import StageStore
from benchmarks.reconstruction_score import score
from benchmarks.reconstruction_truth import Clip
from benchmarks.result import RESULTS, Check, commit, write_result
from benchmarks.single_video_stages import Budget, Stages
from demos.extract.config import ExtractConfig
from demos.extract.gates import read_failed_gates
from demos.extract.pipeline import extract
from demos.interaction import Interaction
from demos.synthetic.corpus import Pictures, make_corpus
from dexvid_envs.errors import DexVidError
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import progress_bar

Until = Literal["extraction", "refined", "state", "partial"]
_STEPS: tuple[Until, ...] = ("extraction", "refined", "state", "partial")
#: How far an extraction is from the truth, in its own world: the hand, the bottle and the vertical.
_ERRORS = ("fingertips_mm", "position_mm", "gravity_deg")
_WANTED_SUCCESS, _WANTED_SHARE = 0.9, 0.9  # of a policy, and of the videos that give one


@dataclasses.dataclass(frozen=True)
class TwentyVideosArguments:
    """Arguments of the benchmark."""

    videos: int = 20
    """how many"""
    until: Until = "partial"
    """the last step for each video; a later run goes on from there"""
    work: Path = Path("runs/twenty_videos")
    """folder of videos, extractions and runs"""
    copies: int = 2500
    """demonstrations to make from the one of a video"""
    distill_steps: int = 8000
    """gradient steps of the policy that sees points"""
    episodes: int = 500
    """of each evaluation of a policy"""
    out: Path = RESULTS / "twenty_videos.json"
    """result file"""
    quick: bool = False
    """small pictures, searches and networks, whose figures say nothing; written beside the runs"""


def main() -> int:
    """Runs what is missing and writes the result after each video."""
    given = tyro.cli(TwentyVideosArguments)
    if given.quick:
        given = dataclasses.replace(given, copies=12, distill_steps=8, episodes=2, out=given.work / given.out.name)
    logs = given.out.with_suffix("")
    logs.mkdir(parents=True, exist_ok=True)
    for number in range(given.videos):
        with progress_bar(f"video {number + 1} of {given.videos}") as bar:
            pictures = Pictures(320, 240, 8.0) if given.quick else None
            made = make_corpus("bottles", 1, given.work / "videos", pictures=pictures, first=number, report=bar)
        for clip in made.folders:
            log = {"commit": commit(), **Journey(clip, given).row()}
            with atomic_path(logs / f"{clip.name}.json") as temporary:
                temporary.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
        tabulate(logs, given)
    print(given.out.with_suffix(".md").read_text())
    return 0


class Journey:
    """One video's way, as far as it goes.

    Args:
        clip: folder of the video.
        arguments: of the benchmark.
    """

    def __init__(self, clip: Path, arguments: TwentyVideosArguments) -> None:
        self.clip, self.arguments = clip, arguments
        self.extraction = arguments.work / "extractions" / clip.name

    def row(self) -> dict[str, Any]:
        """Makes what is missing; the video's line of the table."""
        row: dict[str, Any] = {"video": self.clip.name, "gates": "", **dict.fromkeys(_ERRORS, ""), "bottle": "", "refined": ""}
        row |= {"state": "", "partial": "", "minutes": "", "ended": ""}
        try:
            seconds = self._extract()
        except DexVidError as error:
            return row | {"ended": f"no extraction: {error}"}
        failed = read_failed_gates(self.extraction)
        row |= {
            "gates": "; ".join(failed) or "passed",
            **self._errors(),
            "minutes": round(seconds / 60, 1),
            "ended": "extraction",
        }
        for step in _STEPS[1 : _STEPS.index(self.arguments.until) + 1]:
            try:
                stages = self._stages()
                value, took = getattr(self, f"_{step}")(stages)
            except DexVidError as error:
                return row | {"ended": f"{step}: {error}"}
            row |= {"bottle": stages.bottle, step: value, "minutes": round((seconds + took) / 60, 1), "ended": step}
            if value == "no":
                return row | {"ended": "no motion found that succeeds"}
        return row

    def _extract(self) -> float:
        """Extracts with the settings that a user has by default; seconds that it took."""

        def make() -> None:
            camera = self.clip / "cam_K.txt"
            extract(ExtractConfig(self.clip / "video.mp4", self.extraction, camera_matrix=camera, overlay=False, report=False))

        self.extraction.parent.mkdir(parents=True, exist_ok=True)
        store = StageStore(self.arguments.work / "runs" / self.clip.name / "stages", resume=True)  # the later stages' own
        store.stage("extract", make)
        return store.seconds["extract"]

    def _errors(self) -> dict[str, Any]:
        interaction = Interaction.load(self.extraction / "interaction.npz")
        figures = score(interaction, Clip.load(self.clip), world="estimated").figures
        return {name: round(figures[name], 1) for name in _ERRORS}

    def _stages(self) -> Stages:
        given = self.arguments
        budget = Budget(
            sides=2,
            copies=given.copies,
            corrections=0,
            fine_tune_steps=0,
            distill_steps=given.distill_steps,
            episodes=given.episodes,
            quick=given.quick,
        )
        return Stages(str(self.extraction), given.work / "runs", budget)

    def _refined(self, stages: Stages) -> tuple[str, float]:
        found = stages.refine()
        best = max(found["robustness"], default=0.0)
        return (f"{best:.0%} of disturbed" if any(found["succeeded"]) else "no"), stages.store.seconds["refine"]

    def _state(self, stages: Stages) -> tuple[str, float]:
        stages.multiply()
        result = stages.clone("clone-state", "state", 0, stages.demonstrations("copies"), steps=10_000)
        return _rate(result), sum(stages.store.seconds[name] for name in ("refine", "multiply", "train-clone-state"))

    def _partial(self, stages: Stages) -> tuple[str, float]:
        result = stages.distill("clone-state", 0)
        names = ("refine", "multiply", "train-clone-state", "train-partial-0")
        return _rate(result), sum(stages.store.seconds[name] for name in names)


def _rate(result: EvaluationResult) -> str:
    return f"{result.success.rate:.1%}"


def tabulate(logs: Path, given: TwentyVideosArguments) -> None:
    """Writes the result from the logs of all videos."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(logs.glob("*.json"))]
    rows = [{**{name: log[name] for name in log if name != "commit"}, "commit": log["commit"][:7]} for log in found]

    def reach(step: str) -> list[float]:
        return [float(row[step].rstrip("%")) / 100 for row in rows if row[step].endswith("%")]

    checks = [Check("videos", len(rows), 20, "higher")]
    if any(row["refined"] for row in rows):
        share = sum(row["refined"].endswith("disturbed") for row in rows) / len(rows)
        checks.append(Check("share of them with a motion that succeeds", share, _WANTED_SHARE, "higher"))
    for step in ("state", "partial"):
        if rates := reach(step):
            share = sum(rate >= _WANTED_SUCCESS for rate in rates) / len(rows)
            checks.append(Check(f"share of them with a policy of 90 % or more, {step}", share, _WANTED_SHARE, "higher"))
    write_result(given.out, "twenty_videos", {"videos": given.videos, "quick": given.quick}, rows, checks)


if __name__ == "__main__":
    sys.exit(main())
