"""Row-wise arithmetic on small arrays, written for a low cost per call: a single environment makes dozens of these a step.

Everything here rounds a row alike, whatever the number of rows, so that one environment and many agree bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def lengths(vectors: FloatArray) -> FloatArray:
    """(...,) Euclidean lengths of vectors (..., K)."""
    return np.sqrt(np.add.reduce(vectors * vectors, axis=-1))


def means(values: FloatArray) -> FloatArray:
    """(...,) means of (..., K) over the last axis."""
    return np.add.reduce(values, axis=-1) / values.shape[-1]


def clipped(values: FloatArray, low: float | FloatArray, high: float | FloatArray) -> FloatArray:
    """`np.clip` without its overhead; a new array."""
    return np.maximum(np.minimum(values, high), low)
