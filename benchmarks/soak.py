"""A million random steps over all tasks with state and points, and some with all else, without a NaN or a warning.

    python -m benchmarks.soak [--quick --out FILE.json] [--fresh]

Writes `results/soak.json`, `.md` and `.log` after every configuration; started again, it goes on where it was stopped, as long
as the sources of environments and robots are the same.

Half of the environments draw every action uniformly from [-1, 1]. The other half hold an action of -1 and +1 for half a second,
so that the arm is driven into the table, the objects and its limits.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro
from gymnasium import spaces
from numpy.typing import NDArray

from benchmarks.result import RESULTS, Check, write_result
from dexvid_envs.control import CONTROL_MODES
from dexvid_envs.files import sha256_of_files
from dexvid_envs.progress import Report, progress_bar
from dexvid_envs.registration import REGISTRATIONS
from dexvid_envs.vector_env import DexVidVectorEnv

#: What is observed, with the options of it.
OBSERVATIONS: dict[str, dict[str, Any]] = {
    "state": {"observation_mode": "state"},
    "points": {"observation_mode": "pointcloud"},
    "partial points": {"observation_mode": "pointcloud", "points": "partial"},
    "key points": {"observation_mode": "keypoints"},
    "rgbd": {"observation_mode": "rgbd"},
}
#: What steps are counted of, each with a figure and a target of its own: the million is of the first alone.
COUNTED: dict[str, tuple[str, ...]] = {
    "state and points": ("state", "points", "partial points"),
    "key points": ("key points",),
    "pictures": ("rgbd",),
}
RANDOMIZATIONS = ("none", "full")
#: Control steps between two looks at the engine's counters of warnings, which a reset sets to zero; ended episodes are looked
#: at before they are started anew.
LOOK_EVERY_STEPS = 20
HELD_STEPS = 10
MAX_GROWTH_MIB = 8.0
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One environment with its modes, and how long it is driven.

    Attributes:
        environment: id.
        control: control mode.
        observation: one of `OBSERVATIONS`.
        randomization: preset.
        num_envs: environments side by side.
        steps: of each of them.
        seed: of resets and actions.
    """

    environment: str
    control: str
    observation: str
    randomization: str
    num_envs: int
    steps: int
    seed: int

    @property
    def total_steps(self) -> int:
        """Steps of all environments together."""
        return self.num_envs * self.steps

    @property
    def cost(self) -> float:
        """How long it takes, compared to others; for the time left."""
        return self.total_steps * (25.0 if self.observation == "rgbd" else 1.0)

    def make(self, nan_folder: Path) -> DexVidVectorEnv:
        """The environments; they wait for a reset at an episode's end, so that the engine's counters can be read before."""
        env = gymnasium.make_vec(
            self.environment,
            num_envs=self.num_envs,
            autoreset_mode="DISABLED",
            control_mode=self.control,
            randomization=self.randomization,
            nan_folder=str(nan_folder),
            **OBSERVATIONS[self.observation],
        )
        assert isinstance(env, DexVidVectorEnv)
        return env

    def __str__(self) -> str:
        return f"{self.environment} {self.control} {self.observation} randomization={self.randomization}"


@dataclasses.dataclass
class Findings:
    """What one configuration showed; all counts but the first three have to be 0."""

    episodes: int = 0
    terminated: int = 0
    arena_used: float = 0.0
    not_finite: int = 0
    out_of_space: int = 0
    unstable: int = 0
    mujoco_warnings: int = 0
    errors: int = 0


@dataclasses.dataclass(frozen=True)
class SoakArguments:
    """Arguments of the benchmark."""

    out: Path | None = None
    """file for the result (.json); by default the published one"""
    quick: bool = False
    """a few hundred steps; needs --out, so that the published results stay"""
    fresh: bool = False
    """begin anew instead of going on"""


def main() -> int:
    """Soaks and writes the result; 1 where something was found."""
    arguments = tyro.cli(SoakArguments)
    if arguments.quick and arguments.out is None:
        print("error: --quick would replace the published results; add --out FILE.json", file=sys.stderr)
        return 2
    path = arguments.out or RESULTS / "soak.json"
    if arguments.fresh:
        path.unlink(missing_ok=True)
    run(path, quick_plan() if arguments.quick else full_plan())
    print(path.with_suffix(".md").read_text())
    return 0 if all(check["ok"] for check in json.loads(path.read_text())["checks"]) else 1


