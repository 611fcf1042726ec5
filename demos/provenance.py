"""What goes into `Demonstration.provenance`: hash of the model, versions of the software, configs as JSON values."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import PurePath
from typing import Any

import mujoco
import numpy as np

from dexvid_envs.errors import DexVidError

_PACKAGES = ("mujoco", "numpy", "gymnasium", "dexvid-envs")


def model_hash(model: mujoco.MjModel) -> str:
    """SHA-256 (hex) of the compiled model's binary; equal for equal scenes compiled by the same MuJoCo version.

    Tasks that change the model per episode are hashed before their first reset.
    """
    buffer = np.zeros(mujoco.mj_sizeModel(model), dtype=np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer.data).hexdigest()


def versions() -> dict[str, str]:
    """Versions on which a simulation's last bits depend: packages, Python and the machine's kind."""
    found = {name: version(name) for name in _PACKAGES}
    return found | {"python": platform.python_version(), "machine": f"{platform.system()}-{platform.machine()}"}


def to_json(value: Any) -> Any:
    """JSON values of a config: dataclasses and mappings become objects, sequences and arrays lists, paths text.

    Raises:
        DexVidError: a part has no JSON form.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_json(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufU":
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [to_json(part) for part in (sorted(value) if isinstance(value, set | frozenset) else value)]
    raise DexVidError(
        f"{value!r} of type {type(value).__name__} has no JSON form: expected dataclasses, arrays and plain values"
    )
