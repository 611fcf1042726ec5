"""`dexvid kinematic`: a folder of videos to kinematic pseudo-demonstrations, on which a policy is pretrained."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from demos.commands import KINEMATIC
from dexvid_envs.cli import parse_config
from dexvid_envs.errors import OptionError
from dexvid_envs.json_output import json_output

if TYPE_CHECKING:
    from demos.kinematic_corpus import CorpusResult


@dataclasses.dataclass(frozen=True)
class KinematicArguments:
    """Arguments of `dexvid kinematic`."""

    source: tyro.conf.Positional[tuple[Path, ...]]
    """folders of videos, and files of motions that earlier runs wrote; they are joined"""
    out: Path | None = None
    """the dataset folder to write"""
    variants: int = 1
    """demonstrations of each motion: the motion as it is, and others turned about the arm's base, from other starts and with
    disturbed actions, while what is to be learned leads back to the motion"""
    motions: Path | None = None
    """also (or only) write the motions, as one small .npz"""
    work: Path | None = None
    """where the extractions of a folder of videos are kept; a run that is repeated goes on from them"""
    json: Path | None = None
    """file for which videos were used and why others were not; - or nothing prints it"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(KinematicArguments, KINEMATIC, arguments)
    from demos.kinematic_corpus import CorpusResult, corpus_motions, read_motions, sound_motions, write_motions
    from demos.video_folder import find_videos
    from dexvid_envs.progress import progress_bar

    if config.out is None and config.motions is None:
        raise OptionError("nothing to write; give --out DATASET or --motions FILE.npz")
    if config.variants < 1:
        raise OptionError(f"--variants is {config.variants}; expected 1 (each motion as it is) or more")
    if not config.source:
        raise OptionError("no source; give a folder of videos or a file of motions")
    with json_output(config.json) as write:
        read = [read_motions(path) for path in config.source if not path.is_dir()]
        videos = [find_videos(path) for path in config.source if path.is_dir()]
        _expect_apart([*read, *videos])
        result = sound_motions({name: motion for file in read for name, motion in file.items()})
        if videos:
            work = config.work or Path(f"{(config.out or config.motions)}-extractions")
            with progress_bar("extract") as bar:
                made = corpus_motions({name: video for folder in videos for name, video in folder.items()}, work, report=bar)
            result = CorpusResult({**result.motions, **made.motions}, {**result.refused, **made.refused})
        for name, why in result.refused.items():
            print(f"left out {name}: {why}")
        if config.motions is not None:
            write_motions(config.motions, result.motions)
        write({"used": list(result.motions), "refused": dict(result.refused)})
        if config.out is not None:
            _write_dataset(config.out, result, config.variants)
        doubtful = sum(bool(motion.provenance.get("doubts")) for motion in result.motions.values())
        if doubtful:
            print(f"{doubtful} of the motions have doubts, such as failed gates, which their provenance names")
        print(f"{len(result.motions)} motions, {len(result.refused)} videos left out: {config.out or config.motions}")
    return 0


def _expect_apart(sources: Sequence[Mapping[str, object]]) -> None:
    """Refuses sources of which two hold something of one name, for one of the two would be lost."""
    count = collections.Counter(name for source in sources for name in source)
    twice = [name for name, number in count.items() if number > 1]
    if twice:
        raise OptionError(f"{twice[0]} is in two of the sources ({len(twice)} such names); give each once, or rename one")


def _write_dataset(out: Path, result: CorpusResult, variants: int) -> None:
    from demos.dataset import DatasetWriter
    from demos.kinematic import KinematicPlayer
    from dexvid_envs.progress import progress_bar

    player = KinematicPlayer()
    plays = [(name, variant) for variant in range(variants) for name in result.motions]
    with progress_bar("play") as bar, DatasetWriter(out) as writer:
        for done, (name, variant) in enumerate(plays):
            bar(done / len(plays), name)
            writer.add(player.demonstration(result.motions[name], variant))
    player.close()
