"""Multiplication: one successful demonstration carried to new starts, goals, sizes and masses, each copy verified in physics.

Draws visit every cell of what the task draws in turn. The palm's path is moved with the object (`demos.multiplication.copies`),
the arm solved anew, and each copy is played; only those that end in the task's success are kept. What became of the plays so
far says where to aim and how to grip the next ones, and a copy that failed is tried again with what has been learnt since.
Noise on the servo targets shows the learner how to come back: since the targets are part of the observation, the actions that
follow a disturbed target lead back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration
from demos.multiplication.copies import plan_copies, start_transforms
from demos.multiplication.experience import Experience, Play, scene_features
from demos.multiplication.pace import Paced, paced
from demos.multiplication.play import CopyPlayer, Played, Scene
from demos.multiplication.report import MultiplyReport
from demos.multiplication.source import SourceMotion, landing, read_source
from demos.multiplication.starts import CELL_M, task_starts
from demos.multiplication.symmetry import turned_alike
from demos.provenance import model_hash, to_json, versions
from demos.replay import demonstrations_from_batch
from dexvid_envs.errors import DexVidError, InputFileError
from dexvid_envs.files import atomic_path
from robots.arm_hand import ARM_HAND

__all__ = ["CELL_M", "JOURNAL_NAME", "MultiplyConfig", "MultiplyReport", "multiply"]

FloatArray = NDArray[np.float64]
#: File of the plays so far, in the folder where a dataset's finished episodes wait.
JOURNAL_NAME = "plays.jsonl"
_UNREACHED_M = 0.03  # a plan whose palm stays this far from its path is not played; a radian counts as 0.15 m
_STANDING_COSINE = 0.98
_SIDEWAYS_COSINE = 0.8
_NOISE_SHARES = np.where(np.arange(ARM_HAND.num_joints) < ARM_HAND.arm_joints, 0.25, 1.0)


@dataclasses.dataclass(frozen=True)
class MultiplyConfig:
    """Settings of the multiplication.

    Attributes:
        count: successful demonstrations wanted.
        seed: of starts, goals, noise and the environments.
        batch: simulations at once.
        noise_rad: standard deviation of the white noise on the finger targets; the arm's is a quarter of it.
        noise_free_fraction: share of copies without noise.
        max_attempts_factor: gives up after this many times `count` attempts.
        retries: a failed copy is tried again up to so many times.
        size, mass, friction: ranges of factors on what is handled, as the environments' `randomization` takes them; None leaves
            it as the demonstration's environment has it.
        env_options: of the copies' environment where they differ from the demonstration's, such as a wider box of starts.
    """

    count: int = 1200
    seed: int = 0
    batch: int = 64
    noise_rad: float = 0.02
    noise_free_fraction: float = 0.1
    max_attempts_factor: float = 8.0
    retries: int = 2
    size: tuple[float, float] | None = None
    mass: tuple[float, float] | None = None
    friction: tuple[float, float] | None = None
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def multiply(
    demonstration: Demonstration,
    config: MultiplyConfig | None = None,
    *,
    first_index: int = 0,
    report: MultiplyReport | None = None,
    progress: Callable[[int, MultiplyReport], None] | None = None,
    journal: Path | None = None,
) -> Iterator[Demonstration]:
    """Yields successful copies until `count` are made; failures are never kept.

    Args:
        demonstration: successful, of any of the four tasks.
        config: settings.
        first_index: copies made in an earlier sitting, which are not yielded again.
        report: filled while it runs.
        progress: called after each batch with the number made and the report.
        journal: file of the plays, written while it runs. With the one of an earlier sitting, of the same demonstration and
            settings, only batches that were not finished are played again; without it, all are.

    Raises:
        DexVidError: too few copies succeed within the allowed attempts.
    """
    config, report = config or MultiplyConfig(), report or MultiplyReport()
    run = _Run(read_source(demonstration), config, report)
    made, kept = 0, _Journal(journal, demonstration, config) if journal else None
    if kept and first_index:
        for plays in kept.resume():
            made += sum(play.success for play in plays)
            run.take(plays)
    elif kept:
        kept.begin()
    while made < config.count:
        if report.attempts > config.max_attempts_factor * config.count:
            raise DexVidError(
                f"only {report.accepted} of {report.attempts} copies succeeded, expected {config.count}; "
                "refine the demonstration further or lower noise_rad"
            )
        plays, copies = run.next_batch()
        yield from copies(max(first_index - made, 0), config.count - made)
        made = min(made + sum(play.success for play in plays), config.count)
        run.take(plays)
        if kept:
            kept.add(plays)
        if progress:
            progress(made, report)


class _Journal:
    """The plays of finished batches in a file, a line each, under a line that says what they belong to."""

    def __init__(self, path: Path, demonstration: Demonstration, config: MultiplyConfig) -> None:
        settings = to_json(config) | {"count": 0}  # more copies go on as fewer would have
        actions = hashlib.sha256(np.ascontiguousarray(demonstration.actions).tobytes()).hexdigest()
        self.path, self._head = path, {"actions_sha256": actions, "multiply": settings}

    def resume(self) -> Iterator[list[Play]]:
        """The batches of an earlier sitting; a line that a kill has torn is dropped.

        Raises:
            InputFileError: the file belongs to another multiplication.
        """
        if not self.path.is_file():
            self.begin()
            return
        try:
            whole = self.path.read_text(encoding="utf-8").split("\n")[:-1]
            head, *batches = [json.loads(line) for line in whole]
            plays = [[Play(**play) for play in batch] for batch in batches]
        except (ValueError, TypeError, RecursionError) as error:
            raise InputFileError(f"{self.path} is damaged ({error}): start anew, without --resume") from error
        if head != self._head:
            raise InputFileError(
                f"{self.path} was written with another demonstration or other settings, expected those of the run to resume: "
                "give the same again, or start anew without --resume"
            )
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
        yield from plays

    def begin(self) -> None:
        """A new file."""
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(self._head) + "\n", encoding="utf-8")

    def add(self, plays: list[Play]) -> None:
        """Appends a batch."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([dataclasses.asdict(play) for play in plays]) + "\n")


