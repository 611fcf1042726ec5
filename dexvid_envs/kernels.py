"""Compiled loops over rows: what every control step does to many small arrays, without numpy's cost per call.

A single environment's arrays hold a few dozen numbers. numpy prepares each call for a microsecond, twice that after the physics
has taken the processor's caches; a step that is made of forty such calls costs a third of its physics. The loops here cost a
third of a microsecond each, and read as what they compute.

They round a row alike, whatever the number of rows, so that one environment and many agree bit for bit. They call no
compiled function of another file: the compiler's cache asks for the age of the file that a function stands in, and no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compiles at the first call of a process; later processes load the result, where there is a folder that can be written."""
    try:
        return cast(_Function, numba.njit(error_model="numpy", cache=True)(function))
    except RuntimeError:  # nowhere to keep it
        return cast(_Function, numba.njit(error_model="numpy")(function))


@compiled
def box_distances(
    sites_world: FloatArray, ids: NDArray[np.int64], centre_world: FloatArray, axes: FloatArray, half: FloatArray
) -> FloatArray:
    """Distances of sites from a box; a bar is a box of no width, a point a box of no extent.

    Args:
        sites_world: (N, nsite, 3) m.
        ids: (K,) which of them.
        centre_world: (N, 3) m of the box.
        axes: (N, 3, 3) the box's axes in the world, as columns.
        half: (N, K, 3) m half extents along these axes.

    Returns:
        (N, K) m, 0 inside.
    """
    count = len(ids)
    distances = np.empty((len(centre_world), count))
    for n in range(len(centre_world)):
        for k in range(count):
            site = ids[k]
            x = sites_world[n, site, 0] - centre_world[n, 0]
            y = sites_world[n, site, 1] - centre_world[n, 1]
            z = sites_world[n, site, 2] - centre_world[n, 2]
            total = 0.0
            for axis in range(3):
                along = x * axes[n, 0, axis] + y * axes[n, 1, axis] + z * axes[n, 2, axis]
                outside = abs(along) - half[n, k, axis]
                if outside > 0.0:
                    total += outside * outside
            distances[n, k] = math.sqrt(total)
    return distances


@compiled
def distances(points: FloatArray, others: FloatArray) -> FloatArray:
    """(N,) distances of points (N, K) from others (N, K or more), whose first K coordinates count."""
    found = np.empty(len(points))
    for n in range(points.shape[0]):
        total = 0.0
        for k in range(points.shape[1]):
            way = points[n, k] - others[n, k]
            total += way * way
        found[n] = math.sqrt(total)
    return found


@compiled
def tolerances(x: FloatArray, lower: FloatArray, upper: FloatArray, factor: FloatArray) -> FloatArray:
    """(N, K) exp(factor d^2) of quantities (N, K) at distances d outside their bounds; bounds and factors are (K,)."""
    shaped = np.empty(x.shape)
    for n in range(x.shape[0]):
        for k in range(x.shape[1]):
            value = x[n, k]
            if value < lower[k]:
                outside = lower[k] - value
                shaped[n, k] = math.exp(factor[k] * outside * outside)
            elif value > upper[k]:
                outside = value - upper[k]
                shaped[n, k] = math.exp(factor[k] * outside * outside)
            else:  # within, or NaN, which the report of an unstable simulation tells
                shaped[n, k] = 1.0
    return shaped


@compiled
def weigh(terms: FloatArray, weights: FloatArray) -> FloatArray:
    """Multiplies reward terms (T, N) by weights (T,) in place; returns their sums (N,)."""
    total = np.zeros(terms.shape[1])
    for t in range(terms.shape[0]):
        for n in range(terms.shape[1]):
            terms[t, n] *= weights[t]
            total[n] += terms[t, n]
    return total


@compiled
def gather(
    values: FloatArray, plus: NDArray[np.int64], minus: NDArray[np.int64], low: FloatArray, high: FloatArray
) -> NDArray[np.float32]:
    """(N, D) columns `plus` (D,) less columns `minus` (D,) of values (N, F), clipped to bounds (D,)."""
    gathered = np.empty((values.shape[0], len(plus)), np.float32)
    for n in range(values.shape[0]):
        for d in range(len(plus)):
            gathered[n, d] = max(min(values[n, plus[d]] - values[n, minus[d]], high[d]), low[d])
    return gathered


@compiled
def clip_finite(actions: NDArray[np.floating[Any]], clipped: FloatArray) -> bool:
    """Writes actions (N, A), clipped to [-1, 1], to `clipped` (N, A); returns whether all of them are finite."""
    finite = True
    for n in range(actions.shape[0]):
        for a in range(actions.shape[1]):
            value = actions[n, a]
            if not math.isfinite(value):
                finite = False
            clipped[n, a] = max(min(value, 1.0), -1.0)
    return finite


@compiled
def shifted_within(start: FloatArray, shift: FloatArray, scale: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(N, J) start (N, J) + scale (J,) x shift (N, J), clipped to bounds (J,)."""
    shifted = np.empty(start.shape)
    for n in range(start.shape[0]):
        for j in range(start.shape[1]):
            shifted[n, j] = max(min(scale[j] * shift[n, j] + start[n, j], high[j]), low[j])
    return shifted


@compiled
def counted(before: NDArray[np.int64], condition: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,) one more than before where the condition holds, and 0 elsewhere."""
    following = np.zeros_like(before)
    for n in range(len(before)):
        if condition[n]:
            following[n] = before[n] + 1
    return following


@compiled
def all_within(points: FloatArray, low: FloatArray, high: FloatArray) -> bool:
    """Whether all points (N, K) lie between bounds (K,), which are within; NaN does."""
    for n in range(points.shape[0]):
        for k in range(points.shape[1]):
            if points[n, k] < low[k] or points[n, k] > high[k]:
                return False
    return True


@compiled
def all_smaller(values: FloatArray, bound: float) -> bool:
    """Whether all values (N, F) are numbers of a magnitude below the bound."""
    for n in range(values.shape[0]):
        for f in range(values.shape[1]):
            if not abs(values[n, f]) < bound:
                return False
    return True
