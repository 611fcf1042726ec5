"""Refinement in physics: bends a retargeted plan until the robot itself moves the object as the video did.

First a search for a hold: constant bends of the palm and the fingers' closure, around the person's own hold and around the
usual one of the robot, judged by the first part of the carry. Good holds are multimodal, and their mean is usually no hold:
what is kept is kept apart. Then the whole motion: every candidate is played as the video has it and in moved and disturbed
copies (the object elsewhere than expected, other mass and friction, pushes, noise on the servos), splines of the bends go on
changing, and the palm's path learns from where the object was off its own, be it by the servos' lag or the fingers' pushing.
The cost is object tracking first and the task's success last.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.plan import Plan, plan_targets
from demos.refinement.candidates import Candidate, keep_apart, path_correction
from demos.refinement.conditions import ConditionRange, Conditions, draw_conditions, nominal_conditions
from demos.refinement.cost import grip_steps, rollout_cost, tracking_difference, tracking_error
from demos.refinement.settings import HOLDS, RefineConfig, RefineResult
from demos.refinement.store import RoundStore, SearchState
from demos.rollout import RolloutRunner, Rollouts
from dexvid_envs.errors import DexVidError

__all__ = ["HOLDS", "RefineConfig", "RefineResult", "Refiner"]

FloatArray = NDArray[np.float64]
Progress = Callable[[float, str], None]
_MOST_CORRECTION = np.array([0.15, 0.15, 0.06] + [0.5] * 3)  # m and rad


class Refiner:
    """The search on one recording's plans.

    Args:
        plans: the plan with the person's hold, and others with the same timing; or that one alone.
        env_id, env_options: environment.
        config: size of the search.
        goal_m: (2,) or (3,) m the task's goal; the plan's own target if None.
        object_yaw_rad: of the object at the start.
        spread: (start, target) half extents (2,) m over which copies are moved; not at all if None.
        store: finished rounds, from which a stopped search goes on.
    """

    def __init__(
        self,
        plans: Plan | Sequence[Plan],
        env_id: str,
        env_options: dict[str, Any],
        config: RefineConfig | None = None,
        *,
        goal_m: FloatArray | None = None,
        object_yaw_rad: float = 0.0,
        spread: tuple[FloatArray, FloatArray] | None = None,
        store: Path | None = None,
    ) -> None:
        self.plans = [plans] if isinstance(plans, Plan) else list(plans)
        self.plan = self.plans[0]
        self.config = config = config or RefineConfig()
        if config.candidates < config.replicates or config.elites < 1:
            raise DexVidError(
                f"expected at least as many candidates as replicates and one elite, got {config.candidates}, "
                f"{config.replicates} and {config.elites}"
            )
        if any(plan.num_steps != self.plan.num_steps for plan in self.plans):
            raise DexVidError(f"expected plans of the same timing, got {[plan.num_steps for plan in self.plans]} steps")
        self.goal_m = self.plan.target_xy if goal_m is None else goal_m
        self.object_yaw_rad = object_yaw_rad
        disturbed = {
            "mass": config.mass_factor,
            "friction": config.friction_factor,
            "force_m_per_s2": config.push_m_per_s2,
        }
        self.runner = RolloutRunner(env_id, env_options, config.candidates)
        self.disturbed = RolloutRunner(env_id, env_options | {"randomization": disturbed}, config.candidates)
        self.tracked = self.runner.tracked
        self.weight_n = 9.81 * self.tracked.mass_kg
        zero = np.zeros(2)
        self.range = ConditionRange(*(spread or (zero, zero)), config.object_shift_m, config.noise_rad)
        self.store = RoundStore(store, (config, self.plans, env_id, env_options)) if store else None
        self._progress: Progress = lambda share, text: None

    def run(self, progress: Progress | None = None) -> RefineResult:
        """Both searches, then a test of the result with fresh draws.

        Args:
            progress: called with the finished share in [0, 1] and a line on the state.
        """
        self._progress = progress or self._progress
        state = (self.store.load() if self.store else None) or SearchState.new()
        self._begin = time.monotonic() - state.seconds
        state = self._search_motion(self._search_hold(state))
        best = self._best([*state.elites, *(one for one in state.champions if one not in state.elites)])
        result = self._result(best, state.history)
        self._progress(1.0, f"{'success' if result.succeeded else 'no success'}, {1e3 * result.tracking_error_m:.1f} mm")
        return result

    # ---- first search: a hold ------------------------------------------------------------------------------------------

    def _spread(self) -> FloatArray:
        """(B,) standard deviation of each bend in the first search."""
        config = self.config
        return np.array([config.palm_std_m] * 3 + [config.palm_std_rad] * 3 + [config.close_std_rad] * 7)

    def _fresh(self, rng: np.random.Generator, count: int) -> list[Candidate]:
        """New constant bends, of all holds in turn, the first of each their mean. The usual hold is closed already."""
        drawn = []
        for index in range(count):
            hold = index % len(self.plans)
            close = self.config.close_mean_rad if hold == 0 else 0.0
            mean = np.array([0.0] * 6 + [close] * 6 + [0.3 if hold == 0 else self.tracked.usual_opening_rad])
            scale = (1.0 if hold == 0 else 0.6) * float(index >= len(self.plans))
            bend = mean + scale * self._spread() * rng.standard_normal(len(mean))
            drawn.append(Candidate(hold, np.tile(bend, (self.plan.knots, 1)), np.zeros((self.plan.num_steps, 6))))
        return drawn

    def _mutated(
        self, rng: np.random.Generator, parents: Sequence[Candidate], count: int, scale: float, local: float
    ) -> list[Candidate]:
        """Children of the parents in turn; half of the bends change, all knots alike plus `local` of it one by one."""
        children = []
        for index in range(count):
            parent = parents[index % len(parents)]
            whole = rng.standard_normal((1, parent.bend.shape[1]))
            change = whole + local * rng.standard_normal(parent.bend.shape)
            bend = parent.bend + scale * self._spread() * change * (rng.random(whole.shape) < 0.5)
            children.append(Candidate(parent.hold, bend, parent.correction))
        return children

    def _search_hold(self, state: SearchState) -> SearchState:
        """Constant bends, at the video's own start and target without noise, played until the object should be in the air."""
        config = self.config
        while state.search == "offset":
            index, rng = state.round, self._rng(0, state.round)
            fresh = config.candidates if index == 0 else int(config.fresh_fraction * config.candidates)
            candidates = self._fresh(rng, fresh)
            candidates += self._mutated(rng, state.elites, config.candidates - fresh, 0.6 * config.decay**index, 0.0)
            conditions = nominal_conditions(self.plan, len(candidates))
            rollouts = self._play(candidates, conditions, self.runner, self._hold_horizon())
            cost = self._cost(rollouts, conditions) + self._handicap(candidates)
            pool = state.elites + [dataclasses.replace(one, cost=float(c)) for one, c in zip(candidates, cost, strict=True)]
            elites = keep_apart(pool, self._spread(), 2 * config.elites, len(self.plans))
            held = self._held(rollouts)
            done = index + 1 >= config.offset_rounds or (index >= 2 and held.mean() >= 0.25) or self._out_of_time(0.3)
            if done:
                elites = self._by_robustness(elites, rng)
            row = {"cost": elites[0].cost, "success": float(held.max()), "mean": float(held.mean())}
            state = self._finish_round(state, elites, row, "spline" if done else "offset")
        return state

    def _by_robustness(self, elites: list[Candidate], rng: np.random.Generator) -> list[Candidate]:
        """The elites with what disturbed copies of them cost in addition, the best first."""
        plan, count = self.plan, max(self.config.candidates // len(elites), 1)
        conditions = draw_conditions(rng, plan, self.range, count, self.tracked.goal_follows_start, moved_share=0.0)
        owners = [one for one in elites for _ in range(count)]
        cost, _ = self._play_all(owners, conditions.repeated(len(elites)), self._hold_horizon())
        means = cost.reshape(len(elites), count).mean(axis=1)
        tried = [dataclasses.replace(one, cost=one.cost + float(mean)) for one, mean in zip(elites, means, strict=True)]
        return sorted(tried, key=lambda one: one.cost)

    def _hold_horizon(self) -> int:
        """Steps that are played in the first search."""
        return min(self.plan.place, self.plan.lift + 24) + 1

    def _held(self, rollouts: Rollouts) -> NDArray[np.bool_]:
        """(N,) whether the object went along with its path, if not exactly, to the end of the rollouts."""
        conditions = nominal_conditions(self.plan, len(rollouts.success))
        error = tracking_error(self.plan, rollouts, conditions.starts_xy, conditions.targets_xy)
        return error[-1] < 0.05

    # ---- second search: the whole motion ---------------------------------------------------------------------------------

    def _search_motion(self, state: SearchState) -> SearchState:
        """Robust splines of bends and a corrected path; elites are tried anew in every round.

        A correction may lead a path astray. The best of each round is therefore kept as it was tried: the next round begins
        with the best of them, too, where it was better than what came of the last, and the final test compares them all.
        """
        config = self.config
        while state.search == "spline":
            index, rng = state.round, self._rng(1, state.round)
            if index >= config.spline_rounds or self._out_of_time(0.85):
                state = dataclasses.replace(state, search="done")
                break
            parents = state.elites
            if index == 0:  # the elites of the first search are more; each hold goes on as it was to begin with, too
                parents = keep_apart(parents, self._spread(), config.elites, len(self.plans))
                parents = [*parents, *self._fresh(rng, len(self.plans))[1:]]
            leader = min(state.champions, key=lambda one: one.cost, default=None)
            if leader is not None and leader is not state.champions[-1]:
                parents = [leader, *parents]
            count = max(config.candidates // config.replicates, 1)
            local = 0.0 if index < 2 else 0.7
            scale = config.spline_scale * config.decay**index
            candidates = list(parents) + self._mutated(rng, parents, max(count - len(parents), 0), scale, local)
            tried, nominal = self._try(candidates, rng, config.replicates)
            elites = keep_apart(tried, 0.3 * self._spread(), config.elites, len(self.plans))
            best = elites[0]
            good = best.success >= config.enough and best.tracking_error_m <= config.close_m
            good_rounds = state.good_rounds + 1 if good else 0
            row = {"cost": best.cost, "success": best.success, "mean": float(np.mean([one.success for one in elites]))}
            row |= {"tracking_mm": 1e3 * best.tracking_error_m}
            done = good_rounds >= 2 or index + 1 >= config.spline_rounds
            if not done:
                corrected = {id(one): self._corrected(one, nominal, tried.index(one)) for one in elites}
                elites = [corrected[id(one)] for one in elites]
            state = dataclasses.replace(state, good_rounds=good_rounds, champions=[*state.champions, best])
            state = self._finish_round(state, elites, row, "done" if done else "spline")
        return state

    def _try(self, candidates: list[Candidate], rng: np.random.Generator, replicates: int) -> tuple[list[Candidate], Rollouts]:
        """Candidates with their mean cost and success over the same conditions, and their rollouts as the video has it."""
        nominal_at = nominal_conditions(self.plan, len(candidates))
        nominal = self._play(candidates, nominal_at, self.runner)
        error = tracking_error(self.plan, nominal, nominal_at.starts_xy, nominal_at.targets_xy)
        carried = error[self.plan.lift : self.plan.place + 1].mean(axis=0)
        costs, successes = [self._cost(nominal, nominal_at)], [nominal.success.astype(float)]
        conditions = draw_conditions(rng, self.plan, self.range, replicates - 1, self.tracked.goal_follows_start)
        owners = [one for one in candidates for _ in range(replicates - 1)]
        cost, success = self._play_all(owners, conditions.repeated(len(candidates)))
        costs.extend(cost.reshape(len(candidates), -1).T)
        successes.extend(success.reshape(len(candidates), -1).T)
        mean_cost = np.mean(costs, axis=0) + self._handicap(candidates)
        share = np.mean(successes, axis=0)
        tried = [
            dataclasses.replace(one, cost=float(c), success=float(s), nominal_success=bool(n), tracking_error_m=float(e))
            for one, c, s, n, e in zip(candidates, mean_cost, share, nominal.success, carried, strict=True)
        ]
        return tried, nominal

    def _play_all(
        self, owners: Sequence[Candidate], conditions: Conditions, horizon: int | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """(M,) cost and success of candidates in disturbed conditions, as many at once as there are simulations."""
        costs, successes = [np.zeros(0)], [np.zeros(0)]
        for first in range(0, len(owners), self.config.candidates):
            rows = slice(first, first + self.config.candidates)
            part = conditions.rows(rows)
            rollouts = self._play(owners[rows], part, self.disturbed, horizon)
            costs.append(self._cost(rollouts, part))
            successes.append(rollouts.success.astype(float))
        return np.concatenate(costs), np.concatenate(successes)

    def _corrected(self, candidate: Candidate, nominal: Rollouts, row: int) -> Candidate:
        """The candidate with its palm's path led towards where the object was missing, where it had the object at all."""
        at = nominal_conditions(self.plan, len(nominal.success))
        difference = tracking_difference(self.plan, nominal, at.starts_xy, at.targets_xy)[:, row]
        axis = nominal.object_axis_world[1:, row]
        change = path_correction(self.plan, difference, axis, fades=self.tracked.ending == "throw")
        change += self.tracked.aim_correction(self.plan, nominal.object_pos_world[:, row], np.asarray(self.goal_m))
        corrected = candidate.correction + self.config.correction_gain * change
        return dataclasses.replace(candidate, correction=np.clip(corrected, -_MOST_CORRECTION, _MOST_CORRECTION))

    # ---- the result ------------------------------------------------------------------------------------------------------

    def _best(self, elites: list[Candidate]) -> Candidate:
        """The candidate that does best in fresh conditions: that succeeds, keeps to the video's path, and costs least."""
        tried, _ = self._try(elites, self._rng(2, 0), self.config.final_replicates)
        return min(
            tried,
            key=lambda one: (not one.nominal_success, one.tracking_error_m > self.config.near_m, one.cost + 1 - one.success),
        )

    def _result(self, best: Candidate, history: list[dict[str, Any]]) -> RefineResult:
        plan, count, rng = self.plan, self.config.candidates, self._rng(3, 0)
        at = nominal_conditions(plan, 1)
        nominal = self._play([best], at, self.runner)
        error = tracking_error(plan, nominal, at.starts_xy, at.targets_xy)
        expected = dataclasses.replace(self.range, object_shift_m=0.0)
        moved = draw_conditions(rng, plan, expected, count, self.tracked.goal_follows_start, moved_share=1.0)
        disturbed = draw_conditions(rng, plan, self.range, count, self.tracked.goal_follows_start, moved_share=0.0)
        accepted = self._play([best] * count, moved, self.runner).success
        held = self._play([best] * count, disturbed, self.disturbed).success
        grip = nominal.grip_force_n[:, 0]
        return RefineResult(
            bend=best.bend,
            aim_xy_m=best.correction[plan.place, :2].copy(),
            succeeded=bool(nominal.success[0]),
            tracking_error_m=float(error[plan.lift : plan.place + 1].mean()),
            end_error_m=float(nominal.target_distance[0]),
            acceptance=float(accepted.mean()),
            history=history,
            seconds=time.monotonic() - self._begin,
            hold=HOLDS[best.hold],
            correction=best.correction,
            robustness=float(held.mean()),
            grip_force_n=float(grip.mean()),
            grip_over_weight=float(grip.min() / self.weight_n) if self.weight_n > 0 else float("nan"),
        )

    # ---- rollouts --------------------------------------------------------------------------------------------------------

    def _play(
        self, candidates: Sequence[Candidate], conditions: Conditions, runner: RolloutRunner, horizon: int | None = None
    ) -> Rollouts:
        """One rollout for each candidate, in its condition; of the plan's first steps alone where a horizon is given."""
        steps = self.plan.num_steps if horizon is None else horizon
        servo = np.empty((len(candidates), steps, self.plan.arm.shape[1] + self.plan.fingers.shape[1]))
        for hold, plan in enumerate(self.plans):
            rows = [row for row, one in enumerate(candidates) if one.hold == hold]
            if rows:
                servo[rows] = candidate_targets(plan, [candidates[row] for row in rows], conditions.rows(rows), steps)
        goals = np.tile(self.goal_m, (len(candidates), 1))
        goals[:, :2] += conditions.targets_xy - self.plan.target_xy
        noise = None if conditions.noise is None else conditions.noise[:, :steps]
        return runner.run(
            servo,
            conditions.starts_xy,
            goals,
            conditions.seeds,
            object_shift=conditions.object_shift_m,
            target_noise=noise,
            yaw_rad=self.object_yaw_rad,
            grip_steps=[step for step in grip_steps(self.plan) if step <= steps],
        )

    def _cost(self, rollouts: Rollouts, conditions: Conditions) -> FloatArray:
        return rollout_cost(self.plan, rollouts, conditions.starts_xy, conditions.targets_xy, self.tracked, self.weight_n)

    def _handicap(self, candidates: Sequence[Candidate]) -> FloatArray:
        return np.array([self.config.usual_handicap * (one.hold > 0) for one in candidates])

    # ---- rounds ----------------------------------------------------------------------------------------------------------

    def _rng(self, search: int, index: int) -> np.random.Generator:
        """Every round has its own, so that a search goes on as if it had never been stopped."""
        return np.random.default_rng([self.config.seed, search, index])

    def _out_of_time(self, share: float) -> bool:
        limit = self.config.max_seconds
        return limit is not None and time.monotonic() - self._begin > share * limit

    def _finish_round(self, state: SearchState, elites: list[Candidate], row: dict[str, Any], following: str) -> SearchState:
        """The state after a round, kept in the store; `following` is the search that comes next."""
        config, search, index = self.config, state.search, state.round
        seconds = time.monotonic() - self._begin
        history = [*state.history, {"search": search, "round": index, **row, "seconds": seconds}]
        count = index + 1 if following == search else 0
        state = dataclasses.replace(state, search=following, round=count, elites=elites, history=history, seconds=seconds)
        if self.store:
            self.store.save(state)
        hold, motion = 0.5 * config.offset_rounds, config.spline_rounds  # rounds of the first search are half as long
        finished = 0.5 * (index + 1) if search == "offset" else hold + index + 1
        if following != search:
            finished = hold if search == "offset" else hold + motion
        what = "hold" if search == "offset" else "motion"
        track = f", {row['tracking_mm']:.0f} mm" if "tracking_mm" in row else ""
        share = finished / (hold + motion + 3)  # the tests at the end take about three rounds
        self._progress(share, f"search for the {what}, round {index + 1}: cost {row['cost']:.2f}, {row['success']:.0%}{track}")
        return state


def candidate_targets(plan: Plan, candidates: Sequence[Candidate], conditions: Conditions, steps: int) -> FloatArray:
    """(N, steps, 23) rad servo targets of candidates in their conditions."""
    bends = np.stack([one.bend for one in candidates])
    correction = np.stack([one.correction for one in candidates])
    starts, targets = conditions.starts_xy, conditions.targets_xy
    return plan_targets(plan, bends, starts, targets, correction_world=correction, steps=steps)[0]
