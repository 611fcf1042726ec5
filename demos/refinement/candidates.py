"""What the search varies: candidates, which of them are kept, and how their path learns from the object's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demos.plan import Plan

FloatArray = NDArray[np.float64]
_LAG_STEPS = 2  # by which the object follows the palm's target
_LEAD_IN_STEPS = 6  # over which a correction sets in when the object is lifted
_FADE_STEPS = 12
_TOUCH_STEPS = 5  # before the object is placed, in which the table may right it
_LOST_M = 0.12  # an object farther off its path is not held any more, and nothing is learnt from it


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """One bent plan, and what was seen of it.

    Attributes:
        hold: index of the plan that is bent.
        bend: (K, B).
        correction: (T, 6) m and rad, of the palm's path in the world.
        cost: mean over its rollouts.
        success: share of its rollouts that succeed.
        nominal_success: whether the one as the video has it does.
        tracking_error_m: of that one.
    """

    hold: int
    bend: FloatArray
    correction: FloatArray
    cost: float = float("inf")
    success: float = 0.0
    nominal_success: bool = False
    tracking_error_m: float = float("inf")


def keep_apart(candidates: Sequence[Candidate], spread: FloatArray, count: int, holds: int) -> list[Candidate]:
    """The best candidates that are no near copies of each other, at least one of each of the first `holds` holds.

    Args:
        candidates: with their costs.
        spread: (B,) scale of each bend, by which a distance counts.
        count: how many are kept at most.
        holds: how many holds are represented in any case, where candidates have them.
    """
    ordered = sorted(candidates, key=lambda one: one.cost)
    firsts = [next((one for one in ordered if one.hold == hold), None) for hold in range(holds)] if holds > 1 else []
    kept = [one for one in firsts if one is not None][:count]
    for one in ordered:
        if len(kept) >= count:
            break
        if all(one is not other and (one.hold != other.hold or _distance(one, other, spread) > 0.5) for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: one.cost)


def _distance(one: Candidate, other: Candidate, spread: FloatArray) -> float:
    """Root mean square difference of two bends, in units of the spread."""
    return float(np.sqrt((((one.bend - other.bend) / spread) ** 2).mean()))


def path_correction(plan: Plan, difference: FloatArray, axis_world: FloatArray, *, fades: bool = False) -> FloatArray:
    """(T, 6) m and rad by which the palm's path should be led elsewhere, so that the object keeps to its path and upright.

    It sets in at the lift, ahead by the servos' lag, and stays as it is where the object is placed, or fades.

    Args:
        plan: the plan.
        difference: (T, 3) m where the object was missing.
        axis_world: (T, 3) unit vectors, an axis of the object that should stay as it was at first.
        fades: the correction ends after the carry.
    """
    last = plan.place
    distance = np.linalg.norm(difference[plan.lift : last + 1], axis=-1)
    lost = np.flatnonzero(distance > _LOST_M)
    if len(lost):
        last = plan.lift + int(lost[0]) - 1 - _LAG_STEPS
    change = np.zeros((len(difference), 6))
    if last <= plan.lift + _LEAD_IN_STEPS:
        return change
    steps = np.arange(plan.lift, len(difference))
    lead_in = np.minimum((steps - plan.lift + 1) / _LEAD_IN_STEPS, 1.0)[:, None]
    aloft = max(last - _TOUCH_STEPS, plan.lift)  # on the table an object stands, whatever the hand does
    change[plan.lift :, :3] = difference[np.minimum(steps + _LAG_STEPS, last)] * lead_in
    change[plan.lift :, 3:] = _turn_to(axis_world, axis_world[0])[np.minimum(steps + _LAG_STEPS, aloft)] * lead_in
    if fades:
        change[plan.lift :] *= np.clip(1 - (steps - plan.place) / _FADE_STEPS, 0.0, 1.0)[:, None]
    padded = np.concatenate([change[:1], change, change[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


def _turn_to(axes: FloatArray, wanted: FloatArray) -> FloatArray:
    """(T, 3) rotation vectors that turn unit vectors (T, 3) into a wanted one."""
    normal = np.cross(axes, wanted)
    sine = np.linalg.norm(normal, axis=-1, keepdims=True)
    angle = np.arctan2(sine, (axes @ wanted)[:, None])
    return normal / np.maximum(sine, 1e-9) * angle
