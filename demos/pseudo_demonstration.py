"""From one interaction to one demonstration that holds in physics: place, retarget, replay open loop, refine, record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from demos.demonstration import Demonstration, Tier
from demos.interaction import Interaction
from demos.plan import Plan, PlanConfig, choose_yaw, make_plan, plan_targets
from demos.provenance import model_hash, to_json, versions
from demos.refine import RefineConfig, Refiner, RefineResult, tracking_error
from demos.replay import demonstrations_from_batch
from demos.resample import resample
from demos.retarget import RetargetConfig, RobotMotion
from demos.rollout import RolloutRunner, Rollouts
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.registration import REGISTRATIONS
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlaceConfig
from robots.objects import BOTTLES

FloatArray = NDArray[np.float64]
#: An open-loop motion that keeps the object this near to the video's path, on average, is called replayable.
REPLAYABLE_ERROR_M = 0.03


@dataclasses.dataclass(frozen=True)
class PlacedMotion:
    """A retargeted recording in a task's world.

    Attributes:
        interaction: placed in the world, the used frames at the control rate.
        motion: the bare retargeted motion of the same frames.
        plan: the motion with approach, pauses and release.
        yaw_rad: the turn of the recording's world.
        yaw_candidates: what was tried, with errors.
    """

    interaction: Interaction
    motion: RobotMotion
    plan: Plan
    yaw_rad: float
    yaw_candidates: list[dict[str, float]]


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


def place_and_retarget(
    interaction: Interaction,
    env_id: str,
    env_options: dict[str, Any],
    retarget_config: RetargetConfig | None = None,
    plan_config: PlanConfig | None = None,
    yaw_rad: float | None = None,
) -> PlacedMotion:
    """Places a recording in the task's world and retargets it.

    Args:
        interaction: from an extraction or an importer.
        env_id, env_options: environment.
        retarget_config, plan_config: settings.
        yaw_rad: turn of the recording's world about the vertical; the one that the robot reaches best if None.

    Raises:
        DexVidError: the recording has no object pose to go by, or hand key points are missing.
    """
    config = retarget_config or RetargetConfig()
    if not np.isfinite(interaction.object_pose_world).all() or not np.isfinite(interaction.hand_keypoints_world).all():
        raise DexVidError(
            "the extraction lacks hand key points or rigid object poses in some frames, by which a pick-and-place motion is "
            "retargeted; expected finite values throughout (see quality.json of the extraction)"
        )
    settings = task_settings(env_id, env_options)
    start, target = np.asarray(settings.start_centre_m), np.asarray(settings.target_centre_m)
    half = np.asarray(settings.start_half_extent_m)
    corners = np.array([[0, 0], [-1, -1], [1, 1], [-1, 1], [1, -1]], dtype=np.float64)
    sampled = resample(interaction, config.control_hz, config.max_duration_s)
    yaw, candidates = yaw_rad, []
    if yaw is None:
        targets = target - corners * np.asarray(settings.target_half_extent_m)
        bare = dataclasses.replace(config, contact=False, smoothness_weight=0.0)  # what can be reached, and quickly
        yaw, candidates = choose_yaw(sampled, start + corners * half, targets, bare)
    plan, motion, placed = make_plan(sampled, yaw, start, target, config, plan_config)
    return PlacedMotion(placed, motion, plan, yaw, candidates)


def refine_interaction(
    placed: PlacedMotion,
    env_id: str,
    env_options: dict[str, Any],
    config: RefineConfig | None = None,
    *,
    retarget_config: RetargetConfig | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> PseudoDemonstration:
    """From a placed motion to a demonstration, with the open-loop replay measured on the way.

    Args:
        placed: from `place_and_retarget`.
        env_id, env_options: environment, such as `DexVid-BottlePickPlace-v0` with `{"bottle": "mustard"}`.
        config: of the search.
        retarget_config: of the retargeting.
        progress: called with the finished share and a line on the state.
    """
    config = config or RefineConfig()
    settings = task_settings(env_id, env_options)
    config = dataclasses.replace(
        config, start_half_extent_m=settings.start_half_extent_m, target_half_extent_m=settings.target_half_extent_m
    )
    refiner = Refiner(placed.plan, env_id, env_options, config)
    still = np.zeros(placed.plan.bend_shape())
    runner = RolloutRunner(env_id, env_options, 1)
    before = _record(runner, placed.plan, still, config.seed)
    result = refiner.run(progress)
    after = _record(runner, placed.plan, result.bend, config.seed, result.aim_xy_m)
    facts = {
        "source_sha256": placed.interaction.source_sha256,
        "retarget": to_json(retarget_config or RetargetConfig())
        | {"yaw_rad": placed.yaw_rad, "mean_fingertip_error_m": float(placed.motion.error_m.mean())},
        "plan": {name: getattr(placed.plan, name) for name in ("approach_steps", "return_steps", "rest_steps")},
        "refine": to_json(config) | {"history": result.history, "acceptance": result.acceptance},
        "model_sha256": model_hash(runner.core.simulation.model),
        "versions": versions(),
    }
    return PseudoDemonstration(
        placed=placed,
        open_loop=_open_loop_outcome(placed.plan, before),
        open_loop_demonstration=_demonstration(placed.plan, before, env_id, env_options, runner, facts),
        refinement=result,
        demonstration=_demonstration(placed.plan, after, env_id, env_options, runner, facts),
    )


def closest_bottle(interaction: Interaction) -> str:
    """Name of the bottle in `robots.objects.BOTTLES` whose size is nearest to the recorded object's."""
    inverse = np.linalg.inv(interaction.object_pose_world[0])
    points = interaction.object_points_world[0] @ inverse[:3, :3].T + inverse[:3, 3]
    extents = np.nanmax(points, axis=0) - np.nanmin(points, axis=0)
    recorded = np.array([*sorted(extents[:2]), extents[2]])
    sizes = {
        name: np.array([*sorted((2 * shape.half_width_m, 2 * shape.half_depth_m)), shape.height_m])
        for name, shape in BOTTLES.items()
    }
    return min(sizes, key=lambda name: float(np.linalg.norm(sizes[name] - recorded)))


