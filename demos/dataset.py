"""Demonstrations on disk: Minari dataset folders (HDF5) that plain `minari` loads, with the full state of every step.

    DATASET/data/metadata.json    Minari's metadata
    DATASET/data/main_data.hdf5   a group per episode: observations, actions, rewards, terminations, truncations and
                                  infos/{success, state, object_pos_world, source_frame, memory/<name>,
                                  randomization/<name>};
                                  env_id, env_options, control_mode and tier as attributes, provenance as one JSON text

Minari appends in place, which a kill can break beyond repair. Here each finished episode is a file of its own in a hidden
folder beside the destination until `DatasetWriter.close` puts them together and renames the result into place.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import gymnasium
import h5py
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari.dataset.minari_storage import MinariStorage

from demos.dataset_episode import child, read_episode, write_episode
from demos.demonstration import Demonstration
from demos.hdf5_file import new_file, open_file
from dexvid_envs.errors import DexVidError, InputFileError
from dexvid_envs.files import atomic_folder, atomic_path, replace_folder, write_alone
from dexvid_envs.registration import register_environments

FORMAT_VERSION = 1
_DATA_FOLDER, _METADATA_NAME, _MAIN_NAME = "data", "metadata.json", "main_data.hdf5"


class DatasetWriter:
    """Writes a dataset episode by episode; a kill at any moment loses at most the episode in hand.

    As a context manager it calls `close` when the block ends without an error. After an error or a kill the finished episodes
    wait in the hidden folder `.NAME-unfinished` beside `path`, for `resume=True`; a dataset that was at `path` is untouched
    until `close` replaces it. One process at a time writes to a path; a second one is refused.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        """Args: `resume` keeps the episodes of an earlier, unfinished writing to `path`; otherwise they are dropped.

        Raises:
            InputFileError: `path` is something else than a dataset, which is not overwritten.
            OptionError: another process writes there, or the folder cannot be written to.
        """
        _expect_free(path)
        self.path = path
        self._alone = contextlib.ExitStack()
        self._alone.enter_context(write_alone(path, again=True))
        self.staging = path.with_name(f".{path.name}-unfinished")
        self._assembled, self._previous = self.staging / "assembled", self.staging / "previous"
        self._discarded = path.with_name(f".{path.name}-discarded")
        shutil.rmtree(self._discarded, ignore_errors=True)  # what an earlier writer was killed over
        if self._previous.exists() and not path.exists():  # killed between the two renamings of `close`
            self._previous.rename(path)
        if not resume:
            self._discard()
        self.staging.mkdir(parents=True, exist_ok=True)
        self._num_episodes = len(self._staged())

    def __len__(self) -> int:
        """Number of episodes finished so far, those resumed from included."""
        return self._num_episodes

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._alone.close()

    def add(self, demonstration: Demonstration) -> None:
        """Appends one episode, on disk when this returns.

        Raises:
            DexVidError: the demonstration holds what a file cannot, such as an object in its provenance.
        """
        destination = self.staging / f"episode_{self._num_episodes:06d}.hdf5"
        with atomic_path(destination) as temporary, new_file(temporary) as file:
            write_episode(file.create_group("episode"), demonstration)
        self._num_episodes += 1

    def demonstrations(self) -> Iterator[Demonstration]:
        """The episodes finished so far, read back one by one."""
        for staged in self._staged():
            with open_file(staged) as file:
                yield read_episode(file["episode"], str(staged))

    def close(self) -> None:
        """Puts the episodes together as a Minari dataset at `path`.

        Raises:
            DexVidError: there is no episode, or the episodes are not of one environment.
        """
        with _new_dataset(self._assembled, name=self.path.name) as file:
            for index, staged in enumerate(self._staged()):
                with open_file(staged) as source:
                    source.copy(source["episode"], file, name=_episode_name(index))  # compressed bytes as they are
                file[_episode_name(index)].attrs["id"] = index
        if self._previous.exists():
            shutil.rmtree(self._previous, ignore_errors=True)
        replace_folder(self._assembled, self.path, self._previous)
        self._discard()
        self._alone.close()

    def _discard(self) -> None:
        """Removes the episodes, by another name: a kill in the midst of it must not leave some of them for `resume`."""
        if self.staging.exists():
            self.staging.rename(self._discarded)
            shutil.rmtree(self._discarded, ignore_errors=True)

    def _staged(self) -> list[Path]:
        return sorted(self.staging.glob("episode_*.hdf5"))


def write_dataset(path: Path, demonstrations: Iterable[Demonstration]) -> None:
    """Writes a whole dataset at once; it takes the place of a dataset that was at `path`.

    Raises:
        InputFileError: `path` is something else than a dataset, which is not overwritten.
        DexVidError: there is no demonstration, or they are not of one environment.
    """
    _expect_free(path)
    with _new_dataset(path, name=path.name) as file:
        for index, demonstration in enumerate(demonstrations):
            group = file.create_group(_episode_name(index))
            group.attrs["id"] = index
            write_episode(group, demonstration)


def read_dataset(path: Path, episodes: Sequence[int] | None = None) -> list[Demonstration]:
    """Reads the demonstrations of a dataset folder; `episodes` chooses some by index.

    Tuples in `env_options` and `provenance` come back as lists, as JSON has it.

    Raises:
        InputFileError: the folder is missing, is no dataset of this project, or is damaged; the message names the episode.
    """
    count = dataset_length(path)
    chosen = range(count) if episodes is None else episodes
    for index in episodes or ():  # not those of `count`, which a damaged file may set to billions
        if not 0 <= index < count:
            raise InputFileError(f"{path} has no episode {index}: expected 0 to {count - 1}")
    with open_file(path / _DATA_FOLDER / _MAIN_NAME) as file:
        return [read_episode(child(file, _episode_name(index), str(path)), f"{path}, episode {index}") for index in chosen]


