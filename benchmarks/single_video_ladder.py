"""What each step from one human demonstration to a policy is worth where bottles, places and targets vary widely.

    python -m benchmarks.single_video_ladder --source synthetic path/to/dexmv_mustard [--seeds 0 1 2]
        [--observations state partial]

Starts and targets lie anywhere in regions of 30 x 30 cm, at least 15 cm apart; the bottle stands in any yaw, is 15 % smaller
to 15 % larger, weighs 0.05 to 0.6 kg, and friction is 0.6 to 1.2 of the usual. A bottle that is not round is refined twice
from its one recording, taken from two sides a quarter turn apart, or as often as `--sides` says. The rungs: the retargeted
motion and the refined one, each played open loop; with `--pretrained` the seed paper's way (an actor pretrained on other
motions, full object points, then cloned on the retargeted one); a clone of the refined ones alone; a clone of their copies,
which decides once an episode from which side it takes the bottle where there are several; that clone trained on with
corrections of its own rollouts; fine-tuned by PPO where `--fine-tune-steps` asks for it; how the last does by the bottle's
turn, and under random pushes. All of these see "state", which shows poses relative to palm and bottle as well; "partial" sees
points of the bottle from one camera, noisy, and no pose, and learns from the last of them what it does (`baselines.distill`).
"synthetic" is the recording that comes with the project. Finished stages in `--work` are kept, so that an interrupted run
goes on. Each recording has a log of its own beside the result, which is made from all of them, and pictures: the retargeted
motion and the last policy on the first four starts, and a drop under pushes that the policy makes good, if there is one.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any

import tyro

from baselines.checkpoint import Checkpoint, load_checkpoint
from baselines.evaluate import EvaluationResult
from baselines.starting_actor import pretrained_actor
from benchmarks.episode_strips import draw_strips
from benchmarks.result import RESULTS, Check, commit, write_result
from benchmarks.single_video_pictures import ShownPolicy, before_and_after, recovery
from benchmarks.single_video_stages import (
    ENV_ID,
    FRICTION,
    MASS_KG,
    NOISE,
    REGIONS,
    SHIPPED,
    SIZE,
    VIEWS,
    Budget,
    Observation,
    Stages,
)
from benchmarks.success_by_turn import by_turn
from demos.provenance import to_json
from dexvid_envs.files import atomic_path

#: What it is, how it does, and seconds from the recording to it.
Rung = tuple[str, EvaluationResult, float]
_TARGETS = {"state": (0.99, 0.97), "partial": (0.95, 0.92)}  # success, and the lower end of its interval
_PUSHED_TARGET, _MOST_MINUTES = 0.85, {"state": 30.0, "partial": 90.0}


@dataclasses.dataclass(frozen=True)
class LadderArguments:
    """Arguments of the benchmark."""

    source: tuple[str, ...] = (SHIPPED,)
    """recordings; "synthetic" is the one that comes with the project"""
    pretrained: Path | None = None
    """checkpoint of a transformer pretrained on other motions, for the seed paper's rung"""
    work: Path = Path("runs/single_video_ladder")
    """folder of the runs"""
    seeds: tuple[int, ...] = (0,)
    """of the trainings"""
    observations: tuple[Observation, ...] = ("state",)
    """what the policies see; "partial" learns from "state" """
    sides: int = 2
    """from which the bottle is taken, in as many refined demonstrations, where it has a heading"""
    copies: int = 2500
    """demonstrations to make from the one"""
    corrections: int = 900
    """of rollouts of a clone, in each round"""
    rounds: int = 2
    """of corrections, each of the policy that the one before gave"""
    fine_tune_steps: int = 0
    """environment steps of PPO after them; 0 leaves it out"""
    distill_steps: int = 8000
    """gradient steps of "partial" """
    episodes: int = 500
    """of each evaluation of a policy"""
    out: Path = RESULTS / "single_video_ladder.json"
    """result file"""
    quick: bool = False
    """small runs, whose figures say nothing; written beside the runs"""


