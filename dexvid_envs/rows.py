"""Row-wise arithmetic that rounds a row alike, whatever their number, so that one environment and many agree bit for bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(...,) Euclidean lengths of vectors (..., K)."""
    return np.sqrt(np.add.reduce(vectors * vectors, -1))
