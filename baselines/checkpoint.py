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
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from baselines.mlp import MlpActor, MlpConfig, MlpPolicy
from baselines.policy import single_spaces
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import atomic_folder, atomic_path

FORMAT = "dexvid-checkpoint"
FORMAT_VERSION = 1
CONFIG_NAME, WEIGHTS_NAME = "config.json", "actor.safetensors"
STATE_NAME = "training_state.safetensors"  # of a run that may be resumed, in the run's folder
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

    actor: MlpActor
    env_id: str
    env_options: Mapping[str, Any]
    control_mode: str
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def policy(self) -> MlpPolicy:
        """The actor as a `Policy` (a copy; later training does not change it)."""
        return MlpPolicy(self.actor)

    def make_options(self) -> dict[str, Any]:
        """Keyword arguments for `gymnasium.make` and `make_vec` that this actor was trained with."""
        return {**self.env_options, "control_mode": self.control_mode}

    def save(self, folder: Path) -> None:
        """Writes the folder atomically; an older checkpoint there is replaced only by a complete new one."""
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "network": {"kind": "mlp", **dataclasses.asdict(self.actor.config)},
            "env_id": self.env_id,
            "env_options": dict(self.env_options),
            "control_mode": self.control_mode,
            "training": dict(self.training),
            "versions": {package: version(package) for package in _PACKAGES},
        }
        with atomic_folder(folder) as temporary:
            save_file(contiguous(self.actor.state_dict()), temporary / WEIGHTS_NAME)
            (temporary / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n")

    def check_env(self, env: Any) -> None:
        """Refuses an environment that this actor was not made for.

        Raises:
            OptionError: task, control mode, or observation or action size differ.
        """
        observation_space, action_space = single_spaces(env)
        sizes = (self.actor.config.observation_size, self.actor.config.action_size)
        given = (observation_space.shape[0], action_space.shape[0])
        env_id = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        if env.spec is not None and not _same_task(self.env_id, env_id):
            raise OptionError(f"the checkpoint was trained for {self.env_id}, not for {env_id}; evaluate it there")
        if sizes != given:
            raise OptionError(
                f"the checkpoint takes {sizes[0]} observation values and gives {sizes[1]} action values, but {env_id} has "
                f"{given[0]} and {given[1]}; use the version and options it was trained with: "
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
    config = _read_config(folder / CONFIG_NAME)
    try:
        network = dict(config["network"])
        if network.pop("kind") != "mlp":
            raise InputFileError(
                f"{folder}: network kind {config['network']['kind']!r} is not known to this version; expected 'mlp'"
            )
        network_config = MlpConfig(**{**network, "hidden": tuple(int(width) for width in network["hidden"])})
        actor = _read_actor(folder / WEIGHTS_NAME, network_config)
        return Checkpoint(
            actor, str(config["env_id"]), dict(config["env_options"]), str(config["control_mode"]), config["training"]
        )
    except (KeyError, TypeError, AttributeError, OptionError) as error:
        raise InputFileError(
            f"{folder / CONFIG_NAME} is no valid checkpoint config ({type(error).__name__}: {error}); "
            "train or download it again"
        ) from error


def find_checkpoint(folder: Path) -> Path:
    """The folder itself or its `checkpoint/`, whichever holds the config.

    Raises:
        InputFileError: there is none.
    """
    for candidate in (folder, folder / "checkpoint"):
        if (candidate / CONFIG_NAME).is_file() and (candidate / WEIGHTS_NAME).is_file():
            return candidate
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise InputFileError(
            f"checkpoint {folder} {kind}; expected a folder with {CONFIG_NAME} and {WEIGHTS_NAME}, as `dexvid train` "
            "writes it, or module:Class"
        )
    raise InputFileError(
        f"{folder} is no checkpoint: expected {CONFIG_NAME} and {WEIGHTS_NAME} in it or in its 'checkpoint' folder"
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path} cannot be read as JSON ({error}); train or download the checkpoint again") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise InputFileError(f"{path} is no {FORMAT}: expected the config.json that `dexvid train` writes into a checkpoint")
    if config.get("format_version") != FORMAT_VERSION:
        raise InputFileError(
            f"{path} has format version {config.get('format_version')!r}, this version of dexvid-envs reads {FORMAT_VERSION}; "
            f"use the versions it was made with: {config.get('versions')}"
        )
    return config


def _read_actor(path: Path, config: MlpConfig) -> MlpActor:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputFileError(f"{path} is damaged ({error}); train or download the checkpoint again") from error
    with torch.device("meta"):  # nothing is allocated for sizes that a hostile config may name
        actor = MlpActor(config)
    check_tensors(path, tensors, actor.state_dict())
    actor.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    for parameter in actor.parameters():
        parameter.requires_grad_(True)
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


def _same_task(one: str, other: str) -> bool:
    specs = [gymnasium.registry.get(env_id) for env_id in (one, other)]
    tasks = [None if spec is None else spec.kwargs.get("task") for spec in specs]
    return one == other or (tasks[0] is not None and tasks[0] == tasks[1])


# ---- the state of an unfinished training run: one safetensors file, replaced atomically ---------------------------------


def contiguous(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Detached copies under `prefix` + name, as safetensors wants them."""
    return {prefix + name: value.detach().clone().contiguous() for name, value in tensors.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments and step counts of an Adam-like optimiser, by parameter index."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value) for index, slots in state.items() for name, value in slots.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_tensors` returned; settings such as the learning rate stay the optimiser's own."""
    state = optimizer.state_dict()
    state["state"] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(state)


def module_tensors(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A module's state under a prefix."""
    return contiguous(module.state_dict(), prefix)


def restore_module(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    """Puts back what `module_tensors` returned.

    Raises:
        InputFileError: the tensors are another network's.
    """
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    check_tensors(path, own, module.state_dict())
    module.load_state_dict(own)


def save_training_state(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes tensors and JSON values as one file; a kill leaves the previous one whole."""
    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, metadata={"meta": json.dumps(meta)})


def load_training_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_training_state` wrote.

    Raises:
        InputFileError: there is no such file or it is damaged.
    """
    if not path.is_file():
        raise InputFileError(f"nothing to resume: {path} does not exist; start the run without --resume")
    try:
        with safe_open(path, framework="pt") as stream:
            meta = json.loads(stream.metadata()["meta"])
        return load_file(path), meta
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputFileError(f"{path} is damaged ({error}); start the run again without --resume") from error


def check_identity(path: Path, meta: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Compares the saved `meta["identity"]` with that of the run that wants to go on from it.

    Raises:
        OptionError: config, seed, data or environment differ.
    """
    saved = meta.get("identity", {})
    different = [name for name, value in json.loads(json.dumps(identity)).items() if saved.get(name) != value]
    if different:
        raise OptionError(
            f"{path} is of a run with another {' and another '.join(different)}; resume with the settings in config.json "
            "beside it, or start without --resume"
        )