def main() -> int:
    """Runs what is missing and writes the result."""
    given = tyro.cli(LadderArguments)
    if given.quick:
        small = {"copies": 12, "corrections": 8, "episodes": 2, "fine_tune_steps": 512, "distill_steps": 8}
        given = dataclasses.replace(given, **small, out=given.work / given.out.name)
    logs = given.out.with_suffix("")
    for source in given.source:
        ladder = Ladder(source, given)
        settings = {
            name: getattr(given, name)
            for name in (
                "seeds",
                "observations",
                "sides",
                "copies",
                "corrections",
                "rounds",
                "fine_tune_steps",
                "distill_steps",
            )
        }
        log = {"commit": commit(), **settings, "rows": ladder.rows(), "checks": [dataclasses.asdict(c) for c in ladder.checks]}
        logs.mkdir(parents=True, exist_ok=True)
        with atomic_path(logs / f"{ladder.name}.json") as temporary:
            temporary.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    _tabulate(logs, given)
    print(given.out.with_suffix(".md").read_text())
    return 0


def _tabulate(logs: Path, given: LadderArguments) -> None:
    """Writes the result from the logs of all recordings."""
    rows, checks = [], []
    for path in sorted(logs.glob("*.json")):
        log = json.loads(path.read_text(encoding="utf-8"))
        rows += [row | {"commit": log["commit"][:7]} for row in log["rows"]]
        checks += [Check(**check) for check in log["checks"]]
    settings = {"regions": dict(REGIONS), "size": SIZE, "mass_kg": MASS_KG, "friction": FRICTION, "noise": NOISE}
    write_result(given.out, "single_video_ladder", to_json(settings | {"quick": given.quick}), rows, checks)


