"""A whole clip at once: every frame's terms, and the motion's smoothness over time, in one banded system."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import solveh_banded

from demos.retargeting.pose_solver import PoseGoal, PoseSolver

FloatArray = NDArray[np.float64]
_HELD = 1e6  # on the diagonal of a degree of freedom at its limit
_LARGEST_STEP_RAD = 0.5
_CONVERGED = 1e-3  # share by which a step lowers the cost, below which the motion is done
_FIRST_DAMPING = 1e-5


@dataclasses.dataclass(frozen=True)
class _System:
    """The problem linearised about a motion.

    Attributes:
        bands: (2 NV + 1, T NV) lower bands of the normal matrix.
        gradient: (T, NV).
        cost: of the motion, m^2.
    """

    bands: FloatArray
    gradient: FloatArray
    cost: float


class ClipSolver:
    """Minimises the sum of the frames' terms and, over time, of v and its change.

    With v_t the step from frame t - 1 to t (metres in the solver's `motion_scale`), the terms over time are
    `previous_weight` |v_t|^2, the previous-pose term of a single frame, and `smoothness_weight` |v_t+1 - v_t|^2.

    Args:
        solver: of the robot.
        goals: T frames.
        previous_weight, smoothness_weight: of the terms over time, m^2/rad^2.
    """

    def __init__(self, solver: PoseSolver, goals: Sequence[PoseGoal], previous_weight: float, smoothness_weight: float) -> None:
        self._solver, self._goals = solver, goals
        self._weights = previous_weight, smoothness_weight
        frames = len(goals)
        self._steps = sparse.csr_matrix(sparse.eye(frames - 1, frames, k=1) - sparse.eye(frames - 1, frames))
        self._changes = self._steps[: frames - 2, : frames - 1] @ self._steps if frames > 2 else sparse.csr_matrix((0, frames))
        steps, changes = self._steps, self._changes
        over_time = 2 * previous_weight * steps.T @ steps + 2 * smoothness_weight * changes.T @ changes
        self._time_bands = [over_time.diagonal(-offset) for offset in range(min(3, frames))]

    def solve(self, initial: FloatArray, iterations: int) -> FloatArray:
        """The motion (T, NQ), by so many damped Gauss-Newton steps at most from a motion (T, NQ) that is not worse."""
        motion, system = initial, self._linearised(initial)
        damping = _FIRST_DAMPING
        for _ in range(iterations):
            following = motion.copy()
            for row, change in zip(following, self._bounded_step(motion, system, damping), strict=True):
                self._solver.step(row, change)
            after = self._linearised(following)
            if after.cost >= system.cost:
                damping *= 10
                continue
            gain = system.cost - after.cost
            motion, system, damping = following, after, damping / 3
            if gain < _CONVERGED * after.cost:
                break
        return motion

    def _linearised(self, motion: FloatArray) -> _System:
        solver, frames, dofs = self._solver, len(motion), self._solver.num_dofs
        bands, gradient = np.zeros((2 * dofs + 1, frames * dofs)), np.zeros((frames, dofs))
        blocks = bands.reshape(-1, frames, dofs)
        cost = 0.0
        for t, goal in enumerate(self._goals):
            normal, gradient[t] = solver.linearised(goal, motion[t])
            gaps = solver.gaps(goal)
            if gaps is not None:
                normal, gradient[t] = gaps.added(normal, gradient[t], gaps.gap_m < 0)
                cost += gaps.cost
            diagonal, pull, posture_cost = solver.posture_terms(motion[t])
            normal.flat[:: dofs + 1] += diagonal + 1e-8
            gradient[t] += pull
            cost += solver.cost + posture_cost
            for offset in range(dofs):
                blocks[offset, t, : dofs - offset] = normal.diagonal(-offset)
        for offset, band in enumerate(self._time_bands):
            blocks[offset * dofs, : len(band)] += band[:, None] * solver.motion_scale
        pairs = itertools.pairwise(motion)
        speed = np.array([solver.difference(*pair) for pair in pairs]).reshape(frames - 1, dofs)
        for weight, matrix, value in zip(
            self._weights, (self._steps, self._changes), (speed, np.diff(speed, axis=0)), strict=True
        ):
            gradient -= 2 * weight * (matrix.T @ value) * solver.motion_scale
            cost += weight * float((value * value * solver.motion_scale).sum())
        return _System(bands, gradient, cost)

    def _bounded_step(self, motion: FloatArray, system: _System, damping: float) -> FloatArray:
        """The step (T, NV), what presses against a limit held; it is kept short where it would leave the linear range."""
        solver = self._solver
        bands = system.bands.copy()
        bands[0] += np.tile(damping * solver.motion_scale, len(motion))
        held = np.zeros(system.gradient.shape, dtype=bool)
        step = np.zeros_like(system.gradient)
        for _ in range(3):
            wanted = np.where(held, 0.0, system.gradient).ravel()
            step = solveh_banded(bands, wanted, lower=True, check_finite=False).reshape(step.shape)
            pressed = np.stack([solver.pressed(row, change) for row, change in zip(motion, step, strict=True)]) & ~held
            if not pressed.any():
                break
            held |= pressed
            bands[0] += _HELD * pressed.ravel()
        return np.clip(np.where(held, 0.0, step), -_LARGEST_STEP_RAD, _LARGEST_STEP_RAD)
