"""Behaviour cloning: an actor that imitates demonstrations, by regression with an L1 loss over windows of steps.

L1 on actions as in HOP (Singh et al., "Hand-Object Interaction Pretraining from Videos"); input noise against the drift of
closed-loop rollouts, averaged weights against the swing of single checkpoints. The transformer learns from every step of its
windows, those with little history among them; the MLP, which remembers nothing, from windows of one step.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.checkpoint import Checkpoint
from baselines.clone_actor import begun_with, new_actor
from baselines.committed import CommittedActor, choice_loss
from baselines.episodes import EpisodeData, check_same_kind, hash_episodes, make_episodes
from baselines.mlp import faster_thread_count, torch_threads
from baselines.networks import Actor, module_of
from baselines.progress import ProgressCallback, RunLog, TrainProgress
from baselines.settings import CloneConfig
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
from baselines.transformer import TransformerActor
from demos.demonstration import Demonstration, common_options
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.files import atomic_path
from dexvid_envs.options import overridden

_HELD_OUT_STEPS = 8192  # enough for a held-out loss to two digits
_PIECE_STEPS = 512  # of a held-out loss, at once
_FIRST_OBSERVATIONS, _CHOICE_WEIGHT = 256, 0.1  # of a gradient step of the choice, and what its loss counts


@dataclasses.dataclass(frozen=True)
class CloneResult:
    """A cloned actor and how its training went.

    Attributes:
        checkpoint: the actor with averaged weights; save it with `checkpoint.save(folder)`.
        history: one row for each report: step, loss, held_out_loss, learning_rate, elapsed_s.
        seconds: wall time, earlier sittings included.
        steps: gradient steps done.
        transitions: training transitions, hold steps included.
        held_out_loss: last L1 loss on the held-out episodes, or None where none were held out.
    """

    checkpoint: Checkpoint
    history: list[dict[str, float]]
    seconds: float
    steps: int
    transitions: int
    held_out_loss: float | None


@dataclasses.dataclass(frozen=True)
class CloneData:
    """The training and the held-out episodes, and a hash of them all."""

    train: EpisodeData
    held_out: EpisodeData | None
    sha256: str


def train_clone(
    demonstrations: Sequence[Demonstration],
    config: CloneConfig | None = None,
    *,
    seed: int = 0,
    observation: Mapping[str, Any] | None = None,
    initial: Checkpoint | None = None,
    progress: ProgressCallback | None = None,
    run_folder: Path | None = None,
    resume: bool = False,
) -> CloneResult:
    """Clones an actor from demonstrations of one environment and control mode.

    Args:
        demonstrations: what to imitate; all of it, so leave out failures beforehand.
        config: settings.
        seed: of the initial weights, the split, the batches and the noise.
        observation: options of the environment that change what the actor sees, such as `observation_mode`; the recorded states
            are then observed again. None takes the recorded `state` observations.
        initial: actor whose weights and normalisation training begins with, such as one pretrained on other motions
            (`baselines.starting_actor`); the network's settings in `config` are its own then. None begins with random weights.
        progress: called at every report, and while states are observed again.
        run_folder: gets `config.json`, `progress.csv`, TensorBoard events, the training state and, at the end, `checkpoint/`.
        resume: goes on from the training state in `run_folder`; without a wall-time budget the result equals an unbroken run's.

    Raises:
        DexVidError: the demonstrations do not fit together, or hold values that are not finite.
        InputFileError: there is no training state to resume from, or it is another run's.
        OptionError: the initial actor sees or does something else than the demonstrations.
    """
    config, observation = config or CloneConfig(), dict(observation or {})
    check_same_kind(demonstrations)
    if "control_mode" in observation:
        raise OptionError("control_mode is the demonstrations' own; the options given may only change what the actor sees")
    data = _prepare(demonstrations, observation, config, seed, progress)
    trainer = CloneTrainer(data, config, seed, None if initial is None else initial.actor)
    state_path = None if run_folder is None else run_folder / STATE_NAME
    if resume:
        if state_path is None:
            raise OptionError("resume needs the run_folder of the run to go on with")
        trainer.load(state_path)
    if run_folder is not None:
        _write_config(run_folder, config, seed, demonstrations)
    measured = config.threads < 0 or (config.threads == 0 and config.max_seconds is not None)
    threads = faster_thread_count(trainer.probe()) if measured else max(config.threads, 1)
    with RunLog(run_folder, trainer.step if resume else None) as log, torch_threads(threads):
        _run(trainer, log, progress, state_path)
    held_out_loss = trainer.held_out_loss()
    first = demonstrations[0]
    training = {
        "algorithm": "bc",
        "config": dataclasses.asdict(config),
        "seed": seed,
        "demonstrations": len(demonstrations),
        "transitions": len(data.train),
        "data_sha256": data.sha256,
        "steps": trainer.step,
        "held_out_loss": held_out_loss,
    }
    options = overridden(common_options(demonstrations), observation)
    checkpoint = Checkpoint(trainer.average, first.env_id, options, first.control_mode, training)
    if run_folder is not None:
        checkpoint.save(run_folder / "checkpoint")
    return CloneResult(checkpoint, log.rows, trainer.elapsed_s, trainer.step, len(data.train), held_out_loss)


class CloneTrainer:
    """The network, its average and its optimiser, advanced one batch at a time; everything it depends on can be saved."""

    def __init__(self, data: CloneData, config: CloneConfig, seed: int, initial: Actor | None = None) -> None:
        self.data, self.config = data, config
        self.identity = {"config": dataclasses.asdict(config), "seed": seed, "data_sha256": data.sha256}
        if initial is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.actor = new_actor(config, data.train)
            self.actor.fit(data.train.parts, config.std_floor)
        else:
            self.actor = begun_with(initial, data.train)
            self.identity["initial_sha256"] = weights_sha256(initial)
        self.module, self.average = module_of(self.actor), copy.deepcopy(self.actor)
        module_of(self.average).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=config.peak_rate, weight_decay=config.weight_decay, fused=True
        )
        base = self.actor.base if isinstance(self.actor, CommittedActor) else self.actor
        self.window_steps = config.window_steps if isinstance(base, TransformerActor) else 1
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.elapsed_s = 0, 0.0

    @property
    def fraction(self) -> float:
        """Done part of the budget."""
        by_time = 0.0 if self.config.max_seconds is None else self.elapsed_s / self.config.max_seconds
        return min(1.0, max(self.step / self.config.max_steps, by_time))

    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine to 1 % of the peak."""
        fraction, warmup = self.fraction, self.config.warmup_fraction
        if fraction < warmup:
            return self.config.peak_rate * max(fraction / warmup, 0.01)
        cosine = 0.5 * (1.0 + math.cos(math.pi * (fraction - warmup) / max(1.0 - warmup, 1e-9)))
        return self.config.peak_rate * (0.01 + 0.99 * cosine)

    def train_batch(self) -> Tensor:
        """One gradient step; returns its L1 loss (a scalar)."""
        config = self.config
        started = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        loss = self._loss(self.actor, self.generator)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), config.gradient_clip)
        self.optimizer.step()
        self.step += 1
        decay = min(config.ema_decay, self.step / (self.step + 10))  # young averages forget faster
        with torch.no_grad():
            for mean, latest in zip(module_of(self.average).parameters(), self.module.parameters(), strict=True):
                mean.lerp_(latest, 1.0 - decay)
        self.elapsed_s += time.perf_counter() - started
        return loss.detach()

    def _loss(self, actor: Actor, generator: torch.Generator) -> Tensor:
        """Mean L1 loss over the valid steps of freshly drawn windows, seen through noise."""
        count = self.config.batch_size // self.window_steps
        parts, actions, valid = self.data.train.draw(count, self.window_steps, generator)
        parts = self._noisy(parts, actor, generator)
        starts = torch.zeros(valid.shape, dtype=torch.bool)
        starts[:, 0] = True  # nothing is known of what was before a window
        predicted, _ = actor.act(parts, starts)
        loss = (predicted - actions).abs().mean(dim=-1)[valid].mean()
        if isinstance(actor, CommittedActor) and self.data.train.any_whole:
            first = self._noisy(self.data.train.draw_first(_FIRST_OBSERVATIONS, generator), actor, generator)
            loss = loss + _CHOICE_WEIGHT * choice_loss(actor, first)
        return loss

    def _noisy(self, parts: dict[str, Tensor], actor: Actor, generator: torch.Generator) -> dict[str, Tensor]:
        """The parts of an observation seen through noise."""
        for name, deviation in actor.deviations().items():
            noise = torch.randn(parts[name].shape, generator=generator)
            parts[name] = parts[name] + self.config.input_noise * deviation * noise
        return parts

    def probe(self) -> Callable[[], object]:
        """A gradient step on copies, which leaves the run as it is."""
        actor, generator = copy.deepcopy(self.actor), torch.Generator().manual_seed(0)
        return lambda: self._loss(actor, generator).backward()

    def held_out_loss(self) -> float | None:
        """L1 loss of the averaged weights on the held-out episodes, each with the history that a rollout has."""
        if self.data.held_out is None:
            return None
        total, count, memory = 0.0, 0, None
        with torch.inference_mode():
            for parts, actions, starts in self.data.held_out.in_order(_PIECE_STEPS):
                predicted, memory = self.average.act(parts, starts, memory)
                total += float((predicted - actions).abs().mean(dim=-1).sum())
                count += actions.shape[1]
                if count >= _HELD_OUT_STEPS:
                    break
        return total / count

    def save(self, path: Path, more: Mapping[str, Any] | None = None) -> None:
        """Writes everything that the rest of the run depends on, and `more` JSON values with it."""
        tensors = module_tensors(self.module, "actor.") | module_tensors(module_of(self.average), "average.")
        tensors |= optimizer_tensors(self.optimizer) | {"generator": self.generator.get_state()}
        meta = {"identity": self.identity, "step": self.step, "elapsed_s": self.elapsed_s}
        save_training_state(path, tensors, {**meta, **(more or {})})

    def load(self, path: Path) -> None:
        """Restores what `save` wrote.

        Raises:
            OptionError: the state is of a run with another config, seed or dataset.
        """
        tensors, meta = load_training_state(path)
        check_identity(path, meta, self.identity)
        with restoring(path):
            restore_module(self.module, tensors, "actor.", path)
            restore_module(module_of(self.average), tensors, "average.", path)
            restore_optimizer(self.optimizer, tensors)
            self.generator.set_state(tensors["generator"])
            self.step, self.elapsed_s = int(meta["step"]), float(meta["elapsed_s"])


