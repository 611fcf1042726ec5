"""From one interaction to one demonstration that holds in physics: place, retarget, replay open loop, refine, record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration, Tier, demonstrations_from_batch
from demos.interaction import Interaction
from demos.plan import Plan, plan_targets
from demos.provenance import model_hash, to_json, versions
from demos.refine import HOLDS, RefineConfig, Refiner, RefineResult
from demos.refinement.cost import tracking_error
from demos.refinement.placement import PlacedMotion, place_and_retarget
from demos.refinement.task import find_tracked_task, nearest_object
from demos.rollout import RolloutRunner, Rollouts
from dexvid_envs.errors import DexVidError
from robots.everyday import ALL_OBJECTS
from robots.everyday_bottles import bottle_object
from robots.objects import BOTTLES

__all__ = [
    "OpenLoopOutcome",
    "PlacedMotion",
    "PseudoDemonstration",
    "closest_bottle",
    "closest_options",
    "place_and_retarget",
    "refine_interaction",
    "task_settings",
]

FloatArray = NDArray[np.float64]
#: An open-loop motion that keeps the object this near to the video's path, on average, is called replayable.
REPLAYABLE_ERROR_M = 0.03
_PLAN_FIGURES = ("approach_steps", "return_steps", "rest_steps", "lift", "place", "release")  # as they came out, in steps


@dataclasses.dataclass(frozen=True)
class OpenLoopOutcome:
    """What the retargeted motion does in physics before any search.

    Attributes:
        success: the task's success at the end.
        lift_m: largest height that the object gained.
        target_distance_m: horizontal distance from the target at the end.
        tracking_error_m: mean distance from the video's path while it should be carried.
        toppled: the object lies at the end.
    """

    success: bool
    lift_m: float
    target_distance_m: float
    tracking_error_m: float
    toppled: bool


@dataclasses.dataclass(frozen=True)
class PseudoDemonstration:
    """The result of the refinement of one interaction."""

    placed: PlacedMotion
    open_loop: OpenLoopOutcome
    open_loop_demonstration: Demonstration
    refinement: RefineResult
    demonstration: Demonstration


def refine_interaction(
    placed: PlacedMotion,
    env_id: str,
    env_options: dict[str, Any],
    config: RefineConfig | None = None,
    *,
    progress: Callable[[float, str], None] | None = None,
    store: Path | None = None,
) -> PseudoDemonstration:
    """From a placed motion to a demonstration, with the open-loop replay measured on the way.

    Args:
        placed: from `place_and_retarget`.
        env_id, env_options: environment, such as `DexVid-BottlePickPlace-v0` with `{"bottle": "mustard"}`.
        config: of the search.
        progress: called with the finished share and a line on the state.
        store: folder for finished rounds, from which a stopped search goes on.

    Raises:
        DexVidError: the motion takes longer than an episode.
    """
    config = config or RefineConfig()
    runner = RolloutRunner(env_id, env_options, 1)
    plans = [placed.plan] if placed.usual is None else [placed.plan, placed.usual]
    _expect_in_time(placed.plan, runner, env_id)
    spread = None
    if placed.place is not None:
        spread = (placed.place.start_half_extent_m, placed.place.goal_half_extent_m)
    refiner = Refiner(
        plans,
        env_id,
        env_options,
        config,
        goal_m=placed.goal_m,
        object_yaw_rad=placed.object_yaw_rad,
        spread=spread,
        store=store,
    )
    before = _record(runner, placed, placed.plan, np.zeros(placed.plan.bend_shape()), None)
    result = refiner.run(progress)
    plan = plans[HOLDS.index(result.hold)]
    after = _record(runner, placed, plan, result.bend, result.correction)
    figures = ("acceptance", "robustness", "hold", "grip_force_n", "grip_over_weight")
    facts = {
        "source_sha256": placed.interaction.source_sha256,
        "retarget": to_json(placed.retarget_config)
        | {
            "yaw_rad": placed.yaw_rad,
            "mean_fingertip_error_m": float(placed.motion.error_m.mean()),
            "mirrored": placed.mirrored,
        },
        "plan": {"config": to_json(placed.plan_config)} | {name: getattr(plan, name) for name in _PLAN_FIGURES},
        "refine": to_json(config) | {"history": result.history} | {name: to_json(getattr(result, name)) for name in figures},
        "model_sha256": model_hash(runner.core.simulation.model),
        "versions": versions(),
    }
    return PseudoDemonstration(
        placed=placed,
        open_loop=_open_loop_outcome(placed.plan, before),
        open_loop_demonstration=_demonstration(placed.plan, before, env_id, env_options, runner, facts),
        refinement=result,
        demonstration=_demonstration(plan, after, env_id, env_options, runner, facts),
    )


def closest_bottle(interaction: Interaction) -> str:
    """Name of the bottle in `robots.objects.BOTTLES` whose size is nearest to the recorded object's."""
    shapes = {name: np.array(bottle_object(name, bottle).extents_m) for name, bottle in BOTTLES.items()}
    return nearest_object(interaction, shapes)


