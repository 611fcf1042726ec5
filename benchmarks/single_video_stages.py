"""The stages from one recording to policies, as the ladder of one video goes through them; each is made once and kept."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from baselines.bc import CloneConfig, train_clone
from baselines.checkpoint import Checkpoint, load_checkpoint
from baselines.corrections import CorrectionConfig, CorrectionReport, corrections
from baselines.distill import DistillConfig, distill
from baselines.evaluate import EVALUATION_SEED, EvaluationResult, evaluate
from baselines.fine_tune import fine_tune
from baselines.policy import ReplayPolicy
from baselines.ppo import FineTuneConfig
from baselines.quickstart import StageStore
from baselines.training_state import STATE_NAME
from benchmarks.single_video_pictures import ShownPolicy
from demos.dataset import DatasetWriter, read_dataset, write_dataset
from demos.multiplication.report import draw_coverage
from demos.multiply import JOURNAL_NAME, MultiplyConfig, MultiplyReport, multiply
from demos.provenance import side_taken
from demos.pseudo_demonstration import closest_bottle, place_and_retarget, refine_interaction
from demos.refine import RefineConfig
from demos.refinement.placement import turns_for_any_yaw
from demos.source import load_interaction, shipped_sample
from dexvid_envs.progress import progress_bar
from dexvid_envs.randomization import PRESETS
from robots.objects import BOTTLES

ENV_ID = "DexVid-BottlePickPlace-v0"
SHIPPED = "synthetic"
Observation = Literal["state", "partial"]
#: Regions of the starts and of the targets, m and rad; the targets of the task stand beside its starts.
REGIONS: Mapping[str, Any] = {
    "start_half_extent_m": (0.15, 0.15),
    "target_half_extent_m": (0.15, 0.15),
    "target_apart_m": 0.15,
    "start_yaw_rad": math.pi,
}
SIZE, MASS_KG, FRICTION = (0.85, 1.15), (0.05, 0.6), (0.6, 1.2)
VIEWS: Mapping[str, Mapping[str, Any]] = {
    "state": {},
    "partial": {"observation_mode": "pointcloud", "points": "partial", "relative": False},
    "full": {"observation_mode": "pointcloud", "relative": False},
}
#: Copies show poses in the palm's frame as well, in which a grasp looks alike however the bottle stands.
_RECORDED = {"relative": True}
_TURNS = 24  # of the recording about the vertical, that are tried for reach
NOISE = {"object_noise_m": 0.003, "joint_noise_rad": 0.005}  # of what is seen of the bottle and felt of the robot
#: Small steps from a clone that does most things right, judged by a critic that knows mass and friction.
_FINE_TUNING: Mapping[str, Any] = {"actor_learning_rate": 2e-5, "action_std": 0.05, "privileged": True, "pull_until": 0.5}


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much of everything.

    Attributes:
        sides: from which a bottle with a heading is taken, in as many refined demonstrations.
        copies: demonstrations to make from the one.
        corrections: of rollouts of a clone, in each round.
        fine_tune_steps: environment steps of PPO.
        distill_steps: gradient steps of a pupil.
        episodes: of each evaluation of a policy.
        quick: small searches and networks.
    """

    sides: int
    copies: int
    corrections: int
    fine_tune_steps: int
    distill_steps: int
    episodes: int
    quick: bool


