"""Reward shaping: one vectorised tolerance function in [0, 1], with bounds and margins in metres or radians."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dexvid_envs.kernels import tolerances

#: Value of the tolerance at a distance of one margin from the bounds, as in dm_control.
VALUE_AT_MARGIN = 0.1
_GAUSSIAN_SCALE = math.sqrt(-2 * math.log(VALUE_AT_MARGIN))


def tolerance(x: NDArray[np.float64], bounds: tuple[float, float] = (0.0, 0.0), margin: float = 0.0) -> NDArray[np.float64]:
    """1 within the bounds, falling off as a Gaussian to 0.1 at one margin outside them.

    Equal to `dm_control.utils.rewards.tolerance(x, bounds, margin)` with its defaults, without its cost per call.

    Args:
        x: any shape; metres or radians.
        bounds: lower and upper bound, inclusive; may be infinite.
        margin: distance over which the value falls; 0 makes a step.

    Returns:
        Array of the shape of `x`, in [0, 1].

    Raises:
        ValueError: the lower bound is above the upper, or the margin is negative.
    """
    lower, upper = bounds
    if lower > upper:
        raise ValueError(f"tolerance: the lower bound {lower} is above the upper bound {upper}; swap them")
    if margin < 0:
        raise ValueError(f"tolerance: the margin must be 0 or more, got {margin}")
    outside = np.maximum(np.maximum(lower - x, x - upper), 0.0)
    if margin == 0:
        return np.where(outside > 0.0, 0.0, 1.0)
    outside *= _GAUSSIAN_SCALE / margin
    outside *= outside
    outside *= -0.5
    return np.exp(outside, out=outside)


class Tolerances:
    """Several tolerances side by side, for the price of one.

    Args:
        shapes: (lower bound, upper bound, margin > 0) for each column.
    """

    def __init__(self, *shapes: tuple[float, float, float]) -> None:
        self._lower, self._upper, margins = (np.array(column, dtype=np.float64) for column in zip(*shapes, strict=True))
        if (self._lower > self._upper).any() or (margins <= 0).any():
            raise ValueError(f"tolerances {shapes}: expected lower <= upper and margins above 0")
        self._factor = -0.5 * np.square(_GAUSSIAN_SCALE / margins)

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, K) values in [0, 1] of quantities (N, K)."""
        return tolerances(x, self._lower, self._upper, self._factor)