def _run(trainer: CloneTrainer, log: RunLog, progress: ProgressCallback | None, state_path: Path | None) -> None:
    """Trains to the end of the budget, with reports and regular savings of the training state."""
    config = trainer.config
    saved_at = trainer.elapsed_s
    losses: list[Tensor] = []
    while trainer.fraction < 1.0:
        learning_rate = trainer.learning_rate()
        losses.append(trainer.train_batch())
        if trainer.step % config.report_every_steps == 0 or trainer.fraction >= 1.0:
            started = time.perf_counter()
            loss, held_out = float(torch.stack(losses).mean()), trainer.held_out_loss()
            losses.clear()
            trainer.elapsed_s += time.perf_counter() - started  # before the report, which would else not be the last one
            if not math.isfinite(loss):
                raise DexVidError(f"the loss is {loss} at step {trainer.step}; lower learning_rate ({config.peak_rate})")
            figures = {"loss": loss, "learning_rate": learning_rate, "elapsed_s": trainer.elapsed_s}
            figures |= {} if held_out is None else {"held_out_loss": held_out}
            log.write(trainer.step, figures)
            if progress is not None:
                progress(TrainProgress("clone", trainer.step, trainer.fraction, trainer.elapsed_s, figures))
            if state_path is not None and (trainer.elapsed_s - saved_at >= config.save_every_s or trainer.fraction >= 1.0):
                trainer.save(state_path)
                saved_at = trainer.elapsed_s


