"""One frame of retargeting: Gauss-Newton steps within the joint limits, on analytic Jacobians.

Of MuJoCo only the kinematics and the Jacobians are computed; all terms are rows of one preallocated matrix, so that a step
costs some forty microseconds.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from demos.retargeting.robot_hand import RobotHand
from demos.retargeting.surface import ObjectSurface

FloatArray = NDArray[np.float64]
_LARGEST_STEP_RAD = 0.5
_CONVERGED_RAD = 1e-4
#: Where a motion over time is weighed, a metre of a free wrist's way counts as the turn that moves fingertips as far.
_LEVER_M = 0.1
_NEAR_M = 0.02  # wider gaps stay out of a step
_UP = np.array([0.0, 0.0, 1.0])
_NONE = np.zeros(0, dtype=bool)
_POSV: Any = get_lapack_funcs("posv", dtype=np.float64)


@dataclasses.dataclass(frozen=True)
class PoseWeights:
    """Weights of the terms of a frame; see `demos.retarget.RetargetConfig`."""

    wrist: float
    arm_posture: float
    posture: float
    clearance_m: float
    clearance: float
    object_clearance: float


@dataclasses.dataclass(frozen=True)
class PoseGoal:
    """What a frame asks of the robot.

    Attributes:
        fingertips_world: (F, 3) m.
        wrist_world: (3,) m.
        T_world_object: (4, 4) pose of the object that links are kept out of; None for none.
    """

    fingertips_world: FloatArray
    wrist_world: FloatArray
    T_world_object: FloatArray | None = None


@dataclasses.dataclass(frozen=True)
class Gaps:
    """One-sided terms: gaps that may be wide but should not be negative.

    Attributes:
        gap_m: (G,) distances between links and table or object, negative where they overlap.
        rows: (G, NV) their derivatives.
        weight: of the square of an overlap, relative to that of a fingertip's distance.
    """

    gap_m: FloatArray
    rows: FloatArray
    weight: float

    def after(self, step: FloatArray) -> FloatArray:
        """(G,) gaps after a step (NV,), to first order."""
        return self.gap_m + self.rows @ step

    def added(self, normal: FloatArray, gradient: FloatArray, closed: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """Normal matrix (NV, NV) and gradient (NV,) with the terms of the closed gaps (G,) added."""
        rows = self.rows[closed]
        return normal + self.weight * rows.T @ rows, gradient - self.weight * self.gap_m[closed] @ rows

    @property
    def cost(self) -> float:
        """Of the overlaps, in m^2."""
        return 0.5 * self.weight * float((np.minimum(self.gap_m, 0.0) ** 2).sum())


class PoseSolver:
    """Solves frames of one robot; NV is its number of degrees of freedom, NQ that of its coordinates.

    Attributes:
        data: of MuJoCo, at the configuration last computed.
        num_dofs: NV.
        cost: of the terms last linearised, in m^2.
        motion_scale: (NV,) factor of weights on motion over time, which are per rad^2, for degrees of freedom in metres.
    """

    def __init__(self, hand: RobotHand, weights: PoseWeights, surface: ObjectSurface | None = None) -> None:
        self.hand, self.weights, self.surface = hand, weights, surface
        self.model = hand.model
        self.data = mujoco.MjData(self.model)
        self.num_dofs = self.model.nv
        self.cost = 0.0
        self._flat = self.model.nq == self.model.nv
        self._lower, self._upper = hand.limits
        self._low_edge, self._high_edge = self._lower + 1e-9, self._upper - 1e-9
        self._coordinate, self._scalar = self._scalar_coordinates()
        self._own_coordinate = self._coordinate[self._scalar]
        self.motion_scale = np.where(self._translations(), _LEVER_M**-2, 1.0)
        base = np.arange(self.num_dofs) < hand.base_dofs
        self._posture_weight = np.where(self._scalar, np.where(base, weights.arm_posture, weights.posture), 0.0)
        self._posture = np.where(base, hand.home_qpos[self._coordinate], hand.relaxed_qpos[self._coordinate])
        self._palm = hand.palm_id
        self._tips = hand.fingertip_ids
        self._bodies = hand.clear_bodies
        self._margins = weights.clearance_m + np.where(self._bodies <= self._palm, hand.body_margin_m, 0.0)
        self._spheres = hand.spheres
        tips = 3 * len(self._tips)
        rows = tips + 3 + len(self._bodies) + 1
        self._jacobian, self._residual = np.zeros((rows, self.num_dofs)), np.zeros(rows)
        self._tip_jacobians = [(int(site), self._jacobian[3 * i : 3 * i + 3]) for i, site in enumerate(self._tips)]
        self._tip_residual = self._residual[:tips].reshape(-1, 3)
        self._point_jacobian = np.zeros((3, self.num_dofs))
        self._sphere_world = np.zeros((len(self._spheres.bodies), 3))

    def solve(self, goal: PoseGoal, previous: FloatArray, previous_weight: float, iterations: int) -> FloatArray:
        """The configuration (NQ,) for a goal, from the one before (NQ,); `previous_weight` in m^2/rad^2."""
        qpos = previous.copy()
        motion_weight = 2 * previous_weight * self.motion_scale
        diagonal = motion_weight + self._posture_weight + 1e-8
        for _ in range(iterations):
            normal, gradient = self.linearised(goal, qpos)
            gaps = self.gaps(goal)
            normal.flat[:: self.num_dofs + 1] += diagonal
            gradient += motion_weight * self.difference(qpos, previous)
            gradient += self._posture_weight * (self._posture - qpos[self._coordinate])
            if self.step(qpos, self._bounded(qpos, normal, gradient, gaps)) < _CONVERGED_RAD:
                break
        return qpos

    def fingertips(self, qpos: FloatArray) -> FloatArray:
        """(F, 3) m fingertips in the world at a configuration (NQ,)."""
        self.kinematics(qpos)
        return self.data.site_xpos[self._tips]

    def kinematics(self, qpos: FloatArray) -> None:
        """Brings `data` to a configuration (NQ,), as far as Jacobians need it."""
        self.data.qpos = qpos
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)

    def difference(self, start: FloatArray, end: FloatArray) -> FloatArray:
        """The step (NV,) from one configuration (NQ,) to another."""
        if self._flat:
            return end - start
        step = np.empty(self.num_dofs)
        mujoco.mj_differentiatePos(self.model, step, 1.0, start, end)
        return step

    def posture_terms(self, qpos: FloatArray) -> tuple[FloatArray, FloatArray, float]:
        """Diagonal (NV,) of the normal matrix, gradient (NV,) and cost in m^2 of the pull towards the posture."""
        away = self._posture - qpos[self._coordinate]
        pull = self._posture_weight * away
        return self._posture_weight, pull, 0.5 * float(pull @ away)

    def pressed(self, qpos: FloatArray, step: FloatArray) -> NDArray[np.bool_]:
        """(NV,) degrees of freedom that are at a limit which a step (NV,) would pass."""
        at = qpos[self._coordinate]
        return ((at + step < self._lower) & (at <= self._low_edge)) | ((at + step > self._upper) & (at >= self._high_edge))

    def step(self, qpos: FloatArray, step: FloatArray) -> float:
        """Moves a configuration (NQ,) by a step (NV,) within the limits, in place; returns the largest change."""
        at = qpos[self._coordinate]
        bounded = np.minimum(np.maximum(at + step, self._lower), self._upper)
        moved = float(np.abs(bounded - at).max())
        if not self._flat:
            mujoco.mj_integratePos(self.model, qpos, step, 1.0)
        qpos[self._own_coordinate] = bounded[self._scalar]
        return moved

    def linearised(self, goal: PoseGoal, qpos: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Normal matrix (NV, NV) and gradient (NV,) of fingertips, wrist and the hand's height above the table."""
        self.kinematics(qpos)
        model, data, weights = self.model, self.data, self.weights
        for site, jacobian in self._tip_jacobians:
            mujoco.mj_jacSite(model, data, jacobian, None, site)
        np.subtract(goal.fingertips_world, data.site_xpos[self._tips], out=self._tip_residual)
        rows = 3 * len(self._tips)
        if weights.wrist > 0 or weights.clearance > 0:
            mount = data.xpos[self._palm] + data.xmat[self._palm].reshape(3, 3) @ self.hand.wrist_in_palm_m
            mujoco.mj_jac(model, data, self._point_jacobian, None, mount, self._palm)
            scale = weights.wrist**0.5
            self._jacobian[rows : rows + 3] = scale * self._point_jacobian
            self._residual[rows : rows + 3] = scale * (goal.wrist_world - mount)
            rows += 3
            if weights.clearance > 0:
                rows = self._add_table(rows, mount)
        jacobian, residual = self._jacobian[:rows], self._residual[:rows]
        self.cost = 0.5 * float(residual @ residual)
        return jacobian.T @ jacobian, residual @ jacobian

    def _add_table(self, rows: int, mount: FloatArray) -> int:
        """Rows for bodies below their margin and for the wrist; `_point_jacobian` is that of the wrist."""
        depth = self._margins - self.data.xpos[self._bodies, 2]
        scale = self.weights.clearance**0.5
        wrist_depth = self.hand.wrist_radius_m - mount[2]
        if wrist_depth > 0:
            rows = self._add_row(rows, self._point_jacobian[2], wrist_depth, scale)
        if depth.max() > 0:
            for index in np.flatnonzero(depth > 0):
                mujoco.mj_jacBody(self.model, self.data, self._point_jacobian, None, int(self._bodies[index]))
                rows = self._add_row(rows, self._point_jacobian[2], depth[index], scale)
        return rows

    def gaps(self, goal: PoseGoal) -> Gaps | None:
        """Gaps of links near table and object, at the configuration last linearised; None where the goal has no object."""
        if goal.T_world_object is None or self.weights.object_clearance <= 0:
            return None
        places, radius = self.sphere_centres(), self._spheres.radius_m
        above = places[:, 2] - radius
        low = np.flatnonzero(above < _NEAR_M)
        found = [(index, above[index], _UP) for index in low]
        if self.surface is not None:
            turn = goal.T_world_object[:3, :3]
            local = (places - goal.T_world_object[:3, 3]) @ turn
            close = np.flatnonzero(self.surface.near(local, radius + _NEAR_M))
            if len(close):
                nearness = self.surface.nearness(local[close])
                gap = nearness.distance_m - radius[close]
                outward = nearness.outward @ turn.T
                found += [(close[i], gap[i], outward[i]) for i in np.flatnonzero((gap < _NEAR_M) & nearness.beside)]
        rows = np.empty((len(found), self.num_dofs))
        for row, (sphere, _, direction) in zip(rows, found, strict=True):
            body = int(self._spheres.bodies[sphere])
            mujoco.mj_jac(self.model, self.data, self._point_jacobian, None, self._sphere_world[sphere], body)
            np.dot(direction, self._point_jacobian, out=row)
        return Gaps(np.array([gap for _, gap, _ in found]), rows, self.weights.object_clearance)

    def sphere_centres(self) -> FloatArray:
        """(S, 3) m centres of the links' spheres in the world, at the configuration last computed."""
        bodies = self._spheres.bodies
        turned = (self.data.xmat[bodies].reshape(-1, 3, 3) @ self._spheres.offsets_m[:, :, None])[:, :, 0]
        return np.add(self.data.xpos[bodies], turned, out=self._sphere_world)

    def _add_row(self, rows: int, row: FloatArray, residual_m: float, scale: float) -> int:
        self._jacobian[rows] = scale * row
        self._residual[rows] = scale * residual_m
        return rows + 1

    def _bounded(self, qpos: FloatArray, normal: FloatArray, gradient: FloatArray, gaps: Gaps | None) -> FloatArray:
        """The step (NV,) to the minimum: what presses against a limit is held, and gaps that would close are kept open."""
        held = np.zeros(self.num_dofs, dtype=bool)
        closed = _NONE if gaps is None else gaps.gap_m < 0
        step = self._solved(normal, gradient, held, gaps, closed)
        for _ in range(2 if gaps is None else 5):
            pressed = self.pressed(qpos, step) & ~held
            would_close = _NONE if gaps is None else gaps.after(step) < 0
            if not pressed.any() and not (closed ^ would_close).any():
                break
            held |= pressed
            closed = would_close
            step = self._solved(normal, gradient, held, gaps, closed)
        largest = float(np.abs(step).max())
        return step * (_LARGEST_STEP_RAD / largest) if largest > _LARGEST_STEP_RAD else step

    @staticmethod
    def _solved(
        normal: FloatArray,
        gradient: FloatArray,
        held: NDArray[np.bool_],
        gaps: Gaps | None,
        closed: NDArray[np.bool_],
    ) -> FloatArray:
        if gaps is not None and closed.any():
            normal, gradient = gaps.added(normal, gradient, closed)
        if not held.any():
            return solve_positive(normal, gradient)
        free = np.flatnonzero(~held)
        step = np.zeros(len(gradient))
        step[free] = solve_positive(normal[free[:, None], free], gradient[free])
        return step

    def _translations(self) -> NDArray[np.bool_]:
        """(NV,) degrees of freedom in metres: slides, and the first three of free joints."""
        in_metres = np.zeros(self.num_dofs, dtype=bool)
        for joint, kind in enumerate(self.model.jnt_type):
            count = {mujoco.mjtJoint.mjJNT_FREE.value: 3, mujoco.mjtJoint.mjJNT_SLIDE.value: 1}.get(int(kind), 0)
            in_metres[self.model.jnt_dofadr[joint] : self.model.jnt_dofadr[joint] + count] = True
        return in_metres

    def _scalar_coordinates(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """For each degree of freedom its coordinate, and whether it has one of its own, as hinges and slides do."""
        coordinate, scalar = np.zeros(self.num_dofs, dtype=np.int64), np.zeros(self.num_dofs, dtype=bool)
        for joint in np.flatnonzero(self.hand.scalar_joints):
            dof = self.model.jnt_dofadr[joint]
            coordinate[dof], scalar[dof] = self.model.jnt_qposadr[joint], True
        return coordinate, scalar


def solve_positive(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """Solution (D,) of a symmetric, positive definite system (D, D), (D,); by least squares where it is not quite."""
    _, solution, failure = _POSV(matrix.T, vector)
    return solution if failure == 0 else np.linalg.lstsq(matrix, vector)[0]
