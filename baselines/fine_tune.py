"""Fine-tuning of a cloned actor by PPO in the simulator: the run around `baselines.ppo`, from start to report.

A resumed run equals an unbroken one number for number (where no wall-time budget cuts it): networks, optimiser, normaliser,
random states, running episodes and the curriculum are saved together.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from baselines.checkpoint import Checkpoint
from baselines.curriculum import DemonstrationStarts
from baselines.evaluate import EVALUATION_SEED, TRAINING_SEEDS_START, EvaluationResult, evaluate, make_vector_env
from baselines.ppo import FineTuneConfig, FineTunePPO
from baselines.progress import ProgressCallback, RunLog, TrainProgress
from baselines.sb3_vec_env import Sb3VecEnv
from baselines.snapshot import restore_snapshot, take_snapshot
from baselines.training_state import (
    STATE_NAME,
    check_identity,
    load_training_state,
    module_tensors,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    restoring,
    save_training_state,
)
from demos.demonstration import Demonstration
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.files import atomic_path

_SNAPSHOT = "snapshot."  # prefix of its tensors in the training state


@dataclasses.dataclass(frozen=True)
class FineTuneResult:
    """A fine-tuned actor and how its training went.

    Attributes:
        checkpoint: the actor after the last update, better or not.
        evaluations: (environment steps, result) of every evaluation, the clone's own (0 steps) first; none is left out.
        history: one row of figures for each update.
        steps: environment steps done.
        seconds: wall time without evaluations, earlier sittings included.
    """

    checkpoint: Checkpoint
    evaluations: list[tuple[int, EvaluationResult]]
    history: list[dict[str, float]]
    steps: int
    seconds: float


def fine_tune(
    env_id: str,
    env_options: Mapping[str, Any],
    clone: Checkpoint,
    config: FineTuneConfig | None = None,
    *,
    seed: int = 0,
    demonstrations: Sequence[Demonstration] = (),
    progress: ProgressCallback | None = None,
    run_folder: Path | None = None,
    resume: bool = False,
) -> FineTuneResult:
    """Improves a cloned actor by PPO in the simulator.

    Args:
        env_id: Gymnasium id.
        env_options: options of the environment; the control mode is the clone's.
        clone: the actor to start from and to be pulled to.
        config: settings.
        seed: of the starts, the exploration and the critic's initial weights.
        demonstrations: in whose states episodes begin, where `config.curriculum.share` is above 0.
        progress: called after every update, and while an evaluation goes on.
        run_folder: gets `config.json`, `progress.csv`, TensorBoard events, the training state, `checkpoints/step_*` of every
            evaluation and, at the end, `checkpoint/`.
        resume: goes on from the training state in `run_folder`.

    Raises:
        OptionError: environment, clone and settings do not fit together.
        InputFileError: there is no training state to resume from, or it is damaged.
    """
    config = config or FineTuneConfig()
    options = {**env_options, "control_mode": clone.control_mode}
    flat = list(clone.actor.config.observation) == ["state"]
    seen = {"privileged": True} if config.privileged or not flat else {}
    envs = make_vector_env(env_id, config.num_envs, options | seen | _starting_anew(config, demonstrations))
    try:
        clone.check_env(envs)
        if config.curriculum.share > 0:
            envs = DemonstrationStarts(envs, demonstrations, config.curriculum, seed)
        run = _Run(env_id, options, clone, config, seed, run_folder, progress)
        return run.go(envs, resume)
    finally:
        envs.close()


def _starting_anew(config: FineTuneConfig, demonstrations: Sequence[Demonstration]) -> dict[str, Any]:
    """How the environments treat finished episodes: the curriculum starts them itself."""
    if config.curriculum.share == 0:
        return {}
    if not demonstrations:
        raise OptionError(
            f"curriculum share {config.curriculum.share} needs demonstrations in whose states episodes begin; give a dataset"
        )
    return {"autoreset_mode": AutoresetMode.DISABLED}


class _LogWriter(KVWriter):
    """Sends stable-baselines3's figures to our log; texts are left out."""

    def __init__(self, log: RunLog) -> None:
        self.log = log

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """See `KVWriter`."""
        self.log.write(step, {name: float(value) for name, value in key_values.items() if isinstance(value, int | float)})

    def close(self) -> None:
        """The log is closed by its owner."""