def _prepare(
    demonstrations: Sequence[Demonstration],
    observation: Mapping[str, Any],
    config: CloneConfig,
    seed: int,
    progress: ProgressCallback | None,
) -> CloneData:
    """Splits by episode."""
    count = len(demonstrations)
    held_count = 0
    if config.held_out_fraction > 0 and count >= 2:
        held_count = min(count - 1, max(1, round(config.held_out_fraction * count)))
    order = np.random.default_rng(seed).permutation(count)
    began = time.perf_counter()

    def show(fraction: float) -> None:
        if progress is not None:
            progress(TrainProgress("observe", 0, fraction, time.perf_counter() - began, {}))

    episodes = make_episodes(demonstrations, observation, ways=config.commit, progress=show)
    train = EpisodeData([episodes[i] for i in sorted(order[held_count:])], config.hold_steps)
    held_out = EpisodeData([episodes[i] for i in sorted(order[:held_count])], hold_steps=0) if held_count else None
    return CloneData(train, held_out, hash_episodes(episodes))


def weights_sha256(actor: Actor) -> str:
    """Hash of an actor's weights and normalisation."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module_tensors(module_of(actor), "").items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write_config(run_folder: Path, config: CloneConfig, seed: int, demonstrations: Sequence[Demonstration]) -> None:
    content = {"algorithm": "bc", "seed": seed, "config": dataclasses.asdict(config), "env_id": demonstrations[0].env_id}
    with atomic_path(run_folder / "config.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
