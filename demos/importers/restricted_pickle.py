"""Reads `.npy` files from outside, also those that hold a pickled dict or list of arrays, without executing anything in them.

`numpy.load(allow_pickle=True)` runs whatever a file asks for. Here the pickle's opcodes are checked first, and the few names
that numpy and torch write (`_reconstruct`, `dtype`, ...) are answered with inert records; the arrays are then built from
these by our own code, so that not even numpy's `__setstate__` sees a hostile state. What they mean is left to the importers.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from demos.importers.inert_pickle import Record, Refused, load_inert
from demos.importers.numpy_records import ARRAY_NAMES, NUMPY_NAMES, array_from_bytes, as_bytes, checked_shape, plain_array
from demos.importers.torch_files import rebuild_tensor, storage_from_bytes
from dexvid_envs.errors import InputFileError

#: A file above this is refused before it is read; poses and key points of a frame are a few kilobytes.
MAX_BYTES = 64 * 2**20
MAX_ITEMS = 1_000_000  # elements of one object array
MAX_DEPTH = 32  # nesting of containers

#: Names by which a tensor stands in an ordinary pickle; HOLD's `data.npy` holds one.
_TORCH_NAMES = frozenset(
    [("torch._utils", "_rebuild_tensor_v2"), ("torch.storage", "_load_from_bytes"), ("collections", "OrderedDict")]
)


def read_npy(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Reads one `.npy` file; nothing in it is executed.

    Args:
        path: the file.
        max_bytes: larger files are refused unread.

    Returns:
        The array; or, for a pickled object, builtin containers (dict, list, tuple, set, str, bytes, numbers) with arrays.

    Raises:
        InputFileError: the file is missing, too large, damaged, or holds anything but plain data.
    """
    if not path.is_file():
        raise InputFileError(f"no file {path}: expected an array written by numpy.save")
    size = path.stat().st_size
    if size > max_bytes:
        raise InputFileError(f"{path} has {size} bytes, more than the {max_bytes} expected of one frame; check the file")
    return read_npy_bytes(path.read_bytes(), str(path))


def read_npy_bytes(content: bytes, name: str = "the content") -> Any:
    """As `read_npy`, for the bytes of a file; `name` stands in the messages."""
    try:
        return _parse(content)
    except Refused as refusal:
        raise InputFileError(
            f"{name} was refused and nothing in it was run: it holds {refusal};"
            " expected plain numbers, containers and numpy arrays"
        ) from None
    except Exception as error:  # hostile bytes reach numpy's and pickle's parsers, which raise almost every builtin error
        raise InputFileError(
            f"cannot read {name} as a numpy file ({type(error).__name__}: {error}); expected the output of numpy.save"
        ) from error


def _parse(content: bytes) -> Any:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise Refused(f"an npy version {version}, where 1.0 and 2.0 are known")
    body = content[stream.tell() :]
    if not dtype.hasobject:
        return array_from_bytes(body, dtype.str, shape, fortran)
    value = _Builder().build(load_inert(io.BytesIO(body), _expected), 0)
    if isinstance(value, np.ndarray) and value.dtype.hasobject and value.shape == ():
        return value.item()
    return value


def _expected(module: str, name: str) -> bool:
    return (module, name) in NUMPY_NAMES or (module, name) in _TORCH_NAMES


class _Builder:
    """Turns the unpickled tree with its records into containers and arrays; shared parts stay shared, so nothing multiplies."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()

    def build(self, node: Any, depth: int) -> Any:
        """Builds one node of the tree."""
        if node is None or isinstance(node, bool | int | float | complex | str | bytes):
            return node
        key = id(node)
        if key in self._done:
            return self._done[key]
        if depth > MAX_DEPTH or key in self._open:
            raise Refused(f"containers nested deeper than {MAX_DEPTH} or in themselves")
        self._open.add(key)
        built = self._build_new(node, depth + 1)
        self._open.discard(key)
        self._done[key] = built
        return built

    def _build_new(self, node: Any, depth: int) -> Any:
        if isinstance(node, Record):
            return self._build_record(node, depth)
        if type(node) is dict:
            return {self._build_key(key): self.build(value, depth) for key, value in node.items()}
        if type(node) in (list, tuple):
            return type(node)(self.build(value, depth) for value in node)
        if type(node) in (set, frozenset):
            return type(node)(self._build_key(value) for value in node)
        if type(node) is bytearray:
            return bytes(node)
        raise Refused(f"a {type(node).__name__}")

    def _build_key(self, node: Any) -> Any:
        if node is not None and not isinstance(node, bool | int | float | complex | str | bytes):
            raise Refused(f"a key of type {type(node).__name__}")
        return node

    def _build_record(self, record: Record, depth: int) -> Any:
        if record.name in ARRAY_NAMES:
            if (array := plain_array(record)) is not None:
                return array
            _, shape, _, fortran, data = record.state
            shape = checked_shape(shape, MAX_ITEMS)
            if not isinstance(data, list) or len(data) != math.prod(shape):
                raise Refused("an object array whose shape and items disagree")
            items = np.empty(len(data), dtype=object)
            for i, item in enumerate(data):
                items[i] = self.build(item, depth)
            return items.reshape(shape, order="F" if fortran else "C")
        if record.name == "_load_from_bytes" and len(record.arguments) == 1:
            return storage_from_bytes(as_bytes(record.arguments[0]))
        if record.name == "_rebuild_tensor_v2" and record.arguments:
            return rebuild_tensor((self.build(record.arguments[0], depth), *record.arguments[1:])).array()
        raise Refused(f"a bare {record.module}.{record.name}")
