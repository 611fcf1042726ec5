"""Reads tensors out of files that `torch.save` wrote (zip or legacy format) without torch's unpickler, executing nothing.

The pickle inside is read into inert records; the bytes of a tensor are fetched only when it is asked for, so that the
optimiser's state in a checkpoint of gigabytes costs nothing. What the tensors mean is left to the importers.
"""

from __future__ import annotations

import dataclasses
import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.importers.inert_pickle import Name, Record, Refused, load_inert
from demos.importers.numpy_records import ARRAY_NAMES, BYTES_NAMES, plain_array
from dexvid_envs.errors import InputFileError

#: A single tensor above this is refused before it is read.
MAX_TENSOR_BYTES = 512 * 2**20
_MAX_PICKLE_BYTES = 64 * 2**20
_MAX_OPCODES = 2_000_000  # a checkpoint with optimisers and schedulers has some ten thousands
_MAX_DEPTH = 32
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

#: Element type of each storage class; bfloat16 is read as its 16 bits and widened.
_STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
#: Packages whose names may stand in a checkpoint as inert records; whatever else a pickle names is refused.
_KNOWN_PACKAGES = frozenset(["torch", "numpy", "collections", "flow3d"])


@dataclasses.dataclass(frozen=True)
class Storage:
    """A flat run of numbers beside the pickle; `read` fetches its bytes."""

    dtype: str
    count: int
    read: Callable[[], bytes]

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

    def numbers(self) -> NDArray:
        """All elements (count,); bfloat16 as float32."""
        if self.count * self.item_bytes > MAX_TENSOR_BYTES:
            raise Refused(f"a storage of {self.count * self.item_bytes} bytes, more than {MAX_TENSOR_BYTES}")
        data = self.read()
        if len(data) != self.count * self.item_bytes:
            raise Refused(f"a storage of {len(data)} bytes where {self.count * self.item_bytes} are announced")
        if self.dtype == "bfloat16":
            return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        return np.frombuffer(data, self.dtype)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor that has not been read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> NDArray:
        """The numbers; refuses views that reach outside their storage."""
        counts = (self.offset, *self.shape, *self.stride)
        if len(self.shape) != len(self.stride) or len(self.shape) > 16 or not all(type(n) is int and n >= 0 for n in counts):
            raise Refused("a tensor whose shape and stride are not short tuples of counts")
        total = math.prod(self.shape)
        if total * self.storage.item_bytes > MAX_TENSOR_BYTES:
            raise Refused(f"a tensor of shape {self.shape}, more than {MAX_TENSOR_BYTES} bytes")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        if total and last >= self.storage.count:
            raise Refused(f"a tensor of shape {self.shape} that reaches outside its {self.storage.count} numbers")
        numbers = self.storage.numbers()[self.offset :]
        if not total:
            return np.zeros(self.shape, numbers.dtype)
        strides = tuple(step * numbers.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(numbers, self.shape, strides, writeable=False).copy()


def read_torch(path: Path) -> Any:
    """Reads what `torch.save` wrote as builtin containers with `Tensor`s that are fetched on demand.

    Raises:
        InputFileError: the file is missing, damaged, or holds anything but plain data and tensors.
    """
    if not path.is_file():
        raise InputFileError(f"no file {path}: expected one written by torch.save")
    return guarded(path, lambda: _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy_file(path))


def fetch(tensor: Any, path: Path, name: str) -> NDArray:
    """The numbers of an entry of `read_torch`'s result; plain numbers and arrays pass.

    Raises:
        InputFileError: it is no tensor, or its bytes are damaged.
    """
    if isinstance(tensor, Tensor):
        return guarded(path, tensor.array)
    if isinstance(tensor, bool | int | float | np.ndarray | np.generic):
        return np.asarray(tensor)
    raise InputFileError(f"{path}: {name} is a {type(tensor).__name__}, expected a tensor")


def guarded(path: Path | str, read: Callable[[], Any]) -> Any:
    """Calls `read` and turns whatever hostile or damaged bytes make parsers raise into an `InputFileError`."""
    try:
        return read()
    except InputFileError:
        raise
    except Refused as refusal:
        raise InputFileError(
            f"{path} was refused and nothing in it was run: it holds {refusal}; expected tensors and plain data as torch.save"
            " writes them"
        ) from None
    except Exception as error:  # damaged bytes reach the parsers of zip and pickle, which raise almost every builtin error
        raise InputFileError(
            f"cannot read {path} as a file of torch.save ({type(error).__name__}: {error}); copy or save it again"
        ) from error


def storage_from_bytes(content: bytes) -> Storage:
    """The storage in a legacy stream, as tensors carry it inside an ordinary pickle (`torch.storage._load_from_bytes`)."""
    value = _read_legacy(content)
    if not isinstance(value, Storage):
        raise Refused(f"a {type(value).__name__} where a storage is expected")
    return value


def rebuild_tensor(arguments: tuple[Any, ...]) -> Tensor:
    """The tensor that `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)` describes."""
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise Refused("a tensor without storage, size and stride")
    return Tensor(storage, offset, shape, stride)


def _expected(module: str, name: str) -> bool:
    return module.split(".", 1)[0] in _KNOWN_PACKAGES or (module, name) in BYTES_NAMES


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused(f"{len(pickles)} members data.pkl, where one is expected")
        prefix = pickles[0][: -len("data.pkl")]
        if archive.getinfo(pickles[0]).file_size > _MAX_PICKLE_BYTES:
            raise Refused(f"a pickle of more than {_MAX_PICKLE_BYTES} bytes")
        order = prefix + "byteorder"
        if order in archive.namelist() and archive.read(order).strip() != b"little":
            raise Refused("numbers that are not little-endian")
        content = archive.read(pickles[0])
        sizes = {info.filename: info.file_size for info in archive.infolist()}

    def persistent(pid: Any) -> Storage:
        dtype, key, count = _storage_of(pid)
        member = f"{prefix}data/{key}"
        if member not in sizes:
            raise Refused(f"a tensor whose bytes {member} are not in the file")

        def read() -> bytes:
            with zipfile.ZipFile(path) as again:
                return again.read(member)

        return Storage(dtype, count, read)

    return _plain(load_inert(io.BytesIO(content), _expected, persistent, _MAX_OPCODES), {}, 0)


def _read_legacy_file(path: Path) -> Any:
    if path.stat().st_size > MAX_TENSOR_BYTES:
        raise Refused(
            f"{path.stat().st_size} bytes in torch's old format, of which only {MAX_TENSOR_BYTES} are read; save it anew"
        )
    return _read_legacy(path.read_bytes())


def _read_legacy(content: bytes) -> Any:
    """Magic number, version, system facts, the pickle, the keys of the storages, and behind these the storages' bytes."""
    stream = io.BytesIO(content)

    def nothing(module: str, name: str) -> bool:
        return False

    if load_inert(stream, nothing) != _LEGACY_MAGIC:
        raise Refused("no magic number of torch.save at its start")
    load_inert(stream, nothing)  # version of the format
    facts = load_inert(stream, nothing)
    if isinstance(facts, dict) and facts.get("little_endian") is False:
        raise Refused("numbers that are not little-endian")
    spans: dict[str, tuple[int, int]] = {}  # filled below, before any storage is read

    def persistent(pid: Any) -> Storage:
        dtype, key, count = _storage_of(pid)

        def read() -> bytes:
            start, length = spans[key]
            return content[start : start + length]

        item = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
        wanted.setdefault(key, count * item)
        return Storage(dtype, count, read)

    wanted: dict[str, int] = {}  # bytes of each storage
    value = load_inert(stream, _expected, persistent, _MAX_OPCODES)
    keys = load_inert(stream, nothing)
    position = stream.tell()
    for key in keys if isinstance(keys, list) else []:
        spans[str(key)] = (position + 8, wanted.get(str(key), 0))  # eight bytes hold the number of elements
        position += 8 + wanted.get(str(key), 0)
    return _plain(value, {}, 0)


def _storage_of(pid: Any) -> tuple[str, str, int]:
    """Element type, key and number of elements of a persistent id ('storage', class, key, place, count[, view])."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], Name):
        raise Refused("a reference that is no torch storage")
    dtype, key, count = _STORAGE_DTYPES.get(pid[1].name), pid[2], pid[4]
    if dtype is None:
        raise Refused(f"a torch.{pid[1].name}; numbers of up to 64 bits are expected")
    if type(count) is not int or count < 0 or not isinstance(key, str):
        raise Refused("a storage without key and count")
    return dtype, key, count


def _plain(node: Any, done: dict[int, Any], depth: int) -> Any:
    """The unpickled tree with tensors for their records and dicts for ordered dicts; other records stay as they are."""
    if not isinstance(node, dict | list | tuple | Record):
        return node
    if id(node) in done:
        return done[id(node)]
    if depth > _MAX_DEPTH:
        raise Refused(f"containers nested deeper than {_MAX_DEPTH} or in themselves")
    plain: Any
    if isinstance(node, Record):
        plain = _plain_record(node, done, depth)
    elif isinstance(node, dict):
        plain = {key: _plain(value, done, depth + 1) for key, value in node.items()}
    else:
        plain = type(node)(_plain(value, done, depth + 1) for value in node)
    done[id(node)] = plain
    return plain


def _plain_record(record: Record, done: dict[int, Any], depth: int) -> Any:
    if record.name == "OrderedDict":
        return {key: _plain(value, done, depth + 1) for key, value in record.items.items()}
    if record.name == "_rebuild_tensor_v2":
        return rebuild_tensor(record.arguments)
    if record.module.startswith("numpy.") and record.name in ARRAY_NAMES:
        array = plain_array(record)
        return record if array is None else array
    if record.name == "_rebuild_parameter" and record.arguments:
        return _plain(record.arguments[0], done, depth + 1)
    return record