class _Run:
    """The state of a multiplication between batches: all of it follows from the plays so far."""

    def __init__(self, source: SourceMotion, config: MultiplyConfig, report: MultiplyReport) -> None:
        demonstration = source.demonstration
        self.env_options = dict(demonstration.env_options) | dict(config.env_options)
        self.env_options |= _varied(self.env_options, config)
        self.player = CopyPlayer(demonstration.env_id, self.env_options, demonstration.control_mode, config.batch)
        source = dataclasses.replace(source, starts=task_starts(self.player.task))
        self.source, self.config, self.report = source, config, report
        self.facts = {
            "parent": dict(demonstration.provenance),
            "multiply": to_json(config),
            "model_sha256": model_hash(self.player.core.simulation.model),
            "versions": versions(),
        }
        self.most_steps = _time_limit(demonstration.env_id)
        self.experience = Experience(source.starts)
        self.draws = 0
        self.again: list[tuple[int, int]] = []  # draws that failed, and how often
        report.begin(source.starts)

    def next_batch(self) -> tuple[list[Play], Callable[[int, int], Iterator[Demonstration]]]:
        """Plays a batch; returns the plays, and a function that gives their successful copies from one to another."""
        config, source = self.config, self.source
        tries = self.again[: config.batch]
        tries += [(self.draws + index, 0) for index in range(config.batch - len(tries))]
        drawn = [source.starts.drawn([config.seed], draw, 1) for draw, _ in tries]
        values = [np.concatenate(parts) for parts in zip(*drawn, strict=True)]
        rngs = [np.random.default_rng([config.seed, draw, attempt, 7]) for draw, attempt in tries]
        seeds = [int(np.random.default_rng([config.seed, draw, 8]).integers(2**31)) for draw, _ in tries]
        options = [one | source.object_options for one in source.starts.reset_options(values)]
        attempts = np.array([attempt for _, attempt in tries])
        scene = self._taken_from(self.player.reset(options, seeds, source.starts.memory_goal), values)
        features = scene_features(source, scene, values)
        aim = self.experience.aims(features)
        correction = self.experience.corrections(features, attempts, np.random.default_rng([config.seed, *tries[0], 9]))
        plan = plan_copies(source, scene, aim, correction)
        control = self.player.core.control
        own = paced(plan.servo_targets, control.robot.arm_joints, control.target_step_rad, source.paced_steps, self.most_steps)
        noise = np.stack([_noise(rng, steps, source, config) for rng, steps in zip(rngs, own.source_step, strict=True)])
        reached = plan.reach_error_m <= _UNREACHED_M
        played = self.player.play(own.servo_targets + noise, np.flatnonzero(reached))
        miss = _missed(source, scene, played)
        standing = _standing(source, played)
        plays = [
            Play(
                draw=draw,
                attempt=attempt,
                features=features[row].tolist(),
                aim=aim[row].tolist(),
                correction=correction[row].tolist(),
                miss=miss[row].tolist(),
                standing=bool(standing[row]),
                success=bool(played.success[row]),
                reached=bool(reached[row]),
                mendable=bool(reached[row]) or source.starts.goal_kind == "place",
            )
            for row, (draw, attempt) in enumerate(tries)
        ]
        rows = np.flatnonzero(played.success)

        def copies(begin: int, end: int) -> Iterator[Demonstration]:
            yield from self._demonstrations(played, own, rows[begin:end], plays, seeds)

        return plays, copies

    def _taken_from(self, scene: Scene, values: list[FloatArray]) -> Scene:
        """The scene with its objects turned as far as they look the same, so that the hand need not turn as far.

        Where half a turn leaves both ways far, the one is taken that plays so far speak for.
        """
        source = self.source
        pose, like = scene.T_world_object, source.scene.T_world_object[0, :3, :3]
        sides = []
        for farther in (False, True):
            turned = pose.copy()
            turned[:, :3, :3] = turned_alike(source.symmetry, pose[:, :3, :3], like, np.full(len(pose), farther))
            sides.append(dataclasses.replace(scene, T_world_object=turned))
        if source.symmetry != "half turn" or source.starts.yaw is None:
            return sides[0]
        which = np.arange(len(source.starts.start.low) + 1)  # place and turn
        nearer, farther = (self.experience.promise(scene_features(source, side, values), which) for side in sides)
        cosine = np.einsum("nij,ij->n", pose[:, :3, :2], like[:, :2]) / 2
        other = (np.abs(cosine) < _SIDEWAYS_COSINE) & (farther > nearer)
        chosen = np.where(other[:, None, None], sides[1].T_world_object, sides[0].T_world_object)
        return dataclasses.replace(scene, T_world_object=chosen)

    def take(self, plays: list[Play]) -> None:
        """Learns from a batch and counts it."""
        retries = self.config.retries
        self.experience.add(plays)
        self.report.take(self.source.starts, self.config.seed, plays, retries)
        self.draws = self.report.draws
        played = {play.draw for play in plays}
        failed = [(play.draw, play.attempt + 1) for play in plays if play.mendable and not play.success]
        self.again = [one for one in self.again if one[0] not in played] + [one for one in failed if one[1] <= retries]

    def _demonstrations(
        self, played: Played, own: Paced, rows: NDArray[np.int64], plays: list[Play], seeds: list[int]
    ) -> list[Demonstration]:
        demonstration = self.source.demonstration
        ahead = np.minimum(np.floor(own.source_step.T).astype(np.int64) + 1, self.source.num_steps)  # (T', N)
        frames = self.source.source_frame[np.concatenate([np.zeros_like(ahead[:1]), ahead])]
        return demonstrations_from_batch(
            played.batch,
            rows.tolist(),
            [own.servo_targets.shape[1]] * len(rows),
            env_id=demonstration.env_id,
            env_options=self.env_options,
            control_mode=demonstration.control_mode,
            tier="successful",
            source_frame=frames,
            provenance=[
                self.facts
                | {
                    "copy": {
                        "draw": plays[row].draw,
                        "attempt": plays[row].attempt,
                        "seed": seeds[row],
                        "aim_m": plays[row].aim,
                        "correction": plays[row].correction,
                    }
                }
                for row in rows
            ],
        )