class _Run:
    """One fine-tuning from start to end: rollouts and updates within the budget, evaluations, savings, reports."""

    def __init__(
        self,
        env_id: str,
        options: dict[str, Any],
        clone: Checkpoint,
        config: FineTuneConfig,
        seed: int,
        folder: Path | None,
        progress: ProgressCallback | None,
    ) -> None:
        self.env_id, self.options, self.clone, self.config = env_id, options, clone, config
        self.seed, self.folder, self.progress = seed, folder, progress
        self.evaluations: list[tuple[int, EvaluationResult]] = []
        self.elapsed_s = 0.0

    def go(self, envs: Any, resume: bool) -> FineTuneResult:
        """Runs it."""
        config = self.config
        scale = 1.0 - config.gamma if config.reward_scale is None else config.reward_scale
        vec_env = Sb3VecEnv(envs, scale)
        algorithm = FineTunePPO(vec_env, self.clone.actor, config, self.seed)
        snapshot = self._load(algorithm) if resume else None
        if self.folder is not None:
            self._write_config(self.folder)
        # Each sitting draws new starts; stable-baselines3's own seeding of the environment is replaced.
        vec_env.seed(TRAINING_SEEDS_START + self.seed * 1_000_003 + algorithm.num_timesteps)
        with RunLog(self.folder, algorithm.num_timesteps if resume else None) as log:
            algorithm.set_logger(Logger(None, [_LogWriter(log)]))
            _, callback = algorithm._setup_learn(config.total_steps, None, reset_num_timesteps=False)
            if config.stagger:
                vec_env.stagger(np.random.default_rng(self.seed))
            if snapshot is not None and self.folder is not None:
                with restoring(self.folder / STATE_NAME):
                    restore_snapshot(algorithm, vec_env, *snapshot)
            self._evaluate_if_due(algorithm)
            self._loop(algorithm, vec_env, callback)
            checkpoint = self._checkpoint(algorithm)
            if self.folder is not None:
                self._save(algorithm, vec_env)
                checkpoint.save(self.folder / "checkpoint")
            return FineTuneResult(checkpoint, self.evaluations, log.rows, algorithm.num_timesteps, self.elapsed_s)

    def _loop(self, algorithm: FineTunePPO, vec_env: Sb3VecEnv, callback: BaseCallback) -> None:
        """Rollout, update, report, until the budget is used."""
        config = self.config
        saved_at = self.elapsed_s
        while algorithm.fraction < 1.0 and not self._enough:
            started = time.perf_counter()
            algorithm.collect_rollouts(vec_env, callback, algorithm.rollout_buffer, config.rollout_steps)
            algorithm.train()
            self.elapsed_s += time.perf_counter() - started
            by_time = 0.0 if config.max_seconds is None else self.elapsed_s / config.max_seconds
            algorithm.fraction = min(1.0, max(algorithm.num_timesteps / config.total_steps, by_time))
            if isinstance(vec_env.envs, DemonstrationStarts):
                algorithm.logger.record("rollout/frontier", vec_env.envs.curriculum.frontier)
            self._report(algorithm)
            self._evaluate_if_due(algorithm)
            if self.folder is not None and self.elapsed_s - saved_at >= config.save_every_s:
                self._save(algorithm, vec_env)
                saved_at = self.elapsed_s

    @property
    def _enough(self) -> bool:
        """Whether the last evaluations were good enough to end the run; the one before the training does not count."""
        times = self.config.enough_times
        last = [result.success.rate for steps, result in self.evaluations if steps > 0][-times:] if times else []
        return 0 < times == len(last) and min(last) >= self.config.enough_success

    def _report(self, algorithm: FineTunePPO) -> None:
        """Writes the figures of the update and calls back."""
        logger, steps = algorithm.logger, algorithm.num_timesteps
        episodes, successes = algorithm.ep_info_buffer, algorithm.ep_success_buffer
        if episodes:
            logger.record("rollout/return", float(np.mean([one["r"] for one in episodes])))
            logger.record("rollout/length", float(np.mean([one["l"] for one in episodes])))
        if successes:
            logger.record("rollout/success", float(np.mean(successes)))
        logger.record("time/elapsed_s", self.elapsed_s)
        figures = {name: float(value) for name, value in logger.name_to_value.items()}
        if not math.isfinite(figures["train/value_loss"]):
            raise DexVidError(f"the value loss is not finite after {steps} steps; lower critic_learning_rate")
        logger.dump(steps)
        shown = ("rollout/success", "rollout/return", "train/explained_variance", "train/kl")
        self._tell(algorithm, {name.split("/")[1]: figures[name] for name in shown if name in figures})

    def _tell(self, algorithm: FineTunePPO, figures: dict[str, float]) -> None:
        if self.progress is not None:
            self.progress(TrainProgress("fine-tune", algorithm.num_timesteps, algorithm.fraction, self.elapsed_s, figures))

    def _evaluate_if_due(self, algorithm: FineTunePPO) -> None:
        """Evaluates the deterministic actor at evenly spread parts of the budget, start and end among them."""
        config = self.config
        due = 0 if config.evaluations == 0 else 1 + math.floor(algorithm.fraction * (config.evaluations - 1) + 1e-9)
        if len(self.evaluations) >= due:
            return
        checkpoint = self._checkpoint(algorithm)
        result = evaluate(
            checkpoint.policy(),
            self.env_id,
            episodes=config.evaluation_episodes,
            seed=EVALUATION_SEED,
            env_options=self.options,
            progress=lambda finished: self._tell(algorithm, {"evaluated episodes": float(finished)}),
        )
        self.evaluations.append((algorithm.num_timesteps, result))
        if self.folder is not None:
            target = self.folder / "checkpoints" / f"step_{algorithm.num_timesteps:09d}"
            checkpoint.save(target)
            result.save(target / "evaluation.json")

    def _checkpoint(self, algorithm: FineTunePPO) -> Checkpoint:
        training = {
            "algorithm": "ppo",
            "config": dataclasses.asdict(self.config),
            "seed": self.seed,
            "steps": algorithm.num_timesteps,
            "seconds": self.elapsed_s,
            "clone": dict(self.clone.training),
        }
        actor = copy.deepcopy(algorithm.networks.actor).requires_grad_(True)
        options = {name: value for name, value in self.options.items() if name != "control_mode"}
        return Checkpoint(actor, self.env_id, options, self.clone.control_mode, training)

    def _save(self, algorithm: FineTunePPO, vec_env: Sb3VecEnv) -> None:
        assert self.folder is not None
        tensors = module_tensors(algorithm.networks, "policy.") | optimizer_tensors(algorithm.networks.optimizer)
        arrays, values = take_snapshot(algorithm, vec_env)
        tensors |= {_SNAPSHOT + name: value for name, value in arrays.items()}
        meta = {
            "steps": algorithm.num_timesteps,
            "iteration": algorithm.iteration,
            "fraction": algorithm.fraction,
            "elapsed_s": self.elapsed_s,
            "evaluations": [(steps, result.to_json()) for steps, result in self.evaluations],
            "snapshot": values,
            "identity": self._identity(),
        }
        save_training_state(self.folder / STATE_NAME, tensors, meta)

    def _load(self, algorithm: FineTunePPO) -> tuple[dict[str, Any], dict[str, Any]]:
        """Restores networks, optimiser and counters; returns the snapshot, for when the environments have been reset."""
        if self.folder is None:
            raise OptionError("resume needs the run_folder of the run to go on with")
        path = self.folder / STATE_NAME
        tensors, meta = load_training_state(path)
        check_identity(path, meta, self._identity())
        with restoring(path):
            restore_module(algorithm.networks, tensors, "policy.", path)
            restore_optimizer(algorithm.networks.optimizer, tensors)
            algorithm.num_timesteps, algorithm.iteration = int(meta["steps"]), int(meta["iteration"])
            algorithm.fraction, self.elapsed_s = float(meta["fraction"]), float(meta["elapsed_s"])
            self.evaluations = [(steps, EvaluationResult.from_json(result)) for steps, result in meta["evaluations"]]
            own = {name.removeprefix(_SNAPSHOT): value for name, value in tensors.items() if name.startswith(_SNAPSHOT)}
            return own, meta["snapshot"]

    def _identity(self) -> dict[str, Any]:
        return {
            "env_id": self.env_id,
            "env_options": self.options,
            "seed": self.seed,
            "config": dataclasses.asdict(self.config),
            "clone": dict(self.clone.training),
        }

    def _write_config(self, folder: Path) -> None:
        content = {"algorithm": "ppo", **self._identity()}
        with atomic_path(folder / "config.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")
