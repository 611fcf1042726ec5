"""The stages of `dexvid quickstart`, each a method that leaves its result in the output folder."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from baselines.bc import CloneConfig, CloneResult, train_clone
from baselines.checkpoint import load_checkpoint
from baselines.evaluate import EVALUATION_SEED, EvaluationResult, evaluate
from baselines.fine_tune import FineTuneResult, fine_tune
from baselines.policy import RandomPolicy
from baselines.ppo import FineTuneConfig
from baselines.progress import TrainProgress
from baselines.quickstart import QuickstartArguments, StageStore
from baselines.reports.quickstart import QuickstartReport, further_commands, write_report
from demos.checks import check_interaction
from demos.dataset import DatasetWriter, read_dataset, write_dataset
from demos.multiply import JOURNAL_NAME, MultiplyConfig, MultiplyReport, multiply
from demos.provenance import extraction_facts, to_json
from demos.pseudo_demonstration import (
    OpenLoopOutcome,
    PlacedMotion,
    PseudoDemonstration,
    closest_bottle,
    place_and_retarget,
    refine_interaction,
    task_settings,
)
from demos.refine import RefineConfig, RefineResult
from demos.side_by_side import policy_episodes, render_episode, render_grid, render_side_by_side
from demos.source import load_interaction, shipped_sample
from dexvid_envs.cli import parse_env_options
from dexvid_envs.errors import DexVidError, RenderingUnavailableError
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import Report, progress_bar
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlaceConfig

#: First seed of the starts by which the final policy is chosen; apart from the published ones (10000 on) and from training.
VALIDATION_SEED = 20_000
VALIDATION_EPISODES = 100
_CLONE_FIGURES = ("history", "seconds", "steps", "transitions", "held_out_loss")
_FINE_TUNE_FIGURES = ("history", "steps", "seconds")


class QuickstartRun:
    """One run of the whole way."""

    def __init__(self, arguments: QuickstartArguments) -> None:
        self.arguments = arguments
        self.out = arguments.out
        self.source = arguments.source or shipped_sample()
        self.interaction = load_interaction(self.source)  # a wrong source is refused before anything is written
        check_interaction(self.interaction, arguments.env)
        given = parse_env_options(arguments.env_option)
        if not isinstance(task_settings(arguments.env, given), BottlePickPlaceConfig):
            raise DexVidError(
                f"the quickstart and its report are about bottle pick-and-place, got --env {arguments.env}; for another "
                "task run `dexvid refine`, `multiply`, `train` and `evaluate` one after the other"
            )
        self.env_options = given if "bottle" in given else {"bottle": closest_bottle(self.interaction), **given}
        self._prepare_folder()
        self.store = StageStore(self.out / "stages", arguments.resume)
        self.begin = time.monotonic()

    def run(self) -> int:
        """All stages; 0 when the policy was evaluated, 1 when the search in physics found no success."""
        pseudo = self._refine(self._retarget())
        data = self._report_data(pseudo)
        if not pseudo.refinement.succeeded:
            self._finish(dataclasses.replace(data, notes=("The search in physics found no success, so the run ends here.",)))
            print("the search found no success; try another --seed or more --refine-rounds", file=sys.stderr)
            return 1
        data = dataclasses.replace(data, multiplication=self._multiply(), copies=self.arguments.count, clone=self._clone())
        before = self._evaluate("evaluate-clone", self.out / "clone")
        data = dataclasses.replace(data, clone_evaluation=before, final_evaluation=before, final_policy="clone")
        after = None
        if self.arguments.fine_tune_steps > 0:
            tuned = self._fine_tune()
            after = self._evaluate("evaluate-final", self.out / "finetuned")
            tuned = dataclasses.replace(tuned, evaluations=[(0, before), (tuned.steps, after)])
            data = dataclasses.replace(data, fine_tuning=tuned)
            data = self._keep_the_better(data, before, after)
        else:
            data = dataclasses.replace(data, skipped={"fine-tune": "--fine-tune-steps 0"})
        data = dataclasses.replace(data, random_evaluation=self._evaluate_random())
        self._finish(data)
        final = data.final_evaluation
        assert final is not None
        for name, result in {"clone": before, "fine-tuned": after, f"kept ({data.final_policy})": final}.items():
            print(f"{name:<18} {result.success if result else 'not run'}")
        print(f"placed upright and released at the end, seeds {final.seed} to {final.seed + len(final.episodes) - 1}")
        return 0

    # ---- the stages ------------------------------------------------------------------------------------------------

    def _retarget(self) -> PlacedMotion:
        def make(report: Report) -> dict[str, Any]:
            placed = place_and_retarget(self.interaction, self.arguments.env, self.env_options, report=report)
            return {"yaw_rad": placed.yaw_rad, "candidates": placed.yaw_candidates}

        with progress_bar("retarget") as report:
            chosen = self.store.stage("retarget", lambda: make(report))
            placed = place_and_retarget(self.interaction, self.arguments.env, self.env_options, yaw_rad=chosen["yaw_rad"])
        return dataclasses.replace(placed, yaw_candidates=chosen["candidates"])

    def _refine(self, placed: PlacedMotion) -> PseudoDemonstration:
        config = RefineConfig(seed=self.arguments.seed, spline_rounds=self.arguments.refine_rounds)
        if self.arguments.quick:
            rounds = min(config.spline_rounds, 2)
            config = dataclasses.replace(config, candidates=32, elites=4, offset_rounds=6, spline_rounds=rounds, replicates=3)

        def make(report: Report) -> dict[str, Any]:
            rounds = self.out / "search"  # from which an interrupted search goes on
            result = refine_interaction(placed, self.arguments.env, self.env_options, config, progress=report, store=rounds)
            facts = extraction_facts(self.source, self.interaction)
            for name, made in (("refined", result.demonstration), ("open-loop", result.open_loop_demonstration)):
                write_dataset(self.out / name, [dataclasses.replace(made, provenance={**facts, **made.provenance})])
            shutil.rmtree(rounds, ignore_errors=True)
            return {"open_loop": to_json(result.open_loop), "refinement": to_json(result.refinement)}

        with progress_bar("refine") as report:
            stored = self.store.stage("refine", lambda: make(report))
        refinement = stored["refinement"]
        return PseudoDemonstration(
            placed=placed,
            open_loop=OpenLoopOutcome(**stored["open_loop"]),
            open_loop_demonstration=read_dataset(self.out / "open-loop")[0],
            refinement=RefineResult(
                **refinement | {name: np.array(refinement[name]) for name in ("bend", "aim_xy_m", "correction")}
            ),
            demonstration=read_dataset(self.out / "refined")[0],
        )

    def _multiply(self) -> MultiplyReport:
        config = MultiplyConfig(count=self.arguments.count, seed=self.arguments.seed)
        if self.arguments.quick:
            config = dataclasses.replace(config, batch=24, max_attempts_factor=50.0)

        def make(bar: Report) -> dict[str, Any]:
            report = MultiplyReport()
            parent = read_dataset(self.out / "refined")[0]
            with DatasetWriter(self.out / "demonstrations", resume=self.arguments.resume) as writer:

                def show(made: int, state: MultiplyReport) -> None:
                    bar(made / config.count, f"{made} demonstrations, {state.acceptance:.0%} of the copies succeed")

                journal, begin = writer.staging / JOURNAL_NAME, len(writer)
                for copy in multiply(parent, config, first_index=begin, report=report, progress=show, journal=journal):
                    writer.add(copy)
            return to_json(report)

        with progress_bar("multiply") as bar:
            return MultiplyReport(**self.store.stage("multiply", lambda: make(bar)))

    def _clone(self) -> CloneResult:
        config = CloneConfig(max_steps=self.arguments.clone_steps, threads=-1)

        def make(bar: Report) -> dict[str, Any]:
            result = train_clone(
                read_dataset(self.out / "demonstrations"),
                config,
                seed=self.arguments.seed,
                progress=_training_bar(bar),
                run_folder=self.out / "clone",
                resume=self._has_state("clone"),
            )
            result.checkpoint.save(self.out / "clone" / "checkpoint")
            return {name: to_json(getattr(result, name)) for name in _CLONE_FIGURES}

        with progress_bar("clone") as bar:
            figures = self.store.stage("clone", lambda: make(bar))
        return CloneResult(checkpoint=load_checkpoint(self.out / "clone"), **figures)

    def _fine_tune(self) -> FineTuneResult:
        config = FineTuneConfig(total_steps=self.arguments.fine_tune_steps, evaluations=0)

        def make(bar: Report) -> dict[str, Any]:
            result = fine_tune(
                self.arguments.env,
                self.env_options,
                load_checkpoint(self.out / "clone"),
                config,
                seed=self.arguments.seed,
                progress=_training_bar(bar),
                run_folder=self.out / "finetuned",
                resume=self._has_state("finetuned"),
            )
            result.checkpoint.save(self.out / "finetuned" / "checkpoint")
            return {name: to_json(getattr(result, name)) for name in _FINE_TUNE_FIGURES}

        with progress_bar("fine-tune") as bar:
            figures = self.store.stage("fine-tune", lambda: make(bar))
        return FineTuneResult(checkpoint=load_checkpoint(self.out / "finetuned"), evaluations=[], **figures)

    def _evaluate(
        self, stage: str, checkpoint_folder: Path, seed: int = EVALUATION_SEED, episodes: int | None = None
    ) -> EvaluationResult:
        def make(bar: Report) -> dict[str, Any]:
            checkpoint = load_checkpoint(checkpoint_folder)
            return self._evaluated(checkpoint.policy(), checkpoint.make_options(), bar, seed, episodes).to_json()

        with progress_bar(stage.split("-")[0]) as bar:
            return EvaluationResult.from_json(self.store.stage(stage, lambda: make(bar)))

    def _keep_the_better(self, data: QuickstartReport, before: EvaluationResult, after: EvaluationResult) -> QuickstartReport:
        """Chooses between clone and fine-tuned policy by starts of their own, not by the published ones."""
        options = {"seed": VALIDATION_SEED, "episodes": min(self.arguments.episodes, VALIDATION_EPISODES)}
        rates = {
            "clone": self._evaluate("validate-clone", self.out / "clone", **options).success,
            "fine-tuned": self._evaluate("validate-final", self.out / "finetuned", **options).success,
        }
        kept = "fine-tuned" if rates["fine-tuned"].rate > rates["clone"].rate else "clone"
        seeds = f"{VALIDATION_SEED} to {VALIDATION_SEED + options['episodes'] - 1}"
        note = (
            f"Kept as the final policy: {kept}, by success on starts that serve for nothing else (seeds {seeds}): "
            f"clone {rates['clone'].rate:.1%}, fine-tuned {rates['fine-tuned'].rate:.1%}."
        )
        return dataclasses.replace(
            data, final_policy=kept, final_evaluation=after if kept == "fine-tuned" else before, notes=(note,)
        )

    def _evaluate_random(self) -> EvaluationResult:
        def make(bar: Report) -> dict[str, Any]:
            return self._evaluated(
                lambda envs: RandomPolicy(envs.single_observation_space, envs.single_action_space), self.env_options, bar
            ).to_json()

        with progress_bar("random") as bar:
            return EvaluationResult.from_json(self.store.stage("evaluate-random", lambda: make(bar)))

    def _evaluated(
        self, policy: Any, options: dict[str, Any], bar: Report, seed: int = EVALUATION_SEED, count: int | None = None
    ) -> EvaluationResult:
        episodes = count or self.arguments.episodes
        return evaluate(
            policy,
            self.arguments.env,
            episodes=episodes,
            seed=seed,
            env_options=options,
            progress=lambda finished: bar(finished / episodes, f"{finished} episodes"),
        )

    # ---- report ----------------------------------------------------------------------------------------------------

    def _report_data(self, pseudo: PseudoDemonstration) -> QuickstartReport:
        own = self.arguments.source is None
        return QuickstartReport(
            source_name=self.source.name,
            source_sha256=self.interaction.source_sha256,
            env_id=self.arguments.env,
            env_options=self.env_options,
            source_kind="a synthetic recording made by this project" if own else "a human demonstration",
            pseudo=pseudo,
            seeds={"run": self.arguments.seed, "evaluation (first)": EVALUATION_SEED},
            quick=self.arguments.quick,
        )

    def _finish(self, data: QuickstartReport) -> None:
        """Renders the videos, where that is possible, and writes the report."""
        videos, reason = {}, "--no-video was given"
        if self.arguments.video:
            with progress_bar("videos") as bar:
                begin = time.monotonic()
                try:
                    videos, reason = self._videos(data, bar), None
                except RenderingUnavailableError as error:
                    reason = str(error)
                self.store.seconds["videos"] = time.monotonic() - begin
        commands = further_commands(
            str(self.out), self.arguments.env, dataset="demonstrations", clone="clone", policy=self._kept_folder(data)
        )
        data = dataclasses.replace(
            data, videos=videos, no_videos_because=reason, stage_seconds=self.store.seconds, commands=commands
        )
        write_report(data, self.out / "report.html")
        print(f"report: {self.out / 'report.html'}")

    @staticmethod
    def _kept_folder(data: QuickstartReport) -> str:
        return "finetuned" if data.final_policy == "fine-tuned" else "clone"

    def _videos(self, data: QuickstartReport, bar: Report) -> dict[str, Path]:
        pseudo, folder = data.pseudo, self.out / "videos"
        assert pseudo is not None
        film = self.source / "source.mp4"
        videos = {}
        render_side_by_side(
            pseudo.placed.interaction,
            pseudo.demonstration,
            folder / "side-by-side.mp4",
            source_video=film if film.is_file() else None,
            stride=2,
            report=lambda share, state: bar(0.4 * share, f"side by side, {state}"),
        )
        videos["The person's key points and the bottle, and the robot in physics after the search"] = (
            folder / "side-by-side.mp4"
        )
        bar(0.4, "open loop")
        render_episode(
            pseudo.open_loop_demonstration, folder / "open-loop.mp4", caption="open loop, before the search", stride=2
        )
        videos["The retargeted motion before the search, played open loop"] = folder / "open-loop.mp4"
        bar(0.6, "policy")
        if data.final_evaluation is not None:
            checkpoint = load_checkpoint(self.out / self._kept_folder(data))
            seeds = range(data.final_evaluation.seed, data.final_evaluation.seed + 6)
            episodes = policy_episodes(
                checkpoint.policy(), self.arguments.env, self.env_options, checkpoint.control_mode, list(seeds)
            )
            render_grid(episodes, folder / "policy.mp4", stride=4)
            videos["The final policy on the first six evaluation seeds"] = folder / "policy.mp4"
        return videos

    # ---- folder ----------------------------------------------------------------------------------------------------

    def _prepare_folder(self) -> None:
        """Refuses to mix runs or to write over one: a folder in use is only gone on with, and with the same arguments."""
        marker = self.out / "arguments.json"
        wanted = to_json(dataclasses.replace(self.arguments, resume=False))
        del wanted["json"]  # where the figures go as well does not make it another run
        if self.out.exists() and not self.out.is_dir():
            raise DexVidError(f"--out {self.out} is a file; expected a folder to write to")
        if marker.is_file():
            try:
                same = json.loads(marker.read_text()) == wanted
            except (ValueError, RecursionError):
                same = False
            if not same:
                raise DexVidError(f"{self.out} holds a run with other arguments ({marker}); give the same or a new --out")
            if not self.arguments.resume:
                advice = "add --resume to go on with it, or choose another folder"
                raise DexVidError(f"--out {self.out} already holds a run; {advice}")
        elif self.out.exists() and any(self.out.iterdir()):
            raise DexVidError(f"--out {self.out} holds other files; give an empty or new folder")
        with atomic_path(marker) as temporary:
            temporary.write_text(json.dumps(wanted, indent=2))

    def _has_state(self, run: str) -> bool:
        return self.arguments.resume and (self.out / run / "training_state.safetensors").is_file()


def _training_bar(bar: Report) -> Any:
    """Shows training progress on a bar."""

    def show(progress: TrainProgress) -> None:
        figures = ", ".join(f"{name} {value:.3g}" for name, value in list(progress.figures.items())[:2])
        bar(progress.fraction, f"step {progress.step}, {figures}")

    return show
