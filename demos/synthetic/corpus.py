"""The corpora of synthetic clips: which clips they hold, made one after the other, each in a folder that appears when done.

The corpora have no person, thing, camera or seed in common. The evaluation corpus is fixed: clip i never changes. The wild
corpus shows everyday handling that is none of the tasks. In every clip of the bottles' corpus somebody else places another
bottle before another camera.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from demos.synthetic.clips import ClipConfig, NoSoundMotionError, make_clip
from demos.synthetic.people import pool_rng
from demos.synthetic.scripts import KINDS
from demos.synthetic.settings import Corpus, Pictures
from demos.synthetic.truth import ClipTruth
from demos.synthetic.wild_scripts import WILD_KINDS
from dexvid_envs.errors import OptionError
from dexvid_envs.files import atomic_folder, atomic_path

EVALUATION_CLIPS = 24
#: Raised by every change that alters what a clip shows, so that older clips are made again.
MAKER_VERSION = 1
_PEOPLE = {"evaluation": 12, "training": 60, "wild": 60}
_KINDS: dict[Corpus, tuple[str, ...]] = {"evaluation": KINDS, "training": KINDS, "wild": WILD_KINDS, "bottles": ("place",)}
#: Seeds of clip i: the ranges never meet.
_FIRST_SEED = {"evaluation": 1_000_000, "training": 1_000_000_000, "wild": 4_000_000_000, "bottles": 7_000_000_000}
_SEEDS_PER_CORPUS_SEED = 1_000_000
_DONE = "clip.json"


def clip_config(corpus: Corpus, number: int, seed: int = 0, pictures: Pictures | None = None) -> ClipConfig:
    """Clip `number` of a corpus.

    Args:
        corpus: which.
        number: from 0.
        seed: of a corpus other than the evaluation corpus, which is fixed.
        pictures: their size and rate.

    Raises:
        OptionError: a seed for the evaluation corpus, or a number or seed out of range.
    """
    if corpus == "evaluation" and seed != 0:
        raise OptionError(
            f"the evaluation corpus is fixed and takes no seed, got {seed}; leave --seed out or make a training corpus"
        )
    if not (0 <= seed < 2_000 and 0 <= number < _SEEDS_PER_CORPUS_SEED):
        raise OptionError(f"a corpus has a seed of 0 to 1999 and at most {_SEEDS_PER_CORPUS_SEED} clips, got {seed}, {number}")
    clip_seed = _FIRST_SEED[corpus] + seed * _SEEDS_PER_CORPUS_SEED + number
    rng, pictures = pool_rng(corpus, clip_seed, "clip"), pictures or Pictures()
    kinds = _KINDS[corpus]
    fps = float(rng.choice([24.0, 25.0, 30.0]))
    if corpus == "evaluation":
        person, thing = number % _PEOPLE[corpus], number // len(kinds) + number % len(kinds)
    elif corpus == "bottles":  # nobody and nothing comes twice
        person = thing = seed * _SEEDS_PER_CORPUS_SEED + number
    else:
        person, thing = int(rng.integers(_PEOPLE[corpus])), int(rng.integers(1000))
    return ClipConfig(
        corpus=corpus,
        number=number,
        seed=clip_seed,
        kind=kinds[number % len(kinds)],
        side="left" if number % 3 == 2 else "right",
        person=person,
        thing=thing,
        camera=clip_seed,
        width=pictures.width,
        height=pictures.height,
        fps=pictures.fps or fps,
        exposure_share=float(rng.uniform(0.15, 0.55)),
        noise_std=float(rng.uniform(0.5, 3.5)),
        gain=float(rng.uniform(0.9, 1.15)),
        crf=int(rng.integers(18, 31)),
        depth_unit_mm=pictures.depth_unit_mm,
    )


@dataclasses.dataclass(frozen=True)
class Made:
    """What a run did.

    Attributes:
        folders: of the corpus's clips, in order.
        made: how many were made now; the others were there.
        left_out: clips of which no sound motion was found, by name.
    """

    folders: tuple[Path, ...]
    made: int
    left_out: tuple[str, ...] = ()


def make_corpus(
    corpus: Corpus,
    count: int,
    out: Path,
    seed: int = 0,
    *,
    pictures: Pictures | None = None,
    first: int = 0,
    report: Callable[[float, str], None] | None = None,
    make: Callable[[ClipConfig, Path, Callable[[float, str], None] | None], object] = make_clip,
) -> Made:
    """Makes the clips that are not there yet, each as the folder `out/CLIP_ID` with video.mp4, truth.npz and clip.json.

    Beside them stands what a person would know of the film: `cam_K.txt` and `object_point.txt`, a click on the handled thing.

    A clip's folder appears when it is complete; a run that is stopped goes on where it was. A clip made with other settings is
    made again. A clip without a sound motion is left out, except of the evaluation corpus.

    Args:
        corpus: which.
        count: how many clips.
        out: folder of the corpus.
        seed: of a corpus other than the evaluation corpus.
        pictures: their size and rate.
        first: number of the first clip.
        report: told the share of the work that is done.
        make: makes one clip.

    Raises:
        NoSoundMotionError: of a clip of the evaluation corpus.
    """
    configs = [clip_config(corpus, number, seed, pictures) for number in range(first, first + count)]
    out.mkdir(parents=True, exist_ok=True)
    left_out: list[str] = []
    waiting = [config for config in configs if not is_made(config, out / config.clip_id)]
    for done, config in enumerate(waiting):

        def within(share: float, state: str, done: int = done) -> None:
            if report is not None:
                report((done + share) / len(waiting), state)

        try:
            with atomic_folder(out / config.clip_id) as folder:
                make(config, folder, within)
                (folder / _DONE).write_text(config_json(config))
        except NoSoundMotionError:
            if corpus == "evaluation":  # it is fixed: nothing of it may be missing
                raise
            left_out.append(config.clip_id)
    folders = tuple(out / config.clip_id for config in configs if config.clip_id not in left_out)
    for folder in folders:
        write_known(folder)
    with atomic_path(out / "corpus.json") as temporary:
        names = [folder.name for folder in folders]
        temporary.write_text(json.dumps({"corpus": corpus, "seed": seed, "clips": names}, indent=2) + "\n")
    return Made(folders, len(waiting) - len(left_out), tuple(left_out))


def write_known(folder: Path) -> None:
    """Writes `cam_K.txt` and `object_point.txt` from the truth of a clip, where they are not there yet.

    The click is the pixel of the thing, in the first picture, that is furthest from its outline; none where the thing is hidden
    there.
    """
    files = folder / "cam_K.txt", folder / "object_point.txt"
    if all(path.is_file() for path in files) or not (folder / "truth.npz").is_file():
        return
    truth = ClipTruth.load(folder / "truth.npz")
    inside = np.asarray(distance_transform_edt(np.pad(truth.mask(truth.object_names[0])[0], 1)))
    row, column = np.unravel_index(int(np.argmax(inside)), inside.shape)
    known = [(files[0], truth.K)]
    if inside.max() > 0:
        known.append((files[1], np.array([[column - 1, row - 1]], dtype=np.float64)))
    for path, values in known:
        with atomic_path(path) as temporary:
            np.savetxt(temporary, values, fmt="%.10g")


def is_made(config: ClipConfig, folder: Path) -> bool:
    """Whether the folder holds just this clip."""
    try:
        return (folder / _DONE).read_text() == config_json(config)
    except OSError:
        return False


def config_json(config: ClipConfig) -> str:
    """The config and the maker's version as JSON, in a fixed order."""
    return json.dumps({"maker_version": MAKER_VERSION, **dataclasses.asdict(config)}, indent=2, sort_keys=True) + "\n"


def clip_folders(corpus: Path) -> list[Path]:
    """Folders of all complete clips in the folder of a corpus, by name.

    Raises:
        OptionError: there are none.
    """
    found = sorted(path.parent for path in corpus.glob(f"*/{_DONE}") if not path.parent.name.startswith("."))
    if not found:
        raise OptionError(f"no clips in {corpus}; make some with: dexvid synthesize --corpus evaluation --out {corpus}")
    return found


def contact_sheet(folder: Path, columns: int = 6, width: int = 160) -> np.ndarray:
    """(H, W, 3) evenly spaced pictures of a clip's video in one row, each reduced to about `width` px."""
    import imageio.v3 as imageio

    pictures = [np.asarray(picture) for picture in imageio.imiter(folder / "video.mp4", plugin="FFMPEG")]
    chosen = np.linspace(0, len(pictures) - 1, columns).round().astype(int)
    step = max(1, pictures[0].shape[1] // width)
    return np.concatenate([pictures[index][::step, ::step] for index in chosen], axis=1)
