"""Arrays out of foreign `.npz`, `.npy` and torch files by name, with their shapes checked; their meaning is left to importers.

Sizes are known before anything is allocated, members nobody asked for are never read, and numpy or torch unpickle nothing.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.importers.restricted_pickle import read_npy, read_npy_bytes
from demos.importers.torch_files import fetch, read_torch
from demos.interaction import FloatArray
from dexvid_envs.errors import InputFileError

#: One array above this is refused before it is read.
MAX_ARRAY_BYTES = 512 * 2**20
#: Neither metres nor pixels nor logits are as large; squares and products of these stay finite.
ABSURD = 1e12
TORCH_SUFFIXES = (".pt", ".pth", ".ckpt")
ARRAY_SUFFIXES = (".npz", ".npy", *TORCH_SUFFIXES)

#: A length of an axis: a number that has to be met, or None for any.
Shape = tuple[int | None, ...]


def read_arrays(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """The named entries of an `.npz`, of a dict in an `.npy`, or of a dict in a torch file.

    Args:
        path: the file.
        required: names that have to be there.
        optional: names that are read where they are there.

    Returns:
        The entries found: arrays, or nested containers of a dict.

    Raises:
        InputFileError: the file is missing, damaged or too large, holds Python objects, or lacks a name.
    """
    if not path.is_file():
        raise InputFileError(f"no file {path}: expected one with {', '.join(required)}")
    if path.suffix == ".npz":
        return _read_npz(path, required, optional)
    content = read_torch(path) if path.suffix in TORCH_SUFFIXES else read_npy(path, MAX_ARRAY_BYTES)
    if not isinstance(content, Mapping):
        given = f"an array of shape {content.shape}" if isinstance(content, np.ndarray) else f"a {type(content).__name__}"
        raise InputFileError(f"{path} holds {given}, expected a dict with {', '.join(required)}")
    _expect_names(path, required, [str(name) for name in content])
    wanted = {name: content[name] for name in (*required, *optional) if name in content}
    if path.suffix not in TORCH_SUFFIXES:
        return wanted
    return {name: value if isinstance(value, Mapping) else fetch(value, path, name) for name, value in wanted.items()}


def read_array(path: Path) -> NDArray:
    """The single array of an `.npy` file, of whatever shape.

    Raises:
        InputFileError: the file is missing, damaged, too large, or holds something else.
    """
    content = read_npy(path, MAX_ARRAY_BYTES)
    if not isinstance(content, np.ndarray):
        raise InputFileError(f"{path} holds a {type(content).__name__}, expected an array of numbers")
    return content


def numbers(value: Any, shape: Shape | None, name: str, path: Path, finite: bool = True) -> FloatArray:
    """The value as float64 of the shape.

    Args:
        value: whatever a file held.
        shape: expected lengths, of which None takes any; or None for any shape at all.
        name: of the entry, for the message.
        path: of the file, for the message.
        finite: refuse NaN, infinity and absurd numbers; else they all become NaN.

    Raises:
        InputFileError: it is no array of numbers, has another shape, or is not finite.
    """
    lengths = ", ".join("any" if n is None else str(n) for n in shape or ())
    wanted = "any shape" if shape is None else f"shape ({lengths}{',' if len(shape) == 1 else ''})"
    if isinstance(value, bool | int | float | list | tuple):
        try:
            value = np.asarray(value)
        except ValueError as error:  # ragged lists
            raise InputFileError(f"{path}: {name} is uneven ({error}), expected numbers of {wanted}") from error
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        given = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise InputFileError(f"{path}: {name} is {given}, expected numbers of {wanted}")
    if shape is not None and not (
        value.ndim == len(shape) and all(n is None or n == m for n, m in zip(shape, value.shape, strict=True))
    ):
        raise InputFileError(f"{path}: {name} has shape {value.shape}, expected {wanted.removeprefix('shape ')}")
    result = value.astype(np.float64)
    sound = np.abs(result) < ABSURD  # NaN is not
    if finite and not sound.all():
        raise InputFileError(
            f"{path}: {name} holds values that are not finite or beyond {ABSURD:.0e}; run the extractor again for these frames"
        )
    return np.where(sound, result, np.nan)


def rigid(value: Any, name: str, path: Path) -> FloatArray:
    """Rigid transforms (..., 4, 4) or (..., 3, 4) as (..., 4, 4), rotations made orthonormal.

    Raises:
        InputFileError: the 3x3 part is no rotation.
    """
    array = numbers(value, None, name, path)
    if array.shape[-2:] not in ((4, 4), (3, 4)):
        raise InputFileError(f"{path}: {name} has shape {array.shape}, expected (..., 4, 4) rigid transforms")
    rotation = array[..., :3, :3]
    off = np.abs(rotation @ rotation.swapaxes(-1, -2) - np.eye(3)).max(initial=0.0)
    if off > 0.05 or (np.linalg.det(rotation) < 0).any():
        raise InputFileError(f"{path}: {name} holds a 3x3 part that is no rotation; expected rigid transforms [R | t]")
    left, _, right = np.linalg.svd(rotation)
    result = np.zeros((*array.shape[:-2], 4, 4))
    result[..., :3, :3] = left @ right
    result[..., :3, 3] = array[..., :3, 3]
    result[..., 3, 3] = 1.0
    return result


def intrinsics(value: Any, name: str, path: Path) -> FloatArray:
    """Camera matrices (..., 3, 3) px, from themselves or from (..., 4) = fx, fy, cx, cy.

    Raises:
        InputFileError: another shape, or a focal length that is not positive.
    """
    array = numbers(value, None, name, path)
    if array.shape[-2:] == (3, 3):
        K = array.copy()
    elif array.shape[-1:] == (4,):
        K = np.zeros((*array.shape[:-1], 3, 3))
        K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2] = np.moveaxis(array, -1, 0)
        K[..., 2, 2] = 1.0
    else:
        raise InputFileError(f"{path}: {name} has shape {array.shape}, expected (3, 3) matrices or fx, fy, cx, cy")
    if not (K[..., 0, 0] > 0).all() or not (K[..., 1, 1] > 0).all():
        raise InputFileError(f"{path}: {name} has a focal length that is not positive, expected pixels")
    return K


def numbered_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files of a folder with one of the suffixes, in the order of the numbers in their names (2 before 10).

    Raises:
        InputFileError: there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise InputFileError(f"no folder {folder}: expected one with {' or '.join(suffixes)} files, one a frame")
    found = [path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")]
    if not found:
        present = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
        raise InputFileError(f"{folder} holds no {' or '.join(suffixes)} files; expected one a frame, found {present}")
    return sorted(found, key=lambda path: natural_key(path.stem))


def natural_key(text: str) -> tuple[tuple[int, str], ...]:
    """Key that sorts numbers within names by their value."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part)


