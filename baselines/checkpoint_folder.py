"""What lies in a checkpoint's folder and what its `config.json` says, without loading the network (or torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dexvid_envs.errors import InputFileError
from dexvid_envs.json_file import read_json

FORMAT = "dexvid-checkpoint"
FORMAT_VERSION = 1
CONFIG_NAME, WEIGHTS_NAME = "config.json", "actor.safetensors"


def find_checkpoint(folder: Path) -> Path:
    """The folder itself or its `checkpoint/`, whichever holds the config.

    Where saving was killed between moving the older checkpoint aside and moving the new one in, it is the older one.

    Raises:
        InputFileError: there is none.
    """
    candidates = [folder, folder / "checkpoint"]
    aside = [path for one in candidates if not one.exists() for path in sorted(one.parent.glob(f".{one.name}-*-previous"))]
    for candidate in (*candidates, *aside):
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


def read_config(path: Path) -> dict[str, Any]:
    """The content of a checkpoint's `config.json`.

    Raises:
        InputFileError: it is missing, damaged or of another format.
    """
    config = read_json(path, "train or download the checkpoint again")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise InputFileError(f"{path} is no {FORMAT}: expected the config.json that `dexvid train` writes into a checkpoint")
    if config.get("format_version") != FORMAT_VERSION:
        raise InputFileError(
            f"{path} has format version {config.get('format_version')!r}, this version of dexvid-envs reads {FORMAT_VERSION}; "
            f"use the versions it was made with: {config.get('versions')}"
        )
    return config
