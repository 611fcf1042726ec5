"""Every reader of a file that may come from outside, with a small good example that is damaged before it is read.

The foreign layouts are those of `benchmarks.foreign_examples`, which writes an example of each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability_damage import (
    Damage,
    damage_bytes,
    damage_hdf5,
    damage_json,
    damage_jsonl,
    damage_npz,
    damage_safetensors,
    damage_video,
)

_ROOT = Path(__file__).parents[1]
_DATA = _ROOT / "demos" / "data"


@dataclasses.dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: for the table.
        write: makes a good example in a folder and returns the file to be damaged.
        read: reads that file; what it returns does not matter.
        damage: by the rules of the format; damage by bytes comes on top.
        share: of the cases, in units of an ordinary reader's; slow ones get fewer.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    damage: Damage = damage_bytes
    share: float = 1.0


def readers() -> list[Reader]:
    """All of them; imports what they need."""
    return [*_own_readers(), *_learning_readers(), *_foreign_readers()]


def _foreign_readers() -> list[Reader]:
    from benchmarks.foreign_examples import CASES

    archives = {"hamer", "cotracker", "spatialtracker-v2", "spatialtracker-v2-depth", "tapvid-3d", "spider"}
    found = []
    for name, (write, read) in CASES.items():
        if name == "spider-robot":  # of a robot's file, of which there is no good example
            continue
        damage = damage_npz if name in archives else damage_json if name == "combined" else damage_bytes
        found.append(Reader(f"importer {name}", write, read, damage))
    return found


def _own_readers() -> list[Reader]:
    from demos.dataset import read_dataset
    from demos.exporters.lerobot import read_lerobot
    from demos.exporters.robomimic import read_robomimic
    from demos.extract.task_points.vlm import parse_points
    from demos.importers.synthetic_truth import load_synthetic_truth
    from demos.interaction import Interaction
    from demos.kinematic_corpus import read_motions
    from demos.multiply import JOURNAL_NAME
    from demos.number_file import read_matrix
    from demos.video import probe_video, read_frames
    from dexvid_envs.nan_guard import load_report

    return [
        Reader("interaction.npz", _interaction, Interaction.load, damage_npz),
        Reader("synthetic truth", _truth, lambda path: load_synthetic_truth(path.parent), damage_npz),
        Reader("motions", _motions, read_motions, damage_npz),
        Reader("dataset (HDF5)", _dataset, lambda path: read_dataset(path.parents[1]), damage_hdf5, 2.0),
        Reader("dataset (metadata)", _metadata, lambda path: read_dataset(path.parents[1]), damage_json, 0.5),
        Reader("robomimic (HDF5)", _robomimic, read_robomimic, damage_hdf5),
        Reader("LeRobot (parquet)", _lerobot_data, lambda path: read_lerobot(path.parents[2])),
        Reader("LeRobot (JSON)", _lerobot_facts, lambda path: read_lerobot(path.parents[2]), damage_json),
        Reader("search rounds", _rounds, _read_rounds, damage_npz),
        Reader("copies' journal", lambda folder: _journal(folder / JOURNAL_NAME), _read_journal, damage_jsonl),
        Reader("quality.json", _quality, _read_quality, damage_json),
        Reader("instability report", _instability, load_report, damage_npz),
        Reader("matrix text", _matrix, lambda path: read_matrix(path, (3, 3), "camera matrix, px")),
        Reader("points of a model", _answer, lambda path: parse_points(path.read_text(errors="replace"), [0, 5], (64, 48))),
        Reader("video", _video, lambda path: [None for _ in read_frames(probe_video(path))], damage_video, 1.2),
    ]


def _learning_readers() -> list[Reader]:
    from baselines.checkpoint import load_checkpoint
    from baselines.progress import RunLog
    from baselines.quickstart import StageStore
    from baselines.reports.command import main as report
    from baselines.training_state import load_training_state

    def read_csv(path: Path) -> None:
        with RunLog(path.parent, resume_step=3):
            pass

    def read_for_report(path: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            report([str(path), "--json"])

    def read_stage(path: Path) -> None:
        StageStore(path.parent, resume=True).stage(path.stem, dict)

    return [
        Reader("checkpoint (weights)", _weights, lambda path: load_checkpoint(path.parent), damage_safetensors),
        Reader("checkpoint (config)", _config, lambda path: load_checkpoint(path.parent), damage_json),
        Reader("training state", _training_state, load_training_state, damage_safetensors),
        Reader("progress.csv", _progress, read_csv, share=0.5),
        Reader("evaluation (JSON)", _evaluation, read_for_report, damage_json),
        Reader("run (config)", _run, lambda path: read_for_report(path.parent), damage_json),
        Reader("quickstart stage", _stage, read_stage, damage_json, 0.5),
    ]


# ---- good examples ----------------------------------------------------------------------------------------------------------


def _cut(demonstration: Any, steps: int = 4) -> Any:
    """The first steps of a demonstration, so that a file of it is small."""
    rows = {name: getattr(demonstration, name)[: steps + 1] for name in ("observations", "states", "object_pos_world")}
    rows |= {name: getattr(demonstration, name)[:steps] for name in ("actions", "rewards", "successes")}
    rows |= {"source_frame": demonstration.source_frame[: steps + 1], "tier": "kinematic"}
    memory = {name: values[: steps + 1] for name, values in demonstration.memory.items()}
    return dataclasses.replace(demonstration, **rows, memory=memory)


def small_demonstrations() -> list[Any]:
    """Two demonstrations of four steps."""
    from demos.dataset import read_dataset

    return [_cut(one) for one in read_dataset(_DATA / "refined_open_cabinet")] * 2


def _interaction(folder: Path) -> Path:
    from demos.interaction import Interaction

    whole = Interaction.load(_DATA / "synthetic_pick_place" / "interaction.npz")
    frames, cut = whole.num_frames, {}
    for field in dataclasses.fields(whole):
        value = getattr(whole, field.name)
        cut[field.name] = value[:5] if isinstance(value, np.ndarray) and len(value) == frames else value
    dataclasses.replace(whole, **cut).save(folder / "interaction.npz")
    return folder / "interaction.npz"


def _truth(folder: Path) -> Path:
    shutil.copytree(_DATA / "synthetic_clips" / "training-00001-place", folder / "clip")
    return folder / "clip" / "truth.npz"


def _motions(folder: Path) -> Path:
    from demos.kinematic_corpus import read_motions, write_motions

    motions = read_motions(_DATA / "wild_motions.npz")
    name = next(iter(motions))
    write_motions(folder / "motions.npz", {name: motions[name], "again": motions[name]})
    return folder / "motions.npz"


def _dataset(folder: Path) -> Path:
    from demos.dataset import write_dataset

    write_dataset(folder / "set", small_demonstrations())
    return folder / "set" / "data" / "main_data.hdf5"


def _metadata(folder: Path) -> Path:
    return _dataset(folder).with_name("metadata.json")


def _robomimic(folder: Path) -> Path:
    from demos.exporters.robomimic import write_robomimic

    write_robomimic(folder / "set.hdf5", small_demonstrations())
    return folder / "set.hdf5"


def _lerobot(folder: Path) -> Path:
    from demos.exporters.lerobot import write_lerobot

    write_lerobot(folder / "set", small_demonstrations())
    return folder / "set"


def _lerobot_data(folder: Path) -> Path:
    return next((_lerobot(folder) / "data").rglob("*.parquet"))


def _lerobot_facts(folder: Path) -> Path:
    from demos.exporters.lerobot import _OWN_EPISODES  # pyright: ignore[reportPrivateUsage]

    return _lerobot(folder) / _OWN_EPISODES


def _rounds(folder: Path) -> Path:
    from demos.refinement.candidates import Candidate
    from demos.refinement.store import RoundStore, SearchState

    elite = Candidate(hold=0, bend=np.zeros((3, 4)), correction=np.zeros((5, 6)))
    RoundStore(folder, [{"of": 1}]).save(dataclasses.replace(SearchState.new(), elites=[elite, elite], history=[{"cost": 1.0}]))
    return folder / "search.npz"


def _read_rounds(path: Path) -> Any:
    from demos.refinement.store import RoundStore

    return RoundStore(path.parent, [{"of": 1}]).load()


def _journal(path: Path) -> Path:
    from demos.multiplication.experience import Play

    journal = _new_journal(path)
    journal.begin()
    names = [field.name for field in dataclasses.fields(Play)]
    values: dict[str, Any] = {
        name: [0.1, 0.2, 0.3] if name in ("features", "aim", "correction", "miss") else 1 for name in names
    }
    for _ in range(3):
        journal.add([Play(**values)] * 2)
    return path


def _read_journal(path: Path) -> Any:
    return list(_new_journal(path).resume(copies=1))


def _new_journal(path: Path) -> Any:
    from demos.multiply import MultiplyConfig, _Journal  # pyright: ignore[reportPrivateUsage]

    return _Journal(path, small_demonstrations()[:1], MultiplyConfig())


def _quality(folder: Path) -> Path:
    gate = {"name": "hand", "value": 0.5, "limit": 0.9, "better": "higher", "unit": "", "frames": [1, 2, 9], "advice": "film"}
    gates = [gate | {"ok": False}, gate | {"ok": True}]
    _interaction(folder)
    (folder / "quality.json").write_text(json.dumps({"config": {"fps": 3}, "gates": gates, "timings_s": {"a": 1.0}}))
    return folder / "quality.json"


def _read_quality(path: Path) -> Any:
    from demos.extract.gates import read_failed_gates
    from demos.interaction import Interaction
    from demos.provenance import extraction_facts

    facts = extraction_facts(path.parent, Interaction.load(path.with_name("interaction.npz")))
    return facts, read_failed_gates(path.parent)


def _instability(folder: Path) -> Path:
    arrays = {"simulation": np.zeros(9), "action": np.zeros(23), "memory/goal": np.zeros(3), "about": np.array('{"env": "x"}')}
    np.savez(folder / "report.npz", **arrays)  # pyright: ignore[reportArgumentType]
    return folder / "report.npz"


def _matrix(folder: Path) -> Path:
    (folder / "K.txt").write_text("500 0 320\n0 500 240\n0 0 1\n")
    return folder / "K.txt"


def _answer(folder: Path) -> Path:
    points = [{"name": "handle", "frame": 0, "x": 12, "y": 20}, {"name": "rim", "frame": 5, "x": 0.4, "y": 0.2}]
    (folder / "answer.txt").write_text("Here you are:\n```json\n" + json.dumps({"points": points}) + "\n```")
    return folder / "answer.txt"


def _video(folder: Path) -> Path:
    from demos.video import video_writer

    rng = np.random.default_rng(0)
    with video_writer(folder / "film.mp4", (64, 48), 10.0) as writer:
        for _ in range(12):
            writer.send(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    return folder / "film.mp4"


def _weights(folder: Path) -> Path:
    from baselines.checkpoint import WEIGHTS_NAME, Checkpoint
    from baselines.mlp import MlpActor, MlpConfig

    actor = MlpActor(MlpConfig(127, 23, hidden=(8, 8)))
    Checkpoint(actor, "DexVid-BottlePickPlace-v0", {"bottle": "pet"}, "joint_delta", {"seed": 0}).save(folder / "run")
    return folder / "run" / WEIGHTS_NAME


def _config(folder: Path) -> Path:
    return _weights(folder).with_name("config.json")


def _training_state(folder: Path) -> Path:
    import torch

    from baselines.training_state import STATE_NAME, save_training_state

    tensors = {"actor.0.weight": torch.zeros(4, 3), "optimizer.0.step": torch.tensor(3.0), "rng": torch.zeros(8)}
    save_training_state(folder / STATE_NAME, tensors, {"step": 3, "identity": {"seed": 0}})
    return folder / STATE_NAME


def _progress(folder: Path) -> Path:
    (folder / "progress.csv").write_text("step,loss\n1.0,0.5\n2.0,0.4\n3.0,\n")
    return folder / "progress.csv"


def _evaluation(folder: Path) -> Path:
    whole = json.loads((_ROOT / "baselines" / "checkpoints" / "open_cabinet" / "evaluation.json").read_text())
    whole["episodes"] = whole["episodes"][:3]
    (folder / "evaluation.json").write_text(json.dumps(whole))
    return folder / "evaluation.json"


def _run(folder: Path) -> Path:
    from baselines.ppo import FineTuneConfig

    _progress(folder)
    settings = dataclasses.asdict(FineTuneConfig(total_steps=512, evaluations=0))
    content = {"algorithm": "ppo", "env_id": "DexVid-OpenCabinet-v0", "env_options": {}, "seed": 0, "config": settings}
    (folder / "config.json").write_text(json.dumps(content))
    return folder / "config.json"


def _stage(folder: Path) -> Path:
    (folder / "refine.json").write_text(json.dumps({"seconds": 1.5, "result": {"success": True, "rows": [1, 2]}}))
    return folder / "refine.json"
