"""The state of an unfinished training run: one safetensors file, replaced atomically, from which the run goes on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from baselines.checkpoint import check_tensors, contiguous
from dexvid_envs.errors import InputFileError, OptionError
from dexvid_envs.files import atomic_path

STATE_NAME = "training_state.safetensors"  # in the run's folder


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments and step counts of an Adam-like optimiser, by parameter index."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value) for index, slots in state.items() for name, value in slots.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_tensors` returned; settings such as the learning rate stay the optimiser's own.

    Raises:
        ValueError: a parameter's moments are missing, or those of another network.
    """
    state = optimizer.state_dict()
    state["state"] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state["state"].setdefault(int(index), {})[name] = value
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, slots in state["state"].items():
        shapes = {name: value.shape for name, value in slots.items() if name != "step"}
        if "step" not in slots or shapes != dict.fromkeys(("exp_avg", "exp_avg_sq"), parameters[index].shape):
            raise ValueError(f"the optimiser's figures for parameter {index} do not belong to this network")
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
    """Writes tensors and JSON values as one file; a kill leaves the previous one whole.

    Raises:
        OptionError: it cannot be written, such as on a full disk.
    """
    try:
        with atomic_path(path) as temporary:
            save_file(dict(tensors), temporary, metadata={"meta": json.dumps(meta)})
    except (SafetensorError, OSError) as error:
        raise OptionError(
            f"the training state {path} cannot be written ({error}); an older one there is as it was: make room on the disk "
            "and resume from it"
        ) from error


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
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputFileError(f"{path} is damaged ({error}); start the run again without --resume") from error


@contextlib.contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong with a state's content inside the block into an error that names the file.

    Raises:
        InputFileError: the state lacks something, or holds it in another shape.
    """
    try:
        yield
    except InputFileError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise InputFileError(
            f"{path} is damaged ({type(error).__name__}: {error}); start the run again without --resume"
        ) from error


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
