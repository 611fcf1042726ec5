"""How much of the physics' speed is left: environment steps against the bare engine, and against other ways to run many.

    python -m benchmarks.throughput            # about ten minutes; benchmarks/results/throughput.{json,md}
    python -m benchmarks.throughput --quick --out throughput.json

Every figure is a ratio of two loops that take turns in one run, so that a busy machine slows both. Peers that are not installed
(Gymnasium-Robotics) are named as absent, in the table too. What is compared stands in `benchmarks/throughput_loops.py`.

Turns of many environments are short and begin after a reset; the rows of whole episodes have all of it, contacts and the resets
at their ends included. The last rows say where the time goes (`benchmarks/throughput_profile.py`).
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import throughput_loops as loops
from benchmarks.result import RESULTS, Check, write_result
from benchmarks.throughput_profile import profile
from dexvid_envs.registration import REGISTRATIONS

CONTROL_STEP_S = 0.05


@dataclasses.dataclass(frozen=True)
class ThroughputConfig:
    """Settings of the benchmark.

    Attributes:
        out: result file (.json).
        blocks: turns of each pair of loops; the figure is the median of the ratios. Many short turns tell more than a few long
            ones: other work on the machine comes in bursts of seconds.
        steps: environment steps of a turn of one environment; vector environments take as many divided by N, at least 5.
        sizes: numbers of environments for the cost per step.
        episodes: whole episodes of each environment, of the time limit's length.
        quick: a small form for the tests; needs `out`.
    """

    out: Path = RESULTS / "throughput.json"
    blocks: int = 31
    steps: int = 200
    sizes: tuple[int, ...] = (64, 256, 1024)
    episodes: int = 5
    quick: bool = False


def main(config: ThroughputConfig) -> None:
    """Measures, prints and writes everything."""
    if config.quick:
        if config.out == ThroughputConfig.out:
            raise SystemExit("--quick would replace the full results: name another file with --out")
        config = dataclasses.replace(config, blocks=2, steps=20, sizes=(4, 8), episodes=1)
    rows: list[dict[str, Any]] = []
    checks: list[Check] = []

    def add(name: str, ratio: float, target: float | None, better: str, **figures: Any) -> None:
        rows.append({"what": name, "ratio": round(ratio, 3), **{key: _rounded(value) for key, value in figures.items()}})
        if target is not None:
            checks.append(Check(name, ratio, target, better))  # type: ignore[arg-type]
        print(f"{name}: {ratio:.3f}" + (f" (target {target:g})" if target is not None else ""), flush=True)

    for entry in REGISTRATIONS:
        for reward, target in (("sparse", 1.15), ("dense", 1.25)):
            pair = loops.SinglePair(entry.id, reward, holding=False)
            ratio, ours, bare = _compare(pair.env_turn, pair.bare_turn, config.blocks, config.steps)
            add(
                f"{entry.id}, one, {reward}: step / bare physics",
                ratio,
                target,
                "lower",
                us=ours * 1e6,
                reference_us=bare * 1e6,
            )
    few = {"objects": ("mug",)} if config.quick else {}  # the scripted policy plans a grasp of each
    pair = loops.SinglePair(loops.HELD_ENV_ID, "dense", holding=True, **few)
    ratio, ours, bare = _compare(pair.env_turn, pair.bare_turn, config.blocks, config.steps)
    add("holding an object, one, dense: step / bare physics", ratio, 1.25, "lower", us=ours * 1e6, reference_us=bare * 1e6)

    count = config.sizes[0]
    for entry in REGISTRATIONS:
        for mode, target in (("state", 0.90), ("pointcloud", 0.80)):
            many = loops.VectorPair(entry.id, count, mode)
            ratio, ours, bare = _compare(many.env_turn, many.bare_turn, config.blocks, max(config.steps // count, 5))
            figures = {"us": ours / count * 1e6, "reference_us": bare / count * 1e6}
            add(f"{entry.id}, {count}, dense, {mode}: bare batch / step", 1 / ratio, target, "higher", **figures)

    for entry in REGISTRATIONS:
        steps = 20 if config.quick else entry.max_episode_steps
        episodes = loops.EpisodePair(entry.id, count, steps)
        ours, bare = zip(*(episodes.episode() for _ in range(config.episodes)), strict=True)
        ratio = statistics.median(theirs / mine for mine, theirs in zip(ours, bare, strict=True))
        figures = {"us": statistics.median(ours) / count * 1e6, "reference_us": statistics.median(bare) / count * 1e6}
        add(f"{entry.id}, {count}, dense, state, whole episodes: bare batch / step", ratio, 0.90, "higher", **figures)

    for count in (8, 64) if not config.quick else (2,):
        # The workers of the second import torch, which takes longer than all of the small form.
        for peer in (loops.async_vector_env, loops.subproc_vec_env)[: 1 if config.quick else 2]:
            with loops.vector_env(loops.HELD_ENV_ID, count) as ours_turn, peer(loops.HELD_ENV_ID, count) as peer_turn:
                steps = max(config.steps // count, 5)
                ratio, _, ours = _compare(peer_turn, ours_turn, config.blocks, steps)
            add(f"{count} environments: {peer.__name__} / native", ratio, 1.4, "higher", us=ours / count * 1e6)

    absent = _adroit(config, add)
    rows += [{"what": f"absent, so not compared: {' '.join(peer.split())}"} for peer in absent]  # one line of the table
    base = None
    for count in config.sizes:
        with loops.vector_env(loops.HELD_ENV_ID, count) as turn:
            cost = statistics.median(turn(max(config.steps // count, 5)) for _ in range(config.blocks)) / count
        base = base or cost
        add(f"cost of a step at {count} / at {config.sizes[0]}", cost / base, 1.2, "lower", us=cost * 1e6)
    largest = config.sizes[-1]
    memory = loops.memory_mib(loops.HELD_ENV_ID, largest)
    add(f"memory of {largest} environments, MiB", memory, 1024.0, "lower")
    for entry in REGISTRATIONS:
        steps = 20 if config.quick else entry.max_episode_steps
        for count in (1, config.sizes[0]):
            found = profile(entry.id, count, steps, config.episodes)
            shares = {f"{part} %": round(100 * share, 1) for part, share in found.items() if part != "us"}
            rows.append({"what": f"{entry.id}, {count}: where the time goes", "us": round(found["us"], 2), **shares})
            print(rows[-1], flush=True)
    settings = dataclasses.asdict(config) | {"out": config.out.name, "absent": absent}
    write_result(config.out, "throughput", settings, _same_columns(rows), checks)


def _compare(
    turn: Callable[[int], float], reference: Callable[[int], float], blocks: int, steps: int
) -> tuple[float, float, float]:
    """Median ratio of the seconds a step takes, with the medians of both, from turns taken alternately."""
    turn(max(steps // 10, 1))
    reference(max(steps // 10, 1))
    pairs = [(turn(steps), reference(steps)) for _ in range(blocks)]
    ours, theirs = zip(*pairs, strict=True)
    ratio = statistics.median(mine / other for mine, other in pairs)
    return ratio, statistics.median(ours), statistics.median(theirs)


def _adroit(config: ThroughputConfig, add: Callable[..., None]) -> list[str]:
    """Simulated seconds a second, against Gymnasium-Robotics' AdroitHandRelocate in AsyncVectorEnv; names of absent peers."""
    try:
        with loops.adroit(8) as (adroit_turn, adroit_step_s):
            for holding, target in ((False, 8.0), (True, 4.0)):
                with loops.vector_env(loops.HELD_ENV_ID, 64, holding=holding) as turn:
                    steps = max(config.steps // 8, 5)
                    ratio, theirs, ours = _compare(adroit_turn, turn, config.blocks, steps)
                    real_time = ratio * (64 * CONTROL_STEP_S) / (8 * adroit_step_s)
                    name = f"simulated s / s, {'holding an object' if holding else 'random actions'}: ours / Adroit relocate"
                    ours_rate, theirs_rate = 64 * CONTROL_STEP_S / ours, 8 * adroit_step_s / theirs
                    add(name, real_time, target, "higher", rate=ours_rate, reference_rate=theirs_rate)
    except loops.PeerAbsentError as error:
        print(f"absent: {error}", flush=True)
        return [str(error)]
    return []


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def _same_columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in names} for row in rows]


if __name__ == "__main__":
    import tyro

    main(tyro.cli(ThroughputConfig, description=__doc__))
