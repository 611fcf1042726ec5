"""What the future of a fine-tuning depends on beside its networks: random states, running episodes, what actors remember.

With it a killed and resumed run equals an unbroken one, number for number. Environments of others, whose state cannot be read,
begin new episodes instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.curriculum import DemonstrationStarts
from baselines.ppo import FineTunePPO
from baselines.sb3_vec_env import Sb3VecEnv

_OBSERVATION, _STATE = "last_observation.", "state."


def take_snapshot(algorithm: FineTunePPO, vec_env: Sb3VecEnv) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON values, as `restore_snapshot` takes them."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 (the generator that stable-baselines3 draws from)
    arrays: dict[str, Any] = {"numpy_random": numpy_state[1], "episode_starts": algorithm._last_episode_starts}
    arrays |= {_OBSERVATION + name: part for name, part in _named(algorithm._last_obs).items()}
    arrays |= vec_env.bookkeeping()
    values: dict[str, Any] = {
        "numpy_random": [int(numpy_state[2]), int(numpy_state[3]), float(numpy_state[4])],
        "episodes": [dict(one) for one in algorithm.ep_info_buffer or ()],
        "successes": [bool(one) for one in algorithm.ep_success_buffer or ()],
        "update_threads": algorithm.update_threads,
    }
    envs: Any = vec_env.envs.unwrapped
    if _can_be_read(envs):
        states = [envs.state(row) for row in range(envs.num_envs)]
        arrays["state.simulation"] = np.stack([one["simulation"] for one in states])
        for part in ("memory", "randomization"):
            for name in states[0].get(part, {}):
                arrays[f"state.{part}.{name}"] = np.stack([one[part][name] for one in states])
        arrays["elapsed_steps"] = envs.elapsed_steps
        values["row_random"] = [generator.bit_generator.state for generator in envs._rngs]
    if isinstance(vec_env.envs, DemonstrationStarts):
        starts = vec_env.envs
        arrays["began"] = starts.began
        values["curriculum"] = starts.curriculum.state()
        values["start_random"] = starts.rng.bit_generator.state
    tensors = {name: _to_tensor(np.asarray(array)) for name, array in arrays.items()}
    tensors["torch_random"] = torch.get_rng_state()
    for name, memory in (("memory", algorithm.networks.memory), ("clone_memory", algorithm.clone_memory)):
        tensors |= _memory_tensors(memory, name)
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}, values


def restore_snapshot(
    algorithm: FineTunePPO, vec_env: Sb3VecEnv, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> None:
    """Puts everything back; the environments have been reset before."""
    arrays = {name: value.numpy() for name, value in tensors.items()}
    position, has_gauss, cached = values["numpy_random"]
    np.random.set_state(("MT19937", arrays["numpy_random"].view(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(tensors["torch_random"])
    algorithm.update_threads = int(values["update_threads"])
    if algorithm.ep_info_buffer is not None and algorithm.ep_success_buffer is not None:
        algorithm.ep_info_buffer.extend(values["episodes"])
        algorithm.ep_success_buffer.extend(values["successes"])
    envs: Any = vec_env.envs.unwrapped
    if "row_random" not in values:
        return  # the environments have begun new episodes
    each: list[dict[str, Any]] = []
    for row in range(envs.num_envs):
        state: dict[str, Any] = {"simulation": arrays["state.simulation"][row], "memory": {}}
        for name, array in arrays.items():
            if name.startswith((_STATE + "memory.", _STATE + "randomization.")):
                _, part, entry = name.split(".", 2)
                state.setdefault(part, {})[entry] = array[row]
        each.append({"state": state})
    envs.reset(options={"each": each})
    envs.elapsed_steps[:] = arrays["elapsed_steps"]
    for generator, state in zip(envs._rngs, values["row_random"], strict=True):
        generator.bit_generator.state = state
    if isinstance(vec_env.envs, DemonstrationStarts):
        starts = vec_env.envs
        starts.began[:] = arrays["began"]
        starts.curriculum.restore(values["curriculum"])
        starts.rng.bit_generator.state = values["start_random"]
    vec_env.restore_bookkeeping(arrays)
    algorithm._last_episode_starts = arrays["episode_starts"].copy()
    last = {name.removeprefix(_OBSERVATION): array for name, array in arrays.items() if name.startswith(_OBSERVATION)}
    algorithm._last_obs = last if isinstance(algorithm._last_obs, Mapping) else last["state"]
    algorithm.networks.memory = _memory_like(algorithm.networks.memory, tensors, "memory")
    algorithm.clone_memory = _memory_like(algorithm.clone_memory, tensors, "clone_memory")


def _memory_tensors(memory: Any, name: str) -> dict[str, Tensor]:
    """What an actor remembers, by name: nothing, a tensor, or a named tuple of such."""
    if memory is None or isinstance(memory, Tensor):
        return {} if memory is None else {name: memory}
    parts = [_memory_tensors(part, f"{name}.{field}") for field, part in memory._asdict().items()]
    return {key: value for part in parts for key, value in part.items()}


def _memory_like(memory: Any, tensors: Mapping[str, Tensor], name: str) -> Any:
    """A memory built as the given one, from the tensors of `_memory_tensors`."""
    if memory is None or isinstance(memory, Tensor):
        return None if memory is None else tensors[name]
    return type(memory)(*(_memory_like(part, tensors, f"{name}.{field}") for field, part in memory._asdict().items()))


def _can_be_read(envs: Any) -> bool:
    return all(hasattr(envs, name) for name in ("state", "elapsed_steps", "_rngs"))


def _named(observations: Any) -> Mapping[str, NDArray[Any]]:
    return observations if isinstance(observations, Mapping) else {"state": observations}


def _to_tensor(array: NDArray[Any]) -> Tensor:
    """Unsigned numbers go as signed ones of the same bits, which every version of the format knows."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = np.ascontiguousarray(array).view(f"i{array.dtype.itemsize}")
    return torch.from_numpy(np.array(array))
