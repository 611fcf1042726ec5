"""The commands that write, each on the smallest input that it takes, and how to tell that what they wrote is whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_ROOT = Path(__file__).parents[1]
_DATA = _ROOT / "demos" / "data"
_CABINET = _DATA / "refined_open_cabinet"
#: A name of the writing helpers for what is not finished yet.
_UNFINISHED = re.compile(r"\..+-[0-9a-f]{8}(-previous)?(\.\w+)?|\..+-discarded|\..+\.lock|assembled|events\.out\..*")


@dataclasses.dataclass(frozen=True)
class WritingCommand:
    """A command line.

    Attributes:
        name: for the table.
        words: after `dexvid`; `{in}` is the folder of the inputs, `{out}` that of the outputs.
        outputs: what it writes below `{out}`, with a reader that raises where it is not whole.
        prepare: makes the inputs in a folder.
        resume: words that make it go on; without them it is run anew.
        replaces: whether it may be run where its output already is.
        codes: exit codes of a run that was not disturbed.
    """

    name: str
    words: str
    outputs: dict[str, Callable[[Path], Any]]
    prepare: Callable[[Path], Any] = lambda folder: None
    resume: str = ""
    replaces: bool = True
    codes: tuple[int, ...] = (0,)

    def line(self, inputs: Path, out: Path, *, resume: bool = False) -> list[str]:
        """The words with the folders filled in."""
        words = self.words.split() + (self.resume.split() if resume else [])
        return [word.replace("{in}", str(inputs)).replace("{out}", str(out)) for word in words]


def writing_commands() -> list[WritingCommand]:
    """All of them, the quickest first."""
    small = "--max-steps 60 --hidden 16 16 --batch-size 64 --save-every-s 0.05 --report-every-steps 10"
    ppo = "--total-steps 512 --num-envs 4 --rollout-steps 32 --minibatch-size 64 --evaluations 0 --save-every-s 0"
    pupil = "--rounds 3 --num-envs 2 --clone.policy mlp --clone.hidden 16 --clone.max-steps 30 --clone.batch-size 64"
    pupil += " --clone.save-every-s 0 --clone.report-every-steps 10"
    search = "--candidates 2 --elites 1 --offset-rounds 2 --spline-rounds 1 --replicates 1 --final-replicates 1"
    dataset, run = {"set": _dataset}, {"run/checkpoint": _checkpoint, "run/config.json": _json}
    film = "--fps-limit 4 --no-report"
    return [
        WritingCommand("dataset merge", "dataset merge {in}/a {in}/b --out {out}/set", dataset, _two_datasets),
        WritingCommand("dataset filter", "dataset filter {in}/a --success --out {out}/set", dataset, _two_datasets),
        WritingCommand(
            "dataset export lerobot",
            "dataset export {in}/a --to lerobot --out {out}/set",
            {"set": _lerobot},
            _two_datasets,
            replaces=False,
        ),
        WritingCommand(
            "dataset export robomimic",
            "dataset export {in}/a --to robomimic --out {out}/set.hdf5",
            {"set.hdf5": _robomimic},
            _two_datasets,
            replaces=False,
        ),
        WritingCommand(
            "kinematic",
            "kinematic {in}/motions.npz --out {out}/set --json {out}/used.json",
            dataset | {"used.json": _json},
            _motions,
        ),
        WritingCommand(
            "kinematic videos",
            "kinematic {in}/videos --work {out}/work --out {out}/set",
            dataset,
            _one_video,
        ),
        WritingCommand("retarget", "retarget {in}/recording --out {out}/motion.npz", {"motion.npz": _npz}, _recording),
        WritingCommand(
            "replay", f"replay {_CABINET} --json {{out}}/o.json --plot {{out}}/f.png", {"o.json": _json, "f.png": _picture}
        ),
        WritingCommand(
            "replay video", "replay {in}/small --video {out}/film.mp4", {"film.mp4": _film}, _small_dataset, codes=(0, 1)
        ),
        WritingCommand("replay record", "replay {in}/a --record {out}/set", dataset, _two_datasets),
        WritingCommand(
            "play video",
            "play OpenCabinet --policy zero --episodes 1 --env-option max_episode_steps=9 --video {out}/film.mp4"
            " --json {out}/o.json",
            {"film.mp4": _film, "o.json": _json},
        ),
        WritingCommand(
            "train bc", f"train bc --dataset {{in}}/a --out {{out}}/run {small}", run, _two_datasets, "--resume", replaces=False
        ),
        WritingCommand(
            "train ppo", f"train ppo --init {{in}}/actor --out {{out}}/run {ppo}", run, _actor, "--resume", replaces=False
        ),
        WritingCommand(
            "train distill",
            f"train distill --teacher {{in}}/actor --env-option max_episode_steps=5 --out {{out}}/run {pupil}",
            run,
            _actor,
            "--resume",
            replaces=False,
        ),
        WritingCommand(
            "evaluate", "evaluate --policy {in}/actor --episodes 2 --json {out}/figures.json", {"figures.json": _json}, _actor
        ),
        WritingCommand("report", "report {in}/a --out {out}/page.html", {"page.html": _page}, _two_datasets),
        WritingCommand(
            "record",
            "record OpenCabinet --policy scripted --count 2 --out {out}/set",
            dataset,
            resume="--resume",
            replaces=False,
        ),
        WritingCommand(
            "correct",
            "correct {in}/a --policy {in}/opener --count 2 --policy-steps 20 --out {out}/set",
            dataset,
            _opener,
            resume="--resume",
            replaces=False,
        ),
        WritingCommand(
            "multiply",
            f"multiply {_CABINET} --count 2 --out {{out}}/set --json {{out}}/report.json",
            dataset | {"report.json": _json},
            resume="--resume",
        ),
        WritingCommand(
            "synthesize",
            "synthesize --corpus training --count 1 --width 96 --height 72 --fps 6 --out {out}/clips",
            {"clips/corpus.json": _json},
            replaces=False,  # clips that are there are kept
        ),
        WritingCommand(
            "refine", f"refine {{in}}/recording --turn-deg 0 {search} --out {{out}}/set", dataset, _recording, codes=(0, 1)
        ),
        WritingCommand(
            "extract",
            f"extract {_DATA}/synthetic_clips/training-00001-place/video.mp4 {film} --out {{out}}/extraction",
            {"extraction": _extraction},
        ),
        WritingCommand(
            "quickstart",
            "quickstart --quick --no-video --refine-rounds 1 --count 1 --clone-steps 20 --episodes 1 --fine-tune-steps 0"
            " --source {in}/recording --out {out}/run",
            {"run/report.html": _page, "run/refined": _dataset, "run/clone/checkpoint": _checkpoint},
            _recording,
            resume="--resume",
            replaces=False,
        ),
    ]


# ---- inputs -----------------------------------------------------------------------------------------------------------------


def _two_datasets(folder: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(_CABINET, folder / name)


def _small_dataset(folder: Path) -> None:
    from benchmarks.reliability_readers import small_demonstrations
    from demos.dataset import write_dataset

    write_dataset(folder / "small", small_demonstrations())


def _recording(folder: Path) -> None:
    """The shipped recording four times as fast, so that what is made of it is short."""
    from demos.interaction import Interaction

    whole = Interaction.load(_DATA / "synthetic_pick_place" / "interaction.npz")
    values = {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
    long = {name: value for name, value in values.items() if isinstance(value, np.ndarray) and len(value) == whole.num_frames}
    (folder / "recording").mkdir()
    quick = dataclasses.replace(whole, **{name: value[::4] for name, value in long.items()})
    quick.save(folder / "recording" / "interaction.npz")


def _one_video(folder: Path) -> None:
    """A shipped clip with a fraction of its pictures, so that it is read in a moment."""
    from demos.video import frame_stride, probe_video, read_frames, video_writer

    (folder / "videos").mkdir()
    info = probe_video(_DATA / "synthetic_clips" / "training-00001-place" / "video.mp4")
    stride = frame_stride(info, 4.0)
    size = (info.width, info.height)
    with video_writer(folder / "videos" / "one.mp4", size, info.fps / stride, quality=9) as writer:
        for frame in read_frames(info, stride):
            writer.send(frame.rgb)


def _motions(folder: Path) -> None:
    from demos.kinematic_corpus import read_motions, write_motions

    motions = read_motions(_DATA / "wild_motions.npz")
    write_motions(folder / "motions.npz", {name: motions[name] for name in sorted(motions)[:3]})


def _actor(folder: Path) -> None:
    from baselines.checkpoint import Checkpoint
    from baselines.mlp import MlpActor, MlpConfig

    actor = MlpActor(MlpConfig(127, 23, hidden=(8, 8)))
    Checkpoint(actor, "DexVid-BottlePickPlace-v0", {"bottle": "pet"}, "joint_delta").save(folder / "actor")


def _opener(folder: Path) -> None:
    _two_datasets(folder)
    shutil.copytree(_ROOT / "baselines" / "checkpoints" / "open_cabinet", folder / "opener")


# ---- whether an output is whole ---------------------------------------------------------------------------------------------


def _dataset(path: Path) -> None:
    from demos.dataset import read_dataset

    if not read_dataset(path):
        raise ValueError(f"{path} is empty")


def _lerobot(path: Path) -> None:
    from demos.exporters.lerobot import read_lerobot

    read_lerobot(path)


def _robomimic(path: Path) -> None:
    from demos.exporters.robomimic import read_robomimic

    read_robomimic(path)


def _checkpoint(path: Path) -> None:
    from baselines.checkpoint import load_checkpoint

    load_checkpoint(path)


def _extraction(path: Path) -> None:
    from demos.interaction import Interaction

    Interaction.load(path / "interaction.npz")
    _json(path / "quality.json")
    _film(path / "overlay.mp4")


def _json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _npz(path: Path) -> None:
    from dexvid_envs.npz_file import read_npz

    read_npz(path, "arrays", "")


def _hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        file.visititems(lambda name, entry: entry[()] if isinstance(entry, h5py.Dataset) and entry.shape else None)


def _tensors(path: Path) -> None:
    from safetensors.numpy import load_file

    load_file(path)


def _film(path: Path) -> None:
    from demos.video import probe_video, read_frames

    if not sum(1 for _ in read_frames(probe_video(path))):
        raise ValueError(f"{path} has no picture")


def _picture(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()


def _page(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError(f"{path} is cut off")


_BY_SUFFIX: dict[str, Callable[[Path], None]] = {
    ".json": _json,
    ".npz": _npz,
    ".hdf5": _hdf5,
    ".safetensors": _tensors,
    ".mp4": _film,
    ".png": _picture,
    ".html": _page,
}


def damaged_files(folder: Path) -> list[str]:
    """Files of a folder that cannot be read whole, those that are marked as unfinished by their name excepted."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(_UNFINISHED.fullmatch(part) for part in parts) and path.suffix in _BY_SUFFIX:
            try:
                _BY_SUFFIX[path.suffix](path)
            except Exception as error:  # whatever a torn file makes its reader raise
                found.append(f"{'/'.join(parts)}: {type(error).__name__}: {error}"[:200])
    return found


def left_over(folder: Path) -> list[str]:
    """Files and folders that are marked as unfinished by their name."""
    return sorted(path.name for path in folder.rglob(".*") if _UNFINISHED.fullmatch(path.name))


def fingerprint(path: Path) -> str:
    """Hash of a file or of all files of a folder with their names; empty where there is nothing."""
    digest = hashlib.sha256()
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    for file in (one for one in files if one.is_file()):
        digest.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest() if files else ""
