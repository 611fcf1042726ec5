"""Multiplication: a successful demonstration carried to new starts, goals, sizes and masses, each copy verified in physics.

Draws visit every cell of what the task draws in turn. The palm's path is moved with the object (`demos.multiplication.copies`),
the arm solved anew, and each copy is played; only those that end in the task's success are kept. What became of the plays so
far says where to aim and how to grip the next ones, and a copy that failed is tried again with what has been learnt since.
Of several demonstrations with one object, taken from different sides, each copy follows the one that promises most.
Noise on the servo targets shows the learner how to come back: since the targets are part of the observation, the actions that
follow a disturbed target lead back. What is to be learnt from them is free of the noise (`intended_actions`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration, demonstrations_from_batch
from demos.multiplication.experience import Play
from demos.multiplication.follower import Follower, Noise, PlannedRows
from demos.multiplication.play import CopyPlayer, Played, Scene
from demos.multiplication.report import MultiplyReport
from demos.multiplication.source import SourceMotion, read_source
from demos.multiplication.starts import CELL_M, task_starts
from demos.provenance import model_hash, to_json, versions
from dexvid_envs.errors import DexVidError, InputFileError
from dexvid_envs.files import atomic_path

__all__ = ["CELL_M", "JOURNAL_NAME", "MultiplyConfig", "MultiplyReport", "multiply"]

FloatArray = NDArray[np.float64]
#: File of the plays so far, in the folder where a dataset's finished episodes wait.
JOURNAL_NAME = "plays.jsonl"
_TURN_COST = 0.15  # what a radian further counts in success that is expected


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
    demonstrations: Demonstration | Sequence[Demonstration],
    config: MultiplyConfig | None = None,
    *,
    first_index: int = 0,
    report: MultiplyReport | None = None,
    progress: Callable[[int, MultiplyReport], None] | None = None,
    journal: Path | None = None,
) -> Iterator[Demonstration]:
    """Yields successful copies until `count` are made; failures are never kept.

    Args:
        demonstrations: one, successful, of any of the four tasks; or several of the same environment with the same object.
        config: settings.
        first_index: copies made in an earlier sitting, which are not yielded again.
        report: filled while it runs.
        progress: called after each batch with the number made and the report.
        journal: file of the plays, written while it runs. With the one of an earlier sitting, of the same demonstration and
            settings, only batches that were not finished are played again; without it, all are.

    Raises:
        DexVidError: the demonstrations do not fit together, or too few copies succeed within the allowed attempts.
    """
    config, report = config or MultiplyConfig(), report or MultiplyReport()
    sources = [demonstrations] if isinstance(demonstrations, Demonstration) else list(demonstrations)
    run = _Run(sources, config, report)
    made, kept = 0, _Journal(journal, sources, config) if journal else None
    if kept and first_index:
        for plays in kept.resume(first_index):
            run.take(plays, config.count - made)
            made += sum(play.success for play in plays)
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
        run.take(plays, config.count - made)
        made = min(made + sum(play.success for play in plays), config.count)
        if kept:
            kept.add(plays)
        if progress:
            progress(made, report)


class _Journal:
    """The plays of finished batches in a file, a line each, under a line that says what they belong to."""

    def __init__(self, path: Path, demonstrations: Sequence[Demonstration], config: MultiplyConfig) -> None:
        settings = to_json(config) | {"count": 0}  # more copies go on as fewer would have
        actions = hashlib.sha256()
        for one in demonstrations:
            actions.update(np.ascontiguousarray(one.actions).tobytes())
        self.path, self._head = path, {"actions_sha256": actions.hexdigest(), "multiply": settings}

    def resume(self, copies: int) -> Iterator[list[Play]]:
        """The batches of an earlier sitting whose successes are all among its first `copies` that were kept.

        The last one may have had more than were wanted then; it is dropped, as is a line that a kill has torn.

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
        made = np.cumsum([sum(bool(play.success) for play in batch) for batch in plays])
        finished = int((made <= copies).sum())
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in whole[: 1 + finished]), encoding="utf-8")
        yield from plays[:finished]

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

    def __init__(self, demonstrations: Sequence[Demonstration], config: MultiplyConfig, report: MultiplyReport) -> None:
        sources = [read_source(one) for one in demonstrations]
        _expect_alike(sources)
        first = demonstrations[0]
        self.env_options = dict(first.env_options) | dict(config.env_options)
        self.env_options |= _varied(self.env_options, config)
        self.player = CopyPlayer(first.env_id, self.env_options, first.control_mode, config.batch)
        self.starts, control = task_starts(self.player.task), self.player.core.control
        self.object_options = sources[0].object_options
        noise, most_steps = Noise(config.noise_rad, config.noise_free_fraction), self.player.time_limit or 0
        self.followers = [
            Follower(dataclasses.replace(source, starts=self.starts), control, most_steps, noise) for source in sources
        ]
        self.config, self.report = config, report
        self.facts = {
            "multiply": to_json(config),
            "model_sha256": model_hash(self.player.core.simulation.model),
            "versions": versions(),
        }
        self.draws = 0
        self.again: list[tuple[int, int]] = []  # draws that failed, and how often
        report.begin(self.starts)

    def next_batch(self) -> tuple[list[Play], Callable[[int, int], Iterator[Demonstration]]]:
        """Plays a batch; returns the plays, and a function that gives their successful copies from one to another."""
        config, starts = self.config, self.starts
        tries = self.again[: config.batch]
        tries += [(self.draws + index, 0) for index in range(config.batch - len(tries))]
        drawn = [starts.drawn([config.seed], draw, 1) for draw, _ in tries]
        values = [np.concatenate(parts) for parts in zip(*drawn, strict=True)]
        seeds = [int(np.random.default_rng([config.seed, draw, 8]).integers(2**31)) for draw, _ in tries]
        options = [one | self.object_options for one in starts.reset_options(values)]
        followed, side, scene = self._taken_from(self.player.reset(options, seeds, starts.memory_goal), values)
        planned = {
            number: self._planned(number, np.flatnonzero(followed == number), scene, values, tries)
            for number in np.unique(followed).tolist()
        }
        steps = max(part.servo_targets.shape[1] for part in planned.values())
        planned = {number: part.lengthened(steps) for number, part in planned.items()}
        order = np.argsort(np.concatenate([part.rows for part in planned.values()]))
        targets, noise, source_step, reached = (
            np.concatenate([getattr(part, name) for part in planned.values()])[order]
            for name in ("servo_targets", "noise", "source_step", "reached")
        )
        played = self.player.play(targets, np.flatnonzero(reached), noise)
        mend_reach = starts.goal_kind == "place"
        by_source = [
            play
            for number, part in planned.items()
            for play in self.followers[number].plays(number, part, played, tries, mend_reach)
        ]
        plays = [dataclasses.replace(by_source[index], side=int(side[row])) for row, index in enumerate(order)]
        accepted = np.flatnonzero(played.success)

        def copies(begin: int, end: int) -> Iterator[Demonstration]:
            yield from self._demonstrations(played, source_step, accepted[begin:end], plays, seeds)

        return plays, copies

    def _planned(
        self, number: int, rows: NDArray[np.int64], scene: Scene, values: list[FloatArray], tries: list[tuple[int, int]]
    ) -> PlannedRows:
        """The rows that follow one of the demonstrations."""
        seed = self.config.seed
        return self.followers[number].plan(
            rows,
            scene.rows(rows),
            [value[rows] for value in values],
            np.array([tries[row][1] for row in rows]),
            np.random.default_rng([seed, *tries[0], 9 + number]),
            [np.random.default_rng([seed, *tries[row], 7]) for row in rows],
        )

    def _taken_from(self, scene: Scene, values: list[FloatArray]) -> tuple[NDArray[np.int64], NDArray[np.int64], Scene]:
        """Which demonstration each row follows, from which side, and the scene with its objects turned to that side.

        It is the side for which plays so far speak; the less the hand has to turn, the less they need to. Sides of all
        demonstrations are counted through.
        """
        ways = [(number, way) for number, one in enumerate(self.followers) for way in one.ways(scene)]
        if len(ways) == 1:
            return *np.zeros((2, len(scene.mass_kg)), dtype=np.int64), ways[0][1]
        turn = np.abs([self.followers[number].turn_rad(way) for number, way in ways])  # (W, N)
        promise = np.stack([self.followers[number].promise(way, values) for number, way in ways]) - _TURN_COST * turn
        chosen = promise.argmax(axis=0)
        pose = np.stack([way.T_world_object for _, way in ways])[chosen, np.arange(len(chosen))]
        return np.array([number for number, _ in ways])[chosen], chosen, dataclasses.replace(scene, T_world_object=pose)

    def take(self, plays: list[Play], wanted: int) -> None:
        """Learns from a batch and counts it; of its successes the first `wanted` are kept."""
        retries = self.config.retries
        for number, follower in enumerate(self.followers):
            follower.experience.add([play for play in plays if play.source == number])
        self.report.take(self.starts, self.config.seed, plays, retries, wanted)
        self.draws = self.report.draws
        played = {play.draw for play in plays}
        failed = [(play.draw, play.attempt + 1) for play in plays if play.mendable and not play.success]
        self.again = [one for one in self.again if one[0] not in played] + [one for one in failed if one[1] <= retries]

    def _demonstrations(
        self, played: Played, source_step: FloatArray, rows: NDArray[np.int64], plays: list[Play], seeds: list[int]
    ) -> list[Demonstration]:
        sources = [self.followers[plays[row].source].source for row in rows]
        frames = np.zeros((source_step.shape[1] + 1, len(plays)), dtype=np.int64)
        for row, source in zip(rows, sources, strict=True):
            ahead = np.minimum(np.floor(source_step[row]).astype(np.int64) + 1, source.num_steps)  # (T',)
            frames[:, row] = source.source_frame[np.concatenate([[0], ahead])]
        demonstration = sources[0].demonstration if sources else self.followers[0].source.demonstration
        return demonstrations_from_batch(
            played.batch,
            rows.tolist(),
            [source_step.shape[1]] * len(rows),
            env_id=demonstration.env_id,
            env_options=self.env_options,
            control_mode=demonstration.control_mode,
            tier="successful",
            source_frame=frames,
            provenance=[
                {"parent": dict(source.demonstration.provenance)}
                | self.facts
                | {
                    "copy": {
                        "draw": plays[row].draw,
                        "attempt": plays[row].attempt,
                        "side": plays[row].side,
                        "seed": seeds[row],
                        "aim_m": plays[row].aim,
                        "correction": plays[row].correction,
                    }
                }
                for row, source in zip(rows, sources, strict=True)
            ],
        )


def _expect_alike(sources: Sequence[SourceMotion]) -> None:
    """Refuses demonstrations that no single set of copies can come from."""
    if not sources:
        raise DexVidError("there is no demonstration to multiply: give at least one")
    kinds = [
        (one.demonstration.env_id, one.demonstration.control_mode, to_json(one.demonstration.env_options), one.object_options)
        for one in sources
    ]
    for kind in kinds[1:]:
        if kind != kinds[0]:
            raise DexVidError(
                "the demonstrations to multiply together are not of one environment, control mode and object: "
                f"{kinds[0]} and {kind}; multiply them one by one"
            )


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
