"""Reading what `dexvid evaluate --json` wrote: every part is checked, since such a file may come from anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baselines.evaluate import Episode, EvaluationResult
from dexvid_envs.errors import InputFileError
from dexvid_envs.json_file import read_json

EVALUATION_NAME = "evaluation.json"
_REMEDY = "expected a file as `dexvid evaluate --json FILE` writes it; evaluate the policy again"
_KINDS: dict[str, tuple[type, ...]] = {
    "seed": (int,),
    "success": (bool,),
    "ever_success": (bool,),
    "total_reward": (int, float),
    "length": (int,),
    "terminated": (bool,),
    "object": (str, type(None)),
    "metrics": (dict,),
}


@dataclasses.dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation and of which policy it is; the name is empty where the file does not say."""

    policy: str
    result: EvaluationResult


def read_evaluation(path: Path) -> StoredEvaluation:
    """The evaluation in a file; the rates are counted anew from its episodes.

    Raises:
        InputFileError: the file is missing, damaged, or something else.
    """
    content = read_json(path, _REMEDY)
    if not isinstance(content, dict):
        raise InputFileError(f"{path} holds no JSON object: {_REMEDY}")
    for name, kind in (("env_id", str), ("env_options", dict), ("seed", int), ("episodes", list)):
        if not isinstance(content.get(name), kind):
            raise InputFileError(f"{path} is no evaluation, {name!r} is not there or of another type: {_REMEDY}")
    if not content["episodes"]:
        raise InputFileError(f"{path} holds no episodes: {_REMEDY}")
    episodes = tuple(_episode(path, index, one) for index, one in enumerate(content["episodes"]))
    result = EvaluationResult(content["env_id"], content["env_options"], content["seed"], episodes)
    return StoredEvaluation(str(content.get("policy", "")), result)


def _episode(path: Path, index: int, content: Any) -> Episode:
    where = f"{path}, episode {index}"
    if not isinstance(content, Mapping):
        raise InputFileError(f"{where} is no JSON object: {_REMEDY}")
    for name, kinds in _KINDS.items():
        if name not in content or not isinstance(content[name], kinds):
            raise InputFileError(f"{where}: {name!r} is not there or of another type: {_REMEDY}")
    if not all(isinstance(value, int | float) for value in content["metrics"].values()):
        raise InputFileError(f"{where}: a metric is no number: {_REMEDY}")
    try:
        return Episode(
            seed=content["seed"],
            success=content["success"],
            ever_success=content["ever_success"],
            total_reward=float(content["total_reward"]),
            length=content["length"],
            terminated=content["terminated"],
            object=content["object"],
            metrics={name: float(value) for name, value in content["metrics"].items()},
        )
    except OverflowError as error:
        raise InputFileError(f"{where}: a number is too large ({error}): {_REMEDY}") from error