class Stages:
    """Everything that is made from one recording, each in its folder and with its seconds.

    Args:
        source: a recording; "synthetic" is the one that comes with the project.
        work: folder for the folders of all recordings.
        budget: how much of everything.

    Attributes:
        name: of the recording.
        folder: of its stages.
        bottle: the one nearest in size.
        store: what the stages gave, and their seconds.
        varied: how bottles vary, as a randomisation.
        options: of the environment in which everything is played.
    """

    def __init__(self, source: str, work: Path, budget: Budget) -> None:
        self.budget = budget
        self.name = Path(source).name
        self.folder = work / self.name
        self.interaction = load_interaction(shipped_sample() if source == SHIPPED else Path(source))
        self.bottle = closest_bottle(self.interaction)
        self.store = StageStore(self.folder / "stages", resume=True)
        mass = BOTTLES[self.bottle].mass_kg
        self.varied = {"size": SIZE, "mass": (MASS_KG[0] / mass, MASS_KG[1] / mass), "friction": FRICTION}
        self.options = {"bottle": self.bottle, **REGIONS, "randomization": self.varied}

    def refine(self) -> dict[str, Any]:
        """One demonstration for each side, each refined in the conditions that its copies will be in."""
        # The hold is searched for in the conditions that the copies will be in; fewer tries would find lucky ones.
        config = RefineConfig(
            candidates=192,
            mass_factor=self.varied["mass"],
            friction_factor=FRICTION,
            replicates=8,
            final_replicates=20,
            noise_rad=0.03,
        )
        if self.budget.quick:
            config = dataclasses.replace(config, candidates=32, elites=4, offset_rounds=6, spline_rounds=2, replicates=3)

        def make() -> Any:
            options = {"bottle": self.bottle, **REGIONS}
            turns = turns_for_any_yaw(place_and_retarget(self.interaction, ENV_ID, options, turns=_TURNS), self.budget.sides)
            results = []
            for number, turn in enumerate(turns):
                placed = place_and_retarget(self.interaction, ENV_ID, options, yaw_rad=turn)
                with progress_bar(f"{self.name}: refine {number + 1} of {len(turns)}") as bar:
                    results.append(refine_interaction(placed, ENV_ID, options, config, progress=bar))
            made = [one.demonstration for one in results if one.refinement.succeeded]
            write_dataset(self.folder / "refined", made)
            write_dataset(self.folder / "open-loop", [results[0].open_loop_demonstration])
            return {
                "turns_deg": [round(math.degrees(turn)) for turn in turns],
                "succeeded": [one.refinement.succeeded for one in results],
                "robustness": [one.refinement.robustness for one in results],
            }

        return self.store.stage("refine", make)

    def multiply(self) -> dict[str, Any]:
        """Copies at starts, targets, sizes, masses and frictions from all over their ranges."""
        varied = self.varied
        config = MultiplyConfig(
            count=self.budget.copies,
            env_options={**REGIONS, **_RECORDED},
            size=varied["size"],
            mass=varied["mass"],
            friction=varied["friction"],
        )
        if self.budget.quick:
            config = dataclasses.replace(config, batch=24, max_attempts_factor=50.0)

        def make() -> Any:
            report, folder = MultiplyReport(), self.folder / "copies"
            with progress_bar(f"{self.name}: multiply") as bar, DatasetWriter(folder, resume=folder.exists()) as writer:

                def show(made: int, state: MultiplyReport) -> None:
                    bar(made / config.count, f"{made} made, {state.acceptance:.0%} accepted")

                parents, journal = read_dataset(self.folder / "refined"), writer.staging / JOURNAL_NAME
                made = multiply(parents, config, first_index=len(writer), report=report, progress=show, journal=journal)
                for copy in made:
                    writer.add(copy)
            draw_coverage(self.folder / "coverage.png", [(self.name, report)])
            missing = report.missing_start_cells + report.missing_target_cells
            return {
                "accepted": config.count,
                "attempts": report.attempts,
                "acceptance": report.acceptance,
                "missing_cells": missing,
            }

        return self.store.stage("multiply", make)

    def correct(self, part: str, policy: str, seed: int) -> None:
        """Corrections of a policy's rollouts."""
        config = CorrectionConfig(count=self.budget.corrections, batch=8 if self.budget.quick else 64, seed=seed)

        def make() -> Any:
            report, demonstrations = CorrectionReport(), self.demonstrations("copies")()
            checkpoint = load_checkpoint(self.folder / policy)
            with progress_bar(f"{self.name}: correct") as bar:
                show: Callable[[int, CorrectionReport], None] = lambda made, _: bar(made / config.count, f"{made} made")  # noqa: E731
                made = list(corrections(demonstrations, checkpoint, config, report=report, progress=show))
            write_dataset(self.folder / f"corrections-{part}", made)
            return dataclasses.asdict(report)

        self.store.stage(f"correct-{part}", make)

    def clone(
        self,
        name: str,
        view: str,
        seed: int,
        demonstrations: Callable[[], list[Any]],
        steps: int,
        initial: Callable[[], Checkpoint] | None = None,
    ) -> EvaluationResult:
        """A clone of demonstrations, trained on from `initial` where that is given, and how it does."""

        def make() -> Any:
            folder, learnt = self.folder / name, demonstrations()
            config = CloneConfig(
                policy="mlp" if view == "state" else "transformer",
                max_steps=60 if self.budget.quick else steps,
                learning_rate=None if initial is None else 5e-4,
                commit=len({side_taken(one.provenance) for one in learnt}) > 1,
            )
            with progress_bar(f"{self.name}: {name}") as bar:
                result = train_clone(
                    learnt,
                    config,
                    seed=seed,
                    observation=VIEWS[view],
                    initial=None if initial is None else initial(),
                    progress=lambda state: bar(state.fraction, f"{state.stage}, step {state.step}"),
                    run_folder=folder,
                    resume=(folder / STATE_NAME).is_file(),
                )
            return {"held_out_loss": result.held_out_loss, "transitions": result.transitions}

        self.store.stage(f"train-{name}", make)
        return self.evaluate(name, view)

    def fine_tune(self, before: str, name: str, seed: int) -> EvaluationResult:
        """By PPO on starts, bottles and masses as the evaluation draws them, from other seeds."""
        config = FineTuneConfig(total_steps=self.budget.fine_tune_steps, evaluations=0, **_FINE_TUNING)
        if self.budget.quick:
            config = dataclasses.replace(config, num_envs=4, rollout_steps=32, minibatch_size=64, critic_hidden=(16,))

        def make() -> Any:
            clone, folder = load_checkpoint(self.folder / before), self.folder / name
            options = {**clone.env_options, **self.options}
            with progress_bar(f"{self.name}: {name}") as bar:
                result = fine_tune(
                    ENV_ID,
                    options,
                    clone,
                    config,
                    seed=seed,
                    progress=lambda state: bar(state.fraction, f"{state.step} steps, {state.figures}"),
                    run_folder=folder,
                    resume=(folder / STATE_NAME).is_file(),
                )
            return {"steps": result.steps, "seconds": result.seconds}

        self.store.stage(f"train-{name}", make)
        return self.evaluate(name, "state")

    def distill(self, teacher: str, seed: int) -> EvaluationResult:
        """A pupil that sees noisy points of one camera, of a policy that sees "state"."""
        name = f"partial-{seed}"
        config = DistillConfig(clone=CloneConfig(policy="transformer", max_steps=self.budget.distill_steps))
        if self.budget.quick:
            config = dataclasses.replace(config, rounds=2, num_envs=2)

        def make() -> Any:
            folder = self.folder / name
            view = {**VIEWS["partial"], **self.options, "randomization": self.varied | NOISE}
            with progress_bar(f"{self.name}: {name}") as bar:
                result = distill(
                    load_checkpoint(self.folder / teacher),
                    view,
                    config,
                    seed=seed,
                    progress=lambda state: bar(state.fraction, f"step {state.step}, {state.figures}"),
                    run_folder=folder,
                    resume=(folder / STATE_NAME).is_file(),
                )
            return {"success_of_rounds": result.success}

        self.store.stage(f"train-{name}", make)
        return self.evaluate(name, "partial")

    def evaluate(self, name: str, view: str, *, pushed: bool = False) -> EvaluationResult:
        """A policy's success on held-out starts; `pushed` pushes the bottle at random."""
        policy, options = load_checkpoint(self.folder / name).policy(), self.evaluation_options(name, view, pushed=pushed)
        return self._evaluation(f"{name}{'-pushed' * pushed}", policy, options, self.budget.episodes)

    def replay(self, name: str) -> EvaluationResult:
        """Success of a demonstration, played open loop."""
        player = self.replaying(name)
        return self._evaluation(name, player.policy, player.env_options, min(self.budget.episodes, 200))

    def replaying(self, name: str) -> ShownPolicy:
        """A demonstration as a policy that plays it open loop."""
        demonstration = read_dataset(self.folder / name)[0]
        options = self.options | {"control_mode": demonstration.control_mode}
        return ShownPolicy("retargeted motion, open loop", ReplayPolicy(demonstration.actions), options)

    def evaluation_options(self, name: str, view: str, *, pushed: bool = False) -> dict[str, Any]:
        """Of the environment in which a policy is evaluated."""
        randomization: dict[str, Any] = dict(self.varied)
        if view == "partial":
            randomization |= NOISE
        if pushed:
            push = PRESETS["disturbance"]
            randomization |= {key: getattr(push, key) for key in ("force_m_per_s2", "force_probability", "force_steps")}
        return load_checkpoint(self.folder / name).make_options() | self.options | {"randomization": randomization}

    def _evaluation(self, name: str, policy: Any, options: Mapping[str, Any], episodes: int) -> EvaluationResult:
        def make() -> Any:
            with progress_bar(f"{self.name}: {name}") as bar:
                return evaluate(
                    policy,
                    ENV_ID,
                    episodes=episodes,
                    seed=EVALUATION_SEED,
                    env_options=options,
                    progress=lambda finished: bar(finished / episodes, f"{finished} episodes"),
                ).to_json()

        return EvaluationResult.from_json(json.loads(json.dumps(self.store.stage(f"evaluate-{name}", make))))

    def demonstrations(self, *names: str) -> Callable[[], list[Any]]:
        """Reads datasets when they are needed."""
        return lambda: [one for name in names for one in read_dataset(self.folder / name)]

    def seconds(self, name: str) -> float:
        """Wall time of a training."""
        return self.store.seconds[f"train-{name}"]
