"""Keeps linear algebra on small matrices on one thread.

OpenBLAS hands a 23 x 23 system to all cores, which costs more than it saves and, beside other work, a hundred times more.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def single_threaded_blas() -> AbstractContextManager[object]:
    """A context in which numpy's and scipy's BLAS use one thread; torch and the physics threads are not touched."""
    return _controller().limit(limits=1, user_api="blas")
