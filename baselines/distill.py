"""Distillation: a pupil that sees little learns from a teacher that sees the state, where the pupil itself gets to.

A policy on poses is learned quickly; one on noisy points from one camera is not, since its demonstrations never show what its
own errors lead to. Here the pupil plays, the teacher says at every step what it would do there, and the pupil learns that by
regression from all rounds so far: DAgger (Ross, Gordon and Bagnell 2011, "A Reduction of Imitation Learning and Structured
Prediction to No-Regret Online Learning") with a privileged teacher (Chen et al. 2019, "Learning by Cheating"). The teacher sees
the truth, whatever noise, delay or view the pupil has. The first round is played by the teacher.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.bc import CloneData, CloneTrainer, weights_sha256
from baselines.checkpoint import Checkpoint, load_checkpoint
from baselines.episodes import Episode, EpisodeData
from baselines.evaluate import TRAINING_SEEDS_START, last_infos, make_vector_env
from baselines.mlp import faster_thread_count, torch_threads
from baselines.policy import Policy
from baselines.progress import CSV_NAME, ProgressCallback, RunLog, TrainProgress, read_progress
from baselines.settings import DistillConfig
from baselines.tokens import part_shapes
from baselines.training_state import STATE_NAME, load_training_state
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.npz_file import read_npz, write_npz
from dexvid_envs.options import VIEW_OPTIONS

ROUNDS_NAME = "rounds"  # folder of the rounds played so far, in an unfinished run's folder


@dataclasses.dataclass(frozen=True)
class DistillResult:
    """A pupil and how its training went.

    Attributes:
        checkpoint: the pupil with averaged weights.
        history: one row for each report.
        success: of the episodes of each round, at their end; the first round is the teacher's.
        seconds: wall time, earlier sittings included.
    """

    checkpoint: Checkpoint
    history: list[dict[str, float]]
    success: list[float]
    seconds: float


def distill(
    teacher: Checkpoint,
    view: Mapping[str, Any],
    config: DistillConfig | None = None,
    *,
    seed: int = 0,
    initial: Checkpoint | None = None,
    progress: ProgressCallback | None = None,
    run_folder: Path | None = None,
    resume: bool = False,
) -> DistillResult:
    """Trains a pupil to do what a teacher does, in the teacher's environment, from what the pupil sees.

    Args:
        teacher: a policy for a task; its environment's options hold for the pupil as well.
        view: options of the environment that change this, such as `observation_mode="pointcloud"` and `randomization`.
        config: settings.
        seed: of the weights, the starts and the batches.
        initial: pupil to begin with, which then plays the first round as well; None begins with random weights.
        progress: called after every round and at every report.
        run_folder: gets `config.json`, `progress.csv`, TensorBoard events, the rounds and the training state while it runs, and
            at the end `checkpoint/`.
        resume: goes on from the training state in `run_folder`; the result equals an unbroken run's.

    Raises:
        OptionError: teacher or initial pupil do not fit the environment, or an option is not valid.
        InputFileError: there is nothing to resume from, or it is damaged or another run's.
    """
    config = config or DistillConfig()
    config = dataclasses.replace(config, clone=dataclasses.replace(config.clone, hold_steps=0, held_out_fraction=0.0))
    classroom = _Classroom(teacher, view, config.num_envs)
    try:
        if initial is not None:
            initial.check_env(classroom.envs)
        run = _Run(classroom, config, seed, initial, run_folder, progress)
        return run.go(resume)
    finally:
        classroom.close()


class _Classroom:
    """Environments as the pupil sees them, with the teacher's view of the same simulations.

    Attributes:
        teacher: its checkpoint.
        options: of the environments, without the control mode.
        shapes: of the parts that the pupil sees.
    """

    def __init__(self, teacher: Checkpoint, view: Mapping[str, Any], num_envs: int) -> None:
        if "control_mode" in view:
            raise OptionError("control_mode is the teacher's own; the options given may only change the rest")
        # The pupil sees as by default, not as the teacher does, where nothing else is said.
        shared = {name: value for name, value in teacher.env_options.items() if name not in VIEW_OPTIONS}
        self.teacher, self.options = teacher, {**shared, **view}
        self.envs: Any = make_vector_env(teacher.env_id, num_envs, {**self.options, "control_mode": teacher.control_mode})
        with contextlib.ExitStack() as unless_complete:
            unless_complete.callback(self.envs.close)
            self.shapes = part_shapes(self.envs.single_observation_space)
            core = self.envs.unwrapped.core
            seen = {name: value for name, value in teacher.env_options.items() if name in VIEW_OPTIONS and name != "privileged"}
            self.observer = core.true_view(**seen)
            known, shown = dict(teacher.actor.config.observation), part_shapes(self.observer.space)
            if known != shown:
                raise OptionError(
                    f"the teacher sees {known}, but {teacher.env_id} with its options shows {shown}; "
                    "use the version that it was trained with"
                )
            unless_complete.pop_all()

    def play(self, number: int, seed: int, pupil: Policy | None) -> tuple[list[Episode], float]:
        """A round: an episode in every environment, and the share of them that end in success.

        Args:
            number: of the round.
            seed: of the run.
            pupil: who plays; None is the teacher.
        """
        envs, count = self.envs, self.envs.num_envs
        first = TRAINING_SEEDS_START + seed * 1_000_003 + number * count
        observation, _ = envs.reset(seed=[first + row for row in range(count)])
        teacher, everyone = self.teacher.policy(), np.ones(count, dtype=bool)
        teacher.reset(everyone)
        if pupil is not None:
            pupil.reset(everyone)
        seen: dict[str, list[NDArray[Any]]] = {name: [] for name in self.shapes}
        told: list[NDArray[np.float32]] = []
        lengths, success, running = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool), everyone.copy()
        while running.any():
            shown = observation if isinstance(observation, Mapping) else {"state": observation}
            for name, pieces in seen.items():
                pieces.append(np.array(shown[name], dtype=np.float32))
            self.observer.see()
            told.append(np.clip(teacher.act(self.observer.observe()), -1.0, 1.0).astype(np.float32))
            played = told[-1] if pupil is None else pupil.act(observation)
            observation, _, terminated, truncated, infos = envs.step(played)
            done = terminated | truncated
            lengths[running] += 1
            success |= last_infos(infos, done)["success"].astype(bool) & done & running
            running &= ~done
        stacked, actions = {name: np.stack(pieces, axis=1) for name, pieces in seen.items()}, np.stack(told, axis=1)
        still = np.zeros(actions.shape[-1], dtype=np.float32)
        episodes = [
            # Episodes hold one observation more than actions; the last one is not learned from.
            Episode(
                {name: np.append(part[row, :length], part[row, length - 1 : length], axis=0) for name, part in stacked.items()},
                actions[row, :length],
                still,
            )
            for row, length in enumerate(lengths)
        ]
        return episodes, float(success.mean())

    def close(self) -> None:
        """Frees the environments."""
        self.envs.close()


class _Run:
    """One distillation from start to end: rounds and regression in turns, savings, reports."""

    def __init__(
        self,
        classroom: _Classroom,
        config: DistillConfig,
        seed: int,
        initial: Checkpoint | None,
        folder: Path | None,
        progress: ProgressCallback | None,
    ) -> None:
        self.classroom, self.config, self.seed, self.initial = classroom, config, seed, initial
        self.folder, self.progress = folder, progress
        self.episodes: list[Episode] = []
        self.success: list[float] = []
        self.trainer: CloneTrainer | None = None
        self.played_s = 0.0

    def go(self, resume: bool) -> DistillResult:
        """Runs it."""
        if resume and self.folder is not None and (self.folder / "checkpoint").exists():
            return self._finished(self.folder)
        if resume:
            self._load()
        if self.folder is not None:
            self._write_config(self.folder)
        with RunLog(self.folder, self.trainer.step if resume and self.trainer else None) as log:
            for number in range(self.config.rounds):
                if number >= len(self.success):
                    self._play(number)
                    self._save()
                self._train(self._until(number), log)
        assert self.trainer is not None
        checkpoint = self._checkpoint(self.trainer)
        if self.folder is not None:
            checkpoint.save(self.folder / "checkpoint")
            shutil.rmtree(self.folder / ROUNDS_NAME, ignore_errors=True)  # they are large
        return DistillResult(checkpoint, log.rows, self.success, self._elapsed_s)

    @property
    def _elapsed_s(self) -> float:
        return self.played_s + (0.0 if self.trainer is None else self.trainer.elapsed_s)

    def _until(self, number: int) -> float:
        """Part of the training that is done before the next round."""
        last = number + 1 == self.config.rounds
        return 1.0 if last else self.config.played_until * (number + 1) / self.config.rounds

    def _play(self, number: int) -> None:
        """One round more to learn from."""
        began = time.perf_counter()
        pupil = self.initial if self.trainer is None else self._checkpoint(self.trainer)
        with torch_threads(1):  # beside the physics
            episodes, success = self.classroom.play(number, self.seed, None if pupil is None else pupil.policy())
        self._learn_from(episodes, success)
        self.played_s += time.perf_counter() - began
        if self.folder is not None:
            write_npz(self.folder / ROUNDS_NAME / f"{number:03d}.npz", _pack(episodes, success))
        self._report({"round": number + 1.0, "success": success})

    def _learn_from(self, episodes: list[Episode], success: float) -> None:
        self.episodes += episodes
        self.success.append(success)
        data = CloneData(EpisodeData(self.episodes, hold_steps=0), None, sha256="")  # what it is follows from the settings
        if self.trainer is None:
            initial = None if self.initial is None else self.initial.actor
            self.trainer = CloneTrainer(data, self.config.clone, self.seed, initial)
        else:
            self.trainer.data = data

    def _train(self, until: float, log: RunLog) -> None:
        """Gradient steps up to a part of the budget."""
        trainer, config = self.trainer, self.config.clone
        assert trainer is not None
        if trainer.fraction >= until:
            return
        measured = config.threads < 0 or (config.threads == 0 and config.max_seconds is not None)
        saved_at, losses = trainer.elapsed_s, list[Tensor]()
        with torch_threads(faster_thread_count(trainer.probe()) if measured else max(config.threads, 1)):
            while trainer.fraction < until:
                losses.append(trainer.train_batch())
                if trainer.step % config.report_every_steps == 0 or trainer.fraction >= 1.0:
                    loss = float(torch.stack(losses).mean())
                    losses.clear()
                    if not math.isfinite(loss):
                        raise OptionError(f"the loss is {loss} at step {trainer.step}; lower clone.learning_rate")
                    figures = {"loss": loss, "round": float(len(self.success)), "success": self.success[-1]}
                    log.write(trainer.step, figures | {"elapsed_s": self._elapsed_s})
                    self._report(figures)
                if trainer.elapsed_s - saved_at >= config.save_every_s:
                    self._save()
                    saved_at = trainer.elapsed_s
        self._save()

    def _report(self, figures: Mapping[str, float]) -> None:
        if self.progress is not None:
            trainer = self.trainer
            step, fraction = (0, 0.0) if trainer is None else (trainer.step, trainer.fraction)
            self.progress(TrainProgress("distill", step, fraction, self._elapsed_s, figures))

    def _checkpoint(self, trainer: CloneTrainer) -> Checkpoint:
        room, config = self.classroom, self.config
        training = {
            "algorithm": "distill",
            "config": dataclasses.asdict(config),
            "seed": self.seed,
            "steps": trainer.step,
            "rounds": len(self.success),
            "success": self.success,
            "teacher": dict(room.teacher.training),
        }
        options = {name: value for name, value in room.options.items() if name != "control_mode"}
        return Checkpoint(trainer.average, room.teacher.env_id, options, room.teacher.control_mode, training)

    # ---- saving and resuming ------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        teacher = self.classroom.teacher
        weights = {"teacher": teacher, "initial": self.initial}
        return {
            "env_id": teacher.env_id,
            "env_options": self.classroom.options,
            "config": dataclasses.asdict(self.config),
            "seed": self.seed,
            "weights": {name: None if one is None else weights_sha256(one.actor) for name, one in weights.items()},
        }

    def _write_config(self, folder: Path) -> None:
        with atomic_path(folder / "config.json") as temporary:
            temporary.write_text(json.dumps({"algorithm": "distill", **self._identity()}, indent=2) + "\n")

    def _save(self) -> None:
        if self.folder is not None and self.trainer is not None:
            more = {"rounds": len(self.success), "played_s": self.played_s, "distill": self._identity()}
            self.trainer.save(self.folder / STATE_NAME, more)

    def _state(self, folder: Path) -> dict[str, Any]:
        """What the training state says beside its tensors, if it is this run's."""
        path = folder / STATE_NAME
        _, meta = load_training_state(path)
        if json.loads(json.dumps(self._identity())) != meta.get("distill"):
            raise OptionError(
                f"{path} is of another run; resume with the teacher and the settings in config.json beside it, "
                "or start without --resume"
            )
        return meta

    def _load(self) -> None:
        """Reads the rounds that the training state knows of, and the state."""
        if self.folder is None:
            raise OptionError("resume needs the run_folder of the run to go on with")
        meta = self._state(self.folder)
        for number in range(int(meta["rounds"])):
            stored = read_npz(self.folder / ROUNDS_NAME / f"{number:03d}.npz", "a round of a distillation", "start anew")
            self._learn_from(*_unpack(stored, self.classroom.shapes, self.folder))
        self.played_s = float(meta["played_s"])
        assert self.trainer is not None
        self.trainer.load(self.folder / STATE_NAME)

    def _finished(self, folder: Path) -> DistillResult:
        """What a run gave that was over before it was resumed."""
        meta = self._state(folder)
        checkpoint, path = load_checkpoint(folder), folder / CSV_NAME
        shutil.rmtree(folder / ROUNDS_NAME, ignore_errors=True)
        history = read_progress(path) if path.exists() else []
        return DistillResult(checkpoint, history, list(checkpoint.training["success"]), meta["played_s"] + meta["elapsed_s"])


