"""Datasets as LeRobot reads them (its dataset format v3.0): Parquet files of many episodes each, described in `meta/`.

    data/chunk-000/file-000.parquet            frames: observation.state, action, next.reward, next.done, next.success, ...
    meta/info.json, meta/stats.json            features, counts and paths; figures of every feature
    meta/tasks.parquet                         the sentence that says what is done
    meta/episodes/chunk-000/file-000.parquet   length, place and figures of every episode
    meta/dexvid/                               what LeRobot has no place for (tier, provenance, the frame after the last action)

An episode is one row group of its file. Pictures are not part of it: the environments draw them from the stored states.
Needs pyarrow: `pip install -c constraints.txt -e '.[lerobot]'` in the project's checkout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.demonstration import TIERS, Demonstration
from demos.exporters.parts import CONTROL_HZ, expect_new, expect_one_kind, observation_parts
from dexvid_envs.errors import InputFileError, MissingExtraError
from dexvid_envs.files import atomic_folder
from dexvid_envs.progress import Report
from dexvid_envs.registration import REGISTRATIONS

CODEBASE_VERSION = "v3.0"
CHUNK_FILES = 1000
FILE_MB = 100
_CHUNK_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_DATA_PATH, _EPISODES_PATH = f"data/{_CHUNK_FILE}", f"meta/episodes/{_CHUNK_FILE}"
_OWN_EPISODES, _OWN_LAST = "meta/dexvid/episodes.json", "meta/dexvid/last_frames.parquet"
_FIGURES = ("min", "max", "mean", "std", "count")

Columns = dict[str, NDArray[Any]]


def write_lerobot(
    path: Path,
    demonstrations: Sequence[Demonstration],
    *,
    task: str | None = None,
    report: Report = lambda share, state: None,
) -> None:
    """Writes a LeRobot dataset folder.

    Args:
        path: of the folder, which must not exist or be empty.
        demonstrations: of one environment.
        task: what is done, in a sentence; by default the environment's own.
        report: called with the finished share and a line on the state.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OptionError: there is something at `path`.
        DexVidError: there is no demonstration, or they are of different kinds.
    """
    pa, pq = _pyarrow()
    expect_new(path)
    expect_one_kind(demonstrations)
    sentence = task or next(
        (one.summary for one in REGISTRATIONS if one.id == demonstrations[0].env_id), demonstrations[0].env_id
    )
    with atomic_folder(path) as folder:
        rows, index, frames = [], 0, {}
        files = _RollingFiles(folder, pq)
        for episode, one in enumerate(demonstrations):
            frames = _frames(one, episode, index)
            chunk_index, file_index = files.write(_table(pa, frames))
            figures = _figures(frames)
            rows.append(_episode_row(episode, one, sentence, index, chunk_index, file_index, figures))
            index += one.num_steps
            report((episode + 1) / len(demonstrations), f"{episode + 1} of {len(demonstrations)} episodes")
        files.close()
        features = _features(demonstrations[0], frames)
        _write_table(pq, folder / _EPISODES_PATH.format(chunk_index=0, file_index=0), pa.Table.from_pylist(rows))
        _write_table(pq, folder / "meta/tasks.parquet", _tasks_table(pa, sentence))
        _write_json(folder / "meta/info.json", _info(len(demonstrations), index, features))
        _write_json(folder / "meta/stats.json", _whole_figures(rows, features))
        _write_table(
            pq, folder / _OWN_LAST, pa.concat_tables([_table(pa, _states(one, slice(-1, None))) for one in demonstrations])
        )
        _write_json(folder / _OWN_EPISODES, [_own_facts(one) for one in demonstrations])


def read_lerobot(path: Path) -> list[Demonstration]:
    """Reads what `write_lerobot` wrote.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputFileError: the folder is missing, damaged, or of other origin.
    """
    pa, pq = _pyarrow()
    if not (path / _OWN_EPISODES).is_file():
        raise InputFileError(f"{path} has no {_OWN_EPISODES}: expected a folder as written by 'dexvid dataset export'")
    label = str(path)
    try:
        facts = json.loads((path / _OWN_EPISODES).read_text(encoding="utf-8"))
        last = pq.read_table(path / _OWN_LAST)
        result = []
        for episode, frames in enumerate(_episodes(path, pq)):
            label = f"{path}, episode {episode}"
            result.append(_demonstration(_columns(frames), _columns(last.slice(episode, 1)), facts[episode]))
        if len(result) != len(facts):
            raise ValueError(f"{len(result)} episodes of {len(facts)}")
        return result
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError, pa.ArrowException) as error:
        raise InputFileError(f"{label} is damaged ({error}); export the dataset again") from error


# ---- frames -----------------------------------------------------------------------------------------------------------------


def _states(one: Demonstration, rows: slice) -> Columns:
    """What there is of every frame, the one after the last action included."""
    columns: Columns = {
        "observation.state": one.observations[rows],
        "simulation.state": one.states[rows],
        "object.position": one.object_pos_world[rows],
        "source.frame": one.source_frame[rows],
    }
    for part in ("memory", "randomization"):
        columns |= {f"{part}.{name}": values[rows] for name, values in getattr(one, part).items()}
    return columns


def _frames(one: Demonstration, episode: int, index: int) -> Columns:
    """The (T, ...) columns of an episode whose first frame has the number `index`."""
    steps = np.arange(one.num_steps)
    return _states(one, slice(0, -1)) | {
        "action": one.actions,
        "action.intended": one.learned_actions,  # of all episodes, since those of a dataset need the same columns
        "next.reward": one.rewards,
        "next.done": steps == one.num_steps - 1,
        "next.success": one.successes,
        "timestamp": (steps / CONTROL_HZ).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(one.num_steps, episode),
        "index": index + steps,
        "task_index": np.zeros(one.num_steps, dtype=np.int64),
    }


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """(T, ...) as (T, size)."""
    return values.reshape(len(values), -1)


def _table(pa: Any, columns: Columns) -> Any:
    """An Arrow table: numbers for columns of one value, lists of fixed size for others."""
    arrays = {}
    for name, values in columns.items():
        flat = np.ascontiguousarray(_flat(values))
        numbers = pa.array(flat.ravel())
        arrays[name] = numbers if flat.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(numbers, flat.shape[1])
    return pa.table(arrays)


def _columns(table: Any) -> Columns:
    """The arrays behind a table of `_table`, (T,) or (T, size)."""
    result: Columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        flat = column.flatten() if hasattr(column.type, "value_type") else column
        result[name] = flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return result


class _RollingFiles:
    """Writes episodes into files of limited size, one row group each."""

    def __init__(self, folder: Path, pq: Any) -> None:
        self._folder, self._pq, self._writer, self._bytes, self._count = folder, pq, None, 0, 0

    def write(self, table: Any) -> tuple[int, int]:
        """Appends an episode; returns the chunk and the file in it."""
        if self._writer is None or self._bytes + table.nbytes > FILE_MB * 2**20:
            self.close()
            path = self._folder / _DATA_PATH.format(
                chunk_index=self._count // CHUNK_FILES, file_index=self._count % CHUNK_FILES
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer, self._bytes = self._pq.ParquetWriter(path, table.schema, compression="snappy"), 0
            self._count += 1
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._bytes += table.nbytes
        return divmod(self._count - 1, CHUNK_FILES)

    def close(self) -> None:
        """Finishes the present file."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def _episodes(path: Path, pq: Any) -> Iterator[Any]:
    for name in sorted(path.glob("data/*/*.parquet")):
        with pq.ParquetFile(name) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


