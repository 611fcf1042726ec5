"""The restricted reader of `.npy` files: plain content comes back, hostile content is refused and runs nothing."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.importers.restricted_pickle import read_npy, read_npy_bytes
from dexvid_envs.errors import InputFileError


def npy_of(body: bytes) -> bytes:
    """An `.npy` file of one object whose pickle is `body`."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue() + body


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_content_comes_back(protocol: int) -> None:
    arrays = [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([True, False]),
        np.zeros((0, 3)),
    ]
    value = {"a": arrays[0], "list": [1, 2.5, None, "x", True], 3: (arrays[1], arrays[2]), "n": np.float32(1.5), "e": arrays[3]}
    if protocol == 2:
        value = {"text": [1, 2.5, ("x", None)]}  # protocol 2 writes raw bytes through a function call, which is refused
    read = read_npy_bytes(npy_of(pickle.dumps(value, protocol=protocol)))
    assert set(read) == set(value)
    if protocol > 2:
        np.testing.assert_array_equal(read["a"], arrays[0])
        np.testing.assert_array_equal(read[3][0], arrays[1])
        assert read["list"] == value["list"]
        assert read["n"] == np.float32(1.5)
        assert read["e"].shape == (0, 3)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["<f8", ">f4", "i2", "u1", "?"]), st.lists(st.integers(0, 4), max_size=3), st.sampled_from(["C", "F"]))
def test_arrays_round_trip(dtype: str, shape: list[int], order: Any) -> None:
    array = np.asarray(np.arange(np.prod(shape)).reshape(shape).astype(dtype), order=order)
    for value in (array, np.array({"k": array}, dtype=object)):
        stream = io.BytesIO()
        np.save(stream, value, allow_pickle=True)
        read = read_npy_bytes(stream.getvalue())
        read = read["k"] if isinstance(read, dict) else read
        np.testing.assert_array_equal(read, array)
        assert read.dtype == array.dtype


class _Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_malicious_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    evil = [
        _Evil(os.system, f"touch {trace}"),
        _Evil(eval, f"open({str(trace)!r}, 'w')"),
        _Evil(trace.touch),
        _Evil(np.save, str(trace), np.zeros(3)),
    ]
    for value in evil:
        for content in (value, {"5": value}, [np.zeros(3), value]):
            path = tmp_path / "evil.npy"
            path.write_bytes(npy_of(pickle.dumps(content, protocol=protocol)))
            with pytest.raises(InputFileError, match="was refused and nothing in it was run"):
                read_npy(path)
    assert not list(tmp_path.glob("trace*"))


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"Pfoo\n.",  # persistent id
        b"\x82\x01.",  # extension registry
        b"cnumpy\nndarray\n}S'__call__'\nNsb.",  # change of a name
        b"cnumpy\nndarray\n.",
        b"cnumpy\nndarray\n(K\x05tR.",  # a bare ndarray from uninitialised memory
        b"]r\xff\xff\xff\x7f.",  # memo place that would take gigabytes
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",  # bytes longer than the file
        b"]q\x00h\x00a.",  # a list in itself
        b"]" * 200 + b"a" * 199 + b".",  # deep nesting
        b"(" * 5000 + b"t" * 5000 + b".",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftcnumpy\ndtype\n"
        b"(X\x02\x00\x00\x00f8K\x00K\x01tR\x89C\x08aaaaaaaatb.",  # a shape the bytes cannot fill
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR(K\x01(K\x01tcnumpy\ndtype\n"
        b"(X\x02\x00\x00\x00O8K\x00K\x01tR(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89C\x08aaaaaaaatb.",
        b".",
        b"",
    ],
)
def test_hostile_opcodes_are_refused(body: bytes) -> None:
    with pytest.raises(InputFileError):
        read_npy_bytes(npy_of(body))


def test_shared_containers_do_not_multiply() -> None:
    value: Any = [0] * 10
    for _ in range(25):
        value = [value] * 10  # 10^25 items if copied
    read = read_npy_bytes(npy_of(pickle.dumps(value)))
    assert read[0] is read[9]


def test_header_cannot_ask_for_memory() -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with pytest.raises(InputFileError, match="was refused"):
        read_npy_bytes(stream.getvalue() + bytes(8))


def test_size_limit(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(100))
    with pytest.raises(InputFileError, match="more than the 200 expected"):
        read_npy(tmp_path / "a.npy", max_bytes=200)
    with pytest.raises(InputFileError, match="no file"):
        read_npy(tmp_path / "b.npy")


def _never_crashes(content: bytes) -> None:
    modules = set(sys.modules)
    with contextlib.suppress(InputFileError):
        read_npy_bytes(content)
    assert not {name for name in set(sys.modules) - modules if name in ("os", "subprocess", "antigravity", "this")}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # escape sequences in hostile headers
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes(content: bytes) -> None:
    _never_crashes(content)
    _never_crashes(npy_of(content))


_OPCODES = [
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"(",
    b"t",
    b")",
    b"]",
    b"}",
    b"R",
    b"b",
]
_OPCODES += [
    b"a",
    b"s",
    b"u",
    b"e",
    b"q\x00",
    b"h\x00",
    b"N",
    b"K\x01",
    b"C\x01b",
    b"X\x02\x00\x00\x00f8",
    b"0",
    b"2",
    b"\x85",
    b"\x87",
    b"\x94",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(_OPCODES), max_size=40))
def test_random_programs(opcodes: list[bytes]) -> None:
    _never_crashes(npy_of(b"".join(opcodes) + b"."))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # escape sequences in hostile headers
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_real_content(data: st.DataObject) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array({"5": np.eye(4)[:3]}, dtype=object), allow_pickle=True)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _never_crashes(bytes(content))
