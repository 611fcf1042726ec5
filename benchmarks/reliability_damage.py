"""Ways to damage a file: by bytes, and by the rules of its format; what reads the file is left to `reliability_readers`."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Damage = Callable[[Path, np.random.Generator], None]

#: Numbers at which readers stumble.
EXTREMES = (0, -1, 1, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, 2**64, 10**40, 1e308, -1e-308)
_SIZES = (0, 2**31, 2**32, 2**62, 2**64 - 1)
_NOT_FINITE = (float("nan"), float("inf"), float("-inf"))
_TEXTS = ("", "\0", "../../..", "nan", "[]", "x" * 5000, "\u202e\ud7ff\N{PILE OF POO}", "%s%n", "{}", "__import__('os')")
_BOMB_BYTES = 3 * 2**29  # of zeros, in an archive of a thousandth of it
_DTYPES = ("<f8", "<f4", "<f2", "<i8", "|u1", "|b1", "<U3", "|S4", "<c16", "<M8[s]")


class Canary:
    """A file that comes into being where something of a damaged file is executed; here as the objects of hostile pickles."""

    def __init__(self, path: Path, way: int) -> None:
        self.path, self.way = path, way

    def __reduce__(self) -> Any:
        text = f"open({str(self.path)!r}, 'w').close()"
        return [
            (eval, (text,)),
            (exec, (text,)),
            (__import__("os").system, (f"touch '{self.path}'",)),
            (open, (self.path, "w")),
        ][self.way]


def damage_bytes(path: Path, rng: np.random.Generator) -> None:
    """Flips, cuts, repeats, swaps or overwrites bytes, most of them near the file's two ends where headers stand."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.3:
        content = content[: int(rng.integers(0, len(content) + 1))]
    for _ in range(int(rng.integers(0, 7))):
        _one_damage(content, rng)
    path.write_bytes(content)


def _one_damage(content: bytearray, rng: np.random.Generator) -> None:
    if not content:
        return
    near = min(len(content), 256) if rng.random() < 0.6 else len(content)
    place = int(rng.integers(0, near))
    if rng.random() < 0.3:
        place = len(content) - 1 - place
    way = int(rng.integers(0, 6))
    if way == 0:
        content[place] ^= 1 << int(rng.integers(0, 8))
    elif way == 1:
        content[place] = int(rng.integers(0, 256))
    elif way == 2:
        content[place : place + 8] = struct.pack("<Q", _SIZES[int(rng.integers(0, len(_SIZES)))])
    elif way == 3:
        content[place : place + 64] = rng.bytes(int(rng.integers(0, 128)))
    elif way == 4:
        content[place:place] = content[place : place + 200]
    else:
        del content[place : place + int(rng.integers(1, 64))]


def replace_file(path: Path, rng: np.random.Generator, others: Sequence[Path], canary: Path) -> None:
    """Puts something else in the file's place: nothing, noise, text, another format, deep nesting or a hostile pickle."""
    way = int(rng.integers(0, 7))
    if way == 0:
        path.write_bytes(b"")
    elif way == 1:
        path.write_bytes(rng.bytes(int(rng.integers(1, 3000))))
    elif way == 2:
        path.write_text(_TEXTS[int(rng.integers(0, len(_TEXTS)))], encoding="utf-8", errors="replace")
    elif way == 3 and others:
        path.write_bytes(others[int(rng.integers(0, len(others)))].read_bytes())
    elif way == 4:
        path.write_text("[" * 100_000 if rng.random() < 0.5 else '{"a":' * 100_000)
    else:
        path.write_bytes(hostile_pickle(path.suffix, rng, canary))


def hostile_pickle(suffix: str, rng: np.random.Generator, canary: Path) -> bytes:
    """A pickle that writes the canary when it is loaded, in the wrapping of the suffix."""
    value: Any = Canary(canary, int(rng.integers(0, 4)))
    if rng.random() < 0.5:
        value = {"data": [np.zeros(3), value], "K": value}
    body = pickle.dumps(value, protocol=int(rng.integers(0, 6)))
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, {"descr": "|O", "fortran_order": False, "shape": ()})
    npy.write(body)
    if suffix == ".npy":
        return npy.getvalue()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        if suffix == ".npz":
            for name in ("data", "fps", "about", "key", "qpos"):
                members.writestr(f"{name}.npy", npy.getvalue())
        else:
            members.writestr("archive/data.pkl", body)
    return body if rng.random() < 0.3 else archive.getvalue()