def _time_limit(env_id: str) -> int:
    """Control steps of the environment's episodes."""
    return int(gymnasium.spec(env_id).max_episode_steps or 0)


def _varied(env_options: Mapping[str, Any], config: MultiplyConfig) -> dict[str, Any]:
    """Environment options for what the copies' objects differ in."""
    ranges = {name: getattr(config, name) for name in ("size", "mass", "friction")}
    given = {name: list(pair) for name, pair in ranges.items() if pair is not None}
    if not given:
        return {}
    before = env_options.get("randomization") or {}
    if not isinstance(before, Mapping):
        raise DexVidError(
            f"the demonstration's environment has the randomization {before!r}, which size, mass and friction cannot be joined "
            "to; leave them out, or refine the demonstration without randomization"
        )
    return {"randomization": dict(before) | given}


def _noise(rng: np.random.Generator, source_step: FloatArray, source: SourceMotion, config: MultiplyConfig) -> FloatArray:
    """(T', 23) rad on the servo targets of one copy, whose place on the source's time line `source_step` (T',) says; none from
    the release on, after which nothing can be mended.
    """
    noise = config.noise_rad * _NOISE_SHARES * rng.standard_normal((len(source_step), ARM_HAND.num_joints))
    noise[source_step >= source.quiet] = 0.0
    return np.zeros_like(noise) if rng.random() < config.noise_free_fraction else noise


def _missed(source: SourceMotion, scene: Scene, played: Played) -> FloatArray:
    """(N, 3) m from where the moved body should end, or come down, to where it did."""
    if source.starts.goal_kind == "bearing" and played.batch:
        return (landing(played.batch["object_pos_world"]) - scene.goal) * np.array([1.0, 1.0, 0.0])
    return played.end_pose[:, :3, 3] - _wanted_end(source, scene)


def _wanted_end(source: SourceMotion, scene: Scene) -> FloatArray:
    """(N, 3) m where the moved body should end."""
    if source.starts.goal_kind == "start":
        pose = start_transforms(source, scene)
        return pose[:, :3, :3] @ source.end + pose[:, :3, 3]
    wanted = np.tile(source.end, (len(scene.goal), 1))
    axes = 2 if source.starts.goal_kind == "bearing" else scene.goal.shape[1]
    wanted[:, :axes] = scene.goal[:, :axes]
    if source.starts.on_table:
        wanted[:, 2] = scene.T_world_object[:, 2, 3]
    return wanted


def _standing(source: SourceMotion, played: Played) -> NDArray[np.bool_]:
    """(N,) whether the object ended as upright as it began, where it is set down."""
    if not source.starts.on_table:
        return np.ones(len(played.end_pose), dtype=bool)
    return played.end_pose[:, 2, 2] > _STANDING_COSINE