def task_settings(env_id: str, env_options: dict[str, Any]) -> BottlePickPlaceConfig:
    """The task's config behind an environment.

    Raises:
        OptionError: there is no such environment, or it has no such option.
        DexVidError: the environment is not a pick-and-place one.
    """
    try:
        env = gymnasium.make(env_id, **env_options)
    except gymnasium.error.Error as error:
        known = ", ".join(entry.id for entry in REGISTRATIONS)
        raise OptionError(f"cannot make {env_id!r} ({error}): expected one of {known}") from error
    config = env.unwrapped.task.config  # type: ignore[attr-defined]
    env.close()
    if not isinstance(config, BottlePickPlaceConfig):
        raise DexVidError(f"refinement works for DexVid-BottlePickPlace-v0 so far, got {env_id}")
    return config


def _record(runner: RolloutRunner, plan: Plan, bend: FloatArray, seed: int, aim_xy_m: FloatArray | float = 0.0) -> Rollouts:
    """One rollout at the plan's own start and target, with everything kept."""
    start, target = plan.start_xy[None], plan.target_xy[None]
    servo, _ = plan_targets(plan, bend[None], start, target + aim_xy_m)
    return runner.run(servo, start, target, [seed], keep=True)


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


def _open_loop_outcome(plan: Plan, rollouts: Rollouts) -> OpenLoopOutcome:
    height = rollouts.object_pos_world[:, 0, 2]
    return OpenLoopOutcome(
        success=bool(rollouts.success[0]),
        lift_m=float(height.max() - height[0]),
        target_distance_m=float(rollouts.target_distance[0]),
        tracking_error_m=_carry_error(plan, rollouts),
        toppled=bool(rollouts.object_axis_world[-1, 0, 2] < 0.7),
    )