def damage_npz(path: Path, rng: np.random.Generator) -> None:
    """Gives entries of an .npz other shapes, types and numbers, lying headers or too much of everything."""
    with np.load(path, allow_pickle=False) as archive:  # the harness made it; only what is written may be hostile
        content = {name: archive[name] for name in archive.files}
    raw: dict[str, bytes] = {}
    for name in rng.choice(sorted(content), size=int(rng.integers(1, 4))):
        way = int(rng.integers(0, 8))
        if way == 0:
            content.pop(name, None)
        elif way == 1:
            raw[name] = _lying_npy(rng)
        elif way == 2 and rng.random() < 0.1:
            raw[name] = b""  # filled with zeros below
        elif name in content:
            content[name] = odd_array(content[name], rng)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in content.items():
            if name not in raw:
                stream = io.BytesIO()
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
                archive.writestr(f"{name}.npy", stream.getvalue())
        for name, body in raw.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(body or _npy_head((_BOMB_BYTES // 8,), "<f8"))
                for _ in range(0 if body else _BOMB_BYTES >> 24):
                    member.write(bytes(1 << 24))


def odd_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An array of another shape, another type, or the same with numbers that no measurement gives."""
    way = int(rng.integers(0, 4))
    if way == 0 and array.ndim:
        shape = [int(n) for n in array.shape]
        axis = int(rng.integers(0, len(shape)))
        shape[axis] = int(rng.integers(0, 2 * shape[axis] + 2))
        return np.resize(array, shape)
    if way == 1:
        return np.zeros(tuple(rng.integers(0, 5, int(rng.integers(0, 5)))), _DTYPES[int(rng.integers(0, len(_DTYPES)))])
    if array.dtype.kind in "fiub" and array.size:
        odd = array.astype(np.float64) if rng.random() < 0.7 else array.copy()
        where = rng.random(odd.shape) < rng.choice([0.02, 1.0])
        with np.errstate(all="ignore"):
            value = [*EXTREMES, *_NOT_FINITE][int(rng.integers(0, len(EXTREMES) + 3))]
            odd[where] = np.array([float(value)]).astype(odd.dtype)[0]
        return odd
    return np.array(_TEXTS[int(rng.integers(0, len(_TEXTS)))][:50].replace("\0", ""))


def _lying_npy(rng: np.random.Generator) -> bytes:
    """An .npy whose header promises what does not come."""
    shape = tuple(int(n) for n in rng.choice([0, 1, 3, 2**20, 2**31, 2**40, -1], int(rng.integers(0, 4))))
    return _npy_head(shape, _DTYPES[int(rng.integers(0, len(_DTYPES)))]) + rng.bytes(24)


def _npy_head(shape: tuple[int, ...], descr: str) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def damage_json(path: Path, rng: np.random.Generator) -> None:
    """Changes values somewhere in a JSON file into those of another kind, or drops, renames or nests them."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for _ in range(int(rng.integers(1, 4))):
        content = odd_json(content, rng)
    text = json.dumps(content)
    path.write_text(text[: int(rng.integers(0, len(text)))] if rng.random() < 0.1 else text)


def odd_json(value: Any, rng: np.random.Generator) -> Any:
    """The value with one place in it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = sorted(value)[int(rng.integers(0, len(value)))]
        if rng.random() < 0.1:
            return {name: part for name, part in value.items() if name != key}
        return value | {key: odd_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        index = int(rng.integers(0, len(value)))
        return [*value[:index], odd_json(value[index], rng), *value[index + 1 :]]
    number = [*EXTREMES, *_NOT_FINITE][int(rng.integers(0, len(EXTREMES) + 3))]
    nested: Any = value
    for _ in range(200):
        nested = [nested]
    ways = [None, True, number, _TEXTS[int(rng.integers(0, len(_TEXTS)))], [], {}, [value], {"a": value}, [number] * 50, nested]
    return ways[int(rng.integers(0, len(ways)))]


def damage_jsonl(path: Path, rng: np.random.Generator) -> None:
    """The same for one line of a file with a JSON value a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    index = int(rng.integers(0, len(lines)))
    lines[index] = json.dumps(odd_json(json.loads(lines[index]), rng))
    path.write_text("".join(f"{line}\n" for line in lines))


def damage_hdf5(path: Path, rng: np.random.Generator) -> None:
    """Removes, replaces and re-types entries and attributes of an HDF5 file; some claim sizes that no disk has."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for name in rng.choice(sorted(names), size=int(rng.integers(1, 4)), replace=False):
            with contextlib.suppress(RuntimeError):  # below a link that leads to itself
                if name in file:
                    _odd_entry(file, str(name), rng)


def _odd_entry(file: Any, name: str, rng: np.random.Generator) -> None:
    entry, way = file[name], int(rng.integers(0, 9))
    if way == 0 and len(entry.attrs):
        key = sorted(entry.attrs)[int(rng.integers(0, len(entry.attrs)))]
        del entry.attrs[key]
        if rng.random() < 0.8:
            values: list[Any] = [7, 1.5, "text", np.zeros(3), np.bytes_(b"\xff\xfe"), "[" * 20_000]
            entry.attrs[key] = values[int(rng.integers(0, len(values)))]
        return
    old = entry[()] if isinstance(entry, h5py.Dataset) else np.zeros(2)
    del file[name]
    if way == 1:
        file.create_group(name)
    elif way == 2:
        file[name] = h5py.SoftLink(f"/{name}")  # leads to itself
    elif way == 3:
        file[name] = h5py.ExternalLink("/etc/hostname", "/")
    elif way == 4:  # takes no room in the file; what reads it whole would need terabytes
        file.create_dataset(name, shape=(2**40,), dtype="f8", chunks=(1024,))
    elif way == 5:
        file.create_dataset(name, shape=(2**31, 3), dtype="f4", chunks=(1024, 3))
    elif way == 6:
        file.create_dataset(name, data=_TEXTS[int(rng.integers(2, 5))])
    elif way > 6 and isinstance(old, np.ndarray):
        odd = odd_array(old, rng)
        if odd.dtype.kind in "fiub":
            file.create_dataset(name, data=odd)


def damage_safetensors(path: Path, rng: np.random.Generator) -> None:
    """Makes the header lie about types, shapes and places, or its length about itself."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    for _ in range(int(rng.integers(1, 3))):
        header = odd_json(header, rng)
        name = sorted(header)[int(rng.integers(0, len(header)))] if isinstance(header, dict) and header else ""
        if name and isinstance(header[name], dict) and "shape" in header[name]:
            changes: list[dict[str, Any]] = [
                {"shape": [2**40]},
                {"shape": [2**32, 2**32]},
                {"shape": [0]},
                {"data_offsets": [0, 2**50]},
                {"data_offsets": [8, 0]},
                {"dtype": "I64"},
                {"dtype": "F8_E4M3"},
                {},
            ]
            header = header | {name: header[name] | changes[int(rng.integers(0, len(changes)))]}
    text = json.dumps(header).encode()
    said = len(text) if rng.random() < 0.8 else int(rng.choice([0, 7, len(text) + 9, 10**8, 2**62]))
    if rng.random() < 0.3:
        body = body[: int(rng.integers(0, len(body) + 1))]
    elif rng.random() < 0.3:
        body = rng.bytes(len(body))
    path.write_bytes(struct.pack("<Q", said) + text + body)


def damage_video(path: Path, rng: np.random.Generator) -> None:
    """Changes the sizes and counts in a film's index, cuts it, or puts a playlist in its place."""
    way = int(rng.integers(0, 5))
    content = bytearray(path.read_bytes())
    if way == 0:
        playlists = (
            "ffconcat version 1.0\nfile /etc/hostname\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
            "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/never\n",
            "v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        )
        path.write_text(playlists[int(rng.integers(0, len(playlists)))])
        return
    if way == 1:
        path.write_bytes(content[: int(rng.integers(1, len(content)))])
        return
    places = [content.find(box) for box in (b"tkhd", b"mdhd", b"stts", b"stsd", b"stsz", b"stco", b"avc1", b"elst", b"mvhd")]
    places = [place for place in places if place >= 0]
    for _ in range(int(rng.integers(1, 4))):
        if places:
            start = places[int(rng.integers(0, len(places)))] + int(rng.integers(-4, 60))
            content[start : start + 4] = struct.pack(">I", int(rng.choice([0, 1, 65535, 2**31 - 1, 2**32 - 1])))
    path.write_bytes(content)