def last_number(text: str) -> int | None:
    """The last number in a name, such as the frame's; None without one."""
    digits = re.findall(r"\d+", text)
    return int(digits[-1]) if digits and len(digits[-1]) < 18 else None


def _read_npz(path: Path, required: Sequence[str], optional: Sequence[str]) -> dict[str, NDArray]:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            _expect_names(path, required, list(sizes))
            arrays = {}
            for name in (*required, *optional):
                if name not in sizes:
                    continue
                if sizes[name].file_size > MAX_ARRAY_BYTES:
                    raise InputFileError(
                        f"{path}: {name} has {sizes[name].file_size} bytes, more than the {MAX_ARRAY_BYTES} that are read; "
                        "cut the recording into shorter ones"
                    )
                arrays[name] = read_npy_bytes(archive.read(sizes[name]), f"{path}: {name}")
            return arrays
    except InputFileError:
        raise
    except Exception as error:  # damaged archives reach zipfile, zlib and lzma, which share no root
        raise InputFileError(
            f"cannot read {path} as an .npz ({type(error).__name__}: {error}); copy it again or run the extractor again"
        ) from error


def _expect_names(path: Path, required: Sequence[str], present: Sequence[str]) -> None:
    missing = [name for name in required if name not in present]
    if missing:
        found = ", ".join(sorted(present)[:12]) or "nothing"
        raise InputFileError(f"{path} lacks {', '.join(missing)}; expected {', '.join(required)}, found {found}")
