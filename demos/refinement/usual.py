"""The usual way to hold a thing: what the task's scripted policy does, as a second beginning for the search.

Where a person's grasp does not carry over to the robot's hand (another object, a hand half hidden in the video), the video's
timing and path of the object are kept, and the hold is the scripted one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from demos.plan import Plan, minimum_jerk
from demos.timeline import PlanConfig
from dexvid_envs.core import EnvironmentCore
from dexvid_envs.scripted import SCRIPTED_POLICIES
from robots.arm_hand import ARM_HAND
from robots.arm_kinematics import palm_pose, solve_palm_pose

FloatArray = NDArray[np.float64]
_MOST_STEPS = 260
_HOOK_STEPS = 4  # of the pull, in which a hooked hand closes
_CLASP_STEPS = 10  # from the palm's arrival at the object, with the hand half closed, to the lift
_DRAWN_OUT_AFTER = 0.6  # of the retreat
_FOLLOW_STEPS = 40  # kept of the motion after a throw, until the object has come to rest
_WIND_UP_RAD_PER_S = 0.8  # on average, of the joint with the longest way; faster ones shake the object in the hand
_WIND_UP_RAMP = 0.12  # of its time, over which it gathers speed, and over which it comes to rest
_CONTROL_HZ = 20


@dataclasses.dataclass(frozen=True)
class UsualHold:
    """A hold, as servo targets.

    Attributes:
        before_arm: (7,) rad in front of the object.
        grasp_arm: (7,) rad where the hand closes.
        open_hand, closed_hand: (16,) rad.
        throw: (S, 23) rad from the end of the wind-up on; empty but for a throw.
        let_go: step of `throw` from which the hand opens.
    """

    before_arm: FloatArray
    grasp_arm: FloatArray
    open_hand: FloatArray
    closed_hand: FloatArray
    throw: FloatArray
    let_go: int


def find_usual_hold(core: EnvironmentCore, reset_options: Mapping[str, Any]) -> UsualHold:
    """Plays the scripted policy of a single environment's task from a reset, until it holds or, in a throw, has let go."""
    core.reset(np.zeros(1, dtype=np.int64), [np.random.default_rng(0)], [dict(reset_options)])
    policy = SCRIPTED_POLICIES[type(core.task)](core)
    policy.reset(np.ones(1, dtype=bool))
    last = policy.phases[-1].__name__ if policy.phases[-1].__name__ in ("pull", "let_go") else "close"
    targets: dict[str, list[FloatArray]] = {}
    for _ in range(_MOST_STEPS):
        name = policy.phase_name(0)
        core.advance(policy.act())
        targets.setdefault(name, []).append(core.simulation.ctrl[0].copy())
        enough = {"pull": _HOOK_STEPS, "let_go": _FOLLOW_STEPS}.get(last)
        if name == last and (len(targets[name]) == enough or policy.phase_name(0) != name):
            break
    arm = ARM_HAND.arm_joints
    grasp_arm = targets["hook" if "hook" in targets else "close"][-1][:arm]
    closed = targets["pull" if "pull" in targets else "close"][-1][arm:]
    throw = [targets["wind_up"][-1], *targets["swing"], *targets["let_go"]] if "let_go" in targets else []
    return UsualHold(
        before_arm=targets["reach"][-1][:arm],
        grasp_arm=grasp_arm,
        open_hand=targets["reach"][-1][arm:] if "hook" in targets else targets["approach"][-1][arm:],
        closed_hand=closed,
        throw=np.array(throw).reshape(-1, ARM_HAND.num_joints),
        let_go=1 + len(targets.get("swing", ())),
    )