def full_plan() -> list[Configuration]:
    """All combinations: a million steps with state and points, and beside it 100,000 with key points, 10,000 with pictures."""
    ids, controls = [entry.id for entry in REGISTRATIONS], list(CONTROL_MODES)
    plan: list[Configuration] = []
    for counted, least in (("state and points", 1_000_000), ("key points", 100_000)):
        modes = list(itertools.product(ids, controls, COUNTED[counted], RANDOMIZATIONS))
        steps = -(-least // (32 * len(modes)))  # rounded up
        plan += [Configuration(*mode, num_envs=32, steps=steps, seed=1000 * (len(plan) + i)) for i, mode in enumerate(modes)]
    for index, (environment, randomization) in enumerate(itertools.product(ids, RANDOMIZATIONS)):
        control = controls[index % len(controls)]
        seed = 1000 * len(plan)
        plan.append(Configuration(environment, control, "rgbd", randomization, num_envs=5, steps=250, seed=seed))
    return plan


def quick_plan() -> list[Configuration]:
    """Every environment, control mode and blind observation once, a few hundred steps, without OpenGL."""
    modes = [
        ("joint_delta", "state", "none"),
        ("joint_target", "points", "full"),
        ("wrist_delta", "partial points", "full"),
        ("joint_target", "key points", "none"),
    ]
    return [
        Configuration(entry.id, *mode, num_envs=4, steps=25, seed=1000 * index)
        for index, (entry, mode) in enumerate(zip(REGISTRATIONS, modes, strict=True))
    ]


def run(path: Path, plan: Sequence[Configuration]) -> None:
    """Drives every configuration that `path` (.json) has no row of yet, and writes the result after each."""
    config = {
        "sources": environment_sources(),
        "actions": f"half uniform in [-1, 1], half -1 or +1 held for {HELD_STEPS} steps",
        "look_every_steps": LOOK_EVERY_STEPS,
        "configurations": [dataclasses.asdict(configuration) for configuration in plan],
    }
    rows = finished_rows(path, config)
    todo = plan[len(rows) :]
    log = Log(path.with_suffix(".log"), fresh=not rows)
    log.write(f"{len(rows)} of {len(plan)} configurations are done; sources {config['sources']}")
    total, done = sum(one.cost for one in todo), 0.0
    with progress_bar("soak") as report:
        for configuration in todo:
            share, portion = done / total, configuration.cost / total

            def report_part(part: float, state: str, share: float = share, portion: float = portion) -> None:
                report(share + portion * part, state)

            row = soak(configuration, path.with_name(f"{path.stem}-states"), report_part, log)
            rows.append(row)
            done += configuration.cost
            write_result(path, "soak", config, rows, checks(rows, plan))
    log.write("all configurations are done")


def finished_rows(path: Path, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of an earlier run with the same plan and the same sources; none of another."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return list(content["rows"]) if content.get("config") == json.loads(json.dumps(config)) else []


def environment_sources() -> str:
    """Beginning of the hash of everything that environments are made from."""
    root = Path(__file__).parents[1]
    folders = (root / "dexvid_envs", root / "robots")
    return sha256_of_files(sorted(path for folder in folders for path in folder.rglob("*.py")))[:12]


def soak(configuration: Configuration, nan_folder: Path, report: Report, log: Log) -> dict[str, Any]:
    """Drives one configuration; Python's warnings count as errors, and an error ends it."""
    findings, steps, begin = Findings(), 0, 0.0
    memory = [rss_mib()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            env = configuration.make(nan_folder)
            begin = time.monotonic()
            warm = min(configuration.steps // 4, 200)
            for steps in _drive(env, configuration, findings, log):
                if steps == warm:
                    memory = [rss_mib()]
                if steps % LOOK_EVERY_STEPS == 0:
                    report(steps / configuration.steps, str(configuration))
            memory.append(rss_mib())
            env.close()
        except Exception as error:  # whatever it is, the other configurations are to be driven too
            findings.errors += 1
            log.write(f"{configuration}, step {steps}: {type(error).__name__}: {error}")
    elapsed = time.monotonic() - begin
    row = {
        "environment": configuration.environment,
        "control": configuration.control,
        "observation": configuration.observation,
        "randomization": configuration.randomization,
        "steps": steps * configuration.num_envs,
        **dataclasses.asdict(findings),
        "steps/s": round(steps * configuration.num_envs / elapsed),
        "RSS start MiB": round(memory[0], 1),
        "RSS end MiB": round(memory[-1], 1),
    }
    log.write(json.dumps(row))
    return row


def _drive(env: DexVidVectorEnv, configuration: Configuration, findings: Findings, log: Log) -> Iterator[int]:
    """Yields the number of steps taken so far; episodes that end are started anew."""
    rng = np.random.default_rng(configuration.seed)
    shape = (configuration.num_envs, *(env.single_action_space.shape or ()))
    bold = np.arange(configuration.num_envs) % 2 == 1
    actions = np.zeros(shape)
    observations, infos = env.reset(seed=configuration.seed)
    _examine(env, observations, infos, findings)
    _look_at_engine(env, np.arange(configuration.num_envs), findings)
    for step in range(1, configuration.steps + 1):
        actions[~bold] = rng.uniform(-1.0, 1.0, actions[~bold].shape)
        if step % HELD_STEPS == 1:
            actions[bold] = rng.choice([-1.0, 1.0], actions[bold].shape)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        before = dataclasses.replace(findings)
        _examine(env, observations, infos | {"the reward": rewards}, findings)
        done = terminated | truncated
        last = step == configuration.steps
        rows = np.arange(configuration.num_envs) if last or step % LOOK_EVERY_STEPS == 0 else np.flatnonzero(done)
        _look_at_engine(env, rows, findings)
        if done.any():
            findings.episodes += int(done.sum())
            findings.terminated += int(terminated.sum())
            observations, infos = env.reset(options={"reset_mask": done})
            _examine(env, observations, infos, findings)
        for field in ("not_finite", "out_of_space", "unstable", "mujoco_warnings"):
            if getattr(findings, field) > getattr(before, field):
                log.write(f"{configuration}, seed {configuration.seed}, step {step}: {field} {getattr(findings, field)}")
        yield step


def _examine(env: DexVidVectorEnv, observations: Any, infos: Mapping[str, Any], findings: Findings) -> None:
    """Counts numbers that are not finite or outside their space, and instabilities."""
    space = env.single_observation_space
    parts: Mapping[str, NDArray[Any]] = observations if isinstance(observations, dict) else {"state": observations}
    for name, values in parts.items():
        box = space[name] if isinstance(space, spaces.Dict) else space
        if isinstance(box, spaces.Box):
            findings.not_finite += int((~np.isfinite(values)).sum())
            findings.out_of_space += int(((values < box.low) | (values > box.high)).sum())
    for values in infos.values():
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            findings.not_finite += int((~np.isfinite(values)).sum())
    findings.unstable += int(np.sum(infos["unstable"]))


def _look_at_engine(env: DexVidVectorEnv, rows: NDArray[np.int64], findings: Findings) -> None:
    """Adds the engine's warnings of the rows' episodes so far, and how full its memory for contacts and constraints was."""
    for row in rows:
        _, data = env.simulation.get_data(int(row))
        findings.mujoco_warnings += sum(int(warning.number) for warning in data.warning)
        findings.arena_used = round(max(findings.arena_used, data.maxuse_arena / data.narena), 3)


def checks(rows: Sequence[Mapping[str, Any]], plan: Sequence[Configuration]) -> list[Check]:
    """Enough steps, and nothing found in them."""
    wanted = {name: sum(one.total_steps for one in plan if one.observation in kinds) for name, kinds in COUNTED.items()}
    taken = {name: sum(row["steps"] for row in rows if row["observation"] in kinds) for name, kinds in COUNTED.items()}

    def total(name: str) -> int:
        return sum(row[name] for row in rows)

    growth = max((row["RSS end MiB"] - row["RSS start MiB"] for row in rows), default=0.0)
    return [
        *(Check(f"random steps with {name}", taken[name], wanted[name], "higher") for name in COUNTED),
        Check("numbers that are not finite", total("not_finite"), 0, "lower"),
        Check("numbers outside their space", total("out_of_space"), 0, "lower"),
        Check("unstable steps", total("unstable"), 0, "lower"),
        Check("warnings of MuJoCo", total("mujoco_warnings"), 0, "lower"),
        Check("warnings and errors of Python", total("errors"), 0, "lower"),
        Check(
            "largest share of the engine's contact memory", max((row["arena_used"] for row in rows), default=0.0), 0.5, "lower"
        ),
        Check("largest growth of a configuration's memory, MiB", growth, MAX_GROWTH_MIB, "lower"),
    ]


def rss_mib() -> float:
    """Memory that the process holds now; its largest so far where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / _MIB
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB


class Log:
    """A file of dated lines that outlives the run."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)

    def write(self, text: str) -> None:
        """Appends a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}\n")


if __name__ == "__main__":
    sys.exit(main())
