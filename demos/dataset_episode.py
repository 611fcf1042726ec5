"""One demonstration in the HDF5 file of a dataset; the layout stands in `dataset`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from demos.demonstration import TIERS, Demonstration, Tier
from demos.hdf5_file import read_stored, read_text
from dexvid_envs.errors import DexVidError, InputFileError

_TEXT_ATTRIBUTES = ("env_id", "env_options", "control_mode", "tier")
# States are two thirds zeros. LZF writes 2,000 episodes in 3 s to half their size; gzip saves 6 % more and takes three times as
# long. Observations do not compress.
_STATE_COMPRESSION = "lzf"


def write_episode(group: h5py.Group, demonstration: Demonstration) -> None:
    """Writes a demonstration in Minari's layout; what Minari does not know goes into infos and attributes.

    infos have T + 1 rows, as observations have; success before the first step counts as False.

    Raises:
        DexVidError: the demonstration holds what a file cannot, such as an object in its provenance.
    """
    steps = demonstration.num_steps
    group.attrs["total_steps"] = steps
    attributes = {
        "env_id": demonstration.env_id,
        "env_options": _to_json("env_options", dict(demonstration.env_options)),
        "control_mode": demonstration.control_mode,
        "tier": demonstration.tier,
    }
    for name, text in attributes.items():
        group.attrs[name] = text
    # A dataset: attributes end at 64 KB.
    group.create_dataset("provenance", data=_to_json("provenance", dict(demonstration.provenance)))
    truncations = np.zeros(steps, dtype=bool)
    truncations[-1] = True
    infos = group.create_group("infos")
    _write_array(group, "observations", demonstration.observations, np.float32)
    _write_array(group, "actions", demonstration.actions, np.float32)
    _write_array(group, "rewards", demonstration.rewards, np.float64)
    _write_array(group, "terminations", np.zeros(steps, dtype=bool), np.bool_)
    _write_array(group, "truncations", truncations, np.bool_)
    if demonstration.intended_actions is not None:  # infos have a row for the reset, too
        rows = np.concatenate([demonstration.intended_actions, np.zeros_like(demonstration.intended_actions[:1])])
        _write_array(infos, "intended_actions", rows, np.float32)
    _write_array(infos, "success", np.concatenate([[False], demonstration.successes]), np.bool_)
    _write_array(infos, "object_pos_world", demonstration.object_pos_world, np.float64)
    _write_array(infos, "source_frame", demonstration.source_frame, np.int64)
    states = np.ascontiguousarray(demonstration.states, dtype=np.float64)
    infos.create_dataset("state", data=states, chunks=states.shape, compression=_STATE_COMPRESSION)
    for part in ("memory", "randomization"):
        if part == "memory" or demonstration.randomization:
            _write_named(infos.create_group(part), part, getattr(demonstration, part))


def _write_named(group: h5py.Group, part: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, values in arrays.items():
        array = np.asarray(values)
        if array.dtype.kind not in "biuf" or not name or "/" in name or name == ".":
            raise DexVidError(f"{part} {name!r} of type {array.dtype}: expected numbers under a plain name without '/'")
        _write_array(group, name, array, array.dtype)


def _write_array(group: h5py.Group, name: str, array: NDArray[Any], dtype: Any) -> None:
    group.create_dataset(name, data=np.ascontiguousarray(array, dtype=dtype))


def read_episode(group: Any, label: str) -> Demonstration:
    """The demonstration that `write_episode` wrote; `label` names the episode in errors.

    Raises:
        InputFileError: something is missing or damaged.
    """
    infos = child(group, "infos", label)
    memory = child(infos, "memory", label)
    drawn = infos.get("randomization", {})  # only where something is randomised
    attributes = {name: _attribute(group, name, label) for name in _TEXT_ATTRIBUTES}
    tier: Tier | None = next((known for known in TIERS if known == attributes["tier"]), None)
    if tier is None:
        raise InputFileError(f"{label} has tier {attributes['tier']!r}: expected one of {', '.join(TIERS)}; write it again")
    try:
        return Demonstration(
            env_id=attributes["env_id"],
            env_options=_json_object(attributes["env_options"], "env_options"),
            control_mode=attributes["control_mode"],
            observations=_array(group, "observations", np.float32, label),
            actions=_array(group, "actions", np.float32, label),
            rewards=_array(group, "rewards", np.float64, label),
            successes=_array(infos, "success", np.bool_, label)[1:],
            states=_array(infos, "state", np.float64, label),
            memory={name: _array(memory, name, None, label) for name in memory},
            object_pos_world=_array(infos, "object_pos_world", np.float64, label),
            source_frame=_array(infos, "source_frame", np.int64, label),
            tier=tier,
            provenance=_json_object(read_text(child(group, "provenance", label)), "provenance"),
            randomization={name: _array(drawn, name, None, label) for name in drawn},
            intended_actions=(
                _array(infos, "intended_actions", np.float32, label)[:-1] if "intended_actions" in infos else None
            ),
        )
    except InputFileError:
        raise
    except (DexVidError, ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        raise InputFileError(f"{label} is damaged ({error}); write the dataset again") from error


def child(group: Any, name: str, label: str) -> Any:
    """What a group holds by a name; `label` names the group in the error.

    Raises:
        InputFileError: it is no group, or holds no such thing.
    """
    if not isinstance(group, h5py.Group) or name not in group:
        raise InputFileError(
            f"{label} lacks {name!r}: expected a demonstration with full states as written by 'dexvid refine' or "
            f"'dexvid multiply'; other Minari datasets cannot be read"
        )
    return group[name]


def _array(group: Any, name: str, dtype: Any, label: str) -> NDArray[Any]:
    values = read_stored(child(group, name, label))
    return values if dtype is None else values.astype(dtype, copy=False)


def _attribute(group: Any, name: str, label: str) -> str:
    value = group.attrs.get(name)
    if not isinstance(value, str):
        raise InputFileError(f"{label} lacks the attribute {name!r}: expected a text; write the dataset again")
    return value


def _json_object(text: str, name: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r:.60}, expected a JSON object")
    return value


def _to_json(name: str, value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise DexVidError(f"{name} of a demonstration holds what JSON cannot ({error}): expected JSON values only") from error
