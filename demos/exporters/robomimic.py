"""Datasets as robomimic reads them (the HDF5 layout of robomimic 0.2 to 0.5): one file, a group `data/demo_<i>` per episode.

    data                     attributes total, env_args (JSON: env_name, type, env_kwargs)
    data/demo_0              attribute num_samples
    data/demo_0/obs/<part>, next_obs/<part>, actions, rewards, dones, states   (T, ...) each
    mask/<name>              the episodes of a filter key: train, valid, and the tiers
    data/demo_0/dexvid       what robomimic has no place for (tier, provenance, the last frame), so that nothing is lost

Images aside, robomimic takes every part of an observation as `low_dim`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from demos.demonstration import TIERS, Demonstration, common_options
from demos.exporters.parts import expect_new, expect_one_kind, observation_parts
from demos.hdf5_file import new_file, read_stored, read_text
from dexvid_envs.errors import DexVidError, InputFileError
from dexvid_envs.files import atomic_path
from dexvid_envs.progress import Report

#: robomimic's number for Gym environments.
_GYM_TYPE = 2
_OWN = "dexvid"
_TIER_NAMES = [str(tier) for tier in TIERS]


def write_robomimic(
    path: Path,
    demonstrations: Sequence[Demonstration],
    *,
    valid_share: float = 0.1,
    seed: int = 0,
    report: Report = lambda share, state: None,
) -> None:
    """Writes a robomimic file.

    Args:
        path: of the .hdf5 file, which must not exist.
        demonstrations: of one environment.
        valid_share: of the episodes, drawn for the filter key `valid`; all others are in `train`.
        seed: of that draw.
        report: called with the finished share and a line on the state.

    Raises:
        OptionError: there is something at `path`.
        DexVidError: there is no demonstration, or they are of different kinds.
    """
    expect_new(path)
    expect_one_kind(demonstrations)
    first = demonstrations[0]
    env_kwargs = common_options(demonstrations) | {"control_mode": first.control_mode}
    env_args = {
        "env_name": first.env_id,
        "type": _GYM_TYPE,
        "env_version": version("dexvid-envs"),
        "env_kwargs": env_kwargs,
    }
    with atomic_path(path) as temporary, new_file(temporary, libver=None) as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(one.num_steps for one in demonstrations)
        data.attrs["env_args"] = json.dumps(env_args)
        for index, one in enumerate(demonstrations):
            _write_episode(data.create_group(_name(index)), one)
            report((index + 1) / len(demonstrations), f"{index + 1} of {len(demonstrations)} episodes")
        masks = _masks(demonstrations, valid_share, seed)
        for name, episodes in masks.items():
            file.create_dataset(f"mask/{name}", data=np.array([_name(index) for index in episodes], dtype="S"))


def read_robomimic(path: Path) -> list[Demonstration]:
    """Reads what `write_robomimic` wrote.

    Raises:
        InputFileError: the file is missing, damaged, or of other origin.
    """
    if not path.is_file():
        raise InputFileError(f"no file {path}: expected a robomimic dataset as written by 'dexvid dataset export'")
    label = str(path)
    try:
        with h5py.File(path, "r") as file:
            data: Any = file["data"]
            demonstrations = []
            for index in range(len(data)):
                label = f"{path}, {_name(index)}"
                demonstrations.append(_read_episode(data[_name(index)]))
            return demonstrations
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, DexVidError, RecursionError) as error:
        raise InputFileError(f"{label} is damaged or was not exported from here ({error}); export the dataset again") from error


def _write_episode(group: h5py.Group, one: Demonstration) -> None:
    group.attrs["num_samples"] = one.num_steps
    for name, columns in observation_parts(one).items():
        group.create_dataset(f"obs/{name}", data=one.observations[:-1, columns])
        group.create_dataset(f"next_obs/{name}", data=one.observations[1:, columns])
    dones = np.zeros(one.num_steps, dtype=np.int64)
    dones[-1] = 1
    steps = {"actions": one.actions, "rewards": one.rewards, "dones": dones, "states": one.states[:-1]}
    for name, values in steps.items():
        group.create_dataset(name, data=values)
    own = group.create_group(_OWN)
    texts = {"env_id": one.env_id, "control_mode": one.control_mode, "tier": one.tier}
    jsons = {"env_options": dict(one.env_options), "provenance": dict(one.provenance)}
    for name, text in (texts | {name: json.dumps(value) for name, value in jsons.items()}).items():
        own.create_dataset(name, data=text)  # a dataset: attributes end at 64 KB
    arrays: dict[str, NDArray[Any]] = {
        "last_state": one.states[-1],
        "observations": one.observations,  # in the environment's order, which the names of parts alone do not tell
        "successes": one.successes,
        "object_pos_world": one.object_pos_world,
        "source_frame": one.source_frame,
        **{f"memory/{name}": values for name, values in one.memory.items()},
        **{f"randomization/{name}": values for name, values in one.randomization.items()},
    }
    if one.intended_actions is not None:
        arrays["intended_actions"] = one.intended_actions
    for name, values in arrays.items():
        own.create_dataset(name, data=values)


def _read_episode(group: Any) -> Demonstration:
    own = group[_OWN]

    def text(name: str) -> str:
        return read_text(own[name])

    return Demonstration(
        env_id=text("env_id"),
        env_options=json.loads(text("env_options")),
        control_mode=text("control_mode"),
        observations=read_stored(own["observations"]),
        actions=read_stored(group["actions"]),
        rewards=read_stored(group["rewards"]),
        successes=read_stored(own["successes"]),
        states=np.concatenate([read_stored(group["states"]), read_stored(own["last_state"])[None]]),
        memory=_named(own, "memory"),
        object_pos_world=read_stored(own["object_pos_world"]),
        source_frame=read_stored(own["source_frame"]),
        tier=TIERS[_TIER_NAMES.index(text("tier"))],
        provenance=json.loads(text("provenance")),
        randomization=_named(own, "randomization"),
        intended_actions=read_stored(own["intended_actions"]) if "intended_actions" in own else None,
    )


def _named(own: Any, part: str) -> dict[str, NDArray[Any]]:
    return {name: read_stored(own[part][name]) for name in own[part]} if part in own else {}


def _masks(demonstrations: Sequence[Demonstration], valid_share: float, seed: int) -> Mapping[str, list[int]]:
    """Episodes of each filter key; validation takes at least one of two or more."""
    count = len(demonstrations)
    held = max(round(valid_share * count), 1) if count > 1 and valid_share > 0 else 0
    order = np.random.default_rng(seed).permutation(count).tolist()
    masks = {"train": sorted(order[held:]), "valid": sorted(order[:held])}
    masks |= {tier: [index for index, one in enumerate(demonstrations) if one.tier == tier] for tier in TIERS}
    return {name: episodes for name, episodes in masks.items() if episodes}


def _name(index: int) -> str:
    return f"demo_{index}"
