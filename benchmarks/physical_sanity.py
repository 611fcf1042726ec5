"""Is the physics fit for grasping? Scripted grasps hold every object still in the air, and succeed alike under finer physics.

    python -m benchmarks.physical_sanity

In a hold the servos' targets are frozen once the object is in the air; after a second of settling, the object is watched for
ten seconds. What is held only while it moves, a thrown object and a drawer, is watched for whole scripted episodes. Half the
time step, or twice the solver's iterations, must not change what a scripted policy achieves. Penetration is looked at after
every control step.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray

import dexvid_envs  # noqa: F401 (registers)
from benchmarks.result import RESULTS, Check, write_result
from dexvid_envs.core import EnvironmentCore
from dexvid_envs.options import parse_options
from dexvid_envs.registration import REGISTRATIONS
from dexvid_envs.scripted import SCRIPTED_POLICIES, make_scripted_policy
from dexvid_envs.simulation import BatchSimulation
from dexvid_envs.tasks.lift_throw import LiftThrowConfig
from robots.collision import ROBOT
from robots.everyday import EVERYDAY_OBJECTS
from robots.objects import BOTTLES

FloatArray = NDArray[np.float64]
_MOST_STEPS_TO_THE_AIR = 110  # control steps until a scripted policy holds its object at the goal
_STEPS_PER_S = 20

#: What the physics is measured against: in 10 s, and between two resolutions.
SLIP_MM, TURN_DEG, SPEED_MM_PER_S, PENETRATION_MM, SUCCESS_POINTS = 2.0, 1.0, 5.0, 3.0, 3.0
#: Phases of the scripted policies in which what they carry is held; in the others it is taken or let go.
HELD_PHASES: dict[str, tuple[str, ...]] = {
    "DexVid-LiftThrow-v0": ("lift", "wind_up", "swing"),
    "DexVid-OpenCabinet-v0": ("pull",),
}


@dataclasses.dataclass(frozen=True)
class PhysicalSanityArguments:
    """Arguments of the benchmark."""

    out: Path = RESULTS / "physical_sanity.json"
    """result file"""
    seeds: int = 3
    """starts and goals tried for every object that is held"""
    carry_seeds: int = 20
    """the same for every object that is thrown, and for the drawer; one start in twenty goes deeper than most"""
    hold_s: float = 10.0
    """how long each object is watched"""
    settle_s: float = 1.0
    """how long the grasp settles before"""
    episodes: int = 240
    """episodes of each task and resolution"""
    quick: bool = False
    """a small run, whose figures say little; written to runs/, never to the published results"""


@dataclasses.dataclass(frozen=True)
class Hold:
    """How one object was held.

    Attributes:
        slip_mm: largest distance of the object, in the palm's frame, from where it was after settling.
        turn_deg: the same for its orientation.
        speed_mm_per_s: root mean square of the object's speed.
        penetration_mm: deepest contact of the hand and the object while it is held.
        moving_penetration_mm: the same before, while the hand closes and carries.
        step_us: time of one physics step while holding.
        held: the object was in the air to the end.
    """

    slip_mm: float
    turn_deg: float
    speed_mm_per_s: float
    penetration_mm: float
    moving_penetration_mm: float
    step_us: float
    held: bool


def hold(env_id: str, options: Mapping[str, Any], seed: int, hold_s: float = 10.0, settle_s: float = 1.0) -> Hold:
    """Lifts an object with the scripted policy, freezes all targets, and watches it."""
    env: Any = gymnasium.make(env_id, **options).unwrapped
    env.reset(seed=seed)
    policy = make_scripted_policy(env)
    policy.reset()
    body, palm, simulation = policy.task.object_body_id, policy.palm_body_id, env.simulation
    before, deepest = 0.0, 0.0
    for _ in range(_MOST_STEPS_TO_THE_AIR):
        actions = policy.act()
        if policy.phase_name(0) == "lower":  # it would set the bottle down now
            break
        env.step(actions[0])
        before = max(before, penetration(env.model, env.data, body))
    still = np.zeros(env.action_space.shape, dtype=np.float32)
    for _ in range(round(settle_s * _STEPS_PER_S)):
        env.step(still)
    position, rotation = _in_palm(simulation, palm, body)
    slip, turn, speeds = 0.0, 0.0, []
    for _ in range(round(hold_s * _STEPS_PER_S)):
        env.step(still)
        moved, turned = _in_palm(simulation, palm, body)
        slip = max(slip, float(np.linalg.norm(moved - position)))
        cosine = (np.trace(rotation.T @ turned) - 1) / 2
        turn = max(turn, float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
        speeds.append(np.linalg.norm(policy.task.object_vel_world[0]))
        deepest = max(deepest, penetration(env.model, env.data, body))
    held = float(policy.task.object_pos_world[0, 2] - policy.task.memory["object_size"][0, 2] / 2) > 0.02
    speed = float(np.sqrt(np.mean(np.square(speeds))))
    return Hold(1e3 * slip, turn, 1e3 * speed, 1e3 * deepest, 1e3 * before, step_time_us(env.model, env.data), held)


@dataclasses.dataclass(frozen=True)
class Carry:
    """How something was carried through one scripted episode.

    Attributes:
        penetration_mm: deepest contact of the hand and the body while it is held.
        moving_penetration_mm: the same in the other phases, while the hand takes it or lets it go.
        held: the hand touched it in the phases in which it is held.
        success: at the end of the episode.
    """

    penetration_mm: float
    moving_penetration_mm: float
    held: bool
    success: bool


def carry(env_id: str, options: Mapping[str, Any], seed: int) -> Carry:
    """Plays a scripted episode of a task of `HELD_PHASES`, and looks at how deep hand and body are in each other."""
    env: Any = gymnasium.make(env_id, **options)
    _, info = env.reset(seed=seed)
    inner = env.unwrapped
    policy = make_scripted_policy(inner)
    policy.reset()
    body = inner.model.body(inner.task.moved_body).id
    deepest, other, ended = 0.0, 0.0, False
    while not ended:
        actions, held = policy.act(), policy.phase_name(0) in HELD_PHASES[env_id]
        _, _, terminated, truncated, info = env.step(actions[0])
        ended = terminated or truncated
        depth = penetration(inner.model, inner.data, body)
        deepest, other = (max(deepest, depth), other) if held else (deepest, max(other, depth))
    return Carry(1e3 * deepest, 1e3 * other, deepest > 0, bool(info["success"]))


def penetration(model: mujoco.MjModel, data: mujoco.MjData, body_id: int) -> float:
    """Deepest penetration m of the robot and the body; 0 without contact."""
    pairs = data.contact.geom  # (C, 2)
    robot = (model.geom_contype[pairs] & ROBOT).any(axis=-1)
    touching = robot & (model.geom_bodyid[pairs] == body_id).any(axis=-1)
    return float(max(-data.contact.dist[touching].min(), 0.0)) if touching.any() else 0.0


def step_time_us(model: mujoco.MjModel, data: mujoco.MjData, steps: int = 1000) -> float:
    """Time of one physics step from here, in microseconds."""
    copy = mujoco.MjData(model)
    mujoco.mj_copyData(copy, model, data)
    start = time.perf_counter()
    mujoco.mj_step(model, copy, steps)
    return (time.perf_counter() - start) / steps * 1e6


def _in_palm(simulation: Any, palm: int, body: int) -> tuple[FloatArray, FloatArray]:
    """Position (3,) m and rotation (3, 3) of a body in the palm's frame."""
    rotation = simulation.xmat[0, palm].reshape(3, 3)
    position = rotation.T @ (simulation.xpos[0, body] - simulation.xpos[0, palm])
    return position, rotation.T @ simulation.xmat[0, body].reshape(3, 3)