def with_usual_hold(plan: Plan, hold: UsualHold, config: PlanConfig, *, turns: bool = True) -> Plan:
    """The plan with its timing and its object's path, but held in the usual way.

    Args:
        plan: the plan with the person's hold.
        hold: the usual one.
        config: of the plan.
        turns: the hand turns about the vertical with the robot's bearing to what it carries, so that the wrist stays as it
            was; a hand that keeps its heading across the table comes to the wrist's limits.
    """
    steps = plan.num_steps
    before, grasp = palm_pose(np.stack([hold.before_arm, hold.grasp_arm]))
    opened = plan.release + config.release_steps
    first = plan.approach_steps
    count = plan.lift - _CLASP_STEPS - first
    near = (1 - (1 - np.clip((np.arange(steps) - first) / count, 0.0, 1.0)) ** 1.5)[:, None]
    way = before[:3, 3] - grasp[:3, 3]
    offset = (1 - near) * way
    if plan.return_steps:  # lets go and draws back the way it came
        homeward = steps - plan.return_steps - plan.rest_steps
        away = ((np.arange(steps) - opened) / (homeward - 1 - opened) * (1 + _DRAWN_OUT_AFTER))[:, None]
        offset += minimum_jerk(np.clip(away, 0.0, 1.0)) * way
        # only then may the fingers be drawn out from beside the object, lest they sweep it away on the hand's way home
        out = np.clip(away - _DRAWN_OUT_AFTER, 0.0, 1.0) ** 2  # goes home from there without a rest
        offset += out * _drawn_out(grasp, config.retreat_m)
    carried = plan.object_pos_world.copy()
    carried[: plan.lift] = carried[plan.lift]
    turn = _bearing_turns(carried) if turns else np.tile(np.eye(3), (steps, 1, 1))
    palm = np.tile(np.eye(4), (steps, 1, 1))
    palm[:, :3, :3] = turn @ grasp[:3, :3]
    palm[:, :3, 3] = carried + np.einsum("tij,tj->ti", turn, grasp[:3, 3] - carried[0] + offset)
    arm = np.empty((steps, ARM_HAND.arm_joints))
    posture = hold.grasp_arm
    for step in range(steps):  # each from the one before, so that the elbow does not jump
        posture = solve_palm_pose(palm[step : step + 1], posture[None], 8 if step else 40)[0][0]
        arm[step] = posture
    fingers = hold.open_hand + plan.held[:, None] * (hold.closed_hand - hold.open_hand)
    return dataclasses.replace(plan, palm=palm, arm=arm, fingers=fingers)


def _bearing_turns(path_world: FloatArray) -> FloatArray:
    """(T, 3, 3) turns about the vertical by which the robot's bearing to a path (T, 3) m changes from its first point on."""
    bearing = np.unwrap(np.arctan2(path_world[:, 1], path_world[:, 0]))
    return Rotation.from_rotvec((bearing - bearing[0])[:, None] * np.array([0.0, 0.0, 1.0])).as_matrix()


def _drawn_out(palm: FloatArray, way_m: float) -> FloatArray:
    """(3,) m back along the fingers, level, and a little up."""
    back = -palm[:3, 2] * np.array([1.0, 1.0, 0.0])
    return way_m * (back / max(float(np.linalg.norm(back)), 1e-9) + np.array([0.0, 0.0, 0.4]))


def with_throw(plans: Sequence[Plan], hold: UsualHold) -> list[Plan]:
    """Plans of the same timing, which end with a lifted object, and then the robot's own wind-up and throw.

    The joints of the robot are too slow for a person's throw; only one in which all of them add up reaches the bucket.
    """
    way = max(float(np.abs(hold.throw[0, : ARM_HAND.arm_joints] - plan.arm[-1]).max()) for plan in plans)
    steps = max(int(np.ceil(way / _WIND_UP_RAD_PER_S * _CONTROL_HZ)), 1)
    return [_thrown(plan, hold, steps) for plan in plans]


def _even_way(steps: int, ramp: float) -> FloatArray:
    """(steps,) share of a way after each step, at an even speed but for a share `ramp` of the time at either end.

    An episode is short, and speed is what shakes a held object: of all ways of a duration the even one is the slowest.
    """
    middle = (np.arange(steps) + 0.5) / steps
    speed = np.sin(0.5 * np.pi * np.clip(np.minimum(middle, 1 - middle) / ramp, 0.0, 1.0)) ** 2
    return np.cumsum(speed) / speed.sum()


def _thrown(plan: Plan, hold: UsualHold, wind_up_steps: int) -> Plan:
    """One plan with the wind-up and the throw."""
    arm_joints = ARM_HAND.arm_joints
    throw = hold.throw[:, :arm_joints]
    share = _even_way(wind_up_steps, _WIND_UP_RAMP)[:, None]
    arm = np.concatenate([plan.arm[-1] + share * (throw[0] - plan.arm[-1]), throw])
    before = len(arm) - len(hold.throw)
    count, let_go = len(arm), before + hold.let_go
    hand = np.tile(plan.fingers[-1], (count, 1))
    hand[let_go:] = hold.throw[hold.let_go :, arm_joints:]

    def longer(values: NDArray[np.float64], tail: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([values, tail])

    return dataclasses.replace(
        plan,
        palm=longer(plan.palm, palm_pose(arm)),
        arm=longer(plan.arm, arm),
        fingers=longer(plan.fingers, hand),
        progress=longer(plan.progress, np.ones(count)),
        held=longer(plan.held, (np.arange(count) < let_go).astype(np.float64)),
        object_pos_world=longer(plan.object_pos_world, np.tile(plan.object_pos_world[-1], (count, 1))),
        source_frame=np.concatenate([plan.source_frame, np.full(count, -1)]),
        release=plan.num_steps + let_go - 1,
    )