class Ladder:
    """All rungs from one recording.

    Attributes:
        name: of the recording.
        checks: of what has been measured so far.
    """

    def __init__(self, source: str, arguments: LadderArguments) -> None:
        self.arguments = arguments
        budget = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Budget)}
        self.stages = Stages(source, arguments.work, Budget(**budget))
        self.name = self.stages.name
        self.checks: list[Check] = []

    def rows(self) -> list[dict[str, Any]]:
        """Makes what is missing; one row for each rung."""
        several_sides = len(self.stages.refine().get("turns_deg", [])) > 1
        copies = self.stages.multiply()
        self.checks.append(Check(f"{self.name}: accepted share of the attempts to copy", copies["acceptance"], 0.8, "higher"))
        if "missing_cells" in copies:
            cells = f"{self.name}: cells of 4 cm and 45 degrees without a copy"
            self.checks.append(Check(cells, copies["missing_cells"], 0.0, "lower"))
        rungs: list[Rung] = [
            ("retargeted, open loop", self.stages.replay("open-loop"), 0.0),
            ("refined, open loop", self.stages.replay("refined"), 0.0),
        ]
        begun = self.stages.store.seconds["refine"]
        for seed in self.arguments.seeds:
            if self.arguments.pretrained is not None:
                name = f"full points, seed {seed}: pretrained, cloned on the retargeted one"
                rungs.append((name, *self._seed_paper(seed, begun)))
            name, last, took = self._state_rungs(seed, begun, copies["accepted"], rungs)
            if several_sides:
                rungs += [(f"state, seed {seed}: of these, turned {part}", of_turn, took) for part, of_turn in by_turn(last)]
            self._finish("state", seed, name, last, took, rungs)
            if "partial" in self.arguments.observations:
                last = self.stages.distill(name, seed)
                took += self.stages.seconds(f"partial-{seed}")
                rungs.append((f"partial, seed {seed}: distilled from state", last, took))
                self._finish("partial", seed, f"partial-{seed}", last, took, rungs)
        return [
            {
                "recording": self.name,
                "bottle": self.stages.bottle,
                "rung": rung,
                "success": f"{result.success.rate:.1%}",
                "95 % interval": "{:.1%} to {:.1%}".format(*result.success.interval),
                "episodes": result.success.trials,
                "minutes": round(seconds / 60, 1),
            }
            for rung, result, seconds in rungs
        ]

    def _state_rungs(self, seed: int, begun: float, copies: int, rungs: list[Rung]) -> tuple[str, EvaluationResult, float]:
        """Adds the rungs of the policies that see "state"; folder and result of the last one, and seconds up to it."""
        run = f"state-{seed}"
        alone = self.stages.clone(f"alone-{run}", "state", seed, self.stages.demonstrations("refined"), steps=2000)
        rungs.append((f"state, seed {seed}: clone of the refined one", alone, begun + self.stages.seconds(f"alone-{run}")))
        name, learnt = f"clone-{run}", ["copies"]
        last = self.stages.clone(name, "state", seed, self.stages.demonstrations("copies"), steps=10_000)
        took = begun + self.stages.store.seconds["multiply"] + self.stages.seconds(name)
        rungs.append((f"state, seed {seed}: clone of {copies} copies", last, took))
        for number in range(1, self.arguments.rounds + 1):
            part = run if number == 1 else f"{run}-{number}"
            self.stages.correct(part, name, seed=number - 1)
            learnt.append(f"corrections-{part}")
            before = functools.partial(load_checkpoint, self.stages.folder / name)
            name = f"corrected-{part}"
            last = self.stages.clone(name, "state", seed, self.stages.demonstrations(*learnt), steps=6000, initial=before)
            took += self.stages.store.seconds[f"correct-{part}"] + self.stages.seconds(name)
            rungs.append((f"state, seed {seed}: with corrections, round {number}", last, took))
        if self.arguments.fine_tune_steps > 0:
            last = self.stages.fine_tune(name, f"tuned-{run}", seed)
            name = f"tuned-{run}"
            took += self.stages.seconds(name)
            rungs.append((f"state, seed {seed}: fine-tuned", last, took))
        return name, last, took

    def _finish(self, view: Observation, seed: int, name: str, last: EvaluationResult, took: float, rungs: list[Rung]) -> None:
        """Pushes the last policy of a view, checks it and draws the first of them."""
        pushed = self.stages.evaluate(name, view, pushed=True)
        rungs.append((f"{view}, seed {seed}: the same, pushed", pushed, took))
        self._check(f"{self.name}, {view}, seed {seed}", view, last, pushed, took / 60)
        if (view, seed) == (self.arguments.observations[0], self.arguments.seeds[0]):
            self._draw(name, view)

    def _seed_paper(self, seed: int, begun: float) -> tuple[EvaluationResult, float]:
        """Success, and seconds without those of the pretraining, which every recording shares."""
        pretrained = self.arguments.pretrained
        assert pretrained is not None

        def initial() -> Checkpoint:
            return pretrained_actor(load_checkpoint(pretrained), ENV_ID, VIEWS["full"], seed=seed)

        name = f"seed-paper-{seed}"
        result = self.stages.clone(name, "full", seed, self.stages.demonstrations("open-loop"), steps=2000, initial=initial)
        return result, begun + self.stages.seconds(name)

    def _check(self, name: str, view: Observation, last: EvaluationResult, pushed: EvaluationResult, minutes: float) -> None:
        success, lower = _TARGETS[view]
        self.checks += [
            Check(f"{name}: success", last.success.rate, success, "higher"),
            Check(f"{name}: lower end of its interval", last.success.interval[0], lower, "higher"),
            Check(f"{name}: success under pushes", pushed.success.rate, _PUSHED_TARGET, "higher"),
            Check(f"{name}: minutes from the recording", minutes, _MOST_MINUTES[view], "lower"),
        ]

    def _draw(self, name: str, view: str) -> None:
        """Pictures of the retargeted motion and of a policy, and of a drop under pushes that the policy makes good."""
        path, quick = self.arguments.out.with_suffix("") / f"{self.name}.jpg", self.arguments.quick
        policy = load_checkpoint(self.stages.folder / name).policy()
        after = ShownPolicy("last policy", policy, self.stages.evaluation_options(name, view))
        draw_strips(path, before_and_after(ENV_ID, self.stages.replaying("open-loop"), after, starts=1 if quick else 4))
        pushed = ShownPolicy("last policy, pushed", policy, self.stages.evaluation_options(name, view, pushed=True))
        if caught := recovery(ENV_ID, pushed, self.arguments.episodes):
            draw_strips(path.with_stem(f"{self.name}_recovery"), [caught])


if __name__ == "__main__":
    sys.exit(main())