def dataset_length(path: Path) -> int:
    """Number of episodes of a dataset folder.

    Raises:
        InputFileError: the folder is missing, no dataset, or its metadata are damaged.
    """
    advice = "expected a dataset folder as written by 'dexvid refine' or 'dexvid multiply'"
    metadata_path = path / _DATA_FOLDER / _METADATA_NAME
    if not path.exists():
        raise InputFileError(f"no dataset at {path}: {advice}; check the path")
    if not metadata_path.is_file():
        raise InputFileError(f"{path} is no dataset, it has no {_DATA_FOLDER}/{_METADATA_NAME}: {advice}; check the path")
    try:
        count = json.loads(metadata_path.read_text(encoding="utf-8"))["total_episodes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputFileError(f"{metadata_path} is damaged ({error!r}): {advice}; write the dataset again") from error
    if not isinstance(count, int) or count < 0:
        raise InputFileError(f"{metadata_path} gives total_episodes {count!r}: expected a count; write the dataset again")
    return count


# ---- the file as a whole ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _new_dataset(path: Path, *, name: str) -> Iterator[h5py.File]:
    """Yields the HDF5 file to be filled with episodes; then adds Minari's metadata and renames the folder into place."""
    with atomic_folder(path) as temporary:
        data = (temporary / _DATA_FOLDER).absolute()  # Minari's storage counts a relative folder twice
        data.mkdir()
        with new_file(data / _MAIN_NAME) as file:
            yield file
            summary = _summarise(file, name)
        _write_metadata(data, name, **summary)


def _summarise(file: Any, name: str) -> dict[str, Any]:
    """Arguments of `_write_metadata` from the written episodes, which have to agree on environment, mode and sizes."""
    if not len(file):
        raise DexVidError(f"no demonstration to write to {name!r}: a dataset needs at least one")
    kinds: dict[tuple[Any, ...], int] = {}
    options: set[str] = set()
    total_steps = 0
    for index in range(len(file)):
        group = file[_episode_name(index)]
        actions = group["actions"]
        kind = (group.attrs["env_id"], group.attrs["control_mode"], group["observations"].shape[1], actions.shape[1])
        kinds.setdefault(kind, index)
        options.add(group.attrs["env_options"])
        total_steps += len(actions)
    if len(kinds) > 1:
        listed = "; ".join(
            f"episode {index}: {env_id}, {mode}, {observed} observations, {acted} actions"
            for (env_id, mode, observed, acted), index in kinds.items()
        )
        raise DexVidError(f"the episodes of a dataset need one environment, control mode and size; got {listed}; split them")
    env_id, _, observation_size, action_size = next(iter(kinds))
    return {
        "env_spec": _env_spec(env_id, json.loads(options.pop()) if len(options) == 1 else {}),
        "observation_size": observation_size,
        "action_size": action_size,
        "episodes": len(file),
        "steps": total_steps,
    }


def _write_metadata(
    data: Path, name: str, *, env_spec: EnvSpec | None, observation_size: int, action_size: int, episodes: int, steps: int
) -> None:
    """Lets Minari write its own metadata beside the finished HDF5 file."""
    main = data / _MAIN_NAME
    aside = main.with_suffix(".aside")  # `MinariStorage.new` makes the main file itself, and wants to be the first
    main.rename(aside)
    storage = MinariStorage.new(
        data,
        observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (observation_size,), np.float32),
        action_space=gymnasium.spaces.Box(-1.0, 1.0, (action_size,), np.float32),
        env_spec=env_spec,
    )
    aside.replace(main)
    storage.update_metadata(
        {
            "dataset_id": _dataset_id(name),
            "minari_version": version("minari"),
            "total_episodes": episodes,
            "total_steps": steps,
            "dataset_size": float(storage.get_size()),
            "dexvid_format": FORMAT_VERSION,
        }
    )


def _dataset_id(folder: str) -> str:
    """A valid Minari id: the folder's own name where it is one, so that `minari.load_dataset` finds it by its name."""
    name = re.sub(r"[^-_\w]+", "-", folder).strip("-") or "dataset"
    return name if re.search(r"-v\d+$", name) else f"{name}-v0"


def _env_spec(env_id: str, env_options: dict[str, Any]) -> EnvSpec | None:
    """What `MinariDataset.recover_environment` makes the environment from; None for an id that is not registered."""
    register_environments()
    if env_id not in gymnasium.registry:
        return None
    spec = EnvSpec.from_json(gymnasium.spec(env_id).to_json())
    spec.kwargs.update(env_options)
    return spec


def _expect_free(path: Path) -> None:
    """Refuses to replace a file, or a folder that is neither empty nor a dataset."""
    if path.is_dir() and ((path / _DATA_FOLDER / _METADATA_NAME).is_file() or not any(path.iterdir())):
        return
    if path.exists() or path.is_symlink():
        raise InputFileError(
            f"{path} exists and is no dataset: expected a new folder or a dataset to replace; choose another name"
        )


def _episode_name(index: int) -> str:
    return f"episode_{index}"
