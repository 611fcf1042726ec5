"""Actors to begin reinforcement learning with: an untrained one, and one pretrained on another task or on none.

A pretrained actor keeps everything that the observations have in common: tokens of the robot's own state and of object points,
attention, action head. The goal, which differs from task to task, is new to it: its columns begin at zero, so that the actor
first does what it did without a goal.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.checkpoint import Checkpoint
from baselines.evaluate import TRAINING_SEEDS_START, make_vector_env
from baselines.settings import Size
from baselines.tokens import as_parts, part_shapes
from baselines.transformer import SIZES, TransformerActor, TransformerConfig
from dexvid_envs.errors import OptionError
from dexvid_envs.options import VIEW_OPTIONS, overridden

_SAMPLED_ENVS, _SAMPLED_STEPS = 16, 60
_STD_FLOOR = 0.01


def untrained_actor(
    env_id: str,
    env_options: Mapping[str, Any] | None = None,
    *,
    size: Size = "small",
    control_mode: str = "joint_delta",
    seed: int = 0,
) -> Checkpoint:
    """A transformer actor with random weights, its normalisation taken from random motions in the environment.

    Args:
        env_id: Gymnasium id.
        env_options: what it sees, such as `observation_mode="pointcloud"`.
        size: of the network.
        control_mode: what its actions mean.
        seed: of weights and motions.

    Raises:
        OptionError: environment or options are not valid.
    """
    options = dict(env_options or {})
    shapes, action_size, sample = _sample(env_id, {**options, "control_mode": control_mode}, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        actor = TransformerActor(TransformerConfig(shapes, action_size, **SIZES[size]))
    actor.fit(sample, _STD_FLOOR)
    return Checkpoint(actor, env_id, options, control_mode, {"algorithm": "none", "seed": seed, "size": size})


def pretrained_actor(
    pretrained: Checkpoint, env_id: str, env_options: Mapping[str, Any] | None = None, *, seed: int = 0
) -> Checkpoint:
    """The actor of a checkpoint, made to fit another task.

    Args:
        pretrained: with a transformer actor.
        env_id: Gymnasium id of the other task.
        env_options: its options; those that say what is seen come from the checkpoint unless they are given.
        seed: of the motions from which the goal's normalisation is taken.

    Raises:
        OptionError: the actor is no transformer, or the tasks' observations or actions have not enough in common.
    """
    actor: Any = pretrained.actor
    if not isinstance(actor, TransformerActor):
        raise OptionError(f"a {type(actor).__name__} fits no other task; pretrain a plain transformer")
    seen = {name: value for name, value in pretrained.env_options.items() if name in VIEW_OPTIONS}
    options = overridden(seen, env_options or {})
    shapes, action_size, sample = _sample(env_id, {**options, "control_mode": pretrained.control_mode}, seed)
    old = actor.config
    differing = {name for name in {*old.observation, *shapes} if old.observation.get(name) != shapes.get(name)} - {"goal"}
    if differing or action_size != old.action_size or "goal" not in shapes:
        raise OptionError(
            f"the pretrained actor sees {dict(old.observation)} and gives {old.action_size} values, {env_id} shows {shapes} "
            f"and takes {action_size}; expected the same but for the goal: choose the same observation_mode"
        )
    fitted = TransformerActor(dataclasses.replace(old, observation=shapes))
    fitted.fit(sample, _STD_FLOOR)
    _copy_common(actor, fitted)
    training = {
        "algorithm": "pretrained elsewhere",
        "pretrained_in": pretrained.env_id,
        "pretraining": dict(pretrained.training),
    }
    return Checkpoint(fitted, env_id, options, pretrained.control_mode, training)


def _copy_common(old: TransformerActor, new: TransformerActor) -> None:
    """Copies all weights; of the vector's token those of everything but the goal."""
    state = copy.deepcopy(old.state_dict())
    own = new.state_dict()
    starts: dict[str, tuple[int, int]] = {}
    for which, actor in (("old", old), ("new", new)):
        begin = 0
        for name in actor.tokens.vector_keys:
            starts[f"{which} {name}"] = (begin, begin + actor.tokens.sizes[name])
            begin += actor.tokens.sizes[name]
    weight = torch.zeros_like(own["tokens.vector_token.weight"])
    mean, std = own["tokens.vector_norm.mean"].clone(), own["tokens.vector_norm.std"].clone()
    for name in new.tokens.vector_keys:
        if name == "goal":
            continue
        there, here = slice(*starts[f"old {name}"]), slice(*starts[f"new {name}"])
        weight[:, here] = state["tokens.vector_token.weight"][:, there]
        mean[here], std[here] = state["tokens.vector_norm.mean"][there], state["tokens.vector_norm.std"][there]
    state["tokens.vector_token.weight"] = weight
    state["tokens.vector_norm.mean"], state["tokens.vector_norm.std"] = mean, std
    new.load_state_dict(state)


def _sample(env_id: str, options: Mapping[str, Any], seed: int) -> tuple[dict[str, tuple[int, ...]], int, dict[str, Tensor]]:
    """Shapes of what an actor sees, its number of actions, and observations (M, ...) of smooth random motions."""
    envs = make_vector_env(env_id, _SAMPLED_ENVS, options)
    try:
        shapes = part_shapes(envs.single_observation_space)  # type: ignore[arg-type]
        action_size = int(np.prod(envs.single_action_space.shape or ()))
        rng = np.random.default_rng(seed)
        seen, _ = envs.reset(seed=TRAINING_SEEDS_START + seed)
        pieces = [as_parts(seen, shapes)]
        action = np.zeros((_SAMPLED_ENVS, action_size))
        for _ in range(_SAMPLED_STEPS):
            action = np.clip(0.9 * action + 0.2 * rng.normal(size=action.shape), -1.0, 1.0)
            seen = envs.step(action.astype(np.float32))[0]
            pieces.append({name: part.clone() for name, part in as_parts(seen, shapes).items()})
        sample = {name: torch.cat([piece[name] for piece in pieces]) for name in shapes}
        return shapes, action_size, sample
    finally:
        envs.close()
