"""Builds numpy arrays from the inert records of a pickle by our own code, so that not even numpy's `__setstate__` sees them.

Reading the pickle is left to `inert_pickle`, object arrays and containers to `restricted_pickle`.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.importers.inert_pickle import Record, Refused

_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|i[1248]|u[1248]|f[248]|c8|c16)")
_OBJECT_DTYPE = re.compile(r"\|?O[48]?")
#: Names that numpy 1 and 2 write when they pickle arrays, dtypes and scalars.
NUMPY_NAMES = frozenset(
    [("numpy", "ndarray"), ("numpy", "dtype")]
    + [
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    ]
)
#: Names by which the oldest protocols write bytes: as text to be encoded, or as an empty call.
BYTES_NAMES = frozenset([("_codecs", "encode"), ("__builtin__", "bytes")])
#: Those of the names that stand for an array or a number.
ARRAY_NAMES = ("_reconstruct", "scalar", "_frombuffer")


def plain_array(record: Record) -> Any:
    """The array or number of a record with one of `ARRAY_NAMES`; None for an object array, whose items are not here.

    Raises:
        Refused: its parts do not fit each other.
    """
    if record.name == "scalar":
        dtype, data = record.arguments
        return array_from_bytes(as_bytes(data), dtype_text(dtype), (), False)[()]
    if record.name == "_frombuffer":
        data, dtype, shape, order = record.arguments
        return array_from_bytes(as_bytes(data), dtype_text(dtype), shape, order == "F")
    _, shape, dtype, fortran, data = record.state
    descriptor = dtype_text(dtype)
    if _OBJECT_DTYPE.fullmatch(descriptor):
        return None
    return array_from_bytes(as_bytes(data), descriptor, shape, bool(fortran))


def dtype_text(record: Any) -> str:
    """Text such as `<f8` of a recorded dtype; the recorded state contributes its byte order only."""
    if not isinstance(record, Record) or record.name != "dtype" or not isinstance(record.arguments[0], str):
        raise Refused("an array without a dtype")
    text = record.arguments[0].lstrip("<>|=")
    order = record.state[1] if isinstance(record.state, tuple) and len(record.state) > 1 else "="
    if order not in ("<", ">", "|", "="):
        raise Refused("a dtype without a byte order")
    return order + text


def as_bytes(data: Any) -> bytes:
    """Raw bytes, also as the oldest protocols write them (`BYTES_NAMES`).

    Raises:
        Refused: it is something else.
    """
    if isinstance(data, Record) and (data.module, data.name) in BYTES_NAMES:
        text, encoding = data.arguments or ("", "latin1")
        if isinstance(text, str) and encoding == "latin1":
            return text.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise Refused("an array without raw data")
    return bytes(data)


def checked_shape(shape: Any, max_items: int) -> tuple[int, ...]:
    """The shape, if it is one.

    Raises:
        Refused: it is no short tuple of counts, or of too many items.
    """
    if not isinstance(shape, tuple) or len(shape) > 16 or not all(type(n) is int and n >= 0 for n in shape):
        raise Refused("an array whose shape is not a short tuple of counts")
    if math.prod(shape) > max_items:
        raise Refused(f"an array of {math.prod(shape)} items")
    return shape


def array_from_bytes(data: bytes, descriptor: str, shape: Any, fortran: bool) -> NDArray:
    """Array of plain numbers from raw bytes; the bytes have to fit the shape exactly, so a header cannot ask for memory."""
    if not _PLAIN_DTYPE.fullmatch(descriptor):
        raise Refused(f"the dtype {descriptor}")
    dtype = np.dtype(descriptor)
    shape = checked_shape(shape, max(len(data), 1))
    if math.prod(shape) * dtype.itemsize != len(data):
        raise Refused(f"{len(data)} bytes where shape {shape} of {descriptor} needs {math.prod(shape) * dtype.itemsize}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C").copy()
