"""The network that a cloning begins with: a new one that fits the data, or an earlier one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from baselines.committed import WAY, CommittedActor, CommittedConfig, with_way
from baselines.episodes import EpisodeData
from baselines.mlp import MlpActor, MlpConfig
from baselines.networks import Actor, module_of
from baselines.transformer import SIZES, TransformerActor, TransformerConfig
from dexvid_envs.errors import OptionError

if TYPE_CHECKING:
    from baselines.settings import CloneConfig


def new_actor(config: CloneConfig, data: EpisodeData) -> Actor:
    """One with random weights that fits the data.

    Raises:
        OptionError: the kind of network cannot read what the data show.
    """
    shapes, action_size = _shapes(data), data.actions.shape[1]
    if not config.commit:
        return _make_plain_actor(config, shapes, action_size)
    committed = CommittedConfig(1 + int(data.parts[WAY].max()))
    return CommittedActor(_make_plain_actor(config, with_way(shapes, committed.ways), action_size), committed)


def _make_plain_actor(config: CloneConfig, shapes: dict[str, tuple[int, ...]], action_size: int) -> Actor:
    if config.policy == "transformer":
        return TransformerActor(TransformerConfig(shapes, action_size, **SIZES[config.size]))
    if list(shapes) != ["state"]:
        raise OptionError(f"an mlp reads the state observation alone, not {', '.join(shapes)}; use policy=transformer")
    return MlpActor(MlpConfig(shapes["state"][0], action_size, config.hidden))


def _shapes(data: EpisodeData) -> dict[str, tuple[int, ...]]:
    """Of what the environment shows."""
    return {name: tuple(part.shape[1:]) for name, part in sorted(data.parts.items()) if name != WAY}


def begun_with(initial: Actor, data: EpisodeData) -> Actor:
    """A copy of an actor that fits the data.

    Raises:
        OptionError: it does not fit them.
    """
    shapes, action_size = _shapes(data), data.actions.shape[1]
    known = {name: tuple(shape) for name, shape in initial.config.observation.items()}
    if known != shapes or initial.config.action_size != action_size:
        raise OptionError(
            f"the initial actor sees {known} and gives {initial.config.action_size} values, the demonstrations show {shapes} "
            f"and have {action_size}; choose the same observation and control mode, or fit it first (baselines.starting_actor)"
        )
    ways = initial.config.own.ways if isinstance(initial, CommittedActor) else 0
    needed = 1 + int(data.parts[WAY].max()) if WAY in data.parts else 0
    if (ways > 0) != (needed > 0) or needed > ways:
        raise OptionError(
            f"the initial actor chooses among {ways} ways, the demonstrations need {needed}; set `commit` as it was in its own "
            "training, and give demonstrations copied from the same ones"
        )
    actor = copy.deepcopy(initial)
    module_of(actor).requires_grad_(True)
    return actor