# ---- what describes them ----------------------------------------------------------------------------------------------------


def _features(one: Demonstration, frames: Columns) -> dict[str, dict[str, Any]]:
    """Type, shape and names of every column."""
    names = {
        "observation.state": [f"{part}.{i}" for part, at in observation_parts(one).items() for i in range(at.stop - at.start)]
    }
    return {
        name: {"dtype": values.dtype.name, "shape": [_flat(values).shape[1]], "names": names.get(name)}
        for name, values in frames.items()
    }


def _info(episodes: int, frames: int, features: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": "allegro_on_7dof_arm",
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": 1,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": FILE_MB,
        "video_files_size_in_mb": 200,
        "fps": CONTROL_HZ,
        "splits": {"train": f"0:{episodes}"},
        "data_path": _DATA_PATH,
        "video_path": None,
        "features": features,
    }


def _figures(frames: Columns) -> dict[str, dict[str, list[float]]]:
    """Figures of every column of an episode, value by value."""
    result = {}
    for name, values in frames.items():
        flat = _flat(values).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            found = {"min": flat.min(axis=0), "max": flat.max(axis=0), "mean": flat.mean(axis=0), "std": flat.std(axis=0)}
        result[name] = {figure: _plain(numbers) for figure, numbers in found.items()} | {"count": [len(flat)]}
    return result