def _pack(episodes: list[Episode], success: float) -> dict[str, NDArray[Any]]:
    """A round as arrays: the episodes one after the other."""
    arrays = {f"part_{name}": np.concatenate([one.parts[name] for one in episodes]) for name in episodes[0].parts}
    arrays["actions"] = np.concatenate([one.actions for one in episodes])
    return arrays | {"lengths": np.array([len(one.actions) for one in episodes]), "success": np.array(success)}


def _unpack(
    arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], folder: Path
) -> tuple[list[Episode], float]:
    try:
        lengths, actions = arrays["lengths"].astype(int), arrays["actions"].astype(np.float32)
        parts = {name: arrays[f"part_{name}"].astype(np.float32) for name in shapes}
        fits = all(part.shape == (lengths.sum() + len(lengths), *shapes[name]) for name, part in parts.items())
        if not fits or lengths.min() < 1 or len(actions) != lengths.sum():
            raise ValueError("sizes do not fit together")
        ends = np.cumsum(lengths)
        episodes = [
            Episode(
                {name: part[end - length + row : end + row + 1] for name, part in parts.items()},
                actions[end - length : end],
                np.zeros(actions.shape[1], dtype=np.float32),
            )
            for row, (length, end) in enumerate(zip(lengths, ends, strict=True))
        ]
        return episodes, float(arrays["success"])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InputFileError(f"a round in {folder / ROUNDS_NAME} is damaged ({error}); start the run anew") from error
