"""Refinement in physics: bends a retargeted plan until the robot itself moves the object as the video did.

First a search over few numbers (a constant offset of the palm and the closure of the fingers), then over splines of them, both
as an evolution that keeps several elites apart: good grasps are multimodal, and their mean is usually no grasp. The cost is
object tracking first and the task's success last. In the second part every candidate is tried at several starts and targets
with noise on the servo targets, so that what survives is robust and can be multiplied.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.plan import Plan, plan_targets
from demos.rollout import RolloutRunner, Rollouts

FloatArray = NDArray[np.float64]
Progress = Callable[[float, str], None]


@dataclasses.dataclass(frozen=True)
class RefineConfig:
    """Size of the search.

    Attributes:
        seed: of the whole search.
        candidates: rollouts at once.
        offset_rounds: largest number of rounds of the first search.
        spline_rounds: largest number of rounds of the second search.
        replicates: conditions at which a candidate of the second search is tried; the first is the video's own.
        final_replicates: fresh conditions at which the last elites are compared; the best of many candidates on few conditions
            would be a lucky one.
        elites: candidates kept apart between rounds.
        fresh_fraction: share of new random candidates in the first search.
        palm_std_m, palm_std_rad, close_mean_rad, close_std_rad: spread of the first search.
        decay: of the mutations' spread, per round.
        spline_scale: spread of the second search's mutations, relative to the first.
        start_half_extent_m, target_half_extent_m: replicates start and end within these of the video's start and target.
        noise_rad: standard deviation of the noise on the finger targets of replicates; the arm's is a quarter.
        enough: the second search ends, in its second half, when this share of the elites' replicates succeeds three times in a
            row.
        max_seconds: no new round begins after this time; None for no limit.
    """

    seed: int = 0
    candidates: int = 64
    offset_rounds: int = 12
    spline_rounds: int = 14
    replicates: int = 8
    final_replicates: int = 32
    elites: int = 8
    fresh_fraction: float = 0.25
    palm_std_m: float = 0.015
    palm_std_rad: float = 0.15
    close_mean_rad: float = 0.25
    close_std_rad: float = 0.25
    decay: float = 0.85
    spline_scale: float = 0.3
    start_half_extent_m: tuple[float, float] = (0.08, 0.08)
    target_half_extent_m: tuple[float, float] = (0.08, 0.08)
    noise_rad: float = 0.02
    enough: float = 0.95
    max_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class RefineResult:
    """What the search found.

    Attributes:
        bend: (K, B) the chosen bend.
        aim_xy_m: (2,) m by which the plan has to aim elsewhere than the target, for the bottle to end on it.
        succeeded: whether the nominal rollout (the video's own start and target, no noise) succeeds.
        tracking_error_m: mean distance of the object from the video's path in the nominal rollout.
        end_error_m: horizontal distance from the target at the end of it.
        acceptance: share of noisy moved copies that succeed, in a test with fresh draws.
        history: a row for each round.
        seconds: wall time.
    """

    bend: FloatArray
    aim_xy_m: FloatArray
    succeeded: bool
    tracking_error_m: float
    end_error_m: float
    acceptance: float
    history: list[dict[str, Any]]
    seconds: float


def tracking_error(plan: Plan, rollouts: Rollouts, starts_xy: FloatArray, targets_xy: FloatArray) -> FloatArray:
    """(T, N) m distance of the object from the video's path, moved with start and target as the plan is."""
    shift = (1 - plan.progress[:, None, None]) * (starts_xy - plan.start_xy)
    shift = shift + plan.progress[:, None, None] * (targets_xy - plan.target_xy)
    wanted = np.repeat(plan.object_pos_world[:, None], len(starts_xy), axis=1)
    wanted[..., :2] += shift
    half_height = np.median(plan.object_pos_world[:3, 2])
    actual = rollouts.object_pos_world[1:]
    lowered = wanted[..., 2] - half_height  # heights count from the table: bottles differ in size
    height = actual[..., 2] - rollouts.object_pos_world[0, :, 2]
    return np.sqrt(((actual[..., :2] - wanted[..., :2]) ** 2).sum(axis=-1) + (height - lowered) ** 2)


def rollout_cost(plan: Plan, rollouts: Rollouts, starts_xy: FloatArray, targets_xy: FloatArray) -> FloatArray:
    """(N,) cost: tracking, early disturbance, tilt, missing lift, end error, and last the task's success."""
    error = tracking_error(plan, rollouts, starts_xy, targets_xy)
    carried = slice(plan.lift, plan.place + 1)
    tracking = np.minimum(error[carried], 0.15).mean(axis=0)
    moved = rollouts.object_pos_world[1:]
    early = np.linalg.norm(moved[max(plan.lift - 6, 1), :, :2] - moved[0, :, :2], axis=-1)
    height = moved[carried, :, 2].max(axis=0) - rollouts.object_pos_world[0, :, 2]
    wanted_height = plan.object_pos_world[carried, 2].max() - plan.object_pos_world[0, 2]
    tilt = np.arccos(np.clip(rollouts.object_axis_world[1:, :, 2], -1.0, 1.0))
    still_held = np.maximum(0.01 - rollouts.hand_clearance[-1], 0.0)
    return (
        10.0 * tracking
        + 6.0 * np.minimum(early, 0.1)
        + 1.5 * tilt[plan.approach_steps : plan.release].mean(axis=0)
        + 1.0 * (1 - np.clip(height / wanted_height, 0.0, 1.0))
        + 4.0 * np.minimum(rollouts.target_distance, 0.25)
        + 0.5 * np.minimum(tilt[-1], 1.0)
        + 5.0 * still_held
        + 1.0 * (1 - rollouts.success)
    )


class Refiner:
    """The search on one plan."""

    def __init__(self, plan: Plan, env_id: str, env_options: dict[str, Any], config: RefineConfig | None = None) -> None:
        self.plan, self.config = plan, config or RefineConfig()
        self.runner = RolloutRunner(env_id, env_options, self.config.candidates)
        self.rng = np.random.default_rng(self.config.seed)
        self.history: list[dict[str, Any]] = []
        self.aim_xy = np.zeros(2)  # correction of the aim, learnt from where the bottles end

    def run(self, progress: Progress | None = None) -> RefineResult:
        """Both searches, then a test of the result with fresh draws.

        Args:
            progress: called with the finished share in [0, 1] and a line on the state.
        """
        self._begin = time.monotonic()
        self._progress = progress or (lambda share, text: None)
        elites = self._offset_search()
        best = self._spline_search(elites)
        nominal = self._nominal(best[None])
        acceptance = self._acceptance(best)
        error = tracking_error(self.plan, nominal, self.plan.start_xy[None], self.plan.target_xy[None])
        return RefineResult(
            bend=best,
            aim_xy_m=self.aim_xy.copy(),
            succeeded=bool(nominal.success[0]),
            tracking_error_m=float(error[self.plan.lift : self.plan.place + 1].mean()),
            end_error_m=float(nominal.target_distance[0]),
            acceptance=acceptance,
            history=self.history,
            seconds=time.monotonic() - self._begin,
        )

    # ---- first search: constant bends ----------------------------------------------------------------------------------

    def _spread(self) -> FloatArray:
        """(B,) standard deviation of each bend in the first search."""
        config = self.config
        return np.array([config.palm_std_m] * 3 + [config.palm_std_rad] * 3 + [config.close_std_rad] * 7)

    def _fresh(self, count: int) -> FloatArray:
        """(count, K, B) new constant bends."""
        mean = np.array([0.0] * 6 + [self.config.close_mean_rad] * 6 + [0.15])
        drawn = mean + self._spread() * self.rng.standard_normal((count, 1, len(mean)))
        return np.repeat(drawn, self.plan.knots, axis=1)

    def _mutated(self, elites: FloatArray, count: int, scale: float, local: float) -> FloatArray:
        """(count, K, B) children of random elites; half of the bends change, all knots alike plus `local` of it one by one."""
        parents = elites[self.rng.integers(len(elites), size=count)]
        whole = self.rng.standard_normal((count, 1, elites.shape[-1]))
        change = whole + local * self.rng.standard_normal(parents.shape)
        return parents + scale * self._spread() * change * (self.rng.random(whole.shape) < 0.5)

    def _offset_search(self) -> FloatArray:
        """(E, K, B) elites of the search over constant bends, at the video's own start and target without noise."""
        config = self.config
        elites, costs = np.empty((0, *self.plan.bend_shape())), np.empty(0)
        for index in range(config.offset_rounds):
            if index and self._out_of_time(0.35):
                break
            fresh = config.candidates if index == 0 else int(config.fresh_fraction * config.candidates)
            candidates = self._fresh(fresh)
            if fresh < config.candidates:
                mutated = self._mutated(elites, config.candidates - fresh, 0.6 * config.decay**index, 0.0)
                candidates = np.concatenate([candidates, mutated])
            rollouts = self._nominal(candidates)
            cost = rollout_cost(self.plan, rollouts, *self._nominal_places(len(candidates)))
            pool, pool_costs = np.concatenate([elites, candidates]), np.concatenate([costs, cost])
            keep = np.argsort(pool_costs)[: 2 * config.elites]
            elites, costs = pool[keep], pool_costs[keep]
            self._note("offset", index, costs[0], rollouts.success.max(), rollouts.success.mean())
            if index >= 2 and rollouts.success.mean() >= 0.08:
                break
        return elites

    # ---- second search: robust, then splines ---------------------------------------------------------------------------

    def _spline_search(self, elites: FloatArray) -> FloatArray:
        """(K, B) the best bend over several starts, targets and noise draws; elites are tried anew in every round."""
        config = self.config
        good_rounds = 0
        for index in range(config.spline_rounds):
            if self._out_of_time(0.92):
                break
            local = 0.0 if index < config.spline_rounds // 3 else 0.7
            scale = config.spline_scale * config.decay ** (0.5 * index)
            children = self._mutated(elites, config.candidates // 2 - len(elites), scale, local)
            candidates = np.concatenate([elites, children])
            cost, success = self._robust_cost(candidates, config.replicates)
            keep = np.argsort(cost)[: config.elites]
            elites = candidates[keep]
            self._note("spline", index, float(cost[keep[0]]), float(success[keep[0]]), float(success[keep].mean()))
            good_rounds = good_rounds + 1 if success[keep].mean() >= config.enough else 0
            if good_rounds >= 3 and 2 * (index + 1) >= config.spline_rounds:
                break
        cost, success = self._robust_cost(elites, config.final_replicates)
        best = elites[np.lexsort((cost, -success))[0]]
        self._note("last", config.spline_rounds - 1, float(cost.min()), float(success.max()), float(success.mean()))
        return best

    def _robust_cost(self, candidates: FloatArray, replicates: int) -> tuple[FloatArray, FloatArray]:
        """(C,) mean cost and success share of candidates over the same replicates."""
        config, count = self.config, len(candidates)
        starts, targets = self._moved_places(replicates)
        starts[0], targets[0] = self.plan.start_xy, self.plan.target_xy
        noise = self._noise(replicates)
        noise[0] = 0.0
        owner = np.repeat(np.arange(count), replicates)
        condition = np.tile(np.arange(replicates), count)
        costs, successes, misses = np.empty(len(owner)), np.empty(len(owner)), np.empty((len(owner), 2))
        for first in range(0, len(owner), config.candidates):
            rows = slice(first, first + config.candidates)
            which = condition[rows]
            rollouts = self._play(candidates[owner[rows]], starts[which], targets[which], noise[which])
            costs[rows] = rollout_cost(self.plan, rollouts, starts[which], targets[which])
            successes[rows] = rollouts.success
            misses[rows] = end_miss(rollouts, targets[which])
        shape = (count, replicates)
        mean_cost = costs.reshape(shape).mean(axis=1)
        leading = misses.reshape(*shape, 2)[np.argsort(mean_cost)[: config.elites]].reshape(-1, 2)
        self.aim_xy = self.aim_xy - 0.7 * typical_miss(leading)
        return mean_cost, successes.reshape(shape).mean(axis=1)

    def _acceptance(self, bend: FloatArray) -> float:
        """Share of `candidates` moved, noisy copies of one bend that succeed."""
        count = self.config.candidates
        starts, targets = self._moved_places(count)
        rollouts = self._play(np.repeat(bend[None], count, axis=0), starts, targets, self._noise(count))
        return float(rollouts.success.mean())

    # ---- rollouts --------------------------------------------------------------------------------------------------

    def _nominal_places(self, count: int) -> tuple[FloatArray, FloatArray]:
        return np.tile(self.plan.start_xy, (count, 1)), np.tile(self.plan.target_xy, (count, 1))

    def _moved_places(self, count: int) -> tuple[FloatArray, FloatArray]:
        config = self.config
        starts = self.plan.start_xy + self.rng.uniform(-1, 1, (count, 2)) * config.start_half_extent_m
        return starts, self.plan.target_xy + self.rng.uniform(-1, 1, (count, 2)) * config.target_half_extent_m

    def _noise(self, count: int) -> FloatArray:
        return servo_noise(self.rng, count, self.plan.num_steps, self.config.noise_rad)

    def _nominal(self, bends: FloatArray) -> Rollouts:
        return self._play(bends, *self._nominal_places(len(bends)), None)

    def _play(self, bends: FloatArray, starts: FloatArray, targets: FloatArray, noise: FloatArray | None) -> Rollouts:
        servo, _ = plan_targets(self.plan, bends, starts, targets + self.aim_xy)
        return self.runner.run(servo, starts, targets, [self.config.seed] * len(bends), target_noise=noise)

    def _out_of_time(self, share: float) -> bool:
        limit = self.config.max_seconds
        return limit is not None and time.monotonic() - self._begin > share * limit

    def _note(self, search: str, index: int, cost: float, best_success: float, mean: float) -> None:
        config = self.config
        done = index + 1 if search == "offset" else config.offset_rounds + index + 1
        seconds = time.monotonic() - self._begin
        self.history.append(
            {
                "search": search,
                "round": index,
                "cost": float(cost),
                "success": float(best_success),
                "mean": float(mean),
                "seconds": seconds,
            }
        )
        share = done / (config.offset_rounds + config.spline_rounds)
        self._progress(min(share, 1.0), f"{search} search, round {index + 1}: cost {cost:.2f}, success {best_success:.0%}")


def end_miss(rollouts: Rollouts, targets_xy: FloatArray) -> FloatArray:
    """(N, 2) m from the target to where the bottle ends; NaN where it does not stand or is nowhere near."""
    miss = rollouts.object_pos_world[-1, :, :2] - targets_xy
    usable = (rollouts.object_axis_world[-1, :, 2] > 0.98) & (np.linalg.norm(miss, axis=-1) < 0.1)
    return np.where(usable[:, None], miss, np.nan)


def typical_miss(misses: FloatArray) -> FloatArray:
    """(2,) median of misses (N, 2), or 0 where too few are known."""
    known = misses[np.isfinite(misses).all(axis=-1)]
    return np.median(known, axis=0) if len(known) >= 4 else np.zeros(2)


def servo_noise(rng: np.random.Generator, count: int, steps: int, noise_rad: float) -> FloatArray:
    """(count, steps, 23) rad white noise on servo targets; the arm's is a quarter of the fingers'."""
    scale = np.where(np.arange(23) < 7, 0.25 * noise_rad, noise_rad)
    return scale * rng.standard_normal((count, steps, 23))