def _whole_figures(rows: Sequence[Mapping[str, Any]], features: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Figures of the whole dataset from those of its episodes."""
    result = {}
    for name in features:
        low, high, mean, std, count = (np.array([row[f"stats/{name}/{figure}"] for row in rows]) for figure in _FIGURES)
        with np.errstate(over="ignore", invalid="ignore"):
            whole = (mean * count).sum(axis=0) / count.sum()
            spread = np.sqrt(((std**2 + (mean - whole) ** 2) * count).sum(axis=0) / count.sum())
        found = {"min": low.min(axis=0), "max": high.max(axis=0), "mean": whole, "std": spread, "count": count.sum(axis=0)}
        result[name] = {figure: _plain(numbers) for figure, numbers in found.items()}
    return result


def _plain(numbers: NDArray[Any]) -> list[float]:
    """For JSON, which has no infinity: figures of absurdly large values stay finite."""
    return np.nan_to_num(numbers).tolist()


def _episode_row(
    episode: int,
    one: Demonstration,
    sentence: str,
    index: int,
    chunk_index: int,
    file_index: int,
    figures: Mapping[str, Mapping[str, list[float]]],
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "episode_index": episode,
        "tasks": [sentence],
        "length": one.num_steps,
        "data/chunk_index": chunk_index,
        "data/file_index": file_index,
        "dataset_from_index": index,
        "dataset_to_index": index + one.num_steps,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }
    return row | {f"stats/{name}/{figure}": numbers[figure] for name, numbers in figures.items() for figure in _FIGURES}


def _tasks_table(pa: Any, sentence: str) -> Any:
    """The table of tasks, with the sentences as the index that pandas makes of it."""
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": pa.array([sentence])})
    column = {"metadata": None, "pandas_type": "int64", "numpy_type": "int64"}
    text = {"metadata": None, "pandas_type": "unicode", "numpy_type": "object"}
    description = {
        "index_columns": ["task"],
        "column_indexes": [{"name": None, "field_name": None} | text],
        "columns": [
            {"name": "task_index", "field_name": "task_index"} | column,
            {"name": "task", "field_name": "task"} | text,
        ],
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(description)})


def _own_facts(one: Demonstration) -> dict[str, Any]:
    """What the columns do not say of an episode."""
    shapes = {name: list(values.shape[1:]) for name, values in _states(one, slice(None)).items()}
    texts: dict[str, Any] = {"env_id": one.env_id, "control_mode": one.control_mode, "tier": one.tier}
    texts |= {"has_intended_actions": one.intended_actions is not None}
    return texts | {"env_options": dict(one.env_options), "provenance": dict(one.provenance), "shapes": shapes}


def _demonstration(frames: Columns, last: Columns, facts: Mapping[str, Any]) -> Demonstration:
    whole = {name: np.concatenate([frames[name], last[name]]).reshape(-1, *shape) for name, shape in facts["shapes"].items()}

    def named(part: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(f"{part}."): values for name, values in whole.items() if name.startswith(f"{part}.")}

    return Demonstration(
        env_id=facts["env_id"],
        env_options=facts["env_options"],
        control_mode=facts["control_mode"],
        observations=whole["observation.state"],
        actions=frames["action"],
        rewards=frames["next.reward"][:, 0],
        successes=frames["next.success"][:, 0],
        states=whole["simulation.state"],
        memory=named("memory"),
        object_pos_world=whole["object.position"],
        source_frame=whole["source.frame"],
        tier=TIERS[TIERS.index(facts["tier"])],
        provenance=facts["provenance"],
        randomization=named("randomization"),
        intended_actions=frames["action.intended"] if facts.get("has_intended_actions") else None,
    )


# ---- files ------------------------------------------------------------------------------------------------------------------


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            f"the LeRobot layout needs pyarrow, which cannot be loaded here ({error}): "
            "pip install -c constraints.txt -e '.[lerobot]' in the project's checkout"
        ) from error
    return pyarrow, pyarrow.parquet


def _write_table(pq: Any, path: Path, table: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