def half_time_step(model: mujoco.MjModel) -> None:
    """2.5 ms instead of 5 ms; the core takes twice as many substeps by itself."""
    model.opt.timestep /= 2


def double_iterations(model: mujoco.MjModel) -> None:
    """Twice the iterations of the solver, of its line search and against slip."""
    model.opt.iterations *= 2
    model.opt.ls_iterations *= 2
    model.opt.noslip_iterations *= 2


def as_it_is(model: mujoco.MjModel) -> None:
    """The task's own physics."""


RESOLUTIONS: dict[str, Callable[[mujoco.MjModel], None]] = {
    "as it is": as_it_is,
    "half the time step": half_time_step,
    "twice the iterations": double_iterations,
}


def scripted_success(
    env_id: str, options: Mapping[str, Any], episodes: int, change: Callable[[mujoco.MjModel], None] = as_it_is, seed: int = 0
) -> NDArray[np.bool_]:
    """(E,) success of the scripted policy at the end of each episode, on a model that `change` has changed before."""
    entry = next(one for one in REGISTRATIONS if one.id == env_id)
    task, chosen = parse_options(entry.task, options)
    model = task.make_model()
    change(model)
    core = EnvironmentCore(task, BatchSimulation(model, episodes, 0, task.model_fields), chosen)
    core.reset(np.arange(episodes), [np.random.default_rng(seed + index) for index in range(episodes)], {})
    policy = make_scripted_policy_of(core)
    policy.reset()
    alive = np.ones(episodes, dtype=bool)
    for _ in range(entry.max_episode_steps):
        core.advance(policy.act())
        alive &= ~task.failed()
    return alive & task.success()


def make_scripted_policy_of(core: EnvironmentCore) -> Any:
    """The scripted policy of a bare core."""
    return SCRIPTED_POLICIES[type(core.task)](core)


