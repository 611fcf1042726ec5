"""Row-wise arithmetic on small arrays, written for a low cost per call: a single environment makes dozens of these a step.

Everything here rounds a row alike, whatever the number of rows, so that one environment and many agree bit for bit.

For small arrays numpy's time goes into preparing a call. Operands of equal shape and type take 0.4 microseconds; a Python
number, a broadcast axis, or truth values among numbers take 0.9; a reduction takes 1.3. Constants are therefore kept as arrays
of one row (`one_row`): for a single environment they have the shape of what they meet, for many they broadcast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def one_row(*values: float) -> FloatArray:
    """(1, K) constants that meet quantities (N, K)."""
    return np.array([values], dtype=np.float64)


_COUNTS = [np.array([float(count)]) for count in range(33)]


def lengths(vectors: FloatArray) -> FloatArray:
    """(...,) Euclidean lengths of vectors (..., K)."""
    return np.sqrt(np.add.reduce(vectors * vectors, -1))


def planar_lengths(vectors: FloatArray) -> FloatArray:
    """(N,) Euclidean lengths of vectors (N, 2); a third of the cost of `lengths`."""
    return np.hypot(vectors[:, 0], vectors[:, 1])


def means(values: FloatArray) -> FloatArray:
    """(...,) means of (..., K) over the last axis."""
    return np.add.reduce(values, -1) / _COUNTS[values.shape[-1]]


def one_where(flags: NDArray[np.bool_], values: FloatArray) -> FloatArray:
    """Values (N,) of at most 1, and 1 where a flag (N,) is set."""
    return np.maximum(values, flags) if np.count_nonzero(flags) else values


def clipped(values: FloatArray, low: float | FloatArray, high: float | FloatArray) -> FloatArray:
    """`np.clip` without its overhead; a new array."""
    return np.maximum(np.minimum(values, high), low)
