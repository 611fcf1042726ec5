"""A trained actor as a folder: weights and normalisation as safetensors, everything else as JSON; nothing is ever unpickled."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.envs.registration import parse_env_id
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from baselines.checkpoint_folder import CONFIG_NAME, FORMAT, FORMAT_VERSION, WEIGHTS_NAME, find_checkpoint, read_config
from baselines.networks import Actor, describe_network, module_of, network_from
from baselines.policy import Policy, single_spaces
from baselines.tokens import part_shapes
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import atomic_folder

_PACKAGES = ("dexvid-envs", "gymnasium", "mujoco", "numpy", "torch")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An actor and what it was trained for.

    Attributes:
        actor: the network with its normalisation.
        env_id: Gymnasium id of the environment.
        env_options: options of the environment, such as `bottle`.
        control_mode: what its actions mean.
        training: how it came about (algorithm, config, seed, figures); JSON values only.
    """

    actor: Actor
    env_id: str
    env_options: Mapping[str, Any]
    control_mode: str
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def policy(self) -> Policy:
        """The actor as a `Policy` (a copy; later training does not change it)."""
        return self.actor.policy()

    def make_options(self) -> dict[str, Any]:
        """Keyword arguments for `gymnasium.make` and `make_vec` that this actor was trained with."""
        return {**self.env_options, "control_mode": self.control_mode}

    def save(self, folder: Path) -> None:
        """Writes the folder atomically; an older checkpoint there is replaced only by a complete new one.

        Raises:
            OptionError: it cannot be written, such as on a full disk.
        """
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "network": describe_network(self.actor),
            "env_id": self.env_id,
            "env_options": dict(self.env_options),
            "control_mode": self.control_mode,
            "training": dict(self.training),
            "versions": {package: version(package) for package in _PACKAGES},
        }
        with atomic_folder(folder) as temporary:
            try:
                save_file(contiguous(module_of(self.actor).state_dict()), temporary / WEIGHTS_NAME)
                (temporary / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n")
            except (SafetensorError, OSError) as error:
                raise OptionError(
                    f"the checkpoint {folder} cannot be written ({error}); an older one there is as it was; make room on the "
                    "disk or choose another folder"
                ) from error

    def check_env(self, env: Any) -> None:
        """Refuses an environment that this actor was not made for.

        Raises:
            OptionError: task, control mode, or observation or action size differ.
        """
        observation_space, action_space = single_spaces(env)
        env_id = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        if env.spec is not None and not _same_task(self.env_id, env_id):
            raise OptionError(f"the checkpoint was trained for {self.env_id}, not for {env_id}; evaluate it there")
        wanted, given = dict(self.actor.config.observation), part_shapes(observation_space)
        sizes = self.actor.config.action_size, action_space.shape[0]
        if {**given, **wanted} != given or sizes[0] != sizes[1]:
            raise OptionError(
                f"the checkpoint takes {_listed(wanted)} and gives {sizes[0]} action values, but {env_id} has "
                f"{_listed(given)} and {sizes[1]} action values; use the version and options it was trained with: "
                f"{self.env_id}, {self.make_options()}"
            )
        core = getattr(env.unwrapped, "core", None)
        if core is not None and core.control.name != self.control_mode:
            raise OptionError(
                f"the checkpoint's actions are for control_mode={self.control_mode!r}, but the environment has "
                f"{core.control.name!r}; make the environment with control_mode={self.control_mode!r}"
            )


def load_checkpoint(folder: Path) -> Checkpoint:
    """Reads a checkpoint folder, or the `checkpoint/` of a run's folder.

    Raises:
        InputFileError: something is missing, damaged or of another format.
    """
    folder = find_checkpoint(folder)
    config = read_config(folder / CONFIG_NAME)
    try:
        actor = _read_actor(folder / WEIGHTS_NAME, config["network"])
        return Checkpoint(
            actor, str(config["env_id"]), dict(config["env_options"]), str(config["control_mode"]), config["training"]
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(
            f"{folder / CONFIG_NAME} is no valid checkpoint config ({type(error).__name__}: {error}); "
            "train or download it again"
        ) from error


class _Unfilled(TorchFunctionMode):
    """Leaves out filling tensors with normal numbers: for those without memory torch would load its compiler, for seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        return given["tensor"] if func is nn.init.normal_ and "tensor" in given else func(*args, **given)


def _read_actor(path: Path, network: Mapping[str, Any]) -> Actor:
    with torch.device("meta"), _Unfilled():  # nothing is allocated for sizes that a hostile config may name
        actor = network_from(network)
    module = module_of(actor)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputFileError(f"{path} is damaged ({error}); train or download the checkpoint again") from error
    check_tensors(path, tensors, module.state_dict())
    module.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    module.requires_grad_(True)
    return actor


def check_tensors(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compares names, shapes and finiteness of loaded tensors with what a network expects.

    Raises:
        InputFileError: they do not fit.
    """
    if set(tensors) != set(expected):
        odd = sorted(set(tensors) ^ set(expected))
        raise InputFileError(f"{path} does not belong to its config: tensor {odd[0]!r} is on one side only")
    for name, value in tensors.items():
        if value.shape != expected[name].shape:
            raise InputFileError(f"{path}: {name!r} has shape {tuple(value.shape)}, expected {tuple(expected[name].shape)}")
        if not torch.isfinite(value).all():
            raise InputFileError(f"{path}: {name!r} holds NaN or infinity; the training has diverged or the file is damaged")


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The parts of an observation in words."""
    if list(shapes) == ["state"]:
        return f"{shapes['state'][0]} observation values"
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _same_task(one: str, other: str) -> bool:
    """Whether two ids are of one task in one version; a name of somebody's own for the task is as good."""
    (_, name, version_of_one), (_, other_name, version_of_other) = parse_env_id(one), parse_env_id(other)
    if name == other_name:
        return version_of_one == version_of_other
    specs = [gymnasium.registry.get(env_id) for env_id in (one, other)]
    tasks = [None if spec is None else spec.kwargs.get("task") for spec in specs]
    return tasks[0] is not None and tasks[0] == tasks[1]


def contiguous(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Detached copies under `prefix` + name, as safetensors wants them."""
    return {prefix + name: value.detach().clone().contiguous() for name, value in tensors.items()}