def main() -> int:
    """Runs all holds and resolutions and writes the result."""
    arguments = tyro.cli(PhysicalSanityArguments)
    return run(arguments)


def run(arguments: PhysicalSanityArguments) -> int:
    """`main` with the arguments given."""
    if arguments.quick:
        out = Path("runs") / "physical_sanity" / "physical_sanity.json" if arguments.out.parent == RESULTS else arguments.out
        arguments = dataclasses.replace(arguments, out=out, seeds=1, carry_seeds=1, hold_s=2.0, episodes=16)
    rows, checks = [], []
    things: list[tuple[str, str, dict[str, Any]]] = [
        (name, "DexVid-GraspLift-v0", {"objects": (name,)}) for name in EVERYDAY_OBJECTS
    ]
    things += [(f"{name} (bottle task)", "DexVid-BottlePickPlace-v0", {"bottle": name}) for name in BOTTLES]
    for name, env_id, options in things:
        holds = [hold(env_id, options, seed, arguments.hold_s, arguments.settle_s) for seed in range(arguments.seeds)]
        row, found = _hold_row(name, holds)
        rows.append(row)
        checks += found
        print(row, flush=True)
    carried: list[tuple[str, str, dict[str, Any]]] = [
        (f"{name} (throw)", "DexVid-LiftThrow-v0", {"objects": (name,)}) for name in LiftThrowConfig().objects
    ]
    carried += [("drawer", "DexVid-OpenCabinet-v0", {})]
    for name, env_id, options in carried:
        row, found = _carry_row(name, [carry(env_id, options, seed) for seed in range(arguments.carry_seeds)])
        rows.append(row)
        checks += found
        print(row, flush=True)
    for env_id in (entry.id for entry in REGISTRATIONS):
        rates = {name: scripted_success(env_id, {}, arguments.episodes, change).mean() for name, change in RESOLUTIONS.items()}
        print(env_id, rates, flush=True)
        rows += [{"what": f"{env_id}, {name}", "success": f"{rate:.1%}"} for name, rate in rates.items()]
        for name, rate in rates.items():
            if name != "as it is":
                change = 100 * abs(rate - rates["as it is"])
                checks.append(Check(f"{env_id}: change of success by {name}, points", change, SUCCESS_POINTS, "lower"))
    config = {**dataclasses.asdict(arguments), "out": arguments.out.name, "hold": "targets frozen; worst of all starts"}
    write_result(arguments.out, "physical_sanity", config, rows, checks)
    print(arguments.out.with_suffix(".md").read_text())
    return 0


def _hold_row(name: str, holds: list[Hold]) -> tuple[dict[str, Any], list[Check]]:
    """The worst of several holds as a table row and as checks."""
    worst = {
        field: max(getattr(one, field) for one in holds)
        for field in ("slip_mm", "turn_deg", "speed_mm_per_s", "penetration_mm", "moving_penetration_mm")
    }
    row = {
        "what": f"hold {name}",
        "held": f"{sum(one.held for one in holds)} of {len(holds)}",
        **{field: round(value, 3) for field, value in worst.items()},
        "step_us": round(float(np.median([one.step_us for one in holds])), 1),
        "success": "",
    }
    checks = [
        Check(f"{name}: held", float(np.mean([one.held for one in holds])), 1.0, "higher"),
        Check(f"{name}: slip, mm", worst["slip_mm"], SLIP_MM, "lower"),
        Check(f"{name}: turn, degrees", worst["turn_deg"], TURN_DEG, "lower"),
        Check(f"{name}: speed, mm/s", worst["speed_mm_per_s"], SPEED_MM_PER_S, "lower"),
        *_penetration_checks(name, worst["penetration_mm"], worst["moving_penetration_mm"]),
    ]
    return row, checks


def _carry_row(name: str, carries: list[Carry]) -> tuple[dict[str, Any], list[Check]]:
    """The worst of several episodes as a table row and as checks."""
    held, moving = (max(getattr(one, field) for one in carries) for field in ("penetration_mm", "moving_penetration_mm"))
    row = {
        "what": f"carry {name}",
        "held": f"{sum(one.held for one in carries)} of {len(carries)}",
        "penetration_mm": round(held, 3),
        "moving_penetration_mm": round(moving, 3),
        "success": f"{np.mean([one.success for one in carries]):.1%}",
    }
    checks = [
        Check(f"{name}: held", float(np.mean([one.held for one in carries])), 1.0, "higher"),
        *_penetration_checks(name, held, moving),
    ]
    return row, checks


def _penetration_checks(name: str, held_mm: float, moving_mm: float) -> list[Check]:
    return [
        Check(f"{name}: penetration, mm", held_mm, PENETRATION_MM, "lower"),
        Check(f"{name}: penetration while taken, carried or let go, mm", moving_mm, PENETRATION_MM, "lower"),
    ]


if __name__ == "__main__":
    sys.exit(main())