def closest_options(interaction: Interaction, env_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an environment with the object that is nearest in size to the recorded one, where none is given."""
    options = dict(given)
    task = find_tracked_task(env_id, given).task_name
    if task == "BottlePickPlace" and "bottle" not in given:
        options["bottle"] = closest_bottle(interaction)
    elif task in ("GraspLift", "LiftThrow") and "objects" not in given:
        shapes = {name: np.array(shape.extents_m) for name, shape in ALL_OBJECTS.items()}
        options["objects"] = (nearest_object(interaction, shapes),)
    return options


def task_settings(env_id: str, env_options: dict[str, Any]) -> Any:
    """The task's config behind an environment.

    Raises:
        OptionError: there is no such environment, or it has no such option.
        DexVidError: refinement does not know its task.
    """
    return find_tracked_task(env_id, env_options).settings


def _record(
    runner: RolloutRunner, placed: PlacedMotion, plan: Plan, bend: FloatArray, correction: FloatArray | None
) -> Rollouts:
    """One rollout at the plan's own start and target, with everything kept."""
    start, target = plan.start_xy[None], plan.target_xy[None]
    correction = np.zeros((plan.num_steps, 6)) if correction is None else np.asarray(correction)
    servo, _ = plan_targets(plan, bend[None], start, target, correction_world=correction[None])
    return runner.run(servo, start, placed.goal_m[None], [0], yaw_rad=placed.object_yaw_rad, keep=True)


def _demonstration(
    plan: Plan,
    rollouts: Rollouts,
    env_id: str,
    env_options: dict[str, Any],
    runner: RolloutRunner,
    facts: dict[str, Any],
) -> Demonstration:
    error = _carry_error(plan, rollouts)
    tier: Tier = "successful" if rollouts.success[0] else "replayable" if error <= REPLAYABLE_ERROR_M else "kinematic"
    names = ("observations", "states", "object_pos_world", "actions", "rewards", "successes", "memory")
    return demonstrations_from_batch(
        {name: getattr(rollouts, name) for name in names},
        [0],
        [plan.num_steps],
        env_id=env_id,
        env_options=env_options,
        control_mode=runner.core.control.name,
        tier=tier,
        source_frame=np.concatenate([[-1], plan.source_frame]),
        provenance=[facts | {"tracking_error_m": error}],
    )[0]


def _carry_error(plan: Plan, rollouts: Rollouts) -> float:
    error = tracking_error(plan, rollouts, plan.start_xy[None], plan.target_xy[None])
    return float(error[plan.lift : plan.place + 1].mean())


def _expect_in_time(plan: Plan, runner: RolloutRunner, env_id: str) -> None:
    """Refuses a motion that comes to its goal when an episode is over."""
    what, step = ("lets go", plan.release) if runner.tracked.ending != "hold" else ("comes to its goal", plan.place)
    if runner.time_limit is not None and step >= runner.time_limit:
        raise DexVidError(
            f"the planned motion {what} in control step {step} of {plan.num_steps}, when an episode of {env_id} is over "
            f"(after {runner.time_limit}): give only the part of the recording in which the object is handled"
        )


def _open_loop_outcome(plan: Plan, rollouts: Rollouts) -> OpenLoopOutcome:
    height = rollouts.object_pos_world[:, 0, 2]
    return OpenLoopOutcome(
        success=bool(rollouts.success[0]),
        lift_m=float(height.max() - height[0]),
        target_distance_m=float(rollouts.target_distance[0]),
        tracking_error_m=_carry_error(plan, rollouts),
        toppled=bool(rollouts.object_axis_world[-1, 0, 2] < 0.7),
    )
