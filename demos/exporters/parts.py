"""What the exporters share: named parts of observations, options common to all episodes, and refusing to overwrite."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

from demos.demonstration import Demonstration
from demos.replay import Player
from dexvid_envs.errors import DexVidError, OptionError

CONTROL_HZ = 20
#: The name of the whole where an environment's parts are not known.
WHOLE = "state"


def observation_parts(demonstration: Demonstration) -> dict[str, slice]:
    """Names of the parts of a demonstration's observations and the columns that each takes.

    They are those of the environment; where it is not known here, or its observations have another size, the one part `state`.
    """
    size = demonstration.observations.shape[1]
    try:
        found = _parts(
            demonstration.env_id, json.dumps(dict(demonstration.env_options), sort_keys=True), demonstration.control_mode
        )
    except DexVidError:
        return {WHOLE: slice(0, size)}
    return dict(found) if found[-1][1].stop == size else {WHOLE: slice(0, size)}


@functools.lru_cache(maxsize=8)
def _parts(env_id: str, env_options: str, control_mode: str) -> tuple[tuple[str, slice], ...]:
    """The same of an environment; its options as JSON, so that they can be remembered."""
    player = Player(env_id, json.loads(env_options), control_mode)
    parts, start = [], 0
    for field in player.env.core.fields:
        parts.append((field.name, slice(start, start + field.size)))
        start += field.size
    player.close()
    return tuple(parts)


def expect_one_kind(demonstrations: Sequence[Demonstration]) -> None:
    """Raises DexVidError unless there are demonstrations, of one environment, control mode and sizes."""
    if not demonstrations:
        raise DexVidError("no demonstration to export: a dataset needs at least one; choose other episodes")
    kinds = [
        (one.env_id, one.control_mode, one.observations.shape[1], one.actions.shape[1], one.states.shape[1], sorted(one.memory))
        for one in demonstrations
    ]
    other = next((index for index, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise DexVidError(
            f"the layout needs episodes of one environment, control mode and size; episode 0 has {kinds[0][:4]}, "
            f"episode {other} {kinds[other][:4]}; filter the dataset first"
        )


def expect_new(path: Path) -> None:
    """Raises OptionError where something is already at a path to be written."""
    if path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise OptionError(f"{path} exists already: expected a new name; choose another one or remove it")
